"""Base class of the families that train.py trains: it turns counts into batches, and a torch module into a family."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
import torch

from helpers.models.protocol import Budget, Family
from helpers.models.train import torch_seed, train, training_device

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd

EVALUATION_BATCH = 512  # cells


class NeuralFamily(Family):
    """A family with a torch module; a subclass implements `_module`, `_batch_loss`, `_cell_losses` and `_encode`.

    Its presets are `train.TrainSettings` or a subclass. Losses are in `loss_unit`; `gradient_scale` is the factor to
    what the optimiser sees. FLOPs are an estimate from the dense layers alone: 2 per multiply-add, 3 passes (forward,
    gradient of the inputs, gradient of the weights), per cell-view; validation is left out.
    """

    gradient_scale: float = 1.0

    @abstractmethod
    def _module(self) -> torch.nn.Module:
        """Build the module with initial weights, drawn from torch's generator."""

    @abstractmethod
    def _batch_loss(self, batch: torch.Tensor, progress: float) -> torch.Tensor:
        """Scalar training loss of a batch, with `progress` of the run done."""

    @abstractmethod
    def _cell_losses(self, batch: torch.Tensor) -> torch.Tensor:
        """Loss (n_cells,) of a batch; deterministic, called in evaluation mode."""

    @abstractmethod
    def _encode(self, batch: torch.Tensor) -> torch.Tensor:
        """Embedding (n_cells, n_latent) of a batch, called in evaluation mode."""

    def _encoder(self, module: torch.nn.Module) -> torch.nn.Module:
        """The part of the module that the embedding needs; all of it unless the family knows better."""
        return module

    def _trained(self, module: torch.nn.Module) -> list[torch.nn.Module]:
        """Parts of the module that take part in training, for the FLOPs."""
        return [module]

    def _batch(self, counts: sp.csr_array) -> torch.Tensor:
        """What the module reads for these cells: dense float32 counts (n_cells, n_genes) on the device."""
        return torch.from_numpy(counts.toarray()).to(self.device)

    def __init__(self, n_genes: int, **options: Any) -> None:
        super().__init__(n_genes, **options)
        self.device = training_device()
        self.module: torch.nn.Module | None = None

    @property
    def n_parameters(self) -> dict[str, int]:
        """All parameters of the module (total), and those that the embedding needs (encoder)."""
        module = self.module or self._blank_module()
        parts = {"total": module, "encoder": self._encoder(module)}
        return {key: sum(weight.numel() for weight in part.parameters()) for key, part in parts.items()}

    def _fit(
        self, train_counts: sp.csr_array, validation: sp.csr_array, budget: Budget, rng: np.random.Generator
    ) -> tuple[pd.DataFrame, dict[str, Any]]:
        n_cells = train_counts.shape[0]
        with torch_seed(rng):
            self.module = self._module().to(self.device)
            history, cost = train(
                self.module,
                n_cells=n_cells,
                cell_views=budget.cell_views(n_cells),
                batch_loss=lambda rows, progress: self._batch_loss(self._batch(train_counts[rows]), progress),
                validation_loss=lambda: self._losses(validation).mean(),
                settings=self.settings,
                rng=rng,
                gradient_scale=self.gradient_scale,
            )
        self._collect_weights()
        flops = 6 * dense_macs(self._trained(self.module)) * cost["cell_views"]
        return history, cost | {"flops": flops, "device": self.device.type}

    def _embed(self, counts: sp.csr_array) -> np.ndarray:
        return self._by_batch(self._encode, counts)

    def _losses(self, counts: sp.csr_array) -> np.ndarray:
        return self._by_batch(self._cell_losses, counts).astype(np.float64)

    @torch.no_grad()
    def _by_batch(self, function: Callable[[torch.Tensor], torch.Tensor], counts: sp.csr_array) -> np.ndarray:
        starts = range(0, counts.shape[0], EVALUATION_BATCH)
        chunks = (counts[start : start + EVALUATION_BATCH] for start in starts)
        return np.concatenate([function(self._batch(chunk)).cpu().numpy() for chunk in chunks])

    def _blank_module(self) -> torch.nn.Module:
        """A module whose weights do not matter, built without using up draws of torch's generator."""
        with torch_seed(np.random.default_rng(0)):
            return self._module()

    def _collect_weights(self) -> None:
        self.weights = {key: value.cpu().numpy() for key, value in self.module.state_dict().items()}

    def load(self, folder: str | Path) -> None:
        super().load(folder)
        self.module = self._blank_module()
        self.module.load_state_dict({key: torch.from_numpy(value) for key, value in self.weights.items()})
        self.module.to(self.device).eval()


def dense_macs(modules: list[torch.nn.Module]) -> int:
    """Multiply-adds of one cell through all linear layers of the modules."""
    layers = (layer for module in modules for layer in module.modules() if isinstance(layer, torch.nn.Linear))
    return sum(layer.weight.numel() for layer in layers)
