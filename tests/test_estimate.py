"""Estimates: sizes that the models themselves tell, rules with known answers, and what is said of a design."""

import collections
import copy
import dataclasses
import json
import math

import numpy as np
import pytest
from conftest import PROJECT

from benchmarks.costs import changed
from helpers.corpus import open_source
from helpers.corpus.extent import Extent, extent
from helpers.costs import FILE, Costs, measured
from helpers.design import load_design
from helpers.design_parts import FamilySettings
from helpers.estimate import digits, main
from helpers.model_size import model_size
from helpers.models import create
from helpers.stages import Piece, pieces, runs_of, work_of
from helpers.work import GPU_PEAK, GPU_SHARE, Work, axis_heads, conditions, curves, kind_of, side_by_side, step_memory

FAMILIES = ("scvi", "ssl", "geneformer", "scimilarity")
STEP, NUMBER, FLOP = 2e-3, 3e-8, 4e-11  # seconds that the made-up costs below are made of
CELLS = Extent(corpus=1000, validation=50, judged={"same": 40, "other": 60}, genes=500, all_genes=2000, nonzeros=100.0)


def sized(preset: str, genes: int, **settings):
    return model_size(FamilySettings(family="ssl", preset=preset, settings=settings), 1.0, genes)


def made_up() -> Costs:
    """Costs that follow their rule exactly: what it tells of other sizes is then known."""
    models = []
    for preset, genes, batch in (("demo", 500, 64), ("demo", 4000, 64), ("paper", 4000, 1024)):
        size = sized(preset, genes)
        per_cell = NUMBER * size.batch_values + FLOP * size.flops
        row = {"family": "ssl", "preset": preset, "genes": genes, "width": 1.0, "batch": batch}
        row |= {
            "settings": {"batch_size": batch},
            "train": STEP / batch + per_cell,
            "embed": 0.1 * per_cell,
            "loss": 0.5 * per_cell,
            "controls": per_cell,
        }
        # a step that needs five batches beside 100 MB and the weights
        row |= {"feed": 1e-6, "fit": 0.3, "peak_mb": 100 + (5 * 4 * batch * genes + 20 * size.parameters) / 1e6}
        models.append(row)
    judging = [
        *({"task": "classification", "cells": n, "seconds": (n / 1000) ** 1.5} for n in (1000, 4000)),
        *({"task": "finetuning", "cells": n, "seconds": 2.0} for n in (1000, 4000)),
        {"task": "full", "cells": 400, "epochs": 3.0},
        {"task": "perturbation", "cells": 900, "genes": 2000, "seconds": 0.1},
    ]
    corpus = {"nonzeros": 50.0, "read": 1e-4, "split": 1e-4, "components": 1e-4, "vendi": 1e-3, "draw": 1e-6}
    corpus |= {"sketch": 1e-6, "position_bytes": 0.5}
    own = {
        "seconds": 3.0,
        "memory_mb": 200.0,
        "per_curve": 0.5,
        "per_judged": 0.01,
        "first": 7.0,
        "bytes_per_judged": 8.0,
    }
    return Costs(tuple(models), tuple(judging), corpus, dict.fromkeys(measured().notebooks, own), {"cpu": "none"})


@pytest.fixture
def design(write_design, small_design):
    """Two seeds at 50 and 100 % of the corpus with a small SSL, ten epochs each."""
    small_design["families"] = {"ssl": {"preset": "demo", "settings": {"validations": 4}}}
    return load_design(write_design(small_design | {"budget": {"kind": "epochs", "amount": 10}}))


@pytest.mark.parametrize("width", [1.0, 0.25, 2.0])
@pytest.mark.parametrize("preset", ["demo", "paper"])
@pytest.mark.parametrize("family", ["pca", *FAMILIES])
def test_sizes_are_those_that_the_models_tell(family, preset, width):
    settings = {"n_layers": 3} if family in ("scvi", "geneformer") and width == 2 else {}
    size = model_size(FamilySettings(family=family, preset=preset, settings=settings), width, 3000)
    model = create(family, n_genes=3000, preset=preset, width=width, **settings)
    assert size.parameters == model.n_parameters["total"]
    if family == "pca":
        assert size.n_latent == model.n_components
        return
    model.module = model._blank_module()
    model._lengths = np.array([getattr(size.settings, "max_tokens", 0)])  # all cells fill their tokens
    assert size.flops == pytest.approx(model._flops_per_view(), rel=1e-12)
    assert size.settings == model.settings


def test_a_family_of_ones_own_has_no_size(monkeypatch):
    assert model_size(FamilySettings(family="own"), 1.0, 100) is None


