"""A prepared set: the cells of its files below one another on one list of genes, written as they are read."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from helpers.corpus.checks import check_counts, check_obs
from helpers.subset.strata import sample_mask

logger = logging.getLogger(__name__)

CHUNK = 65_536  # values that are compressed together
COMPRESSION = {"compression": "gzip", "compression_opts": 4, "shuffle": True}


@dataclass(frozen=True)
class Part:
    """Cells of one file.

    `obs` is (n_cells, n_columns), `rows` (n_cells,) are their rows in the file, sorted, `genes` (n_genes,) the names of
    its genes; `read` yields the counts of rows (n_rows, n_genes) in their order, in blocks. `name` is told in errors.
    """

    name: str
    obs: pd.DataFrame
    rows: np.ndarray
    genes: pd.Index
    read: Callable[[np.ndarray], Iterator[sp.csr_matrix]]


def drawn(parts: Sequence[Part], n: int, rng: np.random.Generator) -> list[Part]:
    """`n` of all cells, uniformly at random, in their order; ValueError if there are fewer."""
    sizes = [len(part.rows) for part in parts]
    if n > sum(sizes):
        raise ValueError(f"cells = {n:,}, but there are {sum(sizes):,}")
    masks = np.split(sample_mask(sum(sizes), n, rng), np.cumsum(sizes)[:-1])
    chosen = [(part, mask) for part, mask in zip(parts, masks, strict=True) if mask.any()]
    return [replace(part, obs=part.obs[mask], rows=part.rows[mask]) for part, mask in chosen]


def write(path: Path, parts: Sequence[Part], origin: dict, *, needed: Sequence[str], union: bool = False) -> None:
    """Write parts as h5ad: `X` raw counts as CSR float32, `var_names` symbols, ``uns["origin"]`` with all steps.

    Genes are those of all parts, or with `union` those of any, 0 where a part lacks one. Rows of one symbol are summed;
    cells without counts are left out. The file gets its name once it is whole. Raises ValueError for values that are no
    counts, for `needed` columns that lack values and for cell names that stand twice.
    """
    import h5py
    from anndata.io import write_elem

    genes, steps = _genes(parts, union=union)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with h5py.File(temporary, "w") as file:
            file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
            kept = _write_counts(file, parts, genes)
            obs = _joined([part.obs[mask] for part, mask in zip(parts, kept, strict=True)])
            if len(obs) == 0:
                raise ValueError(f"{', '.join(part.name for part in parts)}: no cell is left")
            check_obs(obs, needed)
            if left_out := sum(int((~mask).sum()) for mask in kept):
                steps.append(f"{left_out:,} cells without counts are left out")
            write_elem(file, "obs", obs, dataset_kwargs=COMPRESSION)
            write_elem(file, "var", pd.DataFrame(index=genes.rename(None)), dataset_kwargs=COMPRESSION)
            told = origin | {"steps": np.array([origin["steps"], *steps], dtype=object)}
            write_elem(file, "uns", {"origin": told})  # HDF5 does not compress single texts
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _genes(parts: Sequence[Part], *, union: bool) -> tuple[pd.Index, list[str]]:
    """Names of genes, each once, in the order of the files, and what was done to get there."""
    first = parts[0].genes.unique()
    everything = first.append([part.genes for part in parts[1:]]).unique()
    genes = everything
    if not union:
        genes = first[np.logical_and.reduce([first.isin(part.genes) for part in parts])]
    steps = []
    if left := len(everything) - len(genes):
        steps.append(f"{left:,} of {len(everything):,} genes, which not all files have, are left out")
    for part in parts:
        if lacking := int((~genes.isin(part.genes)).sum()):
            steps.append(f"{part.name} lacks {lacking:,} of {len(genes):,} genes, which are 0")
        twice = part.genes[part.genes.duplicated()].unique()
        if len(twice):
            steps.append(f"{part.name}: several rows of one symbol are summed: {', '.join(twice[:10])}")
    return genes, steps


def _write_counts(file, parts: Sequence[Part], genes: pd.Index) -> list[np.ndarray]:
    """Write ``X`` and return which cells of each part have counts, (n_cells,) bool."""
    group = file.create_group("X")
    growing = {"shape": (0,), "maxshape": (None,), "chunks": (CHUNK,), **COMPRESSION}
    data = group.create_dataset("data", dtype=np.float32, **growing)
    indices = group.create_dataset("indices", dtype=np.int32, **growing)
    lengths, kept = [], []
    for part in parts:
        known = np.flatnonzero(part.genes.isin(genes))
        ones = (np.ones(len(known), dtype=np.float32), (known, genes.get_indexer(part.genes[known])))
        places, masks = sp.csr_matrix(ones, shape=(len(part.genes), len(genes))), [np.empty(0, dtype=bool)]
        logger.info("reading %s cells of %s", f"{len(part.rows):,}", part.name)
        for block in part.read(part.rows):
            counts = _checked(sp.csr_matrix(block, dtype=np.float32), part.name) @ places
            counts.sort_indices()
            masks.append(np.diff(counts.indptr) > 0)
            lengths.append(np.diff(counts.indptr)[masks[-1]])
            for stored, values in ((data, counts.data), (indices, counts.indices)):
                stored.resize(len(stored) + len(values), axis=0)
                stored[len(stored) - len(values) :] = values
        kept.append(np.concatenate(masks))
    ends = np.cumsum(np.concatenate([[0], *lengths]), dtype=np.int64)
    group.create_dataset("indptr", data=ends, **COMPRESSION)
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
    group.attrs["shape"] = np.array([len(ends) - 1, len(genes)])
    return kept


def _checked(counts: sp.csr_matrix, name: str) -> sp.csr_matrix:
    """Counts without stored zeros; ValueError, with the part's name, if some are no counts."""
    counts.sum_duplicates()
    counts.eliminate_zeros()
    try:
        check_counts(counts[np.diff(counts.indptr) > 0])
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return counts


def _joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Tables below one another; text becomes categories, and a slash in a column's name, which HDF5 cannot hold, _."""
    obs = pd.concat(tables)
    obs.index = obs.index.astype(str).rename(None)
    obs.columns = [str(column).replace("/", "_") for column in obs.columns]
    for column in obs:
        if isinstance(obs[column].dtype, pd.CategoricalDtype):
            obs[column] = obs[column].cat.remove_unused_categories()
        elif obs[column].dtype == object:
            obs[column] = obs[column].map(str, na_action="ignore").astype("category")
    return obs
