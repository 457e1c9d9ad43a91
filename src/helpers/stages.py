"""The pieces of work of a design: which notebook, with which parameters, what makes it run again, and
how long it takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from helpers import failures, store, subset
from helpers.corpus import source_hash
from helpers.design import NO_STRATEGY, UNTRAINED, Design, Run
from helpers.design_evaluations import TASKS
from helpers.evaluate.baselines import BASELINES as BASELINES_OF
from helpers.provenance import digest, display_hash
from helpers.work import Work, work

if TYPE_CHECKING:
    from helpers.corpus.extent import Extent
    from helpers.costs import Costs

SIZES = ("percentages", "seeds", "seeds_by_size")
# The parts of a design that each stage reads; a change elsewhere does not run it again.
READS = {
    "00_corpus": ("corpus",),
    "05_split": ("seed", "corpus", "held_out", "perturbation", "evaluation_sets"),
    "10_subset": ("seed", *SIZES),
    "15_diversity": ("seed", "strategies", *SIZES),
    "20_pretrain": ("seed", "budget", *SIZES),
    "25_embed": SIZES,
    "30_classify": ("seed", *SIZES),
    "31_finetune": ("seed", *SIZES),
    "32_integrate": ("seed", *SIZES),
    "33_perturb": ("seed", "perturbation", "evaluation_sets", *SIZES),
    "34_heldout_loss": SIZES,
    "63_response_axes": ("seed", "perturbation", "evaluation_sets"),
}
BASELINES = "baselines"


@dataclass(frozen=True)
class Piece:
    """One execution of one notebook; stages of the whole design have neither model nor strategy."""

    stage: str
    family: str = ""
    width: float = 1.0
    strategy: str = ""

    @property
    def model(self) -> str:
        """Family, with its width where that is not 1: ``scvi`` or ``scvi-w2``."""
        return self.family if self.width == 1 else f"{self.family}-w{self.width:g}"

    @property
    def name(self) -> str:
        """Name of the executed notebook, e.g. ``20_pretrain--scvi--random``."""
        return "--".join(part for part in (self.stage, self.model, self.strategy) if part)

    @property
    def parameters(self) -> dict[str, object]:
        """Parameters beside design and results."""
        model = {"family": self.family, "width": self.width} if self.family else {}
        return model | ({"strategy": self.strategy} if self.strategy else {})


def pieces(design: Design) -> list[Piece]:
    """All pieces of work of a design, in order."""
    done = [Piece("00_corpus"), Piece("05_split"), *(Piece("10_subset", strategy=name) for name in design.strategies)]
    done.append(Piece("15_diversity"))
    tasks = {stage: task for stage, task in TASKS.items() if design.evaluates(task)}
    done += [Piece(stage, *chunk) for stage in ("20_pretrain", "25_embed", *tasks) for chunk in design.chunks()]
    done += [Piece(stage, BASELINES, 1.0, NO_STRATEGY) for stage, task in tasks.items() if BASELINES_OF[task]]
    axes = ["63_response_axes"] if design.evaluations.response_axes else []
    analyses = ("50_collect", "60_saturation", "61_scaling_laws", "62_diversity_effect", *axes, "90_figures")
    return [*done, *map(Piece, analyses)]


def outputs(design: Design, piece: Piece, root: Path) -> list[str]:
    """The artifacts that a piece makes; none of a run that was given up, but for the reason in its model's place."""
    if piece.stage == "20_pretrain":
        return [store.model_path(run) for run in _runs(design, piece)]
    if piece.strategy == NO_STRATEGY:
        owners = BASELINES_OF[TASKS[piece.stage]]
    else:
        owners = [run for run in _runs(design, piece) if not failures.reason(root, run)] if piece.family else []
    if piece.stage in TASKS:
        task = TASKS[piece.stage]
        owners = [one for one in owners if isinstance(one, str) or design.judges(task, one)]
        made = [path(task, owner) for owner in owners for path in (store.evaluation_path, store.prediction_path)]
        return made + (_controls(piece) if made else [])
    if piece.stage == "25_embed":
        return [store.embedding_path(run) for run in owners]
    if piece.stage == "10_subset":
        return [store.subset_path(run) for run in design.subsets(piece.strategy)]
    return [name for name, stage in store.MAKERS.items() if stage == piece.stage]


def repair(design: Design, root: Path) -> list[str]:
    """Find artifacts that should be there and are missing or corrupt; remove them and the executed notebooks that made
    them, and notebooks that failed while the others went on.

    What is removed is made again by the next run. Returns one line per artifact or failed notebook.
    """
    lines = []
    store.sweep(root)
    for piece in pieces(design):
        executed = root / "notebooks" / f"{piece.name}.ipynb"
        made = outputs(design, piece, root) if executed.exists() else []
        wrong = [name for name in made if not store.valid(root / name)]
        for name in wrong:
            state = "corrupt or without its record" if (root / name).exists() else "missing"
            store.discard(root / name)
            lines.append(f"{root / name} is {state}: {piece.name} makes it again")
        failed = executed.exists() and executed.with_suffix(".failed.ipynb").exists()
        if failed and not wrong:
            lines.append(f"{piece.name} failed in part: it is tried again")
        if failed or wrong:
            executed.unlink()
    return lines


