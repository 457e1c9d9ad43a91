"""Subsets of a corpus of 22,189,056 cells, drawn by each strategy and by plain pandas, and written to disk.

``python -m benchmarks.draws [--small]``; --small draws one size from a million cells. Ratios are of
processor seconds, which other work on the machine does not disturb.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from benchmarks.common import alone, report

N_TYPES, N_DONORS, N_DATASETS = 164, 5_052, 249
COLUMNS = ("cell_type", "donor_id", "dataset_id")
SIZES = {"random": (1, 10, 25, 50, 75, 100)}  # per cent; 1 to 75 for all others, which draw what random does from all
SEEDS = range(5)
REPEATS = 3


def make(folder: Path, n_obs: int) -> None:
    """Labels of cells in random order: Zipf types, donors of uneven size, each donor in one dataset."""
    rng = np.random.default_rng(0)
    types = 1 / np.arange(1, N_TYPES + 1) ** 1.2
    donors = rng.lognormal(0, 1.2, N_DONORS)
    home = np.concatenate([np.arange(N_DATASETS), rng.integers(N_DATASETS, size=N_DONORS - N_DATASETS)])
    codes = {name: rng.choice(len(p), n_obs, p=p / p.sum()) for name, p in (("cell_type", types), ("donor_id", donors))}
    codes["dataset_id"] = home[codes["donor_id"]]
    for name in COLUMNS:
        np.save(folder / f"{name}.npy", codes[name].astype(np.int16))


def read(folder: Path, *more: object) -> tuple:
    """The cells as a table of categories, and whatever else a candidate is given."""
    codes = {name: np.load(folder / f"{name}.npy") for name in COLUMNS}
    names = {name: [f"{name} {i}" for i in range(values.max() + 1)] for name, values in codes.items()}
    return pd.DataFrame({name: pd.Categorical.from_codes(codes[name], names[name]) for name in COLUMNS}), *more


def timed(obs: pd.DataFrame, candidate: Callable, *arguments: object) -> tuple[float, float]:
    """Elapsed and processor seconds of the fastest draw of REPEATS seeds; each reads the labels anew."""
    seconds = []
    for seed in range(REPEATS):
        start = clocks()
        n_drawn = len(candidate(obs, *arguments, np.random.default_rng(seed)))
        seconds.append((clocks() - start).tolist())
        if n_drawn != arguments[0]:
            raise AssertionError(f"{candidate.__name__} drew {n_drawn:,} cells instead of {arguments[0]:,}")
    return min(seconds)


def clocks() -> np.ndarray:
    """Elapsed and processor seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def ours(obs: pd.DataFrame, n: int, strategy: str, options: dict, rng: np.random.Generator) -> np.ndarray:
    """The package."""
    from helpers import subset

    return subset.draw(strategy, obs, n, rng=rng, **options)


def sampled(obs: pd.DataFrame, n: int, strategy: str, options: dict, rng: np.random.Generator) -> np.ndarray:
    """Peer of `random`; unlike the others and ours its rows are not sorted."""
    return obs.sample(n, random_state=rng).index.to_numpy()


def balanced(obs: pd.DataFrame, n: int, strategy: str, options: dict, rng: np.random.Generator) -> np.ndarray:
    """Peer of `celltype_reweighted`: the definition, type by type."""
    counts = obs["cell_type"].value_counts()
    quotas, left = pd.Series(0, index=counts.index), counts
    while (small := left[left <= (n - quotas.sum()) / len(left)]).size:
        quotas[small.index], left = small, left.drop(small.index)
        if left.empty:
            break
    if not left.empty:
        share, rest = divmod(n - quotas.sum(), len(left))
        quotas[left.index] = share
        quotas[rng.permutation(left.index.to_numpy())[:rest]] += 1
    parts = [
        cells.sample(quotas[name], random_state=rng).index
        for name, cells in obs["cell_type"].groupby(obs["cell_type"], observed=True)
    ]
    return np.sort(np.concatenate(parts))


def whole(obs: pd.DataFrame, n: int, strategy: str, options: dict, rng: np.random.Generator) -> np.ndarray:
    """Peer of `donors` and `datasets`: shuffled, as many whole ones as fit, and part of the next."""
    label = obs[{"donors": "donor_id", "datasets": "dataset_id"}[strategy]]
    counts = label.value_counts()
    order = rng.permutation(counts.index.to_numpy())
    fit = order[counts[order].cumsum().to_numpy() <= n]
    rows = obs.index[label.isin(fit)].to_numpy()
    if len(rows) < n:
        following = obs.index[label == order[len(fit)]].to_numpy()
        rows = np.sort(np.concatenate([rows, rng.choice(following, n - len(rows), replace=False)]))
    return rows


def spread(obs: pd.DataFrame, n: int, strategy: str, options: dict, rng: np.random.Generator) -> np.ndarray:
    """Peer of `donors` with k; `n` must be a multiple of k."""
    counts, share = obs["donor_id"].value_counts(), n // options["k"]
    chosen = rng.choice(counts.index[counts >= share].to_numpy(), options["k"], replace=False)
    label = obs["donor_id"][obs["donor_id"].isin(chosen)]
    return np.sort(label.groupby(label, observed=True).sample(share, random_state=rng).index.to_numpy())


