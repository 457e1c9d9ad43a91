"""What else a design varies at a fixed number of cells: donors, datasets, depth, spike-ins, widths, weight decay."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from helpers.plots import style
from helpers.plots.study_figures import told_seeds, trained_of
from helpers.plots.style import figure
from helpers.reading import between

AXES = {"donors": "n_donors", "datasets": "n_datasets", "depth": "umis_per_cell"}
AXIS_NAMES = {"n_donors": "donors", "n_datasets": "datasets", "umis_per_cell": "median UMIs per cell"}
SPIKE_INS = {"random": 0, "spikein_10": 10, "spikein_50": 50}  # strategy -> per cent of the cells
DECAY_LINES = ("-", "--", ":", "-.")
METRICS = {"macro_f1": "macro F1 (5-NN)", "heldout_loss": "held-out loss"}


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
def axis_curves(results: pd.DataFrame, *, strategy: str, metrics: dict[str, str]) -> Figure:
    """Scores against donors, datasets or depth at a fixed number of cells: a row per metric (name -> its axis label).

    A line joins the means of one family and size, darker with more cells; one more, dotted, shows all cells (100 %)
    drawn at random.
    """
    axis, trained = AXES[strategy], trained_of(results)
    whole = trained[(trained["strategy"] == "random") & (trained["percentage"] == 100)]
    rows = along(results, strategy)[lambda table: table["metric"].isin(metrics)]
    families, names = list(dict.fromkeys(rows["family"])), list(dict.fromkeys(rows["dataset"]))
    sizes = sorted(rows["percentage"].unique())
    colours = {name: style.shades(style.family_colour(name, families), len(sizes)) for name in families}
    marker, line = style.strategy_marker(strategy)
    fig, panels = _rows_of_sets(len(metrics), len(names))
    for number, (row, (metric, label)) in enumerate(zip(panels, metrics.items(), strict=True)):
        for axes, name in zip(row, names, strict=True):
            part = rows[(rows["metric"] == metric) & (rows["dataset"] == name)]
            for (family, size), runs in part.groupby(["family", "percentage"], sort=False):
                means = runs.groupby("sampling")[[axis, "value"]].mean().sort_values(axis)
                looks = {"color": colours[family][sizes.index(size)], "marker": marker}
                axes.plot(runs[axis], runs["value"], ls="", ms=2.5, alpha=0.5, mew=0, **looks)
                told = f"{style.FAMILY_NAMES.get(family, family)}, {between(runs['n_cells'], ',.0f')} cells"
                axes.plot(means[axis], means["value"], ls=line, ms=4, label=told, **looks)
                full = whole.query("metric == @metric and dataset == @name and family == @family")["value"].mean()
                axes.axhline(full, color=colours[family][-1], lw=0.9, ls=":", label="all cells, random")
            axes.set(xscale="log", xlabel=AXIS_NAMES[axis] if number == len(metrics) - 1 else "")
            ticks = np.sort(part.groupby("sampling")[axis].mean().round().unique())
            axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
            axes.set_xticks([], minor=True)
            if number == 0:
                axes.set_title(f"{name}\n{rows.loc[rows['dataset'] == name, 'seen'].iloc[0]}")
        row[0].set_ylabel(label)
    style.shared_legend(fig, panels.flat, ncols=4, title=told_seeds(rows))
    return fig


@figure
def spike_ins(rows: pd.DataFrame) -> Figure:
    """Scores with 0, 10, 50 % of the cells replaced by treated ones, at equal size: metrics in rows, sets in columns.

    `rows` is of `spiked`; a line joins the means of one family and size, darker with more cells.
    """
    rows = rows[rows["metric"].isin(METRICS)]
    metrics, names = [name for name in METRICS if (rows["metric"] == name).any()], list(dict.fromkeys(rows["dataset"]))
    families, sizes = list(dict.fromkeys(rows["family"])), sorted(rows["percentage"].unique())
    shares = sorted(rows["spike_ins"].unique())
    fig, panels = _rows_of_sets(len(metrics) * len(families), len(names), sharex=True)
    lines = [(metric, family) for metric in metrics for family in families]
    for row, (metric, family) in zip(panels, lines, strict=True):
        colours = style.shades(style.family_colour(family, families), len(sizes))
        for axes, name in zip(row, names, strict=True):
            part = rows[(rows["metric"] == metric) & (rows["family"] == family) & (rows["dataset"] == name)]
            for size, colour in zip(sizes, colours, strict=True):
                runs = part[part["percentage"] == size]
                means = runs.groupby("spike_ins")["value"].mean()
                told = f"{style.FAMILY_NAMES.get(family, family)}, {size:g} % ({runs['n_cells'].mean():,.0f} cells)"
                axes.plot(means.index, means, color=colour, lw=0.9, label=told)
                for strategy, of_share in runs.groupby("strategy", sort=False):
                    marker = style.strategy_marker(strategy)[0]
                    axes.plot(of_share["spike_ins"], of_share["value"], marker, ms=3, mew=0, color=colour)
            axes.set_xticks(shares, [f"{share:g}" for share in shares])
            if axes in panels[0]:
                axes.set_title(name)
            if axes in panels[-1]:
                axes.set_xlabel("spike-ins, %")
        row[0].set_ylabel(f"{style.FAMILY_NAMES.get(family, family)}\n{METRICS[metric]}")
    style.shared_legend(fig, panels.flat, ncols=3, title=told_seeds(rows))
    return fig


@figure
def widths(rows: pd.DataFrame, *, metrics: Mapping[str, str], dataset: str) -> Figure:
    """Scores and losses on one set against parameters, or weight decay: metrics in rows, models in columns.

    `rows` is of `widened`; a line joins the means of one number of cells, darker with more, and weight decay.
    """
    rows = rows[rows["metric"].isin(metrics) & (rows["dataset"] == dataset)]
    shown = [name for name in metrics if (rows["metric"] == name).any()]
    models, sizes = list(dict.fromkeys(rows["model"])), sorted(rows["percentage"].unique())
    width = style.FULL if len(models) > 1 else style.COLUMN
    fig, panels = plt.subplots(len(shown), len(models), figsize=(width, 1.7 * len(shown) + 0.7), squeeze=False)
    for row, metric in zip(panels, shown, strict=True):
        for axes, model in zip(row, models, strict=True):
            part = rows[(rows["metric"] == metric) & (rows["model"] == model)]
            axis = "n_parameters" if len(part["width"].unique()) > 1 else "weight_decay"
            colours = dict(zip(sizes, style.shades(style.family_colour(model, models), len(sizes)), strict=True))
            for number, (decay, of_decay) in enumerate(_by_decay(part, axis)):
                for size, runs in of_decay.groupby("percentage"):
                    means = runs.groupby(axis)["value"].mean()
                    told = f"{style.FAMILY_NAMES.get(model, model)}, {runs['n_cells'].mean():,.0f} cells{decay}"
                    looks = {"color": colours[size], "ls": DECAY_LINES[number % len(DECAY_LINES)]}
                    axes.plot(runs[axis], runs["value"], "o", ms=2, mew=0, alpha=0.5, color=colours[size])
                    axes.plot(means.index, means, marker="o", ms=3, label=told, **looks)
            if (part[axis] > 0).all():
                axes.set_xscale("log")
                style.log_ticks(axes.xaxis, part[axis].min(), part[axis].max())
            if axes in panels[0]:
                axes.set_title(f"{style.FAMILY_NAMES.get(model, model)}, {between(part['width'], 'g')}× the width")
            if axes in panels[-1]:
                axes.set_xlabel({"n_parameters": "parameters", "weight_decay": "weight decay"}[axis])
        row[0].set_ylabel(f"{metrics[metric]}\non {dataset}")
    style.shared_legend(fig, panels.flat, ncols=4, title=told_seeds(rows))
    return fig


def _by_decay(part: pd.DataFrame, axis: str) -> list[tuple[str, pd.DataFrame]]:
    """Runs of each weight decay with its name, which is empty where there is one, or where it is the axis."""
    decays = sorted(part["weight_decay"].unique())
    if len(decays) == 1 or axis == "weight_decay":
        return [("", part)]
    return [(f", decay {decay:g}", part[part["weight_decay"] == decay]) for decay in decays]


def _rows_of_sets(n_rows: int, n_sets: int, **options: object) -> tuple[Figure, np.ndarray]:
    width = style.FULL if n_sets > 1 else style.COLUMN
    return plt.subplots(n_rows, n_sets, figsize=(width, 1.5 * n_rows + 0.7), squeeze=False, **options)
