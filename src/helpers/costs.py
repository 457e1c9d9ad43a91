"""What was measured, in costs.json, and how it is carried over to other sizes.

``python -m benchmarks.costs --write`` measures everything anew, on one core, and writes the table. Carried over are
seconds, never rates: of training on a cell once, a part for each step, one for each number of a batch (genes, or tokens
× width × layers) and one for each FLOP, the parts that come nearest to all measured points of a family; of evaluations,
a power of the number of cells between and beyond the measured ones.
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from helpers.design_parts import FamilySettings
from helpers.model_size import ModelSize, model_size

FILE = Path(__file__).with_name("costs.json")
COMMAND = "python -m benchmarks.costs --write"
PER_VIEW = "train"  # the one column whose first part is that of a step, not of a cell


@dataclass(frozen=True, eq=False)
class Costs:
    """Measured seconds of one core, memory and bytes; see `benchmarks.costs` for the columns."""

    models: tuple[Mapping[str, Any], ...]
    judging: tuple[Mapping[str, Any], ...]
    corpus: Mapping[str, float]
    notebooks: Mapping[str, Mapping[str, float]]
    environment: Mapping[str, Any]

    def seconds(self, family: str, what: str, size: ModelSize) -> float:
        """Seconds of one cell: ``train``, ``embed``, ``loss``, ``feed`` (into a batch) or ``controls`` of the loss.

        A family of which nothing was measured costs as much as the dearest one of the same size.
        """
        known = sorted({row["family"] for row in self.models if what in row})
        chosen = [family] if family in known else known
        return max(float(self._parts(one, what) @ _features(what, size, self._batch(size))) for one in chosen)

    def off(self, what: str) -> float:
        """Largest relative difference of the rule of `seconds` from the measured points, of all families."""
        rows = [row for row in self.models if what in row]
        told = [self.seconds(row["family"], what, _size(row)) / row[what] - 1 for row in rows]
        return max(map(abs, told))

    def judged(self, task: str, n_cells: float) -> float:
        """Seconds of one evaluation of one model on `n_cells` cells."""
        rows = sorted((row["cells"], row["seconds"]) for row in self.judging if row["task"] == task)
        cells, seconds = np.log(np.array(rows)).T
        if len(rows) == 1:
            return float(np.exp(seconds[0]) * n_cells / np.exp(cells[0]))
        at = np.log(max(n_cells, 1))
        part = int(np.clip(np.searchsorted(cells, at), 1, len(cells) - 1))
        slope = max(0.0, (seconds[part] - seconds[part - 1]) / (cells[part] - cells[part - 1]))
        return float(np.exp(seconds[part - 1] + slope * (at - cells[part - 1])))

    def of(self, task: str, column: str) -> float:
        """A number of the one row of a task."""
        return next(row[column] for row in self.judging if row["task"] == task)

    def pca(self, n_cells: int, n_genes: int) -> float:
        """Seconds to fit PCA: by the gene covariance where there are few genes, else by passes over the cells."""
        return float(self._pca_parts(_many(n_genes)) @ _pca_features(n_cells, n_genes))

    def fit(self, family: str) -> float:
        """Seconds that a training takes beside its steps and validations."""
        rows = [row["fit"] for row in self.models if row["family"] == family and PER_VIEW in row]
        return sum(rows) / len(rows) if rows else 0.0

    def batches(self, family: str) -> float:
        """Memory of a training step in batches of dense float32: what its largest measured batch needed."""
        rows = [row for row in self.models if row["family"] == family and PER_VIEW in row]
        if not rows:
            return max(self.batches(row["family"]) for row in self.models if PER_VIEW in row)
        bytes_of = {number: 4 * row["batch"] * _size(row).batch_values for number, row in enumerate(rows)}
        large, small = max(bytes_of, key=bytes_of.get), min(bytes_of, key=bytes_of.get)
        weights = 20 * (_size(rows[large]).parameters - _size(rows[small]).parameters)
        more = 1e6 * (rows[large]["peak_mb"] - rows[small]["peak_mb"]) - weights
        return max(1.0, more / (bytes_of[large] - bytes_of[small]))

    def _batch(self, size: ModelSize) -> int:
        return getattr(size.settings, "batch_size", 1)

    @functools.cache  # noqa: B019 (one table lives as long as the process)
    def _parts(self, family: str, what: str) -> np.ndarray:
        rows = [row for row in self.models if row["family"] == family and what in row]
        return _nearest([_features(what, _size(row), row["batch"]) for row in rows], [row[what] for row in rows])

    @functools.cache  # noqa: B019
    def _pca_parts(self, many: bool) -> np.ndarray:
        rows = [row for row in self.models if row["family"] == "pca" and _many(row["genes"]) == many]
        features = [_pca_features(row["batch"], row["genes"]) for row in rows]
        return _nearest(features, [row["fit"] for row in rows])


@functools.cache
def measured() -> Costs:
    """The table that comes with the project."""
    content = json.loads(FILE.read_text())
    return Costs(tuple(content.pop("models")), tuple(content.pop("judging")), **content)


def _size(row: Mapping[str, Any]) -> ModelSize:
    chosen = FamilySettings(family=row["family"], preset=row["preset"], settings=row["settings"])
    return model_size(chosen, row["width"], row["genes"])


def _features(what: str, size: ModelSize, batch: int) -> np.ndarray:
    return np.array([1 / batch if what == PER_VIEW else 1.0, size.batch_values, size.flops])


def _pca_features(n_cells: int, n_genes: int) -> np.ndarray:
    squares = [0.0, 0.0] if _many(n_genes) else [n_genes**2, float(n_cells) * n_genes**2]
    return np.array([1.0, n_genes, float(n_cells) * n_genes, *squares])


def _many(n_genes: int) -> bool:
    from helpers.models.pca import MANY_GENES

    return n_genes > MANY_GENES


def _nearest(features: list[np.ndarray], values: list[float]) -> np.ndarray:
    """Parts, none negative, with the least squares of relative differences."""
    from scipy.optimize import nnls

    told = np.array(values)
    return nnls(np.array(features) / told[:, None], np.ones(len(told)))[0]
