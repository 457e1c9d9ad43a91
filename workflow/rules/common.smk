import fcntl
import logging
import os
import shlex
import sys

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from helpers import needs, status, store, warm
from helpers.corpus import open_source
from helpers.corpus.extent import extent
from helpers.design_evaluations import TASKS
from helpers.progress import Progress
from helpers.split import check_design
from helpers.stages import repair, stamp, upstream, work_of

# What only looks takes no lock and repairs nothing; but for dry runs Snakemake does not tell.
LOOKS = {"-l", "--list", "--list-rules", "--lt", "--list-target-rules", "--lint", "--report", "--unlock"}
LOOKS |= {"--dag", "--d3dag", "--rulegraph", "--filegraph", "-S", "--summary", "-D", "--detailed-summary"}
LOOKS |= {"--lc", "--list-changes", "--li", "--list-input-changes", "--lp", "--list-params-changes"}
LOOKS |= {"--lu", "--list-untracked"}
LOOKING = workflow.output_settings.dryrun or not LOOKS.isdisjoint(word.split("=")[0] for word in sys.argv)
WORK = {}  # of each notebook; a job on a node is a Snakemake of its own, and asks for no more
if workflow.is_main_process:
    SOURCE = open_source(STUDY)
    check_design(STUDY, SOURCE.obs)
    EXTENT = extent(STUDY, SOURCE)
    WORK = {name: work_of(STUDY, piece, EXTENT) for name, piece in PIECES.items()}


def executed(name):
    """Path of an executed notebook."""
    return f"{RESULTS}/notebooks/{name}.ipynb"


def earlier(wildcards):
    """Executed notebooks whose artifacts a notebook reads."""
    return [executed(piece.name) for piece in upstream(STUDY, PIECES[wildcards.name], CHUNK)]


def options(wildcards):
    """Command line options of a notebook's own parameters."""
    return " ".join(f"-p {key} {shlex.quote(str(value))}" for key, value in PIECES[wildcards.name].parameters.items())


def code(wildcards):
    """The stamp of a notebook. The process that was started by hand keeps it; a job on a node has no use for it."""
    return stamp(STUDY, PIECES[wildcards.name]) if workflow.is_main_process else ""


def tolerate(wildcards):
    """The option that lets the others go on if this notebook fails."""
    return "--tolerate " if PIECES[wildcards.name].stage in ("25_embed", *TASKS) else ""


def memory(wildcards, attempt):
    """Megabytes that a job asks for, more each time that it is tried."""
    return attempt * needs.memory_mb(WORK[wildcards.name]) if WORK else 0


def minutes(wildcards, attempt):
    """Minutes that a job asks for, more each time that it is tried."""
    return attempt * needs.minutes(WORK[wildcards.name]) if WORK else 0


def gpus(wildcards):
    """GPUs that a job asks for, if the profile says that models get some."""
    return config.get("gpus", 0) if needs.on_gpu(STUDY, PIECES[wildcards.name]) else 0


if workflow.is_main_process and not LOOKING:
    store.check_owner(STUDY, Path(RESULTS))
    try:
        Path(RESULTS).mkdir(parents=True, exist_ok=True)
        LOCK = open(Path(RESULTS, ".lock"), "w")  # held as long as this process lives
    except OSError as error:
        raise WorkflowError(f"{RESULTS} cannot be written: {error}")
    try:
        fcntl.flock(LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.stderr.write(f"{RESULTS}: another run of this design is going on; waiting for it to end\n")
        fcntl.flock(LOCK, fcntl.LOCK_EX)
    for line in repair(STUDY, Path(RESULTS), CHUNK):
        sys.stderr.write(f"{line}\n")
    for handler in logger.handlers:
        handler.addFilter(lambda record: record.levelno >= logging.WARNING)
    status.mark_gone(Path(RESULTS))
    EXPECTED = {name: work.seconds for name, work in WORK.items()}
    PROGRESS = Progress(STUDY, DESIGN, Path(RESULTS), PIECES, EXPECTED, None)
    logger.addHandler(PROGRESS)


onstart:
    if workflow.local_exec:  # on other machines there is neither this process nor a server of its
        PROGRESS.cores = workflow.cores
        os.environ |= {warm.PARENT: str(os.getpid()), status.ROOT: str(Path(RESULTS).resolve())}
        address = warm.start_server()
        if address:
            os.environ[warm.ADDRESS] = address
    store.claim(STUDY, Path(RESULTS))  # the status lies there before the first artifact
    jobs = {job: job.wildcards.name for job in workflow.dag.needrun_jobs() if "name" in job.wildcards.keys()}
    read = {
        name: [jobs[one] for one in workflow.dag.dependencies[job] if one in jobs] for job, name in jobs.items()
    }
    PROGRESS.begin({job.jobid: name for job, name in jobs.items()}, read)


onsuccess:
    PROGRESS.end("finished")


onerror:
    PROGRESS.end("failed")
