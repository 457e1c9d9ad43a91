"""What judged the models: sets, how many of their cells or conditions, in which unit a loss is; and what is absent."""

import json

import pandas as pd

from helpers import failures
from helpers.design import NO_STRATEGY, Design
from helpers.design_evaluations import TASKS
from helpers.evaluate.baselines import BASELINES
from helpers.store import Store, model_path, prediction_path

JUDGED = {"classification": "majority", "finetuning": "majority", "integration": "own_pca"}


def with_test_sets(results: pd.DataFrame, design: Design, store: Store) -> pd.DataFrame:
    """The results with `n_test`, the test cells of each row's set, for responses conditions, and `loss_unit`."""
    sets = pd.read_parquet(store.read("evaluation_sets.parquet"))
    conditions = results[results["task"] == "perturbation"].groupby("dataset")["n_conditions"].max()
    counts = {"heldout_loss": sets.groupby("dataset").size(), "perturbation": conditions}
    counts |= {task: n_judged(task, store) for task in set(results["task"].dropna()) - set(counts)}
    pairs = zip(results["task"], results["dataset"], strict=True)
    n = [counts[task].get(name) if task in counts else None for task, name in pairs]
    units = results["family"].map(_loss_units(design, store)).where(results["task"] == "heldout_loss")
    return results.assign(n_test=pd.to_numeric(pd.Series(n, index=results.index)), loss_unit=units)


def n_judged(task: str, store: Store) -> pd.Series:
    """Number of cells that a task judges in each of its sets, by its name; of sets that nothing was judged on, none."""
    owners = [JUDGED[task], *BASELINES[task], *store.design.runs()]
    counts: dict[str, int] = {}
    for path in (prediction_path(task, owner) for owner in owners):
        if counts.keys() >= store.design.datasets(task).keys():
            break
        if store.has(path):
            table = pd.read_parquet(store.read(path)).drop_duplicates(["dataset", "position"])
            counts |= table.groupby("dataset").size().to_dict()
    return pd.Series(counts, dtype=int)


def n_test(results: pd.DataFrame) -> dict[str, pd.Series]:
    """By task, the number of test cells, for responses conditions, of each set by its name."""
    known = results.dropna(subset=["task", "n_test"]).drop_duplicates(["task", "dataset"])
    return {task: rows.set_index("dataset")["n_test"].astype(int) for task, rows in known.groupby("task")}


def loss_units(results: pd.DataFrame) -> dict[str, str]:
    """Unit of the held-out loss of each family that has one."""
    return results.dropna(subset="loss_unit").drop_duplicates("family").set_index("family")["loss_unit"].to_dict()


def missing_note(design: Design, results: pd.DataFrame) -> str:
    """A sentence that says how many evaluations the results lack, no text if all are there.

    Those of runs that were given up do not count.
    """
    there = set(results[["run_id", "task", "dataset"]].itertuples(index=False, name=None))
    given_up = set(results.loc[results["status"] == "failed", "run_id"])
    runs = [run for run in design.runs() if run.id not in given_up]
    n = 0
    for task in filter(design.evaluates, TASKS.values()):
        owners = [run.id for run in runs if design.judges(task, run)]
        owners += [f"{name}/{NO_STRATEGY}" for name in BASELINES[task]]
        n += sum((owner, task, name) not in there for owner in owners for name in design.datasets(task))
    return f"{n:,} evaluation{' is' if n == 1 else 's are'} missing, see 50_collect." if n else ""


def _loss_units(design: Design, store: Store) -> dict[str, str]:
    units: dict[str, str] = {}
    for run in design.runs():
        if run.family not in units and store.has(model_path(run)) and failures.reason(store.root, run) is None:
            units[run.family] = json.loads((store.read(model_path(run)) / "model.json").read_text())["loss_unit"]
    return units
