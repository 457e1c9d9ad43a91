"""Cells of CELLxGENE Census, or of any SOMA laid out like it: chosen by their labels, counts read as a stream.

A SOMA is read as the Census stores it: obs and ms["RNA"].var with a soma_joinid, raw counts in ms["RNA"].X["raw"]. A
release is read from its public bucket without an account; that was never run, only SOMAs on disk were.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp

from helpers.corpus.census_cells import read_cells, read_genes, read_list
from helpers.corpus.census_types import read_ontology
from helpers.design_sources import Census
from helpers.messages import unknown
from helpers.provenance import digest, project_path

if TYPE_CHECKING:
    import tiledbsoma

# Folder and settings as the Census documents them for tiledbsoma alone; the bucket is that of its releases of 2025.
BUCKET = "s3://cellxgene-census-public-us-west-2/"
RELEASE = BUCKET + "cell-census/{}/soma/"
PUBLIC = {"vfs.s3.region": "us-west-2", "vfs.s3.no_sign_request": "true"}
# TileDB 2.30 orders tiles beforehand, in tasks that may outlive what they use: the process dies now and then (mended
# in its pull request 5723). Without this step tiles are merged as they are read, to the same cells.
MERGE_AS_READ = {"sm.query.sparse_global_order.preprocess_tile_merge": "0"}
LOCAL = {"sm.compute_concurrency_level": "1", "sm.io_concurrency_level": "1"}  # one thread, as everywhere
MEASUREMENT, LAYER = "RNA", "raw"
BLOCK_CELLS = 2_048
BUFFER_BYTES = 32 * 2**20


def open_source(
    settings: Census, *, block_cells: int = BLOCK_CELLS, buffer_bytes: int = BUFFER_BYTES
) -> "CensusSource":
    """Choose cells and genes of a SOMA by their labels; no count is read yet.

    `block_cells` cells are read at a time, `buffer_bytes` bytes of each column: they bound memory and change nothing
    else. Raises ValueError, naming the key, for a SOMA, organism, layer, column, value, term or gene that is not there,
    for files that are missing, and if no cell is left.
    """
    ontology, wanted = read_ontology(settings), read_list(settings)
    with _experiment(settings, buffer_bytes) as experiment:
        measurement = _item(experiment.ms, MEASUREMENT, "measurement", settings)
        counts = _item(measurement.X, LAYER, "layer of X", settings)
        if counts.soma_type != "SOMASparseNDArray":
            raise ValueError(f"{_told(settings)}: X[{LAYER!r}] is a {counts.soma_type}; a SOMASparseNDArray is read")
        genes = read_genes(measurement.var, wanted, settings)
        obs = read_cells(experiment.obs, ontology, settings)
        state = _state(counts.uri)
    ids = obs.pop("soma_joinid").to_numpy()
    return CensusSource(
        settings=settings,
        obs=obs.set_index(pd.Index([f"{number:09}" for number in ids.tolist()])),
        genes=pd.Index(genes.to_numpy()),
        joinids=ids,
        gene_joinids=genes.index.to_numpy(),
        state=state,
        block_cells=block_cells,
        buffer_bytes=buffer_bytes,
    )


@dataclass(frozen=True)
class CensusSource:
    """Cells in the order of their soma_joinid, genes in that of theirs; see `helpers.corpus.source.Source`.

    Cells are named after the soma_joinid, nine digits wide, so that names and cells are in one order.

    Attributes
    ----------
    joinids, gene_joinids
        (n_cells,) and (n_genes,), rising.
    state
        What stands for the stored counts in the fingerprint.
    """

    settings: Census
    obs: pd.DataFrame
    genes: pd.Index
    joinids: np.ndarray
    gene_joinids: np.ndarray
    state: list[str]
    block_cells: int
    buffer_bytes: int

    def blocks(self, start: int = 0) -> Iterator[sp.csr_array]:
        """Raw counts from row `start` on, (at most block_cells, n_genes) float32 each; nothing before it is read."""
        column_of = np.full(self.gene_joinids[-1] + 2, -1, dtype=np.int32)  # the last is that of all genes behind
        column_of[self.gene_joinids] = np.arange(len(self.gene_joinids))
        with _experiment(self.settings, self.buffer_bytes) as experiment:
            counts = experiment.ms[MEASUREMENT].X[LAYER]
            for first in range(start, len(self.joinids), self.block_cells):
                yield _read(counts, self.joinids[first : first + self.block_cells], column_of, len(self.genes))

    def fingerprint(self) -> str:
        """Hash of the chosen joinids, labels and genes, and of what can be told of the stored counts.

        Of a SOMA on disk these are the names of the pieces that X was written in: whatever is written or deleted later,
        or all of it anew, gives another hash; a copy of the folder gives the same; bytes that change inside a piece are
        not noticed. Elsewhere it is the URI alone: counts written anew behind it are not noticed; releases are final.
        """
        labels = {
            column: [_sha(pd.util.hash_pandas_object(values, index=False).to_numpy()), str(values.dtype.kind)]
            for column, values in self.obs.items()
        }
        joinids = [_sha(self.joinids), _sha(self.gene_joinids)]
        return digest({"counts": self.state, "joinids": joinids, "labels": labels, "genes": list(self.genes)})


def _read(counts: "tiledbsoma.SparseNDArray", cells: np.ndarray, column_of: np.ndarray, n_genes: int) -> sp.csr_array:
    """Counts of cells by soma_joinid, (n_cells, n_genes); `column_of` has the column of each gene's soma_joinid, or -1.

    All genes of these cells are read, and those that nobody asked for left out here.
    """
    import pyarrow as pa

    rows, columns, values = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)], [np.zeros(0, np.float32)]
    for table in counts.read((pa.array(cells),)).tables():
        column = column_of[np.minimum(table["soma_dim_1"].to_numpy(), len(column_of) - 1)]
        kept = np.flatnonzero(column >= 0)
        rows.append(np.searchsorted(cells, table["soma_dim_0"].to_numpy()[kept]).astype(np.int32))
        columns.append(column[kept])
        values.append(table["soma_data"].to_numpy()[kept].astype(np.float32))
    place = (np.concatenate(rows), np.concatenate(columns))
    return sp.coo_array((np.concatenate(values), place), shape=(len(cells), n_genes)).tocsr()


@contextmanager
def _experiment(settings: Census, buffer_bytes: int) -> Iterator["tiledbsoma.Experiment"]:
    """The experiment that the settings name, open for reading."""
    import tiledbsoma

    uri = settings.uri or RELEASE.format(settings.release)
    uri = uri if "://" in uri else str(project_path(uri))
    config = {"soma.init_buffer_bytes": str(buffer_bytes)} | MERGE_AS_READ
    config |= PUBLIC if uri.startswith(BUCKET) else LOCAL if "://" not in uri or uri.startswith("file:") else {}
    context = tiledbsoma.SOMATileDBContext(tiledb_config=config)
    try:
        opened = tiledbsoma.open(uri, context=context)
    except tiledbsoma.DoesNotExistError as error:
        raise ValueError(f"{_told(settings)}: no SOMA is there; name its path or URI, or another release") from error
    except (tiledbsoma.SOMAError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{_told(settings)} cannot be opened: {reason}; of a copy on disk say uri: FOLDER") from error
    with opened:
        if opened.soma_type == "SOMAExperiment":
            yield opened
        elif opened.soma_type == "SOMACollection":
            yield _item(_item(opened, "census_data", "item", settings), settings.organism, "organism", settings)
        else:
            raise ValueError(f"{_told(settings)} is a {opened.soma_type}; a collection or an experiment would do")


def _item(collection: "tiledbsoma.Collection", name: str, kind: str, settings: Census):
    if name not in collection:
        raise ValueError(f"{_told(settings)}: " + unknown(kind, name, collection))
    return collection[name]


def _told(settings: Census) -> str:
    return f"uri = {settings.uri!r}" if settings.uri else f"release = {settings.release!r}"


def _state(uri: str) -> list[str]:
    """What is known of an array without reading it: of one on disk the names of all that was ever written to it."""
    if not uri.startswith("file://"):
        return [uri]
    folder = Path(uri.removeprefix("file://"))  # TileDB quotes nothing
    return sorted(path.name for part in ("__fragments", "__commits") for path in (folder / part).glob("*"))


def _sha(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values)).hexdigest()
