"""Scores of predicted responses over the conditions of a set, and by the strength of the true effect."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from helpers.evaluate import perturbation_metrics as pm

SCORES = ["value", "null", "ceiling"]
STRATA = (100, 300, 1000)  # truly DE genes: where one stratum ends and the next begins
HEAD = r"^(mlp_)?"  # stands before the metric


def n_de(truth: pm.Truth) -> int:
    """Number of truly DE genes of a condition: the strength of its effect."""
    return int((truth.fdr < pm.FDR).sum())


def calibrated(conditions: pd.DataFrame) -> np.ndarray:
    """Unclipped calibrated score of each row (n_rows,), NaN where its metric cannot separate null from ceiling.

    `conditions` has `metric`, `value`, `null`, `ceiling`, `gap_sd`.
    """
    best = [pm.METRICS[name].best for name in conditions["metric"]]
    rows = zip(*(conditions[column] for column in SCORES), conditions["gap_sd"], best, strict=True)
    return np.array([pm.calibrated(*scores, gap_sd=sd, best=one) for *scores, sd, one in rows])


def means(conditions: pd.DataFrame) -> pd.DataFrame:
    """Means over the held-out conditions of each set, value, null and ceiling over the same ones.

    Parameters
    ----------
    conditions
        A row per `dataset`, condition and `metric`: `value`, `null`, `ceiling`, `calibrated`.

    Returns
    -------
    A row per `dataset` and `metric`: `value`, `null`, `ceiling`, `n_conditions`. A condition in which one of the three
    is not defined counts in none of them. Rows of ``calibrated_…`` are means over the conditions where the metric
    separates null from ceiling, with null 0 and ceiling 1; without such a condition there is none.
    """
    defined = conditions[SCORES].notna().all(axis=1)
    plain = conditions.assign(**conditions[SCORES].where(defined))
    way = conditions["metric"].str.extract(f"{HEAD}(.*)$").fillna("")
    names = way[0] + "calibrated_" + way[1]
    apart = conditions.assign(metric=names, value=conditions["calibrated"], null=0.0, ceiling=1.0)
    columns = {name: (name, "mean") for name in SCORES} | {"n_conditions": ("value", "count")}
    tables = [
        rows.groupby(["dataset", "metric"], sort=False).agg(**columns) for rows in (plain, apart.dropna(subset="value"))
    ]
    return pd.concat(tables).reset_index()


def strata(numbers: Sequence | np.ndarray) -> pd.Categorical:
    """Stratum of each number of truly DE genes, weakest effects first."""
    edges = [0, *STRATA]
    names = [f"{low:,} to {high - 1:,} DE genes" for low, high in zip(edges, STRATA, strict=False)]
    names.append(f"{edges[-1]:,} or more DE genes")
    return pd.cut(np.asarray(numbers), [*edges, np.inf], right=False, labels=names)


def by_condition(conditions: pd.DataFrame) -> pd.DataFrame:
    """Calibrated scores of each condition, weakest effect first.

    Parameters
    ----------
    conditions
        Rows of `dataset`, `context`, `perturbation`, `metric`, `calibrated`, `n_de`, of one run or of several, whose
        mean is taken.

    Returns
    -------
    A column per metric, in their order; indexed by `stratum`, `dataset`, `context`, `perturbation`, `n_de`. NaN where
    the metric does not separate null from ceiling.
    """
    keys = ["stratum", "dataset", "context", "perturbation", "n_de"]
    rows = conditions.assign(stratum=strata(conditions["n_de"]).astype(str)).astype({"n_de": int})
    by_metric = rows.groupby("metric", sort=False)
    table = pd.DataFrame({name: part.groupby(keys, sort=False)["calibrated"].mean() for name, part in by_metric})
    return table.sort_index(level="n_de", kind="stable", sort_remaining=False)
