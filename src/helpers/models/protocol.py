"""What a model family is: the cells and the budget it is given, and a base class that does what all families share.

A family sets `presets`, `loss_unit` and implements `_fit`, `_embed` and `_losses` on a sparse matrix of counts; what it
learnt lies in the dict of arrays `self.weights`. Checks, files and records are done here, once.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd
import scipy.sparse as sp
from pydantic import BaseModel
from safetensors.numpy import load_file, save_file

from helpers.models.count_split import reference_losses
from helpers.models.counts import CountsOnDisk, aligned, check_genes, check_unique, raw_counts
from helpers.models.memory import peak_memory
from helpers.provenance import file_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anndata import AnnData
    from anndata.abc import CSRDataset

    from helpers.corpus.stored import StoredCells
    from helpers.models.count_split import Halves

FORMAT_VERSION = 2
WEIGHTS = "weights.safetensors"
PART = 16_384  # cells read from disk at a time
HISTORY_COLUMNS = ["step", "epoch", "cell_views", "train_loss", "validation_loss"]


@dataclass(frozen=True)
class TrainingCells:
    """Cells to train on and cells that decide when to stop, over the same genes in the same order.

    Those to train on may be `helpers.corpus.stored.StoredCells`, or an AnnData opened with ``backed="r"``.
    """

    train: AnnData | StoredCells
    validation: AnnData

    def __post_init__(self) -> None:
        check_unique(self.train.var_names)
        check_genes(self.train.var_names, self.validation, what="the training cells have")
        for name in ("train", "validation"):
            if getattr(self, name).n_obs == 0:
                raise ValueError(f"{name} has 0 cells; at least 1 is needed")


@dataclass(frozen=True)
class Budget:
    """How long to train: `amount` cell-views (a cell seen once) or epochs; 0 keeps the initial weights, "untrained"."""

    kind: Literal["cell_views", "epochs"]
    amount: int

    def __post_init__(self) -> None:
        if self.kind not in ("cell_views", "epochs"):
            raise ValueError(f"budget kind is {self.kind!r}; accepted: 'cell_views', 'epochs'")
        if isinstance(self.amount, bool) or not isinstance(self.amount, int) or self.amount < 0:
            raise ValueError(f"budget amount is {self.amount!r}; accepted: a whole number, 0 or more")

    def cell_views(self, n_cells: int) -> int:
        """Cell-views that this budget grants to a corpus of `n_cells`."""
        return self.amount * (n_cells if self.kind == "epochs" else 1)


class UnfitCellsError(ValueError):
    """Training cells that a family cannot learn from, such as a single cell type where types are told apart."""


class Settings(BaseModel, frozen=True, extra="forbid", strict=True):
    """Settings of a family: a subclass lists its fields with defaults and ranges; they are checked on construction."""


class Family(ABC):
    """A model family; an instance is one model, unfitted until `fit` or `load`.

    Attributes
    ----------
    presets
        Named settings; every family has ``paper`` and ``demo``.
    min_cells
        Fewest training cells; under ten, components and batch statistics are those of single cells.
    streams
        Whether `_fit` reads its training cells by slices of rows; then those that are on disk stay there. Families that
        `neural` trains read batches of `CountsOnDisk`; others read all cells into memory.
    loss_unit
        What `heldout_loss` returns, as text for an axis.
    accelerator
        Where a family that knows several devices computes, see `train.training_device`; no part of the model.
    genes
        Fitted genes, in order; None before.
    history
        After `fit`: one row per step, the first before training, with step, epoch, cell_views, train_loss,
        validation_loss; NaN where there is none.
    cost
        After `fit`: steps, cell_views, unique_cells, flops, seconds, cells_per_second, peak_memory_mb (of the process,
        from the start of training on), device, stopped_early, best_step; more for some families.
    """

    name: ClassVar[str] = ""
    presets: ClassVar[Mapping[str, Settings]] = {"paper": Settings(), "demo": Settings()}
    min_cells: ClassVar[int] = 10
    streams: ClassVar[bool] = False
    loss_unit: ClassVar[str] = "loss"

    def __init__(
        self, n_genes: int, *, preset: str = "paper", width: float = 1.0, accelerator: str = "auto", **settings: Any
    ) -> None:
        if not isinstance(n_genes, Integral) or n_genes < 1:
            raise ValueError(f"n_genes is {n_genes!r}; accepted: a whole number, 1 or more")
        if not isinstance(width, Real) or not 0 < width < np.inf:
            raise ValueError(f"width is {width!r}; accepted: a number above 0")
        self.n_genes, self.preset, self.width = int(n_genes), preset, float(width)
        self.accelerator = accelerator
        self.settings = type(self.presets[preset])(**(self.presets[preset].model_dump() | settings))
        self.genes: list[str] | None = None
        self.weights: dict[str, np.ndarray] = {}
        self.history = pd.DataFrame(columns=HISTORY_COLUMNS, dtype=float)
        self.cost: dict[str, Any] = {}

    def _prepare(self, cells: TrainingCells) -> None:  # noqa: B027 (most families need nothing)
        """Take what the family needs beside the counts, such as labels; called before `_fit`."""

    @abstractmethod
    def _fit(
        self, train: sp.csr_array, validation: sp.csr_array, budget: Budget, rng: np.random.Generator
    ) -> tuple[pd.DataFrame, dict[str, Any]]:
        """Learn from counts (n_cells, n_genes); return `history`, and what in `cost` is not that of one pass."""

    @abstractmethod
    def _embed(self, counts: sp.csr_array) -> np.ndarray:
        """Embedding (n_cells, n_latent) of counts (n_cells, n_genes)."""

    @abstractmethod
    def _losses(self, counts: sp.csr_array) -> np.ndarray:
        """Loss (n_cells,) of counts (n_cells, n_genes), in `loss_unit`."""

    def _null_losses(self, corpus: sp.csr_array, counts: sp.csr_array) -> np.ndarray:
        """Losses (n_cells,) of predicting each cell by the gene means of the corpus; NaN where a family has no null."""
        return np.full(counts.shape[0], np.nan)

    def _split_gains(self, corpus: Halves, cells: Halves) -> np.ndarray:
        """See `count_split.reference_losses`; NaN where a family has no such reference."""
        return np.full(cells[0].shape[0], np.nan)

    @property
    def n_parameters(self) -> dict[str, int]:
        """Number of parameters: of the whole model (total) and of the part that `embed` uses (encoder)."""
        total = sum(array.size for array in self.weights.values())
        return {"total": total, "encoder": total}

    def fit(self, cells: TrainingCells, *, budget: Budget, rng: np.random.Generator) -> None:
        """Train from initial weights on `cells.train`.

        Raises
        ------
        UnfitCellsError
            For fewer than `min_cells` cells, or labels that the family cannot learn from.
        ValueError
            For another number of genes, a gene that stands twice, or cells that are not raw counts.
        MemoryError
            When a batch does not fit; names a smaller one.
        FloatingPointError
            When a loss is no longer finite; names the step.
        """
        n_cells = cells.train.n_obs
        if n_cells < self.min_cells:
            raise UnfitCellsError(f"train has {n_cells} cells; {self.name} needs at least {self.min_cells}")
        if cells.train.n_vars != self.n_genes:
            raise ValueError(f"train has {cells.train.n_vars} genes; this model was created for {self.n_genes}")
        train, validation = self._training_counts(cells.train), raw_counts(cells.validation)
        self._prepare(cells)
        started = time.perf_counter()
        with peak_memory() as memory:
            history, cost = self._fit(train, validation, budget, rng)
        seconds = time.perf_counter() - started
        self.genes = list(cells.train.var_names)
        self.history = history[HISTORY_COLUMNS]
        one_pass = {"steps": 1, "best_step": 1, "stopped_early": False, "cell_views": n_cells, "flops": 0}
        self.cost = one_pass | {"device": "cpu", "seconds": seconds} | memory | cost
        views = self.cost["cell_views"]
        self.cost |= {"unique_cells": min(n_cells, views), "cells_per_second": views / self.cost["seconds"]}

    def embed(self, adata: AnnData) -> np.ndarray:
        """Embedding of cells, float32 (n_cells, n_latent).

        Genes are found by name, in any order, and further ones ignored. Missing ones count as 0, with a UserWarning
        that tells their share.

        Raises
        ------
        ValueError
            If more than `MOST_MISSING` of the fitted genes are missing, or a name stands twice; for cells without
            counts in these genes, and values that are not raw counts.
        """
        return self._in_parts(self._embed, adata).astype(np.float32, copy=False)

    def heldout_loss(self, adata: AnnData) -> np.ndarray:
        """Loss of each cell in `loss_unit`, float64 (n_cells,), lower is better; genes and errors as in `embed`."""
        return self._in_parts(self._losses, adata).astype(np.float64, copy=False)

    def loss_controls(self, cells: TrainingCells, adata: AnnData) -> pd.DataFrame:
        """Losses of each cell that a model's are to be read against; a model need not be fitted.

        Genes of `adata` and errors as in `embed`, with those of `cells` in place of fitted ones.

        Returns
        -------
        null
            Loss of predicting the gene means of `cells.train`, for which pass the whole corpus, not a subset.
        reference
            Count-split reference: loss if another measurement of the cell were known, mean over splits. To be averaged
            over cells, and no bound. What it is, see the family; how it is found, see `count_split.reference_losses`.
        reference_se
            Standard error of the mean of `reference` over these cells, from the splits; the same for each cell.
        """
        check_unique(cells.train.var_names)
        corpus, counts = self._training_counts(cells.train), raw_counts(aligned(adata, list(cells.train.var_names)))
        null = self._null_losses(corpus, counts)
        splits = reference_losses(null, corpus, counts, self._split_gains)
        standard_error = splits.mean(axis=1).std(ddof=1) / len(splits) ** 0.5
        return pd.DataFrame({"null": null, "reference": splits.mean(axis=0), "reference_se": standard_error})

    def save(self, folder: str | Path) -> None:
        """Write weights.safetensors, model.json and history.parquet; equal trainings differ in timings only."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        genes, weights = self._fitted_genes(), folder / WEIGHTS
        save_file({key: np.ascontiguousarray(self.weights[key]) for key in self.weights}, weights)
        description = {"format_version": FORMAT_VERSION} | self._identity() | {"n_parameters": self.n_parameters}
        description |= {"loss_unit": self.loss_unit, "cost": self.cost}
        description |= {"weights_sha256": file_sha256(weights), "genes": genes}
        (folder / "model.json").write_text(json.dumps(description, indent=1, allow_nan=False) + "\n")
        self.history.to_parquet(folder / "history.parquet", index=False)

    def load(self, folder: str | Path) -> None:
        """Take over a model that `save` wrote.

        Raises
        ------
        ValueError
            Unless family, number of genes, width and settings are this model's, and the weights as they were saved.
        """
        folder = Path(folder)
        description = json.loads((folder / "model.json").read_text())
        for key, own in ({"format_version": FORMAT_VERSION} | self._identity()).items():
            if description.get(key) != own:
                raise ValueError(f"{folder}: {key} is {description.get(key)!r}; this model has {own!r}")
        n_listed = len(set(description["genes"]))
        if n_listed != self.n_genes:
            raise ValueError(f"{folder}: {n_listed} different genes listed; expected n_genes = {self.n_genes}")
        if file_sha256(folder / WEIGHTS) != description["weights_sha256"]:
            raise ValueError(f"{folder}: {WEIGHTS} is not the file that was saved with model.json; train anew")
        self.weights = load_file(folder / WEIGHTS)
        self.history = pd.read_parquet(folder / "history.parquet")
        self.cost, self.genes = description["cost"], description["genes"]

    def _identity(self) -> dict[str, Any]:
        own = {key: getattr(self, key) for key in ("n_genes", "preset", "width")}
        return {"family": self.name} | own | {"settings": self.settings.model_dump()}

    def _fitted_genes(self) -> list[str]:
        if self.genes is None:
            raise RuntimeError(f"this {self.name} model is not fitted; call fit or load first")
        return self.genes

    def _in_parts(self, function: Callable[[sp.csr_array], np.ndarray], adata: AnnData) -> np.ndarray:
        """Values of cells by a function of their counts; cells on disk are read in parts."""
        genes = self._fitted_genes()
        starts = range(0, adata.n_obs, PART)
        parts = (adata[start : start + PART] for start in starts) if adata.isbacked else [adata]
        return np.concatenate([function(raw_counts(aligned(part, genes))) for part in parts])

    def _training_counts(self, adata: AnnData | StoredCells) -> sp.csr_array | CSRDataset | CountsOnDisk:
        """Checked counts, in memory, or where they are on disk for a family that reads them from there."""
        from anndata.abc import CSRDataset

        if isinstance(adata.X, CountsOnDisk):
            return adata.X if self.streams else raw_counts(adata.to_memory())
        if not (self.streams and isinstance(adata.X, CSRDataset)):
            return raw_counts(adata)
        for start in range(0, adata.n_obs, PART):
            raw_counts(adata[start : start + PART])
        return adata.X
