"""Smaller corpora: which cells a model may learn from, one file per way of sampling.

Strategies are found by name and imported when they are used, so that an edit of one file concerns those strategies
alone.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from helpers.messages import unknown

# Strategy -> its file, and the options that make it this strategy.
_STRATEGIES: dict[str, tuple[str, dict[str, object]]] = {
    "random": ("random", {}),
    "celltype_reweighted": ("celltype_reweighted", {}),
    "geometric_sketching": ("geometric_sketching", {}),
    "spikein_10": ("spikein", {"share": 0.1}),
    "spikein_50": ("spikein", {"share": 0.5}),
    "donors": ("donors", {"label": "donor_id"}),
    "datasets": ("donors", {"label": "dataset_id"}),
    "depth": ("depth", {}),
    "composition": ("composition", {}),
}
STRATEGIES: tuple[str, ...] = tuple(_STRATEGIES)
FROM_RANDOM = ("random", "depth", "spikein_10", "spikein_50")  # the same cells as `random`, thinned or replaced
SPIKE_INS = ("spikein_10", "spikein_50")
# With all cells of a corpus these draw what `random` draws; the others differ in what they do to it.
SAME_WHOLE = ("celltype_reweighted", "geometric_sketching", "donors", "datasets")
_GIVEN = ("obs", "n", "rng", "embedding", "nested", "perturbed")  # by whoever draws, never by a design


def module_of(strategy: str) -> str:
    """Name of the module that holds a strategy. Raises ValueError for an unknown one."""
    if strategy not in _STRATEGIES:
        raise ValueError(unknown("strategy", strategy, STRATEGIES))
    return f"helpers.subset.{_STRATEGIES[strategy][0]}"


def reads_embedding(strategy: str) -> bool:
    """Whether a strategy needs the `embedding` of the cells."""
    return "embedding" in inspect.signature(_method(strategy)).parameters


def check_options(strategy: str, options: Mapping[str, object]) -> None:
    """Raise ValueError for an unknown strategy, an option that it does not have, or one that it needs and lacks."""
    fixed = {*_GIVEN, *_STRATEGIES[strategy][1]} if strategy in _STRATEGIES else set()
    own = {name: one for name, one in inspect.signature(_method(strategy)).parameters.items() if name not in fixed}
    for option in options:
        if option not in own:
            why = unknown("option", option, own) if own else f"takes no options, was given {option!r}"
            raise ValueError(f"{strategy}: {why}")
    lacking = [name for name, one in own.items() if one.default is one.empty and name not in options]
    if lacking:
        raise ValueError(f"{strategy}: the option {lacking[0]!r} is missing")


def draw(
    strategy: str,
    obs: pd.DataFrame,
    n: int,
    *,
    rng: np.random.Generator,
    embedding: np.ndarray | None = None,
    nested: bool = False,
    perturbed: np.ndarray | None = None,
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
    nested
        Whether a larger `n` from the same state of `rng` draws the same cells and more.
    perturbed
        (n_obs,) bool, the cells that may be spiked in; ignored by all strategies but spike-ins.
    options
        Further settings of the strategy, see its file.

    Returns
    -------
    (n,) int64, row positions in `obs`, sorted, none twice.

    Raises
    ------
    ValueError
        Unknown strategy or option; `n` that is no whole number, under 1 or over n_obs; columns that are absent or
        incomplete; what the strategy cannot fill.
    """
    method = _method(strategy)
    _check_size(obs, n)
    if not isinstance(rng, np.random.Generator):
        raise ValueError(f"rng = {rng!r} must be a numpy Generator, such as numpy.random.default_rng(0)")
    check_options(strategy, options)
    given = {"embedding": embedding, "nested": nested, "perturbed": perturbed}
    accepted = inspect.signature(method).parameters
    given = {name: value for name, value in given.items() if name in accepted}
    return method(obs, int(n), rng=rng, **given, **_STRATEGIES[strategy][1], **options)


def check(strategy: str, obs: pd.DataFrame, n: int, **given: object) -> None:
    """Raise what `draw` would raise for these cells, size and options, but for what concerns an embedding."""
    _check_size(obs, n)
    module = importlib.import_module(module_of(strategy))
    if hasattr(module, "check"):
        module.check(len(obs), **{name: value for name, value in given.items() if name not in _GIVEN})
    else:
        draw(strategy, obs, n, rng=np.random.default_rng(0), **given)


def _check_size(obs: pd.DataFrame, n: int) -> None:
    if not len(obs):
        raise ValueError("obs is empty: there are no cells to draw from")
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        raise ValueError(f"n = {n!r} must be a whole number of cells, 1 to {len(obs):,}")
    if not 1 <= n <= len(obs):
        raise ValueError(f"n = {n:,} cells cannot be drawn from {len(obs):,} without repeats: use 1 to {len(obs):,}")


def _method(strategy: str) -> Callable[..., np.ndarray]:
    return importlib.import_module(module_of(strategy)).draw
