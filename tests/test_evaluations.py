"""Every evaluation of a small design through the real workflow: complete, between floor and ceiling, leak-free."""

from itertools import chain
from pathlib import Path

import anndata
import nbformat
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import yaml
from conftest import copy_project, make_small_cells, make_small_design, run_workflow

from helpers.design import load_design
from helpers.evaluate.baselines import BASELINES
from helpers.evaluate.registry import metric

pytestmark = pytest.mark.chain


def treated_cells(cells: anndata.AnnData) -> anndata.AnnData:
    """The cells of dataset two after a treatment: all types gain in some genes, each in others of its own."""
    rng = np.random.default_rng(1)
    treated = cells[cells.obs["dataset_id"] == "two"].copy()
    gain = np.zeros(treated.shape)
    gain[:, :6] = 8
    for number, name in enumerate("abc"):
        gain[np.ix_(treated.obs["cell_type"] == name, 20 + 6 * number + np.arange(6))] = 5
    treated.X = sp.csr_matrix(treated.X.toarray() + rng.poisson(gain).astype(np.float32))
    treated.obs = treated.obs.assign(dataset_id="treated", batch="treated")
    treated.obs_names = [f"{name}_treated" for name in treated.obs_names]
    return anndata.concat([cells, treated])


def screened_cells() -> anndata.AnnData:
    """180 cells of a file of one's own: types p to t on two plates, untreated and under two drugs, 12 cells each."""
    rng = np.random.default_rng(2)
    kind, drug = np.arange(180) % 5, np.arange(180) // 5 % 3
    rate = np.where(np.arange(60) % 5 == kind[:, None], 6.0, 1.0)
    rate[:, :10] += 4.0 * (drug == 1)[:, None]
    rate[:, 10:20] += 4.0 * (drug == 2)[:, None]
    rate[np.arange(180), 20 + kind] += 8.0 * (drug > 0)
    columns = {
        "kind": np.array(list("pqrst"))[kind],
        "drug": np.array(["none", "x", "y"])[drug],
        "plate": np.array(["one", "two"])[rng.permutation(180) % 2],
    }
    obs = pd.DataFrame(columns, index=[f"own{number:03}" for number in range(180)])
    counts = sp.csr_matrix(rng.poisson(rate).astype(np.float32))
    return anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"g{number}" for number in range(60)]))


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project with a design that has every evaluation."""
    root = copy_project(tmp_path_factory.mktemp("judged"))
    treated_cells(make_small_cells()).write_h5ad(root / "cells.h5ad")
    design = make_small_design("cells.h5ad") | {
        "families": {"ssl": {"preset": "demo"}},
        "budget": {"kind": "cell_views", "amount": 3000},
        "perturbation": {"where": {"dataset_id": ["treated"]}, "held_out": {"c": {"cell_type": ["c"]}}},
    }
    design["evaluation_sets"]["treated"] = {"where": {"dataset_id": ["treated"]}, "seen": "study unseen", "at_most": 50}
    screened_cells().write_h5ad(root / "screen.h5ad")
    keys = {"label": "kind", "batch": "plate", "perturbation": "drug", "context": "kind", "control": "none"}
    held_out = {"split": "both", "held_out": [["p", "x"], ["q", "y"]]}
    design["evaluation_sets"]["screen"] = {"path": "screen.h5ad", "seen": "study unseen"} | keys | held_out
    classification = {
        "min_cells": 4,
        "headline_min_cells": 5,
        "transfer": {"across": {"train": "same", "test": "other"}},
    }
    few = {"families": ["ssl"], "percentages": [100.0], "seeds": [0]}
    both = {"sets": ["same", "other"], "batch": "dataset_id"}
    plates = {"sets": ["screen"], "batch": "batch"}
    treatment = {"sets": ["other", "treated"], "batch": "dataset_id", "mixing": "unwanted"}
    axes = {"treated": [25, 100], "contexts": [1, 2], "repeats": 2, "runs": few}
    design["evaluations"] |= {
        "classification": classification,
        "finetuning": {"lr": 0.01, "joint_lr": 0.01, "few_shot": [5], "full": few},
        "integration": {"sets": {"both": both, "treatment": treatment, "plates": plates}, "scib_metrics": few},
        "perturbation": {"control": {"dataset_id": ["two"]}, "min_cells": 10, "mlp": few, "axes": axes},
    }
    (root / "params" / "small.yaml").write_text(yaml.safe_dump(design))
    return root


@pytest.fixture(scope="module")
def results(project) -> Path:
    done = run_workflow("params/small.yaml", "results/small", project)
    assert done.returncode == 0, done.stderr
    return project / "results" / "small"


@pytest.fixture(scope="module")
def table(results) -> pd.DataFrame:
    return pd.read_parquet(results / "results.parquet")


def test_no_notebook_fails_or_warns(results):
    for path in (results / "notebooks").glob("*.ipynb"):
        outputs = [out for cell in nbformat.read(path, as_version=4).cells for out in cell.get("outputs", [])]
        told = [out for out in outputs if out.output_type == "error" or out.get("name") == "stderr"]
        assert not told, f"{path.name}: {told}"


def test_every_evaluation_of_every_run_is_there_with_its_floor_and_ceiling(project, table):
    design = load_design(project / "params" / "small.yaml")
    assert set(table["task"]) == set(BASELINES)
    assert set(table["dataset"]) == set(design.seen())
    runs = table[table["strategy"] != "none"]
    assert (runs.groupby("task")["run_id"].nunique() == len(design.runs())).all()
    assert set(table.loc[table["strategy"] == "none", "family"]) == set(chain(*BASELINES.values()))
    assert not table.duplicated(["run_id", "task", "dataset", "metric"]).any()
    assert table[["value", "null", "ceiling", "seen"]].notna().all(axis=None)


def test_values_lie_in_the_ranges_of_the_registry(table):
    for name, rows in table.groupby("metric"):
        known = metric(name)
        assert rows["value"].between(known.low - 1e-6, known.high + 1e-6).all(), name


def test_floors_and_ceilings_stand_where_they_must(table):
    bio = table[table["metric"].isin(["nmi", "ari", "asw_label", "avg_bio"])]
    assert (bio["null"] < bio["ceiling"]).all()
    assert (bio["value"] <= bio["ceiling"] + 1e-9).all(), "types as embedding score best"
    trained = table[
        (table["percentage"] == 100) & table["metric"].isin(["macro_f1", "macro_f1_at_5", "probe_macro_f1"])
    ]
    assert (trained["value"] > trained["null"] + 0.1).all()
    permuted = table[(table["family"] == "permuted") & (table["metric"] == "micro_f1")]
    assert (permuted["value"] < permuted["ceiling"] - 0.2).all()


def test_calibrated_responses_agree_with_their_controls(table):
    rows = table[(table["dataset"] == "c") & (table["strategy"] != "none")]
    wide = rows.pivot_table(index="run_id", columns="metric", values=["value", "null", "ceiling"])
    calibrated = [name for name in wide["value"] if name.startswith("calibrated_")]
    assert "calibrated_delta_r" in calibrated
    for name in calibrated:
        plain = name.removeprefix("calibrated_")
        null, ceiling = wide["null"][plain], wide["ceiling"][plain]
        np.testing.assert_allclose(wide["value"][name], (wide["value"][plain] - null) / (ceiling - null), rtol=1e-6)
        assert set(wide["null"][name]) == {0}
        assert set(wide["ceiling"][name]) == {1}


def test_scores_of_a_set_are_means_over_its_conditions(results, table):
    parts = pd.read_parquet(results / "parts.parquet").query("dataset == 'screen' and task == 'perturbation'")
    assert set(zip(parts["context"], parts["perturbation"], strict=True)) == {("p", "x"), ("q", "y")}
    assert parts[["value", "null", "ceiling", "n_de"]].notna().all(axis=None)
    rows = table.query("dataset == 'screen' and task == 'perturbation'").set_index(["run_id", "metric"])
    of_set = parts.groupby(["run_id", "metric"])[["value", "null", "ceiling"]].mean()
    pd.testing.assert_frame_equal(rows.loc[of_set.index, list(of_set)], of_set)
    assert (rows.loc[of_set.index, "n_conditions"] == 2).all()
    separated = parts[parts["calibrated"].notna() & ~parts["metric"].str.startswith("mlp_")]
    separated = separated.assign(metric="calibrated_" + separated["metric"])
    calibrated = separated.groupby(["run_id", "metric"])["calibrated"].agg(["mean", "count"])
    np.testing.assert_allclose(rows.loc[calibrated.index, "value"], calibrated["mean"], atol=1e-12)
    assert (rows.loc[calibrated.index, "n_conditions"] == calibrated["count"]).all()
    assert len(calibrated) == rows.index.get_level_values("metric").str.startswith("calibrated_").sum() > 0


def test_the_f1_of_each_type_is_there_for_every_run(results, table):
    parts = pd.read_parquet(results / "parts.parquet").query("task == 'classification'")
    assert set(parts["metric"]) == {"type_f1", "probe_type_f1"}
    assert set(parts.loc[parts["dataset"] == "screen", "type"]) == set("pqrst")
    assert parts[["value", "null", "ceiling", "n_test"]].notna().all(axis=None)
    of_sets = table[table["task"] == "classification"]
    for way in ("", "probe_"):
        means = parts[parts["metric"] == f"{way}type_f1"].groupby(["run_id", "dataset"])["value"].mean()
        rows = of_sets[of_sets["metric"] == f"{way}macro_f1"].set_index(["run_id", "dataset"])["value"]
        assert set(means.index) == set(rows.index)
        rows = rows.drop("same", level="dataset")  # in the others all types have cells enough for the headline
        np.testing.assert_allclose(means.loc[rows.index], rows)


def test_mixing_by_scib_metrics_stands_between_floor_and_ceiling(table):
    rows = table[table["metric"].str.startswith("scib_metrics_")]
    assert set(rows["dataset"]) == {"plates"}
    assert set(rows.loc[rows["strategy"] == "none", "run_id"]) == {"floor/none", "ceiling/none"}
    assert rows["metric"].nunique() == 10
    assert (rows["null"] < rows["ceiling"] - 0.1).all()
    assert (rows["value"] <= rows["ceiling"] + 0.1).all()


def test_selected_runs_alone_have_the_slow_evaluations(table):
    trained = table[table["strategy"] != "none"]
    for prefix in ("full_", "mlp_", "scib_metrics_"):
        slow = trained[trained["metric"].str.startswith(prefix)]
        assert set(slow["run_id"]) == {"ssl-w1/random/p100.0/s00"}


def test_no_cell_teaches_and_tests(results):
    told = pd.read_parquet(results / "predictions" / "finetuning--ssl-w1--random--p100.0--s00.parquet")
    sets = pd.read_parquet(results / "evaluation_sets.parquet")
    train = sets[sets["train"]].groupby("dataset")["position"].agg(set)
    roles = pd.read_parquet(results / "split.parquet")["role"]
    for name, part in told.groupby("dataset"):
        assert not set(part["position"]) & train[name]
        assert (roles[part["position"]] == "evaluation").all()


def test_responses_along_the_axes_end_in_those_of_the_whole_task(results, table):
    along = pd.read_parquet(results / "response_axes.parquet")
    assert set(along["run_id"]) == {"ssl-w1/random/p100.0/s00", "own_pca/none", "training_mean/none"}
    assert "screen" in set(along["dataset"])
    along = along[along["dataset"] != "screen"]  # there several conditions are held out, each with its own teachers
    assert set(along["n_contexts"]) == {1, 2}
    keys = ["run_id", "dataset", "metric"]
    known = table[table["task"] == "perturbation"].set_index(keys)[["value", "null", "ceiling"]]
    whole = along[(along["share"] == 100) & (along["n_contexts"] == 2)].set_index(keys)
    assert set(whole["axis"]) == {"treated cells", "contexts"}
    whole = whole.drop("training_mean/none")
    pd.testing.assert_frame_equal(whole[list(known)], known.loc[whole.index], check_exact=True)
    limits = along.groupby(keys)[["null", "ceiling"]]
    assert (limits.max() == limits.min()).all(axis=None), "limits do not move"
    assert (results / "figures" / "response_axes.png").exists()
