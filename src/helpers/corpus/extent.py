"""How many cells of which kind a design has, told from labels and file headers: no count is read."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from helpers.design import Design
from helpers.provenance import project_path
from helpers.split import assign_roles, evaluation_table


@dataclass(frozen=True)
class Extent:
    """Numbers of cells and genes of a design.

    `corpus` cells may be learned from, `validation` cells stop the training, those of each evaluation set judge
    (`judged`, by name). Models see `genes`; the corpus has `all_genes`, of which a cell has `nonzeros`.
    """

    corpus: int
    validation: int
    judged: Mapping[str, int]
    genes: int
    all_genes: int
    nonzeros: float

    @property
    def n_judged(self) -> int:
        """Cells of all evaluation sets; one in two sets counts twice."""
        return sum(self.judged.values())


def extent(design: Design, obs: pd.DataFrame) -> Extent:
    """The extent of a design on its cells, with the labels `obs` (n_cells, n_columns) of `corpus.read_source_obs`."""
    roles = assign_roles(obs, design)
    sizes = evaluation_table(obs, roles, design)["dataset"].value_counts() if design.evaluation_sets else {}
    n_genes, nonzeros = _genes(design)
    judged = {name: int(sizes.get(name, 0)) for name in design.evaluation_sets}
    n_corpus, n_validation = (int((roles == role).sum()) for role in ("corpus", "validation"))
    return Extent(n_corpus, n_validation, judged, design.corpus.genes or n_genes, n_genes, nonzeros)


def _genes(design: Design) -> tuple[int, float]:
    """Genes of the source, and mean number of them that a cell has; at most its counts where cells are simulated."""
    import h5py

    if (simulation := design.corpus.simulation) is not None:
        return simulation.n_genes, min(simulation.n_genes, simulation.depth)
    with h5py.File(project_path(design.corpus.path)) as file:
        if isinstance(file["X"], h5py.Dataset):
            return int(file["X"].shape[1]), float(file["X"].shape[1])
        n_cells, n_genes = (int(size) for size in file["X"].attrs["shape"])
        return n_genes, file["X/data"].shape[0] / n_cells
