"""Cells as rank-value tokens: a cell's genes from the highest to the lowest, each against its median in the corpus.

Token 0 is padding, 1 the mask, 2 + i gene i.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch

from helpers.models.counts import CountsOnDisk, cell_keys, hashed

PAD, MASK, FIRST_GENE = 0, 1, 2
CHUNK = 8192  # cells ranked at a time
BINS = 2048  # classes of counts per 10,000, on a log scale from LEAST_SHARE to 10,000
LEAST_SHARE = 0.01


@dataclass(frozen=True)
class Batch:
    """Tokens of some cells, one cell after the other without padding; all tensors are (n_tokens,) but `lengths`."""

    tokens: torch.Tensor
    cell: torch.Tensor  # position of its cell in the batch
    rank: torch.Tensor  # position in its cell
    lengths: torch.Tensor  # tokens of each cell (n_cells,)
    longest: int
    keys: np.ndarray  # of its cell, see `Tokens`
    positions: torch.Tensor | None = None  # of its tokens in the batch they were taken from; None: it is whole

    def subset(self, chosen: torch.Tensor) -> Batch:
        """Those tokens of a whole batch for which `chosen` (n_tokens,) is true; every cell keeps at least one."""
        positions = chosen.nonzero()[:, 0]
        cell = self.cell[positions]
        lengths = torch.bincount(cell, minlength=len(self.lengths))
        rank = torch.arange(len(cell), device=cell.device) - (lengths.cumsum(0) - lengths)[cell]
        keys = self.keys[positions.cpu().numpy()]
        return Batch(self.tokens[positions], cell, rank, lengths, int(lengths.max()), keys, positions)

    def of(self, values: torch.Tensor) -> torch.Tensor:
        """Values (n_tokens, ...) of the whole batch at these tokens."""
        return values if self.positions is None else values.index_select(0, self.positions)

    def padded(self, values: torch.Tensor, fill: float = 0.0) -> torch.Tensor:
        """Values of tokens (n_tokens, ...) as (n_cells, longest, ...)."""
        shape = len(self.lengths) * self.longest, *values.shape[1:]
        if len(values) < shape[0]:
            values = values.new_full(shape, fill).index_copy(0, self.cell * self.longest + self.rank, values)
        return values.reshape(len(self.lengths), self.longest, *shape[1:])

    def unpadded(self, values: torch.Tensor) -> torch.Tensor:
        """The reverse of `padded`."""
        values = values.reshape(-1, *values.shape[2:])
        if len(values) > len(self.tokens):
            values = values.index_select(0, self.cell * self.longest + self.rank)
        return values

    def real(self) -> torch.Tensor | None:
        """Which positions hold a token, (n_cells, longest); None if all do."""
        if len(self.tokens) == len(self.lengths) * self.longest:
            return None
        return torch.arange(self.longest, device=self.tokens.device) < self.lengths[:, None]

    def masked(self, draws: torch.Tensor, share: float) -> torch.Tensor:
        """Tokens to mask, given a uniform draw for each: those below `share`, and the lowest of each cell."""
        lowest = self.padded(draws, fill=1.0).amin(dim=1)
        return (draws < share) | (draws == lowest[self.cell])

    def fixed_draws(self) -> torch.Tensor:
        """A uniform draw for each token that depends on the gene and on the counts of the cell alone."""
        draws = hashed(self.keys + hashed(self.tokens.cpu().numpy().astype(np.uint64)))
        return torch.from_numpy((draws >> np.uint64(40)).astype(np.float32) / 2**24).to(self.tokens.device)


@dataclass(frozen=True)
class Tokens:
    """Tokens of many cells, one cell after the other; where each starts (n_cells + 1,); a key of its counts."""

    tokens: np.ndarray
    starts: np.ndarray
    keys: np.ndarray

    def batch(self, rows: np.ndarray | slice, device: torch.device) -> Batch:
        """The cells at `rows`."""
        start, lengths = self.starts[:-1][rows], np.diff(self.starts)[rows]
        cell = np.repeat(np.arange(len(lengths)), lengths)
        rank = np.arange(len(cell)) - (np.cumsum(lengths) - lengths)[cell]
        tokens = self.tokens[start[cell] + rank].astype(np.int64)
        tensors = (torch.from_numpy(array).to(device) for array in (tokens, cell, rank, lengths))
        return Batch(*tensors, longest=int(lengths.max()), keys=self.keys[rows][cell])


def nonzero_medians(counts: sp.csr_array | CountsOnDisk) -> np.ndarray:
    """Median of each gene's counts per 10,000 over the cells that have it, float32 (n_genes,); NaN if none has.

    Of counts on disk, read once, it is found among BINS classes of like values, and off by 0.4 % at most.
    """
    if isinstance(counts, CountsOnDisk):
        return _binned_medians(counts)
    gene, share = _shares(counts)
    share = share[np.lexsort((share, gene))]
    n_cells = np.bincount(gene, minlength=counts.shape[1])
    first, seen = np.cumsum(n_cells) - n_cells, n_cells > 0
    medians = np.full(counts.shape[1], np.nan, dtype=np.float32)
    medians[seen] = (share[(first + (n_cells - 1) // 2)[seen]] + share[(first + n_cells // 2)[seen]]) / 2
    return medians


def _shares(counts: sp.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Gene of each count above 0, and that count per 10,000 of its cell, both (n_values,)."""
    totals = np.repeat(counts.sum(axis=1, dtype=np.float64), np.diff(counts.indptr))
    above = counts.data > 0
    return counts.indices[above], (counts.data / totals * 1e4)[above]


