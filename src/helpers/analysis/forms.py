"""Forms of a loss along one axis: constant, logarithm, power law, exponential saturation, broken power law."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

EXPONENTS = np.log([0.01, 4.0])
WIDEST = 1.0  # interval of an exponent that is told
BROKEN_FROM = 7  # distinct sizes


@dataclass(frozen=True)
class AxisForm:
    """A form on given sizes; `n_parameters` counts theta and coefficients, `at_infinity` are
    its columns at infinite size."""

    name: str
    bounds: np.ndarray
    n_parameters: int
    columns: Callable[[np.ndarray, np.ndarray], np.ndarray]
    at_infinity: Callable[[np.ndarray], np.ndarray]
    exponent: Callable[[np.ndarray], np.ndarray] | None = None


def forms_for(sizes: np.ndarray) -> list[AxisForm]:
    """The forms that sizes (n_sizes,) can tell about: those with at most n_sizes - 2 parameters.

    - ``constant``: E
    - ``logarithm``: a - b log x
    - ``power law``: E + A x^-α
    - ``exponential``: E + A exp(-x / τ)
    - ``broken power law``: E + A x^-α (1 + (x / d)²)^((α - α′) / 2), from seven sizes; α′ is the exponent of large x.

    Sizes are divided by their geometric mean, so that fits do not depend on units. Source: Caballero et al. 2023 for
    the broken power law, whose sharpness is fixed here.
    """
    centre = float(np.exp(np.log(sizes).mean()))
    known = [constant(), logarithm(centre), power_law(centre), exponential(sizes)]
    if len(sizes) >= BROKEN_FROM:
        known.append(broken_power_law(sizes, centre))
    return [form for form in known if form.n_parameters <= len(sizes) - 2]


def untold(name: str, low: float, high: float) -> str:
    """Why a 90 % interval tells no exponent, empty if it does: it is too wide, or ends where the search does."""
    least, most = np.exp(EXPONENTS)
    if high - low >= WIDEST:
        return f"{name} may be anything from {low:.2g} to {high:.2g}"
    if low < 1.1 * least:
        return f"{name} may be as small as is looked at ({least:.2g}), where a logarithm does as well"
    return f"{name} may be as large as is looked at ({most:.2g})" if high > most / 1.1 else ""


def constant() -> AxisForm:
    """No change with size."""
    return AxisForm(
        "constant",
        np.zeros((0, 2)),
        1,
        lambda theta, x: np.zeros((len(theta), len(x), 0)),
        lambda theta: np.zeros((len(theta), 0)),
    )


def logarithm(centre: float) -> AxisForm:
    """The same gain for each doubling, without end."""
    return AxisForm(
        "logarithm",
        np.zeros((0, 2)),
        2,
        lambda theta, x: np.broadcast_to(-np.log(x / centre)[None, :, None], (len(theta), len(x), 1)),
        lambda theta: np.full((len(theta), 1), -np.inf),
    )


def power_law(centre: float) -> AxisForm:
    """A power law with offset; its column is (u^-α - 1) / α, which stays well conditioned for small exponents."""
    return AxisForm(
        "power law",
        EXPONENTS[None],
        3,
        lambda theta, x: power(np.exp(theta[:, 0]), x / centre)[..., None],
        lambda theta: -1 / np.exp(theta),
        lambda theta: np.exp(theta[:, 0]),
    )


def power(exponent: np.ndarray, u: np.ndarray) -> np.ndarray:
    """(u^-α - 1) / α for exponents (n_tables,) and u (n_points,): (n_tables, n_points)."""
    return np.expm1(-exponent[:, None] * np.log(u)) / exponent[:, None]


def exponential(sizes: np.ndarray) -> AxisForm:
    """Exponential saturation, from scales below the first step of the sizes to ten times the largest."""
    first, last = float(sizes.min()), float(sizes.max())
    shortest = float(np.diff(np.sort(sizes)).min()) / 4

    def column(theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        scale = np.exp(theta)
        return np.expm1(-(x - first) / scale) / -np.expm1(-(last - first) / scale)

    return AxisForm(
        "exponential",
        np.log([[shortest, 10 * last]]),
        3,
        lambda theta, x: column(theta, x)[..., None],
        lambda theta: column(theta, np.array([np.inf])),
    )


def broken_power_law(sizes: np.ndarray, centre: float) -> AxisForm:
    """One smooth break, between the second and the last but one size."""
    second, last_but_one = np.sort(sizes)[[1, -2]] / centre

    def column(theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        before, after, at = np.exp(theta.T)[..., None]
        u = x / centre
        return u**-before * np.sqrt(1 + (u / at) ** 2) ** (before - after)

    return AxisForm(
        "broken power law",
        np.array([EXPONENTS, EXPONENTS, np.log([second, last_but_one])]),
        5,
        lambda theta, x: column(theta, x)[..., None],
        lambda theta: np.zeros((len(theta), 1)),
        lambda theta: np.exp(theta[:, 1]),
    )
