"""What commands use: processor seconds, user and system, of a process and of all that it starts."""

import ctypes
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import THREADS, alone
from helpers.provenance import project_path

PR_SET_CHILD_SUBREAPER = 36  # of <linux/prctl.h>: whose parent has ended becomes a child of this process


@dataclass(frozen=True)
class Used:
    """Processor seconds of a command, and seconds on the clock."""

    cpu: float
    wall: float


def workflow(design: Path, results: Path, *, until: str | None = None, cores: int | None = None) -> Used:
    """Carry out a design by the project's workflow, up to the notebook `until` or to the end, on all cores or some."""
    command = ["snakemake", *([str(results / "notebooks" / f"{until}.ipynb")] if until else [])]
    command += ["--snakefile", "workflow/Snakefile", "--workflow-profile", "workflow/profiles/default"]
    command += [*(["--cores", str(cores)] if cores else []), "--config", f"design={design}", f"results={results}"]
    return alone(_tree, command).value


def side_by_side(commands: Sequence[Sequence[str]]) -> list[Used]:
    """Run commands, as many at a time as there are cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(_one, commands))


def _environment() -> dict[str, str]:
    """Commands of this interpreter come first, and each process has one thread."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | dict.fromkeys(THREADS, "1") | {"PATH": path}


def _started(command: Sequence[str]) -> subprocess.Popen:
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=project_path("."), env=_environment(), **options)


def _one(command: Sequence[str]) -> Used:
    """Of a process and the children that it waits for."""
    start = time.perf_counter()
    with _started(command) as process:
        told = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    _check(command, process.returncode, told)
    return Used(usage.ru_utime + usage.ru_stime, time.perf_counter() - start)


def _tree(command: Sequence[str]) -> Used:
    """Of all processes that a command starts, also those that outlive it; in a process that starts no other."""
    if sys.platform == "linux":  # elsewhere the workflow starts none that outlive it
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    start = time.perf_counter()
    with _started(command) as process:
        told = process.communicate()[1]
    wall = time.perf_counter() - start
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    _check(command, process.returncode, told)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Used(usage.ru_utime + usage.ru_stime, wall)


def _check(command: Sequence[str], code: int, told: str) -> None:
    if code:
        raise RuntimeError(f"{' '.join(command)} ended with {code}:\n{told[-2000:]}")
