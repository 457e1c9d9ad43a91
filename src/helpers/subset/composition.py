"""Mixtures of blocks of cells, such as tissues or studies, in given shares at a fixed number of cells."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from helpers.messages import unknown
from helpers.subset.strata import codes_of, take

ROUNDING = 1e-9  # of numbers of cells


def draw(
    obs: pd.DataFrame,
    n: int,
    *,
    rng: np.random.Generator,
    blocks: Mapping[str, float],
    label: str = "dataset_id",
    nested: bool = False,
) -> np.ndarray:
    """Draw `n` cells at random from blocks in proportion to their weights, exact up to one cell per block.

    Parameters
    ----------
    obs
        (n_obs, n_columns) with a column `label` that has no missing values.
    blocks
        Value of `label` -> weight; ``{"kang": 1, "baron": 1}`` takes half of the cells from each. Cells of other values
        are not drawn.
    label
        Column that names the block of each cell.

    Returns
    -------
    (n,) int64, sorted row positions.

    Raises
    ------
    ValueError
        The column is absent or has missing values; unknown blocks; weights that are not above 0; a block with too few
        cells for its share; `nested` with more than two blocks, whose rounded shares can shrink as `n` grows.

    Source: the sister study of data mixtures, which fills a fixed budget with blocks of cells.
    """
    codes, names = codes_of(obs, label)
    if not isinstance(blocks, Mapping) or not blocks:
        raise ValueError(
            f"blocks = {blocks!r}: name values of obs[{label!r}], such as {names[0]!r}, with their weights"
        )
    for block, weight in blocks.items():
        if block not in names:
            raise ValueError(f"blocks: {unknown(label, block, names)}")
        if isinstance(weight, bool) or not isinstance(weight, int | float | np.number) or not 0 < weight < np.inf:
            raise ValueError(f"blocks: the weight of {block!r} is {weight!r}; accepted: a number above 0")
    if nested and len(blocks) > 2:
        raise ValueError(
            f"nested mixtures of {len(blocks)} blocks are not defined: use two blocks, or leave out nested"
        )
    weights = np.zeros(len(names))
    weights[[names.index(block) for block in blocks]] = list(blocks.values())
    weights /= weights.max()  # so that their sum is finite
    there = np.bincount(codes, minlength=len(names))
    quotas = _quotas(weights, n, there, rng)
    for block in np.flatnonzero(quotas > there):
        share = weights[block] / weights.sum()
        fits = int(min(there[weights > 0] * weights.sum() / weights[weights > 0]) + ROUNDING)  # for all blocks
        raise ValueError(
            f"n = {n:,} needs {quotas[block]:,} cells of {names[block]!r} ({share:.1%}), but there are "
            f"{there[block]:,}: use n ≤ {fits:,}, or a lower weight"
        )
    return take(codes, quotas, rng, nested=nested)


def _quotas(weights: np.ndarray, n: int, there: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Whole numbers of cells nearest to the shares, (n_blocks,): largest remainders, ties to blocks that have room."""
    exact = n * weights / weights.sum()
    quotas = np.floor(exact + ROUNDING).astype(np.int64)
    remainders = np.round((exact - quotas) / ROUNDING)  # equal remainders may differ in the last bit
    order = np.lexsort((rng.permutation(len(weights)), quotas >= there, -remainders))
    quotas[order[: n - quotas.sum()]] += 1
    return quotas
