"""The design file: what is accepted, what is refused and how, and the runs it expands into."""

import numpy as np
import pandas as pd
import pytest

from helpers.corpus import read_source_obs
from helpers.design import DesignError, Run, load_design
from helpers.estimate import main
from helpers.split import check_design


def classify(**settings) -> dict:
    """Evaluations of the small design with other settings of the classification."""
    task = {"min_cells": 4, "headline_min_cells": 5} | settings
    return {"evaluations": {"classification": task, "heldout_loss": {"headline": "other"}}}


def test_demo_expands_into_the_runs_of_its_grid(write_design, demo):
    design = load_design(write_design(demo))
    runs = design.runs()
    # 9 random sizes, 8 reweighted (all cells are the same cells), 3 sketched; 3 seeds; 3 untrained; two families
    assert len(runs) == 2 * (9 * 3 + 8 * 3 + 3 * 3 + 3)
    assert len({run.id for run in runs}) == len(runs)
    assert Run("scvi", 1.0, "random", 10.0, 5).id == "scvi-w1/random/p010.0/s05"
    assert Run("pca", 0.5, "random", 1.8, 0).id == "pca-w0.5/random/p001.8/s00"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"stratgies": ["random"]}, ["stratgies", "did you mean 'strategies'"]),
        ({"seed": "one"}, ["seed = 'one'", "integer"]),
        ({"percentages": [0]}, ["percentages.0 = 0", "greater than 0"]),
        ({"percentages": [101]}, ["percentages.0 = 101", "less than or equal to 100"]),
        ({"percentages": [0.25]}, ["0.25", "one decimal"]),
        ({"percentages": ["1e1"]}, ["percentages.0 = '1e1'", "write 1.0e-3"]),
        ({"percentages": [1, 1]}, ["percentages", "only once"]),
        ({"families": {"svci": {}}}, ["families", "svci", "did you mean 'scvi'"]),
        ({"families": {"pca": {"presett": "demo"}}}, ["families.pca.presett", "did you mean 'preset'"]),
        ({"strategies": ["randm"]}, ["strategies", "randm", "did you mean 'random'"]),
        ({"families": {"pca": {"budget": {"kind": "epochs", "amount": 0}}}}, ["families.pca.budget.amount = 0"]),
        (
            {"evaluations": {"classification": {}, "heldout_loss": {"headline": "pbmc"}}},
            ["headline", "pbmc", "did you mean 'pbmc3k'"],
        ),
        ({"evaluations": {"heldout_loss": {"headline": "pbmc3k"}}}, ["evaluations.classification: missing"]),
        ({"percentages": [100]}, ["leave celltype_reweighted nothing to draw"]),
        ({"families": {"pca": {"widths": [1.0, 1.0]}}}, ["families.pca.widths", "only once"]),
        (
            {"families": {"pca": {"widths": [1.0, 1.0000001]}}},
            ["families.pca.widths.1", "six digits that run ids carry"],
        ),
        ({"families": {"pca": {"widths": [float("inf")]}}}, ["families.pca.widths.0", "finite number"]),
        ({"families": {"baselines": {"family": "pca"}}}, ["families", "'baselines'", "choose another"]),
        ({"name": "../else"}, ["name", "../else"]),
        ({"budget": {"kind": "hours", "amount": 1}}, ["budget.kind = 'hours'", "'cell_views' or 'epochs'"]),
        ({"held_out": {"where": {"batch": ["kang_ctrl"]}, "validation": 0.5, "evaluation": 0.5}}, ["leaves nothing"]),
    ],
)
def test_bad_keys_and_values_are_named(write_design, demo, change, told):
    with pytest.raises(DesignError) as caught:
        load_design(write_design(demo | change))
    assert all(part in str(caught.value) for part in told), str(caught.value)


def test_missing_key_and_missing_file_are_named(write_design, demo, tmp_path):
    del demo["budget"]
    with pytest.raises(DesignError, match="budget: missing"):
        load_design(write_design(demo))
    with pytest.raises(DesignError, match=r"designs in that folder: design\.yaml"):
        load_design(tmp_path / "demo.yml")


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ({"family": "ssl"}, "family = 'ssl'"),
        ({"width": 2.0}, "width = 2.0"),
        ({"strategy": "donors"}, "strategy = 'donors'"),
        ({"percentages": [2.5]}, "percentages = 2.5"),
        ({"seeds": [7]}, "seeds = 7"),
    ],
)
def test_choices_outside_the_design_are_refused(write_design, demo, choice, told):
    design = load_design(write_design(demo))
    with pytest.raises(DesignError, match=told):
        design.select(**({"family": "pca", "width": 1.0, "strategy": "random"} | choice))


def test_a_family_may_have_a_budget_of_its_own(write_design, demo):
    demo["families"]["scvi"]["budget"] = {"kind": "epochs", "amount": 2}
    design = load_design(write_design(demo))
    assert (design.budget_of("pca").amount, design.budget_of("scvi").amount) == (40_000, 2)


