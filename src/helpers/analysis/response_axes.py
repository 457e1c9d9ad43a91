"""Does a response get better with what teaches it, and does a pretrained encoder help along the way?"""

import numpy as np
import pandas as pd

from helpers.analysis.results import require
from helpers.analysis.scaling import fit_scaling
from helpers.design import NO_STRATEGY, UNTRAINED
from helpers.evaluate.perturbation_axes import MEAN
from helpers.messages import unknown

FOLD = ["dataset", "held_out"]
ENCODER = ["family", "width", "strategy", "percentage"]
LEVELS = {"treated cells": "n_treated", "contexts": "n_contexts"}  # what each axis counts
LEVEL = [*FOLD, "axis", "share", "n_contexts"]
DRAW = [*LEVEL, "draw"]
BASELINE = "own_pca"


def axis_verdicts(table: pd.DataFrame, *, metric: str, rng: np.random.Generator) -> pd.DataFrame:
    """What each encoder's curve along each axis says about scale, for each fold.

    Parameters
    ----------
    table
        Rows of ``response_axes.parquet``.
    metric
        One whose calibrated score is taken: the loss is 1 less that score, at its ceiling 0 and at the null 1.

    Returns
    -------
    A row per fold, axis and encoder with `levels`, `first` and `last` (mean calibrated score of the smallest level,
    score of the whole task), `gain` between these with its 90 % interval (`gain_low`, `gain_high`), `verdict`, `form`
    and `reason` of the fit. Folds where the metric cannot tell null from ceiling have none.

    Raises ValueError for absent columns and an unknown metric. Source of the verdicts: `fit_scaling`.
    """
    found, keys = [], [*FOLD, "axis", *ENCODER]
    rows = _of_metric(table, metric)
    for key, part in rows.groupby(keys, sort=False, dropna=False):
        told = dict(zip(keys, key, strict=True))
        x = LEVELS[told["axis"]]
        levels = part[[x]].assign(loss=1 - part["calibrated"])  # draws of what teaches one encoder, not runs
        fit = fit_scaling(levels, x=x, y="loss", rng=rng)
        means = part.groupby(x)["calibrated"].agg(["mean", "size"])
        told |= {"levels": len(means), "first": means["mean"].iloc[0], "last": means["mean"].iloc[-1]}
        told |= {"gain": fit.change, "gain_low": fit.change_interval[0], "gain_high": fit.change_interval[1]}
        found.append(told | {"verdict": fit.verdict, "form": fit.form, "reason": fit.reason})
    return pd.DataFrame(found)


def _of_metric(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    require(table, [*DRAW, *ENCODER, "metric", "calibrated"])
    if metric not in set(table["metric"]):
        raise ValueError(unknown("metric", metric, table["metric"].unique()))
    return table[(table["metric"] == metric) & table["calibrated"].notna()]


def advantages(table: pd.DataFrame, *, metric: str) -> pd.DataFrame:
    """By how much pretrained encoders beat their rivals on the same draws: the untrained encoder of their family and
    width, the components of the control cells alone (own_pca), and the mean of what teaches.

    Returns
    -------
    A row per fold, level, pretrained encoder and `rival` with `n_draws`, `gain` (mean difference of the calibrated
    score, means over encoder seeds) and `low`, `high` (least and largest of the draws). With one context all heads are
    that context's response, and no row is made.

    Raises ValueError for absent columns and an unknown metric.
    """
    rows = _of_metric(table, metric)[lambda found: found["n_contexts"] > 1]
    means = rows.groupby([*ENCODER, *DRAW], sort=False, dropna=False)["calibrated"].mean().reset_index()
    found = []
    for (family, width, strategy, percentage), own in means.groupby(ENCODER, sort=False, dropna=False):
        if strategy in (NO_STRATEGY, UNTRAINED):
            continue
        untrained = (means["strategy"] == UNTRAINED) & (means["family"] == family) & (means["width"] == width)
        rivals = {UNTRAINED: untrained} | {
            name: (means["strategy"] == NO_STRATEGY) & (means["family"] == name) for name in (BASELINE, MEAN)
        }
        for rival, chosen in rivals.items():
            pairs = own.merge(means.loc[chosen, [*DRAW, "calibrated"]], on=DRAW, suffixes=("", "_rival"))
            pairs["gain"] = pairs["calibrated"] - pairs["calibrated_rival"]
            told = pairs.groupby(LEVEL, sort=False)["gain"].agg(n_draws="size", gain="mean", low="min", high="max")
            encoder = {"family": family, "width": width, "strategy": strategy, "percentage": percentage}
            found.append(told.reset_index().assign(**encoder, rival=rival))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=[*LEVEL, "gain", *ENCODER, "rival"])
