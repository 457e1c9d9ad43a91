"""The cells of the corpus artifact, as stages read them: in memory if they are few, else on disk."""

import contextlib
import functools
import os
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from helpers.corpus.labels import as_categories
from helpers.corpus.shards import Shards
from helpers.corpus.stored import StoredCells, StoredCounts, packed
from helpers.design import UNTRAINED, Run
from helpers.provenance import file_sha256
from helpers.store import Store, subset_path
from helpers.subset import SPIKE_INS

COUNTS, OBS, GENES, MANIFEST = "counts", "obs.parquet", "genes.parquet", "manifest.json"  # in the folder of a corpus
HELD = int(float(os.environ.get("CELLSCALE_HELD", "5e7")))  # counts above 0 held in memory, 0.4 GB; more stay on disk
SPARSE = 0.5  # share of the corpus under which cells that stay on disk are packed before they are learned from


def open_folder(folder: Path) -> StoredCells:
    """All cells of a folder that `writing.write` wrote, on all genes."""
    counts = _opened(folder / COUNTS, file_sha256(folder / COUNTS / "shards.json"))
    genes = pd.read_parquet(folder / GENES)["gene"].to_numpy(dtype=object)
    positions = np.arange(counts.n_cells)
    return StoredCells(StoredCounts(counts, positions), _obs(folder), pd.DataFrame(index=genes))


@functools.lru_cache(maxsize=1)
def _opened(folder: Path, content: str) -> Shards:
    """Shards that are verified once in a process."""
    return Shards(folder)


def read_obs(store: Store) -> pd.DataFrame:
    """The `obs` table of the corpus artifact, (n_cells, n_columns), with what `opened.cell_facts` says of each."""
    return _obs(store.read("corpus"))


def _obs(folder: Path) -> pd.DataFrame:
    """Labels of all cells, text as categories; parquet forgets that of a column without a value."""
    return as_categories(pd.read_parquet(folder / OBS))


def read_roles(store: Store) -> np.ndarray:
    """Role of each cell of the corpus artifact, (n_cells,), see `helpers.split.ROLES`."""
    return pd.read_parquet(store.read("split.parquet"), columns=["role"])["role"].to_numpy()


def stored_cells(store: Store, *, gene_space: bool = True) -> StoredCells:
    """All cells of the corpus artifact, on the models' gene space or on all genes; their counts stay on disk.

    `var` of the gene space has `nonzero_median`, the same for all runs.
    """
    cells = open_folder(store.read("corpus"))
    if not gene_space:
        return cells
    genes = pd.read_parquet(store.read("genes.parquet"))
    columns = np.flatnonzero(genes["selected"])
    var = genes.loc[columns, ["gene", "nonzero_median"]].set_index("gene").rename_axis(None)
    return replace(cells, X=replace(cells.X, genes=None if len(columns) == len(genes) else columns), var=var)


def read_cells(store: Store, positions: np.ndarray | None = None, *, gene_space: bool = True) -> AnnData:
    """Cells of the corpus artifact by sorted position, as `stored_cells`, in memory.

    Returns an AnnData (n_positions, n_genes) of raw counts, CSR float32.
    """
    cells = stored_cells(store, gene_space=gene_space)
    return (cells if positions is None else cells[positions]).to_memory()


def open_cells(store: Store, *, gene_space: bool = True) -> AnnData | StoredCells:
    """All cells of the corpus artifact, in memory unless they have more than `HELD` counts above 0."""
    cells = stored_cells(store, gene_space=gene_space)
    return cells.to_memory() if _held(cells) else cells


def _held(cells: StoredCells) -> bool:
    return cells.obs["n_genes"].sum() <= HELD


def write_positions(path: Path, positions: np.ndarray) -> None:
    """Write sorted positions (n_cells,) as the one column of a parquet file; differences take few bits."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"position": np.asarray(positions, dtype=np.int64)})
    encoding = {"position": "DELTA_BINARY_PACKED"}
    pq.write_table(table, path, use_dictionary=False, column_encoding=encoding, compression="zstd")


@contextlib.contextmanager
def training_cells(
    store: Store, cells: AnnData | StoredCells, roles: np.ndarray, run: Run
) -> Iterator[AnnData | StoredCells]:
    """The cells that a run learns from, with the counts that it sees, (n_cells, n_genes).

    `cells` are those of `open_cells`, `roles` (n_cells,) theirs. Cells with at most `HELD` counts are in memory. Of
    more, a small share of the corpus is packed: copied beside the corpus while the block lasts, so that it is read
    without what lies between.

    Under the strategy ``depth`` the counts are thinned, the same for all families, and cells that lose their last count
    are left out. An untrained model is given the whole corpus. Raises ValueError if the subset holds cells that no
    model may learn from, or of donors that are held out.
    """
    from helpers.held_out import check_kept_apart
    from helpers.subset import depth

    strategy = None if run.strategy == UNTRAINED else store.design.strategies[run.strategy]
    if strategy is None:
        positions = np.flatnonzero(roles == "corpus")
    else:
        positions = pd.read_parquet(store.read(subset_path(run)))["position"].to_numpy()
    allowed = ["corpus", "spikein"] if strategy is not None and strategy.strategy in SPIKE_INS else ["corpus"]
    strange = ~np.isin(roles[positions], allowed)
    if strange.any():
        raise ValueError(f"{subset_path(run)} holds {int(strange.sum()):,} cells that are not {' or '.join(allowed)}")
    check_kept_apart(cells.obs, roles, positions, store.design)
    learned, thin = cells[positions], None
    if strategy is not None and strategy.strategy == "depth":
        share = depth.kept(cells.obs[roles == "corpus"], strategy.options["umis"])
        thin = functools.partial(depth.thin, share=share, rng=store.design.rng("thin", run.subset))
    if isinstance(learned, AnnData) or _held(learned):
        yield _thinned(learned.to_memory(), thin)
    elif thin is not None or len(positions) < SPARSE * (roles == "corpus").sum():
        with packed(learned, store.path(f".{uuid.uuid4().hex[:8]}.tmp"), thin) as own:
            yield own
    else:
        yield learned


def _thinned(cells: AnnData, thin: functools.partial | None) -> AnnData:
    if thin is None:
        return cells
    cells.X = thin(sp.csr_matrix(cells.X))
    return cells[np.asarray(cells.X.sum(axis=1)).ravel() > 0].copy()


def read_evaluation_cells(store: Store, *, gene_space: bool = True) -> tuple[AnnData, pd.DataFrame]:
    """The cells of all evaluation sets, each once, and the table of the sets.

    Returns the AnnData (n_cells, n_genes) and `evaluation_sets.parquet` with a column `row`, the row in that AnnData.
    """
    sets = pd.read_parquet(store.read("evaluation_sets.parquet"))
    positions = np.unique(sets["position"])
    adata = read_cells(store, positions, gene_space=gene_space)
    return adata, sets.assign(row=np.searchsorted(positions, sets["position"]))
