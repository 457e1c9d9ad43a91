"""From the artifacts of all stages to the tidy table of results."""

import json
from collections.abc import Mapping

import numpy as np
import pandas as pd

from helpers import failures
from helpers.analysis.results import COST_COLUMNS, EVALUATION_COLUMNS, PART_COLUMNS, RESULT_COLUMNS
from helpers.design import NO_STRATEGY, UNTRAINED, Design, Run
from helpers.design_evaluations import TASKS
from helpers.evaluate.baselines import BASELINES, FLOORS, REFERENCES
from helpers.evaluate.registry import PARTS, WAYS
from helpers.store import Store, embedding_path, evaluation_path, model_path, read_record

OTHER_WAYS = f"^({'|'.join(WAYS)})"  # of reaching a score: its floor and reference are the same

SUBSET_COLUMNS = ("n_cells", "n_unique", "n_donors", "n_datasets", "umis_per_cell", "shannon", "vendi")


def expected_tables(design: Design, store: Store) -> dict[str, Run | str]:
    """Every evaluation table of the design -> the run, or the name of the baseline, that it judges.

    Runs that were given up have none.
    """
    runs = [run for run in design.runs() if failures.reason(store.root, run) is None]
    tables: dict[str, Run | str] = {}
    for task in filter(design.evaluates, TASKS.values()):
        tables |= {evaluation_path(task, run): run for run in runs if design.judges(task, run)}
        tables |= {evaluation_path(task, name): name for name in BASELINES[task]}
    return tables


def missing_evaluations(design: Design, store: Store) -> pd.DataFrame:
    """Evaluations of the design that are not there, a row per run or baseline and set: task, dataset, run, reason."""
    rows = []
    for path, owner in expected_tables(design, store).items():
        task, failed = task_of(path), failures.noted(store, path)
        run = owner if isinstance(owner, str) else owner.id
        absent = (
            failed if store.has(path) else {name: failed.get(name, "not made yet") for name in design.datasets(task)}
        )
        rows += [(task, dataset, run, why) for dataset, why in absent.items()]
    return pd.DataFrame(rows, columns=["task", "dataset", "run", "reason"])


def told_missing(missing: pd.DataFrame) -> str:
    """Evaluations that are not there, those of one set and reason on a line."""
    groups = missing.groupby(["task", "dataset", "reason"], sort=False)["run"]
    return "\n".join(
        f"  {task} on {dataset}, {len(runs)} runs or baselines, {runs.iloc[0]} first: {why}"
        for (task, dataset, why), runs in groups
    )


def describe_runs(design: Design, store: Store) -> pd.DataFrame:
    """What each run whose model is there, or was given up, learned from and cost, indexed by run id."""
    subsets = pd.read_parquet(store.read("diversity.parquet")).set_index("subset")[list(SUBSET_COLUMNS)]
    n_embedded = pd.read_parquet(store.read("evaluation_sets.parquet"))["position"].nunique()
    rows = {}
    for run in design.runs():
        if store.has(model_path(run)):
            trained = run.strategy != UNTRAINED
            seen = subsets.loc[run.subset].to_dict() if trained else {"n_cells": 0, "n_unique": 0}
            strategy = design.strategies[run.strategy].strategy if trained else UNTRAINED
            budget = design.budget_of(run.family)
            told = {"strategy": strategy, "budget": f"{budget.kind}={budget.amount}"}
            rows[run.id] = _describe_run(run, store) | told | seen | _speed(run, store, n_embedded)
    return pd.DataFrame.from_dict(rows, orient="index")


def _speed(run: Run, store: Store, n_embedded: int) -> dict[str, float]:
    """Cells that a run embeds in a second, its model's loading and the embedding's writing among it."""
    path = embedding_path(run)
    if not store.has(path):
        return {}
    return {"embedded_per_second": n_embedded / max(read_record(store.path(path))["seconds"], 1e-3)}


def _card(run: Run, store: Store) -> dict:
    return json.loads((store.read(model_path(run)) / "model.json").read_text())


