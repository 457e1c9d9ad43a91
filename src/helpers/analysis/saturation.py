"""Learning saturation points: the smallest corpus that is nearly as good as the best."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from helpers.analysis.results import require, with_sampling
from helpers.design import NO_STRATEGY, UNTRAINED
from helpers.messages import unknown

KEYS = ["family", "width", "strategy", "task", "dataset"]
CURVE = [*KEYS, "sampling"]
POINT_COLUMNS = [*KEYS, "percentage", "best", "threshold", "sampling"]
CONSTANT = ["weight_decay", "budget"]  # runs that differ in these do not stand on one curve
LOSSES = ("heldout_loss",)


def saturation_points(results: pd.DataFrame, *, metric: str, rule: str, q: float = 0.95) -> pd.DataFrame:
    """Saturation point of each curve of `metric` over corpus sizes.

    Parameters
    ----------
    results
        Tidy results with family, width, strategy, task, dataset, percentage, metric, value, and run_id or subset_seed.
        Untrained models (percentage 0) and baselines are left out.
    metric
        A score whose higher values are better.
    rule
        ``published``: best is the highest value of any run of a curve, the point the smallest percentage at which any
        run is strictly above `q` × best. Each strategy is judged on its own sizes, so the full corpus counts for
        ``random`` alone.
    q
        Share of the best that is near enough, over 0 and at most 1.

    Returns
    -------
    One row per family, width, strategy, task, dataset with `percentage`, `best`, `threshold`, and `sampling`, which
    tells apart what a design samples by one strategy in several ways. `percentage` is NaN where no run is above the
    threshold: the best is zero or negative, or q is 1.

    Raises
    ------
    ValueError
        Unknown metric or rule, a loss, q out of range; columns that are absent, values or percentages that are missing,
        a run that stands twice, runs of several weight decays or budgets on one curve; no trained run.

    Source: study, learning saturation point, with q = 0.95 on the headline metric.
    """
    if rule not in RULES:
        raise ValueError(unknown("rule", rule, RULES))
    if not 0 < q <= 1:
        raise ValueError(f"q = {q!r} must be over 0 and at most 1, e.g. 0.95")
    trained = _trained(results, metric)
    rows = [dict(zip(CURVE, key, strict=True)) | RULES[rule](curve, q) for key, curve in _curves(trained)]
    return pd.DataFrame(rows, columns=POINT_COLUMNS)


def points_by_metric(results: pd.DataFrame, *, metrics: Sequence[str], rule: str, q: float = 0.95) -> pd.DataFrame:
    """Saturation points of several metrics, with a column `metric`; those that no trained run has are left out."""
    there = set(results.loc[results["percentage"] > 0, "metric"])
    tables = [
        saturation_points(results, metric=name, rule=rule, q=q).assign(metric=name) for name in metrics if name in there
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=[*POINT_COLUMNS, "metric"])


def size_samplings(results: pd.DataFrame) -> list[str]:
    """Samplings with at least two sizes, in order of appearance: those that have a curve over sizes."""
    results = with_sampling(results)
    sizes = results[results["percentage"] > 0].groupby("sampling", sort=False)["percentage"].nunique()
    return list(sizes.index[sizes > 1])


def _published(curve: pd.DataFrame, q: float) -> dict[str, float]:
    best = float(curve["value"].max())
    near = curve.loc[curve["value"] > q * best, "percentage"]
    return {"percentage": float(near.min()) if len(near) else np.nan, "best": best, "threshold": q * best}


RULES = {"published": _published}


def _curves(trained: pd.DataFrame):
    return trained.groupby(CURVE, sort=False, dropna=False, observed=True)


def _trained(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Rows of trained runs of one metric, checked."""
    require(results, [*KEYS, "percentage", "metric", "value"])
    results = with_sampling(results)
    seeds = [column for column in ("run_id", "subset_seed", "init_seed") if column in results]
    if not seeds:
        raise ValueError("results needs run_id or subset_seed, which tell the runs of one size apart")
    if metric not in set(results["metric"]):
        raise ValueError(unknown("metric", metric, results["metric"].unique()))
    if metric in LOSSES:
        raise ValueError(f"metric = {metric!r} is a loss (lower is better); these rules take scores (higher is better)")
    rows = results[(results["metric"] == metric) & ~results["strategy"].isin([NO_STRATEGY, UNTRAINED])]
    for column in ("percentage", "value"):
        bad = rows[~np.isfinite(rows[column].astype(float))]
        if len(bad):
            first = _name(bad, seeds)
            raise ValueError(f"{column} is missing or infinite in {len(bad)} rows of {metric}, e.g. {first}: drop them")
    rows = rows[rows["percentage"] > 0]
    if rows.empty:
        raise ValueError(f"no trained run has the metric {metric!r}: only untrained models or baselines do")
    twice = rows[rows.duplicated([*CURVE, *rows.columns.intersection(CONSTANT), "percentage", *seeds])]
    if len(twice):
        raise ValueError(f"{len(twice)} rows of {metric} repeat a run, e.g. {_name(twice, seeds)}: keep one of them")
    for column in rows.columns.intersection(CONSTANT):
        for key, curve in _curves(rows):
            values = curve[column].unique()
            if len(values) > 1:
                name, told = "/".join(map(str, key)), ", ".join(map(str, values))
                raise ValueError(f"{column} takes several values ({told}) on the curve {name}: select one of them")
    return rows


def _name(rows: pd.DataFrame, seeds: list[str]) -> str:
    """The run of the first row, in words."""
    columns = [seeds[0], "family", "strategy", "dataset", "percentage"]
    return ", ".join(f"{column} {rows.iloc[0][column]}" for column in columns)
