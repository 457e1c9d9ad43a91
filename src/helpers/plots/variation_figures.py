"""What else a design varies at a fixed number of cells: donors, datasets, depth, spike-ins, widths, weight decay."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.plots import layout, looks, style
from helpers.plots.study_figures import told_seeds, trained_of
from helpers.plots.style import figure
from helpers.reading import between

AXES = {"donors": "n_donors", "datasets": "n_datasets", "depth": "umis_per_cell"}
AXIS_NAMES = {"n_donors": "donors", "n_datasets": "datasets", "umis_per_cell": "median UMIs per cell"}
SPIKE_INS = {"random": 0, "spikein_10": 10, "spikein_50": 50}  # strategy -> per cent of the cells
DECAY_LINES = ("-", "--", ":", "-.")
METRICS = ("macro_f1", "heldout_loss")


def axes_of(results: pd.DataFrame) -> list[str]:
    """Strategies with several donors, datasets or depths at one number of cells."""
    return [strategy for strategy in AXES if len(along(results, strategy))]


def along(results: pd.DataFrame, strategy: str) -> pd.DataFrame:
    """Runs of a strategy whose size several samplings share, but for few donors with all their cells.

    The size is that in per cent of the corpus: cells that thinning leaves without counts are dropped.
    """
    rows = trained_of(results)[lambda table: (table["strategy"] == strategy) & table[AXES[strategy]].notna()]
    rows = rows[(rows["sampling"] != strategy) | (strategy == "depth")]
    samplings = rows.groupby("percentage")["sampling"].nunique()
    return rows[rows["percentage"].isin(samplings.index[samplings > 1])]


def spiked(results: pd.DataFrame) -> pd.DataFrame:
    """Runs with spike-ins and those of random cells of the same sizes, with `spike_ins` in per cent; maybe none."""
    rows = trained_of(results)[lambda table: table["strategy"].isin(SPIKE_INS) & (table["status"] == "ok")]
    rows = rows.assign(spike_ins=rows["strategy"].map(SPIKE_INS))
    shares = rows.groupby("percentage")["spike_ins"].nunique()
    return rows[rows["percentage"].isin(shares.index[shares > 1])]


def widened(results: pd.DataFrame, models: Mapping[str, str]) -> pd.DataFrame:
    """Runs of random cells that differ in their width or weight decay alone, with `model`, `models` of the family.

    `models` maps a family of the design to what it is without its width, weight decay and budget.
    """
    rows = trained_of(results)[lambda table: (table["strategy"] == "random") & (table["status"] == "ok")]
    rows = rows.assign(model=rows["family"].map(models), weight_decay=rows["weight_decay"].fillna(0))
    several = rows.groupby(["model", "budget"])[["width", "weight_decay"]].transform("nunique").max(axis=1) > 1
    return rows[several]


@figure
def axis_curves(results: pd.DataFrame, *, strategy: str, metrics: Sequence[str]) -> Figure:
    """Scores against donors, datasets or depth at a fixed number of cells: metrics of each family in rows, sets in
    columns.

    A line joins the means of one size, darker with more cells; one more, dotted, shows all cells (100 %) drawn at
    random.
    """
    axis, trained = AXES[strategy], trained_of(results)
    whole = trained[(trained["strategy"] == "random") & (trained["percentage"] == 100)]
    rows = along(results, strategy)[lambda table: table["metric"].isin(metrics)]
    fig, panels = _at_equal_size(rows, axis, [name for name in metrics if (rows["metric"] == name).any()])
    levels = whole.groupby(["metric", "family", "dataset"])["value"].mean()
    ticks = np.sort(rows.groupby("sampling")[axis].mean().round().unique())
    for key, axes in panels.items():
        if key in levels.index:
            axes.axhline(levels[key], color=looks.family_colour(key[1]), lw=0.9, ls=":", label="all cells, random")
        axes.set(xscale="log")
        axes.set_xticks(kept := ticks[layout.apart(np.log(ticks), 0.3)], [f"{tick:,.0f}" for tick in kept])
        axes.set_xticks([], minor=True)
    return _named(fig, panels, rows, AXIS_NAMES[axis], of_all=["all cells, random"])


@figure
def spike_ins(rows: pd.DataFrame) -> Figure:
    """Scores with 0, 10, 50 % of the cells replaced by treated ones, at equal size: metrics of each family in rows,
    sets in columns.

    `rows` is of `spiked`; a line joins the means of one size, darker with more cells.
    """
    rows = rows[rows["metric"].isin(METRICS)]
    fig, panels = _at_equal_size(rows, "spike_ins", [name for name in METRICS if (rows["metric"] == name).any()])
    for axes in panels.values():
        axes.set_xticks(shares := sorted(rows["spike_ins"].unique()), [f"{share:g}" for share in shares])
    return _named(fig, panels, rows, "spike-ins, %")


Panels = dict[tuple[str, str, str], Axes]  # by metric, family and set


def _at_equal_size(rows: pd.DataFrame, x: str, metrics: Sequence[str]) -> tuple[Figure, Panels]:
    """Seeds of each sampling as marks, means of one size joined by a line, in panels; a set without values has none."""
    names, sizes = looks.ordered(rows["dataset"], "sets"), sorted(rows["percentage"].unique())
    lines = [(metric, family) for metric in metrics for family in looks.ordered(rows["family"], "families")]
    fig, grid = layout.rows_of_sets(len(lines), len(names), height=1.3)
    panels = {
        (*line, name): axes
        for line, row in zip(lines, grid, strict=True)
        for name, axes in zip(names, row, strict=True)
    }
    inks = dict(zip(sizes, looks.shades(style.INK, len(sizes)), strict=True))
    for (metric, family, name), axes in panels.items():
        colours = dict(zip(sizes, looks.shades(looks.family_colour(family), len(sizes)), strict=True))
        part = rows[(rows["metric"] == metric) & (rows["family"] == family) & (rows["dataset"] == name)]
        for size, runs in part.groupby("percentage"):
            means = runs.groupby("sampling")[[x, "value"]].mean().sort_values(x)
            axes.plot(means[x], means["value"], color=colours[size], lw=0.9)
            told = f"{size:g} % ({between(rows.loc[rows['percentage'] == size, 'n_cells'], ',.0f')} cells)"
            axes.plot([], [], color=inks[size], lw=0.9, label=told)
            for sampling in looks.ordered(runs["sampling"], "samplings"):
                own, marker = runs[runs["sampling"] == sampling], looks.sampling_marker(sampling)[0]
                axes.plot(own[x], own["value"], marker, ms=2.5, alpha=0.5, mew=0, color=colours[size])
                axes.plot(*means.loc[sampling], marker, ms=3.5, mew=0, color=colours[size])
        for sampling in looks.ordered(part["sampling"], "samplings"):
            marker = looks.sampling_marker(sampling)[0]
            axes.plot([], [], marker, ms=3.5, color=style.INK, label=style.sampling_name(sampling))
        axes.set_visible(len(part) > 0)
    return fig, panels


def _named(fig: Figure, panels: Panels, rows: pd.DataFrame, xlabel: str, of_all: Sequence[str] = ()) -> Figure:
    """Names of rows, columns and axes, and the legend."""
    lines = list(dict.fromkeys((metric, family) for metric, family, _ in panels))
    grid = np.array(list(panels.values())).reshape(len(lines), -1)
    seen = rows.groupby("dataset")["seen"].first()
    titles = [f"{name}\n{seen[name]}" for name in dict.fromkeys(name for *_, name in panels)]
    told = [f"{style.family_name(family)}\n{style.metric_name(metric)}" for metric, family in lines]
    layout.name_rows(grid, told, titles, xlabel=xlabel)
    layout.shared_legend(fig, grid.flat, title=told_seeds(rows), of_all=of_all)
    return fig


@figure
def widths(rows: pd.DataFrame, *, metrics: Sequence[str], dataset: str) -> Figure:
    """Scores and losses on one set against parameters, or weight decay: metrics in rows, models in columns.

    `rows` is of `widened`; a line joins the means of one number of cells, darker with more, and weight decay.
    """
    rows = rows[rows["metric"].isin(metrics) & (rows["dataset"] == dataset)]
    shown = [name for name in metrics if (rows["metric"] == name).any()]
    models, sizes = looks.ordered(rows["model"], "families"), sorted(rows["percentage"].unique())
    fig, panels = layout.rows_of_sets(len(shown), len(models), height=1.7)
    for row, metric in zip(panels, shown, strict=True):
        for axes, model in zip(row, models, strict=True):
            part = rows[(rows["metric"] == metric) & (rows["model"] == model)]
            axis = "n_parameters" if len(part["width"].unique()) > 1 else "weight_decay"
            colours = dict(zip(sizes, looks.shades(looks.family_colour(model), len(sizes)), strict=True))
            for number, (decay, of_decay) in enumerate(_by_decay(part, axis)):
                for size, runs in of_decay.groupby("percentage"):
                    means = runs.groupby(axis)["value"].mean()
                    told = f"{style.family_name(model)}, {runs['n_cells'].mean():,.0f} cells{decay}"
                    curve = {"color": colours[size], "ls": DECAY_LINES[number % len(DECAY_LINES)]}
                    axes.plot(runs[axis], runs["value"], "o", ms=2, mew=0, alpha=0.5, color=colours[size])
                    axes.plot(means.index, means, marker="o", ms=3, label=told, **curve)
            if (part[axis] > 0).all():
                axes.set_xscale("log")
                layout.log_ticks(axes.xaxis, part[axis].min(), part[axis].max())
            if axes in panels[0]:
                axes.set_title(f"{style.family_name(model)}, {between(part['width'], 'g')}× the width")
            if axes in panels[-1]:
                axes.set_xlabel({"n_parameters": "parameters", "weight_decay": "weight decay"}[axis])
        row[0].set_ylabel(f"{style.metric_name(metric)}\non {dataset}")
    layout.shared_legend(fig, panels.flat, title=told_seeds(rows))
    return fig


def _by_decay(part: pd.DataFrame, axis: str) -> list[tuple[str, pd.DataFrame]]:
    """Runs of each weight decay with its name, which is empty where there is one, or where it is the axis."""
    decays = sorted(part["weight_decay"].unique())
    if len(decays) == 1 or axis == "weight_decay":
        return [("", part)]
    return [(f", decay {decay:g}", part[part["weight_decay"] == decay]) for decay in decays]
