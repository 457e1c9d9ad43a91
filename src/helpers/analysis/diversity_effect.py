"""Does the diversity of what was learned from explain the score, at a fixed size?"""

from collections.abc import Callable, Collection

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
FEWEST_SAMPLINGS = 5  # for a p-value, where it is samplings that differ: four have no p under 1/24


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
    mean at each size. What is exchanged for the p-value, and drawn for the interval (90 %), is what differs:

    - Where most of the differences at one size lie between samplings, the sampling: a strategy may change the score in
      other ways too, at all sizes alike, however many runs it has. Their diversities, less the effects of size, are
      exchanged. With fewer than five samplings there is no p-value, and the interval draws runs of one size: it holds
      for these samplings alone, and tells nothing of others.
    - Elsewhere the runs of one size and sampling; the sampling is then a covariate too.

    Parameters
    ----------
    frame
        One row per trained run of one model and evaluation set, with percentage, strategy or sampling, and subset_seed
        if any is nested. Higher scores are better.
    diversity
        One of `MEASURES`: Shannon in bits, others as log2 of the number.
    nested
        Samplings whose larger subsets of a seed contain the smaller ones. With any of these, the runs of a sampling and
        seed stay together, at the sizes that all samplings have: they share cells.

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
    whole_seeds = not set(used["sampling"]).isdisjoint(nested)
    used = _with_all_sizes(used) if whole_seeds else used
    if used.empty:
        reason = "with nested subsets, a size is needed that all samplings have"
        return untestable(reason, known) | {"slope": np.nan}
    between = _between(used)
    levels = ["percentage"] if between > 0.5 else ["percentage", "sampling"]
    used = used.sort_values(["percentage", "sampling", "x", score]).reset_index(drop=True)
    used = used.assign(y=used[score].astype(float), level=used.groupby(levels).ngroup())
    if np.abs(_within(used["y"].to_numpy(), used["level"].to_numpy())).max() <= 1e-12 * used["y"].abs().max():
        same = "size" if between > 0.5 else "size and sampling"
        return untestable(f"the score is the same in all runs of each {same}", used) | {"slope": np.nan}
    words = f"{told(used)['range']}; up to {spans.max():.2g} doublings at one size"
    units = _units(used, levels, whole_seeds)
    effect = _estimate(used, units, between, rng, n_boot, n_permutations)
    return told(used) | {"range": words} | effect


def _estimate(used, units, between, rng, n_boot, n_permutations) -> dict:
    x, y, level = (used[column].to_numpy() for column in ("x", "y", "level"))
    estimate = float(_correlation(x, y, level))
    slope = estimate * np.sqrt(np.sum(_within(y, level) ** 2) / np.sum(_within(x, level) ** 2))
    p, low, high, samplings = np.nan, np.nan, np.nan, used["sampling"].nunique()
    reasons = [f"{100 * between:.0f} % of what differs at one size lies between samplings"]
    if between > 0.5 and samplings >= FEWEST_SAMPLINGS:
        p = permutation_p(_exchanged_samplings(used, rng), n_permutations)
        low, high = interval(estimate, _drawn_samplings(used, n_boot, rng))
        return _told_effect(estimate, low, high, p, slope, [*reasons, f"{samplings} samplings are exchanged"])
    if between > 0.5:
        reasons.append(f"{samplings} samplings: an effect of diversity cannot be told from one of the strategy")
    else:
        reasons.append("which are held fixed too")

        def reach(n: int) -> int:
            exchanged = _correlation(x[_rearranged(units, n, rng, replace=False)], y, level)
            return int(np.sum(np.abs(exchanged) >= abs(estimate) - 1e-9))

        p = permutation_p(reach, n_permutations)
    if min(map(len, units)) >= FEWEST_RUNS:
        picked = _rearranged(units, n_boot, rng, replace=True)
        with np.errstate(invalid="ignore"):  # draws of one run over and over have no correlation
            draws = _correlation(x[picked], y[picked], level)
        low, high = interval(estimate, draws[np.isfinite(draws)])
    else:
        reasons.append(f"no interval from fewer than {FEWEST_RUNS} runs of a size")
    return _told_effect(estimate, low, high, p, slope, reasons)


def _told_effect(estimate: float, low: float, high: float, p: float, slope: float, reasons: list[str]) -> dict:
    effect = {"estimate": estimate, "low": low, "high": high, "p": p, "slope": float(slope)}
    return effect | {"testable": True, "reason": "; ".join(reasons)}


