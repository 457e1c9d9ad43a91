"""What a design will cost, before anything runs: its runs, their time on one core, and the disk they fill."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from helpers.design import UNTRAINED, Design, Run, load_design, n_cells
from helpers.design_evaluations import TASKS


@dataclass(frozen=True)
class Cost:
    """Cost of a family: cell-views per second on one core at 2,000 genes, seconds to start a stage,
    megabytes per model.
    """

    views_per_second: float
    startup: float
    megabytes: float


# Measured on one core of a 2.3 GHz Xeon with demo presets: 20_pretrain after `make demo DESIGN=params/families.yaml`.
COSTS = {
    "pca": Cost(12_000, 2, 2),
    "scvi": Cost(5_500, 2, 7),
    "ssl": Cost(7_000, 2, 3),
    "geneformer": Cost(1_100, 2, 1),
    "scimilarity": Cost(4_200, 2, 5),
}
OTHER = Cost(1_000, 5, 20)
EVALUATION_SECONDS = {  # of one model on the embedded evaluation sets, a head for each number of cells that teach
    "classification": 1.0,
    "finetuning": 2.5,
    "integration": 1.7,
    "perturbation": 1.0,
    "heldout_loss": 0.4,
}
AXES_SECONDS = 0.035  # of one head on one draw and one held-out context, along the axes of the response
NOTEBOOK_SECONDS = 4.0  # start and figures: drawing, embedding and each evaluation are notebooks of their own
OTHER_MINUTES = 1.5  # stages that are run once
CORPUS_MEGABYTES = 130


def stage_seconds(design: Design, n_corpus: int, family: str, strategy: str) -> float:
    """Estimated seconds on one core to train all models of one family and strategy."""
    name = design.families[family].family
    cost = COSTS.get(name, OTHER)
    total = cost.startup
    budget = design.budget_of(family)
    for size in design.sizes(strategy):
        cells = n_cells(size, n_corpus)
        one_pass = name == "pca"  # closed form: each cell is seen once, whatever the budget
        views = cells if one_pass else budget.amount * (cells if budget.kind == "epochs" else 1)
        total += len(design.seeds_of(size)) * (0 if strategy == UNTRAINED else views / cost.views_per_second)
    return total


def judging_seconds(design: Design, task: str, runs: Sequence[Run]) -> float:
    """Estimated seconds on one core to judge those of `runs` that an evaluation is for; selected slow parts come on
    top.
    """
    n = sum(design.judges(task, run) for run in runs)
    heads = 1 + len(design.evaluations.finetuning.few_shot) if task == "finetuning" else 1
    return n * heads * EVALUATION_SECONDS[task]


def axes_seconds(design: Design) -> float:
    """Estimated seconds on one core to teach and judge along the axes of the response, if they are asked for; contexts
    that are held out in turn count once if the design does not name them.
    """
    if (axes := design.evaluations.response_axes) is None:
        return 0.0
    own = design.perturbation.held_out.values() if design.evaluations.perturbation.control else ()
    contexts = [len(values) for where in own for values in where.values()]
    contexts += [max(1, len(entry.held_out)) for entry in design.external.values() if entry.context]
    draws = axes.repeats * (len(axes.treated) + len(axes.contexts))
    heads = 2 + sum(map(axes.runs.holds, design.runs()))  # own_pca and the mean come on top
    return heads * draws * sum(contexts) * AXES_SECONDS


def describe(design: Design, n_corpus: int, cores: int) -> str:
    """The runs of a design as a table in text, with estimated time and disk."""
    rows = []
    for family, width, strategy in design.chunks():
        runs, cost = design.select(family, width, strategy), COSTS.get(design.families[family].family, OTHER)
        sizes = [n_cells(size, n_corpus) for size in design.sizes(strategy)]
        tasks = list(filter(design.evaluates, TASKS.values()))
        judged = (2 + len(tasks)) * NOTEBOOK_SECONDS + sum(judging_seconds(design, task, runs) for task in tasks)
        minutes = (stage_seconds(design, n_corpus, family, strategy) + judged) / 60
        row = {"family": family, "width": f"{width:g}", "strategy": strategy, "sizes": len(sizes)}
        row |= {"cells": f"{sizes[0]:,} to {sizes[-1]:,}", "seeds": len(runs) // len(sizes), "runs": len(runs)}
        rows.append(row | {"core-minutes": minutes, "MB": len(runs) * cost.megabytes})
    table = pd.DataFrame(rows)
    total = table["core-minutes"].sum() + axes_seconds(design) / 60 + OTHER_MINUTES
    gigabytes = (table["MB"].sum() + CORPUS_MEGABYTES) / 1000
    budget = f"{design.budget.amount:,} {design.budget.kind.replace('_', '-')} per model"
    return "\n".join(
        [
            f"Design {design.name}: a corpus of {n_corpus:,} cells, {budget}, {len(design.runs())} runs",
            table.to_string(index=False, float_format="{:.1f}".format),
            f"About {total / cores:.0f} min on {cores} cores and {gigabytes:.1f} GB on disk (rates measured on one "
            "2.3 GHz core; yours may differ by a factor of two).",
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """Command line of ``python -m helpers.design``; exit code 2 for a design that cannot be carried out."""
    from helpers.corpus import read_source
    from helpers.split import check_cells, check_gene_count, left_out

    parser = argparse.ArgumentParser(
        prog="python -m helpers.design", description="Print the runs of a design; run nothing."
    )
    parser.add_argument("design", help="design file, e.g. params/demo.yaml")
    parser.add_argument("--runs", action="store_true", help="also list every run id")
    options = parser.parse_args(arguments)
    try:
        design = load_design(options.design)
        cells = read_source(design)
        n_corpus = check_cells(design, cells)
        check_gene_count(design.corpus.genes, cells.n_vars)
        remarks = left_out(design, cells.obs)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write("\n".join([describe(design, n_corpus, os.cpu_count() or 1), *remarks]) + "\n")
    if options.runs:
        sys.stdout.write("\n".join(["", *(run.id for run in design.runs())]) + "\n")
    return 0
