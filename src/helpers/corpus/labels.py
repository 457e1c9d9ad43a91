"""Labels of cells as categories, which take little memory however many cells there are."""

import numpy as np
import pandas as pd


def as_categories(obs: pd.DataFrame) -> pd.DataFrame:
    """The same table, (n_cells, n_columns), with text as categories."""
    return obs.astype({column: "category" for column in obs if obs[column].dtype == object})


def paired(first: pd.Categorical, second: pd.Categorical) -> pd.Categorical:
    """Values of both, (n_cells,), joined by "_"; missing where one is."""
    n = len(second.categories)
    missing = (first.codes < 0) | (second.codes < 0)
    rows, pairs = pd.factorize(np.where(missing, -1, first.codes.astype(np.int64) * n + second.codes))
    names = [None if pair < 0 else f"{first.categories[pair // n]}_{second.categories[pair % n]}" for pair in pairs]
    codes, categories = pd.factorize(np.array(names, dtype=object))  # two pairs may give one name
    return pd.Categorical.from_codes(codes[rows], categories)
