"""Small designs and cells that the tests share, and the workflow that they start."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import yaml
from playwright.sync_api import Browser, sync_playwright

from helpers.models.counts import log_cp10k, raw_counts

PROJECT = Path(__file__).resolve().parents[1]
os.environ["NUMBA_NUM_THREADS"] = "1"  # numba takes no other number once it has run, and some tests set it for theirs


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with chains first, so that no worker ends with a long one while the other waits."""
    long = {item.path for item in items if item.get_closest_marker("chain")}
    items.sort(key=lambda item: item.path not in long)


def copy_project(root: Path) -> Path:
    """Copy what the workflow needs into a folder, and return it."""
    for folder in ("src", "notebooks", "workflow", "params"):
        shutil.copytree(PROJECT / folder, root / folder, ignore=shutil.ignore_patterns("executed", "__pycache__"))
    for file in ("pyproject.toml", "environment.yml"):
        shutil.copy(PROJECT / file, root)
    return root


def own_environment(root: Path) -> None:
    """Give a copy of the project this environment as its ``.venv``, in which make has nothing to install."""
    (root / ".venv").mkdir()
    for entry in Path(sys.prefix).iterdir():
        (root / ".venv" / entry.name).symlink_to(entry)
    for name in (".locked", ".installed"):  # files of the copy, newer than the lock
        (root / ".venv" / name).unlink(missing_ok=True)
        (root / ".venv" / name).touch()


def start_workflow(
    design: str,
    results: str | Path,
    root: Path = PROJECT,
    *,
    packages: Sequence[Path] = (),
    profile: str = "default",
    options: Sequence[str] = (),
    process_group: int | None = None,
) -> subprocess.Popen:
    """Start the workflow of the project in `root` with its own code, and packages in further folders; `options` are
    more words of its command line, ``name=value`` first; `process_group` is as in Popen.
    """
    command = ["snakemake", "--snakefile", "workflow/Snakefile", "--workflow-profile", f"workflow/profiles/{profile}"]
    command += ["--config", f"design={design}", f"results={results}", *options]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    python_path = os.pathsep.join(map(str, [root / "src", *packages]))
    environment = os.environ | {"PATH": path, "PYTHONPATH": python_path}
    pipe = subprocess.PIPE
    streams = {"stdout": pipe, "stderr": pipe, "text": True}
    return subprocess.Popen(command, cwd=root, env=environment, process_group=process_group, **streams)


def run_workflow(*given, **options) -> subprocess.CompletedProcess:
    """Run the workflow to its end; parameters as in `start_workflow`."""
    with start_workflow(*given, **options) as process:
        out, err = process.communicate(timeout=900)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


MEASURED = ["seconds", "cells_per_second", "peak_memory_mb", "embedded_per_second"]  # of a run, and never the same


def repeatable(results: Path, name: str = "results") -> pd.DataFrame:
    """A table of results without what was measured, which another run must repeat."""
    return pd.read_parquet(results / f"{name}.parquet").drop(columns=MEASURED, errors="ignore")


@pytest.fixture
def demo() -> dict:
    """The demo design as plain values, to be changed and written."""
    return yaml.safe_load((PROJECT / "params" / "demo.yaml").read_text())


@pytest.fixture
def write_design(tmp_path):
    """Write values as a design file and return its path."""

    def write(values: dict, name: str = "design.yaml") -> Path:
        path = tmp_path / name
        path.write_text(yaml.safe_dump(values))
        return path

    return write


def make_small_cells() -> anndata.AnnData:
    """240 cells × 60 genes of four batches and three types, raw counts."""
    rng = np.random.default_rng(0)
    types = np.array(["a", "b", "c"])[np.arange(240) % 3]
    rates = np.where(np.arange(60)[None] % 3 == np.arange(240)[:, None] % 3, 6.0, 1.0)
    obs = pd.DataFrame(
        {
            "dataset_id": np.repeat(["one", "one", "two", "three"], 60),
            "batch": np.repeat(["one_a", "one_b", "two", "three"], 60),
            "tissue": "blood",
            "cell_type": types,
            "cell_type_harmonised": types,
            "donor_id": pd.array([None] * 240, dtype="string"),
        },
        index=[f"cell{number:03}" for number in range(240)],
    )
    counts = sp.csr_matrix(rng.poisson(rates).astype(np.float32))
    return anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"g{number}" for number in range(60)]))


@pytest.fixture
def small_cells() -> anndata.AnnData:
    return make_small_cells()


@pytest.fixture
def small_design(small_cells, tmp_path) -> dict:
    """A design on `small_cells`, written beside it as h5ad."""
    path = tmp_path / "cells.h5ad"
    small_cells.write_h5ad(path)
    return make_small_design(str(path))


def make_small_design(path: str) -> dict:
    """Plain values of a design on the cells in `path`."""
    return {
        "name": "small",
        "seed": 1,
        "corpus": {"source": "embedded", "path": path, "pretraining": {"dataset_id": ["one"]}},
        "held_out": {"where": {"batch": ["one_a"]}, "validation": 0.1, "evaluation": 0.3},
        "evaluation_sets": {
            "same": {"where": {"batch": ["one_a"]}, "part": "evaluation", "seen": "in distribution"},
            "other": {"where": {"dataset_id": ["two"]}, "seen": "study unseen"},
        },
        "strategies": ["random"],
        "percentages": [50.0, 100.0],
        "seeds": [0, 1],
        "families": {"pca": {"preset": "demo"}},
        "budget": {"kind": "cell_views", "amount": 100},
        "evaluations": {
            "classification": {"min_cells": 4, "headline_min_cells": 5},
            "heldout_loss": {"headline": "other"},
        },
    }


@pytest.fixture(scope="session")
def small_chain_design():
    """Write the small design into a project, with other parts, and return the file's path relative to it."""

    def write(project: Path, **parts: object) -> str:
        cells = make_small_cells()
        cells.write_h5ad(project / "cells.h5ad")
        values = make_small_design("cells.h5ad") | parts
        (project / "params" / "small.yaml").write_text(yaml.safe_dump(values))
        return "params/small.yaml"

    return write


@pytest.fixture(scope="session")
def real_cells() -> tuple[anndata.AnnData, anndata.AnnData]:
    """Untreated cells of Kang, and pbmc3k, on the 500 genes that vary most in the former; raw counts."""
    everything = anndata.read_h5ad(PROJECT / "data" / "embedded.h5ad")
    kang = everything[everything.obs["batch"] == "kang_ctrl"]
    expression = log_cp10k(raw_counts(kang))
    spread = expression.multiply(expression).mean(axis=0) - np.square(expression.mean(axis=0))
    genes = np.sort(np.argsort(-spread)[:500])
    return kang[:, genes].copy(), everything[everything.obs["batch"] == "pbmc3k", genes].copy()


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")  # not longer: while it is open, nothing else may run an event loop in this process
def browser() -> Iterator[Browser]:
    """The system's browser, without a window; no download of Playwright's own."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None and "CI" not in os.environ:
        pytest.skip(f"needs a browser: none of {', '.join(BROWSERS)} is installed")
    assert found, f"CI has no browser: none of {', '.join(BROWSERS)} is installed"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield started
        started.close()
