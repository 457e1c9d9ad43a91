"""Which cells and genes of a SOMA experiment a study takes, and under which names."""

from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from helpers.corpus.census_types import existing, kept_types
from helpers.corpus.checks import check_genes
from helpers.corpus.labels import paired
from helpers.corpus.ontology import Ontology
from helpers.design_sources import Census
from helpers.messages import unknown
from helpers.subset.strata import complete

if TYPE_CHECKING:
    import pyarrow as pa
    from tiledbsoma import DataFrame

GENE_LIST = "scTab's is notebooks/store_creation/features.parquet of theislab/scTab; null takes all genes"


def read_cells(table: "DataFrame", ontology: Ontology | None, settings: Census) -> pd.DataFrame:
    """Labels of the chosen cells, (n_cells, n_columns) under our names, with their soma_joinid, in its order.

    `where` chooses cells, `census_types.kept_types` the types among them. Raises ValueError for columns and values that
    are not there, and if no cell is left.
    """
    obs = _labelled(_chosen(table, settings), settings)
    if settings.min_donors:
        complete(obs, "donor_id")
    if settings.min_donors or settings.min_cells or ontology is not None:
        complete(obs, "cell_type")
        obs = obs[obs["cell_type"].isin(kept_types(obs, ontology, settings))]
    obs = obs.sort_values("soma_joinid", ignore_index=True)
    for column in obs.select_dtypes("category"):
        used = obs[column].cat.remove_unused_categories()
        obs[column] = used.cat.reorder_categories(sorted(used.cat.categories))
    return obs


def read_list(settings: Census) -> pd.Index | None:
    """Names in the list of genes, if there is one. ValueError for a file that is missing, or names a gene twice."""
    if settings.genes is None:
        return None
    path = existing("genes", settings.genes, GENE_LIST)
    if path.suffix in (".parquet", ".csv"):
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype=str, na_filter=False)
        if settings.genes_column not in table:
            known = unknown("column", settings.genes_column, table.columns)
            raise ValueError(f"genes_column: {known} in genes = {settings.genes!r}")
        names = pd.Index(table[settings.genes_column].astype(str))
    else:
        names = pd.Index([line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()])
    twice = names[names.duplicated()].unique()
    if names.empty or len(twice):
        told = f"{len(twice):,} genes stand twice, e.g. {', '.join(twice[:3])}" if len(twice) else "it names no gene"
        raise ValueError(f"genes = {settings.genes!r}: {told}; list each gene once")
    return names


def read_genes(table: "DataFrame", wanted: pd.Index | None, settings: Census) -> pd.Series:
    """Names of the wanted genes, or of all, by their soma_joinid, in its order.

    Raises ValueError for a column or a name that is not there, and for a name that two genes bear.
    """
    column = settings.var_column
    _check_columns(table, {column: "var_column"}, "var")
    var = table.read(column_names=["soma_joinid", column]).concat().to_pandas().sort_values("soma_joinid")
    genes = var.set_index("soma_joinid")[column].astype(str)
    if wanted is not None:
        missing = wanted[~wanted.isin(genes)]
        if len(missing):
            raise ValueError(
                f"genes = {settings.genes!r}: {len(missing):,} of {len(wanted):,} are not in the SOMA's {column}, "
                f"e.g. {', '.join(missing[:3])}: take another list or another var_column"
            )
        genes = genes[genes.isin(wanted)]
    try:
        check_genes(pd.Index(genes))
    except ValueError as error:
        raise ValueError(f"var_column = {column!r}: {error}, or take another column, such as feature_id") from error
    return genes


def _chosen(table: "DataFrame", settings: Census) -> "pa.Table":
    """Those columns that are needed of the cells that `where` names, text as dictionaries.

    The table is read in pieces and compared here, so that a value that no cell has can be named.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    asked = {column: f"obs.{key}" for key, value in settings.obs.items() for column in _columns(value)}
    _check_columns(table, asked | {column: f"where.{column}" for column in settings.where}, "obs")
    accepted = {column: _typed(table, column, values) for column, values in settings.where.items()}
    needed = list(dict.fromkeys(["soma_joinid", *asked]))
    pieces, n_cells, found = [], 0, {column: set() for column in accepted}
    for piece in table.read(column_names=list(dict.fromkeys([*needed, *accepted]))):
        _check_text(piece)
        n_cells += piece.num_rows
        chosen = pa.array(np.ones(piece.num_rows, dtype=bool))
        for column, values in accepted.items():
            matches = pc.is_in(piece[column], value_set=values)
            found[column].update(pc.unique(piece[column].filter(matches)).to_pylist())
            chosen = pc.and_(chosen, matches)
        columns = piece.select(needed).filter(chosen).columns
        text = [pa.types.is_string(values.type) or pa.types.is_large_string(values.type) for values in columns]
        columns = [values.dictionary_encode() if t else values for values, t in zip(columns, text, strict=True)]
        pieces.append(pa.table(columns, names=needed))
    if "where" in settings.model_fields_set:  # not all protocols of the defaults need be there
        for column, values in settings.where.items():
            _check_values(table, column, [value for value in values if value not in found[column]])
    if not any(piece.num_rows for piece in pieces):
        raise ValueError(f"where = {settings.where} leaves none of {n_cells:,} cells: accept other values")
    return pa.concat_tables(pieces).unify_dictionaries()


def _labelled(cells: "pa.Table", settings: Census) -> pd.DataFrame:
    """The same cells under our names, text as categories."""
    obs = {"soma_joinid": cells["soma_joinid"].to_numpy()}
    for key, value in settings.obs.items():
        parts = [cells[column].to_pandas() for column in _columns(value)]
        obs[key] = reduce(paired, [part.astype("category").array for part in parts]) if len(parts) > 1 else parts[0]
    return pd.DataFrame(obs)


def _columns(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _check_columns(table: "DataFrame", asked: dict[str, str], name: str) -> None:
    """Raise ValueError for a column that the SOMA lacks; `asked` says which key asks for it."""
    for column, key in asked.items():
        if column not in table.schema.names:
            raise ValueError(f"{key}: {unknown('column', column, table.schema.names)} in the SOMA's {name}")


def _check_values(table: "DataFrame", column: str, missing: list) -> None:
    """Raise ValueError for a value that no cell has."""
    import pyarrow.compute as pc

    if missing:
        pieces = (pc.unique(piece[column]).to_pylist() for piece in table.read(column_names=[column]))
        there = sorted(map(str, set().union(*pieces) - {None}))
        raise ValueError(f"where.{column}: {unknown('value', missing[0], there[:20])}")


def _check_text(piece: "pa.Table") -> None:
    """Raise ValueError for text that was lost as it was written: codes without their values."""
    import pyarrow as pa

    try:
        piece.validate(full=True)
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"the SOMA's obs is harmed: {error}; tiledbsoma 2.3.0 writes such a table if it is filled while the "
            "collection that it was added to is open: write it anew, after it was closed"
        ) from error


def _typed(table: "DataFrame", column: str, values: list) -> "pa.Array":
    """Accepted values in the type of their column."""
    import pyarrow as pa

    kind = table.schema.field(column).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    try:
        return pa.array(values, type=kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ValueError(f"where.{column} = {values}: the SOMA holds values of type {kind} there") from error
