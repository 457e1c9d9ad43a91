"""A design whose samplings all have one size: what is told where there is no curve."""

import numpy as np
import opening
import pandas as pd
import pytest
import yaml
from conftest import PROJECT, make_small_design

from helpers.analysis.results import RESULT_COLUMNS
from helpers.design import load_design
from helpers.provenance import read_notebook
from helpers.run import execute
from helpers.store import Store, claim

METRICS = (("classification", "micro_f1"), ("classification", "macro_f1"), ("heldout_loss", "heldout_loss"))


def results_of(design) -> pd.DataFrame:
    """Rows as 50_collect writes them, of untrained models and of those of the one size."""
    rows = []
    for run in design.runs():
        told = {"run_id": run.id, "family": run.family, "width": 1.0, "percentage": run.percentage, "status": "ok"}
        told |= {"strategy": run.strategy, "subset_seed": run.seed, "budget": "cell_views=100", "n_cells": 96.0}
        told |= {"n_unique": 96.0, "flops": 1e6, "n_parameters": 3000, "cells_per_second": 1e4, "device": "cpu"}
        for task, metric in METRICS:
            for name in design.evaluation_sets:
                judged = {"task": task, "metric": metric, "dataset": name, "seen": "study unseen", "n_test": 19.0}
                unit = {"loss_unit": "nats"} if task == "heldout_loss" else {}
                rows.append(told | judged | unit | {"value": 0.5 + 0.01 * run.seed, "null": 0.2, "ceiling": 0.9})
    return pd.DataFrame(rows).reindex(columns=RESULT_COLUMNS)


@pytest.fixture(scope="module")
def design(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one_size")
    path = folder / "design.yaml"
    path.write_text(yaml.safe_dump(make_small_design(str(folder / "cells.h5ad")) | {"percentages": [100.0]}))
    return path


@pytest.fixture(scope="module")
def results(design):
    """Tables of the design, as far as the analysis reads them."""
    loaded, root = load_design(design), design.parent / "results"
    claim(loaded, root)
    subset = {"subset": "random/p100.0/s00", "strategy": "random", "sampling": "random", "percentage": 100.0}
    effects = {
        "kind": "diversity",
        "task": "classification",
        "metric": "macro_f1",
        "term": "shannon",
        "testable": False,
    }
    tables = {
        "results.parquet": results_of(loaded),
        "evaluation_sets.parquet": pd.DataFrame({"dataset": ["same"] * 19, "position": range(19)}),
        "diversity.parquet": pd.DataFrame([subset | {"subset_seed": 0, "n_cells": 96, "umis_per_cell": 100.0}]),
        "diversity_effect.parquet": pd.DataFrame([effects | {"dataset": "same", "estimate": np.nan}]),
    }
    for name, table in tables.items():
        with Store(loaded, root, "50_collect").artifact(name).write() as path:
            table.to_parquet(path, index=False)
    return root


def test_the_analysis_says_that_there_is_no_curve(design, results):
    told = {}
    for stage in ("60_saturation", "61_scaling_laws", "90_figures"):
        out = results / "notebooks" / f"{stage}.ipynb"
        execute(PROJECT / "notebooks" / f"{stage}.py", out, {"design": str(design), "results": str(results)})
        told[stage] = opening.check(read_notebook(out), stage, figure=stage == "90_figures")
    assert "There is no curve, and so no saturation point." in told["60_saturation"]
    assert "No curve of the held-out loss over random cells has the four sizes" in told["61_scaling_laws"]
    assert "2 figures show 2 trained models of PCA" in told["90_figures"]
    for name in ("saturation", "saturation_sizes"):
        table = pd.read_parquet(results / f"{name}.parquet")
        assert table.empty
        assert {"task", "metric", "percentage", "q"} <= set(table)
    assert pd.read_parquet(results / "scaling" / "laws.parquet").empty
    assert {path.stem for path in (results / "figures").glob("*.svg")} == {"design", "speed"}
