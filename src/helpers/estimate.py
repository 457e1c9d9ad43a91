"""What a design will cost, before anything runs: its runs, time, disk and memory, and how each number was obtained."""

import argparse
import os
import sys
import textwrap
from dataclasses import replace

import pandas as pd

from helpers.corpus.extent import Extent, extent
from helpers.costs import COMMAND, Costs, measured
from helpers.design import Design, load_design, n_cells
from helpers.model_size import model_size
from helpers.provenance import project_path
from helpers.stages import Piece, pieces, runs_of, work_of
from helpers.work import COPIES, GPU_PEAK, GPU_SHARE, STORED_BYTES, WEIGHT_BYTES, Work, side_by_side, step_memory

ASSUMED = 10_000  # cells of an evaluation set that is not at hand
NONZEROS = 1_300 / 19_331  # share of the genes that a cell has, in a corpus that is not at hand: scTab's
BY_FAMILY = ("20_pretrain", "25_embed", "31_finetune", "34_heldout_loss")
TIME_NOTES = {  # stage -> notes on its time, beside that on notebooks
    **dict.fromkeys(["00_corpus", "05_split", "10_subset", "15_diversity"], "c"),
    **dict.fromkeys(["20_pretrain", "25_embed", "34_heldout_loss"], "b e"),
    **dict.fromkeys(["30_classify", "32_integrate", "33_perturb", "63_response_axes"], "d"),
    "31_finetune": "b d e",
}
NOTES = (
    "a  notebook: start, reading and figures, measured in a small design; those of the analysis for each curve, those "
    "of baselines for each cell that judges",
    "b  model: seconds of a cell as a part for each step, for each number in its batch and for each FLOP, the nearest "
    "to {points} measured points, the published presets at 19,331 genes among them (training at most {off:.0%} off); "
    "PCA by cells × genes. A training is taken to use its whole budget, with its validations",
    "c  corpus: seconds of a cell, measured with 20,000 cells × 19,331 genes; by cells, and by counts that are not 0",
    "d  evaluation: seconds of a model measured at 1,000 to 16,000 cells, between and beyond by a power of their "
    "number; responses and slow parts by the conditions, cells and genes of the demo",
    "e  GPU hours are arithmetic, nothing was measured on one: FLOPs / ({peak:.0f} TFLOP/s × {share:.0%}), an NVIDIA "
    "A100 by its data sheet and a share that is assumed; but no shorter than one core needs to fill batches (measured)",
    "f  disk: arithmetic, {stored} bytes for each count that is not 0, 4 for each weight and each number of an "
    "embedding; positions, scores and predictions as measured",
    "g  memory: of a notebook as measured; on top, by arithmetic, {copies} copies of the cells at hand, as the "
    "notebooks hold them, and what a training needs beside",
)


