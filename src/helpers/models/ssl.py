"""SSL (Richter 2024): a masked autoencoder of dense layers, and the same encoder under two other objectives."""

from __future__ import annotations

import functools
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import nn

from helpers.models import register
from helpers.models.counts import cell_keys, log_cp10k
from helpers.models.expression import LogCP10k, SquaredLoss, gene_means
from helpers.models.neural import NeuralFamily
from helpers.models.triplets import Triplets, TripletSettings

if TYPE_CHECKING:
    import pandas as pd
    import scipy.sparse as sp

    from helpers.models import TrainingCells

N_MASKS = 256  # fixed masks; the counts of a cell choose one
LOSS_UNITS = {
    "masked": "squared error of log1p CP10k, mean over masked genes",
    "reconstruction": "squared error of log1p CP10k, mean over genes",
    "triplet": "squared error of log1p CP10k rebuilt from the frozen embedding, mean over genes",
}


class SSLSettings(TripletSettings):
    """Settings of the study; those of triplets matter to the objective ``triplet`` alone."""

    objective: Literal["masked", "reconstruction", "triplet"] = "masked"
    masked: float = Field(0.5, gt=0, lt=1)  # share of genes
    n_hidden: list[int] = Field([512, 512, 256, 256], min_length=1)  # layers of the encoder at width 1
    n_latent: int = Field(64, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    activation: Literal["selu", "relu"] = "selu"
    optimizer: Literal["adam", "adamw"] = "adamw"
    weight_decay: float = Field(0.01, ge=0)


class Cells(NamedTuple):
    """Cells as they lie in memory, or a batch of them."""

    expression: Any  # log1p CP10k (n_cells, n_genes)
    mask: Any  # which of the fixed masks is the cell's (n_cells,)


@register("ssl")
class SSL(SquaredLoss, NeuralFamily):
    """Masked autoencoder without normalisation layers; the embedding is the bottleneck of the unmasked cell.

    `objective` changes what the same encoder, with the same decoder and budget, learns from. Each has a loss of its own
    (`loss_unit`), and losses of different objectives are not compared.

    ``masked``: rebuild the genes that are hidden, anew for each cell at each step. As in the published code, each gene
    is hidden with probability `masked`, is 0 in the input, and the others are scaled up by 1 / (1 - masked); the loss
    is the squared error of the hidden genes alone. The held-out loss has one fixed mask per cell, chosen by its counts.
    Cells are scaled to 10,000 before they are masked, as published: the seen genes tell the sum of the hidden ones.
    ``reconstruction``: rebuild all genes from all genes; nothing is hidden.
    ``triplet``: supervised, the loss of `triplets.Triplets` on the bottleneck scaled to unit length, which is then the
    embedding. The decoder learns to rebuild the cell from it, but no gradient of that reaches the encoder. Its error is
    the held-out loss: it needs no labels, and says what of the cell the embedding kept, not how well types are told
    apart. Early stopping goes by it, too.

    `paper`: as the study trains it, from the published code, but without its gradient clipping and its steps in the
    learning rate (x 0.9 each two epochs), and with a linear output: the published one, a sigmoid, ends at 1, where
    log1p CP10k does not.
    `demo`: small, for 40,000 cell-views of about 5,700 cells x 2,000 genes; tuned on validation cells of kang_ctrl.
    """

    presets: ClassVar = {
        "paper": SSLSettings(batch_size=8192, validations=40, patience=10),
        "demo": SSLSettings(
            n_hidden=[128, 128, 64, 64],
            n_latent=32,
            dropout=0.0,
            study="batch",
            across_studies="preferred",
            batch_size=64,
            lr=2e-3,
            schedule="cosine",
            validations=12,
            patience=3,
        ),
    }
    loss_unit = LOSS_UNITS["masked"]

    def __init__(self, n_genes: int, **options: Any) -> None:
        super().__init__(n_genes, **options)
        self.loss_unit = LOSS_UNITS[self.settings.objective]

    def _prepare(self, cells: TrainingCells) -> None:
        self._triplets = Triplets(cells.train.obs, self.settings) if self.settings.objective == "triplet" else None

    def _fit(self, *arguments: Any) -> tuple[pd.DataFrame, dict[str, Any]]:
        history, cost = super()._fit(*arguments)
        return history, cost | (self._triplets.cost if self._triplets else {})

    def _module(self) -> nn.Module:
        hidden = [max(1, round(units * self.width)) for units in self.settings.n_hidden]
        units = [self.n_genes, *hidden, self.settings.n_latent]
        return nn.ModuleDict({"encoder": self._mlp(units), "decoder": self._mlp(units[::-1])})

    def _mlp(self, units: list[int]) -> nn.Sequential:
        """Linear layers; activation and dropout after each but the last."""
        activation = {"relu": nn.ReLU, "selu": nn.SELU}[self.settings.activation]
        layers = []
        for n_in, n_out in pairwise(units):
            layers += [nn.Linear(n_in, n_out), activation(), nn.Dropout(self.settings.dropout)]
        return nn.Sequential(*layers[:-2])

    def _encoder(self, module: nn.Module) -> nn.Module:
        return module["encoder"]

    def _last_layers(self, module: nn.Module) -> list[nn.Module]:
        return [module["encoder"][-1]]

    def _inputs(self, counts: sp.csr_array) -> Cells:
        return Cells(log_cp10k(counts), cell_keys(counts) % N_MASKS)

    def _batch(self, inputs: Cells, rows: np.ndarray | slice) -> Cells:
        return Cells(super()._batch(inputs.expression, rows), torch.from_numpy(inputs.mask[rows]).to(self.device))

    def _batch_loss(self, batch: Cells, progress: float) -> torch.Tensor:
        if self.settings.objective == "masked":
            hidden = torch.rand_like(batch.expression) < self.settings.masked
            return self._masked_error(batch.expression, hidden).mean() / self.settings.masked
        embedding = self._encode(batch)
        if self.settings.objective == "reconstruction":
            return self._squared_error(embedding, batch.expression).mean()
        return (
            self._triplets.loss(embedding, self.rows) + self._squared_error(embedding.detach(), batch.expression).mean()
        )

    def _cell_losses(self, batch: Cells) -> torch.Tensor:
        if self.settings.objective != "masked":
            return self._squared_error(self._encode(batch), batch.expression).mean(dim=1)
        hidden = self._fixed_masks(batch)
        return self._masked_error(batch.expression, hidden).sum(dim=1) / hidden.sum(dim=1)

    def _encode(self, batch: Cells) -> torch.Tensor:
        embedding = self.module["encoder"](batch.expression)
        return nn.functional.normalize(embedding, dim=1) if self.settings.objective == "triplet" else embedding

    def _squared_error(self, embedding: torch.Tensor, expression: torch.Tensor) -> torch.Tensor:
        """Of the reconstruction (n_cells, n_genes)."""
        return (self.module["decoder"](embedding).float() - expression).square()

    def _masked_error(self, expression: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """Squared error of what the module makes of the other genes, 0 where not `hidden`; all (n_cells, n_genes)."""
        seen = expression.masked_fill(hidden, 0.0) / (1 - self.settings.masked)
        return self._squared_error(self.module["encoder"](seen), expression) * hidden

    def _fixed_masks(self, batch: Cells) -> torch.Tensor:
        """Masks of the cells (n_cells, n_genes), True where hidden; all of equal size."""
        return torch.from_numpy(fixed_masks(self.n_genes, self.settings.masked)).to(self.device)[batch.mask]

    def _null_losses(self, corpus: sp.csr_array, counts: sp.csr_array) -> np.ndarray:
        """At the genes that the loss is of. The count-split reference is of all genes: masks take any alike."""
        if self.settings.objective != "masked":
            return super()._null_losses(corpus, counts)
        mean = torch.from_numpy(gene_means(LogCP10k(corpus)).astype(np.float32)).to(self.device)

        def null_losses(batch: Cells) -> torch.Tensor:
            hidden = self._fixed_masks(batch)
            return ((batch.expression - mean).square() * hidden).sum(dim=1) / hidden.sum(dim=1)

        return self._by_batch(null_losses, self._inputs(counts), counts.shape[0])


@functools.cache
def fixed_masks(n_genes: int, share: float) -> np.ndarray:
    """`N_MASKS` masks (N_MASKS, n_genes), True where hidden: a share of the genes, at least one."""
    ranks = np.random.default_rng(0).random((N_MASKS, n_genes)).argsort(axis=1)
    return ranks < max(1, round(share * n_genes))
