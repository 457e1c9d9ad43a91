"""The triplet loss of the supervised families: cells of one type from different studies are to lie close together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from helpers.models.protocol import UnfitCellsError
from helpers.models.train import TrainSettings

if TYPE_CHECKING:
    from types import ModuleType


class TripletSettings(TrainSettings):
    """Which labels make triplets, and how far apart their cells should be."""

    label: str = "cell_type"  # column of obs: same value, same type
    study: str = "dataset_id"  # column of obs: what a positive should not share with its anchor
    across_studies: Literal["required", "preferred"] = "required"
    margin: float = Field(0.05, gt=0)


class Triplets:
    """Labels of the training cells, the triplets found among them, and their loss.

    A positive has the anchor's type and comes from another study; it is never the same cell, which a batch may hold
    twice. With `across_studies` = ``required`` types of one study have no positives: their cells are negatives alone.
    With ``preferred`` their positives come from within that study; other types are unaffected.

    Attributes
    ----------
    n_found, n_within
        Triplets in all batches so far, and how many of them lie within one study.

    Raises
    ------
    ValueError
        For a missing column or value.
    UnfitCellsError
        For a single type, or no type in two studies where that is required.
    """

    def __init__(self, obs: pd.DataFrame, settings: TripletSettings) -> None:
        types, studies = (_codes(obs, column) for column in (settings.label, settings.study))
        if types.max() == 0:
            only = obs[settings.label].iloc[0]
            raise UnfitCellsError(
                f"all {len(obs)} training cells have {settings.label} {only!r}; triplets need two types"
            )
        in_one_study = pd.Series(studies).groupby(types).nunique().to_numpy() == 1  # by type
        preferred = settings.across_studies == "preferred"
        if in_one_study.all() and not preferred:
            raise UnfitCellsError(
                f"no type in {settings.label!r} is in two values of {settings.study!r}, so no cell has a positive; "
                "use across_studies = 'preferred', or another study column"
            )
        self.types, self.studies = torch.from_numpy(types), torch.from_numpy(studies)
        self.within_allowed = torch.from_numpy(in_one_study & preferred)
        self.margin = settings.margin
        self.n_found = self.n_within = 0
        self._loss = _metric_learning().losses.TripletMarginLoss(
            margin=settings.margin,
            distance=_metric_learning().distances.LpDistance(normalize_embeddings=False),
            reducer=_metric_learning().reducers.MeanReducer(),
        )

    def loss(self, embedding: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
        """Mean loss (scalar) of the triplets among training cells `rows`, 0 if there are none.

        Per triplet max(0, distance to the positive - distance to the negative + margin), Euclidean, in `embedding`
        (n_cells, n_latent).
        """
        embedding, rows = embedding.float(), torch.from_numpy(np.asarray(rows))
        types, studies = self.types[rows], self.studies[rows]
        same, other = (
            pairs.bool() for pairs in _metric_learning().utils.loss_and_miner_utils.get_matches_and_diffs(types)
        )
        allowed = (studies[:, None] != studies) | self.within_allowed[types][:, None]
        pairs = (same & allowed & (rows[:, None] != rows)).triu(1)  # each pair once; its first cell is the anchor
        anchor, positive, negative = semihard_triplets(
            embedding.detach(), pairs.to(embedding.device), other.to(embedding.device), self.margin
        )
        self.n_found += len(anchor)
        self.n_within += int((studies[anchor.cpu()] == studies[positive.cpu()]).sum())
        return self._loss(embedding, types.to(embedding.device), (anchor, positive, negative))

    @property
    def cost(self) -> dict[str, Any]:
        """What goes into a model's cost: that labels were used, triplets, and the share of them within one study."""
        share = self.n_within / max(1, self.n_found)
        return {"supervised": True, "triplets": self.n_found, "within_study_triplets": share}


def semihard_triplets(
    embedding: torch.Tensor, pairs: torch.Tensor, negatives: torch.Tensor, margin: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One semi-hard negative at random for each pair that has any; as published, in squared Euclidean distances.

    Semi-hard: further from the anchor than the positive is, by less than the margin. Negatives of an anchor are sorted
    by distance once, so that those of each positive are an interval: work grows as n^2 log n, memory as n^2.

    Parameters
    ----------
    embedding
        (n, n_latent).
    pairs, negatives
        Boolean (n, n): rows are anchors, columns their positives or negatives.

    Returns
    -------
    anchor, positive, negative
        Positions (n_triplets,).
    """
    squared = _metric_learning().distances.LpDistance(normalize_embeddings=False, power=2)(embedding)
    distance, order = squared.masked_fill(~negatives, torch.inf).sort(dim=1)
    first = torch.searchsorted(distance, squared, right=True)
    n_choices = (torch.searchsorted(distance, squared + margin) - first).masked_fill(~pairs, 0)
    anchor, positive = n_choices.nonzero(as_tuple=True)
    n_choices, first = n_choices[anchor, positive], first[anchor, positive]
    chosen = (torch.rand(len(anchor), device=embedding.device) * n_choices).long()
    return anchor, positive, order[anchor, first + torch.minimum(chosen, n_choices - 1)]


def _codes(obs: pd.DataFrame, column: str) -> np.ndarray:
    """Values of a column as numbers from 0, (n_cells,); refuses a column that is not there or has gaps."""
    if column not in obs:
        raise ValueError(f"training cells have no column {column!r}; there are: {', '.join(map(str, obs.columns))}")
    codes = pd.factorize(obs[column])[0]
    if (codes < 0).any():
        raise ValueError(f"{(codes < 0).sum()} of {len(codes)} training cells have no value in {column!r}; drop them")
    return codes.astype(np.int64)


def _metric_learning() -> ModuleType:
    """pytorch-metric-learning; the import takes seconds, so it waits until there are labels."""
    import pytorch_metric_learning.distances
    import pytorch_metric_learning.losses
    import pytorch_metric_learning.reducers
    import pytorch_metric_learning.utils.loss_and_miner_utils

    return pytorch_metric_learning
