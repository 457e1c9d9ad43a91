"""The count-split reference of held-out losses: what could be known of a cell, told by another measurement of it.

Drawing half of a cell's counts at random makes two independent measurements of the cell, if its counts are Poisson
(Batson 2019, Neufeld 2024). So the loss of one half can be compared with what the other half tells about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata.abc import CSRDataset

    Halves = tuple[sp.csr_array, sp.csr_array]

LEVELS = 3  # halves, quarters, eighths
SAMPLE = 20_000  # cells of the corpus that are split, evenly spread


def reference_losses(
    null: np.ndarray,
    corpus: sp.csr_array | CSRDataset,
    counts: sp.csr_array,
    gains: Callable[[Halves, Halves], np.ndarray],
) -> np.ndarray:
    """Reference loss of each cell (n_cells,) float64, to be averaged over cells: those of single cells are noisy.

    A half has half the counts. So the gain over the null is found for halves, quarters and eighths, and the parabola
    through them in the logarithm of the depth is followed to the whole cell. Splits are fixed.

    Parameters
    ----------
    null
        Loss of the null (n_cells,), of whole cells.
    corpus, counts
        Raw counts (n_corpus, n_genes), of which a sample is used, and (n_cells, n_genes).
    gains
        Function of the halves of corpus cells and of these cells: by how much (n_cells,) the loss of the first half of
        each cell is below its null, if the second half is known.

    Returns
    -------
    reference
        NaN for cells with so few counts that a part is empty.
    """
    rng = np.random.default_rng(0)
    step = -(-corpus.shape[0] // SAMPLE)
    known, cells = sp.csr_array(corpus[::step], dtype=np.float32), counts
    at, levels = np.arange(counts.shape[0]), []
    for _ in range(LEVELS):
        (*known_halves, _), (*halves, kept) = _halves(known, rng), _halves(cells, rng)
        at = at[kept]
        gain = np.full(counts.shape[0], np.nan)
        gain[at] = gains(tuple(known_halves), tuple(halves)) if len(at) else []
        levels.append(gain)
        known, cells = known_halves[0], halves[0]
    half, quarter, eighth = levels
    return null - (3 * half - 3 * quarter + eighth)


def _halves(counts: sp.csr_array, rng: np.random.Generator) -> tuple[sp.csr_array, sp.csr_array, np.ndarray]:
    """Two random halves of the counts of each cell for which both hold some, and the rows (n_kept,) of these cells."""
    one, other = counts.copy(), counts.copy()
    one.data = rng.binomial(counts.data.astype(np.int64), 0.5).astype(np.float32)
    other.data = counts.data - one.data
    kept = np.flatnonzero((one.sum(axis=1) > 0) & (other.sum(axis=1) > 0))
    parts = []
    for half in (one, other):
        half.eliminate_zeros()
        parts.append(half[kept])
    return *parts, kept
