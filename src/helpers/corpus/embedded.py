"""One h5ad file of raw counts in the layout of data/README.md: the cells that come with the project, or one like it."""

from pathlib import Path

import pandas as pd
from anndata import AnnData

from helpers.provenance import project_path


def read(path: str | Path) -> AnnData:
    """All cells, raw counts as CSR float32. Raises ValueError if the file is missing or not a readable h5ad."""
    import anndata
    import numpy as np
    import scipy.sparse as sp

    try:
        adata = anndata.read_h5ad(_existing(path))
    except (OSError, KeyError) as error:
        raise ValueError(f"corpus.path = {str(path)!r} is not a readable h5ad file: {error}") from error
    if adata.X is None:
        raise ValueError(f"corpus.path = {str(path)!r} has no X; raw counts are expected there")
    adata.X = sp.csr_matrix(adata.X, dtype=np.float32)
    return adata


def read_obs(path: str | Path) -> pd.DataFrame:
    """The `obs` table alone, (n_cells, n_columns)."""
    import h5py
    from anndata.io import read_elem

    try:
        with h5py.File(_existing(path)) as file:
            return read_elem(file["obs"])
    except (OSError, KeyError) as error:
        raise ValueError(f"corpus.path = {str(path)!r} is not a readable h5ad file: {error}") from error


def _existing(path: str | Path) -> Path:
    file = project_path(path)
    if not file.is_file():
        raise ValueError(f"corpus.path = {str(path)!r}: no such file; data/embedded.h5ad comes with the project")
    return file
