# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 05 · Which cells judge, and did any model see them?
#
# **Finding.** *Written from the numbers when the notebook is executed.*
#
# **Method.** The split comes first and is stored: every later stage reads it and no stage redraws it. Cells, or whole
# donors, are held out at random for validation and evaluation; whole libraries, studies and tissues are held out
# beside them. The gene space is chosen on the corpus cells alone.

# %% tags=["parameters"]
design: str = "params/demo.yaml"  # design file, relative to the project
results: str = "results/demo"  # folder of the results, relative to the project

# %%
import numpy as np
import pandas as pd

from helpers import corpus, store
from helpers.held_out import check_kept_apart
from helpers.split import assign_roles, evaluation_table, select_genes, silent_cells

study, artifacts = store.open_store(design, results, stage="05_split")
choice = study.model_dump(include={"seed", "corpus", "held_out", "perturbation", "evaluation_sets"})
files = {
    name: artifacts.artifact(f"{name}.parquet", inputs=["corpus"], settings=choice)
    for name in ("split", "evaluation_sets", "genes")
}
cells = corpus.open_cells(artifacts, gene_space=False)

# %% [markdown]
# ## The split

# %%
roles = assign_roles(cells.obs, study)
everything = evaluation_table(cells.obs, roles, study)

# %% [markdown]
# ## The gene space

# %%
genes = select_genes(cells[np.flatnonzero(roles == "corpus")], study.corpus.genes)
if not files["genes"].fresh:
    with files["genes"].write() as path:
        genes.to_parquet(path, index=False)

# %% [markdown]
# Cells without a count in these genes cannot be embedded: they judge no model, and none learns from them.

# %%
silent = silent_cells(cells, genes["selected"].to_numpy())
roles[silent & roles.isin(["corpus", "validation", "spikein"]).to_numpy()] = "unused"
sets = everything[~silent[everything["position"]]].reset_index(drop=True)
check_kept_apart(cells.obs, roles.to_numpy(), np.flatnonzero(roles == "corpus"), study)
learned = roles.isin(["corpus", "validation", "spikein"]).to_numpy()
strict = sets[sets["seen"] != "transductive"]
assert not learned[strict["position"]].any(), "an evaluation cell would be learned from"

# %%
if not files["split"].fresh:
    with files["split"].write() as path:
        table = pd.DataFrame({"position": np.arange(cells.n_obs), "cell": cells.obs_names, "role": roles.to_numpy()})
        table.to_parquet(path, index=False)
if not files["evaluation_sets"].fresh:
    with files["evaluation_sets"].write() as path:
        sets.to_parquet(path, index=False)

# %% [markdown]
# ## Who is in which role

# %% tags=["show"]
from helpers.plots import stage_figures as plots
from helpers.reading import finding, note
from helpers.words import counted

n_corpus, n_validation = (int((roles == role).sum()) for role in ("corpus", "validation"))
n_judging, n_silent = sets["position"].nunique(), int(silent.sum())
shared = sets.loc[sets["seen"] == "transductive", "position"].nunique()
finding(
    f"Models may learn from {counted(n_corpus, 'cell')} and {n_validation:,} others stop the training, while "
    f"{n_judging:,} judge{f', {shared:,} of them transductively' if shared else ' and are never learned from'}. "
    f"Models see {int(genes['selected'].sum()):,} of {len(genes):,} genes, chosen on the corpus alone."
)
if n_silent:
    note(f"Cells without a count in these genes, which are left out: {n_silent:,}.")

# %% [markdown]
# Of many libraries those with most cells; `evaluation` counts all that may judge, of which a set may take a part.

# %% tags=["show"]
of_batch = pd.crosstab(cells.obs["batch"], roles.rename("role"), margins=True, margins_name="all")
of_batch[of_batch.index.isin(of_batch["all"].nlargest(plots.MOST + 1).index)].style.format("{:,}")

# %% tags=["show"]
plots.evaluation_sets(sets)
