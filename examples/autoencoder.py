"""A family of your own: an autoencoder of log1p CP10k with one hidden layer.

Put the file into src/helpers/models/, where its name makes it known, or into a package of yours with the entry point
`autoencoder = "my_package.autoencoder:Autoencoder"` in the group `cellscale.models`. Loop, budgets, early stopping,
files, cost and checks come with the base class.
"""

from typing import ClassVar

from torch import nn

from helpers.models import register
from helpers.models.counts import log_cp10k
from helpers.models.expression import SquaredLoss
from helpers.models.neural import NeuralFamily
from helpers.models.train import TrainSettings


class Settings(TrainSettings):
    n_latent: int = 16  # at width 1


@register("autoencoder")
class Autoencoder(SquaredLoss, NeuralFamily):  # the first brings null and reference of the held-out loss
    presets: ClassVar = {"paper": Settings(), "demo": Settings(batch_size=64, lr=3e-3)}

    def _module(self):
        n_latent = max(1, round(self.settings.n_latent * self.width))
        return nn.Sequential(nn.Linear(self.n_genes, n_latent), nn.Linear(n_latent, self.n_genes))

    def _inputs(self, counts):
        return log_cp10k(counts)

    def _batch_loss(self, batch, progress):
        return self._cell_losses(batch).mean()

    def _cell_losses(self, batch):
        return (self.module(batch) - batch).square().mean(dim=1)

    def _encode(self, batch):
        return self.module[0](batch)

    def _encoder(self, module):
        return module[0]
