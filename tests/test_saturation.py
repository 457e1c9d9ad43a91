"""The published saturation rule against curves whose answer can be read off, and its refusals."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.analysis.saturation import saturation_points

PERCENTAGES = [1.0, 10.0, 25.0, 50.0, 75.0, 100.0]


def curve(scores: dict[float, list[float]], **columns) -> pd.DataFrame:
    """Tidy results of one curve: percentage -> score of each seed."""
    fixed = {"family": "pca", "width": 1.0, "strategy": "random", "task": "classification", "dataset": "lung"}
    fixed |= {"metric": "micro_f1", "weight_decay": np.nan, "budget": "epochs=1"} | columns
    run = "-".join(str(fixed[column]) for column in ("family", "width", "strategy", "weight_decay", "budget"))
    rows = [
        {"run_id": f"{run}/{percentage}/{seed}", "percentage": percentage, "subset_seed": seed, "value": value}
        for percentage, values in scores.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows).assign(**fixed)


def point(scores: dict[float, list[float]], **options) -> dict:
    points = saturation_points(curve(scores), **({"metric": "micro_f1", "rule": "published"} | options))
    assert len(points) == 1
    return points.iloc[0].to_dict()


def test_by_hand():
    got = point({1: [0.5, 0.6], 10: [0.77, 0.70], 25: [0.79, 0.72], 100: [0.80, 0.75]})
    assert got["percentage"] == 10  # 0.77 > 0.95 × 0.80 = 0.76
    assert got["best"] == 0.80
    assert got["threshold"] == pytest.approx(0.76)
    columns = ["family", "width", "strategy", "task", "dataset", "percentage", "best", "threshold", "sampling"]
    assert list(got) == columns


def test_any_seed_may_pass():
    assert point({1: [0.1, 0.1, 0.9], 10: [0.8, 0.8, 0.8], 100: [0.8, 0.8, 0.8]})["percentage"] == 1


def test_one_seed_and_all_equal_scores():
    assert point({1: [0.2], 10: [0.9], 100: [0.91]})["percentage"] == 10
    assert point({size: [0.7, 0.7] for size in PERCENTAGES})["percentage"] == 1
    assert point({10: [0.7]})["percentage"] == 10


def test_equal_to_the_threshold_is_not_above_it():
    assert point({1: [0.5], 100: [1.0]}, q=0.5)["percentage"] == 100
    assert point({1: [0.5 + 1e-12], 100: [1.0]}, q=0.5)["percentage"] == 1


@pytest.mark.parametrize("best", [-0.1, 0.0])
def test_nothing_is_above_a_share_of_a_best_that_is_not_positive(best):
    got = point({1: [-0.2], 100: [best]})
    assert np.isnan(got["percentage"])
    assert got["best"] == best


def test_nothing_is_above_the_whole_best():
    assert np.isnan(point({1: [0.5], 100: [0.9]}, q=1.0)["percentage"])


def test_a_score_may_fall_with_size():
    assert point({1: [0.9], 10: [0.5], 100: [0.6]})["percentage"] == 1


def test_negative_scores_beside_positive_ones():
    assert point({1: [-0.4, -0.1], 10: [0.2, -0.3], 100: [0.1, 0.0]})["percentage"] == 10


def test_q_moves_the_point():
    scores = {1: [0.85], 10: [0.93], 25: [0.97], 100: [1.0]}
    assert [point(scores, q=q)["percentage"] for q in (0.8, 0.9, 0.95, 0.99)] == [1, 10, 25, 100]


def test_untrained_models_and_baselines_do_not_count():
    trained = curve({1: [0.5], 10: [0.6]})
    better = pd.concat(
        [
            trained,
            curve({0: [0.99]}),
            curve({0: [0.99]}, strategy="untrained"),
            curve({np.nan: [0.99]}, family="logistic", strategy="none"),
            curve({1: [0.99]}, metric="macro_f1"),
        ]
    )
    points = saturation_points(better, metric="micro_f1", rule="published")
    assert points[["family", "percentage", "best"]].to_numpy().tolist() == [["pca", 10, 0.6]]


def test_each_curve_is_judged_by_itself():
    keys = {
        "family": ["pca", "scvi"],
        "width": [1.0, 2.0],
        "strategy": ["random", "celltype_reweighted"],
        "task": ["classification", "integration"],
        "dataset": ["lung", "liver"],
    }
    first = {1: [0.2], 100: [0.9]}
    second = {1: [0.2], 100: [0.2]}  # the whole corpus of the first curve must not judge the second
    for column, values in keys.items():
        both = pd.concat([curve(first, **{column: values[0]}), curve(second, **{column: values[1]})])
        points = saturation_points(both.sample(frac=1, random_state=0), metric="micro_f1", rule="published")
        assert points.set_index(column)["percentage"].to_dict() == {values[0]: 100, values[1]: 1}


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 0.99))
@settings(max_examples=60, deadline=None)
def test_the_rule_read_literally(seed, q):
    rng = np.random.default_rng(seed)
    scores = {size: list(rng.uniform(-0.2, 1, 3)) for size in PERCENTAGES}
    best = max(max(values) for values in scores.values())
    passing = [size for size in PERCENTAGES if any(value > q * best for value in scores[size])]
    assert point(scores, q=q)["percentage"] == (passing[0] if passing else pytest.approx(np.nan, nan_ok=True))


def test_categories_and_other_indices_change_nothing():
    plain = pd.concat([curve({1: [0.2], 100: [0.9]}), curve({1: [0.2], 75: [0.2]}, strategy="donors", dataset="liver")])
    stored = plain.astype({"strategy": "category", "dataset": "category"}).set_index("run_id", drop=False)
    options = {"metric": "micro_f1", "rule": "published"}
    expected = saturation_points(plain, **options)["percentage"].tolist()
    assert saturation_points(stored, **options)["percentage"].tolist() == expected == [100, 1]


def broken(**columns) -> pd.DataFrame:
    return curve({1: [0.5, 0.6], 10: [0.7, 0.8]}).assign(**columns)


@pytest.mark.parametrize(
    ("results", "options", "told"),
    [
        (broken(), {"rule": "mean"}, "unknown rule .mean.*there are: published, error"),
        (broken(), {"metric": "micro"}, "unknown metric 'micro'.*did you mean 'micro_f1'"),
        (broken(metric="heldout_loss"), {"metric": "heldout_loss"}, "is a loss"),
        (broken(), {"q": 0.0}, "q = 0.0"),
        (broken(), {"q": 1.5}, "q = 1.5"),
        (broken(value=[0.5, np.nan, 0.7, 0.8]), {}, "value is missing or infinite in 1 rows .*1.*pca.*random.*lung"),
        (broken(value=[0.5, np.inf, 0.7, 0.8]), {}, "value is missing or infinite in 1 rows"),
        (broken(percentage=np.nan), {}, "percentage is missing or infinite in 4 rows"),
        (broken(percentage=0.0), {}, "no trained run"),
        (broken(strategy="none"), {}, "no trained run"),
        (pd.concat([broken(), broken().iloc[:1]]), {}, "1 rows of micro_f1 repeat a run"),
        (broken(weight_decay=[0.01, 0.01, 0.1, 0.1]), {}, r"weight_decay takes several values \(0.01, 0.1\)"),
        (broken(budget=["a", "b"] * 2), {}, r"budget takes several values \(a, b\) on the curve pca/1.0/random"),
        (broken().drop(columns=["width", "task"]), {}, "lacks the columns width, task"),
        (broken().drop(columns=["run_id", "subset_seed"]), {}, "needs run_id or subset_seed"),
    ],
)
def test_unusable_results_are_refused(results, options, told):
    with pytest.raises(ValueError, match=told):
        saturation_points(results, **({"metric": "micro_f1", "rule": "published"} | options))


def test_a_missing_value_elsewhere_does_not_matter():
    hole = curve({1: [np.nan]}, metric="macro_f1")
    both = pd.concat([curve({1: [0.5]}), hole])
    assert len(saturation_points(both, metric="micro_f1", rule="published")) == 1
