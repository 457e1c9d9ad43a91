"""What must not harm results: a full or read-only disk, two runs at once, Ctrl-C, a clock that goes backwards, and
bytes that rot.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import copy_project, repeatable, run_workflow, start_workflow

from helpers import status
from helpers.store import valid

pytestmark = pytest.mark.lost


@pytest.fixture(scope="module")
def project(tmp_path_factory, small_chain_design) -> Path:
    """A project with the small design."""
    root = copy_project(tmp_path_factory.mktemp("lost") / "project")
    small_chain_design(root)
    return root


@pytest.fixture(scope="module")
def undisturbed(project) -> pd.DataFrame:
    """Results of a run without any of this."""
    done = run_workflow("params/small.yaml", "results/undisturbed", project)
    assert done.returncode == 0, done.stderr
    return repeatable(project / "results" / "undisturbed")


@contextlib.contextmanager
def disk(folder: Path, options: str):
    """A file system of its own in a folder, where this user may have one."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def artifacts(results: Path) -> list[Path]:
    """All that has a record."""
    return [path.parent / path.name[1 : -len(".record.json")] for path in sorted(results.rglob(".*.record.json"))]


def check_artifacts(results: Path) -> None:
    """Whatever has a record is what the record says, and nothing half written is left."""
    assert all(map(valid, artifacts(results)))
    assert not [*results.rglob(".*.tmp*")]


def test_a_full_disk_stops_the_work_and_more_room_lets_it_go_on(project, undisturbed):
    results = project / "results" / "full"
    with disk(results, "size=400k"):
        done = run_workflow("params/small.yaml", "results/full", project)
        assert done.returncode != 0
        assert "No space left on device" in done.stderr
        check_artifacts(results)
        remount(results, "size=100m")
        done = run_workflow("params/small.yaml", "results/full", project)
        assert done.returncode == 0, done.stderr
        pd.testing.assert_frame_equal(repeatable(results), undisturbed)
        check_artifacts(results)


def test_results_that_are_read_only_are_refused_and_stay(project, undisturbed):
    results = project / "results" / "locked"
    with disk(results, "size=100m"):
        shutil.copytree(project / "results" / "undisturbed", results, dirs_exist_ok=True)
        (results / "results.parquet").unlink()
        remount(results, "ro")
        done = run_workflow("params/small.yaml", "results/locked", project)
        assert done.returncode != 0
        assert "results/locked cannot be written: [Errno 30] Read-only file system" in done.stderr
        remount(results, "rw")
        done = run_workflow("params/small.yaml", "results/locked", project)
        assert done.returncode == 0, done.stderr
        pd.testing.assert_frame_equal(repeatable(results), undisturbed)


def test_of_two_runs_at_once_the_second_waits(project, undisturbed):
    results = project / "results" / "two"
    with start_workflow("params/small.yaml", "results/two", project) as first:
        while not (results / "status").exists():
            assert first.poll() is None, first.communicate()[1]
            time.sleep(0.05)
        second = run_workflow("params/small.yaml", "results/two", project)
        _, told = first.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0), told + second.stderr
    assert "another run of this design is going on; waiting for it to end" in second.stderr
    assert "done in" not in second.stderr, "nothing is left for it to do"
    pd.testing.assert_frame_equal(repeatable(results), undisturbed)


def test_what_is_interrupted_by_hand_says_so_and_goes_on_later(project, undisturbed):
    results = project / "results" / "stopped"
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which shells ignore in what they start with &
    with start_workflow("params/small.yaml", "results/stopped", project, process_group=0) as process:
        while not list(results.glob("models/*/*/*/*/model.json")):
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, told = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "Traceback" not in told
    assert status.read(results)["state"] == "stopped"
    check_artifacts(results)
    done = run_workflow("params/small.yaml", "results/stopped", project)
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(repeatable(results), undisturbed)
    assert status.read(results)["state"] == "finished"


def test_a_clock_that_went_backwards_harms_nothing(project, undisturbed):
    """All files of a run are of tomorrow: what must be made again is, and nothing else."""
    results = project / "results" / "tomorrow"
    shutil.copytree(project / "results" / "undisturbed", results)
    tomorrow = time.time() + 86_400
    for path in results.rglob("*"):
        os.utime(path, (tomorrow, tomorrow))
    weights = {path: path.read_bytes() for path in results.rglob("weights.safetensors")}
    (results / "diversity.parquet").write_bytes(b"harmed")
    done = run_workflow("params/small.yaml", "results/tomorrow", project)
    assert done.returncode == 0, done.stderr
    assert "diversity.parquet is corrupt" in done.stderr
    assert "executed notebooks are of later than now" in done.stderr
    pd.testing.assert_frame_equal(repeatable(results), undisturbed)
    assert {path.stat().st_mtime for path in weights} == {tomorrow}, "no model is trained again"
    check_artifacts(results)


@pytest.mark.parametrize("harm", ["flip", "cut"])
def test_a_harmed_artifact_of_any_kind_is_named_and_made_again(project, undisturbed, harm):
    """One artifact of each kind, one of its files: one bit is another, or its end is missing; its time is the same."""
    results, rng = project / "results" / harm, np.random.default_rng(0)
    shutil.copytree(project / "results" / "undisturbed", results)
    kinds: dict[str, list[Path]] = {}
    for path in artifacts(results):
        kinds.setdefault(path.relative_to(results).parts[0], []).append(path)
    assert len(kinds) > 12
    harmed = [paths[rng.integers(len(paths))] for paths in kinds.values()]
    notebook = results / "notebooks" / "00_corpus.ipynb"
    for path in [*harmed, *([notebook] if harm == "cut" else [])]:
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        file = files[rng.integers(len(files))]
        times, data = file.stat(), bytearray(file.read_bytes())
        place = rng.integers(len(data))
        data[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(data if harm == "flip" else data[:place])
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    done = run_workflow("params/small.yaml", f"results/{harm}", project)
    assert done.returncode == 0, done.stderr
    for path in harmed:
        assert f"results/{harm}/{path.relative_to(results)} is corrupt" in done.stderr
    pd.testing.assert_frame_equal(repeatable(results), undisturbed)
    check_artifacts(results)
