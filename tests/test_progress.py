"""Progress of a workflow: its lines, its status at any moment, what is told at the end, the commands that it names."""

import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import yaml
from conftest import copy_project, run_workflow, start_workflow
from snakemake_interface_logger_plugins.common import LogEvent

from helpers import progress, rerun, spent, status
from helpers.design import Run, load_design
from helpers.progress import Progress
from helpers.stages import pieces
from helpers.store import model_path

NAMES = ["00_corpus", "05_split", "10_subset--random", "15_diversity"]  # each needs the one before


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def watched(write_design, small_design, tmp_path, clock, monkeypatch):
    """Progress of four notebooks of ten seconds each on two cores, which has begun; no heartbeat."""
    monkeypatch.setattr(progress, "BEAT", 3600)
    root = tmp_path / "results"
    (root / "notebooks").mkdir(parents=True)
    design = load_design(write_design(small_design))
    own = {piece.name: piece for piece in pieces(design)}
    found = Progress(design, "params/small.yaml", root, own, dict.fromkeys(own, 10.0), 2)
    found.begin(dict(enumerate(NAMES)), {name: NAMES[max(0, at - 1) : at] for at, name in enumerate(NAMES)})
    yield found
    found.end("stopped")


def tell(watched: Progress, event: LogEvent, job: int) -> None:
    key = "job_id" if event == LogEvent.JOB_FINISHED else "jobid"  # as Snakemake names them
    watched.handle(logging.makeLogRecord({"event": event, key: job}))


def run(watched: Progress, job: int, clock: list[float], seconds: float, *, event=LogEvent.JOB_FINISHED) -> None:
    tell(watched, LogEvent.JOB_INFO, job)
    clock[0] += seconds
    tell(watched, event, job)


def failed_notebook(watched: Progress, name: str, failure: str) -> None:
    notebook = nbformat.v4.new_notebook(metadata={"cellscale": {"failure": failure}})
    nbformat.write(notebook, rerun.failed_copy(watched.out(name)))


def test_a_line_tells_what_is_done_and_left(watched, clock, capsys):
    assert status.read(watched.root)["notebooks"] == {"done": 0, "failed": 0, "left": 4, "cannot_run": 0, "of": 4}
    run(watched, 0, clock, 65)
    assert capsys.readouterr().err.startswith("[1 of 4 notebooks, 3 left, 1:05, about 0:")


def test_time_left_is_that_of_the_cores_first_and_of_the_pace_later(watched, clock):
    assert watched.seconds_left() == pytest.approx(20)  # 40 s of work on two cores
    run(watched, 0, clock, 100)
    assert watched.seconds_left() == pytest.approx(30 * (100 + 30) / (10 + 60))  # 60 s of work in 30 s are believed
    tell(watched, LogEvent.JOB_INFO, 1)
    clock[0] += 4
    assert watched.seconds_left() == pytest.approx((30 - 4) * (104 + 30) / (14 + 60))


def test_time_left_is_unknown_before_anything_is_seen_if_cores_are_not_known(watched, clock):
    watched.cores = None
    assert watched.seconds_left() is None
    run(watched, 0, clock, 40)
    assert watched.seconds_left() == pytest.approx(3 * 40)


def test_the_status_names_what_runs(watched, clock):
    tell(watched, LogEvent.JOB_INFO, 0)
    clock[0] += 125
    tell(watched, LogEvent.JOB_INFO, 1)
    told = status.read(watched.root)
    assert told["state"] == "running"
    assert told["running"] == {"00_corpus": "for 2:05", "05_split": "for 0:00"}
    assert told["elapsed"] == "2:05"
    assert told["process"] == os.getpid()
    assert {"since", "updated", "time_left", "design"} <= set(told)


