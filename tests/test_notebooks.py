"""Pairs, reading copies, and what makes a notebook run again."""

import copy
import json
import re
import shutil
from pathlib import Path

import nbformat
import opening
import pytest
import yaml
from conftest import copy_project

from helpers import notebooks, stages, status, store
from helpers.design import load_design
from helpers.design_evaluations import TASKS
from helpers.provenance import checksum, module_closure, notebook_hash, notebook_source, read_notebook
from helpers.run import declared_parameters

PROJECT = Path(__file__).resolve().parents[1]
SOURCES = sorted((PROJECT / "notebooks").glob("[0-9]*.py"))
EXECUTED = sorted((PROJECT / "notebooks" / "executed").glob("*.ipynb"))
CHOICE = ["design", "results", "family", "width", "strategy", "percentages", "seeds"]


def test_pairs_have_the_same_cells_and_no_outputs():
    assert notebooks.differences() == []


def test_a_pair_that_differs_is_told(tmp_path, monkeypatch):
    shutil.copytree(PROJECT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns("executed"))
    (tmp_path / "params").mkdir()
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "notebooks" / "10_subset.py"
    source.write_text(source.read_text() + "\n# %%\nx = 1\n")
    (tmp_path / "notebooks" / "05_split.ipynb").unlink()
    (tmp_path / "notebooks" / "99_lone.ipynb").write_text(nbformat.writes(nbformat.v4.new_notebook()))
    told = notebooks.differences()
    assert told == [
        "05_split.ipynb is missing",
        "10_subset.ipynb has other cells than 10_subset.py",
        "99_lone.ipynb has no 99_lone.py",
    ]
    assert [path.name for path in notebooks.pair()] == ["05_split.ipynb", "10_subset.ipynb"]
    assert notebooks.differences() == ["99_lone.ipynb has no 99_lone.py"]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_notebooks_read_well(source):
    notebook = read_notebook(source)
    first = notebook.cells[0].source
    assert re.fullmatch(r"# \d\d · .*\?", first.splitlines()[0]), "opens with its question"
    assert "**Finding.**" in first
    assert "**Method.**" in first
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(len(cell.source.splitlines()) <= 22 for cell in code), "a long cell belongs to a helper"
    assert any("finding(" in cell.source for cell in code)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_stages_take_the_parameters_of_the_contract(source):
    declared = list(declared_parameters(read_notebook(source)))
    number = int(source.stem[:2])
    own = {10: ["design", "results", "strategy"], 70: ["folder", "results"], 80: ["results", "repeats"]}
    assert declared == own.get(number, CHOICE if 20 <= number <= 34 else CHOICE[:2])


@pytest.mark.parametrize("path", EXECUTED, ids=lambda path: path.stem)
def test_reading_copies_are_fresh_whole_and_small(path):
    assert notebooks.stale(path) is None
    assert path.stat().st_size < notebooks.MAX_BYTES
    cells = read_notebook(path).cells
    assert "Written from the numbers" not in cells[0].source, "the finding stands under the question"
    opening.check(read_notebook(path), path.stem)
    assert not re.search(r"/(home|work|root|tmp|Users)/", path.read_text()), "a path of some machine stands in it"


def test_every_stage_has_a_reading_copy():
    names = {piece.name for piece in stages.pieces(load_design("params/demo.yaml"))}
    assert {path.stem for path in EXECUTED} == names | {notebooks.CONTROLS.stem}


@pytest.fixture
def finished(tmp_path, monkeypatch, small_chain_design) -> Path:
    """Results of the small design in a project, as far as they are kept."""
    root = copy_project(tmp_path / "project")
    design = load_design(root / small_chain_design(root))
    results = root / "results" / design.name
    for name in ("results.parquet", "scaling/laws.parquet", "split.parquet", "figures/one.svg", "figures/.one.svg.x"):
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        (results / name).write_text(name)
    status.write(results, {"state": "finished", "per_cent_of_time": {"training": 40.5}})
    (results / "notebooks").mkdir()
    for piece in stages.pieces(design):
        notebook = read_notebook(root / "notebooks" / f"{piece.stage}.py")
        source = f"notebooks/{piece.stage}.py"
        stamp = {"notebook": source, "source_sha256": notebook_hash(notebook_source(piece.stage)), "seconds": 1.5}
        notebook.metadata["cellscale"] = stamp
        (results / "notebooks" / f"{piece.name}.ipynb").write_text(nbformat.writes(notebook))
    monkeypatch.chdir(root)
    return results


