"""Figures of saturation points: in the study's form, with the probability of each size, and what a doubling gains."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.plots import layout, looks, style
from helpers.plots.style import figure
from helpers.reading import between
from helpers.words import counted

MOST_ROWS = 6  # of panels below each other
MOST_STEPS = 26  # sizes beside each other on a page
LEAST = 0.05  # probability that is written out
POINT = "#E65100"  # of the frame of a point, and of its interval
DARK = 0.7  # probability from which its colour needs white ink


@figure
def saturation_heatmap(points: pd.DataFrame, runs: pd.DataFrame, *, n_test: pd.Series | None) -> Figure:
    """Learning saturation points in per cent of the corpus: evaluation sets × (family, strategy), in the
    study's form.

    `points` is what `saturation_points` returns by the published rule for one task and metric, `runs` the results that
    it was given; `n_test` as in `probability_heatmap`.
    """
    import seaborn as sns  # takes a second, so only the stages that need it wait

    models, names = _models(points), looks.ordered(points["dataset"], "sets")
    told = [style.family_name(*one) for one in zip(points["family"], points["width"], strict=True)]
    points, columns = points.assign(column=told), [style.family_name(*model) for model in models]
    samplings = dict.fromkeys(looks.ordered(points["sampling"], "samplings"), len(columns))
    fig, panels = layout.curve_panels(samplings, height=1.75 + 0.22 * len(names))
    for sampling, axes in panels.items():
        part = points[points["sampling"] == sampling]
        table = part.pivot_table(index="dataset", columns="column", values="percentage")
        table = table.reindex(index=names, columns=columns)
        annot = {"annot": table.map("{:g}".format).to_numpy(), "fmt": "", "annot_kws": {"size": style.SMALLEST}}
        colours = {"vmin": 0, "vmax": 2, "cmap": "cividis", "linewidths": 1, "linecolor": "white", "cbar": False}
        sns.heatmap(np.log10(table), ax=axes, **annot, **colours)
    layout.name_columns(panels.values(), columns, _with_cells(names, n_test))
    seeds = runs.groupby(["family", "width", "sampling", "dataset", "percentage"])["subset_seed"].nunique()
    score = _score(points, runs["metric"].iloc[0])
    layout.head(
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
    models = _models(sizes)
    samplings, names = looks.ordered(sizes["sampling"], "samplings"), looks.ordered(sizes["dataset"], "sets")
    steps = sizes.groupby("sampling", sort=False)["percentage"].agg(lambda values: sorted(set(values)))
    widths = [max(len(steps[sampling]), 6) for sampling in samplings]
    # A column for each sampling; where they are too many, or models are, as many panels in a row as there is room for.
    fits = sum(widths) <= MOST_STEPS and len(models) <= MOST_ROWS
    per_row = len(samplings) if fits else max(1, MOST_STEPS // max(widths))
    rows = -(-len(models) * len(samplings) // per_row)
    steps_wide = sum(widths) if fits else per_row * max(widths)
    width = style.COLUMN if 1.5 + 0.25 * steps_wide <= style.COLUMN else style.FULL
    fig, panels = plt.subplots(
        rows,
        per_row,
        figsize=(width, 0.9 + (0.35 + 0.22 * len(names)) * rows),
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
                    style.curve_name(family, sampling, width), 4 * len(steps[sampling]) + 8, break_on_hyphens=False
                )
            )
        )
    for axes in panels.flat[len(shown) :]:
        axes.remove()
    for axes in layout.lowest(panels.flat[: len(shown)]):
        axes.set_xlabel("size, % of the corpus")
    panels[0][0].set_yticks(range(len(names)), _with_cells(names, n_test))
    cells = sizes["n_cells"].dropna()
    unknown = _without_interval(points.loc[points["low"].isna(), "reason"])
    told = (
        f"numbers: % of {_drawn(points)}; frame: the point; line: 90 % interval{unknown}\n"
        f"{counted(points['n_seeds'], 'seed')}{f', {between(cells, ",.0f")} cells' if len(cells) else ''}; "
        "a curve at its largest size has not saturated within the range, beyond which nothing is known"
        f"{layout.shared(points['sampling'])}"
    )
    layout.head(fig, f"Saturation by the error rule, {_score(points, metric)}, q = {q:g}\n{told}")
    return fig


def _without_interval(reasons: pd.Series) -> str:
    """What a dotted line means, from the reasons why curves have no interval; nothing if all have one."""
    known = {
        "one seed": "a size has one seed",
        "not over 0|no point": "an error is not over 0",
    }
    why = [told for pattern, told in known.items() if reasons.str.contains(pattern).any()]
    return f"; dotted: no interval ({', or '.join(why)})" if why else ""


def _draw_probabilities(
    axes: Axes, points: pd.DataFrame, sizes: pd.DataFrame, steps: list[float], names: list[str]
) -> None:
    grid = sizes.pivot_table(index="dataset", columns="percentage", values="probability").reindex(names, columns=steps)
    axes.imshow(grid, cmap="Blues", vmin=0, vmax=1.1, aspect="auto")
    for line, column in np.argwhere(grid.to_numpy() >= LEAST):
        share = grid.iloc[line, column]
        ink = {"color": "white" if share >= DARK else "black", "ha": "center", "va": "center", "size": style.SMALLEST}
        axes.text(column, line - 0.1, f"{100 * share:.0f}", **ink)
    for point in points.itertuples():
        line = names.index(point.dataset)
        if np.isfinite(point.low):
            ends = [steps.index(point.low) - 0.3, steps.index(point.high) + 0.3]
            axes.plot(ends, [line + 0.36] * 2, color=POINT, lw=1.4)
        else:
            axes.plot([-0.3, len(steps) - 0.7], [line + 0.36] * 2, color=style.GREY, lw=0.9, ls=":")
        if np.isfinite(point.percentage):
            place = (steps.index(point.percentage) - 0.47, line - 0.46)
            axes.add_patch(plt.Rectangle(place, 0.94, 0.72, fill=False, ec=POINT, lw=1.1, zorder=3))
    axes.set_xticks(range(len(steps)), [f"{step:g}" for step in steps])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


@figure
def gains(points: pd.DataFrame, sizes: pd.DataFrame, *, metric: str, n_test: pd.Series | None) -> Figure:
    """Fall of the error for twice the cells between the two largest sizes, with 90 % intervals, a panel per model.

    `points`, `sizes`, of which the range is told, and `n_test` as in `probability_heatmap`.
    """
    models = _models(points)
    samplings, names = looks.ordered(points["sampling"], "samplings"), looks.ordered(points["dataset"], "sets")
    fig, panels = layout.grid(len(models), height=1.0 + max(0.7, 0.06 * (1 + len(samplings)) * len(names)), sharey=True)
    for axes, (family, width) in zip(panels, models, strict=True):
        own = points[(points["family"] == family) & (points["width"] == width)]
        for place, sampling in enumerate(samplings):
            part = own[own["sampling"] == sampling]
            at = [names.index(name) + 0.6 * ((place + 0.5) / len(samplings) - 0.5) for name in part["dataset"]]
            colour, marker = looks.sampling_colour(sampling), looks.sampling_marker(sampling)[0]
            axes.hlines(at, part["gain_low"], part["gain_high"], color=colour, lw=1.2)
            axes.plot(part["gain_per_doubling"], at, marker, ms=3.5, color=colour, label=style.sampling_name(sampling))
        axes.axvline(0, color=style.GREY, lw=0.8)
        axes.set(title=style.family_name(family, width))
    for axes in layout.lowest(panels):
        axes.set(xlabel="fall of the error for\ntwice the cells (better →)")
    panels[0].set_yticks(range(len(names)), _with_cells(names, n_test))
    panels[0].invert_yaxis()
    seeds = f"{counted(points['n_seeds'], 'seed')}; 90 % intervals from {_drawn(points)}"
    layout.shared_legend(fig, panels, title=seeds)
    cells = sizes["n_cells"].dropna()
    within = f" within {between(cells, ',.0f')} cells" if len(cells) else ""
    layout.head(
        fig,
        f"Gain per doubling between the two largest sizes of curves{within}, {_score(points, metric)}\n"
        f"what the next doubling would gain is not known{layout.shared(points['sampling'])}",
    )
    return fig


def _models(table: pd.DataFrame) -> list[tuple[str, float]]:
    """Families in the order of the design with their widths."""
    models = dict.fromkeys(zip(table["family"], table["width"], strict=True))
    order = looks.ordered(table["family"], "families")
    return sorted(models, key=lambda model: order.index(model[0]))


def _score(points: pd.DataFrame, metric: str) -> str:
    heads = points["task"].iloc[0] == "finetuning"
    return style.metric_name(metric) + (" of a taught head" if heads else "")


def _with_cells(names: list[str], n_test: pd.Series | None) -> list[str]:
    return names if n_test is None else [f"{name} (n = {n_test[name]:,})" for name in names]


def _drawn(points: pd.DataFrame) -> str:
    told = [name for name in dict.fromkeys(points["resampled"]) if name != "nothing"]
    return f"draws of {' or '.join(told).replace('cells', 'test cells')}" if told else "no draws"
