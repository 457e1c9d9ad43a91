"""Evaluation sets with a file of their own: brought to the source's genes and columns, and put below its cells."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import scipy.sparse as sp

from helpers.corpus.checks import by_name, check_counts, check_genes, check_obs, check_values, match
from helpers.corpus.copies import learnable, same_cells
from helpers.corpus.h5ad_file import places_of_counts
from helpers.corpus.labels import as_categories
from helpers.corpus.row_blocks import open_matrix, row_blocks, sample
from helpers.corpus.source import Source, Stacked
from helpers.design import Design
from helpers.design_parts import EvaluationSet, SpikeIns
from helpers.design_runs import SPIKEINS
from helpers.messages import unknown
from helpers.models.counts import MOST_MISSING
from helpers.provenance import file_sha256, project_path

OwnEntry = EvaluationSet | SpikeIns
MOST_CELLS = 32_768  # brought into their order at once


class Rows(Protocol):
    """Counts that are given by sorted positions, in memory or on disk."""

    def __getitem__(self, rows: np.ndarray, /) -> sp.csr_array: ...


def in_source(obs: pd.DataFrame, design: Design) -> np.ndarray:
    """Which cells are of the source, (n_cells,) bool, not of a file of their own."""
    if not design.files:
        return np.ones(len(obs), dtype=bool)
    return ~obs["dataset_id"].isin(set(design.files)).to_numpy()


def check_files(design: Design) -> None:
    """Raise ValueError that lists all missing files of evaluation sets and spike-ins, with their sources."""
    lines = [
        _told(name, entry) + (f", from {entry.source}" if entry.source else "")
        for name, entry in design.files.items()
        if not project_path(entry.path).is_file()
    ]
    if lines:
        raise ValueError("\n  ".join([f"missing files of evaluation sets, {len(lines)} in all:", *lines]))


def fingerprints(design: Design) -> dict[str, dict]:
    """What the cells of each file are made from: its SHA-256, and how it is read."""
    others = {"source", "at_most", "control", "held_out"}  # do not change what is read
    check_files(design)
    return {
        name: {"sha256": file_sha256(project_path(entry.path)), **entry.model_dump(exclude=others)}
        for name, entry in design.files.items()
    }


@dataclass(frozen=True)
class OwnFile:
    """The cells of a set with a file of its own, on the genes of the corpus; a `source.Source`.

    `rows` (n_cells,) are those of the file, by name of the cells; `place` is where its counts lie, of the genes
    `names`. `present` (n_genes,) tells the genes of the corpus that the file has; the others count as 0.
    """

    name: str
    entry: OwnEntry
    obs: pd.DataFrame
    rows: np.ndarray
    place: str
    names: pd.Index
    genes: pd.Index
    present: np.ndarray

    def blocks(self, start: int = 0) -> Iterator[sp.csr_array]:
        """Raw counts from row `start` on, (at most 32,768, n_genes) each; the file is read once for each of them."""
        for first in range(start, len(self.rows), MOST_CELLS):
            part = slice(first, first + MOST_CELLS)
            with _opened(self.name, self.entry) as file:
                counts = _read_rows(file[self.place], self.rows[part]) @ self._on_genes()
                check_counts(counts, place=self.place, names=self.obs.index[part])
            yield counts

    def _on_genes(self) -> sp.csr_array:
        """What brings counts of the file's genes to the corpus's, (n_names, n_genes)."""
        kept = np.flatnonzero(self.names.isin(self.genes))
        places = (np.ones(len(kept), dtype=np.float32), (kept, self.genes.get_indexer(self.names[kept])))
        return sp.csr_array(places, shape=(len(self.names), len(self.genes)))

    def fingerprint(self) -> str:
        return file_sha256(project_path(self.entry.path))


def open_sets(design: Design, source: Source) -> dict[str, OwnFile]:
    """The sets with a file, by name. A gene that a file lacks counts as 0.

    Raises ValueError for a set that lacks over 20 % of the genes, and columns or values that are missing.
    """
    sets = {}
    for name, entry in design.files.items():
        with _opened(name, entry) as file:
            obs, rows = _read_obs(file, name, entry, source.obs)
            where, names = _counts_and_names(file, entry)
            _check_sample(file, where, project_path(entry.path))
            present = _present(names, source.genes, list(file[_var(where)].attrs["column-order"]))
            sets[name] = OwnFile(name, entry, obs, rows, where, names, source.genes, present)
            check_genes(names[names.isin(source.genes)])
    return sets


def shared_genes(source: Source) -> np.ndarray:
    """Columns of the genes that all files of sets have, (n_genes,) bool; all where there are none."""
    sets = source.parts[1:] if isinstance(source, Stacked) else ()
    return np.logical_and.reduce([np.ones(len(source.genes), dtype=bool), *(part.present for part in sets)])


def check_unlearned(design: Design, source: Source, counts: Rows, keys: np.ndarray) -> None:
    """Raise ValueError if a set with a file has cells with the same counts as some that models may learn from, unless
    it says ``seen: transductive``.

    `counts` (n_cells, n_genes) are of all cells, and give those at sorted positions; `keys` (n_cells,) are
    `models.counts.cell_keys` of them on `shared_genes`, by which few cells need to be compared.
    """
    if not isinstance(source, Stacked):
        return
    first, *sets = source.parts
    ends = np.cumsum([len(part.obs) for part in source.parts])
    places = [np.arange(end - len(part.obs), end) for part, end in zip(sets, ends[1:], strict=True)]
    spiked = [rows for part, rows in zip(sets, places, strict=True) if part.name == SPIKEINS]
    pool = np.concatenate([np.flatnonzero(learnable(first.obs, design)), *spiked])
    for part, rows in zip(sets, places, strict=True):
        if part.name == SPIKEINS or part.entry.seen == "transductive":
            continue
        alike = pool[np.isin(keys[pool], keys[rows])]
        twice = same_cells(*(sp.csr_matrix(counts[those])[:, part.present] for those in (rows, alike)))
        if twice.any():
            raise ValueError(
                f"{_told(part.name, part.entry)}: seen = {part.entry.seen!r}, but {int(twice.sum()):,} of the "
                f"{len(twice):,} cells have the counts of cells that may be learned from or validate, "
                f"{part.obs.index[twice][0]!r} first: leave them out with where, or say 'seen: transductive'"
            )


def _told(name: str, entry: OwnEntry) -> str:
    key = SPIKEINS if name == SPIKEINS else f"evaluation_sets.{name}"
    return f"{key}.path = {entry.path!r}"


@contextlib.contextmanager
def _opened(name: str, entry: OwnEntry) -> Iterator:
    """The file of a set; errors name the set and the file."""
    import h5py

    told = _told(name, entry)
    try:
        with h5py.File(project_path(entry.path)) as file:
            yield file
    except (OSError, KeyError) as error:
        raise ValueError(f"{told} is not a readable h5ad file: {error}; copy or make it anew") from error
    except ValueError as error:
        raise ValueError(f"{told}: {error}") from error


def _read_obs(file, name: str, entry: OwnEntry, source: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """The chosen cells' `obs` by name, under the names of the source's columns, and their rows in the file."""
    from anndata.io import read_elem

    if (source["dataset_id"].astype(str) == name).any():
        raise ValueError(f"the corpus has a dataset {name!r}, too: choose another name for the set")
    obs = read_elem(file["obs"])
    rows = np.flatnonzero(match(obs, entry.where or {}, "where"))
    rows = rows[by_name(obs.index[rows])]
    obs, values = obs.iloc[rows], {}
    for key in ("label", "batch", "perturbation", "context"):
        column = getattr(entry, key)
        if column is None:
            continue
        if column not in obs:
            raise ValueError(f"{key}: {unknown('column of obs', column, obs.columns)}")
        if missing := int(obs[column].isna().sum()):
            told = f"{key} = {column!r} has no value for {missing:,} of {len(obs):,} cells"
            raise ValueError(f"{told}: choose the others with where, or fill it in")
        values[key] = obs[column].astype(str).to_numpy(dtype=object)
    columns = {"dataset_id": name, "cell_type": values["label"], "cell_type_harmonised": values["label"]}
    columns["batch"] = name + "_" + values["batch"] if "batch" in values else name
    columns |= {key: values[key] for key in ("perturbation", "context") if key in values}
    table = pd.DataFrame(columns, index=name + "_" + obs.index.astype(str))
    check_obs(table, [])
    return table, rows


def joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Tables below one another; text is categories, so that cells without a value can be written."""
    obs = pd.concat(tables)
    check_obs(obs, [])
    return as_categories(obs)


