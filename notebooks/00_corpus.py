# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 00 · Which cells are there to learn from?
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
from helpers.split import check_cells, check_design

study, artifacts = store.open_store(design, results, stage="00_corpus")
source = corpus.open_source(study)
made_from = {"corpus": study.corpus.source, "sha256": source.fingerprint()}
folder = artifacts.artifact("corpus", settings=made_from)

# %% [markdown]
# The design is checked against the labels of all cells before the first byte is written. Counts are checked as they are
# read, piece by piece; if one is wrong, nothing is left. What an interruption left is taken up.

# %%
n_corpus = check_design(study, source.obs)
store.claim(study, artifacts.root)
if not folder.fresh:
    with folder.write(resume=True) as path:
        check_cells(study, corpus.write(path, study, source))
manifest = json.loads((artifacts.read("corpus") / "manifest.json").read_text())

# %% [markdown]
# ## What is there

# %% tags=["show"]
from helpers.corpus.external import in_source
from helpers.plots import stage_figures as plots
from helpers.reading import finding, note
from helpers.words import counted

counts = corpus.read_obs(artifacts).rename(columns={"total_counts": "umis", "n_genes": "genes"})
own, files = counts[in_source(counts, study)], counts[~in_source(counts, study)]
overview = own.groupby(["dataset_id", "batch"], observed=True).agg(
    cells=("umis", "size"),
    cell_types=("cell_type", "nunique"),
    median_umis=("umis", "median"),
    median_genes=("genes", "median"),
)

# %% tags=["show"]
tissues = f" and {counted(own['tissue'].nunique(), 'tissue')}" if "tissue" in own else ""
medians = overview["median_umis"]
ends = f", from {medians.min():,.0f} in the shallowest library to {medians.max():,.0f} in the deepest"
finding(
    f"Models may learn from {n_corpus:,} of {len(own):,} cells, which come from "
    f"{counted(own['batch'].nunique(), 'library/libraries')}{tissues} and share {manifest['n_genes']:,} genes. "
    f"A median cell has {own['umis'].median():,.0f} UMIs{ends if len(medians) > 1 else ''}."
)

# %% tags=["show"]
shown = overview.nlargest(plots.MOST, "cells").sort_index()
shown.style.format("{:,.0f}").set_caption(f"{len(shown)} of {len(overview):,} libraries" * (len(shown) < len(overview)))

# %% tags=["show"]
plots.composition(own, by="batch", label="cell_type_harmonised" if "cell_type_harmonised" in own else "cell_type")

# %% tags=["show"]
if study.files:
    judged = files.groupby("dataset_id", observed=True).agg(
        cells=("umis", "size"),
        cell_types=("cell_type", "nunique"),
        batches=("batch", "nunique"),
        median_umis=("umis", "median"),
    )
    judged["missing_genes"] = [manifest["missing_genes"][name] for name in judged.index]
    note(f"{counted(len(files), 'cell')} with files of their own judge as well:")
    display(judged.style.format("{:,.0f}").format("{:.1%}", subset=["missing_genes"]))
