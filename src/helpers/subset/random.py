"""Uniform sampling of cells without replacement."""

import numpy as np
import pandas as pd

from helpers.subset.strata import sample_mask


def draw(obs: pd.DataFrame, n: int, *, rng: np.random.Generator, nested: bool = False) -> np.ndarray:
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
    return np.flatnonzero(sample_mask(len(obs), n, rng, nested=nested))
