"""What models and subsets cost: losses against the compute of training, speed, sizes of subsets."""

import textwrap
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from helpers.plots import layout, looks, style
from helpers.plots.study_figures import sizes_of, told_seeds
from helpers.plots.style import figure
from helpers.reading import between

LEAST_RANGE = 1.5  # of FLOPs, from the least to the most
SPEEDS = {"cells_per_second": "trained cells per second", "embedded_per_second": "embedded cells per second"}
SIZES = {  # column -> what it tells, and its scale
    "umis_per_cell": ("median UMIs per cell", "linear"),
    "umis": ("cells × median UMIs", "log"),
}


def envelope(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean loss by mean FLOPs of models, of which none that is cheaper has a lower one: flops, value.

    `runs` has family, width, budget, sampling, percentage, flops and value.
    """
    alike = runs.groupby(["family", "width", "budget", "sampling", "percentage"], dropna=False)
    means = alike[["flops", "value"]].mean().sort_values(["flops", "value"])
    return means[means["value"] == means["value"].cummin()].reset_index()


def varied(runs: pd.DataFrame, models: Mapping[str, str]) -> pd.DataFrame:
    """Runs of models whose FLOPs differ by half or more, with `model`: those of one budget of cell-views do not."""
    runs = runs.assign(model=runs["family"].map(models))
    flops = runs.groupby("model")["flops"]
    return runs[flops.transform("max") >= LEAST_RANGE * flops.transform("min")]


@figure
def loss_against_compute(
    runs: pd.DataFrame, fitted: pd.DataFrame, *, models: Mapping[str, str], units: Mapping[str, str], dataset: str
) -> Figure:
    """Held-out loss on one set against training FLOPs, a panel per model, whose losses alone are comparable: runs as
    dots, darker with more cells, the frontier of the means as steps, and the fitted frontier where there is one.
    Models of `varied` FLOPs alone can have one.

    `fitted` is ``scaling/frontier.parquet`` of the set; `models` maps families to what they are without their budget.
    """
    runs = varied(runs, models)
    names = looks.ordered(runs["model"], "families")
    sizes = sorted(runs["percentage"].unique())
    fig, panels = layout.grid(len(names), height=2.0)
    for axes, name in zip(panels, names, strict=True):
        part = runs[runs["model"] == name]
        colour = looks.family_colour(name)
        colours = dict(zip(sizes, looks.shades(colour, len(sizes)), strict=True))
        for sampling in looks.ordered(part["sampling"], "samplings"):
            dots, marker = part[part["sampling"] == sampling], looks.sampling_marker(sampling)[0]
            axes.scatter(dots["flops"], dots["value"], s=7, marker=marker, lw=0, c=dots["percentage"].map(colours))
            axes.scatter([], [], s=9, marker=marker, lw=0, color=style.GREY, label=style.sampling_name(sampling))
        best = envelope(part)
        axes.step(best["flops"], best["value"], where="post", color="black", lw=1, label="frontier of the means")
        law = fitted[fitted["model"] == name]
        if len(law):
            axes.plot(law["budget"], law["loss"], color=colour, ls="--", label="frontier of the fitted law")
        axes.set(xscale="log", title=style.family_name(name))
        layout.log_ticks(axes.xaxis, part["flops"].min(), part["flops"].max())
        axes.set_ylabel("\n".join(textwrap.wrap(f"held-out loss on {dataset} ({units[name]})", 34)))
    for axes in layout.lowest(panels):
        axes.set_xlabel("training FLOPs")
    layout.shared_legend(fig, panels, title=f"dots: runs, darker with more cells; {told_seeds(runs)}")
    return fig


@figure
def speed(runs: pd.DataFrame) -> Figure:
    """Cells that one run learns from, and embeds, in a second, by family: a panel per column of `SPEEDS` that is known.

    `runs` has one row per run, with family, percentage and these columns.
    """
    known = [name for name in SPEEDS if name in runs and (runs[name] > 0).any()]
    runs = runs.assign(**{name: runs[name].where(runs[name] > 0) for name in known})  # untrained models: 0
    families = looks.ordered(runs["family"], "families")
    fig, panels = layout.grid(len(known), height=0.5 + 0.2 * len(families), most=1)
    rng = np.random.default_rng(0)  # of where dots lie within a family's line
    for axes, name in zip(panels, known, strict=True):
        for place, family in enumerate(families):
            values = runs.loc[runs["family"] == family, name].dropna()
            at, colour = place + rng.uniform(-0.22, 0.22, len(values)), looks.family_colour(family)
            axes.plot(values, at, "o", ms=2.5, mew=0, alpha=0.4, color=colour)
            if len(values):
                axes.plot([values.median()] * 2, [place - 0.35, place + 0.35], color=colour, lw=1.6)
        axes.set_yticks(range(len(families)), [style.family_name(one) for one in families])
        axes.set(xscale="log", xlabel=SPEEDS[name])
        layout.log_ticks(axes.xaxis, runs[name].min(), runs[name].max())
        axes.invert_yaxis()
    devices = " or ".join(sorted(set(runs["device"].dropna()))) if "device" in runs else ""
    told = f"dots: {between(runs.groupby('family').size(), 'd')} models of a family, line: their median"
    layout.head(fig, f"{told}{f'; trained on {devices}' if devices else ''}")
    return fig


@figure
def subset_sizes(table: pd.DataFrame) -> Figure:
    """What subsets hold against their number of cells: median UMIs per cell, and the product of both.

    `table` is ``diversity.parquet``, of samplings with several sizes.
    """
    table = table.assign(umis=table["n_cells"] * table["umis_per_cell"])
    cells, sizes = sizes_of(table)
    fig, panels = layout.grid(len(SIZES), height=1.75, most=1)
    for axes, (column, (label, scale)) in zip(panels, SIZES.items(), strict=True):
        for sampling in looks.ordered(table["sampling"], "samplings"):
            part, (marker, line) = table[table["sampling"] == sampling], looks.sampling_marker(sampling)
            means, colour = part.groupby("n_cells")[column].mean(), looks.sampling_colour(sampling)
            axes.plot(part["n_cells"], part[column], marker, ms=2.5, mew=0, alpha=0.5, color=colour)
            curve = {"color": colour, "ls": line, "marker": marker, "ms": 4}
            axes.plot(means.index, means, label=style.sampling_name(sampling), **curve)
        layout.size_axis(axes, cells, sizes)
        axes.set(yscale=scale, xlabel="cells in the subset", ylabel=label)
        if scale == "log":
            layout.log_ticks(axes.yaxis, table[column].min(), table[column].max())
        else:
            axes.set_ylim(0, None)
    layout.shared_legend(fig, panels, title=told_seeds(table))
    return fig
