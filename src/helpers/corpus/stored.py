"""Cells whose counts stay on disk while models learn from them: any cells and any genes of a folder of shards."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from helpers.corpus import shards
from helpers.corpus.shards import Shards
from helpers.corpus.source import PIECE


@dataclass(frozen=True)
class StoredCounts:
    """Raw counts (n_cells, n_genes) of the cells at sorted `positions` of shards; `genes` are columns, None for all."""

    shards: Shards
    positions: np.ndarray
    genes: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.positions), self.shards.n_genes if self.genes is None else len(self.genes)

    def __getitem__(self, rows: slice | np.ndarray) -> sp.csr_array:
        """Counts of some rows, sorted, as CSR float32."""
        return self._chosen(self.shards[self.positions[rows]])

    def batches(self, batch_size: int, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, sp.csr_array]]:
        """Endless full batches: their rows (batch_size,) and counts, of one shuffled epoch after another.

        A batch may hold the end of one epoch and the start of the next. How cells are shuffled, see
        `loader.PositionSampler`.
        """
        from helpers.corpus.loader import batches

        for positions, counts in batches(self.shards, self.positions, batch_size, rng=rng):
            yield np.searchsorted(self.positions, positions), self._chosen(counts)

    def _chosen(self, counts: sp.csr_array) -> sp.csr_array:
        return counts if self.genes is None else counts[:, self.genes]


@dataclass(frozen=True)
class StoredCells:
    """What AnnData is for cells in memory: counts `X`, and tables of cells and genes that belong to them."""

    X: StoredCounts
    obs: pd.DataFrame
    var: pd.DataFrame

    @property
    def n_obs(self) -> int:
        return self.X.shape[0]

    @property
    def n_vars(self) -> int:
        return self.X.shape[1]

    @property
    def obs_names(self) -> pd.Index:
        return self.obs.index

    @property
    def var_names(self) -> pd.Index:
        return self.var.index

    def __getitem__(self, rows: slice | np.ndarray) -> "StoredCells":
        """Some cells, by a slice, sorted positions or a mask; nothing is read."""
        positions = self.X.positions[rows]
        return StoredCells(replace(self.X, positions=positions), self.obs.iloc[rows], self.var)

    def to_memory(self) -> AnnData:
        """The cells, read."""
        return AnnData(sp.csr_matrix(self.X[:]), obs=self.obs, var=self.var)


@contextlib.contextmanager
def packed(
    cells: StoredCells, folder: Path, change: Callable[[sp.csr_array], sp.csr_array] | None = None
) -> Iterator[StoredCells]:
    """The same cells in shards of their own while the block lasts, so that few of many are read as fast as all.

    `change` is done to the counts of each piece on the way, in order; cells that it leaves without counts drop out.
    """
    kept = np.ones(cells.n_obs, dtype=bool)

    def blocks(start: int) -> Iterator[sp.csr_array]:
        for row in range(start, cells.n_obs, PIECE):
            counts = cells.X[slice(row, row + PIECE)]
            if change is not None:
                counts = change(counts)
                kept[row : row + PIECE] = np.asarray(counts.sum(axis=1)).ravel() > 0
            yield counts

    try:
        shards.write(folder, blocks, cells.X.shape)
        own = Shards(folder, verify=False)
        yield replace(cells, X=StoredCounts(own, np.flatnonzero(kept)), obs=cells.obs[kept])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
