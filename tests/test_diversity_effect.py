"""Planted effects of diversity and of strategies are found, absent ones are not, and what cannot be tested says so."""

import numpy as np
import pandas as pd
import pytest

from helpers.analysis.diversity_effect import partial_effect
from helpers.analysis.resampling import corrected_interval, holm, interval, mean_draws, permutation_p, pooled_sd
from helpers.analysis.strategy_effect import strategy_effects

SIZES = [1.0, 3.2, 10.0, 32.0]
FAST = {"n_boot": 200, "n_permutations": 499}


def runs(
    rng, *, per_bit: float = 0.0, of_strategy: float = 0.0, sd: float = 0.01, seeds: int = 3, sizes=SIZES, apart=0.1
) -> pd.DataFrame:
    """Random cells of three bits, reweighted ones of more; scores rise by .1 a size, and a bit or a strategy adds.

    Most of what differs in bits lies within samplings, unless they are far `apart`.
    """
    rows = []
    for place, size in enumerate(sizes):
        for name in ("random", "reweighted"):
            for seed in range(seeds):
                bits = 3.0 + apart * (name != "random") + rng.uniform(-0.3, 0.3)
                score = 0.1 * place + per_bit * (bits - 3) + of_strategy * (name != "random") + rng.normal(0, sd)
                row = {"strategy": name, "percentage": size, "subset_seed": seed, "score": score, "shannon": bits}
                rows.append(row | {"vendi": 2**bits, "n_donors": np.nan, "n_datasets": 2, "n_cells": 100 * size})
    return pd.DataFrame(rows)


def many_samplings(rng, n: int, *, per_bit: float = 0.0, of_strategy: float = 0.02) -> pd.DataFrame:
    """Samplings of 2 to 4 bits, each with a random effect of its own at all sizes; every third one has two sizes."""
    bits, effects = rng.uniform(2, 4, n), rng.normal(0, of_strategy, n)
    rows = [
        {"strategy": f"way_{way}", "percentage": size, "subset_seed": seed, "shannon": found}
        | {"score": 0.1 * place + effects[way] + per_bit * found + rng.normal(0, 0.005)}
        for way in range(n)
        for place, size in enumerate(SIZES[: 2 if way % 3 == 2 else None])
        for seed in range(3)
        for found in [bits[way] + rng.normal(0, 0.03)]
    ]
    return pd.DataFrame(rows)


def partial(frame, seed=0, **options) -> dict:
    return partial_effect(frame, rng=np.random.default_rng(seed), **({"diversity": "shannon"} | FAST | options))


def strategy(frame, seed=0, **options) -> dict:
    effects = strategy_effects(frame, rng=np.random.default_rng(seed), **(FAST | options))
    assert len(effects) == 1
    return effects.iloc[0].to_dict()


def test_partial_effect_by_hand():
    rows = {1.0: [(3.0, 0.1), (4.0, 0.3), (5.0, 0.2)], 10.0: [(3.0, 0.7), (4.0, 0.8), (5.0, 0.9)]}
    frame = pd.DataFrame(
        [
            {"percentage": size, "sampling": f"s{number}", "shannon": x, "score": y}
            for size, pairs in rows.items()
            for number, (x, y) in enumerate(pairs)
        ]
    )
    got = partial(frame)
    assert got["slope"] == pytest.approx((1 * 0.1 + 1 * 0.2) / 4)  # Σ x̃ỹ / Σ x̃²
    assert got["estimate"] == pytest.approx(0.3 / np.sqrt(4 * 0.04))
    assert (got["n"], got["n_sizes"], got["n_seeds"]) == (6, 2, 1)
    assert "up to 2 doublings" in got["range"]
    assert "100 % of what differs" in got["reason"]
    assert got["testable"]
    assert np.isnan(got["p"])
    assert "3 samplings: an effect of diversity cannot be told from one of the strategy" in got["reason"]


def test_a_planted_effect_is_found_with_its_size():
    got = [partial(runs(np.random.default_rng(seed), per_bit=0.1, seeds=5), seed) for seed in range(20)]
    assert all(one["p"] < 0.05 and one["testable"] for one in got)
    assert np.mean([one["slope"] for one in got]) == pytest.approx(0.1, abs=0.01)
    frame = runs(np.random.default_rng(0), per_bit=0.05)
    assert partial(frame, diversity="vendi")["estimate"] == pytest.approx(partial(frame)["estimate"])  # log2 of 2^bits


