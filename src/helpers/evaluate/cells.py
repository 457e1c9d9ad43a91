"""What is asked of an embedding and of the names of its cells before anything is computed from them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from helpers.evaluate.knn import finite


def checked_embedding(embedding: np.ndarray) -> np.ndarray:
    """The embedding (n_cells, n_latent), in float64 unless it is float32; finite, neither side 0."""
    given, values = np.asarray(embedding), finite(embedding, "embedding")
    if not values.size:
        raise ValueError(f"embedding has shape {values.shape}; (n_cells, n_latent) is needed, neither 0")
    return given if given.dtype == np.float32 else values


def type_codes(labels: Sequence | np.ndarray, n_cells: int) -> np.ndarray:
    """Number of each cell's type (n_cells,), of two or more."""
    types = name_codes(labels, "labels", n_cells)
    if types.max() == 0:
        raise ValueError("labels holds one type: NMI, ARI and silhouette compare two or more")
    return types


def name_codes(names: Sequence | np.ndarray, key: str, n_cells: int) -> np.ndarray:
    """Numbers of the names in their sorted order, (n_cells,)."""
    codes = pd.factorize(np.asarray(names, dtype=object), sort=True)[0]
    if codes.shape != (n_cells,):
        raise ValueError(f"{key} has {len(codes):,} entries, the embedding {n_cells:,} cells: one for each is needed")
    if (codes < 0).any():
        raise ValueError(f"{key} is missing for {(codes < 0).sum():,} of {n_cells:,} cells: leave these cells out")
    return codes
