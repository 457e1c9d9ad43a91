"""The runner: strict parameters, provenance, atomic output, failures kept aside."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml

from helpers import run
from helpers.provenance import (
    SLURM_NODE,
    code_hash,
    digest,
    environment,
    find_project,
    module_closure,
    notebook_hash,
    project_path,
)

PROJECT = Path(__file__).resolve().parents[1]
SOURCE = """
# %% [markdown]
# # Is it so?
#
# **Finding.** *Written from the numbers when the notebook is executed.*

# %% tags=["parameters"]
amount: int = 1  # how many
rate: float = 1.0  # how fast
name: str = "x"  # which
sizes: list = []  # all of them
strict: bool = False  # or not

# %%
from helpers.reading import finding

finding(f"{name} {amount * 2} {rate} {sizes} {strict}")
"""


@pytest.fixture
def notebook(tmp_path) -> Path:
    path = tmp_path / "nb.py"
    path.write_text(SOURCE.lstrip())
    return path


def run_cli(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "helpers.run", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=False)


def test_declared_parameters_are_read_with_type_and_default(notebook):
    declared = run.declared_parameters(jupytext.read(notebook))
    assert declared == {
        "amount": ("int", 1),
        "rate": ("float", 1.0),
        "name": ("str", "x"),
        "sizes": ("list", []),
        "strict": ("bool", False),
    }


@pytest.mark.parametrize("line", ["a = 1", "a: int | None = None", "a: int", "import os"])
def test_parameters_cells_of_another_form_are_refused(tmp_path, line):
    path = tmp_path / "nb.py"
    path.write_text(f'# %% tags=["parameters"]\n{line}\n')
    with pytest.raises(run.ParameterError, match="not of the form"):
        run.declared_parameters(jupytext.read(path))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"amonut": 2}, "unknown parameter 'amonut' \\(did you mean 'amount'\\?\\); there are: amount, rate"),
        ({"amount": 2.5}, "amount = 2.5 is float, int is needed, like 1"),
        ({"amount": True}, "amount = True is bool, int is needed"),
        ({"amount": "2"}, "amount = '2' is str, int is needed"),
        ({"sizes": 3}, "sizes = 3 is int, list is needed, like \\[\\]"),
        ({"strict": 1}, "strict = 1 is int, bool is needed"),
        ({"name": None}, "name = None is NoneType, str is needed"),
    ],
)
def test_unknown_and_mistyped_parameters_are_refused(notebook, given, told):
    with pytest.raises(run.ParameterError, match=told):
        run.check_parameters(run.declared_parameters(jupytext.read(notebook)), given)


@pytest.mark.chain
def test_a_notebook_runs_with_file_and_command_line_parameters(notebook, tmp_path):
    (tmp_path / "p.yaml").write_text("amount: 3\nsizes: [1, 2.5]\n")
    out = tmp_path / "deep" / "er {x}" / "out.ipynb"
    done = run_cli(
        notebook, out, "-f", tmp_path / "p.yaml", "-p", "rate", "2", "-p", "name", "2024", "-p", "strict", "true"
    )
    assert done.returncode == 0, done.stderr
    executed = nbformat.read(out, as_version=4)
    assert "**Finding.** 2024 6 2 [1, 2.5] True" in executed.cells[0].source
    stamp = executed.metadata["cellscale"]
    assert stamp["source_sha256"] == notebook_hash(notebook)
    assert stamp["parameters"] == {"amount": 3, "sizes": [1, 2.5], "rate": 2, "name": "2024", "strict": True}
    assert {"git_revision", "git_dirty", "packages", "cpu", "seconds", "peak_memory_mb", "started"} <= stamp.keys()
    assert stamp["seconds"] > 0
    assert stamp["peak_memory_mb"] > 10
    assert str(tmp_path) not in str(executed.metadata), "a path of this machine stands in the metadata"
    assert [path.name for path in out.parent.iterdir()] == ["out.ipynb"]


def test_a_job_of_slurm_tells_its_node(monkeypatch):
    monkeypatch.delenv(SLURM_NODE, raising=False)
    assert "node" not in environment()
    monkeypatch.setenv(SLURM_NODE, "n7")
    assert environment()["node"] == "n7"


@pytest.mark.chain
def test_a_failed_notebook_is_kept_aside_with_its_traceback(tmp_path):
    path, out = tmp_path / "nb.py", tmp_path / "out.ipynb"
    path.write_text("# %%\n1 / 0\n")
    done = run_cli(path, out)
    assert done.returncode == 1
    assert "ZeroDivisionError: division by zero" in done.stderr
    assert str(tmp_path / "out.failed.ipynb") in done.stderr
    assert not out.exists()
    assert "ZeroDivisionError" in (tmp_path / "out.failed.ipynb").read_text()


@pytest.mark.chain
def test_a_killed_kernel_is_a_failure_with_a_reason(tmp_path):
    path, out = tmp_path / "nb.py", tmp_path / "out.ipynb"
    path.write_text("# %%\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    done = run_cli(path, out)
    assert done.returncode == 1
    assert "kernel died" in done.stderr
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-p", "famly", "pca"], "unknown parameter 'famly' (did you mean 'family'?)"),
        (["-p", "family", "ssl9"], "family = 'ssl9' is not in the design; it holds: pca, scvi"),
        (["-p", "strategy", "donors"], "strategy = 'donors' is not in the design"),
        (["-p", "width", "wide"], "width = 'wide' is str, float is needed"),
        (["-p", "percentages", "[0]"], "percentages = 0 is not in the design"),
        (["-p", "design", "params/none.yaml"], "no such file; designs in that folder: axes.yaml"),
    ],
)
def test_bad_choices_stop_before_anything_runs(arguments, told, tmp_path):
    out = tmp_path / "out.ipynb"
    done = run_cli("notebooks/20_pretrain.py", out, "-p", "results", tmp_path / "results", *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_the_file_system_refuses_is_told_in_a_line(tmp_path):
    done = run_cli("notebooks/" + "x" * 300 + ".py", tmp_path / "out.ipynb")
    assert done.returncode == 1
    assert done.stderr.startswith("error: [Errno")
    assert "Traceback" not in done.stderr


def test_results_of_another_design_stop_the_runner(tmp_path):
    (tmp_path / "design.json").write_text('{"name": "other"}')
    done = run_cli("notebooks/05_split.py", tmp_path / "out.ipynb", "-p", "results", tmp_path)
    assert done.returncode == 2
    assert "holds the design 'other', not 'demo'" in done.stderr


@pytest.mark.chain
def test_a_missing_upstream_artifact_names_the_notebook_to_run(tmp_path):
    done = run_cli("notebooks/10_subset.py", tmp_path / "out.ipynb", "-p", "results", tmp_path / "results")
    assert done.returncode == 1
    assert "split.parquet is missing" in done.stderr
    assert "run notebooks/05_split.ipynb first" in done.stderr
    assert not (tmp_path / "results").exists()


def test_relative_paths_count_from_the_project_wherever_one_stands(monkeypatch):
    monkeypatch.chdir(PROJECT / "notebooks")
    assert find_project() == PROJECT
    assert project_path("params/demo.yaml") == PROJECT / "params" / "demo.yaml"


def test_hashes_see_cells_and_modules_but_not_comments_or_displays(tmp_path, monkeypatch):
    for folder in ("notebooks", "params"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "notebooks" / "01_x.py"

    def hash_of(text: str, **options) -> str:
        source.write_text(textwrap.dedent(text))
        return code_hash("01_x", **options)

    base = hash_of("# %%\nfrom helpers import split\nx = 1\n")
    assert hash_of("# %%\n# a comment\nfrom helpers import split\nx = 1\n") == base
    assert hash_of('# %%\nfrom helpers import split\nx = 1\n\n# %% tags=["show"]\nprint(x)\n') == base
    assert hash_of("# %%\nfrom helpers import split\nx = 2\n") != base
    assert hash_of("# %%\nfrom helpers import store\nx = 1\n") != base
    assert hash_of("# %%\nfrom helpers import split\nx = 1\n", modules=["helpers.plots"]) != base


def test_imports_are_followed_also_inside_functions():
    closure = module_closure({"helpers.store"})
    assert {"helpers.store", "helpers.design", "helpers.provenance", "helpers.models"} <= closure
    assert "helpers.models.scvi" not in closure, "families are found by name: an edit of one concerns its runs alone"


def test_digest_ignores_the_order_of_keys():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_yaml_of_parameters_is_loaded_safely(notebook, tmp_path):
    (tmp_path / "p.yaml").write_text("amount: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(yaml.YAMLError):
        run._parse([str(notebook), str(tmp_path / "out.ipynb"), "-f", str(tmp_path / "p.yaml")])
    assert os.listdir(tmp_path)


def test_without_a_new_enough_python_one_line_says_what_to_do(tmp_path):
    for name in ("bash", "env"):
        (tmp_path / name).symlink_to(shutil.which(name))
    (tmp_path / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python3").chmod(0o755)
    environment = {"PATH": str(tmp_path), "PYENV_ROOT": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(
        ["bash", "workflow/find_python"], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "needs Python 3.12 or newer" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    found = subprocess.run(
        ["bash", "workflow/find_python"],
        cwd=PROJECT,
        env=environment | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(found.stdout.strip()) == Path(sys.executable)
