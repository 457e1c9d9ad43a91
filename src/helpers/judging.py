"""The loop that all notebooks share which judge models: what is fresh stays, what fails lets the others go on."""

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
from helpers.store import Store, embedding_path, evaluation_path, prediction_path

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


def judge(
    store: Store,
    task: str,
    runs: Sequence[Run | str],
    evaluate: Callable[[Run | str], Evaluated],
    *,
    inputs: Sequence[str],
    of_run: Sequence[Callable[[Run], str]] = (embedding_path,),
    settings: Mapping | None = None,
) -> pd.DataFrame:
    """Judge runs, or baselines by name, and store scores and predictions of each.

    Parameters
    ----------
    evaluate
        Returns scores (dataset, metric, value, further columns as wanted) and what was predicted, by cell or gene.
    inputs
        Names of the artifacts that every evaluation reads.
    of_run
        What names those that belong to a run.

    Returns
    -------
    The scores of all runs with a column `run`: the size in per cent, or the baseline's name. Empty without runs.

    Raises
    ------
    RuntimeError
        At the end, if evaluations failed; names each with its reason.
    """
    failed: dict[str, Exception] = {}
    for run in track(runs, "evaluations"):
        own = [] if isinstance(run, str) else [path(run) for path in of_run]
        try:
            files = [
                store.artifact(path(task, run), inputs=[*inputs, *own], settings=settings)
                for path in (evaluation_path, prediction_path)
            ]
            if all(file.fresh for file in files):
                continue
            with files[0].write() as scores_path, files[1].write() as predictions_path:
                scores, predictions = evaluate(run)
                scores.to_parquet(scores_path, index=False)
                predictions.to_parquet(predictions_path, index=False)
        except Exception as error:  # noqa: BLE001 (raised below, when the others are done)
            failed[getattr(run, "id", run)] = error
    if failed:
        told = "; ".join(f"{name}: {type(error).__name__}: {error}" for name, error in failed.items())
        raise RuntimeError(f"{len(failed)} evaluations failed: {told}") from next(iter(failed.values()))
    tables = [
        pd.read_parquet(store.read(evaluation_path(task, run))).assign(run=getattr(run, "percentage", run))
        for run in runs
    ]
    return (
        pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["dataset", "metric", "value", "run"])
    )


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
    return f"All runs of {family} ({strategy}) were given up, or the design selects none of them: nothing is judged."
