"""Diversity against values worked out by hand, against scipy and against the package vendi-score."""

import tracemalloc

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy, ortho_group
from vendi_score import vendi as package

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
    for labels in (["a", "b", np.nan], np.array(["a", None], dtype=object), ["a", None]):
        with pytest.raises(ValueError, match="missing for 1 of"):
            index(labels)
    with pytest.raises(ValueError, match="is one text"):
        index("abc")


def test_labels_may_be_anything_hashable():
    assert diversity.shannon([1, "1"]) == 1
    assert diversity.shannon([("a", 1), ("b", 2), ("a", 1), ("b", 2)]) == 1
    assert diversity.shannon(label for label in "aabb") == 1


class Counting:
    """A table that notes how many rows it was asked for at a time."""

    def __init__(self, table: np.ndarray):
        self.table, self.shape, self.asked = table, table.shape, []

    def __getitem__(self, rows: slice) -> np.ndarray:
        self.asked.append(rows.stop - rows.start)
        return self.table[rows]


def table(n_cells: int, n_features: int, rank: int | None = None, seed: int = 0) -> np.ndarray:
    """Random cells, of low rank on demand."""
    rng = np.random.default_rng(seed)
    if rank is None:
        return rng.standard_normal((n_cells, n_features))
    return rng.standard_normal((n_cells, rank)) @ rng.standard_normal((rank, n_features))


@pytest.mark.filterwarnings("ignore:Please import `csr_matrix`:DeprecationWarning")  # inside the package's score_X
@pytest.mark.parametrize("rank", [None, 1, 3])
@pytest.mark.parametrize("shape", [(300, 20), (20, 300), (40, 40), (1, 7), (7, 1)])
def test_vendi_is_that_of_the_package(shape, rank):
    X = table(*shape, rank)
    ours = diversity.vendi(X, chunk=64)
    assert ours == pytest.approx(package.score_dual(X), rel=1e-6)
    assert ours == pytest.approx(package.score_X(X), rel=1e-6)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 5), st.integers(1, 50), st.integers(0, 2**32 - 1))
def test_vendi_is_that_of_the_package_for_counts(n_cells, n_features, mean, chunk, seed):
    X = np.random.default_rng(seed).poisson(mean, (n_cells, n_features)) + 1.0 * np.eye(n_cells, n_features)
    X[X.sum(axis=1) == 0, 0] = 1
    ours = diversity.vendi(X, chunk=chunk)
    assert ours == pytest.approx(package.score_dual(X), rel=1e-6)
    assert 1 - 1e-9 <= ours <= min(n_cells, n_features) + 1e-9


@pytest.mark.parametrize("n_features", [6, 9])
def test_vendi_counts_orthogonal_cells(n_features):
    assert diversity.vendi(3 * np.eye(6, n_features)) == pytest.approx(6)
    assert diversity.vendi(np.repeat(np.eye(6, n_features), 5, axis=0)) == pytest.approx(6)


@pytest.mark.parametrize("shape", [(50, 4), (4, 50)])
def test_vendi_of_equal_cells_is_one(shape):
    assert diversity.vendi(np.ones(shape)) == pytest.approx(1)
    assert diversity.vendi(np.outer(np.resize([1.0, -2.0], shape[0]), np.ones(shape[1]))) == pytest.approx(1)


@pytest.mark.parametrize("n_first", [1, 4, 5])
def test_vendi_of_two_directions_is_the_entropy_of_their_shares(n_first):
    X = np.zeros((10, 3))
    X[:n_first, 0], X[n_first:, 2] = 1, 1
    p = n_first / 10
    assert diversity.vendi(X) == pytest.approx(np.exp(entropy([p, 1 - p])))


@pytest.mark.parametrize("shape", [(90, 12), (12, 90)])
def test_vendi_ignores_order_scale_rotation_and_chunks(shape):
    X, rng = table(*shape), np.random.default_rng(1)
    expected = diversity.vendi(X)
    assert expected > 2
    assert diversity.vendi(rng.permutation(X)) == pytest.approx(expected, rel=1e-9)
    assert diversity.vendi(X * rng.uniform(0.01, 100, (shape[0], 1))) == pytest.approx(expected, rel=1e-9)
    rotation = ortho_group.rvs(shape[1], random_state=rng)
    assert diversity.vendi(X @ rotation) == pytest.approx(expected, rel=1e-9)
    for chunk in (1, 7, shape[0], shape[0] + 1):
        assert diversity.vendi(X, chunk=chunk) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shape", [(60, 12), (12, 60)])
def test_vendi_reads_all_forms_of_a_table(shape, tmp_path):
    X = np.random.default_rng(0).poisson(0.7, shape).astype(np.float32)
    X[:, 0] += 1
    np.save(tmp_path / "X.npy", X)
    forms = [X, X.astype(int), np.asfortranarray(X), np.load(tmp_path / "X.npy", mmap_mode="r")]
    forms += [kind(X) for kind in (sp.csr_matrix, sp.csr_array)]
    anndata.AnnData(sp.csr_matrix(X)).write_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(tmp_path / "X.h5", "w") as file, h5py.File(tmp_path / "cells.h5ad") as cells:
        forms += [file.create_dataset("X", data=X), anndata.io.sparse_dataset(cells["X"])]
        values = [diversity.vendi(form, chunk=25) for form in forms]
    assert values == pytest.approx([package.score_dual(X.astype(float))] * len(forms), rel=1e-6)


def test_vendi_reads_a_chunk_at_a_time_and_each_cell_once():
    X = Counting(table(1000, 5))
    diversity.vendi(X, chunk=64)
    assert max(X.asked) == 64
    assert sum(X.asked) == 1000


@pytest.mark.parametrize("shape", [(20_000, 50), (5, 2_000)])
def test_vendi_holds_neither_all_cells_nor_all_pairs(shape):
    X = table(*shape)
    diversity.vendi(X[:, :3], chunk=100)  # imports
    tracemalloc.start()
    diversity.vendi(X, chunk=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20  # X itself: 8 MB; all pairs of 2,000 features: 32 MB


def test_vendi_leaves_its_input_alone():
    X = table(30, 4)
    before = X.copy()
    diversity.vendi(X)
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("shape", [(5,), (5, 2, 2), (0, 4), (4, 0), ()])
def test_vendi_refuses_what_is_no_table_of_cells(shape):
    with pytest.raises(ValueError, match=r"X has the shape \(.*n_cells, n_features"):
        diversity.vendi(np.ones(shape))


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
@pytest.mark.parametrize("n_features", [3, 30])
@pytest.mark.parametrize(
    ("value", "what"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite"), (0, "length 0")]
)
def test_vendi_names_the_cell_it_cannot_normalise(value, what, n_features, form):
    X = np.ones((20, n_features))
    X[13] = value
    with pytest.raises(ValueError, match=f"cell 13 of X has .*{what}"):
        diversity.vendi(form(X), chunk=4)


def test_vendi_refuses_overflow_rather_than_miscounting():
    with pytest.raises(ValueError, match=r"cell 1 of X has .*too large"):
        diversity.vendi(np.array([[1.0, 0], [1e200, 0], [0, 1]]))


@pytest.mark.parametrize("chunk", [0, -3])
def test_vendi_refuses_empty_chunks(chunk):
    with pytest.raises(ValueError, match=f"chunk = {chunk}"):
        diversity.vendi(np.eye(3), chunk=chunk)


def test_vendi_reads_every_sparse_format():
    X = np.random.default_rng(0).poisson(1, (20, 9)) + np.eye(20, 9)
    assert diversity.vendi(sp.coo_matrix(X)) == pytest.approx(diversity.vendi(X))
