# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 00 · Which cells is there to learn from?
#
# **Finding.** *Written from the numbers when the notebook is executed.*
#
# **Method.** The cells of the design's source are read and checked: raw integer counts, unique genes, complete
# labels. They are written once to `corpus/`, with a manifest, in a form that every later stage reads quickly. Nothing
# is filtered or normalised here. Evaluation sets with a file of their own stand below, on the same genes.

# %% tags=["parameters"]
design: str = "params/demo.yaml"  # design file, relative to the project
results: str = "results/demo"  # folder of the results, relative to the project

# %%
import json

from helpers import corpus, store
from helpers.provenance import file_sha256
from helpers.split import check_cells

study, artifacts = store.open_store(design, results, stage="00_corpus")
source_sha256 = corpus.source_hash(study)
folder = artifacts.artifact("corpus", settings={"corpus": study.corpus.source, "sha256": source_sha256})

# %% [markdown]
# The source is checked as a whole, and the design against it, before the first byte is written.

# %%
cells = corpus.read_source(study)
n_corpus = check_cells(study, cells)
store.claim(study, artifacts.root)
if not folder.fresh:
    with folder.write() as path:
        path.mkdir()
        cells.write_h5ad(path / "cells.h5ad")  # uncompressed: read often, written once
        manifest = {
            "source": study.corpus.source,
            "source_sha256": source_sha256,
            "n_cells": cells.n_obs,
            "n_genes": cells.n_vars,
            "missing_genes": dict(cells.uns.get("missing_genes", {})),  # share in each file of an evaluation set
            "cells_sha256": file_sha256(path / "cells.h5ad"),
        }
        (path / "manifest.json").write_text(json.dumps(manifest, indent=1))

# %% [markdown]
# ## What is there

# %% tags=["show"]
import numpy as np

from helpers.corpus.external import in_source
from helpers.plots import stage_figures as plots
from helpers.reading import finding

counts = cells.obs.assign(umis=cells.obs["total_counts"], genes=np.diff(cells.X.indptr))
own, files = counts[in_source(counts, study)], counts[~in_source(counts, study)]
overview = own.groupby(["dataset_id", "batch"], observed=True).agg(
    cells=("umis", "size"),
    cell_types=("cell_type", "nunique"),
    median_umis=("umis", "median"),
    median_genes=("genes", "median"),
)
overview.style.format("{:,.0f}")

# %% tags=["show"]
plots.composition(own, by="batch", label="cell_type_harmonised")

# %% tags=["show"]
if study.external:
    judged = files.groupby("dataset_id", observed=True).agg(
        cells=("umis", "size"),
        cell_types=("cell_type", "nunique"),
        batches=("batch", "nunique"),
        median_umis=("umis", "median"),
    )
    judged["missing_genes"] = [cells.uns["missing_genes"][name] for name in judged.index]
    display(judged.style.format("{:,.0f}").format("{:.1%}", subset=["missing_genes"]))

# %% tags=["show"]
beside = f", and so do {len(files):,} cells from files of evaluation sets" if study.external else ""
finding(
    f"{len(own):,} cells of {own['batch'].nunique()} libraries and {own['tissue'].nunique()} tissues share "
    f"{cells.n_vars:,} genes; {n_corpus:,} of them may be learned from, the rest judges{beside}. A median cell has "
    f"{own['umis'].median():,.0f} UMIs, from {overview['median_umis'].min():,.0f} in the shallowest library to "
    f"{overview['median_umis'].max():,.0f} in the deepest."
)
