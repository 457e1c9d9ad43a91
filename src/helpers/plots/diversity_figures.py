"""What subsets hold: cell types, diversity, donors, datasets and depth."""

import textwrap
from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from helpers.plots import layout, looks, style
from helpers.plots.study_figures import told_seeds
from helpers.plots.style import GREY, figure

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
    An index that no subset knows has no panel.

    `table` has one row per subset with sampling, n_cells and the indices; `whole` has the indices of the corpus, None
    where they are not known.
    """
    samplings = looks.ordered(table["sampling"], "samplings")
    shown = {index: title for index, title in INDICES.items() if table[index].notna().any()}
    fig, panels = layout.grid(len(shown), height=1.75)
    for axes, (index, title) in zip(panels, shown.items(), strict=True):
        for name in samplings:
            part, colour = table[table["sampling"] == name], looks.sampling_colour(name)
            means, (marker, line) = part.groupby("n_cells")[index].mean(), looks.sampling_marker(name)
            axes.plot(part["n_cells"], part[index], marker, ms=2.5, mew=0, alpha=0.5, color=colour)
            curve = {"marker": marker, "ls": line, "ms": 3.5, "color": colour}
            axes.plot(means.index, means, label=style.sampling_name(name), **curve)
        if whole is not None:
            axes.axhline(whole[index], color=GREY, lw=0.9, ls="--", label="whole corpus")
        axes.set(title=title, xscale="log", ylim=(0, None))
    of_sizes = table.groupby("n_cells")["percentage"].first()
    sizes, percentages = of_sizes.index.to_numpy(), of_sizes.to_numpy()
    for axes in panels:
        layout.size_axis(axes, sizes, percentages, name_percentages=axes.get_subplotspec().is_first_row())
    for axes in layout.lowest(panels):
        axes.set_xlabel("cells in the subset")
    unknown = [title for index, title in INDICES.items() if index not in shown]
    told = f"; unknown for these cells: {', '.join(unknown)}" if unknown else ""
    layout.shared_legend(fig, panels[:1], title=f"{told_seeds(table)}{told}")
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
