# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 63 · Does a predicted response get better with treated cells, or with contexts?
#
# **Finding.** *Written from the numbers when the notebook is executed.*
#
# **Method.** The encoder stays as it is; what varies is what teaches the ridge head of `33_perturb`: a share of the
# treated training cells of all contexts, or all cells of few contexts, drawn several times. The same held-out cells
# judge all of them, against null and ceiling of the whole task, so that scores are comparable along an axis; the
# context-specific part stays that beside the mean of all training contexts. The mean of what teaches is a series of
# its own: more contexts help a head only where it leaves that mean. With one context there is nothing else to predict.
# Contexts bring their cells along: compare them at the number of treated cells. The spread is that over draws, which
# share cells where they take many; encoder seeds are those that the design asks for.

# %% tags=["parameters"]
design: str = "params/demo.yaml"  # design file, relative to the project
results: str = "results/demo"  # folder of the results, relative to the project

# %%
import pandas as pd

from helpers import failures, store
from helpers.evaluate import perturbation_axes
from helpers.judging_responses import read_responses
from helpers.reading import track

study, artifacts = store.open_store(design, results, stage="63_response_axes")
axes = study.evaluations.response_axes
assert axes is not None, "the design asks for no axes: name them in evaluations.perturbation.axes"
runs = [run for run in failures.standing(artifacts, study.runs()) if axes.runs.holds(run)]
judged = read_responses(artifacts)
assert not judged.roles.isin(["corpus", "validation"]).any(), "a cell that pretraining saw would judge"

# %% [markdown]
# ## What teaches
# A row for each held-out type or lineage. No treated cell of it is left in what a head is given.

# %%
asked = {"shares": axes.treated, "contexts": axes.contexts, "repeats": axes.repeats}
lessons = []
for name, task, _ in judged.tasks:
    rng = study.rng("response axes", name, *task.training)
    lessons.append(perturbation_axes.lessons(task, **asked, rng=rng))
    held_out = {condition.context for condition in task.training}
    for lesson in lessons[-1]:
        assert held_out.isdisjoint(task.cells["context"].iloc[lesson.treated]), "a cell would teach and be predicted"

# %% tags=["show"]
pd.DataFrame(
    [
        {"fold": name, "held out": ", ".join(sorted({one.context for one in task.training}))}
        | {"training contexts": max(lesson.n_contexts for lesson in of_fold)}
        | {"treated training cells": max(len(lesson.treated) for lesson in of_fold), "draws": len(of_fold)}
        for (name, task, _), of_fold in zip(judged.tasks, lessons, strict=True)
    ]
).style.format(thousands=",").hide()

# %% [markdown]
# ## Teach and judge


# %%
def described(run) -> dict:
    """Columns that tell an encoder."""
    if isinstance(run, str):
        return {"run_id": f"{run}/none", "family": run, "strategy": "none"}
    told = {"run_id": run.id, "family": run.family, "width": run.width, "strategy": run.strategy}
    return told | {"percentage": run.percentage, "seed": run.seed}


def scores_of(fold, references, taught) -> pd.DataFrame:
    """Scores of all encoders on one held-out type or lineage."""
    encoders = {getattr(run, "id", run): run for run in (*runs, "own_pca")}
    given = {name: judged.control_embedding(artifacts, run, fold.positions) for name, run in encoders.items()}
    scores = pd.concat(perturbation_axes.scores_along(fold.task, references, given, taught), ignore_index=True)
    told = {name: described(run) for name, run in (encoders | {"training_mean": "training_mean"}).items()}
    columns = pd.DataFrame(told).T.reindex(columns=["run_id", "family", "width", "strategy", "percentage", "seed"])
    held_out = ", ".join(sorted({condition.context for condition in fold.task.training}))
    where = {"dataset": fold.dataset, "held_out": held_out}
    return scores.join(columns.infer_objects(), on="encoder").drop(columns="encoder").assign(**where)


# %%
controls = store.controls_path("perturbation")
needed = ["corpus", "split.parquet", "evaluation_sets.parquet", controls, *map(store.embedding_path, runs)]
settings = {"seed": study.seed, **study.evaluations.perturbation.model_dump(exclude={"runs", "mlp"})}
file = artifacts.artifact("response_axes.parquet", inputs=needed, settings=settings | {"folds": judged.folds})
if not file.fresh:
    references = judged.references(study, pd.read_parquet(artifacts.read(controls)))
    with file.write() as path:
        parts = list(zip(judged.tasks, references, lessons, strict=True))
        pd.concat([scores_of(*part) for part in track(parts, "folds")], ignore_index=True).to_parquet(path, index=False)
table = pd.read_parquet(artifacts.read("response_axes.parquet"))

# %% [markdown]
# ## Scores along both axes
# 0 is the strongest null of the whole task and 1 its ceiling. First the whole response, then what is specific to the
# held-out type.

# %% tags=["show"]
from helpers.analysis.response_axes import advantages, axis_verdicts
from helpers.plots import response_figures as plots
from helpers.reading import finding

plots.response_axes(table, metric="delta_r")

# %% tags=["show"]
plots.response_axes(table, metric="specific_r")

# %% [markdown]
# ## What the curves say
# By the rules of `helpers.analysis.scaling`; the loss is 1 less the calibrated score.

# %% tags=["show"]
names = ["delta_r", "specific_r"]
rng = study.rng("response axes", "verdicts")
verdicts = pd.concat([axis_verdicts(table, metric=name, rng=rng).assign(metric=name) for name in names])
verdicts
