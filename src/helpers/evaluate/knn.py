"""The nearest neighbours of a cell in an embedding vote for its type."""

import numpy as np

BLOCK = 2**22  # distances held at once: 32 MB, however many cells there are
ROUNDING = 1e-12  # squared distances closer than this share of the squared norms are equal


def knn_predict(
    train_embedding: np.ndarray, train_labels: np.ndarray, test_embedding: np.ndarray, *, n_neighbors: int = 5
) -> np.ndarray:
    """Type of each test cell by majority vote of its nearest training cells, Euclidean distance.

    Every training cell as near as the `n_neighbors`-th votes, so that the order of the rows decides nothing. A tied
    vote goes to the tied type with the nearest cell, then to the first name.

    Parameters
    ----------
    train_embedding, test_embedding
        (n_train, n_latent) and (n_test, n_latent), finite.
    train_labels
        (n_train,).

    Returns
    -------
    (n_test,), in the type of `train_labels`.

    Raises
    ------
    ValueError
        Shapes that do not fit, values that are not finite, fewer training cells than `n_neighbors`.

    Source: study, zero-shot classification (scikit-learn's KNeighborsClassifier, 5 neighbours, equal weights). Deviates
    from it in ties alone: there the first name wins a tied vote, and row order chooses among equally distant cells.
    """
    train, test = finite(train_embedding, "train_embedding"), finite(test_embedding, "test_embedding")
    types, codes = np.unique(np.asarray(train_labels), return_inverse=True)
    if len(codes) != len(train) or train.shape[1] != test.shape[1]:
        shapes = f"train_embedding {train.shape}, train_labels ({len(codes)},), test_embedding {test.shape}"
        raise ValueError(f"shapes do not fit: {shapes}; (n_train, n_latent), (n_train,), (n_test, n_latent) would")
    if not 1 <= n_neighbors <= len(train):
        raise ValueError(f"n_neighbors = {n_neighbors} of {len(train)} training cells: use 1 to {len(train)}")
    centre = train.mean(axis=0)  # leaves distances as they are, and their rounding small
    train, test = train - centre, test - centre
    rows = max(1, BLOCK // len(train))
    blocks = [_vote(train, codes, test[start : start + rows], n_neighbors) for start in range(0, len(test), rows)]
    return types[np.concatenate([*blocks, np.zeros(0, dtype=int)])]


def _vote(train: np.ndarray, codes: np.ndarray, test: np.ndarray, k: int) -> np.ndarray:
    """Number of the winning type for each row of `test`, (n_rows,)."""
    norms = (train**2).sum(axis=1)
    own = (test**2).sum(axis=1)[:, None]
    squared = own + norms - 2 * test @ train.T
    equal = ROUNDING * (own + norms.max())
    near = squared <= np.partition(squared, k - 1, axis=1)[:, k - 1 : k] + equal
    row, neighbour = np.nonzero(near)
    votes = np.zeros((len(test), codes.max() + 1))
    nearest = np.full(votes.shape, np.inf)
    np.add.at(votes, (row, codes[neighbour]), 1)
    np.minimum.at(nearest, (row, codes[neighbour]), squared[row, neighbour])
    nearest[votes < votes.max(axis=1, keepdims=True)] = np.inf
    return (nearest <= nearest.min(axis=1, keepdims=True) + equal).argmax(axis=1)


def finite(embedding: np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(embedding, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"{name} has shape {values.shape}; (n_cells, n_latent) is needed")
    bad = int((~np.isfinite(values)).any(axis=1).sum())
    if bad:
        raise ValueError(f"{name} is NaN or infinite in {bad:,} of {len(values):,} cells: leave them out or mend it")
    return values
