# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 15 · Does a larger corpus hold more diversity, or only more cells?
#
# **Finding.** *Written from the numbers when the notebook is executed.*
#
# **Method.** For every subset of every way of sampling: cells, donors, datasets and cell types it holds, Shannon,
# inverse Simpson and Gini–Simpson indices over cell types, and the Vendi score, the effective number of different
# expression profiles. Vendi reads log1p CP10k of the most variable genes (at most 2,000), scaled by mean and standard
# deviation of the whole corpus, the same for all subsets; it cannot exceed the number of cells, and their noise counts.
# Thinned subsets are those that are learned from: without cells that lost all their counts.

# %% tags=["parameters"]
design: str = "params/demo.yaml"  # design file, relative to the project
results: str = "results/demo"  # folder of the results, relative to the project

# %%
import numpy as np
import pandas as pd

from helpers import corpus, diversity, store
from helpers.reading import finding, track
from helpers.subset import depth
from helpers.subset.report import ScaledExpression, describe

study, artifacts = store.open_store(design, results, stage="15_diversity")
runs = [run for name in study.strategies for run in study.subsets(name)]
paths = {run: store.subset_path(run) for run in runs}
inputs = ["corpus", "split.parquet", "genes.parquet", *paths.values()]
choice = study.model_dump(include={"seed", "strategies"})
file = artifacts.artifact("diversity.parquet", inputs=inputs, settings=choice)

# %%
cells = corpus.open_cells(artifacts)
roles = corpus.read_roles(artifacts)
pretraining = cells[np.flatnonzero(roles == "corpus")]
scaled = ScaledExpression(pretraining)


def row(run):
    sampling = study.strategies[run.strategy]
    share = depth.kept(pretraining.obs, sampling.options["umis"]) if sampling.strategy == "depth" else 1.0
    names = {"subset": run.subset, "strategy": sampling.strategy, "sampling": run.strategy}
    names |= {"percentage": run.percentage, "subset_seed": run.seed}
    with corpus.training_cells(artifacts, cells, roles, run) as learned:
        held = describe(learned.obs, np.arange(learned.n_obs), share=share)
        return names | held | {"vendi": diversity.vendi(scaled(learned))}


# %%
if not file.fresh:
    table = pd.DataFrame([row(run) for run in track(runs, "subsets")])
    with file.write() as path:
        table.to_parquet(path, index=False)
table = pd.read_parquet(artifacts.read("diversity.parquet"))

# %% [markdown]
# ## Diversity against size

# %% tags=["show"]
kept = ["n_cells", "n_types", "n_datasets", "n_donors", "umis_per_cell"]
indices = ["shannon", "inverse_simpson", "gini_simpson", "vendi"]
means = table.groupby(["sampling", "percentage"], sort=False)[kept + indices].mean()
whole = describe(pretraining.obs, np.arange(pretraining.n_obs)) | {"vendi": diversity.vendi(scaled(pretraining))}
name, size = means.index[0]
small, large = (means.loc[name].sort_index().iloc[end] for end in (0, -1))
bits = means["shannon"].xs(size, level="percentage").sort_values()

# %% tags=["show"]
told = [f"{large['n_cells']:,.0f}", f"{large['shannon']:.2f} bits", f"{large['vendi']:,.0f} different profiles"]
if len(means.loc[name]) > 1:
    ends = f"From {small['n_cells']:,.0f} to {told[0]} `{name}` cells the Shannon index over cell types goes from "
    ends += f"{small['shannon']:.2f} to {told[1]}, and the Vendi score from {small['vendi']:,.0f} to {told[2]}"
else:
    ends = f"{told[0]} `{name}` cells have a Shannon index of {told[1]} over cell types, and a Vendi score of {told[2]}"
if len(bits) > 1:
    low, high = (f"{bits.iloc[end]:.2f} bits (`{bits.index[end]}`)" for end in (0, -1))
    beside = f"At {size:g} % of the corpus, ways of sampling range from {low} to {high}."
else:
    beside = f"The whole corpus has {whole['shannon']:.2f} bits and {whole['vendi']:,.0f} profiles."
finding(f"{ends}. {beside}")

# %% [markdown]
# Random cells keep nearly every donor, so that more cells are hardly more donors. Where a cell's donor is not known, as
# in Kang's pool of eight, the number of donors is unknown.

# %% tags=["show"]
means.style.format("{:,.0f}", na_rep="unknown").format("{:.2f}", subset=indices)

# %% tags=["show"]
from helpers.plots import diversity_figures as plots
from helpers.plots import looks

looks.know_design(study)
several = table.groupby("sampling")["percentage"].transform("nunique") > 1
plots.diversity_curves(table[several], whole) if several.any() else None

# %% tags=["show"]
plots.diversity_at_one_size(table[~several], whole) if (~several).any() else None