def study(obs: pd.DataFrame, folder: Path) -> dict:
    """Draw and write every subset that needs labels only: seconds as in `timed`, and sums to check the files by."""
    from helpers import corpus, subset

    spent, sums_of = {"drawing": np.zeros(2), "writing": np.zeros(2)}, {}
    for strategy in ("random", "celltype_reweighted"):
        for size in sizes(strategy):
            for seed in SEEDS:
                file = f"{strategy}-{size}-{seed}.parquet"
                start = clocks()
                positions = subset.draw(strategy, obs, len(obs) * size // 100, rng=np.random.default_rng([size, seed]))
                drawn = clocks()
                corpus.write_positions(folder / file, positions)
                spent["drawing"] += drawn - start
                spent["writing"] += clocks() - drawn
                sums_of[file] = len(positions), int(positions.sum())
    return {part: seconds.tolist() for part, seconds in spent.items()} | {"sums": sums_of}


def sizes(strategy: str) -> tuple[int, ...]:
    """Percentages of the study."""
    return SIZES.get(strategy, SIZES["random"][:-1])


def cases(n_obs: int, small: bool) -> list[tuple[str, int, dict, Callable]]:
    """Strategy, cells, options and peer of each comparison."""
    plain = {"random": sampled, "celltype_reweighted": balanced, "donors": whole, "datasets": whole}
    found = [
        (strategy, n_obs * size // 100, {}, peer)
        for strategy, peer in plain.items()
        for size in ((50,) if small else sizes(strategy))
    ]
    n = n_obs // 100_000 * 1_000  # about 1 %, whatever the number of donors
    found += [("donors", n, {"k": k}, spread) for k in ((100,) if small else (10, 100, 1_000))]
    nested = {} if small else {"random": sampled, "celltype_reweighted": balanced}
    return found + [(name, n_obs * 3 // 4, {"nested": True}, peer) for name, peer in nested.items()]


def compare(folder: Path, strategy: str, n: int, options: dict, peer: Callable) -> dict:
    """One row of the table: ours beside the peer."""
    mine, theirs = (alone(timed, folder, one, n, strategy, options, prepare=read) for one in (ours, peer))
    row = {"what": strategy + "".join(f" {k}={v}" for k, v in options.items()), "cells": n}
    row |= {"seconds": mine.value[0], "cpu": mine.value[1], "gb": mine.peak_gb}
    row |= {"peer_seconds": theirs.value[0], "peer_cpu": theirs.value[1], "peer_gb": theirs.peak_gb}
    return row | {"ratio": theirs.value[1] / mine.value[1]}


def sums(folder: Path) -> dict[str, tuple[int, int]]:
    """Number and sum of the positions in each file."""
    read_back = {path.name: pq.read_table(path)["position"].to_numpy() for path in folder.iterdir()}
    return {name: (len(positions), int(positions.sum())) for name, positions in read_back.items()}


def main(small: bool) -> int:
    """Measure and report; 1 if a claim fails."""
    n_obs = 1_000_000 if small else 22_189_056
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        alone(make, folder, n_obs)
        rows = [compare(folder, *case) for case in cases(n_obs, small)]
        written = folder / "subsets"
        written.mkdir()
        done = alone(study, folder, written, prepare=read)
        same = sums(written) == done.value["sums"]
        size = sum(path.stat().st_size for path in written.iterdir()) / 1e6
    n_subsets, n_cells = len(done.value["sums"]), sum(n for n, _ in done.value["sums"].values())
    for part in ("drawing", "writing"):
        row = {"what": f"{part} {n_subsets} subsets", "cells": n_cells, "seconds": done.value[part][0]}
        rows.append(row | {"cpu": done.value[part][1], "gb": done.peak_gb})
    all_of_it = f"{n_subsets} subsets drawn and written"
    used = f"{done.seconds:.0f} s, {done.value['drawing'][1] + done.value['writing'][1]:.0f} s of the processor"
    claims = {f"{n_subsets} subsets in {size:,.0f} MB of files, read back as they were drawn": same}
    if small:
        claims[f"{all_of_it} within 15 s: {used}"] = done.seconds <= 15
    else:
        for names, limit in ((["random"], 2), (["celltype_reweighted"], 3), (["donors", "datasets"], 3)):
            slowest = max(row["seconds"] for row in rows if row["what"].split()[0] in names)
            claims[f"{' and '.join(names)} within {limit} s: {slowest:.2f} s at most"] = slowest <= limit
        claims[f"{all_of_it} within 240 s: {used}"] = done.seconds <= 240
        claims[f"{all_of_it} within 4 GB: {done.peak_gb:.2f} GB"] = done.peak_gb <= 4
    title = f"Draws from {n_obs:,} cells, best of {REPEATS}, one thread, beside the same in plain pandas"
    return report("draws_small" if small else "draws", title, rows, claims)


if __name__ == "__main__":
    sys.exit(main("--small" in sys.argv[1:]))
