"""Vendi score of 222,000 cells × 2,000 features read from disk, and beside the package vendi-score in memory.

``python -m benchmarks.vendi [--small]``; --small takes a tenth of the cells and claims nothing about the full size.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.common import alone, report

N_FEATURES, CHUNK = 2_000, 4_096
N_DIRECTIONS = 40  # cells spread around so many centres: a spectrum between one direction and white noise


def write(path: Path, n_cells: int) -> None:
    """A float32 table (n_cells, N_FEATURES), written a chunk at a time; the first cells are the same at every size."""
    table = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n_cells, N_FEATURES))
    centres = np.random.default_rng(0).standard_normal((N_DIRECTIONS, N_FEATURES), dtype=np.float32)
    for start in range(0, n_cells, CHUNK):
        rng = np.random.default_rng([1, start])
        size = min(CHUNK, n_cells - start)
        noise = rng.standard_normal((CHUNK, N_FEATURES), dtype=np.float32)[:size]
        table[start : start + size] = centres[rng.geometric(0.1, CHUNK)[:size] % N_DIRECTIONS] + noise


def on_disk(path: Path, n_cells: int) -> tuple[np.ndarray]:
    """The first cells as a memmap: nothing is read yet."""
    return (np.load(path, mmap_mode="r")[:n_cells],)


def in_memory(path: Path, n_cells: int) -> tuple[np.ndarray]:
    """The first cells as float64, which the package needs to compute in double precision as ours does."""
    return (on_disk(path, n_cells)[0].astype(np.float64),)


def ours(X: np.ndarray) -> float:
    """Ours, imported inside so that each process holds the one candidate only."""
    from helpers.diversity import vendi

    return vendi(X, chunk=CHUNK)


def package(X: np.ndarray) -> float:
    """The package's dual form."""
    from vendi_score.vendi import score_dual

    return float(score_dual(X))


def main(small: bool) -> int:
    """Measure and report; 1 if a claim fails."""
    n_full, n_package = (22_200, 4_000) if small else (222_000, 20_000)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cells.npy"
        writing = alone(write, path, n_full)

        def measure(name: str, function, prepare, n_cells: int) -> dict:
            done = alone(function, path, n_cells, prepare=prepare)
            rows.append({"what": name, "cells": n_cells, "features": N_FEATURES, "seconds": done.seconds})
            rows[-1] |= {"peak_gb": done.peak_gb, "vendi": done.value}
            return rows[-1]

        full = [measure("ours, from disk", ours, on_disk, n_full // part) for part in (4, 2, 1)][-1]
        mine = measure("ours, in memory", ours, in_memory, n_package)
        theirs = measure("package, in memory", package, in_memory, n_package)
    difference = abs(mine["vendi"] / theirs["vendi"] - 1)
    rows.append({"what": "writing the table", "cells": n_full, "features": N_FEATURES, "seconds": writing.seconds})
    claims = {f"equal to the package to 1e-6: relative difference {difference:.1e}": difference <= 1e-6}
    if not small:
        claims |= {
            f"{n_full:,} × {N_FEATURES:,} within 60 s: {full['seconds']:.1f} s": full["seconds"] <= 60,
            f"{n_full:,} × {N_FEATURES:,} within 3 GB: {full['peak_gb']:.2f} GB": full["peak_gb"] <= 3,
        }
    title = "Vendi score, one thread; the peak counts pages of the mapped file, which the system can take back"
    return report("vendi_small" if small else "vendi", title, rows, claims)


if __name__ == "__main__":
    sys.exit(main("--small" in sys.argv[1:]))
