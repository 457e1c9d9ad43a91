"""Shuffled minibatches from disk, beside AnnData in memory and on disk, and beside reading the same store in order.

``python -m benchmarks.loading [--small]``: 222,000 cells as sparse as scTab's, 19,331 genes; --small 8,000. Each
candidate has a process of its own with one thread, and gives batches of 1,024 cells for a while. Rates are elapsed
time: on a busy machine only their ratios mean something.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import anndata
import numpy as np
import scipy.sparse as sp

from benchmarks.common import alone, report
from benchmarks.sctab_like import N_GENES, Cells
from helpers.corpus import shards
from helpers.corpus.shards import Shards
from helpers.corpus.stored import StoredCells, StoredCounts, packed

BATCH = 1_024
SHARES = (1.0, 0.5, 0.1, 0.01)
FEW_SHARES = (0.5, 0.1)  # of the small form
CHUNK = 4_096  # cells read at once in order


def write_store(folder: Path, n_cells: int) -> float:
    """The cells in shards; seconds of writing, without those of making them."""
    source, making = Cells(n_cells), 0.0

    def blocks(start: int) -> Iterator[sp.csr_array]:
        nonlocal making
        given = source.blocks(start)
        while True:
            began = time.perf_counter()
            block = next(given, None)
            making += time.perf_counter() - began
            if block is None:
                return
            yield block

    start = time.perf_counter()
    shards.write(folder, blocks, (n_cells, N_GENES))
    return time.perf_counter() - start - making


def write_h5ad(path: Path, store: Path) -> None:
    """The same cells as one h5ad, compressed as h5ad files are in practice."""
    counts = Shards(store, verify=False)
    anndata.AnnData(sp.csr_matrix(counts[:])).write_h5ad(path, compression="gzip")


def rate(batches: Iterator, seconds: float) -> float:
    """Cells per second of so many seconds of batches, the first of which is not counted."""
    next(batches)
    start, n_cells = time.perf_counter(), 0
    for batch in batches:
        n_cells += batch.shape[0]
        if time.perf_counter() - start > seconds:
            break
    return n_cells / (time.perf_counter() - start)


def in_order(store: Path, seconds: float) -> float:
    """The limit: the store's chunks one after the other."""
    datasets = Shards(store, verify=False).datasets
    starts = [(counts, start) for counts in datasets for start in range(0, counts.shape[0], CHUNK)]
    return rate((counts[start : start + CHUNK] for _ in range(99) for counts, start in starts), seconds)


def ours(store: Path, seconds: float, share: float) -> float:
    """Shuffled batches of a random subset where it lies."""
    return rate((counts for _, counts in subset(store, share).X.batches(BATCH, np.random.default_rng(0))), seconds)


def ours_packed(store: Path, seconds: float, share: float) -> tuple[float, float, float]:
    """As `ours`, packed before; rate, rate of the pack in order, and seconds of packing."""
    start = time.perf_counter()
    with packed(subset(store, share), store.parent / "pack") as own:
        took = time.perf_counter() - start
        shuffled = rate((counts for _, counts in own.X.batches(BATCH, np.random.default_rng(0))), seconds)
        return shuffled, in_order(store.parent / "pack", seconds), took


def subset(store: Path, share: float) -> StoredCells:
    """A random share of the cells."""
    import pandas as pd

    counts = Shards(store, verify=False)
    positions = np.random.default_rng(1).choice(counts.n_cells, round(share * counts.n_cells), replace=False)
    obs, var = (
        pd.DataFrame(index=np.arange(len(positions)).astype(str)),
        pd.DataFrame(index=np.arange(N_GENES).astype(str)),
    )
    return StoredCells(StoredCounts(counts, np.sort(positions)), obs, var)


def of_anndata(path: Path, seconds: float, backed: bool) -> float:
    """Random batches of an AnnData, in memory or on disk."""
    cells = anndata.read_h5ad(path, backed="r" if backed else None)
    order = np.random.default_rng(0).permutation(cells.n_obs)
    rows = [np.sort(order[start:end]) for start, end in pairwise(range(0, cells.n_obs, BATCH))]
    return rate((cells[part].to_memory().X if backed else cells.X[part] for _ in range(99) for part in rows), seconds)


def main(small: bool) -> int:
    """Measure and report; 1 if a claim fails."""
    n_cells, seconds, rows = 8_000 if small else 222_000, 1 if small else 20, []
    with tempfile.TemporaryDirectory() as folder:
        store, path = Path(folder) / "store", Path(folder) / "cells.h5ad"
        writing = alone(write_store, store, n_cells)
        alone(write_h5ad, path, store)

        def measure(name: str, function: Callable, where: Path, *arguments: object):
            done = alone(function, where, seconds, *arguments)
            value = done.value if isinstance(done.value, tuple) else (done.value,)
            rows.append({"what": name, "cells_per_second": value[0], "peak_gb": done.peak_gb})
            return value

        (ordered,) = measure("the store in order", in_order, store)
        (backed,) = measure("AnnData on disk", of_anndata, path, True)
        measure("AnnData in memory", of_anndata, path, False)
        claims = {}
        for share in FEW_SHARES if small else SHARES:
            (found,) = measure(f"ours, {share:.0%} of the cells", ours, store, share)
            if share >= 0.5:
                claims[f"{share:.0%} of the cells: {found / ordered:.2f} of reading in order"] = found >= 0.5 * ordered
                claims[f"{share:.0%} of the cells: {found / backed:.0f} times AnnData on disk"] = found >= 10 * backed
                continue
            found, own, took = measure(f"ours, {share:.0%} of the cells, packed", ours_packed, store, share)
            rows[-1]["packing_seconds"] = took
            claims[f"{share:.0%} packed: {found / own:.2f} of reading its pack in order"] = found >= 0.5 * own
            claims[f"{share:.0%} packed: {found / backed:.0f} times AnnData on disk"] = found >= 10 * backed
        size = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
        per_count = size / Shards(store, verify=False).n_values
    rows.append({"what": "writing the store", "cells_per_second": n_cells / writing.value, "peak_gb": writing.peak_gb})
    if not small:
        claims[f"{n_cells:,} cells written within 180 s: {writing.value:.0f} s"] = writing.value <= 180
    on_disk = f"{size / n_cells:,.0f} bytes a cell on disk, {per_count:.2f} a count"
    title = f"Batches of {BATCH:,} of {n_cells:,} cells × {N_GENES:,} genes, {on_disk}"
    return report("loading_small" if small else "loading", title, rows, claims)


if __name__ == "__main__":
    sys.exit(main("--small" in sys.argv[1:]))
