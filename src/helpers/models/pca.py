"""Principal components of log1p CP10k expression, fitted on the pretraining cells and applied to others."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
from pydantic import Field
from scipy.linalg import eigh
from scipy.sparse.linalg import eigsh

from helpers.models import register
from helpers.models.expression import LogCP10k, SquaredLoss, chunks, gene_means, squared_errors
from helpers.models.protocol import Budget, Family, Settings

FEW_CELLS = 600  # up to here the decomposition of the cells is faster than that of the gene covariance
MANY_GENES = 5000  # above, the gene covariance is too large: 0.2 GB, and a dense product of all cells to sum it
SAMPLE = 20_000  # cells, evenly spread, whose axes are found first: the search among all cells starts from them
OVERSAMPLING = 10  # directions of a Krylov block beyond the axes asked for
TOLERANCE = 1e-3  # relative gain of each variance in a pass below which the Krylov space has converged
MAX_PASSES = 20
RESOLUTION = 1e-6  # of the largest variance: float32 products tell no smaller ones


class PCASettings(Settings):
    """Number of components at width 1; fewer cells than that give one component less than there are cells."""

    n_components: int = Field(50, ge=1)


class PrincipalAxes(NamedTuple):
    """What `principal_axes` finds."""

    mean: np.ndarray  # (n_genes,)
    axes: np.ndarray  # (k, n_genes), orthonormal, the largest variance first
    variances: np.ndarray  # (k,) of the cells along the axes, squared deviations divided by their number
    flops: int  # multiplications and additions with cells; decompositions of smaller matrices are left out


@register("pca")
class PCA(SquaredLoss, Family):
    """PCA of log1p CP10k counts; embedding = X @ PCs, uncentred, as published.

    The loss is the squared error between a cell's log1p CP10k profile and its reconstruction, mean over genes; cells
    are centred on the training mean. The budget matters only if it is 0: then the axes are random and orthonormal, the
    mean zero. The mean is not counted among the parameters, as in the study. Cells are normalised as they are read: no
    second copy of them is made. How the axes are found, and their FLOPs, see `principal_axes`.
    """

    presets: ClassVar = {"paper": PCASettings(), "demo": PCASettings()}
    streams = True

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
            mean, components, _, flops = principal_axes(LogCP10k(train), k)
        else:
            mean, flops = np.zeros(self.n_genes), 0
            components = np.linalg.qr(rng.standard_normal((self.n_genes, k)))[0].T
        self.weights = {"components": components.astype(np.float32), "mean": mean.astype(np.float32)}
        views = n_cells * trained
        losses = {"train_loss": self._losses(train).mean(), "validation_loss": self._losses(validation).mean()}
        history = pd.DataFrame([{"step": int(trained), "epoch": float(trained), "cell_views": views} | losses])
        return history, {"steps": int(trained), "best_step": int(trained), "cell_views": views, "flops": flops}

    def _embed(self, counts: sp.csr_array) -> np.ndarray:
        components = self.weights["components"]
        embedding = np.empty((counts.shape[0], len(components)), dtype=np.float32)
        for rows, cells in chunks(LogCP10k(counts)):
            embedding[rows] = cells @ components.T
        return embedding

    def _losses(self, counts: sp.csr_array) -> np.ndarray:
        return squared_errors(LogCP10k(counts), self.weights["mean"], self.weights["components"])


def principal_axes(expression: sp.csr_array | LogCP10k, k: int) -> PrincipalAxes:
    """Mean and the k leading principal axes of cells (n_cells, n_genes); deterministic, read by slices of rows.

    Up to FEW_CELLS cells: decomposition of the cells, 2 x cells^2 x genes FLOPs. More cells, up to MANY_GENES genes:
    decomposition of the gene covariance, summed over chunks, 2 x cells x genes^2. Both are exact. Beyond, the axes lie
    in a block Krylov space (Musco and Musco 2015), grown by a pass over the cells until no variance gains more than
    TOLERANCE, at most MAX_PASSES times: 4 x non-zeros x (k + OVERSAMPLING) for each pass. It starts from the axes of
    SAMPLE cells, theirs from fixed random ones. Then variances are within 1e-3 of the exact ones, where the spectrum
    has any structure; axes of nearly equal variance may be turned within the plane that they span.

    Products of 1,024 cells are float32, their sum is float64. The sign of an axis makes its largest loading positive.
    """
    n_cells, n_genes = expression.shape
    mean = gene_means(expression)
    if n_cells <= FEW_CELLS:
        find = _decompose_cells
    else:
        find = _decompose_covariance if n_genes <= MANY_GENES else _decompose_krylov
    axes, squares, flops = find(expression, mean, k)
    largest = np.abs(axes).argmax(axis=1, keepdims=True)
    return PrincipalAxes(mean, axes * np.sign(np.take_along_axis(axes, largest, axis=1)), squares / n_cells, flops)


def _decompose_cells(expression: Any, mean: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Axes, squared deviations along them, FLOPs; so do the two below."""
    n_cells, n_genes = expression.shape
    _, lengths, axes = np.linalg.svd(expression[:].toarray() - mean, full_matrices=False)
    return axes[:k], np.square(lengths[:k]), 2 * n_cells**2 * n_genes


