"""Sampling of cells: exact sizes, equal shares, and draws that depend on the seed alone."""

import importlib
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import subset

TYPES = st.lists(st.integers(1, 30), min_size=1, max_size=8)
SEEDS = st.integers(0, 2**32 - 1)


def cells(counts: list[int], seed: int = 0) -> pd.DataFrame:
    """Cells of len(counts) types in mixed order."""
    labels = np.repeat([f"type {i}" for i in range(len(counts))], counts)
    return pd.DataFrame({"cell_type": np.random.default_rng(seed).permutation(labels)})


def draw(strategy: str, obs: pd.DataFrame, n: int, seed: int = 0, **options) -> np.ndarray:
    return subset.draw(strategy, obs, n, rng=np.random.default_rng(seed), **options)


def quotas_by_hand(counts: list[int], n: int) -> list[tuple[int, int]]:
    """The literal reading: pour one cell at a time into every type that still has some, until a round is not full.

    Returns the fewest and most cells that each type may give.
    """
    taken = [0] * len(counts)
    while True:
        open_types = [i for i, count in enumerate(counts) if taken[i] < count]
        if n < len(open_types) or not open_types:
            return [(taken[i], taken[i] + (i in open_types and n > 0)) for i in range(len(counts))]
        for i in open_types:
            taken[i] += 1
            n -= 1


@pytest.mark.parametrize("strategy", subset.STRATEGIES)
@given(counts=TYPES, seed=SEEDS, data=st.data())
@settings(max_examples=60, deadline=None)
def test_size_is_exact_and_rows_are_sorted_and_distinct(strategy, counts, seed, data):
    n = data.draw(st.integers(1, sum(counts)))
    rows = draw(strategy, cells(counts), n, seed)
    assert rows.dtype == np.int64
    assert rows.shape == (n,)
    assert (np.diff(rows) > 0).all()
    assert rows[0] >= 0
    assert rows[-1] < sum(counts)
    np.testing.assert_array_equal(rows, draw(strategy, cells(counts), n, seed))


@given(counts=TYPES, seed=SEEDS, data=st.data())
@settings(max_examples=150, deadline=None)
def test_quotas_are_those_of_pouring_cell_by_cell(counts, seed, data):
    n = data.draw(st.integers(1, sum(counts)))
    obs = cells(counts)
    got = Counter(obs["cell_type"].iloc[draw("celltype_reweighted", obs, n, seed)])
    bounds = quotas_by_hand(counts, n)
    for i, (low, high) in enumerate(bounds):
        assert low <= got[f"type {i}"] <= high
    not_exhausted = [got[f"type {i}"] for i, count in enumerate(counts) if got[f"type {i}"] < count]
    assert not not_exhausted or max(not_exhausted) - min(not_exhausted) <= 1


def test_water_filling_by_hand():
    # Quota 20 / 4 = 5; the type of 2 leaves 3 over, so the others get (20 - 2) / 3 = 6; the type of 6 just fits.
    obs = cells([2, 6, 40, 50])
    got = Counter(obs["cell_type"].iloc[draw("celltype_reweighted", obs, 20)])
    assert got == {"type 0": 2, "type 1": 6, "type 2": 6, "type 3": 6}


def test_the_odd_cells_go_to_types_chosen_by_the_seed():
    obs, favoured = cells([50, 50, 50]), set()
    for seed in range(30):
        got = Counter(obs["cell_type"].iloc[draw("celltype_reweighted", obs, 10, seed)])
        assert sorted(got.values()) == [3, 3, 4]
        favoured.add(max(got, key=got.get))
    assert favoured == {"type 0", "type 1", "type 2"}


@pytest.mark.parametrize("strategy", subset.STRATEGIES)
def test_seeds_differ(strategy):
    obs = cells([400, 100, 30])
    drawn = {tuple(draw(strategy, obs, 100, seed)) for seed in range(20)}
    assert len(drawn) == 20


