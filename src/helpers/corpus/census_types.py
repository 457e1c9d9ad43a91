"""Which cell types a study of the Census takes: by their place in the Cell Ontology, their cells and their donors."""

from pathlib import Path

import pandas as pd

from helpers.corpus.ontology import Ontology, read_obo
from helpers.design_sources import Census
from helpers.provenance import project_path

CELL_ONTOLOGY = (
    "take cl-simple.obo of v2023-05-22 from the releases of obophenotype/cell-ontology, for scTab's types; "
    "the newest version is http://purl.obolibrary.org/obo/cl.obo"
)
NO_TYPE = "unknown"  # what the Census writes for cells without a type; no term of the ontology


def kept_types(obs: pd.DataFrame, ontology: Ontology | None, settings: Census) -> list[str]:
    """Cell types that keep every rule, each rule applied to all cells of `obs` (n_cells, cell_type and donor_id).

    Raises ValueError if none does, and for terms that the ontology lacks.
    """
    cells = obs["cell_type"].value_counts()
    cells = cells[cells > 0]
    rules = {f"at least {settings.min_cells:,} cells": cells >= settings.min_cells}
    if settings.min_donors:
        donors = obs[["cell_type", "donor_id"]].drop_duplicates()["cell_type"].value_counts()
        rules[f"at least {settings.min_donors:,} donors"] = donors >= settings.min_donors
    if ontology is not None:
        above = pd.Series(_above(ontology, list(cells.index), settings))
        root = ontology.ids[settings.descends_from]
        rules[f"a place under {settings.descends_from!r}"] = above.map(lambda terms: root in terms)
        rules[f"at least {settings.min_ancestors} ancestors"] = above.map(len) >= settings.min_ancestors
    keeps = pd.DataFrame({rule: kept.reindex(cells.index.astype(str)) for rule, kept in rules.items()})
    if not keeps.all(axis=1).any():
        told = ", ".join(f"{int(keeps[rule].sum()):,} have {rule}" for rule in keeps)
        raise ValueError(
            f"no cell type is left: of {len(keeps):,}, {told}; lower min_cells, min_donors or min_ancestors"
        )
    return list(keeps.index[keeps.all(axis=1)])


def read_ontology(settings: Census) -> Ontology | None:
    """The ontology that the settings name, if any. ValueError for a file that is missing, or no ontology."""
    if settings.ontology is None:
        return None
    file = existing("ontology", settings.ontology, CELL_ONTOLOGY)
    try:
        return read_obo(file)
    except ValueError as error:
        raise ValueError(f"ontology = {settings.ontology!r}: {error}; {CELL_ONTOLOGY}") from error


def existing(key: str, path: str, origin: str) -> Path:
    """The file that a key names; ValueError, with where to get it, if there is none."""
    file = project_path(path)
    if not file.is_file():
        raise ValueError(f"{key} = {path!r}: no such file; {origin}")
    return file


def _above(ontology: Ontology, types: list[str], settings: Census) -> dict[str, set[str]]:
    """Terms above each type; none above `NO_TYPE`."""
    if settings.descends_from not in ontology.ids:
        raise ValueError(
            f"descends_from = {settings.descends_from!r}: no term of {settings.ontology!r} has this name"
            f"{ontology.nearest(settings.descends_from)}; 'native cell' is obsolete since autumn 2023: take an older "
            "version, or 'cell'"
        )
    strange = [name for name in types if name not in ontology.ids and name != NO_TYPE]
    if strange:
        raise ValueError(
            f"ontology = {settings.ontology!r} does not know {len(strange):,} of {len(types):,} cell types, e.g. "
            f"{', '.join(map(repr, strange[:3]))}: take the version that the cells were labelled with"
        )
    return {name: ontology.ancestors(name) if name in ontology.ids else set() for name in types}
