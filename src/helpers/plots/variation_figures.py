"""What else a design varies at a fixed number of cells: donors, datasets, depth, spike-ins, widths, weight decay."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
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
    """Scores against donors, datasets or depth at a fixed number of cells: a row per metric.

    A line joins the means of one family and size, darker with more cells; one more, dotted, shows all cells (100 %)
    drawn at random.
    """
    axis, trained = AXES[strategy], trained_of(results)
    whole = trained[(trained["strategy"] == "random") & (trained["percentage"] == 100)]
    rows = along(results, strategy)[lambda table: table["metric"].isin(metrics)]
    families, names = looks.ordered(rows["family"], "families"), looks.ordered(rows["dataset"], "sets")
    sizes = sorted(rows["percentage"].unique())
    colours = {name: looks.shades(looks.family_colour(name), len(sizes)) for name in families}
    fig, panels = layout.rows_of_sets(len(metrics), len(names), height=1.5)
    for row, metric in zip(panels, metrics, strict=True):
        for axes, name in zip(row, names, strict=True):
            part = rows[(rows["metric"] == metric) & (rows["dataset"] == name)]
            for (family, size), runs in part.groupby(["family", "percentage"], sort=False):
                means = runs.groupby("sampling")[[axis, "value"]].mean().sort_values(axis)
                colour, told = colours[family][sizes.index(size)], f"{between(runs['n_cells'], ',.0f')} cells"
                label = f"{style.family_name(family)}, {told}"
                axes.plot(means[axis], means["value"], color=colour, label=label)
                for sampling, own in runs.groupby("sampling", sort=False):
                    marker = looks.sampling_marker(sampling)[0]
                    axes.plot(own[axis], own["value"], marker, ms=2.5, alpha=0.5, mew=0, color=colour)
                    axes.plot(means.loc[sampling, axis], means.loc[sampling, "value"], marker, ms=4, color=colour)
                    axes.plot([], [], marker, ms=4, color=style.INK, label=style.sampling_name(sampling))
                full = whole.query("metric == @metric and dataset == @name and family == @family")["value"].mean()
                axes.axhline(full, color=colours[family][-1], lw=0.9, ls=":", label="all cells, random")
            axes.set(xscale="log")
            ticks = np.sort(part.groupby("sampling")[axis].mean().round().unique())
            axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
            axes.set_xticks([], minor=True)
    titles = [f"{name}\n{rows.loc[rows['dataset'] == name, 'seen'].iloc[0]}" for name in names]
    layout.name_rows(panels, [style.metric_name(metric) for metric in metrics], titles, xlabel=AXIS_NAMES[axis])
    layout.shared_legend(fig, panels.flat, title=told_seeds(rows))
    return fig


@figure
def spike_ins(rows: pd.DataFrame) -> Figure:
    """Scores with 0, 10, 50 % of the cells replaced by treated ones, at equal size: metrics in rows, sets in columns.

    `rows` is of `spiked`; a line joins the means of one family and size, darker with more cells.
    """
    rows = rows[rows["metric"].isin(METRICS)]
    metrics = [name for name in METRICS if (rows["metric"] == name).any()]
    names = looks.ordered(rows["dataset"], "sets")
    families, sizes = looks.ordered(rows["family"], "families"), sorted(rows["percentage"].unique())
    shares = sorted(rows["spike_ins"].unique())
    fig, panels = layout.rows_of_sets(len(metrics) * len(families), len(names), height=1.5, sharex=True)
    lines = [(metric, family) for metric in metrics for family in families]
    for row, (metric, family) in zip(panels, lines, strict=True):
        colours = looks.shades(looks.family_colour(family), len(sizes))
        for axes, name in zip(row, names, strict=True):
            part = rows[(rows["metric"] == metric) & (rows["family"] == family) & (rows["dataset"] == name)]
            for size, colour in zip(sizes, colours, strict=True):
                runs = part[part["percentage"] == size]
                means = runs.groupby("spike_ins")["value"].mean()
                told = f"{style.family_name(family)}, {size:g} % ({runs['n_cells'].mean():,.0f} cells)"
                axes.plot(means.index, means, color=colour, lw=0.9, label=told)
                for sampling, of_share in runs.groupby("sampling", sort=False):
                    marker = looks.sampling_marker(sampling)[0]
                    axes.plot(of_share["spike_ins"], of_share["value"], marker, ms=3, mew=0, color=colour)
                    axes.plot([], [], marker, ms=3, color=style.INK, label=style.sampling_name(sampling))
            axes.set_xticks(shares, [f"{share:g}" for share in shares])
    rows_of = [f"{style.family_name(family)}\n{style.metric_name(metric)}" for metric, family in lines]
    layout.name_rows(panels, rows_of, names, xlabel="spike-ins, %")
    layout.shared_legend(fig, panels.flat, ncols=3, title=told_seeds(rows))
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