def test_results_of_a_design_are_kept_with_their_provenance(finished, capsys):
    assert notebooks.main(["keep", "params/small.yaml"]) == 0
    assert "in small/" in capsys.readouterr().out
    kept = finished.parents[1] / "small"
    files = {path.relative_to(kept).as_posix() for path in kept.rglob("*") if path.is_file()}
    tables = {"tables/results.parquet", "tables/scaling_laws.parquet", "tables/records.json"}
    assert {name for name in files if "notebooks/" not in name} == tables | {
        "figures/one.svg",
        "provenance.json",
        "status",
    }
    assert yaml.safe_load((kept / "status").read_text()).keys() == {"state", "per_cent_of_time", "updated"}
    assert "notebooks/60_saturation.ipynb" in files
    assert not [name for name in files if "20_pretrain" in name]
    stamps = json.loads((kept / "provenance.json").read_text())
    assert stamps["20_pretrain--pca--random"]["seconds"] == 1.5
    assert stamps.keys() == {path.stem for path in (finished / "notebooks").iterdir()}


def test_kept_tables_are_drawn_from_where_there_are_no_results(finished, capsys):
    root, design = finished.parents[1], "params/small.yaml"
    for name in ("results.parquet", "scaling"):
        record = {"key": "k", "sha256": checksum(finished / name), "stage": "50_collect", "seconds": 1.0}
        store.record_path(finished / name).write_text(json.dumps(record))
    assert notebooks.main(["keep", design]) == 0
    before = {path.stem: path.read_bytes() for path in (root / "small" / "notebooks").iterdir()}
    assert not notebooks.restore(Path(design)), "results that are there stay"
    shutil.rmtree(finished)
    (root / "small").rename(root / "elsewhere")
    assert notebooks.main(["restore", design]) == 1
    assert "results/small holds no results, and none are kept: run make demo DESIGN=params/small.yaml first" in (
        capsys.readouterr().err
    )
    (root / "elsewhere").rename(root / "small")
    assert notebooks.main(["restore", design]) == 0
    assert "kept tables are taken" in capsys.readouterr().out
    kept = store.Store(load_design(design), finished, "90_figures")
    assert kept.read("results.parquet").read_text() == "results.parquet"
    assert [path.name for path in kept.read("scaling").iterdir()] == ["laws.parquet"]
    assert not kept.has("split.parquet")
    assert not kept.artifact("results.parquet").fresh, "what made it is asked for by the next run as ever"
    assert kept.artifact("scaling", inputs=["results.parquet", "split.parquet"]).fresh, "nothing here can make it"
    assert not kept.artifact("scaling", inputs=["results.parquet"]).fresh
    (root / "small" / "tables" / "results.parquet").write_text("harmed")
    shutil.rmtree(finished)
    assert notebooks.restore(Path(design))
    with pytest.raises(store.CorruptArtifactError):
        store.Store(load_design(design), finished, "90_figures").read("results.parquet")
    assert notebooks.main(["redraw", design]) == 1
    assert "90_figures.ipynb was not executed, or small/ is not there: run make figures" in capsys.readouterr().err
    (finished / "figures").mkdir()
    (finished / "figures" / "two.svg").write_text("new")
    (finished / "notebooks").mkdir()
    for name in ("90_figures", "61_scaling_laws"):
        notebook = nbformat.reads(before[name].decode(), 4)
        notebook.metadata["cellscale"]["seconds"] = 99
        (finished / "notebooks" / f"{name}.ipynb").write_text(nbformat.writes(notebook))
    (finished / "scaling" / "laws.parquet").write_text("anew")
    assert notebooks.main(["redraw", design]) == 1
    assert "results.parquet: kept, and not among the results in small/" in capsys.readouterr().err
    (finished / "results.parquet").write_text("results.parquet")
    store.record_path(finished / "results.parquet").write_text(json.dumps(record))
    assert notebooks.main(["redraw", design]) == 0
    assert (root / "small" / "tables" / "scaling_laws.parquet").read_text() == "anew"
    records = json.loads((root / "small" / "tables" / "records.json").read_text())
    assert records["scaling"] == record
    assert records.keys() == {"results.parquet", "scaling"}
    assert [path.name for path in (root / "small" / "figures").iterdir()] == ["two.svg"]
    stamps = json.loads((root / "small" / "provenance.json").read_text())
    told = [stamps[name]["seconds"] for name in ("90_figures", "61_scaling_laws", "60_saturation", "50_collect")]
    assert told == [99, 99, 1.5, 1.5]
    after = {path.stem: path.read_bytes() for path in (root / "small" / "notebooks").iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"90_figures", "61_scaling_laws"}


