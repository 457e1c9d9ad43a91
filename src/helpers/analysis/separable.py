"""Robust fits of curves that are linear in most of their parameters, for many tables at once."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

STEP = 1e-4  # of the central differences, on parameters that are logarithms
ENOUGH = 1e-9  # relative decrease of the objective that ends a fit


class Form(Protocol):
    """A curve `coefficients[0] + columns @ coefficients[1:]`, whose columns depend on `theta`, often logarithms."""

    name: str
    bounds: np.ndarray
    """Lowest and highest value of each of `theta`, (n_theta, 2)."""

    def columns(self, theta: np.ndarray, points: np.ndarray) -> np.ndarray:
        """(n_tables, n_theta), (n_points, …) -> (n_tables, n_points, n_columns), none of them constant."""
        ...


@dataclass(frozen=True)
class Fits:
    """One fit for each of n_tables: `theta` (n_tables, n_theta), `coefficients` (n_tables, 1 + n_columns), `objective`
    (n_tables,), the sum of Huber's losses.
    """

    form: Form
    theta: np.ndarray
    coefficients: np.ndarray
    objective: np.ndarray

    def predict(self, points: np.ndarray) -> np.ndarray:
        """Values at `points` (n_points, …): (n_tables, n_points)."""
        return evaluate(with_constant(self.form.columns(self.theta, points)), self.coefficients)


def fit_one(form: Form, points: np.ndarray, groups: np.ndarray, losses: np.ndarray, **options) -> Fits:
    """Fit a form to one table (n_runs,) from many starts: the best of a grid at each value of each of theta.

    Parameters as in `fit`, which draws of the table are for, with this optimum as `near`.
    """
    candidates = grid(form, options["n_grid"])
    pick = _picked(groups, len(points))
    explained = _explained(form, points, candidates, losses[None] @ pick / pick.sum(axis=0), pick.sum(axis=0))[:, 0]
    places = [np.flatnonzero(column == value) for column in candidates.T for value in np.unique(column)]
    best = sorted({place[explained[place].argmax()] for place in places}) or [0]
    found = fit(form, points, groups, np.repeat(losses[None], len(best), axis=0), **options, starts=candidates[best])
    one = [int(found.objective.argmin())]
    return Fits(form, found.theta[one], found.coefficients[one], found.objective[one])


def fit(
    form: Form,
    points: np.ndarray,
    groups: np.ndarray,
    losses: np.ndarray,
    *,
    delta: float,
    n_grid: int,
    near: np.ndarray | None = None,
    starts: np.ndarray | None = None,
) -> Fits:
    """Fit one form to many tables that share their points, by variable projection.

    Theta starts from the least-squares optimum over a grid, for the robust mean of each point, and moves by damped
    Gauss-Newton steps with Huber's weights, while the linear coefficients are solved for anew at each step.

    Parameters
    ----------
    points
        Distinct points, (n_points,) or (n_points, n_axes).
    groups
        Point of each run, (n_runs,), each point at least once.
    losses
        (n_tables, n_runs).
    delta
        Where Huber's loss turns from square to linear, in the unit of the losses; infinite for least squares.
    n_grid
        Values of each of theta in the grid.
    near
        One more place to start from, (1, n_theta).
    starts
        Where each table starts, (n_tables, n_theta), in place of the grid.

    Source: Golub and Pereyra 1973; Ruhe and Wedin 1980; Huber 1964.
    """
    pick = _picked(groups, len(points))
    centres = losses @ pick / pick.sum(axis=0)
    for _ in range(10):
        centres, _ = _weighed(losses, centres[:, groups], pick, delta)
    if starts is None:
        candidates = grid(form, n_grid) if near is None else np.concatenate([grid(form, n_grid), near])
        starts = candidates[_explained(form, points, candidates, centres, pick.sum(axis=0)).argmax(axis=0)]
    theta = starts.copy()
    coefficients, objective = _projected(form, theta, points, groups, losses, centres, pick.sum(axis=0), delta)
    damping, going = np.full(len(losses), 1e-3), np.arange(len(losses))
    for _ in range(200):
        values = evaluate(with_constant(form.columns(theta[going], points)), coefficients[going])[:, groups]
        targets, weights = _weighed(losses[going], values, pick, delta)
        step = _step(form, theta[going], points, coefficients[going], weights, targets, damping[going])
        trial = np.clip(theta[going] + step, *form.bounds.T)
        solved, reached = _projected(form, trial, points, groups, losses[going], targets, weights, delta)
        better, gain = reached <= objective[going], objective[going] - reached
        small = gain <= ENOUGH * objective[going]
        accepted = going[better]
        theta[accepted], coefficients[accepted], objective[accepted] = trial[better], solved[better], reached[better]
        damping[going] = np.where(better, damping[going] / 5, damping[going] * 6)
        # A step that gains nothing ends a fit; one that loses does once damping leaves it no length.
        going = going[np.where(better, ~small, damping[going] < 1e8)]
        if not len(going):
            break
    return Fits(form, theta, coefficients, objective)


def huber(residuals: np.ndarray, delta: float) -> np.ndarray:
    """Huber's loss of each residual: half its square up to `delta`, linear beyond."""
    size = np.abs(residuals)
    if np.isinf(delta):
        return 0.5 * size**2
    return np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta))


