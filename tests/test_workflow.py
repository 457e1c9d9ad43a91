"""The workflow: clean by Snakemake's own linter, a rule for each stage, and what the profile for Slurm asks for."""

import os
import re
import subprocess
import sys
from pathlib import Path

from conftest import PROJECT

from helpers.design import load_design
from helpers.stages import pieces

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


def test_another_chunk_is_refused():
    done = snakemake("--dry-run", "--config", "design=params/smoke.yaml", "chunk=size")
    assert done.returncode != 0
    assert "models are taken together by strategy, percentage, seed" in done.stdout + done.stderr
