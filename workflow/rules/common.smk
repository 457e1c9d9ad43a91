import fcntl
import logging
import os
import sys

from snakemake.logging import logger

from helpers import status, store, warm
from helpers.corpus import read_source_obs
from helpers.corpus.extent import extent
from helpers.design_evaluations import TASKS
from helpers.progress import Progress
from helpers.split import check_design
from helpers.stages import repair, stamp, upstream, work_of


def executed(name):
    """Path of an executed notebook."""
    return f"{RESULTS}/notebooks/{name}.ipynb"


def earlier(wildcards):
    """Executed notebooks whose artifacts a notebook reads."""
    return [executed(piece.name) for piece in upstream(STUDY, PIECES[wildcards.name])]


def options(wildcards):
    """Command line options of a notebook's own parameters."""
    return " ".join(f"-p {key} {value}" for key, value in PIECES[wildcards.name].parameters.items())


if workflow.is_main_process and not workflow.output_settings.dryrun:
    CELLS = read_source_obs(STUDY)
    check_design(STUDY, CELLS)
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
    status.mark_gone(Path(RESULTS))
    cores = workflow.cores if workflow.local_exec else None
    EXTENT = extent(STUDY, CELLS)
    EXPECTED = {name: work_of(STUDY, piece, EXTENT).seconds for name, piece in PIECES.items()}
    PROGRESS = Progress(STUDY, DESIGN, Path(RESULTS), PIECES, EXPECTED, cores)
    logger.addHandler(PROGRESS)
    os.environ |= {"CELLSCALE_PARENT": str(os.getpid()), status.ROOT: str(Path(RESULTS).resolve())}


onstart:
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
