"""The most variable genes by Seurat's rule, from mean and variance of each gene."""

import numpy as np
import pandas as pd
import scipy.sparse as sp

N_BINS = 20  # of genes of like expression, among which dispersions are compared


def variable_genes(logs: sp.csr_array, n_top: int) -> np.ndarray:
    """Columns of the `n_top` genes with the highest normalised dispersion, sorted, (n_top,) int64.

    `logs` is log1p CP10k, (n_cells, n_genes). Exactly `n_top` (all, if there are no more): equal genes count in their
    order, silent genes last.
    """
    if n_top >= logs.shape[1]:
        return np.arange(logs.shape[1])
    from sklearn.utils.sparsefuncs import mean_variance_axis

    expression = np.expm1(logs.data).astype(np.float64)  # float64 for sums over many cells
    unlogged = sp.csr_matrix((expression, logs.indices, logs.indptr), shape=logs.shape)
    mean, variance = mean_variance_axis(unlogged, axis=0)
    dispersion = normalised_dispersion(mean, variance * (logs.shape[0] / max(1, logs.shape[0] - 1)))
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
