"""The corpus artifact: counts in shards, labels and genes beside them, and a manifest."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from helpers.corpus import external, shards
from helpers.corpus.opened import cell_facts, missing_genes
from helpers.corpus.reading import COUNTS, GENES, MANIFEST, OBS
from helpers.corpus.source import Source
from helpers.corpus.stored import StoredCells, StoredCounts
from helpers.design import Design
from helpers.models.counts import cell_keys


def write(folder: Path, design: Design, source: Source) -> StoredCells:
    """Write all cells of `opened.open_source` to a folder, and give them as they lie there.

    Counts are checked as they are read; what an interrupted call wrote of them is kept. Raises ValueError for what
    checked counts and `external.check_unlearned` refuse.
    """
    shared = external.shared_genes(source)

    def facts(block: sp.csr_array) -> dict[str, np.ndarray]:
        return cell_facts(block) | {"key": cell_keys(block[:, shared])}

    shape = len(source.obs), len(source.genes)
    shards.write(folder / COUNTS, source.blocks, shape, facts=facts)
    written = shards.Shards(folder / COUNTS)
    external.check_unlearned(design, source, written, written.facts["key"].to_numpy())
    own = cell_facts(sp.csr_array((0, len(source.genes))))
    obs = source.obs.assign(**{name: written.facts[name].to_numpy() for name in own})
    obs.to_parquet(folder / OBS)
    pd.DataFrame({"gene": source.genes.astype(str)}).to_parquet(folder / GENES, index=False)
    told = {"source": design.corpus.source, "source_sha256": source.fingerprint()}
    told |= {"n_cells": shape[0], "n_genes": shape[1], "n_values": written.n_values}
    told |= {"missing_genes": missing_genes(source)}  # share in each file of an evaluation set
    (folder / MANIFEST).write_text(json.dumps(told, indent=1))
    return StoredCells(StoredCounts(written, np.arange(len(obs))), obs, pd.DataFrame(index=source.genes))
