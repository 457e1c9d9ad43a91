"""Whether what a design wants judged can be: what is known of its cells before anything is computed."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from helpers.corpus.copies import repeated, same_cells
from helpers.corpus.stored import StoredCells
from helpers.design import Design, DesignError
from helpers.joined import integration_cells, transfer_cells
from helpers.responses import ResponseCells

FEWEST_CELLS = 15  # of integration: a cell, and 14 others that are its neighbours


def check_judged(design: Design, obs: pd.DataFrame, sets: pd.DataFrame) -> None:
    """Raise DesignError for what an evaluation set, or sets taken together, cannot be judged by."""
    rules = design.evaluations.classification
    for name, part in sets.groupby("dataset", sort=False):
        _check_types(design, name, part["label"], int(part["train"].sum()))
        taught = part.loc[part["train"], "label"].value_counts()
        if design.evaluations.finetuning and (len(taught) < 2 or taught.max() < 2):
            raise DesignError(
                f"evaluation_sets.{name}.label = {design.evaluation_sets[name].label!r}: the half of its cells that "
                f"teaches has {len(taught)} type(s) with at most {taught.max()} cells; evaluations.finetuning needs "
                "two types, one of them with two cells: name another label, or leave the set or the evaluation out"
            )
    for name, transfer in rules.transfer.items():
        part = transfer_cells(obs, sets, name, transfer)
        _check_types(design, name, part.loc[~part["train"], "label"], int(part["train"].sum()))
    for name, entry in (design.evaluations.integration.sets if design.evaluations.integration else {}).items():
        if (n := len(integration_cells(obs, sets, name, entry))) < FEWEST_CELLS:
            raise DesignError(f"evaluations.integration.sets.{name} has {n} cells; at least {FEWEST_CELLS} are needed")


def _check_types(design: Design, name: str, tested: pd.Series, n_taught: int) -> None:
    rules = design.evaluations.classification
    largest = int(tested.value_counts().max())
    if largest < rules.headline_min_cells:
        raise DesignError(
            f"evaluations.classification.headline_min_cells = {rules.headline_min_cells}, but the commonest type of "
            f"{name} has {largest} cells: use that or fewer"
        )
    if n_taught < rules.n_neighbors:
        raise DesignError(
            f"evaluations.classification.n_neighbors = {rules.n_neighbors}, but only {n_taught} cells of {name} lend "
            "their labels: use that or fewer"
        )


def check_copies(
    design: Design, cells: AnnData | StoredCells, sets: pd.DataFrame, responses: Mapping[str, ResponseCells]
) -> None:
    """Raise DesignError if a cell stands twice among those that judge: in one set, or on both sides of a transfer.

    `cells` are all cells (n_cells, n_genes), raw counts. One cell of a pair would teach, and the other test.
    """
    judged = {f"evaluation_sets.{name}": part["position"].to_numpy() for name, part in sets.groupby("dataset")}
    of_corpus = design.perturbation.held_out if design.perturbation else {}
    judged |= {f"perturbation.held_out.{name}": responses[name].positions for name in of_corpus if name in responses}
    for key, positions in judged.items():
        if (twice := repeated(sp.csr_matrix(cells.X[positions]))).any():
            raise DesignError(
                f"{key}: {int(twice.sum()):,} of its {len(twice):,} cells have the counts of another of its cells, "
                f"{cells.obs_names[positions[twice][0]]!r} first, and could teach and test: keep each cell once"
            )
    for name, train, test in _transfers(design, sets):
        known, told = (sp.csr_matrix(cells.X[part["position"].to_numpy()]) for part in (train, test))
        genes = np.asarray((known.sum(axis=0) > 0) & (told.sum(axis=0) > 0)).ravel()  # a file may lack some
        if (twice := same_cells(told[:, genes], known[:, genes])).any():
            raise DesignError(
                f"evaluations.classification.transfer.{name}: {int(twice.sum()):,} of the {len(twice):,} cells to test "
                f"have the counts of cells that teach, {test['cell'][twice].iloc[0]!r} first: leave them out of one set"
            )


def _transfers(design: Design, sets: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame]]:
    for name, transfer in design.evaluations.classification.transfer.items():
        yield name, *(sets[sets["dataset"] == one] for one in (transfer.train, transfer.test))
