"""Heads that predict a response to a perturbation from the frozen embedding of control cells; see `perturbation`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from helpers.evaluate.perturbation import Reference
    from helpers.evaluate.perturbation_task import Condition, Task

ALPHAS = np.logspace(-3, 5, 17)  # the largest predict the mean training delta


class Response(NamedTuple):
    """What a head predicts for a condition: mean delta (n_genes,), treated cells (n_drawn, n_genes)."""

    delta: np.ndarray
    cells: np.ndarray


def ridge(task: Task, references: dict[Condition, Reference], embedding: np.ndarray) -> dict[Condition, Response]:
    """Ridge head: each control cell changes by a mixture of training deltas that its embedding decides.

    The study pairs a control cell with one random treated cell of its context. Here its target is the mean over all
    partners, less the mean control profile, so that no draw decides and what a held-out type expresses without
    treatment is kept; contexts weigh the same, so that a large penalty gives the null ``training_mean``.
    """
    fits, responses = {}, {}
    for condition, reference in references.items():
        others = task.training[condition]
        if others not in fits:
            cells = [embedding[task.rows(one, control=True)] for one in others]
            groups = np.array([getattr(one, task.axis) for one in others])
            fits[others] = mixing_weights(cells, reference.training_deltas, groups)
        own, drawn = (fits[others](embedding[at]) for at in (task.rows(condition, control=True), reference.drawn))
        deltas = reference.training_deltas
        responses[condition] = Response(own.mean(axis=0) @ deltas, reference.drawn_cells + drawn @ deltas)
    return responses


def training_mean(
    task: Task, references: dict[Condition, Reference], embedding: np.ndarray
) -> dict[Condition, Response]:
    """What a head predicts that knows no embedding: every control cell changes by the mean of the training deltas."""
    means = {condition: reference.training_deltas.mean(axis=0) for condition, reference in references.items()}
    return {one: Response(mean, references[one].drawn_cells + mean) for one, mean in means.items()}


def mixing_weights(
    embeddings: list[np.ndarray], deltas: np.ndarray, groups: np.ndarray, *, alphas: np.ndarray = ALPHAS
) -> Callable[[np.ndarray], np.ndarray]:
    """Ridge regression, with intercept, of each condition's delta on the standardised embedding of its control cells.

    As all cells of a condition have one target, predictions are weighted sums of the targets, and no gene is fitted.
    The penalty is that of `alphas` with the least squared error of mean deltas when each of `groups` is left out.

    Parameters
    ----------
    embeddings
        (n_cells, n_latent) for each condition; cells weigh 1 / n_cells.
    deltas
        (n_conditions, n_genes).
    groups
        (n_conditions,); one alone leaves nothing to choose a penalty by, and its conditions weigh the same.

    Returns
    -------
    Function from embeddings (n, n_latent) to weights (n, n_conditions), which sum to 1 for each cell.
    """
    if len(np.unique(groups)) == 1:
        return lambda cells: np.full((len(cells), len(deltas)), 1 / len(deltas))
    centre = np.mean([cells.mean(axis=0) for cells in embeddings], axis=0)
    scale = np.sqrt(np.mean([np.mean((cells - centre) ** 2, axis=0) for cells in embeddings], axis=0))
    scale[scale == 0] = 1
    means = np.array([(cells.mean(axis=0) - centre) / scale for cells in embeddings])
    within = np.array([np.atleast_2d(np.cov(cells / scale, rowvar=False, bias=True)) for cells in embeddings])

    def solved(kept: np.ndarray) -> Callable[[np.ndarray, float], np.ndarray]:
        middle = means[kept].mean(axis=0)
        away = means[kept] - middle
        values, axes = np.linalg.eigh(within[kept].sum(axis=0) + away.T @ away)
        return lambda at, alpha: 1 / kept.sum() + ((at - middle) @ axes / (values + alpha)) @ (away @ axes).T

    errors, products = np.zeros(len(alphas)), deltas @ deltas.T
    for group in np.unique(groups):
        kept = groups != group
        weights = solved(kept)
        missed = -np.eye(len(means))[~kept]  # weights of all deltas in prediction less truth
        for number, alpha in enumerate(alphas):
            missed[:, kept] = weights(means[~kept], alpha)
            errors[number] += np.sum(missed @ products * missed)
    weights, alpha = solved(np.full(len(means), True)), alphas[errors.argmin()]
    return lambda cells: weights((cells - centre) / scale, alpha)


def mlp(
    task: Task,
    references: dict[Condition, Reference],
    embedding: np.ndarray,
    *,
    rng: np.random.Generator,
    lr: float = 1.0e-4,
    max_epochs: int = 500,
    patience: int = 3,
    batch_size: int = 128,
) -> dict[Condition, Response]:
    """The study's head: one hidden layer of 128 from embedding to the expression of a treated cell, squared error.

    Every epoch pairs control cells with treated cells of their condition anew; training stops `patience` epochs after
    the lowest error on a tenth of the control cells (at most 1,000), set apart with fixed partners. Deviates from the
    study in standardising the embedding. Like the study's it knows nothing of a held-out type but the embedding.
    """
    import torch

    responses = {}
    learned_from = sorted(set(task.training.values()))
    for others, child in zip(learned_from, rng.spawn(len(learned_from)), strict=True):
        learned = np.concatenate([task.rows(one, control=True) for one in others])
        scale = embedding[learned].std(axis=0)
        inputs = (embedding - embedding[learned].mean(axis=0)) / np.where(scale > 0, scale, 1)
        inputs = torch.as_tensor(inputs, dtype=torch.float32)
        network = _trained_mlp(task, others, inputs, child, lr, max_epochs, patience, batch_size)
        for condition in (one for one in references if task.training[one] == others):
            reference = references[condition]
            with torch.inference_mode():
                mean = network[3](network[:3](inputs[task.rows(condition, control=True)]).mean(axis=0)).numpy()
                cells = network(inputs[reference.drawn]).numpy()
            responses[condition] = Response(mean - reference.truth.control.mean, cells)
    return responses


def _trained_mlp(task, conditions, inputs, rng, lr: float, max_epochs: int, patience: int, batch_size: int):
    """Network (n_latent → n_genes) with the weights of the lowest error on the cells set apart."""
    import torch
    from torch import nn

    def error(controls: np.ndarray, treated: np.ndarray) -> torch.Tensor:
        targets = torch.as_tensor(task.expression[treated].toarray())
        return nn.functional.mse_loss(network(inputs[controls]), targets)

    apart, apart_partners = (some[: min(1000, max(1, len(some) // 10))] for some in pair(task, conditions, rng))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**63)))
        network = nn.Sequential(
            nn.Linear(inputs.shape[1], 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, len(task.genes))
        )
        optimizer = torch.optim.Adam(network.parameters(), lr=lr)
        lowest, best, since = np.inf, copy.deepcopy(network.state_dict()), 0
        for _ in range(max_epochs):
            network.train()
            controls, partners = pair(task, conditions, rng)
            learned = ~np.isin(controls, apart)
            controls, partners = controls[learned], partners[learned]
            for start in range(0, len(controls), batch_size):
                batch = slice(start, start + batch_size)
                optimizer.zero_grad()
                error(controls[batch], partners[batch]).backward()
                optimizer.step()
            network.eval()
            with torch.inference_mode():
                now, since = float(error(apart, apart_partners)), since + 1
            if now < lowest:
                lowest, best, since = now, copy.deepcopy(network.state_dict()), 0
            if since == patience:
                break
    network.load_state_dict(best)
    return network.eval()


def pair(task: Task, conditions: Sequence[Condition], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Each control cell with a treated cell of its condition drawn at random: positions (n_pairs,), shuffled."""
    controls = [task.rows(one, control=True) for one in conditions]
    partners = [rng.choice(task.rows(one), len(own)) for one, own in zip(conditions, controls, strict=True)]
    order = rng.permutation(sum(map(len, controls)))
    return np.concatenate(controls)[order], np.concatenate(partners)[order]
