"""What each metric of the results means: description, range, best value, source."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from helpers.messages import unknown

STUDY = "DenAdel et al., Nature Methods 2026, 10.1038/s41592-026-03120-y"
SCIB = "Luecken et al., Nature Methods 2022, 10.1038/s41592-021-01336-8 (scib 1.1.7)"
WAYS = {
    "probe_": "by a logistic regression on the embedding",
    "full_": "by the encoder and a head trained together",
    "mlp_": "by the study's network in place of ridge",
}
SHOTS = re.compile(r"_at_(\d+)$")
PARTS = ("type", "context", "perturbation")  # columns that name a part of a set, where a score is not of all of it


@dataclass(frozen=True)
class Metric:
    """A metric's meaning, range, best value (NaN: none, such as a share that is neither good nor bad) and source."""

    description: str
    low: float
    high: float
    best: float
    citation: str


METRICS: dict[str, Metric] = {}


def register(
    metrics: dict[str, Metric], description: str, *, low: float, high: float, best: float, citation: str
) -> Callable:
    """Add the decorated function to `metrics` under its own name; raises ValueError if that is taken."""

    def decorate(function: Callable) -> Callable:
        name = function.__name__
        if name in metrics:
            raise ValueError(f"metric {name!r} is registered already: {metrics[name].description}")
        metrics[name] = Metric(description, low, high, best, citation)
        return function

    return decorate


def metric(name: str) -> Metric:
    """What a metric of results.parquet means, whatever way it was reached by and however few cells taught it.

    Raises ValueError for an unknown name.
    """
    from helpers.evaluate.perturbation_metrics import METRICS as RESPONSES

    told, rest = [], name
    for way, how in WAYS.items():
        if rest.startswith(way):
            told, rest = [how], rest.removeprefix(way)
    if found := SHOTS.search(rest):
        told, rest = [*told, f"taught by {found[1]} cells of each type"], rest[: found.start()]
    calibrated = rest.startswith("calibrated_")
    rest = rest.removeprefix("calibrated_")
    there = METRICS | RESPONSES
    if rest not in there:
        raise ValueError(unknown("metric", rest, there))
    known = there[rest]
    description = ", ".join([known.description, *told])
    if calibrated:
        return Metric(f"{description}; 0 at the strongest null, 1 at the ceiling", -np.inf, np.inf, 1, known.citation)
    return Metric(description, known.low, known.high, known.best, known.citation)


_F1 = {
    "micro_f1": "micro F1 over all test cells of scored types, with one label per cell the accuracy",
    "macro_f1": "macro F1 over types with enough cells",
    "macro_precision": "mean precision over types with enough cells",
    "macro_recall": "mean recall over types with enough cells",
}
METRICS["type_f1"] = Metric("F1 of one type", 0, 1, 1, STUDY)
_INTEGRATION = {
    "nmi": ("normalised mutual information of types and the best of twenty Louvain clusterings", 0, 1),
    "ari": ("adjusted Rand index of types and that clustering", -1, 1),
    "asw_label": ("mean silhouette of the types, from 0 to 1", 0, 1),
    "avg_bio": ("mean of nmi, ari and asw_label", -1 / 3, 1),
    "graph_connectivity": ("share of a type's cells in its largest part of the neighbour graph, mean", 0, 1),
    "asw_batch": ("1 - |silhouette of the batch| within types, mean", 0, 1),
    "pcr_batch": ("share of the embedding's variance that batches explain, compared with nothing", 0, 0),
    "pcr_comparison": (
        "share of the expression's batch variance that the embedding removes, the study's PCR_batch",
        0,
        1,
    ),
    "condition_separation": ("|silhouette of the treatment| within types: mixing is not wanted", 0, np.nan),
    "condition_variance": ("share of the variance that treatment explains: mixing is not wanted", 0, np.nan),
}
_LISI = "Korsunsky et al., Nature Methods 2019, 10.1038/s41592-019-0619-0"
_SCIB_METRICS = {
    "isolated_labels": ("mean silhouette of the types found in the fewest batches, from 0 to 1", 0, SCIB),
    "silhouette_label": ("mean silhouette of the types, from 0 to 1", 0, SCIB),
    "clisi_knn": ("median number of types among 90 neighbours by inverse Simpson, 1 where it is one", 0, _LISI),
    "nmi_kmeans": ("normalised mutual information of types and as many k-means clusters", 0, SCIB),
    "ari_kmeans": ("adjusted Rand index of types and as many k-means clusters", -1, SCIB),
    "nmi_leiden": ("normalised mutual information of types and the best of ten Leiden clusterings", 0, SCIB),
    "ari_leiden": ("adjusted Rand index of types and that Leiden clustering", -1, SCIB),
    "bras": (
        "1 - |cosine silhouette of the batch against all other batches| within types, mean",
        0,
        "Rautenstrauch & Ohler, Nature Biotechnology 2025, 10.1038/s41587-025-02743-4",
    ),
    "ilisi_knn": ("median number of batches among 90 neighbours by inverse Simpson, 1 where it is all", 0, _LISI),
    "kbet": (
        "share of cells among whose 50 neighbours batches are as common as in the set (chi-squared, 5 %)",
        0,
        "Büttner et al., Nature Methods 2019, 10.1038/s41592-018-0254-1",
    ),
}
METRICS |= {name: Metric(told, 0, 1, 1, STUDY) for name, told in _F1.items()}
METRICS |= {name: Metric(told, low, 1, best, SCIB) for name, (told, low, best) in _INTEGRATION.items()}
METRICS |= {
    f"scib_metrics_{name}": Metric(told, low, 1, 1, f"{source}, as in scib-metrics 0.6.1")
    for name, (told, low, source) in _SCIB_METRICS.items()
}
METRICS["heldout_loss"] = Metric(
    "mean loss of cells outside the corpus, in the unit of the family", -np.inf, np.inf, -np.inf, "the family's class"
)
