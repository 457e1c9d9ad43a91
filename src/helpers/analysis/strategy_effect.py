"""What a way of sampling does to the score, against random cells of the same number."""

from collections.abc import Collection
from math import comb

import numpy as np
import pandas as pd

from helpers.analysis.resampling import interval, mean_draws, permutation_p
from helpers.analysis.results import require
from helpers.analysis.runs import COLUMNS, read_runs, told, untestable
from helpers.messages import unknown


def strategy_effects(
    frame: pd.DataFrame,
    *,
    reference: str = "random",
    score: str = "score",
    nested: Collection[str] = (),
    rng: np.random.Generator,
    n_boot: int = 1000,
    n_permutations: int = 9999,
) -> pd.DataFrame:
    """Difference of each sampling to the reference at equal size, mean over the sizes that both have.

    Seeds of a size are averaged first and sizes count equally. The interval (90 %) draws seeds of each sampling and
    size. The p-value exchanges the labels of the two samplings among runs of one size, and is never told smaller than
    the number of ways to do so allows. Where one of the two is nested, a seed counts once, by its mean over all sizes:
    its subsets share cells.

    Parameters
    ----------
    frame, nested
        As `helpers.analysis.diversity_effect.partial_effect` takes them.
    reference
        The sampling that others are compared with.

    Returns
    -------
    One row per other sampling: `term`, `estimate` (of the score), `low`, `high`, `p`, `n` runs, `n_sizes`, `n_seeds`,
    `range`, `testable`, `reason`. A sampling that has no size in common with the reference has NaN and a reason.

    Raises
    ------
    ValueError
        No run has the reference; what `read_runs` refuses.
    """
    runs = read_runs(frame, score)
    samplings = sorted(runs["sampling"].unique())
    if reference not in samplings:
        raise ValueError(unknown("sampling", reference, samplings))
    base, rows = runs[runs["sampling"] == reference], []
    for name in samplings:
        if name != reference:
            other, whole = runs[runs["sampling"] == name], not {name, reference}.isdisjoint(nested)
            rows.append({"term": name} | _effect(base, other, score, whole, rng, n_boot, n_permutations))
    return pd.DataFrame(rows, columns=["term", *COLUMNS])


def _effect(base, other, score, whole_seeds, rng, n_boot, n_permutations) -> dict:
    common = np.intersect1d(base["percentage"], other["percentage"])
    if not len(common):
        return untestable("no size in common with the reference", other)
    arms = [arm[arm["percentage"].isin(common)].sort_values(["percentage", score]) for arm in (base, other)]
    pairs = _by_seed(arms, score) if whole_seeds else _by_size(arms, score, common)
    if not all(map(len, pairs[0])):
        return untestable("nested, and no seed has a run of every size", other)
    about = told(pd.concat(arms)) | {"range": told(arms[1])["range"]}
    estimate = float(np.mean([second.mean() - first.mean() for first, second in pairs]))
    draws = [mean_draws(second, n_boot, rng) - mean_draws(first, n_boot, rng) for first, second in pairs]
    freedom = sum(len(first) + len(second) - 2 for first, second in pairs)
    low, high = interval(estimate, np.mean(draws, axis=0), freedom)
    p, least = _exchanged(pairs, estimate, rng, n_permutations)
    reasons = ["a size has one seed, so no interval"] if np.isnan(low) else []
    reasons += ["nested, so each seed counts once"] if whole_seeds else []
    reasons += [f"so few seeds allow no p under {least:.2g}"] if least > 0.05 else []
    effect = {"estimate": estimate, "low": low, "high": high, "p": p}
    return about | effect | {"testable": True, "reason": "; ".join(reasons)}


def _by_size(arms, score, common) -> list[tuple[np.ndarray, np.ndarray]]:
    """Scores of the seeds of either arm, (n_seeds,) each, at each size."""
    parts = [{size: runs[score].to_numpy(float) for size, runs in arm.groupby("percentage")} for arm in arms]
    return [(parts[0][size], parts[1][size]) for size in common]


def _by_seed(arms, score) -> list[tuple[np.ndarray, ...]]:
    """The same as if there were one size: means over sizes, of the seeds that have every size."""
    for arm in arms:
        require(arm, ["subset_seed"])
    tables = [arm.pivot_table(index="subset_seed", columns="percentage", values=score).dropna() for arm in arms]
    return [tuple(np.sort(table.mean(axis=1).to_numpy()) for table in tables)]


def _exchanged(pairs, estimate, rng, n_permutations) -> tuple[float, float]:
    """p-value of exchanged labels, two-sided, and the least one that these runs allow."""

    def reach(n: int) -> int:
        differences = np.zeros(n)
        for first, second in pairs:
            mixed = rng.permuted(np.tile(np.concatenate([first, second]), (n, 1)), axis=1)
            differences += mixed[:, len(first) :].mean(axis=1) - mixed[:, : len(first)].mean(axis=1)
        differences = np.abs(differences) / len(pairs)
        rounding = 1e-9 * max(differences.max(), abs(estimate))
        return int(np.sum(differences >= abs(estimate) - rounding))

    labellings = np.prod([float(comb(len(first) + len(second), len(first))) for first, second in pairs])
    mirrored = all(len(first) == len(second) for first, second in pairs)
    least = min(1.0, (2 if mirrored else 1) / labellings)
    return max(permutation_p(reach, n_permutations), float(least)), float(least)
