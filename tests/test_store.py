"""Artifacts: atomic, checksummed, made again only if something they depend on changed."""

import json

import pytest

from helpers import store
from helpers.design import load_design
from helpers.store import (
    CorruptArtifactError,
    ForeignResultsError,
    MissingArtifactError,
    Store,
    StoreError,
    claim,
)


@pytest.fixture
def design(write_design, small_design):
    return load_design(write_design(small_design))


@pytest.fixture
def artifacts(design, tmp_path) -> Store:
    root = tmp_path / "results"
    store.claim(design, root)
    return Store(design, root, "00_corpus")


def write(artifacts: Store, name: str, text: str, **options):
    artifact = artifacts.artifact(name, **options)
    with artifact.write() as path:
        path.write_text(text)
    return artifact


def test_fresh_only_with_the_same_inputs_settings_and_code(artifacts, design):
    write(artifacts, "corpus", "cells")
    write(artifacts, "split.parquet", "roles", inputs=["corpus"], settings={"seed": 1})
    assert artifacts.artifact("split.parquet", inputs=["corpus"], settings={"seed": 1}).fresh
    assert not artifacts.artifact("split.parquet", inputs=["corpus"], settings={"seed": 2}).fresh
    assert (
        not Store(design, artifacts.root, "05_split")
        .artifact("split.parquet", inputs=["corpus"], settings={"seed": 1})
        .fresh
    )
    write(artifacts, "corpus", "other cells")
    assert not artifacts.artifact("split.parquet", inputs=["corpus"], settings={"seed": 1}).fresh
    write(artifacts, "corpus", "cells")  # the same content again: what was made from it stands
    assert artifacts.artifact("split.parquet", inputs=["corpus"], settings={"seed": 1}).fresh


def test_a_failure_leaves_the_old_artifact_and_no_temporary_file(artifacts):
    write(artifacts, "corpus", "old")

    def fail():
        with artifacts.artifact("corpus", settings={"new": 1}).write() as path:
            path.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert artifacts.read("corpus").read_text() == "old"
    assert sorted(entry.name for entry in artifacts.root.iterdir()) == [".corpus.record.json", "corpus", "design.json"]


def test_a_crash_between_content_and_record_counts_as_absent(artifacts):
    artifact = write(artifacts, "corpus", "cells")
    (artifacts.root / ".corpus.record.json").unlink()
    assert not artifact.fresh
    with pytest.raises(MissingArtifactError, match=r"00_corpus\.ipynb"):
        Store(artifacts.design, artifacts.root, "05_split").read("corpus")


@pytest.mark.parametrize("record", ["", "{", '{"key": "a"}', "[]", "\x00"])
def test_a_harmed_record_counts_as_absent(artifacts, record):
    artifact = write(artifacts, "corpus", "cells")
    (artifacts.root / ".corpus.record.json").write_text(record)
    assert not artifact.fresh
    assert not store.valid(artifact.path)


@pytest.mark.parametrize("harm", [lambda data: data[:-1], lambda data: b"C" + data[1:], lambda data: b""])
def test_corrupt_content_is_named_and_removed(artifacts, harm, caplog):
    artifact = write(artifacts, "split.parquet", "cells")
    artifact.path.write_bytes(harm(artifact.path.read_bytes()))
    assert not artifact.fresh
    assert "split.parquet is corrupt" in caplog.text
    with pytest.raises(CorruptArtifactError, match=r"split\.parquet is corrupt .*05_split\.ipynb"):
        Store(artifacts.design, artifacts.root, "10_subset").read("split.parquet")
    assert not artifact.path.exists()


def test_folders_are_checked_by_every_file_in_them(artifacts):
    artifact = artifacts.artifact("corpus")
    with artifact.write() as path:
        path.mkdir()
        (path / "a").write_text("1")
        (path / "b").write_text("2")
    assert artifact.fresh
    (artifact.path / "b").rename(artifact.path / "c")
    assert not artifact.fresh


@pytest.mark.parametrize("name", ["../else", "/etc/else", "models/../../else", ""])
def test_paths_stay_inside_the_results_folder(artifacts, name):
    with pytest.raises(StoreError, match="leaves the results folder"):
        artifacts.path(name)


def test_missing_upstream_artifact_names_its_notebook(artifacts):
    for name, notebook in {
        "split.parquet": "05_split",
        "subsets/random/p001.0/s00.parquet": "10_subset",
        "models/pca-w1/random/p001.0/s00": "20_pretrain",
        "evaluations/heldout_loss--pca-w1--random--p001.0--s00.parquet": "34_heldout_loss",
    }.items():
        with pytest.raises(MissingArtifactError, match=rf"{notebook}\.ipynb first"):
            artifacts.artifact("results.parquet", inputs=[name])


def test_results_of_another_design_are_refused(artifacts, write_design, small_design):
    other = load_design(write_design(small_design | {"name": "other"}, "other.yaml"))
    with pytest.raises(ForeignResultsError, match="holds the design 'small', not 'other'"):
        Store(other, artifacts.root, "00_corpus")


def test_a_folder_of_other_things_is_refused(design, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("")
    with pytest.raises(ForeignResultsError, match="is not empty"):
        Store(design, tmp_path / "home", "00_corpus")


def test_a_harmed_owner_is_told_and_written_again_when_removed(artifacts, write_design, small_design):
    write(artifacts, "corpus", "cells")
    claim(artifacts.design, artifacts.root)
    owner = artifacts.root / "design.json"
    owner.write_text(owner.read_text()[:20])
    with pytest.raises(
        StoreError, match=r"design\.json is corrupt.* remove that file, and the next run writes it again"
    ):
        Store(artifacts.design, artifacts.root, "05_split")
    owner.unlink()
    claim(artifacts.design, artifacts.root)
    assert json.loads(owner.read_text())["name"] == "small"
    assert Store(artifacts.design, artifacts.root, "05_split").has("corpus")


def test_the_record_tells_stage_and_seconds(artifacts):
    write(artifacts, "corpus", "cells")
    record = json.loads((artifacts.root / ".corpus.record.json").read_text())
    assert record["stage"] == "00_corpus"
    assert record["seconds"] >= 0
