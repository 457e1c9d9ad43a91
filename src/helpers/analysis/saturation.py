"""Learning saturation points: the smallest corpus that is nearly as good as the best."""

import numpy as np
import pandas as pd

from helpers.analysis import error_rule
from helpers.analysis.error_curves import ErrorCurve, error_curves
from helpers.analysis.results import with_sampling
from helpers.analysis.saturation_runs import CURVE, KEYS, curves, refuse_loss, trained_runs
from helpers.messages import unknown

RULES = ("published", "error")
TAIL = 0.05  # on each side of the 90 % intervals
PUBLISHED_COLUMNS = [*KEYS, "percentage", "best", "threshold", "sampling"]
ERROR_COLUMNS = [
    *(*KEYS, "percentage", "low", "high", "best", "threshold", "at_edge"),
    *("gain_per_doubling", "gain_low", "gain_high", "n_seeds", "resampled", "reason", "sampling"),
]
TEXTS = ("family", "strategy", "task", "dataset", "sampling", "metric", "rule", "reason", "resampled")
SIZE_COLUMNS = [*KEYS, "percentage", "n_cells", "n_seeds", "error", "probability", "sampling"]


def saturation_points(
    results: pd.DataFrame,
    *,
    metric: str,
    rule: str,
    q: float = 0.95,
    draws: pd.DataFrame | None = None,
    rng: np.random.Generator | None = None,
    n_boot: int = 1000,
) -> pd.DataFrame:
    """Saturation point of each curve of `metric` over corpus sizes.

    Parameters
    ----------
    results
        Tidy results with family, width, strategy, task, dataset, percentage, metric, value, and run_id or subset_seed.
        Untrained models (percentage 0) and baselines are left out. Without percentages the size of a run is its
        n_cells in per cent of the most that any run learned from.
    metric
        By the published rule a score, whose higher values are better; by the other any metric with a best value.
    rule
        ``published``: best is the highest value of any run of a curve, the point the smallest percentage at which any
        run is strictly above `q` × best. Each strategy is judged on its own sizes, so the full corpus counts for
        ``random`` alone.

        ``error``: the error of a run is 1 − score, or for a loss its excess over `ceiling`; best is the smallest mean
        error over seeds of any size, the point the smallest percentage whose mean error is at most best / `q`. With
        intervals of 90 % by a bootstrap over the seeds of each size.
    q
        Share of the best that is near enough, over 0 and at most 1.
    draws
        Scores on evaluation cells drawn anew, the same for all runs: from `paired.paired_draws`. The bootstrap is then
        over seeds and cells where `draws` holds all runs of a curve, and over seeds alone elsewhere; error rule alone.
    rng
        Of the bootstrap; a fixed one if not given.
    n_boot
        Draws of the bootstrap; those of `draws` where given.

    Returns
    -------
    One row per family, width, strategy, task, dataset with `percentage`, `best`, `threshold`, and `sampling`, which
    tells apart what a design samples by one strategy in several ways. By the published rule `percentage` is NaN where
    no run is above the threshold: the best is zero or negative, or q is 1. By the error rule there are also

    - `low`, `high`: interval of `percentage`, both sizes of the curve;
    - `at_edge`: only the largest size is near the best, the curve has not saturated within its range;
    - `gain_per_doubling`, `gain_low`, `gain_high`: fall of the error for twice the cells, between the two largest
      sizes;
    - `n_seeds`: the fewest of any size; `resampled`: ``seeds and cells``, ``seeds`` or ``nothing``;
    - `reason`: why a point or an interval is NaN, else empty. There is no point where the best error is not over 0, no
      interval where a size has one seed or over 5 % of the draws had no point.

    What the intervals leave out: at 100 % of ``random`` all seeds learn from the same cells, so that their spread is
    that of the initialisation alone, and at 50 to 75 % subsets overlap, so that it is a lower bound. With three to five
    seeds those of the gain hold the truth of planted curves in 80 to 87 % of the cases. The smallest of several noisy
    means is too small, so that points of flat curves come late, and their intervals hold the truth in 74 to 90 %.

    Raises
    ------
    ValueError
        Unknown metric or rule, a loss by the published rule, q out of range; columns that are absent, values, sizes or
        ceilings that are missing or infinite, a run that stands twice, runs of several weight decays, budgets or
        ceilings on one curve, cells that do not grow with the percentage; no trained run; draws of another form.

    Source: study, learning saturation point, with q = 0.95 on the headline metric; the error rule is ours.
    """
    if rule not in RULES:
        raise ValueError(unknown("rule", rule, RULES))
    _check_share(q)
    if rule == "error":
        judged = error_curves(results, metric, draws=draws, rng=rng, n_boot=n_boot)
        rows = [dict(zip(CURVE, curve.key, strict=True)) | _by_error(curve, q) for curve in judged]
        return pd.DataFrame(rows, columns=ERROR_COLUMNS)
    trained = trained_runs(results, metric)
    refuse_loss(metric)
    rows = [dict(zip(CURVE, key, strict=True)) | _published(curve, q) for key, curve in curves(trained)]
    return pd.DataFrame(rows, columns=PUBLISHED_COLUMNS)