def _exchanged_samplings(used: pd.DataFrame, rng: np.random.Generator) -> Callable[[int], int]:
    """What makes n exchanges of samplings and counts those that reach their own covariance with the score.

    Both are effects of the sampling beside those of the size, by least squares: samplings may lack sizes.
    """
    of_size = pd.get_dummies(used["percentage"]).to_numpy(float)
    of_sampling = pd.get_dummies(used["sampling"]).to_numpy(float)
    design = np.concatenate([of_size, of_sampling], axis=1)
    effects = np.linalg.lstsq(design, used[["x", "y"]].to_numpy(), rcond=None)[0][of_size.shape[1] :]
    x, y = (effects - effects.mean(axis=0)).T
    least = abs(x @ y) - 1e-9 * np.sqrt((x @ x) * (y @ y))

    def reach(n: int) -> int:
        return int(np.sum(np.abs(x[rng.permuted(np.tile(np.arange(len(x)), (n, 1)), axis=1)] @ y) >= least))

    return reach


def _drawn_samplings(used: pd.DataFrame, n_boot: int, rng: np.random.Generator) -> np.ndarray:
    """Correlations, (≤ n_boot,), with samplings drawn with replacement, all runs of one together."""
    numbers, names = pd.factorize(used["sampling"])
    weights = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n_boot)[:, numbers]
    x, y, level = (used[column].to_numpy() for column in ("x", "y", "level"))
    with np.errstate(invalid="ignore"):  # draws of one sampling over and over have no correlation
        draws = _correlation(x, y, level, weights)
    return draws[np.isfinite(draws)]


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


def _with_all_sizes(used: pd.DataFrame) -> pd.DataFrame:
    """Runs of the sizes that all samplings have, and of the seeds that have all of these."""
    require(used, ["subset_seed"])
    samplings = used.groupby("percentage")["sampling"].nunique()
    used = used[used["percentage"].isin(samplings.index[samplings == used["sampling"].nunique()])]
    n_sizes = used.groupby(["sampling", "subset_seed"])["percentage"].transform("nunique")
    return used[n_sizes == used["percentage"].nunique()]


def _units(used: pd.DataFrame, levels: list[str], whole_seeds: bool) -> list[np.ndarray]:
    """Tables (n_units, n_sizes) of row numbers: what can be exchanged, or drawn, within a table.

    A unit is a run, in a table for each level; or all runs of a sampling and seed.
    """
    if not whole_seeds:
        return [rows[:, None] for rows in used.groupby("level").indices.values()]
    seeds = used.groupby(["sampling", "subset_seed"]).indices
    tables = dict.fromkeys((name if "sampling" in levels else "" for name, _ in seeds), ())
    for (name, _), rows in seeds.items():
        tables[name if "sampling" in levels else ""] += (rows,)
    return [np.array(table) for table in tables.values()]


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


def _within(values: np.ndarray, level: np.ndarray, weights: np.ndarray | float = 1.0) -> np.ndarray:
    """Values (…, n_runs) less their weighted mean over the runs of each level; runs of one level stand together."""
    starts = np.flatnonzero(np.r_[True, level[1:] != level[:-1]])
    n = np.diff(np.r_[starts, len(level)])
    weights = np.broadcast_to(weights, np.broadcast_shapes(np.shape(values), np.shape(weights)))
    total = np.add.reduceat(weights, starts, axis=-1)
    means = np.add.reduceat(values * weights, starts, axis=-1) / np.where(total > 0, total, 1)
    return values - np.repeat(means, n, axis=-1)


def _correlation(x: np.ndarray, y: np.ndarray, level: np.ndarray, weights: np.ndarray | float = 1.0) -> np.ndarray:
    x, y = _within(x, level, weights), _within(y, level, weights)
    squares = np.sum(weights * x**2, axis=-1) * np.sum(weights * y**2, axis=-1)
    return np.sum(weights * x * y, axis=-1) / np.sqrt(squares)


def _between(used: pd.DataFrame) -> float:
    """Share of the variance of diversity at one size that lies between samplings."""
    left = used["x"] - used.groupby("percentage")["x"].transform("mean")
    means = used.groupby(["percentage", "sampling"])["x"].transform("mean")
    return float(1 - np.sum((used["x"] - means) ** 2) / np.sum(left**2))
