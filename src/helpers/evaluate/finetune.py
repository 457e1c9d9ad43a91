"""Supervised cell type classification: a small network on the frozen embedding, or trained together with the encoder.

What is fitted is given training cells alone: no function takes a test cell. Some training cells are held out to decide
when to stop. `classification.scores` judges the predictions. torch is imported with this module.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import cross_entropy

from helpers.evaluate.knn import finite
from helpers.messages import unknown
from helpers.models.counts import aligned, raw_counts
from helpers.models.neural import NeuralFamily
from helpers.models.protocol import Settings
from helpers.models.train import TrainSettings, shuffled, torch_seed, train, training_device

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData

SMALLEST_VARIANCE = 1e-12  # added to an embedding's, lest one without any be divided by 0


class HeadSettings(Settings):
    """The study's recipe; `stop_share` and `standardise` are ours. For sets of a thousand cells see `fit_head`."""

    hidden: int = Field(128, ge=1)
    dropout: float = Field(0.2, ge=0, lt=1)
    lr: float = Field(1e-4, gt=0)
    batch_size: int = Field(128, ge=2)  # at most all cells
    max_epochs: int = Field(500, ge=1)
    patience: int = Field(3, ge=1)  # epochs without a lower loss of the cells to stop by
    stop_share: float = Field(0.1, gt=0, lt=1)  # of each type's training cells; one at least, where there are two
    standardise: bool = True


class FineTuneSettings(HeadSettings):
    """Those of the head, which is fitted first, and the learning rate of encoder and head together."""

    joint_lr: float = Field(1e-4, gt=0)


@dataclass(frozen=True)
class Head:
    """A fitted classifier of embedded cells.

    `types` (n_types,) are sorted; `module` turns embeddings into logits; `history` and `cost` are those of
    `train.train`, its validation loss being that of the cells to stop by.
    """

    types: np.ndarray
    module: nn.Sequential
    history: pd.DataFrame
    cost: dict[str, Any]

    @torch.no_grad()
    def predict_proba(self, embedding: np.ndarray) -> np.ndarray:
        """Probability of each type, (n_cells, n_types) float64, for an embedding (n_cells, n_latent), finite."""
        values = torch.from_numpy(finite(embedding, "embedding")).float()
        if values.shape[1] != (n_latent := self.module[1].in_features):
            raise ValueError(f"embedding has {values.shape[1]} dimensions; this head was fitted to {n_latent}")
        return self.module(values).double().softmax(dim=1).numpy()

    def predict(self, embedding: np.ndarray) -> np.ndarray:
        """Most probable type of each cell, (n_cells,); parameters as in `predict_proba`."""
        return self.types[self.predict_proba(embedding).argmax(axis=1)]


@dataclass(frozen=True)
class FineTuned:
    """A fine-tuned copy of a model, whose own loss means nothing any more, and the head on its embedding."""

    model: NeuralFamily
    head: Head

    def predict(self, cells: AnnData) -> np.ndarray:
        """Most probable type of each cell, (n_cells,), from raw counts; genes and errors as in `embed`."""
        return self.head.predict(self.model.embed(cells))


def fit_head(
    embedding_train: np.ndarray, labels_train: Sequence, *, settings: HeadSettings, rng: np.random.Generator
) -> Head:
    """Train a network of one hidden layer to tell types from a frozen embedding.

    The weights with the lowest loss of the cells to stop by are kept. Cells are taken in the order of their values, so
    that the order of the rows decides nothing.

    Embeddings are centred and divided by one SD, the root mean variance over training cells: SDs reach from .04 on
    SCimilarity's unit sphere to 9 in PCA, and at one learning rate scale would decide how far a head gets. Dimensions
    are not scaled apart, which would make the noise of late components as loud as the types (PCA, five cells per type
    of kang_ctrl: macro F1 .81, and .54 if scaled apart). Constant ones become 0.

    The published rate is for many cells: with 430 to 620 it still improves when the epochs are over, after 7 to 9 s
    for the demo's four sets. There ``lr = 1.0e-3`` converges within 165 epochs, 2 s, and scores alike or better.

    Parameters
    ----------
    embedding_train
        (n_train, n_latent), finite.
    labels_train
        (n_train,), none missing, of two types or more, one of them with two cells; else ValueError is raised.

    Source: study, fine-tuned classification of PCA and scVI, which does not standardise. Batches are full here, and as
    many in an epoch as there.
    """
    embedding = finite(embedding_train, "embedding_train")
    types, codes = _types(labels_train, len(embedding))
    order = np.lexsort([*embedding.T, codes])
    return _fitted_head(embedding[order], _labels(types, codes[order], settings, rng), settings, rng)


