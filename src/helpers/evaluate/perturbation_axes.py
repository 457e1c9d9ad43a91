"""How well a response is predicted against what teaches it, with the encoder fixed: treated cells, and contexts.

Cells and contexts are drawn from sorted names, so that results do not depend on their order.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from helpers.evaluate import perturbation
from helpers.evaluate.perturbation_heads import ridge, training_mean
from helpers.evaluate.perturbation_task import Condition, Task, restricted

AXES = ("treated cells", "contexts")
MEAN = "training_mean"  # among the encoders: the mean of what teaches, whatever the embedding
LESSON = ["axis", "share", "n_contexts", "n_treated", "draw"]
SCORES = ["value", "null", "ceiling", "calibrated"]


class Lesson(NamedTuple):
    """Treated cells that teach a head: their positions (n_treated,) in `Task.cells`, and where on an axis they stand.

    `share` is in per cent of the treated training cells of each condition, `n_contexts` the contexts they are of.
    """

    axis: str
    share: float
    n_contexts: int
    draw: int
    treated: np.ndarray


def lessons(
    task: Task, *, shares: Sequence[float], contexts: Sequence[int], repeats: int, rng: np.random.Generator
) -> list[Lesson]:
    """What teaches along both axes; each ends in the whole task, of which there is one draw.

    Along the treated cells every condition gives the same share (rounded, one cell or more), drawn without replacement;
    a draw's larger shares contain its smaller ones. Along the contexts so many are drawn and give all their cells;
    numbers above what the task has are left out. Draw i goes round a random order of the contexts from its i-th on, so
    that draws differ and all contexts count alike; a draw that repeats another of its level is left out.

    Parameters
    ----------
    shares
        In per cent, over 0 and at most 100.
    contexts
        Numbers of contexts, 1 or more.
    repeats
        Random draws at each level under the whole.

    Raises
    ------
    ValueError
        Shares, contexts or repeats out of range.
    """
    for key, values, low, high in (("shares", shares, 0, 100), ("contexts", contexts, 1, np.inf)):
        wrong = [value for value in values if not low <= value <= high or value == 0]
        if wrong:
            raise ValueError(f"{key} = {wrong[0]!r}: use {'over 0 and at most 100' if high == 100 else '1 or more'}")
    if repeats < 1:
        raise ValueError(f"repeats = {repeats}: use 1 or more")
    conditions = sorted(set().union(*task.training.values()))
    whole = {one: task.rows(one) for one in conditions}
    n_contexts = max(len({one.context for one in others}) for others in task.training.values())
    of_cells, of_contexts = rng.spawn(2)
    rounds = _rounds(sorted({one.context for one in conditions}), repeats, of_contexts)
    found = []
    for draw, child in enumerate(of_cells.spawn(repeats)):
        orders = {
            one: own.permutation(whole[one]) for one, own in zip(conditions, child.spawn(len(whole)), strict=True)
        }
        for share in sorted({share for share in shares if share < 100}):
            taken = [order[: max(1, round(share / 100 * len(order)))] for order in orders.values()]
            found.append(Lesson(AXES[0], float(share), n_contexts, draw, np.sort(np.concatenate(taken))))
    for number in sorted({number for number in contexts if number < n_contexts}):
        for draw, chosen in enumerate(_chosen(task, number, rounds)):
            treated = np.sort(np.concatenate([whole[one] for one in chosen]))
            found.append(Lesson(AXES[1], 100.0, number, draw, treated))
    everything = np.sort(np.concatenate(list(whole.values())))
    return found + [Lesson(axis, 100.0, n_contexts, 0, everything) for axis in AXES]


def _rounds(names: list[str], repeats: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Orders of the contexts, (n_names,) each: every one of a random order's rounds before another order is drawn."""
    orders = [child.permutation(names) for child in rng.spawn(-(-repeats // len(names)))]
    return [np.roll(order, -start) for order in orders for start in range(len(names))][:repeats]


def _chosen(task: Task, number: int, rounds: list[np.ndarray]) -> list[tuple[Condition, ...]]:
    """Conditions of the first `number` contexts of each order, or of all where fewer teach; each choice once."""
    found = []
    for order in rounds:
        chosen = set()
        for others in task.training.values():
            there = {one.context for one in others}
            first = [name for name in order if name in there][:number]
            chosen |= {one for one in others if one.context in first}
        found.append(tuple(sorted(chosen)))
    return list(dict.fromkeys(found))


def scores_along(
    task: Task,
    references: dict[Condition, perturbation.Reference],
    embeddings: Mapping[str, np.ndarray],
    taught: Sequence[Lesson],
) -> Iterator[pd.DataFrame]:
    """Scores of a ridge head on each embedding, and of `MEAN`, taught by each lesson; the same cells judge all.

    Parameters
    ----------
    references
        Of the whole task, from `perturbation.prepare`: null and ceiling do not move along an axis.
    embeddings
        (n_controls, n_latent) each, of the AnnData's rows `task.control_rows`.

    Yields
    ------
    For each lesson and encoder a row per metric, means over the conditions to predict: `encoder`, those of `LESSON`,
    `metric`, `value`, `null`, `ceiling`, `calibrated` (NaN where null and ceiling cannot be told apart). Raises
    ValueError for an embedding that does not fit the task.
    """
    heads = {name: (ridge, perturbation.checked(one, task)) for name, one in embeddings.items()}
    heads = {MEAN: (training_mean, np.zeros((len(task.control_rows), 1)))} | heads
    for lesson in taught:
        part = restricted(task, lesson.treated)
        of_part = perturbation.relearned(references, part)
        alone = all(len(others) == 1 for others in part.training.values())  # then every head is that one response
        told = {name: getattr(lesson, name) for name in LESSON if name != "n_treated"}
        told["n_treated"] = len(lesson.treated)
        for encoder, (head, embedding) in heads.items():
            if encoder == MEAN or not alone:
                scores = perturbation.score(of_part, head(part, of_part, embedding))
                means = scores.groupby("metric", sort=False)[SCORES].mean().reset_index()
            yield means.assign(encoder=encoder, **told)[["encoder", *LESSON, "metric", *SCORES]]
