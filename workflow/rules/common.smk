import fcntl
import json
import logging
import os
import sys
import time

from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

from helpers import store, warm
from helpers.corpus import read_source_obs
from helpers.design_evaluations import TASKS
from helpers.reading import duration
from helpers.split import check_design
from helpers.stages import repair, seconds, stamp, upstream


def executed(name):
    """Path of an executed notebook."""
    return f"{RESULTS}/notebooks/{name}.ipynb"


def earlier(wildcards):
    """Executed notebooks whose artifacts a notebook reads."""
    return [executed(piece.name) for piece in upstream(STUDY, PIECES[wildcards.name])]


def options(wildcards):
    """Command line options of a notebook's own parameters."""
    return " ".join(f"-p {key} {value}" for key, value in PIECES[wildcards.name].parameters.items())


WORK = ("models", "embeddings", "evaluations")


class Progress(logging.Handler):
    """One line for each notebook that is done: how many of how many, time since the start, about how long is left."""

    def __init__(self, n_corpus):
        super().__init__()
        self.n_corpus, self.start, self.weights, self.done = n_corpus, time.monotonic(), {}, set()

    def emit(self, record):
        event = getattr(record, "event", None)
        if event == LogEvent.JOB_INFO and not self.weights:
            self.weights = {
                job.jobid: seconds(STUDY, PIECES[job.wildcards.name], self.n_corpus)
                for job in workflow.dag.needrun_jobs()
                if job.rule.name == "notebook"
            }
        elif event == LogEvent.JOB_FINISHED and record.job_id in self.weights:
            self.done.add(record.job_id)
            elapsed = time.monotonic() - self.start
            total, done = sum(self.weights.values()), sum(self.weights[job] for job in self.done)
            # Core-seconds a second: what the machine has at first, more and more what was seen.
            rate = (done * (done / elapsed) + (total - done) * workflow.cores) / total
            left = f", about {duration((total - done) / rate)} left" if done < total else ""
            sys.stderr.write(f"[{len(self.done)} of {len(self.weights)} notebooks, {duration(elapsed)}{left}]\n")


def useful_seconds(since):
    """Seconds spent inside training, embedding and metrics for the artifacts written after `since`."""
    records = [path for kind in WORK for path in Path(RESULTS, kind).rglob(".*.record.json")]
    return sum(json.loads(path.read_text())["seconds"] for path in records if path.stat().st_mtime >= since)


if workflow.is_main_process and not workflow.output_settings.dryrun:
    n_corpus = check_design(STUDY, read_source_obs(STUDY))
    store.check_owner(STUDY, Path(RESULTS))
    Path(RESULTS).mkdir(parents=True, exist_ok=True)
    LOCK = open(Path(RESULTS, ".lock"), "w")  # held as long as this process lives
    try:
        fcntl.flock(LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.stderr.write(f"{RESULTS}: another run of this design is going on; waiting for it to end\n")
        fcntl.flock(LOCK, fcntl.LOCK_EX)
    for line in repair(STUDY, Path(RESULTS)):
        sys.stderr.write(line + "\n")
    for handler in logger.handlers:
        handler.addFilter(lambda record: record.levelno >= logging.WARNING)
    logger.addHandler(Progress(n_corpus))
    os.environ["CELLSCALE_PARENT"] = str(os.getpid())
    START = time.time()


onstart:
    address = warm.start_server()
    if address:
        os.environ[warm.ADDRESS] = address


onsuccess:
    spent = (time.time() - START) * workflow.cores
    share = 100 * useful_seconds(START) / spent
    sys.stderr.write(
        f"{share:.0f} % of wall time × cores went into training, embedding and metrics; the rest is overhead\n"
    )
