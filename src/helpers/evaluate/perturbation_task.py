"""Which cells teach the response to a perturbation and which test it: from any AnnData with control and treated cells.

Cells are sorted by name before anything is drawn, so that results do not depend on their order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from helpers.messages import unknown
from helpers.models.counts import log_cp10k, raw_counts

SPLITS = {"context": (0,), "perturbation": (1,), "both": (0, 1)}  # fields of a Condition that are held out


class Condition(NamedTuple):
    context: str
    perturbation: str


@dataclass(frozen=True)
class Task:
    """Control and treated cells with the conditions to predict; see `read_task`.

    `cells` has a row per cell, the control cells first and each part sorted by name: `context`, `perturbation`, `row`
    (in the AnnData); `expression` is their log1p CP10k (n_cells, n_genes). `training` holds, for each held-out
    condition, those to learn from; `axis` is the column whose values are left out in turn to choose a penalty.
    """

    cells: pd.DataFrame
    expression: sp.csr_array
    genes: pd.Index
    control: str
    training: dict[Condition, tuple[Condition, ...]]
    axis: str

    @property
    def control_rows(self) -> np.ndarray:
        """Rows of the AnnData (n_controls,) to embed, in the order that heads expect."""
        return self.cells.loc[self.cells["perturbation"] == self.control, "row"].to_numpy()

    def rows(self, condition: Condition, *, control: bool = False) -> np.ndarray:
        """Positions in `cells` of the condition, or of its context's control cells, which index an embedding too."""
        wanted = self.control if control else condition.perturbation
        return self._positions.get((condition.context, wanted), np.array([], dtype=np.intp))

    @cached_property
    def _positions(self) -> dict[tuple[str, str], np.ndarray]:
        return self.cells.groupby(["context", "perturbation"], sort=False).indices


def read_task(
    adata: AnnData,
    *,
    control: str,
    perturbation: str,
    context: str,
    held_out: Sequence[str | tuple[str, str]],
    split: str = "context",
    min_cells: int = 20,
) -> Task:
    """Task of predicting treated cells from control cells.

    Parameters
    ----------
    adata
        (n_cells, n_genes) raw counts of one experiment: control cells of a context are pooled.
    control
        Value of the column `perturbation` that marks untreated cells.
    perturbation, context
        Columns of `obs`; cells that lack either are left aside.
    held_out
        Contexts, predicted from the other contexts under the same perturbation; perturbations, predicted from all
        others; for "both" pairs (context, perturbation), predicted from conditions that share neither with any pair.
    min_cells
        Conditions with fewer control or treated cells are not used.

    Raises
    ------
    ValueError
        Missing column or value, repeated cell names, a held-out entry with too few cells, fewer than two contexts
        (perturbations, if these are held out) to learn from, values that are no counts.
    """
    if split not in SPLITS:
        raise ValueError(unknown("split", split, SPLITS))
    if min_cells < 4:
        raise ValueError(f"min_cells = {min_cells}: use 4 or more, since both halves of the treated cells need two")
    if isinstance(held_out, str) or not len(held_out):
        raise ValueError(f"held_out = {held_out!r}: a list of at least one entry is needed")
    if not adata.obs_names.is_unique:
        twice = adata.obs_names[adata.obs_names.duplicated()][0]
        raise ValueError(f"cell {twice!r} stands twice in obs_names; make them unique")
    for column in (perturbation, context):
        if column not in adata.obs:
            raise ValueError(unknown("obs column", column, adata.obs.columns))
    cells = pd.DataFrame({"context": adata.obs[context], "perturbation": adata.obs[perturbation]}, dtype=object)
    cells = cells.assign(row=np.arange(adata.n_obs)).dropna().astype({"context": str, "perturbation": str}).sort_index()
    if control not in set(cells["perturbation"]):
        raise ValueError(unknown(f"control in obs[{perturbation!r}]", control, sorted(set(cells["perturbation"]))))
    same = training_conditions(cells, control=control, held_out=held_out, split=split, min_cells=min_cells)
    axis = _axis(split)
    used = set(same).union(*same.values())
    used |= {Condition(condition.context, control) for condition in used}
    cells = cells[[pair in used for pair in zip(cells["context"], cells["perturbation"], strict=True)]]
    cells = cells.sort_values("perturbation", key=lambda names: names != control, kind="stable")
    expression = log_cp10k(raw_counts(adata[cells["row"].to_numpy()]))
    return Task(cells, expression, adata.var_names, control, {c: tuple(others) for c, others in same.items()}, axis)


