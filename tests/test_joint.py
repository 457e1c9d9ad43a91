"""The joint law of parameters and data: planted truths, repeated cells, the frontier, refusals."""

import numpy as np
import pandas as pd
import pytest

from helpers.analysis.joint import REPETITION, effective_data, fit_joint
from helpers.analysis.planted import planted_non_laws

TRUTH = {"E": 1.7, "A": 40.0, "alpha": 0.34, "B": 8.0, "beta": 0.28, "R*": REPETITION}


def law(n, unique, views, *, repetition=REPETITION) -> np.ndarray:
    data = effective_data(np.asarray(unique, float), np.asarray(views, float), repetition)
    return TRUTH["E"] + TRUTH["A"] / np.asarray(n) ** TRUTH["alpha"] + TRUTH["B"] / data ** TRUTH["beta"]


def runs(*, views=(40_000.0,), repetition=REPETITION, ratio=40, n_seeds=5, seed=0, sizes=7, widths=5) -> pd.DataFrame:
    grid = [
        (n, unique, view)
        for n in np.geomspace(1e5, 1e7, widths)
        for unique in np.geomspace(57, 57_000, sizes)
        for view in views
    ]
    frame = pd.DataFrame(grid * n_seeds, columns=["n_parameters", "n_unique", "cell_views"])
    loss = law(frame["n_parameters"], frame["n_unique"], frame["cell_views"], repetition=repetition)
    noise = np.random.default_rng(seed).normal(0, np.ptp(loss) / ratio, len(loss))
    return frame.assign(loss=loss + noise)


def joint(frame: pd.DataFrame, **options):
    return fit_joint(frame, **({"rng": np.random.default_rng(1), "n_boot": 200} | options))


def test_effective_data_by_hand():
    assert effective_data(100.0, 100.0, 15.0) == pytest.approx(100)
    assert effective_data(100.0, 200.0, 15.0) == pytest.approx(100 + 1500 * (1 - np.exp(-1 / 15)))
    assert effective_data(100.0, 1e9, 15.0) == pytest.approx(1600)  # however often they are seen
    assert effective_data(100.0, 50.0, 15.0) == pytest.approx(50)  # no more than was seen


def test_without_noise_the_truth_returns():
    found = joint(runs(ratio=np.inf), n_boot=5)
    for name, value in TRUTH.items():
        assert found.parameters.loc[name, "value"] == pytest.approx(value, rel=1e-3)
    assert found.fixed_repetition
    assert found.identifiable


def test_what_repetition_is_worth_is_fitted_from_three_budgets():
    found = joint(runs(views=(4e4, 4e5, 4e6), repetition=5.0, ratio=200))
    assert not found.fixed_repetition
    row = found.parameters.loc["R*"]
    assert row["low"] < 5 < row["high"]
    assert row["value"] == pytest.approx(5, rel=0.1)


def test_intervals_hold_the_truth():
    """Over 30 tables, 90 % intervals hold floor, exponents and predicted losses at three points about that often."""
    points = {"n_parameters": [3e7, 1e7, 1e6], "unique": [57_000.0, 2e5, 1e4], "views": [4e4, 4e5, 4e4]}
    true = law(*points.values())
    held = []
    for seed in range(30):
        found = joint(runs(seed=seed), n_boot=150)
        table, losses = found.parameters, found.predict(**{name: np.array(value) for name, value in points.items()})
        held.append(
            [table.loc[name, "low"] <= TRUTH[name] <= table.loc[name, "high"] for name in ("E", "alpha", "beta")]
        )
        held[-1] += list((losses["low"] <= true) & (true <= losses["high"]))
    assert np.mean(held) > 0.8
    assert np.mean(held, axis=0).min() > 0.7


