"""The runs and numbers that figures of laws and effects draw: for their captions, and for the tables behind them."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from helpers.analysis import laws

_RANGE = ["n_sizes", "n_runs", "seeds", "smallest", "largest"]
VERDICT = ["task", "metric", "dataset", "model", "width", "budget", "sampling", "verdict", "form", *_RANGE]
EXPONENT = [*laws.CURVE, "verdict", "form", "exponent", "low", "high", *_RANGE]


def runs_of_curve(law: pd.Series, runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of a curve over corpus sizes; `runs` is what `laws.losses` returns, with a column `model`."""
    same = [runs[name] == law[name] for name in ("model", "width", "budget", "sampling", "dataset", "metric")]
    return runs[np.logical_and.reduce(same)]


def runs_of_curves(table: pd.DataFrame, runs: pd.DataFrame, models: Mapping[str, str]) -> pd.DataFrame:
    """The runs of the curves of a table of laws along any axis, each once; `runs` and `models` as in `laws.curves`."""
    wanted = {_key(row) for row in table.to_dict("records")}
    found = [part.index for names, part in laws.curves(runs, models) if _key(names) in wanted]
    return runs[runs.index.isin(np.concatenate(found))] if found else runs.iloc[:0]


def _key(names: Mapping[str, object]) -> tuple:
    return tuple(None if pd.isna(names[name]) else names[name] for name in laws.CURVE)


def led_by_power_law(table: pd.DataFrame) -> pd.DataFrame:
    """The laws with an interval of the exponent whose leading form is a power law, unbroken."""
    return table[np.isfinite(table["low"]) & (table["form"] == "power law")]


def fitted_rows(table: pd.DataFrame, curves: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """What `scaling_figures.fitted_curves` draws of laws over cells: column `drawn` tells dots of runs from the curve.

    `x` in cells, `y` the loss, `low` and `high` the band of the curve; parameters as in `fitted_curves`.
    """
    parts = []
    for number, law in table.iterrows():
        own = runs_of_curve(law, runs)
        dots = own.filter(["run_id", "subset_seed", "percentage"]).assign(x=own[law["axis"]], y=own["loss"])
        line = curves.loc[curves["curve"] == number, ["x", "value", "low", "high"]].rename(columns={"value": "y"})
        parts.append(_named(law, pd.concat([dots.assign(drawn="run"), line.assign(drawn="curve")])))
    return pd.concat(parts, ignore_index=True).dropna(axis=1, how="all")


def means_above(law: pd.Series, runs: pd.DataFrame) -> pd.Series:
    """Mean loss of each size above the fitted floor, by the number of cells."""
    return runs_of_curve(law, runs).groupby(law["axis"])["loss"].mean() - law["floor"]


def excess_rows(table: pd.DataFrame, curves: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """What `scaling_figures.excess_loss` draws: means and fitted lines above the floor, with the fits' parameters."""
    parts = []
    for number, law in table[table["verdict"] == "power law"].iterrows():
        means = means_above(law, runs).rename_axis("x").rename("y").reset_index()
        line = curves.loc[curves["curve"] == number, ["x", "value"]]
        line = pd.DataFrame({"x": line["x"], "y": line["value"] - law["floor"]})
        fit = {name: law[name] for name in ("floor", "exponent")}
        fit |= {"exponent_low": law["low"], "exponent_high": law["high"]}
        parts.append(_named(law, pd.concat([means.assign(drawn="mean"), line.assign(drawn="fit")])).assign(**fit))
    return pd.concat(parts, ignore_index=True)


def _named(law: pd.Series, rows: pd.DataFrame) -> pd.DataFrame:
    about = ["model", "width", "budget", "sampling", "task", "dataset", "metric", "verdict", "form"]
    named = rows.assign(**{name: law[name] for name in about})
    return named[[*about, "drawn", *rows.columns.drop("drawn")]]


def compared_runs(effects: pd.DataFrame, runs: pd.DataFrame, *, reference: str) -> pd.DataFrame:
    """The runs that testable effects of samplings compare: of each and of the reference at the sizes that both have.

    `effects` has task, dataset, metric, family, width and term, `runs` the same, sampling and percentage.
    """
    judged, kept = ["task", "dataset", "metric", "family", "width"], set()
    by_model = dict(list(runs.groupby(judged)))
    for effect in effects[effects["testable"]].itertuples():
        own = by_model[tuple(getattr(effect, name) for name in judged)]
        arms = [own[own["sampling"] == name] for name in (effect.term, reference)]
        for arm, other in (arms, arms[::-1]):
            kept.update(arm.index[arm["percentage"].isin(other["percentage"])])
    return runs[runs.index.isin(kept)]
