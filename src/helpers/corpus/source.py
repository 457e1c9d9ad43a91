"""What every source of cells offers: labels and genes at once, counts in pieces."""

from collections.abc import Iterator
from typing import Protocol

import pandas as pd
import scipy.sparse as sp


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
