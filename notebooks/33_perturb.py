# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 33 · Does the embedding help to predict a response in cells that were never treated?
#
# **Finding.** *Written from the numbers when the notebook is executed.*
#
# **Method.** A ridge head learns from the embedding of control cells how their type responds, on all types but the
# held-out ones, and predicts the response of those. Scores stand between the strongest of three nulls (no change, mean
# of the training responses, response of the most alike type) and the better of two ceilings (the other half of the
# treated cells, as it is and shrunk to what it can tell). Calibrated scores are 0 at the null and 1 at the ceiling, are
# not clipped, and are missing where a metric cannot tell the two apart. No control cell was seen in pretraining.

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
from helpers.evaluate import baselines, perturbation
from helpers.evaluate.perturbation_heads import mlp
from helpers.evaluate.perturbation_task import read_task
from helpers.reading import finding
from helpers.split import response_cells

study, artifacts = store.open_store(design, results, stage="33_perturb")
task, roles = study.evaluations.perturbation, pd.read_parquet(artifacts.read("split.parquet"))["role"]
if strategy == NO_STRATEGY:
    runs = list(baselines.BASELINES["perturbation"])
else:
    runs = failures.standing(artifacts, study.select(family, width, strategy, percentages, seeds))

# %% [markdown]
# ## The task
# For each held-out type or lineage: which conditions teach and which test.

# %%
sets = pd.read_parquet(artifacts.read("evaluation_sets.parquet"))
positions, condition = response_cells(corpus.read_obs(artifacts), roles, study)
cells = corpus.read_cells(artifacts, positions, gene_space=False)
cells.obs["condition"] = condition
held_out = {name: where[task.context] for name, where in study.perturbation.held_out.items()}
read = functools.partial(
    read_task, cells, control="control", perturbation="condition", context=task.context, min_cells=task.min_cells
)
tasks = {name: read(held_out=contexts) for name, contexts in held_out.items()}
learned = roles.iloc[positions].isin(["corpus", "validation"]).to_numpy()
assert not learned.any(), "a cell that pretraining saw would judge"

# %% [markdown]
# ## Nulls and ceilings
# They know no model, and are computed once.

# %%
inputs, settings = ["corpus", "split.parquet"], {"seed": study.seed, **task.model_dump(), "held_out": held_out}
file = artifacts.artifact("predictions/perturbation--controls.parquet", inputs=inputs, settings=settings)
if not file.fresh:
    tables = []
    for name, one in tasks.items():
        for where, reference in perturbation.prepare(one, rng=study.rng("response", name)).items():
            table = reference.controls.rename_axis("metric").reset_index()
            tables.append(table.assign(dataset=name, context=where.context))
    with file.write() as path:
        pd.concat(tables, ignore_index=True).to_parquet(path, index=False)
controls = pd.read_parquet(artifacts.read(file.relative))
references = {
    name: perturbation.prepare(
        one,
        rng=study.rng("response", name),
        controls={
            where: controls.query("dataset == @name and context == @where.context").set_index("metric")
            for where in one.training
        },
    )
    for name, one in tasks.items()
}

# %% [markdown]
# ## Predict
# Baselines that are nulls or ceilings have their scores from above; `own_pca` is a head on the components of the
# control cells alone.