def test_size_alone_is_no_effect_of_diversity():
    """Larger subsets are more diverse and better, without any effect at fixed size."""
    p = []
    for seed in range(40):
        frame = runs(np.random.default_rng(seed))
        frame["shannon"] += np.log2(frame["percentage"])
        p.append(partial(frame, seed)["p"])
    assert np.corrcoef(frame["shannon"], frame["score"])[0, 1] > 0.8
    assert np.mean(np.array(p) < 0.05) <= 0.15


@pytest.mark.parametrize("n", [2, 4])
def test_few_samplings_of_different_diversity_have_no_p_value(n):
    """However many runs they have, and however clear the estimate is."""
    got = partial(many_samplings(np.random.default_rng(0), n, per_bit=0.5))
    assert got["testable"]
    assert np.isnan(got["p"])
    assert got["estimate"] > 0.9
    assert np.isfinite([got["low"], got["high"]]).all()
    assert f"{n} samplings: an effect of diversity cannot be told from one of the strategy" in got["reason"]


def test_effects_of_strategies_are_seldom_taken_for_one_of_diversity():
    p = {n: [] for n in (5, 8)}
    for n, found in p.items():
        for seed in range(100):
            frame = many_samplings(np.random.default_rng(seed), n)
            found.append(partial(frame, seed, n_boot=2, n_permutations=199)["p"])
        assert np.mean(np.array(found) <= 0.05) <= 0.11, n
    got = partial(many_samplings(np.random.default_rng(0), 8, per_bit=0.1))
    assert got["p"] < 0.01
    assert got["low"] > 0
    assert "8 samplings are exchanged" in got["reason"]


def test_intervals_over_samplings_are_wider_than_those_over_their_seeds():
    frame = many_samplings(np.random.default_rng(1), 8)
    of_seeds = partial(frame[frame["strategy"].isin(["way_0", "way_1", "way_3", "way_4"])])
    of_samplings = partial(frame)
    assert of_samplings["high"] - of_samplings["low"] > 2 * (of_seeds["high"] - of_seeds["low"])


def test_a_strategy_is_no_effect_of_diversity_within_samplings():
    p = []
    for seed in range(100):
        frame = runs(np.random.default_rng(seed), of_strategy=0.1)
        p.append(partial(frame, seed, n_boot=2, n_permutations=99)["p"])
    assert np.mean(np.array(p) <= 0.05) <= 0.12


@pytest.mark.parametrize("nested", [(), ("random", "reweighted")])
def test_without_effect_few_tests_say_otherwise(nested):
    p = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        frame = runs(rng, seeds=5)
        if nested:  # subsets of a seed share most of their luck
            luck = {key: rng.normal(0, 0.05) for key in set(zip(frame["strategy"], frame["subset_seed"], strict=True))}
            frame["score"] += [luck[key] for key in zip(frame["strategy"], frame["subset_seed"], strict=True)]
        options = {"nested": nested, "n_boot": 20, "n_permutations": 99}
        p.append([partial(frame, seed, **options)["p"], strategy(frame, seed, **options)["p"]])
    rates = np.mean(np.array(p) <= 0.05, axis=0)
    assert (rates <= 0.1).all(), rates


def test_intervals_hold_what_was_planted():
    held, surely = [], []
    for seed in range(100):
        frame = runs(np.random.default_rng(seed), of_strategy=0.01, seeds=3)
        got = strategy(frame, seed, n_permutations=9)
        held.append(got["low"] <= 0.01 <= got["high"])
        one = strategy(frame[frame["percentage"] == 1], seed, n_permutations=9)
        surely.append(one["low"] <= 0.01 <= one["high"])
    assert 0.84 <= np.mean(held) <= 0.97
    assert 0.8 <= np.mean(surely) <= 0.98


def test_strategy_effect_by_hand():
    scores = {("random", 1): [0.1, 0.2], ("random", 10): [0.5, 0.5], ("random", 100): [9.0, 9.0]}
    scores |= {("x", 1): [0.3, 0.4], ("x", 10): [0.8, 0.6]}
    frame = pd.DataFrame(
        [
            {"strategy": name, "percentage": float(size), "score": score}
            for (name, size), values in scores.items()
            for score in values
        ]
    )
    got = strategy(frame, n_permutations=4999)
    assert got["term"] == "x"
    assert got["estimate"] == pytest.approx((0.2 + 0.2) / 2)  # the largest size is drawn at random alone
    assert got["n"] == 8
    assert got["range"] == "2 sizes, 1 to 10 % of the corpus"
    assert got["p"] == pytest.approx(2 / 36, abs=0.01)  # 6 × 6 ways; this one and its mirror
    assert "no p under 0.056" in got["reason"]


