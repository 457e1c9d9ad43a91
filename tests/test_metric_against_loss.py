"""Flat ends of hand-made curves, verdicts about simulated ones, and models at equal data and equal compute."""

import numpy as np
import pandas as pd
import pytest
from sklearn.isotonic import IsotonicRegression

from helpers.analysis.equal_budget import equal_compute, equal_data
from helpers.analysis.metric_against_loss import (
    BOTH_FLAT,
    BOTH_MOVE,
    CANNOT_TELL,
    FALLS,
    FLATTENS,
    flat_share,
    metric_against_loss,
    monotone_fit,
)

SIZES = [1.0, 1.8, 3.2, 5.6, 10.0, 18.0, 32.0, 56.0, 100.0]


def runs(rng, score, *, fall: float = 0.3, seeds: int = 4, sizes=SIZES, sd: float = 0.01) -> pd.DataFrame:
    """The loss falls evenly over the sizes; `score` maps the share of its fall, from 0 to 1, to the expected score."""
    rows = [
        {"percentage": size, "strategy": "random", "loss": 1 - fall * share, "score": score(share)}
        for size, share in zip(sizes, np.linspace(0, 1, len(sizes)), strict=True)
        for _ in range(seeds)
    ]
    frame = pd.DataFrame(rows)
    return frame.assign(**{name: frame[name] + rng.normal(0, sd, len(frame)) for name in ("loss", "score")})


def judge(frame, seed=0, **options) -> dict:
    return metric_against_loss(frame, rng=np.random.default_rng(seed), **({"n_boot": 100} | options))


@pytest.mark.parametrize(
    ("y", "tolerance", "share"),
    [
        ([1.0, 0.9, 0.8], 0.05, 0.25),  # a line: half of its first part
        ([1.0, 1.0, 0.0], 0.5, 0.75),  # flat over the first half, then halfway down
        ([1.0, 0.0, 0.0], 0.5, 0.25),
        ([1.0, 0.8, 0.8], 0.2, 1.0),  # never over the tolerance
        ([1.0, 1.0, 0.8], 0.0, 0.5),  # no spread of seeds: flat where it is exactly so
        ([1.0, 1.0, 1.0], 0.0, 1.0),
    ],
)
def test_flat_share_by_hand(y, tolerance, share):
    assert flat_share(np.array([0.0, 1.0, 2.0]), np.array(y), tolerance) == pytest.approx(share)
    assert flat_share(np.array([3.0, 7.0, 11.0]), 5 * np.array(y), 5 * tolerance) == pytest.approx(share)


def test_monotone_fit_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    loss, score, weight = np.round(rng.uniform(size=60), 1), rng.normal(size=60), rng.integers(1, 5, 60)
    x, y = monotone_fit(loss, score, weight)
    peer = IsotonicRegression(increasing=False).fit(loss, score, sample_weight=weight)
    np.testing.assert_allclose(y, peer.predict(x))
    assert (np.diff(x) > 0).all()


@pytest.mark.parametrize(
    ("score", "options", "verdict", "least"),
    [
        (lambda share: 0.3 * share, {}, BOTH_MOVE, 19),
        (lambda share: 0.3 * min(1, 3 * share), {}, FLATTENS, 17),
        (lambda share: 0.7, {}, FLATTENS, 15),
        (lambda share: 0.7, {"fall": 0.0}, BOTH_FLAT, 17),
        (lambda share: 0.9 - 0.3 * share, {}, FALLS, 20),
        (lambda share: 0.9 - 0.05 * share, {}, FALLS, 19),
        (lambda share: 0.3 * (1 - abs(2 * share - 1)), {}, FALLS, 20),  # rises, then falls
        (lambda share: 0.3 * min(1, 4 * share) - 0.3 * max(0, share - 0.75), {}, FALLS, 17),
        (lambda share: 0.3 * abs(2 * share - 1), {"fall": 0.0}, CANNOT_TELL, 17),  # the loss stays
    ],
)
def test_verdicts_about_planted_curves(score, options, verdict, least):
    found = [judge(runs(np.random.default_rng(seed), score, **options), seed)["verdict"] for seed in range(20)]
    assert found.count(verdict) >= least, found


def test_a_score_that_does_not_fall_is_seldom_said_to():
    shapes = [lambda share: 0.7, lambda share: 0.05 * min(1, 3 * share), lambda share: 0.05 * share]
    found = [
        judge(runs(np.random.default_rng(seed), shape, seeds=3), seed)["verdict"]
        for shape in shapes
        for seed in range(20)
    ]
    assert found.count(FALLS) <= 4, found


