"""Base class of the families that train.py trains: it turns counts into batches, and a torch module into a family."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
import torch

from helpers.models.counts import CountsOnDisk
from helpers.models.memory import memory_told
from helpers.models.protocol import Budget, Family
from helpers.models.train import DivergedError, shuffled, torch_seed, train, training_device

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData

    from helpers.corpus.stored import StoredCells

    Trained = tuple[torch.nn.Module, pd.DataFrame, dict[str, Any]]  # with history and cost


class NeuralFamily(Family):
    """A family with a torch module; a subclass implements `_module`, `_batch_loss`, `_cell_losses` and `_encode`.

    Its presets are `train.TrainSettings` or a subclass. Losses are in `loss_unit`; `gradient_scale` is the factor to
    what the optimiser sees. FLOPs are those of the dense layers: 2 per multiply-add, in 3 passes (forward, gradient of
    the inputs, gradient of the weights), but 2 in the first layer, whose inputs need none; per cell-view, validation
    left out. `flops_counted` is torch's own count of one step, times the steps.
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

    def _last_layers(self, module: torch.nn.Module) -> list[torch.nn.Module]:
        """The last of the encoder's layers, those that light fine-tuning changes."""
        raise ValueError(f"layers = 'last': {self.name} does not name its last layers (_last_layers); 'all' would do")

    def _trained(self, module: torch.nn.Module) -> list[torch.nn.Module]:
        """Parts of the module that take part in training, for the FLOPs."""
        return [module]

    def _inputs(self, counts: sp.csr_array) -> Any:
        """What stays in memory for these cells, indexable by rows; computed once, not at every step."""
        return counts

    def _batch(self, inputs: Any, rows: np.ndarray | slice) -> Any:
        """What the module reads for some rows of `_inputs`: dense float32 (n_cells, n_genes) on the device."""
        return torch.from_numpy(inputs[rows].toarray()).to(self.device)

    def _flops_per_view(self) -> float:
        """Analytic FLOPs of training on one cell once."""
        layers = dense_layers(self._trained(self.module))
        return 6 * sum(layers) - 2 * layers[0]

    def __init__(self, n_genes: int, **options: Any) -> None:
        super().__init__(n_genes, **options)
        self.device = training_device(self.accelerator)
        self.module: torch.nn.Module | None = None
        self.lr: float = self.settings.lr  # of the training at hand, before its schedule
        self.rows: np.ndarray | None = None  # of the batch at hand among training cells

    @property
    def n_parameters(self) -> dict[str, int]:
        """All parameters of the module (total), and those that the embedding needs (encoder)."""
        module = self.module or self._blank_module()
        parts = {"total": module, "encoder": self._encoder(module)}
        return {key: sum(weight.numel() for weight in part.parameters()) for key, part in parts.items()}

    def _fit(
        self, train_counts: sp.csr_array, validation: sp.csr_array, budget: Budget, rng: np.random.Generator
    ) -> tuple[pd.DataFrame, dict[str, Any]]:
        n_cells, held_out = train_counts.shape[0], self._inputs(validation)
        inputs = None if isinstance(train_counts, CountsOnDisk) else self._inputs(train_counts)
        seed, order = int(rng.integers(2**63)), rng.bit_generator.state

        def trained(lr: float) -> Trained:
            """One training; all start from the same weights and see the same batches."""
            self.lr, rng.bit_generator.state = lr, order
            with torch_seed(seed):
                self.module = self._module().to(self.device)
                history, cost = train(
                    self.module,
                    n_cells=n_cells,
                    cell_views=budget.cell_views(n_cells),
                    batches=self._batches(train_counts, inputs, rng),
                    step_loss=self._batch_loss,
                    validation_loss=lambda: self._by_batch(self._cell_losses, held_out, validation.shape[0]).mean(),
                    settings=self.settings.model_copy(update={"lr": lr}),
                    gradient_scale=self.gradient_scale,
                )
            return self.module, history, cost | {"lr": lr}

        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        if self.settings.lr_sweep and budget.amount:
            self.module, history, cost = self._sweep(trained)
        else:
            self.module, history, cost = trained(self.settings.lr)
        self._collect_weights()
        cost |= {"flops": self._flops_per_view() * cost["cell_views"], "device": self.device.type}
        if self.device.type == "cuda":
            cost["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20)
        return history, cost

    def _training_counts(self, adata: AnnData | StoredCells) -> sp.csr_array | CountsOnDisk:
        """Counts on disk stay there if they come in batches."""
        return adata.X if isinstance(adata.X, CountsOnDisk) else super()._training_counts(adata)

    def _batches(self, counts: sp.csr_array | CountsOnDisk, inputs: Any, rng: np.random.Generator) -> Iterator[Any]:
        """Endless batches of training cells, of their `inputs`, or, where there are none, of counts on disk."""
        size = self.settings.batch_size
        if inputs is None:
            for rows, part in counts.batches(size, rng):
                self.rows = rows
                yield self._batch(self._inputs(part), slice(None))
        for rows in shuffled(counts.shape[0], size, rng):
            self.rows = rows
            yield self._batch(inputs, rows)

    def _sweep(self, trained: Callable[[float], Trained]) -> Trained:
        """The training with the lowest validation loss among those of `lr_sweep`; one that diverges drops out."""
        best, losses, steps, started = None, {}, 0, time.perf_counter()
        for lr in self.settings.lr_sweep:
            losses[f"{lr:g}"] = None
            try:
                found = trained(lr)
            except DivergedError as error:
                steps, diverged = steps + error.step, error
                continue
            losses[f"{lr:g}"], steps = float(found[1]["validation_loss"].min()), steps + found[2]["steps"]
            if best is None or found[1]["validation_loss"].min() < best[1]["validation_loss"].min():
                best = found
        if best is None:
            raise diverged
        cost = {"lr_sweep": losses, "sweep_seconds": time.perf_counter() - started}
        cost["sweep_flops"] = self._flops_per_view() * steps * self.settings.batch_size
        return best[0], best[1], best[2] | cost

    def _embed(self, counts: sp.csr_array) -> np.ndarray:
        return self._by_batch(self._encode, self._inputs(counts), counts.shape[0])

    def _losses(self, counts: sp.csr_array) -> np.ndarray:
        return self._by_batch(self._cell_losses, self._inputs(counts), counts.shape[0]).astype(np.float64)

    @torch.no_grad()
    def _by_batch(self, function: Callable[[Any], torch.Tensor], inputs: Any, n_cells: int) -> np.ndarray:
        size = self.settings.evaluation_batch
        with memory_told("evaluation_batch", size):
            batches = (self._batch(inputs, slice(start, start + size)) for start in range(0, n_cells, size))
            return np.concatenate([function(batch).float().cpu().numpy() for batch in batches])

    def _blank_module(self) -> torch.nn.Module:
        """A module whose weights do not matter, built without using up draws of torch's generator."""
        with torch_seed(0):
            return self._module()

    def _collect_weights(self) -> None:
        self.weights = {key: value.cpu().numpy() for key, value in self.module.state_dict().items()}

    def load(self, folder: str | Path) -> None:
        super().load(folder)
        self.module = self._blank_module()
        self.module.load_state_dict({key: torch.from_numpy(value) for key, value in self.weights.items()})
        self.module.to(self.device).eval()


def dense_layers(modules: list[torch.nn.Module]) -> list[int]:
    """Multiply-adds of one cell through each linear layer of the modules, in their order."""
    layers = (layer for module in modules for layer in module.modules() if isinstance(layer, torch.nn.Linear))
    return [layer.weight.numel() for layer in layers]
