"""Figures of scaling laws: fitted curves with their bands, excess losses, exponents, verdicts, compute frontiers."""

from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from helpers.analysis.forms import EXPONENTS
from helpers.analysis.laws import NAMES, told_range, told_sizes
from helpers.analysis.scaling import VERDICTS, ScalingFit
from helpers.plots import layout, looks, style
from helpers.plots.drawn_rows import led_by_power_law, means_above, runs_of_curve
from helpers.plots.style import figure
from helpers.reading import between
from helpers.words import counted

TALLEST = 8  # inches of rows of names, on a page


def _sized(table: pd.DataFrame) -> pd.Series:
    """Names of the models of curves, with width and budget where the table holds several for a model."""
    names = table["model"].map(style.family_name)
    for column, form in (("width", "{:g}×"), ("budget", "{}")):
        several = table.groupby("model")[column].transform("nunique") > 1
        told = ["" if pd.isna(value) else form.format(value) for value in table[column]]
        names = names.where(~several, names + " " + pd.Series(told, index=table.index).str.replace("cell_views=", ""))
    return names.str.strip()


def _told(table: pd.DataFrame) -> str:
    """Runs of what is shown, for a legend's title."""
    return (
        f"{counted(table['n_runs'], 'model')} a panel, {counted(table['seeds'], 'seed')} (dots); "
        f"line: leading form; band: 90 % interval within the range, which tells nothing beyond it\n"
        f"in words: the verdict, then the leading form with its exponent{_shared(table)}"
    )


def _shared(table: pd.DataFrame) -> str:
    return layout.shared(table.loc[table["axis"] == "n_cells", "sampling"])