def test_a_straight_line_is_seldom_called_flat():
    """However coarse the metric: a flat end must be longer than that of a line with the same gain."""
    found = []
    for gain in (0.02, 0.05, 0.1):
        lines = [runs(np.random.default_rng(seed), lambda share, gain=gain: gain * share) for seed in range(20)]
        found += [judge(frame)["verdict"] for frame in lines]
    assert found.count(FLATTENS) / len(found) <= 0.1


def test_interval_of_the_rank_correlation_without_any_relation():
    held = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        frame = runs(rng, lambda share: 0.7)
        got = judge(frame.assign(score=rng.permutation(frame["score"])), seed)
        held.append(got["rho_low"] <= 0 <= got["rho_high"])
    assert np.mean(held) >= 0.8


def test_numbers_by_hand():
    frame = pd.DataFrame({"percentage": np.repeat([1.0, 2, 3, 4], 2), "strategy": "random"})
    frame["loss"] = [4.01, 3.99, 3.01, 2.99, 2.01, 1.99, 1.01, 0.99]
    frame["score"] = [0.09, 0.11, 0.29, 0.31, 0.59, 0.61, 0.59, 0.61]
    got = judge(frame)
    sd = 0.01 * np.sqrt(2)
    assert got["gain"] == pytest.approx(0.5 / sd)
    assert got["fall"] == pytest.approx(3 / sd)
    assert got["decline"] == 0
    assert got["flat"] == pytest.approx((1 + sd / 0.3) / 3)  # from 1 to 2, and a bit on the way from .6 to .3
    assert (got["n"], got["n_sizes"], got["n_seeds"]) == (8, 4, 2)
    assert got["verdict"] == FLATTENS
    assert "over the lowest 35 %" in got["reason"]


def test_order_of_rows_and_units_do_not_matter():
    frame = runs(np.random.default_rng(3), lambda share: 0.1 * min(1, 2 * share))
    turned = frame.sample(frac=1, random_state=0)
    turned = turned.assign(score=3 * turned["score"], loss=0.5 * turned["loss"] + 2)
    one, other = judge(frame), judge(turned)
    assert other["verdict"] == one["verdict"]
    for key in ("rho", "rho_low", "flat", "flat_low", "flat_high", "gain", "fall"):
        assert other[key] == pytest.approx(one[key], rel=1e-6)


def test_too_few_sizes_or_seeds_leave_a_point_without_interval():
    rng = np.random.default_rng(0)
    few = judge(runs(rng, lambda share: share, sizes=[1.0, 10.0, 100.0]))
    assert few["verdict"] == CANNOT_TELL
    assert few["reason"] == "3 sizes; at least 4 are needed"
    assert few["rho"] > 0.9
    assert np.isfinite(few["flat"])
    single = judge(runs(rng, lambda share: share, seeds=1))
    assert "one seed for each size" in single["reason"]
    assert np.isnan([single["rho_low"], single["flat"]]).all()
    frame = runs(rng, lambda share: share)
    assert judge(frame.drop(index=[0, 1, 2]))["reason"] == "a size has one seed, so no interval"
    assert judge(frame.assign(loss=0.5))["reason"] == "the loss is the same in all runs"


def test_a_score_that_is_the_same_in_all_runs_is_flat():
    frame = runs(np.random.default_rng(0), lambda share: share)
    found = judge(frame.assign(score=0.5))
    assert found["verdict"] == FLATTENS
    assert "the score is the same in all runs" in found["reason"]


def test_a_loss_that_grows_with_the_corpus_tells_nothing():
    frame = runs(np.random.default_rng(0), lambda share: share)
    found = judge(frame.assign(loss=-frame["loss"]))
    assert (found["verdict"], found["reason"]) == (CANNOT_TELL, "the loss grows with the corpus")
    with pytest.raises(ValueError, match="loss is missing or infinite in 1 of 36 runs"):
        judge(frame.assign(loss=[np.nan, *frame["loss"][1:]]))
    with pytest.raises(ValueError, match="lacks the columns score"):
        judge(frame.drop(columns="score"))


