"""Water-filling over cell types: as equal a share for each type as the cells allow."""

import numpy as np
import pandas as pd

from helpers.subset.random import sample_mask


def draw(obs: pd.DataFrame, n: int, *, rng: np.random.Generator, label: str = "cell_type") -> np.ndarray:
    """Draw `n` cells with the same quota for each cell type.

    Types with no more cells than the quota are kept whole; what they leave over is shared out again among the others
    until it fits. Where the quota is not a whole number, types chosen by `rng` among the others give one cell more.

    Parameters
    ----------
    obs
        (n_obs, n_columns) with a column `label` that has no missing values.
    label
        Column whose values share the cells equally.

    Returns
    -------
    (n,) int64, sorted row positions.

    Raises
    ------
    ValueError
        The column is absent or has missing values.

    Source: study, sampling ``celltype_reweighted``. It drops the fraction of the quota and so falls short of the size
    by up to one cell per type; here the size is exact.
    """
    codes, n_types = _codes(obs, label)
    counts = np.bincount(codes, minlength=n_types)
    quotas = fill(counts, n, rng)
    rows_by_type = np.split(np.argsort(codes, kind="stable"), np.cumsum(counts)[:-1])
    drawn = np.zeros(len(codes), dtype=bool)
    for rows, quota in zip(rows_by_type, quotas, strict=True):
        drawn[rows[sample_mask(len(rows), quota, rng)]] = True
    return np.flatnonzero(drawn)


def fill(counts: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Cells to take of each type, (n_types,) int64, that sum to `n`; `counts` (n_types,) are the cells there are."""
    order = np.sort(counts)
    kept_whole = np.concatenate([[0], np.cumsum(order)[:-1]])
    # Cells taken at a quota as high as each type's count, from the smallest type to the largest.
    taken = kept_whole + order * np.arange(len(order), 0, -1)
    first = int(np.searchsorted(taken, n, side="right"))  # the smallest type that a quota fitting n leaves unexhausted
    if first == len(order):
        return counts.astype(np.int64)
    quota, rest = divmod(n - int(kept_whole[first]), len(order) - first)
    quotas = np.minimum(counts, quota).astype(np.int64)
    quotas[rng.choice(np.flatnonzero(counts > quota), rest, replace=False)] += 1
    return quotas


def _codes(obs: pd.DataFrame, label: str) -> tuple[np.ndarray, int]:
    """Number of each cell's type, (n_obs,), in the order of the names: text or categories then give the same draw."""
    if label not in obs:
        raise ValueError(f"obs lacks the column {label!r}; it has: {', '.join(map(str, obs.columns)) or 'none'}")
    values = obs[label].astype("category").cat
    codes = values.codes.to_numpy()
    missing = int((codes < 0).sum())
    if missing:
        raise ValueError(f"obs[{label!r}] is missing for {missing:,} of {len(obs):,} cells: label or leave them out")
    names = values.categories.astype(str)
    smallest = np.min_scalar_type(len(names))  # up to 16 bits numpy sorts in linear time
    rank = np.empty(len(names), dtype=smallest)
    rank[np.argsort(names.to_numpy(), kind="stable")] = np.arange(len(names))
    return rank[codes], len(names)
