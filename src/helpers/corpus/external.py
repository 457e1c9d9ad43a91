"""Evaluation sets with a file of their own: brought to the source's genes and columns, and put below its cells."""

import contextlib
from collections.abc import Iterator

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from helpers.corpus.checks import by_name, check_counts, check_genes, check_obs, match
from helpers.corpus.copies import learnable, same_cells
from helpers.design import Design, EvaluationSet
from helpers.messages import unknown
from helpers.models.counts import MOST_MISSING
from helpers.provenance import file_sha256, project_path


def in_source(obs: pd.DataFrame, design: Design) -> np.ndarray:
    """Which cells are of the source, (n_cells,) bool, not of the file of a set."""
    if not design.external:
        return np.ones(len(obs), dtype=bool)
    return ~obs["dataset_id"].isin(set(design.external)).to_numpy()


def check_files(design: Design) -> None:
    """Raise ValueError that lists all missing files of evaluation sets, with their sources."""
    lines = [
        f"evaluation_sets.{name}.path = {entry.path!r}" + (f", from {entry.source}" if entry.source else "")
        for name, entry in design.external.items()
        if not project_path(entry.path).is_file()
    ]
    if lines:
        raise ValueError("\n  ".join([f"missing files of evaluation sets, {len(lines)} in all:", *lines]))


def fingerprints(design: Design) -> dict[str, dict]:
    """What the cells of each set are made from: its file's SHA-256, and how it is read."""
    others = {"source", "at_most", "control", "held_out"}  # do not change what is read
    check_files(design)
    return {
        name: {"sha256": file_sha256(project_path(entry.path)), **entry.model_dump(exclude=others)}
        for name, entry in design.external.items()
    }


def append_obs(obs: pd.DataFrame, design: Design) -> pd.DataFrame:
    """`obs` of the source, (n_cells, n_columns), with the cells of all sets with a file below."""
    tables = [obs]
    for name, entry in design.external.items():
        with _opened(name, entry) as file:
            tables.append(_read_obs(file, name, entry, obs)[0])
    return _joined(tables)


def append(source: AnnData, design: Design) -> AnnData:
    """Cells of the source, (n_cells, n_genes), with those of all sets with a file below, on the source's genes.

    A gene that a file lacks counts as 0; ``uns["missing_genes"]`` holds their share in each set. Raises ValueError for
    a set that lacks over 20 % of the genes, columns or values that are missing, cells without counts, and cells with
    the same counts as some that models may learn from, unless the set says ``seen: transductive``.
    """
    tables, parts, missing = [source.obs], [sp.csr_matrix(source.X)], {}
    pool = parts[0][learnable(source.obs, design)]
    for name, entry in design.external.items():
        with _opened(name, entry) as file:
            obs, rows = _read_obs(file, name, entry, source.obs)
            counts, present = _read_counts(file, rows, entry, source.var_names)
            if entry.seen != "transductive" and (twice := same_cells(counts[:, present], pool[:, present])).any():
                raise ValueError(
                    f"seen = {entry.seen!r}, but {int(twice.sum()):,} of the {len(twice):,} cells have the counts of "
                    f"cells that may be learned from or validate, {obs.index[twice][0]!r} first: leave them out with "
                    "where, or say 'seen: transductive'"
                )
        tables.append(obs)
        parts.append(counts)
        missing[name] = float(1 - present.mean())
    counts = sp.csr_matrix(sp.vstack(parts, format="csr"))
    return AnnData(counts, obs=_joined(tables), var=source.var, uns={**source.uns, "missing_genes": missing})


@contextlib.contextmanager
def _opened(name: str, entry: EvaluationSet) -> Iterator:
    """The file of a set; errors name the set and the file."""
    import h5py

    told = f"evaluation_sets.{name}.path = {entry.path!r}"
    try:
        with h5py.File(project_path(entry.path)) as file:
            yield file
    except (OSError, KeyError) as error:
        raise ValueError(f"{told} is not a readable h5ad file: {error}") from error
    except ValueError as error:
        raise ValueError(f"{told}: {error}") from error


def _read_obs(file, name: str, entry: EvaluationSet, source: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """The chosen cells' `obs` by name, under the names of the source's columns, and their rows in the file."""
    from anndata.io import read_elem

    if (source["dataset_id"].astype(str) == name).any():
        raise ValueError(f"the corpus has a dataset {name!r}, too: choose another name for the set")
    obs = read_elem(file["obs"])
    rows = np.flatnonzero(match(obs, entry.where or {}, "where"))
    rows = rows[by_name(obs.index[rows])]
    obs, values = obs.iloc[rows], {}
    for key in ("label", "batch", "perturbation", "context"):
        column = getattr(entry, key)
        if column is None:
            continue
        if column not in obs:
            raise ValueError(f"{key}: {unknown('column of obs', column, obs.columns)}")
        if missing := int(obs[column].isna().sum()):
            told = f"{key} = {column!r} has no value for {missing:,} of {len(obs):,} cells"
            raise ValueError(f"{told}: choose the others with where, or fill it in")
        values[key] = obs[column].astype(str).to_numpy(dtype=object)
    columns = {"dataset_id": name, "cell_type": values["label"], "cell_type_harmonised": values["label"]}
    columns["batch"] = name + "_" + values["batch"] if "batch" in values else name
    columns |= {key: values[key] for key in ("perturbation", "context") if key in values}
    table = pd.DataFrame(columns, index=name + "_" + obs.index.astype(str))
    check_obs(table, [])
    return table, rows


def _joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Tables below one another; text is categories, so that cells without a value can be written."""
    obs = pd.concat(tables)
    check_obs(obs, [])
    return obs.astype({column: "category" for column in obs if obs[column].dtype == object})


def _read_counts(file, rows: np.ndarray, entry: EvaluationSet, genes: pd.Index) -> tuple[sp.csr_matrix, np.ndarray]:
    """Raw counts (n_cells, n_genes) on the source's genes, and which of these the file has, (n_genes,) bool.

    Where X is no counts, they are taken from `raw`, as in files of CELLxGENE.
    """
    from anndata.io import read_elem

    counts, var = sp.csr_matrix(read_elem(file["X"]), dtype=np.float32), read_elem(file["var"])
    if "raw" in file and (counts.data % 1).any():
        counts, var = sp.csr_matrix(read_elem(file["raw/X"]), dtype=np.float32), read_elem(file["raw/var"])
    if entry.genes is not None and entry.genes not in var:
        raise ValueError(f"genes: {unknown('column of var', entry.genes, var.columns)}")
    names = pd.Index((var.index if entry.genes is None else var[entry.genes]).astype(str))
    kept = np.flatnonzero(names.isin(genes))
    check_genes(names[kept])
    present = genes.isin(names)
    if (missing := int((~present).sum())) > MOST_MISSING * len(genes):
        raise ValueError(
            f"{missing:,} of the corpus's {len(genes):,} genes ({missing / len(genes):.1%}) are missing, such as "
            f"{', '.join(genes[~present][:3])}; at most {MOST_MISSING:.0%} may be. Gene names may stand in a column of "
            f"var, to be named by genes; there are: {', '.join(map(str, var.columns)) or 'none'}"
        )
    places = (np.ones(len(kept), dtype=np.float32), (kept, genes.get_indexer(names[kept])))
    aligned = sp.csr_matrix(counts[rows] @ sp.csr_matrix(places, shape=(len(names), len(genes))))
    check_counts(aligned)
    return aligned, present
