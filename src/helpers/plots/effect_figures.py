"""Figures of effects at fixed size, and of scores against losses and budgets."""

import textwrap
from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.analysis.equal_budget import flops_of_sizes
from helpers.analysis.metric_against_loss import monotone_fit, seed_means
from helpers.plots import layout, looks, study_figures, style
from helpers.plots.style import figure
from helpers.words import counted

TERM_NAMES = {
    "shannon": "Shannon index",
    "vendi": "Vendi score",
    "n_donors": "donors",
    "n_datasets": "datasets",
}
FLAT_COLOUR = "#DDDDDD"


@figure
def forest(effects: pd.DataFrame, *, xlabel: str, same_scale: bool = False) -> Figure:
    """Effects with their 90 % intervals: models in rows, metrics in columns, sets on the y axis, terms in colours.

    `effects` is of one kind, with model, metric, dataset, term, estimate, low, high, p_holm, n, n_sizes, n_seeds and
    testable. Effects that stand correction are filled, those without a p-value crosses. Scales are shared by all panels
    if `same_scale`, else by none, since held-out losses of models differ in unit.
    """
    shown = effects[effects["testable"]]
    models, metrics = looks.ordered(effects["model"], "families"), list(dict.fromkeys(effects["metric"]))
    terms = looks.ordered(shown["term"], "samplings")
    sets = {one: looks.ordered(effects.loc[effects["metric"] == one, "dataset"], "sets") for one in metrics}
    row = max(0.9, 0.075 * max(map(len, sets.values())) * (len(terms) + 1) + 0.35)
    height = 1.0 + min(row * len(models), layout.TALLEST)
    fig, panels = plt.subplots(
        len(models),
        len(metrics),
        figsize=(style.FULL if len(metrics) > 1 else style.COLUMN, height),
        sharex=same_scale,
        squeeze=False,
    )
    for line, model in zip(panels, models, strict=True):
        for axes, metric in zip(line, metrics, strict=True):
            part = shown[(shown["model"] == model) & (shown["metric"] == metric)]
            _draw_effects(axes, part, sets[metric], terms)
            told = ("−" if metric == "heldout_loss" else "") + style.metric_name(metric)  # so that right is better
            axes.set_title("\n".join(textwrap.wrap(told, 22)) if model == models[0] else "")
            axes.set_xlabel("\n".join(textwrap.wrap(xlabel, 20)) if model == models[-1] else "")
        line[0].set_ylabel(style.family_name(model))
    layout.shared_legend(fig, panels.flat, title=_about(shown))
    return fig


