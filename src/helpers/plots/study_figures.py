"""The figures of the study: size curves, responses, held-out loss; drawn from the tidy results alone."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from helpers.analysis.saturation import size_samplings
from helpers.design import UNTRAINED
from helpers.plots import layout, looks, style
from helpers.plots.style import figure
from helpers.reading import between
from helpers.words import counted


def draw_runs(axes: Axes, part: pd.DataFrame, families: list[str]) -> None:
    """Seeds of one family as dots, their mean as a line, for each sampling with trained runs."""
    for sampling in looks.ordered(part["sampling"], "samplings"):
        runs = part[part["sampling"] == sampling]
        marker, line = looks.sampling_marker(sampling)
        colour = looks.curve_colour(runs["family"].iloc[0], sampling, families)
        axes.plot(runs["n_cells"], runs["value"], marker, color=colour, ms=2.5, alpha=0.5, mew=0)
        means = runs.groupby("n_cells")["value"].mean()
        name = style.sampling_name(sampling)
        axes.plot(means.index, means, ls=line, marker=marker, ms=3, mew=0, lw=1, color=colour, label=name)


def trained_of(results: pd.DataFrame) -> pd.DataFrame:
    """Rows of trained models."""
    return results[(results["percentage"] > 0) & (results["strategy"] != "none")]


def at_one_width(results: pd.DataFrame) -> pd.DataFrame:
    """The results of each family at width 1, or at its largest if it has no such; all of what has no width."""
    widths = results.groupby("family")["width"].agg(lambda values: 1.0 if (values == 1).any() else values.max())
    return results[results["width"].isna() | (results["width"] == results["family"].map(widths))]


def _over_sizes(results: pd.DataFrame) -> pd.DataFrame:
    """Trained runs of samplings with a curve over sizes."""
    return trained_of(results)[lambda rows: rows["sampling"].isin(size_samplings(results))]


def sizes_of(trained: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Cells and percentages of the sizes, ascending."""
    sizes = trained.drop_duplicates("percentage").sort_values("percentage")
    return sizes["n_cells"].to_numpy(), sizes["percentage"].to_numpy()


def told_seeds(trained: pd.DataFrame) -> str:
    """Seeds and sizes of what dots and lines show, for a legend's title."""
    return f"{_each(trained)} of each size (dots), mean (line); {_reach(trained)}"


def _each(runs: pd.DataFrame) -> str:
    """How many seeds the subsets of one size have, each size its own, in words."""
    return counted(runs.groupby(["sampling", "percentage"])["subset_seed"].nunique(), "seed")


def _reach(runs: pd.DataFrame, also: str = "") -> str:
    n = runs["n_cells"].nunique()
    sizes = f"{n} sizes, " if n > 1 else ""
    shared = layout.shared(runs.loc[runs["percentage"] >= 50, "sampling"])
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
    """Score of a task against corpus size: families in rows, test sets in columns; untrained models, baselines, null
    and ceiling as horizontal lines.

    `n_test` holds the number of test cells of each set, by its name.
    """
    scores = results[(results["task"] == task) & (results["metric"] == metric)]
    trained = _over_sizes(scores)
    names, families = looks.ordered(scores["dataset"], "sets"), looks.ordered(trained["family"], "families")
    fig, panels = _panels(scores, trained, families, names)
    for axes, name in zip(panels.flat, names * len(families), strict=True):
        part = scores[scores["dataset"] == name]
        for baseline, line in style.BASELINE_LINES.items():
            value = part.loc[part["family"] == baseline, "value"]
            if len(value):
                axes.axhline(value.iloc[0], color=style.GREY, lw=0.9, ls=line, label=style.BASELINE_NAMES[baseline])
        for limit, line in style.LIMIT_LINES.items():
            if len(known := part[limit].dropna()):
                label = style.LIMIT_NAMES[limit].get(task, limit)
                axes.axhline(known.iloc[0], color=style.GREY, lw=0.9, ls=line, label=label)
    panels[0][0].set_ylim(ylim)
    told = [_about_set(name, n_test, scores) for name in names]
    rows = [f"{style.family_name(family)}\n{layout.narrow(title)}" for family in families]
    _finish(fig, panels, rows, told, trained)
    return fig


def _panels(
    scores: pd.DataFrame, trained: pd.DataFrame, families: list[str], names: list[str]
) -> tuple[Figure, np.ndarray]:
    """A figure and its panels: families in rows, sets in columns, one scale; with trained and untrained models."""
    fig, panels = layout.rows_of_sets(len(families), len(names), height=1.2 if len(families) > 3 else 1.6, sharey=True)
    for row, family in zip(panels, families, strict=True):
        for axes, name in zip(row, names, strict=True):
            part = scores[scores["dataset"] == name]
            _draw_family(axes, part, trained[trained["dataset"] == name], family, families)
    return fig, panels


