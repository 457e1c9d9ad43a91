"""Sequencing depth: the same cells with fewer counts, as if they had been sequenced less."""

import numpy as np
import pandas as pd
import scipy.sparse as sp

from helpers.subset import random
from helpers.subset.strata import complete


def draw(obs: pd.DataFrame, n: int, *, rng: np.random.Generator, umis: float, nested: bool = False) -> np.ndarray:
    """Draw `n` cells at random; whoever reads their counts passes them to `thin`.

    Parameters
    ----------
    obs
        (n_obs, n_columns) with ``total_counts``, the UMIs of each cell.
    umis
        UMIs of the median cell after thinning.

    Returns
    -------
    (n,) int64, sorted row positions.

    Raises
    ------
    ValueError
        As `kept`.
    """
    kept(obs, umis)
    return random.draw(obs, n, rng=rng, nested=nested)


def kept(obs: pd.DataFrame, umis: float) -> float:
    """Share of counts to keep so that the median cell of `obs` has `umis`: one share for all cells.

    Cells thus differ in depth as before. Raises ValueError for a target that is not above 0, or above the present
    median; for missing ``total_counts``, or others than numbers over 0.
    """
    totals = complete(obs, "total_counts", "UMIs per cell")
    if not pd.api.types.is_numeric_dtype(totals) or not (np.isfinite(totals) & (totals > 0)).all():
        raise ValueError('obs["total_counts"] must hold the UMIs of each cell, finite numbers over 0')
    median = float(np.median(totals))
    if isinstance(umis, bool) or not isinstance(umis, int | float | np.number) or not 0 < umis <= median:  # NaN too
        raise ValueError(f"umis = {umis!r} must be above 0 and at most {median:,.0f}, the present median UMIs per cell")
    return float(umis) / median


def thin(counts: sp.csr_matrix, share: float, rng: np.random.Generator) -> sp.csr_matrix:
    """Keep each count with probability `share`, independently: Binomial(count, share) for every entry.

    Parameters
    ----------
    counts
        (n_cells, n_genes) raw counts.

    Returns
    -------
    (n_cells, n_genes) CSR in the type of `counts`. Cells can lose their last count.

    Raises
    ------
    ValueError
        A share outside 0 to 1; values that are no counts.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share = {share!r} must be from 0 to 1: thinning cannot add counts")
    thinned = sp.csr_matrix(counts, copy=True)
    if not (np.isfinite(thinned.data) & (thinned.data >= 0) & (thinned.data % 1 == 0)).all():
        raise ValueError("counts holds values that are no counts; accepted: raw integer counts, 0 or more")
    thinned.data = rng.binomial(thinned.data.astype(np.int64), share).astype(thinned.dtype)
    thinned.eliminate_zeros()
    return thinned
