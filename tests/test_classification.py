"""Nearest-neighbour classification and its scores, against scikit-learn, by hand, and at floor and ceiling."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_score, recall_score
from sklearn.neighbors import KNeighborsClassifier

from helpers.evaluate import classification as cl
from helpers.evaluate import knn
from helpers.split import half_split

NAMES = np.array(["B", "CD4 T", "NK", "rare"])


def blobs(n: int = 400, spread: float = 1.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Four overlapping types of unequal size in 6 dimensions: embedding (n, 6), labels (n,)."""
    rng = np.random.default_rng(seed)
    codes = rng.choice(4, n, p=[0.5, 0.3, 0.15, 0.05])
    return rng.normal(0, 2, (4, 6))[codes] + rng.normal(0, spread, (n, 6)), NAMES[codes]


def every_type(labels: np.ndarray) -> pd.DataFrame:
    return cl.scored_types(labels, min_cells=1, headline_min=1)


def halves(embedding: np.ndarray, labels: np.ndarray, seed: int = 0, **options) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted labels of the test half."""
    train = half_split(labels, rng=np.random.default_rng(seed))
    return labels[~train], cl.knn_predict(embedding[train], labels[train], embedding[~train], **options)


def without_tied_votes(train: np.ndarray, labels: np.ndarray, test: np.ndarray, k: int) -> np.ndarray:
    """Test cells that one type wins alone, (n_test,) bool."""
    order = np.argsort(((test[:, None] - train[None]) ** 2).sum(axis=2), axis=1)[:, :k]
    counts = np.sort((labels[order][:, :, None] == np.unique(labels)).sum(axis=1), axis=1)
    return counts[:, -1] > counts[:, -2]


@pytest.mark.parametrize("k", [1, 5, 8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_votes_are_those_of_sklearn(k, dtype):
    embedding, labels = blobs()
    embedding = (embedding + 100).astype(dtype)  # far from the origin, where careless distances round badly
    train, test = np.arange(400) < 200, np.arange(400) >= 200
    expected = KNeighborsClassifier(k).fit(embedding[train], labels[train]).predict(embedding[test])
    got = cl.knn_predict(embedding[train], labels[train], embedding[test], n_neighbors=k)
    clear = without_tied_votes(embedding[train].astype(float), labels[train], embedding[test].astype(float), k)
    assert clear.mean() > 0.8
    np.testing.assert_array_equal(got[clear], expected[clear])
    assert len(set(got)) == 4


def test_one_block_or_many_agree(monkeypatch):
    embedding, labels = blobs()
    whole = cl.knn_predict(embedding[:200], labels[:200], embedding[200:])
    monkeypatch.setattr(knn, "BLOCK", 1400)  # 7 test cells at once, and a last block of 4
    np.testing.assert_array_equal(cl.knn_predict(embedding[:200], labels[:200], embedding[200:]), whole)


def test_tied_votes_go_to_the_nearest_then_to_the_first_name():
    train = np.array([[1.0], [-2.0], [3.0], [-4.0]])
    assert cl.knn_predict(train, ["b", "a", "a", "b"], [[0.0]], n_neighbors=4) == ["b"]
    assert cl.knn_predict(train, ["a", "b", "b", "a"], [[0.0]], n_neighbors=4) == ["a"]
    assert cl.knn_predict([[1.0], [-1.0]], ["b", "a"], [[0.0]], n_neighbors=2) == ["a"]


def test_rounding_breaks_no_tie():
    rng = np.random.default_rng(5)
    for cell in rng.normal(3, 1, (50, 8)):
        step = rng.normal(size=8)  # opposite sides of the cell: equally near, but not in floating point
        train = np.array([cell + step, cell - step, cell + 9, cell + 9])
        assert cl.knn_predict(train, ["b", "a", "c", "c"], [cell], n_neighbors=2) == ["a"]


def test_all_cells_as_near_as_the_last_neighbour_vote():
    train = np.array([[0.0], [1.0], [-1.0], [1.0]])
    labels = ["a", "b", "b", "b"]
    assert cl.knn_predict(train, labels, [[0.0]], n_neighbors=2) == ["b"]  # sklearn: a or b, by the order of the rows
    assert cl.knn_predict(train, labels, [[0.0]], n_neighbors=1) == ["a"]


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_order_of_training_cells_decides_nothing(seed, k):
    rng = np.random.default_rng(seed)
    train = rng.integers(0, 3, (40, 2)) * 0.1 + 7  # a grid: nearly all distances are tied
    labels, test = NAMES[rng.integers(0, 4, 40)], rng.integers(0, 3, (9, 2)) * 0.1 + 7
    order = rng.permutation(40)
    np.testing.assert_array_equal(
        cl.knn_predict(train, labels, test, n_neighbors=k),
        cl.knn_predict(train[order], labels[order], test, n_neighbors=k),
    )


def test_a_collapsed_embedding_predicts_the_commonest_type():
    _, labels = blobs()
    true, predicted = halves(np.ones((400, 10), dtype=np.float32), labels)
    assert set(predicted) == {"B"}
    assert cl.scores(true, predicted, types=every_type(labels))["micro_f1"] == np.mean(true == "B")


def test_a_perfect_embedding_scores_one():
    _, labels = blobs()
    true, predicted = halves((labels[:, None] == NAMES).astype(float), labels)
    assert cl.scores(true, predicted, types=every_type(labels)) == {
        "micro_f1": 1,
        "macro_f1": 1,
        "macro_precision": 1,
        "macro_recall": 1,
    }


def test_permuted_labels_give_the_floor():
    embedding, labels = blobs(1000, spread=0.5)
    types, rng = every_type(labels), np.random.default_rng(1)
    shares = types["n"] / 1000
    runs = [
        cl.scores(*halves(embedding, rng.permutation(labels), seed, n_neighbors=1), types=types) for seed in range(30)
    ]
    floor = pd.DataFrame(runs).mean()
    assert floor["micro_f1"] == pytest.approx((shares**2).sum(), abs=0.015)  # one neighbour: two labels drawn at random
    assert floor["macro_recall"] == pytest.approx(1 / 4, abs=0.015)
    assert cl.scores(*halves(embedding, labels, n_neighbors=1), types=types)["micro_f1"] > 0.95


@given(st.integers(0, 2**32 - 1), st.integers(1, 80), st.integers(1, 30))
@settings(max_examples=80, deadline=None)
def test_scores_are_those_of_sklearn(seed, n, headline_min):
    rng = np.random.default_rng(seed)
    true, predicted = NAMES[rng.integers(0, 4, n)], NAMES[rng.integers(0, 4, n)]
    types = cl.scored_types(
        true, min_cells=1, headline_min=min(headline_min, int(np.unique(true, return_counts=True)[1].max()))
    )
    head = types.loc[types["headline"], "label"].tolist()
    got = cl.scores(true, predicted, types=types)
    assert got["micro_f1"] == pytest.approx(f1_score(true, predicted, average="micro"))
    for name, score in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score)):
        assert got[f"macro_{name}"] == pytest.approx(
            score(true, predicted, labels=head, average="macro", zero_division=0)
        )
    table = cl.type_scores(true, predicted, types=types)
    each = f1_score(true, predicted, labels=table["label"].tolist(), average=None, zero_division=0)
    np.testing.assert_allclose(table["f1"], each)


def test_small_types_stay_out():
    labels = ["a"] * 20 + ["b"] * 19 + ["c"] * 10 + ["d"] * 9 + [None]
    types = cl.scored_types(labels)
    assert types.to_dict("list") == {
        "label": ["a", "b", "c", "d"],
        "n": [20, 19, 10, 9],
        "scored": [True, True, True, False],
        "headline": [True, False, False, False],
    }
    true, predicted = ["a", "a", "b", "c", "d", "d", None], ["a", "b", "b", "a", "d", "d", "d"]
    # d is not scored: 2 of the other 4 cells are right. Headline is a: 1 hit, 1 missed, 1 wrongly called.
    assert cl.scores(true, predicted, types=types) == {
        "micro_f1": 0.5,
        "macro_f1": 0.5,
        "macro_precision": 0.5,
        "macro_recall": 0.5,
    }
    table = cl.type_scores(true, predicted, types=types)
    assert table["label"].tolist() == ["a", "b", "c"]
    assert table["n"].tolist() == [2, 1, 1]
    assert table["f1"].tolist() == pytest.approx([1 / 2, 2 / 3, 0])
    assert table["headline"].tolist() == [True, False, False]


def test_calling_an_unscored_type_is_an_error_of_the_true_one():
    types = cl.scored_types(["a"] * 20 + ["d"] * 3)
    assert cl.scores(["a", "a"], ["a", "d"], types=types)["micro_f1"] == 0.5


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"train_labels": ["a"] * 4}, "shapes do not fit"),
        ({"test_embedding": np.ones((2, 4))}, "shapes do not fit"),
        ({"test_embedding": np.ones(3)}, "test_embedding has shape"),
        ({"train_embedding": np.full((5, 3), np.nan)}, "NaN or infinite in 5 of 5"),
        ({"n_neighbors": 6}, "n_neighbors = 6 of 5"),
        ({"n_neighbors": 0}, "n_neighbors = 0"),
    ],
)
def test_unusable_input_is_refused(change, told):
    good = {"train_embedding": np.ones((5, 3)), "train_labels": ["a"] * 5, "test_embedding": np.ones((2, 3))}
    assert cl.knn_predict(**good).tolist() == ["a", "a"]
    with pytest.raises(ValueError, match=told):
        cl.knn_predict(**(good | change))


def test_unusable_scores_are_refused():
    types = cl.scored_types(["a"] * 20)
    with pytest.raises(ValueError, match="same cells"):
        cl.scores(["a", "a"], ["a"], types=types)
    with pytest.raises(ValueError, match="no headline type"):
        cl.scores(["b"], ["b"], types=types)
    with pytest.raises(ValueError, match="headline_min = 5 is under min_cells = 10"):
        cl.scored_types(["a"], headline_min=5)


def test_no_test_cells_give_no_predictions():
    assert cl.knn_predict(np.ones((5, 3)), ["a"] * 5, np.ones((0, 3))).shape == (0,)
