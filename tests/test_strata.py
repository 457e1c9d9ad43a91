"""Cells numbered by group, quotas of groups, and random masks: each subset equally likely, ties by position."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from helpers.subset import celltype_reweighted, strata

SEEDS = st.integers(0, 2**32 - 1)


@given(counts=st.lists(st.integers(0, 30), min_size=1, max_size=8).filter(sum), seed=SEEDS, data=st.data())
@settings(max_examples=150, deadline=None)
def test_quotas_are_those_of_pouring_cell_by_cell(counts, seed, data):
    """The literal reading: a cell for every type that has one left, again and again, until a round is not full."""
    n = left = data.draw(st.integers(1, sum(counts)))
    full = [0] * len(counts)
    while left >= (unexhausted := [taken < count for taken, count in zip(full, counts, strict=True)]).count(True) > 0:
        full = [taken + more for taken, more in zip(full, unexhausted, strict=True)]
        left -= sum(unexhausted)
    got = celltype_reweighted.fill(np.array(counts), n, np.random.default_rng(seed))
    assert got.sum() == n
    surplus = got - full
    assert surplus.sum() == left
    assert all(0 <= more <= may for more, may in zip(surplus, unexhausted, strict=True))


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("n", [2, 3])
def test_each_subset_is_equally_likely(n, nested):
    rng = np.random.default_rng(11)
    seen = Counter(tuple(strata.sample_mask(5, n, rng, nested=nested).tolist()) for _ in range(5000))
    assert len(seen) == 10
    assert chisquare(list(seen.values())).pvalue > 1e-3


@given(keys=st.lists(st.integers(0, 3), min_size=1, max_size=12), data=st.data())
def test_of_equal_keys_the_first_are_lowest(keys, data):
    n = data.draw(st.integers(0, len(keys)))
    expected = np.isin(np.arange(len(keys)), np.argsort(keys, kind="stable")[:n])
    np.testing.assert_array_equal(strata._lowest(np.array(keys, dtype=float), n), expected)
    tied = type("Tied", (), {"random": staticmethod(lambda size: np.array(keys, dtype=float))})
    np.testing.assert_array_equal(strata.sample_mask(len(keys), n, tied, nested=True), expected)


@pytest.mark.parametrize("n", [0, 4, 9])
def test_a_nested_mask_uses_as_much_randomness_at_any_size(n):
    rng = np.random.default_rng(0)
    strata.sample_mask(9, n, rng, nested=True)
    assert rng.random() == np.random.default_rng(0).random(10)[-1]


def test_groups_are_numbered_by_name_and_without_gaps():
    codes, names = strata.codes_of(pd.DataFrame({"x": pd.Categorical(["b", "a", "c"], categories=list("dcab"))}), "x")
    assert names == ["a", "b", "c"]
    assert codes.tolist() == [1, 0, 2]


@given(counts=st.lists(st.integers(0, 20), min_size=1, max_size=6), seed=SEEDS, data=st.data())
@settings(max_examples=60, deadline=None)
def test_each_group_gives_its_quota(counts, seed, data):
    quotas = np.array([data.draw(st.integers(0, count)) for count in counts])
    codes = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    rows = strata.take(codes, quotas, np.random.default_rng(seed), nested=data.draw(st.booleans()))
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(np.bincount(codes[rows], minlength=len(counts)), quotas)
