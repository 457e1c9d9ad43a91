"""The cells of a design's perturbation tasks: of its treated cells, and of evaluation sets with a file of their own."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData

from helpers.corpus.checks import match
from helpers.corpus.external import in_source
from helpers.design import Design, DesignError
from helpers.evaluate.perturbation_task import Task, read_task

CONTROL, TREATED = "control", "treated"


@dataclass(frozen=True)
class ResponseCells:
    """Cells of one dataset of results: sorted `positions` (n,) in the corpus; `obs` (n,) with `perturbation`, of which
    `control` marks untreated cells, and `context`; `folds`, contexts that are held out together, one after the other.
    """

    positions: np.ndarray
    obs: pd.DataFrame
    control: str
    folds: tuple[tuple[str, ...], ...]


class ResponseTask(NamedTuple):
    """A task of a dataset, and the positions (n_controls,) of the control cells that a model embeds for it."""

    dataset: str
    task: Task
    positions: np.ndarray


def response_cells(obs: pd.DataFrame, roles: pd.Series, sets: pd.DataFrame, design: Design) -> dict[str, ResponseCells]:
    """Cells of each perturbation task, by the name that it has among the datasets of the results.

    `obs` (n_cells, n_columns) and `roles` (n_cells,) are of the corpus, `sets` is the table of the evaluation sets.
    Control cells are those of a set that no model learned from. Raises DesignError for columns and values that are not
    there, and for contexts with too few cells.
    """
    task = design.evaluations.perturbation
    if task is None:
        return {}
    found = {} if task.control is None else _of_the_corpus(obs, roles, sets, design)
    for name, entry in design.external.items():
        if entry.context is not None:
            positions = np.sort(sets.loc[sets["dataset"] == name, "position"].to_numpy())
            table = obs.iloc[positions][["perturbation", "context"]].astype(str)
            control = entry.control or CONTROL
            usable = _usable(table, control, task.min_cells)
            folds = tuple((context,) for context in entry.held_out or usable)
            found[name] = ResponseCells(positions, table, control, folds)
            _check(found[name], f"evaluation_sets.{name}", task.min_cells)
    return found


def _of_the_corpus(obs: pd.DataFrame, roles: pd.Series, sets: pd.DataFrame, design: Design) -> dict[str, ResponseCells]:
    task, source = design.evaluations.perturbation, in_source(obs, design)
    if task.context not in obs:
        raise DesignError(f"evaluations.perturbation.context = {task.context!r}: no such column")
    treated = match(obs, design.perturbation.where, "perturbation.where", among=source)
    control = match(obs, task.control, "evaluations.perturbation.control", among=source)
    control &= (roles == "evaluation").to_numpy() & ~treated & np.isin(np.arange(len(obs)), sets["position"])
    if not control.any():
        raise DesignError(
            f"evaluations.perturbation.control = {task.control} names no cell of an evaluation set that no model "
            "learns from"
        )
    positions = np.flatnonzero((treated | control) & obs[task.context].notna().to_numpy())
    columns = {"perturbation": np.where(treated[positions], TREATED, CONTROL)}
    table = pd.DataFrame(columns, index=obs.index[positions])
    table["context"] = obs[task.context].iloc[positions].astype(str)
    found = {}
    for name, where in design.perturbation.held_out.items():
        found[name] = ResponseCells(positions, table, CONTROL, (tuple(where[task.context]),))
        _check(found[name], f"perturbation.held_out.{name}", task.min_cells)
    return found


def _usable(table: pd.DataFrame, control: str, min_cells: int) -> list[str]:
    """Contexts with enough control cells, and enough of some treatment."""
    sizes = pd.crosstab(table["context"], table["perturbation"])
    if control not in sizes:
        return []
    enough = (sizes[control] >= min_cells) & (sizes.drop(columns=control).max(axis=1) >= min_cells)
    return sorted(sizes.index[enough])


def _check(cells: ResponseCells, key: str, min_cells: int) -> None:
    """Raise DesignError for a fold that holds out what is not there or leaves too little to learn from."""
    values = sorted(set(cells.obs["perturbation"]))
    if cells.control not in values:
        raise DesignError(f"{key}.control = {cells.control!r} marks no cell; there are: {', '.join(values)}")
    usable = _usable(cells.obs, cells.control, min_cells)
    least = f"evaluations.perturbation.min_cells = {min_cells}"
    for fold in cells.folds:
        for context in fold:
            if context not in usable:
                n = [int(cells.obs["context"].eq(context)[of].sum()) for of in _sides(cells)]
                raise DesignError(
                    f"{key}: {context} has {n[0]} control cells that no model learns from and {n[1]} "
                    f"treated ones; {least}"
                )
    if any(len(set(usable) - set(fold)) < 2 for fold in cells.folds or [()]):
        raise DesignError(
            f"{key}: contexts with enough cells are {', '.join(usable) or 'none'}; two beside those that "
            f"are held out are needed, {least}"
        )


def _sides(cells: ResponseCells) -> tuple[pd.Series, pd.Series]:
    control = cells.obs["perturbation"] == cells.control
    return control, ~control


def response_tasks(
    cells: AnnData, positions: np.ndarray, found: dict[str, ResponseCells], *, min_cells: int
) -> list[ResponseTask]:
    """The tasks of all datasets, in order; `cells` (n_positions, n_genes) are raw counts at sorted `positions`."""
    tasks = []
    for name, one in found.items():
        part = cells[np.searchsorted(positions, one.positions)].copy()
        part.obs = one.obs
        columns = {"control": one.control, "perturbation": "perturbation", "context": "context"}
        for fold in one.folds:
            task = read_task(part, **columns, held_out=fold, min_cells=min_cells)
            tasks.append(ResponseTask(name, task, one.positions[task.control_rows]))
    return tasks