@pytest.mark.parametrize("strategy", subset.STRATEGIES)
@pytest.mark.parametrize("n", [3, 9])
def test_cells_of_a_type_are_equally_likely(strategy, n):
    """1 cell of 4 (or 3 of 4) in each of 3 types: every cell comes equally often, under and over half of the cells."""
    obs, times = cells([4, 4, 4]), 3000
    rng = np.random.default_rng(7)
    hits = np.bincount(np.concatenate([subset.draw(strategy, obs, n, rng=rng) for _ in range(times)]), minlength=12)
    share = n / 12
    z = (hits - times * share) / np.sqrt(times * share * (1 - share))
    assert np.abs(z).max() < 4


@pytest.mark.parametrize("strategy", subset.STRATEGIES)
def test_the_whole_corpus_is_every_cell(strategy):
    np.testing.assert_array_equal(draw(strategy, cells([5, 3]), 8), np.arange(8))


@given(seed=SEEDS, n=st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_how_labels_are_stored_changes_nothing(seed, n):
    text = cells([40, 15, 5])
    names = ["type 2", "never seen", "type 0", "type 1"]
    stored = pd.DataFrame({"cell_type": pd.Categorical(text["cell_type"], categories=names)})
    drawn = draw("celltype_reweighted", stored, n, seed)
    np.testing.assert_array_equal(draw("celltype_reweighted", text, n, seed), drawn)


def test_another_column_can_be_balanced():
    obs = cells([30]).assign(tissue=["lung"] * 28 + ["blood"] * 2)
    rows = draw("celltype_reweighted", obs, 10, label="tissue")
    assert Counter(obs["tissue"].iloc[rows]) == {"lung": 8, "blood": 2}


def test_global_random_state_is_neither_read_nor_changed():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    for strategy in subset.STRATEGIES:
        draw(strategy, cells([20, 9]), 12)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_an_embedding_is_ignored_where_none_is_read():
    obs = cells([20, 9])
    for strategy in subset.STRATEGIES:
        np.testing.assert_array_equal(draw(strategy, obs, 5, embedding=np.zeros((29, 2))), draw(strategy, obs, 5))


@pytest.mark.parametrize(
    ("n", "told"), [(0, "n = 0 .* use 1 to 5"), (-1, "n = -1"), (6, "n = 6 .* 5"), (2.0, "2.0"), (True, "True")]
)
@pytest.mark.parametrize("strategy", subset.STRATEGIES)
def test_impossible_sizes_are_refused(strategy, n, told):
    with pytest.raises(ValueError, match=told):
        draw(strategy, cells([3, 2]), n)


def test_unknown_strategies_and_options_are_refused():
    with pytest.raises(ValueError, match=r"did you mean 'random'.*celltype_reweighted"):
        draw("randon", cells([3]), 1)
    with pytest.raises(ValueError, match="'spikein'"):
        subset.module_of("spikein")
    with pytest.raises(ValueError, match=r"random: .*'label'"):
        draw("random", cells([3]), 1, label="cell_type")
    with pytest.raises(ValueError, match="did you mean 'label'"):
        draw("celltype_reweighted", cells([3]), 1, labels="cell_type")


def test_missing_labels_are_refused():
    obs = cells([3, 2])
    with pytest.raises(ValueError, match="lacks the column 'cell_type'; it has: tissue"):
        draw("celltype_reweighted", obs.rename(columns={"cell_type": "tissue"}), 2)
    obs.loc[1, "cell_type"] = None
    with pytest.raises(ValueError, match=r"obs\['cell_type'\] is missing for 1 of 5 cells"):
        draw("celltype_reweighted", obs, 2)
    assert len(draw("random", obs, 2)) == 2


def test_module_of_names_the_file_that_draws():
    for strategy in subset.STRATEGIES:
        assert subset.module_of(strategy) == f"helpers.subset.{strategy}"
        assert callable(importlib.import_module(subset.module_of(strategy)).draw)