def condition_sizes(cells: pd.DataFrame, control: str) -> dict[Condition, tuple[int, int]]:
    """Numbers of control and of treated cells of each context under each treatment.

    `cells` (n_cells, …) has `context` and `perturbation`, of which `control` marks untreated cells.
    """
    sizes = pd.crosstab(cells["context"], cells["perturbation"])
    return {
        Condition(context, treatment): (int(row[control]), int(row[treatment]))
        for context, row in sizes.iterrows()
        for treatment in sizes.columns.drop(control)
    }


def in_turn(cells: pd.DataFrame, *, control: str, split: str, min_cells: int) -> list[str | tuple[str, str]]:
    """What can be held out of `cells`, sorted: contexts, perturbations or pairs of both with enough cells."""
    usable = [one for one, sizes in condition_sizes(cells, control).items() if min(sizes) >= min_cells]
    named = sorted({tuple(condition[field] for field in SPLITS[split]) for condition in usable})
    return named if split == "both" else [name for (name,) in named]


def training_conditions(
    cells: pd.DataFrame, *, control: str, held_out: Sequence[str | tuple[str, str]], split: str, min_cells: int
) -> dict[Condition, list[Condition]]:
    """The conditions to predict, sorted, and those that teach each; see `read_task`, whose ValueErrors these are."""
    n_cells = condition_sizes(cells, control)
    usable = [condition for condition, numbers in n_cells.items() if min(numbers) >= min_cells]
    fields, axis = SPLITS[split], _axis(split)
    tested = {condition for entry in held_out for condition in _named(entry, split, n_cells, usable, min_cells)}
    barred = [{condition[field] for condition in tested} for field in fields]
    rest = [c for c in usable if not any(c[field] in names for field, names in zip(fields, barred, strict=True))]
    same = {
        c: [one for one in rest if split != "context" or one.perturbation == c.perturbation] for c in sorted(tested)
    }
    for condition, others in same.items():
        left = sorted({getattr(other, axis) for other in others})
        if len(left) < 2:
            told = f"held_out = {list(held_out)!r} leaves {len(left)} training {axis}(s) {left} for {tuple(condition)}"
            raise ValueError(f"{told}; at least 2 with {min_cells} control and treated cells are needed: hold out less")
    return same


def _axis(split: str) -> str:
    """The field of a condition whose values are left out in turn to choose a penalty."""
    return "perturbation" if split == "perturbation" else "context"


def restricted(task: Task, treated: np.ndarray) -> Task:
    """The task with all its control cells and only those treated cells that a head is to learn from.

    `treated` are their positions in `task.cells`, (n_treated,) without repeats. Conditions that are left without a
    cell teach no more. The treated cells of conditions to predict are gone, so that no head can read them; an embedding
    of `task.control_rows` fits as it is.

    Raises ValueError for cells that the task does not teach with, repeats, and a condition to predict that nothing
    teaches any more.
    """
    treated = np.asarray(treated)
    teaching = np.concatenate([task.rows(one) for one in sorted(set().union(*task.training.values()))])
    wrong = np.setdiff1d(treated, teaching)
    if len(wrong):
        told = f"{len(wrong)} of {len(treated)} positions are no treated training cells, e.g. {wrong[0]}"
        raise ValueError(
            f"treated: {told}; {len(teaching)} cells teach the task, see rows() of its training conditions"
        )
    if len(np.unique(treated)) < len(treated):
        raise ValueError(
            f"treated: {len(treated) - len(np.unique(treated))} positions stand twice; a cell teaches once"
        )
    kept = np.concatenate([np.flatnonzero(task.cells["perturbation"] == task.control), np.sort(treated)])
    cells = task.cells.iloc[kept]
    left = {Condition(*pair) for pair in zip(cells["context"], cells["perturbation"], strict=True)}
    training = {one: tuple(other for other in others if other in left) for one, others in task.training.items()}
    for condition, others in training.items():
        if not others:
            raise ValueError(f"treated: none of the {len(treated)} cells teaches {tuple(condition)}")
    return replace(task, cells=cells, expression=task.expression[kept], training=training)


def _named(entry, split: str, n_cells: dict, usable: list[Condition], min_cells: int) -> list[Condition]:
    """Usable conditions that an entry of `held_out` names."""
    key = (entry,) if isinstance(entry, str) else tuple(entry)
    named = [condition for condition in n_cells if tuple(condition[field] for field in SPLITS[split]) == key]
    if not named:
        known = sorted({", ".join(condition[field] for field in SPLITS[split]) for condition in n_cells})
        raise ValueError(unknown(f"held-out {split}", entry if isinstance(entry, str) else ", ".join(entry), known))
    if not (found := [condition for condition in named if condition in usable]):
        n_control, n_treated = max((n_cells[condition] for condition in named), key=min)
        told = f"{n_control} control and {n_treated} treated cells"
        raise ValueError(f"held_out = {entry!r} has {told}; at least {min_cells} of each are needed")
    return found
