"""The corpus artifact: it holds what the source does, an interruption costs a shard, an error leaves nothing."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers import corpus, store
from helpers.corpus import shards
from helpers.corpus.shards import CorruptShardError
from helpers.design import load_design
from helpers.provenance import checksum
from helpers.split import check_cells
from helpers.store import CorruptArtifactError


@pytest.fixture
def study(write_design, small_design, monkeypatch):
    """The small design, whose 240 cells take four shards."""
    monkeypatch.setattr(shards.write, "__kwdefaults__", shards.write.__kwdefaults__ | {"shard_cells": 64})
    return load_design(write_design(small_design))


def write(study, root: Path, source=None) -> store.Artifact:
    """The corpus as 00_corpus writes it."""
    artifacts = store.Store(study, root, "00_corpus")
    source = source or corpus.open_source(study)
    store.claim(study, root)
    artifact = artifacts.artifact("corpus", settings={"sha256": source.fingerprint()})
    with artifact.write(resume=True) as path:
        check_cells(study, corpus.write(path, study, source))
    return artifact


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_the_artifact_holds_the_cells_their_labels_and_genes(study, tmp_path):
    artifact = write(study, tmp_path / "results")
    expected = corpus.read_source(study)
    cells = corpus.read_cells(artifact.store, gene_space=False)
    np.testing.assert_array_equal(cells.X.toarray(), expected.X.toarray())
    pd.testing.assert_frame_equal(corpus.read_obs(artifact.store), expected.obs)
    assert cells.var_names.equals(expected.var_names)
    some = corpus.read_cells(artifact.store, np.array([3, 64, 239]), gene_space=False)
    np.testing.assert_array_equal(some.X.toarray(), expected.X[[3, 64, 239]].toarray())
    manifest = json.loads((artifact.path / "manifest.json").read_text())
    assert (manifest["n_cells"], manifest["n_genes"], manifest["n_values"]) == (240, 60, expected.X.nnz)
    assert artifact.fresh


class Interrupted:
    """A source that stops at a row, once; and which rows were asked for."""

    def __init__(self, source, at: int, error: type[BaseException]) -> None:
        self.source, self.at, self.error, self.started = source, at, error, []
        self.obs, self.genes, self.fingerprint = source.obs, source.genes, source.fingerprint

    def blocks(self, start: int = 0):
        self.started.append(start)
        for block in self.source.blocks(start):
            for row in range(0, block.shape[0], 16):
                if start + row >= self.at:
                    self.at = 10**9
                    raise self.error("stopped")
                yield block[row : row + 16]
            start += block.shape[0]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_write_is_taken_up_and_gives_the_same_artifact(study, tmp_path, error):
    whole = write(study, tmp_path / "whole")
    source = Interrupted(corpus.open_source(study), 150, error)
    with pytest.raises(error, match="stopped"):
        write(study, tmp_path / "cut", source)
    assert len(names(tmp_path / "cut")) == 2, "the design, and what was written"
    again = write(study, tmp_path / "cut", source)
    assert source.started == [0, 128], "two shards were there"
    assert checksum(again.path) == checksum(whole.path)
    assert names(tmp_path / "cut") == names(tmp_path / "whole") == [".corpus.record.json", "corpus", "design.json"]


def test_other_cells_do_not_take_up_what_was_written(study, tmp_path, small_cells):
    source = Interrupted(corpus.open_source(study), 150, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        write(study, tmp_path / "cut", source)
    small_cells.X[0, 0] += 1
    small_cells.write_h5ad(study.corpus.path)
    other = Interrupted(corpus.open_source(study), 10**9, KeyboardInterrupt)
    write(study, tmp_path / "cut", other)
    assert other.started == [0]
    assert names(tmp_path / "cut") == [".corpus.record.json", "corpus", "design.json"]


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda X: X.data.__setitem__(-1, 0.5), r"corpus\.path = .*1 values that are not integer.* in cell 239"),
        (lambda X: X.data.__setitem__(-1, -2), r"corpus\.path = .*1 values that are negative.* in cell 239"),
        (lambda X: X.data.__setitem__(slice(X.indptr[-2], None), 0), r"corpus\.path = .*1 cells have no counts.*239"),
    ],
)
def test_a_wrong_count_in_the_last_cell_leaves_nothing(study, tmp_path, small_cells, harm, told):
    harm(small_cells.X)
    small_cells.write_h5ad(study.corpus.path)
    with pytest.raises(ValueError, match=told):
        write(study, tmp_path / "results")
    assert names(tmp_path / "results") == ["design.json"]


def test_a_harmed_shard_is_named_when_its_cells_are_read_and_the_corpus_is_made_again(study, tmp_path):
    artifact = write(study, tmp_path / "results")
    before = checksum(artifact.path)
    victim = max((artifact.path / "counts" / "00002.zarr").rglob("c/0"), key=lambda path: path.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    later = store.Store(study, tmp_path / "results", "05_split")
    assert later.read("corpus").is_dir()
    assert corpus.read_cells(later, np.arange(128), gene_space=False).n_obs == 128, "other shards are whole"
    with pytest.raises(CorruptShardError, match=r"00002\.zarr is corrupt: run notebooks/00_corpus\.ipynb"):
        corpus.read_cells(later, np.array([130]), gene_space=False)
    assert not store.valid(artifact.path)
    assert not artifact.fresh
    with pytest.raises(CorruptArtifactError, match=r"corpus is corrupt.*00_corpus\.ipynb"):
        store.Store(study, tmp_path / "results", "10_subset").read("corpus")
    assert checksum(write(study, tmp_path / "results").path) == before
