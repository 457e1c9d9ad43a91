"""The figures of the study: size curves, responses, held-out loss; drawn from the tidy results alone."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.analysis.saturation import size_samplings
from helpers.plots import style
from helpers.plots.drawn_rows import counted
from helpers.plots.style import figure
from helpers.reading import between


def draw_runs(axes: Axes, part: pd.DataFrame, families: list[str], samplings: list[str]) -> None:
    """Seeds as dots, their mean as a line, for each family and sampling with trained runs."""
    for (family, sampling), runs in part.groupby(["family", "sampling"], sort=False):
        marker, line = style.strategy_marker(runs["strategy"].iloc[0])
        colour = style.curve_colour(family, sampling, families, samplings)
        axes.plot(runs["n_cells"], runs["value"], marker, color=colour, ms=2.5, alpha=0.55, mew=0)
        means = runs.groupby("n_cells")["value"].mean()
        told = style.curve_name(family, sampling, runs["width"].iloc[0] if "width" in runs else 1.0)
        axes.plot(means.index, means, ls=line, marker=marker, ms=3.2, color=colour, label=told)


def trained_of(results: pd.DataFrame) -> pd.DataFrame:
    """Rows of trained models."""
    return results[(results["percentage"] > 0) & (results["strategy"] != "none")]


def at_one_width(results: pd.DataFrame) -> pd.DataFrame:
    """The results of each family at width 1, or at its largest if it has no such; all of what has no width."""
    widths = results.groupby("family")["width"].agg(lambda values: 1.0 if (values == 1).any() else values.max())
    return results[results["width"].isna() | (results["width"] == results["family"].map(widths))]


def _over_sizes(results: pd.DataFrame) -> tuple[list[str], pd.DataFrame]:
    """Samplings with a curve over sizes, and their trained runs."""
    samplings = size_samplings(results)
    return samplings, trained_of(results)[lambda rows: rows["sampling"].isin(samplings)]


def sizes_of(trained: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Cells and percentages of the sizes, ascending."""
    sizes = trained.drop_duplicates("percentage").sort_values("percentage")
    return sizes["n_cells"].to_numpy(), sizes["percentage"].to_numpy()


def told_seeds(trained: pd.DataFrame) -> str:
    """Seeds and sizes of what dots and lines show, for a legend's title."""
    return f"{_each(trained)} of each size (dots), mean (line); {_reach(trained)}"


def _each(runs: pd.DataFrame) -> str:
    """How many seeds the subsets of one size have, each size its own, in words."""
    return counted(runs.groupby(["sampling", "percentage"])["subset_seed"].nunique(), "seed")


def _reach(runs: pd.DataFrame, also: str = "") -> str:
    n = runs["n_cells"].nunique()
    sizes = f"{n} sizes, " if n > 1 else ""
    shared = style.shared(runs.loc[runs["percentage"] >= 50, "sampling"])
    return f"{sizes}{between(runs['n_cells'], ',.0f')} cells: of more nothing is known{also}{shared}"


@figure
def size_curves(
    results: pd.DataFrame,
    *,
    task: str,
    metric: str,
    title: str,
    n_test: pd.Series,
    ylim: tuple[float, float] | None = (0, 1.02),
) -> Figure:
    """Score of a task against corpus size, a panel per set; untrained models, baselines, null and ceiling as horizontal
    lines.

    `n_test` holds the number of test cells of each set, by its name.
    """
    scores = results[(results["task"] == task) & (results["metric"] == metric)]
    names, samplings, trained = list(dict.fromkeys(scores["dataset"])), *_over_sizes(scores)
    families = list(dict.fromkeys(trained["family"]))
    fig, panels = style.grid(len(names), height=1.85, sharey=True)
    for axes, name in zip(panels, names, strict=True):
        part = scores[scores["dataset"] == name]
        draw_runs(axes, trained[trained["dataset"] == name], families, samplings)
        _draw_untrained(axes, part, families, samplings)
        for baseline, line in style.BASELINE_LINES.items():
            value = part.loc[part["family"] == baseline, "value"]
            if len(value):
                axes.axhline(value.iloc[0], color=style.GREY, lw=0.9, ls=line, label=style.BASELINE_NAMES[baseline])
        for limit, line in style.LIMIT_LINES.items():
            if len(known := part[limit].dropna()):
                label = style.LIMIT_NAMES[limit].get(task, limit)
                axes.axhline(known.iloc[0], color=style.GREY, lw=0.9, ls=line, label=label)
        style.size_axis(axes, *sizes_of(trained))
        axes.set_title(f"{name} (n = {n_test[name]:,})\n{part['seen'].iloc[0]}", pad=4)
    _label_panels(panels, ylabel=title)
    panels[0].set_ylim(ylim)
    style.shared_legend(fig, panels, ncols=4, title=told_seeds(trained))
    return fig


