"""Spike-ins: part of a random subset replaced by perturbed cells."""

import numpy as np
import pandas as pd

from helpers.subset.strata import take


def draw(
    obs: pd.DataFrame,
    n: int,
    *,
    rng: np.random.Generator,
    share: float,
    perturbed: np.ndarray | None = None,
    nested: bool = False,
) -> np.ndarray:
    """Draw `n` cells at random, round(share × n) of them perturbed and the others not.

    Parameters
    ----------
    obs
        (n_obs, n_columns). Cells that a perturbation task holds out must not be among them.
    share
        Share of perturbed cells, over 0 and under 1: 0.1 for ``spikein_10``, 0.5 for ``spikein_50``.
    perturbed
        (n_obs,) bool. By default those cells whose ``obs["perturbation"]`` is not ``control``.

    Returns
    -------
    (n,) int64, sorted row positions.

    Raises
    ------
    ValueError
        No perturbed cells, or too few of one kind for `n`; names the largest size that can be filled.

    Source: study, spike-ins, with cells of a Perturb-seq screen (Replogle 2022).
    """
    codes = (_perturbed(obs) if perturbed is None else np.asarray(perturbed, dtype=bool)).astype(np.uint8)
    if codes.shape != (len(obs),):
        raise ValueError(f"perturbed has the shape {codes.shape}; one value for each of {len(obs):,} cells is needed")
    there = np.bincount(codes, minlength=2)
    if not there.all():
        which = "perturbed" if there[0] else "unperturbed"
        raise ValueError(f"none of {len(obs):,} cells is {which}: spike-ins draw from both kinds")
    quotas = _quotas(n, share)
    if (quotas > there).any():
        raise ValueError(
            f"n = {n:,} with {share:.0%} spike-ins needs {quotas[1]:,} perturbed and {quotas[0]:,} other cells, but "
            f"there are {there[1]:,} and {there[0]:,}: use n ≤ {_largest(there, share):,}"
        )
    return take(codes, quotas, rng, nested=nested)


def _quotas(n: int, share: float) -> np.ndarray:
    """Cells that are not perturbed, and those that are, (2,)."""
    spiked = round(share * n)
    return np.array([n - spiked, spiked])


def _largest(there: np.ndarray, share: float) -> int:
    """The largest size that can be filled."""
    n = int(min((there[1] + 1) / share, (there[0] + 1) / (1 - share)))  # rounding adds under one cell of either kind
    while (_quotas(n, share) > there).any():
        n -= 1
    return n


def _perturbed(obs: pd.DataFrame) -> np.ndarray:
    if "perturbation" not in obs:
        raise ValueError(f"obs lacks the column 'perturbation'; it has: {', '.join(map(str, obs.columns)) or 'none'}")
    missing = int(obs["perturbation"].isna().sum())
    if missing:
        raise ValueError(
            f"obs['perturbation'] is missing for {missing:,} of {len(obs):,} cells: 'control' if untreated"
        )
    return (obs["perturbation"] != "control").to_numpy()
