"""How varied a set of cells is: one number per index, from labels, (n_cells,), or values, (n_cells, n_features)."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd


class Rows(Protocol):
    """A table in memory or on disk: a shape, and slices of rows as arrays or sparse matrices."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: slice, /) -> Any: ...


def shannon(labels: Sequence | np.ndarray | pd.Series) -> float:
    """Shannon index −Σ p log₂ p in bits, over the shares p of each label: 0 for one label, log₂ k for k equal ones.

    Parameters
    ----------
    labels
        (n_cells,), any hashable values.

    Raises
    ------
    ValueError
        No labels, or missing ones.

    Source: Shannon 1948; base 2 as in the study (≈ 5.90 bits for random subsets of its corpus).
    """
    shares = _shares(labels)
    return float(-(shares * np.log2(shares)).sum()) + 0.0  # + 0.0 turns the -0.0 of a single label into 0.0


def inverse_simpson(labels: Sequence | np.ndarray | pd.Series) -> float:
    """Inverse Simpson index 1 / Σ p², the effective number of labels: 1 for one label, k for k equal ones.

    `labels` is (n_cells,); raises ValueError for none or missing ones. Source: Simpson 1949, Hill number of order 2.
    """
    return float(1 / (_shares(labels) ** 2).sum())


def gini_simpson(labels: Sequence | np.ndarray | pd.Series) -> float:
    """Gini–Simpson index 1 − Σ p², the chance that two cells drawn with replacement differ: from 0 to under 1.

    `labels` is (n_cells,); raises ValueError for none or missing ones. Source: Simpson 1949.
    """
    return float(1 - (_shares(labels) ** 2).sum())


def vendi(X: Rows, *, chunk: int = 4096) -> float:
    """Vendi score of order 1, the effective number of cells: 1 for cells of one direction, n for n orthogonal ones.

    It is exp(−Σ λ ln λ) over the eigenvalues λ of K / n_cells, K the cosine similarities of all pairs of cells.

    Parameters
    ----------
    X
        (n_cells, n_features): an array, a sparse matrix, or what gives one for a slice of rows, such as a memmap, a
        dataset of h5py or zarr, or anndata's sparse dataset on disk.
    chunk
        Cells read at a time. Memory takes some `chunk` × n_features and one m × m table of float64, m the smaller side
        of `X`; with fewer cells than features also all cells.

    Raises
    ------
    ValueError
        `X` is not two-dimensional or empty; a cell has NaN, infinite values or no values but 0; `chunk` is under 1.

    Source: Friedman & Dieng 2023, Algorithm 1, linear kernel; `score_X` and `score_dual` of the package vendi-score.
    """
    from scipy.linalg import eigvalsh
    from scipy.linalg.blas import dsyrk

    X = X.tocsr() if hasattr(X, "tocsr") else X  # every sparse format
    shape = tuple(np.shape(X))
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"X has the shape {shape}: (n_cells, n_features) with at least one of each is needed")
    if isinstance(chunk, bool) or not isinstance(chunk, int | np.integer) or chunk < 1:
        raise ValueError(f"chunk = {chunk}: at least one cell must be read at a time")
    # The smaller of U Uᵀ and Uᵀ U, U the cells at unit length: both have the same eigenvalues other than 0. dsyrk
    # computes one triangle, half the work of a product, and adds it in place. It wants Fortran order, as has U.T.
    if shape[0] < shape[1]:
        gram = dsyrk(1.0, np.concatenate(list(_unit_rows(X, shape[0], chunk))).T, trans=1, lower=1)
    else:
        gram = np.zeros((shape[1], shape[1]), order="F")
        for rows in _unit_rows(X, shape[0], chunk):
            gram = dsyrk(1.0, rows.T, beta=1.0, c=gram, lower=1, overwrite_c=1)
    gram /= shape[0]
    eigenvalues = eigvalsh(gram, lower=True, overwrite_a=True, check_finite=False)
    shares = eigenvalues[eigenvalues > 0]  # rounding leaves some just under 0
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _unit_rows(X: Rows, n_cells: int, chunk: int) -> Iterator[np.ndarray]:
    """Cells scaled to unit length, at most (chunk, n_features) float64 at a time."""
    for start in range(0, n_cells, chunk):
        rows = X[start : min(start + chunk, n_cells)]
        rows = np.array(rows.toarray() if hasattr(rows, "toarray") else rows, dtype=np.float64, order="C")
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused below
            lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        bad = ~(np.isfinite(lengths) & (lengths > 0))
        if bad.any():
            cell = int(bad.argmax())
            what = "length 0" if lengths[cell] == 0 else "NaN, infinite or too large values"
            raise ValueError(f"cell {start + cell} of X has {what}: Vendi compares the directions of cells")
        rows /= lengths[:, None]
        yield rows


def _shares(labels: Sequence | np.ndarray | pd.Series) -> np.ndarray:
    """Share of each label that occurs, (n_labels,), all positive."""
    if isinstance(labels, str | bytes):
        raise ValueError(f"labels = {labels!r} is one text; a sequence with the label of each cell is needed")
    # As objects, so that numpy neither turns a missing label into text nor a label that is a tuple into columns.
    values = pd.Series(labels if hasattr(labels, "dtype") else list(labels), dtype=getattr(labels, "dtype", object))
    if not len(values):
        raise ValueError("labels is empty: the diversity of no cells is undefined")
    missing = int(values.isna().sum())
    if missing:
        raise ValueError(f"labels is missing for {missing:,} of {len(values):,} cells: label them or leave them out")
    counts = values.value_counts().to_numpy()
    return counts[counts > 0] / len(values)  # a categorical column also counts the categories that no cell has
