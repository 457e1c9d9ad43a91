"""The loop that all notebooks share which judge models: what is fresh stays, what fails lets the others go on."""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from anndata import AnnData

from helpers import failures
from helpers.design import NO_STRATEGY, Design, Run
from helpers.evaluate import baselines
from helpers.evaluate.baselines import FLOORS, REFERENCES
from helpers.evaluate.registry import PARTS
from helpers.reading import track
from helpers.store import Store, discard, embedding_path, evaluation_path, maker_of, prediction_path

Evaluated = tuple[pd.DataFrame, pd.DataFrame]


def runs_of(
    study: Design,
    store: Store,
    task: str,
    family: str,
    width: float,
    strategy: str,
    percentages: Sequence[float] = (),
    seeds: Sequence[int] = (),
) -> list[Run | str]:
    """What a notebook judges: runs of the evaluation that were not given up, or for the strategy none the baselines."""
    if strategy == NO_STRATEGY:
        return list(baselines.BASELINES[task])
    chosen = study.select(family, width, strategy, percentages, seeds)
    return [run for run in failures.standing(store, chosen) if study.judges(task, run)]


class _NoSetJudgedError(Exception):
    """Nothing is to be written."""


def judge(
    store: Store,
    task: str,
    runs: Sequence[Run | str],
    evaluate: Callable[[Run | str, str], Evaluated],
    *,
    inputs: Sequence[str],
    of_run: Sequence[Callable[[Run], str]] = (embedding_path,),
    settings: Mapping | None = None,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Judge runs, or baselines by name, on each set of a task, and store scores and predictions of each.

    A run is judged again if an input, a setting or the code changed, or if some of its sets failed.

    Parameters
    ----------
    evaluate
        Returns, for a run and the name of a set, scores (dataset, metric, value, further columns as wanted) and what
        was predicted, by cell or gene.
    inputs
        Names of the artifacts that every evaluation reads.
    of_run
        What names those that belong to a run.

    Returns
    -------
    scores
        Those of all runs with a column `run`: the size in per cent, or the baseline's name. Empty without runs.
    failed
        What failed, a run or one of its sets, with the reason; for `failures.raise_failed` at the end of the notebook.
    """
    datasets, failed = list(store.design.datasets(task)), {}
    for run in track(runs, "evaluations"):
        name, paths = getattr(run, "id", run), [path(task, run) for path in (evaluation_path, prediction_path)]
        own = [] if isinstance(run, str) else [path(run) for path in of_run]
        parts = {f"{name} on {dataset}": dataset for dataset in datasets}
        with failures.going_on(failed, name):
            _check_inputs(store, own)
            files = [store.artifact(path, inputs=[*inputs, *own], settings=settings) for path in paths]
            if all(file.fresh for file in files) and not failures.noted(store, paths[0]):
                continue
            with contextlib.suppress(_NoSetJudgedError), files[0].write() as scores, files[1].write() as predictions:
                tables = []
                for part, dataset in parts.items():
                    with failures.going_on(failed, part):
                        tables.append(evaluate(run, dataset))
                if not tables:
                    raise _NoSetJudgedError
                for path, some in zip((scores, predictions), zip(*tables, strict=True), strict=True):
                    pd.concat(some, ignore_index=True).to_parquet(path, index=False)
        left = {dataset: failed.get(part, failed.get(name)) for part, dataset in parts.items()}
        left = {dataset: why for dataset, why in left.items() if why is not None}
        if len(left) == len(datasets):
            for path in paths:  # of an earlier run, made from something else
                discard(store.path(path))
        failures.note(store, paths[0], left)
    tables = [
        pd.read_parquet(store.read(path)).assign(run=getattr(run, "percentage", run))
        for run in runs
        if store.has(path := evaluation_path(task, run))
    ]
    empty = pd.DataFrame(columns=["dataset", "metric", "value", "run"])
    return (pd.concat(tables, ignore_index=True) if tables else empty), failed


def _check_inputs(store: Store, paths: Sequence[str]) -> None:
    """Raise FailedPartsError with the reason if what a run's evaluation reads could not be made."""
    for path in paths:
        if why := failures.noted(store, path):
            raise failures.FailedPartsError(f"{maker_of(path)} failed: {'; '.join(why.values())}")


def embedded(store: Store, run: Run | str, cells: AnnData, rows: np.ndarray) -> np.ndarray:
    """Embedding of some of the evaluation cells by a run or a baseline, (n_rows, n_latent)."""
    return baselines.embed(run, cells[rows]) if isinstance(run, str) else _known(store, run)[rows]


@functools.lru_cache(maxsize=1)
def _known(store: Store, run: Run) -> np.ndarray:
    return np.load(store.read(embedding_path(run)))["embedding"]


def tidy(rows: Sequence[tuple[str, str, float]]) -> pd.DataFrame:
    """Scores as a table with dataset, metric, value."""
    return pd.DataFrame(rows, columns=["dataset", "metric", "value"])


def whole(scores: pd.DataFrame) -> pd.DataFrame:
    """The scores of whole sets, without those of single types or conditions."""
    named = [column for column in PARTS if column in scores]
    return scores[scores[named].isna().all(axis=1)].drop(columns=named)


def with_limits(store: Store, task: str, scores: pd.DataFrame) -> pd.DataFrame:
    """The scores of whole sets with `null` and `ceiling`, where the baselines that give them have been judged."""
    keys = pd.MultiIndex.from_frame(scores[["dataset", "metric"]])
    for column, names in (("null", FLOORS), ("ceiling", REFERENCES)):
        if store.has(path := evaluation_path(task, names[task])):
            known = whole(pd.read_parquet(store.read(path))).set_index(["dataset", "metric"])["value"]
            scores = scores.assign(**{column: known.reindex(keys).to_numpy()})
    return scores


def nothing(family: str, strategy: str) -> str:
    """What a notebook says that has no run to judge."""
    return f"All runs of {family} ({strategy}) were given up or failed, or the design selects none: nothing is judged."
