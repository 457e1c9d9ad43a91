"""Runs that were given up, such as a training that diverged: the reason lies in the model's place, the rest goes on."""

import json
from collections.abc import Iterable
from pathlib import Path

from helpers.design import Run
from helpers.store import Store, model_path

FILE = "failure.json"


def give_up(folder: Path, error: Exception) -> None:
    """Write why a run was given up to the folder that was to hold its model."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():  # of a model half written
        path.unlink()
    (folder / FILE).write_text(json.dumps({"reason": f"{type(error).__name__}: {error}"}) + "\n")


def reason(root: Path, run: Run) -> str | None:
    """Why a run of the results in `root` was given up; None for a run that was not, or not yet trained."""
    file = root / model_path(run) / FILE
    return json.loads(file.read_text())["reason"] if file.exists() else None


def standing(store: Store, runs: Iterable[Run]) -> list[Run]:
    """Those of `runs` that were not given up. Raises RuntimeError, with the first reason, if none is left."""
    runs = list(runs)
    left = [run for run in runs if reason(store.root, run) is None]
    if not left:
        raise RuntimeError(f"all {len(runs)} runs were given up, {runs[0].id} for: {reason(store.root, runs[0])}")
    return left
