"""SCimilarity (Heimberg 2024): an autoencoder whose embedding also brings cells of one type together across studies."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from helpers.models import register
from helpers.models.counts import log_cp10k
from helpers.models.expression import SquaredLoss
from helpers.models.neural import NeuralFamily
from helpers.models.train import lr_factor
from helpers.models.triplets import Triplets, TripletSettings

if TYPE_CHECKING:
    import pandas as pd
    import scipy.sparse as sp

    from helpers.models import TrainingCells


class SCimilaritySettings(TripletSettings):
    """Settings of the study."""

    n_hidden: list[int] = Field([1024, 1024, 1024], min_length=1)  # layers of the encoder at width 1
    n_latent: int = Field(128, ge=1)
    input_dropout: float = Field(0.4, ge=0, lt=1)
    dropout: float = Field(0.5, ge=0, lt=1)
    triplet_weight: float = Field(0.001, ge=0, le=1)  # the reconstruction has the rest
    l1: float = Field(1e-4, ge=0)
    optimizer: Literal["adam", "adamw"] = "adamw"
    weight_decay: float = Field(0.01, ge=0)
    lr: float = Field(0.005, gt=0)
    schedule: Literal["constant", "linear", "cosine"] = "cosine"


@register("scimilarity")
class SCimilarity(SquaredLoss, NeuralFamily):
    """SCimilarity: embedding on the unit sphere, supervised by the cells' types.

    Training loss: weighted sum of the triplet loss (see `triplets.Triplets`) and of the squared error of the
    reconstruction, plus an L1 penalty. The held-out loss needs no labels: it is the squared error of the reconstruction
    of log1p CP10k, mean over genes, and decides on stopping too. `cost` counts the triplets and
    has the share of them within one study, over all trainings of a learning-rate sweep.

    `paper`: as the study trains it, but for the following. Batches are shuffled epochs; there, cells are drawn with
    weights that balance types and studies. Cells of types in one study stay, as negatives and for the reconstruction;
    there, they are left out. All other types are negatives; there, not ancestors or descendants in the Cell Ontology.
    A batch without triplets has triplet loss 0; there, the margin. The rate falls at each step; there, each 100 steps.
    The L1 penalty is `l1` x the rate (`lr` x schedule) x the L1 norm of the layer that makes the embedding: the
    published code speaks of the first layer, but this is the one it finds.
    `demo`: the library is the study, and types of one library have their positives in it; in the demo's corpus all do.
    Small and with little dropout, tuned on validation cells of kang_ctrl alone.
    """

    presets: ClassVar = {
        "paper": SCimilaritySettings(batch_size=1000, validations=40, patience=10),
        "demo": SCimilaritySettings(
            n_hidden=[256, 128],
            n_latent=32,
            input_dropout=0.1,
            dropout=0.1,
            study="batch",
            across_studies="preferred",
            batch_size=64,
            validations=12,
            patience=3,
        ),
    }

    def _prepare(self, cells: TrainingCells) -> None:
        self._triplets = Triplets(cells.train.obs, self.settings)

    def _fit(self, *arguments: Any) -> tuple[pd.DataFrame, dict[str, Any]]:
        history, cost = super()._fit(*arguments)
        return history, cost | self._triplets.cost

    def _module(self) -> nn.Module:
        settings = self.settings
        hidden = [max(1, round(units * self.width)) for units in settings.n_hidden]
        encoder = hidden_layers([self.n_genes, *hidden], settings.input_dropout, settings.dropout)
        decoder = hidden_layers([settings.n_latent, *hidden[::-1]], 0.0, settings.dropout)
        return nn.ModuleDict(
            {
                "encoder": nn.Sequential(*encoder, nn.Linear(hidden[-1], settings.n_latent)),
                "decoder": nn.Sequential(*decoder, nn.Linear(hidden[0], self.n_genes)),
            }
        )

    def _encoder(self, module: nn.Module) -> nn.Module:
        return module["encoder"]

    def _last_layers(self, module: nn.Module) -> list[nn.Module]:
        return [module["encoder"][-1]]

    def _inputs(self, counts: sp.csr_array) -> sp.csr_array:
        return log_cp10k(counts)

    def _batch_loss(self, batch: torch.Tensor, progress: float) -> torch.Tensor:
        settings, embedding = self.settings, self._encode(batch)
        rebuilt = self._squared_error(embedding, batch).mean()
        triplet = self._triplets.loss(embedding, self.rows)
        lr = self.lr * lr_factor(progress, settings)
        norm = sum(weight.abs().sum() for weight in self.module["encoder"][-1].parameters())
        weight = settings.triplet_weight
        return weight * triplet + (1 - weight) * rebuilt + settings.l1 * lr * norm

    def _cell_losses(self, batch: torch.Tensor) -> torch.Tensor:
        return self._squared_error(self._encode(batch), batch)

    def _encode(self, batch: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(self.module["encoder"](batch), dim=1)

    def _squared_error(self, embedding: torch.Tensor, expression: torch.Tensor) -> torch.Tensor:
        """Of the reconstruction, mean over genes (n_cells,)."""
        return (self.module["decoder"](embedding).float() - expression).square().mean(dim=1)


def hidden_layers(units: list[int], input_dropout: float, dropout: float) -> list[nn.Module]:
    """Dropout, linear layer, batch normalisation and PReLU for each pair of neighbours among `units`."""
    layers = []
    for number, (n_in, n_out) in enumerate(pairwise(units)):
        rate = dropout if number else input_dropout
        layers += [nn.Dropout(rate), nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out), nn.PReLU()]
    return layers
