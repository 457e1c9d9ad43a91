"""The cells of a study: read from their source, checked, and handed to the stages as AnnData."""

import numpy as np
import pandas as pd
from anndata import AnnData

from helpers.corpus.checks import check_counts, check_genes, check_obs
from helpers.design import Design
from helpers.store import Store

OBS_COLUMNS = ("dataset_id", "cell_type", "batch")


def read_source(design: Design) -> AnnData:
    """All cells of the design's source, (n_cells, n_genes) raw integer counts as CSR, checked.

    Raises ValueError for counts that are negative, NaN or not integer, duplicate genes, missing or incomplete `obs`
    columns.
    """
    from helpers.corpus import embedded

    adata = embedded.read(design.corpus.path)
    try:
        check_obs(adata.obs, _needed_columns(design))
        check_genes(adata.var_names)
        check_counts(adata.X)
    except ValueError as error:
        raise ValueError(f"corpus.path = {design.corpus.path!r}: {error}") from error
    return adata


def read_obs(design: Design) -> pd.DataFrame:
    """Only the `obs` table of the source, (n_cells, n_columns): enough to check a design before anything runs."""
    from helpers.corpus import embedded

    obs = embedded.read_obs(design.corpus.path)
    check_obs(obs, _needed_columns(design))
    return obs


def read_cells(store: Store, positions: np.ndarray | None = None, *, gene_space: bool = True) -> AnnData:
    """Cells of the corpus artifact by position, on the models' gene space or on all genes.

    Returns an AnnData (n_positions, n_genes) of raw counts, CSR float32.
    """
    import anndata

    adata = anndata.read_h5ad(store.read("corpus") / "cells.h5ad")
    if positions is not None:
        adata = adata[np.asarray(positions, dtype=np.int64)].copy()
    if gene_space:
        genes = pd.read_parquet(store.read("genes.parquet"))
        adata = adata[:, genes.loc[genes["selected"], "gene"].to_numpy()].copy()
    return adata


def read_evaluation_cells(store: Store, *, gene_space: bool = True) -> tuple[AnnData, pd.DataFrame]:
    """The cells of all evaluation sets, each once, and the table of the sets.

    Returns the AnnData (n_cells, n_genes) and `evaluation_sets.parquet` with a column `row`, the row in that AnnData.
    """
    sets = pd.read_parquet(store.read("evaluation_sets.parquet"))
    positions = np.unique(sets["position"])
    adata = read_cells(store, positions, gene_space=gene_space)
    return adata, sets.assign(row=np.searchsorted(positions, sets["position"]))


def _needed_columns(design: Design) -> list[str]:
    wheres = [
        design.corpus.pretraining,
        design.held_out.where,
        *(item.where for item in design.evaluation_sets.values()),
    ]
    labels = [item.label for item in design.evaluation_sets.values()]
    return list(dict.fromkeys([*OBS_COLUMNS, *(key for where in wheres for key in where), *labels]))
