# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 25 · Where does each model put cells it never saw?
#
# **Finding.** *Written from the numbers when the notebook is executed.*
#
# **Method.** Every trained model embeds all evaluation cells once; all later evaluations share these embeddings.
# Nothing is fitted here. The picture shows the first two principal components of one embedding per evaluation set, a
# view for the eye and not a score.

# %% tags=["parameters"]
design: str = "params/demo.yaml"  # design file, relative to the project
results: str = "results/demo"  # folder of the results, relative to the project
family: str = "pca"  # model family
width: float = 1.0  # multiplier of the preset's width
strategy: str = "random"  # how the cells were drawn; untrained for models with no training
percentages: list = []  # sizes to embed with, in per cent of the corpus; empty for all of the design
seeds: list = []  # seeds to embed with; empty for all of the design

# %%
import numpy as np

from helpers import corpus, failures, models, store
from helpers.reading import finding, track

study, artifacts = store.open_store(design, results, stage="25_embed", modules=[family])
runs = failures.standing(artifacts, study.select(family, width, strategy, percentages, seeds))
cells, sets = corpus.read_evaluation_cells(artifacts)
positions = np.unique(sets["position"])

# %%
for run in track(runs, "embeddings"):
    inputs = ["corpus", "evaluation_sets.parquet", "genes.parquet", store.model_path(run)]
    file = artifacts.artifact(store.embedding_path(run), inputs=inputs)
    if not file.fresh:
        model = models.load(artifacts.read(store.model_path(run)))
        with file.write() as path:
            embedding = model.embed(cells)
            assert np.isfinite(embedding).all(), f"{run.id} embeds to values that are not finite"
            np.savez(path, positions=positions, embedding=embedding.astype(np.float32))

# %% [markdown]
# ## One embedding, looked at

# %% tags=["show"]
from helpers.plots import stage_figures as plots

shown = runs[-1]
embedding = np.load(artifacts.read(store.embedding_path(shown)))["embedding"]
plots.embeddings(embedding, sets, title=shown.id)

# %% tags=["show"]
finding(
    f"{len(runs)} models of {family} ({strategy}) embed {len(positions):,} cells of {sets['dataset'].nunique()} "
    f"evaluation sets in {embedding.shape[1]} dimensions. The picture shows `{shown.id}`."
)
