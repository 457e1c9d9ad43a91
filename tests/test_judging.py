"""The loop that judges: what is fresh stays, what fails is named at the end, the others are judged."""

import pandas as pd
import pytest

from helpers import judging
from helpers.design import Run, load_design
from helpers.store import Store, embedding_path, evaluation_path

RUNS = [Run("pca", 1.0, "random", 50.0, seed) for seed in range(3)]


@pytest.fixture
def store(small_design, write_design, tmp_path) -> Store:
    return Store(load_design(write_design(small_design)), tmp_path / "results", "30_classify")


def judge(store: Store, runs: list, evaluate, **settings) -> pd.DataFrame:
    return judging.judge(store, "classification", runs, evaluate, inputs=[], of_run=[], settings=settings)


def scored(run: Run | str) -> tuple[pd.DataFrame, pd.DataFrame]:
    value = float(run == "majority") if isinstance(run, str) else run.seed
    return judging.tidy([("other", "micro_f1", value)]), pd.DataFrame({"position": [3, 4]})


def test_scores_of_runs_and_baselines_are_stored_and_returned(store):
    table = judge(store, [*RUNS, "majority"], scored)
    assert table["run"].tolist() == [50.0, 50.0, 50.0, "majority"]
    assert table["value"].tolist() == [0, 1, 2, 1]
    assert store.has("predictions/classification--majority.parquet")


def test_a_run_that_fails_is_named_and_the_others_are_judged(store):
    def evaluate(run):
        if run.seed == 1:
            raise ValueError("no headline type has a test cell")
        return scored(run)

    told = "1 evaluations failed: pca-w1/random/p050.0/s01: ValueError: no headline type"
    with pytest.raises(RuntimeError, match=told):
        judge(store, RUNS, evaluate)
    assert [store.has(evaluation_path("classification", run)) for run in RUNS] == [True, False, True]
    assert not list(store.root.rglob("*.tmp*"))
    judged = []
    judge(store, RUNS, lambda run: judged.append(run) or scored(run))
    assert judged == [RUNS[1]], "only what failed is judged again"


def test_other_settings_judge_anew(store):
    judged = []
    for number in (5, 5, 7):
        judge(store, RUNS[:1], lambda run: judged.append(run) or scored(run), n_neighbors=number)
    assert len(judged) == 2


def test_rows_of_types_and_conditions_are_no_scores_of_sets():
    rows = pd.DataFrame(
        {
            "dataset": "other",
            "metric": ["macro_f1", "type_f1", "delta_r", "delta_r"],
            "value": [0.5, 0.6, 0.7, 0.8],
            "type": [None, "a", None, None],
            "context": [None, None, "b", None],
        }
    )
    assert judging.whole(rows)["value"].tolist() == [0.5, 0.8]
    plain = judging.tidy([("other", "micro_f1", 1.0)])
    pd.testing.assert_frame_equal(judging.whole(plain), plain)


def test_limits_are_those_of_the_baselines_that_are_there(store):
    table = judge(store, RUNS[:2], scored)
    assert list(judging.with_limits(store, "classification", table)) == list(table)
    judge(store, ["majority"], lambda run: (judging.tidy([("other", "micro_f1", 0.3)]), pd.DataFrame({"position": []})))
    limited = judging.with_limits(store, "classification", table)
    assert limited["null"].tolist() == [0.3, 0.3]
    assert "ceiling" not in limited
    assert limited["value"].tolist() == table["value"].tolist()


def test_without_runs_there_is_an_empty_table(store):
    assert judge(store, [], scored).columns.tolist() == ["dataset", "metric", "value", "run"]


def test_a_run_without_an_embedding_stops_no_other(store):
    for run in RUNS[::2]:
        with store.artifact(embedding_path(run)).write() as path:
            path.write_bytes(b"embedding")
    with pytest.raises(RuntimeError, match=r"1 evaluations failed: pca-w1/random/p050.0/s01: Missing.*25_embed"):
        judging.judge(store, "classification", RUNS, scored, inputs=[])
    assert [store.has(evaluation_path("classification", run)) for run in RUNS] == [True, False, True]
