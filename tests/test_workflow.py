"""The workflow: clean by Snakemake's own linter, a rule for each stage, and what the profile for Slurm asks for."""

import ast
import os
import re
import subprocess
import sys
import types
from pathlib import Path

from conftest import PROJECT

from helpers import needs
from helpers.design import load_design
from helpers.stages import pieces
from helpers.work import Work

SOURCES = sorted((PROJECT / "notebooks").glob("[0-9]*.py"))
OUTSIDE = {"70_published", "80_controls"}  # belong to no design


def snakemake(*words: str) -> subprocess.CompletedProcess:
    """Run Snakemake on the workflow of this project, which is not to execute anything."""
    python_path = os.pathsep.join([str(PROJECT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = ["snakemake", "--snakefile", "workflow/Snakefile", *words]
    environment = os.environ | {"PATH": path, "PYTHONPATH": python_path}
    return subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_the_linter_finds_nothing_and_looking_makes_nothing(tmp_path):
    results = tmp_path / "results"
    done = snakemake("--lint", "--config", "design=params/smoke.yaml", f"results={results}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "good condition" in done.stdout + done.stderr
    assert not results.exists()


def test_every_stage_has_a_rule_that_says_what_it_is_for():
    told = snakemake("--list-rules", "--config", "design=params/smoke.yaml")
    lines = told.stdout.splitlines()
    assert lines, told.stderr
    assert all(re.fullmatch(r"\w+ \(.+\.\)", line) for line in lines)
    own = {line.split()[0] for line in lines} - {"all", "report"}
    assert len(own) == len({path.stem for path in SOURCES} - OUTSIDE)


def test_the_profile_for_slurm_makes_a_job_of_each_size_and_asks_for_what_it_needs(tmp_path):
    words = ["--config", "design=params/smoke.yaml", f"results={tmp_path}/results"]
    done = snakemake("--workflow-profile", "workflow/profiles/slurm", "--dry-run", *words)
    assert done.returncode == 0, done.stderr
    jobs = re.split(r"\n\s*(?=(?:local)?rule \w+:)", done.stdout)
    asked = {
        found[1]: job for job in jobs if (found := re.search(r"wildcards: name=(\S+)", job)) and "resources" in job
    }
    design = load_design("params/smoke.yaml")
    assert set(asked) == {piece.name for piece in pieces(design, "percentage")}
    for name, job in asked.items():
        memory, runtime = (int(re.search(rf"\b{key}=(\d+)", job)[1]) for key in ("mem_mb", "runtime"))
        assert 1500 < memory < 6000, name
        assert 10 <= runtime < 60, name
        assert re.search(r"\bgpu=0\b", job), "unless chunks.yaml says otherwise"
    gpus = snakemake("--workflow-profile", "workflow/profiles/slurm", "--dry-run", *words, "gpus=1").stdout
    assert len(re.findall(r"\bgpu=1\b", gpus)) == sum("--scvi--" in name and name[:2] in "202534" for name in asked)


def test_jobs_ask_for_more_each_time_that_they_are_tried():
    """The functions of the rules alone, since a dry run knows first attempts only."""
    source = (PROJECT / "workflow" / "rules" / "common.smk").read_text()
    parsed = ast.parse(source[: source.index("\nonstart:")])
    asked = [node for node in parsed.body if isinstance(node, ast.FunctionDef) and node.name in ("memory", "minutes")]
    known = {"WORK": {"x": Work(seconds=600.0, memory=2e9)}, "needs": needs}
    exec(compile(ast.Module(asked, []), "common.smk", "exec"), known)
    job = types.SimpleNamespace(name="x")
    assert [known["memory"](job, attempt) for attempt in (1, 2, 3)] == [3900, 7800, 11700]
    assert [known["minutes"](job, attempt) for attempt in (1, 2, 3)] == [50, 100, 150]


def test_another_chunk_is_refused():
    done = snakemake("--dry-run", "--config", "design=params/smoke.yaml", "chunk=size")
    assert done.returncode != 0
    assert "models are taken together by strategy, percentage, seed" in done.stdout + done.stderr
