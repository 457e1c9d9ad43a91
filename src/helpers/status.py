"""The file ``results/<design>/status``: how far a workflow has come, as YAML that is whole at any moment.

``python -m helpers.status RESULTS`` prints it, and says if the process that wrote it is gone. Exit code 0 for
``running`` and ``finished``, 1 for ``failed``, ``stopped`` (by hand) and ``gone``, 2 where there is none.
"""

import argparse
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

import yaml

from helpers.store import write_text

FILE = "status"
ROOT = "CELLSCALE_STATUS"  # environment variable: results folder, for whoever outlives the workflow
KEYS = {"state", "process", "host", "updated"}  # of any status
SILENT = 60  # seconds without an update after which a process on another machine may be gone


def write(root: Path, told: dict) -> None:
    """Write the status, with the time and the process."""
    own = {"updated": now(), "process": os.getpid(), "host": platform.node()}
    _write(root, told | own)


def read(root: Path) -> dict | None:
    """The status, whose state is ``gone`` if its process ended without a word; None where there is none that is whole.

    A process on another machine cannot be asked: then `remark` says since when it is silent.
    """
    file = root / FILE
    try:
        told = yaml.safe_load(file.read_text())
    except (FileNotFoundError, yaml.YAMLError, UnicodeDecodeError):
        return None
    if not isinstance(told, dict) or not told.keys() >= KEYS:
        return None
    if told["state"] != "running":
        return told
    if told["host"] == platform.node():
        return told if alive(told["process"]) else told | {"state": "gone"}
    silent = (datetime.now(UTC) - datetime.fromisoformat(told["updated"])).total_seconds()
    remark = f"no word from process {told['process']} on {told['host']} for {silent:.0f} s: it may be gone"
    return told | ({"remark": remark} if silent > SILENT else {})


def mark_gone(root: Path, process: int | None = None) -> None:
    """Write down that a workflow is gone, if its status says that it runs; for whoever knows that, or that `process` is
    gone.
    """
    told = read(root)
    if told is not None and told["state"] in ("running", "gone") and process in (None, told["process"]):
        _write(root, told | {"state": "gone"})


def _write(root: Path, told: dict) -> None:
    write_text(root / FILE, yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=10_000))


def alive(process: int) -> bool:
    """Whether a process of this machine is there."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def now() -> str:
    """The time, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def main(arguments: list[str] | None = None) -> int:
    """Command line; see the module for exit codes."""
    parser = argparse.ArgumentParser(prog="python -m helpers.status", description="Print how far a design has come.")
    parser.add_argument("results", type=Path, help="folder of the results, e.g. results/demo")
    root = parser.parse_args(arguments).results
    told = read(root)
    if told is None:
        sys.stderr.write(f"error: RESULTS = {str(root)!r} has no status that can be read; a workflow writes it\n")
        return 2
    sys.stdout.write(yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=10_000))
    return int(told["state"] not in ("running", "finished"))


if __name__ == "__main__":
    sys.exit(main())
