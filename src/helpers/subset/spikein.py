"""Spike-ins: part of a random subset replaced by perturbed cells."""

import numpy as np
import pandas as pd

from helpers.subset.strata import complete, sample_mask


def draw(
    obs: pd.DataFrame,
    n: int,
    *,
    rng: np.random.Generator,
    share: float,
    perturbed: np.ndarray | None = None,
    nested: bool = False,
) -> np.ndarray:
    """Draw `n` cells that are not perturbed, as `random` does, and replace round(share × n) of them by perturbed ones.

    From the same state of `rng`, `random` draws the same cells from those that are not perturbed. The share of a very
    small `n` can round to none.

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
    if perturbed is None:
        perturbed = complete(obs, "perturbation") != "control"
    treated = np.asarray(perturbed)
    if treated.shape != (len(obs),) or treated.dtype != bool:
        told = f"shape {treated.shape}, {treated.dtype}"
        raise ValueError(f"perturbed has the {told}; True or False for each of {len(obs):,} cells is needed")
    controls, perturbed = np.flatnonzero(~treated), np.flatnonzero(treated)
    if not (len(controls) and len(perturbed)):
        which = "perturbed" if len(controls) else "unperturbed"
        raise ValueError(f"none of {len(obs):,} cells is {which}: spike-ins draw from both kinds")
    others, spiked = _quotas(n, share)
    if others > len(controls) or spiked > len(perturbed):
        raise ValueError(
            f"n = {n:,} with {share:.0%} spike-ins needs {spiked:,} perturbed and {others:,} other cells, but there "
            f"are {len(perturbed):,} and {len(controls):,}: use n ≤ {_largest(len(controls), len(perturbed), share):,}"
        )
    if nested:  # the lowest keys: part of what `random` draws, and nested in themselves
        kept = controls[sample_mask(len(controls), others, rng, nested=True)]
    else:
        subset = controls[sample_mask(len(controls), min(n, len(controls)), rng)]
        kept = subset[sample_mask(len(subset), others, rng)]
    return np.sort(np.concatenate([kept, perturbed[sample_mask(len(perturbed), spiked, rng, nested=nested)]]))


def _quotas(n: int, share: float) -> tuple[int, int]:
    """Cells that are not perturbed, and those that are."""
    return n - round(share * n), round(share * n)


def _largest(n_controls: int, n_perturbed: int, share: float) -> int:
    """The largest size that can be filled."""
    n = int(min((n_perturbed + 1) / share, (n_controls + 1) / (1 - share)))  # rounding adds under one cell of a kind
    while _quotas(n, share)[0] > n_controls or _quotas(n, share)[1] > n_perturbed:
        n -= 1
    return n
