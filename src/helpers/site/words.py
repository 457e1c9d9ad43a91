"""Names in words, the same on every page: as the figures have them."""

from helpers.plots.style import BASELINE_NAMES, FAMILY_NAMES, STRATEGY_NAMES, metric_name

NAMES = FAMILY_NAMES | BASELINE_NAMES | STRATEGY_NAMES


def in_words(name: str) -> str:
    """A family, sampling, task or metric in words."""
    return NAMES.get(name) or metric_name(name)
