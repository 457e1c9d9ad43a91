"""The count-split reference of held-out losses: what could be known of a cell, told by another measurement of it.

Drawing half of a cell's counts at random makes two independent measurements of the cell, if its counts are Poisson
(Batson 2019, Neufeld 2024). So the loss of one half can be compared with what the other half tells about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from helpers.models.counts import CountsOnDisk, cell_keys, hashed

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata.abc import CSRDataset

    Halves = tuple[sp.csr_array, sp.csr_array]

TO_WHOLE = (3, -3, 1)  # gains of halves, quarters, eighths, summed: where their parabola in log depth meets the whole
SPLITS = 5  # of each cell
SAMPLE = 20_000  # cells of the corpus that are split, evenly spread
PIECE = 1_024  # cells that are split at once


def reference_losses(
    null: np.ndarray,
    corpus: sp.csr_array | CSRDataset | CountsOnDisk,
    counts: sp.csr_array,
    gains: Callable[[Halves, Halves], np.ndarray],
) -> np.ndarray:
    """Reference loss of each cell by each of several splits, (SPLITS, n_cells) float64.

    To be averaged over splits and cells: those of single cells are noisy. A half has half the counts. So the gain over
    the null is found for halves, quarters and eighths, and the parabola through them in the logarithm of the depth is
    followed to the whole cell. How a cell is split depends on its counts alone. Nothing is gained (reference = null)
    for a cell with so few counts that a part is empty.

    Parameters
    ----------
    null
        Loss of the null (n_cells,), of whole cells.
    corpus, counts
        Raw counts (n_corpus, n_genes), of which a sample is used, and (n_cells, n_genes).
    gains
        Function of the halves of corpus cells and of these cells: by how much (n_cells,) the loss of the first half of
        each cell is below its null, if the second half is known.
    """
    sample = evenly_spread(corpus)
    keys = [hashed(cell_keys(cells).astype(np.uint64)) for cells in (sample, counts)]
    return np.array([null - _gain(sample, counts, *keys, gains, split) for split in range(SPLITS)])


def in_memory(corpus: sp.csr_array | CountsOnDisk) -> sp.csr_array:
    """The same counts, of those on disk a sample."""
    return evenly_spread(corpus) if isinstance(corpus, CountsOnDisk) else corpus


def evenly_spread(corpus: sp.csr_array | CSRDataset | CountsOnDisk) -> sp.csr_array:
    """Counts of at most SAMPLE cells, one of each so many, float32."""
    return sp.csr_array(corpus[:: -(-corpus.shape[0] // SAMPLE)], dtype=np.float32)


def _gain(
    known: sp.csr_array,
    cells: sp.csr_array,
    known_keys: np.ndarray,
    keys: np.ndarray,
    gains: Callable[[Halves, Halves], np.ndarray],
    split: int,
) -> np.ndarray:
    """What one split says the whole cells gain, (n_cells,)."""
    at, gain = np.arange(cells.shape[0]), np.zeros(cells.shape[0])
    for level, weight in enumerate(TO_WHOLE):
        draw = split * len(TO_WHOLE) + level
        *known_halves, known_kept = _halves(known, known_keys, draw)
        *halves, kept = _halves(cells, keys, draw)
        gain[np.delete(at, kept)] = 0
        at, keys, known_keys = at[kept], keys[kept], known_keys[known_kept]
        if not len(at):
            break
        gain[at] += weight * gains(tuple(known_halves), tuple(halves))
        known, cells = known_halves[0], halves[0]
    return gain


def _halves(counts: sp.csr_array, keys: np.ndarray, draw: int) -> tuple[sp.csr_array, sp.csr_array, np.ndarray]:
    """Two random halves of the counts of each cell for which both hold some, and the rows (n_kept,) of these cells."""
    one, other = counts.copy(), counts.copy()
    for start in range(0, counts.shape[0], PIECE):
        ends = counts.indptr[start : start + PIECE + 1]
        values, cells = slice(ends[0], ends[-1]), np.repeat(keys[start : start + PIECE], np.diff(ends))
        gene = hashed(counts.indices[values].astype(np.uint64) + np.uint64(draw << 32))
        one.data[values] = _half_of(counts.data[values], hashed(cells + gene))
    other.data -= one.data
    kept = np.flatnonzero((one.sum(axis=1) > 0) & (other.sum(axis=1) > 0))
    parts = []
    for half in (one, other):
        half.eliminate_zeros()
        parts.append(half[kept])
    return *parts, kept


def _half_of(counts: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """A draw from Binomial(count, 1/2) for each count: the number of ones among as many bits that hash its seed."""
    drawn, at, left = np.zeros(len(counts), dtype=np.int64), np.arange(len(counts)), counts.astype(np.int64)
    word = 0
    while len(at):
        unused = np.maximum(64 - left, 0).astype(np.uint64)
        drawn[at] += np.bitwise_count(hashed(seeds[at] + np.uint64(word)) >> unused)
        more = left > 64
        at, left, word = at[more], left[more] - 64, word + 1
    return drawn
