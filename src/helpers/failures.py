"""Runs that were given up, such as a training that diverged: the reason lies in the model's place, the rest goes on.

A run is tried again when its settings, inputs or code change, or its folder is removed.
"""

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
    """Those of `runs` that were not given up; there may be none."""
    return [run for run in runs if reason(store.root, run) is None]


def told(store: Store, runs: Iterable[Run]) -> str:
    """Those of `runs` that were given up, each with its reason on a line of its own."""
    reasons = {run.id: reason(store.root, run) for run in runs}
    return "\n".join(f"  {name}: {why}" for name, why in reasons.items() if why is not None)
