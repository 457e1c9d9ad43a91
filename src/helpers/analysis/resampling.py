"""Intervals over a few seeds, and p-values of many tests at once."""

from collections.abc import Callable

import numpy as np

ENDS = (0.05, 0.95)  # of 90 % intervals
BLOCK = 9999  # permutations at a time
ENOUGH = 10  # that reach the estimate: more need not be made


def mean_draws(values: np.ndarray, n_boot: int, rng: np.random.Generator) -> np.ndarray:
    """Bootstrap draws of a mean over seeds, (n_boot, …), of values (n_seeds, …); NaN of a single seed.

    Seeds are drawn with replacement. Deviations are stretched by √(n / (n − 1)), without which three seeds would spread
    by a fifth too little.
    """
    n, mean = len(values), values.mean(axis=0)
    if n < 2:
        return np.full((n_boot, *np.shape(mean)), np.nan)
    picked = rng.integers(n, size=(n_boot, n))
    return mean + (values[picked].mean(axis=1) - mean) * np.sqrt(n / (n - 1))


def interval(estimate: float, draws: np.ndarray, freedom: float = np.inf) -> tuple[float, float]:
    """90 % interval of an estimate from its bootstrap draws (n_boot,); NaN if a draw is.

    It is widened as Student's t is against the normal, with as many degrees of freedom as seeds tell their spread.
    """
    from scipy.special import ndtri, stdtrit

    wider = stdtrit(freedom, ENDS[1]) / ndtri(ENDS[1]) if np.isfinite(freedom) else 1.0
    low, high = np.quantile(draws, ENDS)
    return float(estimate + wider * (low - estimate)), float(estimate + wider * (high - estimate))


def corrected_interval(estimate: float, draws: np.ndarray) -> tuple[float, float]:
    """90 % interval of an estimate whose bootstrap draws (n_boot,) are shifted, as those of monotone fits are.

    Source: bias-corrected percentiles, Efron 1981.
    """
    from scipy.special import ndtr, ndtri

    below = (np.mean(draws < estimate) + np.mean(draws <= estimate)) / 2
    shift = ndtri(np.clip(below, 0.5 / len(draws), 1 - 0.5 / len(draws)))
    low, high = np.quantile(draws, ndtr(2 * shift + ndtri(ENDS)))
    return float(low), float(high)


def pooled_sd(values: np.ndarray, groups: np.ndarray) -> float:
    """Standard deviation of values (n_runs,) within groups (n_runs,); NaN if no group has two."""
    _, numbers = np.unique(groups, return_inverse=True)
    n = np.bincount(numbers)
    left = values - (np.bincount(numbers, values) / n)[numbers]
    freedom = len(values) - len(n)
    return float(np.sqrt(np.sum(left**2) / freedom)) if freedom else np.nan


def permutation_p(reach: Callable[[int], int], most: int) -> float:
    """p-value of an estimate; `reach(n)` makes n permutations and counts those that reach it.

    Made in blocks, up to `most`, until enough reach it: small p-values, which have to stand a correction, are told more
    closely than large ones.

    Source: Besag & Clifford 1991.
    """
    made = reached = 0
    while made < most and reached < ENOUGH:
        n = min(BLOCK, most - made)
        reached, made = reached + reach(n), made + n
    return (1 + reached) / (made + 1)


def holm(p: np.ndarray) -> np.ndarray:
    """p-values (n_tests,) corrected for all tests among them; NaN stands for no test and does not count.

    Source: Holm 1979.
    """
    corrected = np.array(p, dtype=float)
    tests = np.flatnonzero(np.isfinite(corrected))
    order = tests[np.argsort(corrected[tests], kind="stable")]
    steps = corrected[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected
