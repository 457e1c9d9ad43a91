"""What failed in a workflow, why, and the command that runs just that again."""

import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from helpers import failures
from helpers.design import UNTRAINED, Design, Run
from helpers.provenance import find_project
from helpers.store import model_path


def command(stage: str, out: Path, parameters: Mapping[str, object]) -> str:
    """Shell command that executes one notebook of a design by hand, from the project's folder."""
    python = os.path.relpath(sys.executable, find_project())
    words = [
        sys.executable if python.startswith("..") else python,
        "-m",
        "helpers.run",
        f"notebooks/{stage}.py",
        str(out),
    ]
    for key, value in parameters.items():
        text = value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True).split("\n")[0]
        words += ["-p", key, text]
    return shlex.join(words)


def failed_copy(out: Path) -> Path:
    """Where a notebook lies that failed, with its traceback."""
    return out.with_suffix(".failed.ipynb")


def reason(out: Path) -> str:
    """Why a notebook failed, from its copy; where there is none it failed before its kernel started."""
    path = failed_copy(out)
    if not path.exists():
        return "it did not start; its message stands above"
    return json.loads(path.read_text())["metadata"]["cellscale"].get("failure", "unknown")


def given_up(design: Design, root: Path) -> dict[Run, str]:
    """The runs of a design that were given up, with their reasons."""
    reasons = {run: failures.reason(root, run) for run in design.runs()}
    return {run: why for run, why in reasons.items() if why is not None}


def retrain_command(run: Run, design_file: str, root: Path) -> str:
    """Shell command that trains a run again that was given up: its folder is removed, its stage done for it alone."""
    sizes = {} if run.strategy == UNTRAINED else {"percentages": [run.percentage]}
    parameters = {"design": design_file, "results": str(root), "family": run.family, "width": run.width}
    parameters |= {"strategy": run.strategy, **sizes, "seeds": [run.seed]}
    name = "--".join(["20_pretrain", *run.id.split("/")])
    removed = shlex.join(["rm", "-r", str(root / model_path(run))])
    return f"{removed} && {command('20_pretrain', root / 'notebooks' / 'by_hand' / f'{name}.ipynb', parameters)}"
