"""The tidy table, and its form with one row per run."""

import numpy as np
import pandas as pd
import pytest

from helpers.analysis.results import RESULT_COLUMNS, complete_runs, wide


@pytest.fixture
def results() -> pd.DataFrame:
    """Two runs and a baseline with two metrics on two sets; the baseline has no held-out loss."""
    runs = [
        {"run_id": "pca-w1/random/p001.0/s00", "family": "pca", "percentage": 1.0, "n_cells": 57, "n_donors": np.nan},
        {
            "run_id": "pca-w1/random/p100.0/s00",
            "family": "pca",
            "percentage": 100.0,
            "n_cells": 5655,
            "n_donors": np.nan,
        },
        {"run_id": "hvg/none", "family": "hvg", "percentage": np.nan, "n_cells": np.nan, "n_donors": np.nan},
    ]
    rows = []
    for number, run in enumerate(runs):
        for place, dataset in enumerate(("pbmc3k", "heart")):
            rows.append(
                run | {"task": "classification", "dataset": dataset, "metric": "macro_f1", "value": number + place / 10}
            )
            if run["family"] != "hvg":
                rows.append(
                    run
                    | {
                        "task": "heldout_loss",
                        "dataset": dataset,
                        "metric": "heldout_loss",
                        "value": -number - place / 10,
                    }
                )
    return pd.DataFrame(rows).sample(frac=1, random_state=0).sort_values("run_id", kind="stable")


def test_columns_are_those_of_the_design():
    assert ", ".join(RESULT_COLUMNS) == (
        "run_id, family, width, weight_decay, strategy, percentage, subset_seed, init_seed, budget, "
        "n_cells, n_unique, n_donors, n_datasets, umis_per_cell, shannon, vendi, n_parameters, cell_views, "
        "flops, seconds, status, task, dataset, seen, metric, value, null, ceiling, "
        "steps, unique_cells, flops_counted, cells_per_second, peak_memory_mb, device, peak_gpu_memory_mb, "
        "lr, sweep_seconds, sweep_flops, supervised, within_study_triplets, embedded_per_second, reason, n_conditions, "
        "n_test, loss_unit"
    )


def test_one_row_per_run(results):
    table = wide(
        results,
        {"score": ("classification", "pbmc3k", "macro_f1"), "loss": ("heldout_loss", "heart", "heldout_loss")},
    )
    assert table.columns.tolist() == ["run_id", "family", "percentage", "n_cells", "n_donors", "score", "loss"]
    assert table["run_id"].tolist() == results["run_id"].unique().tolist()
    got = table.set_index("run_id")
    assert got["score"].to_dict() == {"pca-w1/random/p001.0/s00": 0, "pca-w1/random/p100.0/s00": 1, "hvg/none": 2}
    assert got.loc["pca-w1/random/p100.0/s00", "loss"] == -1.1
    assert np.isnan(got.loc["hvg/none", "loss"])
    assert got.loc["pca-w1/random/p001.0/s00", "n_cells"] == 57


def test_names_as_text(results):
    names = ["heldout_loss/heart/heldout_loss", "classification/heart/macro_f1"]
    table = wide(results, names)
    assert table.columns[-2:].tolist() == names
    assert table.loc[table["run_id"] == "hvg/none", names[1]].item() == 2.1
    pd.testing.assert_frame_equal(wide(results, iter(names)), table)


def test_no_metric_leaves_the_runs(results):
    assert len(wide(results, [])) == 3


def test_results_are_not_changed(results):
    before = results.copy()
    wide(results, ["classification/heart/macro_f1"])
    pd.testing.assert_frame_equal(results, before)


def test_unusable_requests_are_refused(results):
    with pytest.raises(
        ValueError, match=r"did you mean 'classification/heart/macro_f1'.*heldout_loss/pbmc3k/heldout_loss"
    ):
        wide(results, ["classification/hart/macro_f1"])
    with pytest.raises(ValueError, match="unknown metric 'a/b/c'"):
        wide(results, {"score": ("a", "b", "c")})
    with pytest.raises(ValueError, match="'percentage' is taken"):
        wide(results, {"percentage": ("classification", "heart", "macro_f1")})
    with pytest.raises(ValueError, match="unknown metric"):
        wide(results.iloc[:0], ["classification/heart/macro_f1"])
    with pytest.raises(ValueError, match="lacks the columns dataset; it has: run_id, family"):
        wide(results.drop(columns="dataset"), ["classification/heart/macro_f1"])


def test_contradictions_are_refused(results):
    twice = results[(results["run_id"] == "hvg/none") & (results["dataset"] == "heart")]
    with pytest.raises(ValueError, match=r"1 runs have two values of classification/heart/macro_f1, e.g. hvg/none"):
        wide(pd.concat([results, twice]), ["classification/heart/macro_f1"])
    results.iloc[0, results.columns.get_loc("n_cells")] = 58
    with pytest.raises(ValueError, match="is described in two ways; its rows differ in: n_cells"):
        wide(results, ["classification/heart/macro_f1"])


def test_runs_that_lack_a_metric_are_left_out_and_a_metric_that_all_lack_leaves_none(results):
    columns = {"score": ("classification", "pbmc3k", "macro_f1"), "loss": ("heldout_loss", "pbmc3k", "heldout_loss")}
    both = complete_runs(results, columns)
    assert both["run_id"].tolist() == ["pca-w1/random/p001.0/s00", "pca-w1/random/p100.0/s00"]
    assert both["loss"].tolist() == [0, -1]
    none = complete_runs(results[results["task"] == "classification"], columns)
    assert (len(none), {"run_id", "score", "loss"} <= set(none.columns)) == (0, True)
