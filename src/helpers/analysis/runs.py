"""Runs of one model on one evaluation set, checked, and what is told of them beside an effect."""

import numpy as np
import pandas as pd

from helpers.analysis.curves import ONE_VALUE
from helpers.analysis.results import finite_numbers, require, with_sampling

COLUMNS = ["estimate", "low", "high", "p", "n", "n_sizes", "n_seeds", "range", "testable", "reason"]


def read_runs(frame: pd.DataFrame, *columns: str, several: tuple[str, ...] = ()) -> pd.DataFrame:
    """Trained runs, checked, with their `sampling`.

    Parameters
    ----------
    frame
        One row per run, with percentage, strategy or sampling, and `columns`, which must be numbers.
    several
        Columns that may take several values, of family, width, dataset, task and metric.

    Raises
    ------
    ValueError
        Columns are absent, values missing or infinite, models untrained; a run stands twice; several families, widths,
        datasets or metrics.
    """
    require(frame, ["percentage", *columns])
    if frame.empty:
        raise ValueError("the table of runs is empty")
    for column in frame.columns.intersection([name for name in (*ONE_VALUE, "width") if name not in several]):
        if len(found := frame[column].dropna().unique()) > 1:
            raise ValueError(f"{column} takes several values ({', '.join(map(str, found))}): select one of them")
    frame = frame.assign(**finite_numbers(frame, ["percentage", *columns], "runs"))
    if bad := int((frame["percentage"] <= 0).sum()):
        raise ValueError(f"percentage must be over 0, {bad} runs are not (untrained models?): drop them")
    if "run_id" in frame and len(twice := frame.loc[frame["run_id"].duplicated(), "run_id"]):
        raise ValueError(f"{len(twice)} runs stand twice, e.g. {twice.iloc[0]}: one row per run is needed")
    if "sampling" not in frame:
        require(frame, ["strategy"])
    runs = with_sampling(frame).reset_index(drop=True)
    return runs.assign(sampling=runs["sampling"].astype(str))


def told(runs: pd.DataFrame) -> dict:
    """Numbers of runs, sizes and seeds (most of one sampling and size), and the range of sizes in words."""
    seeds = runs.groupby(["sampling", "percentage"]).size().max()
    counts = {"n": len(runs), "n_sizes": runs["percentage"].nunique(), "n_seeds": int(seeds)}
    return counts | {"range": sizes_in_words(runs)}


def sizes_in_words(runs: pd.DataFrame) -> str:
    """How many sizes there are and from where to where, in cells if these are known."""
    column, unit = ("n_cells", "cells") if "n_cells" in runs else ("percentage", "% of the corpus")
    n, low, high = runs["percentage"].nunique(), runs[column].min(), runs[column].max()
    return f"{n} sizes, {low:,.10g} to {high:,.10g} {unit}" if n > 1 else f"1 size, {high:,.10g} {unit}"


def untestable(reason: str, runs: pd.DataFrame) -> dict:
    """What is told where nothing can be estimated."""
    return dict.fromkeys(("estimate", "low", "high", "p"), np.nan) | told(runs) | {"testable": False, "reason": reason}