def size_probabilities(
    results: pd.DataFrame,
    *,
    metric: str,
    q: float = 0.95,
    draws: pd.DataFrame | None = None,
    rng: np.random.Generator | None = None,
    n_boot: int = 1000,
) -> pd.DataFrame:
    """How probable each size is as the saturation point by the error rule.

    Parameters as in `saturation_points`; with a generator in the same state the draws are the same.

    Returns
    -------
    One row per curve and size: `percentage`, `n_cells` (mean; NaN where not known), `n_seeds`, `error` (mean over
    seeds), `probability` (share of the draws; NaN where there is no interval). That of the largest size is the
    probability that the curve has not saturated within its range; what is missing to 1 are draws without a point.
    """
    _check_share(q)
    rows = []
    for curve in error_curves(results, metric, draws=draws, rng=rng, n_boot=n_boot):
        told = zip(curve.sizes, curve.n_cells, curve.n_seeds, curve.errors, _probabilities(curve, q), strict=True)
        rows += [(*curve.key[:-1], *size, curve.key[-1]) for size in told]
    return pd.DataFrame(rows, columns=SIZE_COLUMNS)


def no_points() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables of points by both rules and of probabilities of sizes, of no curve, as a study keeps them."""
    kept = ([*ERROR_COLUMNS, "metric", "rule", "q"], [*SIZE_COLUMNS, "metric", "q"])
    return tuple(
        pd.DataFrame({name: pd.Series(dtype="object" if name in TEXTS else "float64") for name in columns})
        for columns in kept
    )


def size_samplings(results: pd.DataFrame) -> list[str]:
    """Samplings with at least two sizes, in order of appearance: those that have a curve over sizes."""
    results = with_sampling(results)
    sizes = results[results["percentage"] > 0].groupby("sampling", sort=False)["percentage"].nunique()
    return list(sizes.index[sizes > 1])


def _check_share(q: float) -> None:
    if not 0 < q <= 1:
        raise ValueError(f"q = {q!r} must be over 0 and at most 1, e.g. 0.95")


def _published(curve: pd.DataFrame, q: float) -> dict[str, float]:
    best = float(curve["value"].max())
    near = curve.loc[curve["value"] > q * best, "percentage"]
    return {"percentage": float(near.min()) if len(near) else np.nan, "best": best, "threshold": q * best}


def _by_error(curve: ErrorCurve, q: float) -> dict[str, object]:
    """Point, interval, gain per doubling of a curve, and why any of them is not there."""
    best, at, reasons = curve.errors.min(), int(error_rule.points(curve.errors, q)), []
    names = ("percentage", "low", "high", "gain_per_doubling", "gain_low", "gain_high")
    found: dict[str, object] = dict.fromkeys(names, np.nan)
    found |= {"best": best, "threshold": best / q, "at_edge": False}
    if len(curve.sizes) == 1:
        reasons.append("one size: nothing to compare it with")
    elif np.isnan(best):
        reasons.append("no ceiling: the excess over it is not known")
    elif at == error_rule.UNDEFINED:
        reasons.append(f"the best mean error is {best:.3g}, not over 0: nothing is a share of it")
    else:
        found |= {"percentage": curve.sizes[at], "at_edge": at == len(curve.sizes) - 1}
    if len(curve.sizes) > 1:
        found["gain_per_doubling"] = float(error_rule.gain_per_doubling(curve.errors, curve.growth))
        if (lone := curve.sizes[curve.n_seeds == 1]).size:
            reasons.append(f"one seed at {', '.join(f'{size:g}' for size in lone)} %: no interval")
    if curve.draws is not None:
        gains = error_rule.gain_per_doubling(curve.draws, curve.growth)
        found["gain_low"], found["gain_high"] = np.nanquantile(gains, [TAIL, 1 - TAIL])
        probabilities = _probabilities(curve, q)
        if probabilities.sum() < 1 - TAIL:
            reasons.append(f"{1 - probabilities.sum():.0%} of the draws have no point: no interval")
        elif at != error_rule.UNDEFINED:
            found["low"], found["high"] = curve.sizes[list(error_rule.interval(probabilities, TAIL))]
    return found | {"n_seeds": curve.n_seeds.min(), "resampled": curve.resampled, "reason": "; ".join(reasons)}


def _probabilities(curve: ErrorCurve, q: float) -> np.ndarray:
    """Share of the draws whose point is each size, (n_sizes,); NaN where nothing was drawn."""
    if curve.draws is None:
        return np.full(len(curve.sizes), np.nan)
    return error_rule.shares(error_rule.points(curve.draws, q), len(curve.sizes))
