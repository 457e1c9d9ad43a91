"""Figures of the study's own tables: saturation and verdicts in the study's form, and the curves behind them."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from helpers.plots import layout, looks, style
from helpers.plots.style import figure
from helpers.words import counted

VERDICT_TEXTS = {"no scaling": "none", "saturated": "sat.", "power law": "law", "not identifiable": "?"}
BASELINE_LINES = style.BASELINE_LINES | {"no_change": (0, (4, 1, 1, 1))}
BASELINE_NAMES = style.BASELINE_NAMES | {"no_change": "no change"}
NAMED = (1, 10, 100)  # percentages whose ticks have room for a label


def about(trained: pd.DataFrame) -> str:
    """Seeds and range of trained runs, and what they cannot tell, in two lines."""
    seeds = trained.groupby(["family", "strategy", "dataset", "percentage"])["subset_seed"].nunique()
    low, high = trained["n_cells"].min() / 1e6, trained["n_cells"].max() / 1e6
    return (
        f"{counted(seeds, 'seed')} of each size, {low:.2g} to {high:.2g} million cells; "
        "the tables tell no number of test cells.\n"
        "Seeds of 100 % share all cells and those of 50 and 75 % many: their spread is a lower bound. "
        "Nothing here tells of more cells."
    )


@figure
def saturation_grid(points: pd.DataFrame, *, title: str) -> Figure:
    """Saturation points in per cent of the corpus: a panel per task and family, strategies × evaluation sets.

    Where `points` has `low` and `high`, the interval stands under the point.
    """
    shades = mpl.colormaps["cividis"](np.log10(points["percentage"].clip(1, 100)) / 2)
    texts = points["percentage"].map("{:g}".format).replace("nan", "–")
    if "low" in points:
        intervals = points["low"].map("\n{:g}".format) + points["high"].map("–{:g}".format)
        texts = texts + intervals.where(points["low"].notna(), "")
    colours = [tuple(shade[:3]) for shade in np.where(points[["percentage"]].isna(), 1.0, shades)]
    return _grid(points.assign(text=texts, colour=colours), title)


@figure
def verdict_grid(fits: pd.DataFrame, *, title: str) -> Figure:
    """Verdicts about scale, a panel per task and family, strategies × evaluation sets."""
    colours = fits["verdict"].map(style.VERDICT_COLOURS).map(to_rgb)
    fig = _grid(fits.assign(text=fits["verdict"].map(VERDICT_TEXTS), colour=colours), title)
    handles = [
        plt.Rectangle((0, 0), 1, 1, fc=colour, ec=style.GREY, lw=0.5) for colour in style.VERDICT_COLOURS.values()
    ]
    names = [f"{VERDICT_TEXTS[name]}: {name}" for name in style.VERDICT_COLOURS]
    fig.legend(handles, names, loc="outside lower center")
    return fig


def _grid(cells: pd.DataFrame, title: str) -> Figure:
    """`cells` has family, strategy, task, dataset, and the text and RGB colour of each cell."""
    tasks, families = list(dict.fromkeys(cells["task"])), looks.ordered(cells["family"], "families")
    rows = {task: looks.ordered(cells.loc[cells["task"] == task, "strategy"], "samplings") for task in tasks}
    fig, panels = plt.subplots(
        len(tasks),
        len(families),
        figsize=(1.5 + 2.15 * len(families), 1.1 + sum(1.1 + 0.34 * len(names) for names in rows.values())),
        height_ratios=[0.3 + 0.34 * len(names) for names in rows.values()],
        squeeze=False,
    )
    for line, task in zip(panels, tasks, strict=True):
        sets = list(dict.fromkeys(cells.loc[cells["task"] == task, "dataset"]))
        for axes, family in zip(line, families, strict=True):
            part = cells[(cells["task"] == task) & (cells["family"] == family)]
            _draw_cells(axes, part, rows[task], sets)
            axes.set_title(style.family_name(family) if task == tasks[0] else "")
            axes.set_yticks(
                range(len(rows[task])), [_strategy(name) for name in rows[task]] if family == families[0] else []
            )
        line[0].set_ylabel(task)
    fig.suptitle(title, fontsize=9)
    return fig


def _draw_cells(axes: Axes, part: pd.DataFrame, strategies: list[str], sets: list[str]) -> None:
    picture = np.ones((len(strategies), len(sets), 3))  # white where there is no curve
    for text, colour, strategy, name in part[["text", "colour", "strategy", "dataset"]].itertuples(index=False):
        row, column = strategies.index(strategy), sets.index(name)
        picture[row, column] = colour
        ink = "black" if np.dot(colour, (0.3, 0.6, 0.1)) > 0.5 else "white"
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=6)
    axes.imshow(picture, aspect="auto")
    axes.set_xticks(range(len(sets)), sets, rotation=90)
    for set_ticks, n in ((axes.set_xticks, len(sets)), (axes.set_yticks, len(strategies))):
        set_ticks(np.arange(0.5, n - 1), minor=True)
    axes.grid(which="minor", color="white", lw=1)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)


@figure
def published_curves(results: pd.DataFrame, *, task: str, metric: str, title: str) -> Figure:
    """Score of a task against corpus size, strategies in rows and evaluation sets in columns, a line per family.

    Untrained models of each family (dotted) and baselines (grey) are horizontal lines.
    """
    scores = results[(results["task"] == task) & (results["metric"] == metric)]
    trained = scores[scores["percentage"] > 0]
    kinds = {"strategy": "samplings", "dataset": "sets", "family": "families"}
    strategies, sets, families = (looks.ordered(trained[column], kind) for column, kind in kinds.items())
    size = (2.2 * len(sets) + 0.4, 1.5 * len(strategies) + 1.5)
    fig, panels = plt.subplots(len(strategies), len(sets), figsize=size, sharex=True, sharey="col", squeeze=False)
    for line, strategy in zip(panels, strategies, strict=True):
        for axes, name in zip(line, sets, strict=True):
            part = scores[scores["dataset"] == name]
            for family in families:
                _draw_family(axes, part[part["family"] == family], strategy, family)
            for baseline, runs in part[part["strategy"] == "none"].groupby("family", sort=False):
                level, known = runs["value"].iloc[0], BASELINE_NAMES.get(baseline, baseline)
                axes.axhline(level, color=style.GREY, lw=0.9, ls=BASELINE_LINES.get(baseline, "-"), label=known)
            axes.set_title(name if strategy == strategies[0] else "")
        line[0].set_ylabel(_strategy(strategy))
    _size_axis(panels[0][0], trained)
    fig.suptitle(title, fontsize=9)
    layout.shared_legend(fig, panels.flat, title=f"Dots: runs, lines: means. {about(trained)}")
    return fig


def _draw_family(axes: Axes, runs: pd.DataFrame, strategy: str, family: str) -> None:
    colour, own = looks.family_colour(family), runs[runs["strategy"] == strategy]
    axes.plot(own["n_cells"], own["value"], "o", color=colour, ms=2.2, alpha=0.5, mew=0)
    means = own.groupby("n_cells")["value"].mean()
    if len(means):
        axes.plot(means.index, means, "o-", color=colour, ms=3.2, label=style.family_name(family))
    untrained = runs.loc[runs["strategy"] == "untrained", "value"]
    if len(untrained):
        axes.axhline(untrained.mean(), color=colour, lw=0.9, ls=(0, (1, 2)))
        axes.plot([], [], color=style.GREY, lw=0.9, ls=(0, (1, 2)), label="the family's untrained models, mean")


def _size_axis(axes: Axes, trained: pd.DataFrame) -> None:
    sizes = trained.drop_duplicates("percentage").set_index("percentage")["n_cells"].sort_index()
    named = [size for size in sizes.index if size in NAMED] or list(sizes.index[[0, -1]])
    axes.set_xscale("log")
    axes.set_xticks(sizes[named], [f"{size:g} %\n{sizes[size] / 1e6:.2g} M" for size in named])
    axes.set_xticks(sizes, [""] * len(sizes), minor=True)


def _strategy(name: str) -> str:
    return style.sampling_name(name)