def describe(design: Design, known: Extent, cores: int) -> str:
    """The runs of a design as a table in text, with estimated time and disk."""
    rows, all_pieces = [], pieces(design)
    for chunk in design.chunks():
        family, width, strategy = chunk
        runs, sizes = design.select(*chunk), [n_cells(size, known.corpus) for size in design.sizes(strategy)]
        own = [piece for piece in all_pieces if (piece.family, piece.width, piece.strategy) == chunk]
        work = side_by_side(work_of(design, piece, known) for piece in own)
        row = {"family": family, "width": f"{width:g}", "strategy": strategy, "sizes": len(sizes)}
        row |= {"cells": f"{sizes[0]:,} to {sizes[-1]:,}", "seeds": len(runs) // len(sizes), "runs": len(runs)}
        rows.append(row | {"core-minutes": digits(work.seconds / 60), "MB": digits(work.disk / 1e6)})
    total = side_by_side(work_of(design, piece, known) for piece in all_pieces)
    minutes, gigabytes = digits(total.seconds / 60 / cores), digits(total.disk / 1e9)
    return "\n".join(
        [
            _title(design, known),
            pd.DataFrame(rows).to_string(index=False),
            f"About {minutes} min on {cores} cores and {gigabytes} GB on disk (seconds of one core of "
            f"{measured().environment['cpu']}; yours may differ by a factor of two). More: --estimate",
        ]
    )


def estimate(design: Design, known: Extent) -> str:
    """Time, disk and memory of a design by stage and family as a table in text, with notes on each number."""
    parts: dict[tuple[str, str], list[Piece]] = {}
    for piece in pieces(design):
        parts.setdefault((piece.stage, piece.family if piece.stage in BY_FAMILY else ""), []).append(piece)
    rows, works = [], []
    for (stage, family), own in sorted(parts.items(), key=lambda part: part[0][0]):
        works.append(side_by_side(work_of(design, piece, known) for piece in own))
        n_runs = sum(len(runs_of(design, piece)) for piece in own)
        row = {"stage": stage, "family": family, "runs": f"{n_runs:,}" if n_runs else "–"}
        rows.append(row | _told(works[-1]) | {"how": " ".join(["a", *TIME_NOTES.get(stage, "").split(), "f g"])})
    total, costs = side_by_side(works), measured()
    numbers = {"points": sum("train" in row for row in costs.models), "off": costs.off("train"), "copies": COPIES}
    numbers |= {"peak": GPU_PEAK / 1e12, "share": GPU_SHARE, "stored": STORED_BYTES}
    lines = [
        f"In all {digits(total.seconds / 3600)} core hours; or {digits(total.gpu / 3600)} GPU hours, and "
        f"{digits((total.seconds - total.on_gpu) / 3600)} core hours beside them. {digits(total.disk / 1e9)} GB on "
        f"disk, at most {digits(total.memory / 1e9)} GB of memory for one notebook.",
        "A training needs beside the cells, on a GPU or not:",
        *_training_memory(design, known, costs),
        f"How: measured on one core of {costs.environment['cpu']} by `{COMMAND}`, and carried over. No more than two "
        "digits are told, and another machine may differ by a factor of two.",
        *(note.format(**numbers) for note in NOTES),
    ]
    wrapped = [textwrap.fill(line, 120, subsequent_indent="   ") for line in lines]
    return "\n".join([_title(design, known), pd.DataFrame(rows).to_string(index=False), *wrapped])


def _told(work: Work) -> dict[str, str]:
    columns = {"core h": work.seconds / 3600, "or GPU h": work.gpu / 3600}
    columns |= {"GB on disk": work.disk / 1e9, "peak GB": work.memory / 1e9}
    return {name: digits(value) for name, value in columns.items()}


def _training_memory(design: Design, known: Extent, costs: Costs) -> list[str]:
    """The arithmetic of each model that is trained step by step, a line each."""
    lines = []
    for name, chosen in design.families.items():
        for width in chosen.widths:
            size = model_size(chosen, width, known.genes)
            if size is None or not size.flops:
                continue
            held, batches = step_memory(chosen.family, size, costs), costs.batches(chosen.family)
            step = f"{size.settings.batch_size:,} cells × {size.batch_values:,} numbers × 4 bytes"
            weights = f"{WEIGHT_BYTES} bytes × {size.parameters:,} weights"
            lines.append(
                f"   {name}-w{width:g}: {step} × {batches:.1f} (measured) + {weights} = {digits(held / 1e9)} GB"
            )
    return lines


def digits(value: float) -> str:
    """A number with two digits, which is more than is known."""
    rounded = float(f"{value:.2g}")
    if rounded == 0:
        return "–"
    return "<0.01" if rounded < 0.01 else f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"


def _title(design: Design, known: Extent) -> str:
    budget = f"{design.budget.amount:,} {design.budget.kind.replace('_', '-')} per model"
    corpus = f"a corpus of {known.corpus:,} cells, of which models see {known.genes:,} genes"
    return f"Design {design.name}: {corpus}, {budget}, {len(design.runs()):,} runs"


def _resized(known: Extent, n_corpus: int | None, n_genes: int | None, design: Design) -> Extent:
    """The extent of another corpus: as many cells validate as before, relative to it, and as many counts are not 0."""
    if n_corpus is not None:
        known = replace(known, corpus=n_corpus, validation=round(n_corpus * known.validation / known.corpus))
    if n_genes is not None:
        seen = min(design.corpus.genes or n_genes, n_genes)
        known = replace(known, genes=seen, all_genes=n_genes, nonzeros=known.nonzeros * n_genes / known.all_genes)
    return known


def _at_hand(design: Design, n_assumed: int) -> tuple[Extent, list[str]]:
    """The extent of a design, some of whose evaluation sets or spike-ins have no file yet, and remarks on these."""
    from helpers.corpus import open_source

    sets = design.evaluation_sets
    missing = [name for name, one in design.external.items() if not project_path(one.path).is_file()]
    parts = {"evaluation_sets": {key: one for key, one in sets.items() if key not in missing}}
    remarks = []
    if missing:
        told = f"{n_assumed:,} cells are assumed for each (--judged): {', '.join(missing)}"
        remarks += [f"Not at hand, so not checked; {told}"]
    if design.spikeins and not project_path(design.spikeins.path).is_file():
        parts["spikeins"] = None
        remarks += ["Spike-ins are not at hand, so not checked: as many as their strategies ask for are assumed"]
    there = design.model_copy(update=parts)
    known = extent(there, open_source(there))
    assumed = {name: min(n_assumed, sets[name].at_most or n_assumed) for name in missing}
    return replace(known, judged={**known.judged, **assumed}), remarks


def _untouched(design: Design, n_cells: int, n_genes: int, n_assumed: int) -> tuple[Extent, list[str]]:
    """The extent of a design of so many cells to learn from and genes, if nothing of its corpus is read."""
    rule, sets = design.held_out, design.evaluation_sets
    share = 1 / (1 - rule.validation - rule.evaluation)
    validation = round(n_cells * rule.validation * share)
    judged = {name: min(n_assumed, one.at_most or n_assumed) for name, one in sets.items()}
    known = Extent(
        n_cells,
        min(validation, rule.validation_at_most or validation),
        judged,
        min(design.corpus.genes or n_genes, n_genes),
        n_genes,
        NONZEROS * n_genes,
    )
    told = f"No cell was looked at; {n_assumed:,} cells are assumed for each set (--judged): {', '.join(sets)}"
    return known, [told]


def _checked(design: Design) -> tuple[Extent, list[str]]:
    """The extent of a design that was checked against its cells, and what it leaves out.

    Counts are read of embedded cells alone: others may be too many, and are checked when they are written.
    """
    from helpers.corpus import open_source, read_source
    from helpers.split import check_cells, check_design, check_gene_count, left_out

    source = open_source(design)
    if design.corpus.source == "embedded":
        check_cells(design, read_source(design))
    else:
        check_design(design, source.obs)
    known = extent(design, source)
    check_gene_count(design.corpus.genes, known.all_genes)
    return known, left_out(design, source.obs)


def main(arguments: list[str] | None = None) -> int:
    """Command line of ``python -m helpers.design``; exit code 2 for a design that cannot be carried out."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers.design", description="Print the runs of a design; run nothing."
    )
    parser.add_argument("design", help="design file, e.g. params/demo.yaml")
    parser.add_argument("--runs", action="store_true", help="also list every run id")
    parser.add_argument(
        "--estimate", action="store_true", help="time, disk and memory by stage, and how they are known"
    )
    parser.add_argument("--cells", type=_number, help="with --estimate: cells of another corpus to learn from")
    parser.add_argument("--genes", type=_number, help="with --estimate: genes of another corpus")
    parser.add_argument("--judged", type=_number, help=f"with --estimate: cells of each missing set ({ASSUMED:,})")
    options = parser.parse_args(arguments)
    given = [key for key in ("cells", "genes", "judged") if getattr(options, key) is not None]
    if given and not options.estimate:
        parser.error(f"--{given[0]} goes with --estimate")
    try:
        design = load_design(options.design)
        incomplete = options.estimate and any(not project_path(one.path).is_file() for one in design.files.values())
        if design.corpus.source == "census" and options.cells and options.genes:
            known, remarks = _untouched(design, options.cells, options.genes, options.judged or ASSUMED)
        else:
            known, remarks = _at_hand(design, options.judged or ASSUMED) if incomplete else _checked(design)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    known = _resized(known, options.cells, options.genes, design)
    text = estimate(design, known) if options.estimate else describe(design, known, os.cpu_count() or 1)
    sys.stdout.write("\n".join([text, *remarks]) + "\n")
    if options.runs:
        sys.stdout.write("\n".join(["", *(run.id for run in design.runs())]) + "\n")
    return 0


def _number(text: str) -> int:
    """A whole number above 0; underscores and commas may stand in it."""
    try:
        value = int(text.replace(",", ""))
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a whole number, 1 or more, is needed")
    return value
