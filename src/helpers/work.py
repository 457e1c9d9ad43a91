"""What one notebook of a design costs: seconds of a core or of a GPU, disk, memory, from measured costs.

The workflow tells by it how much is left, and ``python -m helpers.design DESIGN --estimate`` what a design needs. Each
notebook has a part of its own (start, reading, figures), and a part for each model, cell or curve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from helpers.corpus.reading import HELD
from helpers.corpus.shards import SHARD_CELLS
from helpers.costs import Costs, measured
from helpers.design import NO_STRATEGY, UNTRAINED, Design, Run, n_cells
from helpers.design_evaluations import TASKS
from helpers.model_size import ModelSize, model_size

if TYPE_CHECKING:
    from helpers.corpus.extent import Extent
    from helpers.design_evaluations import Selection
    from helpers.stages import Piece

GPU_PEAK = 312e12  # FLOPs a second: NVIDIA A100, dense bfloat16, by its data sheet
GPU_SHARE = 0.1  # of the peak that training of small networks is taken to reach
VALUE_BYTES = 8  # of a count that is not 0: float32, and the number of its gene
STORED_BYTES = 1.7  # of one on disk, compressed: 1.22 of cells like scTab's (benchmarks.loading), 1.85 of the demo's
WEIGHT_BYTES = 20  # weight, gradient, two moments of Adam, best weight so far; float32
STEP_BYTES = 20  # of a training's history on disk
COPIES = 3  # of the cells that a stage holds at once: as read, on the models' genes, as the model takes them
OBS_BYTES = 280  # of a cell's labels in memory, and
CHECKED_BYTES = 400  # more of them where they are checked (benchmarks.scale)
NOTEBOOK_BYTES = 100e3
MLP_LR = 1e-3  # at which heads of the response were measured, and at a tenth of it, which takes many more epochs
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
    asked = _Asked(design, piece, runs, extent, costs or measured())
    known = asked.costs.notebooks[kind_of(piece)]
    once = known["per_curve"] * curves(design) + known["per_judged"] * extent.n_judged
    own = Work(known["seconds"] + once, disk=NOTEBOOK_BYTES, memory=known["memory_mb"] * 1e6)
    return own + (OF_STAGE[piece.stage](asked) if piece.stage in OF_STAGE else Work())


def kind_of(piece: Piece) -> str:
    """What notebooks of one cost have in common: their stage, and whether they judge baselines."""
    return piece.stage + ("--baselines" if piece.strategy == NO_STRATEGY else "")


def curves(design: Design) -> int:
    """Scores against size that the analysis has: one for each model, sampling of three sizes or more, and set."""
    drawn = [name for name in design.strategies if len(design.sizes(name)) > 2]
    models = sum(len(settings.widths) for settings in design.families.values())
    return models * len(drawn) * sum(len(design.datasets(task)) for task in TASKS.values() if design.evaluates(task))


def conditions(design: Design) -> list[list[str]]:
    """The conditions that responses are judged in, those that are held out together in one list."""
    task = design.evaluations.perturbation
    own = design.perturbation.held_out if task.control else {}
    of_files = (entry.held_out or [""] for entry in design.evaluation_sets.values() if entry.context)
    return [where[task.context] for where in own.values()] + [[one] for held_out in of_files for one in held_out]


def axis_heads(design: Design) -> int:
    """Heads that are taught and judged along the axes of the response: each encoder's, `own_pca`'s and the mean's, on
    each draw and for what is held out together.
    """
    axes = design.evaluations.response_axes
    draws = axes.repeats * (len(axes.treated) + len(axes.contexts))
    return (2 + sum(map(axes.runs.holds, design.runs()))) * draws * len(conditions(design))


def step_memory(family: str, size: ModelSize, costs: Costs) -> float:
    """Bytes that a training needs beside the cells: what a step makes of its batch, and the weights."""
    batch = 4 * size.batch_values * size.settings.batch_size
    return batch * costs.batches(family) + WEIGHT_BYTES * size.parameters


@dataclass(frozen=True)
class _Asked:
    """A piece of a design; a method for each stage tells what its notebook costs beside its own part."""

    design: Design
    piece: Piece
    runs: Sequence[Run]
    extent: Extent
    costs: Costs

    def read(self) -> Work:
        disk = self.cells * self.extent.nonzeros * STORED_BYTES
        return Work(self.corpus_seconds("read", self.cells), disk=disk, memory=self.checked_memory())

    def split(self) -> Work:
        return Work(self.corpus_seconds("split", self.cells), memory=self.checked_memory())

    def draw(self) -> Work:
        cells, draws = self.extent.corpus, len(self.runs)
        drawn = sum(n_cells(run.percentage, cells) for run in self.runs)
        disk = drawn * self.costs.corpus["position_bytes"]
        if self.design.sampling(self.piece.strategy).strategy != "geometric_sketching":
            return Work(draws * cells * self.costs.corpus["draw"], disk=disk, memory=cells * OBS_BYTES)
        sketches = draws * cells * math.log(cells) * self.costs.corpus["sketch"]
        return Work(self.corpus_seconds("components", cells) + sketches, disk=disk, memory=self.corpus_memory(cells))

    def diversity(self) -> Work:
        subsets = [run for name in self.design.strategies for run in self.design.subsets(name)]
        drawn = sum(n_cells(run.percentage, self.extent.corpus) for run in subsets)
        return Work(self.corpus_seconds("vendi", drawn), memory=self.corpus_memory(self.extent.corpus))

    def train(self) -> Work:
        size, trained = self.size, self.piece.strategy != UNTRAINED
        weights = 4 * (size.parameters if size else UNKNOWN["parameters"])
        total = Work(disk=len(self.runs) * weights, memory=self.corpus_memory(self.extent.corpus))
        learned = [n_cells(run.percentage, self.extent.corpus) for run in self.runs]
        if self.family == "pca":
            return total + Work(trained * sum(self.costs.pca(n, self.extent.genes) for n in learned))
        budget = self.design.budget_of(self.piece.family)
        for n in learned:
            total += self.training(trained * budget.amount * (n if budget.kind == "epochs" else 1))
        return total + Work(memory=step_memory(self.family, size, self.costs) if size else 0.0)

    def training(self, views: int) -> Work:
        """One training of a family that takes steps, with its validations."""
        if self.size is None:
            return self.passes("train", views)
        settings = self.size.settings
        steps = math.ceil(views / settings.batch_size)
        validated = self.extent.validation * (1 + min(steps, settings.validations))
        beside = Work(self.costs.fit(self.family), disk=steps * STEP_BYTES)
        return self.passes("train", views * max(1, len(settings.lr_sweep))) + self.passes("loss", validated) + beside

    def embed(self) -> Work:
        n_embedded, first = len(self.runs) * self.extent.n_judged, self.costs.notebooks[self.piece.stage]["first"]
        numbers = n_embedded * (self.size.n_latent if self.size else UNKNOWN["n_latent"])
        drawn = Work(first * self.design.is_first(self.piece.family, self.piece.width, self.piece.strategy))
        return self.passes("embed", n_embedded) + drawn + self.judging + Work(disk=4 * numbers)

    def classify(self) -> Work:
        transfer = self.design.evaluations.classification.transfer.values()
        both = [self.extent.judged[one.train] + self.extent.judged[one.test] for one in transfer]
        sets = [*self.extent.judged.values(), *both]
        return self.scored(len(self.runs) * sum(self.costs.judged("classification", n) for n in sets))

    def finetune(self) -> Work:
        task = self.design.evaluations.finetuning
        heads = 1 + len(task.few_shot)
        of_one = heads * sum(self.costs.judged("finetuning", n) for n in self.extent.judged.values())
        told, tuned = self.scored(len(self.runs) * of_one), self.selected(task.full)
        if not tuned:
            return told
        views = tuned * heads * self.costs.of("full", "epochs") * self.extent.n_judged / 2
        return told + self.passes("train", views) + self.passes("embed", 2 * views)

    def integrate(self) -> Work:
        task = self.design.evaluations.integration
        sets = {name: sum(self.extent.judged[one] for one in entry.sets) for name, entry in task.sets.items()}
        seconds = len(self.runs) * sum(self.costs.judged("integration", n) for n in sets.values())
        if slow := self.selected(task.scib_metrics):
            mixing = [n for name, n in sets.items() if task.sets[name].mixing == "wanted"]
            compiled = len(mixing) * self.costs.of("scib_metrics_compiled", "seconds")
            seconds += compiled + slow * sum(self.costs.judged("scib_metrics", n) for n in mixing)
        return self.scored(seconds)

    def respond(self) -> Work:
        folds, scale = conditions(self.design), self.extent.all_genes / self.costs.of("perturbation", "genes")
        known = "perturbation_prepared" if self.piece.strategy == NO_STRATEGY else "perturbation_read"
        each = self.costs.of(known, "seconds") + len(self.runs) * self.costs.of("perturbation", "seconds")
        task, fast = self.design.evaluations.perturbation, self.costs.of("mlp", "seconds")
        slower = self.costs.of("mlp_published", "seconds") / fast  # at a tenth of the rate
        slow = self.selected(task.mlp) * fast * slower ** math.log10(MLP_LR / task.mlp_lr)
        return self.scored(scale * (sum(map(len, folds)) * each + len(folds) * slow))

    def lose(self) -> Work:
        told = self.passes("loss", len(self.runs) * self.extent.n_judged) + self.scored(0.0)
        if self.piece.strategy != UNTRAINED:
            return told
        known = self.extent.corpus + self.extent.n_judged  # null and reference, once for all runs
        return told + Work(known * self.seconds("controls"), memory=self.corpus_memory(self.extent.corpus))

    def vary(self) -> Work:
        once = sum(map(len, conditions(self.design))) * self.costs.of("perturbation_read", "seconds")
        return Work(once + axis_heads(self.design) * self.costs.of("axes", "seconds"))

    @property
    def family(self) -> str:
        return self.design.families[self.piece.family].family

    @property
    def size(self) -> ModelSize | None:
        return model_size(self.design.families[self.piece.family], self.piece.width, self.extent.genes)

    @property
    def cells(self) -> int:
        return self.extent.corpus + self.extent.validation + self.extent.n_judged

    @property
    def judging(self) -> Work:
        """Memory of the cells that judge."""
        return Work(memory=self.copies(self.extent.n_judged))

    def scored(self, seconds: float) -> Work:
        """An evaluation of the runs, with scores and predictions on disk."""
        written = self.costs.notebooks[self.piece.stage]["bytes_per_judged"]
        return Work(seconds, disk=len(self.runs) * self.extent.n_judged * written) + self.judging

    def selected(self, chosen: Selection | None) -> int:
        """Runs that something slow is for."""
        return sum(map(chosen.holds, self.runs)) if chosen is not None else 0

    def held(self, cells: int) -> float:
        """Bytes of the counts of cells."""
        return cells * self.extent.nonzeros * VALUE_BYTES

    def copies(self, cells: int) -> float:
        """Bytes of the counts of cells as a stage holds them."""
        return COPIES * self.held(cells)

    def corpus_memory(self, cells: int) -> float:
        """As `copies`, of cells that stay on disk if they are many, but for a shard of them."""
        values = min(self.held(cells), VALUE_BYTES * max(HELD, SHARD_CELLS * self.extent.nonzeros))
        return COPIES * values + cells * OBS_BYTES

    def checked_memory(self) -> float:
        """As `corpus_memory`, of all cells, with what checking their labels takes."""
        return self.corpus_memory(self.cells) + self.cells * CHECKED_BYTES

    def corpus_seconds(self, what: str, cells: int) -> float:
        return cells * self.costs.corpus[what] * self.extent.nonzeros / self.costs.corpus["nonzeros"]

    def seconds(self, what: str) -> float:
        """Seconds of one cell in the piece's model; a family without a size is taken for the dearest of the demo's."""
        if self.size is not None:
            return self.costs.seconds(self.family, what, self.size)
        return max(row[what] for row in self.costs.models if what in row and row["preset"] == "demo")

    def passes(self, what: str, n: float) -> Work:
        """Work of `n` cells that go through the piece's model: on a GPU as long as its products take, or as filling
        the batches does.
        """
        seconds, size = n * self.seconds(what), self.size
        if size is None or not size.flops:
            return Work(seconds)
        flops = size.flops if what == "train" else size.flops / 3
        feed = n * self.costs.seconds(self.family, "feed", size)
        return Work(seconds, max(n * flops / (GPU_PEAK * GPU_SHARE), feed), seconds)


OF_STAGE: dict[str, Callable[[_Asked], Work]] = {
    "00_corpus": _Asked.read,
    "05_split": _Asked.split,
    "10_subset": _Asked.draw,
    "15_diversity": _Asked.diversity,
    "20_pretrain": _Asked.train,
    "25_embed": _Asked.embed,
    "30_classify": _Asked.classify,
    "31_finetune": _Asked.finetune,
    "32_integrate": _Asked.integrate,
    "33_perturb": _Asked.respond,
    "34_heldout_loss": _Asked.lose,
    "63_response_axes": _Asked.vary,
}
