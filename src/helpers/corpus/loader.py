"""Random minibatches of any cells of a folder of shards, without holding them, through annbatch."""

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
from annbatch import Loader
from annbatch.abc import Sampler
from annbatch.types import LoadRequest

from helpers.corpus.shards import Shards

BLOCK = 256  # neighbouring cells that are read together
BUFFER = 16_384  # cells in memory, of as many random blocks as hold them


class PositionSampler(Sampler):
    """Batches of stored positions: each of them once an epoch, none other, in an order that only the generator decides.

    An epoch visits the blocks of the corpus that hold any of the positions in random order. Of these, as many are read
    as give `buffer` cells, which are dealt out at random: a batch has cells of many blocks, and what is read is
    decompressed once. All batches but the last of an epoch are full. Sparse positions fill memory with cells between
    them; pack those first.

    Parameters
    ----------
    positions
        (n_cells,) rows of the corpus, sorted, no repeats.
    batch_size
        Cells of a batch.
    rng
        Each epoch draws from it anew.
    """

    def __init__(
        self,
        positions: np.ndarray,
        batch_size: int,
        *,
        rng: np.random.Generator,
        block: int = BLOCK,
        buffer: int = BUFFER,
    ) -> None:
        positions = np.asarray(positions, dtype=np.int64)
        if len(positions) == 0 or (np.diff(positions) <= 0).any():
            raise ValueError("positions must be sorted, without repeats, and at least one")
        self.positions, self._batch_size, self._rng = positions, batch_size, rng
        self.block, self.n_read = block, max(1, buffer // batch_size) * batch_size

    @property
    def batch_size(self) -> int:
        return self._batch_size

    @property
    def shuffle(self) -> bool:
        return True

    def n_batches(self, n_obs: int) -> int:
        return -(-len(self.positions) // self._batch_size)

    def validate(self, n_obs: int) -> None:
        first, last = self.positions[[0, -1]]
        if first < 0 or last >= n_obs:
            raise ValueError(f"positions reach from {first} to {last}; there are {n_obs} cells")

    def _sample(self, n_obs: int) -> Iterator[LoadRequest]:
        block = self.positions // self.block
        rank = np.empty(block[-1] + 1, dtype=np.int64)
        present = np.unique(block)
        rank[present] = self._rng.permutation(len(present))
        visited = self.positions[np.argsort(rank[block], kind="stable")]
        for start in range(0, len(visited), self.n_read):
            wanted = np.sort(visited[start : start + self.n_read])
            starts = np.flatnonzero(np.diff(wanted // self.block, prepend=-1))
            runs = [slice(int(rows[0]), int(rows[-1]) + 1) for rows in np.split(wanted, starts[1:])]
            read = np.concatenate([np.arange(run.start, run.stop) for run in runs])
            dealt = self._rng.permutation(np.searchsorted(read, wanted))
            cuts = range(self._batch_size, len(dealt), self._batch_size)
            yield {"requests": runs, "splits": np.split(dealt, cuts)}


def batches(
    shards: Shards, positions: np.ndarray, batch_size: int, *, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, sp.csr_array]]:
    """One epoch over the cells at sorted positions (n_cells,): positions and raw counts of one batch after another.

    Counts are CSR float32 (batch_size, n_genes). See PositionSampler for the order.
    """
    loader = Loader(batch_sampler=PositionSampler(positions, batch_size, rng=rng), return_index=True)
    for batch in loader.add_datasets(shards.datasets):
        yield batch["index"], sp.csr_array(batch["X"], dtype=np.float32)
