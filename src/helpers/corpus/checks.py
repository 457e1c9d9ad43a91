"""What cells must be before anything is computed from them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy.sparse as sp

from helpers.design import DesignError
from helpers.subset.strata import complete


def check_counts(X: sp.csr_matrix, *, place: str = "X", names: Sequence[str] | None = None, first: int = 0) -> None:
    """Raise ValueError unless the stored values of `X`, (n_cells, n_genes), are finite non-negative integers, in each
    cell some; errors name the cells by `names` (n_cells,), or number them from `first` on.
    """
    try:
        check_values(X, place=place, names=names, first=first)
    except ValueError as error:
        raise ValueError(f"{error}; normalised data often keeps them in .raw or a layer") from error
    check_filled(X, names=names, first=first)


def check_values(X: sp.csr_matrix, *, place: str = "X", names: Sequence[str] | None = None, first: int = 0) -> None:
    """Raise ValueError unless the stored values of `X`, (n_cells, n_genes), are finite non-negative integers.

    The message says that they are those of `place`; cells are as in `check_counts`.
    """
    offences = {
        "NaN or infinite": ~np.isfinite(X.data),
        "negative": X.data < 0,
        "not integer": np.isfinite(X.data) & (X.data != np.floor(X.data)),
    }
    for what, bad in offences.items():
        if bad.any():
            at = int(np.flatnonzero(bad)[0])
            row = int(np.searchsorted(X.indptr, at, side="right")) - 1
            raise ValueError(
                f"{place} holds {int(bad.sum()):,} values that are {what}, the first {X.data[at]:g} in cell "
                f"{_named(row, names, first)}: raw counts (integers ≥ 0) are needed"
            )


def check_filled(X: sp.csr_matrix, *, names: Sequence[str] | None = None, first: int = 0) -> None:
    """Raise ValueError if a cell of `X`, (n_cells, n_genes), has no counts; cells are as in `check_counts`."""
    empty = np.flatnonzero(np.asarray(X.sum(axis=1)).ravel() == 0)
    if empty.size:
        told = f"{empty.size:,} cells have no counts, the first is cell {_named(int(empty[0]), names, first)}"
        raise ValueError(f"{told}: filter them out first")


def _named(row: int, names: Sequence[str] | None, first: int) -> str:
    return str(first + row) if names is None else repr(names[row])


def check_genes(genes: pd.Index) -> None:
    """Raise ValueError for duplicate gene names."""
    duplicates = genes[genes.duplicated()].unique()
    if len(duplicates):
        named = ", ".join(map(str, duplicates[:5]))
        raise ValueError(
            f"var_names holds {len(duplicates)} duplicate gene names ({named}): make them unique, or sum them"
        )


def check_obs(obs: pd.DataFrame, needed: Sequence[str]) -> None:
    """Raise ValueError for needed columns that are absent or have missing values, or for duplicate cell names."""
    absent = [column for column in needed if column not in obs]
    for column in [*absent, *needed]:
        complete(obs, column)
    duplicates = obs.index[obs.index.duplicated()]
    if len(duplicates):
        raise ValueError(f"{len(duplicates):,} duplicate cell names, e.g. {duplicates[0]!r}")


def by_name(names: pd.Index) -> np.ndarray:
    """Positions of cells in the order of their names, (n_cells,)."""
    return np.argsort(np.asarray(names, dtype=str), kind="stable")


def match(obs: pd.DataFrame, where: dict[str, list[str]], key: str, *, among: np.ndarray | None = None) -> np.ndarray:
    """Cells whose columns hold accepted values, (n_cells,) bool, of those in `among` (n_cells,) if it is given.

    DesignError names values that no such cell has.
    """
    among = np.ones(len(obs), dtype=bool) if among is None else among
    chosen = among.copy()
    for column, values in where.items():
        if column not in obs:
            raise DesignError(f"{key}.{column}: no such column; obs has: {', '.join(map(str, obs.columns))}")
        codes, names = pd.factorize(obs[column], use_na_sentinel=False)
        names = np.asarray(names).astype(str)
        known = sorted(set(names[np.unique(codes[among])]))
        for value in values:
            if value not in known:
                raise DesignError(f"{key}.{column} = {value!r} matches no cell; there are: {', '.join(known[:20])}")
        chosen &= np.isin(names, values)[codes]
    if not chosen.any():
        raise DesignError(f"{key} = {where} matches no cell")
    return chosen