def _binned_medians(counts: CountsOnDisk) -> np.ndarray:
    n_genes, low, high = counts.shape[1], np.log(LEAST_SHARE), np.log(1e4)
    step = (high - low) / (BINS - 1)
    table = np.zeros(n_genes * BINS, dtype=np.int32)
    for start in range(0, counts.shape[0], CHUNK):
        gene, share = _shares(counts[start : start + CHUNK])
        at = np.clip(np.rint((np.log(share) - low) / step), 0, BINS - 1).astype(np.int64)
        np.add.at(table, gene * BINS + at, 1)
    below = np.cumsum(table.reshape(n_genes, BINS), axis=1, dtype=np.int64)
    n_cells = below[:, -1]
    middle = [(below < half[:, None]).sum(axis=1) for half in ((n_cells + 1) // 2, n_cells // 2 + 1)]
    medians = (np.exp(low + step * middle[0]) + np.exp(low + step * middle[1])) / 2
    return np.where(n_cells > 0, medians, np.nan).astype(np.float32)


def filled(medians: np.ndarray) -> np.ndarray:
    """Medians with a value for every gene: one that the corpus never saw (NaN) gets the median of the others."""
    if not (medians > 0).any() or (medians <= 0).any():
        raise ValueError("nonzero_median holds values that are no medians; accepted: above 0, NaN for unseen genes")
    return np.where(np.isnan(medians), np.nanmedian(medians), medians).astype(np.float32)


def tokenise(counts: sp.csr_array, medians: np.ndarray, max_tokens: int) -> Tokens:
    """Each cell's genes by count / median, the highest first, at most `max_tokens`; ties in the order of the genes.

    A cell's total does not change the order of its genes, so it is left out.
    """
    smallest = np.min_scalar_type(FIRST_GENE + counts.shape[1])
    kept, lengths = [], []
    for start in range(0, counts.shape[0], CHUNK):
        part = counts[start : start + CHUNK]
        part.eliminate_zeros()
        part.sort_indices()
        cell = np.repeat(np.arange(part.shape[0]), np.diff(part.indptr))
        order = np.lexsort((-part.data / medians[part.indices].astype(np.float64), cell))
        rank = np.arange(len(cell)) - part.indptr[cell]
        kept.append((part.indices[order] + FIRST_GENE)[rank < max_tokens].astype(smallest))
        lengths.append(np.minimum(np.diff(part.indptr), max_tokens))
    starts = np.concatenate([[0], np.cumsum(np.concatenate(lengths), dtype=np.int64)])
    return Tokens(np.concatenate(kept), starts, hashed(cell_keys(counts).astype(np.uint64)))
