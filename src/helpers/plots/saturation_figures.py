"""Figures of saturation points: in the study's form, with the probability of each size, and what a doubling gains."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.plots import style
from helpers.plots.drawn_rows import counted
from helpers.plots.style import figure
from helpers.reading import between

MOST_ROWS = 6  # of panels below each other
MOST_STEPS = 26  # sizes beside each other on a page
LEAST = 0.05  # probability that is written out
DARK = 0.7  # probability from which its colour needs white ink
NAMES = {"micro_f1": "micro F1", "macro_f1": "macro F1", "avg_bio": "AvgBIO", "heldout_loss": "held-out loss"} | {
    "mean_profile_r": "r of mean responses",
    "calibrated_specific_r": "calibrated specific r of responses",
}


@figure
def saturation_heatmap(points: pd.DataFrame, runs: pd.DataFrame, *, n_test: pd.Series | None) -> Figure:
    """Learning saturation points in per cent of the corpus: evaluation sets × (family, strategy), in the
    study's form.

    `points` is what `saturation_points` returns by the published rule for one task and metric, `runs` the results that
    it was given; `n_test` as in `probability_heatmap`.
    """
    import seaborn as sns  # takes a second, so only the stages that need it wait

    points = points.assign(column=[_model(*one) for one in zip(points["family"], points["width"], strict=True)])
    columns, names = list(dict.fromkeys(points["column"])), list(dict.fromkeys(points["dataset"]))
    samplings = dict.fromkeys(points["sampling"], len(columns))
    fig, panels = style.curve_panels(samplings, height=1.75 + 0.22 * len(names))
    for sampling, axes in panels.items():
        part = points[points["sampling"] == sampling]
        table = part.pivot_table(index="dataset", columns="column", values="percentage")
        table = table.reindex(index=names, columns=columns)
        annot = {"annot": table.map("{:g}".format).to_numpy(), "fmt": "", "annot_kws": {"size": style.SMALLEST}}
        colours = {"vmin": 0, "vmax": 2, "cmap": "cividis", "linewidths": 1, "linecolor": "white", "cbar": False}
        sns.heatmap(np.log10(table), ax=axes, **annot, **colours)
    style.name_columns(panels.values(), columns, _with_cells(names, n_test))
    seeds = runs.groupby(["family", "width", "sampling", "dataset", "percentage"])["subset_seed"].nunique()
    score = _score(points, runs["metric"].iloc[0])
    style.head(
        fig,
        f"Saturation point by the published rule, % of the corpus, {score}, {counted(seeds, 'seed')}, "
        f"{between(runs['n_cells'], ',.0f')} cells; the best of all seeds decides, without interval; of more cells it "
        "tells nothing; white: no size, since the best score is not over 0, or not judged",
    )
    return fig


@figure
def probability_heatmap(
    points: pd.DataFrame, sizes: pd.DataFrame, *, metric: str, q: float, n_test: pd.Series | None
) -> Figure:
    """Probability of each size as the saturation point by the error rule, in per cent of the draws.

    Models in rows, samplings in columns, a line per evaluation set. `points` is what `saturation_points` returns by the
    error rule for one task, `metric` and `q`, `sizes` what `size_probabilities` returns; `n_test` holds the number of
    test cells, for responses conditions, of each set by its name; None where it is not known.
    """
    models = list(dict.fromkeys(zip(sizes["family"], sizes["width"], strict=True)))
    samplings, names = list(dict.fromkeys(sizes["sampling"])), list(dict.fromkeys(sizes["dataset"]))
    steps = sizes.groupby("sampling", sort=False)["percentage"].agg(lambda values: sorted(set(values)))
    widths = [max(len(steps[sampling]), 6) for sampling in samplings]
    # A column for each sampling; where they are too many, or models are, as many panels in a row as there is room for.
    fits = sum(widths) <= MOST_STEPS and len(models) <= MOST_ROWS
    per_row = len(samplings) if fits else max(1, MOST_STEPS // max(widths))
    rows = -(-len(models) * len(samplings) // per_row)
    steps_wide = sum(widths) if fits else per_row * max(widths)
    fig, panels = plt.subplots(
        rows,
        per_row,
        figsize=(min(style.FULL, max(style.COLUMN, 1.6 + 0.3 * steps_wide)), 0.9 + (0.35 + 0.22 * len(names)) * rows),
        width_ratios=widths if fits else None,
        sharey=True,
        squeeze=False,
    )
    shown = [(*model, sampling) for model in models for sampling in samplings]
    for axes, (family, width, sampling) in zip(panels.flat, shown, strict=False):
        of_panel = [
            table[(table["family"] == family) & (table["width"] == width) & (table["sampling"] == sampling)]
            for table in (points, sizes)
        ]
        _draw_probabilities(axes, *of_panel, steps[sampling], names)
        axes.set_title(
            "\n".join(
                textwrap.wrap(
                    style.curve_name(family, sampling, width), 5 * len(steps[sampling]) + 6, break_on_hyphens=False
                )
            )
        )
    for axes in panels.flat[len(shown) :]:
        axes.remove()
    for axes in style.lowest(panels.flat[: len(shown)]):
        axes.set_xlabel("size, % of the corpus")
    panels[0][0].set_yticks(range(len(names)), _with_cells(names, n_test))
    cells = sizes["n_cells"].dropna()
    told = (
        f"numbers: % of {_drawn(points)}; ring: the point; line: 90 % interval\n"
        f"{counted(points['n_seeds'], 'seed')}{f', {between(cells, ",.0f")} cells' if len(cells) else ''}; "
        "a curve at its largest size has not saturated within the range, beyond which nothing is known"
        f"{style.shared(points['sampling'])}"
    )
    style.head(fig, f"Saturation by the error rule, {_score(points, metric)}, q = {q:g}\n{told}")
    return fig


def _draw_probabilities(
    axes: Axes, points: pd.DataFrame, sizes: pd.DataFrame, steps: list[float], names: list[str]
) -> None:
    grid = sizes.pivot_table(index="dataset", columns="percentage", values="probability").reindex(names, columns=steps)
    axes.imshow(grid, cmap="Blues", vmin=0, vmax=1.1, aspect="auto")
    for line, column in np.argwhere(grid.to_numpy() >= LEAST):
        share = grid.iloc[line, column]
        ink = {"color": "white" if share >= DARK else "black", "ha": "center", "va": "center", "size": style.SMALLEST}
        axes.text(column, line - 0.06, f"{100 * share:.0f}", **ink)
    for point in points.itertuples():
        line = names.index(point.dataset)
        if np.isfinite(point.low):
            ends = [steps.index(point.low) - 0.3, steps.index(point.high) + 0.3]
            axes.plot(ends, [line + 0.36] * 2, color="#D55E00", lw=1.4)
        else:
            axes.text(-0.4, line, "no interval", va="center", size=6, color=style.GREY)
        if np.isfinite(point.percentage):
            axes.plot(steps.index(point.percentage), line - 0.02, "o", ms=9, mfc="none", mec="#D55E00", mew=1)
    axes.set_xticks(range(len(steps)), [f"{step:g}" for step in steps])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


@figure
def gains(points: pd.DataFrame, sizes: pd.DataFrame, *, metric: str, n_test: pd.Series | None) -> Figure:
    """Fall of the error for twice the cells between the two largest sizes, with 90 % intervals, a panel per model.

    `points`, `sizes`, of which the range is told, and `n_test` as in `probability_heatmap`.
    """
    models = list(dict.fromkeys(zip(points["family"], points["width"], strict=True)))
    samplings, names = list(dict.fromkeys(points["sampling"])), list(dict.fromkeys(points["dataset"]))
    fig, panels = style.grid(len(models), height=1.0 + max(0.7, 0.06 * (1 + len(samplings)) * len(names)), sharey=True)
    for axes, (family, width) in zip(panels, models, strict=True):
        own = points[(points["family"] == family) & (points["width"] == width)]
        for place, sampling in enumerate(samplings):
            part = own[own["sampling"] == sampling]
            at = [names.index(name) + 0.6 * ((place + 0.5) / len(samplings) - 0.5) for name in part["dataset"]]
            colour, marker = style.sampling_colour(sampling, samplings), style.strategy_marker(sampling)[0]
            axes.hlines(at, part["gain_low"], part["gain_high"], color=colour, lw=1.2)
            axes.plot(part["gain_per_doubling"], at, marker, ms=3.5, color=colour, label=style.sampling_name(sampling))
        axes.axvline(0, color=style.GREY, lw=0.8)
        axes.set(title=_model(family, width))
    for axes in style.lowest(panels):
        axes.set(xlabel="fall of the error for\ntwice the cells (better →)")
    panels[0].set_yticks(range(len(names)), _with_cells(names, n_test))
    panels[0].invert_yaxis()
    seeds = f"{counted(points['n_seeds'], 'seed')}; 90 % intervals from {_drawn(points)}"
    style.shared_legend(fig, panels, ncols=4, title=seeds)
    cells = sizes["n_cells"].dropna()
    within = f" within {between(cells, ',.0f')} cells" if len(cells) else ""
    style.head(
        fig,
        f"Gain per doubling between the two largest sizes of curves{within}, {_score(points, metric)}\n"
        f"what the next doubling would gain is not known{style.shared(points['sampling'])}",
    )
    return fig


def _model(family: str, width: float) -> str:
    return style.FAMILY_NAMES.get(family, family) + ("" if width == 1 else f" {width:g}×")


def _score(points: pd.DataFrame, metric: str) -> str:
    heads = points["task"].iloc[0] == "finetuning"
    return NAMES.get(metric, metric) + (" of a taught head" if heads else "")


def _with_cells(names: list[str], n_test: pd.Series | None) -> list[str]:
    return names if n_test is None else [f"{name} (n = {n_test[name]:,})" for name in names]


def _drawn(points: pd.DataFrame) -> str:
    told = [name for name in dict.fromkeys(points["resampled"]) if name != "nothing"]
    return f"draws of {' or '.join(told).replace('cells', 'test cells')}" if told else "no draws"
