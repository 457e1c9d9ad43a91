"""Scores of many runs on the same cells, each cell counted as often as it was drawn."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

BLOCK = 100  # draws at a time, for memory


def drawn_counts(n_cells: int, n_boot: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """How often each of `n_cells` is drawn when as many are drawn with replacement, (up to 100 draws, n_cells) a time;
    `n_boot` draws in all.
    """
    for start in range(0, n_boot, BLOCK):
        n = min(BLOCK, n_boot - start)
        drawn = rng.integers(n_cells, size=(n, n_cells)) + n_cells * np.arange(n)[:, None]
        yield np.bincount(drawn.ravel(), minlength=n * n_cells).reshape(n, n_cells).astype(np.float32)


@dataclass(frozen=True)
class Losses:
    """Losses of cells by runs, (n_cells, n_runs), and the references beside them, (n_cells, n_references).

    `reference_of`, (n_runs,), is the number of each run's reference.
    """

    losses: np.ndarray
    references: np.ndarray
    reference_of: np.ndarray

    @property
    def n_cells(self) -> int:
        """Cells that are drawn from."""
        return len(self.losses)

    def scores(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Mean loss and mean reference of all runs, each (n_draws, n_runs), over cells counted `counts` times.

        `counts` is (n_draws, n_cells).
        """
        shares = counts / counts.sum(axis=1, keepdims=True, dtype=np.float64)
        return {"loss": shares @ self.losses, "reference": (shares @ self.references)[:, self.reference_of]}


class Confusions:
    """Predicted types of cells by many runs.

    Parameters
    ----------
    true
        (n_cells,) number of each cell's type; all types are scored.
    predicted
        (n_cells, n_runs) number of the type that a run says, -1 for any that is not scored.
    headline
        (n_types,) bool: types that count in macro F1.
    """

    def __init__(self, true: np.ndarray, predicted: np.ndarray, headline: np.ndarray):
        self.n_cells, self.n_runs = predicted.shape
        self.headline = headline
        right = predicted == true[:, None]
        self._of_type = [np.flatnonzero(true == number) for number in range(len(headline))]
        self._right = [right[cells].astype(np.float32) for cells in self._of_type]
        cells, runs = np.nonzero(~right & (predicted >= 0))
        rows = predicted[cells, runs].astype(np.int64) * self.n_runs + runs
        ones = np.ones(len(cells), dtype=np.float32)
        shape = (len(headline) * self.n_runs, self.n_cells)
        self._wrongly = sp.csr_matrix((ones, (rows, cells)), shape=shape)  # which cells a run takes for a type wrongly

    def scores(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Micro and macro F1 of all runs, each (n_draws, n_runs), over cells counted `counts` (n_draws, n_cells) times.

        As `helpers.evaluate.classification.scores` defines them on the drawn cells: macro F1 is the mean over headline
        types that were drawn; NaN if none was.
        """
        wrongly = (self._wrongly @ np.ascontiguousarray(counts.T)).reshape(len(self.headline), self.n_runs, -1)
        all_hits = np.zeros((len(counts), self.n_runs))
        f1_sum, n_types = np.zeros_like(all_hits), np.zeros((len(counts), 1))
        for number, (cells, right) in enumerate(zip(self._of_type, self._right, strict=True)):
            of_type = counts[:, cells]
            hits, n = of_type @ right, of_type.sum(axis=1, keepdims=True)
            all_hits += hits
            if self.headline[number]:
                called = hits + wrongly[number].T
                f1_sum += np.where(n > 0, 2 * hits / np.maximum(n + called, 1), 0)
                n_types += n > 0
        macro = np.divide(f1_sum, n_types, out=np.full_like(f1_sum, np.nan), where=n_types > 0)
        return {"micro_f1": all_hits / counts.sum(axis=1, keepdims=True), "macro_f1": macro}
