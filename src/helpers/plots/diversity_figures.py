"""What subsets hold: cell types, diversity, donors, datasets and depth."""

import textwrap
from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from helpers.plots.style import (
    FULL,
    GREY,
    figure,
    sampling_colour,
    sampling_name,
    shared_legend,
    size_axis,
    strategy_marker,
)

INDICES = {
    "n_types": "cell types",
    "shannon": "Shannon index of types (bits)",
    "vendi": "Vendi score",
    "n_donors": "donors",
    "n_datasets": "datasets",
    "umis_per_cell": "median UMIs per cell",
}


@figure
def diversity_curves(table: pd.DataFrame, whole: Mapping[str, float] | None) -> Figure:
    """What subsets hold against their number of cells: seeds as dots, their mean as a line, the corpus as a dashed one.

    `table` has one row per subset with sampling, n_cells and the indices; `whole` has the indices of the corpus, None
    where they are not known.
    """
    samplings = list(dict.fromkeys(table["sampling"]))
    colours = {name: sampling_colour(name, samplings) for name in samplings}
    fig, panels = plt.subplots(2, 3, figsize=(FULL, 4.1), sharex=True)
    for axes, (index, title) in zip(panels.flat, INDICES.items(), strict=True):
        for name, part in table.groupby("sampling", sort=False):
            means = part.groupby("n_cells")[index].mean()
            marker, line = strategy_marker(part["strategy"].iloc[0])
            axes.plot(part["n_cells"], part[index], marker, ms=2.5, mew=0, alpha=0.5, color=colours[name])
            axes.plot(
                means.index, means, marker=marker, ls=line, ms=4.5, color=colours[name], label=sampling_name(name)
            )
        if whole is not None:
            axes.axhline(whole[index], color=GREY, lw=0.9, ls="--", label="whole corpus")
        axes.set(title=title, xscale="log", ylim=(0, None))
        known = table[index].notna().groupby(table["sampling"]).any()
        if not known.all():
            missing = f"the other {(~known).sum()}" if known.any() else "these cells"
            axes.text(0.5, 0.45, f"unknown for {missing}", transform=axes.transAxes, ha="center", size=8)
        if not known.any():
            axes.set(yticks=[])
    of_sizes = table.groupby("n_cells")["percentage"].first()
    sizes, percentages = of_sizes.index.to_numpy(), of_sizes.to_numpy()
    for axes in panels.flat:
        size_axis(axes, sizes, percentages, name_percentages=axes in panels[0])
    for axes in panels[1]:
        axes.set_xlabel("cells in the subset")
    shared_legend(fig, panels[0][:1], ncols=min(len(colours) + 1, 5))
    return fig


@figure
def diversity_at_one_size(table: pd.DataFrame, whole: Mapping[str, float]) -> Figure:
    """What subsets of samplings with a single size hold, a line each; dots are seeds, dashed is the whole corpus."""
    names = [f"{name} ({n:,})" for name, n in zip(table["sampling"], table["n_cells"], strict=True)]
    fig, panels = plt.subplots(1, len(INDICES), figsize=(10, 0.9 + 0.22 * len(set(names))), sharey=True)
    for axes, (index, title) in zip(panels, INDICES.items(), strict=True):
        axes.plot(table[index], names, "o", ms=3.5, mew=0, alpha=0.6, color=GREY)
        axes.axvline(whole[index], color=GREY, lw=0.9, ls="--")
        axes.set(xlim=(0, None), title="\n".join(textwrap.wrap(title, 16)))
        if table[index].isna().all():
            axes.set(xticks=[], xlabel="unknown")
    panels[0].set_ylabel("sampling (cells)")
    panels[0].invert_yaxis()
    return fig