def test_with_three_seeds_at_one_size_no_p_is_small():
    frame = runs(np.random.default_rng(0), of_strategy=1.0, sizes=[3.2])
    got = strategy(frame)
    assert 0.1 <= got["p"] < 0.15
    assert "no p under 0.1" in got["reason"]


def test_nested_seeds_count_once():
    frame = runs(np.random.default_rng(0), of_strategy=0.05, per_bit=0.1)
    alone, nested = strategy(frame), strategy(frame, nested=["random"])
    assert nested["estimate"] == pytest.approx(alone["estimate"])
    assert alone["p"] < 0.05 < nested["p"]
    assert "each seed counts once" in nested["reason"]
    assert partial(frame, nested=["random"])["p"] > partial(frame)["p"]
    lacking = frame[~((frame["percentage"] == 1) & (frame["strategy"] == "random") & (frame["subset_seed"] == 2))]
    got = partial(lacking, nested=["random"])
    assert got["n"] == 5 * len(SIZES), "a seed without a run of every size is left out"
    apart = frame[(frame["strategy"] == "random") == (frame["percentage"] < 5)]
    third = frame[frame["percentage"].isin([1.0, 32.0])].assign(strategy="third", shannon=6.0)
    got = partial(pd.concat([apart, third]), nested=["random"])
    assert not got["testable"]
    assert "a size is needed that all samplings have" in got["reason"]


def test_order_of_rows_and_units_of_the_score_do_not_matter():
    frame = runs(np.random.default_rng(1), per_bit=0.03, seeds=5)
    turned = frame.sample(frac=1, random_state=0).assign(score=lambda table: 100 * table["score"] + 7)
    for estimate in (partial, strategy):
        one, other = estimate(frame), estimate(turned)
        scale = 1 if estimate is partial else 100
        for key in ("estimate", "low", "high"):
            assert other[key] == pytest.approx(scale * one[key])
        assert other["p"] == one["p"]
        assert other["reason"] == one["reason"]


@pytest.mark.parametrize(
    ("change", "diversity", "told"),
    [
        ({}, "n_donors", "donors: not known for these runs"),
        ({}, "n_datasets", "datasets: differs by at most 0 doublings at one size"),
        ({"strategy": "random"}, "shannon", "no size has two ways of sampling"),
        ({"score": 0.7}, "shannon", "the score is the same in all runs of each size"),
    ],
)
def test_what_cannot_be_tested_has_a_reason_and_no_number(change, diversity, told):
    got = partial(runs(np.random.default_rng(0)).assign(**change), diversity=diversity)
    assert not got["testable"]
    assert told in got["reason"]
    assert all(np.isnan(got[key]) for key in ("estimate", "low", "high", "p", "slope"))


def test_samplings_without_a_common_size_or_a_second_seed():
    frame = runs(np.random.default_rng(0))
    apart = frame[(frame["strategy"] == "random") == (frame["percentage"] < 5)]
    got = strategy(apart)
    assert not got["testable"]
    assert "no size in common" in got["reason"]
    single = strategy(frame[frame["subset_seed"] == 0])
    assert np.isnan(single["low"])
    assert np.isfinite(single["p"])
    assert "one seed, so no interval" in single["reason"]
    assert "no interval from fewer than 3 runs" in partial(frame[frame["subset_seed"] == 0])["reason"]


