"""Figures in one style: a colour per family, a marker per sampling strategy, cells on a logarithmic.

axis with percentages beside.
"""

from helpers.plots.results import heldout_loss, loss_against_metric, saturation_heatmap, size_curves
from helpers.plots.stages import (
    composition,
    embeddings,
    evaluation_sets,
    loss_by_cell,
    loss_curves,
    subset_composition,
    type_scores,
)

__all__ = [
    "composition",
    "embeddings",
    "evaluation_sets",
    "heldout_loss",
    "loss_against_metric",
    "loss_by_cell",
    "loss_curves",
    "saturation_heatmap",
    "size_curves",
    "subset_composition",
    "type_scores",
]
