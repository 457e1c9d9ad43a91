"""Fair measurements: each candidate alone in a process, with one thread, and every report with its provenance."""

import json
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.provenance import environment, project_path

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class Measured:
    """Value of a function, seconds inside it, and peak memory of its process in GB, interpreter and input included."""

    value: Any
    seconds: float
    peak_gb: float


def study_stamps() -> dict[str, dict]:
    """What the executed notebooks of the study say of themselves, by the name of each."""
    return json.loads(project_path("study/provenance.json").read_text())


def alone(function: Callable[..., Any], *arguments: Any, prepare: Callable[..., Any] | None = None) -> Measured:
    """Call `function` in a fresh process with one thread; `prepare(*arguments)` makes its input, outside the timing.

    Without `prepare` the function is given `arguments`, else the tuple that `prepare` returns. Both must be importable.
    """
    os.environ |= dict.fromkeys(THREADS, "1")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (function, arguments, prepare))


def _measure(function: Callable[..., Any], arguments: tuple, prepare: Callable[..., Any] | None) -> Measured:
    given = prepare(*arguments) if prepare else arguments
    start = time.perf_counter()
    value = function(*given)
    seconds = time.perf_counter() - start
    unit = 1e9 if sys.platform == "darwin" else 1e6  # ru_maxrss: bytes on macOS, kilobytes elsewhere
    return Measured(value, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)


def report(name: str, title: str, rows: list[dict], claims: dict[str, bool]) -> int:
    """Print a table and what it claims, and write both to results/bench/<name>.json; 1 if a claim fails, else 0."""
    table = pd.DataFrame(rows)
    sys.stdout.write(f"\n{title}\n{table.to_string(index=False, float_format='{:.3g}'.format)}\n")
    for claim, holds in claims.items():
        sys.stdout.write(f"{'ok    ' if holds else 'MISSED'}  {claim}\n")
    file = Path(project_path("results/bench")) / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"title": title, "rows": rows, "claims": claims, "environment": environment()}
    file.write_text(json.dumps(content, indent=1, default=lambda value: value.item()) + "\n")  # numpy scalars
    return int(not all(claims.values()))
