"""The loop that judges: what is fresh stays, what fails is named at the end, the others are judged."""

import errno

import pandas as pd
import pytest

from helpers import failures, judging
from helpers.analysis.collect import missing_evaluations, told_missing
from helpers.analysis.judged_sets import n_judged
from helpers.design import Run, load_design
from helpers.store import Store, embedding_path, evaluation_path, prediction_path

RUNS = [Run("pca", 1.0, "random", 50.0, seed) for seed in range(3)]


@pytest.fixture
def store(small_design, write_design, tmp_path) -> Store:
    return Store(load_design(write_design(small_design)), tmp_path / "results", "30_classify")


def judge(store: Store, runs: list, evaluate, **settings) -> tuple[pd.DataFrame, dict[str, str]]:
    return judging.judge(store, "classification", runs, evaluate, inputs=[], of_run=[], settings=settings)


def scored(run: Run | str, dataset: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    value = float(run == "majority") if isinstance(run, str) else run.seed
    return judging.tidy([(dataset, "micro_f1", value)]), pd.DataFrame({"dataset": dataset, "position": [3, 4]})


def recorded(asked: list):
    """An evaluation that lists what it is asked for."""
    return lambda run, dataset: asked.append((run, dataset)) or scored(run, dataset)


def test_a_harmed_note_counts_as_a_failure(store):
    path = evaluation_path("classification", RUNS[1])
    failures.note(store, path, {"one": "ValueError: NaN"})
    (note,) = store.path(path).parent.glob(".*.failed.json")
    note.write_text(note.read_text()[:9])
    assert failures.noted(store, path) == {"unknown parts": f"{note.name} is corrupt"}
    failures.note(store, path, {})
    assert failures.noted(store, path) == {}


def test_scores_of_runs_and_baselines_are_stored_and_returned(store):
    table, failed = judge(store, [*RUNS, "majority"], scored)
    assert failed == {}
    failures.raise_failed(failed)
    other = table[table["dataset"] == "other"]
    assert other["run"].tolist() == [50.0, 50.0, 50.0, "majority"]
    assert other["value"].tolist() == [0, 1, 2, 1]
    assert table["dataset"].value_counts().to_dict() == {"same": 4, "other": 4}
    assert store.has("predictions/classification--majority.parquet")


def test_a_set_that_fails_costs_neither_other_sets_nor_other_runs(store, caplog):
    def evaluate(run, dataset):
        if (run, dataset) in ((RUNS[1], "same"), (RUNS[2], "same")):
            raise ValueError("no headline type has a test cell")
        return scored(run, dataset)

    table, failed = judge(store, RUNS, evaluate)
    assert table.groupby("dataset")["value"].agg(list).to_dict() == {"other": [0, 1, 2], "same": [0]}
    reason = "ValueError: no headline type has a test cell"
    assert failed == {f"pca-w1/random/p050.0/s0{seed} on same": reason for seed in (1, 2)}
    told = "2 failed.*pca-w1/random/p050.0/s01 on same, pca-w1/random/p050.0/s02 on same: ValueError: no headline"
    with pytest.raises(failures.FailedPartsError, match=f"(?s){told}"):
        failures.raise_failed(failed)
    assert caplog.text.count("Traceback") == 1, "the first traceback is enough"
    assert not list(store.root.rglob("*.tmp*"))
    missing = missing_evaluations(store.design, store).query("run == @RUNS[1].id and task == 'classification'")
    assert missing[["dataset", "reason"]].to_numpy().tolist() == [["same", reason]]
    asked = []
    table, failed = judge(store, RUNS, recorded(asked))
    assert {run for run, _ in asked} == set(RUNS[1:]), "only runs of which a set failed are judged again"
    assert (len(table), failed, failures.noted(store, evaluation_path("classification", RUNS[1]))) == (6, {}, {})
    judge(store, RUNS, recorded(asked := []))
    assert asked == [], "a table without failed sets is fresh"


def test_a_run_without_any_score_leaves_no_table_of_an_earlier_one(store):
    judge(store, RUNS, scored, n_neighbors=5)

    def evaluate(run, dataset):
        if run.seed == 1:
            raise ValueError(f"nothing in {dataset}")
        return scored(run, dataset)

    table, failed = judge(store, RUNS, evaluate, n_neighbors=7)
    assert set(table["value"]) == {0, 2}
    assert set(failed.values()) == {"ValueError: nothing in same", "ValueError: nothing in other"}
    for path in (evaluation_path, prediction_path):
        assert [store.has(path("classification", run)) for run in RUNS] == [True, False, True]
    missing = missing_evaluations(store.design, store).query("run == @RUNS[1].id and task == 'classification'")
    assert set(missing["reason"]) == {"ValueError: nothing in same", "ValueError: nothing in other"}


def test_other_settings_judge_anew(store):
    asked = []
    for number in (5, 5, 7):
        judge(store, RUNS[:1], recorded(asked), n_neighbors=number)
    assert len(asked) == 2 * 2


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
    table, _ = judge(store, RUNS[:2], scored)
    assert list(judging.with_limits(store, "classification", table)) == list(table)
    nothing = pd.DataFrame({"position": []})
    judge(store, ["majority"], lambda run, dataset: (judging.tidy([(dataset, "micro_f1", 0.3)]), nothing))
    limited = judging.with_limits(store, "classification", table)
    assert limited["null"].tolist() == [0.3] * len(table)
    assert "ceiling" not in limited
    assert limited["value"].tolist() == table["value"].tolist()


def test_without_runs_there_is_an_empty_table(store):
    table, failed = judge(store, [], scored)
    assert (table.columns.tolist(), failed) == (["dataset", "metric", "value", "run"], {})


def test_a_run_without_an_embedding_stops_no_other_and_its_reason_is_handed_on(store):
    for run in RUNS[::2]:
        with store.artifact(embedding_path(run)).write() as path:
            path.write_bytes(b"embedding")
    _, failed = judging.judge(store, "classification", RUNS, scored, inputs=[])
    assert list(failed) == [RUNS[1].id]
    assert failed[RUNS[1].id].startswith("MissingArtifactError: embeddings/pca-w1/random/p050.0/s01.npz is missing")
    assert [store.has(evaluation_path("classification", run)) for run in RUNS] == [True, False, True]
    failures.note(store, embedding_path(RUNS[1]), {RUNS[1].id: "ValueError: NaN in 3 of 9 cells"})
    _, failed = judging.judge(store, "classification", RUNS, scored, inputs=[])
    assert failed == {RUNS[1].id: "FailedPartsError: 25_embed failed: ValueError: NaN in 3 of 9 cells"}
    told = told_missing(missing_evaluations(store.design, store))
    why = failed[RUNS[1].id]
    assert f"  classification on other, 1 runs or baselines, {RUNS[1].id} first: {why}" in told.splitlines()
    assert "  heldout_loss on same, 6 runs or baselines, pca-w1/random/p050.0/s00 first: not made yet" in told


def test_cells_are_counted_where_the_first_baseline_failed(store):
    def evaluate(run, dataset):
        if (run, dataset) == ("majority", "same"):
            raise ValueError("labels are missing")
        return scored(run, dataset)

    judge(store, ["majority", "hvg"], evaluate)
    assert n_judged("classification", store).to_dict() == {"same": 2, "other": 2}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_disk_that_takes_nothing_is_no_failure_of_one_part(code):
    failed = {}
    with pytest.raises(OSError, match="of the disk"), failures.going_on(failed, "one"):
        raise OSError(code, "of the disk")
    with failures.going_on(failed, "other"):
        raise FileNotFoundError(errno.ENOENT, "of the part")
    assert list(failed) == ["other"]
