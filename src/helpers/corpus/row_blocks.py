"""Rows of a matrix in an HDF5 file, in blocks of bounded size, whether it is stored by rows, by columns or dense."""

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp

MOST_CELLS = 16_384
MOST_BYTES = 2**26  # of a block, and of what is read at once
BAND_BYTES = 2**28  # of the rows that one pass over a matrix stored by columns gives
FEW_CELLS = 256  # that tell whether a matrix holds counts


def open_matrix(element):
    """Dataset or group of an open file as a matrix on disk that can be sliced; nothing is read."""
    import h5py
    from anndata.io import sparse_dataset

    return element if isinstance(element, h5py.Dataset) else sparse_dataset(element, should_cache_indptr=False)


def row_blocks(matrix, start: int = 0) -> Iterator[sp.csr_array]:
    """Rows from `start` on, in order, as CSR (n_rows, n_columns) with the stored type of values.

    A block has at most 16,384 rows and 64 MB, or one row. A matrix stored by columns is read from end to end for every
    256 MB of rows, with 1 GB of memory: seconds for some ten thousand cells, but the square of that for more. Raises
    ValueError if indices lead out of the matrix.
    """
    kinds = {"csr": _stored_by_rows, "csc": _stored_by_columns}
    return kinds.get(getattr(matrix, "format", None), _dense)(matrix, start)


def sample(matrix) -> sp.csr_array:
    """Some values of a matrix: those of its first rows or, if it is stored by columns, of its first columns."""
    if getattr(matrix, "format", None) == "csc":
        return next(_strips(matrix)).tocsr()
    few = sp.csr_array(matrix[:FEW_CELLS])
    few.check_format()
    return few


def _dense(matrix, start: int) -> Iterator[sp.csr_array]:
    n_rows, n_columns = matrix.shape
    most = max(1, min(MOST_CELLS, MOST_BYTES // (n_columns * max(4, matrix.dtype.itemsize))))
    chunk = matrix.chunks[0] if matrix.chunks else 1
    while start < n_rows:
        stop = min(start + most, n_rows)
        if chunk <= most and stop < n_rows:  # no chunk is decompressed twice
            stop -= stop % chunk
        yield sp.csr_array(matrix[start:stop])
        start = stop


def _stored_by_rows(matrix, start: int) -> Iterator[sp.csr_array]:
    while start < matrix.shape[0]:
        ends = matrix.group["indptr"][start : start + MOST_CELLS + 1].astype(np.int64)
        stop = start + _fitting(ends, MOST_BYTES // _value_bytes(matrix))
        block = sp.csr_array(matrix[start:stop])
        block.check_format()
        yield block
        start = stop


def _stored_by_columns(matrix, start: int) -> Iterator[sp.csr_array]:
    n_rows, value_bytes = matrix.shape[0], _value_bytes(matrix)
    n_values = max(1, matrix.group["indices"].shape[0])
    band = max(1, BAND_BYTES // value_bytes * n_rows // n_values)
    for first in range(start, n_rows, band):
        strips = [strip[first : first + band] for strip in _strips(matrix)]
        joined = sp.hstack(strips, format="csc")
        strips.clear()
        rows, begin = joined.tocsr(), 0
        del joined
        while begin < rows.shape[0]:
            end = begin + _fitting(rows.indptr[begin : begin + MOST_CELLS + 1], MOST_BYTES // value_bytes)
            yield rows[begin:end]
            begin = end


def _strips(matrix) -> Iterator[sp.csc_array]:
    """All rows of a matrix stored by columns, some columns at a time."""
    ends = matrix.group["indptr"][:].astype(np.int64)
    first = 0
    while first < matrix.shape[1]:
        last = first + _fitting(ends[first:], MOST_BYTES // _value_bytes(matrix))
        strip = sp.csc_array(matrix[:, first:last])
        strip.check_format()
        yield strip
        first = last


def _value_bytes(matrix) -> int:
    """Bytes of one stored value with its index, as stored or as 32-bit numbers, whichever are more."""
    return max(8, matrix.dtype.itemsize + matrix.group["indices"].dtype.itemsize)


def _fitting(ends: np.ndarray, most: int) -> int:
    """How many of the rows that end at `ends[1:]` have at most so many values together; at least one."""
    return max(1, int(np.searchsorted(ends, ends[0] + most, side="right")) - 1)
