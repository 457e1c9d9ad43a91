"""Cells as sparse as scTab's, as many as are asked for: simulated ones, thinned anew each time they are given again."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import scipy.sparse as sp

from helpers.corpus import simulated
from helpers.design_sources import Simulation
from helpers.provenance import digest
from helpers.subset.depth import thin

N_GENES = 19_331
SETTINGS = {"n_genes": N_GENES, "n_tissues": 8, "n_types": 40, "n_datasets": 40, "donors_per_dataset": 6}
BASE = 4_096  # cells that are simulated
DEPTH = 1_900.0  # about 1,400 genes with counts in a cell
KEPT = 0.9  # of the counts, by chance


class Cells:
    """A `helpers.corpus.source.Source` of `n_cells`; a cell is a base cell of its type, donor and dataset."""

    def __init__(self, n_cells: int) -> None:
        settings = Simulation(**SETTINGS, n_cells=BASE, depth=DEPTH)
        self.base = simulated.open_source(settings)
        self.genes = self.base.genes
        self.order = np.sort(
            np.random.default_rng(0).integers(BASE, size=n_cells)
        )  # donors lie together, as in atlases
        names = pd.Index([f"cell{number:09}" for number in range(n_cells)])
        self.obs = self.base.obs.iloc[self.order].set_axis(names)

    def blocks(self, start: int = 0) -> Iterator[sp.csr_array]:
        counts = sp.vstack(list(self.base.blocks()), format="csr")
        for row in range(start // BASE * BASE, len(self.obs), BASE):
            drawn = counts[self.order[row : row + BASE]]
            drawn = sp.csr_array(thin(drawn, KEPT, np.random.default_rng([1, row])))
            yield drawn[max(start - row, 0) :]

    def fingerprint(self) -> str:
        return digest({"like": "scTab", "n_cells": len(self.obs)})
