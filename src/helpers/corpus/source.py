"""What every source of cells offers: labels and genes at once, counts in pieces."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import pandas as pd
import scipy.sparse as sp

PIECE = 16_384  # cells


class Source(Protocol):
    """Cells in an order that never changes, whose counts can be read from any row on.

    Attributes
    ----------
    obs
        (n_cells, n_columns), indexed by cell names that are unique over all cells. Columns have the names that designs
        use (dataset_id, cell_type, batch, donor_id, tissue, ...), text as categories.
    genes
        (n_genes,) names.
    """

    obs: pd.DataFrame
    genes: pd.Index

    def blocks(self, start: int = 0) -> Iterator[sp.csr_array]:
        """Raw counts of the cells from row `start` on, in order, in pieces (n_rows, n_genes) float32 of any size."""

    def fingerprint(self) -> str:
        """Hash of what the cells are made from: other cells, labels, genes or counts give another one."""


@dataclass(frozen=True)
class Held:
    """Cells of which all are read at once, when the first of their counts is asked for; a `Source`."""

    obs: pd.DataFrame
    genes: pd.Index
    read: Callable[[], sp.csr_array]
    hashed: Callable[[], str]

    def blocks(self, start: int = 0) -> Iterator[sp.csr_array]:
        counts = self.read() if start < len(self.obs) else None
        for row in range(start, len(self.obs), PIECE):
            yield counts[row : row + PIECE]

    def fingerprint(self) -> str:
        return self.hashed()


@dataclass(frozen=True)
class Stacked:
    """Sources over the same genes, one below the other; a `Source`."""

    obs: pd.DataFrame
    parts: tuple[Source, ...]
    hashed: Callable[[], str]

    @property
    def genes(self) -> pd.Index:
        return self.parts[0].genes

    def blocks(self, start: int = 0) -> Iterator[sp.csr_array]:
        return chain.from_iterable(self._from(start))

    def _from(self, start: int) -> Iterator[Iterator[sp.csr_array]]:
        for part in self.parts:
            if start < len(part.obs):
                yield part.blocks(start)
            start = max(0, start - len(part.obs))

    def fingerprint(self) -> str:
        return self.hashed()
