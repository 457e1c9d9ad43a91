"""Smaller corpora: which cells a model may learn from, one file per sampling strategy.

Strategies are found by name and imported when they are used, so that an edit of one file concerns that strategy alone.
"""

import importlib
import inspect

import numpy as np
import pandas as pd

from helpers.messages import unknown

_MODULES = {
    "random": "helpers.subset.random",
    "celltype_reweighted": "helpers.subset.celltype_reweighted",
}
STRATEGIES: tuple[str, ...] = tuple(_MODULES)


def module_of(strategy: str) -> str:
    """Name of the module that holds a strategy. Raises ValueError for an unknown one."""
    if strategy not in _MODULES:
        raise ValueError(unknown("strategy", strategy, STRATEGIES))
    return _MODULES[strategy]


def draw(
    strategy: str,
    obs: pd.DataFrame,
    n: int,
    *,
    rng: np.random.Generator,
    embedding: np.ndarray | None = None,
    **options: object,
) -> np.ndarray:
    """Draw `n` of the cells in `obs`.

    Parameters
    ----------
    strategy
        One of `STRATEGIES`.
    obs
        (n_obs, n_columns), one row per cell; strategies name the columns that they need.
    n
        Number of cells, 1 to n_obs.
    rng
        Source of all randomness: the same state draws the same cells.
    embedding
        (n_obs, n_pcs), for strategies that read one; ignored by all others.
    options
        Further settings of the strategy.

    Returns
    -------
    (n,) int64, row positions in `obs`, sorted, none twice.

    Raises
    ------
    ValueError
        Unknown strategy or option; `n` that is no whole number, under 1 or over n_obs; columns that are absent or
        incomplete.
    """
    method = importlib.import_module(module_of(strategy)).draw
    accepted = inspect.signature(method).parameters
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        raise ValueError(f"n = {n!r} must be a whole number of cells, 1 to {len(obs):,}")
    if not 1 <= n <= len(obs):
        raise ValueError(f"n = {n:,} cells cannot be drawn from {len(obs):,} without repeats: use 1 to {len(obs):,}")
    own = sorted(set(accepted) - {"obs", "n", "rng", "embedding"})
    for option in options:
        if option not in own:
            why = unknown("option", option, own) if own else f"takes no options, was given {option!r}"
            raise ValueError(f"{strategy}: {why}")
    if "embedding" in accepted:
        options["embedding"] = embedding
    return method(obs, int(n), rng=rng, **options)