def with_constant(columns: np.ndarray) -> np.ndarray:
    """A column of ones before the others, (n_tables, n_points, 1 + n_columns)."""
    return np.concatenate([np.ones((*columns.shape[:2], 1)), columns], axis=2)


def evaluate(design: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Values of curves, (n_tables, n_points)."""
    return (design @ coefficients[..., None])[..., 0]


def grid(form: Form, n_grid: int) -> np.ndarray:
    """All combinations of evenly spaced values of theta, (n, n_theta); one row if there is none."""
    axes = [np.linspace(low, high, n_grid) for low, high in form.bounds]
    return np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1) if axes else np.zeros((1, 0))


def _weighed(losses: np.ndarray, values: np.ndarray, pick: np.ndarray, delta: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each point with Huber's weights around `values` (n_tables, n_runs), and the sum of these weights."""
    shares = np.minimum(1.0, delta / np.maximum(np.abs(losses - values), 1e-300))
    weights = shares @ pick
    return (shares * losses) @ pick / weights, weights


def _projected(form, theta, points, groups, losses, targets, weights, delta) -> tuple[np.ndarray, np.ndarray]:
    """Linear coefficients at given theta, and the sum of Huber's losses with them."""
    design = with_constant(form.columns(theta, points))
    coefficients = _solve(design, np.broadcast_to(weights, targets.shape), targets)
    return coefficients, huber(losses - evaluate(design, coefficients)[:, groups], delta).sum(axis=1)


def _picked(groups: np.ndarray, n_points: int) -> np.ndarray:
    """(n_runs, n_points), 1 where a run lies at a point."""
    return (groups[:, None] == np.arange(n_points)).astype(float)


def _explained(
    form: Form, points: np.ndarray, candidates: np.ndarray, means: np.ndarray, sizes: np.ndarray
) -> np.ndarray:
    """What each candidate of theta explains of the weighted sum of squares, (n_candidates, n_tables)."""
    root = np.sqrt(sizes)
    bases = np.linalg.qr(with_constant(form.columns(candidates, points)) * root[:, None])[0]
    return np.stack([((means * root @ basis) ** 2).sum(axis=1) for basis in bases])


def _solve(design: np.ndarray, weights: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Weighted least squares for each table, by QR since the columns can be nearly the same."""
    root = np.sqrt(weights)
    q, r = np.linalg.qr(design * root[..., None])
    diagonal = np.abs(np.einsum("...ii->...i", r))
    floor = 1e-12 * diagonal.max(axis=1, keepdims=True)
    r = r + np.eye(r.shape[-1]) * np.where(diagonal < floor, floor, 0)[..., None]
    return np.linalg.solve(r, np.swapaxes(q, 1, 2) @ (root * targets)[..., None])[..., 0]


def _step(
    form: Form,
    theta: np.ndarray,
    points: np.ndarray,
    coefficients: np.ndarray,
    weights: np.ndarray,
    targets: np.ndarray,
    damping: np.ndarray,
) -> np.ndarray:
    """Damped Gauss-Newton step of theta, the linear coefficients moving along."""
    n_theta = theta.shape[1]
    if n_theta == 0:
        return np.zeros_like(theta)
    design = with_constant(form.columns(theta, points))
    slopes = []
    for shift in np.eye(n_theta) * STEP:
        change = (form.columns(theta + shift, points) - form.columns(theta - shift, points)) / (2 * STEP)
        slopes.append(evaluate(change, coefficients[:, 1:]))
    root = np.sqrt(weights)
    q, _ = np.linalg.qr(design * root[..., None])
    jacobian = np.stack(slopes, axis=2) * root[..., None]
    jacobian = jacobian - q @ (np.swapaxes(q, 1, 2) @ jacobian)
    residuals = root * (targets - evaluate(design, coefficients))
    normal = np.swapaxes(jacobian, 1, 2) @ jacobian
    scale = np.einsum("...ii->...i", normal)
    scale = np.maximum(scale, 1e-14 * (weights * targets**2).sum(axis=1, keepdims=True) + 1e-300)
    normal = normal + np.eye(n_theta) * (damping[:, None] * scale + 1e-10 * scale)[:, None, :]
    return np.linalg.solve(normal, np.swapaxes(jacobian, 1, 2) @ residuals[..., None])[..., 0]