def test_seconds_of_a_cell_follow_step_numbers_and_flops():
    costs = made_up()
    size = sized("paper", 19_331, batch_size=256)
    expected = STEP / 256 + NUMBER * 19_331 + FLOP * size.flops
    assert costs.seconds("ssl", "train", size) == pytest.approx(expected, rel=1e-6)
    assert costs.seconds("ssl", "loss", size) == pytest.approx(0.5 * (expected - STEP / 256), rel=1e-6)
    assert costs.off("train") == pytest.approx(0, abs=1e-6)


def test_a_family_that_was_not_measured_costs_as_the_dearest():
    size = sized("demo", 2000)
    dearest = max(measured().seconds(family, "train", size) for family in FAMILIES)
    assert measured().seconds("own", "train", size) == dearest


def test_evaluations_follow_a_power_of_the_cells():
    costs = made_up()
    for n in (100, 1000, 2000, 4000, 64_000):
        assert costs.judged("classification", n) == pytest.approx((n / 1000) ** 1.5)
    assert costs.judged("finetuning", 100_000) == pytest.approx(2.0)
    assert costs.judged("perturbation", 1800) == pytest.approx(0.2), "one measured point: in proportion"


def test_batches_are_what_memory_needed_beside_weights():
    assert made_up().batches("ssl") == pytest.approx(5)
    size = sized("paper", 19_331)
    gigabytes = (5 * 4 * 8192 * 19_331 + 20 * 20_767_683) / 1e9
    assert step_memory("ssl", size, made_up()) / 1e9 == pytest.approx(gigabytes)


def test_a_training_costs_its_views_and_validations(design):
    piece, costs = Piece("20_pretrain", "ssl", 1.0, "random"), made_up()
    size = sized("demo", 500, validations=4)
    told = work_of(design, piece, CELLS, costs)
    views, validated = 2 * 10 * (500 + 1000), 4 * 50 * 5
    expected = views * costs.seconds("ssl", "train", size) + validated * costs.seconds("ssl", "loss", size)
    once = 3 + 0.5 * curves(design) + 0.01 * 100 + 4 * 0.3
    assert told.seconds == pytest.approx(expected + once)
    assert told.on_gpu == pytest.approx(expected)
    fed = 1e-6  # dearer than the products of so small a model
    assert size.flops / (GPU_PEAK * GPU_SHARE) < fed
    assert told.gpu == pytest.approx((views + validated) * fed)
    steps = 2 * (math.ceil(5000 / 64) + math.ceil(10_000 / 64))
    assert told.disk == pytest.approx(100e3 + 4 * 4 * size.parameters + 20 * steps)
    assert told.memory == pytest.approx(200e6 + 3 * 1000 * 100 * 8 + 1000 * 280 + step_memory("ssl", size, costs))


def test_an_untrained_model_is_not_trained(design):
    told = work_of(design, Piece("20_pretrain", "ssl", 1.0, "untrained"), CELLS, made_up())
    size = sized("demo", 500, validations=4)
    judged = 2 * 50 * made_up().seconds("ssl", "loss", size)
    assert told.seconds == pytest.approx(3 + 0.5 * curves(design) + 1 + 2 * 0.3 + judged)


def test_large_models_take_a_gpu_as_long_as_their_products():
    piece = Piece("20_pretrain", "ssl", 1.0, "random")
    large = load_design("params/paper.yaml")
    cells = dataclasses.replace(CELLS, genes=19_331, judged=dict.fromkeys(large.evaluation_sets, 10))
    told = work_of(large, piece, cells, made_up())
    views = 30 * 958_464_000
    assert told.gpu >= views * sized("paper", 19_331).flops / (GPU_PEAK * GPU_SHARE)


def test_judging_costs_cells_heads_and_what_is_selected(write_design, small_design):
    judging = small_design["evaluations"] | {"finetuning": {"few_shot": [5], "runs": {"seeds": [0]}}}
    design = load_design(write_design(small_design | {"evaluations": judging}))
    chunk = ("pca", 1.0, "random")
    own = 3 + 0.5 * curves(design) + 1
    told = work_of(design, Piece("30_classify", *chunk), CELLS, made_up())
    assert told.seconds == pytest.approx(own + 4 * (0.04**1.5 + 0.06**1.5))
    assert told.disk == pytest.approx(100e3 + 4 * 100 * 8)
    told = work_of(design, Piece("31_finetune", *chunk), CELLS, made_up())
    assert told.seconds == pytest.approx(own + 2 * 2 * 2 * 2.0)  # seed 0 at two sizes, two heads, two sets, 2 s


