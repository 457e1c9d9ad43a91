# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 63 · Do predicted responses improve with treated cells, or with contexts?
#
# **Finding.** *Written from the numbers when the notebook is executed.*
#
# **Method.** The encoder stays as it is; what varies is what teaches the ridge head of `33_perturb`: a share of the
# treated training cells of all contexts, or all cells of few contexts, drawn several times. The same held-out cells
# judge all of them, against null and ceiling of the whole task, so that scores are comparable along an axis; the
# context-specific part stays that beside the mean of all training contexts. The mean of what teaches is a series of
# its own: more contexts help a head only where it leaves that mean. With one context there is nothing else to predict,
# with two nothing to choose a penalty by, and the weakest is taken.
# Contexts bring their cells along: compare them at the number of treated cells. The spread is that over draws, which
# share cells where they take many; curves of one fold share its draws and its judges, and are no independent findings.

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
there = [run for run in failures.standing(artifacts, study.runs()) if artifacts.has(store.embedding_path(run))]
asked_for = [run for run in study.runs() if axes.runs.holds(run)]
runs = [run for run in asked_for if run in there]
judged = read_responses(artifacts)
assert not judged.roles.isin(["corpus", "validation"]).any(), "a cell that pretraining saw would judge"

# %% [markdown]
# ## What teaches
# No treated cell of a held-out type or lineage is left in what a head is given.

# %%
asked = {"shares": axes.treated, "contexts": axes.contexts, "repeats": axes.repeats}
lessons = []
for name, task, _ in judged.tasks:
    rng = study.rng("response axes", name, *task.training)
    lessons.append(perturbation_axes.lessons(task, **asked, rng=rng))
    held_out = {condition.context for condition in task.training}
    for lesson in lessons[-1]:
        assert held_out.isdisjoint(task.cells["context"].iloc[lesson.treated]), "a cell would teach and be predicted"

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
settings |= {"folds": judged.folds, "splits": {name: entry.split for name, entry in study.external.items()}}
file = artifacts.artifact("response_axes.parquet", inputs=needed, settings=settings)
if not file.fresh:
    references, _ = judged.references(study, pd.read_parquet(artifacts.read(controls)))
    with file.write() as path:
        parts = [part for part in zip(judged.tasks, references, lessons, strict=True) if part[1]]  # has its controls
        pd.concat([scores_of(*part) for part in track(parts, "folds")], ignore_index=True).to_parquet(path, index=False)
table = pd.read_parquet(artifacts.read("response_axes.parquet"))

# %% [markdown]
# ## What the curves say

# %% tags=["show"]
from helpers.analysis.response_axes import advantages, axis_verdicts
from helpers.design import NO_STRATEGY, UNTRAINED
from helpers.reading import finding, note
from helpers.words import counted

told, races = table.dropna(subset="calibrated"), pd.DataFrame({"n_draws": []})
names = [name for name in ("specific_r", "delta_r") if name in set(told["metric"])]
rng = study.rng("response axes", "verdicts")
found = [axis_verdicts(told, metric=name, rng=rng).assign(metric=name) for name in names]
if found:
    verdicts = pd.concat(found, ignore_index=True)
    verdicts["rises"] = verdicts["gain_low"] > 0
    verdicts["taught"] = (verdicts["family"] == "training_mean").map({True: "mean of what teaches", False: "heads"})
    keys = ["metric", "axis", "taught"]
    curves = verdicts.groupby(keys, sort=False).agg(
        curves=("gain", "size"), rise=("rises", "sum"), median_gain=("gain", "median")
    )
    counts = verdicts.pivot_table(index=keys, columns="verdict", values="gain", aggfunc="size", fill_value=0)
    against = [advantages(told, metric=name).assign(metric=name) for name in names]
    races = pd.concat(against, ignore_index=True).query("n_draws > 1")
races = races.assign(won=races["low"] > 0, lost=races["high"] < 0) if len(races) else races

