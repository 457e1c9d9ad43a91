"""Counts that are stored gene by gene, or in any order: brought to the order of cells by way of files."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import scipy.sparse as sp

BLOCK_CELLS = 2048
LINES = 2_000_000  # of a Matrix Market file, read together
RECORD = np.dtype([("cell", np.int32), ("gene", np.int32), ("count", np.float32)])

Entries = Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]  # cells, genes and counts, (n_entries,) each


def by_cells(entries: Entries, shape: tuple[int, int], rows: np.ndarray, folder: Path) -> Iterator[sp.csr_matrix]:
    """Counts (n_rows, n_genes) of the sorted `rows`, in their order and in blocks, of entries in any order.

    `shape` is (n_cells, n_genes) of the file; entries wait in a temporary folder in `folder`.
    """
    place = np.full(shape[0], -1, dtype=np.int32)
    place[rows] = np.arange(len(rows))
    with TemporaryDirectory(dir=folder, prefix=".", suffix=".tmp") as scratch:
        for cells, genes, counts in entries:
            chosen = place[cells] >= 0
            records = np.empty(int(chosen.sum()), dtype=RECORD)
            records["cell"], records["gene"], records["count"] = place[cells][chosen], genes[chosen], counts[chosen]
            records = records[np.argsort(records["cell"] // BLOCK_CELLS, kind="stable")]
            numbers, starts = np.unique(records["cell"] // BLOCK_CELLS, return_index=True)
            for number, part in zip(numbers, np.split(records, starts[1:]), strict=False):
                with Path(scratch, str(number)).open("ab") as handle:
                    handle.write(part.tobytes())
        for number, start in enumerate(range(0, len(rows), BLOCK_CELLS)):
            file = Path(scratch, str(number))
            records = np.fromfile(file, dtype=RECORD) if file.is_file() else np.empty(0, dtype=RECORD)
            block = (min(BLOCK_CELLS, len(rows) - start), shape[1])
            yield sp.csr_matrix((records["count"], (records["cell"] - start, records["gene"])), shape=block)


def of_matrix_market(handle, shape: tuple[int, int], name: str) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Entries of a Matrix Market file of genes × cells, opened for bytes; `shape` is the expected (n_cells, n_genes).

    Raises ValueError, with the file's name, for another kind of file, other numbers of cells or genes, and a file that
    ends early.
    """
    import pandas as pd

    head = handle.readline().decode("ascii", "replace").split()
    if head[:3] != ["%%MatrixMarket", "matrix", "coordinate"] or head[4:] != ["general"]:
        raise ValueError(f"{name} begins with {' '.join(head)[:60]!r}: a general coordinate Matrix Market is needed")
    line = handle.readline()
    while line.startswith(b"%"):
        line = handle.readline()
    n_genes, n_cells, n_entries = map(int, line.split())
    if (n_cells, n_genes) != shape:
        told = f"{n_genes:,} genes × {n_cells:,} cells"
        raise ValueError(
            f"{name} holds {told}, but the tables beside it have {shape[1]:,} genes and {shape[0]:,} cells"
        )
    kinds = {0: np.int32, 1: np.int32, 2: np.float32}
    seen = 0
    for table in pd.read_csv(handle, sep=r"\s+", header=None, dtype=kinds, chunksize=LINES):
        seen += len(table)
        yield table[1].to_numpy() - 1, table[0].to_numpy() - 1, table[2].to_numpy()
    if seen != n_entries:
        raise ValueError(f"{name} ends after {seen:,} of {n_entries:,} values: it is cut")
