"""Loss as a law of parameters and data together, L(N, D) = E + A / N^α + B / D′^β, and what it says about budgets."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from helpers.analysis.curves import Curve, read_curve
from helpers.analysis.forms import EXPONENTS, power, untold
from helpers.analysis.separable import Fits, fit, fit_one

REPETITION = 15.39  # R* of language models
REPETITIONS = np.log([0.1, 1000.0])
FEWEST = 3  # distinct values along each axis
ENDS = (0.05, 0.95)
N_GRID = 24


def effective_data(unique: np.ndarray, views: np.ndarray, repetition: float | np.ndarray) -> np.ndarray:
    """What cells that were seen several times are worth in cells seen once: D′ = U + U R* (1 - exp(-R / R*)).

    `unique` cells U, R = `views` / U - 1, `repetition` R*, all of shapes that broadcast. Where fewer cells were seen
    than there are, U is `views`. Source: Muennighoff et al. 2023, arXiv 2305.16264.
    """
    unique = np.minimum(unique, views)
    return unique * (1 - repetition * np.expm1(-(views / unique - 1) / repetition))


@dataclass(frozen=True)
class JointForm:
    """The law on points (n_points, 3): parameters, unique cells, cell-views; theta are the logarithms of α, β and,
    where it is not fixed, R*. Both columns are (u^-α - 1) / α of axes divided by a typical value.
    """

    centres: np.ndarray
    repetition: float | None
    name: str = "joint"

    @property
    def bounds(self) -> np.ndarray:
        """Of theta."""
        return np.array([EXPONENTS, EXPONENTS, *([REPETITIONS] if self.repetition is None else [])])

    def columns(self, theta: np.ndarray, points: np.ndarray) -> np.ndarray:
        """(n_tables, n_theta), (n_points, 3) -> (n_tables, n_points, 2)."""
        alpha, beta = np.exp(theta[:, 0]), np.exp(theta[:, 1])
        repetition = self.repetition if self.repetition is not None else np.exp(theta[:, 2:])
        data = np.broadcast_to(effective_data(points[:, 1], points[:, 2], repetition), (len(theta), len(points)))
        return np.stack([power(alpha, points[:, 0] / self.centres[0]), power(beta, data / self.centres[1])], axis=2)


@dataclass(frozen=True)
class JointFit:
    """The fitted law; intervals are of 90 %.

    Attributes
    ----------
    parameters
        By name (E, A, alpha, B, beta, R*): value, low, high. A and B depend on the units of parameters and cells, and
        are hardly knowable; R* has no interval where it is fixed.
    identifiable, reason
        Whether both exponents have an interval under 1 that lies inside what is looked at, A and B are positive, and
        the law fits the means (`Curve.misfit`, at 1 %); in words why not.
    fixed_repetition
        Whether R* is that of language models, since nowhere are there three numbers of cell-views for the same cells.
    curve
        The runs.
    """

    parameters: pd.DataFrame
    identifiable: bool
    reason: str
    fixed_repetition: bool
    curve: Curve
    _fit: Fits = field(repr=False)
    _draws: Fits = field(repr=False)

    def predict(self, n_parameters: np.ndarray, unique: np.ndarray, views: np.ndarray) -> pd.DataFrame:
        """Loss with its interval at points, each (n,): columns value, low, high."""
        points = np.stack(np.broadcast_arrays(n_parameters, unique, views), axis=1).astype(float)
        low, high = np.quantile(self._draws.predict(points), ENDS, axis=0)
        return pd.DataFrame({"value": self._fit.predict(points)[0], "low": low, "high": high})

    def profiles(self, budget: float, flops: float, n_parameters: np.ndarray, unique: float = np.inf) -> pd.DataFrame:
        """Loss of models that share a compute budget, by their number of parameters (n,): value, low, high.

        `flops` are those of one parameter and one cell-view; `unique` cells are there, new ones for each view unless
        said.
        """
        views = budget / (flops * np.asarray(n_parameters, float))
        return self.predict(n_parameters, np.minimum(unique, views), views).assign(
            n_parameters=n_parameters, views=views
        )

    def frontier(
        self, budgets: Sequence[float], flops: float, *, unique: float = np.inf, n_grid: int = 300
    ) -> pd.DataFrame:
        """The compute-optimal number of parameters at each budget in FLOPs, with its band.

        Models up to a hundred times smaller and larger than the fitted ones are looked at. Columns: budget,
        n_parameters, low, high, views, loss, and `inside`, whether the band lies among the sizes that were fitted, and
        what the optimum's cells are worth among theirs.
        Raises ValueError if the law is not identifiable.
        """
        if not self.identifiable:
            raise ValueError(f"no frontier can be told: {self.reason}")
        fitted = self.curve.x[:, 0].min(), self.curve.x[:, 0].max()
        known = effective_data(self.curve.x[:, 1], self.curve.x[:, 2], self.parameters.loc["R*", "value"])
        sizes = np.geomspace(fitted[0] / 100, fitted[1] * 100, n_grid)
        rows = []
        for budget in budgets:
            views = budget / (flops * sizes)
            points = np.stack([sizes, np.minimum(unique, views), views], axis=1)
            losses = self._fit.predict(points)[0]
            (best,), loss = _lowest(sizes, losses[None]), losses.min()
            low, high = np.quantile(_lowest(sizes, self._draws.predict(points)), ENDS)
            needed = budget / (flops * best)
            data = effective_data(np.minimum(unique, needed), needed, self.parameters.loc["R*", "value"])
            inside = fitted[0] <= low and high <= fitted[1] and known.min() <= data <= known.max()
            rows.append((budget, best, low, high, needed, loss, bool(inside)))
        return pd.DataFrame(rows, columns=["budget", "n_parameters", "low", "high", "views", "loss", "inside"])


def _lowest(sizes: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Where losses (n_draws, n_sizes) of sizes at equal ratios are lowest, between sizes by a parabola, (n_draws,)."""
    at, draw = losses.argmin(axis=1).clip(1, len(sizes) - 2), np.arange(len(losses))
    before, here, after = (losses[draw, at + step] for step in (-1, 0, 1))
    bend = before - 2 * here + after
    step = np.divide(before - after, 2 * bend, out=np.zeros_like(bend), where=bend > 0).clip(-1, 1)
    return sizes[at] * (sizes[1] / sizes[0]) ** step


