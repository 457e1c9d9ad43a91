"""Principal components of a corpus, in which geometric sketching spreads its cells."""

import numpy as np
from anndata import AnnData

from helpers.models.counts import log_cp10k, raw_counts
from helpers.models.pca import principal_axes
from helpers.variable_genes import variable_genes


def principal_components(adata: AnnData, *, n_components: int = 50, n_top: int = 2000) -> np.ndarray:
    """Cells on the principal axes of log1p CP10k of the most variable genes, (n_cells, n_components) float32.

    `adata` holds raw counts, (n_cells, n_genes). There are at most n_cells − 1 components, and one for each gene; cells
    are not centred, which moves no cell relative to another. Raises ValueError for cells without counts.

    Source: study, sampling ``geometric_sketching``.
    """
    logs = log_cp10k(raw_counts(adata))
    chosen = logs[:, variable_genes(logs, n_top)]
    axes = principal_axes(chosen, min(n_components, adata.n_obs - 1, chosen.shape[1]))[1]
    return (chosen @ axes.T).astype(np.float32)
