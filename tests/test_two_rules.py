"""Both rules of saturation side by side."""

import numpy as np
import pandas as pd

from helpers.analysis.two_rules import CURVE, side_by_side

NAN = np.nan


def points(*curves) -> pd.DataFrame:
    """(dataset, published point, point by the error rule, low, high) -> tables of both rules, one below the other."""
    rows = []
    for name, published, ours, low, high in curves:
        about = {"task": "classification", "metric": "micro_f1", "family": "pca", "width": 1.0, "sampling": "random"}
        about |= {"dataset": name}
        if published != "loss":
            rows.append(about | {"rule": "published", "q": 0.95, "percentage": published})
        told = {"rule": "error", "percentage": ours, "low": low, "high": high, "at_edge": ours == 100}
        rows += [about | told | {"q": q, "gain_per_doubling": 0.01} for q in (0.9, 0.95)]
    return pd.DataFrame(rows)


def test_where_the_rules_disagree_by_hand():
    table = side_by_side(
        points(
            ("inside", 10, 25, 10, 100),
            ("outside", 1, 25, 10, 100),
            ("no interval, same", 10, 10, NAN, NAN),
            ("no interval, other", 1, 10, NAN, NAN),
            ("published alone", 1, NAN, NAN, NAN),
            ("ours alone", NAN, 10, 1, 25),
            ("neither", NAN, NAN, NAN, NAN),
            ("a loss", "loss", 25, 10, 100),
        )
    )
    assert list(table.index.names) == CURVE
    told = table.droplevel(CURVE[:-1])
    assert list(told.index[told["disagree"]]) == ["outside", "no interval, other", "published alone", "ours alone"]
    assert list(told.index[~told["judged_twice"]]) == ["a loss"]


def test_points_in_words():
    table = side_by_side(points(("a", 1, 25, 10, 100), ("b", 1, 100, NAN, NAN), ("c", 1, NAN, NAN, NAN)))
    assert list(table["error rule, q = 0.90"]) == ["25 (10 to 100)", "100, edge", "–"]
    assert list(table.columns) == [
        "published",
        "error rule, q = 0.90",
        "error rule, q = 0.95",
        "gain_per_doubling",
        "judged_twice",
        "disagree",
    ]
