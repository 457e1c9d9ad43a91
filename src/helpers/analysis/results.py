"""The tidy table of results: one row per run × evaluation × metric."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from helpers.evaluate.registry import PARTS
from helpers.messages import unknown

RUN_COLUMNS = [
    *("run_id", "family", "width", "weight_decay", "strategy", "percentage", "subset_seed", "init_seed", "budget"),
    *("n_cells", "n_unique", "n_donors", "n_datasets", "umis_per_cell", "shannon", "vendi"),
    *("n_parameters", "cell_views", "flops", "seconds", "status"),
]
EVALUATION_COLUMNS = ["task", "dataset", "seen", "metric", "value", "null", "ceiling"]
COST_COLUMNS = [
    *("steps", "unique_cells", "flops_counted", "cells_per_second", "peak_memory_mb", "device", "peak_gpu_memory_mb"),
    *("lr", "sweep_seconds", "sweep_flops", "supervised", "within_study_triplets", "embedded_per_second"),
]
# The last ones: why a run was given up, how many held-out conditions a score is the mean of, how many cells of the set
# (for responses conditions) test, and the unit of a held-out loss.
RESULT_COLUMNS = [*RUN_COLUMNS, *EVALUATION_COLUMNS, *COST_COLUMNS, "reason", "n_conditions", "n_test", "loss_unit"]
# Of scores of one type (cells of it that were tested) or one condition (calibrated score, number of truly DE genes).
PART_COLUMNS = [*RUN_COLUMNS, *EVALUATION_COLUMNS, *PARTS, "n_test", "calibrated", "n_de"]


def wide(results: pd.DataFrame, metrics: Mapping[str, tuple[str, str, str]] | Iterable[str]) -> pd.DataFrame:
    """One row per run, with a column per metric beside what describes the run.

    Parameters
    ----------
    results
        Tidy results; of the columns that describe a run, those that are there are kept.
    metrics
        Name of the new column -> (task, dataset, metric), or texts ``task/dataset/metric``, which then name the
        columns.

    Returns
    -------
    (n_runs, …) in the order of `results`; NaN where a run lacks a metric.

    Raises
    ------
    ValueError
        Needed columns are absent, a metric is not in the results or is named like a column of the run, a run has two
        values of one metric or two descriptions.
    """
    require(results, ["run_id", "task", "dataset", "metric", "value"])
    mapped = isinstance(metrics, Mapping)
    wanted = {column: "/".join(key) for column, key in metrics.items()} if mapped else {name: name for name in metrics}
    names = results["task"].astype(str) + "/" + results["dataset"].astype(str) + "/" + results["metric"].astype(str)
    runs = _runs(results)
    for column, name in wanted.items():
        chosen = results[names == name]
        if chosen.empty:
            raise ValueError(unknown("metric", name, names.unique()))
        if column in runs:
            raise ValueError(f"metrics: the name {column!r} is taken by a column of the run; choose another")
        twice = chosen.loc[chosen["run_id"].duplicated(), "run_id"]
        if len(twice):
            raise ValueError(f"{len(twice)} runs have two values of {name}, e.g. {twice.iloc[0]}: keep one of them")
        runs[column] = runs["run_id"].map(chosen.set_index("run_id")["value"])
    return runs


def complete_runs(results: pd.DataFrame, metrics: Mapping[str, tuple[str, str, str]]) -> pd.DataFrame:
    """Runs that have all of the metrics, as `wide`; none where the results lack a metric altogether."""
    there = set(results[["task", "dataset", "metric"]].drop_duplicates().itertuples(index=False, name=None))
    if not there.issuperset(metrics.values()):
        return results.iloc[:0].assign(**dict.fromkeys(metrics, float("nan")))
    return wide(results, metrics).dropna(subset=list(metrics))


def with_sampling(results: pd.DataFrame) -> pd.DataFrame:
    """The results with a column `sampling`: the name in the design of what was sampled, from the run ids.

    A design can sample by one strategy in several ways, such as cells of 3 and of 10 donors. Results without run ids
    are taken as one way for each strategy.
    """
    if "sampling" in results:
        return results
    names = results["strategy"].astype(str)
    if "run_id" in results:
        names = results["run_id"].astype(str).str.extract(r"^[^/]+/([^/]+)/p[\d.]+/s\d+$")[0].fillna(names)
    return results.assign(sampling=names)


def require(results: pd.DataFrame, columns: Iterable[str]) -> None:
    """Raise ValueError unless all `columns` are there."""
    absent = [column for column in columns if column not in results]
    if absent:
        there = ", ".join(map(str, results.columns)) or "none"
        raise ValueError(f"results lacks the columns {', '.join(absent)}; it has: {there}")


def numbers(table: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """Columns as float64, text that is a number among them. Raises ValueError naming a value that is none."""
    found = {}
    for column in columns:
        values = pd.to_numeric(table[column], errors="coerce")
        if len(wrong := table.loc[values.isna() & table[column].notna(), column]):
            raise ValueError(f"{column} holds {wrong.iloc[0]!r}, which is no number")
        found[column] = values.to_numpy(np.float64, na_value=np.nan)
    return pd.DataFrame(found, index=table.index)


def finite_numbers(table: pd.DataFrame, columns: Iterable[str], of: str) -> pd.DataFrame:
    """Columns as `numbers`, of rows that are named `of`. Raises ValueError also where one is missing or infinite."""
    found = numbers(table, columns)
    for column in found:
        if bad := int((~np.isfinite(found[column])).sum()):
            raise ValueError(f"{column} is missing or infinite in {bad} of {len(table)} {of}: drop them")
    return found


def _runs(results: pd.DataFrame) -> pd.DataFrame:
    """What describes each run, one row per run."""
    runs = results[[column for column in RUN_COLUMNS if column in results]].drop_duplicates(ignore_index=True)
    twice = runs.loc[runs["run_id"].duplicated(), "run_id"]
    if len(twice):
        both = runs[runs["run_id"] == twice.iloc[0]]
        differing = [column for column in both if len(both[column].unique()) > 1]
        raise ValueError(f"run {twice.iloc[0]} is described in two ways; its rows differ in: {', '.join(differing)}")
    return runs