def test_fine_tuning_with_the_encoder_costs_its_passes_for_selected_runs(write_design, small_design):
    small_design["families"] = {"ssl": {"preset": "demo"}}
    judging = small_design["evaluations"] | {"finetuning": {"few_shot": [], "full": {"seeds": [1]}}}
    design, costs = load_design(write_design(small_design | {"evaluations": judging})), made_up()
    told = work_of(design, Piece("31_finetune", "ssl", 1.0, "random"), CELLS, costs)
    size, views = sized("demo", 500), 2 * 3.0 * 50  # two runs, three epochs, half of 100 cells
    passes = views * (costs.seconds("ssl", "train", size) + 2 * costs.seconds("ssl", "embed", size))
    assert told.on_gpu == pytest.approx(passes)
    assert told.seconds == pytest.approx(passes + 3 + 0.5 * curves(design) + 1 + 4 * 2 * 2.0)


def test_curves_conditions_and_axes_are_counted(write_design, demo):
    design = load_design(write_design(demo))
    # 2 families × 3 samplings × (5 sets and a transfer, 5 sets, 3, 4 and 5)
    assert curves(design) == 2 * 3 * (6 + 5 + 3 + 4 + 5)
    assert sorted(map(len, conditions(design))) == [1, 1, 1, 3]
    selected = demo["evaluations"]["perturbation"]["axes"]
    n_runs = sum(design.evaluations.response_axes.runs.holds(run) for run in design.runs())
    draws = selected["repeats"] * (len(selected["treated"]) + len(selected["contexts"]))
    assert axis_heads(design) == (2 + n_runs) * draws * 4


def test_work_adds_up_and_side_by_side_the_largest_memory_counts():
    one, two = Work(1, 2, 3, 4, 5), Work(10, 20, 30, 40, 50)
    assert one + two == Work(11, 22, 33, 44, 55)
    assert side_by_side([one, two]) == Work(11, 22, 33, 44, 50)
    assert side_by_side([]) == Work()


def test_extent_counts_cells_by_role(design):
    told = extent(design, open_source(design))
    # of 60 held-out candidates 6 validate and 18 judge, 96 of 120 teach; all 60 genes are seen
    assert (told.corpus, told.validation, dict(told.judged)) == (96, 6, {"same": 18, "other": 60})
    assert (told.genes, told.all_genes, told.n_judged) == (60, 60, 78)
    assert 30 < told.nonzeros <= 60


def test_every_piece_of_every_design_has_an_estimate():
    for name in ("smoke", "demo", "families", "axes", "axes_simulated", "scaling", "study"):
        design = load_design(f"params/{name}.yaml")
        cells = extent(design, open_source(design))
        for piece in pieces(design):
            told = work_of(design, piece, cells)
            assert 0 < told.seconds < np.inf, (name, piece)
            assert told.memory > 1e8
            assert told.on_gpu <= told.seconds


def test_more_cells_genes_and_runs_never_cost_less():
    design = load_design("params/demo.yaml")
    small = extent(design, open_source(design))
    for change in ({"corpus": 10 * small.corpus}, {"genes": 8000}, {"nonzeros": 5000.0}):
        large = dataclasses.replace(small, **change)
        for piece in pieces(design):
            before, after = (work_of(design, piece, cells) for cells in (small, large))
            assert after.seconds >= before.seconds * (1 - 1e-9), (change, piece)
            assert after.memory >= before.memory * (1 - 1e-9), (change, piece)


def test_the_table_of_costs_is_whole_and_its_rule_near_what_was_measured():
    content, costs = json.loads(FILE.read_text()), measured()
    assert {row["family"] for row in content["models"]} == {"pca", *FAMILIES}
    for family in FAMILIES:
        assert any(
            row["genes"] == 19_331 and row["preset"] == "paper" for row in content["models"] if row["family"] == family
        )
    assert costs.off("train") < 0.4
    for what in ("embed", "loss", "controls", "feed"):  # a smaller part of any design
        assert costs.off(what) < 1, what
    design = load_design("params/demo.yaml")
    assert {kind_of(piece) for piece in pieces(design)} == set(costs.notebooks)
    assert content["environment"]["cpu"]