def _decompose_covariance(expression: Any, mean: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, int]:
    n_cells, n_genes = expression.shape
    covariance = -n_cells * np.outer(mean, mean)
    for _, cells in chunks(expression):
        dense = cells.toarray()
        covariance += dense.T @ dense
    if k > n_genes // 4:  # Lanczos pays for few of many
        squares, axes = eigh(covariance, subset_by_index=[n_genes - k, n_genes - 1])
    else:
        squares, axes = eigsh(covariance, k=k, v0=np.random.default_rng(0).standard_normal(n_genes))
    return axes.T[::-1], squares[::-1], 2 * n_cells * n_genes**2


def _decompose_krylov(expression: Any, mean: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, int]:
    n_cells, n_genes = expression.shape
    n = min(k + OVERSAMPLING, n_genes)
    start, flops = np.linalg.qr(np.random.default_rng(0).standard_normal((n_genes, n)))[0].T, 0
    if n_cells > SAMPLE:
        step = -(-n_cells // SAMPLE)
        sample = sp.vstack([cells[-rows.start % step :: step] for rows, cells in chunks(expression)], format="csr")
        start, _, flops = _krylov(sample, mean, start, k)
    axes, squares, more = _krylov(expression, mean, start, k)
    return axes[:k], squares[:k], flops + more


def _krylov(expression: Any, mean: np.ndarray, start: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, int]:
    """As many axes as `start` has (n, n_genes), orthonormal, of which the first k have converged."""
    n, n_genes = start.shape
    block, basis, projected, flops = start.T, np.empty((n_genes, 0)), np.empty((0, 0)), 0
    squares = np.zeros(n)
    for _ in range(MAX_PASSES):
        image, n_values = _covariance_times(expression, mean, block)
        flops += 4 * n_values * block.shape[1]
        basis = np.hstack([basis, block])
        columns = basis.T @ image
        projected = np.block([[projected, columns[: len(projected)]], [columns.T]])
        before, (squares, turn) = squares, eigh(projected)
        squares, turn = squares[: -n - 1 : -1], turn[:, : -n - 1 : -1]
        enough = np.maximum(TOLERANCE * squares, RESOLUTION * squares[0])
        if (squares - before <= enough)[:k].all() or basis.shape[1] == n_genes:
            break
        for _ in range(2):  # once leaves rounding errors
            image = np.linalg.qr(image - basis @ (basis.T @ image))[0]
        block = image[:, : n_genes - basis.shape[1]]
    return (basis @ turn).T, squares, flops


def _covariance_times(expression: Any, mean: np.ndarray, block: np.ndarray) -> tuple[np.ndarray, int]:
    """Scatter of the centred cells times directions (n_genes, n), and the number of values that cells have."""
    image, total, n_values = np.zeros(block.shape), np.zeros(block.shape[1]), 0
    directions = block.astype(np.float32)
    offset = (mean @ directions).astype(np.float32)
    for _, cells in chunks(expression):
        scores = cells @ directions - offset
        image += cells.T @ scores
        total += scores.sum(axis=0, dtype=np.float64)
        n_values += cells.nnz
    return image - np.outer(mean, total), n_values
