"""From the tidy results to statements: tables, saturation points, scaling."""

from helpers.analysis.results import wide
from helpers.analysis.saturation import saturation_points

__all__ = ["saturation_points", "wide"]
