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
# No model learns here. One embedding, of the largest size, is drawn for each evaluation set: as UMAP in the notebook
# of a family's first sampling, in the others on its first two principal components, which cost no time. Models that
# embed to values that are not finite are named at the end.

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
from helpers.evaluate.knn import finite
from helpers.reading import finding, track

study, artifacts = store.open_store(design, results, stage="25_embed", modules=[family])
runs = failures.standing(artifacts, study.select(family, width, strategy, percentages, seeds))
cells, sets = corpus.read_evaluation_cells(artifacts)
positions = np.unique(sets["position"])


# %%
def write_embedding(run) -> None:
    """Embed all evaluation cells by a run, unless that is done."""
    inputs = ["corpus", "evaluation_sets.parquet", "genes.parquet", store.model_path(run)]
    file = artifacts.artifact(store.embedding_path(run), inputs=inputs)
    if file.fresh:
        return
    with file.write() as path:
        embedding = finite(models.load(artifacts.read(store.model_path(run))).embed(cells), "the embedding")
        np.savez(path, positions=positions, embedding=embedding.astype(np.float32))


# %%
failed = {}
for run in track(runs, "embeddings"):
    with failures.going_on(failed, run.id):
        write_embedding(run)
    if run.id in failed:
        store.discard(artifacts.path(store.embedding_path(run)))  # of an earlier model
    failures.note(artifacts, store.embedding_path(run), {key: why for key, why in failed.items() if key == run.id})
there = [run for run in runs if run.id not in failed]

# %% [markdown]
# ## What was embedded

# %% tags=["show"]
from helpers.findings import model_of
from helpers.words import counted

model, first = model_of(family, width, strategy), study.is_first(family, width, strategy)
if there:
    embedding = np.load(artifacts.read(store.embedding_path(there[-1])))["embedding"]
    chosen, n_sets = there[-1], counted(sets["dataset"].nunique(), "evaluation set")
    size = f" at {chosen.percentage:g} % of the corpus" if chosen.percentage > 0 else ""
    finding(
        f"{counted(len(there), 'model')} of {model} {'embeds' if len(there) == 1 else 'embed'} {len(positions):,} "
        f"cells of {n_sets} in {counted(embedding.shape[1], 'dimension')}. The picture shows the one{size} with seed "
        f"{chosen.seed}, {'as UMAP' if first else 'on its first two principal components'}."
    )
else:
    finding(f"All runs of {model} were given up or failed. There is nothing to embed with.")

# %% tags=["show"]
held = sets.groupby("dataset", sort=False).agg(
    cells=("position", "size"), types=("label", "nunique"), seen=("seen", "first")
)
held.assign(embeddings=len(there)).style.format("{:,}", subset=["cells", "types"])

# %% [markdown]
# ## One embedding, looked at
#
# A UMAP places each cell beside its nearest neighbours in the embedding. It shows whether cells of a type lie together;
# how far apart two groups lie, how large and how dense they are means little. Principal components keep distances, but
# only those along two directions. Both are views for the eye and no scores: the next notebooks measure.

# %% tags=["show"]
from helpers.plots import stage_figures as plots

if there:
    display(plots.embeddings(embedding, sets, title=there[-1].id, umap=first))

# %% tags=["show"]
failures.raise_failed(failed)
