"""How many cells of which kind a design has, told from labels and its first cells."""

from collections.abc import Mapping
from dataclasses import dataclass

from helpers.corpus import embedded
from helpers.corpus.source import Source
from helpers.design import Design
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


def extent(design: Design, source: Source) -> Extent:
    """The extent of a design on its cells, those of `corpus.open_source`."""
    obs = source.obs
    roles = assign_roles(obs, design)
    sizes = evaluation_table(obs, roles, design)["dataset"].value_counts() if design.evaluation_sets else {}
    n_genes, nonzeros = len(source.genes), _nonzeros(design, source)
    judged = {name: int(sizes.get(name, 0)) for name in design.evaluation_sets}
    n_corpus, n_validation = (int((roles == role).sum()) for role in ("corpus", "validation"))
    return Extent(n_corpus, n_validation, judged, design.corpus.genes or n_genes, n_genes, nonzeros)


def _nonzeros(design: Design, source: Source) -> float:
    """Mean number of genes that a cell has: by the file's header, of the first cells where they come in pieces, or,
    where cells are simulated, at most its counts.
    """
    if (simulation := design.corpus.simulation) is not None:
        return min(simulation.n_genes, simulation.depth)
    if design.corpus.source == "embedded":
        return embedded.nonzeros(design.corpus.path)
    first = next(source.blocks())
    return first.nnz / first.shape[0]
