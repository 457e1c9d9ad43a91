"""How well a predicted response agrees with the true one: each metric a function on arrays, with its range and source.

A profile is the mean log1p CP10k of cells, (n_genes,); a delta is a treated profile minus the profile of the control
cells of the same context. The context-specific part is a delta minus the mean delta of the training contexts.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from helpers.evaluate.registry import STUDY, Metric, register

FDR = 0.05
TOP = 50  # genes of the strongest context-specific response
TAIL = 0.01  # share of genes with the strongest true response, 10 or more
CONSTANT = 1e-9  # standard deviation under which a prediction over genes is rounding alone

CELL_EVAL = "cell-eval 0.8.2, Arc Institute"
ENERGY = "Székely & Rizzo 2013, 10.1016/j.jspi.2013.03.018"


METRICS: dict[str, Metric] = {}


@register(METRICS, "mean squared error of the treated profile", low=0, high=np.inf, best=0, citation=STUDY)
def mean_profile_mse(true: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.mean((true - predicted) ** 2))


@register(METRICS, "Pearson r of the treated profile, the study's R2", low=-1, high=1, best=1, citation=STUDY)
def mean_profile_r(true: np.ndarray, predicted: np.ndarray) -> float:
    return correlation(true, predicted)


@register(
    METRICS, "explained variance of the treated profile over genes", low=-np.inf, high=1, best=1, citation="textbook R²"
)
def r2(true: np.ndarray, predicted: np.ndarray) -> float:
    total = np.mean((true - true.mean()) ** 2)
    return float(1 - np.mean((true - predicted) ** 2) / total) if total > 0 else np.nan


@register(METRICS, "Pearson r of the delta", low=-1, high=1, best=1, citation=CELL_EVAL)
def delta_r(true_delta: np.ndarray, predicted_delta: np.ndarray) -> float:
    return correlation(true_delta, predicted_delta)


@register(METRICS, "Pearson r of the context-specific part", low=-1, high=1, best=1, citation="this project")
def specific_r(true_delta: np.ndarray, predicted_delta: np.ndarray, training_delta: np.ndarray) -> float:
    return correlation(true_delta - training_delta, predicted_delta - training_delta)


@register(
    METRICS,
    "share of the top 50 context-specific genes found, sign included",
    low=0,
    high=1,
    best=1,
    citation=CELL_EVAL,
)
def specific_top50_overlap(true_delta: np.ndarray, predicted_delta: np.ndarray, training_delta: np.ndarray) -> float:
    true, predicted = true_delta - training_delta, predicted_delta - training_delta
    if predicted.std() < CONSTANT:
        return 0.0
    both = np.intersect1d(_strongest(true, TOP), _strongest(predicted, TOP))
    return float(np.sum(np.sign(true[both]) == np.sign(predicted[both])) / min(TOP, len(true)))


@register(
    METRICS, "area under precision-recall of truly context-specific genes", low=0, high=1, best=1, citation=CELL_EVAL
)
def specific_auprc(is_specific: np.ndarray, true_specific: np.ndarray, predicted_evidence: np.ndarray) -> float:
    """Average precision, each gene once as up and once as down; `predicted_evidence` is signed, such as a t.

    A constant prediction has the share of positives; without a specific gene it is NaN.
    """
    from sklearn.metrics import average_precision_score

    labels = np.concatenate([is_specific & (true_specific > 0), is_specific & (true_specific < 0)])
    if not labels.any():
        return np.nan
    return float(average_precision_score(labels, np.concatenate([predicted_evidence, -predicted_evidence])))


@register(
    METRICS, "share of other treated deltas that the own one beats, by r", low=0, high=1, best=1, citation=CELL_EVAL
)
def rank_among_treated(true_delta: np.ndarray, predicted_delta: np.ndarray, other_deltas: np.ndarray) -> float:
    """Ties count half, so no change has 0.5; cell-eval ranks by distance and breaks ties by position."""
    own = correlation(true_delta, predicted_delta)
    others = np.array([correlation(other, predicted_delta) for other in other_deltas])
    return float(np.mean((own > others) + 0.5 * (own == others)))


@register(
    METRICS, "share of the N truly DE genes among the N strongest predicted", low=0, high=1, best=1, citation=CELL_EVAL
)
def de_overlap(
    true_change: np.ndarray, true_fdr: np.ndarray, predicted_change: np.ndarray, predicted_fdr: np.ndarray
) -> float:
    """cell-eval's `overlap_at_N`: both lists hold significant genes alone, by absolute change; 0 if either is empty."""
    true, predicted = np.flatnonzero(true_fdr < FDR), np.flatnonzero(predicted_fdr < FDR)
    if not len(true):
        return 0.0
    found = predicted[_strongest(predicted_change[predicted], len(true))]
    return len(np.intersect1d(true, found)) / len(true)