def test_donors_of_a_simulated_design():
    """Ways of sampling at one size that differ in donors, as in params/axes_simulated.yaml."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "run_id": f"pca-w1/{name}/p003.2/s{seed:02d}",
            "strategy": name.split("_")[0],
            "percentage": 3.2,
            "n_cells": 301,
            "n_donors": k,
            "shannon": 3.0,
            "score": 0.05 * np.log2(k) + rng.normal(0, 0.02),
        }
        for name, k in {"random": 56, "donors_1": 1, "donors_3": 3, "donors_10": 10, "donors_30": 30}.items()
        for seed in range(3)
    ]
    frame = pd.DataFrame(rows)
    got = partial(frame, diversity="n_donors")
    assert 1 / 120 <= got["p"] < 0.05, "five ways of sampling can be exchanged in 120 ways"
    assert got["slope"] == pytest.approx(0.05, abs=0.01)
    assert got["range"] == "1 size, 301 cells; up to 5.8 doublings at one size"
    effects = strategy_effects(frame, rng=rng, **FAST).set_index("term")["estimate"]
    assert effects["donors_1"] < effects["donors_3"] < effects["donors_10"] < 0
    assert not partial(frame)["testable"], "Shannon is the same"


@pytest.mark.parametrize(
    ("change", "options", "told"),
    [
        ({}, {"diversity": "simpson"}, "unknown measure of diversity 'simpson'"),
        ({"score": np.nan}, {}, "score is missing or infinite in 24 of 24 runs"),
        ({"percentage": 0.0}, {}, "percentage must be over 0, 24 runs are not"),
        ({"family": ["pca", "scvi"] * 12}, {}, r"family takes several values \(pca, scvi\)"),
        ({"width": [1.0, 2.0] * 12}, {}, "width takes several values"),
        ({"run_id": "pca-w1/random/p001.0/s00"}, {}, "23 runs stand twice, e.g. pca-w1/random"),
        ({"n_donors": 0}, {"diversity": "n_donors"}, "n_donors must be over 0"),
    ],
)
def test_unusable_runs_are_refused(change, options, told):
    with pytest.raises(ValueError, match=told):
        partial(runs(np.random.default_rng(0)).assign(**change), **options)


def test_absent_columns_and_references_are_named():
    frame = runs(np.random.default_rng(0))
    with pytest.raises(ValueError, match="lacks the columns shannon"):
        partial(frame.drop(columns="shannon"))
    with pytest.raises(ValueError, match="lacks the columns strategy"):
        strategy(frame.drop(columns="strategy"))
    with pytest.raises(ValueError, match="lacks the columns subset_seed"):
        strategy(frame.drop(columns="subset_seed"), nested=["random"])
    with pytest.raises(ValueError, match=r"unknown sampling 'rndom' .did you mean 'random'"):
        strategy(frame, reference="rndom")
    with pytest.raises(ValueError, match="is empty"):
        partial(frame.iloc[:0])


def test_small_p_values_are_told_closely_and_large_ones_soon():
    asked = []

    def reach(n: int) -> int:
        asked.append(n)
        return n // 5000

    assert permutation_p(reach, 45_000) == 6 / 45_001  # one in each of four whole blocks and in a last one of 5,004
    assert asked == [9999] * 4 + [5004]
    asked.clear()
    assert permutation_p(lambda n: reach(n) + 10, 45_000) == 12 / 10_000
    assert asked == [9999]


def test_p_values_of_permutations_are_uniform_where_nothing_is():
    rng = np.random.default_rng(3)
    p = []
    for _ in range(400):
        chance = rng.uniform()  # of a permutation to reach the estimate, uniform where nothing is there
        p.append(permutation_p(lambda n, chance=chance: rng.binomial(n, chance), 30_000))
    assert abs(np.mean(np.array(p) < 0.05) - 0.05) < 0.03


def test_holm_by_hand_and_beside_statsmodels():
    from statsmodels.stats.multitest import multipletests

    np.testing.assert_allclose(holm(np.array([0.04, 0.01, np.nan, 0.03])), [0.06, 0.03, np.nan, 0.06])
    p = np.random.default_rng(0).uniform(size=50) ** 3
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1])
    assert np.isnan(holm(np.array([np.nan]))).all()


def test_draws_of_a_mean_spread_as_seeds_do():
    rng = np.random.default_rng(0)
    draws = mean_draws(np.array([1.0, 2.0, 3.0]), 20000, rng)
    assert draws.mean() == pytest.approx(2, abs=0.02)
    assert draws.std() == pytest.approx(1 / np.sqrt(3), rel=0.03)  # SD of the seeds, which is 1, over √n
    assert np.isnan(mean_draws(np.array([1.0]), 5, rng)).all()
    normal = rng.normal(size=20000)
    assert np.diff(interval(0.0, normal)) == pytest.approx(2 * 1.645, rel=0.03)
    assert np.diff(interval(0.0, normal, 4)) == pytest.approx(2 * 2.132, rel=0.03)  # Student's t, 4 degrees of freedom
    assert corrected_interval(0.0, normal) == pytest.approx(interval(0.0, normal), abs=0.05)
    assert max(corrected_interval(0.0, normal + 0.5)) < 1.645, "draws too high are moved down"
    assert pooled_sd(np.array([1.0, 3.0, 7.0]), np.array([0, 0, 1])) == pytest.approx(np.sqrt(2))
    assert np.isnan(pooled_sd(np.array([1.0, 3.0]), np.array([0, 1])))
