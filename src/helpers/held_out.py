"""Which cells of the pretraining pool no model learns from: some of them, or all of some donors."""

import numpy as np
import pandas as pd

from helpers.corpus.checks import match
from helpers.corpus.external import in_source
from helpers.design import Design, DesignError

LEARNED, HELD_OUT = "corpus", ("validation", "evaluation")


def in_pool(obs: pd.DataFrame, design: Design) -> np.ndarray:
    """Which cells are of the pretraining pool, (n_cells,) bool."""
    return match(obs, design.corpus.pretraining, "corpus.pretraining", among=in_source(obs, design))


def pool_roles(obs: pd.DataFrame, design: Design) -> pd.Series:
    """Role of each cell of the pool, (n_cells,): corpus, validation or evaluation; ``unused`` for all others.

    Raises DesignError for entries that no cell has, and for shares that hold out no value of `by`, or leave none.
    """
    rule, pool = design.held_out, in_pool(obs, design)
    named = pool if rule.where is None else match(obs, rule.where, "held_out.where", among=in_source(obs, design))
    held = pool & named
    if not held.any():
        raise DesignError("held_out.where names no cell of corpus.pretraining: nothing would be held out")
    roles = pd.Series("unused", index=obs.index)
    roles[pool] = LEARNED
    shares = dict(zip(HELD_OUT, (rule.validation, rule.evaluation), strict=True))
    if rule.by is None:
        units = np.flatnonzero(held)
    else:
        codes, _ = pd.factorize(obs[rule.by], sort=True)
        units = np.unique(codes[held])
    order, start = design.rng("split").permutation(units), 0
    for role, share in shares.items():
        chosen = order[start : start + round(share * len(order))]
        start += len(chosen)
        if rule.by is None:
            roles.iloc[chosen] = role
            continue
        if not len(chosen) or start == len(np.unique(codes[pool])):
            raise DesignError(
                f"held_out.{role} = {share:g} of {len(order)} values of {rule.by!r} holds out "
                f"{'none' if not len(chosen) else 'all that are left'}: choose other shares"
            )
        roles[pool & np.isin(codes, chosen)] = role
    stopping = np.flatnonzero(roles == "validation")
    if rule.validation_at_most is not None and len(stopping) > rule.validation_at_most:
        kept = design.rng("validation_at_most").choice(stopping, rule.validation_at_most, replace=False)
        roles.iloc[np.setdiff1d(stopping, kept)] = "unused"
    return roles


def check_kept_apart(obs: pd.DataFrame, roles: np.ndarray, learned: np.ndarray, design: Design) -> None:
    """Raise ValueError if a donor, or what else `held_out.by` names, is learned from and held out.

    `learned` are positions of cells to learn from; `roles` (n_cells,) are those of the split.
    """
    rule = design.held_out
    if rule.by is None:
        return
    judging = set(obs.loc[in_pool(obs, design) & np.isin(roles, HELD_OUT), rule.by].dropna())
    if both := sorted(map(str, judging.intersection(obs[rule.by].iloc[learned].dropna()))):
        raise ValueError(
            f"{len(both)} values of {rule.by!r} are held out and learned from, such as {both[0]!r}: run "
            "notebooks/05_split.ipynb anew"
        )