def _draw_family(axes: Axes, scores: pd.DataFrame, trained: pd.DataFrame, family: str, families: list[str]) -> None:
    """Trained runs of one family, and the mean of its untrained models as a horizontal line."""
    draw_runs(axes, trained[trained["family"] == family], families)
    floor = scores.loc[(scores["family"] == family) & (scores["strategy"] == UNTRAINED), "value"]
    if len(floor):
        looks_of = {"color": looks.family_colour(family), "lw": 1, "ls": style.UNTRAINED_LINE}
        axes.axhline(floor.mean(), label="untrained", **looks_of)


def _about_set(name: str, n_test: pd.Series, scores: pd.DataFrame) -> str:
    return f"{name}\nn = {n_test[name]:,}\n{scores.loc[scores['dataset'] == name, 'seen'].iloc[0]}"


def _finish(fig: Figure, panels: np.ndarray, rows: list[str], titles: list[str], trained: pd.DataFrame) -> None:
    """Names of rows and columns, axes of cells, and the legend of panels with families in rows, sets in columns."""
    for row in panels:
        for axes in row:
            layout.size_axis(axes, *sizes_of(trained), name_percentages=axes in panels[0])
            if axes not in panels[-1]:
                axes.tick_params(axis="x", labelbottom=False)
    layout.name_rows(panels, rows, titles, xlabel="cells in the corpus")
    samplings = map(style.sampling_name, trained["sampling"].unique())
    of_all = ["untrained", *samplings] if len(rows) > 1 else []
    layout.shared_legend(fig, panels.flat, title=told_seeds(trained), of_all=of_all)


RESPONSES = ("calibrated_delta_r", "calibrated_specific_r", "calibrated_de_overlap")


@figure
def responses(results: pd.DataFrame, *, metric: str) -> Figure:
    """A calibrated score of predicted responses, of `RESPONSES`, against corpus size: families in rows, held-out
    contexts in columns, with the number of conditions averaged; untrained models, null (0) and ceiling (1) as
    horizontal lines.
    """
    scores = results[results["metric"] == metric]
    trained = _over_sizes(scores)
    names, families = looks.ordered(scores["dataset"], "sets"), looks.ordered(trained["family"], "families")
    fig, panels = _panels(scores, trained, families, names)
    for axes in panels.flat:
        for level, (limit, line) in enumerate(style.LIMIT_LINES.items()):
            label = f"{'strongest null' if limit == 'null' else limit} ({level})"
            axes.axhline(level, color=style.GREY, lw=0.9, ls=line, label=label)
    conditions = scores.groupby("dataset")["n_conditions"].max()
    told = [f"{name}\n{counted(conditions[name], 'condition')}" for name in names]
    rows = [f"{style.family_name(family)}\n{layout.narrow(style.metric_name(metric))}" for family in families]
    _finish(fig, panels, rows, told, trained)
    return fig


@figure
def heldout_loss(results: pd.DataFrame, *, units: dict[str, str], n_test: pd.Series) -> Figure:
    """Held-out loss against corpus size: families in rows, never compared across, and evaluation sets in columns.

    `n_test` holds the number of test cells of each evaluation set, by its name.
    """
    scores = results[results["metric"] == "heldout_loss"]
    trained = _over_sizes(scores)
    names, families = looks.ordered(scores["dataset"], "sets"), looks.ordered(trained["family"], "families")
    fig, panels = layout.rows_of_sets(len(families), len(names), height=1.5)
    for row, family in zip(panels, families, strict=True):
        for axes, name in zip(row, names, strict=True):
            part = trained[(trained["dataset"] == name) & (trained["family"] == family)]
            draw_runs(axes, part, families)
            for limit, line, label in (("null", ":", "null of gene means"), ("ceiling", "-", "count-split reference")):
                for level in part[limit].iloc[:1]:  # none if the family was not judged on the set
                    axes.axhline(level, color=style.GREY, lw=0.9, ls=line, label=label)
    rows = [f"{style.family_name(family)}\n{layout.narrow(units[family])}" for family in families]
    _finish(fig, panels, rows, [_about_set(name, n_test, scores) for name in names], trained)
    return fig