def test_generators_depend_on_seed_and_name_alone(write_design, demo):
    one, two = load_design(write_design(demo)), load_design(write_design(demo | {"seed": 1}))
    draw = one.rng("subset", "a").integers(1 << 30, size=8)
    np.testing.assert_array_equal(draw, one.rng("subset", "a").integers(1 << 30, size=8))
    assert not np.array_equal(draw, one.rng("subset", "b").integers(1 << 30, size=8))
    assert not np.array_equal(draw, two.rng("subset", "a").integers(1 << 30, size=8))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"percentages": [0.1]}, "leaves 0 of"),
        ({"families": {"pca": {"settings": {"n_component": 3}}}}, "did you mean 'n_components'"),
        ({"families": {"pca": {"settings": {"n_components": -1}}}}, "greater than or equal to 1"),
        (classify(n_neighbors=50), "n_neighbors = 50, but only .* lend"),
        (classify(headline_min_cells=30), "headline_min_cells = 30, but the commonest type"),
        (
            {"evaluation_sets": {"other": {"where": {"batch": ["one_a"]}, "seen": "study unseen"}}},
            "may be learned from or validate",
        ),
        (
            {"evaluation_sets": {"other": {"where": {"dataset_id": ["pbmc"]}, "seen": "study unseen"}}},
            "'pbmc' matches no cell; there are",
        ),
        (
            {"evaluation_sets": {"other": {"where": {"study": ["two"]}, "seen": "study unseen"}}},
            "lacks the column 'study'",
        ),
    ],
)
def test_designs_that_do_not_fit_their_cells_are_refused(write_design, small_design, change, told):
    design = load_design(write_design(small_design | change))
    with pytest.raises(ValueError, match=told):
        _check(design)


def _check(design) -> int:
    return check_design(design, read_source_obs(design))


def test_an_overlap_that_is_declared_is_accepted(write_design, small_design):
    small_design["evaluation_sets"]["other"] = {"where": {"batch": ["one_a"]}, "seen": "transductive"}
    design = load_design(write_design(small_design))
    # 120 cells in the pool, of 60 held-out candidates 6 validate and 18 judge
    assert _check(design) == 96


def test_command_line_prints_runs_time_and_disk(write_design, demo, capsys):
    assert main([str(write_design(demo)), "--runs"]) == 0
    printed = capsys.readouterr().out
    assert "126 runs" in printed
    assert "GB on disk" in printed
    assert " cores and" in printed
    assert "scvi-w1/celltype_reweighted/p056.0/s02" in printed


def test_command_line_refuses_with_exit_code_2(write_design, demo, capsys):
    demo["evaluations"]["finetuning"]["runs"] = {}
    demo["evaluations"]["perturbation"].pop("axes")
    assert main([str(write_design(demo | {"percentages": [0.1]}))]) == 2
    assert "percentages = 0.1 leaves 6 of 5,655 cells" in capsys.readouterr().err


@pytest.mark.parametrize(("value", "told"), [(0.5, "not integer"), (-1.0, "negative"), (np.nan, "NaN or infinite")])
def test_command_line_refuses_cells_that_are_no_counts(write_design, small_design, small_cells, capsys, value, told):
    small_cells.X.data[0] = value
    small_cells.write_h5ad(small_design["corpus"]["path"])
    assert main([str(write_design(small_design))]) == 2
    assert told in capsys.readouterr().err


def test_missing_labels_are_refused(write_design, small_design, small_cells):
    small_cells.obs["cell_type"] = pd.Categorical([None, *small_cells.obs["cell_type"][1:]])
    small_cells.write_h5ad(small_design["corpus"]["path"])
    with pytest.raises(ValueError, match=r"obs\['cell_type'\] is missing for 1 of 240 cells"):
        read_source_obs(load_design(write_design(small_design)))


@pytest.mark.parametrize(
    ("task", "selection", "told"),
    [
        ("finetuning", {"full": {"families": ["sslx"]}}, "finetuning.full.families = 'sslx' .* it holds: pca, scvi"),
        ("finetuning", {"full": {"seeds": [7]}}, r"finetuning.full.seeds = 7 is not in the design; it holds: 0, 1, 2"),
        (
            "perturbation",
            {"mlp": {"percentages": [7.0]}},
            r"perturbation.mlp.percentages = 7.0 .* it holds: 0, 1, 1.8,",
        ),
        ("classification", {"runs": {"percentages": [7.0]}}, r"classification.runs.percentages = 7.0 is not"),
        ("integration", {"scib_metrics": {"families": ["hvg"]}}, "integration.scib_metrics.families = 'hvg'"),
    ],
)
def test_selections_of_runs_that_the_design_lacks_are_refused(write_design, demo, task, selection, told):
    demo["evaluations"][task] |= selection
    with pytest.raises(DesignError, match=f"evaluations.{told}"):
        load_design(write_design(demo))


def test_values_that_no_run_has_together_are_refused(write_design, demo):
    demo["seeds_by_size"] = {100.0: [5]}
    demo["evaluations"]["perturbation"]["mlp"] = {"percentages": [100.0], "seeds": [0]}
    with pytest.raises(DesignError, match=r"perturbation.mlp = \{.*'seeds': \[0\]\} selects no run"):
        load_design(write_design(demo))
    demo["evaluations"]["perturbation"]["mlp"] = {"percentages": [0.0, 100.0], "seeds": [5]}
    load_design(write_design(demo))


def test_only_families_with_an_encoder_can_be_fine_tuned(write_design, small_design):
    small_design["families"]["scvi"] = {"preset": "demo"}
    for chosen, refused in ({}, "pca"), ({"families": ["pca"]}, "pca"), ({"families": ["scvi"]}, None):
        small_design["evaluations"]["finetuning"] = {"few_shot": [5], "full": chosen}
        design = load_design(write_design(small_design))
        if refused is None:
            assert _check(design) == 96
        else:
            told = "finetuning.full selects pca, which has no encoder to train on: .* there are: scvi"
            with pytest.raises(DesignError, match=told):
                _check(design)
