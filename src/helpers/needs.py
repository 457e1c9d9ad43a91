"""What a job asks a cluster for: memory and time, with room above what its notebook is expected to take."""

import math

from helpers.work import Work

BESIDE_MB = 600  # the notebook's kernel is started by a runner, and that by Snakemake in Snakemake
ROOM = 1.5
START_MINUTES = 10  # on a node that is busy, or whose file system is
SLOWER = 4  # than the machine of the estimate


def memory_mb(work: Work) -> int:
    """Megabytes for a notebook."""
    return math.ceil(ROOM * (work.memory / 1e6 + BESIDE_MB))


def minutes(work: Work) -> int:
    """Minutes for a notebook."""
    return math.ceil(START_MINUTES + SLOWER * work.seconds / 60)