def _label_panels(panels: list[Axes], *, ylabel: str, xlabel: str = "cells in the corpus") -> None:
    """Label the first panel of each row of a grid, and the last of each column."""
    for axes in panels:
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel("\n".join(textwrap.wrap(ylabel, 24)))
    for axes in style.lowest(panels):
        axes.set_xlabel(xlabel)


def _draw_untrained(axes: Axes, part: pd.DataFrame, families: list[str], samplings: list[str]) -> None:
    """Mean of the untrained models of each family as a horizontal line."""
    for family in families:
        floor = part.loc[(part["family"] == family) & (part["strategy"] == "untrained"), "value"]
        if len(floor):
            colour = style.curve_colour(family, samplings[0], families, samplings[:1])
            label = f"{style.FAMILY_NAMES.get(family, family)}, untrained"
            axes.axhline(floor.mean(), color=colour, lw=0.9, ls=(0, (1, 2)), label=label)


RESPONSES = {
    "calibrated_delta_r": "delta r",
    "calibrated_specific_r": "context-specific r",
    "calibrated_de_overlap": "DE overlap",
}


@figure
def responses(results: pd.DataFrame) -> Figure:
    """Calibrated scores of predicted responses against corpus size: metrics of `RESPONSES` in rows, held-out contexts
    in columns, with the number of conditions averaged; untrained models, null (0) and ceiling (1) as horizontal lines.
    """
    names, samplings, trained = list(dict.fromkeys(results["dataset"])), *_over_sizes(results)
    families = list(dict.fromkeys(trained["family"]))
    size = (style.FULL if len(names) > 1 else style.COLUMN, 1.45 * len(RESPONSES) + 0.7)
    fig, panels = plt.subplots(len(RESPONSES), len(names), figsize=size, sharey="row", squeeze=False)
    for row, (metric, title) in zip(panels, RESPONSES.items(), strict=True):
        for axes, name in zip(row, names, strict=True):
            part = results[(results["dataset"] == name) & (results["metric"] == metric)]
            draw_runs(axes, trained.loc[trained.index.intersection(part.index)], families, samplings)
            _draw_untrained(axes, part, families, samplings)
            for level, (limit, line) in enumerate(style.LIMIT_LINES.items()):
                label = f"{'strongest null' if limit == 'null' else limit} ({level})"
                axes.axhline(level, color=style.GREY, lw=0.9, ls=line, label=label)
            style.size_axis(axes, *sizes_of(trained), name_percentages=axes in panels[0])
            if axes in panels[0]:
                n = int(results.loc[results["dataset"] == name, "n_conditions"].max())
                axes.set_title(f"{name} ({n} condition{'s' * (n > 1)})")
        row[0].set_ylabel(f"{title}\n(calibrated)")
    for axes in panels[-1]:
        axes.set_xlabel("cells in the corpus")
    style.shared_legend(fig, panels.flat, ncols=4, title=told_seeds(trained))
    return fig


@figure
def heldout_loss(results: pd.DataFrame, *, units: dict[str, str], n_test: pd.Series) -> Figure:
    """Held-out loss against corpus size: families in rows, never compared across, and evaluation sets in columns.

    `n_test` holds the number of test cells of each evaluation set, by its name.
    """
    scores = results[results["metric"] == "heldout_loss"]
    names, samplings, trained = list(dict.fromkeys(scores["dataset"])), *_over_sizes(scores)
    families = list(dict.fromkeys(trained["family"]))
    size = (style.FULL if len(names) > 1 else style.COLUMN, 1.35 * len(families) + 0.8)
    fig, panels = plt.subplots(len(families), len(names), figsize=size, squeeze=False)
    for row, family in enumerate(families):
        for axes, name in zip(panels[row], names, strict=True):
            part = trained[(trained["dataset"] == name) & (trained["family"] == family)]
            draw_runs(axes, part, families, samplings)
            for level in part["null"].iloc[:1]:  # none if the family was not judged on the set
                axes.axhline(level, color=style.GREY, lw=0.9, ls=":", label="null of gene means")
            for level in part["ceiling"].iloc[:1]:
                axes.axhline(level, color=style.GREY, lw=0.9, label="count-split reference")
            style.size_axis(axes, *sizes_of(trained), name_percentages=row == 0)
            if row == 0:
                seen = scores.loc[scores["dataset"] == name, "seen"].iloc[0]
                axes.set_title(f"{name} (n = {n_test[name]:,})\n{seen}", pad=4)
            if row == len(families) - 1:
                axes.set_xlabel("cells in the corpus")
        unit = "\n".join(textwrap.wrap(units[family], 20))
        panels[row][0].set_ylabel(f"{style.FAMILY_NAMES.get(family, family)}\n{unit}", size=style.SMALLEST)
    style.shared_legend(fig, panels.flat, ncols=4, title=told_seeds(trained))
    return fig