# %% tags=["show"]
RIVALS = {"untrained": "their untrained selves", "own_pca": "own PCA", "training_mean": "the mean of what teaches"}
of_rival = {}  # in how many levels pretrained encoders are ahead and behind, in words
for rival, name in RIVALS.items():
    part = races[(races["metric"] == names[0]) & (races["rival"] == rival)] if len(races) else races
    if len(part):
        levels = f"{part['won'].sum()} of {counted(len(part), 'level')} and behind at {part['lost'].sum()}"
        of_rival[rival] = f"{name} at {levels}"

# %% tags=["show"]
pretrained = table[~table["strategy"].isin([NO_STRATEGY, UNTRAINED])]
seeds = counted(pretrained["seed"].nunique(), "seed")
if found:
    what = {"specific_r": "Predicted type-specific responses", "delta_r": "Predicted responses"}[names[0]]
    heads = [curves.loc[(names[0], axis, "heads")] for axis in ("treated cells", "contexts")]
    rose = [f"{one['rise']:.0f} of {one['curves']:.0f}" for one in heads]
    gains = [f"{one['median_gain']:.2f}" for one in heads]
    first = next(iter(of_rival.values()), "")
    race = f"In all {axes.repeats} draws, pretrained encoders ({seeds}) are ahead of {first}"
    race = race if first else "Pretrained encoders have no rival here"
    finding(
        f"{what} are shown to improve with treated cells on {rose[0]} curves (median gain {gains[0]} from null "
        f"to ceiling) and with contexts on {rose[1]} ({gains[1]}). {race}."
    )
else:
    finding("No fold has a metric that tells null from ceiling. Whether responses get better cannot be told.")

# %% tags=["show"]
judged_folds = table[["dataset", "held_out"]].drop_duplicates()
absent = {"encoder": len(asked_for) - len(runs), "fold": len(judged.tasks) - len(judged_folds)}
absent = [counted(n, what) for what, n in absent.items() if n]
if absent:
    note(f"Not in here, as they failed or are not made yet: {', '.join(absent)}.")

# %% [markdown]
# By the rules of `helpers.analysis.scaling`; the loss is 1 less the calibrated score. A curve is shown to rise if the
# 90 % interval of the gain, from the smallest level to the whole task, lies over 0. Folds where null and ceiling cannot
# be told apart are left out. Draws, seeds and contexts are few, and say nothing of others or of other treatments.

# %% tags=["show"]
if found:
    display(curves.join(counts).style.format("{:.2f}", subset="median_gain"))

# %% [markdown]
# ## Scores along both axes
# 0 is the strongest null of the whole task and 1 its ceiling. First the whole response, then what is specific to the
# held-out type.

# %% tags=["show"]
from helpers.plots import looks
from helpers.plots import response_figures as plots

looks.know_design(study)
plots.response_axes(table, metric="delta_r")

# %% tags=["show"]
plots.response_axes(table, metric="specific_r")

# %% tags=["show"]
if found:
    shown = verdicts[verdicts["metric"] == names[0]].drop(columns=["held_out", "width", "rises", "taught", "metric"])
    display(shown.style.format(precision=2, na_rep="–").hide())

# %% [markdown]
# ## Does pretraining help along the way?
# Differences of calibrated scores on the same draws. A level is won where the encoder is ahead in every draw and lost
# where it is behind in every draw; the whole task, which has one, and single contexts are left out.

# %% tags=["show"]
if len(races):
    note(f"In all {axes.repeats} draws, pretrained encoders are ahead of:", of_rival.values())
    groups = races.groupby(["metric", "family", "percentage", "axis", "rival"], sort=False)
    columns = {
        "levels": ("gain", "size"),
        "won": ("won", "sum"),
        "lost": ("lost", "sum"),
        "mean gain": ("gain", "mean"),
    }
    display(groups.agg(**columns).style.format(precision=3))

# %% [markdown]
# ## What taught
# A row for each held-out type or lineage.

# %% tags=["show"]
pd.DataFrame(
    [
        {"fold": name, "held out": ", ".join(sorted({one.context for one in task.training}))}
        | {"training contexts": max(lesson.n_contexts for lesson in of_fold)}
        | {"treated training cells": max(len(lesson.treated) for lesson in of_fold), "draws": len(of_fold)}
        for (name, task, _), of_fold in zip(judged.tasks, lessons, strict=True)
    ]
).style.format(thousands=",").hide()
