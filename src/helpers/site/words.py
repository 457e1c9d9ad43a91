"""Names in words, the same on every page: as the figures have them."""

from helpers.plots.style import BASELINE_NAMES, FAMILY_NAMES, METRIC_NAMES, STRATEGY_NAMES

SPELT = {  # parts of the names of metrics and tasks
    "ari": "ARI",
    "asw": "ASW",
    "auprc": "AUPRC",
    "de": "DE",
    "f1": "F1",
    "heldout": "held-out",
    "mlp": "MLP",
    "mse": "MSE",
    "nmi": "NMI",
    "pcr": "PCR",
    "r2": "R²",
}
NAMES = FAMILY_NAMES | BASELINE_NAMES | STRATEGY_NAMES | METRIC_NAMES


def in_words(name: str) -> str:
    """A family, sampling, task or metric in words."""
    return NAMES.get(name) or " ".join(SPELT.get(part, part) for part in name.split("_"))
