"""The runs of one curve over sizes: checked, sorted, resampled."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from helpers.analysis.results import require

HUBER = 1.345  # pooled seed SDs
PRIOR = 4  # degrees of freedom that the pooled variance adds to each size's own
ONE_VALUE = ("task", "dataset", "metric", "family")  # columns of which one curve holds one value


@dataclass(frozen=True)
class Curve:
    """Distinct sizes `x` in ascending order, (n_sizes,), or (n_sizes, n_axes) along several axes; size (by number) and
    loss of each run, `groups` and `losses` (n_runs,), in an order that does not depend on the table's.
    """

    x: np.ndarray
    groups: np.ndarray
    losses: np.ndarray

    @cached_property
    def n(self) -> np.ndarray:
        """Runs of each size."""
        return np.bincount(self.groups)

    @cached_property
    def means(self) -> np.ndarray:
        """Mean of each size."""
        return np.bincount(self.groups, self.losses) / self.n

    @cached_property
    def sd(self) -> float:
        """Pooled standard deviation of runs of one size, NaN if no size has two."""
        freedom = len(self.losses) - len(self.x)
        return float(np.sqrt(np.sum((self.losses - self.means[self.groups]) ** 2) / freedom)) if freedom else np.nan

    @property
    def delta(self) -> float:
        """Where Huber's loss turns linear; nowhere if no size has two runs."""
        return HUBER * self.scale if len(self.losses) > len(self.x) else np.inf

    @property
    def scale(self) -> float:
        """The pooled standard deviation, or a millionth of the values where seeds tell no spread."""
        least = max(1e-6 * float(np.abs(self.losses).mean()), 1e-150)  # also of losses that are all 0
        return self.sd if self.sd > least else least

    def means_of(self, samples: np.ndarray) -> np.ndarray:
        """Mean of each size in tables of runs (n_tables, n_runs): (n_tables, n_sizes)."""
        return np.add.reduceat(samples, np.searchsorted(self.groups, np.arange(len(self.x))), axis=1) / self.n

    def without_largest(self) -> "Curve":
        """The same runs but for those of the largest size."""
        kept = self.groups < len(self.x) - 1
        return Curve(self.x[:-1], self.groups[kept], self.losses[kept])

    def resampled(self, n_boot: int, rng: np.random.Generator) -> np.ndarray:
        """Parametric bootstrap, (n_boot, n_runs): normal around the mean of each size.

        The variance of a size is its own, moderated by the pooled one that counts as four more seeds, since few seeds
        tell a variance badly. Source: Smyth 2004, with a fixed number of prior degrees of freedom.
        """
        squares = np.bincount(self.groups, (self.losses - self.means[self.groups]) ** 2)
        spread = np.sqrt((squares + PRIOR * self.scale**2) / (self.n - 1 + PRIOR))
        return self.means[self.groups] + spread[self.groups] * rng.standard_normal((n_boot, len(self.groups)))


def read_curve(frame: pd.DataFrame, x: str | Sequence[str], y: str) -> Curve:
    """The curve of a table with one row per run, along one axis or several.

    Raises ValueError for absent columns, values that are missing or infinite, sizes that are not positive, and a table
    of several metrics, datasets or families.
    """
    axes = [x] if isinstance(x, str) else list(x)
    require(frame, [*axes, y])
    if frame.empty:
        raise ValueError("the table of runs is empty")
    for column in frame.columns.intersection(ONE_VALUE):
        found = frame[column].unique()
        if len(found) > 1:
            raise ValueError(f"{column} takes several values ({', '.join(map(str, found))}): select one of them")
    numbers = frame[[*axes, y]].astype(float)
    for column in numbers:
        if bad := int((~np.isfinite(numbers[column])).sum()):
            raise ValueError(f"{column} is missing or infinite in {bad} of {len(frame)} rows: drop them")
    for column in axes:
        if bad := int((numbers[column] <= 0).sum()):
            raise ValueError(f"{column} must be over 0, {bad} rows are not (untrained models?): drop them")
    numbers = numbers.sort_values([*axes, y])
    points, groups = np.unique(numbers[axes].to_numpy(), axis=0, return_inverse=True)
    return Curve(points[:, 0] if isinstance(x, str) else points, groups, numbers[y].to_numpy())