# %%
def evaluate(run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tidy scores, means over the contexts of a held-out entry, and predicted responses by gene."""
    if run in controls or run in ("floor", "ceiling"):
        return control_scores(run), pd.DataFrame({"dataset": [], "gene": [], "delta": []})
    rows, deltas = [], []
    for name, one in tasks.items():
        embedding = control_embedding(run, one)
        for kind, head in heads(run).items():
            scores, predicted = perturbation.evaluate(one, references[name], embedding, head=head)
            rows.append(tidy(scores, name, kind))
            deltas.append(predicted.assign(dataset=name, head=kind or "ridge"))
    return pd.concat(rows, ignore_index=True), pd.concat(deltas, ignore_index=True)


# %%
def tidy(scores: pd.DataFrame, name: str, kind: str) -> pd.DataFrame:
    """One row per metric and calibrated metric; a metric without a calibrated score in any context has no such row."""
    means = scores.groupby("metric", sort=False)[["value", "calibrated"]].mean()
    values = pd.concat([means["value"], means["calibrated"].dropna().add_prefix("calibrated_")])
    return pd.DataFrame({"dataset": name, "metric": kind + values.index, "value": values.to_numpy()})


def control_scores(run: str) -> pd.DataFrame:
    """Rows of a null or a ceiling, or of the strongest of them by metric; calibrated, floor and ceiling are 0 and 1."""
    column = {"floor": "null"}.get(run, run)
    means = controls.groupby(["dataset", "metric"], sort=False)[column].mean().rename("value").reset_index()
    if run not in ("floor", "ceiling"):
        return means
    return pd.concat([means, means.assign(metric="calibrated_" + means["metric"], value=float(run == "ceiling"))])


# %%
def control_embedding(run, one) -> np.ndarray:
    """Embedding of the task's control cells, in its order."""
    if isinstance(run, str):
        return baselines.embed(run, cells[one.control_rows])
    known = np.load(artifacts.read(store.embedding_path(run)))
    return known["embedding"][np.searchsorted(known["positions"], positions[one.control_rows])]


def heads(run) -> dict:
    """The ridge head, and for selected runs the study's network."""
    if isinstance(run, str) or task.mlp is None or not task.mlp.holds(run):
        return {"": perturbation.ridge}
    return {"": perturbation.ridge, "mlp_": functools.partial(mlp, rng=study.rng("mlp", run.id))}


# %%
def needed(run) -> list[str]:
    """Artifacts that the evaluation of a run reads."""
    return [*inputs, file.relative, *([] if isinstance(run, str) else [store.embedding_path(run)])]


scores = judging.judge(artifacts, "perturbation", runs, evaluate, inputs=needed, settings=settings)

# %% [markdown]
# ## Scores
# Not calibrated, since null and ceiling are too near each other:

# %% tags=["show"]
lost = [perturbation.inseparable(one).assign(dataset=name) for name, one in references.items()]
pd.concat(lost, ignore_index=True)[["dataset", "held_out", "metric", "null", "ceiling", "gap_sd"]].style.format(
    precision=3
)

# %% tags=["show"]
from helpers.plots import evaluation_figures as plots

if runs:
    shown = scores[scores["metric"].isin(["delta_r", "specific_r", "specific_auprc", "tail_r"])]
    overview = shown.pivot_table(index="run", columns=["dataset", "metric"], values="value", sort=False)
    display(overview.style.format("{:.3f}", na_rep="–"))

# %% tags=["show"]
if runs and strategy != NO_STRATEGY:
    names = [f"calibrated_{name}" for name in ("delta_r", "specific_r", "specific_auprc", "de_overlap")]
    display(plots.scores_by_size(scores, metrics=names, unit="0 = null, 1 = ceiling"))

# %% tags=["show"]
if not runs:
    finding(f"All runs of {family} ({strategy}) were given up: there is nothing to judge.")
elif strategy == NO_STRATEGY:
    wide = overview.xs("specific_r", axis=1, level="metric")
    told = "; ".join(f"{name} {wide.loc['floor', name]:.2f} to {wide.loc['ceiling', name]:.2f}" for name in wide)
    finding(f"Correlation of the context-specific response, strongest null to ceiling: {told}.")
else:
    own = scores[scores["metric"] == "calibrated_specific_r"].pivot_table(
        index="run", columns="dataset", values="value"
    )
    told = ", ".join(
        f"{name} {own[name].iloc[0]:.2f}" + (f" → {own[name].iloc[-1]:.2f}" if len(own) > 1 else "") for name in own
    )
    finding(
        f"Calibrated correlation of the context-specific response by {family} ({strategy}), smallest to largest size: "
        f"{told} (0: strongest null, 1: ceiling, means over seeds)."
    )
