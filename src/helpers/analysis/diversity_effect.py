"""Does the diversity of what was learned from explain the score, at a fixed size?"""

from collections.abc import Collection

import numpy as np
import pandas as pd

from helpers.analysis.resampling import interval, permutation_p
from helpers.analysis.results import require
from helpers.analysis.runs import read_runs, told, untestable
from helpers.messages import unknown

# All are compared in doublings of an effective number, of which Shannon counts bits.
MEASURES = {"shannon": "Shannon index", "vendi": "Vendi score", "n_donors": "donors", "n_datasets": "datasets"}
LEAST_RANGE = 0.1  # doublings by which diversity must differ at a size, for that size to count
FEWEST_RUNS = 3  # of a size, for an interval


def partial_effect(
    frame: pd.DataFrame,
    *,
    diversity: str,
    score: str = "score",
    nested: Collection[str] = (),
    rng: np.random.Generator,
    n_boot: int = 1000,
    n_permutations: int = 9999,
) -> dict:
    """Partial correlation of a score with the diversity of what was learned from, at fixed size.

    Size is a covariate with a level for each percentage: by Frisch, Waugh and Lovell, both columns are taken from their
    mean at each size. The p-value exchanges the diversities of runs of one size, exact if diversity does not matter;
    the interval (90 %) draws runs of one size with replacement, and is a little narrow with few seeds (with two
    samplings of three seeds at four sizes, 84 % of such intervals hold the true correlation).

    Parameters
    ----------
    frame
        One row per trained run of one model and evaluation set, with percentage, strategy or sampling, and subset_seed
        if any is nested. Higher scores are better.
    diversity
        One of `MEASURES`: Shannon in bits, others as log2 of the number.
    nested
        Samplings whose larger subsets of a seed contain the smaller ones. With any of these, the runs of a sampling and
        seed are exchanged and drawn together, at the sizes that all samplings have: they share cells.

    Returns
    -------
    `estimate` (the partial correlation, which is the slope in standard deviations at fixed size), `low`, `high`, `p`,
    `slope` (score for each doubling), `n` runs, `n_sizes`, `n_seeds`, `range` in words, `testable` and `reason`. Where
    nothing can be tested, numbers are NaN and the reason says why: diversity is not known, or does not differ between
    samplings of one size.

    Raises
    ------
    ValueError
        Unknown measure; what `read_runs` refuses.
    """
    if diversity not in MEASURES:
        raise ValueError(unknown("measure of diversity", diversity, MEASURES))
    runs = read_runs(frame, score)
    require(runs, [diversity])
    name, known = MEASURES[diversity], runs[runs[diversity].notna()]
    if known.empty:
        return untestable(f"{name}: not known for these runs", runs) | {"slope": np.nan}
    used, spans = _differing(known.assign(x=_doublings(known[diversity], diversity)))
    if spans.empty:
        reason = "no size has two ways of sampling, so that what differs is chance"
        return untestable(reason, known) | {"slope": np.nan}
    if used.empty:
        reason = f"{name}: differs by at most {spans.max():.2g} doublings at one size"
        return untestable(reason, known) | {"slope": np.nan}
    used, units = _units(used.sort_values(["percentage", "x", score]), nested)
    if used.empty:
        reason = "with nested subsets, a size is needed that all samplings have"
        return untestable(reason, known) | {"slope": np.nan}
    x, y, sizes = used["x"].to_numpy(), used[score].to_numpy(float), used["percentage"].to_numpy()
    if np.abs(_within(y, sizes)).max() <= 1e-12 * np.abs(y).max():
        return untestable("the score is the same in all runs of each size", used) | {"slope": np.nan}
    words = f"{told(used)['range']}; up to {spans.max():.2g} doublings at one size"
    return told(used) | {"range": words} | _estimate(x, y, sizes, units, rng, n_boot, n_permutations, _between(used))


