"""Curves of one metric on the error scale: mean error of each size, and what other seeds and cells would have told."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from helpers.analysis.error_rule import resampled_means
from helpers.analysis.results import require
from helpers.analysis.saturation_runs import RUN, curves, is_score, named, trained_runs

LEVELS = ["column", "task", "dataset", "metric", "run_id"]  # of the columns of draws
NO_DRAWS, SEEDS, SEEDS_AND_CELLS = "nothing", "seeds", "seeds and cells"

Drawn = tuple[dict[tuple, int], np.ndarray]  # number of each column by its key, and values (n_boot, n_keys)


@dataclass(frozen=True)
class ErrorCurve:
    """Percentages, cells (NaN where not known), number of seeds and mean error of each size, all (n_sizes,).

    `draws` are mean errors of the bootstrap, (n_boot, n_sizes), over what `resampled` says; None where a size has one
    seed or no error, or there is one size.
    """

    key: tuple
    sizes: np.ndarray
    n_cells: np.ndarray
    n_seeds: np.ndarray
    errors: np.ndarray
    draws: np.ndarray | None
    resampled: str

    @property
    def growth(self) -> np.ndarray:
        """Sizes up to a factor, (n_sizes,): cells, or percentages where those are not known."""
        return self.sizes if np.isnan(self.n_cells).any() else self.n_cells


def error_curves(
    results: pd.DataFrame,
    metric: str,
    *,
    draws: pd.DataFrame | None,
    rng: np.random.Generator | None,
    n_boot: int,
) -> list[ErrorCurve]:
    """The curves of a metric in order of appearance; parameters and errors as in `saturation.saturation_points`.

    Curves and runs are drawn in the order of their names, so that the order of the table does not matter.
    """
    runs = trained_runs(results, metric)
    runs = runs.assign(error=_errors(runs, metric))
    drawn = None if draws is None else _of_metric(draws, metric)
    n_boot = n_boot if draws is None else len(draws)
    if n_boot < 1:
        raise ValueError(f"n_boot = {n_boot} must be at least 1, e.g. 1000")
    rng = np.random.default_rng(0) if rng is None else rng
    tables = dict(curves(runs))
    found = {key: _read(key, tables[key], metric, drawn, n_boot, rng) for key in sorted(tables, key=named)}
    return [found[key] for key in tables]


def _read(
    key: tuple, rows: pd.DataFrame, metric: str, drawn: Drawn | None, n_boot: int, rng: np.random.Generator
) -> ErrorCurve:
    rows = rows.sort_values(["percentage", *rows.columns.intersection(RUN)], ignore_index=True)
    places = list(rows.groupby("percentage").indices.values())
    of_sizes = rows.groupby("percentage")
    sizes, n_seeds, errors = np.unique(rows["percentage"]), of_sizes.size().to_numpy(), of_sizes["error"].mean()
    of_runs, resampled = rows["error"].to_numpy(), SEEDS
    if drawn is not None and (of_cells := _drawn_errors(rows, metric, drawn)) is not None:
        of_runs, resampled = of_cells, SEEDS_AND_CELLS
    told = len(sizes) > 1 and n_seeds.min() > 1 and errors.notna().all()
    means = resampled_means([of_runs[..., place] for place in places], n_boot, rng) if told else None
    return ErrorCurve(
        key, sizes, _cells(key, rows, sizes), n_seeds, errors.to_numpy(), means, resampled if told else NO_DRAWS
    )


def _errors(runs: pd.DataFrame, metric: str) -> pd.Series:
    """1 − score, or excess over the ceiling; NaN on curves without one."""
    if is_score(metric):
        return 1 - runs["value"].astype(float)
    if "ceiling" not in runs:
        return pd.Series(np.nan, index=runs.index)
    for key, rows in curves(runs):
        ceilings = rows["ceiling"].astype(float)
        if ceilings.isna().all():
            continue
        if bad := int((~np.isfinite(ceilings)).sum()):
            raise ValueError(f"ceiling is missing or infinite in {bad} of {len(rows)} rows of the curve {named(key)}")
        if not np.allclose(ceilings, ceilings.iloc[0], rtol=1e-9, atol=0):
            told = ", ".join(map(str, ceilings.unique()[:3]))
            raise ValueError(f"ceiling takes several values ({told}) on the curve {named(key)}: select one")
    return runs["value"].astype(float) - runs["ceiling"].astype(float)


def _cells(key: tuple, rows: pd.DataFrame, sizes: np.ndarray) -> np.ndarray:
    """Mean number of cells of each size; NaN where some run's is not known."""
    if "n_cells" not in rows or not np.isfinite(rows["n_cells"].astype(float)).all():
        return np.full(len(sizes), np.nan)
    cells = rows["n_cells"].astype(float).groupby(rows["percentage"]).mean().to_numpy()
    if (np.diff(cells) <= 0).any() or cells[0] <= 0:
        told = ", ".join(f"{size:g} %: {n:g}" for size, n in zip(sizes, cells, strict=True))
        raise ValueError(f"n_cells does not grow with percentage on the curve {named(key)} ({told})")
    return cells


def _of_metric(draws: pd.DataFrame, metric: str) -> Drawn | None:
    """Draws of one metric, None if there are none."""
    if list(draws.columns.names) != LEVELS:
        there = ", ".join(map(str, draws.columns.names))
        raise ValueError(f"draws must have the column levels {', '.join(LEVELS)}, as paired_draws makes them: {there}")
    there = draws.columns.get_level_values("metric") == metric
    numbers = {key: number for number, key in enumerate(draws.columns[there])}
    return (numbers, draws.loc[:, there].to_numpy(dtype=float)) if numbers else None


def _drawn_errors(rows: pd.DataFrame, metric: str, drawn: Drawn) -> np.ndarray | None:
    """Errors of all runs of a curve on cells drawn anew, (n_boot, n_runs); None where some run has none."""
    require(rows, ["run_id"])
    numbers, all_values = drawn

    def column(name: str) -> np.ndarray | None:
        keys = zip(*(rows[level] for level in LEVELS[1:]), strict=True)
        places = [numbers.get((name, *key)) for key in keys]
        return None if None in places else all_values[:, places]

    values = column("value")
    if values is None or is_score(metric):
        return None if values is None else 1 - values
    ceilings = column("ceiling")
    return None if ceilings is None else values - ceilings