def fit_joint(
    frame: pd.DataFrame,
    *,
    n_parameters: str = "n_parameters",
    unique: str = "n_unique",
    views: str = "cell_views",
    y: str = "loss",
    rng: np.random.Generator,
    n_boot: int = 1000,
) -> JointFit:
    """Fit L(N, D) = E + A / N^α + B / D′^β to runs by variable projection, Huber's loss and a parametric bootstrap.

    Parameters
    ----------
    frame
        One row per run, of one family, dataset and metric, with parameters N, unique cells and cell-views, from which
        D′ follows (`effective_data`). R* is fitted if there are three numbers of cell-views at some size of model and
        number of unique cells, and is that of language models otherwise.
    rng
        Of `n_boot` draws.

    Raises
    ------
    ValueError
        As `fit_scaling`; and fewer than three numbers of parameters or of unique cells, or one run for each.

    Source: Hoffmann et al. 2022, arXiv 2203.15556; Muennighoff et al. 2023, arXiv 2305.16264.
    """
    curve = read_curve(frame, [n_parameters, unique, views], y)
    for column, values in ((n_parameters, curve.x[:, 0]), (unique, curve.x[:, 1])):
        if len(np.unique(values)) < FEWEST:
            raise ValueError(f"{column} takes {len(np.unique(values))} values; a joint law needs at least {FEWEST}")
    if np.isnan(curve.sd):
        raise ValueError("one run for each size: a joint law without intervals is not told; add seeds")
    fixed = pd.DataFrame(curve.x).groupby([0, 1])[2].nunique().max() < FEWEST
    repetition = REPETITION if fixed else None
    data = effective_data(curve.x[:, 1], curve.x[:, 2], REPETITION)
    form = JointForm(np.exp([np.log(curve.x[:, 0]).mean(), np.log(data).mean()]), repetition)
    options = {"delta": curve.delta, "n_grid": N_GRID if fixed else N_GRID // 2}
    point = fit_one(form, curve.x, curve.groups, curve.losses, **options)
    samples = curve.resampled(n_boot, rng)
    draws = fit(form, curve.x, curve.groups, samples, **options, near=point.theta)
    values, of_draws = _parameters(point), _parameters(draws)
    rows = {
        name: (values[name][0], *(np.quantile(of_draws[name], ENDS) if name != "R*" or not fixed else (np.nan, np.nan)))
        for name in values
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["value", "low", "high"])
    against = [text for name in ("alpha", "beta") if (text := untold(name, *table.loc[name, ["low", "high"]]))]
    against += [f"{name} may be negative" for name in ("A", "B") if table.loc[name, "low"] <= 0]
    if why := curve.misfit(point.predict(curve.x)[0], samples, draws.predict(curve.x)):
        against.append(f"the law {why}")
    return JointFit(table, not against, "; ".join(against), fixed, curve, point, draws)


def _parameters(fits: Fits) -> dict[str, np.ndarray]:
    """Those of the law from those of the fit, each (n_tables,)."""
    alpha, beta = np.exp(fits.theta[:, 0]), np.exp(fits.theta[:, 1])
    a, b = fits.coefficients[:, 1] / alpha, fits.coefficients[:, 2] / beta
    repetition = np.exp(fits.theta[:, 2]) if fits.form.repetition is None else np.full(len(a), fits.form.repetition)
    return {
        "E": fits.coefficients[:, 0] - a - b,
        "A": a * fits.form.centres[0] ** alpha,
        "alpha": alpha,
        "B": b * fits.form.centres[1] ** beta,
        "beta": beta,
        "R*": repetition,
    }