def fine_tune(
    model: NeuralFamily,
    cells_train: AnnData,
    labels_train: Sequence,
    *,
    settings: FineTuneSettings,
    rng: np.random.Generator,
    layers: Literal["all", "last"] = "all",
) -> FineTuned:
    """Train a copy of a model's encoder, together with a head, to tell types from raw counts.

    First the head is fitted to the frozen embedding, then both are trained on. So no random head drives the encoder
    about, and the loss of the cells to stop by, the same in both, never ends above that of the head alone. Batch
    normalisation keeps its statistics: with those of batches, fine-tuning hardly gains on the head (SCimilarity,
    baron_2_3: micro F1 .85, and .93 if kept). The model itself stays as it is. An untrained one (budget 0) is the
    floor.

    Parameters
    ----------
    cells_train
        (n_train, n_genes) raw counts, genes as in `embed`. Cells are taken in the order of their names, unique.
    labels_train
        (n_train,), as in `fit_head`.
    layers
        ``all`` trains the whole encoder, ``last`` the layers that the family names (`_last_layers`), the others
        staying as in `embed`, without dropout. A family that names none, or has no encoder, raises ValueError.

    Source: study, fine-tuned classification of SSL and Geneformer, where encoder and head start together.
    """
    if not isinstance(model, NeuralFamily):
        raise ValueError(f"{model.name} has no encoder to fine-tune; fit_head on its embedding would do")
    if layers not in ("all", "last"):
        raise ValueError(unknown("layers", layers, ("all", "last")))
    types, codes = _types(labels_train, cells_train.n_obs)
    order = _by_name(cells_train.obs_names)
    cells, labels = cells_train[order], _labels(types, codes[order], settings, rng)
    embedding, tuned = finite(model.embed(cells), "the model's embedding"), copy.copy(model)
    tuned.module = copy.deepcopy(model.module).eval().requires_grad_(False)
    parts = tuned._last_layers(tuned.module) if layers == "last" else [tuned._encoder(tuned.module)]
    head = _fitted_head(embedding, labels, settings, rng)
    classifier = head.module.to(model.device)
    trained = _Trained([*parts, classifier]).requires_grad_(True)  # what is not in it stays in evaluation mode
    counts = raw_counts(aligned(cells, model.genes))
    learned, judged = tuned._inputs(counts[~labels.stop]), tuned._inputs(counts[labels.stop])

    def logits(rows: np.ndarray | None) -> torch.Tensor:
        if rows is not None:
            return classifier(tuned._encode(tuned._batch(learned, rows)))
        embedding = tuned._by_batch(tuned._encode, judged, labels.stop.sum())
        return classifier(torch.from_numpy(embedding).to(model.device))

    history, cost = _train(trained, logits, labels, settings, settings.joint_lr, rng)
    tuned.module.requires_grad_(True)
    tuned._collect_weights()
    return FineTuned(tuned, Head(types, classifier.cpu(), history, cost | {"seconds_of_head": head.cost["seconds"]}))


def few_shot_rows(
    labels_train: Sequence, n_per_type: Sequence[int], rng: np.random.Generator, *, names: Sequence
) -> dict[int, np.ndarray]:
    """For each number of cells, the sorted rows of so many random cells of each type, or of all if it has fewer.

    Draws are nested: the cells at 10 per type are among those at 50. They depend on the names (n_train,) of the cells,
    unique, not on their order. Raises ValueError for a number below 1, and for labels as `fit_head` does.
    """
    if min(n_per_type, default=0) < 1:
        raise ValueError(f"n_per_type = {list(n_per_type)}; accepted: one or more numbers, each 1 or more")
    _, codes = _types(labels_train, len(names))
    drawn = pd.Series(rng.permutation(_by_name(names)))
    rank = drawn.groupby(codes[drawn]).cumcount()
    return {n: np.sort(drawn[rank < n].to_numpy()) for n in n_per_type}


class _Labels(NamedTuple):
    """Of training cells in their final order."""

    types: np.ndarray  # (n_types,)
    codes: np.ndarray  # number of each cell's type (n_train,)
    stop: np.ndarray  # cells held out to stop by (n_train,) bool


