"""Means over held-out conditions: the same ones in every column, counted; scores by strength of the effect."""

import numpy as np
import pandas as pd
import pytest

from helpers.evaluate import perturbation_means as pm

NAN = np.nan


@pytest.fixture
def conditions() -> pd.DataFrame:
    """Three conditions of one set: the first does not separate null from ceiling, the third has no AUPRC."""
    columns = ["context", "perturbation", "metric", "value", "null", "ceiling", "calibrated", "n_de"]
    rows = [
        ("a", "x", "delta_r", 0.9, 0.8, 0.81, NAN, 12),
        ("b", "x", "delta_r", 0.5, 0.4, 0.8, 0.25, 350),
        ("c", "x", "delta_r", 0.2, 0.4, 0.8, -0.5, 120),
        ("a", "x", "specific_auprc", 0.1, 0.2, 0.4, -0.5, 12),
        ("b", "x", "specific_auprc", 0.3, 0.2, 0.4, 0.5, 350),
        ("c", "x", "specific_auprc", NAN, NAN, NAN, NAN, 120),
        ("a", "x", "mlp_r2", 0.5, 0.4, 0.4, NAN, 12),
    ]
    return pd.DataFrame(rows, columns=columns).assign(dataset="set")


def test_columns_are_means_over_the_same_conditions_and_count_them(conditions):
    table = pm.means(conditions).set_index("metric")
    assert list(table.columns) == ["dataset", "value", "null", "ceiling", "n_conditions"]
    scores = ["value", "null", "ceiling", "n_conditions"]
    expected = {
        "delta_r": [1.6 / 3, 1.6 / 3, 2.41 / 3, 3],
        "specific_auprc": [0.2, 0.2, 0.4, 2],
        "mlp_r2": [0.5, 0.4, 0.4, 1],
        "calibrated_delta_r": [-0.125, 0, 1, 2],
        "calibrated_specific_auprc": [0, 0, 1, 2],
    }
    assert list(table.index) == list(expected)
    for name, values in expected.items():
        assert table.loc[name, scores].tolist() == pytest.approx(values), name


def test_a_value_that_one_condition_lacks_moves_no_other_column(conditions):
    conditions.loc[1, "ceiling"] = NAN
    table = pm.means(conditions).set_index("metric")
    assert table.loc["delta_r", ["value", "null", "ceiling", "n_conditions"]].tolist() == pytest.approx(
        [1.1 / 2, 1.2 / 2, 1.61 / 2, 2]
    )


def test_a_metric_that_no_condition_has_is_told_as_such(conditions):
    table = pm.means(conditions[conditions["context"] == "c"]).set_index("metric")
    assert table.loc["specific_auprc", "n_conditions"] == 0
    assert np.isnan(table.loc["specific_auprc", "value"])
    assert "calibrated_specific_auprc" not in table.index


def test_calibrated_scores_are_unclipped_and_missing_where_nothing_is_separated():
    limits = pd.DataFrame(
        {
            "metric": ["delta_r", "delta_r", "delta_r", "mean_profile_mse"],
            "value": [0.9, 0.1, 0.5, 3.0],
            "null": [0.4, 0.4, 0.4, 2.0],
            "ceiling": [0.8, 0.8, 0.41, 1.0],
            "gap_sd": [0.1, 0.1, 0.1, 0.1],
        }
    )
    assert pm.calibrated(limits) == pytest.approx([1.25, -0.75, NAN, -1.0], nan_ok=True)


def test_conditions_are_listed_weakest_first_with_their_stratum(conditions):
    again = conditions.assign(calibrated=conditions["calibrated"] + 0.1)
    table = pm.by_condition(pd.concat([conditions, again], ignore_index=True))
    assert list(table.columns) == ["delta_r", "specific_auprc", "mlp_r2"]
    strata = ["0 to 99 DE genes", "100 to 299 DE genes", "300 to 999 DE genes"]
    expected = [
        (name, "set", *rest)
        for name, rest in zip(strata, [("a", "x", 12), ("c", "x", 120), ("b", "x", 350)], strict=True)
    ]
    assert table.index.tolist() == expected
    assert table["delta_r"].tolist() == pytest.approx([NAN, -0.45, 0.3], nan_ok=True)
    assert table["specific_auprc"].tolist() == pytest.approx([-0.45, NAN, 0.55], nan_ok=True)


@pytest.mark.parametrize(
    ("n", "stratum"), [(0, 0), (99, 0), (100, 1), (299, 1), (300, 2), (999, 2), (1000, 3), (20000, 3)]
)
def test_strata_hold_their_lower_end(n, stratum):
    found = pm.strata([n])
    assert found.codes.tolist() == [stratum]
    assert list(found.categories)[-1] == "1,000 or more DE genes"
