"""The cells of a study: read from their source, checked, and handed to the stages as AnnData."""

from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from helpers.corpus.checks import by_name, check_counts, check_genes, check_obs
from helpers.design import UNTRAINED, Design, Run
from helpers.provenance import digest, file_sha256, project_path
from helpers.store import Store, subset_path
from helpers.subset import SPIKE_INS

OBS_COLUMNS = ("dataset_id", "cell_type", "batch")


def read_source(design: Design) -> AnnData:
    """All cells of the design's source, (n_cells, n_genes) raw integer counts as CSR, checked.

    Cells stand in the order of their names, whatever that of the file, so that draws by position depend on the cells
    alone. Those of evaluation sets with a file of their own come last, set by set, on the source's genes;
    ``uns["missing_genes"]`` holds the share that each set lacks. `obs` gets the column ``total_counts``, the UMIs of
    each cell over all genes. Raises ValueError for counts that are negative, NaN or not integer, duplicate genes,
    missing or incomplete `obs` columns, and for what `external.append` refuses.
    """
    from helpers.corpus import embedded, external, simulated

    external.check_files(design)
    source = design.corpus
    adata = simulated.read(source.simulation) if source.source == "simulated" else embedded.read(source.path)
    try:
        check_obs(adata.obs, _needed_columns(design))
        check_genes(adata.var_names)
        check_counts(adata.X)
    except ValueError as error:
        made_from = f"path = {source.path!r}" if source.source == "embedded" else "simulation"
        raise ValueError(f"corpus.{made_from}: {error}") from error
    adata = adata if adata.obs_names.is_monotonic_increasing else adata[by_name(adata.obs_names)].copy()
    if design.external:
        adata = external.append(adata, design)
    adata.obs["total_counts"] = np.asarray(adata.X.sum(axis=1), dtype=np.float64).ravel()
    return adata


def read_source_obs(design: Design) -> pd.DataFrame:
    """The `obs` table of `read_source` alone, (n_cells, n_columns): enough to check a design before anything runs."""
    from helpers.corpus import embedded, external, simulated

    external.check_files(design)
    source = design.corpus
    obs = simulated.sample_obs(source.simulation) if source.source == "simulated" else embedded.read_obs(source.path)
    check_obs(obs, _needed_columns(design))
    obs = obs.iloc[by_name(obs.index)]
    return external.append_obs(obs, design) if design.external else obs


def source_hash(design: Design) -> str:
    """SHA-256 of what the cells are made from: the file, or the settings of a simulation, and files of single sets."""
    from helpers.corpus import external

    source = design.corpus
    simulated = source.source == "simulated"
    own = digest(source.simulation.model_dump()) if simulated else file_sha256(project_path(source.path))
    return digest({"source": own, "external": external.fingerprints(design)}) if design.external else own


def read_obs(store: Store) -> pd.DataFrame:
    """Only the `obs` table of the corpus artifact, (n_cells, n_columns), with ``total_counts``."""
    import h5py
    from anndata.io import read_elem

    with h5py.File(store.read("corpus") / "cells.h5ad") as file:
        return read_elem(file["obs"])


def read_cells(store: Store, positions: np.ndarray | None = None, *, gene_space: bool = True) -> AnnData:
    """Cells of the corpus artifact by position, on the models' gene space or on all genes.

    Returns an AnnData (n_positions, n_genes) of raw counts, CSR float32; `var` of the gene space has `nonzero_median`,
    the same for all runs.
    """
    import anndata

    adata = anndata.read_h5ad(store.read("corpus") / "cells.h5ad")
    if positions is not None:
        adata = adata[np.asarray(positions, dtype=np.int64)].copy()
    if gene_space:
        genes = pd.read_parquet(store.read("genes.parquet"))
        genes = genes[genes["selected"]].set_index("gene")
        adata = adata[:, genes.index].copy()
        adata.var["nonzero_median"] = genes["nonzero_median"]
    return adata


def write_positions(path: Path, positions: np.ndarray) -> None:
    """Write sorted positions (n_cells,) as the one column of a parquet file; differences take few bits."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"position": np.asarray(positions, dtype=np.int64)})
    encoding = {"position": "DELTA_BINARY_PACKED"}
    pq.write_table(table, path, use_dictionary=False, column_encoding=encoding, compression="zstd")


def training_cells(store: Store, cells: AnnData, roles: np.ndarray, run: Run) -> AnnData:
    """The cells that a run learns from, with the counts that it sees, (n_cells, n_genes).

    `cells` are all cells of the corpus artifact, `roles` (n_cells,) theirs. Under the strategy ``depth`` the counts are
    thinned, the same for all families, and cells that lose their last count are left out. An untrained model is given
    the whole corpus. Raises ValueError if the subset holds cells that no model may learn from.
    """
    if run.strategy == UNTRAINED:
        return cells[roles == "corpus"].copy()
    sampling = store.design.strategies[run.strategy]
    positions = pd.read_parquet(store.read(subset_path(run)))["position"].to_numpy()
    allowed = ["corpus", "spikein"] if sampling.strategy in SPIKE_INS else ["corpus"]
    strange = ~np.isin(roles[positions], allowed)
    if strange.any():
        raise ValueError(f"{subset_path(run)} holds {int(strange.sum()):,} cells that are not {' or '.join(allowed)}")
    learned = cells[positions].copy()
    if sampling.strategy != "depth":
        return learned
    from helpers.subset import depth

    share = depth.kept(cells.obs[roles == "corpus"], sampling.options["umis"])
    learned.X = depth.thin(learned.X, share, store.design.rng("thin", run.subset))
    return learned[np.asarray(learned.X.sum(axis=1)).ravel() > 0].copy()


def read_evaluation_cells(store: Store, *, gene_space: bool = True) -> tuple[AnnData, pd.DataFrame]:
    """The cells of all evaluation sets, each once, and the table of the sets.

    Returns the AnnData (n_cells, n_genes) and `evaluation_sets.parquet` with a column `row`, the row in that AnnData.
    """
    sets = pd.read_parquet(store.read("evaluation_sets.parquet"))
    positions = np.unique(sets["position"])
    adata = read_cells(store, positions, gene_space=gene_space)
    return adata, sets.assign(row=np.searchsorted(positions, sets["position"]))


def _needed_columns(design: Design) -> list[str]:
    """Columns that the source's own `obs` must have."""
    sets = [item for item in design.evaluation_sets.values() if item.path is None]
    wheres = [design.corpus.pretraining, design.held_out.where, *(item.where for item in sets)]
    columns = [*OBS_COLUMNS, *(key for where in wheres for key in where), *(item.label for item in sets)]
    if design.perturbation is not None:
        treated = [design.perturbation.where, *design.perturbation.held_out.values()]
        columns += [key for where in treated for key in where]
    return list(dict.fromkeys(columns))
