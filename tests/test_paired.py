"""Scores on evaluation cells drawn anew: those of sklearn and of the stages on these cells, the same for all runs."""

import copy
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score

from helpers.analysis import saturation_points
from helpers.analysis.paired import paired_draws
from helpers.analysis.paired_cells import BLOCK, Confusions, Losses, drawn_counts
from helpers.evaluate.classification import scored_types, scores
from helpers.store import prediction_path

RUNS = [f"pca-w1/random/p{size}/s0{seed}" for size in ("001.0", "100.0") for seed in (0, 1)]
RUNS += [run.replace("pca", "scvi") for run in RUNS]
TYPES = {
    "liver": {"a": 40, "b": 30, "c": 12, "d": 5},
    "lung": {"a": 50, "e": 25},
}  # c is no headline type, d not scored
BOTH = ["micro_f1", "macro_f1"]


class Stored:
    """What `paired_draws` needs of a store, with made-up predictions of the runs on the test half of two sets."""

    def __init__(self, root: Path):
        limits = SimpleNamespace(min_cells=10, headline_min_cells=20, transfer={"liver_to_lung": None})
        self.root, self.rng = root, np.random.default_rng(0)
        self.design = SimpleNamespace(evaluations=SimpleNamespace(classification=limits))
        labels = {name: np.repeat(list(types), list(types.values())) for name, types in TYPES.items()}
        sets = [pd.DataFrame({"dataset": name, "label": of_set}) for name, of_set in labels.items()]
        sets = pd.concat(sets, ignore_index=True).assign(position=lambda rows: rows.index * 3)
        sets.loc[[3, 9], "label"] = None  # cells without a label
        self.sets = sets.assign(train=np.arange(len(sets)) % 2 == 0)
        self.sets.to_parquet(root / "evaluation_sets.parquet")
        self.test = self.sets[~self.sets["train"]].drop(columns="train").reset_index(drop=True)
        over = self.test[self.test["dataset"] == "lung"].assign(dataset="liver_to_lung")
        self.test = pd.concat([self.test, over], ignore_index=True)
        self.rows = []

    def path(self, relative: str) -> Path:
        return self.root / relative

    def has(self, relative: str) -> bool:
        return self.path(relative).exists()

    def read(self, relative: str) -> Path:
        assert self.has(relative)
        return self.path(relative)

    def write(self, task: str, run: str, table: pd.DataFrame) -> None:
        path = self.path(prediction_path(task, run))
        path.parent.mkdir(exist_ok=True)
        table.to_parquet(path, index=False)

    def said(self) -> np.ndarray:
        """Labels that a run says: some wrong, some of types that are not scored, some of the other set."""
        wrong = self.rng.choice([*"abcde"], size=len(self.test))
        return np.where(self.rng.random(len(self.test)) < 0.7, self.test["label"], wrong)

    def types(self, dataset: str) -> pd.DataFrame:
        own = self.test if dataset == "liver_to_lung" else self.sets
        return scored_types(own.loc[own["dataset"] == dataset, "label"], min_cells=10, headline_min=20)

    def add(self, run: str, task: str, dataset: str, values: dict[str, float], **columns) -> None:
        told = {"run_id": run, "family": run.split("-")[0], "width": 1.0, "strategy": "random", "task": task}
        told |= {"percentage": float(run.split("/p")[1][:5]), "dataset": dataset} | columns
        self.rows += [told | {"metric": metric, "value": value} for metric, value in values.items()]

    def results(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows)


@pytest.fixture
def stored(template, tmp_path) -> Stored:
    """A copy that a test may change."""
    made = copy.copy(template)
    made.root = shutil.copytree(template.root, tmp_path / "results")
    return made


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Stored:
    made = Stored(tmp_path_factory.mktemp("stored"))
    for run in RUNS:
        table = made.test.assign(predicted=made.said(), probe_predicted=made.said())
        made.write("classification", run, table)
        heads = pd.concat([made.test.assign(predicted=made.said(), way=way) for way in ("head", "head_at_10")])
        heads = heads[heads["dataset"] != "liver_to_lung"]
        made.write("finetuning", run, heads)
        losses = made.test[["dataset", "position"]].assign(loss=made.rng.random(len(made.test)))
        made.write("heldout_loss", run, losses.assign(reference=np.arange(len(losses)) / 500 + ("scvi" in run)))
        for dataset, part in table.groupby("dataset"):
            for way in ("", "probe_"):
                values = scores(part["label"], part[f"{way}predicted"], types=made.types(dataset))
                made.add(run, "classification", dataset, {f"{way}{name}": value for name, value in values.items()})
        for (dataset, way), part in heads.groupby(["dataset", "way"]):
            values = scores(part["label"], part["predicted"], types=made.types(dataset))
            shot = way.removeprefix("head")
            made.add(run, "finetuning", dataset, {f"{name}{shot}": value for name, value in values.items()})
        for dataset, part in pd.read_parquet(made.read(prediction_path("heldout_loss", run))).groupby("dataset"):
            ceiling = part["reference"].mean()
            made.add(run, "heldout_loss", dataset, {"heldout_loss": part["loss"].mean()}, ceiling=ceiling)
    return made


