# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 10 · What does a smaller corpus look like?
#
# **Finding.** *Written from the numbers when the notebook is executed.*
#
# **Method.** Each strategy draws subsets of the corpus at every size and seed; all families learn from the same
# subsets. `random` is uniform over cells. `celltype_reweighted` gives each cell type the same quota, keeps smaller
# types whole and shares out what they leave over.

# %% tags=["parameters"]
design: str = "params/demo.yaml"  # design file, relative to the project
results: str = "results/demo"  # folder of the results, relative to the project
strategy: str = "random"  # how cells are drawn

# %%
import numpy as np
import pandas as pd

from helpers import corpus, store, subset
from helpers.design import Run, n_cells
from helpers.reading import finding, track

study, artifacts = store.open_store(design, results, stage="10_subset", modules=[subset.module_of(strategy)])
study.check_strategy(strategy)
roles = pd.read_parquet(artifacts.read("split.parquet"))["role"]
positions = np.flatnonzero(roles == "corpus")
obs = corpus.read_cells(artifacts, gene_space=False).obs.iloc[positions]

# %% [markdown]
# ## Draw
# Positions are those of `corpus/`; each draw has a random generator of its own, named after the subset.

# %%
runs = [Run("", 1.0, strategy, size, seed) for size in study.sizes(strategy) for seed in study.seeds]
for run in track(runs, "subsets"):
    n = n_cells(run.percentage, len(obs))
    settings = {"seed": study.seed, "subset": run.subset, "n": n}
    file = artifacts.artifact(store.subset_path(run), inputs=["corpus", "split.parquet"], settings=settings)
    if not file.fresh:
        rows = subset.draw(strategy, obs, n, rng=study.rng("subset", run.subset))
        with file.write() as path:
            pd.DataFrame({"position": positions[rows]}).to_parquet(path, index=False)

# %% [markdown]
# ## Realised sizes and composition

# %% tags=["show"]
from helpers import diversity
from helpers.plots import stage_figures as plots

drawn = {run: pd.read_parquet(artifacts.read(store.subset_path(run)))["position"].to_numpy() for run in runs}
labels = pd.Series(obs["cell_type"].astype(str).to_numpy(), index=positions)
table = pd.DataFrame(
    {
        "percentage": [run.percentage for run in drawn],
        "seed": [run.seed for run in drawn],
        "cells": [len(rows) for rows in drawn.values()],
        "cell types": [labels[rows].nunique() for rows in drawn.values()],
        "Shannon (bits)": [diversity.shannon(labels[rows]) for rows in drawn.values()],
    }
)
summary = table.groupby("percentage").agg(
    {"cells": "first", "cell types": ["min", "max"], "Shannon (bits)": ["min", "max"]}
)
summary.round(2)

# %% tags=["show"]
plots.subset_composition(
    {run.percentage: labels[rows] for run, rows in drawn.items() if run.seed == study.seeds[0]}, labels
)

# %% tags=["show"]
small, bits = table[table["percentage"] == table["percentage"].min()], "Shannon (bits)"
finding(
    f"`{strategy}` subsets hold {table['cells'].min():,} to {table['cells'].max():,} cells. The smallest keep "
    f"{small['cell types'].min()} to {small['cell types'].max()} of {labels.nunique()} cell types, with a Shannon "
    f"index of {small[bits].min():.2f} to {small[bits].max():.2f} bits; the corpus has {diversity.shannon(labels):.2f}."
)
