"""How the public files are laid out, and which of their cells make a set."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from helpers.messages import unknown
from helpers.prepare import archive, entries, h5ad
from helpers.prepare.table import CONTROL, DRUGS, LINES, PublicSet
from helpers.prepare.writing import Part

COUNTS, CELLS, GENES = "Exp_data_UMIcounts.mtx", "Cells.csv", "Genes.txt"  # of an archive of 3CA
UNTARGETED = "non-targeting"


def cellxgene(entry: PublicSet, paths: Sequence[Path]) -> list[Part]:
    """Files of CELLxGENE, all cells: counts in `raw`, or in X where there is none; symbols in ``feature_name``."""
    return [
        _of_h5ad(path, one.key, genes="feature_name", needed=entry.columns)
        for one, path in zip(entry.downloads, paths, strict=True)
    ]


def plates(entry: PublicSet, paths: Sequence[Path]) -> list[Part]:
    """Plates of Tahoe-100M, or what `treated` took of them: cells of the set's drug and of the control.

    Raises ValueError unless each line has cells of both.
    """
    keys = [one.key for one in entry.downloads]
    parts = [treated(path, key, (CONTROL, entry.drug)) for key, path in zip(keys, paths, strict=True)]
    there = {pair for part in parts for pair in zip(part.obs["drug"], part.obs["cell_name"], strict=True)}
    if lacking := [
        f"{drug} in {line}" for drug in (entry.drug, CONTROL) for line in LINES if (drug, line) not in there
    ]:
        raise ValueError(f"the plates hold no cell of {', '.join(lacking)}: are all of them there?")
    return [part for part in parts if len(part.rows)]


def treated(path: Path, key: str = "", drugs: Sequence[str] = (CONTROL, *DRUGS.values())) -> Part:
    """Cells of a plate under any of the drugs, in the study's four lines."""
    where = {"drug": tuple(drugs), "cell_name": LINES}
    return _of_h5ad(path, key, genes=None, needed=tuple(where), where=where)


def screens(entry: PublicSet, paths: Sequence[Path]) -> list[Part]:
    """Raw single cells of Replogle 2022: those whose guide targets a gene, with the columns of a corpus."""
    parts = []
    for one, path in zip(entry.downloads, paths, strict=True):
        part = _of_h5ad(path, one.key, genes="gene_name", needed=("gene", "gem_group"))
        chosen = np.flatnonzero(part.obs["gene"] != UNTARGETED)
        obs = part.obs.iloc[chosen]
        dataset = f"replogle_{one.key}"
        columns = {
            "dataset_id": dataset,
            "cell_type": one.key.split("_")[0].upper(),
            "batch": f"{dataset}_" + obs["gem_group"].astype(str),
            "perturbation": obs["gene"],
        }
        parts.append(Part(part.name, pd.DataFrame(columns, index=obs.index), part.rows[chosen], part.genes, part.read))
    return parts


def atlas(entry: PublicSet, paths: Sequence[Path]) -> list[Part]:
    """An archive of 3CA: a Matrix Market file of genes × cells, a table of cells and a list of genes."""
    path = paths[0]
    with archive.member(path, CELLS) as handle:
        obs = pd.read_csv(handle, low_memory=False)
    for column in ("cell_name", *entry.columns):
        if column not in obs:
            raise ValueError(f"{path}: {unknown(f'column of {CELLS}', column, obs.columns)}")
    with archive.member(path, GENES) as handle:
        genes = pd.read_csv(handle, sep="\t", header=None, usecols=[0], dtype=str, keep_default_na=False)[0]
    rows = np.flatnonzero(obs["cell_type"].notna())
    chosen = obs.iloc[rows].set_index("cell_name")
    return [Part(path.name, chosen, rows, pd.Index(genes), partial(_of_archive, path, (len(obs), len(genes))))]


LAYOUTS = {"cellxgene": cellxgene, "plates": plates, "screens": screens, "atlas": atlas}


def _of_h5ad(
    path: Path,
    key: str,
    *,
    genes: str | None,
    needed: tuple[str, ...],
    where: dict[str, tuple[str, ...]] | None = None,
) -> Part:
    """Cells of an h5ad file whose `obs` holds the values of `where`; names of cells get the key in front."""
    with h5ad.opened(path) as file:
        place = h5ad.counts_in(file)
        if f"{place}X" not in file:
            raise ValueError(f"{path} has neither X nor raw/X")
        names = h5ad.gene_names(file[f"{place}var"], genes, path)
        obs, rows = h5ad.read_obs(file["obs"], path, needed, where or {})
    if key:
        obs.index = f"{key}_" + obs.index.astype(str)
    return Part(f"{path.name}, {place}X", obs, rows, names, partial(h5ad.blocks, path))


def _of_archive(path: Path, shape: tuple[int, int], rows: np.ndarray) -> Iterator[sp.csr_matrix]:
    with archive.member(path, COUNTS) as handle:
        listed = entries.of_matrix_market(handle, shape, f"{path}: {COUNTS}")
        yield from entries.by_cells(listed, shape, rows, path.parent)
