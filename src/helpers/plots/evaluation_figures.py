"""Figures of the notebooks that judge models."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.design import Run
from helpers.plots.layout import shared_legend
from helpers.plots.looks import COLOURS, family_colour, sequential
from helpers.plots.style import GREY, LIMIT_LINES, figure, metric_name


@figure
def type_scores(scores: pd.DataFrame, *, title: str) -> Figure:
    """F1 of every scored type; open dots are types with too few cells for the headline macro F1."""
    names = list(dict.fromkeys(scores["dataset"]))
    fig, panels = plt.subplots(1, len(names), figsize=(2.6 * len(names), 3.2), squeeze=False)
    for axes, name in zip(panels[0], names, strict=True):
        part = scores[scores["dataset"] == name].sort_values("n")
        axes.hlines(part["label"], 0, part["f1"], color="#BBBBBB", lw=1)
        axes.scatter(
            part["f1"],
            part["label"],
            s=16,
            facecolors=np.where(part["headline"], GREY, "white"),
            edgecolors=GREY,
        )
        axes.set(xlim=(-0.03, 1.05), title=name, xlabel="F1 on the test half")
        axes.tick_params(axis="y", labelsize=6.5)
    fig.suptitle(f"{title}: F1 per cell type (open: under 20 cells, not in macro F1)", size=9)
    return fig


@figure
def loss_by_cell(losses: Mapping[Run, pd.DataFrame], *, unit: str) -> Figure:
    """Mean and 10–90 % range over cells of the held-out loss, per size and evaluation set, seed by seed."""
    first = next(iter(losses.values()))
    names = list(dict.fromkeys(first["dataset"]))
    fig, panels = plt.subplots(1, len(names), figsize=(2.3 * len(names), 2.6), squeeze=False)
    sizes = sorted({run.percentage for run in losses})
    for axes, name in zip(panels[0], names, strict=True):
        for run, table in losses.items():
            of_cells = table.loc[table["dataset"] == name, "loss"]
            seeds = sorted(other.seed for other in losses if other.percentage == run.percentage)
            at = sizes.index(run.percentage) + 0.6 * ((seeds.index(run.seed) + 0.5) / len(seeds) - 0.5)
            axes.plot([at, at], of_cells.quantile([0.1, 0.9]), color="#BBBBBB", lw=1.2)
            axes.plot(at, of_cells.mean(), "o", ms=2.5, color=family_colour(run.family))
        controls = first.loc[first["dataset"] == name, ["null", "reference"]].mean()
        axes.axhline(controls["null"], color=GREY, ls=":", lw=1)
        axes.axhline(controls["reference"], color=GREY, ls="-", lw=1)
        axes.set(title=f"{name} (n = {(first['dataset'] == name).sum():,})", xlabel="size, % of the corpus")
        axes.set_xticks(range(len(sizes)), [f"{size:g}" for size in sizes], rotation=45)
    panels[0][0].set_ylabel(f"loss of a cell\n({unit})")
    fig.suptitle("Mean and 10–90 % of cells; dotted: null of gene means, solid: count-split reference (means)", size=8)
    return fig


@figure
def scores_by_size(scores: pd.DataFrame, *, metrics: Sequence[str], unit: str) -> Figure:
    """Scores of runs by size, seeds as dots, their mean as a line; a panel per metric, a colour per set.

    `scores` has run (a size in per cent, or a baseline's name), dataset, metric, value, and null and ceiling where they
    are known: lines in the set's colour, grey where all sets share one.
    """
    order = list(dict.fromkeys(scores["run"]))
    names = list(dict.fromkeys(scores["dataset"]))
    fig, panels = plt.subplots(1, len(metrics), figsize=(2.3 * len(metrics), 2.6), sharey=True, squeeze=False)
    for axes, metric in zip(panels[0], metrics, strict=True):
        for name, colour in zip(names, cycle(COLOURS)):
            part = scores[(scores["metric"] == metric) & (scores["dataset"] == name)]
            means = part.groupby("run", sort=False)["value"].mean().reindex(order)
            axes.plot(
                [order.index(run) for run in part["run"]], part["value"], "o", ms=2.5, mew=0, alpha=0.5, color=colour
            )
            line = "-o" if isinstance(order[-1], float) else "o"  # baselines have no order
            axes.plot(range(len(order)), means, line, ms=3.5, color=colour, label=name)
        _limits(axes, scores[scores["metric"] == metric], dict(zip(names, cycle(COLOURS), strict=False)))
        axes.set(title=metric_name(metric))
        sized = [f"{run:g} %" if isinstance(run, float) else run for run in order]
        axes.set_xticks(range(len(order)), sized, rotation=45, ha="right", rotation_mode="anchor")
    panels[0][0].set_ylabel(unit)
    shared_legend(fig, panels[0][:1], ncols=min(len(names) + 2, 6))
    return fig


def _limits(axes: Axes, scores: pd.DataFrame, colours: Mapping[str, str]) -> None:
    """Null and ceiling of each set as horizontal lines, and what they are for the legend."""
    for limit in scores.columns.intersection(list(LIMIT_LINES)):
        known = scores.groupby("dataset")[limit].median().dropna()
        if known.empty:
            continue
        line = {"lw": 0.8, "ls": LIMIT_LINES[limit]}
        shared = known.eq(known.iloc[0]).all()
        for name, value in (known.iloc[:1] if shared else known).items():
            axes.axhline(value, color=GREY if shared else colours[name], zorder=0, **line)
        axes.plot([], [], color=GREY, label=limit, **line)


@figure
def few_shot_curves(scores: pd.DataFrame) -> Figure:
    """Macro F1 against the number of cells of each type that teach a head, mean over seeds; a panel per set.

    `scores` has run (a size in per cent, or a baseline's name), dataset, metric, value, and null and ceiling, drawn in
    grey, where they are known; dashed: encoder trained too.
    """
    found = scores["metric"].str.extract(r"^(full_)?macro_f1(?:_at_(\d+))?$", expand=True)
    part = scores.assign(full=found[0].notna(), shot=found[1].fillna("all"))[scores["metric"].str.contains("macro_f1")]
    shots = [*sorted(set(part["shot"]) - {"all"}, key=int), "all"]
    order, names = list(dict.fromkeys(part["run"])), list(dict.fromkeys(part["dataset"]))
    fig, panels = plt.subplots(1, len(names), figsize=(2.3 * len(names), 2.6), sharey=True, squeeze=False)
    for axes, name in zip(panels[0], names, strict=True):
        for run, colour in zip(order, sequential(len(order)), strict=True):
            for full, line in ((False, "-"), (True, "--")):
                chosen = part[(part["dataset"] == name) & (part["run"] == run) & (part["full"] == full)]
                means = chosen.groupby("shot")["value"].mean().reindex(shots)
                label = f"{run:g} %" if isinstance(run, float) else run
                axes.plot(shots, means, f"{line}o", ms=3, color=colour, label=None if full else label)
        for limit in part.columns.intersection(list(LIMIT_LINES)):
            known = part[part["dataset"] == name].groupby("shot")[limit].median().reindex(shots)
            label = {"null": "(majority class)", "ceiling": "(logistic regression)"}[limit]
            axes.plot(shots, known, color=GREY, lw=0.9, ls=LIMIT_LINES[limit], label=label)
        axes.set(title=name, xlabel="cells of each type")
    panels[0][0].set_ylabel("macro F1")
    panels[0][-1].legend(title="pretrained on", loc="center left", bbox_to_anchor=(1, 0.5))
    return fig
