"""Diversity indices against values worked out by hand and against scipy."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from helpers import diversity

INDICES = (diversity.shannon, diversity.inverse_simpson, diversity.gini_simpson)
LABELS = st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=60)


def test_values_by_hand():
    labels = ["a", "a", "b", "c"]  # shares 1/2, 1/4, 1/4
    assert diversity.shannon(labels) == pytest.approx(1.5)
    assert diversity.inverse_simpson(labels) == pytest.approx(8 / 3)
    assert diversity.gini_simpson(labels) == pytest.approx(5 / 8)


def test_one_label_has_no_diversity():
    assert [index(["B"] * 9) for index in INDICES] == [0, 1, 0]
    assert np.signbit(diversity.shannon(["B"] * 9)) == np.False_


@pytest.mark.parametrize("k", [2, 8, 164])
def test_equal_shares_are_the_most_diverse(k):
    labels = np.tile(np.arange(k), 5)
    assert diversity.shannon(labels) == pytest.approx(np.log2(k))
    assert diversity.inverse_simpson(labels) == pytest.approx(k)
    assert diversity.gini_simpson(labels) == pytest.approx(1 - 1 / k)


@given(LABELS)
def test_shannon_is_that_of_scipy(labels):
    counts = np.unique(labels, return_counts=True)[1]
    assert diversity.shannon(labels) == pytest.approx(entropy(counts, base=2))


@given(LABELS, st.integers(2, 4), st.randoms(use_true_random=False))
def test_order_names_and_scale_do_not_count(labels, times, random):
    renamed = [f"type {label}" for label in labels] * times
    random.shuffle(renamed)
    for index in INDICES:
        assert index(renamed) == pytest.approx(index(labels))


def test_all_forms_of_labels_agree():
    text = ["b", "a", "b"]
    forms = [text, np.array(text), np.array(text, dtype=object), pd.Series(text, index=[4, 4, 9])]
    forms.append(pd.Series(pd.Categorical(text, categories=["a", "never seen", "b"])))
    for index in INDICES:
        assert len({index(form) for form in forms}) == 1


@pytest.mark.parametrize("index", INDICES)
def test_nothing_and_missing_labels_are_refused(index):
    with pytest.raises(ValueError, match="empty"):
        index([])
    with pytest.raises(ValueError, match="missing for 2 of 3"):
        index(pd.Series(["a", None, np.nan], dtype=object))
