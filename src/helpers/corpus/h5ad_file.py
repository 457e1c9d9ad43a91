"""One h5ad file, read in pieces: labels column by column, gene names, and counts in blocks of rows."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from helpers.corpus.checks import check_filled, check_values
from helpers.corpus.row_blocks import open_matrix, row_blocks, sample
from helpers.design import DesignError
from helpers.messages import unknown

EXACT = 2**24  # float32 holds every integer up to it


class H5adFile:
    """An h5ad file with raw counts in X, in a layer or in raw; it is open only while something is read.

    Its first cells are checked at once, all others when they are read. Raises ValueError, which names the file, if it
    is missing, cut or no h5ad, or if there are no counts in that place: then it names the places that hold counts.

    Parameters
    ----------
    layer
        The layer with the counts; ``raw`` is the file's raw, or a layer of this name if there is none; X if None.
    genes
        Column of var (with ``raw``, of its var) that holds the names of the genes; var_names if None.

    Attributes
    ----------
    n_cells
        Number of cells.
    genes
        (n_genes,) names, as the file has them.
    columns
        Names of the columns of obs.
    """

    def __init__(self, path: Path, *, layer: str | None = None, genes: str | None = None) -> None:
        self.path, self.layer = path, layer
        with _opened(self.path) as file:
            self.columns = [_decoded(name) for name in file["obs"].attrs["column-order"]]
            places = _places(file)
            if (layer or "X") not in places:
                raise DesignError(f"layer: {unknown('place of counts', layer or 'X', places)}")
            self._place = places[layer or "X"]
            matrix = open_matrix(file[self._place])
            self.n_cells, n_genes = (int(size) for size in matrix.shape)
            var = _read_table(file["raw/var" if self._place == "raw/X" else "var"])
            if genes is not None and genes not in var:
                raise DesignError(f"genes: {unknown('column of var', genes, var.columns)}")
            names = var.index.to_series() if genes is None else var[genes]
            if missing := int(names.isna().sum()):
                raise ValueError(f"{missing:,} of {n_genes:,} genes have no name in {genes or 'var_names'}")
            self.genes = pd.Index(names.astype(str).to_numpy(dtype=object))
            n_named = len(file["obs"][_index(file["obs"])])
            if (n_named, len(self.genes)) != (self.n_cells, n_genes) or 0 in (self.n_cells, n_genes):
                told = f"{self.n_cells:,} cells × {n_genes:,} genes"
                raise ValueError(f"{_told(self._place)} has {told}, obs and var name {n_named:,} × {len(self.genes):,}")
            self._check(file, sample(matrix), 0)

    def names(self) -> pd.Index:
        """Names of the cells, (n_cells,), text."""
        with _opened(self.path) as file:
            return pd.Index(_read(file["obs"], _index(file["obs"]))).astype(str).astype(object)

    def column(self, name: str) -> pd.Series:
        """A column of obs, (n_cells,), without the names of the cells."""
        with _opened(self.path) as file:
            return pd.Series(_read(file["obs"], name))

    def obs(self) -> pd.DataFrame:
        """All columns of obs, (n_cells, n_columns), by the names of the cells."""
        columns = {name: self.column(name) for name in self.columns}
        return pd.DataFrame(columns, index=range(self.n_cells)).set_axis(self.names(), axis=0)

    def blocks(self, start: int = 0) -> Iterator[sp.csr_array]:
        """Raw counts of the cells from row `start` on, in order, as CSR float32 in blocks (n_rows, n_genes).

        Indices are sorted, nothing is stored twice and no zero. See `row_blocks` for the size of blocks. Raises
        ValueError for a block with values that are no counts or above float32's integers, or with cells without counts.
        """
        with _opened(self.path) as file:
            for block in row_blocks(open_matrix(file[self._place]), start):
                self._check(file, block, start)
                counts = block.astype(np.float32, copy=False)
                counts.sum_duplicates()
                counts.eliminate_zeros()
                check_filled(counts, first=start)
                yield counts
                start += counts.shape[0]

    def _check(self, file, block: sp.csr_array, first: int) -> None:
        """Raise ValueError unless the cells from `first` on hold counts, and say what else in the file does."""
        try:
            _check_counts(block, _told(self._place), first)
        except ValueError as error:
            others = {name: at for name, at in _holding(file).items() if at != self._place}
            says = {name: "leave layer out" if name == "X" else f"say layer: {name}, for all files" for name in others}
            found = [f"{_told(others[name])} holds counts: {say}" for name, say in says.items()]
            raise ValueError("; ".join([str(error), *(found or ["nothing else in the file holds counts"])])) from error


def places_of_counts(path: Path) -> list[str]:
    """What in a file holds raw counts, as far as its first values tell: ``X``, ``raw``, names of layers."""
    with _opened(path) as file:
        return list(_holding(file))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator:
    """A file, open for h5py; what goes wrong in it is a ValueError that names it."""
    import h5py

    try:
        with h5py.File(path) as file:
            if not isinstance(file.get("obs"), h5py.Group):
                raise ValueError(
                    "its obs is no table; files of anndata before 0.7 are to be written anew: "
                    "anndata.read_h5ad(path).write_h5ad(path)"
                )
            yield file
    except DesignError as error:
        raise DesignError(f"{path.name}: {error}") from error
    except (OSError, KeyError, IndexError, RuntimeError) as error:
        raise ValueError(f"{path.name} is not a readable h5ad file: {error}; copy or make it anew") from error
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error


def _places(file) -> dict[str, str]:
    """What may hold counts, by its name in a design, and where it lies in the file."""
    layers = {name: f"layers/{name}" for name in file.get("layers", {})}
    return layers | {name: place for name, place in (("X", "X"), ("raw", "raw/X")) if place in file}


def _told(place: str) -> str:
    """A place in the file as scanpy users know it."""
    return {"X": "X", "raw/X": "raw"}.get(place, f"layers[{place.removeprefix('layers/')!r}]")


def _holding(file) -> dict[str, str]:
    """Those of `_places` whose first values are counts."""
    found = {}
    for name, place in _places(file).items():
        with contextlib.suppress(ValueError):
            few = sample(open_matrix(file[place]))
            _check_counts(few, place, 0)
            found |= {name: place} if few.nnz else {}
    return found


def _check_counts(block: sp.csr_array, place: str, first: int) -> None:
    if block.dtype.kind not in "iuf":
        raise ValueError(f"{place} is of type {block.dtype}: raw counts (integers ≥ 0) are needed")
    check_values(block, place=place, first=first)
    if block.nnz and (most := block.data.max()) >= EXACT:
        raise ValueError(f"{place} holds {most:,.0f}: counts of {EXACT:,} and more are not exact in float32")


def _index(table) -> str:
    return _decoded(table.attrs["_index"])


def _decoded(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _read_table(table) -> pd.DataFrame:
    columns = {name: _read(table, name) for name in map(_decoded, table.attrs["column-order"])}
    return pd.DataFrame(columns, index=_read(table, _index(table)))


def _read(table, name: str):
    """A column of a table as an array, or as a categorical; as anndata 0.7 wrote it, too."""
    from anndata import OldFormatWarning
    from anndata.io import read_elem

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OldFormatWarning)  # columns of anndata 0.7 have no encoding; they are read
        values = read_elem(table[name])
        if (kept_apart := table[name].attrs.get("categories")) is None:
            return values
        categories = read_elem(table.file[kept_apart])
    return pd.Categorical.from_codes(values, categories)