def test_the_estimate_is_near_what_the_study_took():
    design, stamps = load_design("params/study.yaml"), json.loads((PROJECT / "study" / "provenance.json").read_text())
    cells, told, took = extent(design, open_source(design)), collections.Counter(), collections.Counter()
    run = stamps["20_pretrain--pca--random"]["git_revision"]  # others were executed anew from kept tables
    for piece in [piece for piece in pieces(design) if stamps[piece.name]["git_revision"] == run]:
        told[piece.stage] += work_of(design, piece, cells).seconds
        took[piece.stage] += stamps[piece.name]["cpu_seconds"]
    long = {stage for stage, seconds in took.items() if seconds > 30}
    assert long >= {"20_pretrain", "25_embed", "30_classify", "31_finetune", "32_integrate", "33_perturb"}
    assert len(long) > 7
    assert all(1 / 2 < told[stage] / took[stage] < 2 for stage in long), {one: told[one] / took[one] for one in long}
    assert 0.8 < told.total() / took.total() < 1.25


def test_every_kind_of_notebook_was_measured():
    table = json.loads(FILE.read_text())
    assert len({json.dumps(row) for row in table["notebooks"].values()}) == len(table["notebooks"])
    assert table["environment"]["git_revision"]


def test_costs_of_before_and_after_are_compared_row_by_row():
    table = json.loads(FILE.read_text())
    table["judging"] = [row for row in table["judging"] if row["task"] != "axes"] + [{"task": "axes", "seconds": 2.0}]
    later = copy.deepcopy(table)
    later["judging"][-1]["seconds"] = 5.0
    ratios = changed(table, later)
    assert {name: ratio for name, ratio in ratios.items() if ratio != 1} == {"axes ": 2.5}
    assert len(ratios) > 50


def test_runs_of_a_piece_are_those_that_it_judges(write_design, demo):
    design = load_design(write_design(demo))
    assert len(runs_of(design, Piece("10_subset", strategy="random"))) == 27
    chosen = demo["evaluations"]["finetuning"]["runs"]["percentages"]
    runs = runs_of(design, Piece("31_finetune", "pca", 1.0, "random"))
    assert {run.percentage for run in runs} == set(chosen) - {0}
    assert len(runs) == 3 * len(set(chosen) - {0}) < 27
    assert runs_of(design, Piece("31_finetune", "baselines", 1.0, "none")) == []
    assert runs_of(design, Piece("50_collect")) == []


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0, "–"),
        (0.0001, "<0.01"),
        (0.0123, "0.012"),
        (1.26, "1.3"),
        (9.96, "10"),
        (12_345, "12,000"),
        (3.456e6, "3,500,000"),
    ],
)
def test_no_more_digits_than_two(value, told):
    assert digits(value) == told


def test_the_study_can_be_estimated_for_the_corpus_it_is_meant_for(capsys):
    given = ["--estimate", "--cells", "22189056", "--genes", "19,331", "--judged", "50000"]
    assert main(["params/paper.yaml", *given]) == 0
    told = capsys.readouterr().out
    assert "a corpus of 22,189,056 cells, of which models see 19,331 genes" in told
    assert "ssl-w1: 8,192 cells × 19,331 numbers × 4 bytes × " in told
    assert "50,000 cells are assumed for each set (--judged): hematopoiesis, intestine" in told
    assert "nothing was measured on one: FLOPs / (312 TFLOP/s × 10%)" in told
    assert "python -m benchmarks.costs --write" in told
    rows = {tuple(line.split()[:2]): line.split() for line in told.splitlines() if line.startswith(" ")}
    for family in FAMILIES:
        assert rows["20_pretrain", family][2] == "85"
    hours = {family: float(rows["20_pretrain", family][4].replace(",", "")) for family in FAMILIES}
    assert hours["geneformer"] > 10 * hours["scvi"] > 0
    # 80 models of 66,567,168 views of 1.24e11 FLOPs at 31.2e12 a second are 5,900 hours, validation comes on top
    assert 5_900 <= hours["geneformer"] < 8_000


def test_options_of_another_corpus_go_with_the_estimate(capsys):
    wrong = {
        "--cells goes with --estimate": ["--cells", "10"],
        "'0': a whole number, 1 or more, is needed": ["--estimate", "--cells", "0"],
        "'many': a whole number, 1 or more, is needed": ["--estimate", "--genes", "many"],
    }
    for told, given in wrong.items():
        with pytest.raises(SystemExit) as caught:
            main(["params/demo.yaml", *given])
        assert caught.value.code == 2
        assert told in capsys.readouterr().err


def test_the_estimate_of_a_checked_design_names_its_stages(write_design, demo, capsys):
    assert main([str(write_design(demo)), "--estimate"]) == 0
    told = capsys.readouterr().out
    for stage in ("00_corpus", "20_pretrain", "33_perturb", "63_response_axes", "90_figures"):
        assert f"{stage} " in told
    assert "core hours; or" in told
