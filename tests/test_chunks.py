"""Models taken together by strategy, percentage or seed: other notebooks, the same artifacts; what a job asks for."""

from pathlib import Path

import nbformat
import pandas as pd
import pytest
from conftest import copy_project, run_workflow

from helpers import needs, stages
from helpers.corpus.extent import Extent
from helpers.costs import measured
from helpers.design import DesignError, load_design
from helpers.stages import CHUNKS, Piece
from helpers.work import Work

CELLS = Extent(corpus=5655, validation=300, judged={"pbmc3k": 2700}, genes=2000, all_genes=11414, nonzeros=600.0)


@pytest.fixture
def design(demo, write_design):
    """Two strategies, of which one has a size less, and other seeds at 1 %."""
    few = {"strategies": ["random", "celltype_reweighted"], "percentages": [1.0, 10.0, 100.0], "seeds": [0, 1]}
    return load_design(write_design(demo | few | {"seeds_by_size": {1.0: [7, 8]}}))


def own(pieces: list[Piece], *start: str) -> list[str]:
    return [piece.name for piece in pieces if piece.name.startswith("--".join(start))]


def test_a_notebook_is_for_a_strategy_a_percentage_or_a_seed_of_it(design):
    by_strategy, by_percentage, by_seed = (stages.pieces(design, chunk) for chunk in CHUNKS)
    name = "20_pretrain--scvi--random"
    assert own(by_strategy, name) == [name]
    assert own(by_percentage, name) == [f"{name}--p001.0", f"{name}--p010.0", f"{name}--p100.0"]
    assert own(by_seed, name) == [f"{name}--s00", f"{name}--s01", f"{name}--s07", f"{name}--s08"]
    assert own(by_percentage, "25_embed--pca--celltype_reweighted") == [
        "25_embed--pca--celltype_reweighted--p001.0",
        "25_embed--pca--celltype_reweighted--p010.0",
    ]
    for pieces in (by_strategy, by_percentage, by_seed):
        assert own(pieces, "34_heldout_loss--pca--untrained") == ["34_heldout_loss--pca--untrained"]
        assert len({piece.name for piece in pieces}) == len(pieces)


def test_its_parameters_choose_these_models():
    chosen = {"family": "scvi", "width": 2.0, "strategy": "random"}
    of_size = Piece("20_pretrain", "scvi", 2.0, "random", percentages=(10.0,))
    assert of_size.parameters == chosen | {"percentages": [10.0]}
    assert of_size.name == "20_pretrain--scvi-w2--random--p010.0"
    assert Piece("20_pretrain", "scvi", 2.0, "random", seeds=(5,)).parameters == chosen | {"seeds": [5]}
    assert Piece("20_pretrain", "scvi", 2.0, "random").parameters == chosen


def test_the_same_artifacts_are_made_once_each_in_every_way(design, tmp_path):
    made = {}
    for chunk in CHUNKS:
        names = [name for piece in stages.pieces(design, chunk) for name in stages.outputs(design, piece, tmp_path)]
        assert len(names) == len(set(names))
        made[chunk] = set(names)
    assert made["percentage"] == made["seed"] == made["strategy"]


@pytest.mark.parametrize("chunk", CHUNKS)
def test_what_a_piece_reads_is_made_by_the_pieces_before_it(design, chunk):
    known = stages.pieces(design, chunk)
    for number, piece in enumerate(known):
        before = {*known[:number], *(other for other in known if other.strategy in ("none", "untrained"))}
        assert set(stages.upstream(design, piece, chunk)) <= before
    judging = [piece for piece in known if piece.stage[:2] in ("30", "31", "32", "33", "34")]
    collect = stages.upstream(design, Piece("50_collect"), chunk)
    assert set(collect) == {Piece("15_diversity"), *judging}
    axes = stages.upstream(design, Piece("63_response_axes"), chunk)
    assert {piece.stage for piece in axes} == {"25_embed", "33_perturb"}


def test_a_size_waits_for_no_other_size(design):
    size = ("scvi", 1.0, "random", (10.0,))
    assert stages.upstream(design, Piece("25_embed", *size), "percentage") == [Piece("20_pretrain", *size)]
    assert stages.upstream(design, Piece("34_heldout_loss", *size), "percentage") == [
        Piece("20_pretrain", *size),
        Piece("34_heldout_loss", "scvi", 1.0, "untrained"),
    ]


