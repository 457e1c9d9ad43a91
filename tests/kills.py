"""Part of ``make test-lost``: a small design, killed without warning at random moments; nothing may be lost.

Each time the workflow is started on an empty folder. At a random moment the workflow, a kernel or one of the processes
between them is ended by SIGKILL. When what is left has ended, the workflow is started again: it must finish, with
results equal to those of a run that nobody disturbed, train no model again that was finished, and leave no temporary
file behind.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import psutil
import yaml
from conftest import copy_project, make_small_cells, make_small_design, repeatable, run_workflow, start_workflow

from helpers.store import valid
from helpers.warm import PARENT

VICTIMS = ("kernel", "worker", "workflow")
LONGEST = 600  # seconds of one run
NOT_OURS = ("snakemake", "torchinductor")  # a folder that Snakemake leaves when it is killed, and a cache of PyTorch
CHANGES = {
    "families": {"pca": {"preset": "demo"}, "scvi": {"preset": "demo"}},
    "budget": {"kind": "cell_views", "amount": 2_000},
}


class LostError(AssertionError):
    """Something that a kill must not do."""


def belonging(workflow: int) -> list[psutil.Process]:
    """What a workflow has started, also by its server, and lives; the workflow itself is not among them."""
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get(PARENT) == str(workflow)
            if ours and process.pid != workflow and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:  # another user's, or gone meanwhile
            continue
    return found


def is_kernel(process: psutil.Process) -> bool:
    """Whether a process holds the sockets of a kernel, forked from the server or not."""
    try:
        return any("/k-" in str(one.laddr) for one in process.net_connections("unix") if one.laddr)
    except psutil.Error:
        return False


def kill(workflow: int, kind: str, rng: random.Random) -> str | None:
    """Kill one process of a kind; what it was, or None where there is none now."""
    if kind == "workflow":
        os.kill(workflow, signal.SIGKILL)
        return f"the workflow, process {workflow}"
    found = [process for process in belonging(workflow) if is_kernel(process) == (kind == "kernel")]
    if not found:
        return None
    victim = rng.choice(sorted(found, key=lambda process: process.pid))
    try:
        words = " ".join(victim.cmdline()[1:5])
        victim.kill()
    except psutil.NoSuchProcess:
        return None
    return f"a {kind}, process {victim.pid} ({words})"


def finish(project: Path, results: Path) -> None:
    """Run the design to its end. Raises LostError if it does not come to a good one."""
    done = run_workflow("params/small.yaml", results, project)
    if done.returncode:
        raise LostError(f"the workflow ended with exit code {done.returncode}; its last words:\n{done.stderr[-4000:]}")


def disturb(project: Path, results: Path, kind: str, after: float, rng: random.Random) -> str | None:
    """Run the design and kill one of its processes `after` so many seconds, or as soon as there is one of that kind;
    what it was, when all that was left has ended, or None where the run came to its end before.
    """
    with start_workflow("params/small.yaml", results, project) as process:
        start, victim = time.monotonic(), None
        while victim is None and process.poll() is None:
            time.sleep(max(0.02, start + after - time.monotonic()))
            victim = kill(process.pid, kind, rng) if process.poll() is None else None
        process.communicate(timeout=LONGEST)
    deadline = time.monotonic() + 60
    while left := belonging(process.pid):
        if time.monotonic() > deadline:
            raise LostError(f"still there a minute later: {[one.cmdline() for one in left]}")
        time.sleep(0.2)
    return victim


def models(results: Path) -> dict[str, int]:
    """Finished models, with the time at which they were written."""
    files = [path / "model.json" for path in results.glob("models/*/*/*/*") if valid(path)]
    return {file.parent.relative_to(results).as_posix(): file.stat().st_mtime_ns for file in files}


def check(project: Path, results: Path, expected: pd.DataFrame, finished: dict[str, int]) -> None:
    """Raise LostError unless a run that was started again did what it must."""
    again = [name for name, time in finished.items() if models(results)[name] != time]
    if again:
        raise LostError(f"trained twice: {', '.join(again)}")
    try:
        pd.testing.assert_frame_equal(repeatable(results), expected, check_exact=True)
    except AssertionError as error:
        raise LostError(f"results differ: {error}") from error
    others = [path for path in Path(os.environ["TMPDIR"]).iterdir() if not path.name.startswith(NOT_OURS)]
    if left := [*results.rglob(".*.tmp*"), *results.rglob("*.failed.*"), *others]:
        for path in others:  # told once
            shutil.rmtree(path, ignore_errors=True)
        raise LostError(f"left behind: {', '.join(map(str, left))}")


def main(arguments: list[str] | None = None) -> int:
    """Command line; exit code 0 if nothing was lost, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python tests/kills.py", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--small", action="store_true", help="one family")
    parser.add_argument("--seed", type=int, default=2026, help="of the moments and victims")
    options = parser.parse_args(arguments)
    rng, start = random.Random(options.seed), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ck", dir="/tmp") as folder:
        project = copy_project(Path(folder, "project"))
        make_small_cells().write_h5ad(project / "cells.h5ad")
        values = make_small_design("cells.h5ad") | ({} if options.small else CHANGES)
        (project / "params" / "small.yaml").write_text(yaml.safe_dump(values))
        os.environ["TMPDIR"] = str(Path(folder, "t"))
        Path(folder, "t").mkdir()
        began = time.monotonic()
        finish(project, project / "undisturbed")
        seconds, expected = time.monotonic() - began, repeatable(project / "undisturbed")
        _say(f"undisturbed: {seconds:.0f} s, {len(models(project / 'undisturbed'))} models, {len(expected)} results")
        number, failures = 0, 0
        while number < options.kills:
            kind, results = VICTIMS[number % len(VICTIMS)], project / f"{number}"
            victim = disturb(project, results, kind, rng.uniform(0, seconds), rng)
            if victim is None:  # it was over before
                shutil.rmtree(results)
                continue
            finished, number = models(results), number + 1
            told = f"{number} of {options.kills}: {victim}, {len(finished)} models finished"
            try:
                finish(project, results)
                check(project, results, expected, finished)
            except LostError as error:
                failures += 1
                _say(f"{told}\n  {error}")
            else:
                _say(told)
            shutil.rmtree(results)
    _say(f"{options.kills} kills in {time.monotonic() - start:.0f} s, {failures} of them lost something")
    return int(failures > 0)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
