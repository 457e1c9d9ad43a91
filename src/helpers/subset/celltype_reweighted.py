"""Water-filling over cell types: as equal a share for each type as the cells allow."""

import numpy as np
import pandas as pd

from helpers.subset.strata import codes_of, take


def draw(
    obs: pd.DataFrame, n: int, *, rng: np.random.Generator, label: str = "cell_type", nested: bool = False
) -> np.ndarray:
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
    codes, types = codes_of(obs, label)
    quotas = fill(np.bincount(codes, minlength=len(types)), n, rng)
    return take(codes, quotas, rng, nested=nested)


def fill(counts: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Cells to take of each type, (n_types,) int64, that sum to `n`; `counts` (n_types,) are the cells there are.

    A higher `n` from the same state of `rng` takes no fewer of any type.
    """
    precedence = rng.permutation(len(counts))  # of types, for the cells that equal shares leave over
    order = np.sort(counts)
    kept_whole = np.concatenate([[0], np.cumsum(order)[:-1]])
    # Cells taken at a quota as high as each type's count, from the smallest type to the largest.
    taken = kept_whole + order * np.arange(len(order), 0, -1)
    first = int(np.searchsorted(taken, n, side="right"))  # the smallest type that a quota fitting n leaves unexhausted
    if first == len(order):
        return counts.astype(np.int64)
    quota, rest = divmod(n - int(kept_whole[first]), len(order) - first)
    quotas = np.minimum(counts, quota).astype(np.int64)
    unexhausted = precedence[counts[precedence] > quota]
    quotas[unexhausted[:rest]] += 1
    return quotas
