"""The published saturation rule and the error rule on curves whose answer can be read off, and their refusals."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.analysis import saturation_points
from helpers.analysis.saturation import size_probabilities
from helpers.plots.saturation_figures import gains, probability_heatmap, saturation_heatmap

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
        (broken(), {"metric": ["micro_f1", "macro_f1"]}, "unknown metric .*there are: micro_f1"),
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
        (broken().drop(columns="percentage"), {}, "has neither percentage nor n_cells"),
        (broken(metric="pcr_batch"), {"metric": "pcr_batch"}, "'pcr_batch' is a loss .*use rule = 'error'"),
        (broken(metric="condition_variance"), {"metric": "condition_variance"}, "has no best value"),
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


def error_point(scores: dict[float, list[float]] | pd.DataFrame, **options) -> dict:
    results = scores if isinstance(scores, pd.DataFrame) else curve(scores)
    points = saturation_points(results, **({"metric": "micro_f1", "rule": "error"} | options))
    assert len(points) == 1
    return points.iloc[0].to_dict()


def probabilities(results: pd.DataFrame, **options) -> list[float]:
    return size_probabilities(results, **({"metric": "micro_f1"} | options))["probability"].tolist()


def draws_of(results: pd.DataFrame, values: np.ndarray, column: str = "value") -> pd.DataFrame:
    """Draws (n_boot, n_runs) of the runs of `results`, in its order."""
    keys = [np.repeat(column, len(results)), *(results[name] for name in ("task", "dataset", "metric", "run_id"))]
    levels = ["column", "task", "dataset", "metric", "run_id"]
    return pd.DataFrame(values, columns=pd.MultiIndex.from_arrays(keys, names=levels))


def test_errors_by_hand():
    scores = {1: [0.5, 0.7], 10: [0.8, 0.8], 25: [0.81, 0.81], 100: [0.82, 0.8]}  # mean errors .4, .2, .19, .19
    got = error_point(scores)
    assert got["percentage"] == 10, ".2 is at most .19 / .95, though rounding says otherwise"
    assert got["best"] == pytest.approx(0.19)
    assert got["threshold"] == pytest.approx(0.2)
    assert (got["at_edge"], got["reason"], got["n_seeds"], got["resampled"]) == (False, "", 2, "seeds")
    assert [error_point(scores, q=q)["percentage"] for q in (0.4, 0.9, 0.99, 1.0)] == [1, 10, 25, 25]


def test_one_lucky_seed_does_not_pass():
    scores = {1: [0.1, 0.1, 0.9], 10: [0.8, 0.8, 0.8], 100: [0.8, 0.8, 0.8]}
    assert point(scores)["percentage"] == 1
    assert error_point(scores)["percentage"] == 10


def test_a_score_near_its_ceiling_can_still_halve_its_error():
    scores = {1: [0.96, 0.96], 10: [0.98, 0.98], 100: [0.99, 0.99]}
    assert point(scores)["percentage"] == 1
    got = error_point(scores)
    assert (got["percentage"], got["at_edge"]) == (100, True), "not saturated within the range"


def test_seeds_that_agree_leave_no_doubt():
    results = curve({1: [0.5] * 3, 10: [0.8] * 3, 100: [0.8] * 3})
    got = error_point(results)
    assert (got["low"], got["percentage"], got["high"]) == (10, 10, 10)
    assert probabilities(results) == [0, 1, 0]


def test_two_seeds_by_hand():
    results = curve({1: [0.7, 0.9], 10: [0.9, 0.9]})
    # the smaller size draws its mean error .2 half of the time, else .2 ± .1 × sqrt 2: it is best in a quarter
    options = {"rng": np.random.default_rng(1), "n_boot": 40_000}
    assert probabilities(results, **options) == pytest.approx([0.25, 0.75], abs=0.01)
    got = error_point(results, **options)
    assert (got["low"], got["percentage"], got["high"]) == (1, 10, 10)


def test_gain_per_doubling_by_hand():
    results = curve({1: [0.5, 0.5], 25: [0.8, 0.8], 100: [0.9, 0.9]})
    got = error_point(results)
    assert [got[name] for name in ("gain_per_doubling", "gain_low", "gain_high")] == pytest.approx([0.05] * 3)
    in_cells = results.assign(n_cells=results["percentage"].map({1: 57, 25: 1000, 100: 8000}))
    assert error_point(in_cells)["gain_per_doubling"] == pytest.approx(0.1 / 3)


def test_one_seed_has_a_point_and_no_interval():
    got = error_point({1: [0.5, 0.5], 10: [0.9], 100: [0.9]})
    assert got["percentage"] == 10
    assert np.isnan([got["low"], got["high"], got["gain_low"], got["gain_high"]]).all()
    assert got["gain_per_doubling"] == 0
    assert got["reason"] == "one seed at 10, 100 %: no interval"
    assert (got["n_seeds"], got["resampled"]) == (1, "nothing")
    assert np.isnan(probabilities(curve({1: [0.5], 10: [0.9]}))).all()


def test_no_error_leaves_no_point():
    got = error_point({1: [0.9, 0.8], 10: [1.0, 1.0]})
    assert np.isnan([got["percentage"], got["low"], got["high"]]).all()
    assert got["reason"].startswith("the best mean error is 0, not over 0")
    assert got["gain_per_doubling"] == pytest.approx(0.15 / np.log2(10))


def test_draws_without_a_point_are_told():
    results = curve({1: [0.5, 0.5], 10: [0.9, 0.9]})
    values = np.tile(results["value"].to_numpy(), (100, 1))
    values[:20, 2:] = 1.0
    draws = draws_of(results, values)
    got = error_point(results, draws=draws)
    assert got["percentage"] == 10
    assert np.isnan(got["low"])
    assert got["reason"] == "20% of the draws have no point: no interval"
    assert probabilities(results, draws=draws) == [0, 0.8]


def test_one_size_is_no_curve():
    got = error_point({10: [0.5, 0.6]})
    assert np.isnan([got["percentage"], got["gain_per_doubling"]]).all()
    assert got["reason"] == "one size: nothing to compare it with"


def loss_curve(losses: dict[float, list[float]], **columns) -> pd.DataFrame:
    return curve(losses, metric="heldout_loss", task="heldout_loss", **({"ceiling": 0.4} | columns))


def test_a_loss_is_judged_by_its_excess_over_the_reference():
    results = loss_curve({1: [0.6, 0.8], 10: [0.5, 0.52], 100: [0.5, 0.5]})  # excess .3, .11, .1
    points = [error_point(results, metric="heldout_loss", q=q) for q in (0.9, 0.95)]
    assert [one["percentage"] for one in points] == [10, 100]
    assert points[0]["best"] == pytest.approx(0.1)
    below = error_point(loss_curve({1: [0.6, 0.8], 10: [0.39, 0.4]}), metric="heldout_loss")
    assert np.isnan(below["percentage"])
    assert below["reason"].startswith("the best mean error is -0.005, not over 0")
    for unknown in (results.drop(columns="ceiling"), results.assign(ceiling=np.nan)):
        got = error_point(unknown, metric="heldout_loss")
        assert np.isnan([got["percentage"], got["gain_low"]]).all()
        assert got["reason"] == "no ceiling: the excess over it is not known"


def test_cells_drawn_anew_move_the_point():
    results = curve({1: [0.5, 0.5], 10: [0.9, 0.9]})
    values = np.tile(results["value"].to_numpy(), (200, 1))
    values[:60, :2] = 0.9  # in 30 % of the draws the smaller size is as good
    draws = draws_of(results, values)
    assert probabilities(results, draws=draws) == [0.3, 0.7]
    got = error_point(results, draws=draws)
    assert (got["low"], got["percentage"], got["high"], got["resampled"]) == (1, 10, 10, "seeds and cells")
    lacking = draws.drop(columns=draws.columns[-1])
    assert error_point(results, draws=lacking)["resampled"] == "seeds"
    assert error_point(results, draws=draws.iloc[:, :0])["resampled"] == "seeds"


def test_what_hits_all_runs_alike_does_not_widen_a_difference():
    results = curve({1: [0.5, 0.5], 10: [0.8, 0.8], 100: [0.9, 0.9]})
    shifts = np.random.default_rng(0).normal(0, 0.02, (500, 1))
    got = error_point(results, draws=draws_of(results, results["value"].to_numpy() + shifts))
    assert got["gain_high"] - got["gain_low"] < 1e-12
    apart = np.random.default_rng(0).normal(0, 0.02, (500, len(results)))
    got = error_point(results, draws=draws_of(results, results["value"].to_numpy() + apart))
    assert got["gain_high"] - got["gain_low"] > 0.01


def test_losses_and_references_are_drawn_together():
    results = loss_curve({1: [0.6, 0.6], 100: [0.5, 0.5]})
    shifts = np.random.default_rng(0).normal(0, 0.05, (300, 1))
    drawn = [draws_of(results, results[column].to_numpy() + shifts, column) for column in ("value", "ceiling")]
    got = error_point(results, metric="heldout_loss", draws=pd.concat(drawn, axis=1))
    assert (got["low"], got["high"], got["resampled"]) == (100, 100, "seeds and cells")
    assert error_point(results, metric="heldout_loss", draws=drawn[0])["resampled"] == "seeds"


def many_curves(n: int, seed: int, sd: float = 0.01, n_seeds: int = 5) -> tuple[pd.DataFrame, np.ndarray]:
    """Curves of one truth, a set each, with the noise of seeds; and the true errors."""
    rng, errors = np.random.default_rng(seed), 0.1 + 0.2 * np.array(PERCENTAGES) ** -0.5
    tables = [
        curve(
            {
                size: list(1 - error + sd * rng.standard_normal(n_seeds))
                for size, error in zip(PERCENTAGES, errors, strict=True)
            },
            dataset=f"set {number}",
            family=f"family {number % 3}",
        )
        for number in range(n)
    ]
    return pd.concat(tables, ignore_index=True), errors


def test_the_order_of_rows_changes_nothing():
    results, _ = many_curves(6, 0)
    values = results["value"].to_numpy() + np.random.default_rng(1).normal(0, 0.01, (50, len(results)))
    draws, options = draws_of(results, values), {"metric": "micro_f1", "rule": "error"}
    keys = ["family", "dataset"]
    for drawn in (None, draws):
        once, again = (
            saturation_points(table, draws=of_table, rng=np.random.default_rng(3), **options).sort_values(keys)
            for table, of_table in (
                (results, drawn),
                (results.sample(frac=1, random_state=1), None if drawn is None else drawn.sample(frac=1, axis=1)),
            )
        )
        pd.testing.assert_frame_equal(once.reset_index(drop=True), again.reset_index(drop=True))
    other = saturation_points(results, rng=np.random.default_rng(4), **options)
    assert not other.equals(saturation_points(results, rng=np.random.default_rng(3), **options)), "draws are random"


def test_points_and_probabilities_are_of_the_same_draws():
    results, _ = many_curves(4, 1)
    options = {"metric": "micro_f1", "q": 0.9}
    points = saturation_points(results, rule="error", rng=np.random.default_rng(2), **options)
    sizes = size_probabilities(results, rng=np.random.default_rng(2), **options)
    for (_, part), (_, one) in zip(sizes.groupby("dataset"), points.sort_values("dataset").iterrows(), strict=True):
        assert part["probability"].sum() == pytest.approx(1)
        reached = part.set_index("percentage")["probability"].cumsum()
        assert reached[reached >= 0.05 - 1e-9].index[0] == one["low"]
        assert reached[reached >= 0.95 - 1e-9].index[0] == one["high"]
        errors = part.set_index("percentage")["error"]
        assert errors[one["percentage"]] <= one["threshold"] < errors[errors.index < one["percentage"]].min()


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    results, errors = many_curves(150, 5)
    points = saturation_points(results, metric="micro_f1", rule="error", n_boot=400)
    gain = (errors[-2] - errors[-1]) / np.log2(100 / 75)
    held = ((points["gain_low"] <= gain) & (gain <= points["gain_high"])).mean()
    assert 0.78 <= held <= 0.96
    assert errors[4] <= errors.min() / 0.95 < errors[3]
    assert ((points["low"] <= 75) & (points["high"] >= 75)).mean() >= 0.9
    assert (points["high"] > points["low"]).mean() > 0.9, "noise leaves several sizes"


def test_cells_tell_sizes_where_percentages_are_not_known():
    scores = {1: [0.5, 0.6], 10: [0.9, 0.7], 100: [0.9, 0.9]}
    in_cells = curve(scores).assign(n_cells=lambda rows: rows["percentage"] * 20).drop(columns="percentage")
    for rule in ("published", "error"):
        got = saturation_points(in_cells, metric="micro_f1", rule=rule)["percentage"].item()
        assert got == saturation_points(curve(scores), metric="micro_f1", rule=rule)["percentage"].item()
    with pytest.raises(ValueError, match="n_cells is missing or infinite in 1 rows"):
        saturation_points(in_cells.assign(n_cells=[20, np.nan, 200, 200, 2000, 2000]), metric="micro_f1", rule="error")


@pytest.mark.parametrize(
    ("results", "options", "told"),
    [
        (broken(value=[0.5, np.nan, 0.7, 0.8]), {}, "value is missing or infinite in 1 rows"),
        (broken(metric="score"), {"metric": "score"}, "unknown metric 'score'"),
        (broken(n_cells=[100, 100, 50, 50]), {}, r"n_cells does not grow .* \(1 %: 100, 10 %: 50\)"),
        (broken(), {"draws": pd.DataFrame({"a": [1.0]})}, "draws must have the column levels column, task"),
        (broken(), {"n_boot": 0}, "n_boot = 0 must be at least 1"),
        (
            broken(metric="heldout_loss", ceiling=[0.1, 0.1, 0.1, 0.2]),
            {"metric": "heldout_loss"},
            r"ceiling takes several values \(0.1, 0.2\) on the curve pca/1.0/random",
        ),
        (
            broken(metric="heldout_loss", ceiling=[0.1, np.inf, 0.1, 0.1]),
            {"metric": "heldout_loss"},
            "ceiling is missing or infinite in 1 of 4 rows",
        ),
    ],
)
def test_the_error_rule_refuses(results, options, told):
    with pytest.raises(ValueError, match=told):
        saturation_points(results, **({"metric": "micro_f1", "rule": "error"} | options))


def texts(drawn) -> list[str]:
    return [text.get_text() for axes in drawn.axes for text in axes.texts]


def test_figures_show_points_probabilities_and_what_is_missing():
    two_seeds = curve({1: [0.7, 0.9], 10: [0.9, 0.9]}, dataset="lung")
    results = pd.concat(
        [
            two_seeds,
            two_seeds.assign(width=2.0, run_id=two_seeds["run_id"] + "wide"),
            curve({1: [0.5], 10: [0.9]}, dataset="liver"),
        ],
        ignore_index=True,
    )
    options = {"metric": "micro_f1", "n_boot": 400}
    points, sizes = saturation_points(results, rule="error", **options), size_probabilities(results, **options)
    n_test = pd.Series({"lung": 1200, "liver": 30})
    drawn = probability_heatmap(points, sizes, metric="micro_f1", q=0.95, n_test=n_test)
    assert [axes.get_title() for axes in drawn.axes] == ["PCA, random", "PCA 2×, random"]
    told = [f"{100 * share:.0f}" for share in sizes["probability"].dropna()]
    assert sorted(texts(drawn)) == sorted(told)
    dotted = [line for axes in drawn.axes for line in axes.get_lines() if line.get_linestyle() == ":"]
    assert len(dotted) == points["low"].isna().sum() == 1
    assert [tick.get_text() for tick in drawn.axes[0].get_yticklabels()] == ["lung (n = 1,200)", "liver (n = 30)"]
    title = " ".join(drawn.get_suptitle().split())
    assert "dotted: no interval (a size has one seed)" in title
    assert "1 to 2 seeds" in title
    assert "% of draws of seeds;" in title
    assert len(gains(points, sizes, metric="micro_f1", n_test=n_test).axes) == 2
    published = saturation_points(results, metric="micro_f1", rule="published")
    drawn = saturation_heatmap(
        published, results.assign(sampling="random", n_cells=1000 * results["percentage"]), n_test=n_test
    )
    assert texts(drawn) == ["1", "1", "10"]
    told = " ".join(drawn.get_suptitle().split())
    assert "% of the corpus, micro F1, 1 to 2 seeds, 1,000 to 10,000 cells" in told


def test_figures_without_any_interval():
    results = curve({1: [0.5], 10: [0.9]})
    options = {"metric": "micro_f1"}
    points, sizes = saturation_points(results, rule="error", **options), size_probabilities(results, **options)
    drawn = probability_heatmap(points, sizes, metric="micro_f1", q=0.95, n_test=pd.Series({"lung": 5}))
    assert texts(drawn) == []
    assert "% of no draws;" in " ".join(drawn.get_suptitle().split())
    under = points.assign(reason="the best mean error is -0.1, not over 0: nothing is a share of it")
    drawn = probability_heatmap(under, sizes, metric="micro_f1", q=0.95, n_test=None)
    told = " ".join(drawn.get_suptitle().split())
    assert "no interval (an error is not over 0)" in told
    assert "one seed" not in told
    assert len(gains(points, sizes, metric="micro_f1", n_test=pd.Series({"lung": 5})).axes) == 1
