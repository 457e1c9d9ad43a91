"""Families of users through the whole chain: a file in the folder of families, and an installed package."""

import shutil
from pathlib import Path

import anndata
import nbformat
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import PROJECT, copy_project, make_small_design, run_workflow

from helpers import status

pytestmark = pytest.mark.chain
# A package of a user: a family whose training diverges with more than 60 cells, one that can never be trained, one that
# embeds to nothing, and one that, until it is cured, does so after few cells and has no loss of loud ones.
PACKAGE = """
from pathlib import Path

import numpy as np

from helpers.models import UnfitCellsError
from helpers.models.autoencoder import Autoencoder


class Moody(Autoencoder):
    def _fit(self, train, validation, budget, rng):
        if budget.amount and train.shape[0] > 60:
            raise FloatingPointError("training loss is nan at step 3 of 9; a lower lr may help")
        return super()._fit(train, validation, budget, rng)


class Stubborn(Autoencoder):
    def _fit(self, train, validation, budget, rng):
        raise UnfitCellsError("these cells have no donors") if budget.amount else MemoryError("try batch_size = 8")


class Blind(Autoencoder):
    def _embed(self, counts):
        return np.full((counts.shape[0], 2), np.nan)


class Ailing(Autoencoder):
    def _embed(self, counts):
        return super()._embed(counts) * (np.nan if self._ails() and 0 < self.cost["unique_cells"] < 60 else 1)

    def _losses(self, counts):
        loud = counts.max(axis=1).toarray().ravel() > 400
        return super()._losses(counts) + np.where(loud & self._ails(), np.nan, 0)

    def _ails(self):
        return not Path(__file__).with_name("cured").exists()
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project with the example among its families, and the package beside it."""
    root = copy_project(tmp_path_factory.mktemp("own"))
    shutil.copy(PROJECT / "examples" / "autoencoder.py", root / "src" / "helpers" / "models")
    installed = root / "site" / "moody-1.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: moody\nVersion: 1\n")
    entries = "".join(f"{name} = moody:{name.title()}\n" for name in ("moody", "stubborn", "blind", "ailing"))
    (installed / "entry_points.txt").write_text(f"[cellscale.models]\n{entries}")
    (root / "site" / "moody.py").write_text(PACKAGE)
    return root


@pytest.fixture(scope="module")
def results(project, small_chain_design) -> Path:
    """The whole chain with all these families."""
    settings = {"batch_size": 16}
    models = {
        "autoencoder": {"preset": "demo", "settings": settings},
        "moody": {"preset": "demo", "settings": settings, "budget": {"kind": "epochs", "amount": 3}},
        "stubborn": {"preset": "demo"},
        "blind": {"preset": "demo"},
        "ailing": {"preset": "demo", "settings": settings},
    }
    sets = make_small_design("")["evaluation_sets"]
    sets["loud"] = {"where": {"dataset_id": ["three"]}, "seen": "study unseen"}
    budget = {"kind": "cell_views", "amount": 8000}
    design = small_chain_design(project, families=models, budget=budget, evaluation_sets=sets)
    cells = anndata.read_h5ad(project / "cells.h5ad")
    counts = cells.X.toarray()
    counts[cells.obs["dataset_id"] == "three", 0] = 500
    cells.X = sp.csr_matrix(counts)
    cells.write_h5ad(project / "cells.h5ad")
    done = run_workflow(design, "results/small", project, packages=[project / "site"])
    assert done.returncode == 0, done.stderr
    return project / "results" / "small"


@pytest.fixture(scope="module")
def table_before(results) -> pd.DataFrame:
    """The results while a family ails."""
    return pd.read_parquet(results / "results.parquet")


def test_the_example_is_short():
    assert len((PROJECT / "examples" / "autoencoder.py").read_text().splitlines()) < 50


def test_a_family_of_ones_own_has_all_results(results):
    table = pd.read_parquet(results / "results.parquet")
    own = table[table["family"] == "autoencoder"]
    assert set(own["task"]) == {"classification", "heldout_loss"}
    assert own["run_id"].nunique() == 6
    losses = own[(own["metric"] == "heldout_loss") & (own["dataset"] == "other")].set_index("run_id")
    trained, untrained = (losses.loc[losses["percentage"] == size, "value"].mean() for size in (100, 0))
    assert trained < losses["null"].iloc[0] < untrained
    assert losses["ceiling"].iloc[0] < losses["null"].iloc[0]
    assert own.loc[own["percentage"] > 0, ["n_parameters", "flops", "cell_views"]].gt(0).all(axis=None)
    assert set(own["budget"]) == {"cell_views=8000"}


def test_a_run_that_diverges_is_given_up_and_the_others_go_on(results):
    table = pd.read_parquet(results / "results.parquet")
    moody = table[table["family"] == "moody"]
    assert set(moody["budget"]) == {"epochs=3"}
    failed = moody[moody["status"] == "failed"]
    assert set(failed["run_id"]) == {"moody-w1/random/p100.0/s00", "moody-w1/random/p100.0/s01"}
    assert failed[["task", "metric", "value"]].isna().all(axis=None)
    assert np.isfinite(moody.loc[moody["status"] == "ok", "value"]).all()
    assert set(moody.loc[moody["status"] == "ok", "percentage"]) == {0.0, 50.0}
    folder = results / "models" / "moody-w1" / "random" / "p100.0" / "s00"
    assert [path.name for path in folder.iterdir()] == ["failure.json"]
    reason = "FloatingPointError: training loss is nan at step 3 of 9; a lower lr may help"
    assert set(failed["reason"]) == {reason}
    for stage in ("20_pretrain--moody--random", "50_collect"):
        assert f"moody-w1/random/p100.0/s01: {reason}" in shown(results, stage)


