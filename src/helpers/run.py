"""Execute one notebook with papermill, strictly.

``python -m helpers.run NOTEBOOK OUT.ipynb [-f params.yaml] [-p key value]…``

Parameters are checked against the notebook's parameters cell, and the choice of runs against the design, before a
kernel starts. The kernel talks over private sockets, so that many notebooks can run side by side. OUT appears whole and
only on success; after a failure the notebook with its traceback lies beside it as OUT.failed.ipynb.
"""

import argparse
import ast
import json
import logging
import os
import resource
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import yaml

from helpers import status
from helpers.design import NO_STRATEGY, DesignError, load_design
from helpers.executed import lighten, put_finding_on_top
from helpers.messages import unknown
from helpers.provenance import environment, find_project, notebook_hash, project_path, read_notebook
from helpers.reading import PROGRESS_FILE, duration
from helpers.store import StoreError, check_owner, write_text
from helpers.warm import ADDRESS, ONE_THREAD, PARENT, STARTER, USAGE, short_folder

logger = logging.getLogger(__name__)

TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "list": (list,),
    "dict": (dict,),
}


class ParameterError(ValueError):
    """A parameter that the notebook does not have, or of another type."""


class NotebookFailedError(RuntimeError):
    """A notebook whose execution ended in an error; it lies with its traceback in `path`."""

    def __init__(self, message: str, path: Path):
        super().__init__(message)
        self.path = path


def declared_parameters(notebook) -> dict[str, tuple[str, object]]:
    """Name -> (type, default) from the cell tagged ``parameters``: lines of the form ``name: type =
    literal  # help``.
    """
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    declared = {}
    for node in ast.parse("\n".join(cell.source for cell in cells)).body:
        if not isinstance(node, ast.AnnAssign) or ast.unparse(node.annotation) not in TYPES or node.value is None:
            raise ParameterError(f"parameters cell: {ast.unparse(node)!r} is not of the form 'name: type = literal'")
        declared[ast.unparse(node.target)] = (ast.unparse(node.annotation), ast.literal_eval(node.value))
    return declared


def check_parameters(declared: dict[str, tuple[str, object]], given: dict[str, object]) -> None:
    """Raise ParameterError naming the key, the value and what would do."""
    for key, value in given.items():
        if key not in declared:
            raise ParameterError(unknown("parameter", key, declared))
        kind, default = declared[key]
        if not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "bool"):
            raise ParameterError(f"{key} = {value!r} is {type(value).__name__}, {kind} is needed, like {default!r}")


def check_choice(parameters: dict[str, object]) -> None:
    """Check design, results folder and chosen runs before anything starts; DesignError or StoreError says
    what is wrong.
    """
    if "design" not in parameters:
        return
    design = load_design(str(parameters["design"]))
    if "results" in parameters:
        check_owner(design, project_path(str(parameters["results"])))
    if "family" not in parameters:
        if "strategy" in parameters:
            design.sampling(str(parameters["strategy"]))
    elif parameters["strategy"] != NO_STRATEGY:
        design.select(*(parameters[key] for key in ("family", "width", "strategy", "percentages", "seeds")))


def execute(
    notebook: Path, out: Path, parameters: dict[str, object], *, report: Callable[[str], None] = logger.info
) -> Path:
    """Execute `notebook` (.ipynb or .py) with `parameters` and write the executed copy to `out`.

    `report` gets a line when the stage has come further. Raises ParameterError, DesignError or StoreError before
    anything starts, NotebookFailedError after a failed execution.
    """
    source = read_notebook(notebook)
    declared = declared_parameters(source)
    check_parameters(declared, parameters)
    check_choice({key: default for key, (_, default) in declared.items()} | parameters)
    stamp = {"notebook": _project_relative(notebook), "source_sha256": notebook_hash(notebook), **environment()}
    stamp |= {"parameters": parameters, "started": datetime.now(UTC).isoformat(timespec="seconds")}
    out.parent.mkdir(parents=True, exist_ok=True)
    failed_path = out.with_suffix(".failed.ipynb")
    failed_path.unlink(missing_ok=True)
    start = time.monotonic()
    executed, failure, usage = _execute_in_kernel(source, parameters, out.stem, report)
    stamp |= {"seconds": round(time.monotonic() - start, 2)} | usage
    executed.metadata["cellscale"] = stamp | ({"failure": failure} if failure else {})
    executed.metadata.get("papermill", {}).update(input_path=stamp["notebook"], output_path=_project_relative(out))
    put_finding_on_top(executed)
    lighten(executed)
    import nbformat

    write_text(failed_path if failure else out, nbformat.writes(executed))
    if failure:
        raise NotebookFailedError(failure, failed_path)
    return out


