"""Principal components of a corpus, in which geometric sketching spreads its cells."""

import numpy as np
from anndata import AnnData

from helpers.corpus.stored import StoredCells
from helpers.models.expression import chunks, log_expression, on_genes
from helpers.models.pca import principal_axes
from helpers.variable_genes import variable_genes


def principal_components(adata: AnnData | StoredCells, *, n_components: int = 50, n_top: int = 2000) -> np.ndarray:
    """Cells on the principal axes of log1p CP10k of the most variable genes, (n_cells, n_components) float32.

    `adata` holds raw counts, (n_cells, n_genes), in memory or on disk. There are at most n_cells − 1 components, and at
    most one for each gene; cells are not centred, which moves no cell relative to another. Raises ValueError for cells
    without counts.

    Source: study, sampling ``geometric_sketching``.
    """
    logs = log_expression(adata)
    genes = variable_genes(logs, n_top)
    chosen = on_genes(logs, genes)
    axes = principal_axes(chosen, min(n_components, adata.n_obs - 1, len(genes))).axes
    components = np.empty((adata.n_obs, len(axes)), dtype=np.float32)
    for rows, cells in chunks(chosen):
        components[rows] = cells @ axes.T
    return components
