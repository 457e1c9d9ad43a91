"""Counts of many cells on disk, in shards of zarr: written piece by piece, taken up after a crash, checked, read.

A folder of shards holds ``00000.zarr``, ``00001.zarr``, … with the same number of cells each, the last one fewer; each
is an AnnData without annotations whose X is CSR in zarr's sharded form, as annbatch writes and loads it. Beside each
lies ``00000.json`` with its numbers of cells and values, and the checksum of its files: a shard without it does not
count. ``shards.json`` is written last and closes the folder.
"""

import json
import os
import shutil
import warnings
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import scipy.sparse as sp

from helpers.store import checksum, write_text

SHARD_CELLS = 65_536
CHUNK_CELLS = 64  # cells that are decompressed together
COMPLETE = "shards.json"


class CorruptShardError(ValueError):
    """A shard that is missing, cut or changed."""


class Blocks(Protocol):
    """A source of cells that can start anywhere."""

    n_cells: int
    n_genes: int

    def from_row(self, start: int) -> Iterator[sp.csr_array]:
        """Counts of the cells from row `start` on, in order, in blocks (n_rows, n_genes) of any size."""


def write(folder: Path, source: Blocks, *, shard_cells: int = SHARD_CELLS) -> None:
    """Write all cells of a source. What an earlier call finished is kept, so that an interrupted one can be taken up.

    Memory holds one shard and one block. Counts are stored as uint16 where those of a shard fit, else as float32.
    Raises ValueError if a block has other genes, or the source ends early; a folder that is complete is left alone.
    """
    if (folder / COMPLETE).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    n_shards = -(-source.n_cells // shard_cells)
    done = _finished(folder, shard_cells)
    rest = source.from_row(done * shard_cells)
    waiting = sp.csr_array((0, source.n_genes), dtype=np.float32)
    for number in range(done, n_shards):
        wanted = min(shard_cells, source.n_cells - number * shard_cells)
        parts, n_waiting = [waiting], waiting.shape[0]
        while n_waiting < wanted:
            block = next(rest, None)
            if block is None:
                raise ValueError(f"the source ended at cell {number * shard_cells + n_waiting:,} of {source.n_cells:,}")
            if block.shape[1] != source.n_genes:
                raise ValueError(f"a block has {block.shape[1]:,} genes, the corpus {source.n_genes:,}")
            parts.append(sp.csr_array(block))
            n_waiting += block.shape[0]
        joined = sp.vstack(parts, format="csr")
        _write_shard(folder, number, joined[:wanted])
        waiting = joined[wanted:]
    records = [json.loads(_record(folder, number).read_text()) for number in range(n_shards)]
    told = {"n_cells": source.n_cells, "n_genes": source.n_genes, "shard_cells": shard_cells, "shards": records}
    write_text(folder / COMPLETE, json.dumps(told, indent=1))


def _shard(folder: Path, number: int) -> Path:
    return folder / f"{number:05}.zarr"


def _record(folder: Path, number: int) -> Path:
    return folder / f"{number:05}.json"


def _finished(folder: Path, shard_cells: int) -> int:
    """How many shards from the first on are there; one that is not whole is written again, and all after it."""
    number = 0
    while _record(folder, number).exists():
        record = json.loads(_record(folder, number).read_text())
        if record["n_cells"] != shard_cells or checksum(_shard(folder, number)) != record["sha256"]:
            break
        number += 1
    return number


def _write_shard(folder: Path, number: int, counts: sp.csr_array) -> None:
    import zarr
    from annbatch import write_sharded
    from anndata import AnnData

    if counts.nnz and counts.data.max() <= np.iinfo(np.uint16).max:
        counts = counts.astype(np.uint16)
    temporary, path = folder / f".{number:05}.tmp", _shard(folder, number)
    for stale in (temporary, path):
        shutil.rmtree(stale, ignore_errors=True)
    _record(folder, number).unlink(missing_ok=True)
    group = zarr.open_group(temporary, mode="w", zarr_format=3)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")  # which nobody but zarr-python has to read
        write_sharded(group, AnnData(counts), n_obs_per_chunk=CHUNK_CELLS, shard_size=counts.shape[0])
    record = {"n_cells": counts.shape[0], "n_values": counts.nnz, "sha256": checksum(temporary)}
    os.replace(temporary, path)
    write_text(_record(folder, number), json.dumps(record))


class Shards:
    """A complete folder of shards, opened to be read; cells have their row among all shards.

    Raises CorruptShardError, naming the shard, if one is missing or, with `verify`, not what was written.
    """

    def __init__(self, folder: Path, *, verify: bool = False) -> None:
        self.folder = Path(folder)
        if not (self.folder / COMPLETE).exists():
            raise CorruptShardError(f"{folder} is not complete: {COMPLETE} is missing; run notebooks/00_corpus.ipynb")
        told = json.loads((self.folder / COMPLETE).read_text())
        self.n_cells, self.n_genes, self.shard_cells = (told[key] for key in ("n_cells", "n_genes", "shard_cells"))
        self.shape = (self.n_cells, self.n_genes)
        for number, record in enumerate(told["shards"]):
            path = _shard(self.folder, number)
            if not path.is_dir() or (verify and checksum(path) != record["sha256"]):
                raise CorruptShardError(f"{path} is {'corrupt' if path.is_dir() else 'missing'}: write the corpus anew")
        self.n_shards = len(told["shards"])

    @cached_property
    def datasets(self) -> list:
        """X of each shard, (n_cells, n_genes), on disk."""
        import zarr
        from anndata.io import sparse_dataset

        groups = (zarr.open_group(_shard(self.folder, number), mode="r") for number in range(self.n_shards))
        return [sparse_dataset(group["X"]) for group in groups]

    def __getitem__(self, rows: slice | np.ndarray) -> sp.csr_array:
        """Counts of a slice of cells, or of sorted positions (n_rows,), as CSR float32."""
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(self.n_cells))
        number, within = np.divmod(np.asarray(rows, dtype=np.int64), self.shard_cells)
        parts = []
        for one in np.unique(number):
            own = within[number == one]
            counts = self.datasets[one][int(own[0]) : int(own[-1]) + 1]
            parts.append(sp.csr_array(counts, dtype=np.float32)[own - own[0]])
        return sp.vstack(parts, format="csr") if parts else sp.csr_array((0, self.n_genes), dtype=np.float32)
