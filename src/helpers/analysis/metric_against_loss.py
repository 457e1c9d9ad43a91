"""Does a metric flatten while the held-out loss still falls?"""

import numpy as np
import pandas as pd

from helpers.analysis.resampling import corrected_interval, interval, pooled_sd
from helpers.analysis.runs import read_runs, told

VERDICTS = (
    "metric flattens while loss falls",
    "metric falls while loss falls",
    "both move",
    "both flat",
    "cannot tell",
)
FLATTENS, FALLS, BOTH_MOVE, BOTH_FLAT, CANNOT_TELL = VERDICTS
FEWEST_SIZES = 4
MOVES = 3.0  # pooled seed SDs over which a change counts
SURELY = 1.0  # pooled seed SDs over which the lower end of a decline's interval must lie
TOGETHER = 0.5  # rank correlation from which two that move do so together
FLAT = 0.25  # share of the loss range, at its low end, over which a flat metric gains under one seed SD


def metric_against_loss(
    frame: pd.DataFrame,
    *,
    score: str = "score",
    loss: str = "loss",
    rng: np.random.Generator,
    n_boot: int = 500,
) -> dict:
    """Rank correlation of a score with −loss across runs, and where the score flattens while the loss still falls.

    The monotone fit (`monotone_fit`) goes through the means of seeds. Its flat end is the share of the loss range, from
    the lowest loss up, over which it gains less than one pooled SD of seeds; a straight line has one too, one SD of its
    whole gain. Intervals (90 %) draw runs with replacement for the correlation, and seeds of each sampling and size for
    the flat end; of the latter only 72 to 85 % hold the true value with nine sizes and three to five seeds.

    Parameters
    ----------
    frame
        One row per trained run of one model and evaluation set, with percentage and strategy or sampling, and a `score`
        (higher is better) and a `loss` (lower is better) without gaps.

    Returns
    -------
    `rho`, `rho_low`, `rho_high`; `flat`, `flat_low`, `flat_high`; in seed SDs `gain` of the fit, `fall` of the loss and
    `decline` of the score from its best mean to that of the lowest loss; `verdict`, one of `VERDICTS`, with its
    `reason`; `n` runs, `n_sizes`, `n_seeds`, `range`:

    - ``metric falls while loss falls``: the loss falls by over three seed SDs, and the score declines by over three,
      surely by over one, or has a rank correlation with −loss that is surely under 0. It may have risen before.
    - ``metric flattens while loss falls``: the loss falls by over three seed SDs, and the score's flat end is surely
      over a quarter of the range and longer than a straight line's; or its gain is surely under three SDs and its rank
      correlation may be none; or it is the same in all runs.
    - ``both move``: the loss falls, the score gains over three SDs, its flat end is surely under a quarter, and their
      rank correlation is at least 0.5.
    - ``both flat``: neither moves by more than three seed SDs.
    - ``cannot tell``: everything else; a loss that grows with the corpus; fewer than four sizes, or a size with one
      seed, for which intervals are NaN.

    Raises
    ------
    ValueError
        What `read_runs` refuses.
    """
    runs = read_runs(frame, score, loss).sort_values(["percentage", "sampling", loss, score])
    values = runs[[loss, score]].to_numpy(float)
    cells = runs.groupby(["sampling", "percentage"]).ngroup().to_numpy()
    n, sds = np.bincount(cells), [pooled_sd(column, cells) for column in values.T]
    unknown = dict.fromkeys(("rho_low", "rho_high", "flat", "flat_low", "flat_high", "gain", "fall", "decline"), np.nan)
    about = told(runs) | {"rho": _spearman(values), "verdict": CANNOT_TELL} | unknown
    if np.ptp(values[:, 0]) == 0:
        return about | {"reason": "the loss is the same in all runs"}
    if np.isnan(sds).any():
        return about | {"reason": "one seed for each size: what seeds change is not known"}
    about |= _shape(_means(values, cells), n, sds)
    if about["n_sizes"] < FEWEST_SIZES:
        return about | {"reason": f"{about['n_sizes']} sizes; at least {FEWEST_SIZES} are needed"}
    if n.min() < 2:
        return about | {"reason": "a size has one seed, so no interval"}
    if -_spearman(runs[["percentage", loss]].to_numpy(float)) > TOGETHER:
        return about | {"reason": "the loss grows with the corpus"}
    if np.isnan(about["rho"]):
        verdict = FLATTENS if about["fall"] > MOVES else BOTH_FLAT
        told_fall = f"the loss falls by {about['fall']:.1f} seed SDs, the score is the same in all runs"
        return about | {"verdict": verdict, "reason": told_fall}
    means, stretch = _means(values, cells), np.sqrt(n / (n - 1))[:, None]  # as in `mean_draws`
    drawn = [_means(values[_redraw(cells, rng)], cells) for _ in range(n_boot)]
    shapes = pd.DataFrame([_shape(means + stretch * (draw - means), n, sds) for draw in drawn])
    ends = {key: corrected_interval(about[key], shapes[key].to_numpy()) for key in ("flat", "gain", "over", "decline")}
    rho = np.array([_spearman(values[rows]) for rows in rng.integers(len(values), size=(n_boot, len(values)))])
    ends["rho"] = interval(about["rho"], rho[np.isfinite(rho)])
    about |= {f"{key}_{end}": ends[key][place] for key in ("rho", "flat") for place, end in enumerate(("low", "high"))}
    verdict, reason = _judge(about, ends)
    return {key: value for key, value in about.items() if key != "over"} | {"verdict": verdict, "reason": reason}


