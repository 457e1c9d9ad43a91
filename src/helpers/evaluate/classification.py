"""Zero-shot cell type classification: which types are scored, and how well predictions agree with them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from helpers.evaluate.knn import finite, knn_predict

__all__ = ["knn_predict", "probe_predict", "scored_types", "scores", "type_scores"]


def probe_predict(train_embedding: np.ndarray, train_labels: np.ndarray, test_embedding: np.ndarray) -> np.ndarray:
    """Type of each test cell, (n_test,), by logistic regression (L2, C = 1) on the embedding.

    The embedding is centred and divided by one SD, the root mean variance over training cells: families' scales differ
    by orders. Parameters as in `knn_predict`; a single training type is predicted everywhere.
    """
    from sklearn.linear_model import LogisticRegression

    train, test = finite(train_embedding, "train_embedding"), finite(test_embedding, "test_embedding")
    if len(np.unique(train_labels)) == 1:
        return np.full(len(test), train_labels[0])
    centre, scale = train.mean(axis=0), np.sqrt(train.var(axis=0).mean()) or 1.0
    order = np.lexsort([*train.T, np.unique(train_labels, return_inverse=True)[1]])
    model = LogisticRegression(max_iter=1000).fit((train[order] - centre) / scale, np.asarray(train_labels)[order])
    return model.predict((test - centre) / scale)


def scored_types(labels: Sequence | np.ndarray, *, min_cells: int = 10, headline_min: int = 20) -> pd.DataFrame:
    """Which types have enough cells to be scored, and to count in the headline macro F1.

    Parameters
    ----------
    labels
        (n_cells,), both halves of an evaluation set; cells without a label belong to no type.
    min_cells
        Types with fewer cells are not scored.
    headline_min
        Types with fewer cells are scored but stay out of the macro averages; at least `min_cells`.

    Returns
    -------
    One row per type, most cells first: `label`, `n` (cells), `scored`, `headline` (bool).
    """
    if headline_min < min_cells:
        raise ValueError(f"headline_min = {headline_min} is under min_cells = {min_cells}: use as many or more")
    counts = pd.Series(np.asarray(labels, dtype=object)).value_counts()
    table = pd.DataFrame({"label": counts.index, "n": counts.to_numpy()})
    table = table.sort_values(["n", "label"], ascending=[False, True], ignore_index=True)
    return table.assign(scored=table["n"] >= min_cells, headline=table["n"] >= headline_min)


def scores(true: Sequence | np.ndarray, predicted: Sequence | np.ndarray, *, types: pd.DataFrame) -> dict[str, float]:
    """Micro F1 over all cells of scored types; macro F1, precision and recall as means over the headline types.

    With one label per cell micro F1 equals accuracy, which is therefore not listed a second time.

    Parameters
    ----------
    true, predicted
        (n_test,) labels. A cell whose true type is not scored is left out.
    types
        From `scored_types` of the whole evaluation set.

    Raises
    ------
    ValueError
        Lengths differ, or no headline type has a test cell.

    Source: study, headline metric micro F1; it macro-averages over every type, however few its cells are.
    """
    table = type_scores(true, predicted, types=types)
    head = table[table["headline"] & (table["n"] > 0)]
    if head.empty:
        raise ValueError("no headline type has a test cell: lower headline_min, or give the set more cells")
    means = {f"macro_{name}": float(head[name].mean()) for name in ("f1", "precision", "recall")}
    true, predicted = _of_scored_types(true, predicted, types)
    return {"micro_f1": float(np.mean(true == predicted)), **means}


def type_scores(true: Sequence | np.ndarray, predicted: Sequence | np.ndarray, *, types: pd.DataFrame) -> pd.DataFrame:
    """F1, precision and recall of each scored type.

    Parameters as in `scores`. Returns one row per scored type in the order of `types`: `label`, `n` (test cells), `f1`,
    `precision`, `recall`, `headline`; a ratio of nothing to nothing is 0.
    """
    true, predicted = _of_scored_types(true, predicted, types)
    scored = types[types["scored"]]

    def count(labels: np.ndarray) -> np.ndarray:
        return pd.Series(labels).value_counts().reindex(scored["label"], fill_value=0).to_numpy()

    hits, n, called = count(true[true == predicted]), count(true), count(predicted)
    table = pd.DataFrame({"label": scored["label"].to_numpy(), "n": n})
    for name, top, bottom in (("f1", 2 * hits, n + called), ("precision", hits, called), ("recall", hits, n)):
        table[name] = top / np.maximum(bottom, 1)
    return table.assign(headline=scored["headline"].to_numpy())


def _of_scored_types(true: Sequence, predicted: Sequence, types: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Both labels of the cells whose true type is scored."""
    true, predicted = np.asarray(true, dtype=object), np.asarray(predicted, dtype=object)
    if true.ndim != 1 or true.shape != predicted.shape:
        raise ValueError(f"true {true.shape} and predicted {predicted.shape} must be (n_test,), of the same cells")
    kept = pd.Series(true).isin(types.loc[types["scored"], "label"]).to_numpy()
    return true[kept], predicted[kept]