@figure
def loss_against_metric(pairs: pd.DataFrame, *, dataset: str, metric_name: str, units: dict[str, str]) -> Figure:
    """Downstream score against held-out loss of the same run on the same set, a panel per family; colour is corpus
    size.

    `pairs` has one row per run with family, strategy, sampling, subset_seed, n_cells, score, loss.
    """
    families = list(dict.fromkeys(pairs["family"]))
    fig, panels = style.grid(len(families), height=2.2, sharey=True)
    for axes, family in zip(panels, families, strict=True):
        for sampling, part in pairs[pairs["family"] == family].groupby("sampling", sort=False):
            marker = style.strategy_marker(part["strategy"].iloc[0])[0]
            norm = plt.matplotlib.colors.LogNorm(pairs["n_cells"].min(), pairs["n_cells"].max())
            colours = dict(c=part["n_cells"], cmap="viridis_r", norm=norm)
            dots = axes.scatter(part["loss"], part["score"], s=16, marker=marker, lw=0, **colours)
            axes.scatter([], [], s=16, marker=marker, lw=0, color=style.GREY, label=style.sampling_name(sampling))
        axes.invert_xaxis()
        unit = "\n".join(
            textwrap.wrap(f"({units[family]}; better\N{NO-BREAK SPACE}→)", 60 if len(families) < 3 else 38)
        )
        axes.set(title=style.FAMILY_NAMES.get(family, family), xlabel=f"held-out loss on {dataset}\n{unit}")
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel(f"{metric_name} on {dataset}")
    n = counted(pairs.groupby("family").size(), "run")
    told = f"n = {n} a panel (dots), {_each(pairs)} of each size; {_reach(pairs, ', nor of lower losses')}"
    style.shared_legend(fig, panels, ncols=4, title=told)
    bar = fig.colorbar(dots, ax=panels, shrink=0.8)
    bar.set_label("cells in the corpus")
    style.log_ticks(bar.ax.yaxis, pairs["n_cells"].min(), pairs["n_cells"].max())
    return fig


@figure
def few_shot(scores: pd.DataFrame, *, n_test: pd.Series) -> Figure:
    """Macro F1 of a taught head against the cells of each type that taught it, a panel per set: means over seeds.

    `scores` has rows of fine-tuning whose metric is ``macro_f1`` or ``macro_f1_at_…``, of untrained models, of those of
    the smallest and of the largest size of random cells, and null and ceiling. `n_test` as in `size_curves`.
    """
    shots = scores["metric"].str.extract(r"_at_(\d+)$")[0].fillna("all")
    order = [*sorted(set(shots) - {"all"}, key=int), *(["all"] if "all" in set(shots) else [])]
    scores = scores.assign(shot=shots.map(order.index))
    names, families = list(dict.fromkeys(scores["dataset"])), list(dict.fromkeys(scores["family"]))
    sizes = sorted(set(scores["percentage"]))
    lines = dict(zip(sizes[::-1], ("-", "--", (0, (1, 2))), strict=False))
    fig, panels = style.grid(len(names), height=1.85, sharey=True)
    for axes, name in zip(panels, names, strict=True):
        part = scores[scores["dataset"] == name]
        for (family, size), runs in part.groupby(["family", "percentage"], sort=False):
            means, colour = runs.groupby("shot")["value"].mean(), style.family_colour(family, families)
            told = f"{style.FAMILY_NAMES.get(family, family)}, {f'{size:g} %' if size else 'untrained'}"
            looks = {"color": colour, "ls": lines[size], "label": told, "mfc": colour if size else "white"}
            axes.plot(means.index, means, marker="o", ms=3, **looks)
        for limit, line in style.LIMIT_LINES.items():
            known = part.groupby("shot")[limit].median().dropna()
            label = style.LIMIT_NAMES[limit]["finetuning"]
            axes.plot(known.index, known, color=style.GREY, lw=0.9, ls=line, label=label)
        axes.set_xticks(range(len(order)), order)
        axes.set_title(f"{name} (n = {n_test[name]:,})\n{part['seen'].iloc[0]}")
    _label_panels(panels, ylabel="macro F1 (head)", xlabel="cells of each type that teach")
    trained = scores[scores["percentage"] > 0]
    style.shared_legend(fig, panels, ncols=4, title=f"means of {_each(trained)}; {_reach(trained)}")
    return fig
