"""The cells that a design names, opened: labels and genes checked, counts checked as they are read."""

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from helpers.corpus import external
from helpers.corpus.checks import check_counts, check_genes, check_obs
from helpers.corpus.source import Source, Stacked
from helpers.design import Design
from helpers.design_sources import SOURCE_SETTINGS
from helpers.models.counts import cell_keys
from helpers.provenance import digest
from helpers.subset.strata import complete

OBS_COLUMNS = ("dataset_id", "cell_type", "batch")


@dataclass(frozen=True)
class Checked:
    """The source of a design, with errors that name the part of the design that says where the cells come from.

    Counts are checked as they are read: values that are negative, NaN or not integer raise ValueError, and so do cells
    without counts.
    """

    source: Source
    told: str

    @property
    def obs(self) -> pd.DataFrame:
        return self.source.obs

    @property
    def genes(self) -> pd.Index:
        return self.source.genes

    def blocks(self, start: int = 0) -> Iterator[sp.csr_array]:
        with _naming(self.told):
            for block in self.source.blocks(start):
                check_counts(block, first=start)
                start += block.shape[0]
                yield block

    def fingerprint(self) -> str:
        return self._fingerprint

    @functools.cached_property
    def _fingerprint(self) -> str:
        """Found once: it may mean that every byte of the files is read."""
        return self.source.fingerprint()


@contextlib.contextmanager
def _naming(told: str) -> Iterator[None]:
    """Errors in the block name the part of the design."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{told}: {error}") from error


def open_source(design: Design) -> Source:
    """All cells of a design: those of its source, and below them those of evaluation sets with a file of their own.

    Counts are checked as they are read. Raises ValueError for duplicate genes, missing or incomplete `obs` columns, and
    for what `external.open_sets` refuses.
    """
    external.check_files(design)
    source = _open(design)
    with _naming(source.told):
        if (by := design.held_out.by) is not None:
            mapped = f": say which of yours it is, obs: {{{by}: …}}" * (design.corpus.source == "h5ad")
            complete(source.obs, by, f"which held_out needs{mapped}")
        check_obs(source.obs, _needed_columns(design))
        check_genes(source.genes)
    if not design.files:
        return source
    sets = external.open_sets(design, source)
    obs = external.joined([source.obs, *(part.obs for part in sets.values())])
    return Stacked(obs, (source, *sets.values()), functools.cache(lambda: _fingerprint(design, source)))


def source_hash(design: Design) -> str:
    """SHA-256 of what the cells are made from: files, or the settings of a simulation."""
    external.check_files(design)
    return _fingerprint(design, _open(design))


def _open(design: Design) -> Checked:
    from helpers.corpus import census, embedded, h5ad, simulated

    modules = {"census": census, "embedded": embedded, "h5ad": h5ad, "simulated": simulated}
    key = SOURCE_SETTINGS.get(design.corpus.source, "path")
    settings = getattr(design.corpus, key)
    told = f"corpus.path = {settings!r}" if key == "path" else f"corpus.{key}"
    with _naming(told):
        return Checked(modules[design.corpus.source].open_source(settings), told)


def _fingerprint(design: Design, source: Source) -> str:
    own = source.fingerprint()
    return digest({"source": own, "external": external.fingerprints(design)}) if design.files else own


def read_source(design: Design) -> AnnData:
    """All cells of `open_source` in memory, (n_cells, n_genes) raw integer counts as CSR.

    `obs` gets the columns of `cell_facts`. ``uns["missing_genes"]`` holds the share of genes that each evaluation set
    with a file of its own lacks. Raises ValueError for what `external.check_unlearned` refuses.
    """
    source = open_source(design)
    X = sp.csr_matrix(sp.vstack(list(source.blocks()), format="csr"))
    external.check_unlearned(design, source, X, cell_keys(X[:, external.shared_genes(source)]))
    obs, genes = source.obs.assign(**cell_facts(X)), pd.DataFrame(index=source.genes)
    return AnnData(X, obs=obs, var=genes, uns={"missing_genes": missing_genes(source)})


def cell_facts(counts: sp.csr_array) -> dict[str, np.ndarray]:
    """What is kept of the counts of each cell: ``total_counts``, its UMIs, and ``n_genes`` with any, (n_cells,)."""
    totals = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    return {"total_counts": totals, "n_genes": np.diff(counts.indptr).astype(np.int32)}


def missing_genes(source: Source) -> dict[str, float]:
    """Share of the source's genes that each evaluation set with a file of its own lacks."""
    sets = source.parts[1:] if isinstance(source, Stacked) else ()
    return {part.name: float(1 - part.present.mean()) for part in sets}


def read_source_obs(design: Design) -> pd.DataFrame:
    """The `obs` table of `open_source`, (n_cells, n_columns): enough to check a design before anything runs."""
    return open_source(design).obs


def _needed_columns(design: Design) -> list[str]:
    """Columns that the source's own `obs` must have."""
    sets = [item for item in design.evaluation_sets.values() if item.path is None]
    wheres = [design.corpus.pretraining, design.held_out.where or {}, *(item.where or {} for item in sets)]
    columns = [*OBS_COLUMNS, *(key for where in wheres for key in where), *(item.label for item in sets)]
    if design.perturbation is not None:
        treated = [design.perturbation.where, *design.perturbation.held_out.values()]
        columns += [key for where in treated for key in where]
    return list(dict.fromkeys(columns))
