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
settings |= {"folds": judged.folds, "splits": {name: entry.split for name, entry in study.external.items()}}
file = artifacts.artifact("response_axes.parquet", inputs=needed, settings=settings)
if not file.fresh:
    references, _ = judged.references(study, pd.read_parquet(artifacts.read(controls)))
    with file.write() as path:
        parts = [part for part in zip(judged.tasks, references, lessons, strict=True) if part[1]]  # has its controls
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
# By the rules of `helpers.analysis.scaling`; the loss is 1 less the calibrated score. A curve is shown to rise if the
# 90 % interval of the gain, from the smallest level to the whole task, lies over 0. Folds where null and ceiling cannot
# be told apart are left out.

# %% tags=["show"]
told = table.dropna(subset="calibrated")
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
    display(curves.join(counts).style.format("{:.2f}", subset="median_gain"))

# %% tags=["show"]
if found:
    shown = verdicts[verdicts["metric"] == names[0]].drop(columns=["held_out", "width", "rises", "taught", "metric"])
    display(shown.style.format(precision=2, na_rep="–").hide())

# %% [markdown]
# ## Does pretraining help along the way?
# Differences of calibrated scores on the same draws. A level is won where the encoder is ahead in every draw and lost
# where it is behind in every draw; the whole task, which has one, and single contexts are left out.

# %% tags=["show"]
races = pd.DataFrame({"n_draws": []})
if found:
    against = [advantages(told, metric=name).assign(metric=name) for name in names]
    races = pd.concat(against, ignore_index=True).query("n_draws > 1")
if len(races):
    races = races.assign(won=races["low"] > 0, lost=races["high"] < 0)
    sides = races.groupby(["metric", "family", "percentage", "axis", "rival"], sort=False)
    columns = {
        "levels": ("gain", "size"),
        "won": ("won", "sum"),
        "lost": ("lost", "sum"),
        "mean gain": ("gain", "mean"),
    }
    display(sides.agg(**columns).style.format(precision=3))

# %% tags=["show"]
ahead = "no rival, as none is there"
if found:
    rose = []
    for axis in ("treated cells", "contexts"):
        heads, mean = (curves.loc[(names[0], axis, who)] for who in ("heads", "mean of what teaches"))
        laws = counts.get("power law", 0 * counts.iloc[:, 0])[names[0], axis, "heads"]
        rose.append(
            f"with {axis} on {heads['rise']:.0f} of {heads['curves']:.0f} curves (median gain "
            f"{heads['median_gain']:.2f}; the mean of what teaches: {mean['median_gain']:.2f}; power laws: {laws})"
        )
if len(races):
    rivals = {"untrained": "their untrained selves", "own_pca": "own PCA", "training_mean": "the mean of what teaches"}
    of_rival = races[races["metric"] == names[0]].groupby("rival")
    own = of_rival.agg(n=("won", "size"), won=("won", "sum"), lost=("lost", "sum"))
    ahead = "; ".join(
        f"{told} at {own.loc[key, 'won']} of {own.loc[key, 'n']} levels, behind at {own.loc[key, 'lost']}"
        for key, told in rivals.items()
        if key in own.index
    )

# %% tags=["show"]
judged_folds = table[["dataset", "held_out"]].drop_duplicates()
absent = {"encoders": len(asked_for) - len(runs), "folds": len(judged.tasks) - len(judged_folds)}
absent = ", ".join(f"{n} {what}" for what, n in absent.items() if n)
missing = f" Not in here, as they failed or are not made yet: {absent}." if absent else ""
if found:
    finding(
        f"Calibrated {names[0].replace('_', ' ')} is shown to rise {' and '.join(rose)}. Pretrained encoders are ahead "
        f"in all draws of {ahead}. Draws: {axes.repeats}, encoder seeds: {table['seed'].nunique()}, contexts: at most "
        f"{table['n_contexts'].max()}. They are few, and say nothing of other treatments, contexts or seeds."
        f"{missing}"
    )
else:
    finding(f"No fold has a metric that tells null from ceiling: whether responses get better cannot be told.{missing}")
