"""log1p CP10k expression as the families read it: in pieces, its gene means, and squared errors of predicting it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from helpers.models.counts import CountsOnDisk, log_cp10k, raw_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anndata import AnnData
    from anndata.abc import CSRDataset

    from helpers.corpus.stored import StoredCells
    from helpers.models.count_split import Halves

CHUNK = 1024  # cells read, and at most made dense, at a time
FLOAT32_SUM = 65_536  # cells: longer sums of float32 lose their small addends, and go on in float64


class LogCP10k:
    """`log_cp10k` of raw counts, computed for the rows that are asked for: no copy of all cells is made.

    The counts (n_cells, n_genes) are a matrix in memory, or one on disk, as `X` of an AnnData opened with
    ``backed="r"``, `anndata.io.sparse_dataset` or `CountsOnDisk` is. They are not checked; see `raw_counts`. Cells are
    scaled by all of their counts; `genes` are the columns that are given, None for all.
    """

    def __init__(self, counts: sp.csr_array | CSRDataset | CountsOnDisk, genes: np.ndarray | None = None) -> None:
        self.counts, self.genes = counts, genes
        self.shape = counts.shape if genes is None else (counts.shape[0], len(genes))

    def __getitem__(self, rows: slice) -> sp.csr_array:
        logs = log_cp10k(sp.csr_array(self.counts[rows], dtype=np.float32))
        return logs if self.genes is None else logs[:, self.genes]


def log_expression(adata: AnnData | StoredCells) -> sp.csr_array | LogCP10k:
    """log1p CP10k of raw counts, (n_cells, n_genes): computed piece by piece for counts on disk."""
    return LogCP10k(adata.X) if isinstance(adata.X, CountsOnDisk) else log_cp10k(raw_counts(adata))


def on_genes(logs: sp.csr_array | LogCP10k, genes: np.ndarray) -> sp.csr_array | LogCP10k:
    """The columns `genes` of `log_expression`."""
    return LogCP10k(logs.counts, genes) if isinstance(logs, LogCP10k) else logs[:, genes]


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


def gene_moments(
    expression: sp.csr_array | LogCP10k, of: Callable[[np.ndarray], np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Mean over cells of each gene's values, and of their squares, both (n_genes,) float64.

    `of` is a function of the values, 0 where they are.
    """
    n_cells, n_genes = expression.shape
    sums, squares = np.zeros(n_genes), np.zeros(n_genes)
    for _, cells in chunks(expression):
        values = (cells.data if of is None else of(cells.data)).astype(np.float64)
        sums += np.bincount(cells.indices, values, minlength=n_genes)
        squares += np.bincount(cells.indices, np.square(values), minlength=n_genes)
    return sums / n_cells, squares / n_cells


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
