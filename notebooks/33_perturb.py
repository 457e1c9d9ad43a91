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

import pandas as pd

from helpers import failures, judging, store
from helpers.design import NO_STRATEGY
from helpers.evaluate import perturbation, perturbation_means
from helpers.evaluate.perturbation_heads import mlp
from helpers.judging_responses import read_responses
from helpers.reading import finding

study, artifacts = store.open_store(design, results, stage="33_perturb")
task = study.evaluations.perturbation
runs = judging.runs_of(study, artifacts, "perturbation", family, width, strategy, percentages, seeds)

# %% [markdown]
# ## The tasks
# For each held-out type or lineage, which conditions teach and which test.

# %%
judged = read_responses(artifacts)
tasks = judged.tasks
assert not judged.roles.isin(["corpus", "validation"]).any(), "a cell that pretraining saw would judge"

# %% [markdown]
# ## Nulls and ceilings
# They know no model, and are computed once.

# %%
inputs = ["corpus", "split.parquet", "evaluation_sets.parquet"]
settings = {"seed": study.seed, **task.model_dump(exclude={"runs", "axes"}), "folds": judged.folds}
settings["splits"] = {name: entry.split for name, entry in study.external.items()}
file = artifacts.artifact(store.controls_path("perturbation"), inputs=inputs, settings=settings)
stored = pd.read_parquet(artifacts.read(file.relative)) if file.fresh else None

# %%
references, unprepared = judged.references(study, stored)
rows = [
    reference.controls.reset_index(names="metric").assign(
        dataset=name, n_de=perturbation_means.n_de(reference.truth), **where._asdict()
    )
    for (name, *_), of_task in zip(tasks, references, strict=True)
    for where, reference in of_task.items()
]
controls = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=["dataset", "metric"])
if stored is None or set(controls["dataset"]) > set(stored["dataset"]):
    with file.write() as path:
        controls.to_parquet(path, index=False)

# %% [markdown]
# ## Predict
# Baselines that are nulls or ceilings have their scores from above; `own_pca` is a head on the components of the
# control cells alone. A dataset's value, null and ceiling are means over the same held-out conditions, a calibrated
# score over those that separate null from ceiling; `n_conditions` counts them. The scores of each condition are kept.


