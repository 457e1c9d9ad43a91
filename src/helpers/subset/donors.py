"""Cells of few donors, or of few datasets: size and diversity grow apart from the number of cells."""

import numpy as np
import pandas as pd

from helpers.subset.strata import codes_of, take

NOUNS = {"donor_id": "donors", "dataset_id": "datasets"}


def draw(
    obs: pd.DataFrame,
    n: int,
    *,
    rng: np.random.Generator,
    label: str = "donor_id",
    k: int | None = None,
    nested: bool = False,
) -> np.ndarray:
    """Draw `n` cells of as few donors as they take, or spread evenly over `k` donors.

    Without `k`, donors come in random order, each with all its cells, until there are `n`; the last one gives only as
    many as are still wanted. With `k`, that many donors are chosen at random among those with at least n / k cells, and
    each gives the same number of cells, up to one.

    Parameters
    ----------
    obs
        (n_obs, n_columns) with a column `label` that has no missing values. A name stands for one donor, so names must
        be unique over datasets.
    label
        Column that names the donor of each cell; ``dataset_id`` for the strategy ``datasets``.
    k
        Number of donors, 1 to all. Small `k` can choose among large donors only.

    Returns
    -------
    (n,) int64, sorted row positions.

    Raises
    ------
    ValueError
        The column is absent or has missing values; `k` out of range, over `n`, or over the donors with n / k cells;
        `nested` together with `k`, since a smaller share lets other donors qualify.
    """
    codes, names = codes_of(obs, label)
    counts = np.bincount(codes, minlength=len(names))
    if k is None:
        return take(codes, _few(counts, n, rng), rng, nested=nested)
    if nested:
        raise ValueError(f"nested subsets of a fixed number of {label} are not defined: leave out k or nested")
    return take(codes, _spread(counts, n, k, NOUNS.get(label, label), rng), rng)


def _few(counts: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Cells to take of each donor, (n_donors,): donors in random order, whole but for the last."""
    order = rng.permutation(len(counts))
    before = np.cumsum(counts[order]) - counts[order]
    quotas = np.empty(len(counts), dtype=np.int64)
    quotas[order] = np.clip(n - before, 0, counts[order])
    return quotas


def _spread(counts: np.ndarray, n: int, k: int, names: str, rng: np.random.Generator) -> np.ndarray:
    """Cells to take of each donor, (n_donors,): equal shares of `k` random ones that have so many."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise ValueError(f"k = {k!r} must be a whole number of {names}, 1 to {len(counts):,}")
    if k > len(counts):
        raise ValueError(f"k = {k:,} is more than the {len(counts):,} {names} there are: use that or fewer")
    if k > n:
        raise ValueError(f"n = {n:,} cells cannot be spread over k = {k:,} {names}: use n ≥ {k:,}")
    share, rest = divmod(n, k)
    eligible = np.flatnonzero(counts >= share + (rest > 0))
    if len(eligible) < k:
        largest = k * int(np.sort(counts)[-k])
        raise ValueError(
            f"only {len(eligible):,} {names} have the {share + (rest > 0):,} cells that each of k = {k:,} must give "
            f"for n = {n:,}: use n ≤ {largest:,} with this k"
        )
    quotas = np.zeros(len(counts), dtype=np.int64)
    chosen = rng.choice(eligible, k, replace=False)  # in random order
    quotas[chosen] = share
    quotas[chosen[:rest]] += 1
    return quotas
