"""Where a result comes from: hashes of code and notebooks, the state of the repository, the machine."""

import ast
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

SLURM_NODE = "SLURMD_NODENAME"
PACKAGES = ("anndata", "numpy", "pandas", "papermill", "scikit-learn", "scipy", "scvi-tools", "torch")


def find_project() -> Path:
    """Root of the project: the nearest folder above the working directory that holds notebooks/ and params/.

    Outside a project it is the checkout that this package was installed from.
    """
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / "notebooks").is_dir() and (folder / "params").is_dir():
            return folder
    return Path(__file__).resolve().parents[2]


def project_path(path: str | Path) -> Path:
    """Absolute path; relative ones count from the project root, so that a notebook runs from any folder of it."""
    return (find_project() / Path(path).expanduser()).resolve()


def digest(value: object) -> str:
    """Hex SHA-256 of a JSON-able value; keys are sorted, so that their order does not count."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file, read in chunks."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def checksum(path: Path, *, shards: bool = True) -> str:
    """Hex SHA-256 of a file, or of the names and contents of all files of a folder.

    The sum of a shard of cells, a folder ``*.zarr``, stands in the record beside it. With `shards` False that is taken
    for true, so that what holds terabytes need not be read as a whole for each few cells.
    """
    if path.is_file():
        return file_sha256(path)
    total = hashlib.sha256()
    for entry in sorted(_entries(path)):
        own = _recorded(entry) if entry.suffix == ".zarr" and not shards else checksum(entry)
        total.update(f"{entry.relative_to(path).as_posix()}:{own}\n".encode())
    return total.hexdigest()


def _recorded(shard: Path) -> str:
    """Sum of a shard by its record; nothing, which no shard has, where the record is missing or harmed."""
    try:
        return str(json.loads(shard.with_suffix(".json").read_text())["sha256"])
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return ""


def _entries(folder: Path) -> Iterator[Path]:
    """Files of a folder and of those in it; shards as a whole."""
    for entry in folder.iterdir():
        if entry.is_file() or entry.suffix == ".zarr":
            yield entry
        else:
            yield from _entries(entry)


def read_notebook(path: Path):
    """Notebook node of an .ipynb or a percent-format .py file."""
    import jupytext

    return jupytext.read(path)


def notebook_source(stage: str) -> Path:
    """The percent-format source of a stage, e.g. ``20_pretrain``."""
    return find_project() / "notebooks" / f"{stage}.py"


def notebook_hash(path: Path) -> str:
    """SHA-256 over the cells (type, tags, source) of a notebook; the .py and the .ipynb of a pair agree."""
    cells = read_notebook(path).cells
    return digest([[cell.cell_type, cell.metadata.get("tags", []), cell.source.strip()] for cell in cells])


def code_hash(stage: str, modules: Iterable[str] = ()) -> str:
    """SHA-256 of the code that makes the artifacts of a stage.

    It covers the notebook's code cells, but for the parameters and for cells tagged ``show`` (they only display), and
    every ``helpers`` module that these cells import, directly or through another, also inside functions. Modules that
    are found by name at run time (a family, a strategy) are passed in `modules`. Comments and docstrings do not count.
    """
    tree, sources = _code(stage, modules, without={"parameters", "show"})
    return digest({"cells": ast.dump(_without_docstrings(tree)), "modules": sources})


def display_hash(stage: str, modules: Iterable[str] = ()) -> str:
    """SHA-256 of all that an executed notebook shows: every cell, text included, and all modules that its
    cells import. Computed once in a process: a design asks for it by the thousand.
    """
    return _display_hash(notebook_source(stage), tuple(sorted(modules)))


def module_closure(names: Iterable[str]) -> set[str]:
    """All modules of this package among `names` and those they import, directly or not; others stay as they are."""
    seen: set[str] = set()
    todo = set(names)
    while todo:
        name = todo.pop()
        seen.add(name)
        todo |= {found for found in _module_imports(name) if found.startswith("helpers.")} - seen
    return seen


def environment() -> dict:
    """Git revision, dirty paths, package versions, Python and CPU, for the metadata of an executed notebook, and the
    node of a job of Slurm.
    """
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    of_job = {"node": os.environ[SLURM_NODE]} if SLURM_NODE in os.environ else {}
    return of_job | {
        "git_revision": _git("rev-parse", "HEAD"),
        "git_dirty": [line[3:] for line in _git("status", "--porcelain").splitlines()],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "packages": versions,
    }


@cache
def _display_hash(source: Path, modules: tuple[str, ...]) -> str:
    sources = _code(source.stem, modules)[1]
    return digest({"notebook": notebook_hash(source), "modules": sources})


def _code(stage: str, modules: Iterable[str], *, without: Iterable[str] = ()) -> tuple[ast.Module, dict[str, str]]:
    """Code cells of a stage as one tree, without those tagged in `without`, and the hash of each module they need."""
    cells = [
        cell.source
        for cell in read_notebook(notebook_source(stage)).cells
        if cell.cell_type == "code" and not set(without) & set(cell.metadata.get("tags", []))
    ]
    tree = ast.parse("\n".join(_without_magics(cell) for cell in cells))
    return tree, {name: _module_hash(name) for name in module_closure(_imports(tree) | set(modules))}


def _git(*arguments: str) -> str:
    try:
        command = ["git", "-C", str(find_project()), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.rstrip()
    except (OSError, subprocess.CalledProcessError):  # a downloaded archive has no repository, which is no failure
        return ""


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].split(":", 1)[1].strip() if names else platform.processor()


def _without_magics(source: str) -> str:
    return "\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("%", "!")))


def _without_docstrings(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _module_file(name: str) -> Path | None:
    """File of a module, or None where `name` is no module (it may be an attribute in ``from a import b``)."""
    if name.startswith("helpers."):  # found without importing what it lies in, which may take seconds
        place = Path(__file__).parent.joinpath(*name.split(".")[1:])
        return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


@cache
def _module_tree(name: str) -> ast.Module | None:
    path = _module_file(name)
    return ast.parse(path.read_text()) if path else None


@cache
def _module_hash(name: str) -> str:
    path = _module_file(name)
    return digest(ast.dump(_without_docstrings(ast.parse(path.read_text())))) if path else ""


@cache
def _module_imports(name: str) -> frozenset[str]:
    tree = _module_tree(name)
    return frozenset(_imports(tree)) if tree else frozenset()


def _imports(tree: ast.AST) -> set[str]:
    """Names of the package's modules that a tree imports, parent packages included (their __init__ runs too)."""
    names: set[str] = set()
    scripts = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)]
    command_lines = {inner for node in scripts for inner in ast.walk(node)}  # run as a script only
    for node in ast.walk(tree):
        if node in command_lines:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    parts = [name.split(".") for name in names if name.startswith("helpers.")]
    parents = {".".join(part[:size]) for part in parts for size in range(1, len(part) + 1)}
    return {name for name in parents if _module_file(name)}
