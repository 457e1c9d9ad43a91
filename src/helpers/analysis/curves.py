"""The runs of one curve over sizes: checked, sorted, resampled."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from helpers.analysis.results import finite_numbers, require

HUBER = 1.345  # pooled seed SDs
FEWEST_SPREADS = 3  # sizes with a spread, from which it is told how spreads differ
UNLIKE = 4.0  # degrees of freedom of the common variance, under which spreads differ plainly
MISFIT = 0.01  # level of the test of fit
OF_CELLS = ("n_cells", "percentage")
NAMES = {
    "n_cells": "cells",
    "unique_cells": "unique cells seen",
    "n_donors": "donors",
    "n_datasets": "datasets",
    "umis_per_cell": "median UMIs per cell",
    "n_parameters": "parameters",
    "cell_views": "cell-views",
    "flops": "training FLOPs",
    "percentage": "% of the corpus",
    "n_treated": "treated cells",
    "n_contexts": "contexts",
}  # of axes, in words
ONE_MODEL = ("width", "weight_decay", "budget")
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

    @cached_property
    def variances(self) -> np.ndarray:
        """Of the runs of each size, (n_sizes,); NaN where there is one run."""
        squares = np.bincount(self.groups, (self.losses - self.means[self.groups]) ** 2)
        return np.divide(squares, self.n - 1, out=np.full(len(squares), np.nan), where=self.n > 1)

    @cached_property
    def spread(self) -> tuple[np.ndarray, np.ndarray]:
        """Standard deviation of a run of each size and its degrees of freedom, two (n_sizes,), by `moderated`."""
        return moderated(self.variances, self.n - 1, self.scale)

    def resampled(self, n_boot: int, rng: np.random.Generator) -> np.ndarray:
        """Parametric bootstrap, (n_boot, n_runs): normal around the mean of each size.

        The standard deviation of a size is its `spread`, and in each draw as uncertain as its degrees of freedom say,
        so that means are spread as Student's t.
        """
        sd, freedom = self.spread
        sds = sd * np.sqrt(freedom / rng.chisquare(freedom, (n_boot, len(sd))))
        return self.means[self.groups] + sds[:, self.groups] * rng.standard_normal((n_boot, len(self.groups)))

    def difference(self) -> tuple[float, float]:
        """90 % interval of the mean of the first size less that of the last.

        Student's t where each size has a variance of its own, of its runs or, of a single run, its `spread`. Source:
        Welch 1947.
        """
        from scipy.special import stdtrit

        sd, freedom = self.spread
        own = np.where(self.n > 1, self.variances, sd**2)[[0, -1]] / self.n[[0, -1]]
        known = np.where(self.n > 1, self.n - 1, freedom)[[0, -1]]
        change, variance = float(self.means[0] - self.means[-1]), float(own.sum())
        if variance == 0:
            return change, change
        half = float(stdtrit(1 / np.sum((own / variance) ** 2 / known), 0.95) * np.sqrt(variance))
        return change - half, change + half

    def misfit(self, fitted: np.ndarray, samples: np.ndarray, of_samples: np.ndarray) -> str:
        """By how much values (n_sizes,) fitted to the runs miss their means, in words; empty if seeds explain it.

        The mean square in standard errors is over what 99 % of bootstrap draws `samples` (n_boot, n_runs), whose fits
        are `of_samples` (n_boot, n_sizes), have beside the curve's own misses.
        """
        errors = self.spread[0] / np.sqrt(self.n)
        misses = self.means - fitted
        ours = np.mean((misses / errors) ** 2)
        theirs = np.mean(((self.means_of(samples) - of_samples - misses) / errors) ** 2, axis=1)
        most = np.quantile(theirs, 1 - MISFIT, method="higher")
        if ours <= most:
            return ""
        return f"misses the means by {np.sqrt(ours):.1f} standard errors, where seeds explain {np.sqrt(most):.1f}"


def moderated(variances: np.ndarray, freedom: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviations of sizes and their degrees of freedom, two (n_sizes,), from a few runs of each.

    A few runs tell a variance badly, and its size may change with that of the corpus: each `variances` (n_sizes,), with
    its `freedom`, is moderated by a common one that counts for as many degrees of freedom as variances are alike. Where
    they differ by no more than chance, all have the pooled standard deviation `scale`. Where they differ so much that
    the common one counts for under four, it draws the large ones too far down: then each has the larger of its own and
    its moderated one, with one degree of freedom more than its own. Source: Smyth 2004, section 6.2, but for the last.
    """
    from scipy.special import digamma, polygamma

    total = float(freedom.sum())
    known = np.flatnonzero(np.nan_to_num(variances) > 1e-6 * scale**2)  # no spread at all has no logarithm
    pooled = np.full(len(variances), scale), np.full(len(variances), max(total, 1.0))
    if len(known) < FEWEST_SPREADS:
        return pooled
    half = freedom[known] / 2
    logs = np.log(variances[known]) - digamma(half) + np.log(half)
    beyond = float(np.var(logs, ddof=1) - np.mean(polygamma(1, half)))
    if beyond <= 0:
        return pooled
    prior = max(1.0, 2 * _inverse_trigamma(beyond))
    common = np.exp(logs.mean() + digamma(prior / 2) - np.log(prior / 2))
    own = np.where(freedom > 0, variances, 0.0)
    squares = (prior * common + freedom * own) / (prior + freedom)
    if prior < UNLIKE:
        return np.sqrt(np.maximum(squares, own)), freedom + 1.0
    return np.sqrt(squares), np.minimum(prior + freedom, total)


def _inverse_trigamma(value: float) -> float:
    from scipy.special import polygamma

    found = 0.5 + 1 / value
    for _ in range(50):  # Newton's steps on 1 / trigamma, which is nearly straight
        slope = polygamma(1, found)
        found += slope * (1 - slope / value) / polygamma(2, found)
    return float(found)


def read_curve(frame: pd.DataFrame, x: str | Sequence[str], y: str) -> Curve:
    """The curve of a table with one row per run, along one axis or several.

    Raises ValueError for absent columns, values that are missing or infinite or no numbers, sizes that are not
    positive, and a table of several tasks, metrics, datasets or families, along cells also of several widths, weight
    decays or budgets, or where a run that has a `run_id` stands twice.
    """
    axes = [x] if isinstance(x, str) else list(x)
    require(frame, [*axes, y])
    if frame.empty:
        raise ValueError("the table of runs is empty")
    for column in frame.columns.intersection(ONE_VALUE + (ONE_MODEL if x in OF_CELLS else ())):
        found = frame[column].unique()
        if len(found) > 1:
            raise ValueError(f"{column} takes several values ({', '.join(map(str, found))}): select one of them")
    if "run_id" in frame and (copies := int(frame["run_id"].duplicated().sum())):
        raise ValueError(f"{copies} of {len(frame)} rows are further rows of runs that stand there already: drop them")
    values = finite_numbers(frame, [*axes, y], "rows")
    for column in axes:
        if bad := int((values[column] <= 0).sum()):
            raise ValueError(f"{column} must be over 0, {bad} rows are not (untrained models?): drop them")
    values = values.sort_values([*axes, y])
    points, groups = np.unique(values[axes].to_numpy(), axis=0, return_inverse=True)
    return Curve(points[:, 0] if isinstance(x, str) else points, groups, values[y].to_numpy())
