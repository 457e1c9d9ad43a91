# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 32 · Do types stay apart, and do batches mix?
#
# **Finding.** *Written from the numbers when the notebook is executed.*
#
# **Method.** On each set of cells the embedding's neighbour graph is clustered at twenty resolutions; the clustering
# that agrees best with the types gives NMI and ARI, silhouettes give ASW, and their mean is the published AvgBIO. Where
# batches should mix, two more scores say how far they do. Where batches differ by biology, as treated and control cells
# do, the same numbers are given as separation, and mixing is never scored as good. Selected runs are judged by
# scib-metrics, too, on sets of 90 cells or more. Each score has a floor (cells shuffled; batches as embedding) and a
# ceiling (types as embedding; batches shuffled).

# %% tags=["parameters"]
design: str = "params/demo.yaml"  # design file, relative to the project
results: str = "results/demo"  # folder of the results, relative to the project
family: str = "pca"  # model family; baselines with strategy none
width: float = 1.0  # multiplier of the preset's width
strategy: str = "random"  # how the cells were drawn; untrained, or none for the baselines
percentages: list = []  # sizes to evaluate, in per cent of the corpus; empty for all of the design
seeds: list = []  # seeds to evaluate; empty for all of the design

# %%
import functools

import numpy as np
import pandas as pd

from helpers import corpus, failures, judging, store
from helpers.design import NO_STRATEGY
from helpers.evaluate import integration
from helpers.joined import integration_cells
from helpers.reading import finding

study, artifacts = store.open_store(design, results, stage="32_integrate")
task = study.evaluations.integration
runs = judging.runs_of(study, artifacts, "integration", family, width, strategy, percentages, seeds)
cells, sets = corpus.read_evaluation_cells(artifacts, gene_space=False)

# %% [markdown]
# ## Batches in the expression
# The published PCR compares an embedding with the expression, as its own principal components show it. What batches
# explain there is found once for all models.


# %%
@functools.cache
def cells_of(name: str) -> pd.DataFrame:
    """Cells of a set with their `label` and `batch`."""
    return integration_cells(cells.obs, sets, name, task.sets[name])


@functools.cache
def expression(name: str) -> np.ndarray:
    """Principal components of a set's own expression, (n_cells, n_components)."""
    return judging.embedded(artifacts, "own_pca", cells, cells_of(name)["row"].to_numpy())


# %%
inputs = ["corpus", "evaluation_sets.parquet"]
settings = {"seed": study.seed, **task.model_dump(exclude={"runs"})}
file = artifacts.artifact(store.controls_path("integration"), inputs=inputs, settings=settings)
if not file.fresh:
    explained = {}
    for name in [name for name, entry in task.sets.items() if entry.mixing == "wanted"]:
        with failures.going_on({}, name):  # told when the set is judged
            explained[name] = integration.pcr(expression(name), cells_of(name)["batch"])
    with file.write() as path:
        pd.DataFrame({"dataset": explained.keys(), "pcr_batch": explained.values()}).to_parquet(path, index=False)
before = pd.read_parquet(artifacts.read(file.relative)).set_index("dataset")["pcr_batch"]

# %% [markdown]
# ## Score
# Neighbours are searched once for all scores of an embedding.


# %%
def scored(embedding: np.ndarray, name: str, part: pd.DataFrame, *, slow: bool) -> tuple[dict[str, float], np.ndarray]:
    """Scores of one set by the names that its batches give them, and the silhouette of each cell."""
    entry, label = task.sets[name], part["label"]
    batch = None if entry.mixing == "none" else part["batch"]
    slow = slow and entry.mixing == "wanted" and len(part) > integration.N_WIDE
    near = integration.shared_neighbors(embedding, label, wide=slow)
    values, silhouettes = integration.battery(embedding, label, batch, neighbors=near, before=before.get(name))
    if slow:
        values |= integration.scib_metrics_scores(embedding, label, batch, neighbors=near)
    if entry.mixing == "unwanted":
        values["condition_separation"] = 1 - values.pop("asw_batch")
        values["condition_variance"] = values.pop("pcr_batch")
    return values, silhouettes