def _draw_effects(axes: Axes, part: pd.DataFrame, sets: list[str], terms: list[str]) -> None:
    axes.axvline(0, color=style.GREY, lw=0.8)
    for number, term in enumerate(terms):
        rows = part[part["term"] == term]
        at = rows["dataset"].map({name: place for place, name in enumerate(sets)}).to_numpy(float)
        at = at + 0.7 * ((number + 0.5) / len(terms) - 0.5)
        named = part["kind"].eq("strategy").all() if "kind" in part else False
        colour = looks.sampling_colour(term) if named else looks.COLOURS[number % len(looks.COLOURS)]
        marker = looks.sampling_marker(term)[0] if named else "os^D"[number // len(looks.COLOURS) % 4]
        axes.hlines(at, rows["low"], rows["high"], color=colour, lw=1.2)
        faces = np.where(rows["p_holm"] < 0.05, colour, "white")
        label = TERM_NAMES.get(term) or style.sampling_name(term)
        known = rows["p_holm"].notna().to_numpy()
        options = {"facecolors": faces[known], "edgecolors": colour, "lw": 1, "zorder": 3}
        axes.scatter(rows["estimate"][known], at[known], s=16, marker=marker, **options)
        axes.plot(rows["estimate"][~known], at[~known], "x", ms=4, mew=1, color=colour, zorder=3)
        axes.plot([], [], f"{marker}-", color=colour, ms=4, label=label)
    axes.set_yticks(range(len(sets)), sets)
    axes.set_ylim(len(sets) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=4)


def _about(shown: pd.DataFrame) -> str:
    if shown.empty:
        return "nothing could be tested"
    n, seeds = counted(shown["n"], "run"), counted(shown["n_seeds"], "seed")
    sizes = shown.loc[shown["n_sizes"].idxmax(), "range"].split(";")[0]
    sizes = ("up to " if shown["n_sizes"].min() < shown["n_sizes"].max() else "") + sizes
    alone = (
        "\nCross: no p; too few samplings differ, so that the effect cannot be separated from the strategy, and its bar"
    )
    alone += " holds for these samplings alone."
    return (
        f"n = {n} of {sizes}, {seeds} each; bars: 90 %; filled: p < .05 after Holm.\n"
        "Right is better. The same test cells judge all runs: other cells might tell otherwise."
        + (alone if shown["p_holm"].isna().any() else "")
    )


@figure
def monotone_fits(
    pairs: pd.DataFrame, effects: pd.DataFrame, *, sampling: str, dataset: str, metric_name: str, units: dict[str, str]
) -> Figure:
    """Scores against held-out loss, a panel per model, with the monotone fit of one sampling and its flat end shaded.

    `pairs` is as in `study_figures.loss_against_metric`, with percentage; `effects` has the flat ends, by family.
    """
    fig = study_figures.loss_against_metric(pairs, dataset=dataset, metric_name=metric_name, units=units)
    families = looks.ordered(pairs["family"], "families")
    drawn = dict(zip(families, [axes for axes in fig.axes if axes.get_title()], strict=True))
    for family, end, x, y in _fits(pairs, effects, sampling, dataset):
        axes = drawn[family]
        axes.plot(x, y, color="black", lw=1.2)
        if pd.notna(end["estimate"]):
            axes.axvspan(x[0], x[0] + end["estimate"] * (x[-1] - x[0]), color=FLAT_COLOUR, lw=0, zorder=0)
        seeds = counted(end["n_seeds"], "seed")
        told = "\n".join(textwrap.wrap(f"{end['verdict']} (n = {end['n']}, {seeds})", 38))
        axes.set_title(f"{axes.get_title()}\n{told}")
    name = style.sampling_name(sampling)
    layout.head(fig, f"Line: monotone fit of {name} cells; shaded: its end that gains under one SD of seeds")
    return fig


def monotone_rows(pairs: pd.DataFrame, effects: pd.DataFrame, *, sampling: str, dataset: str) -> pd.DataFrame:
    """What `monotone_fits` draws: `drawn` tells runs from points of the fit, which have the share of its flat end."""
    about = ["run_id", "family", "width", "strategy", "sampling", "percentage", "n_cells", "subset_seed"]
    parts = [pairs.filter([*about, "loss", "score"]).assign(drawn="run")]
    for family, end, x, y in _fits(pairs, effects, sampling, dataset):
        fit = pd.DataFrame({"family": family, "width": end["width"], "sampling": sampling, "loss": x, "score": y})
        of_end = {"flat_share": end["estimate"], "verdict": end["verdict"], "n": end["n"], "n_seeds": end["n_seeds"]}
        parts.append(fit.assign(drawn="fit", **of_end))
    return pd.concat(parts, ignore_index=True)


def _fits(
    pairs: pd.DataFrame, effects: pd.DataFrame, sampling: str, dataset: str
) -> Iterator[tuple[str, pd.Series, np.ndarray, np.ndarray]]:
    """Family, its flat end, and losses and scores of the monotone fit of one sampling."""
    ends = effects[(effects["kind"] == "flat end") & (effects["term"] == sampling) & (effects["dataset"] == dataset)]
    ends = ends[ends["task"] == "classification"].drop_duplicates("family").set_index("family")
    for family, end in ends.loc[ends.index.isin(pairs["family"])].iterrows():
        of_family = pairs[(pairs["family"] == family) & (pairs["width"] == end["width"])]
        means = seed_means(of_family[of_family["sampling"] == sampling], ["loss", "score"])
        yield family, end, *monotone_fit(*(means[column].to_numpy(float) for column in ("loss", "score", "n")))


@figure
def equal_budgets(runs: pd.DataFrame, *, dataset: str, metric_name: str) -> Figure:
    """Scores of models against the cells they learned from, and against the FLOPs of their training.

    Of equally costly sizes the line over FLOPs has the largest, as in `equal_compute`.
    """
    names = runs["family"] + runs["width"].map("-w{:g}".format).where(runs["width"] != 1, "")
    families = looks.ordered(runs["family"], "families")
    fig, panels = plt.subplots(1, 2, figsize=(style.FULL, 3.0), sharey=True)
    titles = {"n_cells": "equal data: cells in the corpus", "flops": "equal compute: FLOPs of training"}
    for axes, (column, title) in zip(panels, titles.items(), strict=True):
        for number, (name, part) in enumerate(runs.groupby(names, sort=False)):
            colour = looks.family_colour(part["family"].iloc[0])
            means = part.groupby("percentage")[[column, "score"]].mean()
            means = means.loc[flops_of_sizes(part).index] if column == "flops" else means
            axes.plot(part[column], part["score"], "o", ms=2.5, alpha=0.5, mew=0, color=colour)
            line = ("-", "--", ":", "-.")[number % 4 if len(families) < names.nunique() else 0]
            label = style.family_name(name)
            axes.plot(means[column], means["score"], ls=line, marker="o", ms=4, color=colour, label=label)
        axes.set(xscale="log", xlabel=title)
        if column == "n_cells":
            layout.size_axis(axes, *study_figures.sizes_of(runs))
        else:
            layout.log_ticks(axes.xaxis, runs[column].min(), runs[column].max())
    panels[0].set_ylabel(f"{metric_name} on {dataset}")
    seeds = counted(runs.groupby([names, "percentage"]).size(), "seed")
    n, sizes = counted(len(runs), "run"), counted(runs["percentage"].nunique(), "size")
    about = f"{n} of random cells, {sizes}, {seeds} of each (dots), means (lines)"
    layout.shared_legend(fig, panels[:1], title=f"{about}.\nNothing is told beyond either end of a line.")
    return fig
