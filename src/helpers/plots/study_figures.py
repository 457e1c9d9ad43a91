"""The figures of the study: size curves, responses, held-out loss; drawn from the tidy results alone."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.analysis.saturation import size_samplings
from helpers.plots import style
from helpers.plots.style import figure
from helpers.reading import between


def _draw_runs(axes: Axes, part: pd.DataFrame, families: list[str], samplings: list[str]) -> None:
    """Seeds as dots, their mean as a line, for each family and sampling with trained runs."""
    for (family, sampling), runs in part.groupby(["family", "sampling"], sort=False):
        marker, line = style.strategy_marker(runs["strategy"].iloc[0])
        colour = style.curve_colour(family, sampling, families, samplings)
        axes.plot(runs["n_cells"], runs["value"], marker, color=colour, ms=2.5, alpha=0.55, mew=0)
        means = runs.groupby("n_cells")["value"].mean()
        axes.plot(
            means.index, means, ls=line, marker=marker, ms=4, color=colour, label=style.curve_name(family, sampling)
        )


def _trained(results: pd.DataFrame) -> pd.DataFrame:
    return results[(results["percentage"] > 0) & (results["strategy"] != "none")]


def _over_sizes(results: pd.DataFrame) -> tuple[list[str], pd.DataFrame]:
    """Samplings with a curve over sizes, and their trained runs."""
    samplings = size_samplings(results)
    return samplings, _trained(results)[lambda rows: rows["sampling"].isin(samplings)]


def _sizes(trained: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    sizes = trained.drop_duplicates("percentage").sort_values("percentage")
    return sizes["n_cells"].to_numpy(), sizes["percentage"].to_numpy()


def _seeds(trained: pd.DataFrame) -> str:
    return f"{_each(trained)} seeds of each size (dots), mean (line); {_reach(trained)}"


def _each(runs: pd.DataFrame) -> str:
    """How many seeds the subsets of one size have, each size its own."""
    return between(runs.groupby(["sampling", "percentage"])["subset_seed"].nunique(), "d")


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
    fig, panels = plt.subplots(1, len(names), figsize=(2.35 * len(names), 3.6), sharey=True, squeeze=False)
    for axes, name in zip(panels[0], names, strict=True):
        part = scores[scores["dataset"] == name]
        _draw_runs(axes, trained[trained["dataset"] == name], families, samplings)
        for family in families:
            floor = part.loc[(part["family"] == family) & (part["strategy"] == "untrained"), "value"]
            label = f"{style.FAMILY_NAMES.get(family, family)}, untrained"
            colour = style.curve_colour(family, samplings[0], families, samplings[:1])
            axes.axhline(floor.mean(), color=colour, lw=0.9, ls=(0, (1, 2)), label=label)
        for baseline, line in style.BASELINE_LINES.items():
            value = part.loc[part["family"] == baseline, "value"]
            if len(value):
                axes.axhline(value.iloc[0], color=style.GREY, lw=0.9, ls=line, label=style.BASELINE_NAMES[baseline])
        for limit, line in style.LIMIT_LINES.items():
            if len(known := part[limit].dropna()):
                label = style.LIMIT_NAMES[limit].get(task, limit)
                axes.axhline(known.iloc[0], color=style.GREY, lw=0.9, ls=line, label=label)
        style.size_axis(axes, *_sizes(trained))
        axes.set_xlabel("cells in the corpus")
        axes.set_title(f"{name} (n = {n_test[name]:,})\n{part['seen'].iloc[0]}", pad=4)
    panels[0][0].set(ylabel=title, ylim=ylim)
    style.shared_legend(fig, panels[0][:1], ncols=3, title=_seeds(trained))
    return fig


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
    fig, panels = plt.subplots(
        len(RESPONSES), len(names), figsize=(2.35 * len(names), 1.9 * len(RESPONSES) + 0.7), sharey="row", squeeze=False
    )
    for row, (metric, title) in zip(panels, RESPONSES.items(), strict=True):
        for axes, name in zip(row, names, strict=True):
            part = results[(results["dataset"] == name) & (results["metric"] == metric)]
            _draw_runs(axes, trained.loc[trained.index.intersection(part.index)], families, samplings)
            for family in families:
                floor = part.loc[(part["family"] == family) & (part["strategy"] == "untrained"), "value"]
                colour = style.curve_colour(family, samplings[0], families, samplings[:1])
                label = f"{style.FAMILY_NAMES.get(family, family)}, untrained"
                axes.axhline(floor.mean(), color=colour, lw=0.9, ls=(0, (1, 2)), label=label)
            for level, (limit, line) in enumerate(style.LIMIT_LINES.items()):
                label = f"{'strongest null' if limit == 'null' else limit} ({level})"
                axes.axhline(level, color=style.GREY, lw=0.9, ls=line, label=label)
            style.size_axis(axes, *_sizes(trained))
            if axes in panels[0]:
                n = int(results.loc[results["dataset"] == name, "n_conditions"].max())
                axes.set_title(f"{name} ({n} condition{'s' * (n > 1)})")
        row[0].set_ylabel(f"{title}\n(calibrated)")
    for axes in panels[-1]:
        axes.set_xlabel("cells in the corpus")
    style.shared_legend(fig, panels[0][:1], ncols=3, title=_seeds(trained))
    return fig


@figure
def heldout_loss(results: pd.DataFrame, *, units: dict[str, str], n_test: pd.Series) -> Figure:
    """Held-out loss against corpus size: families in rows, never compared across, and evaluation sets in columns.

    `n_test` holds the number of test cells of each evaluation set, by its name.
    """
    scores = results[results["metric"] == "heldout_loss"]
    names, samplings, trained = list(dict.fromkeys(scores["dataset"])), *_over_sizes(scores)
    families = list(dict.fromkeys(trained["family"]))
    fig, panels = plt.subplots(
        len(families), len(names), figsize=(2.35 * len(names), 2.1 * len(families) + 0.7), squeeze=False
    )
    for row, family in enumerate(families):
        for axes, name in zip(panels[row], names, strict=True):
            part = trained[(trained["dataset"] == name) & (trained["family"] == family)]
            _draw_runs(axes, part, families, samplings)
            for level in part["null"].iloc[:1]:  # none if the family was not judged on the set
                axes.axhline(level, color=style.GREY, lw=0.9, ls=":", label="null of gene means")
            for level in part["ceiling"].iloc[:1]:
                axes.axhline(level, color=style.GREY, lw=0.9, label="count-split reference")
            style.size_axis(axes, *_sizes(trained), name_percentages=row == 0)
            if row == 0:
                seen = scores.loc[scores["dataset"] == name, "seen"].iloc[0]
                axes.set_title(f"{name} (n = {n_test[name]:,})\n{seen}", pad=4)
            if row == len(families) - 1:
                axes.set_xlabel("cells in the corpus")
        unit = "\n".join(textwrap.wrap(units[family], 22))
        panels[row][0].set_ylabel(f"{style.FAMILY_NAMES.get(family, family)}\n{unit}")
    style.shared_legend(fig, panels[:, 0], ncols=3, title=_seeds(trained))
    return fig


@figure
def loss_against_metric(pairs: pd.DataFrame, *, dataset: str, metric_name: str, units: dict[str, str]) -> Figure:
    """Downstream score against held-out loss of the same run on the same set, a panel per family; colour is corpus
    size.

    `pairs` has one row per run with family, strategy, sampling, subset_seed, n_cells, score, loss.
    """
    families = list(dict.fromkeys(pairs["family"]))
    n_rows = -(-len(families) // 3)
    n_columns = -(-len(families) // n_rows)
    size = (3.3 * n_columns + 0.5, 2.8 * n_rows + 0.4)
    fig, panels = plt.subplots(n_rows, n_columns, figsize=size, sharey=True, squeeze=False)
    for axes in panels.flat[len(families) :]:
        axes.remove()
    for axes, family in zip(panels.flat, families, strict=False):
        for sampling, part in pairs[pairs["family"] == family].groupby("sampling", sort=False):
            marker = style.strategy_marker(part["strategy"].iloc[0])[0]
            norm = plt.matplotlib.colors.LogNorm(pairs["n_cells"].min(), pairs["n_cells"].max())
            colours = dict(c=part["n_cells"], cmap="viridis_r", norm=norm)
            dots = axes.scatter(part["loss"], part["score"], s=16, marker=marker, lw=0, **colours)
            name = style.STRATEGY_NAMES.get(sampling, sampling.replace("_", " "))
            axes.scatter([], [], s=16, marker=marker, lw=0, color=style.GREY, label=name)
        axes.invert_xaxis()
        unit = "\n".join(textwrap.wrap(f"({units[family]}; better →)", 42))
        axes.set(title=style.FAMILY_NAMES.get(family, family), xlabel=f"held-out loss on {dataset}\n{unit}")
    for row in panels:
        row[0].set_ylabel(f"{metric_name} on {dataset}")
    n = between(pairs.groupby("family").size(), "d")
    told = f"n = {n} runs a panel (dots), {_each(pairs)} seeds of each size; {_reach(pairs, ', nor of lower losses')}"
    style.shared_legend(fig, panels[0][:1], ncols=4, title=told)
    bar = fig.colorbar(dots, ax=[axes for axes in panels.flat if axes.figure], shrink=0.9)
    bar.set_label("cells in the corpus")
    return fig


AXES = {"donors": "n_donors", "datasets": "n_datasets", "depth": "umis_per_cell"}
AXIS_NAMES = {"n_donors": "donors", "n_datasets": "datasets", "umis_per_cell": "median UMIs per cell"}


def axes_of(results: pd.DataFrame) -> list[str]:
    """Strategies with several donors, datasets or depths at one number of cells."""
    return [strategy for strategy in AXES if len(_along(results, strategy))]


def _along(results: pd.DataFrame, strategy: str) -> pd.DataFrame:
    """Runs of a strategy whose number of cells several samplings share, but for few donors with all their cells."""
    rows = _trained(results)[lambda table: (table["strategy"] == strategy) & table[AXES[strategy]].notna()]
    rows = rows[(rows["sampling"] != strategy) | (strategy == "depth")]
    samplings = rows.groupby("n_cells")["sampling"].nunique()
    return rows[rows["n_cells"].isin(samplings.index[samplings > 1])]


@figure
def axis_curves(results: pd.DataFrame, *, strategy: str, metrics: dict[str, str]) -> Figure:
    """Scores against donors, datasets or depth at a fixed number of cells: a row per metric (name -> its axis label).

    A line joins the runs of one family and number of cells; one more, dotted, shows all cells (100 %) drawn at random.
    """
    axis, trained = AXES[strategy], _trained(results)
    whole = trained[(trained["strategy"] == "random") & (trained["percentage"] == 100)]
    rows = _along(results, strategy)[lambda table: table["metric"].isin(metrics)]
    families, names = list(dict.fromkeys(rows["family"])), list(dict.fromkeys(rows["dataset"]))
    shades = dict(zip(sorted(rows["n_cells"].unique()), (1.0, 0.6, 0.35, 0.2), strict=False))
    height = 2.0 * len(metrics) + 0.7
    fig, panels = plt.subplots(len(metrics), len(names), figsize=(2.35 * len(names), height), squeeze=False)
    for number, (row, (metric, label)) in enumerate(zip(panels, metrics.items(), strict=True)):
        for axes, name in zip(row, names, strict=True):
            part = rows[(rows["metric"] == metric) & (rows["dataset"] == name)]
            for (family, n_cells), runs in part.groupby(["family", "n_cells"], sort=False):
                colour, means = style.family_colour(family, families), runs.groupby(axis)["value"].mean()
                axes.plot(runs[axis], runs["value"], "o", ms=2.5, alpha=0.5 * shades[n_cells], mew=0, color=colour)
                told = f"{style.FAMILY_NAMES.get(family, family)}, {n_cells:,.0f} cells"
                axes.plot(means.index, means, "o-", ms=4, alpha=shades[n_cells], color=colour, label=told)
                full = whole.query("metric == @metric and dataset == @name and family == @family")["value"].mean()
                axes.axhline(full, color=colour, lw=0.9, ls=":", label="all cells, random")
            axes.set(xscale="log", xlabel=AXIS_NAMES[axis] if number == len(metrics) - 1 else "")
            ticks = np.sort(part[axis].round().unique())
            axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
            axes.set_xticks([], minor=True)
            if number == 0:
                axes.set_title(f"{name}\n{rows.loc[rows['dataset'] == name, 'seen'].iloc[0]}")
        row[0].set_ylabel(label)
    style.shared_legend(fig, panels[0][:1], ncols=4, title=_seeds(rows))
    return fig
