"""JupyterLab as `make lab` starts it, driven in a browser; and what papermill tells of the notebooks' parameters."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import papermill
import pytest
import yaml
from conftest import PROJECT, copy_project, own_environment
from playwright.sync_api import Page

from helpers import notebooks
from helpers.provenance import notebook_hash
from helpers.run import TYPES, declared_parameters

BY_HAND = (  # the small design up to its verdicts
    *("00_corpus", "05_split", "10_subset", "15_diversity", "20_pretrain", "25_embed", "30_classify"),
    *("34_heldout_loss", "50_collect", "60_saturation", "61_scaling_laws"),
)
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("[0-9]*.ipynb"))
# All cells ran, or one failed, as the model knows it: cells out of sight are not in the page.
ENDED = """() => {
  const panel = window.jupyterapp.shell.currentWidget;
  const code = panel.content.widgets.map(cell => cell.model).filter(model => model.type === "code");
  const failed = code.some(model => model.outputs.toJSON().some(output => output.output_type === "error"));
  const ran = code.every(model => model.executionCount);
  return (failed || ran) && panel.sessionContext.session.kernel.status === "idle";
}"""
STARTED = "() => window.jupyterapp.shell.currentWidget.sessionContext?.session?.kernel?.status === 'idle'"
SAVED = "() => !window.jupyterapp.shell.currentWidget.model.dirty"


@pytest.fixture(scope="module")
def project(tmp_path_factory, small_chain_design) -> Path:
    """A copy of the project with this environment as its own, in which the demo is a small design."""
    root = copy_project(tmp_path_factory.mktemp("lab") / "project")
    for name in ("Makefile", "jupytext.toml", "requirements.lock"):
        shutil.copy(PROJECT / name, root)
    design = root / small_chain_design(root, name="demo", percentages=[10.0, 50.0, 100.0])
    design.replace(root / "params" / "demo.yaml")
    own_environment(root)
    return root


def own_code(project: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(project / "src")}


@pytest.fixture(scope="module")
def address(project, tmp_path_factory) -> Iterator[str]:
    """JupyterLab as `make lab` starts it, for a user who has kernels of the same name that do not work."""
    users = tmp_path_factory.mktemp("user")
    for place in ("own", "of the cluster"):
        spec = users / place / "kernels" / "python3"
        spec.mkdir(parents=True)
        about = {"argv": ["false", "{connection_file}"], "display_name": "Another Python", "language": "python"}
        (spec / "kernel.json").write_text(json.dumps(about))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex()
    words = f"--no-browser --ServerApp.port={port} --IdentityProvider.token={token} --LabApp.expose_app_in_browser=True"
    if os.geteuid() == 0:
        words += " --allow-root"
    environment = own_code(project) | {
        "JUPYTER_DATA_DIR": str(users / "own"),
        "JUPYTER_CONFIG_DIR": str(users / "settings"),
        "JUPYTER_RUNTIME_DIR": str(users / "run"),
        "JUPYTER_PATH": str(users / "of the cluster"),
        "JUPYTER_PREFER_ENV_PATH": "0",  # as if the environment were somebody else's
    }
    log = users / "log"
    with log.open("w") as told:
        options = {"cwd": project, "env": environment, "stdout": told, "stderr": told, "process_group": 0}
        process = subprocess.Popen(["make", "lab", f"OPTIONS={words}"], **options)
        try:
            _wait_for(f"http://127.0.0.1:{port}/api", process, log)
            yield f"http://127.0.0.1:{port}/?token={token}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)  # without a question
            process.wait(timeout=30)


def _wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"JupyterLab did not start:\n{log.read_text()}")


@pytest.fixture(scope="module")
def page(browser, address) -> Page:
    """JupyterLab with its start page; `page.asked` holds the addresses of all requests."""
    opened = browser.new_page(viewport={"width": 1300, "height": 900})
    opened.asked = []
    opened.on("request", lambda request: opened.asked.append(request.url))
    opened.goto(address)
    return opened


def run_all(page: Page, name: str) -> None:
    """Open a notebook from the list of files, run all of its cells by the menu, and save it."""
    page.locator(".jp-DirListing-item", has_text=name).dblclick()
    page.locator(f".lm-TabBar-tab.jp-mod-current:has-text('{name}')").wait_for()
    page.wait_for_function(STARTED, timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_function(ENDED, timeout=90_000)
    save(page)
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")  # its memory is needed


def save(page: Page) -> None:
    page.keyboard.press("Control+s")
    page.wait_for_function(SAVED, timeout=15_000)


@pytest.fixture(scope="module")
def ran(page, project) -> dict[str, bytes]:
    """Notebooks that were run by hand, in order and with their defaults; their files as they were before. What was
    saved is copied to the folder ``saved`` beside the project.
    """
    folder = project / "notebooks"
    before = {path.name: path.read_bytes() for name in BY_HAND for path in folder.glob(f"{name}.*")}
    page.locator(".jp-DirListing-item", has_text="00_corpus.ipynb").wait_for(timeout=60_000)
    for name in BY_HAND:
        run_all(page, f"{name}.ipynb")
        if name == "05_split":  # what the defaults leave out
            words = ["notebooks/30_classify.py", "out.ipynb", "-p", "family", "baselines", "-p", "strategy", "none"]
            command, options = [sys.executable, "-m", "helpers.run", *words], {"cwd": project, "check": True}
            subprocess.run(command, env=own_code(project), **options)
    shutil.copytree(folder, project.parent / "saved" / "notebooks")
    (project.parent / "saved" / "params").mkdir()
    return before


def test_lab_opens_among_the_notebooks_and_asks_nothing_of_the_network(page, ran):
    assert page.url.endswith(f"/notebooks/{BY_HAND[-1]}.ipynb")
    assert page.locator(".jp-BreadCrumbs").inner_text().strip("/ \n") == "notebooks"
    assert not [asked for asked in page.asked if not asked.startswith(("http://127.0.0.1:", "data:", "blob:"))]
    assert not [asked for asked in page.asked if "/lab/api/news" in asked or "/lab/api/update" in asked]
    assert page.locator(".Toastify__toast").count() == 0, "no question about news or builds"


def test_notebooks_run_by_hand_from_top_to_bottom_without_error(project, ran):
    for name in BY_HAND:
        path = project / "notebooks" / f"{name}.ipynb"
        cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
        outputs = [output for cell in cells for output in cell.outputs]
        assert not [out for out in outputs if out.output_type == "error" or out.get("name") == "stderr"], name
        assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
        assert outputs
    laws = project / "results" / "demo" / "scaling" / "laws.parquet"
    assert laws.exists(), "the defaults are the demo's, and each stage found what the one before had made"


def test_what_lab_saves_is_the_same_pair_and_outputs_go_before_a_commit(project, ran, monkeypatch, capsys):
    folder = project.parent / "saved" / "notebooks"
    for name, before in ran.items():
        path = folder / name
        assert path.suffix == ".ipynb" or path.read_bytes() == before
        assert notebook_hash(path) == notebook_hash(path.with_suffix(".py"))
    monkeypatch.chdir(folder)
    names = sorted(BY_HAND)
    assert notebooks.differences() == [f"{name}.ipynb {notebooks.OF_A_SESSION}" for name in names]
    assert notebooks.main(["clear"]) == 0
    assert capsys.readouterr().out == "".join(f"wrote {name}.ipynb\n" for name in names)
    assert {name: (folder / name).read_bytes() for name in ran} == ran
    (folder / "10_subset.ipynb").write_bytes(ran["05_split.ipynb"])
    assert notebooks.main(["clear"]) == 1, "cells that the .py lacks are not lost"
    assert "10_subset.ipynb has other cells than 10_subset.py" in capsys.readouterr().err
    assert (folder / "10_subset.ipynb").read_bytes() == ran["05_split.ipynb"]


def test_an_edit_in_lab_reaches_the_source(page, project, ran):
    page.locator(".lm-TabBar-tab", has_text="05_split.ipynb").click()
    first = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-MarkdownCell").first
    first.locator(".jp-MarkdownOutput").dblclick()
    first.locator(".cm-content").press("Control+End")
    page.keyboard.type(" Written in Lab.")
    page.keyboard.press("Shift+Enter")
    save(page)
    source = (project / "notebooks" / "05_split.py").read_text()
    before = ran["05_split.py"].decode()
    assert source.count(" Written in Lab.\n") == 1
    assert source.replace(" Written in Lab.", "") == before
    assert notebook_hash(project / "notebooks" / "05_split.ipynb") == notebook_hash(
        project / "notebooks" / "05_split.py"
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_lab_writes_every_source_as_it_is(path):
    """What jupytext makes of a .py and back, as its contents manager does on each save."""
    import jupytext

    source = path.with_suffix(".py")
    config = jupytext.config.load_jupytext_config(str(source))
    assert jupytext.writes(jupytext.read(source), fmt="py:percent", config=config) == source.read_text()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_papermill_tells_typed_parameters_with_help(path):
    told = papermill.inspect_notebook(str(path))
    declared = declared_parameters(nbformat.read(path, 4))
    assert told.keys() == declared.keys()
    for name, parameter in told.items():
        kind, default = declared[name]
        assert parameter["inferred_type_name"] == kind in TYPES
        assert yaml.safe_load(parameter["default"]) == default
        assert len(parameter["help"]) > 10
    if "design" in declared:
        assert (declared["design"][1], declared["results"][1]) == ("params/demo.yaml", "results/demo")
