"""Planted truths and planted nothing, for the analysis itself: does it find what is there, and only that?"""

from collections.abc import Sequence
from itertools import product

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp

from helpers.analysis.joint import REPETITION, effective_data, fit_joint
from helpers.analysis.scaling import VERDICTS, fit_scaling

SIZES = np.geomspace(57, 5655, 9)
N_SEEDS = 5
LEVEL = 10.0  # of a loss that falls by 1: a tenth, as the demo's do
BREAK = np.sqrt(SIZES[0] * SIZES[-1])
BROKEN = {  # power laws that turn steeper in the middle: much is to come, and few sizes tell them from an exponential
    f"broken power law, {before} to {after}": SIZES**-before * (1 + (SIZES / BREAK) ** 2) ** ((before - after) / 2)
    for before, after in ((0.1, 0.8), (0.1, 0.6), (0.05, 1.0))
}
EITHER = ("power law", "not identifiable")
SHAPES = {  # right verdict -> the shapes that it is planted with; a logarithm is no power law with a floor
    "no scaling": {"constant": np.zeros(len(SIZES))},
    "saturated": {f"exponential, scale {scale}": np.exp(-SIZES / scale) for scale in (100, 500, 1000)},
    "power law": {f"power law, {exponent}": SIZES**-exponent for exponent in (0.1, 0.25, 0.4)},
    "not identifiable": {"logarithm": -np.log(SIZES)},
    " or ".join(EITHER): BROKEN,
}
HARDEST = {  # shapes that nine sizes hardly tell from others
    "power law, 0.1": "nearly a logarithm",
    "exponential, scale 1000": "level from the last size on",
}
LAW = {"E": 1.7, "A": 40.0, "alpha": 0.34, "B": 8.0, "beta": 0.28}
POINTS = pd.DataFrame(  # beyond the largest runs in both, in data, and among them
    {"n_parameters": [3e7, 1e7, 1e6], "unique": [57_000.0, 2e5, 1e4], "views": [4e4, 4e5, 4e4]}
)


def planted_curve(
    shape: np.ndarray, ratio: float | np.ndarray, rng: np.random.Generator, *, n_seeds: int = N_SEEDS
) -> pd.DataFrame:
    """Runs of nine sizes whose mean losses fall by 1, with a standard deviation of 1 / `ratio`, or of each size."""
    means = LEVEL + (shape - shape.min()) / (np.ptp(shape) or 1.0)
    losses = means + rng.normal(0, 1 / ratio, (n_seeds, len(SIZES)))
    return pd.DataFrame({"n_cells": np.tile(SIZES, n_seeds), "loss": losses.ravel()})


def verdict_rates(
    ratios: Sequence[float], repeats: int, rng: np.random.Generator, *, n_boot: int = 200
) -> pd.DataFrame:
    """Share of each verdict for each planted shape and ratio of range to standard deviation of seeds.

    Columns: truth (the right verdict, or two of which either is), shape, ratio, repeats, right (share), and each of
    `VERDICTS`.
    """
    rows = []
    for truth, shapes in SHAPES.items():
        for name, shape in shapes.items():
            for ratio in ratios:
                found = [
                    fit_scaling(planted_curve(shape, ratio, rng), rng=rng, n_boot=n_boot).verdict
                    for _ in range(repeats)
                ]
                shares = {verdict: found.count(verdict) / repeats for verdict in VERDICTS}
                right = sum(shares[verdict] for verdict in truth.split(" or "))
                told = {"truth": truth, "shape": name, "ratio": ratio, "repeats": repeats, "right": right}
                rows.append(told | shares)
    return pd.DataFrame(rows)


def planted_runs(ratio: float, rng: np.random.Generator) -> pd.DataFrame:
    """Runs of `LAW`: 5 sizes of model × 7 of corpus × 5 seeds, with a standard deviation of their range / `ratio`."""
    grid = [(n, unique, 4e4) for n in np.geomspace(1e5, 1e7, 5) for unique in np.geomspace(57, 57_000, 7)] * N_SEEDS
    runs = pd.DataFrame(grid, columns=["n_parameters", "n_unique", "cell_views"])
    means = _law(*(runs[name] for name in runs))
    return runs.assign(loss=means + rng.normal(0, np.ptp(means) / ratio, len(runs)))


