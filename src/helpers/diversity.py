"""How varied a set of cells is, from its labels: one number per index, (n_cells,) labels in."""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def shannon(labels: Sequence | np.ndarray | pd.Series) -> float:
    """Shannon index −Σ p log₂ p in bits, over the shares p of each label: 0 for one label, log₂ k for k equal ones.

    Parameters
    ----------
    labels
        (n_cells,), any hashable values.

    Raises
    ------
    ValueError
        No labels, or missing ones.

    Source: Shannon 1948; base 2 as in the study (≈ 5.90 bits for random subsets of its corpus).
    """
    shares = _shares(labels)
    return float(-(shares * np.log2(shares)).sum()) + 0.0  # + 0.0 turns the -0.0 of a single label into 0.0


def inverse_simpson(labels: Sequence | np.ndarray | pd.Series) -> float:
    """Inverse Simpson index 1 / Σ p², the effective number of labels: 1 for one label, k for k equal ones.

    `labels` is (n_cells,); raises ValueError for none or missing ones. Source: Simpson 1949, Hill number of order 2.
    """
    return float(1 / (_shares(labels) ** 2).sum())


def gini_simpson(labels: Sequence | np.ndarray | pd.Series) -> float:
    """Gini–Simpson index 1 − Σ p², the chance that two cells drawn with replacement differ: from 0 to under 1.

    `labels` is (n_cells,); raises ValueError for none or missing ones. Source: Simpson 1949.
    """
    return float(1 - (_shares(labels) ** 2).sum())


def _shares(labels: Sequence | np.ndarray | pd.Series) -> np.ndarray:
    """Share of each label that occurs, (n_labels,), all positive."""
    values = labels if isinstance(labels, pd.Series) else pd.Series(np.asarray(labels))
    if not len(values):
        raise ValueError("labels is empty: the diversity of no cells is undefined")
    missing = int(values.isna().sum())
    if missing:
        raise ValueError(f"labels is missing for {missing:,} of {len(values):,} cells: label them or leave them out")
    counts = values.value_counts().to_numpy()
    return counts[counts > 0] / len(values)  # a categorical column also counts the categories that no cell has
