"""``make test-cluster``: a design through Slurm over two nodes, one of which dies in the middle, and the same design
without Slurm; the results must be equal.

All files lie in a temporary folder and are removed at the end, whatever happens.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import pandas as pd
import yaml
from conftest import MEASURED, PROJECT, copy_project, repeatable

from cluster import slurm
from helpers import status
from helpers.design import load_design

LOST = "n2"
SMALL = {"strategies": ["random"], "percentages": [100], "families": {"pca": {"preset": "demo"}}}
OF_THIS_SLURM = ["--slurm-no-account", "--slurm-status-command", "squeue"]  # it keeps no accounts
OF_THIS_SLURM += ["--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10"]
LONGEST = 2400  # seconds of one run of the workflow


class RunFailedError(RuntimeError):
    """A run of the workflow that failed or did not end."""


class Run:
    """A run of the workflow that is going on; what it tells goes to `log`."""

    def __init__(self, process: subprocess.Popen, log: Path):
        self.process, self.log, self.deadline = process, log, time.monotonic() + LONGEST

    def wait_for[T](self, condition: Callable[[], T]) -> T:
        """Wait until a condition holds, and return it. Raises RunFailedError if the run ends before or takes long."""
        while True:
            over = self.process.poll() is not None or time.monotonic() > self.deadline
            if found := condition():
                return found
            if over:
                code = self.process.returncode
                what = f"did not end within {LONGEST} s" if code is None else f"ended with exit code {code}"
                raise RunFailedError(f"{self.log.name} {what}; its last words:\n{self.log.read_text()[-6000:]}")
            time.sleep(0.5)

    def finish(self) -> None:
        """Wait for a good end. Raises RunFailedError for any other."""
        self.wait_for(lambda: self.process.poll() == 0)


@contextlib.contextmanager
def started(project: Path, profile: str, environment: dict[str, str], options: Sequence[str]) -> Iterator[Run]:
    """Start the workflow of `project` by a profile, whose name its results get; it ends with the block."""
    command = ["snakemake", "--snakefile", "workflow/Snakefile", "--workflow-profile", f"workflow/profiles/{profile}"]
    command += ["--config", "design=params/cluster.yaml", f"results=results/{profile}"]
    command += [option.format(results=f"results/{profile}") for option in options]
    paths = [str(project / "src"), *filter(None, [environment.get("PYTHONPATH")])]
    environment = environment | {"PYTHONPATH": os.pathsep.join(paths)}
    log = project / f"{profile}.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            command, cwd=project, env=environment, stdout=out, stderr=out, start_new_session=True
        )
        try:
            yield Run(process, log)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def check(folder: Path, *, small: bool) -> list[str]:
    """Run the design in both ways, a part of it up to the tables if `small`, and compare; what was seen, line by line.
    Raises ClusterError, RunFailedError, or AssertionError.
    """
    project = copy_project(folder / "project")
    (project / "data").mkdir()
    (project / "data" / "embedded.h5ad").symlink_to(PROJECT / "data" / "embedded.h5ad")
    values = yaml.safe_load((PROJECT / "params" / "smoke.yaml").read_text())
    (project / "params" / "cluster.yaml").write_text(yaml.safe_dump(values | (SMALL if small else {})))
    wanted = ["--", "{results}/notebooks/50_collect.ipynb"] if small else []
    here, there = project / "results" / "default", project / "results" / "slurm"
    with slurm.two_nodes(folder) as environment:
        with started(project, "slurm", environment, [*OF_THIS_SLURM, *wanted]) as run:
            lost = lose_node(run, there, environment, folder)
            run.finish()
        jobs, state = slurm.jobs(environment), slurm.states(environment)[LOST]
    assert state.startswith("DOWN"), f"{LOST} is {state} after its daemon was killed"
    again = [f"job {job['JobId']} on {job['NodeList']}" for job in jobs if job["Restarts"] != "0"]
    by_node = told_by_node(executed(there), project / "params" / "cluster.yaml")
    with started(project, "default", dict(os.environ), wanted) as run:
        run.finish()
    started_again = f"{LOST} was found to be down, and Slurm started again {', '.join(again) or 'no job'}"
    return [by_node, lost, started_again, *(compare(there, here, name) for name in ("results", "parts"))]


def lose_node(run: Run, results: Path, environment: dict[str, str], folder: Path) -> str:
    """Kill a node amid its work, when half of all notebooks are done, some of them by it; told in words."""

    def at_work() -> list[dict[str, str]]:
        done, told = executed(results), status.read(results)
        if told is None or 2 * len(done) < told["notebooks"]["of"]:
            return []
        jobs = [job for job in slurm.jobs(environment) if (job["JobState"], job["NodeList"]) == ("RUNNING", LOST)]
        of_node = [stamp for stamp in done.values() if stamp["node"] == LOST]
        begun = [datetime.fromisoformat(job["StartTime"]).astimezone() for job in jobs]
        earlier = any(datetime.fromisoformat(stamp["started"]) < start for stamp in of_node for start in begun)
        kernels = [process for process in slurm.belonging(folder, LOST) if "ipykernel_launcher" in process.cmdline()]
        return jobs if earlier and kernels else []

    job = run.wait_for(at_work)[0]
    n, daemon = len(executed(results)), slurm.kill_node(LOST, folder)
    return (
        f"after {n} notebooks slurmd of {LOST} (process {daemon}) and all that ran there were killed, amid job "
        f"{job['JobId']} ({job['Comment']})"
    )


def executed(results: Path) -> dict[str, dict]:
    """Provenance of each executed notebook, by its name."""
    paths = [path for path in sorted((results / "notebooks").glob("[0-9]*.ipynb")) if ".failed" not in path.suffixes]
    return {path.stem: json.loads(path.read_text())["metadata"]["cellscale"] for path in paths}


def told_by_node(stamps: dict[str, dict], design: Path) -> str:
    """How many notebooks were executed and models trained on each node. AssertionError unless both did some work."""
    study, parts = load_design(design), []
    for node in slurm.NODES:
        own = {name: stamp["parameters"] for name, stamp in stamps.items() if stamp["node"] == node}
        chosen = [given for name, given in own.items() if name[:2] == "20"]
        keys = ("family", "width", "strategy", "percentages", "seeds")
        models = [study.select(**{key: given[key] for key in keys if key in given}) for given in chosen]
        n_models = sum(map(len, models))
        assert len(own) > 1, f"{node} executed {len(own)} notebooks"
        parts.append(f"{node} executed {len(own)} notebooks and trained {n_models} models")
    return ", ".join(parts)


def compare(one: Path, other: Path, name: str) -> str:
    """What is equal in a table of two results. Raises AssertionError for any difference but of what was measured."""
    tables = [repeatable(folder, name) for folder in (one, other)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    rows, columns = tables[0].shape
    return f"{name}.parquet: {rows:,} rows of {columns} columns are exactly those of the run without Slurm"


def main(arguments: list[str] | None = None) -> int:
    """Command line; exit code 0 if the results are equal, 1 if not, 2 if there can be no cluster."""
    parser = argparse.ArgumentParser(prog="make test-cluster", description="A design through Slurm over two nodes.")
    parser.add_argument("--small", action="store_true", help="one family and size, up to the tables")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, so that nothing is left behind
    start = time.monotonic()
    try:
        packages = slurm.install()
        with tempfile.TemporaryDirectory(prefix="cs", dir="/tmp") as folder:
            os.chmod(folder, 0o755)  # munged serves others only where they may come
            told = check(Path(folder), small=options.small)
    except slurm.ClusterError as error:
        _say(f"test-cluster cannot run: {error}")
        return 2
    except (RunFailedError, AssertionError) as error:
        _say(f"test-cluster failed: {error}")
        return 1
    told.append(f"left out, as measured: {', '.join(MEASURED)}")
    told.append(f"{' and '.join(slurm.PACKAGES)} {packages}; daemons, configuration and results are removed")
    _say("\n".join([f"test-cluster passed in {time.monotonic() - start:.0f} s", *(f"  {line}" for line in told)]))
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
