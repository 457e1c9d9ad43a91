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
# do, the same numbers are given as separation, and mixing is never scored as good. Each score has a floor (cells
# shuffled; batches as embedding) and a ceiling (types as embedding; batches shuffled).

# %% tags=["parameters"]
design: str = "params/demo.yaml"  # design file, relative to the project
results: str = "results/demo"  # folder of the results, relative to the project
family: str = "pca"  # model family; baselines with strategy none
width: float = 1.0  # multiplier of the preset's width
strategy: str = "random"  # how the cells were drawn; untrained, or none for the baselines
percentages: list = []  # sizes to evaluate, in per cent of the corpus; empty for all of the design
seeds: list = []  # seeds to evaluate; empty for all of the design

# %%
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
# ## Score


# %%
def scored(embedding: np.ndarray, entry, part: pd.DataFrame) -> tuple[dict[str, float], np.ndarray]:
    """Scores of one set by the names that its batches give them, and the silhouette of each cell."""
    batch = None if entry.mixing == "none" else part["batch"]
    values, silhouettes = integration.battery(embedding, part["label"], batch)
    if entry.mixing == "unwanted":
        values["condition_separation"] = 1 - values.pop("asw_batch")
        values["condition_variance"] = values.pop("pcr_batch")
    return values, silhouettes


# %%
def controls(name: str, entry, part: pd.DataFrame) -> tuple[dict[str, float], np.ndarray]:
    """Scores of the floor or the ceiling: of types kept apart, and of batches."""
    embedding = judging.embedded(artifacts, "own_pca", cells, part["row"].to_numpy())
    given = integration.control_embeddings(embedding, part["label"], part["batch"], rng=study.rng("integration", name))
    of_types, of_batches = ("labels", "shuffled_batch") if name == "ceiling" else ("shuffled_cells", "batch")
    if entry.mixing == "unwanted":
        of_batches = {"batch": "shuffled_batch", "shuffled_batch": "batch"}[of_batches]
    both = []
    for control in (of_types, of_batches):
        values, labels, batch = given[control]
        both.append(scored(values, entry, part.assign(label=np.asarray(labels), batch=np.asarray(batch))))
    batch_scores = {"asw_batch", "pcr_batch", "condition_separation", "condition_variance"} & set(both[1][0])
    return both[0][0] | {key: both[1][0][key] for key in batch_scores}, both[0][1]


# %%
def by_scib_metrics(run) -> bool:
    """Whether a run is among those that scib-metrics judges too."""
    return not isinstance(run, str) and task.scib_metrics is not None and task.scib_metrics.holds(run)


# %%
def evaluate(run, name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tidy scores and per-cell silhouettes of one run on one set."""
    entry = task.sets[name]
    part = integration_cells(cells.obs, sets, name, entry)
    if run in ("floor", "ceiling"):
        values, widths = controls(run, entry, part)
    else:
        embedding = judging.embedded(artifacts, run, cells, part["row"].to_numpy())
        values, widths = scored(embedding, entry, part)
        if entry.mixing == "wanted" and by_scib_metrics(run):
            values |= integration.scib_metrics_scores(embedding, part["label"], part["batch"])
    silhouettes = part[["position", "label", "batch"]].assign(dataset=name, silhouette=widths)
    return judging.tidy([(name, metric, value) for metric, value in values.items()]), silhouettes


# %%
inputs = ["corpus", "evaluation_sets.parquet"]
settings = {"seed": study.seed, **task.model_dump(exclude={"runs"})}
scores, failed = judging.judge(artifacts, "integration", runs, evaluate, inputs=inputs, settings=settings)

# %% [markdown]
# ## Scores

# %% tags=["show"]
from helpers.plots import evaluation_figures as plots

if len(scores):
    overview = scores.pivot_table(index="run", columns=["dataset", "metric"], values="value", sort=False)
    display(overview.style.format("{:.3f}", na_rep="–"))

# %% tags=["show"]
if len(scores):
    display(plots.scores_by_size(scores, metrics=["avg_bio", "nmi", "ari", "asw_label"], unit="score"))

# %% tags=["show"]
if len(scores):
    ends = overview.xs("avg_bio", axis=1, level="metric")
    to = " → " if len(ends) > 1 and strategy != NO_STRATEGY else ""
    told = ", ".join(
        f"{name} {ends[name].iloc[0]:.2f}" + (f"{to}{ends[name].iloc[-1]:.2f}" if to else "") for name in ends.columns
    )
    which = "the first baseline" if strategy == NO_STRATEGY else f"{family} ({strategy})"
    sizes = " from its smallest to its largest size" if to else ""
    finding(f"AvgBIO of {which}{sizes}: {told}. Types derive from clusterings, which favours PCA.")
else:
    finding(judging.nothing(family, strategy))
failures.raise_failed(failed)
