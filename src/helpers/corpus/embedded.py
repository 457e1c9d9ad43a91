"""One h5ad file of raw counts in the layout of data/README.md: the cells that come with the project, or one like it."""

from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from helpers.corpus.checks import by_name
from helpers.corpus.source import Held
from helpers.provenance import file_sha256, project_path


def open_source(path: str | Path) -> Held:
    """The cells of a file in the order of their names, whatever that of the file, so that draws by position depend on
    the cells alone.
    """
    obs, genes = read_tables(path)
    order = by_name(obs.index)
    return Held(obs.iloc[order], genes, lambda: sp.csr_array(read(path).X[order]), lambda: file_sha256(_existing(path)))


def read(path: str | Path) -> AnnData:
    """All cells, raw counts as CSR float32. Raises ValueError if the file is missing or not a readable h5ad."""
    import anndata

    try:
        adata = anndata.read_h5ad(_existing(path))
    except (OSError, KeyError) as error:
        raise ValueError(f"not a readable h5ad file: {error}") from error
    if adata.X is None:
        raise ValueError("it has no X; raw counts are expected there")
    adata.X = sp.csr_matrix(adata.X, dtype=np.float32)
    return adata


def read_tables(path: str | Path) -> tuple[pd.DataFrame, pd.Index]:
    """The `obs` table, (n_cells, n_columns), and the names of the genes alone."""
    import h5py
    from anndata.io import read_elem

    try:
        with h5py.File(_existing(path)) as file:
            return read_elem(file["obs"]), read_elem(file["var"]).index
    except (OSError, KeyError) as error:
        raise ValueError(f"not a readable h5ad file: {error}") from error


def nonzeros(path: str | Path) -> float:
    """Mean number of genes that a cell has a stored count of, by the header of the file."""
    import h5py

    with h5py.File(_existing(path)) as file:
        if isinstance(file["X"], h5py.Dataset):
            return float(file["X"].shape[1])
        return file["X/data"].shape[0] / int(file["X"].attrs["shape"][0])


def _existing(path: str | Path) -> Path:
    file = project_path(path)
    if not file.is_file():
        raise ValueError("no such file; data/embedded.h5ad comes with the project")
    return file