def test_a_failure_is_named_with_its_reason_and_what_needs_it(watched, clock, capsys):
    run(watched, 0, clock, 5)
    failed_notebook(watched, "05_split", "ValueError: no cells")
    run(watched, 1, clock, 5, event=LogEvent.JOB_ERROR)
    assert "1 of 4 notebooks, 0 left, 1 failed, 2 cannot run without, 0:10]" in capsys.readouterr().err
    told = status.read(watched.root)
    assert told["notebooks"] == {"done": 1, "failed": 1, "left": 0, "cannot_run": 2, "of": 4}
    assert told["failed"]["05_split"]["reason"] == "ValueError: no cells"
    watched.end("failed")
    said = capsys.readouterr().err
    assert "05_split failed: ValueError: no cells" in said
    assert f"see: {rerun.failed_copy(watched.out('05_split'))}" in said
    for name in NAMES[2:]:
        assert f"not executed, since it needs what failed: {name}\n" in said
    assert status.read(watched.root)["state"] == "failed"


def test_a_notebook_that_never_started_says_so(watched, clock):
    run(watched, 0, clock, 1, event=LogEvent.JOB_ERROR)
    told = status.read(watched.root)["failed"]["00_corpus"]
    assert "did not start" in told["reason"]
    assert "see" not in told


def test_a_second_attempt_that_succeeds_is_no_failure(watched, clock):
    run(watched, 0, clock, 5, event=LogEvent.JOB_ERROR)
    tell(watched, LogEvent.JOB_INFO, 0)
    assert status.read(watched.root)["failed"] == {}
    tell(watched, LogEvent.JOB_FINISHED, 0)
    assert status.read(watched.root)["notebooks"]["done"] == 1
    assert watched.in_notebooks == 5


def test_what_fails_in_part_keeps_nothing_from_running(watched, clock):
    failed_notebook(watched, "00_corpus", "FailedPartsError: 1 failed")
    run(watched, 0, clock, 5)
    assert status.read(watched.root)["notebooks"] == {"done": 0, "failed": 1, "left": 3, "cannot_run": 0, "of": 4}


def test_other_jobs_and_events_are_none_of_its_business(watched, capsys):
    tell(watched, LogEvent.JOB_FINISHED, 99)
    tell(watched, LogEvent.SHELLCMD, 0)
    watched.handle(logging.makeLogRecord({"msg": "plain"}))
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("told", "runs", "state"), [("finished", 0, "finished"), ("failed", 0, "failed"), ("failed", 1, "stopped")]
)
def test_the_end_is_told_once(watched, told, runs, state, capsys):
    for job in range(runs):  # Ctrl-C leaves them behind
        tell(watched, LogEvent.JOB_INFO, job)
    watched.end(told)
    watched.end("stopped")
    assert status.read(watched.root)["state"] == state
    assert capsys.readouterr().err.count("went into training") == 1


