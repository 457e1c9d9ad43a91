"""Counts of many cells on disk, in shards of zarr: written piece by piece, taken up after a crash, checked, read.

A folder of shards holds ``00000.zarr``, ``00001.zarr``, … with the same number of cells each, the last one fewer; each
is an AnnData without annotations whose X is CSR in zarr's sharded form, as annbatch writes and loads it. Beside each
lie ``00000.parquet``, some facts of each of its cells, and ``00000.json`` with its numbers of cells and values, and
checksums of both: a shard without it does not count. ``shards.json`` is written last and closes the folder.
"""

import functools
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import scipy.sparse as sp

from helpers.provenance import checksum, file_sha256
from helpers.store import write_text

SHARD_CELLS = 16_384
CHUNK_CELLS = 64  # cells that are decompressed together
NEAR = 4 * CHUNK_CELLS  # cells that lie closer are read at once, with those between them,
AT_ONCE = 4_096  # but at most so many
COMPLETE = "shards.json"


class CorruptShardError(ValueError):
    """A shard that is missing, cut or changed."""


def write(
    folder: Path,
    blocks: Callable[[int], Iterator[sp.csr_array]],
    shape: tuple[int, int],
    *,
    facts: Callable[[sp.csr_array], dict[str, np.ndarray]] | None = None,
    shard_cells: int = SHARD_CELLS,
) -> None:
    """Write all cells. What an earlier call finished is kept, so that an interrupted one can be taken up.

    Memory holds one shard and one block. Counts are stored as uint16 where those of a shard fit, else as float32.

    Parameters
    ----------
    blocks
        Function of a row that gives the counts from it on, in order, in blocks (n_rows, n_genes) of any size.
    shape
        (n_cells, n_genes).
    facts
        Function of the counts of some cells that gives named arrays (n_rows,) to be kept, see `Shards.facts`.

    Raises
    ------
    ValueError
        If a block has other genes, or the source ends early.
    """
    if (folder / COMPLETE).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    n_cells, n_genes = shape
    n_shards = -(-n_cells // shard_cells)
    done = _finished(folder, shard_cells)
    rest = iter(blocks(done * shard_cells))
    waiting = sp.csr_array((0, n_genes), dtype=np.float32)
    for number in range(done, n_shards):
        wanted = min(shard_cells, n_cells - number * shard_cells)
        parts, n_waiting = [waiting], waiting.shape[0]
        while n_waiting < wanted:
            block = next(rest, None)
            if block is None:
                raise ValueError(f"the source ended at cell {number * shard_cells + n_waiting:,} of {n_cells:,}")
            if block.shape[1] != n_genes:
                raise ValueError(f"a block has {block.shape[1]:,} genes, the corpus {n_genes:,}")
            parts.append(sp.csr_array(block))
            n_waiting += block.shape[0]
        joined = sp.vstack(parts, format="csr")
        del parts
        shard, waiting = joined[:wanted], joined[wanted:]
        del joined
        _write_shard(folder, number, shard, facts)
    records = [json.loads(_beside(folder, number, "json").read_text()) for number in range(n_shards)]
    told = {"n_cells": n_cells, "n_genes": n_genes, "shard_cells": shard_cells, "shards": records}
    write_text(folder / COMPLETE, json.dumps(told, indent=1))


def _beside(folder: Path, number: int, suffix: str = "zarr") -> Path:
    return folder / f"{number:05}.{suffix}"


def _finished(folder: Path, shard_cells: int) -> int:
    """How many shards from the first on are there; one that is not whole is written again, and all after it."""
    number = 0
    while (record := _beside(folder, number, "json")).exists():
        told = json.loads(record.read_text())
        facts = _beside(folder, number, "parquet")
        if told["n_cells"] != shard_cells or checksum(_beside(folder, number)) != told["sha256"]:
            break
        if "facts_sha256" in told and not (facts.exists() and file_sha256(facts) == told["facts_sha256"]):
            break
        number += 1
    return number


def _write_shard(folder: Path, number: int, counts: sp.csr_array, facts: Callable | None) -> None:
    from anndata import AnnData

    temporary, path, record = folder / f".{number:05}.tmp", _beside(folder, number), _beside(folder, number, "json")
    record.unlink(missing_ok=True)
    for stale in (temporary, path):
        shutil.rmtree(stale, ignore_errors=True)
    n_cells, n_values = counts.shape[0], counts.nnz
    if facts is not None:
        pieces = (counts[start : start + AT_ONCE] for start in range(0, n_cells, AT_ONCE))
        table = pd.concat([pd.DataFrame(facts(piece)) for piece in pieces], ignore_index=True)
        table.to_parquet(_beside(folder, number, "parquet"), index=False)
    if counts.nnz == 0 or counts.data.max() <= np.iinfo(np.uint16).max:
        counts = sp.csr_array((counts.data.astype(np.uint16), counts.indices, counts.indptr), shape=counts.shape)
    group = _zarr().open_group(temporary, mode="w", zarr_format=3)
    with warnings.catch_warnings():  # in a kernel tqdm, which annbatch imports, complains of missing widgets
        warnings.simplefilter("ignore")
        from annbatch import write_sharded
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")  # which nobody but zarr-python has to read
        write_sharded(group, AnnData(counts), n_obs_per_chunk=CHUNK_CELLS, shard_size=n_cells)
    os.replace(temporary, path)
    told = {"n_cells": n_cells, "n_values": n_values, "sha256": checksum(path)}
    if facts is not None:
        told["facts_sha256"] = file_sha256(_beside(folder, number, "parquet"))
    write_text(record, json.dumps(told))


@functools.cache
def _zarr() -> ModuleType:
    """zarr, told to decompress by zarrs, which is several times faster, in as many threads as other libraries use."""
    import zarr

    threads = int(os.environ.get("OMP_NUM_THREADS", "1").split(",")[0])
    zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline", "threading.max_workers": threads})
    return zarr


class Shards:
    """A complete folder of shards, opened to be read; cells have their row among all shards.

    A shard is verified when the first of its cells are read, unless `verify` is False. Raises CorruptShardError, naming
    the shard, if it is missing or not what was written; its record is then removed, so that the folder no longer passes
    for whole.
    """

    def __init__(self, folder: Path, *, verify: bool = True) -> None:
        self.folder, self._verify = Path(folder), verify
        if not (self.folder / COMPLETE).exists():
            raise CorruptShardError(f"{folder} is not complete: {COMPLETE} is missing; run notebooks/00_corpus.ipynb")
        told = json.loads((self.folder / COMPLETE).read_text())
        self.n_cells, self.n_genes, self.shard_cells = (told[key] for key in ("n_cells", "n_genes", "shard_cells"))
        self.shape, self._records = (self.n_cells, self.n_genes), told["shards"]
        self._opened = {}

    @property
    def n_values(self) -> int:
        """Counts that are not 0, of all cells."""
        return sum(record["n_values"] for record in self._records)

    @functools.cached_property
    def facts(self) -> pd.DataFrame:
        """What was kept of each cell when it was written, (n_cells, n_facts)."""
        numbers = range(len(self._records))
        return pd.concat([pd.read_parquet(_beside(self.folder, one, "parquet")) for one in numbers], ignore_index=True)

    def dataset(self, number: int):
        """X of a shard, (n_cells, n_genes), on disk; an anndata.abc.CSRDataset."""
        from anndata.io import sparse_dataset

        if number not in self._opened:
            path = _beside(self.folder, number)
            if self._verify and (not path.is_dir() or checksum(path) != self._records[number]["sha256"]):
                _beside(self.folder, number, "json").unlink(missing_ok=True)
                state = "corrupt" if path.is_dir() else "missing"
                raise CorruptShardError(f"{path} is {state}: run notebooks/00_corpus.ipynb to write the corpus anew")
            self._opened[number] = sparse_dataset(_zarr().open_group(path, mode="r")["X"])
        return self._opened[number]

    @property
    def datasets(self) -> list:
        """X of all shards."""
        return [self.dataset(number) for number in range(len(self._records))]

    def __getitem__(self, rows: slice | np.ndarray) -> sp.csr_array:
        """Counts of a slice of cells, or of sorted positions (n_rows,), as CSR float32."""
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(self.n_cells))
        rows = np.asarray(rows, dtype=np.int64)
        parts = [sp.csr_array((0, self.n_genes), dtype=np.float32)]
        far, crossed = np.diff(rows) > NEAR, [np.diff(rows // size) > 0 for size in (self.shard_cells, AT_ONCE)]
        apart = np.flatnonzero(np.logical_or.reduce([far, *crossed])) + 1
        for run in np.split(rows, apart) if len(rows) else []:
            dataset, within = self.dataset(int(run[0]) // self.shard_cells), run % self.shard_cells
            counts = sp.csr_array(dataset[int(within[0]) : int(within[-1]) + 1], dtype=np.float32)
            parts.append(counts if len(run) == counts.shape[0] else counts[within - within[0]])
        return sp.vstack(parts, format="csr")
