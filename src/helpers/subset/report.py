"""What a subset holds: its size, its donors, datasets and types, and how diverse they are."""

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from helpers import diversity
from helpers.corpus.stored import StoredCells
from helpers.models.expression import LogCP10k, gene_moments, log_expression, on_genes
from helpers.variable_genes import variable_genes


def describe(obs: pd.DataFrame, rows: np.ndarray, *, share: float = 1.0) -> dict[str, float]:
    """Realised size and diversity of the cells in `rows`.

    Parameters
    ----------
    obs
        (n_obs, n_columns) with ``cell_type`` and, where known, ``donor_id``, ``dataset_id`` and ``total_counts``.
    rows
        (n_cells,) positions in `obs`.
    share
        Share of the counts that a thinned subset keeps.

    Returns
    -------
    n_cells, n_unique, n_donors, n_datasets, n_types; umis_per_cell, the median (times `share`, which thinning keeps on
    average); shannon in bits, inverse_simpson and gini_simpson over cell types. What is missing for one cell is unknown
    (NaN) for the subset: eight pooled donors without names are not few donors.
    """
    rows = np.asarray(rows)
    if rows.dtype == bool:
        raise TypeError("rows is a mask; positions are needed: np.flatnonzero(rows)")
    seen = np.zeros(len(obs), dtype=bool)
    seen[rows] = True
    types = obs["cell_type"].iloc[rows]
    umis = obs["total_counts"].to_numpy()[rows] if "total_counts" in obs else [np.nan]
    return {
        "n_cells": len(rows),
        "n_unique": int(np.count_nonzero(seen)),
        "n_donors": _distinct(obs, "donor_id", rows),
        "n_datasets": _distinct(obs, "dataset_id", rows),
        "n_types": types.nunique(),
        "umis_per_cell": float(np.median(umis)) * share,
        "shannon": diversity.shannon(types),
        "inverse_simpson": diversity.inverse_simpson(types),
        "gini_simpson": diversity.gini_simpson(types),
    }


def _distinct(obs: pd.DataFrame, column: str, rows: np.ndarray) -> float:
    values = obs[column].iloc[rows] if column in obs else pd.Series([None])
    return np.nan if values.isna().any() else values.nunique()


class ScaledExpression:
    """Log1p CP10k of the most variable genes of a corpus, scaled by the corpus' mean and standard deviation.

    `corpus` holds raw counts, (n_cells, n_genes). Called with other cells it gives their rows, made dense only as they
    are read: what the Vendi score takes. Genes that do not vary are left out. Source: study, Vendi score on scaled
    variable genes.
    """

    def __init__(self, corpus: AnnData | StoredCells, *, n_top: int = 2000) -> None:
        logs = log_expression(corpus)
        mean, square = gene_moments(logs)
        deviation = np.sqrt(np.maximum(square - mean**2, 0))
        genes = variable_genes(logs, n_top)
        self.genes = genes[deviation[genes] > 0]
        self.mean, self.deviation = mean[self.genes], deviation[self.genes]

    def __call__(self, adata: AnnData | StoredCells) -> "ScaledRows":
        """Rows of `adata`, (n_cells, n_genes) raw counts over the genes of the corpus."""
        return ScaledRows(on_genes(log_expression(adata), self.genes), self.mean, self.deviation)


class ScaledRows:
    """(n_cells, n_genes) that gives dense float64 rows for a slice."""

    def __init__(self, logs: sp.csr_array | LogCP10k, mean: np.ndarray, deviation: np.ndarray) -> None:
        self.logs, self.mean, self.deviation, self.shape = logs, mean, deviation, logs.shape

    def __getitem__(self, rows: slice) -> np.ndarray:
        return (self.logs[rows].toarray() - self.mean) / self.deviation
