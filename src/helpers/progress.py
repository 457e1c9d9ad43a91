"""How far a workflow has come: a line for each notebook that ends, the file `status`, and what came out at the end."""

import atexit
import logging
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from snakemake_interface_logger_plugins.common import LogEvent

from helpers import rerun, spent, status
from helpers.design import Design, Run
from helpers.reading import duration
from helpers.stages import Piece

BEAT = 10  # seconds between updates of the status
MOST = 20  # failures that are told at the end; the status has all
BELIEVED = 60  # seconds of work in which the pace that is expected counts as much as the one that is seen


class Progress(logging.Handler):
    """Listens to Snakemake's log, and tells of the notebooks of a design.

    Parameters
    ----------
    pieces
        The design's pieces by the name of their notebook.
    seconds
        How long each is expected to take on one core.
    cores
        Notebooks that run at a time; None if that is not known.
    """

    def __init__(
        self,
        design: Design,
        design_file: str,
        root: Path,
        pieces: Mapping[str, Piece],
        seconds: Mapping[str, float],
        cores: int | None,
    ) -> None:
        super().__init__()
        self.design, self.design_file, self.root, self.pieces = design, design_file, root, pieces
        self.seconds, self.cores, self.state = seconds, cores, ""
        self.needs: dict[str, Sequence[str]] = {}
        self.names: dict[int, str] = {}
        self.running: dict[str, float] = {}
        self.done: set[str] = set()
        self.failed: dict[str, dict[str, str]] = {}
        self.partly: set[str] = set()
        self.in_notebooks, self.told, self.unwritten = 0.0, {}, False

    def begin(self, names: Mapping[int, str], needs: Mapping[str, Sequence[str]]) -> None:
        """Start to tell: `names` are the notebooks to execute, by Snakemake's job, `needs` those that each reads."""
        self.names, self.needs, self.state = dict(names), needs, "running"
        self.start, self.since, self.before = time.monotonic(), status.now(), spent.records(self.root)
        self.write()
        self._ended = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()
        atexit.register(self.end, "stopped")

    def emit(self, record: logging.LogRecord) -> None:
        event, job = getattr(record, "event", None), getattr(record, "jobid", getattr(record, "job_id", None))
        if self.state != "running" or job not in self.names:
            return
        name = self.names[job]
        if event == LogEvent.JOB_INFO:  # it starts, perhaps for the second time
            self.failed.pop(name, None)
            self.partly.discard(name)
            self.running[name] = time.monotonic()
        elif event in (LogEvent.JOB_FINISHED, LogEvent.JOB_ERROR):
            self.in_notebooks += time.monotonic() - self.running.pop(name, time.monotonic())
            finished = event == LogEvent.JOB_FINISHED
            if finished and not rerun.failed_copy(self.out(name)).exists():
                self.done.add(name)
            else:
                self.failed[name] = self._failure(name)
                self.partly |= {name} if finished else set()  # others go on with what there is
            sys.stderr.write(f"[{self.line()}]\n")
        else:
            return
        self.write()

    def out(self, name: str) -> Path:
        """Where an executed notebook lies."""
        return self.root / "notebooks" / f"{name}.ipynb"

    def line(self) -> str:
        """Notebooks that are done, failed and left, time since the start, and about how long is left."""
        left, blocked = self.left(), self.blocked()
        failed = f", {len(self.failed)} failed" if self.failed else ""
        failed += f", {len(blocked)} cannot run without" if blocked else ""
        seconds = self.seconds_left()
        about = f", about {duration(seconds)} to go" if left and seconds is not None else ""
        elapsed = duration(time.monotonic() - self.start)
        return f"{len(self.done)} of {len(self.names)} notebooks, {len(left)} left{failed}, {elapsed}{about}"

    def blocked(self) -> list[str]:
        """Notebooks that cannot be executed, because one that they need failed."""
        lost, found = self.failed.keys() - self.partly, []
        while more := [name for name in self.names.values() if name not in lost and lost & set(self.needs[name])]:
            lost, found = lost | set(more), found + more
        return found

    def left(self) -> list[str]:
        """Notebooks that are still to be done, those that run among them."""
        over = {*self.done, *self.failed, *self.blocked()}  # each notebook is in one of them at most
        return [name for name in self.names.values() if name not in over]

    def seconds_left(self) -> float | None:
        """About how long it takes until all is done, at the pace that is expected, more and more at the one seen."""
        now = time.monotonic()
        begun = sum(min(now - start, self.seconds[name]) for name, start in self.running.items())
        done = sum(self.seconds[name] for name in (*self.done, *self.partly)) + begun
        expected = (BELIEVED, BELIEVED / self.cores) if self.cores else (0.0, 0.0)
        if not done + expected[0]:
            return None
        left = sum(self.seconds[name] for name in self.left()) - begun
        return left * (now - self.start + expected[1]) / (done + expected[0])

    def write(self) -> None:
        """Write the status; a disk that is full or read-only does not end the workflow, and is told once."""
        now = time.monotonic()
        numbers = {"done": len(self.done), "failed": len(self.failed), "left": len(self.left())}
        numbers |= {"cannot_run": len(self.blocked()), "of": len(self.names)}
        told = {"state": self.state, "design": self.design_file, "since": self.since, "notebooks": numbers}
        told["elapsed"] = duration(now - self.start)
        if self.state == "running" and (seconds := self.seconds_left()) is not None:
            told["time_left"] = f"about {duration(seconds)}"
        told["running"] = {name: f"for {duration(now - start)}" for name, start in self.running.items()}
        told["failed"] = self.failed
        try:
            status.write(self.root, told | self.told)
        except OSError as error:
            if not self.unwritten:
                sys.stderr.write(f"{self.root / status.FILE} cannot be written, the work goes on: {error}\n")
            self.unwritten = True

    def end(self, state: str) -> None:
        """Tell what came out: ``finished``, ``failed`` or ``stopped``; only the first call counts."""
        with self.lock:
            if self.state != "running":
                return
            self.state = "stopped" if state == "failed" and self.running else state
            self._ended.set()
            inside = spent.useful(self.root, self.before)
            parts = spent.shares(inside, self.in_notebooks, time.monotonic() - self.start, self.cores)
            lost = rerun.given_up(self.design, self.root)
            self.told = {"given_up": {run.id: why for run, why in lost.items()}, "per_cent_of_time": parts}
            self.write()
        told = [self._failed_lines(name) for name in self.failed]
        told += [f"not executed, since it needs what failed: {name}" for name in self.blocked()]
        told += [self._lost_lines(run, why) for run, why in lost.items()]
        more = [f"{len(told) - MOST} more, see {self.root / status.FILE}"] if len(told) > MOST else []
        sys.stderr.write("\n".join([*told[:MOST], *more, spent.told(parts)]) + "\n")

    def _failed_lines(self, name: str) -> str:
        failure = self.failed[name]
        lines = [f"  {key}: {failure[key]}" for key in ("see", "again") if key in failure]
        return "\n".join([f"{name} failed: {failure['reason']}", *lines])

    def _lost_lines(self, run: Run, why: str) -> str:
        again = rerun.retrain_command(run, self.design_file, self.root)
        return f"{run.id} was given up: {why}\n  again: {again}"

    def _failure(self, name: str) -> dict[str, str]:
        piece, out = self.pieces[name], self.out(name)
        given = {"design": self.design_file, "results": str(self.root), **piece.parameters}
        told = {"reason": rerun.reason(out)}
        if rerun.failed_copy(out).exists():
            told["see"] = str(rerun.failed_copy(out))
        return told | {"again": rerun.command(piece.stage, out, given)}

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            with self.lock:
                if self.state == "running":
                    self.write()