@register(METRICS, "share of truly DE genes whose change has the true sign", low=0, high=1, best=1, citation=CELL_EVAL)
def de_direction_match(true_change: np.ndarray, true_fdr: np.ndarray, predicted_change: np.ndarray) -> float:
    """cell-eval's `de_direction_match`: no change matches no sign; NaN without a truly DE gene."""
    found = true_fdr < FDR
    return float(np.mean(np.sign(true_change[found]) == np.sign(predicted_change[found]))) if found.any() else np.nan


@register(
    METRICS, "energy distance of cells in principal components", low=-np.inf, high=np.inf, best=0, citation=ENERGY
)
def energy_distance(true_cells: np.ndarray, predicted_cells: np.ndarray) -> float:
    """Unbiased (a cell is no pair with itself), so that equal distributions scatter around 0."""
    from scipy.spatial.distance import cdist, pdist

    within = pdist(true_cells).mean() + pdist(predicted_cells).mean()
    return float(2 * cdist(true_cells, predicted_cells).mean() - within)


@register(
    METRICS, "Pearson r of the delta over the 1 % most changed genes", low=-1, high=1, best=1, citation="this project"
)
def tail_r(true_delta: np.ndarray, predicted_delta: np.ndarray) -> float:
    tail = _tail(true_delta)
    return correlation(true_delta[tail], predicted_delta[tail])


@register(
    METRICS, "mean squared error over the 1 % most changed genes", low=0, high=np.inf, best=0, citation="this project"
)
def tail_mse(true_delta: np.ndarray, predicted_delta: np.ndarray) -> float:
    tail = _tail(true_delta)
    return mean_profile_mse(true_delta[tail], predicted_delta[tail])


class Moments(NamedTuple):
    """Number, mean (n_genes,) and variance (n_genes,) of some cells' log1p CP10k."""

    n: int
    mean: np.ndarray
    var: np.ndarray


def moments(cells: sp.csr_array) -> Moments:
    """Moments of log1p CP10k (n_cells, n_genes), two cells or more."""
    n, mean = cells.shape[0], np.asarray(cells.mean(axis=0), dtype=np.float64)
    square = np.asarray(cells.multiply(cells).mean(axis=0), dtype=np.float64)
    return Moments(n, mean, np.maximum(square - mean**2, 0) * n / (n - 1))


class Space(NamedTuple):
    """Principal components: gene columns (n,), their mean (n,), axes (n_pcs, n)."""

    columns: np.ndarray
    mean: np.ndarray
    axes: np.ndarray

    def place(self, cells: np.ndarray) -> np.ndarray:
        """Dense log1p CP10k (n_cells, n_genes) as (n_cells, n_pcs)."""
        return (cells[:, self.columns] - self.mean) @ self.axes.T

    def shift(self, delta: np.ndarray) -> np.ndarray:
        """Where a delta (n_genes,) moves cells, (n_pcs,)."""
        return self.axes @ delta[self.columns]


class Prediction(NamedTuple):
    """A predicted response: delta (n_genes,), variance over cells (n_genes,), cells in PCA space (n_cells, n_pcs)."""

    delta: np.ndarray
    var: np.ndarray
    cells: np.ndarray


@dataclass(frozen=True)
class Truth:
    """What predictions of one held-out condition are scored against.

    `treated` and `control` are moments of its cells; `cells` its treated cells in PCA space, (n_cells, n_pcs);
    `other_deltas` (n_others, n_genes) those of the treated contexts to rank among; `training_delta` (n_genes,) the mean
    over training conditions and `training_error` (n_genes,) the squared standard error of that mean.
    """

    control: Moments
    treated: Moments
    cells: np.ndarray
    other_deltas: np.ndarray
    training_delta: np.ndarray
    training_error: np.ndarray

    @cached_property
    def delta(self) -> np.ndarray:
        return self.treated.mean - self.control.mean

    @cached_property
    def fdr(self) -> np.ndarray:
        """FDR of being DE between treated and control cells, (n_genes,)."""
        return welch(self.delta, self.treated, self.control)[1]

    @cached_property
    def is_specific(self) -> np.ndarray:
        """Genes whose change differs from the training mean, (n_genes,) bool."""
        part = self.delta - self.training_delta
        return welch(part, self.treated, self.control, self.training_error)[1] < FDR