def _estimate(x, y, sizes, units, rng, n_boot, n_permutations, between) -> dict:
    estimate = _correlation(x, y, sizes)
    slope = estimate * np.sqrt(np.sum(_within(y, sizes) ** 2) / np.sum(_within(x, sizes) ** 2))

    def reach(n: int) -> int:
        exchanged = _correlation(x[_rearranged(units, n, rng, replace=False)], y, sizes)
        return int(np.sum(np.abs(exchanged) >= abs(estimate) - 1e-9))

    p = permutation_p(reach, n_permutations)
    reasons = [f"{100 * between:.0f} % of what differs at one size lies between samplings"] if between > 0.5 else []
    low, high = np.nan, np.nan
    if min(map(len, units)) >= FEWEST_RUNS:
        picked = _rearranged(units, n_boot, rng, replace=True)
        with np.errstate(invalid="ignore"):  # draws of one run over and over have no correlation
            draws = _correlation(x[picked], y[picked], sizes)
        low, high = interval(estimate, draws[np.isfinite(draws)])
    else:
        reasons.append(f"no interval from fewer than {FEWEST_RUNS} runs of a size")
    effect = {"estimate": float(estimate), "low": low, "high": high, "p": p, "slope": float(slope)}
    return effect | {"testable": True, "reason": "; ".join(reasons)}


def _doublings(values: pd.Series, measure: str) -> pd.Series:
    if measure == "shannon":
        return values.astype(float)
    if bad := int((values <= 0).sum()):
        raise ValueError(f"{measure} must be over 0, {bad} runs are not")
    return np.log2(values.astype(float))


def _differing(known: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """Runs of the sizes at which `x` differs enough; and its range at each size that has several samplings."""
    sizes = known.groupby("percentage").agg(low=("x", "min"), high=("x", "max"), samplings=("sampling", "nunique"))
    spans = (sizes["high"] - sizes["low"])[sizes["samplings"] > 1]
    return known[known["percentage"].isin(spans.index[spans >= LEAST_RANGE])], spans


def _units(used: pd.DataFrame, nested: Collection[str]) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """The runs to be used, and tables (n_units, n_sizes) of their row numbers: what can be exchanged within a table.

    A unit is a run, in a table for each size; with nested samplings all runs of a sampling and seed, in one table.
    """
    if set(used["sampling"]).isdisjoint(nested):
        return used, [rows[:, None] for rows in used.groupby("percentage").indices.values()]
    require(used, ["subset_seed"])
    samplings = used.groupby("percentage")["sampling"].nunique()
    used = used[used["percentage"].isin(samplings.index[samplings == used["sampling"].nunique()])]
    n_sizes = used.groupby(["sampling", "subset_seed"])["percentage"].transform("nunique")
    used = used[n_sizes == used["percentage"].nunique()]
    return used, [np.array(list(used.groupby(["sampling", "subset_seed"]).indices.values()))]


def _rearranged(units: list[np.ndarray], n: int, rng: np.random.Generator, *, replace: bool) -> np.ndarray:
    """Row numbers (n, n_runs), with the units of each table in another order, or drawn with replacement."""
    rows = np.empty((n, sum(table.size for table in units)), dtype=int)
    for table in units:
        if replace:
            order = rng.integers(len(table), size=(n, len(table)))
        else:
            order = rng.permuted(np.tile(np.arange(len(table)), (n, 1)), axis=1)
        rows[:, table] = table[order]
    return rows


def _within(values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Values (…, n_runs) less their mean over the runs of each size; runs of one size stand together."""
    starts = np.flatnonzero(np.r_[True, sizes[1:] != sizes[:-1]])
    n = np.diff(np.r_[starts, len(sizes)])
    return values - np.repeat(np.add.reduceat(values, starts, axis=-1) / n, n, axis=-1)


def _correlation(x: np.ndarray, y: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    x, y = _within(x, sizes), _within(y, sizes)
    return np.sum(x * y, axis=-1) / np.sqrt(np.sum(x**2, axis=-1) * np.sum(y**2, axis=-1))


def _between(used: pd.DataFrame) -> float:
    """Share of the variance of diversity at one size that lies between samplings."""
    left = used["x"] - used.groupby("percentage")["x"].transform("mean")
    means = used.groupby(["percentage", "sampling"])["x"].transform("mean")
    return float(1 - np.sum((used["x"] - means) ** 2) / np.sum(left**2))