@figure
def loss_against_metric(pairs: pd.DataFrame, *, dataset: str, metric_name: str, units: dict[str, str]) -> Figure:
    """Downstream score against held-out loss of the same run on the same set, a panel per family; colour is corpus
    size.

    `pairs` has one row per run with family, strategy, sampling, subset_seed, n_cells, score, loss.
    """
    families = looks.ordered(pairs["family"], "families")
    fig, panels = layout.grid(len(families), height=2.2, sharey=True)
    norm = LogNorm(pairs["n_cells"].min(), pairs["n_cells"].max())
    for axes, family in zip(panels, families, strict=True):
        own = pairs[pairs["family"] == family]
        for sampling in looks.ordered(own["sampling"], "samplings"):
            part, marker = own[own["sampling"] == sampling], looks.sampling_marker(sampling)[0]
            colours = dict(c=part["n_cells"], cmap=looks.SIZES, norm=norm)
            dots = axes.scatter(part["loss"], part["score"], s=16, marker=marker, lw=0, **colours)
            axes.scatter([], [], s=16, marker=marker, lw=0, color=style.GREY, label=style.sampling_name(sampling))
        axes.invert_xaxis()
        axes.locator_params(axis="x", nbins=4)
        unit = "\n".join(
            textwrap.wrap(f"({units[family]}; better\N{NO-BREAK SPACE}→)", 60 if len(families) < 3 else 36)
        )
        axes.set(title=style.family_name(family), xlabel=f"held-out loss on {dataset}\n{unit}")
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel(f"{metric_name} on {dataset}")
    n = counted(pairs.groupby("family").size(), "run")
    told = f"n = {n} a panel (dots), {_each(pairs)} of each size; {_reach(pairs, ', nor of lower losses')}"
    layout.shared_legend(fig, panels, title=told)
    _bar_of_sizes(fig.colorbar(dots, ax=panels, shrink=0.8), pairs)
    return fig


def _bar_of_sizes(bar: Colorbar, pairs: pd.DataFrame) -> None:
    """Cells of the sizes beside a bar of colours on a logarithmic scale, with percentages where they are known."""
    sizes = pairs.groupby("n_cells")["percentage"].first() if "percentage" in pairs else None
    cells = np.sort(pairs["n_cells"].unique())
    kept = cells[layout.apart(np.log(cells), 0.08)]
    shares = [f" ({sizes[n]:g} %)" if sizes is not None else "" for n in kept]
    bar.set_ticks(kept, labels=[f"{n:,.0f}{share}" for n, share in zip(kept, shares, strict=True)])
    bar.minorticks_off()
    bar.set_label("cells in the corpus")


@figure
def few_shot(scores: pd.DataFrame, *, n_test: pd.Series) -> Figure:
    """Macro F1 of a taught head against the cells of each type that taught it, means over seeds: families in rows, sets
    in columns.

    `scores` has rows of fine-tuning whose metric is ``macro_f1`` or ``macro_f1_at_…``, of untrained models, of those of
    the smallest and of the largest size of random cells, and null and ceiling. `n_test` as in `size_curves`.
    """
    shots = scores["metric"].str.extract(r"_at_(\d+)$")[0].fillna("all")
    order = [*sorted(set(shots) - {"all"}, key=int), *(["all"] if "all" in set(shots) else [])]
    scores = scores.assign(shot=shots.map(order.index))
    names, families = looks.ordered(scores["dataset"], "sets"), looks.ordered(scores["family"], "families")
    sizes = sorted(set(scores["percentage"]))
    lines = dict(zip([size for size in sizes[::-1] if size], ("-", "--"), strict=False)) | {0: style.UNTRAINED_LINE}
    fig, panels = layout.rows_of_sets(len(families), len(names), height=1.2, sharex=True, sharey=True)
    for row, family in zip(panels, families, strict=True):
        for axes, name in zip(row, names, strict=True):
            part, colour = scores[scores["dataset"] == name], looks.family_colour(family)
            for size, runs in part[part["family"] == family].groupby("percentage", sort=False):
                means, told = runs.groupby("shot")["value"].mean(), f"{size:g} % of the corpus" if size else "untrained"
                curve = {"color": colour, "ls": lines[size], "label": told, "mfc": colour if size else "white"}
                axes.plot(means.index, means, marker="o", ms=3, lw=1, **curve)
            for limit, line in style.LIMIT_LINES.items():
                known = part.groupby("shot")[limit].median().dropna()
                label = style.LIMIT_NAMES[limit]["finetuning"]
                axes.plot(known.index, known, color=style.GREY, lw=0.9, ls=line, label=label)
            axes.set_xticks(range(len(order)), order)
    rows = [f"{style.family_name(family)}\nmacro F1 (head)" for family in families]
    titles = [_about_set(name, n_test, scores) for name in names]
    layout.name_rows(panels, rows, titles, xlabel="cells of each type that teach")
    trained = scores[scores["percentage"] > 0]
    of_all = ["untrained", *(f"{size:g} % of the corpus" for size in sizes)] if len(families) > 1 else []
    told = f"means of {_each(trained)}; {_reach(trained)}"
    layout.shared_legend(fig, panels.flat, title=told, of_all=of_all)
    return fig
