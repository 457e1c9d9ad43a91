"""What all notebooks read that judge responses to a perturbation."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from anndata import AnnData

from helpers import corpus, failures, judging
from helpers.design import Design, Run
from helpers.evaluate import baselines
from helpers.evaluate.perturbation import Reference, prepare
from helpers.evaluate.perturbation_task import Condition
from helpers.responses import ResponseTask, response_cells, response_tasks
from helpers.store import Store


@dataclass(frozen=True)
class Responses:
    """All that a design's responses are judged on; see `read_responses`.

    `cells` (n_cells, n_genes) are raw counts at the sorted `positions` (n_cells,) in the corpus, and `roles` (n_cells,)
    those of the split; `embedded` (n_embedded,) are the positions of all cells that a run embeds, in its order.
    """

    cells: AnnData
    positions: np.ndarray
    roles: pd.Series
    embedded: np.ndarray
    folds: dict[str, tuple[tuple[str, ...], ...]]
    tasks: list[ResponseTask]

    def control_embedding(self, store: Store, run: Run | str, positions: np.ndarray) -> np.ndarray:
        """Embedding by a run or a baseline of control cells at `positions` in the corpus, (n_positions, n_latent)."""
        if isinstance(run, str):
            return baselines.embed(run, self.cells[np.searchsorted(self.positions, positions)])
        return judging.embedded(store, run, self.cells, np.searchsorted(self.embedded, positions))

    def references(
        self, design: Design, stored: pd.DataFrame | None = None
    ) -> tuple[list[dict[Condition, Reference]], dict[str, str]]:
        """Truth, nulls and ceilings of each task, and why, by dataset, they could not be made (the task then has none).

        Scores of nulls and ceilings are taken from `stored`, an earlier table, where it holds them.
        """
        found, failed = [], {}
        for name, task, _ in self.tasks:
            known = None
            if stored is not None and name in set(stored["dataset"]):
                own = stored[stored["dataset"] == name].groupby(["context", "perturbation"])
                known = {where: own.get_group(where).set_index("metric") for where in task.training}
            made: dict[Condition, Reference] = {}
            with failures.going_on(failed, name):
                made = prepare(task, rng=design.rng("response", name, *task.training), controls=known)
            found.append(made)
        return found, failed


def read_responses(store: Store) -> Responses:
    """Cells and tasks of all perturbation tasks of the store's design."""
    design, roles = store.design, pd.Series(corpus.read_roles(store))
    sets = pd.read_parquet(store.read("evaluation_sets.parquet"))
    found = response_cells(corpus.read_obs(store), roles, sets, design)
    positions = np.unique(np.concatenate([one.positions for one in found.values()]))
    cells = corpus.read_cells(store, positions, gene_space=False)
    tasks = response_tasks(cells, positions, found, min_cells=design.evaluations.perturbation.min_cells)
    folds = {name: one.folds for name, one in found.items()}
    return Responses(cells, positions, roles.iloc[positions], np.unique(sets["position"]), folds, tasks)
