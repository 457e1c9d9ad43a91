"""What the figures of scaling laws, effects and gains say beside what they draw."""

import numpy as np
import pandas as pd
import pytest

from helpers.plots import effect_figures, saturation_figures, scaling_figures

LAWS = pd.DataFrame(
    {
        "axis": ["n_cells", "n_cells", "n_cells"],
        "model": "pca",
        "width": 1.0,
        "budget": "epochs=1",
        "sampling": ["random", "reweighted", "sketching"],
        "percentage": np.nan,
        "task": "heldout_loss",
        "metric": "heldout_loss",
        "dataset": "lung",
        "form": ["power law", "power law", ""],
        "verdict": ["power law", "not identifiable", "not identifiable"],
        "exponent": [0.5, np.nan, np.nan],
        "low": [0.4, 0.01, np.nan],
        "high": [0.6, 0.742, np.nan],
        "n_sizes": [9, 8, 3],
        "n_runs": [27, 24, 9],
        "seeds": 3,
        "smallest": 57.0,
        "largest": [5655.0, 3167.0, 3167.0],
    }
)

# Of a line or two, less than any real figure has.
pytestmark = pytest.mark.filterwarnings("ignore:constrained_layout not applied")


def words(figure) -> str:
    return " ".join(figure.get_suptitle().split())


def test_verdict_map_says_what_it_holds_and_leaves_out():
    told = words(scaling_figures.verdict_map(LAWS))
    assert "verdicts on 2 curves, 8 to 9 sizes, 57 to 5,655 cells, 3 seeds each" in told
    assert "left out for too few sizes: 1 curve." in told
    assert "blank" not in told
    assert "tells nothing beyond" in told
    two_sets = pd.concat([LAWS, LAWS.iloc[:1].assign(dataset="heart")], ignore_index=True)
    assert "blank: not judged" in words(scaling_figures.verdict_map(two_sets))


def test_forest_says_why_an_exponent_has_no_dot():
    told = words(scaling_figures.exponent_forest(LAWS))
    assert "24 to 27 models a curve, 3 seeds" in told
    assert "57 to 5,655 cells; nothing is known beyond" in told
    assert "1 or wider or reaches an end of what is looked at (0.01 to 4)" in told
    depth = LAWS.assign(axis=["n_cells", "umis_per_cell", "n_cells"], smallest=[57.0, 50.0, 57.0])
    assert "57 to 5,655 cells; 50 to 3,167 median UMIs per cell" in words(scaling_figures.exponent_forest(depth))


@pytest.mark.parametrize(("p_holm", "crosses", "told"), [(np.nan, 1, True), (0.01, 0, False)])
def test_effects_without_a_p_value_are_crosses_that_say_so(p_holm, crosses, told):
    effects = pd.DataFrame(
        {"model": ["pca"], "metric": "macro_f1", "dataset": "lung", "term": "shannon", "estimate": 0.5, "low": 0.4}
        | {"high": 0.6, "p_holm": p_holm, "n": 57, "n_sizes": 8, "n_seeds": 3, "testable": True}
        | {"range": "8 sizes, 57 to 3,167 cells; up to 1.4 doublings at one size"}
    )
    figure = effect_figures.forest(effects, xlabel="partial correlation")
    drawn = [line for line in figure.axes[0].lines if line.get_marker() == "x" and len(line.get_xdata())]
    assert len(drawn) == crosses
    title = " ".join(figure.legends[0].get_title().get_text().split())
    assert ("cannot be separated from the strategy" in title) == told
    assert "57 runs of 8 sizes, 57 to 3,167 cells, 3 seeds" in title


def test_gains_tell_the_range_where_it_is_known():
    points = pd.DataFrame(
        {"family": ["pca"], "width": 1.0, "sampling": "random", "task": "classification", "dataset": "lung"}
        | {"gain_per_doubling": 0.1, "gain_low": 0.0, "gain_high": 0.2, "n_seeds": 3, "resampled": "seeds and cells"}
    )
    options = {"metric": "macro_f1", "n_test": pd.Series({"lung": 90})}
    sizes = pd.DataFrame({"n_cells": [57.0, 5655.0]})
    for given, range_ in (
        (sizes, "within 57 to 5,655 cells"),
        (sizes * float("nan"), "the two largest sizes of curves,"),
    ):
        told = words(saturation_figures.gains(points, given, **options))
        assert range_ in told
        assert "what the next doubling would gain is not known" in told
