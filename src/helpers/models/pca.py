"""Principal components of log1p CP10k expression, fitted on the pretraining cells and applied to others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import scipy.sparse as sp
from pydantic import Field
from scipy.linalg import eigh
from scipy.sparse.linalg import eigsh

from helpers.models import register
from helpers.models.protocol import Budget, Family, Settings, log_cp10k

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 1024  # cells made dense at a time
FEW_CELLS = 600  # up to here the decomposition of the cells is faster than that of the gene covariance


class PCASettings(Settings):
    """Number of components at width 1; fewer cells than that give one component less than there are cells."""

    n_components: int = Field(50, ge=1)


@register("pca")
class PCA(Family):
    """PCA of log1p CP10k counts; embedding = X @ PCs, uncentred, as published.

    The loss is the squared error between a cell's log1p CP10k profile and its reconstruction, mean over genes; cells
    are centred on the training mean. The budget matters only if it is 0: then the axes are random and orthonormal, the
    mean zero. The mean is not counted among the parameters, as in the study. FLOPs: the covariance, 2 x cells x genes^2
    (2 x cells^2 x genes with fewer cells than genes); its decomposition is left out.
    """

    presets: ClassVar = {"paper": PCASettings(), "demo": PCASettings()}
    loss_unit = "squared error of log1p CP10k, mean over genes"

    @property
    def n_components(self) -> int:
        """Components asked for: the preset's times the width, at most the genes; a small corpus gives fewer."""
        return min(max(1, round(self.settings.n_components * self.width)), self.n_genes)

    @property
    def n_parameters(self) -> dict[str, int]:
        """Loadings, genes x components: the fitted number of components, or the one asked for before."""
        size = len(self.weights.get("components", range(self.n_components))) * self.n_genes
        return {"total": size, "encoder": size}

    def _fit(
        self, train: sp.csr_array, validation: sp.csr_array, budget: Budget, rng: np.random.Generator
    ) -> tuple[pd.DataFrame, dict[str, Any]]:
        n_cells = train.shape[0]
        k = min(self.n_components, n_cells - 1)
        trained = budget.amount > 0
        if trained:
            mean, components = principal_axes(log_cp10k(train), k)
        else:
            mean = np.zeros(self.n_genes)
            components = np.linalg.qr(rng.standard_normal((self.n_genes, k)))[0].T
        self.weights = {"components": components.astype(np.float32), "mean": mean.astype(np.float32)}
        views = n_cells * trained
        losses = {"train_loss": self._losses(train).mean(), "validation_loss": self._losses(validation).mean()}
        history = pd.DataFrame([{"step": int(trained), "epoch": float(trained), "cell_views": views} | losses])
        flops = 2 * views * self.n_genes * min(n_cells, self.n_genes)
        return history, {"steps": int(trained), "best_step": int(trained), "cell_views": views, "flops": flops}

    def _embed(self, counts: sp.csr_array) -> np.ndarray:
        return log_cp10k(counts) @ self.weights["components"].T

    def _losses(self, counts: sp.csr_array) -> np.ndarray:
        return _residuals(log_cp10k(counts), self.weights["mean"], self.weights["components"])

    def _bounds(self, corpus: sp.csr_array, counts: sp.csr_array) -> tuple[np.ndarray, np.ndarray]:
        """Null: every cell is the corpus mean. Floor: the cells' own best affine subspace of as many components.

        The floor is a bound on the mean over these cells (Eckart and Young 1936), not on each cell: no other mean and
        axes leave less squared error in total.
        """
        cells = log_cp10k(counts)
        null = _residuals(cells, log_cp10k(corpus).mean(axis=0), np.zeros((1, self.n_genes)))
        own_mean, own_axes = principal_axes(cells, min(self.n_components, cells.shape[0]))
        return null, _residuals(cells, own_mean, own_axes)


def principal_axes(expression: sp.csr_array, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (n_genes,) and the k leading principal axes (k, n_genes), orthonormal, exact and deterministic.

    The sign of an axis makes its largest loading positive. Products of 1,024 cells are float32, their sum is float64.
    """
    n_cells, n_genes = expression.shape
    mean = expression.mean(axis=0, dtype=np.float64)
    if n_cells <= FEW_CELLS:
        axes = np.linalg.svd(expression.toarray() - mean, full_matrices=False)[2][:k]
    else:
        covariance = -n_cells * np.outer(mean, mean)
        for _, dense in _chunks(expression):
            covariance += dense.T @ dense
        if k > n_genes // 4:  # Lanczos pays for few of many
            axes = eigh(covariance, subset_by_index=[n_genes - k, n_genes - 1])[1].T[::-1]
        else:
            start = np.random.default_rng(0).standard_normal(n_genes)
            axes = eigsh(covariance, k=k, v0=start)[1].T[::-1]
    largest = np.abs(axes).argmax(axis=1, keepdims=True)
    return mean, axes * np.sign(np.take_along_axis(axes, largest, axis=1))


def _residuals(expression: sp.csr_array, mean: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Squared distance of cells to the affine subspace, mean over genes (n_cells,)."""
    mean, axes = mean.astype(np.float32), axes.astype(np.float32)
    losses = np.empty(expression.shape[0])
    for rows, dense in _chunks(expression):
        centred = dense - mean
        centred -= (centred @ axes.T) @ axes
        losses[rows] = np.square(centred).mean(axis=1, dtype=np.float64)
    return losses


def _chunks(expression: sp.csr_array) -> Iterator[tuple[slice, np.ndarray]]:
    for start in range(0, expression.shape[0], CHUNK):
        rows = slice(start, start + CHUNK)
        yield rows, expression[rows].toarray()