def _labels(types: np.ndarray, codes: np.ndarray, settings: HeadSettings, rng: np.random.Generator) -> _Labels:
    """Hold out a share of each type, one cell at least, but no type's only cell."""
    stop = np.zeros(len(codes), dtype=bool)
    for code in range(len(types)):
        rows = rng.permutation(np.flatnonzero(codes == code))
        stop[rows[: min(max(1, round(settings.stop_share * len(rows))), len(rows) - 1)]] = True
    if not stop.any():
        raise ValueError("labels_train: each type has one cell, and none is left to stop by; one type needs two")
    return _Labels(types, codes, stop)


class _Trained(nn.ModuleList):
    """Modules to train, but for the statistics of batch normalisation."""

    def train(self, mode: bool = True) -> _Trained:
        super().train(mode)
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm1d):
                layer.eval()
        return self


def _fitted_head(embedding: np.ndarray, labels: _Labels, settings: HeadSettings, rng: np.random.Generator) -> Head:
    """`fit_head` of checked cells in their final order."""
    training_device("cpu")  # sets the number of threads
    standardised = _standardising(embedding) if settings.standardise else nn.Identity()
    with torch_seed(int(rng.integers(2**63))):
        first, last = nn.Linear(embedding.shape[1], settings.hidden), nn.Linear(settings.hidden, len(labels.types))
    layers = nn.Sequential(first, nn.ReLU(), nn.Dropout(settings.dropout), last)
    learned, judged = (standardised(torch.from_numpy(embedding[part]).float()) for part in (~labels.stop, labels.stop))

    def logits(rows: np.ndarray | None) -> torch.Tensor:
        return layers(judged if rows is None else learned[rows])

    history, cost = _train(layers, logits, labels, settings, settings.lr, rng)
    return Head(labels.types, nn.Sequential(standardised, *layers).eval(), history, cost)


def _standardising(embedding: np.ndarray) -> nn.BatchNorm1d:
    """Each dimension minus its mean, all divided by one SD: batch normalisation with fixed statistics."""
    layer = nn.BatchNorm1d(embedding.shape[1], eps=SMALLEST_VARIANCE, affine=False).eval()
    layer.running_mean.copy_(torch.from_numpy(embedding.mean(axis=0)))
    layer.running_var.fill_(embedding.var(axis=0).mean())
    return layer


def _train(
    module: nn.Module,
    logits: Callable[[np.ndarray | None], torch.Tensor],
    labels: _Labels,
    settings: HeadSettings,
    lr: float,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The loop of pretraining on cross entropy; `logits` are of learned cells by row, or of those to stop by (None)."""
    codes = torch.from_numpy(labels.codes).to(next(module.parameters()).device)
    learned, judged = codes[~labels.stop], codes[labels.stop]
    batch_size = min(settings.batch_size, len(learned))
    options = {"validations": settings.max_epochs, "patience": settings.patience}
    with torch_seed(int(rng.integers(2**63))):
        return train(
            module,
            n_cells=len(learned),
            cell_views=settings.max_epochs * math.ceil(len(learned) / batch_size) * batch_size,
            batches=shuffled(len(learned), batch_size, rng),
            step_loss=lambda rows, progress: cross_entropy(logits(rows), learned[rows]),
            validation_loss=lambda: cross_entropy(logits(None), judged),
            settings=TrainSettings(batch_size=batch_size, lr=lr, **options),
        )


def _types(labels: Sequence, n_cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted types (n_types,), and each cell's number among them (n_cells,)."""
    labels = np.asarray(labels, dtype=object)
    if labels.shape != (n_cells,):
        raise ValueError(f"labels_train {labels.shape} must be ({n_cells},), of the same cells")
    if missing := int(pd.isna(labels).sum()):
        raise ValueError(f"labels_train lacks {missing:,} of {n_cells:,} labels; leave these cells out")
    types, codes = np.unique(labels, return_inverse=True)
    if len(types) < 2:
        raise ValueError(f"labels_train holds {len(types)} type(s): {', '.join(map(str, types))}; two or more would do")
    return types, codes


def _by_name(names: Sequence) -> np.ndarray:
    """Positions of the cells in the order of their names, (n_cells,)."""
    names = pd.Index(names)
    if not names.is_unique:
        raise ValueError(f"names: {names[names.duplicated()][0]!r} stands twice; make them unique")
    return names.argsort()
