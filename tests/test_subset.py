"""Sampling of cells: exact sizes and shares, draws that depend on the seed alone, and clear words where cells lack."""

import re
from collections import Counter
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import split, subset

COUNTS = st.lists(st.integers(1, 30), min_size=2, max_size=8)
SEEDS = st.integers(0, 2**32 - 1)
SHARES = {"spikein_10": 0.1, "spikein_50": 0.5}
OPTIONS = {"depth": {"umis": 1}, "composition": {"blocks": {"dataset_id 0": 1.0, "dataset_id 1": 2.0}}}
LABELS = {
    "celltype_reweighted": "cell_type",
    "donors": "donor_id",
    "datasets": "dataset_id",
    "composition": "dataset_id",
}
every_strategy = pytest.mark.parametrize("strategy", subset.STRATEGIES)
few = settings(max_examples=40, deadline=None)


def cells(counts: list[int], seed: int = 0) -> pd.DataFrame:
    """Cells of len(counts) types, donors and datasets, each label in an order of its own; half of them treated."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(counts)), counts)
    obs = pd.DataFrame({"total_counts": rng.integers(1, 1000, len(groups))})
    for label in ("cell_type", "donor_id", "dataset_id"):
        names = [f"{label} {i}" for i in range(len(counts))]
        obs[label] = pd.Categorical.from_codes(rng.permutation(groups), names)
    return obs.assign(perturbation=np.where(rng.permutation(np.arange(len(groups)) % 2 == 0), "drug", "control"))


def treated_cells(treated: int, others: int) -> pd.DataFrame:
    names = ["drug"] * treated + ["control"] * others
    return pd.DataFrame({"perturbation": np.random.default_rng(0).permutation(names)})


def shares(obs: pd.DataFrame, rows: np.ndarray, label: str) -> Counter:
    """Cells of each group among those drawn."""
    return Counter(obs[label].iloc[rows])


def draw(strategy: str, obs: pd.DataFrame, n: int, seed=0, **options) -> np.ndarray:
    options = OPTIONS.get(strategy, {}) | options
    if subset.reads_embedding(strategy):
        options = {"embedding": obs[["total_counts"]].to_numpy(dtype=float)} | options
    return subset.draw(strategy, obs, n, rng=np.random.default_rng(seed), **options)


def most(strategy: str, obs: pd.DataFrame) -> int:
    """The largest size that can be filled, by trying one after the other."""
    if strategy == "composition":
        there = Counter(obs["dataset_id"])
        return min(3 * there["dataset_id 0"], 3 * there["dataset_id 1"] // 2)
    if strategy not in SHARES:
        return len(obs)
    treated, n = int((obs["perturbation"] == "drug").sum()), 0
    while (spiked := round(SHARES[strategy] * (n + 1))) <= treated and n + 1 - spiked <= len(obs) - treated:
        n += 1
    return n


def told(strategy: str, obs: pd.DataFrame, n: int, **options) -> int:
    """The size that the message of a failed draw says can be filled."""
    with pytest.raises(ValueError, match="use n ≤ ") as raised:
        draw(strategy, obs, n, **options)
    return int(re.search(r"use n ≤ ([\d,]+)", str(raised.value)).group(1).replace(",", ""))


# Every strategy


@every_strategy
@given(counts=COUNTS, seed=SEEDS, data=st.data())
@few
def test_size_is_exact_and_rows_are_sorted_and_distinct(strategy, counts, seed, data):
    obs = cells(counts)
    n, nested = data.draw(st.integers(1, most(strategy, obs))), data.draw(st.booleans())
    rows = draw(strategy, obs, n, seed, nested=nested)
    assert rows.dtype == np.int64
    assert rows.shape == (n,)
    assert (np.diff(rows) > 0).all()
    assert rows[0] >= 0
    assert rows[-1] < len(obs)
    np.testing.assert_array_equal(rows, draw(strategy, obs, n, seed, nested=nested))


@every_strategy
@given(counts=COUNTS, seed=SEEDS, data=st.data())
@few
def test_nested_draws_hold_the_smaller_ones(strategy, counts, seed, data):
    obs = cells(counts)
    sizes = sorted(data.draw(st.sets(st.integers(1, most(strategy, obs)), min_size=1, max_size=4)))
    drawn = [set(draw(strategy, obs, n, seed, nested=True)) for n in sizes]
    assert all(small < large for small, large in pairwise(drawn))


@every_strategy
@given(seed=SEEDS)
@few
def test_held_out_cells_are_never_drawn(strategy, seed):
    obs = cells([30, 20, 10])
    roles = np.random.default_rng(seed).choice(split.ROLES, len(obs))
    offered = split.offered(roles, strategy)
    treated = roles[offered] == "spikein"
    pool = obs.iloc[offered].assign(perturbation=np.where(treated, "drug", "control"))
    if n := most(strategy, pool):
        drawn = roles[offered[draw(strategy, pool, n, seed, perturbed=treated)]]
        assert set(drawn) <= ({"corpus", "spikein"} if strategy in SHARES else {"corpus"})


@every_strategy
@pytest.mark.parametrize("nested", [False, True])
def test_seeds_differ(strategy, nested):
    obs = cells([400, 120, 30])
    assert len({tuple(draw(strategy, obs, 100, seed, nested=nested)) for seed in range(20)}) == 20


@every_strategy
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("n", [2, 10])
def test_cells_of_a_kind_are_equally_likely(strategy, n, nested):
    """3 groups × 6 cells: each comes as often as its kind does, under and over half of the cells."""
    obs, rng, times = cells([6, 6, 6]), np.random.default_rng(7), 300
    options = {"embedding": np.zeros((18, 1))} if subset.reads_embedding(strategy) else {}
    if strategy == "composition":  # of all blocks, so that every cell can come
        options, nested = {"blocks": {f"dataset_id {i}": 1 for i in range(3)}}, False
    drawn = [draw(strategy, obs, n, rng, nested=nested, **options) for _ in range(times)]
    share = np.full(18, n / 18)
    if strategy in SHARES:
        spiked = round(SHARES[strategy] * n)
        share = np.where(obs["perturbation"] == "drug", spiked, n - spiked) / 9
    hits = np.bincount(np.concatenate(drawn), minlength=18)
    assert (np.abs(hits - times * share) <= 4 * np.sqrt(times * share * (1 - share))).all()


@pytest.mark.parametrize("strategy", [*subset.SAME_WHOLE, "random", "depth"])
def test_the_whole_corpus_is_every_cell(strategy):
    np.testing.assert_array_equal(draw(strategy, cells([5, 3]), 8), np.arange(8))


@pytest.mark.parametrize("options", [{}, {"k": 2}])
@pytest.mark.parametrize(("strategy", "label"), LABELS.items())
@given(seed=SEEDS, n=st.integers(2, 14))
@settings(max_examples=15, deadline=None)
def test_how_labels_are_stored_changes_nothing(strategy, label, options, seed, n):
    options = options if strategy == "donors" else {}
    obs = cells([40, 15, 5])
    names = [f"{label} {i}" for i in (2, 9, 0, 1)]  # one is never seen
    expected = draw(strategy, obs, n, seed, **options)
    for stored in (obs[label].astype(object), obs[label].astype("string"), pd.Categorical(obs[label], names)):
        np.testing.assert_array_equal(draw(strategy, obs.assign(**{label: stored}), n, seed, **options), expected)


@every_strategy
def test_global_random_state_is_not_changed(strategy):
    before = np.random.get_state()  # noqa: NPY002
    draw(strategy, cells([20, 9]), 12)
    np.testing.assert_equal(np.random.get_state(), before)  # noqa: NPY002


@pytest.mark.parametrize("strategy", [name for name in subset.STRATEGIES if not subset.reads_embedding(name)])
def test_what_a_strategy_does_not_read_is_ignored(strategy):
    obs, more = cells([20, 9]), {"embedding": np.zeros((29, 2))}
    more |= {} if strategy in SHARES else {"perturbed": np.ones(29, dtype=bool)}
    np.testing.assert_array_equal(draw(strategy, obs, 5, **more), draw(strategy, obs, 5))


# Quotas of cell types


def test_water_filling_by_hand():
    # Quota 20 / 4 = 5; the type of 2 leaves 3 over, so the others get (20 - 2) / 3 = 6; the type of 6 just fits.
    obs = cells([2, 6, 40, 50])
    got = shares(obs, draw("celltype_reweighted", obs, 20), "cell_type")
    assert got == {"cell_type 0": 2, "cell_type 1": 6, "cell_type 2": 6, "cell_type 3": 6}


def test_the_odd_cells_go_to_types_chosen_by_the_seed():
    obs, favoured = cells([50, 50, 50]), set()
    for seed in range(30):
        got = shares(obs, draw("celltype_reweighted", obs, 10, seed), "cell_type")
        assert sorted(got.values()) == [3, 3, 4]
        favoured.add(max(got, key=got.get))
    assert len(favoured) == 3


def test_another_column_can_be_balanced():
    obs = cells([30, 1]).assign(tissue=["lung"] * 29 + ["blood"] * 2)
    got = shares(obs, draw("celltype_reweighted", obs, 10, label="tissue"), "tissue")
    assert got == {"lung": 8, "blood": 2}


# Donors and datasets


@pytest.mark.parametrize(("strategy", "label"), [("donors", "donor_id"), ("datasets", "dataset_id")])
@given(counts=COUNTS, seed=SEEDS, data=st.data())
@few
def test_donors_come_whole_but_for_the_last(strategy, label, counts, seed, data):
    obs = cells(counts)
    there, whole = Counter(obs[label]), set()
    for n in sorted(data.draw(st.sets(st.integers(1, len(obs)), min_size=1, max_size=4))):
        got = shares(obs, draw(strategy, obs, n, seed), label)
        assert sum(got[name] < there[name] for name in got) <= 1
        assert whole <= got.keys()  # the order is the seed's, not the size's
        whole = {name for name in got if got[name] == there[name]}


@pytest.mark.parametrize("options", [{}, {"k": 1}])
def test_large_donors_are_no_likelier_than_small_ones(options):
    obs = cells([4, 40, 160, 1])
    firsts = Counter(obs["donor_id"].iloc[draw("donors", obs, 2, seed, **options)[0]] for seed in range(300))
    eligible = [firsts[f"donor_id {i}"] for i in range(3)]
    if options:  # a donor of one cell cannot give two
        assert sum(eligible) == 300
    assert max(eligible) - min(eligible) < 60  # 100 each, or 75: by cells the largest would have 235


@given(counts=COUNTS, seed=SEEDS, data=st.data())
@settings(max_examples=60, deadline=None)
def test_k_donors_give_equal_shares_up_to_the_size_that_is_told(counts, seed, data):
    obs = cells(counts)
    k = data.draw(st.integers(1, len(counts)))
    largest = max(n for n in range(k, len(obs) + 1) if sum(count >= -(-n // k) for count in counts) >= k)
    for n in (data.draw(st.integers(k, largest)), largest):
        got = shares(obs, draw("donors", obs, n, seed, k=k), "donor_id")
        assert sum(got.values()) == n
        assert len(got) == k
        assert set(got.values()) <= {n // k, -(-n // k)}
    if largest < len(obs):
        assert told("donors", obs, largest + 1, k=k) == told("donors", obs, len(obs), k=k) == largest


def test_datasets_can_be_spread_too():
    obs = cells([9, 5, 3])
    assert sorted(shares(obs, draw("datasets", obs, 8, k=2), "dataset_id").values()) == [4, 4]


# Spike-ins and mixtures


@pytest.mark.parametrize("strategy", subset.SPIKE_INS)
@given(treated=st.integers(1, 40), others=st.integers(1, 200), seed=SEEDS, data=st.data())
@settings(max_examples=60, deadline=None)
def test_spike_ins_have_their_share_up_to_the_size_that_is_told(strategy, treated, others, seed, data):
    obs = treated_cells(treated, others)
    mask, largest = (obs["perturbation"] == "drug").to_numpy(), most(strategy, obs)
    for n in (data.draw(st.integers(1, largest)), largest):
        rows = draw(strategy, obs, n, seed)
        assert mask[rows].sum() == round(SHARES[strategy] * n)
        np.testing.assert_array_equal(draw(strategy, obs[[]], n, seed, perturbed=mask), rows)
    if largest < len(obs):
        assert told(strategy, obs, largest + 1) == told(strategy, obs, len(obs)) == largest


def test_only_cells_that_may_be_spiked_in_are():
    obs = treated_cells(50, 50)
    allowed = np.arange(100) < 20  # whatever their perturbation says
    for seed in range(20):
        assert allowed[draw("spikein_50", obs, 40, seed, perturbed=allowed)].sum() == 20


@given(counts=COUNTS, seed=SEEDS, data=st.data())
@settings(max_examples=60, deadline=None)
def test_mixtures_have_their_shares_up_to_the_size_that_is_told(counts, seed, data):
    obs = cells(counts)
    weights = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=len(counts)))
    blocks = {f"dataset_id {i}": weight for i, weight in enumerate(weights)}
    fits = min(counts[i] * sum(weights) // weight for i, weight in enumerate(weights))
    for n in {data.draw(st.integers(1, fits)), fits}:
        got = shares(obs, draw("composition", obs, n, seed, blocks=blocks), "dataset_id")
        assert sum(got.values()) == n
        assert got.keys() <= blocks.keys()
        for block, weight in blocks.items():
            assert abs(got[block] - Fraction(n * weight, sum(weights))) < 1
    if any(count < len(obs) * weight / sum(weights) - 1 for count, weight in zip(counts, weights, strict=False)):
        assert told("composition", obs, len(obs), blocks=blocks) == fits


def test_the_size_that_is_told_suits_all_blocks_of_a_mixture():
    obs = cells([10, 5, 20])
    assert told("composition", obs, 22, blocks={"dataset_id 0": 1, "dataset_id 1": 1}) == 10
    assert told("composition", obs, 22, blocks={"dataset_id 0": 1}) == 10


def test_the_odd_cell_of_a_mixture_goes_to_a_block_chosen_by_the_seed():
    obs, blocks = cells([9, 9, 9]), {"dataset_id 0": 0.5, "dataset_id 2": 0.5}
    drawn = [shares(obs, draw("composition", obs, 3, seed, blocks=blocks), "dataset_id") for seed in range(20)]
    assert {got.most_common()[0] for got in drawn} == {("dataset_id 0", 2), ("dataset_id 2", 2)}


# Bad input


@every_strategy
@pytest.mark.parametrize(
    ("n", "message"), [(0, "n = 0 .* use 1 to 5"), (-1, "n = -1"), (6, "n = 6 .* 5"), (2.0, "2.0"), (True, "True")]
)
def test_impossible_sizes_are_refused(strategy, n, message):
    with pytest.raises(ValueError, match=message):
        draw(strategy, cells([3, 2]), n)


REFUSED = [
    ("randon", {}, r"did you mean 'random'.*celltype_reweighted"),
    ("spikein", {}, "'spikein_"),
    ("random", {"label": "cell_type"}, "random: takes no options, was given 'label'"),
    ("celltype_reweighted", {"labels": "cell_type"}, "did you mean 'label'"),
    ("composition", {}, "composition: the option 'blocks' is missing"),
    ("depth", {}, "depth: the option 'umis' is missing"),
    ("depth", {"umi": 5}, "did you mean 'umis'"),
    ("donors", {"label": "batch"}, "unknown option 'label'.*k"),
    ("datasets", {"label": "batch"}, "unknown option 'label'.*k"),
    ("spikein_10", {"share": 0.2}, "takes no options"),
    ("spikein_50", {"perturbed": True}, "takes no options"),
    ("donors", {"nested": True}, "unknown option 'nested'"),
]


@pytest.mark.parametrize(("strategy", "options", "message"), REFUSED)
def test_unknown_strategies_and_options_are_refused(strategy, options, message):
    with pytest.raises(ValueError, match=message):
        subset.check_options(strategy, options)
    if not options.keys() & {"perturbed", "nested"}:  # arguments of a draw, not options
        with pytest.raises(ValueError, match=message):
            subset.draw(strategy, cells([3, 2]), 1, rng=np.random.default_rng(0), **options)


@pytest.mark.parametrize("strategy", [name for name in subset.STRATEGIES if name not in OPTIONS])
def test_strategies_without_further_needs_pass(strategy):
    subset.check_options(strategy, {})
    assert subset.module_of(strategy).startswith("helpers.subset.")


@pytest.mark.parametrize(
    ("strategy", "label"), [*LABELS.items(), ("spikein_10", "perturbation"), ("spikein_50", "perturbation")]
)
def test_missing_labels_are_refused(strategy, label):
    obs = cells([3, 2])
    with pytest.raises(ValueError, match=f"lacks the column '{label}'; it has: .*total_counts"):
        draw(strategy, obs.drop(columns=label), 2)
    obs.loc[1, label] = None
    with pytest.raises(ValueError, match=rf"obs\['{label}'\] is missing for 1 of 5 cells"):
        draw(strategy, obs, 2)
    assert len(draw("random", obs, 2)) == 2


@pytest.mark.parametrize(
    ("strategy", "options", "message"),
    [
        ("donors", {"k": 3}, "k = 3 is more than the 2 donors there are"),
        ("datasets", {"k": 3}, "k = 3 is more than the 2 datasets"),
        ("donors", {"k": 0}, "k = 0 must be a whole number"),
        ("donors", {"k": True}, "k = True must be a whole number"),
        ("donors", {"k": 1.5}, "k = 1.5 must be a whole number"),
        ("donors", {"k": 2, "nested": True}, "leave out k or nested"),
        ("composition", {"blocks": {}}, r"blocks = {}: name values of obs.*'dataset_id 0'"),
        ("composition", {"blocks": {"dataset_id O": 1}}, "unknown dataset_id .*did you mean 'dataset_id "),
        ("composition", {"blocks": {"dataset_id 0": 0}}, "the weight of 'dataset_id 0' is 0"),
        ("composition", {"blocks": {"dataset_id 0": np.inf}}, "the weight of 'dataset_id 0' is inf"),
        ("composition", {"blocks": ["dataset_id 0"]}, r"blocks = \['dataset_id 0'\]: name values"),
        ("composition", {"blocks": {"dataset_id 0": True}}, "the weight of 'dataset_id 0' is True"),
        ("spikein_10", {"perturbed": np.zeros(5, dtype=bool)}, "none of 5 cells is perturbed"),
        ("spikein_10", {"perturbed": np.ones(4, dtype=bool)}, r"perturbed has the shape \(4,\)"),
    ],
)
def test_what_cannot_be_drawn_is_refused(strategy, options, message):
    with pytest.raises(ValueError, match=message):
        draw(strategy, cells([3, 2]), 3, **options)


def test_other_refusals():
    obs = cells([9, 9, 9])
    with pytest.raises(ValueError, match="n = 2 cells cannot be spread over k = 3"):
        draw("donors", obs, 2, k=3)
    with pytest.raises(ValueError, match="nested mixtures of 3 blocks"):
        draw("composition", obs, 3, nested=True, blocks={f"dataset_id {i}": 1 for i in range(3)})