def monotone_fit(loss: np.ndarray, score: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least squares fit of a score that never rises with the loss, all (n,): losses in ascending order and the fit.

    Source: isotonic regression; equal losses are averaged first, as in scikit-learn, with which a test compares it.
    """
    from scipy.optimize import isotonic_regression

    x, place = np.unique(loss, return_inverse=True)
    weights = np.bincount(place, weight)
    return x, isotonic_regression(np.bincount(place, weight * score) / weights, weights=weights, increasing=False).x


def flat_share(x: np.ndarray, y: np.ndarray, tolerance: float) -> float:
    """Share of the range of `x`, from its low end, over which a falling line through `y` loses less than `tolerance`.

    `x` ascending and `y` not rising, both (n,).
    """
    level = y[0] - tolerance
    below = np.flatnonzero(y < level)
    if not len(below):
        return 1.0
    after = below[0]
    part = (y[after - 1] - level) / (y[after - 1] - y[after])
    return float((x[after - 1] + part * (x[after] - x[after - 1]) - x[0]) / (x[-1] - x[0]))


def seed_means(runs: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Means of seeds, one row per sampling and size, with their number `n`."""
    grouped = runs.groupby(["sampling", "percentage"], sort=False)
    return grouped[columns].mean().assign(n=grouped.size()).reset_index()


def _means(values: np.ndarray, cells: np.ndarray) -> np.ndarray:
    return np.stack([np.bincount(cells, column) for column in values.T], axis=1) / np.bincount(cells)[:, None]


def _redraw(cells: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Row numbers (n_runs,), each drawn among the rows of its own cell."""
    order = np.argsort(cells, kind="stable")
    n = np.bincount(cells)
    starts = np.cumsum(n) - n
    return order[starts[cells] + (rng.random(len(cells)) * n[cells]).astype(int)]


def _spearman(values: np.ndarray) -> float:
    """Rank correlation of score and −loss of runs (n_runs, [loss, score]); NaN if one of them is constant."""
    from scipy.stats import rankdata

    ranks = rankdata(values, axis=0)
    if (ranks == ranks[0]).all(axis=0).any():
        return np.nan
    return float(-np.corrcoef(ranks.T)[0, 1])


def _shape(means: np.ndarray, n: np.ndarray, sds: list[float]) -> dict[str, float]:
    """Flat end, how much longer it is than a straight line's; gain, fall, decline in seed SDs; from means."""
    x, y = monotone_fit(means[:, 0], means[:, 1], n)
    flat, gain, fall = flat_share(x, y, sds[1]), y[0] - y[-1], x[-1] - x[0]
    straight = min(1.0, sds[1] / gain) if gain > 0 else 1.0
    decline = means[:, 1].max() - means[means[:, 0].argmin(), 1]
    changes = {"gain": (gain, sds[1]), "fall": (fall, sds[0]), "decline": (decline, sds[1])}
    in_sds = {
        name: float(change / sd) if sd > 0 else float("inf" if change > 0 else 0)
        for name, (change, sd) in changes.items()
    }
    return {"flat": flat, "over": flat - straight} | in_sds


def _judge(about: dict, ends: dict[str, tuple[float, float]]) -> tuple[str, str]:
    gain, fall = (f"{about[key]:.1f}" for key in ("gain", "fall"))
    moved = f"the loss falls by {fall} and the score gains {gain} seed SDs"
    flat = f"over the lowest {100 * about['flat']:.0f} % of the loss range ({100 * max(0, ends['flat'][0]):.0f} to "
    flat += f"{100 * min(1, ends['flat'][1]):.0f} %) the score gains under one seed SD"
    declines = about["decline"] > MOVES and ends["decline"][0] > SURELY
    if about["fall"] <= MOVES:
        still = about["gain"] <= MOVES and not declines
        return (BOTH_FLAT, moved) if still else (CANNOT_TELL, f"{moved}, without the loss")
    if declines or ends["rho"][1] < 0:
        worse = f"at the lowest loss the score is {about['decline']:.1f} seed SDs under its best"
        return FALLS, f"{worse}; rank correlation {about['rho']:.2f} ({ends['rho'][0]:.2f} to {ends['rho'][1]:.2f})"
    if about["gain"] <= MOVES:
        surely = ends["gain"][1] <= MOVES and ends["rho"][0] <= 0
        return (FLATTENS, moved) if surely else (CANNOT_TELL, f"{moved}; seeds spread too much to call it flat")
    if ends["flat"][0] >= FLAT and ends["over"][0] > 0:
        return FLATTENS, flat
    if ends["flat"][1] < FLAT:
        together = about["rho"] >= TOGETHER
        return (BOTH_MOVE, f"{moved}; {flat}") if together else (CANNOT_TELL, f"{moved}, but hardly together")
    return CANNOT_TELL, f"{flat}; a straight line: {100 / about['gain']:.0f} %"
