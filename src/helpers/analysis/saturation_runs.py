"""The runs that saturation is judged by: those of trained models on one metric, checked, curve by curve."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from helpers.analysis.results import numbers, require, with_sampling
from helpers.design import NO_STRATEGY, UNTRAINED
from helpers.evaluate.registry import metric as known_metric
from helpers.messages import unknown

KEYS = ["family", "width", "strategy", "task", "dataset"]
CURVE = [*KEYS, "sampling"]
CONSTANT = ["weight_decay", "budget"]  # runs that differ in these do not stand on one curve
RUN = ["run_id", "subset_seed", "init_seed"]  # what tells the runs of one size apart


def trained_runs(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Rows of trained runs of one metric, with columns `sampling` and `percentage`.

    Without percentages the size of a run is its n_cells in per cent of the most that any run learned from.

    Raises ValueError as `saturation.saturation_points` says.
    """
    size = "percentage" if "percentage" in results else "n_cells"
    if size not in results:
        raise ValueError("results has neither percentage nor n_cells: the sizes of its corpora are not known")
    require(results, [*KEYS, size, "metric", "value"])
    results = with_sampling(results)
    seeds = [column for column in RUN if column in results]
    if not seeds:
        raise ValueError("results needs run_id or subset_seed, which tell the runs of one size apart")
    if not isinstance(metric, str) or metric not in set(results["metric"]):
        raise ValueError(unknown("metric", metric, results["metric"].unique()))
    rows = results[(results["metric"] == metric) & ~results["strategy"].isin([NO_STRATEGY, UNTRAINED])]
    rows = rows.assign(**numbers(rows, [size, "value"]))
    for column in (size, "value"):
        bad = rows[~np.isfinite(rows[column])]
        if len(bad):
            first = _name(bad, seeds, size)
            raise ValueError(f"{column} is missing or infinite in {len(bad)} rows of {metric}, e.g. {first}: drop them")
    rows = rows[rows[size] > 0]
    if rows.empty:
        raise ValueError(f"no trained run has the metric {metric!r}: only untrained models or baselines do")
    twice = rows[rows.duplicated([*CURVE, *rows.columns.intersection(CONSTANT), size, *seeds])]
    if len(twice):
        raise ValueError(f"{len(twice)} rows of {metric} repeat a run, e.g. {_name(twice, seeds, size)}: keep one")
    for column in rows.columns.intersection(CONSTANT):
        for key, curve in curves(rows):
            values = curve[column].unique()
            if len(values) > 1:
                told = ", ".join(map(str, values))
                raise ValueError(f"{column} takes several values ({told}) on the curve {named(key)}: select one")
    return rows if size == "percentage" else rows.assign(percentage=100 * rows[size] / rows[size].max())


def curves(rows: pd.DataFrame) -> Iterator[tuple[tuple, pd.DataFrame]]:
    """The curves over sizes in order of appearance: their keys, as in `CURVE`, and rows."""
    return iter(rows.groupby(CURVE, sort=False, dropna=False, observed=True))


def named(key: tuple) -> str:
    """A curve in words."""
    return "/".join(map(str, key))


def is_score(metric: str) -> bool:
    """Whether higher values of a metric are better, up to 1; lower ones are otherwise.

    Raises ValueError where its best value is not known, or there is none.
    """
    best = known_metric(metric).best
    if np.isnan(best):
        raise ValueError(f"metric = {metric!r} has no best value, so that nothing can be near it")
    return best == 1


def refuse_loss(metric: str) -> None:
    """Raise ValueError for a metric whose lower values are better; one that is not known is taken for a score."""
    try:
        known_metric(metric)
    except ValueError:
        return  # of another study, say
    if not is_score(metric):
        raise ValueError(
            f"metric = {metric!r} is a loss (lower is better); the published rule takes scores (higher is better): "
            "use rule = 'error'"
        )


def _name(rows: pd.DataFrame, seeds: list[str], size: str) -> str:
    """The run of the first row, in words."""
    columns = [seeds[0], "family", "strategy", "dataset", size]
    return ", ".join(f"{column} {rows.iloc[0][column]}" for column in columns)
