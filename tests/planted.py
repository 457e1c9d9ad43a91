"""Cells of planted types, made up for tests."""

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp

N_GENES = 60


def draw_cells(
    n: int, seed: int, *, n_genes: int = N_GENES, rates: tuple[float, float] = (6.0, 1.0), confined: int | None = None
) -> anndata.AnnData:
    """Counts of the types ``a``, ``b``, ``c``, each with its genes, in the libraries ``one`` and ``two``.

    `rates` are expected counts of a type's own genes and of others, for a cell of mean depth. The type with the number
    `confined` is in library one alone. Gene 0 has a count in each cell, so that none is empty.
    """
    rng = np.random.default_rng(seed)
    types, libraries = rng.integers(3, size=n), rng.integers(2, size=n)
    libraries[types == confined] = 0
    expected = np.where(np.arange(n_genes) % 3 == types[:, None], *rates) * rng.gamma(5, 0.2, (n, 1))
    counts = rng.poisson(expected).astype(np.float32)
    counts[:, 0] += 1
    obs = {"cell_type": np.array(["a", "b", "c"])[types], "batch": np.array(["one", "two"])[libraries]}
    obs = pd.DataFrame(obs, index=[f"cell{number}" for number in range(n)])
    return anndata.AnnData(sp.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(n_genes)]))
