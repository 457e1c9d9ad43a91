"""Keep the notebooks in step: each .py with its .ipynb, the tracked reading copies with what they were made from.

``python -m helpers.notebooks pair`` writes the .ipynb of every .py, ``check`` says which pairs differ, ``clear`` takes
out of every .ipynb what a session in Jupyter left there. ``readings params/demo.yaml`` copies executed notebooks and
figures of a finished design, and the controls of the analysis, to ``notebooks/executed/`` and ``figures/``. ``keep
params/study.yaml`` copies figures, tables and the notebooks that hold all results of a finished design, with the
provenance of each notebook, to a folder of the design's name; ``restore`` puts these tables into the results of a
design that has none, so that its figures can be drawn without its models, and ``redraw`` keeps these figures, and the
notebooks and tables that were made from them since.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat
import yaml

from helpers import status
from helpers.design import load_design
from helpers.messages import answered
from helpers.provenance import find_project, notebook_hash, read_notebook
from helpers.stages import pieces
from helpers.store import RESTORED, RUNNER_FOLDERS, claim, discard, read_record, record_path, write_text

MAX_BYTES = 1_000_000
PROVENANCE = "provenance.json"
RECORDS = "records.json"  # of kept tables: record of the store by artifact
FIGURES = "90_figures"
CONTROLS = Path("results", "controls", "80_controls.ipynb")  # belongs to no design
KEPT = ("[569]*.ipynb", "15_diversity.ipynb")  # notebooks of all results, and what the subsets hold
TABLES = ("*.parquet", "scaling/*.parquet")
NOT_RESULTS = {"split.parquet", "genes.parquet", "evaluation_sets.parquet"}
OF_A_SESSION = "holds outputs or metadata of a session"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def sources() -> list[Path]:
    """Percent-format sources of all stages, in order."""
    return sorted((find_project() / "notebooks").glob("[0-9]*.py"))


def differences() -> list[str]:
    """What is wrong with the pairs, a line each; empty if every .ipynb is what `pair` writes of its .py."""
    wrong = []
    for source in sources():
        pair = source.with_suffix(".ipynb")
        if not pair.exists():
            wrong.append(f"{pair.name} is missing")
        elif notebook_hash(pair) != notebook_hash(source):
            wrong.append(f"{pair.name} has other cells than {source.name}")
        elif pair.read_text() != _without_outputs(source):
            wrong.append(f"{pair.name} {OF_A_SESSION}")
    lone = {path.stem for path in (find_project() / "notebooks").glob("[0-9]*.ipynb")} - {
        path.stem for path in sources()
    }
    return wrong + [f"{name}.ipynb has no {name}.py" for name in sorted(lone)]


def pair() -> list[Path]:
    """Write the .ipynb of every .py whose pair differs; the .py is the source. Returns what was written."""
    return _write({line.split()[0] for line in differences()})


def clear() -> list[Path]:
    """Take outputs and metadata of a session out of every .ipynb that has the cells of its .py; others, in which
    something may have been written that the .py lacks, stay as they are. Returns what was written.
    """
    return _write({line.split()[0] for line in differences() if line.endswith(OF_A_SESSION)})


def _write(names: set[str]) -> list[Path]:
    written = [source.with_suffix(".ipynb") for source in sources() if f"{source.stem}.ipynb" in names]
    for path in written:
        write_text(path, _without_outputs(path.with_suffix(".py")))
    return written


def _without_outputs(source: Path) -> str:
    """Text of the .ipynb with the cells of a .py and nothing else."""
    notebook = read_notebook(source)
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL})
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02d}"  # stable, so that a diff shows cells and not ids
    return nbformat.writes(notebook) + "\n"


def update_readings(design: Path) -> list[Path]:
    """Replace the tracked reading copies by the executed notebooks and figures of a design, and return these notebooks.

    The controls of the analysis are among them.

    Raises ValueError if a notebook is missing, was executed from another source than the present one, holds an error,
    or is too large.
    """
    project = find_project()
    results, executed = _executed(design, [project / CONTROLS])
    readings = project / "notebooks" / "executed"
    discard(readings)
    readings.mkdir()
    for path in executed:
        shutil.copy(path, readings)
    _copy_figures(results, project / "figures")
    return executed


def keep(design: Path) -> Path:
    """Replace the kept copy of a design's results: figures (as svg alone), tables, the notebooks that hold all of them,
    ``provenance.json``, the stamp of every executed notebook by its name, and ``status``, how the last run ended.
    Returns the folder, named as the design.

    Raises ValueError as `update_readings`, and for a folder of that name that holds something else.
    """
    results, executed = _executed(design)
    folder = find_project() / results.name
    if folder.exists() and not (folder / PROVENANCE).exists():
        raise ValueError(f"{folder.name}/ holds something else than a design's results: give the design another name")
    discard(folder)
    _copy_figures(results, folder / "figures", "*.png")
    _copy_tables(results, folder / "tables")
    (folder / "notebooks").mkdir()
    for path in _of_all_results(results):
        shutil.copy(path, folder / "notebooks")
    write_text(folder / PROVENANCE, json.dumps(_stamps(executed), indent=1) + "\n")
    if (ended := status.read(results)) is not None:
        of_machine = ("process", "host")
        write_text(folder / status.FILE, yaml.safe_dump({key: ended[key] for key in ended if key not in of_machine}))
    return folder


def restore(design: Path) -> bool:
    """Put the kept tables of a design into its results, unless anything was made there; says whether it did.

    Their records come along, so that the store checks them as it does what was made here; while their inputs are not
    there, notebooks of all results take them as they are. Raises ValueError where there are neither results nor tables.
    """
    study = load_design(design)
    results, tables = find_project() / "results" / study.name, find_project() / study.name / "tables"
    made = results.exists() and any(entry.name not in RUNNER_FOLDERS for entry in results.iterdir())
    if not made and not (tables / RECORDS).exists():
        raise ValueError(
            f"results/{study.name} holds no results, and none are kept: run make demo DESIGN={design} first"
        )
    if made:
        return False
    claim(study, results)
    for artifact, record in json.loads((tables / RECORDS).read_text()).items():
        if (tables / artifact).exists():
            shutil.copy(tables / artifact, results)
        else:
            (results / artifact).mkdir()
            for path in tables.glob(f"{artifact}_*"):
                shutil.copy(path, results / artifact / path.name.removeprefix(f"{artifact}_"))
        write_text(record_path(results / artifact), json.dumps(record | {RESTORED: True}))
    return True


def redraw(design: Path) -> Path:
    """Replace the kept figures and tables of a design by those in its results, which `restore` began, and those kept
    notebooks that were executed there, of which the one that draws the figures must be one.

    Returns the folder. Raises ValueError as `keep`.
    """
    study = load_design(design)
    results, folder = find_project() / "results" / study.name, find_project() / study.name
    executed = _of_all_results(results)
    if FIGURES not in [path.stem for path in executed] or not (folder / PROVENANCE).exists():
        raise ValueError(
            f"{FIGURES}.ipynb was not executed, or {folder.name}/ is not there: run make figures DESIGN={design}"
        )
    for path in executed:
        _check_fit(path)
    if lost := json.loads((folder / "tables" / RECORDS).read_text()).keys() - _records(results).keys():
        raise ValueError(f"{', '.join(sorted(lost))}: kept, and not among the results in {results.name}/: restore them")
    _copy_figures(results, folder / "figures", "*.png")
    _copy_tables(results, folder / "tables")
    for path in executed:
        shutil.copy(path, folder / "notebooks")
    stamps = json.loads((folder / PROVENANCE).read_text()) | _stamps(executed)
    write_text(folder / PROVENANCE, json.dumps(stamps, indent=1) + "\n")
    return folder


def _of_all_results(results: Path) -> list[Path]:
    """Executed notebooks that hold all results of a design."""
    found = [path for pattern in KEPT for path in sorted((results / "notebooks").glob(pattern))]
    return [path for path in found if ".failed" not in path.name]


def _stamps(executed: Sequence[Path]) -> dict[str, dict]:
    return {path.stem: read_notebook(path).metadata["cellscale"] for path in executed}


def _copy_tables(results: Path, to: Path) -> None:
    """Replace kept tables, and their records, by those of the results."""
    discard(to)
    to.mkdir()
    for path in [path for pattern in TABLES for path in sorted(results.glob(pattern))]:
        if path.name not in NOT_RESULTS:
            shutil.copy(path, to / path.relative_to(results).as_posix().replace("/", "_"))
    write_text(to / RECORDS, json.dumps(_records(results), indent=1) + "\n")


def _records(results: Path) -> dict[str, dict]:
    """Records of the artifacts that are kept as tables, by artifact."""
    paths = [path for pattern in TABLES for path in sorted(results.glob(pattern))]
    names = dict.fromkeys(path.relative_to(results).parts[0] for path in paths)
    found = {name: read_record(results / name) for name in names if name not in NOT_RESULTS}
    return {name: {key: record[key] for key in record if key != RESTORED} for name, record in found.items() if record}


def _copy_figures(results: Path, to: Path, *but: str) -> None:
    discard(to)
    shutil.copytree(results / "figures", to, ignore=shutil.ignore_patterns(".*", *but))


def _executed(design: Path, more: Sequence[Path] = ()) -> tuple[Path, list[Path]]:
    """Results of a design, and its executed notebooks and more, all of which are fit to be read."""
    study = load_design(design)
    results = find_project() / "results" / study.name
    executed = [*(results / "notebooks" / f"{piece.name}.ipynb" for piece in pieces(study)), *more]
    for path in executed:
        if not path.is_file():
            command = "controls" if path.name == CONTROLS.name else f"demo DESIGN={design}"
            raise ValueError(f"{path.name} was not executed: run make {command} first")
        _check_fit(path)
    return results, executed


def _check_fit(path: Path) -> None:
    if problem := stale(path):
        raise ValueError(f"{path.name}: {problem}")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path.name}: {path.stat().st_size:,} bytes, more than {MAX_BYTES:,}")


def stale(path: Path) -> str | None:
    """Why an executed notebook is not a faithful reading copy, or None."""
    notebook = read_notebook(path)
    stamp = notebook.metadata.get("cellscale")
    if stamp is None:
        return "was not executed by helpers.run"
    if notebook_hash(find_project() / stamp["notebook"]) != stamp["source_sha256"]:
        return f"was executed from another version of {stamp['notebook']}"
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "holds an error" if any(output.output_type == "error" for output in outputs) else None


def main(arguments: list[str] | None = None) -> int:
    """Command line; exit code 1 if pairs differ or readings cannot be updated."""
    parser = argparse.ArgumentParser(prog="python -m helpers.notebooks", description=__doc__.splitlines()[0])
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("pair", help="write the .ipynb of every .py")
    actions.add_parser("check", help="say which pairs differ")
    actions.add_parser("clear", help="take out of every .ipynb what a session in Jupyter left there")
    told_actions = {
        "readings": "refresh the tracked reading copies",
        "keep": "keep a design's results",
        "restore": "put kept tables into results that are not there",
        "redraw": "keep a design's figures anew",
    }
    for action, told in told_actions.items():
        actions.add_parser(action, help=told).add_argument("design", type=Path)
    options = parser.parse_args(arguments)
    if options.action in ("pair", "clear"):
        written = pair() if options.action == "pair" else clear()
        sys.stdout.writelines(f"wrote {path.name}\n" for path in written)
    if options.action == "pair":
        return 0
    if options.action in ("check", "clear"):
        wrong = differences()
        sys.stderr.writelines(f"{line}: run 'python -m helpers.notebooks pair'\n" for line in wrong)
        return int(bool(wrong))
    return answered(lambda: _done(options.action, options.design))


def _done(action: str, design: Path) -> str:
    """Do what an action says with a design, and tell it."""
    if action == "restore":
        return "kept tables are taken" if restore(design) else "results are taken as they are"
    if action == "redraw":
        return f"figures are in {redraw(design).name}/figures/"
    if action == "keep":
        return f"figures, tables, notebooks and their provenance are in {keep(design).name}/"
    copied = update_readings(design)
    return f"{len(copied)} executed notebooks and the figures are in notebooks/executed/ and figures/"


if __name__ == "__main__":
    sys.exit(main())