def _describe_run(run: Run, store: Store) -> dict:
    told = {"family": run.family, "width": run.width, "percentage": run.percentage}
    told |= {"subset_seed": run.seed, "init_seed": run.seed}
    if (reason := failures.reason(store.root, run)) is not None:
        return told | {"status": "failed", "reason": reason}
    card = _card(run, store)
    cost = card["cost"]
    return told | {
        "weight_decay": card["settings"].get("weight_decay", np.nan),
        "n_parameters": card["n_parameters"]["total"],
        "cell_views": cost["cell_views"],
        "flops": cost["flops"],
        "seconds": cost["seconds"],
        "status": "ok",
        **{column: cost.get(column) for column in COST_COLUMNS},
    }


def result_rows(
    runs: pd.DataFrame, store: Store, present: Mapping[str, Run | str], *, parts: bool = False
) -> pd.DataFrame:
    """Rows of all runs; null and ceiling, where a row has none of its own, are the values of `FLOORS` and `REFERENCES`.

    A run that was given up has one row, without task and value, whose status is ``failed``. With `parts`, the rows are
    those of single types and conditions instead, in `PART_COLUMNS`.
    """
    tables = [
        _read(store, path, parts).assign(run_id=owner.id)
        for path, owner in present.items()
        if isinstance(owner, Run) and owner.id in runs.index
    ]
    empty = pd.DataFrame(columns=["run_id", *EVALUATION_COLUMNS, *PARTS])
    rows = pd.concat(tables or [empty], ignore_index=True).merge(runs, left_on="run_id", right_index=True)
    failed = runs[runs["status"] == "failed"].rename_axis("run_id").reset_index()
    rows = pd.concat([rows, failed], ignore_index=True) if len(failed) else rows
    return _finish(rows, store, present, parts)


def baseline_rows(store: Store, present: Mapping[str, Run | str], *, parts: bool = False) -> pd.DataFrame:
    """Rows of the baselines: family is the baseline's name, strategy ``none``; `parts` as in `result_rows`."""
    tables = [
        _read(store, path, parts).assign(
            run_id=f"{owner}/{NO_STRATEGY}", family=owner, strategy=NO_STRATEGY, status="ok"
        )
        for path, owner in present.items()
        if isinstance(owner, str)
    ]
    return (
        _finish(pd.concat(tables, ignore_index=True), store, present, parts)
        if tables
        else pd.DataFrame(columns=PART_COLUMNS if parts else RESULT_COLUMNS)
    )


def task_of(path: str) -> str:
    """The task of an evaluation table, by its path."""
    return path.removeprefix("evaluations/").split("--")[0]


def _read(store: Store, path: str, parts: bool) -> pd.DataFrame:
    """Rows of one evaluation: those of whole sets, or of parts of them, whose names are empty where they have none."""
    rows = pd.read_parquet(store.read(path)).assign(task=task_of(path))
    names = rows.reindex(columns=list(PARTS)).fillna("").astype(str)
    return rows.assign(**names)[names.ne("").any(axis=1) == parts]


def _finish(rows: pd.DataFrame, store: Store, present: Mapping[str, Run | str], parts: bool) -> pd.DataFrame:
    rows["seen"] = rows["dataset"].map(store.design.seen())
    keys = ["task", "dataset", *PARTS, "metric"]
    for column, names in (("null", FLOORS), ("ceiling", REFERENCES)):
        paths = [evaluation_path(task, name) for task, name in names.items()]
        tables = [_read(store, path, parts) for path in paths if path in present]
        if not tables:
            continue
        wanted = rows[keys].assign(metric=rows["metric"].str.replace(OTHER_WAYS, "", regex=True))
        values = pd.concat(tables).set_index(keys)["value"].reindex(pd.MultiIndex.from_frame(wanted)).to_numpy()
        rows[column] = rows[column].fillna(pd.Series(values, index=rows.index)) if column in rows else values
    return rows.reindex(columns=PART_COLUMNS if parts else RESULT_COLUMNS)
