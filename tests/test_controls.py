"""The controls of the analysis, in a small form; `make controls` runs them in full."""

import numpy as np
import pandas as pd

from helpers.analysis import planted
from helpers.analysis.scaling import fit_scaling
from helpers.models import Budget, TrainingCells, create


def test_planted_verdicts_are_given_where_noise_is_small_and_seldom_where_it_is_large():
    rng = np.random.default_rng(0)
    clear = planted.verdict_rates([20], 8, rng, n_boot=100)
    clear = clear[~clear["shape"].isin(list(planted.HARDEST))]
    broken = clear["shape"].isin(list(planted.BROKEN))
    assert (clear.loc[~broken, "right"] >= 0.75).all()
    assert clear.loc[~broken, "right"].mean() >= 0.95
    assert clear.loc[broken, "saturated"].mean() <= 0.4  # an exponential fits these best, in nine of ten tables
    noisy = planted.verdict_rates([2], 8, rng, n_boot=100)
    assert noisy.loc[noisy["truth"] == "power law", "right"].max() < 0.5
    assert (noisy.loc[noisy["truth"] == "not identifiable", "right"] >= 0.75).all()


def test_intervals_of_the_joint_law_hold_the_truth():
    held = planted.joint_coverage(20, np.random.default_rng(1), n_boot=150)["held"]
    assert held.min() >= 0.7
    assert 0.8 <= held.mean() <= 0.99


def test_joint_laws_are_told_where_there_is_one():
    told = planted.non_laws_told(5, np.random.default_rng(4))
    assert told["planted law"] >= 0.8
    assert told[["step", "exponential"]].max() == 0


def test_intervals_along_one_axis_hold_the_truth():
    along = planted.axis_coverage(15, np.random.default_rng(5), n_boot=100)
    assert set(zip(along["spread"], along["seeds"], strict=True)) == {
        (spread, seeds) for spread in ("equal", "shrinking") for seeds in (3, 5)
    }
    assert along[["exponent", "change"]].to_numpy().mean() >= 0.75


def test_shuffled_sizes_give_no_law():
    shares = planted.shuffled_sizes(20, np.random.default_rng(2), n_boot=100)
    assert shares["power law"] <= 0.05


def test_simulated_cells_give_pca_an_exponent_of_one():
    """PCA's loss above that of the true axes falls as 1 / n, as the variance of estimated axes does (Anderson 1963)."""
    rng = np.random.default_rng(3)
    test = planted.simulated_cells(1500, rng)
    rows = []
    for size in (100, 200, 400, 800, 1600, 3200):
        for seed in range(5):
            cells = TrainingCells(planted.simulated_cells(size, rng), test[:50].copy())
            model = create("pca", n_genes=test.n_vars, n_components=4)
            model.fit(cells, budget=Budget("epochs", 1), rng=np.random.default_rng(seed))
            rows.append((size, float(model.heldout_loss(test).mean())))
    law = fit_scaling(pd.DataFrame(rows, columns=["n_cells", "loss"]), rng=rng, n_boot=200)
    assert law.form == "power law"
    assert abs(law.exponent - 1) < 0.25
    assert law.interval[0] < 1.1
    assert law.interval[1] > 0.9
