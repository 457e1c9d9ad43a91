"""What a job asks a cluster for: memory and time, with room above what its notebook is expected to take, and GPUs."""

import math

from helpers.design import Design
from helpers.stages import Piece
from helpers.work import Work

BESIDE_MB = 600  # the notebook's kernel is started by a runner, and that by Snakemake in Snakemake
ROOM = 1.5
START_MINUTES = 10  # on a node that is busy, or whose file system is
SLOWER = 4  # than the machine of the estimate
WITH_MODELS = ("20_pretrain", "25_embed", "31_finetune", "34_heldout_loss")


def memory_mb(work: Work) -> int:
    """Megabytes for a notebook."""
    return math.ceil(ROOM * (work.memory / 1e6 + BESIDE_MB))


def minutes(work: Work) -> int:
    """Minutes for a notebook."""
    return math.ceil(START_MINUTES + SLOWER * work.seconds / 60)


def on_gpu(design: Design, piece: Piece) -> bool:
    """Whether a notebook computes with models that use a GPU where they find one, those of any family but PCA."""
    known = piece.stage in WITH_MODELS and piece.family in design.families
    return known and design.families[piece.family].family != "pca"
