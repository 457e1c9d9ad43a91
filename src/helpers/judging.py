"""The loop that all notebooks share which judge models: what is fresh stays, what fails lets the others go on."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from helpers.design import Run
from helpers.reading import track
from helpers.store import Store, embedding_path, evaluation_path, prediction_path

Evaluated = tuple[pd.DataFrame, pd.DataFrame]


def judge(
    store: Store,
    task: str,
    runs: Sequence[Run | str],
    evaluate: Callable[[Run | str], Evaluated],
    *,
    inputs: Callable[[Run | str], Sequence[str]],
    settings: Mapping | None = None,
) -> pd.DataFrame:
    """Judge runs, or baselines by name, and store scores and predictions of each.

    Parameters
    ----------
    evaluate
        Returns scores (dataset, metric, value, further columns as wanted) and what was predicted, by cell or gene.
    inputs
        Names of the artifacts that the evaluation of a run reads.

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
        files = [
            store.artifact(path(task, run), inputs=inputs(run), settings=settings)
            for path in (evaluation_path, prediction_path)
        ]
        if all(file.fresh for file in files):
            continue
        try:
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


def embedded(store: Store, run: Run) -> np.ndarray:
    """Embedding of all evaluation cells by a run, (n_cells, n_latent)."""
    return np.load(store.read(embedding_path(run)))["embedding"]


def tidy(rows: Sequence[tuple[str, str, float]]) -> pd.DataFrame:
    """Scores as a table with dataset, metric, value."""
    return pd.DataFrame(rows, columns=["dataset", "metric", "value"])