def drawn(stored: Stored, results: pd.DataFrame | None = None, seed: int = 0, **options) -> pd.DataFrame:
    options = {"task": "classification", "metrics": BOTH, "n_boot": 30} | options
    results = stored.results() if results is None else results
    return paired_draws(stored, results, rng=np.random.default_rng(seed), **options)


def test_counts_are_those_of_draws_with_replacement():
    counts = list(drawn_counts(50, BLOCK + 20, np.random.default_rng(0)))
    assert [block.shape for block in counts] == [(BLOCK, 50), (20, 50)]
    together = np.concatenate(counts)
    assert (together.sum(axis=1) == 50).all()
    assert together.mean() == 1
    assert (together == 0).mean() == pytest.approx((1 - 1 / 50) ** 50, abs=0.02)
    assert len(np.unique(together, axis=0)) == len(together)


@pytest.mark.parametrize("seed", range(3))
def test_f1_is_that_of_sklearn_and_of_the_stage_on_the_drawn_cells(seed):
    rng = np.random.default_rng(seed)
    n_cells, n_runs = 90, 3
    headline = np.array([True, True, False, True])
    true = rng.choice(3, size=n_cells, p=[0.5, 0.3, 0.2])
    true[:2] = 3  # missing in many draws
    predicted = np.where(rng.random((n_cells, n_runs)) < 0.6, true[:, None], rng.integers(-1, 4, (n_cells, n_runs)))
    counts = np.concatenate(list(drawn_counts(n_cells, 25, rng)))
    got = Confusions(true, predicted, headline).scores(counts)
    types = pd.DataFrame({"label": range(4), "scored": True, "headline": headline})
    lost = 0
    for draw, of_draw in enumerate(counts):
        cells = np.repeat(np.arange(n_cells), of_draw.astype(int))
        there = [number for number in np.flatnonzero(headline) if (true[cells] == number).any()]
        lost += len(there) < 3
        for run in range(n_runs):
            pair = true[cells], predicted[cells, run]
            assert got["micro_f1"][draw, run] == pytest.approx(accuracy_score(*pair), abs=1e-6)
            by_sklearn = f1_score(*pair, labels=there, average="macro", zero_division=0)
            assert got["macro_f1"][draw, run] == pytest.approx(by_sklearn, abs=1e-6)
            by_stage = scores(*pair, types=types)
            assert [got[name][draw, run] for name in BOTH] == pytest.approx([by_stage[name] for name in BOTH], abs=1e-6)
    assert lost, "the case of a type without a cell is among them"


def test_no_headline_type_among_the_drawn_cells():
    cells = Confusions(np.array([0, 1, 1]), np.array([[0], [1], [0]]), np.array([True, False]))
    got = cells.scores(np.array([[0, 2, 1], [1, 1, 1]], dtype=np.float32))
    assert np.isnan(got["macro_f1"][0, 0])
    assert got["macro_f1"][1, 0] == pytest.approx(2 / 3)
    assert got["micro_f1"][:, 0] == pytest.approx([2 / 3, 2 / 3])


def test_losses_are_means_over_the_drawn_cells():
    rng = np.random.default_rng(0)
    losses, references = rng.random((40, 3)), rng.random((40, 2))
    counts = np.concatenate(list(drawn_counts(40, 7, rng)))
    got = Losses(losses, references, np.array([1, 0, 1])).scores(counts)
    for draw, of_draw in enumerate(counts):
        cells = np.repeat(np.arange(40), of_draw.astype(int))
        assert got["loss"][draw] == pytest.approx(losses[cells].mean(axis=0))
        assert got["reference"][draw] == pytest.approx(references[cells].mean(axis=0)[[1, 0, 1]])


def test_every_run_and_set_is_drawn(stored):
    draws = drawn(stored)
    assert draws.columns.names == ["column", "task", "dataset", "metric", "run_id"]
    assert draws.index.tolist() == list(range(30))
    assert len(draws.columns) == 3 * len(BOTH) * len(RUNS)
    for dataset in ("liver", "lung", "liver_to_lung"):
        assert set(draws["value", "classification", dataset, "macro_f1"]) == set(RUNS)
    assert draws.notna().all(axis=None)


