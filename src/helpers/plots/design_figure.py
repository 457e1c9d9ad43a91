"""The design of a study as a picture: corpus, samplings, families, evaluations, and how many there are of each."""

import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from helpers.design import NO_STRATEGY, UNTRAINED, Design
from helpers.plots import looks, style
from helpers.plots.style import figure
from helpers.reading import between
from helpers.words import counted

ONE = {"samplings": "sampling", "families": "family", "evaluations": "evaluation"}
COUNTED = {  # what is counted, of one and, where that is not an s more, of many
    "cells": "cell",
    "cells drawn at most": "cell drawn at most/cells drawn at most",
    "corpora": "corpus/corpora",
    "models": "model",
    "evaluations": "evaluation",
}
MOST = 6  # samplings in boxes of their own; of more those of one strategy are taken together
WRAP, LINE, GAP = 27, 0.125, 0.22  # characters in a box, inches of a line and between boxes


def design_counts(design: Design, results: pd.DataFrame) -> pd.DataFrame:
    """What a design has and how much of it: stage, part, number, counts (of what), detail; a row for each box."""
    runs = results[(results["strategy"] != NO_STRATEGY) & results["task"].notna()]
    trained = runs[runs["percentage"] > 0]
    # Only a subset of 100 % tells how many cells the corpus has.
    told = "cells" if (trained["percentage"] == 100).any() else "cells drawn at most"
    rows = [("corpus", "cells to learn from", trained["n_unique"].max(), told, f"source: {design.corpus.source}")]
    many = trained["sampling"].nunique() > MOST
    kind = "strategy" if many else "sampling"
    names = dict(zip(trained["sampling"], trained[kind], strict=True))
    for name in dict.fromkeys(names[sampling] for sampling in looks.ordered(names, "samplings")):
        part = trained[trained[kind] == name]
        n = part.drop_duplicates(["sampling", "percentage", "subset_seed"])
        sizes = counted(n["percentage"].nunique(), "size")
        seeds = counted(n.groupby(["sampling", "percentage"]).size(), "seed")
        told = f"{sizes} × {seeds}, {between(part['n_cells'], ',.0f')} cells"
        ways = part["sampling"].nunique()
        name = part["sampling"].iloc[0] if ways == 1 else name
        rows.append(("samplings", name, len(n), "corpora", f"{f'{ways} ways, ' if ways > 1 else ''}{told}"))
    for name in looks.ordered(runs["family"], "families"):
        part = runs[runs["family"] == name]
        of_family = part.drop_duplicates("run_id")
        untrained = int((of_family["strategy"] == UNTRAINED).sum())
        size = of_family["n_parameters"].dropna()
        told = counted(size, "parameter") if len(size) else "parameters not known"
        told = f"{untrained} of them untrained; {told}" if untrained else told
        rows.append(("families", name, len(of_family), "models", told))
    for name, part in runs.groupby("task", sort=False):
        n = len(part.drop_duplicates(["run_id", "dataset"]))
        of_sets = part.drop_duplicates("dataset")
        what = "condition" if name == "perturbation" else "test cell"
        told = f"{counted(len(of_sets), 'set')}, {counted(of_sets['n_test'].sum(), what)}"
        rows.append(("evaluations", name, n, "evaluations", told))
    return pd.DataFrame(rows, columns=["stage", "part", "number", "counts", "detail"])


@figure
def design_schematic(counts: pd.DataFrame) -> Figure:
    """Columns of boxes from the corpus to the evaluations, with the numbers of `design_counts`."""
    stages = {name: list(part.itertuples()) for name, part in counts.groupby("stage", sort=False)}
    texts = {name: [_text(name, row) for row in rows] for name, rows in stages.items()}
    heights = {name: [LINE * (text.count("\n") + 1.6) for text in of_stage] for name, of_stage in texts.items()}
    tall = max(sum(of_stage) + GAP / 2 * (len(of_stage) - 1) for of_stage in heights.values())
    fig, axes = _in_inches(tall + 0.75)
    width, places = 1.48, [0.0, 1.907, 3.814, 5.72]
    middle, before = tall / 2, []
    for x, (name, of_stage) in zip(places, texts.items(), strict=True):
        told = name if name == "corpus" else f"{len(stages[name])} {name if len(stages[name]) > 1 else ONE[name]}"
        axes.text(x + width / 2, tall + 0.22, told, ha="center", weight="bold", size=8)
        y, centres = middle + (sum(heights[name]) + GAP / 2 * (len(of_stage) - 1)) / 2, []
        for text, height, row in zip(of_stage, heights[name], stages[name], strict=True):
            y -= height
            _box(axes, (x, y, width, height), text, _colour(name, row))
            centres.append(y + height / 2)
            y -= GAP / 2
        for start in before:
            for end in centres:
                axes.annotate("", (x, end), (x - (places[1] - width), start), arrowprops=_ARROW)
        before = centres
    models = int(counts.loc[counts["stage"] == "families", "number"].sum())
    scored = int(counts.loc[counts["stage"] == "evaluations", "number"].sum())
    told = (
        f"every sampling teaches every family, every model is judged by its evaluations: {counted(models, 'model')}, "
    )
    axes.text(3.6, -0.18, f"{told}{counted(scored, 'evaluation')} on its sets", ha="center", va="top", size=7)
    return fig


_ARROW = {"arrowstyle": "-", "color": "#BDBDBD", "lw": 0.6, "shrinkA": 1, "shrinkB": 1}


def _in_inches(height: float) -> tuple[Figure, Axes]:
    """A figure of a page's full width whose one panel is measured in inches, without axes."""
    fig = Figure(figsize=(style.FULL, height))
    axes = fig.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-0.01, style.FULL + 0.01), ylim=(-0.35, height - 0.35))
    axes.axis("off")
    return fig, axes


def _text(stage: str, row: object) -> str:
    names = {"samplings": style.sampling_name, "families": style.family_name, "evaluations": style.task_name}
    name = names.get(stage, str)(row.part)
    lines = textwrap.wrap(name, WRAP), textwrap.wrap(counted(row.number, COUNTED[row.counts]), WRAP)
    return "\n".join([*lines[0], *lines[1], *textwrap.wrap(row.detail, WRAP)])


def _colour(stage: str, row: object) -> str:
    if stage == "families":
        return looks.family_colour(row.part)
    one_way = stage == "samplings" and " ways, " not in row.detail
    return looks.sampling_colour(row.part) if one_way else style.GREY


def _box(axes: Axes, place: tuple[float, float, float, float], text: str, colour: str) -> None:
    x, y, width, height = place
    shape = FancyBboxPatch((x + 0.02, y), width - 0.04, height, boxstyle="round,pad=0,rounding_size=0.06")
    shape.set(facecolor="white", edgecolor=colour, linewidth=1.2)
    axes.add_patch(shape)
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", size=6, linespacing=1.15)