def test_results_are_not_kept_in_place_of_something_else(finished, capsys):
    other = finished.parents[1] / "small"
    other.mkdir()
    (other / "mine.py").write_text("kept")
    assert notebooks.main(["keep", "params/small.yaml"]) == 1
    assert (
        "small/ holds something else than a design's results: give the design another name" in capsys.readouterr().err
    )
    assert (other / "mine.py").read_text() == "kept"


def test_results_are_not_kept_unless_all_notebooks_were_executed(finished, capsys):
    (finished / "notebooks" / "50_collect.ipynb").unlink()
    assert notebooks.main(["keep", "params/small.yaml"]) == 1
    assert "50_collect.ipynb was not executed: run make demo DESIGN=params/small.yaml" in capsys.readouterr().err
    assert not (finished.parents[1] / "small").exists()


def stamps(values: dict, write_design) -> dict[str, str]:
    design = load_design(write_design(values))
    return {piece.name: stages.stamp(design, piece) for piece in stages.pieces(design)}


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"evaluations": {"classification": {"n_neighbors": 7}}}, {"30_classify"}),
        ({"seeds": [0, 1]}, {"10_subset", "15_diversity", "20_pretrain", "25_embed", *TASKS}),
        ({"budget": {"kind": "cell_views", "amount": 50}}, {"20_pretrain"}),
        ({"corpus": {"genes": 1000}}, {"00_corpus", "05_split"}),
    ],
)
def test_a_changed_design_runs_again_what_reads_the_change(demo, write_design, change, again):
    changed = copy.deepcopy(demo)
    for key, value in change.items():
        changed[key] = demo[key] | value if isinstance(value, dict) else value
    if "evaluations" in change:
        changed["evaluations"]["classification"] = demo["evaluations"]["classification"] | {"n_neighbors": 7}
    before, after = stamps(demo, write_design), stamps(changed, write_design)
    differing = {name.split("--")[0] for name in before if before[name] != after[name]}
    assert differing & set(stages.READS) == again  # stages that read the whole design are no part of it


def test_a_further_setting_of_one_family_concerns_that_family_alone(demo, write_design):
    changed = copy.deepcopy(demo)
    changed["families"]["scvi"]["preset"] = "paper"
    before, after = stamps(demo, write_design), stamps(changed, write_design)
    differing = {name for name in before if before[name] != after[name] and name.split("--")[0] in stages.READS}
    assert differing == {name for name in before if "--scvi--" in name}


def test_another_order_of_samplings_moves_the_one_umap_of_a_family(demo, write_design):
    names = ["random", "celltype_reweighted"]
    before, after = (stamps(demo | {"strategies": order}, write_design) for order in (names, names[::-1]))
    differing = {name for name in before if before[name] != after[name] and name.startswith("25_embed")}
    assert differing == {f"25_embed--{family}--{name}" for family in demo["families"] for name in names}


def test_everything_upstream_is_a_piece_of_the_design(demo, write_design, tmp_path):
    design = load_design(write_design(demo))
    known = stages.pieces(design)
    for piece in known:
        assert set(stages.upstream(design, piece)) <= set(known)
    made = [name for piece in known for name in stages.outputs(design, piece, tmp_path)]
    assert len(made) == len(set(made)), "every artifact has one maker"


def test_another_corpus_file_under_the_same_name_is_read_again(small_design, write_design, small_cells):
    before = stamps(small_design, write_design)["00_corpus"]
    small_cells.X = small_cells.X * 2
    small_cells.write_h5ad(small_design["corpus"]["path"])
    assert stamps(small_design, write_design)["00_corpus"] != before


def test_command_lines_do_not_count_as_code():
    assert "helpers.estimate" not in module_closure({"helpers.design"})
