"""Every curve of a study along every axis that it varies, fitted and judged."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from helpers.analysis.curves import NAMES
from helpers.analysis.results import require, with_sampling
from helpers.analysis.scaling import FEWEST_SIZES, VERDICTS, ScalingFit, fit_scaling
from helpers.design import NO_STRATEGY, UNTRAINED, Design
from helpers.words import counted, doing, listed

LOSSES = {  # task, metric -> whether 1 - score is its loss
    ("heldout_loss", "heldout_loss"): False,
    ("classification", "macro_f1"): True,
    ("finetuning", "macro_f1"): True,
    ("integration", "avg_bio"): True,
    ("perturbation", "calibrated_specific_r"): True,
}
MODEL = ("model", "width", "weight_decay", "budget")
# Axis -> what its runs have in common, beside task, dataset and metric; what is not in common varies with the axis.
SAME = {
    "n_cells": (*MODEL, "sampling"),
    "unique_cells": (*MODEL, "sampling"),
    "n_donors": (*MODEL, "strategy", "percentage"),
    "n_datasets": (*MODEL, "strategy", "percentage"),
    "umis_per_cell": (*MODEL, "percentage"),
    "n_parameters": ("model", "weight_decay", "budget", "sampling", "percentage"),
    "cell_views": ("model", "width", "weight_decay", "sampling", "percentage"),
    "flops": ("model", "weight_decay", "sampling", "percentage"),
}
STRATEGIES = {"n_donors": ("donors",), "n_datasets": ("datasets",), "umis_per_cell": ("depth", "random")}
# What comes out of a run and differs by its seed: early stopping ends training at different steps, and subsets of one
# size have other donors and medians.
REALISED = ("cell_views", "flops", "unique_cells", "n_donors", "n_datasets", "umis_per_cell")
CURVE = ["axis", "model", "width", "budget", "sampling", "percentage", "task", "dataset", "metric"]


LAW_COLUMNS = [
    *(*CURVE, "verdict", "reason", "form", "exponent", "low", "high", "change", "change_low", "change_high"),
    *("to_come", "to_come_bound", "floor", "more", "more_low", "more_high", "sd", "n_sizes", "n_runs", "seeds"),
    *("smallest", "largest"),
]


@dataclass(frozen=True)
class Law:
    """A fitted curve: `names` (of `CURVE`; NaN or no text for what varies along it), and its `runs` with `loss`."""

    names: dict
    runs: pd.DataFrame
    fit: ScalingFit


def alike(design: Design) -> dict[str, str]:
    """For each model of a design the first one that differs from it in width and budget alone."""
    first: dict[str, str] = {}
    models = {}
    for name, settings in design.families.items():
        told = settings.model_dump_json(exclude={"widths", "budget"})
        models[name] = first.setdefault(told, name)
    return models


def losses(results: pd.DataFrame) -> pd.DataFrame:
    """Rows of trained runs with a column `loss`: the held-out loss, or 1 - score, of the metrics of `LOSSES`.

    Runs without a finite value are left out.
    """
    require(results, ["task", "metric", "value", "strategy", "percentage"])
    keys = pd.MultiIndex.from_frame(results[["task", "metric"]])
    rows = results[keys.isin(list(LOSSES)) & ~results["strategy"].isin([NO_STRATEGY, UNTRAINED])]
    rows = rows[np.isfinite(rows["value"]) & (rows["percentage"] > 0)]
    turned = [LOSSES[key] for key in zip(rows["task"], rows["metric"], strict=True)]
    return with_sampling(rows).assign(loss=np.where(turned, 1 - rows["value"], rows["value"]))


def curves(runs: pd.DataFrame, models: Mapping[str, str]) -> Iterator[tuple[dict, pd.DataFrame]]:
    """Every curve by axis: its names and its runs. Along corpus sizes it has two points or more, along others four.

    What differs by seed is averaged over the seeds of one size. Along donors, datasets and depth, the number of cells
    is the same; `random` gives the cells of full depth. Along unique cells stand those that training came to see,
    where these are not all. Along FLOPs stand the models that no cheaper one beats.
    """
    runs = runs.assign(model=runs["family"].map(models))
    for name in runs.columns.intersection(REALISED):
        means = runs.groupby([*MODEL, "sampling", "percentage"], dropna=False)[name].transform("mean")
        runs[name] = means.round(1 if name in STRATEGIES else 0)
    for axis, same in ((axis, same) for axis, same in SAME.items() if axis in runs):
        part = runs[runs[axis].notna()]
        if axis in STRATEGIES:
            part = part[part["strategy"].isin(STRATEGIES[axis])]
            part = part[(part["sampling"] != part["strategy"]) | (part["strategy"] == "random")]
        for _, curve in part.groupby([*same, "task", "dataset", "metric"], dropna=False):
            if axis == "unique_cells" and (curve["unique_cells"] == curve["n_cells"]).all():
                continue
            curve = _envelope(curve) if axis == "flops" else curve
            values = curve[axis].round().nunique()
            if values >= FEWEST_SIZES or (axis == "n_cells" and values > 1):
                yield {"axis": axis} | {name: _shared(curve[name]) for name in CURVE[1:]}, curve


def _envelope(curve: pd.DataFrame) -> pd.DataFrame:
    """Of models of several widths and budgets, those that no cheaper one beats.

    A run is judged by the means of the other seeds, so that its own luck has no part in whether it stands here: minima
    of noise fall too. Of noise alone 13 % of the intervals of the change lie above 0 (40 % without this; 5 would be
    right). With one seed, of which no interval is told, by the values themselves.
    """
    seeds = curve["subset_seed"].unique()
    kept = []
    for seed in seeds:
        others = curve[curve["subset_seed"] != seed] if len(seeds) > 1 else curve
        means = others.groupby("flops")["loss"].mean()
        kept.append(curve["flops"].isin(means.index[means == means.cummin()]) & (curve["subset_seed"] == seed))
    return curve[np.logical_or.reduce(kept)]


def _shared(values: pd.Series) -> object:
    """The one value of a column, or what says that there are several: NaN for numbers, no text for names."""
    if len(values.unique()) == 1:
        return values.iloc[0]
    return np.nan if pd.api.types.is_numeric_dtype(values) else ""


def fit_laws(
    results: pd.DataFrame, *, models: Mapping[str, str], rng: np.random.Generator, n_boot: int = 1000
) -> list[Law]:
    """Fit every curve of the results along every axis that they vary; `models` is `alike` of the design."""
    found = []
    for names, runs in curves(losses(results), models):
        runs = runs.drop(columns="family")
        fitted = fit_scaling(runs, x=names["axis"], rng=rng.spawn(1)[0], n_boot=n_boot)
        found.append(Law(names, runs, fitted))
    return found


def law_table(laws: list[Law]) -> pd.DataFrame:
    """One row per curve: names, verdict, reason, form, exponent with interval, change, gain to come, what 1 % less loss
    takes, floor, sizes, seeds and range.
    """
    return pd.DataFrame([_row(law) for law in laws], columns=LAW_COLUMNS)


def law_curves(laws: list[Law], n_points: int = 60) -> pd.DataFrame:
    """The leading form of each curve with its 90 % band on `n_points` values over the range: x, value, low, high."""
    tables = []
    for number, law in enumerate(laws):
        if not law.fit.form:
            continue
        x = np.geomspace(law.fit.curve.x[0], law.fit.curve.x[-1], n_points)
        low, high = law.fit.band(x)
        tables.append(pd.DataFrame({"curve": number, "x": x, "value": law.fit.predict(x), "low": low, "high": high}))
    return (
        pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["curve", "x", "value", "low", "high"])
    )


def told_sizes(table: pd.DataFrame) -> str:
    """How many sizes and seeds the curves of one axis have, and from where to where they reach, in words."""
    return f"{counted(table['n_sizes'], 'size')}, {told_range(table)}, {counted(table['seeds'], 'seed')} each"


def told_range(table: pd.DataFrame) -> str:
    """From where to where the curves of one axis reach, in words."""
    return f"{table['smallest'].min():,.6g} to {table['largest'].max():,.6g} {NAMES[table['axis'].iloc[0]]}"


def told_verdicts(verdicts: pd.Series) -> str:
    """How many curves have which verdict, in words; power laws even if there are none, and all adds up."""
    counts = {name: int((verdicts == name).sum()) for name in VERDICTS}
    ways = {
        "power law": ("follows a power law", "follow a power law"),
        "saturated": ("saturates", "saturate"),
        "no scaling": ("shows no scaling", "show no scaling"),
        "not identifiable": ("is not identifiable", "are not identifiable"),
    }
    return listed([doing(counts[name], *told) for name, told in ways.items() if counts[name] or name == "power law"])


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The curves with their verdicts, as a reader wants them; exponents never without their interval."""
    told = {
        "axis": table["axis"].map(NAMES),
        "model": table["model"],
        "sampling": table["sampling"],
        "dataset": table["dataset"],
        "verdict": table["verdict"],
        "form": table["form"],
        "exponent (90 %)": [_interval(*row) for row in table[["exponent", "low", "high"]].to_numpy()],
        "change (90 %)": [_interval(*row) for row in table[["change", "change_low", "change_high"]].to_numpy()],
        "1 % less (90 %)": [_interval(*row) for row in table[["more", "more_low", "more_high"]].to_numpy()],
        "reason": table["reason"].str.split("; ", n=1).str[-1],
    }
    return pd.DataFrame(told)


