"""The smoke design through the real workflow and runner: complete, repeatable, repaired when harmed."""

import signal
import time
from pathlib import Path

import nbformat
import numpy as np
import opening
import pandas as pd
import pytest
from conftest import run_workflow, start_workflow

from helpers import status
from helpers.analysis.results import RESULT_COLUMNS, wide
from helpers.design import load_design
from helpers.evaluate.baselines import BASELINES
from helpers.stages import pieces

DESIGN = "params/smoke.yaml"
pytestmark = pytest.mark.chain


def times(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()
    }


def models_in(folder: Path) -> dict[str, int]:
    finished = times(folder).items()  # a model under way lies in a temporary folder
    return {name: time for name, time in finished if name.endswith("weights.safetensors") and ".tmp/" not in name}


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """The smoke design, killed without warning while models are trained and started again."""
    folder = tmp_path_factory.mktemp("smoke") / "results of smoke"
    with start_workflow(DESIGN, folder) as process:
        while process.poll() is None and len(models_in(folder / "models")) < 3:
            time.sleep(0.1)
        assert process.poll() is None, process.communicate()[1]
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finished = models_in(folder / "models")
    done = run_workflow(DESIGN, folder)
    assert done.returncode == 0, done.stderr
    assert "notebooks, " in done.stderr, "progress is told"
    assert status.read(folder)["state"] == "finished"
    assert models_in(folder / "models").items() >= finished.items(), "no finished model is trained again"
    assert not [path for path in folder.rglob("*.tmp*")], "no temporary file stays"
    return folder


@pytest.fixture(scope="module")
def table(results) -> pd.DataFrame:
    return pd.read_parquet(results / "results.parquet")


def test_every_notebook_is_executed_without_error_or_warning(results):
    design = load_design(DESIGN)
    executed = {path.stem: path for path in (results / "notebooks").glob("*.ipynb")}
    assert set(executed) == {piece.name for piece in pieces(design)}
    for path in executed.values():
        outputs = [out for cell in nbformat.read(path, as_version=4).cells for out in cell.get("outputs", [])]
        told = [out for out in outputs if out.output_type == "error" or out.get("name") == "stderr"]
        assert not told, f"{path.name}: {told}"


def test_every_notebook_opens_with_its_question_its_finding_a_table_and_a_figure(results):
    for path in (results / "notebooks").glob("*.ipynb"):
        few = path.stem == "61_scaling_laws"  # three sizes, of which no verdict is told and nothing drawn
        opening.check(nbformat.read(path, as_version=4), path.stem, figure=not few)


def test_results_are_complete_and_tidy(table):
    design = load_design(DESIGN)
    assert list(table.columns) == list(RESULT_COLUMNS)
    assert set(table.loc[table["strategy"] != "none", "run_id"]) == {run.id for run in design.runs()}
    assert set(table.loc[table["strategy"] == "none", "family"]) == set(BASELINES["classification"])
    assert set(table["dataset"]) == set(design.evaluation_sets)
    assert not table.duplicated(["run_id", "task", "dataset", "metric"]).any()
    assert table[["value", "null", "ceiling", "seen"]].notna().all(axis=None)
    assert np.isfinite(table["value"]).all()
    losses = wide(table, {"loss": ("heldout_loss", "pbmc3k", "heldout_loss")})
    assert losses.loc[losses["strategy"] != "none", "loss"].notna().all()


def test_floors_and_ceilings_stand_where_they_must(table):
    f1 = table[table["metric"] == "micro_f1"].pivot_table(index="run_id", columns="dataset", values="value")
    pca = f1.loc[f1.index.str.startswith("pca-w1/random/p100.0")].mean()
    assert (pca > f1.loc["majority/none"] + 0.05).all()
    assert (f1.loc["logistic/none"] > f1.loc["majority/none"] + 0.1).all()
    untrained = f1.loc[f1.index.str.startswith("pca-w1/untrained")].mean()
    assert (pca > untrained).drop("heart").all()
    assert pca["heart"] > untrained["heart"] - 0.02  # another tissue, by 500 genes: .885 and .895
    assert pca.mean() > untrained.mean() + 0.03
    losses = table[table["metric"] == "heldout_loss"]
    assert (losses["ceiling"] < losses["null"]).all()


