"""Whether the same cell stands twice: among those that judge, and among those that models may learn from."""

import numpy as np
import pandas as pd
import scipy.sparse as sp

from helpers.corpus.checks import match
from helpers.design import Design
from helpers.models.counts import cell_keys
from helpers.subset import SPIKE_INS


def learnable(obs: pd.DataFrame, design: Design) -> np.ndarray:
    """Cells of the source, (n_cells,) bool, in the pretraining pool, or to be spiked in."""
    chosen = match(obs, design.corpus.pretraining, "corpus.pretraining")
    spiked = any(one.strategy in SPIKE_INS for one in design.strategies.values())
    if spiked and design.perturbation is not None:
        chosen |= match(obs, design.perturbation.where, "perturbation.where")
    return chosen


FEWEST_GENES = 20  # of cells with counts in fewer genes two can agree by chance


def same_cells(counts: sp.csr_matrix, pool: sp.csr_matrix) -> np.ndarray:
    """Which cells, (n_cells,) bool, are cells of the pool, too: `copied`, but for cells that may agree by chance."""
    return copied(counts, pool) & _telling(counts)


def repeated(counts: sp.csr_matrix) -> np.ndarray:
    """Which cells, (n_cells,) bool, have all counts of another one above them, but for those that may by chance."""
    counts = _canonical(counts)
    seen, found = set(), np.zeros(counts.shape[0], dtype=bool)
    alike = pd.Series(cell_keys(counts)).duplicated(keep=False).to_numpy()
    for row in np.flatnonzero(alike & _telling(counts)):
        content = _content(counts, row)
        found[row] = content in seen
        seen.add(content)
    return found


def _telling(counts: sp.csr_matrix) -> np.ndarray:
    return np.asarray((counts > 0).sum(axis=1)).ravel() >= FEWEST_GENES


def copied(counts: sp.csr_matrix, pool: sp.csr_matrix) -> np.ndarray:
    """Which cells, (n_cells,) bool, have all counts of some cell of the pool; both (…, n_genes), on the same genes.

    Keys of the counts tell which cells are worth comparing.
    """
    counts, pool = _canonical(counts), _canonical(pool)
    keys, known = cell_keys(counts), cell_keys(pool)
    there = {_content(pool, row) for row in np.flatnonzero(np.isin(known, keys))}
    return np.array(
        [alike and _content(counts, row) in there for row, alike in enumerate(np.isin(keys, known))], dtype=bool
    )


def _content(counts: sp.csr_matrix, row: int) -> tuple[bytes, bytes]:
    inside = slice(*counts.indptr[row : row + 2])
    return counts.indices[inside].astype(np.int64).tobytes(), counts.data[inside].astype(np.float64).tobytes()


def _canonical(counts: sp.csr_matrix) -> sp.csr_matrix:
    """A copy with one sorted entry for each count that is not 0."""
    counts = counts.copy()
    counts.sum_duplicates()
    counts.eliminate_zeros()
    return counts
