"""What an h5ad file holds, read piece by piece: chosen rows of obs, names of genes, and counts in blocks of cells."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from helpers.messages import unknown
from helpers.prepare.entries import BLOCK_CELLS, by_cells

VALUES = 2_000_000  # read together, of counts that are stored gene by gene
SCATTERED = 8  # of so many rows one is chosen, at most, where each is read for itself


@contextlib.contextmanager
def opened(path: Path) -> Iterator:
    """An h5ad file; ValueError if it is none, or cut."""
    import h5py

    try:
        with h5py.File(path) as file:
            yield file
    except (OSError, KeyError) as error:
        raise ValueError(f"{path} is not a readable h5ad file: {error}; download it anew") from error


def counts_in(file) -> str:
    """Where counts are, and `var` beside them: ``raw/`` if there is one, as in files of CELLxGENE, else the root."""
    return "raw/" if "raw/X" in file else ""


def gene_names(table, column: str | None, path: Path) -> pd.Index:
    """Names of genes, (n_genes,), in a column of `var`, or its index."""
    var = _read(table)
    if column is not None and column not in var:
        raise ValueError(f"{path}: {unknown('column of var', column, var.columns)}")
    return pd.Index((var.index if column is None else var[column]).astype(str))


def read_obs(
    table, path: Path, needed: tuple[str, ...], where: dict[str, tuple[str, ...]]
) -> tuple[pd.DataFrame, np.ndarray]:
    """`obs`, (n_chosen, n_columns), and the rows, (n_chosen,), of cells whose columns hold the values of `where`.

    Only the columns of `where` are read for all cells. Raises ValueError for columns that are not there.
    """
    if table.attrs["encoding-version"] == "0.1.0":  # before anndata 0.8, categories are kept apart: read at once
        obs = _read(table)
        _check_columns(obs.columns, needed, path)
        rows = np.flatnonzero(np.logical_and.reduce([np.ones(len(obs), bool), *_matches(obs, where)]))
        return obs.iloc[rows], rows
    columns = list(table.attrs["column-order"])
    _check_columns(columns, needed, path)
    names = table[table.attrs["_index"]]
    chosen = pd.DataFrame({column: _read(table[column]) for column in where}, index=range(len(names)))
    rows = np.flatnonzero(np.logical_and.reduce([np.ones(len(chosen), bool), *_matches(chosen, where)]))
    return pd.DataFrame({column: _taken(table[column], rows) for column in columns}, index=_taken(names, rows)), rows


def blocks(path: Path, rows: np.ndarray) -> Iterator[sp.csr_matrix]:
    """Counts (n_rows, n_genes) of the sorted `rows`, in their order, in blocks of at most `BLOCK_CELLS`.

    Memory holds as many cells of the file, whatever its size; of counts that are stored gene by gene a copy waits on
    disk, beside the file.
    """
    import h5py
    from anndata.io import sparse_dataset

    with opened(path) as file:
        stored = file[f"{counts_in(file)}X"]
        if isinstance(stored, h5py.Group):
            stored = sparse_dataset(stored)
            if stored.format == "csc":
                yield from by_cells(_entries(file[f"{counts_in(file)}X"]), stored.shape, rows, path.parent)
                return
        for window in _windows(rows):
            first, last = int(window[0]), int(window[-1]) + 1
            if len(window) * SCATTERED < last - first:
                yield sp.csr_matrix(sp.vstack([sp.csr_matrix(stored[int(row) : int(row) + 1]) for row in window]))
            else:
                yield sp.csr_matrix(sp.csr_matrix(stored[first:last])[window - first])


def _read(element):
    """An element of the file in memory; that older files say less of what they hold is no news."""
    import anndata

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", anndata.OldFormatWarning)
        return anndata.io.read_elem(element)


def _entries(group) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Entries of counts that are stored gene by gene."""
    ends = group["indptr"][:]
    for start in range(0, int(ends[-1]), VALUES):
        part = slice(start, min(start + VALUES, int(ends[-1])))
        genes = np.searchsorted(ends, np.arange(part.start, part.stop), side="right") - 1
        yield group["indices"][part], genes, group["data"][part]


def _check_columns(columns, needed: tuple[str, ...], path: Path) -> None:
    for column in needed:
        if column not in columns:
            raise ValueError(f"{path}: {unknown('column of obs', column, columns)}")


def _matches(obs: pd.DataFrame, where: dict[str, tuple[str, ...]]) -> list[np.ndarray]:
    return [obs[column].isin(values).to_numpy() for column, values in where.items()]


def _taken(column, rows: np.ndarray):
    """Values of chosen rows of a column; numbers and text are read piece by piece."""
    import h5py

    if not isinstance(column, h5py.Dataset):
        return _read(column)[rows]
    stored = column.asstr() if h5py.check_string_dtype(column.dtype) else column
    return np.concatenate([stored[int(one[0]) : int(one[-1]) + 1][one - one[0]] for one in _windows(rows)] or [[]])


def _windows(rows: np.ndarray) -> list[np.ndarray]:
    """Sorted rows, those of one block of the file together."""
    return [one for one in np.split(rows, np.flatnonzero(np.diff(rows // BLOCK_CELLS)) + 1) if len(one)]
