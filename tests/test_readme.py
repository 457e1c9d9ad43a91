"""The README and the pages beside it: every command runs in a fresh clone, every name and link leads somewhere.

The clone's designs smoke, demo and study are one small design here. What takes long, changes the machine or needs the
network is looked at without being done (`HOW`): CI runs `make demo`, `make test`, `make site` and the figures of the
study as they are. A command inside a sentence is not run either: its target is dry-run, its module and files exist.
"""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import yaml
from conftest import PROJECT, make_small_cells, make_small_design, own_environment
from test_published import made_up

from helpers.design import load_design

PAGES = [
    path
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md", "docs/*.md", ".github/**/*.md")
    for path in sorted(PROJECT.glob(name))
]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
# Names that stand for something of the reader's own, or for a place in another repository.
PLACEHOLDERS = re.compile(r"NAME|NN_|\bX\.|mine\.|out\.ipynb|OUT|DESIGN|<|\*|…|\{|data/external|store_creation")


def blocks(language: str) -> list[tuple[str, str]]:
    """(page, text) of every block in that language."""
    return [
        (path.relative_to(PROJECT).as_posix(), text)
        for path in PAGES
        for name, text in BLOCK.findall(path.read_text())
        if name == language
    ]


def commands() -> list:
    """Each command of the shell blocks once, in order, without its comment."""
    found = {}
    for page, text in blocks("bash") + blocks("sh") + blocks("shell"):
        for line in text.replace("\\\n", " ").splitlines():
            command = " ".join(shlex.split(line, comments=True, posix=False))
            if command:
                found.setdefault(command, page)
    return [pytest.param(command, page, id=f"{page}: {command}") for command, page in found.items()]


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """What a clone of this working tree holds, with this environment as its own and small designs."""
    root = tmp_path_factory.mktemp("readme") / "cellscale"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (PROJECT / name).is_file() and not name.startswith(("study/", "notebooks/executed/", "figures/")):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, root / name)
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    own_environment(root)
    _write_small_designs(root)
    _write_atlas(root / "data" / "external" / "atlas")
    tables = root / "path/to/scFM-dataselection/plotting/metrics_csvs"
    tables.mkdir(parents=True)
    table = made_up("classification", np.random.default_rng(0), spike_ins=False)
    table.to_csv(tables / "PretrainedPCA_zeroshot_classification_eval_results.csv")
    return root


def _write_small_designs(root: Path) -> None:
    cells = anndata.concat([make_small_cells() for _ in range(12)], index_unique="-")
    rng = np.random.default_rng(0)
    cells.X = sp.csr_matrix(rng.poisson(cells.X.toarray()).astype(np.float32))  # no cell is there twice
    cells.write_h5ad(root / "cells.h5ad")
    values = make_small_design("cells.h5ad") | {"name": "smoke", "percentages": [1, 10, 100], "seeds": [0]}
    values["families"] = {"scvi": {"preset": "demo"}}
    for file, name in {"smoke": "smoke", "demo": "smoke", "study": "study"}.items():
        (root / "params" / f"{file}.yaml").write_text(yaml.safe_dump(values | {"name": name}))
    (root / "results").mkdir()
    (root / "results" / "demo").symlink_to("smoke")


def _write_atlas(folder: Path) -> None:
    """An atlas with the columns of the template."""
    rng, n_cells = np.random.default_rng(0), 1_500
    columns = {"study": 3, "annotation": 4, "sample": 6, "patient": 30}
    obs = pd.DataFrame(
        {name: [f"{name}{one}" for one in rng.integers(count, size=n_cells)] for name, count in columns.items()},
        index=[f"cell{number}" for number in range(n_cells)],
    )
    counts = rng.poisson(1.0, size=(n_cells, 2_100)).astype(np.float32)
    folder.mkdir(parents=True)
    anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"g{one}" for one in range(2_100)])).write_h5ad(
        folder / "atlas.h5ad"
    )


