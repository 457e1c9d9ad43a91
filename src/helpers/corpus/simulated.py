"""A simulated corpus whose truth is known: negative binomial counts of cells of tissues, types, donors and datasets.

Log expression of a gene is base + tissue + type + donor + dataset effect. A softmax over genes, times the depth of the
cell, is the mean of its counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from helpers.design_sources import Simulation
from helpers.provenance import digest

BLOCK = 1024  # cells that share a random generator: any slice of cells is the same, however the cells are read
SHARED_EVERY = 6  # every so many-th type lives in all tissues, as immune cells do; the others in one
MARKERS = 0.05  # share of the genes that a type changes
DISTINCT = (0.6, 1.4)  # range of a type's factor on type_effect: some types are hard to tell from others
GENE_SD = 1.5  # spread of genes around their mean, log scale: with the default depth 28 % of the counts are not 0
DONOR_SIZE_SD = 0.8  # spread of the number of cells of a donor, log scale
DONOR_CONCENTRATION = 15.0  # Dirichlet: how closely the types of a donor follow those of the tissue


@dataclass(frozen=True)
class Truth:
    """The parameters that generate the cells; effects are (n_levels, n_genes) tables of log expression."""

    base: pd.Series  # (n_genes,) log expression before all effects
    tissue: pd.DataFrame
    type: pd.DataFrame  # 0 where a gene is no marker
    donor: pd.DataFrame
    dataset: pd.DataFrame
    datasets: pd.DataFrame  # (n_datasets,): tissue, depth
    donors: pd.DataFrame  # (n_donors,): dataset_id, share of all cells
    types_of_tissue: pd.DataFrame  # (n_tissues, n_types) shares
    types_of_donor: pd.DataFrame  # (n_donors, n_types) shares

    def expression(self, obs: pd.DataFrame) -> np.ndarray:
        """Share of each gene in the expected counts of each cell of `obs`, (n_cells, n_genes), rows sum to 1."""
        log = np.tile(self.base.to_numpy(), (len(obs), 1))
        levels = {"tissue": self.tissue, "cell_type": self.type, "donor_id": self.donor, "dataset_id": self.dataset}
        for column, effect in levels.items():
            log += effect.loc[obs[column].astype(str)].to_numpy()
        shares = np.exp(log - log.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)


def truth(settings: Simulation) -> Truth:
    """The parameters of a simulation: they depend on its settings alone, and not on its number of cells."""
    rng = _rng(settings, "truth")
    genes = _names("gene", settings.n_genes, width=5)
    tissues, types = _names("tissue", settings.n_tissues), _names("type", settings.n_types)
    datasets = pd.DataFrame({"tissue": np.resize(tissues, settings.n_datasets)}, _names("dataset", settings.n_datasets))
    spread = rng.standard_normal(settings.n_datasets)
    datasets["depth"] = settings.depth * np.exp(settings.depth_sd_datasets * (spread - spread.mean()))
    parents = np.repeat(datasets.index, settings.donors_per_dataset)
    of_dataset = np.tile(_names("_donor", settings.donors_per_dataset), settings.n_datasets)
    donors = pd.DataFrame({"dataset_id": parents}, index=parents + of_dataset)
    donors["share"] = _shares(np.exp(DONOR_SIZE_SD * rng.standard_normal(len(donors))))

    rank = np.arange(1, settings.n_types + 1)
    shared = rank % SHARED_EVERY == 0
    home = (np.cumsum(~shared) - 1) % settings.n_tissues
    lives = shared | (home == np.arange(settings.n_tissues)[:, None])
    of_tissue = _shares(lives * rank ** -float(settings.type_tail))
    at = pd.Index(tissues).get_indexer(datasets.loc[donors["dataset_id"], "tissue"])
    of_donor = _shares(rng.standard_gamma(DONOR_CONCENTRATION * of_tissue[at]))  # Dirichlet, zeros stay

    def effect(levels: pd.Index, sd: float) -> pd.DataFrame:
        return pd.DataFrame(sd * rng.standard_normal((len(levels), len(genes))), levels, genes)

    base = pd.Series(GENE_SD * rng.standard_normal(len(genes)), genes)
    markers = rng.random((len(types), len(genes))) < MARKERS
    markers = markers * rng.uniform(*DISTINCT, (len(types), 1))
    return Truth(
        base=base,
        tissue=effect(tissues, settings.tissue_effect),
        type=effect(types, settings.type_effect) * markers,
        donor=effect(donors.index, settings.donor_effect),
        dataset=effect(datasets.index, settings.dataset_effect),
        datasets=datasets,
        donors=donors,
        types_of_tissue=pd.DataFrame(of_tissue, tissues, types),
        types_of_donor=pd.DataFrame(of_donor, donors.index, types),
    )


def sample_obs(settings: Simulation) -> pd.DataFrame:
    """Labels of all cells, (n_cells, n_columns), in the columns of the embedded cells; donors in order, none empty."""
    known, rng = truth(settings), _rng(settings, "obs")
    sizes = 1 + rng.multinomial(settings.n_cells - len(known.donors), known.donors["share"])
    types = known.types_of_donor.columns.to_numpy()
    pairs = zip(sizes, known.types_of_donor.to_numpy(), strict=True)
    cell_type = np.concatenate([rng.choice(types, size, p=shares) for size, shares in pairs])
    donor = np.repeat(known.donors.index, sizes)
    dataset = known.donors["dataset_id"].repeat(sizes).to_numpy()
    columns = {
        "dataset_id": dataset,
        "tissue": known.datasets.loc[dataset, "tissue"].to_numpy(),
        "cell_type": cell_type,
        "cell_type_harmonised": cell_type,
        "batch": dataset,
        "donor_id": donor,
        "perturbation": "control",
    }
    return pd.DataFrame(columns, index=_names("sim_", settings.n_cells, width=7)).astype("category")


def counts(settings: Simulation, obs: pd.DataFrame, rows: slice) -> sp.csr_matrix:
    """Counts of a slice of cells, (n_rows, n_genes) float32: the same however the cells are cut into slices.

    `obs` is the table of all cells from `sample_obs`. Each cell has at least one count. Blocks of 1,024 cells are made
    as a whole: slices that start and end at multiples of it waste nothing, and memory holds one block and the result.
    Raises ValueError for an `obs` of another number of cells, and for slices with steps.
    """
    if len(obs) != settings.n_cells:
        raise ValueError(f"obs holds {len(obs):,} cells, n_cells = {settings.n_cells:,}: all cells are needed")
    start, stop, step = rows.indices(len(obs))
    if step != 1:
        raise ValueError(f"rows = {rows}: a slice without steps is needed")
    blocks = [sp.csr_matrix((0, settings.n_genes), dtype=np.float32)]
    return sp.vstack([*blocks, *_blocks(settings, obs, start, stop)], format="csr")


@dataclass(frozen=True)
class Simulated:
    """A simulation as a source of any size: cells are made as they are read."""

    settings: Simulation
    obs: pd.DataFrame
    genes: pd.Index

    def blocks(self, start: int = 0) -> Iterator[sp.csr_array]:
        return map(sp.csr_array, _blocks(self.settings, self.obs, start, len(self.obs)))

    def fingerprint(self) -> str:
        return digest(self.settings.model_dump())


def open_source(settings: Simulation) -> Simulated:
    """The cells of a simulation; nothing is kept of their counts."""
    return Simulated(settings, sample_obs(settings), _names("gene", settings.n_genes, width=5))


def read(settings: Simulation) -> AnnData:
    """All cells in memory, with the truth beside them.

    `var["base"]` and `varm` hold the log expression and its effects, `uns["truth"]` the tables of datasets, donors and
    shares of types.
    """
    known, obs = truth(settings), sample_obs(settings)
    effects = {f"{name}_effect": getattr(known, name).T for name in ("tissue", "type", "donor", "dataset")}
    tables = ("datasets", "donors", "types_of_tissue", "types_of_donor")
    return AnnData(
        counts(settings, obs, slice(None)),
        obs=obs,
        var=known.base.to_frame("base"),
        varm=effects,
        uns={"truth": {name: getattr(known, name) for name in tables}},
    )


def _blocks(settings: Simulation, obs: pd.DataFrame, start: int, stop: int) -> Iterator[sp.csr_matrix]:
    """Counts of the cells from row `start` to `stop`, block by block."""
    known = truth(settings)
    for block in range(start // BLOCK, -(-stop // BLOCK) if stop > start else 0):
        first = block * BLOCK
        made = _block(settings, known, obs.iloc[first : first + BLOCK], _rng(settings, "counts", block))
        yield made[max(start - first, 0) : stop - first]


def _block(settings: Simulation, known: Truth, obs: pd.DataFrame, rng: np.random.Generator) -> sp.csr_matrix:
    """Counts of the cells of one block, gamma–Poisson."""
    depth = known.datasets.loc[obs["dataset_id"].astype(str), "depth"].to_numpy()
    depth = depth * np.exp(settings.depth_sd_cells * rng.standard_normal(len(obs)))
    mean = known.expression(obs) * depth[:, None]
    drawn = rng.poisson(mean * rng.standard_gamma(1 / settings.dispersion, mean.shape) * settings.dispersion)
    empty = np.flatnonzero(~drawn.any(axis=1))  # only at very low depth
    drawn[empty, mean[empty].argmax(axis=1)] = 1
    return sp.csr_matrix(drawn, dtype=np.float32)


def _rng(settings: Simulation, purpose: str, block: int = 0) -> np.random.Generator:
    key = (("truth", "obs", "counts").index(purpose), block)
    return np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=key))


def _shares(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum(axis=-1, keepdims=True)


def _names(prefix: str, n: int, width: int = 0) -> pd.Index:
    """Numbered from 1, padded so that names sort as numbers do."""
    width = max(width, len(str(n)))
    return pd.Index([f"{prefix}{number:0{width}d}" for number in range(1, n + 1)])