def scores(truth: Truth, predicted: Prediction) -> dict[str, float]:
    """Every metric of `METRICS`, by name.

    Predicted cells are tested for DE as if there were as many as true ones, so that power is equal. Deviates from
    cell-eval, whose rank test calls a gene DE if a constant is added to its zeros, by Welch's t; and its ratio of
    pseudobulks, infinite for genes silent in control, by the difference of mean log1p CP10k.
    """
    mean = truth.control.mean + predicted.delta
    cells = Moments(truth.treated.n, mean, predicted.var)
    fdr = welch(predicted.delta, cells, truth.control)[1]
    evidence = _t(predicted.delta - truth.training_delta, cells, truth.control, truth.training_error)[0]
    profiles, deltas = (truth.treated.mean, mean), (truth.delta, predicted.delta)
    return {
        "mean_profile_mse": mean_profile_mse(*profiles),
        "mean_profile_r": mean_profile_r(*profiles),
        "r2": r2(*profiles),
        "delta_r": delta_r(*deltas),
        "specific_r": specific_r(*deltas, truth.training_delta),
        "specific_top50_overlap": specific_top50_overlap(*deltas, truth.training_delta),
        "specific_auprc": specific_auprc(truth.is_specific, truth.delta - truth.training_delta, evidence),
        "rank_among_treated": rank_among_treated(*deltas, truth.other_deltas),
        "de_overlap": de_overlap(truth.delta, truth.fdr, predicted.delta, fdr),
        "de_direction_match": de_direction_match(truth.delta, truth.fdr, predicted.delta),
        "energy_distance": energy_distance(truth.cells, predicted.cells),
        "tail_r": tail_r(*deltas),
        "tail_mse": tail_mse(*deltas),
    }


def calibrated(value: float, null: float, ceiling: float, *, gap_sd: float, best: float) -> float:
    """(value − null) / (ceiling − null), unclipped: 0 at the null, 1 at the ceiling.

    NaN where `separates` says no. `best` is the metric's best value, `gap_sd` the bootstrap SD of ceiling − null.
    """
    return (value - null) / (ceiling - null) if separates(null, ceiling, gap_sd=gap_sd, best=best) else np.nan


def separates(null: float, ceiling: float, *, gap_sd: float, best: float) -> bool:
    """Whether the ceiling lies nearer to `best` than the null does, by at least 2 `gap_sd`."""
    return bool(abs(ceiling - best) < abs(null - best) and abs(ceiling - null) >= 2 * gap_sd)


def welch(
    change: np.ndarray, treated: Moments, control: Moments, error: float | np.ndarray = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Welch's t of a change between treated and control cells and its FDR (Benjamini–Hochberg), both (n_genes,).

    `error` is the squared standard error of what was subtracted from the difference of means. A gene that varies in no
    cell has t = 0.
    """
    from scipy.special import stdtr
    from scipy.stats import false_discovery_control

    t, both = _t(change, treated, control, error)
    parts = treated.var / treated.n, control.var / control.n
    spread = parts[0] ** 2 / (treated.n - 1) + parts[1] ** 2 / (control.n - 1)
    freedom = np.divide(both**2, spread, out=np.ones_like(both), where=both > 0)
    return t, false_discovery_control(2 * stdtr(freedom, -np.abs(t)))


def _t(change, treated: Moments, control: Moments, error) -> tuple[np.ndarray, np.ndarray]:
    """Welch's t, and the squared standard error of the difference of means, both (n_genes,)."""
    both = treated.var / treated.n + control.var / control.n
    return np.divide(change, np.sqrt(both + error), out=np.zeros_like(both), where=both > 0), both


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson r (n,), (n,); 0 if either is constant, since a constant predicts no difference."""
    if a.std() < CONSTANT or b.std() < CONSTANT:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _strongest(change: np.ndarray, n: int) -> np.ndarray:
    return np.argsort(-np.abs(change), kind="stable")[:n]


def _tail(true_delta: np.ndarray) -> np.ndarray:
    return _strongest(true_delta, max(10, round(TAIL * len(true_delta))))