def run(clone: Path, command: str) -> str:
    """Run a command in the clone, which must succeed; returns what it says."""
    environment = os.environ | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(clone / "src"),
    }
    options = {"cwd": clone, "env": environment, "capture_output": True, "text": True, "check": False, "timeout": 300}
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], **options)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout + done.stderr


def dry(clone: Path, command: str) -> None:
    """What make would do, without doing it: the target exists, and so does the design."""
    run(clone, command.replace("make ", "make --dry-run ", 1))
    for design in re.findall(r"DESIGN=(\S+)", command):
        assert (clone / design).exists()


def slurm(clone: Path, command: str) -> None:
    told = run(clone, f"{command} --dry-run")
    assert "partition=cpu" in told or "slurm_partition" in told


def makes(*names: str) -> Callable[[Path, str], None]:
    """Run a command, which must have made these files."""

    def check(clone: Path, command: str) -> None:
        run(clone, command)
        for name in names:
            assert (clone / name).stat().st_size, f"{name} is there"

    return check


def drawn_from_kept_tables(clone: Path, command: str) -> None:
    """Keep the small design's results as the study's, and draw from what was kept alone."""
    results = clone / "results" / "study"
    shutil.copytree(clone / "results" / "smoke", results, ignore=shutil.ignore_patterns("site"))
    owner = json.loads((results / "design.json").read_text())
    (results / "design.json").write_text(json.dumps(owner | {"name": "study"}))
    run(clone, "python -m helpers.notebooks keep params/study.yaml")
    shutil.rmtree(results)
    assert "kept tables are taken" in run(clone, command)
    assert (results / "figures" / "heldout_loss.svg").stat().st_size


def by_hand(clone: Path, command: str) -> None:
    """Commands on the reader's machine before there is a clone, or for Git: they name something that is there."""
    assert not re.search(r"[<>|;&`$]", command)


# The first that fits tells how a command is run. A command that none fits fails: add what it takes to look at it.
HOW: list[tuple[str, Callable[[Path, str], object]]] = [
    (
        r"make demo DESIGN=params/smoke\.yaml",
        makes("results/smoke/results.parquet", "results/smoke/figures/heldout_loss.svg"),
    ),
    (r"make figures DESIGN=params/study\.yaml", drawn_from_kept_tables),
    (r"make site", makes("results/smoke/site/index.html", "results/smoke/site/explorer.html")),
    (r"make (figures|env|pairs)", run),
    (r"make [\w-]+( [A-Z]+=\S+)*", dry),  # tests of their own, and CI, run the rest
    (r"source \.venv/bin/activate", run),
    (r"cp params/\S+ params/mine\.yaml", makes("params/mine.yaml")),
    (r"python -m helpers\.(design|notebooks|status) .*", run),
    (r"papermill --help-notebook .*", run),
    (r"papermill notebooks/\S+ out\.ipynb.*", makes("out.ipynb")),
    (r"python -m helpers\.run notebooks/\S+ out\.ipynb.*", makes("out.ipynb")),
    (r"snakemake .*slurm.*", slurm),
    (r"python -m pytest tests/\S+", lambda clone, command: run(clone, f"{command} --collect-only")),  # of the suite
    (r"(ruff|snakefmt) .*", run),
    (r"pre-commit install", makes(".git/hooks/pre-commit")),
    (r"git (clone|switch|commit|push|tag|add) .*|cd cellscale", by_hand),
]


@pytest.mark.chain
@pytest.mark.parametrize(("command", "page"), commands())
def test_every_command_runs(clone, command, page):
    for pattern, how in HOW:
        if re.fullmatch(pattern, command):
            how(clone, command)
            return
    pytest.fail(f"{page} has a command that no test runs: {command}")


@pytest.mark.chain
def test_every_make_command_of_a_sentence_could_run(clone):
    told = {span for path in PAGES for span in inline(path) if re.match(r"make [a-z]", span)}
    told = {span for span in told if not PLACEHOLDERS.search(span)}
    assert len(told) > 15
    for command in sorted(told - {"make help"}):
        dry(clone, command)