def test_encoders_of_the_response_axes_are_those_of_their_sizes_alone(demo, write_design):
    axes = {
        "treated": [10, 100],
        "contexts": [1, 2],
        "repeats": 2,
        "runs": {"families": ["pca"], "percentages": [100.0]},
    }
    perturbation = demo["evaluations"]["perturbation"] | {"axes": axes}
    design = load_design(write_design(demo | {"evaluations": demo["evaluations"] | {"perturbation": perturbation}}))
    lent = stages.upstream(design, Piece("63_response_axes"), "percentage")
    assert [piece.name for piece in lent] == ["25_embed--pca--random--p100.0", "33_perturb--baselines--none"]


def test_another_way_is_refused(design):
    with pytest.raises(DesignError, match=r"chunk = 'size': models are taken together by strategy, percentage, seed"):
        stages.pieces(design, "size")


def test_the_parts_of_a_piece_take_as_long_as_the_whole_but_for_a_notebook_each(design):
    def seconds(*chosen) -> float:
        return stages.work_of(design, Piece("20_pretrain", "scvi", 1.0, *chosen), CELLS).seconds

    notebook = measured().notebooks["20_pretrain"]["seconds"]
    parts = [seconds("random", (size,)) - notebook for size in (1.0, 10.0, 100.0)]
    assert sum(parts) == pytest.approx(seconds("random") - notebook, rel=0.02)


def test_other_models_in_a_notebook_are_another_piece_of_work(design):
    stamps = {piece.name: stages.stamp(design, piece) for piece in stages.pieces(design, "percentage")}
    assert len({stamps[name] for name in own(stages.pieces(design, "percentage"), "20_pretrain")}) == len(
        own(stages.pieces(design, "percentage"), "20_pretrain")
    )


def test_a_harmed_model_is_made_again_by_the_notebook_of_its_size(small_design, write_design, tmp_path):
    design = load_design(write_design(small_design))
    root = tmp_path / "results"
    (root / "notebooks").mkdir(parents=True)
    for size in ("p050.0", "p100.0"):
        (root / "notebooks" / f"20_pretrain--pca--random--{size}.ipynb").touch()
    lines = stages.repair(design, root, "percentage")
    assert (
        f"{root}/models/pca-w1/random/p050.0/s00 is missing: 20_pretrain--pca--random--p050.0 makes it again" in lines
    )
    assert len(lines) == 4
    assert not list((root / "notebooks").iterdir())


def test_a_job_asks_for_more_than_its_notebook_is_expected_to_take():
    work = Work(seconds=600, memory=2e9)
    assert needs.memory_mb(work) == 3900  # 1.5 × (2,000 MB and 600 MB beside it)
    assert needs.minutes(work) == 50  # 10, and 4 × 10
    assert needs.minutes(Work()) == 10


def test_gpus_are_for_what_computes_with_a_network(design):
    asked = {piece.name.rsplit("--", 1)[0] for piece in stages.pieces(design) if needs.on_gpu(design, piece)}
    assert asked == {f"{stage}--scvi" for stage in ("20_pretrain", "25_embed", "31_finetune", "34_heldout_loss")}


@pytest.fixture(scope="module")
def project(tmp_path_factory, small_chain_design) -> Path:
    """A copy of the project whose design has run, a seed to a notebook."""
    root = copy_project(tmp_path_factory.mktemp("chunks"))
    small_chain_design(root, families={"scvi": {"preset": "demo"}})
    done = run_workflow("params/small.yaml", "results/small", root, options=["chunk=seed"])
    assert done.returncode == 0, done.stderr
    return root


@pytest.mark.chain
def test_models_taken_together_otherwise_are_the_same_models(project):
    results = project / "results" / "small"
    table = pd.read_parquet(results / "results.parquet")
    made = {path: path.stat().st_mtime_ns for path in results.rglob(".*.record.json")}
    notebooks = {path.stem for path in (results / "notebooks").glob("*.ipynb")}
    assert {"20_pretrain--scvi--random--s00", "30_classify--scvi--random--s01", "50_collect"} <= notebooks
    done = run_workflow("params/small.yaml", "results/small", project, options=["--until", "collect"])
    assert done.returncode == 0, done.stderr
    after = {path: path.stat().st_mtime_ns for path in results.rglob(".*.record.json")}
    assert after == made, "every artifact is what it would have been"
    pd.testing.assert_frame_equal(pd.read_parquet(results / "results.parquet"), table)


@pytest.mark.chain
def test_notebooks_of_one_seed_tell_what_they_can_without_warnings(project):
    for path in (project / "results" / "small" / "notebooks").glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        told = [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
        assert not told, f"{path.name}: {told}"
        assert "nan" not in notebook.cells[0].source, path.name