@pytest.mark.parametrize(
    ("task", "metrics"),
    [
        ("classification", [*BOTH, "probe_macro_f1"]),
        ("finetuning", ["macro_f1_at_10", "macro_f1", "micro_f1"]),
        ("heldout_loss", ["heldout_loss"]),
    ],
)
def test_draws_lie_around_the_score_of_all_cells(stored, task, metrics):
    results = stored.results()
    draws = drawn(stored, task=task, metrics=metrics, n_boot=1000)
    assert set(draws.columns.get_level_values("metric")) == set(metrics)
    told = results[(results["task"] == task) & results["metric"].isin(metrics)]
    for column in draws.columns.unique("column"):
        for row in told.itertuples():
            values = draws[column, task, row.dataset, row.metric, row.run_id]
            stored_value = row.value if column == "value" else row.ceiling
            assert abs(values.mean() - stored_value) < 0.35 * values.std(), (row.metric, row.dataset)
    assert set(draws.columns.unique("column")) == ({"value", "ceiling"} if task == "heldout_loss" else {"value"})


def test_accuracy_spreads_as_a_share_does(stored):
    values = drawn(stored, n_boot=3000)["value", "classification", "lung", "micro_f1"][RUNS[0]]
    share, n = values.mean(), (stored.test["dataset"] == "lung").sum()
    assert values.std() == pytest.approx(np.sqrt(share * (1 - share) / n), rel=0.06)


def test_all_runs_see_the_same_cells(stored):
    same = pd.read_parquet(stored.read(prediction_path("classification", RUNS[0])))
    stored.write("classification", RUNS[1], same)
    results = stored.results()
    for dataset, part in same.groupby("dataset"):
        here = (results["run_id"] == RUNS[1]) & (results["task"] == "classification") & (results["dataset"] == dataset)
        values = scores(part["label"], part["predicted"], types=stored.types(dataset))
        results.loc[here, "value"] = results.loc[here, "metric"].map(values)
    draws = drawn(stored, results)["value", "classification", "liver"]
    for metric in BOTH:
        pd.testing.assert_series_equal(draws[metric][RUNS[0]], draws[metric][RUNS[1]], check_names=False)
        assert not np.allclose(draws[metric][RUNS[0]], draws[metric][RUNS[2]])


def test_order_and_company_change_nothing(stored):
    results, draws = stored.results(), drawn(stored)
    shuffled = drawn(stored, results.sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(draws, shuffled[draws.columns])
    alone = drawn(stored, results[results["run_id"] == RUNS[5]], metrics=["macro_f1"])
    assert len(alone.columns) == 3
    pd.testing.assert_frame_equal(alone, draws[alone.columns])
    assert not np.allclose(drawn(stored, seed=1), draws)


def test_runs_without_predictions_are_left_out(stored):
    for run in RUNS[:2]:
        stored.path(prediction_path("classification", run)).unlink()
    draws = drawn(stored)
    assert set(draws.columns.get_level_values("run_id")) == set(RUNS[2:])
    points = saturation_points(
        stored.results().query("task == 'classification'"), metric="macro_f1", rule="error", draws=draws
    )
    assert points.groupby("family")["resampled"].unique().map(list).to_dict() == {
        "pca": ["seeds"],
        "scvi": ["seeds and cells"],
    }
    for run in RUNS[2:]:
        stored.path(prediction_path("classification", run)).unlink()
    assert drawn(stored).shape == (30, 0)


@pytest.mark.parametrize(("task", "metric"), [("classification", "macro_f1"), ("heldout_loss", "heldout_loss")])
def test_a_run_that_failed_on_a_set_is_drawn_on_the_others(stored, task, metric):
    whole = drawn(stored, task=task, metrics=[metric])
    for run in (RUNS[0], RUNS[5]):
        table = pd.read_parquet(stored.read(prediction_path(task, run)))
        stored.write(task, run, table[table["dataset"] != "liver"])
    results = stored.results()
    failed = results["run_id"].isin([RUNS[0], RUNS[5]]) & (results["dataset"] == "liver")
    draws = drawn(stored, results[~failed], task=task, metrics=[metric])
    lost = whole.columns.difference(draws.columns)
    assert {(key[2], key[4]) for key in lost} == {("liver", RUNS[0]), ("liver", RUNS[5])}
    pd.testing.assert_frame_equal(draws, whole[draws.columns])


def test_what_cannot_be_drawn_is_refused(stored):
    results = stored.results()
    with pytest.raises(ValueError, match="'avg_bio' is not told by single cells"):
        drawn(stored, metrics=["avg_bio"])
    with pytest.raises(ValueError, match="lacks the columns width"):
        drawn(stored, results.drop(columns="width"))
    wrong = results.assign(value=results["value"].where(results["run_id"] != RUNS[3], 0.123))
    told = rf"6 scores differ from the stored predictions \(m.cro_f1 of {RUNS[3]} on .*0.123 in .*run 30_classify"
    with pytest.raises(ValueError, match=told):
        drawn(stored, wrong)
    fewer = pd.read_parquet(stored.read(prediction_path("classification", RUNS[4]))).iloc[1:]
    stored.write("classification", RUNS[4], fewer)
    told = f"{RUNS[4]} and {RUNS[0]} were judged on different cells of liver: run 30_classify"
    with pytest.raises(ValueError, match=told):
        drawn(stored, results)
