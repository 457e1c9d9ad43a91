"""Counts as the families take them: the genes of the model in its order, checked, and normalised."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import scipy.sparse as sp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData


@runtime_checkable
class CountsOnDisk(Protocol):
    """Raw counts (n_cells, n_genes) that stay on disk, checked before, as `helpers.corpus.stored.StoredCounts`."""

    @property
    def shape(self) -> tuple[int, int]: ...

    def __getitem__(self, rows: slice | np.ndarray, /) -> sp.csr_array:
        """Counts of some rows, sorted."""

    def batches(self, batch_size: int, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, sp.csr_array]]:
        """Endless full batches, rows (batch_size,) and counts, of one shuffled epoch after another."""


MOST_MISSING = 0.2  # share of a model's genes that cells may lack


def check_genes(expected: Any, adata: AnnData, *, what: str) -> None:
    """Raise ValueError unless `adata` has exactly the expected genes in their order; says how many are missing."""
    expected, found = pd.Index(expected), adata.var_names
    if found.equals(expected):
        return
    missing = expected.difference(found, sort=False)
    if len(missing):
        raise ValueError(
            f"{len(missing)} of the {len(expected)} genes {what} are missing in the {len(found)} of these cells, "
            f"such as {', '.join(missing[:3])}"
        )
    raise ValueError(f"these cells have the genes {what} in another order, or more ({len(found)} vs {len(expected)})")


def check_unique(genes: pd.Index) -> None:
    """Raise ValueError if a gene stands twice."""
    if not genes.is_unique:
        raise ValueError(f"gene {genes[genes.duplicated()][0]!r} stands twice in var_names; make them unique")


def aligned(adata: AnnData, genes: list[str]) -> AnnData:
    """Cells with just these genes in this order; missing ones are 0. Warnings and errors as told in `Family.embed`."""
    if adata.var_names.equals(pd.Index(genes)):
        return adata
    positions = pd.Series(np.arange(adata.n_vars), adata.var_names)
    positions = positions[positions.index.isin(genes)]  # a name twice among other genes does no harm
    check_unique(positions.index)
    found = positions.reindex(genes, fill_value=-1).to_numpy()
    missing = [gene for gene, at in zip(genes, found, strict=True) if at < 0]
    told = f"{len(missing)} of the {len(genes)} genes of the model ({len(missing) / len(genes):.1%}) are missing"
    if len(missing) > MOST_MISSING * len(genes):
        raise ValueError(f"{told}, such as {', '.join(missing[:3])}; at most {MOST_MISSING:.0%} may be")
    if missing:
        warnings.warn(f"{told} and count as 0, such as {', '.join(missing[:3])}", stacklevel=4)
    X = sp.csr_array(adata.X[:] if adata.isbacked else adata.X)
    with_zeros = sp.hstack([X, sp.csr_array((adata.n_obs, 1), dtype=X.dtype)], format="csr")  # a gene without counts
    counts = with_zeros[:, np.where(found < 0, adata.n_vars, found)]
    counts.sort_indices()
    return type(adata)(counts, obs=adata.obs, var=pd.DataFrame(index=genes))


def raw_counts(adata: AnnData) -> sp.csr_array:
    """Counts as float32 CSR (n_cells, n_genes); ValueError for a cell without counts, negative or fractional values."""
    counts = sp.csr_array(adata.X[:] if adata.isbacked else adata.X, dtype=np.float32)
    if not counts.has_canonical_format:  # a count in two entries is one count
        counts = counts.copy()
        counts.sum_duplicates()
    if not np.isfinite(counts.data).all() or (counts.data < 0).any() or (counts.data % 1).any():
        raise ValueError("X holds values that are no counts; accepted: raw integer counts, 0 or more")
    empty = np.flatnonzero(counts.sum(axis=1) == 0)
    if len(empty):
        first = adata.obs_names[empty[0]]
        raise ValueError(
            f"{len(empty)} of {adata.n_obs} cells have no counts in these genes (first: {first}); drop them"
        )
    return counts


def cell_keys(counts: sp.csr_array) -> np.ndarray:
    """A whole number for each cell, int64 (n_cells,), from its counts alone: it chooses what is fixed for the cell."""
    factors = np.random.default_rng(0).integers(1, 4096, counts.shape[1]).astype(np.float64)
    return (counts.astype(np.float64) @ factors).astype(np.int64)  # sums of whole numbers: exact in any order


def hashed(numbers: np.ndarray) -> np.ndarray:
    """Well mixed 64-bit numbers of 64-bit numbers (the finaliser of splitmix64)."""
    mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def log_cp10k(counts: sp.csr_array) -> sp.csr_array:
    """Counts scaled to 10,000 per cell, then log(1 + x); float32 CSR (n_cells, n_genes)."""
    expression = counts.copy()
    expression.data *= np.repeat(1e4 / counts.sum(axis=1), np.diff(counts.indptr)).astype(np.float32)
    np.log1p(expression.data, out=expression.data)
    return expression