def family(name: str, flops: list[float], scores: list[float], *, sizes=(1.0, 10.0, 100.0), width=1.0) -> pd.DataFrame:
    """Two seeds of each size, whose scores are 0.01 to either side."""
    rows = [
        {"family": name, "width": width, "strategy": "random", "percentage": size, "n_cells": 10 * size, "flops": cost}
        | {"score": score + side}
        for size, cost, score in zip(sizes, flops, scores, strict=True)
        for side in (-0.01, 0.01)
    ]
    return pd.DataFrame(rows)


def compared(how, *frames, **options) -> pd.DataFrame:
    return how(pd.concat(frames, ignore_index=True), rng=np.random.default_rng(0), n_boot=200, **options)


def test_equal_data_by_hand():
    first, second = family("pca", [1, 2, 3], [0.5, 0.6, 0.7]), family("scvi", [1, 2, 3], [0.4, 0.6, 0.6])
    got = compared(equal_data, first, second[second["percentage"] < 50]).iloc[0]
    assert (got["family"], got["term"], got["n"], got["n_seeds"]) == ("pca", "scvi", 8, 2)
    assert got["estimate"] == pytest.approx(0.05)  # sizes 1 and 10
    assert got["low"] < 0.05 < got["high"]
    assert got["range"] == "2 sizes, 10 to 100 cells"
    assert np.isnan(got["p"])


def test_equal_compute_interpolates_between_sizes_and_never_beyond():
    first = family("pca", [1e6, 1e8, 1e10], [0.2, 0.4, 0.6])  # .1 for each factor of 10
    second = family("scvi", [1e9, 1e10, 1e11], [0.3, 0.3, 0.3])
    got = compared(equal_compute, first, second).iloc[0]
    assert got["estimate"] == pytest.approx(0.55 - 0.3)  # from 1e9 (.5) to 1e10 (.6)
    assert got["range"].startswith("1e+09 to 1e+10 FLOPs: 2 sizes, 100 to 1,000 cells against 2 sizes")
    apart = compared(equal_compute, first, family("scvi", [1e12, 1e13, 1e14], [0.3, 0.3, 0.3])).iloc[0]
    assert not apart["testable"]
    assert np.isnan(apart["estimate"])
    assert apart["reason"] == "no FLOPs in common: 1e+06 to 1e+10 and 1e+12 to 1e+14"


def test_objectives_of_one_encoder_at_one_cost():
    """With a fixed number of cell-views all sizes cost the same: the largest corpus is compared."""
    frames = [family(name, [1e9] * 3, [0.1, 0.2, best]) for name, best in {"masked": 0.5, "triplet": 0.7}.items()]
    got = compared(equal_compute, *frames).iloc[0]
    assert got["estimate"] == pytest.approx(-0.2)
    assert got["range"] == "1e+09 FLOPs: 1 size, 1,000 cells against 1 size, 1,000 cells"
    assert compared(equal_data, *frames).iloc[0]["estimate"] == pytest.approx(-0.2 / 3)


def test_pairs_of_several_models():
    frames = [family("pca", [1, 2, 3], [0.5] * 3), family("ssl", [1, 2, 3], [0.4] * 3)]
    frames.append(family("ssl", [1, 2, 3], [0.3] * 3, width=2.0))
    got = compared(equal_data, *frames)
    assert got[["family", "term"]].to_numpy().tolist() == [["pca", "ssl"], ["pca", "ssl-w2"], ["ssl", "ssl-w2"]]
    np.testing.assert_allclose(got["estimate"], [0.1, 0.2, 0.1])
    assert compared(equal_data, frames[0]).empty


def test_models_that_cannot_be_compared():
    first, second = family("pca", [1, 2, 3], [0.5] * 3), family("scvi", [1, np.nan, 3], [0.4] * 3)
    assert "FLOPs are not known" in compared(equal_compute, first, second).iloc[0]["reason"]
    other = family("scvi", [1, 2, 3], [0.4] * 3, sizes=(2.0, 20.0, 50.0))
    assert compared(equal_data, first, other).iloc[0]["reason"] == "no size in common"
    single = [frame.iloc[::2] for frame in (first, family("scvi", [1, 2, 3], [0.4] * 3))]
    got = compared(equal_data, *single).iloc[0]
    assert np.isnan(got["low"])
    assert got["estimate"] == pytest.approx(0.1)
    assert got["reason"] == "a size has one seed, so no interval"
    with pytest.raises(ValueError, match="sampling takes several values"):
        compared(equal_data, first, second.assign(strategy="reweighted"))
    with pytest.raises(ValueError, match="lacks the columns flops"):
        compared(equal_compute, first.drop(columns="flops"))