def _execute_in_kernel(source, parameters: dict, label: str, report: Callable[[str], None]):
    """Run the cells in a fresh kernel; returns the executed notebook, the error in one line or None, and what the
    kernel used.
    """
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    with tempfile.TemporaryDirectory(prefix="cs", dir=short_folder()) as folder:
        settings = dict.fromkeys(ONE_THREAD, "1") | {PROGRESS_FILE: f"{folder}/progress", "JUPYTER_RUNTIME_DIR": folder}
        os.environ.update(
            {key: value for key, value in settings.items() if key not in os.environ or key == PROGRESS_FILE}
        )
        if ADDRESS in os.environ:
            _offer_warm_kernels(Path(folder))
        sockets = {"transport": "ipc", "ip": f"{folder}/k", "connection_file": f"{folder}/kernel.json"}
        private = Config(AsyncKernelManager=sockets)
        temporary, failure, done = Path(folder, "out.ipynb"), None, threading.Event()
        watcher = threading.Thread(target=_watch, args=(Path(folder, "progress"), label, report, done), daemon=True)
        watcher.start()
        try:
            papermill.execute_notebook(
                source,
                temporary,
                parameters,
                kernel_name="python3",
                language="python",
                config=private,
                extra_arguments=["--IPKernelApp.log_level=50"],  # its notices of ending would stand among the progress
                progress_bar=False,
                autosave_cell_every=0,
            )
        except PapermillExecutionError as error:
            failure = f"{error.ename}: {error.evalue}"
        except DeadKernelError:
            failure = "the kernel died, most often for want of memory"
        finally:
            done.set()
            watcher.join()
        return nbformat.read(temporary, as_version=4), failure, _usage(Path(folder, "usage"))


def _offer_warm_kernels(folder: Path) -> None:
    """Make `folder` the first place where Jupyter looks for a kernel, and put one there that starts warm."""
    spec = folder / "kernels" / "python3"
    spec.mkdir(parents=True)
    command = [sys.executable, "-m", "helpers.warm", "ipykernel_launcher", "-f", "{connection_file}"]
    about = {"argv": command, "display_name": "Python 3 (ipykernel)", "language": "python"}
    about["env"] = {STARTER: str(os.getpid())}
    (spec / "kernel.json").write_text(json.dumps(about))
    places = [str(folder), *filter(None, [os.environ.get("JUPYTER_PATH")])]
    os.environ.update({"JUPYTER_PATH": os.pathsep.join(places), USAGE: str(folder / "usage")})


def _usage(warm: Path) -> dict[str, float]:
    """CPU seconds and peak memory of the kernel, a child of this process or started warm (then with all libraries)."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    if warm.exists():
        told = json.loads(warm.read_text())
        seconds, peak = seconds + told["cpu_seconds"], max(peak, told["peak_kb"])
    return {"cpu_seconds": round(seconds, 2), "peak_memory_mb": round(peak / 1024)}


def _watch(progress: Path, label: str, report: Callable[[str], None], done: threading.Event) -> None:
    """Report a stage's progress when it changes, at most every 15 s; stop the process if its workflow is gone."""
    parent, last, reported = int(os.environ.get(PARENT, 0)), "", time.monotonic()
    while not done.wait(0.5):
        if parent and not status.alive(parent):
            os.kill(os.getpid(), signal.SIGTERM)
            return
        text = progress.read_text() if progress.exists() else ""
        if text != last and text and time.monotonic() - reported > 15:
            last, reported = text, time.monotonic()
            report(f"  {label}: {text}")


def _project_relative(path: Path) -> str:
    path, project = path.resolve(), find_project()
    return path.relative_to(project).as_posix() if path.is_relative_to(project) else path.name


def _parse(arguments: list[str] | None) -> tuple[argparse.Namespace, dict[str, object]]:
    parser = argparse.ArgumentParser(prog="python -m helpers.run", description="Execute one notebook, strictly.")
    parser.add_argument("notebook", type=Path, help=".ipynb or percent-format .py")
    parser.add_argument("out", type=Path, help="where the executed notebook goes (.ipynb)")
    parser.add_argument("-f", "--file", type=Path, help="YAML file with parameters")
    parser.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"))
    parser.add_argument("--tolerate", action="store_true", help="a failed notebook becomes OUT, for others to go on")
    options = parser.parse_args(arguments)
    if not options.notebook.is_file():
        raise ParameterError(f"NOTEBOOK = {str(options.notebook)!r}: no such file")
    if options.out.suffix != ".ipynb":
        raise ParameterError(f"OUT = {str(options.out)!r} must end in .ipynb")
    parameters: dict[str, object] = {}
    if options.file:
        if not options.file.is_file():
            raise ParameterError(f"-f {options.file}: no such file")
        parameters = yaml.safe_load(options.file.read_text()) or {}
        if not isinstance(parameters, dict):
            raise ParameterError(f"-f {options.file} must hold parameters as keys and values")
    declared = declared_parameters(read_notebook(options.notebook))
    for key, text in options.parameter:
        # A text parameter is taken as it stands: a folder called 2024 is no number.
        parameters[key] = text if declared.get(key, ("",))[0] == "str" else yaml.safe_load(text)
    return options, parameters


def main(arguments: list[str] | None = None) -> int:
    """Command line; exit code 0 on success, or a tolerated failure, 1 if the notebook failed, 2 for bad parameters."""
    warnings.filterwarnings("ignore", module="papermill|jupyter_client|nbclient|zmq")
    logging.getLogger("papermill").setLevel(logging.ERROR)
    start = time.monotonic()
    try:
        options, parameters = _parse(arguments)
        out = options.out
        execute(options.notebook, out, parameters, report=_say)
    except (ParameterError, DesignError, StoreError, yaml.YAMLError) as error:
        _say(f"error: {error}")
        return 2
    except NotebookFailedError as error:
        _say(f"error in {out.stem}: {error}\n  see {error.path}")
        if not options.tolerate:
            return 1
        write_text(out, error.path.read_text())
        return 0
    except OSError as error:  # a disk that is full or read-only; what was there before is there still
        _say(f"error: {error}")
        return 1
    _say(f"  {out.stem}: done in {duration(time.monotonic() - start)}")
    return 0


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, so that the kernel is shut down
    sys.exit(main())