# %%
def evaluate(run, dataset: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tidy scores of a dataset and of its held-out conditions, and predicted responses by gene."""
    if dataset in unprepared:
        raise failures.FailedPartsError(f"no nulls and ceilings of {dataset}: {unprepared[dataset]}")
    if run in controls or run in ("floor", "ceiling"):
        return with_means(control_scores(run, dataset)), pd.DataFrame({"dataset": [], "gene": [], "delta": []})
    rows, deltas = [], []
    for (name, one, controls_at), of_task in zip(tasks, references, strict=True):
        if name != dataset:
            continue
        embedding = judged.control_embedding(artifacts, run, controls_at)
        for kind, head in heads(run).items():
            scores, predicted = perturbation.evaluate(one, of_task, embedding, head=head)
            rows.append(scores.assign(dataset=name, metric=kind + scores["metric"]))
            deltas.append(predicted.assign(dataset=name, head=kind or "ridge"))
    return with_means(pd.concat(rows)), pd.concat(deltas, ignore_index=True)


# %%
def with_means(scores: pd.DataFrame) -> pd.DataFrame:
    """Means over the conditions of each dataset, and below them the conditions."""
    columns = ["dataset", "context", "perturbation", "metric", "value", "null", "ceiling", "calibrated", "n_de"]
    conditions = scores.rename(columns={"held_out": "context"})[columns]
    return pd.concat([perturbation_means.means(conditions), conditions], ignore_index=True)


def control_scores(run: str, dataset: str) -> pd.DataFrame:
    """Scores by condition of a null or a ceiling, or of the strongest of them by metric."""
    scores = controls[controls["dataset"] == dataset]
    scores = scores.assign(value=scores[{"floor": "null"}.get(run, run)])
    return scores.assign(calibrated=perturbation_means.calibrated(scores))


# %%
def heads(run) -> dict:
    """The ridge head, and for selected runs the study's network."""
    if isinstance(run, str) or task.mlp is None or not task.mlp.holds(run):
        return {"": perturbation.ridge}
    return {"": perturbation.ridge, "mlp_": functools.partial(mlp, rng=study.rng("mlp", run.id), lr=task.mlp_lr)}


# %%
needed = [*inputs, file.relative]
everything, failed = judging.judge(artifacts, "perturbation", runs, evaluate, inputs=needed, settings=settings)
scores = judging.whole(everything)

# %% [markdown]
# ## Scores

# %% tags=["show"]
from helpers.findings import model_of, seeds_of
from helpers.reading import between
from helpers.words import counted

if not len(scores):
    finding(f"{judging.nothing(family, strategy)} 50_collect lists the reasons.")
else:
    shown = scores[scores["metric"].isin(["delta_r", "specific_r", "specific_auprc", "tail_r"])]
    overview = shown.pivot_table(index="run", columns=["dataset", "metric"], values="value", sort=False)
    told = scores[scores["metric"] == "calibrated_specific_r"]
    means = told.pivot_table(index="run", columns="dataset", values="value", sort=False).dropna(axis=1)
if len(scores) and strategy == NO_STRATEGY:
    wide = overview.xs("specific_r", axis=1, level="metric")
    null, ceiling = (between(wide.loc[name], ".2f") for name in ("floor", "ceiling"))
    own = wide.reindex(["own_pca"]).iloc[0] > wide.loc["floor"]
    finding(
        f"The correlation with what is specific to a held-out type's response is {null} for the strongest null and "
        f"{ceiling} for the ceiling, over {counted(wide.shape[1], 'set')}. A head on the components of the control "
        f"cells alone is above that null on {own.sum()} of them."
    )

# %% tags=["show"]
if len(scores) and strategy != NO_STRATEGY and means.empty:
    finding("No set tells the strongest null from the ceiling. Whether the embedding helps cannot be said.")
elif len(scores) and strategy != NO_STRATEGY:
    last, first = means.iloc[-1], means.iloc[0]
    ends = " to ".join(f"{last[name]:.2f} ({name})" for name in dict.fromkeys((last.idxmin(), last.idxmax())))
    size = f" at {last.name:g} % of the corpus" if last.name > 0 else ""
    than_first = f", and on {(last > first).sum()} above its own score at {first.name:g} %" if len(means) > 1 else ""
    finding(
        f"In predicting what is specific to a held-out type, {model_of(family, width, strategy)} reaches {ends}{size}, "
        f"where 0 is the strongest null and 1 the ceiling (mean over {seeds_of(runs)}). On {(last > 0).sum()} of "
        f"{counted(len(last), 'set')} it is above the null{than_first}."
    )

# %% tags=["show"]
if len(scores):
    display(overview.style.format("{:.3f}", na_rep="–"))

# %% tags=["show"]
from helpers.plots import evaluation_figures as plots
from helpers.plots import looks

looks.know_design(study)
if len(scores):
    names = [f"calibrated_{name}" for name in ("delta_r", "specific_r", "specific_auprc", "de_overlap")]
    display(plots.scores_by_size(scores, metrics=names, unit="0 = null, 1 = ceiling"))

# %% [markdown]
# Not calibrated, since null and ceiling are too near each other:

# %% tags=["show"]
lost = [
    perturbation.inseparable(of_task).assign(dataset=name)
    for (name, *_), of_task in zip(tasks, references, strict=True)
    if of_task
]
if lost:
    told = pd.concat(lost, ignore_index=True)[["dataset", "held_out", "metric", "null", "ceiling", "gap_sd"]]
    display(told.style.format(precision=3))

# %% [markdown]
# Calibrated scores of each condition by the runs of the largest size (means over seeds; among baselines by `own_pca`),
# unclipped, by the number of genes that the treatment truly changes; then means over the conditions of a stratum, those
# without a score left out:

# %% tags=["show"]
if len(scores):
    shown = "own_pca" if strategy == NO_STRATEGY else runs[-1].percentage
    conditions = everything[everything["context"].notna() & (everything["run"] == shown)]
    by_condition = perturbation_means.by_condition(conditions)
    display(by_condition.style.format("{:.2f}", na_rep="–"))

# %% tags=["show"]
if len(scores):
    by_stratum = by_condition.groupby(level="stratum", sort=False).mean()
    by_stratum.insert(0, "conditions", by_condition.groupby(level="stratum", sort=False).size())
    display(by_stratum.style.format("{:.2f}", na_rep="–").format("{:d}", subset="conditions"))

# %% tags=["show"]
failures.raise_failed(failed)
