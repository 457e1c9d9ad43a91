"""Figures of predicted responses against what teaches them."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.analysis.response_axes import BASELINE, ENCODER, FOLD, LEVELS, MEAN
from helpers.design import NO_STRATEGY, UNTRAINED
from helpers.plots import layout, looks, style
from helpers.plots.style import figure
from helpers.words import counted

MOST = 6  # folds in one figure
NAMES = {BASELINE: "own PCA of the control cells", MEAN: "mean of what teaches"}
X_NAMES = {"n_treated": "treated training cells", "n_contexts": "training contexts (all their cells)"}


def _name(family: str, width: float, strategy: str, percentage: float) -> str:
    if strategy == NO_STRATEGY:
        return NAMES[family]
    told, sampling = style.family_name(family, width), f", {style.sampling_name(strategy)}" * (strategy != "random")
    return f"{told}, untrained" if strategy == UNTRAINED else f"{told}, {percentage:g} % of the corpus{sampling}"


def _curve(family: str, strategy: str) -> dict:
    """Colour of the family; solid if trained, dashed if not, grey for what knows no corpus."""
    if strategy == NO_STRATEGY:
        line = {BASELINE: style.BASELINE_LINES[BASELINE], MEAN: (0, (1, 1.5))}[family]
        return {"color": style.GREY, "ls": line, "marker": "", "lw": 1.1}
    open_dot = {"mfc": "white"} if strategy == UNTRAINED else {}
    line = (0, (3, 1.5)) if strategy == UNTRAINED else "-"
    return {"color": looks.family_colour(family), "ls": line, "marker": "o", "ms": 3.5, **open_dot}


def _draw_curves(axes: Axes, part: pd.DataFrame, x: str, *, log: bool) -> None:
    """Mean over draws as a line, from least to largest draw as a bar, for each encoder, side by side."""
    encoders = list(part.groupby(ENCODER, sort=False, dropna=False))
    for shift, ((family, width, strategy, percentage), rows) in zip(
        np.linspace(-0.3, 0.3, len(encoders)), encoders, strict=True
    ):
        levels = rows.groupby(x)["calibrated"].agg(["mean", "min", "max"])
        places = levels.index * 2.0**shift if log else levels.index + shift
        spread = [levels["mean"] - levels["min"], levels["max"] - levels["mean"]]
        name = _name(family, width, strategy, percentage)
        _, _, bars = axes.errorbar(
            places, levels["mean"], spread, elinewidth=0.6, label=name, **_curve(family, strategy)
        )
        for bar in bars:
            bar.set_alpha(0.5)


@figure
def response_axes(table: pd.DataFrame, *, metric: str) -> Figure:
    """Calibrated score against treated training cells (above) and training contexts (below), a panel per fold.

    `table` holds rows of ``response_axes.parquet``. Of over six folds the first are drawn. A fold where the metric
    cannot tell null from ceiling has an empty panel.
    """
    rows = table[table["metric"] == metric]
    by_fold = dict(list(rows.groupby(FOLD, sort=False)))
    order = looks.ordered((dataset for dataset, _ in by_fold), "sets")
    folds = sorted(by_fold.items(), key=lambda fold: order.index(fold[0][0]))
    shown = folds[:MOST]
    size = (style.FULL if len(shown) > 1 else style.COLUMN, 4.1)
    fig, panels = plt.subplots(2, len(shown), figsize=size, squeeze=False)
    for column, ((dataset, held_out), of_fold) in zip(panels.T, shown, strict=True):
        for axes, (axis, x) in zip(column, LEVELS.items(), strict=True):
            part = of_fold[(of_fold["axis"] == axis) & of_fold["calibrated"].notna()]
            _draw_curves(axes, part, x, log=axis == "treated cells")
            if part.empty:
                axes.text(0.5, 0.5, "null and ceiling\ncannot be told apart", transform=axes.transAxes, ha="center")
                axes.set(xticks=[], yticks=[])
                continue
            for level in (0, 1):
                axes.axhline(level, color=style.GREY, lw=0.7, zorder=0)
            ticks = np.sort(of_fold.loc[of_fold["axis"] == axis, x].unique())
            if axis == "treated cells":
                axes.set_xscale("log")
                ticks = ticks[layout.apart(np.log(ticks), 0.1 * len(shown))]
            axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
            axes.set_xticks([], minor=True)
            axes.set_xlabel("\n".join(textwrap.wrap(X_NAMES[x], 24)))
        told = "" if held_out == dataset else "\n" + "\n".join(textwrap.wrap(f"({held_out})", 84 // len(shown)))
        column[0].set_title(dataset + told)
    for axes in panels[:, 0]:
        told = layout.narrow(f"{style.metric_name(metric)}, calibrated")
        axes.set_ylabel(f"{told}\n(0: null, 1: ceiling)")
    trained = rows[~rows["strategy"].isin([NO_STRATEGY, UNTRAINED])]
    seeds = trained.groupby(ENCODER)["seed"].nunique() if len(trained) else pd.Series([0])
    draws = counted(rows["draw"].max() + 1, "draw")
    told = f"mean (line) and range (bar) of {draws} of what teaches, {counted(seeds, 'seed')} of each trained encoder"
    told += ", whose spread is not seen" if seeds.max() == 1 else ""
    told += "; the whole task has one draw"
    left = f"; {counted(len(folds) - MOST, 'more fold')} in the table" if len(folds) > MOST else ""
    cells, contexts = (int(rows[level].max()) for level in LEVELS.values())
    n = counted(len(folds), "held-out fold")
    told += f"{left}\nn = {n}, up to {cells:,} treated cells and {counted(contexts, 'context')}"
    layout.shared_legend(fig, panels.flat, ncols=3, title=f"{told}: of more nothing is known")
    return fig