def test_every_block_of_python_runs():
    rng = np.random.default_rng(0)
    adata = anndata.concat([make_small_cells() for _ in range(10)], index_unique="-")
    n_cells = np.repeat(np.geomspace(57, 5_655, 9), 3)
    loss = 0.3 + 2 * n_cells**-0.5 + rng.normal(scale=1e-4, size=len(n_cells))
    for page, text in blocks("python"):
        names = {"adata": adata, "rng": rng, "runs": pd.DataFrame({"n_cells": n_cells, "loss": loss})}
        exec(compile(text, page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)


@pytest.mark.parametrize(("page", "text"), blocks("yaml"))
def test_every_block_of_yaml_is_a_part_of_a_design(page, text, demo, write_design):
    part = yaml.safe_load(text)
    sets = {"evaluation_sets": demo["evaluation_sets"] | part.get("evaluation_sets", {})}
    load_design(write_design(demo | part | sets))


# ---- names and links


def inline(path: Path) -> list[str]:
    """What stands between back quotes in the text of a page, outside its blocks."""
    return re.findall(r"`([^`\n]+)`", BLOCK.sub("", path.read_text()))


def targets() -> set[str]:
    declared = re.search(r"^\.PHONY: (.*)$", (PROJECT / "Makefile").read_text(), re.M)[1].split()
    assert declared == sorted(declared, key=declared.index)
    return set(declared)


def modules(text: str) -> list[str]:
    return re.findall(r"python -m ((?:helpers|benchmarks)[\w.]*\w)", text)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_targets_modules_and_files_that_a_page_names_exist(path):
    text = path.read_text()
    spans = inline(path) + [line for _, block in BLOCK.findall(text) for line in block.splitlines()]
    known = targets()
    wrong = []
    for span in spans:
        wrong += [f"make {name}" for name in re.findall(r"\bmake ([a-z][\w-]*)", span) if name not in known]
        for module in modules(span):
            place = "src" if module.startswith("helpers") else "."
            file = PROJECT / place / Path(*module.split("."))
            wrong += [] if file.with_suffix(".py").is_file() or (file / "__init__.py").is_file() else [module]
    stages = {source.stem for source in (PROJECT / "notebooks").glob("[0-9]*.py")}
    tops = {entry.name for entry in PROJECT.iterdir()} - {"results", ".venv"}
    for span in inline(path):
        for word in span.split():
            name = word.rpartition("=")[2].split("#")[0].rstrip("/")
            if re.fullmatch(r"\d\d_\w+", name):
                wrong += [] if name in stages else [name]
            elif "/" in name and name.split("/")[0] in tops and not PLACEHOLDERS.search(name):
                wrong += [] if (PROJECT / name).exists() else [name]
    assert not wrong, f"{path.name} names what is not there: {wrong}"


def anchors(path: Path) -> set[str]:
    """Anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", path.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_links_lead_somewhere(path):
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", BLOCK.sub("", path.read_text())):
        if re.match(r"https?://|mailto:", link):
            continue
        name, _, anchor = link.partition("#")
        place = (path.parent / name).resolve() if name else path
        if not place.exists() or (anchor and place.suffix == ".md" and anchor not in anchors(place)):
            wrong.append(link)
    assert not wrong, f"{path.name} has links to nothing: {wrong}"


def test_every_target_is_told_by_make_help():
    told = subprocess.run(["make", "help"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert targets() - {"help"} == set(re.findall(r"^make ([\w-]+)", told, re.M))


def test_the_readme_asks_what_the_notebooks_ask():
    rows = dict(
        re.findall(r"^\| `(\d\d_\w+)` \| (.*?)(?: \(`make controls`\))? \|$", (PROJECT / "README.md").read_text(), re.M)
    )
    sources = {source.stem: source.read_text() for source in (PROJECT / "notebooks").glob("[0-9]*.py")}
    asked = {name: re.search(r"^# # \d\d · (.*)$", text, re.M).group(1) for name, text in sources.items()}
    assert rows == asked
