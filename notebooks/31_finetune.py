# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 31 · Does pretraining pay when labels are few?
#
# **Finding.** *Written from the numbers when the notebook is executed.*
#
# **Method.** A small network learns the types from the frozen embedding of the half of each evaluation set that lends
# its labels, and from 10, 50, … cells of each type, nested; the other half tests. Selected models are trained on with
# it, encoder and all. The majority class is the floor; an L1 logistic regression on expression, given the same cells,
# is the reference.

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

from helpers import corpus, failures, judging, models, store
from helpers.design import NO_STRATEGY
from helpers.evaluate import baselines, classification, finetune
from helpers.reading import finding

study, artifacts = store.open_store(design, results, stage="31_finetune")
task, rules = study.evaluations.finetuning, study.evaluations.classification
if strategy == NO_STRATEGY:
    runs = list(baselines.BASELINES["finetuning"])
else:
    chosen = study.select(family, width, strategy, percentages, seeds)
    runs = [run for run in failures.standing(artifacts, chosen) if study.judges("finetuning", run)]
cells, sets = corpus.read_evaluation_cells(artifacts, gene_space=strategy != NO_STRATEGY)
settings = finetune.FineTuneSettings(lr=task.lr, joint_lr=task.joint_lr)

# %% [markdown]
# ## Which cells teach
# The same for every model.

# %%
taught = {}
for name, part in sets.groupby("dataset", sort=False):
    train = part[part["train"]]
    shots = finetune.few_shot_rows(train["label"], task.few_shot, study.rng("shots", name), names=train["cell"])
    taught[name] = {f"_at_{n}": train.iloc[rows] for n, rows in shots.items()} | {"": train}
    assert not set(train["position"]) & set(part.loc[~part["train"], "position"]), "a test cell would be learned from"

# %% [markdown]
# ## Predict
# Labels of the test half are used for scores alone.


# %%
def predict(run, name: str, learned: pd.DataFrame, test: pd.DataFrame, full: bool) -> np.ndarray:
    """Predicted labels of the test cells (n_test,)."""
    rng = study.rng("head", getattr(run, "id", run), name, len(learned))
    rows = np.concatenate([learned["row"], test["row"]])
    if run in baselines.PREDICTORS:
        labels = np.concatenate([learned["label"], test["label"]])
        return baselines.predict(run, cells[rows], labels, np.arange(len(rows)) < len(learned))
    if full:
        model = models.load(artifacts.read(store.model_path(run)))
        given = cells[learned["row"].to_numpy()].copy()
        tuned = finetune.fine_tune(model, given, learned["label"], settings=settings, rng=rng, layers=task.layers)
        return tuned.predict(cells[test["row"].to_numpy()].copy())
    head = finetune.fit_head(embeddings(run, name)[learned["row"]], learned["label"], settings=settings, rng=rng)
    return head.predict(embeddings(run, name)[test["row"]])


# %%
def embeddings(run, name: str) -> np.ndarray:
    """Embedding of all evaluation cells by a run; by a baseline of those of one set, zeros elsewhere."""
    if not isinstance(run, str):
        return judging.embedded(artifacts, run)
    rows = sets.loc[sets["dataset"] == name, "row"].to_numpy()
    own = baselines.embed(run, cells[rows])
    embedding = np.zeros((cells.n_obs, own.shape[1]), dtype=np.float32)
    embedding[rows] = own
    return embedding


# %%
def evaluate(run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tidy scores and per-cell predictions of one run on all evaluation sets."""
    scores, predictions = [], []
    for name, part in sets.groupby("dataset", sort=False):
        types = classification.scored_types(
            part["label"], min_cells=rules.min_cells, headline_min=rules.headline_min_cells
        )
        test = part[~part["train"]]
        for kind in kinds(run):
            for shot, learned in taught[name].items():
                told = test.assign(predicted=predict(run, name, learned, test, kind == "full_"))
                values = classification.scores(told["label"], told["predicted"], types=types)
                scores += [(name, f"{kind}{metric}{shot}", value) for metric, value in values.items()]
                kept = told[["dataset", "position", "label", "predicted"]]
                predictions.append(kept.assign(way=f"{kind}head{shot}"))
    return judging.tidy(scores), pd.concat(predictions, ignore_index=True)


def kinds(run) -> list[str]:
    """The head alone, and for selected runs the encoder with it."""
    selected = not isinstance(run, str) and task.full is not None and task.full.holds(run)
    return ["", "full_"] if selected else [""]


# %%
def inputs(run) -> list[str]:
    """Artifacts that the evaluation of a run reads."""
    learned_by = [] if isinstance(run, str) else [store.embedding_path(run), store.model_path(run)]
    return ["corpus", "evaluation_sets.parquet", "genes.parquet", *learned_by]


limits = rules.model_dump(include={"min_cells", "headline_min_cells"})
options = {"seed": study.seed, "task": task.model_dump(), "limits": limits}
scores = judging.judge(artifacts, "finetuning", runs, evaluate, inputs=inputs, settings=options)

# %% [markdown]
# ## Scores against the number of cells that teach

# %% tags=["show"]
from helpers.plots import evaluation_figures as plots

if runs:
    shown = scores[scores["metric"].str.contains("macro_f1")]
    overview = shown.pivot_table(index="run", columns=["dataset", "metric"], values="value", sort=False)
    display(overview.style.format("{:.3f}", na_rep="–"))

# %% tags=["show"]
if runs:
    display(plots.few_shot_curves(scores))

# %% tags=["show"]
if runs:
    few = f"macro_f1_at_{min(task.few_shot)}" if task.few_shot else "macro_f1"
    ends = overview.xs(few, axis=1, level="metric")
    told = ", ".join(f"{name} {ends[name].iloc[0]:.2f} → {ends[name].iloc[-1]:.2f}" for name in ends.columns)
    which = "the first and the last baseline" if strategy == NO_STRATEGY else f"{family} ({strategy})"
    shots = f"{min(task.few_shot)} cells of each type" if task.few_shot else "all cells"
    finding(
        f"Macro F1 of a head taught by {shots}, {which}, from the first to the last row of the table: {told}. Seeds "
        "are averaged; few cells make single runs noisy."
    )
else:
    finding(f"No run of {family} ({strategy}) is judged: they were given up, or the design does not select them.")
