"""The most variable genes by Seurat's rule, from mean and variance of each gene."""

import numpy as np
import pandas as pd
import scipy.sparse as sp

from helpers.models.expression import LogCP10k, gene_moments

N_BINS = 20  # of genes of like expression, among which dispersions are compared


def variable_genes(logs: sp.csr_array | LogCP10k, n_top: int) -> np.ndarray:
    """Columns of the `n_top` genes with the highest normalised dispersion, sorted, (n_top,) int64.

    `logs` is log1p CP10k, (n_cells, n_genes), in memory or read piece by piece, once. Exactly `n_top` (all, if there
    are no more): equal genes count in their order, silent genes last.
    """
    n_cells, n_genes = logs.shape
    if n_top >= n_genes:
        return np.arange(n_genes)
    mean, square = gene_moments(logs, np.expm1)
    variance = (square - mean**2) * (n_cells / max(1, n_cells - 1))
    dispersion = normalised_dispersion(mean, np.maximum(variance, 0))
    return np.sort(np.argsort(-np.nan_to_num(dispersion, nan=-np.inf), kind="stable")[:n_top])


def normalised_dispersion(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """How far each gene's log variance / mean lies above that of genes of like mean, in their standard deviations.

    `mean` and `variance` are of counts per 10,000, (n_genes,), the variance unbiased. NaN for genes that do not vary;
    1 for a gene that has no like.

    Source: Satija et al. 2015, as scanpy's highly_variable_genes, flavor "seurat", computes it. Its own function
    compiles itself anew in each process when counts are sparse, which takes four seconds, and needs all cells at once.
    """
    with np.errstate(divide="ignore"):
        dispersion = np.log(variance / np.maximum(mean, 1e-12))
    genes = pd.DataFrame({"dispersion": np.where(np.isfinite(dispersion), dispersion, np.nan)})
    like = genes.groupby(pd.cut(np.log1p(mean), N_BINS, labels=False))["dispersion"]
    centre, spread = like.transform("mean"), like.transform("std")
    return ((genes["dispersion"] - centre) / spread).mask(genes["dispersion"].notna() & spread.isna(), 1.0).to_numpy()
