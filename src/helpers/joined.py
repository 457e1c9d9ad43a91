"""Evaluation sets taken together: one that teaches and one that tests, or several whose batches are compared."""

import pandas as pd

from helpers.design import DesignError
from helpers.design_evaluations import IntegrationSet, Transfer


def transfer_cells(obs: pd.DataFrame, sets: pd.DataFrame, name: str, transfer: Transfer) -> pd.DataFrame:
    """Cells of two evaluation sets, one of which teaches (`train` True) and one tests, of the types that both have.

    `obs` holds the cells of `sets` by name, `sets` is the table of the evaluation sets; `label` becomes the type by the
    column of the transfer. Cells without a label there are left out. Raises DesignError for a column that is not there,
    for cells in both sets, and for sets that share no type.
    """
    key = f"evaluations.classification.transfer.{name}"
    _check_column(obs, transfer.label, key)
    sides = {side: sets[sets["dataset"] == getattr(transfer, side)] for side in ("train", "test")}
    both = pd.concat([part.assign(train=side == "train") for side, part in sides.items()])
    if twice := int(both["cell"].duplicated().sum()):
        raise DesignError(
            f"{key}: {twice:,} cells are in {transfer.train} and in {transfer.test}: a cell cannot do both"
        )
    labels = obs[transfer.label].reindex(both["cell"])
    both = both.assign(dataset=name, label=labels.astype(str).to_numpy())[labels.notna().to_numpy()]
    types = {side: set(both.loc[both["train"] == (side == "train"), "label"]) for side in sides}
    shared = types["train"] & types["test"]
    if not shared:
        told = [f"{getattr(transfer, side)} has {', '.join(sorted(types[side])[:5]) or 'none'}" for side in types]
        raise DesignError(
            f"{key}: no type by {transfer.label!r} is in both sets; {'; '.join(told)}: name another label"
        )
    return both[both["label"].isin(shared).to_numpy()]


def integration_cells(obs: pd.DataFrame, sets: pd.DataFrame, name: str, entry: IntegrationSet) -> pd.DataFrame:
    """Cells of evaluation sets taken together, each once, with their `label` and `batch` by the columns of the entry.

    Parameters as in `transfer_cells`. Raises DesignError for columns or values that are not there, and for cells of too
    few types or batches, or none of whose types has two batches, if batches are to mix.
    """
    key = f"evaluations.integration.sets.{name}"
    part = sets[sets["dataset"].isin(entry.sets)].drop_duplicates("position")
    for column, own in (("label", entry.label), ("batch", entry.batch)):
        _check_column(obs, own, key)
        values = obs[own].reindex(part["cell"])
        if missing := int(values.isna().sum()):
            raise DesignError(f"{key}: {missing:,} of its cells have no {own}")
        part = part.assign(**{column: values.astype(str).to_numpy()})
        least = 1 if column == "batch" and entry.mixing == "none" else 2
        if len(found := part[column].unique()) < least:
            raise DesignError(f"{key}: its cells have one {own}, {found[0]!r}; at least {least} are needed")
    if entry.mixing != "none":
        of_types = part.groupby("label")["batch"].agg(["nunique", "size"])
        if not ((of_types["nunique"] > 1) & (of_types["nunique"] < of_types["size"])).any():
            raise DesignError(
                f"{key}: no type by {entry.label!r} has cells in two batches by {entry.batch!r}, one of them twice, so "
                "that mixing cannot be judged: name other columns, or say 'mixing: none' to judge types alone"
            )
    return part


def _check_column(obs: pd.DataFrame, column: str, key: str) -> None:
    if column not in obs:
        raise DesignError(f"{key}: no column {column!r}; obs has: {', '.join(map(str, obs.columns))}")
