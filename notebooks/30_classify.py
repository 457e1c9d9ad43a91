# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 30 · Can a neighbour in the embedding tell the cell type?
#
# **Finding.** *Written from the numbers when the notebook is executed.*
#
# **Method.** Half of each evaluation set's cells, stratified and stored, lend their labels to their nearest
# neighbours in the other half; across studies, all cells of one set lend them to another. Micro F1 (accuracy) counts
# all cells of scored types, macro F1 averages over types with enough cells. A logistic regression on the embedding
# (`probe_…`) is a second reading. The majority class and permuted labels are floors, a logistic regression on
# expression the reference; labels come from clusterings, which favours PCA.

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
from helpers.evaluate import baselines, classification
from helpers.joined import transfer_cells
from helpers.reading import finding

study, artifacts = store.open_store(design, results, stage="30_classify")
task = study.evaluations.classification
runs = judging.runs_of(study, artifacts, "classification", family, width, strategy, percentages, seeds)
cells, sets = corpus.read_evaluation_cells(artifacts, gene_space=False)

# %% [markdown]
# ## Who teaches whom
#
# Across studies, those cells whose type both have.


# %%
@functools.cache
def judged(name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cells of one set, of which some teach (`train`) and the others test, and its types, scored or not."""
    across = task.transfer.get(name)
    part = transfer_cells(cells.obs, sets, name, across) if across else sets[sets["dataset"] == name]
    assert not set(part.loc[part["train"], "cell"]) & set(part.loc[~part["train"], "cell"]), f"{name}: halves overlap"
    limits = {"min_cells": task.min_cells, "headline_min": task.headline_min_cells}
    return part, classification.scored_types(part.loc[~part["train"] if across else slice(None), "label"], **limits)


# %% [markdown]
# ## Predict
# Labels of the test half are used for scores alone.


# %%
def predict(run, part: pd.DataFrame) -> dict[str, np.ndarray]:
    """Predicted labels of the test cells of one set, (n_test,), by neighbours, and by the probe of an embedding."""
    rows, train = part["row"].to_numpy(), part["train"].to_numpy()
    labels = part["label"].to_numpy()
    if run in baselines.PREDICTORS:
        return {"": baselines.predict(run, cells[rows], labels, train)}
    embedding = judging.embedded(artifacts, run, cells, rows)
    given = embedding[train], labels[train], embedding[~train]
    told = {"": classification.knn_predict(*given, n_neighbors=task.n_neighbors)}
    return told if run == "hvg" else told | {"probe_": classification.probe_predict(*given)}


# %%
def evaluate(run, name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tidy scores, of the set and of each type, and per-cell predictions of one run on one set."""
    part, types = judged(name)
    test, told, scores = part[~part["train"]], predict(run, part), []
    for way, predicted in told.items():
        values = classification.scores(test["label"], predicted, types=types)
        scores.append(judging.tidy([(name, f"{way}{metric}", value) for metric, value in values.items()]))
        of_types = classification.type_scores(test["label"], predicted, types=types)
        of_types = of_types.rename(columns={"label": "type", "n": "n_test", "f1": "value"})[["type", "n_test", "value"]]
        scores.append(of_types.assign(dataset=name, metric=f"{way}type_f1"))
    predictions = test[["dataset", "position", "label"]]
    predictions = predictions.assign(**{f"{way}predicted": predicted for way, predicted in told.items()})
    return pd.concat(scores, ignore_index=True), predictions


# %%
inputs = ["corpus", "evaluation_sets.parquet"]
settings = {"seed": study.seed, **task.model_dump(exclude={"runs"})}
everything, failed = judging.judge(artifacts, "classification", runs, evaluate, inputs=inputs, settings=settings)
scores = judging.whole(everything)

# %% [markdown]
# ## Scores

# %% tags=["show"]
from helpers.findings import model_of, on_all_sets, on_baselines, on_one_set, seeds_of
from helpers.reading import note

headline = study.evaluations.heldout_loss.headline
if not len(scores):
    finding(f"{judging.nothing(family, strategy)} 50_collect lists the reasons.")
else:
    shown = scores[scores["metric"].isin(["micro_f1", "macro_f1"])]
    overview = shown.pivot_table(index="run", columns=["dataset", "metric"], values="value", sort=False)
    means = overview.xs("macro_f1", axis=1, level="metric")
if len(scores) and strategy == NO_STRATEGY:
    finding(on_baselines(means, headline, what="a macro F1", floor="majority"))
elif len(scores):
    near = f"{task.n_neighbors} nearest neighbours tell" if task.n_neighbors > 1 else "nearest neighbour tells"
    finding(
        f"In {model_of(family, width, strategy)}, a cell's {near} its type with a macro F1 that "
        f"{on_one_set(means, headline)} (mean over {seeds_of(runs)}). {on_all_sets(means)}"
    )

# %% tags=["show"]
if len(scores):
    display(overview.style.format("{:.3f}", na_rep="–"))

# %% [markdown]
# Half of each set tests; the other half lent its labels. The F1 of each type, by one model of the largest size or by
# the first baseline; types with few cells are not scored.

# %% tags=["show"]
from helpers.plots import evaluation_figures as plots

if len(scores):
    there = [run for run in runs if artifacts.has(store.prediction_path("classification", run))]
    best = there[0] if strategy == NO_STRATEGY else there[-1]
    predictions = pd.read_parquet(artifacts.read(store.prediction_path("classification", best)))
    per_type = pd.concat(
        [
            classification.type_scores(part["label"], part["predicted"], types=judged(name)[1]).assign(dataset=name)
            for name, part in predictions.groupby("dataset", sort=False)
        ]
    )
    display(plots.type_scores(per_type, title=best if isinstance(best, str) else best.id))

# %% tags=["show"]
if len(scores):
    unscored = sum(int((~judged(name)[1]["scored"]).sum()) for name in means.columns)
    note(f"Types of all sets that have under {task.min_cells} cells and are not scored: {unscored}.")
failures.raise_failed(failed)