def test_a_status_that_cannot_be_written_ends_nothing(watched, clock, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(status, "write", full)
    run(watched, 0, clock, 1)
    run(watched, 1, clock, 1)
    assert capsys.readouterr().err.count("cannot be written, the work goes on") == 1
    assert len(watched.done) == 2


def test_a_run_that_was_given_up_is_told_with_the_command_that_trains_it_again(watched, capsys):
    lost = Run("pca", 1.0, "random", 50.0, 1)
    folder = watched.root / model_path(lost)
    folder.mkdir(parents=True)
    (folder / "failure.json").write_text(json.dumps({"reason": "MemoryError: a batch does not fit"}))
    watched.end("finished")
    said = capsys.readouterr().err
    assert "pca-w1/random/p050.0/s01 was given up: MemoryError: a batch does not fit" in said
    again = shlex.split(next(line for line in said.splitlines() if "again" in line).split(": ", 1)[1])
    assert again[:4] == ["rm", "-r", str(folder), "&&"]
    assert again[-6:] == ["-p", "percentages", "[50.0]", "-p", "seeds", "[1]"]
    assert status.read(watched.root)["given_up"] == {"pca-w1/random/p050.0/s01": "MemoryError: a batch does not fit"}


def test_of_many_failures_some_are_told_and_all_kept(watched, monkeypatch, capsys):
    monkeypatch.setattr(progress, "MOST", 3)
    lost = {Run("pca", 1.0, "random", 50.0, seed): "MemoryError: no" for seed in range(5)}
    monkeypatch.setattr(rerun, "given_up", lambda *_: lost)
    watched.end("finished")
    said = capsys.readouterr().err
    assert said.count("was given up") == 3
    assert f"2 more, see {watched.root / 'status'}" in said
    assert len(status.read(watched.root)["given_up"]) == 5


def test_a_process_that_ended_without_a_word_is_gone(tmp_path, capsys):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    status.write(tmp_path, {"state": "running"})
    assert status.read(tmp_path)["state"] == "running"
    assert status.main([str(tmp_path)]) == 0
    told = yaml.safe_load((tmp_path / "status").read_text())
    (tmp_path / "status").write_text(yaml.safe_dump(told | {"process": gone.pid}))
    assert status.read(tmp_path)["state"] == "gone"
    assert status.main([str(tmp_path)]) == 1
    assert "state: gone" in capsys.readouterr().out
    status.mark_gone(tmp_path, 1)
    assert yaml.safe_load((tmp_path / "status").read_text())["state"] == "running", "of another process"
    status.mark_gone(tmp_path)
    assert yaml.safe_load((tmp_path / "status").read_text())["state"] == "gone"


@pytest.mark.parametrize("harmed", [b"state: [", b"sta", b"state: running\n", b"\xff\xfe", b""])
def test_a_status_that_is_not_whole_is_none(tmp_path, harmed, capsys):
    (tmp_path / "status").write_bytes(harmed)
    assert status.read(tmp_path) is None
    status.mark_gone(tmp_path)
    assert status.main([str(tmp_path)]) == 2
    assert "has no status that can be read" in capsys.readouterr().err


def test_a_process_of_another_machine_is_told_by_its_silence(tmp_path):
    status.write(tmp_path, {"state": "running"})
    told = yaml.safe_load((tmp_path / "status").read_text())
    for updated, silent in ((status.now(), False), ("2020-01-01T00:00:00+00:00", True)):
        (tmp_path / "status").write_text(yaml.safe_dump(told | {"host": "elsewhere", "process": 1, "updated": updated}))
        found = status.read(tmp_path)
        assert found["state"] == "running"
        assert ("remark" in found) == silent


def test_no_status_is_an_error(tmp_path, capsys):
    assert status.main([str(tmp_path)]) == 2
    assert "has no status" in capsys.readouterr().err


def written(path: Path, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / f".{path.name}.record.json").write_text(json.dumps({"seconds": seconds}))


def test_only_what_was_written_since_counts_whatever_the_clock_says(tmp_path):
    written(tmp_path / "models/pca-w1/random/p001.0/s00", 100.0)
    written(tmp_path / "evaluations/classification--a.parquet", 50.0)
    before = spent.records(tmp_path)
    written(tmp_path / "models/pca-w1/random/p001.0/s01", 7.0)
    written(tmp_path / "embeddings/pca-w1/random/p001.0/s01.npz", 2.0)
    written(tmp_path / "predictions/heldout_loss--pca-w1--controls.parquet", 3.0)
    written(tmp_path / "predictions/perturbation--controls.parquet", 1.0)
    written(tmp_path / "predictions/classification--a.parquet", 99.0)  # of the same seconds as its scores
    again = tmp_path / "evaluations/.classification--a.parquet.record.json"
    again.unlink()
    written(tmp_path / "evaluations/classification--a.parquet", 0.5)
    os.utime(again, (0, 0))  # a clock that went backwards
    assert spent.useful(tmp_path, before) == {"training": 7.0, "embedding": 2.0, "metrics": 4.5}


def test_shares_add_up_to_all_cores():
    parts = spent.shares(
        {"training": 60.0, "embedding": 10.0, "metrics": 10.0}, in_notebooks=100.0, wall=100.0, cores=2
    )
    assert parts == {"training": 30, "embedding": 5, "metrics": 5, "other": 10, "idle": 50}
    assert spent.told(parts).startswith(
        "40 % of wall time × cores went into training, embedding and metrics (training 30,"
    )
    remote = spent.shares({"training": 60.0, "embedding": 10.0, "metrics": 10.0}, 100.0, 1000.0, None)
    assert remote == {"training": 60, "embedding": 10, "metrics": 10, "other": 20}
    assert "80 % of the notebooks' time" in spent.told(remote)
    assert set(spent.shares(dict.fromkeys(spent.KINDS, 0.0), 0.0, 0.0, None).values()) == {0.0}


def test_commands_can_be_given_to_a_shell():
    told = rerun.command("20_pretrain", Path("a b/out.ipynb"), {"strategy": "it's", "width": 0.5, "seeds": [1, 2]})
    words = shlex.split(told)
    assert words[1:4] == ["-m", "helpers.run", "notebooks/20_pretrain.py"]
    assert words[4:] == ["a b/out.ipynb", "-p", "strategy", "it's", "-p", "width", "0.5", "-p", "seeds", "[1, 2]"]
    assert os.access(words[0], os.X_OK)


@pytest.mark.chain
def test_a_notebook_that_fails_is_named_and_its_command_runs_just_it(tmp_path, small_chain_design):
    root, results = copy_project(tmp_path / "a project"), Path("results/it's small")
    design = small_chain_design(root)
    notebook, marker = root / "notebooks" / "15_diversity.py", "# %%\nimport numpy as np\n"
    intact = notebook.read_text()
    assert marker in intact
    notebook.write_text(intact.replace(marker, marker + "raise KeyError('no diversity')\n", 1))
    done = run_workflow(design, results, root)
    assert done.returncode != 0
    told = status.read(root / results)
    assert told["state"] == "failed"
    assert list(told["failed"]) == ["15_diversity"]
    assert told["notebooks"]["cannot_run"] == 5, "50_collect and what comes after"
    assert told["notebooks"]["left"] == 0
    failure = told["failed"]["15_diversity"]
    assert failure["reason"] == "KeyError: 'no diversity'"
    errors = [
        out for cell in nbformat.read(root / failure["see"], as_version=4).cells for out in cell.get("outputs", [])
    ]
    assert any("no diversity" in line for out in errors for line in out.get("traceback", []))
    assert f"again: {failure['again']}" in done.stderr
    assert told["per_cent_of_time"]["metrics"] > 0

    notebook.write_text(intact)
    environment = os.environ | {"PYTHONPATH": str(root / "src")}
    again = subprocess.run(failure["again"], shell=True, cwd=root, env=environment, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    made = (root / results / "diversity.parquet").stat().st_mtime_ns
    assert not (root / failure["see"]).exists()

    done = run_workflow(design, results, root)
    assert done.returncode == 0, done.stderr
    assert (root / results / "diversity.parquet").stat().st_mtime_ns == made
    told = status.read(root / results)
    assert (told["state"], told["notebooks"]["of"]) == ("finished", 6), "the notebook was edited; its artifact is fresh"
    assert told["per_cent_of_time"]["training"] == 0, "models were there already"


@pytest.mark.chain
def test_a_status_says_when_its_workflow_was_killed(tmp_path, small_chain_design):
    root = copy_project(tmp_path / "project")
    with start_workflow(small_chain_design(root), "results/small", root) as process:
        file, deadline = root / "results" / "small" / "status", time.monotonic() + 300
        while not (file.exists() and yaml.safe_load(file.read_text())["running"]) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert status.read(file.parent)["state"] == "running"
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert status.read(file.parent)["state"] == "gone"
    while yaml.safe_load(file.read_text())["state"] != "gone" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert yaml.safe_load(file.read_text())["state"] == "gone", "written by the server that outlives it"
