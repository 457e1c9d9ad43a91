"""The pieces of work of a design: which notebook, with which parameters, what makes it run again, and
how long it takes.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from helpers import failures, store, subset
from helpers.corpus import source_hash
from helpers.design import BASELINES, NO_STRATEGY, UNTRAINED, Design, DesignError, Run
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
REPORT = "report"  # copies of the figures for Snakemake
STRATEGY, PERCENTAGE, SEED = "strategy", "percentage", "seed"
CHUNKS = (STRATEGY, PERCENTAGE, SEED)  # what the models of one piece have in common, beside family and width


@dataclass(frozen=True)
class Piece:
    """One execution of one notebook; stages of the whole design have neither model nor strategy.

    Without `percentages` or `seeds` it is for all that the design has.
    """

    stage: str
    family: str = ""
    width: float = 1.0
    strategy: str = ""
    percentages: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()

    @property
    def model(self) -> str:
        """Family, with its width where that is not 1: ``scvi`` or ``scvi-w2``."""
        return self.family if self.width == 1 else f"{self.family}-w{self.width:g}"

    @property
    def name(self) -> str:
        """Name of the executed notebook: ``20_pretrain--scvi--random``, ``20_pretrain--scvi--random--p010.0``."""
        sizes = [f"p{size:05.1f}" for size in self.percentages]
        chunk = "-".join([*sizes, *(f"s{seed:02d}" for seed in self.seeds)])
        return "--".join(part for part in (self.stage, self.model, self.strategy, chunk) if part)

    @property
    def parameters(self) -> dict[str, object]:
        """Parameters beside design and results."""
        model = {"family": self.family, "width": self.width} if self.family else {}
        chosen = {"strategy": self.strategy, "percentages": list(self.percentages), "seeds": list(self.seeds)}
        return model | {key: value for key, value in chosen.items() if value}


def pieces(design: Design, chunk: str = STRATEGY) -> list[Piece]:
    """All pieces of work of a design, in order; those on models are for one strategy, or for one percentage or seed of
    it, by `chunk`. DesignError for another `chunk`.
    """
    if chunk not in CHUNKS:
        raise DesignError(f"chunk = {chunk!r}: models are taken together by {', '.join(CHUNKS)}")
    done = [Piece("00_corpus"), Piece("05_split"), *(Piece("10_subset", strategy=name) for name in design.strategies)]
    done.append(Piece("15_diversity"))
    tasks = {stage: task for stage, task in TASKS.items() if design.evaluates(task)}
    done += [Piece(stage, *own) for stage in ("20_pretrain", "25_embed", *tasks) for own in _chunks(design, chunk)]
    done += [_baselines(stage) for stage, task in tasks.items() if BASELINES_OF[task]]
    axes = ["63_response_axes"] if design.evaluations.response_axes else []
    analyses = ("50_collect", "60_saturation", "61_scaling_laws", "62_diversity_effect", *axes, "90_figures")
    return [*done, *map(Piece, analyses)]


def _chunks(design: Design, chunk: str) -> Iterator[tuple]:
    """Family, width, strategy, percentages and seeds of the pieces of work on models. Untrained models, which cost
    little and of which one makes the floor of the loss for all others, stay together.
    """
    for own in design.chunks():
        runs = design.select(*own)
        if chunk == STRATEGY or own[2] == UNTRAINED:
            yield own
        elif chunk == PERCENTAGE:
            yield from ((*own, (size,)) for size in sorted({run.percentage for run in runs}))
        else:
            yield from ((*own, (), (seed,)) for seed in sorted({run.seed for run in runs}))


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


def repair(design: Design, root: Path, chunk: str = STRATEGY) -> list[str]:
    """Find artifacts that should be there and are missing or corrupt; remove them and the executed notebooks that made
    them, and notebooks that are cut short or failed while the others went on; so for copies of figures.

    What is removed is made again by the next run. Returns one line per artifact, or notebook without a harmed one.
    """
    lines, now = [], time.time()
    store.sweep(root)
    late = [path for path in (root / "notebooks").glob("*.ipynb") if path.stat().st_mtime > now]
    for path in late:  # or Snakemake would refuse what is made from them
        os.utime(path, (now, now))
    if late:
        lines.append(
            f"{len(late)} executed notebooks are of later than now, as after a clock went backwards: now counts"
        )
    for piece in pieces(design, chunk):
        executed = root / "notebooks" / f"{piece.name}.ipynb"
        made = outputs(design, piece, root) if executed.exists() else []
        wrong = [name for name in made if not store.valid(root / name)]
        for name in wrong:
            state = "corrupt or without its record" if (root / name).exists() else "missing"
            store.discard(root / name)
            lines.append(f"{root / name} is {state}: {piece.name} makes it again")
        failed = executed.exists() and executed.with_suffix(".failed.ipynb").exists()
        cut = executed.exists() and not _is_json(executed)
        if (failed or cut) and not wrong:
            what = "failed in part: it is tried again" if failed else "is no notebook any more: it is executed again"
            lines.append(f"{piece.name} {what}")
        if failed or cut or wrong:
            executed.unlink()
    report, figures = root / REPORT, root / "figures"
    if report.is_dir() and _drawings(report) != _drawings(figures):
        shutil.rmtree(report)
        lines.append(f"{report} is not what lies in {figures}: it is copied again")
    return lines


def _drawings(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.svg")}


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True


def _controls(piece: Piece) -> list[str]:
    """Floors and ceilings that a piece makes for others, which come after it."""
    if piece.stage == "34_heldout_loss" and piece.strategy == UNTRAINED:
        return [store.controls_path("heldout_loss", piece.family, piece.width)]
    first = piece.stage in ("32_integrate", "33_perturb") and piece.strategy == NO_STRATEGY
    return [store.controls_path(TASKS[piece.stage])] if first else []


def _runs(design: Design, piece: Piece) -> list[Run]:
    return design.select(piece.family, piece.width, piece.strategy, piece.percentages, piece.seeds)


def _lends_encoder(design: Design, piece: Piece) -> bool:
    """Whether the axes of the response fix the encoder of a run that a piece embeds with."""
    axes = design.evaluations.response_axes
    return piece.stage == "25_embed" and axes is not None and any(map(axes.runs.holds, _runs(design, piece)))


def upstream(design: Design, piece: Piece, chunk: str = STRATEGY) -> list[Piece]:
    """The pieces whose artifacts a piece reads, among those of `pieces` by the same `chunk`."""
    own = (piece.family, piece.width, piece.strategy, piece.percentages, piece.seeds)
    baseline = piece.strategy == NO_STRATEGY
    match piece.stage:
        case "00_corpus":
            return []
        case "05_split":
            return [Piece("00_corpus")]
        case "10_subset":
            return [Piece("05_split")]
        case "15_diversity":
            return [Piece("10_subset", strategy=name) for name in design.strategies]
        case "20_pretrain":
            untrained = piece.strategy == UNTRAINED
            return [Piece("05_split") if untrained else Piece("10_subset", strategy=piece.strategy)]
        case "25_embed":
            return [Piece("20_pretrain", *own)]
        case "34_heldout_loss":
            floor = [] if _controls(piece) else [Piece(piece.stage, piece.family, piece.width, UNTRAINED)]
            return [Piece("20_pretrain", *own), *floor]
        case "30_classify" | "31_finetune" | "32_integrate" | "33_perturb":
            limits = [] if baseline or piece.stage == "30_classify" else [_baselines(piece.stage)]
            return [Piece("05_split") if baseline else Piece("25_embed", *own), *limits]
        case "50_collect":
            return [Piece("15_diversity"), *(other for other in pieces(design, chunk) if other.stage in TASKS)]
        case "63_response_axes":
            lending = [other for other in pieces(design, chunk) if _lends_encoder(design, other)]
            return [*lending, _baselines("33_perturb")]
        case "90_figures":
            axes = ["63_response_axes"] if design.evaluations.response_axes else []
            return [*map(Piece, ("60_saturation", "61_scaling_laws", "62_diversity_effect", *axes))]
        case _:
            return [Piece("50_collect")]


def _baselines(stage: str) -> Piece:
    return Piece(stage, BASELINES, 1.0, NO_STRATEGY)


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
