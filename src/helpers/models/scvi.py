"""scVI (Lopez 2018): a variational autoencoder with a negative binomial likelihood, on scvi-tools' module."""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch.distributions import Normal, kl_divergence

from helpers.models import register
from helpers.models.counts import CountsOnDisk, cell_keys
from helpers.models.expression import chunks
from helpers.models.neural import NeuralFamily
from helpers.models.train import TrainSettings

if TYPE_CHECKING:
    import scipy.sparse as sp
    from scvi.module import VAE

    from helpers.models.count_split import Halves

SATURATED_THETA = 1e4  # counts of a gene with less than Poisson variance
N_DRAWS = 4096  # fixed draws of z; the counts of a cell choose one


class Cells(NamedTuple):
    """Cells as they lie in memory, or a batch of them."""

    counts: Any  # (n_cells, n_genes)
    draw: Any  # which of the fixed draws is the cell's (n_cells,)


class ScVISettings(TrainSettings):
    """Settings of scvi-tools' defaults, with Adam's as its training plan has them."""

    n_hidden: int = Field(128, ge=1)  # at width 1
    n_latent: int = Field(10, ge=1)
    n_layers: int = Field(1, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    batch_norm_momentum: float = Field(0.01, gt=0, le=1)
    kl_warmup: float = Field(0.1, ge=0, le=1)  # share of the run over which the KL weight rises from 0 to 1
    adam_eps: float = Field(0.01, gt=0)
    weight_decay: float = Field(1e-6, ge=0)


@register("scvi")
class ScVI(NeuralFamily):
    """scVI without a batch key: one hidden layer of 128, 10 latent dimensions.

    The loss is the negative ELBO per gene in nats, KL weight 1, with one draw of z per cell. The draw depends on the
    cell's counts alone, so a cell has the same loss in any order, subset or batch. During the KL warm-up the training
    loss in the history has the smaller weight, the validation loss never. The embedding is the posterior mean.
    `n_parameters` counts all of scvi-tools' module, as published: less than half of them (encoder of z, means and
    dispersions of the decoder) are used with this likelihood. FLOPs count the used layers.

    `paper`: as published, but the KL warm-up, which there is 400 epochs whatever their number, is a share of the run.
    `demo`: tuned so that 40,000 cell-views of about 5,700 cells x 2,000 genes train well. After a few hundred steps,
    batch normalisation with the published momentum still evaluates with statistics of the initial weights: here it is
    ten times higher.
    """

    presets: ClassVar = {
        "paper": ScVISettings(validations=40, patience=10),
        "demo": ScVISettings(
            batch_size=64,
            lr=0.02,
            lr_warmup=0.1,
            schedule="cosine",
            adam_eps=0.1,
            batch_norm_momentum=0.1,
            validations=12,
            patience=3,
        ),
    }
    loss_unit = "negative ELBO, nats per gene"

    def __init__(self, n_genes: int, **options: Any) -> None:
        _vae()  # imported before a seed is set, lest the import draw from it
        super().__init__(n_genes, **options)

    @property
    def gradient_scale(self) -> int:
        """The published learning rate and Adam epsilon are for the sum over genes."""
        return self.n_genes

    def _module(self) -> VAE:
        settings = self.settings
        module = _vae()(
            n_input=self.n_genes,
            n_hidden=max(1, round(settings.n_hidden * self.width)),
            n_latent=settings.n_latent,
            n_layers=settings.n_layers,
            dropout_rate=settings.dropout,
            gene_likelihood="nb",
        )
        for layer in module.modules():
            if isinstance(layer, torch.nn.BatchNorm1d):
                layer.momentum = settings.batch_norm_momentum
        return module

    def _encoder(self, module: VAE) -> torch.nn.Module:
        return module.z_encoder

    def _last_layers(self, module: VAE) -> list[torch.nn.Module]:
        return [module.z_encoder.mean_encoder]

    def _trained(self, module: VAE) -> list[torch.nn.Module]:
        return [module.z_encoder, module.decoder.px_decoder, module.decoder.px_scale_decoder]

    def _inputs(self, counts: sp.csr_array) -> Cells:
        return Cells(counts, cell_keys(counts) % N_DRAWS)

    def _batch(self, inputs: Cells, rows: np.ndarray | slice) -> Cells:
        return Cells(super()._batch(inputs.counts, rows), torch.from_numpy(inputs.draw[rows]).to(self.device))

    def _batch_loss(self, batch: Cells, progress: float) -> torch.Tensor:
        posterior = self._posterior(batch.counts)
        kl_weight = min(1.0, progress / self.settings.kl_warmup) if self.settings.kl_warmup else 1.0
        return self._negative_elbo(batch.counts, posterior, posterior.rsample(), kl_weight).mean()

    def _cell_losses(self, batch: Cells) -> torch.Tensor:
        posterior = self._posterior(batch.counts)
        draws = torch.from_numpy(fixed_draws(self.settings.n_latent)).to(self.device)
        z = posterior.loc + posterior.scale * draws[batch.draw]
        return self._negative_elbo(batch.counts, posterior, z, 1.0)

    def _encode(self, batch: Cells) -> torch.Tensor:
        return self._posterior(batch.counts).loc

    def _posterior(self, batch: torch.Tensor) -> Normal:
        """As the encoder's forward pass, which would also draw from it, and so change torch's generator in `embed`."""
        encoder = self.module.z_encoder
        hidden = encoder.encoder(torch.log1p(batch))
        variance = encoder.var_activation(encoder.var_encoder(hidden)) + encoder.var_eps
        # unchecked: the loop finds a loss that is not finite, and names the step
        return Normal(encoder.mean_encoder(hidden), variance.sqrt(), validate_args=False)

    def _negative_elbo(self, batch: torch.Tensor, posterior: Normal, z: torch.Tensor, kl_weight: float) -> torch.Tensor:
        """Per gene, (n_cells,): as `VAE.loss`, without the unused heads and with log-gammas of counts above 0 only."""
        decoder = self.module.decoder
        log_share = torch.log_softmax(decoder.px_scale_decoder[0](decoder.px_decoder(z, None)), dim=-1)
        log_mean = torch.log(batch.sum(dim=-1, keepdim=True)) + log_share
        kl = kl_divergence(posterior, Normal(0.0, 1.0)).sum(dim=-1)
        return (kl_weight * kl - nb_log_likelihood(batch, log_mean, self.module.px_r)) / self.n_genes

    def _null_losses(self, corpus: sp.csr_array, counts: sp.csr_array) -> np.ndarray:
        """Of a cell's total x the corpus's gene shares, one dispersion per gene."""
        log_share, log_theta = (torch.from_numpy(array) for array in _gene_profile(corpus))
        losses = np.empty(counts.shape[0])
        for rows, cells in chunks(counts):
            x = torch.from_numpy(cells.toarray()).double()
            log_mean = torch.log(x.sum(dim=-1, keepdim=True)) + log_share
            losses[rows] = -nb_log_likelihood(x, log_mean, log_theta) / self.n_genes
        return losses

    def _split_gains(self, corpus: Halves, cells: Halves) -> np.ndarray:
        """Reference: the gamma distribution of each gene's share that the null stands for, updated by the other half.

        So the other half predicts by a negative binomial of its own mean and dispersion for each cell and gene.
        """
        share, theta = (torch.from_numpy(np.exp(array)) for array in _gene_profile(corpus[0] + corpus[1]))
        gains = np.empty(cells[0].shape[0])
        for (rows, one), (_, other) in zip(*(chunks(half) for half in cells), strict=True):
            x, known = (torch.from_numpy(half.toarray()).double() for half in (one, other))
            cell, gene = x.nonzero(as_tuple=True)
            total, known_total = (part.sum(dim=1, keepdim=True) for part in (x, known))
            rate = theta / share + known_total
            size = theta + known
            told = _nb_parts(x, size, total / (rate * (size / rate).sum(dim=1, keepdim=True)), cell, gene)
            gains[rows] = (told - _nb_parts(x, theta.expand_as(x), total * share / theta, cell, gene)) / self.n_genes
        return gains


@functools.cache
def _vae() -> type[VAE]:
    """scvi-tools' module; the import takes seconds, so it waits until a model is made."""
    with warnings.catch_warnings():  # in a kernel tqdm complains of missing widgets; others of deprecations
        warnings.simplefilter("ignore")
        from scvi.module import VAE
    return VAE


def nb_log_likelihood(counts: torch.Tensor, log_mean: torch.Tensor, log_theta: torch.Tensor) -> torch.Tensor:
    """Log-likelihood (n_cells,) of counts (n_cells, n_genes) with means alike and inverse dispersions (n_genes,)."""
    theta = log_theta.exp()
    log_total = torch.log(theta + log_mean.exp())
    dense = theta * (log_theta - log_total) + counts * (log_mean - log_total)
    cell, gene = (counts > 0).nonzero(as_tuple=True)  # most counts are 0, and there the log-gammas cancel
    x, theta_x = counts[cell, gene], theta.index_select(0, gene)
    at_x = torch.lgamma(x + theta_x) - torch.lgamma(theta).index_select(0, gene) - torch.lgamma(x + 1)
    return dense.sum(dim=-1).index_add(0, cell, at_x)


def _nb_parts(
    counts: torch.Tensor, theta: torch.Tensor, odds: torch.Tensor, cell: torch.Tensor, gene: torch.Tensor
) -> torch.Tensor:
    """Log-likelihood (n_cells,), but for the factorials of counts, with inverse dispersions `theta` of each cell and
    gene, and `odds` = mean / theta; counts are above 0 at `cell`, `gene`.
    """
    x, theta_x, odds_x = (values[cell, gene] for values in (counts, theta, odds))
    at_x = x * torch.log(odds_x / (1 + odds_x)) + torch.lgamma(x + theta_x) - torch.lgamma(theta_x)
    return -(theta * torch.log1p(odds)).sum(dim=-1).index_add(0, cell, -at_x)


def _gene_profile(corpus: sp.csr_array | CountsOnDisk) -> tuple[np.ndarray, np.ndarray]:
    """Log shares (n_genes,), half a count added to each gene, and log inverse dispersions by moments around them."""
    sums, squares, weighted = np.zeros((3, corpus.shape[1]))
    totals = []
    for _, cells in chunks(corpus):
        counts = cells.astype(np.float64)
        totals.append(counts.sum(axis=1))
        sums += counts.sum(axis=0)
        squares += counts.multiply(counts).sum(axis=0)
        weighted += counts.T @ totals[-1]
    totals = np.concatenate(totals)
    share = (sums + 0.5) / (sums + 0.5).sum()
    squared_means = share**2 * np.square(totals).sum()
    squared_errors = squares - 2 * share * weighted + squared_means
    excess = squared_errors - share * totals.sum()
    theta = np.divide(squared_means, excess, out=np.full(len(share), SATURATED_THETA), where=excess > 0)
    return np.log(share), np.log(np.clip(theta, 1 / SATURATED_THETA, SATURATED_THETA))


@functools.cache
def fixed_draws(n_latent: int) -> np.ndarray:
    """Standard normal draws (N_DRAWS, n_latent), float32."""
    return np.random.default_rng(0).standard_normal((N_DRAWS, n_latent), dtype=np.float32)
