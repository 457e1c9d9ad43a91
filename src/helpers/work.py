"""What one notebook of a design costs: seconds of a core or of a GPU, disk, memory, from measured costs.

The workflow tells by it how much is left, and ``python -m helpers.design DESIGN --estimate`` what a design needs. Each
notebook has a part of its own (start, reading, figures), and a part for each model, cell or curve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from helpers.costs import Costs, measured
from helpers.design import NO_STRATEGY, UNTRAINED, Design, Run, n_cells
from helpers.design_evaluations import TASKS
from helpers.model_size import ModelSize, model_size

if TYPE_CHECKING:
    from helpers.corpus.extent import Extent
    from helpers.stages import Piece

GPU_PEAK = 312e12  # FLOPs a second: NVIDIA A100, dense bfloat16, by its data sheet
GPU_SHARE = 0.1  # of the peak that training of small networks is taken to reach
VALUE_BYTES = 8  # of a count that is not 0: float32, and the number of its gene
WEIGHT_BYTES = 20  # weight, gradient, two moments of Adam, best weight so far; float32
STEP_BYTES = 20  # of a training's history on disk
COPIES = 3  # of the cells that a stage holds at once: as read, on the models' genes, as the model takes them
OBS_BYTES = 200  # of a cell's labels in memory
NOTEBOOK_BYTES = 100e3
UNKNOWN = {"parameters": 5_000_000, "n_latent": 64}  # of a family that is not the project's own


@dataclass(frozen=True)
class Work:
    """Seconds of one core; seconds of a GPU (`gpu`) instead of `on_gpu` of them; bytes on disk and in memory."""

    seconds: float = 0.0
    gpu: float = 0.0
    on_gpu: float = 0.0
    disk: float = 0.0
    memory: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(*(getattr(self, key) + getattr(other, key) for key in self.__dataclass_fields__))


def side_by_side(parts: Iterable[Work]) -> Work:
    """Work of several notebooks: sums, but the memory of the largest."""
    parts = list(parts)
    return Work(
        *(sum(getattr(part, key) for part in parts) for key in ("seconds", "gpu", "on_gpu", "disk")),
        memory=max((part.memory for part in parts), default=0.0),
    )


def work(design: Design, piece: Piece, runs: Sequence[Run], extent: Extent, costs: Costs | None = None) -> Work:
    """What a piece of a design costs that is made for `runs`; of baselines, and stages of the whole design, for none.

    It is what there is at most: trainings may stop early, and what is fresh is not made again.
    """
    costs = costs or measured()
    known = costs.notebooks[kind_of(piece)]
    once = known["per_curve"] * curves(design) + known["per_judged"] * extent.n_judged
    own = Work(known["seconds"] + once, disk=NOTEBOOK_BYTES, memory=known["memory_mb"] * 1e6)
    return own + OF_STAGE.get(piece.stage, _nothing)(design, piece, runs, extent, costs)


def kind_of(piece: Piece) -> str:
    """What notebooks of one cost have in common: their stage, and whether they judge baselines."""
    return piece.stage + ("--baselines" if piece.strategy == NO_STRATEGY else "")


def curves(design: Design) -> int:
    """Scores against size that the analysis has: one for each model, sampling of three sizes or more, and set."""
    drawn = [name for name in design.strategies if len(design.sizes(name)) > 2]
    models = sum(len(settings.widths) for settings in design.families.values())
    return models * len(drawn) * sum(len(design.datasets(task)) for task in TASKS.values() if design.evaluates(task))


def _nothing(*_: object) -> Work:
    return Work()


def _corpus(design: Design, piece: Piece, runs: Sequence[Run], extent: Extent, costs: Costs) -> Work:
    cells = extent.corpus + extent.validation + extent.n_judged
    held = cells * extent.nonzeros * VALUE_BYTES
    seconds = cells * _seconds_per_cell(costs, "read" if piece.stage == "00_corpus" else "split", extent)
    return Work(seconds, disk=held if piece.stage == "00_corpus" else 0.0, memory=COPIES * held)


def _subset(design: Design, piece: Piece, runs: Sequence[Run], extent: Extent, costs: Costs) -> Work:
    cells = extent.corpus
    seconds, memory = len(runs) * cells * costs.corpus["draw"], cells * OBS_BYTES
    if design.sampling(piece.strategy).strategy == "geometric_sketching":
        seconds += cells * _seconds_per_cell(costs, "components", extent)
        seconds += len(runs) * cells * math.log(cells) * costs.corpus["sketch"]
        memory += COPIES * cells * extent.nonzeros * VALUE_BYTES
    drawn = sum(n_cells(run.percentage, cells) for run in runs)
    return Work(seconds, disk=drawn * costs.corpus["position_bytes"], memory=memory)


def _diversity(design: Design, piece: Piece, runs: Sequence[Run], extent: Extent, costs: Costs) -> Work:
    subsets = [run for name in design.strategies for run in design.subsets(name)]
    drawn = sum(n_cells(run.percentage, extent.corpus) for run in subsets)
    held = COPIES * extent.corpus * extent.nonzeros * VALUE_BYTES
    return Work(drawn * _seconds_per_cell(costs, "vendi", extent), memory=held)


def _pretrain(design: Design, piece: Piece, runs: Sequence[Run], extent: Extent, costs: Costs) -> Work:
    family, size, budget = *_model(design, piece, extent), design.budget_of(piece.family)
    trained = piece.strategy != UNTRAINED
    held = COPIES * extent.corpus * extent.nonzeros * VALUE_BYTES
    parameters = size.parameters if size else UNKNOWN["parameters"]
    total = Work(memory=held, disk=len(runs) * 4 * parameters)
    if family == "pca":
        cells = [n_cells(run.percentage, extent.corpus) for run in runs if trained]
        return total + Work(sum(costs.pca(n, extent.genes) for n in cells))
    settings, each = size.settings if size else None, []
    for run in runs:
        learned = n_cells(run.percentage, extent.corpus)
        views = budget.amount * (learned if budget.kind == "epochs" else 1) if trained else 0
        steps = math.ceil(views / getattr(settings, "batch_size", 1))
        validated = extent.validation * (1 + min(steps, getattr(settings, "validations", 0)))
        times = max(1, len(getattr(settings, "lr_sweep", [])))
        each.append(
            _passes(family, size, costs, "train", times * views) + _passes(family, size, costs, "loss", validated)
        )
        each.append(Work(_fit_seconds(costs, family), disk=steps * STEP_BYTES))
    return total + sum(each, Work()) + Work(memory=step_memory(family, size, costs) if size else 0.0)


def step_memory(family: str, size: ModelSize, costs: Costs) -> float:
    """Bytes that a training needs beside the cells: what a step makes of its batch, and the weights."""
    batch = 4 * size.batch_values * size.settings.batch_size
    return batch * costs.batches(family) + WEIGHT_BYTES * size.parameters


def _embed(design: Design, piece: Piece, runs: Sequence[Run], extent: Extent, costs: Costs) -> Work:
    family, size = _model(design, piece, extent)
    one = _passes(family, size, costs, "embed", extent.n_judged)
    first = costs.notebooks[piece.stage]["first"] * design.is_first(piece.family, piece.width, piece.strategy)
    n_latent = size.n_latent if size else UNKNOWN["n_latent"]
    return _times(one, len(runs)) + Work(first, disk=4 * len(runs) * extent.n_judged * n_latent) + _judging(extent)


def _heldout_loss(design: Design, piece: Piece, runs: Sequence[Run], extent: Extent, costs: Costs) -> Work:
    family, size = _model(design, piece, extent)
    one = _passes(family, size, costs, "loss", extent.n_judged)
    if piece.strategy != UNTRAINED:
        return _times(one, len(runs)) + _written(piece, runs, extent, costs) + _judging(extent)
    cells = extent.corpus + extent.n_judged
    once = Work(
        cells * _per_cell(family, size, costs, "controls"), memory=COPIES * cells * extent.nonzeros * VALUE_BYTES
    )
    return _times(one, len(runs)) + once + _written(piece, runs, extent, costs)


def _classify(design: Design, piece: Piece, runs: Sequence[Run], extent: Extent, costs: Costs) -> Work:
    task = design.evaluations.classification
    sets = [
        *extent.judged.values(),
        *(extent.judged[one.train] + extent.judged[one.test] for one in task.transfer.values()),
    ]
    one = sum(costs.judged("classification", n) for n in sets)
    return Work(len(runs) * one) + _written(piece, runs, extent, costs) + _judging(extent)


def _finetune(design: Design, piece: Piece, runs: Sequence[Run], extent: Extent, costs: Costs) -> Work:
    task, sets = design.evaluations.finetuning, extent.judged.values()
    heads = 1 + len(task.few_shot)
    seconds = len(runs) * heads * sum(costs.judged("finetuning", n) for n in sets)
    tuned = sum(task.full is not None and task.full.holds(run) for run in runs)
    total = Work(seconds) + _written(piece, runs, extent, costs) + _judging(extent)
    if not tuned:
        return total
    family, size = _model(design, piece, extent)
    views = tuned * heads * costs.of("full", "epochs") * extent.n_judged / 2
    return total + _passes(family, size, costs, "train", views) + _passes(family, size, costs, "embed", 2 * views)


def _integrate(design: Design, piece: Piece, runs: Sequence[Run], extent: Extent, costs: Costs) -> Work:
    task = design.evaluations.integration
    sets = {name: sum(extent.judged[one] for one in entry.sets) for name, entry in task.sets.items()}
    seconds = len(runs) * sum(costs.judged("integration", n) for n in sets.values())
    slow = sum(task.scib_metrics is not None and task.scib_metrics.holds(run) for run in runs)
    mixing = [n for name, n in sets.items() if task.sets[name].mixing == "wanted"]
    seconds += slow * sum(costs.judged("scib_metrics", n) for n in mixing)
    seconds += (slow > 0) * len(mixing) * costs.of("scib_metrics_compiled", "seconds")
    return Work(seconds) + _written(piece, runs, extent, costs) + _judging(extent)


def _perturb(design: Design, piece: Piece, runs: Sequence[Run], extent: Extent, costs: Costs) -> Work:
    task, scale = design.evaluations.perturbation, extent.all_genes / costs.of("perturbation", "genes")
    folds = conditions(design)
    once = costs.of("perturbation_prepared" if piece.strategy == NO_STRATEGY else "perturbation_read", "seconds")
    slow = sum(task.mlp is not None and task.mlp.holds(run) for run in runs)
    each = sum(map(len, folds)) * (once + len(runs) * costs.of("perturbation", "seconds"))
    seconds = scale * (each + slow * len(folds) * costs.of("mlp", "seconds"))
    return Work(seconds) + _written(piece, runs, extent, costs) + _judging(extent)


def _axes(design: Design, piece: Piece, runs: Sequence[Run], extent: Extent, costs: Costs) -> Work:
    once = sum(map(len, conditions(design))) * costs.of("perturbation_read", "seconds")
    return Work(once + axis_heads(design) * costs.of("axes", "seconds"))


def axis_heads(design: Design) -> int:
    """Heads that are taught and judged along the axes of the response: each encoder's, `own_pca`'s and the mean's, on
    each draw and held-out condition.
    """
    axes = design.evaluations.response_axes
    draws = axes.repeats * (len(axes.treated) + len(axes.contexts))
    return (2 + sum(map(axes.runs.holds, design.runs()))) * draws * len(conditions(design))


def conditions(design: Design) -> list[list[str]]:
    """The conditions that responses are judged in, those that are held out together in one list."""
    task = design.evaluations.perturbation
    own = design.perturbation.held_out if task.control else {}
    of_files = (entry.held_out or [""] for entry in design.evaluation_sets.values() if entry.context)
    return [where[task.context] for where in own.values()] + [[one] for held_out in of_files for one in held_out]


OF_STAGE: dict[str, Callable[..., Work]] = {
    "00_corpus": _corpus,
    "05_split": _corpus,
    "10_subset": _subset,
    "15_diversity": _diversity,
    "20_pretrain": _pretrain,
    "25_embed": _embed,
    "30_classify": _classify,
    "31_finetune": _finetune,
    "32_integrate": _integrate,
    "33_perturb": _perturb,
    "34_heldout_loss": _heldout_loss,
    "63_response_axes": _axes,
}


def _model(design: Design, piece: Piece, extent: Extent) -> tuple[str, ModelSize | None]:
    chosen = design.families[piece.family]
    return chosen.family, model_size(chosen, piece.width, extent.genes)


def _passes(family: str, size: ModelSize | None, costs: Costs, what: str, n: float) -> Work:
    """Work of `n` cells that go through a model: on a GPU as long as its products, or as filling batches, take."""
    seconds = n * _per_cell(family, size, costs, what)
    if family == "pca" or size is None:
        return Work(seconds)
    flops = size.flops if what == "train" else size.flops / 3
    feed = n * costs.seconds(family, "feed", size)
    return Work(seconds, max(n * flops / (GPU_PEAK * GPU_SHARE), feed), seconds)


def _per_cell(family: str, size: ModelSize | None, costs: Costs, what: str) -> float:
    if size is not None:
        return costs.seconds(family, what, size)
    return max(row[what] for row in costs.models if what in row and row["preset"] == "demo")


def _fit_seconds(costs: Costs, family: str) -> float:
    """What a training costs beside its steps."""
    rows = [row["fit"] for row in costs.models if row["family"] == family and "train" in row]
    return sum(rows) / len(rows) if rows else 0.0


def _seconds_per_cell(costs: Costs, what: str, extent: Extent) -> float:
    return costs.corpus[what] * extent.nonzeros / costs.corpus["nonzeros"]


def _times(one: Work, n: int) -> Work:
    return Work(*(n * getattr(one, key) for key in one.__dataclass_fields__))


def _judging(extent: Extent) -> Work:
    """Memory of the cells that judge."""
    return Work(memory=COPIES * extent.n_judged * extent.nonzeros * VALUE_BYTES)


def _written(piece: Piece, runs: Sequence[Run], extent: Extent, costs: Costs) -> Work:
    """Scores and predictions on disk."""
    return Work(disk=len(runs) * extent.n_judged * costs.notebooks[piece.stage]["bytes_per_judged"])
