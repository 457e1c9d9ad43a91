"""Random minibatches of any cells of a folder of shards, without holding them, through annbatch."""

import warnings
from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp

from helpers.corpus.shards import Shards

with warnings.catch_warnings():  # in a kernel tqdm, which annbatch imports, complains of missing widgets
    warnings.simplefilter("ignore")
    from annbatch import Loader
    from annbatch.abc import Sampler
    from annbatch.types import LoadRequest

BLOCK = 256  # neighbouring cells that are read together
BUFFER = 16_384  # cells in memory, of as many random blocks as hold them


class PositionSampler(Sampler):
    """Endless batches of stored positions, in an order that only the generator decides.

    In an epoch each position comes once, and no other. It visits the blocks of the corpus that hold any of them in
    random order. Of these, as many are read as give `buffer` cells, which are dealt out at random: a batch has cells of
    many blocks, and what is read is decompressed once. All batches are full: one may hold the end of an epoch and the
    start of the next. Sparse positions fill memory with cells between them; pack those first.

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
        """Those of an epoch, the last of which may be shared with the next."""
        return -(-len(self.positions) // self._batch_size)

    def validate(self, n_obs: int) -> None:
        first, last = self.positions[[0, -1]]
        if first < 0 or last >= n_obs:
            raise ValueError(f"positions reach from {first} to {last}; there are {n_obs} cells")

    def _sample(self, n_obs: int) -> Iterator[LoadRequest]:
        rest = self._visited()
        while True:
            parts, missing = [], self.n_read
            while missing:
                parts.append(np.sort(rest[:missing]))
                missing -= len(parts[-1])
                rest = rest[len(parts[-1]) :]
                rest = rest if len(rest) else self._visited()
            wanted = np.unique(np.concatenate(parts))
            starts = np.flatnonzero(np.diff(wanted // self.block, prepend=-1))
            runs = [slice(int(rows[0]), int(rows[-1]) + 1) for rows in np.split(wanted, starts[1:])]
            read = np.concatenate([np.arange(run.start, run.stop) for run in runs])
            dealt = np.concatenate([self._rng.permutation(np.searchsorted(read, part)) for part in parts])
            yield {"requests": runs, "splits": np.split(dealt, self.n_read // self._batch_size)}

    def _visited(self) -> np.ndarray:
        """The positions of an epoch, block by block in random order."""
        block = self.positions // self.block
        present, first = np.unique(block, return_index=True)
        rank = np.empty(len(present), dtype=np.int64)
        rank[self._rng.permutation(len(present))] = np.arange(len(present))
        return self.positions[np.argsort(np.repeat(rank, np.diff(first, append=len(block))), kind="stable")]


class _Loader(Loader):
    """annbatch's own, but for shards of which some hold counts beyond 16 bits.

    Parts of unlike shards are joined by adding up their indptr, which in annbatch 0.3.1 has as few bits as the part
    needs by itself.
    """

    def _allocate_per_dataset_outs(self, dataset_index_to_rows):
        outs = super()._allocate_per_dataset_outs(dataset_index_to_rows)
        for out in outs.values():
            data, indices, indptr = out.elems
            out.elems = (data, indices, np.empty(len(indptr), dtype=np.int64))
        return outs


def batches(
    shards: Shards, positions: np.ndarray, batch_size: int, *, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, sp.csr_array]]:
    """Endless batches of the cells at sorted positions (n_cells,): their positions (batch_size,) and raw counts.

    Counts are CSR float32 (batch_size, n_genes). See PositionSampler for the order.
    """
    loader = _Loader(batch_sampler=PositionSampler(positions, batch_size, rng=rng), return_index=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Adding dataset with dtype")  # of unlike shards, which are rare
        loader.add_datasets(shards.datasets)
    for batch in loader:
        yield batch["index"], sp.csr_array(batch["X"], dtype=np.float32)
