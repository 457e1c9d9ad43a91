"""Geometric sketching against the package geosketch: seconds, coverage, and growth up to millions of cells.

Run with ``python -m benchmarks.sketching [--small]``. Seconds are those of the processor, one thread: on an idle
machine they are the clock's, and other programs disturb them less.
"""

import math
import sys
import time
from itertools import pairwise

import numpy as np
import pandas as pd

from benchmarks.common import Measured, alone, report
from helpers import subset
from helpers.subset.geometric_sketching import ENGINES

N_PCS, N_TYPES, N_DONORS = 50, 160, 40
SEEDS = range(10)
ATLAS = 22_000_000
Q = 1e-3  # the partial Hausdorff distance leaves out this share of the cells, the farthest ones
RARE = 1e-3  # share of the cells under which a type is rare
# More cells outgrow the caches and have more boxes, so shorter sides and more dimensions to cut: seconds per n log n
# may grow by this factor for ten times the cells. For a method that is quadratic in the cells it would be eight.
GROWTH = 2.0


def embedding_of(cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Cells like an atlas's: principal components (cells, 50) float32, and type (cells,).

    Types belong to a dozen lineages; their shares fall from 4 % to 0.009 %, 20 of 222,000 cells. Donors shift their
    cells a little, and some cells lie far out.
    """
    rng = np.random.default_rng(0)
    scale = 10 * np.arange(1, N_PCS + 1) ** -0.6
    centres = (rng.normal(size=(12, N_PCS))[np.arange(N_TYPES) % 12] + 0.6 * rng.normal(size=(N_TYPES, N_PCS))) * scale
    donors = 0.1 * rng.normal(size=(N_DONORS, N_PCS)) * scale
    shares = np.geomspace(440, 1, N_TYPES)
    middle = (np.arange(cells) + 0.5) / cells
    labels = rng.permutation(np.searchsorted(np.cumsum(shares / shares.sum())[:-1], middle))
    embedding = np.empty((cells, N_PCS), dtype=np.float32)
    for chunk in np.array_split(np.arange(cells), cells // 50_000 + 1):
        spread = 0.25 * rng.lognormal(0, 0.3, (len(chunk), 1)) * rng.normal(size=(len(chunk), N_PCS)) * scale
        embedding[chunk] = centres[labels[chunk]] + donors[rng.integers(0, N_DONORS, len(chunk))] + spread
    return embedding, labels


def prepare(cells: int, share: float, engines: tuple[str, ...], seeds: range) -> tuple:
    embedding = embedding_of(cells)[0]
    for engine in engines:
        sketch(embedding[:200], 10, engine, 0)  # imports are not timed
    return embedding, round(share * cells), engines, seeds


def sketch(embedding: np.ndarray, n: int, engine: str, seed: int) -> np.ndarray:
    obs, rng = pd.DataFrame(index=range(len(embedding))), np.random.default_rng(seed)
    return subset.draw("geometric_sketching", obs, n, rng=rng, embedding=embedding, engine=engine)


def sketches(embedding: np.ndarray, n: int, engines: tuple[str, ...], seeds: range) -> tuple[dict, dict]:
    """Sketches and seconds by engine, lists with an item per seed; engines take turns, so that they share all noise."""
    drawn, seconds = {engine: [] for engine in engines}, {engine: [] for engine in engines}
    for seed in seeds:
        for engine in engines:
            start = time.process_time()
            drawn[engine].append(sketch(embedding, n, engine, seed))
            seconds[engine].append(time.process_time() - start)
    return drawn, seconds


def measure(cells: int, share: float, engines: tuple[str, ...], seeds: range) -> Measured:
    return alone(sketches, cells, share, engines, seeds, prepare=prepare)


def hausdorff(embedding: np.ndarray, rows: np.ndarray) -> float:
    """Partial Hausdorff distance from all cells to those in `rows`, in units of the embedding."""
    drawn = embedding[rows]
    squares = (drawn**2).sum(axis=1)
    nearest = [
        (squares - 2 * part @ drawn.T).min(axis=1) for part in np.array_split(embedding, len(embedding) // 4096 + 1)
    ]
    squared = np.concatenate(nearest) + (embedding**2).sum(axis=1)
    return float(np.sqrt(np.quantile(squared, 1 - Q)))


def recall(labels: np.ndarray, rows: np.ndarray) -> float:
    """Share of the rare types that have a cell in `rows`."""
    counts, drawn = np.bincount(labels), np.bincount(labels[rows], minlength=N_TYPES)
    return float((drawn[(counts > 0) & (counts < RARE * len(labels))] > 0).mean())


def speed(cells: int, claimed: dict[float, float]) -> tuple[int, dict]:
    """Seconds beside the package's; `claimed` are the least speed-ups by share of the cells drawn, 1 % the last.

    Returns 1 if a claim fails, else 0, and the sketches of 1 % by engine.
    """
    rows, claims, drawn = [], {}, {}
    for share, least in claimed.items():
        seeds = SEEDS if share == 0.01 else SEEDS[:3]
        drawn, seconds = measure(cells, share, ENGINES, seeds).value
        medians = {f"{engine}_s": np.median(seconds[engine]) for engine in ENGINES}
        times = float(np.median(np.divide(seconds["geosketch"], seconds["cellscale"])))
        rows.append({"n": f"{share:.0%}", "runs": len(seeds), **medians, "times": times})
        claims[f"at least {least:g} times as fast at n = {share:.0%}"] = times >= least
    title = f"Seconds for {cells:,} cells × {N_PCS}, boxes = 1 % of them, one thread, medians of runs in turns"
    return report("sketching_speed", title, rows, claims), drawn


def quality(cells: int, drawn: dict[str, list[np.ndarray]]) -> int:
    """Coverage and rare types of sketches, by engine, beside each other and random draws."""
    embedding, labels = embedding_of(cells)
    obs, n = pd.DataFrame(index=range(cells)), len(drawn["cellscale"][0])
    uniform = [subset.draw("random", obs, n, rng=np.random.default_rng(seed)) for seed in SEEDS]
    rows, recalls = {}, {}
    for name, sketched in {**drawn, "random": uniform}.items():
        recalls[name] = [recall(labels, one) for one in sketched]
        distance = float(np.median([hausdorff(embedding, one) for one in sketched]))
        rows[name] = {"sketch": name, "distance": distance, "recall": float(np.mean(recalls[name]))}
    ours, package, floor = rows.values()
    # Two draws of one law differ by chance, either way: two standard errors of the difference are allowed.
    error = 2 * float(
        np.sqrt((np.var(recalls["cellscale"], ddof=1) + np.var(recalls["geosketch"], ddof=1)) / len(SEEDS))
    )
    claims = {
        "median distance at most 1.05 times that of geosketch": ours["distance"] <= 1.05 * package["distance"],
        f"rare types found no less often, within {error:.3f}": ours["recall"] >= package["recall"] - error,
        "random draws find fewer of them": floor["recall"] < min(ours["recall"], package["recall"]) - error,
    }
    what = f"Partial Hausdorff distance (q = {Q:g}) and share of rare types (under {RARE:.1%}) found"
    return report("sketching_quality", f"{what}, n = 1 %, ten seeds", list(rows.values()), claims)


def growth(sizes: list[int], most_seconds: float, most_gb: float) -> int:
    """Seconds and memory by number of cells, with what is claimed of the largest, and what an atlas would need."""
    rows = []
    for cells in sizes:
        measured = measure(cells, 0.01, ENGINES[:1], SEEDS[:5])
        seconds = min(measured.value[1][ENGINES[0]])  # sizes do not take turns, so the least disturbed runs compare
        rows.append({"cells": cells, "seconds": seconds, "peak_gb": measured.peak_gb})
        rows[-1]["ns_per_n_log_n"] = 1e9 * seconds / (cells * math.log(cells))
    less, last = rows[-2:]
    steps = [more["ns_per_n_log_n"] / less["ns_per_n_log_n"] for less, more in pairwise(rows)]
    claims = {
        f"{last['cells']:,} cells in {most_seconds:g} s": last["seconds"] <= most_seconds,
        f"{last['cells']:,} cells in {most_gb:g} GB, embedding included": last["peak_gb"] <= most_gb,
        f"seconds per n log n grow at most {GROWTH:g}-fold per tenfold cells": max(steps) <= GROWTH,
    }
    as_before = 1e-9 * last["ns_per_n_log_n"] * ATLAS * math.log(ATLAS)
    gb_per_cell = (last["peak_gb"] - less["peak_gb"]) / (last["cells"] - less["cells"])
    memory = last["peak_gb"] + gb_per_cell * (ATLAS - last["cells"])
    expected = (
        f"Expected of {ATLAS:,} cells: {as_before:.0f} s, or {as_before * max(1, steps[-1]):.0f} s if n log n is "
        f"outgrown as in the last step; {memory:.0f} GB, {ATLAS * N_PCS * 4 / 1e9:.1f} of them the embedding."
    )
    return report("sketching_growth", f"Growth, n = 1 %, one thread, least of five. {expected}", rows, claims)


def main(small: bool) -> int:
    cells = 8_000 if small else 222_000
    slower, drawn = speed(cells, {0.01: 20} if small else {0.1: 100, 0.01: 50})
    worse = quality(cells, drawn)
    return slower | worse | (growth([20_000, 200_000], 5, 2) if small else growth([20_000, 220_000, 2_200_000], 60, 6))


if __name__ == "__main__":
    sys.exit(main("--small" in sys.argv[1:]))