def test_units_and_order_do_not_matter():
    frame = runs()
    first = joint(frame).parameters
    other = joint(
        frame.assign(loss=3 * frame["loss"], n_parameters=frame["n_parameters"] * 10).sample(frac=1)
    ).parameters
    np.testing.assert_allclose(other.loc[["alpha", "beta"]], first.loc[["alpha", "beta"]], rtol=1e-3)
    np.testing.assert_allclose(other.loc["E"], 3 * first.loc["E"], rtol=1e-3)


def test_the_frontier_is_that_of_the_law():
    found = joint(runs(ratio=np.inf, sizes=9), n_boot=5)
    flops, budgets = 6.0, [1e10, 1e12]
    table = found.frontier(budgets, flops)
    ratio = TRUTH["alpha"] * TRUTH["A"] / (TRUTH["beta"] * TRUTH["B"])
    power = 1 / (TRUTH["alpha"] + TRUTH["beta"])
    expected = ratio**power * (np.array(budgets) / flops) ** (TRUTH["beta"] * power)
    np.testing.assert_allclose(table["n_parameters"], expected, rtol=0.002)
    assert (table["low"] <= table["high"]).all()
    assert list(table["inside"]) == [True, False]  # 83,000 new cells are more than any run is worth
    assert not found.frontier([1e16], flops)["inside"][0]
    scarce = found.frontier(budgets, flops, unique=1000)
    assert (scarce["loss"] > table["loss"]).all()  # repeated cells are worth less
    profile = found.profiles(1e12, flops, np.geomspace(1e5, 1e8, 400))
    assert profile.loc[profile["value"].idxmin(), "n_parameters"] == pytest.approx(expected[1], rel=0.06)


def test_the_band_of_the_frontier_is_no_step_of_what_is_looked_at():
    table = joint(runs(ratio=4000), n_boot=50).frontier([1e10, 1e11, 1e12], 6.0)
    assert (table["low"] < table["n_parameters"]).all()
    assert (table["n_parameters"] < table["high"]).all()
    assert (table["high"] / table["low"] < 1.04).all()  # steps are of 1.065


def test_exponents_that_are_not_told():
    frame = runs(ratio=40)
    frame["loss"] = np.random.default_rng(3).normal(3, 0.1, len(frame))
    found = joint(frame)
    assert not found.identifiable
    assert "may be anything" in found.reason
    with pytest.raises(ValueError, match="no frontier"):
        found.frontier([1e10], 6.0)


def test_a_logarithm_of_size_is_no_law():
    frame = runs(ratio=np.inf)
    noise = np.random.default_rng(4).normal(0, 1e-3, len(frame))
    data = law(1e6, frame["n_unique"], frame["cell_views"])
    found = joint(frame.assign(loss=data - 0.1 * np.log(frame["n_parameters"]) + noise))
    assert not found.identifiable
    assert "alpha may be as small as is looked at" in found.reason


@pytest.mark.parametrize("shape", ["step", "exponential"])
def test_losses_that_follow_no_law_of_parameters(shape):
    frame = planted_non_laws(40, np.random.default_rng(5))[shape]
    found = joint(frame)
    assert not found.identifiable
    assert "the law misses the means by" in found.reason
    with pytest.raises(ValueError, match="no frontier can be told"):
        found.frontier([1e10], 6.0)


def test_a_law_is_seldom_said_to_miss_its_means():
    reasons = [joint(runs(seed=seed), n_boot=100).reason for seed in range(15)]
    assert sum("misses" in reason for reason in reasons) <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_parameters": 1e6}, "n_parameters takes 1 values"),
        ({"n_unique": 100.0}, "n_unique takes 1 values"),
        ({"loss": np.nan}, "loss is missing or infinite"),
        ({"cell_views": 0}, "cell_views must be over 0"),
    ],
)
def test_bad_tables(change, message):
    with pytest.raises(ValueError, match=message):
        joint(runs().assign(**change))


def test_one_seed_is_refused():
    with pytest.raises(ValueError, match="one run for each size"):
        joint(runs(n_seeds=1))