def test_nothing_evaluated_on_was_learned_from(results):
    roles = pd.read_parquet(results / "split.parquet")["role"]
    judged = pd.read_parquet(results / "evaluation_sets.parquet")["position"]
    for path in (results / "subsets").rglob("*.parquet"):
        positions = pd.read_parquet(path)["position"]
        assert not set(positions) & set(judged)
        assert (roles[positions] == "corpus").all()


def test_nested_subsets_grow(results):
    small, large, whole = (
        set(pd.read_parquet(results / "subsets" / "random" / size / "s01.parquet")["position"])
        for size in ("p003.2", "p032.0", "p100.0")
    )
    assert small < large < whole


def test_results_tell_what_each_run_learned_from(results, table):
    runs = table.drop_duplicates("run_id").set_index("run_id")
    whole, thinned = runs.loc["pca-w1/random/p100.0/s00"], runs.loc["pca-w1/depth_200/p100.0/s00"]
    assert whole["n_cells"] == 5655
    assert 5000 < thinned["n_cells"] < 5655, (
        "cells that thinning leaves without counts in 500 genes are not learned from"
    )
    assert thinned["strategy"] == "depth"
    assert thinned["umis_per_cell"] == pytest.approx(200, rel=0.05)
    assert whole["umis_per_cell"] > 1000
    assert np.isnan(whole["n_donors"]), "Kang's donors are unknown"
    assert whole["n_datasets"] == 2
    cost = runs.loc[runs["strategy"].isin(["random", "depth"])]
    assert cost[["shannon", "vendi", "umis_per_cell"]].notna().all(axis=None)
    losses = table[(table["metric"] == "heldout_loss") & (table["dataset"] == "pbmc3k")].set_index("run_id")["value"]
    assert losses["pca-w1/depth_200/p100.0/s00"] > losses["pca-w1/random/p100.0/s00"], "shallow cells teach less"


def test_figures_lie_beside_their_numbers(results):
    names = {path.stem for path in (results / "figures").glob("*.svg")}
    assert {"size_curves_classification_micro_f1", "heldout_loss", "saturation_classification_micro_f1"} <= names
    assert names == {path.stem for path in (results / "figures").glob("*.png")}
    assert names == {path.stem for path in (results / "figures" / "source_data").glob("*.csv")}


def test_a_second_run_does_nothing(results, table):
    before = times(results)
    done = run_workflow(DESIGN, results)
    assert done.returncode == 0, done.stderr
    assert times(results) == before | {".lock": times(results)[".lock"]}


def test_a_harmed_artifact_is_named_and_made_again_with_what_depends_on_it(results, table):
    model = results / "models" / "pca-w1" / "random" / "p032.0" / "s01"
    weights = model / "weights.safetensors"
    intact, before = weights.read_bytes(), times(results)
    weights.write_bytes(intact[:-10])
    done = run_workflow(DESIGN, results)
    assert done.returncode == 0, done.stderr
    assert (
        "models/pca-w1/random/p032.0/s01 is corrupt or without its record: 20_pretrain--pca--random makes it again"
        in done.stderr
    )
    assert weights.read_bytes() == intact, "the same model again"
    changed = {name for name, time in times(results).items() if before.get(name) != time}
    assert not [name for name in changed if name.startswith("models/") and "pca-w1/random/p032.0/" not in name]
    assert not [name for name in changed if "scvi" in name or "depth_200" in name]
    again = pd.read_parquet(results / "results.parquet")
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), table.drop(columns="seconds"))