# %%
def controls(run: str, name: str) -> tuple[dict[str, float], np.ndarray]:
    """Scores of the floor or the ceiling: of types kept apart, and of batches; by scib-metrics if it judges any run."""
    part, rng = cells_of(name), study.rng("integration", run)
    given = integration.control_embeddings(expression(name), part["label"], part["batch"], rng=rng)
    of_types, of_batches = ("labels", "shuffled_batch") if run == "ceiling" else ("shuffled_cells", "batch")
    if task.sets[name].mixing == "unwanted":
        of_batches = {"batch": "shuffled_batch", "shuffled_batch": "batch"}[of_batches]
    both = []
    for control in (of_types, of_batches):
        values, label, batch = given[control]
        changed = part.assign(label=np.asarray(label), batch=np.asarray(batch))
        both.append(scored(values, name, changed, slow=task.scib_metrics is not None))
    batch_scores = integration.OF_BATCHES & set(both[1][0])
    return both[0][0] | {key: both[1][0][key] for key in batch_scores}, both[0][1]


# %%
def by_scib_metrics(run) -> bool:
    """Whether a run is among those that scib-metrics judges too."""
    return not isinstance(run, str) and task.scib_metrics is not None and task.scib_metrics.holds(run)


# %%
def evaluate(run, name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tidy scores and per-cell silhouettes of one run on one set."""
    part = cells_of(name)
    if run in ("floor", "ceiling"):
        values, widths = controls(run, name)
    else:
        embedding = judging.embedded(artifacts, run, cells, part["row"].to_numpy())
        values, widths = scored(embedding, name, part, slow=by_scib_metrics(run))
    silhouettes = part[["position", "label", "batch"]].assign(dataset=name, silhouette=widths)
    return judging.tidy([(name, metric, value) for metric, value in values.items()]), silhouettes


# %%
needed = [*inputs, file.relative]
scores, failed = judging.judge(artifacts, "integration", runs, evaluate, inputs=needed, settings=settings)

# %% [markdown]
# ## Scores

# %% tags=["show"]
from helpers.findings import model_of, on_all_sets, on_baselines, on_one_set, seeds_of

wanted = next((name for name, entry in task.sets.items() if entry.mixing == "wanted"), "")
if not len(scores):
    finding(f"{judging.nothing(family, strategy)} 50_collect lists the reasons.")
else:
    limited = judging.with_limits(artifacts, "integration", scores)
    overview = scores.pivot_table(index="run", columns=["dataset", "metric"], values="value", sort=False)
    means = overview.xs("avg_bio", axis=1, level="metric")
if len(scores) and strategy == NO_STRATEGY:
    finding(on_baselines(means.drop("ceiling", errors="ignore"), wanted, what="an AvgBIO", floor="floor"))

# %% tags=["show"]
if len(scores) and strategy != NO_STRATEGY:
    told = f"Types stay apart in {model_of(family, width, strategy)} with an AvgBIO, at most 1, that "
    told += f"{on_one_set(means, wanted)} (mean over {seeds_of(runs)}). "
    mixed = limited[(limited["dataset"] == wanted) & (limited["metric"] == "asw_batch")]
    if len(mixed):
        last = mixed[mixed["run"] == mixed["run"].max()]
        told += f"On {wanted}, where batches should mix, their ASW (higher: mixed) is {last['value'].mean():.2f}"
        if "ceiling" in last:
            low, high = last[["null", "ceiling"]].iloc[0]
            told += f", beside {low:.2f} where batches are the embedding and {high:.2f} where they are shuffled"
        told += "."
    else:
        told += on_all_sets(means)
    finding(told)

# %% tags=["show"]
if len(scores):
    display(overview.style.format("{:.3f}", na_rep="–"))

# %% [markdown]
# Means over seeds. Types derive from clusterings, which favours PCA.

# %% tags=["show"]
from helpers.plots import evaluation_figures as plots

if len(scores):
    display(plots.scores_by_size(limited, metrics=["avg_bio", "nmi", "ari", "asw_label"], unit="score"))

# %% tags=["show"]
failures.raise_failed(failed)
