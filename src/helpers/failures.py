"""What failed while the rest goes on: models that were given up, embeddings and evaluations that could not be made.

The reason lies where the result would. A model is trained again when its settings, inputs or code change, or its folder
is removed; everything else is tried again by the next run.
"""

import contextlib
import errno
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from helpers.design import Run
from helpers.store import Store, model_path, write_text

logger = logging.getLogger(__name__)

FILE = "failure.json"
UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # of the disk: whatever comes next fails as well


class FailedPartsError(RuntimeError):
    """Parts of a stage failed; the others are done."""


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


@contextlib.contextmanager
def going_on(failed: dict[str, str], part: str) -> Iterator[None]:
    """Put into `failed` why the block failed, under the name of a part, and go on; the first traceback is logged.

    Raises OSError all the same where the disk is full or read-only.
    """
    try:
        yield
    except Exception as error:  # told by whoever collects `failed`, when the others are done
        if isinstance(error, OSError) and error.errno in UNWRITABLE:
            raise
        if not failed:
            logger.warning("%s failed, the others go on", part, exc_info=error)
        failed[part] = f"{type(error).__name__}: {error}"


def note(store: Store, relative: str, failed: Mapping[str, str]) -> None:
    """Keep beside an artifact which of its parts failed and why; with none an earlier note is removed."""
    path = _note_path(store, relative)
    if failed:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(dict(failed)))
    else:
        path.unlink(missing_ok=True)


def noted(store: Store, relative: str) -> dict[str, str]:
    """Parts of an artifact that failed, with their reasons; a note that cannot be read is itself the reason."""
    path = _note_path(store, relative)
    try:
        told = json.loads(path.read_text()) if path.exists() else {}
    except ValueError:
        told = None
    return told if isinstance(told, dict) else {"unknown parts": f"{path.name} is corrupt"}


def raise_failed(failed: Mapping[str, str]) -> None:
    """Raise FailedPartsError that names the failed parts, those of one reason together; nothing if there are none."""
    if failed:
        parts: dict[str, list[str]] = {}
        for part, why in failed.items():
            parts.setdefault(why, []).append(part)
        lines = [f"{', '.join(names)}: {why}" for why, names in parts.items()]
        raise FailedPartsError("\n  ".join([f"{len(failed)} failed, and will be tried again by the next run:", *lines]))


def _note_path(store: Store, relative: str) -> Path:
    path = store.path(relative)
    return path.parent / f".{path.name}.failed.json"
