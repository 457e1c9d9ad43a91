"""Families, or objectives of one encoder, compared at equal data and at equal training compute."""

from itertools import combinations

import numpy as np
import pandas as pd

from helpers.analysis.resampling import interval, mean_draws
from helpers.analysis.results import require
from helpers.analysis.runs import COLUMNS, read_runs, told, untestable

SAME_FLOPS = 1.05  # ratio up to which two sizes count as equally costly
N_GRID = 33  # points of the compute that two models share


def equal_data(frame: pd.DataFrame, *, score: str = "score", rng: np.random.Generator, n_boot: int = 1000):
    """Differences of score between all pairs of models that learned from the same number of cells.

    Parameters
    ----------
    frame
        One row per trained run of one sampling and evaluation set, with family, percentage, strategy or sampling, and
        width if there are several, so that a model is a family and width.

    Returns
    -------
    One row per pair: `family`, `width`, `term` (the other model), `estimate` (how much the first is better, mean over
    the sizes that both have), `low`, `high` (90 %, seeds of each size drawn with replacement), `p` (none), `n`,
    `n_sizes`, `n_seeds`, `range`, `testable`, `reason`.

    Raises
    ------
    ValueError
        Several samplings; what `helpers.analysis.runs.read_runs` refuses.
    """

    def weigh(first: pd.DataFrame, second: pd.DataFrame) -> tuple[dict, dict, str]:
        common = np.intersect1d(first["percentage"], second["percentage"])
        if not len(common):
            return {}, {}, "no size in common"
        weights = dict.fromkeys(common, 1 / len(common))
        return weights, weights, told(first[first["percentage"].isin(common)])["range"]

    return _compare(frame, score, weigh, rng, n_boot)


def equal_compute(frame: pd.DataFrame, *, score: str = "score", rng: np.random.Generator, n_boot: int = 1000):
    """Differences of score between all pairs of models at equal FLOPs of training.

    The means of a model's sizes are joined by lines over the logarithm of their FLOPs; of sizes that took equal FLOPs
    (to 5 %) the largest stands for them, since more data is to be had at that cost. The difference is the mean over the
    FLOPs that both models spent; neither is extrapolated, and models whose ranges do not meet have a reason and NaN.

    `frame`, with `flops`, and what is returned are as in `equal_data`; FLOPs are those that each family counts, taken
    as known, so that intervals are of scores alone.
    """
    require(frame, ["flops"])

    def weigh(first: pd.DataFrame, second: pd.DataFrame) -> tuple[dict, dict, str]:
        costs = [flops_of_sizes(runs) for runs in (first, second)]
        if any(cost.empty for cost in costs):
            return {}, {}, "training FLOPs are not known for all sizes"
        low, high = max(cost.iloc[0] for cost in costs), min(cost.iloc[-1] for cost in costs)
        if low > high * SAME_FLOPS:
            spans = " and ".join(f"{cost.iloc[0]:.2g} to {cost.iloc[-1]:.2g}" for cost in costs)
            return {}, {}, f"no FLOPs in common: {spans}"
        weights = [_line_weights(cost, min(low, high), high) for cost in costs]
        learned = " against ".join(
            told(runs[runs["percentage"].isin(list(weight))])["range"]
            for runs, weight in zip((first, second), weights, strict=True)
        )
        words = f"{low:.3g} to {high:.3g} FLOPs" if high > low * SAME_FLOPS else f"{high:.3g} FLOPs"
        return weights[0], weights[1], f"{words}: {learned}"

    return _compare(frame, score, weigh, rng, n_boot)


def flops_of_sizes(runs: pd.DataFrame) -> pd.Series:
    """Mean FLOPs of a model's sizes (the index), ascending, of equally costly ones the largest; empty if unknown."""
    means = runs.groupby("percentage")["flops"].agg(lambda values: values.astype(float).mean(skipna=False))
    if not (np.isfinite(means) & (means > 0)).all():
        return means.iloc[:0]
    kept: list[float] = []
    for size in means.index[::-1]:
        if all(max(means[size], means[other]) > SAME_FLOPS * min(means[size], means[other]) for other in kept):
            kept.append(size)
    return means[kept].sort_values()


def _compare(frame, score, weigh, rng, n_boot) -> pd.DataFrame:
    runs = read_runs(frame, score, several=("family", "width"))
    require(runs, ["family"])
    if len(found := runs["sampling"].unique()) > 1:
        raise ValueError(f"sampling takes several values ({', '.join(found)}): select one of them")
    runs = runs.assign(width=runs.get("width", 1.0)).sort_values(["percentage", score])
    rows = []
    models = [(key, part) for key, part in runs.groupby(["family", "width"])]
    for (key, first), (other, second) in combinations(models, 2):
        named = {"family": key[0], "width": key[1], "term": other[0] if other[1] == 1 else f"{other[0]}-w{other[1]:g}"}
        *weights, words = weigh(first, second)
        rows.append(named | _effect([first, second], weights, words, score, rng, n_boot))
    return pd.DataFrame(rows, columns=["family", "width", "term", *COLUMNS])


def _effect(pair, weights, words, score, rng, n_boot) -> dict:
    """The difference of two weighted means of sizes; `words` is the range, or the reason why there is none."""
    if not all(weights):
        return untestable(words, pd.concat(pair))
    used = [runs[runs["percentage"].isin(list(weight))] for runs, weight in zip(pair, weights, strict=True)]
    estimate, draws, freedom = 0.0, np.zeros(n_boot), 0
    for sign, runs, weight in zip((1, -1), used, weights, strict=True):
        for size, of_size in runs.groupby("percentage"):
            values = of_size[score].to_numpy(float)
            estimate += sign * weight[size] * values.mean()
            draws += sign * weight[size] * mean_draws(values, n_boot, rng)
            freedom += len(values) - 1
    low, high = interval(estimate, draws, freedom)
    reason = "a size has one seed, so no interval" if np.isnan(low) else ""
    effect = {"estimate": float(estimate), "low": low, "high": high, "p": np.nan}
    counts = told(pd.concat(used)) | {"n_seeds": max(told(runs)["n_seeds"] for runs in used)}
    return counts | effect | {"range": words, "testable": True, "reason": reason}


def _line_weights(costs: pd.Series, low: float, high: float) -> dict[float, float]:
    """Weight of each size in the mean, over the logarithm of FLOPs, of the line that joins the sizes."""
    grid = np.linspace(np.log(low), np.log(high), N_GRID)
    ones = np.eye(len(costs))
    weights = np.mean([np.interp(grid, np.log(costs), one) for one in ones], axis=1)
    return {size: weight for size, weight in zip(costs.index, weights, strict=True) if weight > 0}