def _counts_and_names(file, entry: OwnEntry) -> tuple[str, pd.Index]:
    """Where counts are, X, ``raw/X`` or a layer, and the names of their genes.

    Where X is no counts, they are taken from `raw`, as in files of CELLxGENE.
    """
    from anndata.io import read_elem

    if entry.layer is not None:
        where = f"layers/{entry.layer}"
        if where not in file:
            raise ValueError(f"layer: {unknown('layer', entry.layer, file.get('layers', ()))}")
    else:
        where = "raw/X" if "raw" in file and (sample(open_matrix(file["X"])).data % 1).any() else "X"
    var = read_elem(file[_var(where)])
    if entry.genes is not None and entry.genes not in var:
        raise ValueError(f"genes: {unknown('column of var', entry.genes, var.columns)}")
    return where, pd.Index((var.index if entry.genes is None else var[entry.genes]).astype(str))


def _var(where: str) -> str:
    """The table of the genes of a matrix in a file."""
    return "raw/var" if where == "raw/X" else "var"


def _check_sample(file, where: str, path: Path) -> None:
    """Raise ValueError, with what else in the file holds counts, unless the first values of a matrix are counts."""
    try:
        check_values(sample(open_matrix(file[where])), place=where)
    except ValueError as error:
        layers = [place for place in places_of_counts(path) if place not in ("X", "raw")]
        says = f"counts are in the layer {layers[0]!r}: say layer: {layers[0]}" if layers else "no layer holds any"
        raise ValueError(f"{error}; {says}") from error


def _present(names: pd.Index, genes: pd.Index, columns: list[str]) -> np.ndarray:
    """Which of the corpus's genes a file has, (n_genes,) bool; refuses to go without many."""
    present = genes.isin(names)
    if (missing := int((~present).sum())) > MOST_MISSING * len(genes):
        raise ValueError(
            f"{missing:,} of the corpus's {len(genes):,} genes ({missing / len(genes):.1%}) are missing, such as "
            f"{', '.join(genes[~present][:3])}; at most {MOST_MISSING:.0%} may be. Gene names may stand in a column of "
            f"var, to be named by genes; there are: {', '.join(map(str, columns)) or 'none'}"
        )
    return present


def _read_rows(element, rows: np.ndarray) -> sp.csr_array:
    """Some rows of a matrix in a file, (n_rows, n_names) float32, in their order."""
    order = np.argsort(rows)
    first, stop, parts = int(rows[order[0]]), rows[order[-1]] + 1, []
    for block in row_blocks(open_matrix(element), first):
        begin, end = np.searchsorted(rows, [first, first + block.shape[0]], sorter=order)
        parts.append(block[rows[order[begin:end]] - first].astype(np.float32))
        first += block.shape[0]
        if first >= stop:
            break
    return sp.vstack(parts, format="csr")[np.argsort(order)]