def planted_non_laws(ratio: float, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """Runs as `planted_runs`, whose loss is no law of the number of parameters: a step, and an exponential."""
    runs = planted_runs(ratio, rng)
    data = LAW["E"] + LAW["B"] / effective_data(runs["n_unique"], runs["cell_views"], REPETITION) ** LAW["beta"]
    sizes = runs["n_parameters"]
    means = {"step": data + 0.5 * (sizes < 1e6), "exponential": data + np.exp(-sizes / 3e5)}
    return {
        name: runs.assign(loss=mean + rng.normal(0, np.ptp(mean) / ratio, len(runs))) for name, mean in means.items()
    }


def non_laws_told(repeats: int, rng: np.random.Generator, *, ratio: float = 40.0, n_boot: int = 100) -> pd.Series:
    """Share of tables of each of `planted_non_laws`, and of `planted_runs`, that are said to follow a joint law."""
    found = []
    for _ in range(repeats):
        tables = {"planted law": planted_runs(ratio, rng)} | planted_non_laws(ratio, rng)
        found.append({name: fit_joint(table, rng=rng, n_boot=n_boot).identifiable for name, table in tables.items()})
    return pd.DataFrame(found).mean()


def axis_coverage(repeats: int, rng: np.random.Generator, *, n_boot: int = 200) -> pd.DataFrame:
    """How often 90 % intervals along one axis hold a planted exponent and the change that it makes.

    Nine sizes, 3 and 5 seeds, with the same spread at all sizes, a twentieth of the range, and with one that shrinks as
    1 / √n from three twentieths. Columns: spread, seeds, exponent (share, of the tables where a power law leads),
    change (share).
    """
    exponent = 0.4
    ratios = {"equal": 20.0, "shrinking": 20 / 3 * np.sqrt(SIZES / SIZES[0])}
    rows = []
    for (name, ratio), seeds in product(ratios.items(), (3, 5)):
        held = {"exponent": [], "change": []}
        for _ in range(repeats):
            runs = planted_curve(SIZES**-exponent, ratio, rng, n_seeds=seeds)
            fit = fit_scaling(runs, rng=rng, n_boot=n_boot)
            held["change"].append(fit.change_interval[0] <= 1 <= fit.change_interval[1])
            if fit.form == "power law":
                held["exponent"].append(fit.interval[0] <= exponent <= fit.interval[1])
        rows.append({"spread": name, "seeds": seeds} | {what: np.mean(values) for what, values in held.items()})
    return pd.DataFrame(rows)


def joint_coverage(repeats: int, rng: np.random.Generator, *, ratio: float = 40.0, n_boot: int = 300) -> pd.DataFrame:
    """How often 90 % intervals of the joint law hold the truth in tables of `planted_runs`.

    One row per quantity (E, alpha, beta, loss at each of `POINTS`): quantity, truth, held (share).
    """
    losses = _law(*(POINTS[name] for name in POINTS))
    truths = {name: LAW[name] for name in ("E", "alpha", "beta")}
    truths |= {f"loss at point {number + 1}": loss for number, loss in enumerate(losses)}
    held = np.zeros((repeats, len(truths)), dtype=bool)
    for repeat in range(repeats):
        fit = fit_joint(planted_runs(ratio, rng), rng=rng, n_boot=n_boot)
        known = fit.parameters.loc[["E", "alpha", "beta"], ["low", "high"]].to_numpy()
        foretold = fit.predict(*(POINTS[name].to_numpy() for name in POINTS))[["low", "high"]].to_numpy()
        low, high = np.concatenate([known, foretold]).T
        held[repeat] = (low <= list(truths.values())) & (list(truths.values()) <= high)
    return pd.DataFrame({"quantity": truths.keys(), "truth": truths.values(), "held": held.mean(axis=0)})


def shuffled_sizes(repeats: int, rng: np.random.Generator, *, n_boot: int = 200) -> pd.Series:
    """Share of each verdict where the losses of a power law are dealt to the sizes at random."""
    shape = SHAPES["power law"]["power law, 0.4"]
    found = []
    for _ in range(repeats):
        runs = planted_curve(shape, 20, rng)
        found.append(fit_scaling(runs.assign(n_cells=rng.permutation(runs["n_cells"])), rng=rng, n_boot=n_boot).verdict)
    return pd.Series({verdict: found.count(verdict) / repeats for verdict in VERDICTS})


def simulated_cells(
    n_cells: int, rng: np.random.Generator, *, n_genes: int = 800, n_factors: int = 4
) -> anndata.AnnData:
    """Raw counts whose logarithmic rates have `n_factors` dimensions, with the same axes in every call.

    `cell_type` in obs is the strongest factor.
    """
    axes = np.random.default_rng(0)
    share, loadings = axes.gamma(2, 1, n_genes), axes.normal(0, 1, (n_factors, n_genes))
    factors = rng.normal(0, 1, (n_cells, n_factors)) * np.linspace(1, 0.7, n_factors)
    rates = share * np.exp(0.5 * factors @ loadings)
    counts = rng.poisson(3000 * rates / rates.sum(axis=1, keepdims=True)).astype(np.float32)
    obs = pd.DataFrame(
        {"cell_type": np.abs(factors).argmax(axis=1).astype(str)}, index=[f"c{i}" for i in range(n_cells)]
    )
    return anndata.AnnData(sp.csr_matrix(counts), obs, pd.DataFrame(index=[f"g{i}" for i in range(n_genes)]))


def _law(n_parameters: np.ndarray, unique: np.ndarray, views: np.ndarray) -> np.ndarray:
    data = effective_data(np.asarray(unique), np.asarray(views), REPETITION)
    return LAW["E"] + LAW["A"] / np.asarray(n_parameters) ** LAW["alpha"] + LAW["B"] / data ** LAW["beta"]
