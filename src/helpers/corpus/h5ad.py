"""Cells of one's own: an h5ad file or a folder of them, as one source of cells."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from helpers.corpus.checks import check_genes
from helpers.corpus.h5ad_file import H5adFile
from helpers.corpus.h5ad_obs import read_obs
from helpers.corpus.source import Source
from helpers.design import DesignError
from helpers.design_sources import H5adFiles
from helpers.provenance import digest, file_sha256, project_path


def open_source(settings: H5adFiles) -> Source:
    """The cells of one or several h5ad files, file below file, on the genes of the first one and in their order.

    Labels, gene names and the first cells of each file are read and checked at once. Raises ValueError, which names the
    file, for what `H5adFile` and `read_obs` refuse, for genes that stand twice or are not those of the first file, and
    for a path without files.
    """
    return H5adSource(settings)


class H5adSource:
    """See `open_source`; `left_out` says why columns of obs were left out, by name."""

    def __init__(self, settings: H5adFiles) -> None:
        self.settings = settings
        self.files = [H5adFile(path, layer=settings.layer, genes=settings.genes) for path in _paths(settings.path)]
        self.genes = self.files[0].genes
        try:
            check_genes(self.genes)
        except ValueError as error:
            raise ValueError(f"{self.files[0].path.name}: {error}") from error
        self._places = [_places(file, self.files[0]) for file in self.files]
        self.obs, self.left_out = read_obs(self.files, settings)

    def blocks(self, start: int = 0) -> Iterator[sp.csr_array]:
        """Raw counts from row `start` on; see `H5adFile.blocks`. Nothing before that row is read."""
        first = 0
        for file, places in zip(self.files, self._places, strict=True):
            if start < first + file.n_cells:
                for block in file.blocks(max(start - first, 0)):
                    yield block if places is None else _moved(block, places)
            first += file.n_cells

    def fingerprint(self) -> str:
        """Hash of the files' names and bytes, and of the settings that change what is read; reads every file."""
        files = {file.path.name: file_sha256(file.path) for file in self.files}
        return digest({"files": files, "settings": self.settings.model_dump(exclude={"path"})})


def _paths(path: str) -> Sequence[Path]:
    """The file, or those of the folder in the order of their names."""
    place = project_path(path)
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise DesignError(f"path = {path!r}: no such file or folder")
    found = sorted(file for file in place.glob("*.h5ad") if file.is_file() and not file.name.startswith("."))
    if not found:
        there = sorted(entry.name for entry in place.iterdir())
        raise DesignError(f"path = {path!r}: no *.h5ad in this folder; it holds: {', '.join(there[:5]) or 'nothing'}")
    return found


def _places(file: H5adFile, like: H5adFile) -> np.ndarray | None:
    """Where each gene of a file stands among those of another one, (n_genes,); None if all stand alike."""
    if file.genes.equals(like.genes):
        return None
    missing, extra = like.genes.difference(file.genes, sort=False), file.genes.difference(like.genes, sort=False)
    told = [
        f"{len(genes):,} {what}, such as {', '.join(genes[:3])}"
        for what, genes in (("are missing", missing), ("are in it alone", extra))
        if len(genes)
    ]
    if told:
        raise ValueError(f"{file.path.name} has other genes than {like.path.name}: {'; '.join(told)}")
    try:
        check_genes(file.genes)
    except ValueError as error:
        raise ValueError(f"{file.path.name}: {error}") from error
    return like.genes.get_indexer(file.genes).astype(np.int32)


def _moved(block: sp.csr_array, places: np.ndarray) -> sp.csr_array:
    """Counts with the columns at other places."""
    moved = sp.csr_array((block.data, places[block.indices], block.indptr), shape=block.shape)
    moved.sort_indices()
    return moved
