"""What findings share: which model, and how its scores change from the smallest to the largest size."""

from collections import Counter
from collections.abc import Iterable

import pandas as pd

from helpers.design import UNTRAINED, Run
from helpers.plots.style import family_name
from helpers.words import counted, trend

BASELINES = {
    "hvg": "variable genes",
    "own_pca": "PCA of the set's own cells",
    "logistic": "logistic regression",
    "majority": "the majority class",
    "permuted": "permuted labels",
    "floor": "shuffled cells",
}


def model_of(family: str, width: float, strategy: str) -> str:
    """A model and what it learned from, ``scVI trained on `random` cells`` or ``untrained PCA``."""
    name = family_name(family, width)
    return f"untrained {name}" if strategy == UNTRAINED else f"{name} trained on `{strategy}` cells"


def on_one_set(means: pd.DataFrame, name: str) -> str:
    """How a score on one set changes from the smallest to the largest size, with the size in per cent of the corpus.

    Parameters
    ----------
    means
        A row for each size in per cent, smallest first (one of 0 for untrained models), and a column for each set.
    name
        The set; the first one if there is none of this name.
    """
    name = name if name in means else means.columns[0]
    scores = means[name].dropna()
    first, last = scores.iloc[0], scores.iloc[-1]
    if len(scores) == 1:
        size = scores.index[0]
        return f"on {name} is {last:.2f}" + (f" at {size:g} % of the corpus" if size > 0 else "")
    smallest, largest = (f"{size:g} %" for size in scores.index[[0, -1]])
    if f"{first:.2f}" == f"{last:.2f}":
        return f"on {name} is {last:.2f} at both {smallest} and {largest} of the corpus"
    return f"on {name} {trend(first, last)} from {first:.2f} at {smallest} of the corpus to {last:.2f} at {largest}"


def on_all_sets(means: pd.DataFrame) -> str:
    """A sentence on how a score of the largest size differs between sets, and from that of the smallest size; `means`
    as in `on_one_set`.
    """
    last, n = means.iloc[-1].dropna(), means.shape[1]
    if len(last) == 1:
        return "No other set is judged."
    low, high = last.idxmin(), last.idxmax()
    told = f"the {len(last)} sets range from {last[low]:.2f} ({low}) to {last[high]:.2f} ({high})"
    if len(means) == 1:
        return f"{told[0].upper()}{told[1:]}."
    higher = int((last > means.iloc[0][last.index]).sum())
    more = "all" if higher == n else f"{higher} of them" if higher else "none of them"
    return f"At {means.index[-1]:g} % {told}, higher than at {means.index[0]:g} % on {more}."


def on_baselines(means: pd.DataFrame, headline: str, *, what: str, floor: str, given: str = "") -> str:
    """Two sentences on what baselines reach on one set, and the best of them on all.

    Parameters
    ----------
    means
        A row for each baseline, the floor among them and no ceiling, and a column for each set.
    headline
        The set; the first one if there is none of this name.
    what, floor
        The score in words, and the baseline that is its floor.
    given
        What baselines were given, to begin with.
    """
    name = headline if headline in means else means.columns[0]
    best, scores = means.max(), means[name]
    told = (
        f"{f'{given}, the' if given else 'The'} best baseline on {name}, {BASELINES[scores.idxmax()]}, has {what} of "
        f"{best[name]:.2f} where the floor, {BASELINES[floor]}, has {scores[floor]:.2f}."
    )
    low, high = best.idxmin(), best.idxmax()
    ends = f"{best[low]:.2f} ({low}) to {best[high]:.2f} ({high})"
    return f"{told} Over {counted(len(best), 'set')} the best baseline has {ends}."


def seeds_of(runs: Iterable[Run]) -> str:
    """How many seeds each size of some runs has, ``3 seeds``."""
    return counted(list(Counter(run.percentage for run in runs).values()), "seed")
