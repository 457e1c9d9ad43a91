"""Saturation on the error scale: near the smallest mean error, with what other seeds and cells would have told."""

from collections.abc import Sequence

import numpy as np

ROUNDING = 1e-9  # relative: 1 - .81 is not .19
UNDEFINED = -1


def points(errors: np.ndarray, q: float) -> np.ndarray:
    """Number of the smallest size whose mean error is at most the smallest one / `q`; (…,) of errors (…, n_sizes).

    -1 where the smallest error is not over 0, or missing: nothing is then a share of it.
    """
    best = errors.min(axis=-1, keepdims=True)
    near = errors <= best / q * (1 + ROUNDING)
    return np.where(best[..., 0] > 0, near.argmax(axis=-1), UNDEFINED)


def resampled_means(errors: Sequence[np.ndarray], n_boot: int, rng: np.random.Generator) -> np.ndarray:
    """Mean error of each size, (n_boot, n_sizes), with the seeds of each size drawn anew.

    Parameters
    ----------
    errors
        For each size the errors of its seeds, (n_seeds,), at least two, or (n_boot, n_seeds) where evaluation cells
        were drawn anew before.

    The spread around the mean of all seeds is widened by sqrt(n / (n - 1)), since drawing from n seeds alone makes the
    variance of a mean too small by that much (Hesterberg 2015, 10.1080/00031305.2015.1089789).
    """
    means = np.empty((n_boot, len(errors)))
    for size, of_seeds in enumerate(errors):
        n = of_seeds.shape[-1]
        drawn = rng.integers(n, size=(n_boot, n))
        centre = np.broadcast_to(of_seeds.mean(axis=-1), n_boot)
        picked = np.take_along_axis(np.broadcast_to(of_seeds, (n_boot, n)), drawn, axis=1).mean(axis=1)
        means[:, size] = centre + (picked - centre) * np.sqrt(n / (n - 1))
    return means


def shares(drawn: np.ndarray, n_sizes: int) -> np.ndarray:
    """Share of draws whose point is each size, (n_sizes,); what is missing to 1 had none."""
    return np.bincount(drawn[drawn != UNDEFINED], minlength=n_sizes) / len(drawn)


def interval(probabilities: np.ndarray, tail: float) -> tuple[int, int]:
    """Numbers of the first and the last size between the two tails, of shares of draws that had a point.

    Both are sizes of the curve, and hold at least 1 - 2 × `tail` of the probability.
    """
    reached = np.cumsum(probabilities) / probabilities.sum()
    low, high = (int(np.argmax(reached >= level * (1 - ROUNDING))) for level in (tail, 1 - tail))
    return low, high


def gain_per_doubling(errors: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Fall of the mean error for twice the cells between the two largest sizes; (…,) of errors (…, n_sizes)."""
    return (errors[..., -2] - errors[..., -1]) / np.log2(cells[-1] / cells[-2])
