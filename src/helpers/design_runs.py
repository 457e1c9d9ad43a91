"""The runs of a design: one model each, on one subset of the corpus."""

from dataclasses import dataclass

UNTRAINED = "untrained"
NO_STRATEGY, BASELINES = "none", "baselines"  # in place of a strategy and a family, where notebooks are named
SPIKEINS = "spikeins"  # dataset of treated cells with a file of their own


@dataclass(frozen=True)
class Run:
    """One model: family and width, trained on one subset of the corpus; `strategy` is the name of its sampling."""

    family: str
    width: float
    strategy: str
    percentage: float
    seed: int

    @property
    def model(self) -> str:
        """Family and width, e.g. ``scvi-w1``."""
        return f"{self.family}-w{self.width:g}"

    @property
    def subset(self) -> str:
        """The subset of cells, e.g. ``random/p010.0/s05``."""
        return f"{self.strategy}/p{self.percentage:05.1f}/s{self.seed:02d}"

    @property
    def id(self) -> str:
        """Readable name, e.g. ``scvi-w1/random/p010.0/s05``."""
        return f"{self.model}/{self.subset}"


def n_cells(percentage: float, n_corpus: int) -> int:
    """Number of cells of a subset: the percentage of the corpus, rounded."""
    return round(percentage / 100 * n_corpus)