def _interval(value: float, low: float, high: float) -> str:
    if np.isnan(low):
        return "–"
    middle = "not told" if np.isnan(value) else f"{value:.3g}"
    return f"{middle} ({low:.3g} to {high:.3g})"


def _row(law: Law) -> dict:
    fit = law.fit
    more = fit.more_for(0.01) if fit.verdict == "power law" else (np.nan,) * 3
    floor = fit.predict(fit.curve.x[-1:])[0] - fit.to_come if fit.form else np.nan
    return law.names | {
        "verdict": fit.verdict,
        "reason": fit.reason,
        "form": fit.form,
        "exponent": fit.exponent,
        "low": fit.interval[0],
        "high": fit.interval[1],
        "change": fit.change,
        "change_low": fit.change_interval[0],
        "change_high": fit.change_interval[1],
        "to_come": fit.to_come,
        "to_come_bound": fit.to_come_bound,
        "floor": floor,
        "more": more[0],
        "more_low": more[1],
        "more_high": more[2],
        "sd": fit.curve.sd,
        "n_sizes": len(fit.curve.x),
        "n_runs": len(fit.curve.losses),
        "seeds": int(np.median(fit.curve.n)),
        "smallest": fit.curve.x[0],
        "largest": fit.curve.x[-1],
    }
