"""What make test-cluster relies on: what it leaves alone, and that it sees a difference; itself it takes minutes."""

import os

import pandas as pd
import pytest
from cluster import slurm
from cluster.__main__ import compare


@pytest.fixture
def configuration(tmp_path, monkeypatch):
    """A place for Slurm's configuration that is not this machine's, for one who may do everything."""
    monkeypatch.setattr(slurm, "CONFIGURATION", tmp_path / "slurm.conf")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path / "slurm.conf"


def test_a_slurm_of_the_machine_is_left_alone(configuration, tmp_path):
    configuration.write_text("ClusterName=theirs\n")
    with (
        pytest.raises(slurm.ClusterError, match=r"this machine has a Slurm of its own, which is left alone"),
        slurm.two_nodes(tmp_path),
    ):
        pass
    assert configuration.read_text() == "ClusterName=theirs\n"


def test_a_cluster_that_runs_is_left_alone(configuration, tmp_path):
    configuration.write_text(f"# of make test-cluster, process {os.getpid()}, in {tmp_path}/other\n")
    with pytest.raises(slurm.ClusterError, match=f"another make test-cluster runs here, process {os.getpid()}"):
        slurm.clear()
    assert configuration.exists()


def test_what_a_killed_cluster_left_is_removed(configuration, tmp_path):
    left = tmp_path / "left"
    left.mkdir()
    configuration.write_text(f"# of make test-cluster, process {2**22 + 1}, in {left}\n")  # there is no such process
    slurm.clear()
    assert not configuration.exists()
    assert not left.exists()


def test_without_the_programs_and_the_right_it_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(slurm.shutil, "which", lambda program: None)
    with pytest.raises(slurm.ClusterError, match=r"munged, .*scontrol not found; .* slurm-wlm and munge .* no apt-get"):
        slurm.install()


def test_every_difference_but_of_what_was_measured_is_seen(tmp_path):
    rows = pd.DataFrame({"run_id": ["a", "b"], "value": [0.1, 0.2], "seconds": [1.0, 2.0]})
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        rows.to_parquet(tmp_path / folder / "results.parquet")
    rows.assign(seconds=9.0).to_parquet(tmp_path / "other" / "results.parquet")
    told = compare(tmp_path / "one", tmp_path / "other", "results")
    assert told == "results.parquet: 2 rows of 2 columns are exactly those of the run without Slurm"
    rows.assign(value=[0.1, 0.2 + 1e-15]).to_parquet(tmp_path / "other" / "results.parquet")
    with pytest.raises(AssertionError, match="value"):
        compare(tmp_path / "one", tmp_path / "other", "results")
