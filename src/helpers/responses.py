"""The cells of a design's perturbation tasks: of its treated cells, and of evaluation sets with a file of their own."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData

from helpers.corpus.checks import match
from helpers.corpus.external import in_source
from helpers.design import Design, DesignError
from helpers.evaluate.perturbation_task import Task, in_turn, read_task, training_conditions

CONTROL, TREATED = "control", "treated"


@dataclass(frozen=True)
class ResponseCells:
    """Cells of one dataset of results: sorted `positions` (n,) in the corpus; `obs` (n,) with `perturbation`, of which
    `control` marks untreated cells, and `context`; `folds`, what is held out together, one after the other: contexts,
    perturbations, or pairs of both, as `split` says; `left_out`, treatments that too few contexts have for one to be
    held out, whose cells are not among these.
    """

    positions: np.ndarray
    obs: pd.DataFrame
    control: str
    folds: tuple[tuple[str | tuple[str, str], ...], ...]
    split: str = "context"
    left_out: tuple[str, ...] = ()


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
            key = f"evaluation_sets.{name}"
            if entry.split == "context":
                folds = tuple((context,) for context in entry.held_out)
                found[name] = _judgeable(positions, table, control, folds, key, task.min_cells)
                continue
            folds = entry.held_out
            if not folds and control in set(table["perturbation"]):
                folds = in_turn(table, control=control, split=entry.split, min_cells=task.min_cells)
            found[name] = ResponseCells(positions, table, control, tuple((one,) for one in folds), entry.split)
            _check(found[name], key, task.min_cells)
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
        folds, key = (tuple(where[task.context]),), f"perturbation.held_out.{name}"
        found[name] = _judgeable(positions, table, CONTROL, folds, key, task.min_cells)
    return found


def _judgeable(
    positions: np.ndarray,
    table: pd.DataFrame,
    control: str,
    folds: tuple[tuple[str, ...], ...],
    key: str,
    min_cells: int,
) -> ResponseCells:
    """What of the cells can be judged; without `folds` each context with enough cells is held out in turn.

    Raises DesignError for a context that is held out and has too few cells, or leaves too little to learn from.
    """
    values = sorted(set(table["perturbation"]))
    if control not in values:
        raise DesignError(f"{key}.control = {control!r} marks no cell; there are: {', '.join(values)}")
    usable = _usable(table, control, min_cells)
    contexts = sorted(set().union(*usable.values()))
    least = f"evaluations.perturbation.min_cells = {min_cells}"
    for context in (one for fold in folds for one in fold if one not in contexts):
        n_control, n_treated = (
            int((table["context"].eq(context) & of).sum())
            for of in (table["perturbation"].eq(control), table["perturbation"].ne(control))
        )
        raise DesignError(
            f"{key}: {context} has {n_control} control cells that no model learns from and {n_treated} "
            f"treated ones; {least}"
        )
    tried = folds or tuple((context,) for context in contexts)
    left_out = tuple(
        treatment
        for treatment, there in usable.items()
        if any(there & {*fold} and len(there - {*fold}) < 2 for fold in tried)
    )
    judged = set().union(*(there for treatment, there in usable.items() if treatment not in left_out))
    folds = folds or tuple((context,) for context in sorted(judged))
    if not folds or any(not judged.issuperset(fold) for fold in folds):
        raise DesignError(
            f"{key}: contexts with enough cells are {', '.join(contexts) or 'none'}; two beside those that "
            f"are held out are needed for each treatment, {least}"
        )
    kept = ~table["perturbation"].isin(left_out).to_numpy()
    return ResponseCells(positions[kept], table[kept], control, folds, left_out=left_out)


def _usable(table: pd.DataFrame, control: str, min_cells: int) -> dict[str, set[str]]:
    """For each treatment the contexts with enough cells of it, and enough control cells."""
    sizes = pd.crosstab(table["context"], table["perturbation"])
    enough = sizes.loc[sizes[control] >= min_cells] >= min_cells
    return {treatment: set(enough.index[enough[treatment]]) for treatment in sizes.columns.drop(control)}


def _check(cells: ResponseCells, key: str, min_cells: int) -> None:
    """Raise DesignError for a fold that holds out what is not there or leaves too little to learn from."""
    values = sorted(set(cells.obs["perturbation"]))
    if cells.control not in values:
        raise DesignError(f"{key}.control = {cells.control!r} marks no cell; there are: {', '.join(values)}")
    least = f"evaluations.perturbation.min_cells = {min_cells}, and no model may have learned from the control cells"
    if not cells.folds:
        raise DesignError(f"{key}: no {cells.split} has enough control and treated cells to be held out; {least}")
    options = {"control": cells.control, "split": cells.split, "min_cells": min_cells}
    for fold in cells.folds:
        try:
            training_conditions(cells.obs, held_out=fold, **options)
        except ValueError as error:
            raise DesignError(f"{key}: {error}; {least}") from error


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
            task = read_task(part, **columns, held_out=fold, split=one.split, min_cells=min_cells)
            tasks.append(ResponseTask(name, task, one.positions[task.control_rows]))
    return tasks