def _controls(piece: Piece) -> list[str]:
    """Floors and ceilings that a piece makes for others, which come after it."""
    if piece.stage == "34_heldout_loss" and piece.strategy == UNTRAINED:
        return [store.controls_path("heldout_loss", piece.family, piece.width)]
    first = piece.stage in ("32_integrate", "33_perturb") and piece.strategy == NO_STRATEGY
    return [store.controls_path(TASKS[piece.stage])] if first else []


def _runs(design: Design, piece: Piece) -> list[Run]:
    return design.select(piece.family, piece.width, piece.strategy)


def _lends_encoder(design: Design, chunk: tuple[str, float, str]) -> bool:
    """Whether the axes of the response fix the encoder of a run of this family, width and strategy."""
    axes = design.evaluations.response_axes
    return axes is not None and any(map(axes.runs.holds, design.select(*chunk)))


def upstream(design: Design, piece: Piece) -> list[Piece]:
    """The pieces whose artifacts a piece reads."""
    own = (piece.family, piece.width, piece.strategy)
    subsets = [other for other in pieces(design) if other.stage == "10_subset"]
    tasks = [other for other in pieces(design) if other.stage in TASKS]
    baselines = (BASELINES, 1.0, NO_STRATEGY)
    embedded = [Piece("05_split") if piece.strategy == NO_STRATEGY else Piece("25_embed", *own)]
    axes = [other for other in pieces(design) if other.stage == "63_response_axes"]
    varied = [Piece("25_embed", *chunk) for chunk in design.chunks() if _lends_encoder(design, chunk)]
    limited = [*embedded, *([] if piece.strategy == NO_STRATEGY else [Piece(piece.stage, *baselines)])]
    needs = {
        "00_corpus": [],
        "05_split": [Piece("00_corpus")],
        "10_subset": [Piece("05_split")],
        "15_diversity": subsets,
        "20_pretrain": [
            Piece("05_split") if piece.strategy == UNTRAINED else Piece("10_subset", strategy=piece.strategy)
        ],
        "25_embed": [Piece("20_pretrain", *own)],
        "30_classify": embedded,
        **dict.fromkeys(["31_finetune", "32_integrate", "33_perturb"], limited),
        "34_heldout_loss": [
            Piece("20_pretrain", *own),
            *([] if _controls(piece) else [Piece("34_heldout_loss", *own[:2], UNTRAINED)]),
        ],
        "50_collect": [Piece("15_diversity"), *tasks],
        **{name: [Piece("50_collect")] for name in ("60_saturation", "61_scaling_laws", "62_diversity_effect")},
        "63_response_axes": [*varied, Piece("33_perturb", *baselines)],
        "90_figures": [Piece("60_saturation"), Piece("61_scaling_laws"), Piece("62_diversity_effect"), *axes],
    }
    return needs[piece.stage]


def stamp(design: Design, piece: Piece) -> str:
    """Hash of all that an execution depends on beside earlier artifacts: notebook, helper modules, its
    part of the design.
    """
    modules = [design.families[piece.family].module] if piece.family in design.families else []
    sampling = design.strategies.get(piece.strategy)
    modules += [subset.module_of(sampling.strategy)] if sampling and piece.stage == "10_subset" else []
    reads = design.model_dump(include=set(READS[piece.stage])) if piece.stage in READS else design.model_dump()
    if piece.family in design.families:
        reads["family"] = design.families[piece.family].model_dump(exclude={"widths"})
    if sampling:
        reads["sampling"] = sampling.model_dump()
    if piece.stage == "25_embed":
        reads["first"] = design.is_first(piece.family, piece.width, piece.strategy)
    if piece.stage == "00_corpus":
        reads["source_sha256"] = source_hash(design)
    if piece.stage in TASKS:
        left = {"perturbation": {"axes"}}  # those have a stage of their own
        reads["task"] = design.evaluations.model_dump(exclude=left)[TASKS[piece.stage]]
    if piece.stage == "63_response_axes":
        reads["task"] = design.evaluations.perturbation.model_dump()
        reads["encoders"] = sorted(run.id for run in design.runs() if design.evaluations.response_axes.runs.holds(run))
    if piece.stage == "31_finetune":
        rules = design.evaluations.classification
        reads["limits"] = [rules.min_cells, rules.headline_min_cells]
    return digest({"code": display_hash(piece.stage, modules), "reads": reads, "parameters": piece.parameters})


def runs_of(design: Design, piece: Piece) -> list[Run]:
    """What a piece is made for: subsets, or models; no run for baselines and stages of the whole design."""
    if piece.stage == "10_subset":
        return design.subsets(piece.strategy)
    runs = _runs(design, piece) if piece.family in design.families else []
    return [run for run in runs if piece.stage not in TASKS or design.judges(TASKS[piece.stage], run)]


def work_of(design: Design, piece: Piece, extent: Extent, costs: Costs | None = None) -> Work:
    """What a piece costs at most, from measured costs."""
    return work(design, piece, runs_of(design, piece), extent, costs)
