"""log1p CP10k expression as the families read it: in pieces, its gene means, and squared errors of predicting it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from helpers.models.counts import log_cp10k

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata.abc import CSRDataset

    from helpers.models.count_split import Halves

CHUNK = 1024  # cells read, and at most made dense, at a time
FLOAT32_SUM = 65_536  # cells: longer sums of float32 lose their small addends, and go on in float64


class LogCP10k:
    """`log_cp10k` of raw counts, computed for the rows that are asked for: no copy of all cells is made.

    The counts (n_cells, n_genes) are a matrix in memory, or one on disk, as `X` of an AnnData opened with
    ``backed="r"`` or `anndata.io.sparse_dataset` is. They are not checked; see `raw_counts`.
    """

    def __init__(self, counts: sp.csr_array | CSRDataset) -> None:
        self.counts, self.shape = counts, counts.shape

    def __getitem__(self, rows: slice) -> sp.csr_array:
        return log_cp10k(sp.csr_array(self.counts[rows], dtype=np.float32))


class SquaredLoss:
    """Unit and controls of the held-out loss of families that rebuild log1p CP10k: inherit it before `Family`.

    Null: every cell is the corpus mean. Count-split reference: counting noise alone is left. Two halves of a cell
    differ by noise only, so half their squared difference is what remains of a half for a model that knows the cell's
    expected expression. A model that sees the cell which it is to rebuild, as an autoencoder does, may fit some noise.
    """

    loss_unit = "squared error of log1p CP10k, mean over genes"

    def _null_losses(self, corpus: sp.csr_array | CSRDataset, counts: sp.csr_array) -> np.ndarray:
        return squared_errors(LogCP10k(counts), gene_means(LogCP10k(corpus)))

    def _split_gains(self, corpus: Halves, cells: Halves) -> np.ndarray:
        mean = gene_means(LogCP10k(corpus[0])).astype(np.float32)
        halves = (chunks(LogCP10k(half)) for half in cells)
        gains = np.empty(cells[0].shape[0])
        for (rows, one), (_, other) in zip(*halves, strict=True):
            dense = one.toarray()
            error, noise = np.square(dense - mean), np.square(dense - other.toarray()) / 2
            gains[rows] = (error - noise).mean(axis=1, dtype=np.float64)
        return gains


def gene_means(expression: sp.csr_array | LogCP10k) -> np.ndarray:
    """Mean over cells (n_genes,) float64, of float32 sums over at most FLOAT32_SUM cells."""
    n_cells, n_genes = expression.shape
    mean, part = np.zeros(n_genes), np.zeros(n_genes, dtype=np.float32)
    for rows, cells in chunks(expression):
        np.add.at(part, cells.indices, cells.data * (1 / n_cells))
        if rows.stop % FLOAT32_SUM < CHUNK:
            mean += part
            part[:] = 0
    return mean + part


def squared_errors(expression: sp.csr_array | LogCP10k, mean: np.ndarray, axes: np.ndarray | None = None) -> np.ndarray:
    """Squared distance (n_cells,) to `mean` (n_genes,), or to the plane that `axes` (k, n_genes) span from there; mean
    over genes.
    """
    mean, losses = mean.astype(np.float32), np.empty(expression.shape[0])
    for rows, cells in chunks(expression):
        centred = cells.toarray() - mean
        if axes is not None:
            centred -= (centred @ axes.T) @ axes
        losses[rows] = np.square(centred).mean(axis=1, dtype=np.float64)
    return losses


def chunks(expression: sp.csr_array | LogCP10k) -> Iterator[tuple[slice, sp.csr_array]]:
    """The rows, `CHUNK` at a time, and what they hold."""
    for start in range(0, expression.shape[0], CHUNK):
        rows = slice(start, start + CHUNK)
        yield rows, expression[rows]