@figure
def fitted_curves(table: pd.DataFrame, curves: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Losses of runs, the leading form and its band: models in rows, datasets in columns; colours are verdicts.

    `table` holds the curves of one axis and metric by their number, `curves` what `law_curves` returns, `runs` what
    `losses` returns with a column `model`.
    """
    axis, metric = table["axis"].iloc[0], table["metric"].iloc[0]
    models, names = looks.ordered(table["model"], "families"), looks.ordered(table["dataset"], "sets")
    fig, panels = layout.rows_of_sets(len(models), len(names), height=1.45)
    for row, model in zip(panels, models, strict=True):
        for axes, name in zip(row, names, strict=True):
            part = table[(table["model"] == model) & (table["dataset"] == name)]
            for number, law in part.iterrows():
                own = runs_of_curve(law, runs)
                _draw_law(axes, law, curves[curves["curve"] == number], own[axis], own["loss"])
                if axis == "n_cells":
                    sizes = own.drop_duplicates("percentage").sort_values("percentage")
                    cells, shares = sizes["n_cells"].to_numpy(), sizes["percentage"].to_numpy()
                    layout.size_axis(axes, cells, shares, name_percentages=axes in panels[0])
    what = layout.narrow(("" if metric == "heldout_loss" else "1 − ") + style.metric_name(metric))
    rows = [f"{style.family_name(model)}\n{what}" for model in models]
    layout.name_rows(panels, rows, names, xlabel=NAMES[axis])
    handles = [plt.Line2D([], [], color=colour, lw=3, label=name) for name, colour in style.VERDICT_LINES.items()]
    columns = 4 if len(names) > 1 else 2
    fig.legend(handles=handles, loc="outside lower center", ncols=columns, title=layout.wrapped(fig, _told(table)))
    layout.clear_of_marks(fig, panels.flat)
    return fig


def _draw_law(axes: Axes, law: pd.Series, curve: pd.DataFrame, x: pd.Series, loss: pd.Series) -> None:
    colour, field = (colours[law["verdict"]] for colours in (style.VERDICT_LINES, style.VERDICT_COLOURS))
    axes.plot(x, loss, "o", ms=2.5, mew=0, color=looks.family_colour(law["model"]), alpha=0.6)
    axes.plot(curve["x"], curve["value"], color=colour, lw=1.4)
    axes.fill_between(curve["x"], curve["low"], curve["high"], color=field, alpha=0.7, lw=0)
    form = "" if law["form"] == law["verdict"] else f"{law['form']} "
    told = f"{law['verdict']}\n{form}{_exponent(law, apart=chr(10))}".strip()
    axes.text(0.97, 0.95, told, transform=axes.transAxes, ha="right", va="top", size=style.SMALLEST)
    axes.set_xscale("log")
    if law["axis"] != "n_cells":
        layout.log_ticks(axes.xaxis, x.min(), x.max())


def _exponent(law: pd.Series, apart: str = " ") -> str:
    """The exponent of a law and its interval, of either what is known."""
    if not np.isfinite(law["exponent"]):
        return ""
    known = np.isfinite([law["low"], law["high"]]).all()
    told = f"({law['low']:.2f} to {law['high']:.2f})" if known else "(no interval)"
    return f"{law['exponent']:.2f}{apart}{told}"


@figure
def excess_loss(table: pd.DataFrame, curves: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Mean loss of each size above the fitted floor, on logarithmic axes, where the verdict is a power law.

    Parameters as in `fitted_curves`; the curves are over cells.
    """
    laws = table[table["verdict"] == "power law"]
    names = _sized(laws)
    axis, models = table["axis"].iloc[0], looks.ordered(laws["model"], "families")
    colours = dict(zip(looks.ordered(table["dataset"], "sets"), cycle(looks.COLOURS), strict=False))
    fig, panels = layout.grid(len(models), height=3.2)
    for axes, model in zip(panels, models, strict=True):
        for number, law in _in_order(laws[laws["model"] == model]).iterrows():
            colour = colours[law["dataset"]]
            means = means_above(law, runs)
            curve = curves[curves["curve"] == number]
            sized = names[number].removeprefix(style.family_name(model)).strip()
            label = f"{sized}{', ' * bool(sized)}{law['dataset']}: {_exponent(law)}"
            marker = looks.sampling_marker(law["sampling"])[0]
            axes.plot(means.index, means, marker, ms=3.5, color=colour, label=label)
            axes.plot(curve["x"], curve["value"] - law["floor"], color=colour, lw=1.1)
        axes.set(yscale="log", title=style.family_name(model), xlabel=NAMES[axis])
        of_sizes = runs[runs["model"] == model].groupby(axis)["percentage"].first()
        layout.size_axis(axes, of_sizes.index.to_numpy(), of_sizes.to_numpy())
        layout.log_ticks(axes.yaxis, *axes.get_ylim())
        axes.legend(title="exponent (90 %)", fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=1)
    for axes in panels:
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel("mean loss above the fitted floor")
    told = f"{counted(laws['n_runs'], 'model')} a curve, {counted(laws['seeds'], 'seed')}; dots: means of seeds"
    reach = f"up to {laws['largest'].max():,.0f} cells, and nothing is known beyond{_shared(laws)}"
    layout.head(fig, f"{told}; {reach}")
    handles = [
        plt.Line2D([], [], ls="", marker=looks.sampling_marker(name)[0], color=style.GREY, label=told)
        for name in looks.ordered(laws["sampling"], "samplings")
        for told in [style.sampling_name(name)]
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=4)
    return fig


@figure
def exponent_forest(table: pd.DataFrame) -> Figure:
    """Exponents with 90 % intervals of all curves that lead with a power law; open: the verdict is another one."""
    laws = _in_order(led_by_power_law(table))
    fig, axes = plt.subplots(figsize=(style.FULL, 1.3 + min(0.135 * len(laws), TALLEST)))
    labels, names = [], _sized(laws)
    for place, (_, law) in enumerate(laws.iterrows()):
        colour = looks.family_colour(law["model"])
        at = -place
        axes.plot([law["low"], law["high"]], [at, at], "|-", ms=3, color=colour, lw=1.2)
        if np.isfinite(law["exponent"]):
            filled = colour if law["verdict"] == "power law" else "white"
            marker = looks.sampling_marker(law["sampling"])[0] if law["sampling"] else "o"
            axes.plot(law["exponent"], at, marker, ms=4, mfc=filled, mec=colour)
        what = style.score_name(law["task"], law["metric"])
        how = style.sampling_name(law["sampling"]) or "all"
        labels.append(f"{names[law.name]} · {what} · {law['dataset']} · {how} · {NAMES[law['axis']]}")
    axes.set_yticks(-np.arange(len(laws)), labels, size=6)
    axes.set(xlabel="exponent, 90 % interval", xlim=(0, None), ylim=(-len(laws) + 0.3, 0.7))
    if laws.empty:
        layout.head(fig, "No curve is led by a power law")
        return fig
    told = f"{counted(laws['n_runs'], 'model')} a curve, {counted(laws['seeds'], 'seed')}"
    ranges = "; ".join(told_range(part) for _, part in laws.groupby("axis", sort=False))
    looked_at = "\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}".join(f"{end:g}" for end in np.exp(EXPONENTS))
    layout.head(
        fig,
        f"Curves that a power law leads ({told})\nfitted to {ranges}; nothing is known beyond\n"
        "open mark: the verdict is no power law; no mark: not told, since the interval "
        f"is 1 or wider or reaches an end of what is looked at ({looked_at}){_shared(laws)}",
    )
    axes.axvline(0, color=style.GREY, lw=0.8)
    return fig


@figure
def verdict_map(table: pd.DataFrame) -> Figure:
    """Verdict of every curve of one axis: what is judged in rows, models and samplings in columns.

    Curves with too few sizes for any form are left out, and counted.
    """
    few, table = int((table["form"] == "").sum()), _in_order(table[table["form"] != ""])
    judged = table[["task", "metric", "dataset"]].itertuples(index=False, name=None)
    rows = [f"{style.score_name(task, metric)}: {name}" for task, metric, name in judged]
    codes = table["verdict"].map(VERDICTS.index).to_numpy()
    named = pd.DataFrame({"row": rows, "column": _sized(table).to_numpy(), "code": codes})
    named["sampling"] = table["sampling"].to_numpy()
    grid = named.pivot_table(index="row", columns=["sampling", "column"], values="code", sort=False)
    left_out = f"; left out for too few sizes: {counted(few, 'curve')}" if few else ""
    blank = "; blank: not judged" if grid.isna().to_numpy().any() else ""
    told = (
        f"Losses, or 1 − score: verdicts on {counted(len(table), 'curve')}, {told_sizes(table)}{left_out}{blank}. "
        "A verdict holds within the range and tells nothing beyond it; the same test cells judge all runs."
    )
    names = list(dict.fromkeys(named["column"]))
    shown = dict.fromkeys(looks.ordered(named["sampling"], "samplings"), len(names))
    fig, panels = layout.curve_panels(shown, height=1.9 + 0.17 * grid.shape[0])
    colours = ListedColormap([style.VERDICT_COLOURS[name] for name in VERDICTS])
    for sampling, axes in panels.items():
        fields = grid[sampling].reindex(columns=names).to_numpy()
        axes.pcolormesh(fields, cmap=colours, vmin=-0.5, vmax=len(VERDICTS) - 0.5, edgecolors="white", lw=1)
        axes.invert_yaxis()
    layout.name_columns(panels.values(), names, list(grid.index))
    layout.head(fig, told)
    handles = [plt.Rectangle((0, 0), 1, 1, color=style.VERDICT_COLOURS[name], label=name) for name in VERDICTS]
    fig.legend(handles=handles, loc="outside lower center", ncols=4 if fig.get_figwidth() > 5 else 2)
    return fig


def _in_order(laws: pd.DataFrame) -> pd.DataFrame:
    """Laws by axis, model, task, set and sampling, in the order that they have in every figure."""
    kinds = {"model": "families", "dataset": "sets", "sampling": "samplings"}
    places = {
        column: laws[column].map({name: place for place, name in enumerate(looks.ordered(laws[column], kind))})
        for column, kind in kinds.items()
    }
    places["task"] = laws["task"].map({name: place for place, name in enumerate(style.TASK_NAMES)})
    keys = laws[["axis", "metric"]].assign(**places)
    order = ["axis", "model", "task", "metric", "dataset", "sampling"]
    return laws.loc[keys.sort_values(order, kind="stable").index]


@figure
def compute_frontier(profiles: pd.DataFrame, frontier: pd.DataFrame, *, title: str) -> Figure:
    """Loss against model size at several budgets with bands, and the compute-optimal size of each budget.

    `profiles` has budget, n_parameters, value, low, high; `frontier` is that of `JointFit`.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(style.FULL, 2.9))
    budgets = list(dict.fromkeys(profiles["budget"]))
    for budget, colour in zip(budgets, looks.sequential(len(budgets)), strict=True):
        part = profiles[profiles["budget"] == budget]
        left.plot(part["n_parameters"], part["value"], color=colour, label=layout.plain(budget))
        left.fill_between(part["n_parameters"], part["low"], part["high"], color=colour, alpha=0.25, lw=0)
        best = frontier[frontier["budget"] == budget].iloc[0]
        left.plot(best["n_parameters"], best["loss"], "o", ms=4, mec=colour, mfc=colour if best["inside"] else "white")
    shown = profiles["value"].quantile([0, 0.9])
    left.set(xscale="log", xlabel="parameters", ylabel="predicted loss")
    left.set_ylim(shown.iloc[0] - 0.1 * np.ptp(shown), shown.iloc[1] + 0.1 * np.ptp(shown))
    left.legend(title="FLOPs", fontsize=6)
    right.plot(frontier["budget"], frontier["n_parameters"], color=style.GREY, lw=1.2)
    right.fill_between(frontier["budget"], frontier["low"], frontier["high"], color=style.GREY, alpha=0.25, lw=0)
    right.set(xscale="log", yscale="log", xlabel="training FLOPs", ylabel="compute-optimal parameters")
    for axis in (left.xaxis, right.xaxis, right.yaxis):
        layout.log_ticks(axis, *axis.get_view_interval())
    ranges = f"{between(profiles['n_parameters'], ',.0f')} parameters and {between(budgets, '.1e')} FLOPs"
    layout.head(
        fig,
        f"{title}; bands: 90 %; open dots: more than was fitted, in parameters or in cells\n"
        f"shown: {ranges}; beyond what was fitted the law is extrapolated",
    )
    return fig


@figure
def controls(coverage: pd.DataFrame, rates: pd.DataFrame, runs: pd.DataFrame, law: ScalingFit) -> Figure:
    """What `80_controls` found: coverage of intervals, right verdicts by noise, and the law of simulated cells."""
    fig, (first, second, third) = plt.subplots(1, 3, figsize=(style.FULL, 3.3), width_ratios=[1, 1.2, 1])
    first.axvspan(0.85, 0.95, color="#D9D9D9", lw=0)
    first.plot(coverage["held"], coverage["quantity"], "o", color=style.GREY)
    first.invert_yaxis()
    first.set(xlim=(0.7, 1), xlabel="share of 90 % intervals that hold the truth", title="joint law")
    for truth, shapes in rates.groupby("truth", sort=False):
        for number, (shape, part) in enumerate(shapes.groupby("shape", sort=False)):
            look = ("o-", "s--", "^:")[number]
            second.plot(part["ratio"], part["right"], look, ms=4, color=style.VERDICT_LINES[truth], label=shape)
    second.axhline(0.95, color=style.GREY, lw=0.9, ls=":")
    second.set(xscale="log", ylim=(-0.03, 1.03), xlabel="range / SD of seeds", title="right verdicts")
    second.set_xticks(ratios := sorted(set(rates["ratio"])), [f"{ratio:g}" for ratio in ratios])
    second.set_xticks([], minor=True)
    second.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    told = f"{rates['repeats'].iloc[0]} tables a dot, 9 sizes, 5 seeds; simulated cells: {len(runs)} models"
    told += f", {between(runs['n_cells'], ',.0f')} cells"
    layout.head(fig, f"{told}; tells of planted shapes, and of no others")
    floor = law.predict(law.curve.x[-1:])[0] - law.to_come
    x = np.geomspace(*law.curve.x[[0, -1]], 50)
    third.plot(runs["n_cells"], runs["loss"] - floor, "o", ms=3, mew=0, alpha=0.5, color="#333333")
    label = f"exponent {law.exponent:.2f}\n({law.interval[0]:.2f} to {law.interval[1]:.2f})"
    third.plot(x, law.predict(x) - floor, color=style.VERDICT_LINES["power law"], label=label)
    third.set(xscale="log", yscale="log", xlabel="simulated cells", title="PCA's loss above its floor")
    for axis in (third.xaxis, third.yaxis):
        layout.log_ticks(axis, *axis.get_view_interval())
    third.legend()
    return fig