def test_a_family_that_can_never_be_trained_stops_nothing(results):
    table = pd.read_parquet(results / "results.parquet")
    failed = table[table["family"] == "stubborn"]
    assert len(failed) == 6
    assert set(failed["status"]) == {"failed"}
    reasons = failed.groupby("strategy")["reason"].unique()
    assert reasons["random"].tolist() == ["UnfitCellsError: these cells have no donors"]
    assert reasons["untrained"].tolist() == ["MemoryError: try batch_size = 8"]
    assert "All 4 runs of stubborn trained on `random` cells were given up" in shown(
        results, "20_pretrain--stubborn--random"
    )
    for stage in ("25_embed", "30_classify", "34_heldout_loss"):
        model = "stubborn trained on `random` cells" if stage == "25_embed" else "stubborn (random)"
        assert f"All runs of {model} were given up" in shown(results, f"{stage}--stubborn--random")
    assert {"autoencoder", "moody"} <= set(pd.read_parquet(results / "saturation.parquet")["family"])


def test_an_evaluation_that_fails_stops_no_other_and_is_listed(results):
    table = pd.read_parquet(results / "results.parquet")
    blind = table[table["family"] == "blind"]
    assert set(blind["task"]) == {"heldout_loss"}
    assert np.isfinite(blind["value"]).all()
    told = shown(results, "50_collect")
    why = "FailedPartsError: 25_embed failed: ValueError: the embedding is NaN or infinite in 138 of 138 cells"
    assert f"classification on same, 8 runs or baselines, ailing-w1/random/p050.0/s00 first: {why}" in told
    assert "30 evaluations missing" in told  # blind 6 × 3, ailing 2 × 3 and 6 losses of loud cells
    failed = nbformat.read(results / "notebooks" / "25_embed--blind--random.ipynb", as_version=4)
    errors = [output for cell in failed.cells for output in cell.get("outputs", []) if output.output_type == "error"]
    assert "4 failed, and will be tried again" in errors[0]["evalue"]
    assert "blind-w1/random/p100.0/s01: ValueError: the embedding is NaN" in errors[0]["evalue"]


def test_the_status_names_what_failed_in_part_and_what_was_given_up(results):
    told = status.read(results)
    assert told["state"] == "finished", "others went on"
    numbers = told["notebooks"]
    assert numbers["done"] + numbers["failed"] == numbers["of"]
    assert numbers["cannot_run"] == numbers["left"] == 0
    families = {name.split("--")[1] for name in told["failed"]}
    assert families == {"blind", "ailing"}
    failure = told["failed"]["25_embed--blind--random"]
    assert failure["reason"].startswith("FailedPartsError: 4 failed, and will be tried again")
    assert (results.parents[1] / failure["see"]).exists()
    assert {name.split("/")[0] for name in told["given_up"]} == {"moody-w1", "stubborn-w1"}
    assert len(told["given_up"]) == 2 + 6


def test_what_fails_in_one_size_or_on_one_set_costs_nothing_else(results):
    table = pd.read_parquet(results / "results.parquet")
    ailing = table[(table["family"] == "ailing") & table["metric"].isin(["micro_f1", "heldout_loss"])]
    assert np.isfinite(ailing["value"]).all()
    there = ailing.groupby(["task", "percentage"])["dataset"].agg(lambda names: sorted(set(names))).to_dict()
    every = ["loud", "other", "same"]
    assert there == {
        ("classification", 0.0): every,
        ("classification", 100.0): every,
        **{("heldout_loss", size): every[1:] for size in (0.0, 50.0, 100.0)},
    }
    for stage in ("60_saturation", "90_figures"):
        assert "30 evaluations are missing, see 50_collect." in shown(results, stage)
        assert not (results / "notebooks" / f"{stage}.failed.ipynb").exists()
    told = shown(results, "30_classify--ailing--random")
    assert "In ailing trained on `random` cells" in told, "what was judged is shown"


def test_what_failed_is_tried_again_and_leaves_no_trace_when_it_succeeds(project, results, table_before):
    assert (results / "notebooks" / "30_classify--ailing--random.failed.ipynb").exists()
    (project / "site" / "cured").write_text("")
    given = {"packages": [project / "site"], "options": ["--until", "collect"]}
    done = run_workflow("params/small.yaml", "results/small", project, **given)
    assert done.returncode == 0, done.stderr
    assert "34_heldout_loss--ailing--untrained failed in part: it is tried again" in done.stderr
    table = pd.read_parquet(results / "results.parquet")
    ailing = table[table["family"] == "ailing"]
    assert ailing.groupby(["task", "dataset"])["run_id"].nunique().eq(6).all()
    assert len(ailing.groupby(["task", "dataset"])) == 6
    assert not list((results / "notebooks").glob("*ailing*.failed.ipynb"))
    assert not [path for path in results.rglob(".*.failed.json") if "ailing" in str(path)]
    assert "18 evaluations missing" in shown(results, "50_collect"), "those of blind"
    columns = ["run_id", "task", "dataset", "metric", "value"]
    both = table_before[columns].merge(table[columns], on=columns[:4], suffixes=("", "_again")).dropna()
    assert len(both) == len(table_before.dropna(subset="value"))
    np.testing.assert_array_equal(both["value"], both["value_again"])


def shown(results: Path, notebook: str) -> str:
    """All text of an executed notebook's outputs."""
    outputs = [
        output
        for cell in nbformat.read(results / "notebooks" / f"{notebook}.ipynb", as_version=4).cells
        for output in cell.get("outputs", [])
    ]
    return "".join(output.get("text", "") + output.get("data", {}).get("text/markdown", "") for output in outputs)
