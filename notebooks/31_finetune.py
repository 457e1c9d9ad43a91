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
import functools

import numpy as np
import pandas as pd

from helpers import corpus, failures, judging, models, store
from helpers.design import NO_STRATEGY
from helpers.evaluate import baselines, classification, finetune
from helpers.reading import finding

study, artifacts = store.open_store(design, results, stage="31_finetune")
task, rules = study.evaluations.finetuning, study.evaluations.classification
runs = judging.runs_of(study, artifacts, "finetuning", family, width, strategy, percentages, seeds)
cells, sets = corpus.read_evaluation_cells(artifacts, gene_space=strategy != NO_STRATEGY)
settings = finetune.FineTuneSettings(lr=task.lr, joint_lr=task.joint_lr)

# %% [markdown]
# ## Which cells teach
# The same for every model.


# %%
@functools.cache
def taught(name: str) -> dict[str, np.ndarray]:
    """Rows of the cells of one set that teach, (n_cells,), by the number of cells of each type, and all of them."""
    part = sets[sets["dataset"] == name]
    half = np.flatnonzero(part["train"])
    train = part.iloc[half]
    assert not set(train["position"]) & set(part.loc[~part["train"], "position"]), "a test cell would be learned from"
    shots = finetune.few_shot_rows(train["label"], task.few_shot, study.rng("shots", name), names=train["cell"])
    return {f"_at_{n}": half[rows] for n, rows in shots.items()} | {"": half}


# %% [markdown]
# ## Predict
# Labels of the test half are used for scores alone.


# %%
def predict(run, kind: str, part: pd.DataFrame, embedding: np.ndarray | None, learned: np.ndarray) -> np.ndarray:
    """Predicted labels of the test cells of one set (n_test,); `learned` are the rows of `part` that teach."""
    labels, rows, test = part["label"].to_numpy(), part["row"].to_numpy(), np.flatnonzero(~part["train"])
    rng = study.rng("head", getattr(run, "id", run), part["dataset"].iloc[0], len(learned))
    if embedding is None:
        both = np.concatenate([learned, test])
        return baselines.predict(run, cells[rows[both]], labels[both], np.arange(len(both)) < len(learned))
    if kind == "full_":
        model = models.load(artifacts.read(store.model_path(run)))
        given = cells[rows[learned]].copy()
        tuned = finetune.fine_tune(model, given, labels[learned], settings=settings, rng=rng, layers=task.layers)
        return tuned.predict(cells[rows[test]].copy())
    return finetune.fit_head(embedding[learned], labels[learned], settings=settings, rng=rng).predict(embedding[test])


# %%
def evaluate(run, name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tidy scores and per-cell predictions of one run on one evaluation set."""
    scores, predictions, part = [], [], sets[sets["dataset"] == name]
    types = classification.scored_types(part["label"], min_cells=rules.min_cells, headline_min=rules.headline_min_cells)
    test, by_genes = part[~part["train"]], run in baselines.PREDICTORS
    embedding = None if by_genes else judging.embedded(artifacts, run, cells, part["row"].to_numpy())
    for kind in kinds(run):
        for shot, learned in taught(name).items():
            told = test.assign(predicted=predict(run, kind, part, embedding, learned))
            values = classification.scores(told["label"], told["predicted"], types=types)
            scores += [(name, f"{kind}{metric}{shot}", value) for metric, value in values.items()]
            kept = told[["dataset", "position", "label", "predicted"]]
            predictions.append(kept.assign(way=f"{kind}head{shot}"))
    return judging.tidy(scores), pd.concat(predictions, ignore_index=True)


# %%
def kinds(run) -> list[str]:
    """The head alone, and for selected runs the encoder with it."""
    selected = not isinstance(run, str) and task.full is not None and task.full.holds(run)
    return ["", "full_"] if selected else [""]


# %%
inputs = ["corpus", "evaluation_sets.parquet", "genes.parquet"]
limits = rules.model_dump(include={"min_cells", "headline_min_cells"})
options = {"seed": study.seed, "task": task.model_dump(exclude={"runs"}), "limits": limits}
of_run = [store.embedding_path, store.model_path]
scores, failed = judging.judge(artifacts, "finetuning", runs, evaluate, inputs=inputs, of_run=of_run, settings=options)

# %% [markdown]
# ## Scores against the number of cells that teach

# %% tags=["show"]
from helpers.findings import model_of, on_all_sets, on_baselines, on_one_set, seeds_of
from helpers.words import counted

headline, fewest = study.evaluations.heldout_loss.headline, min(task.few_shot, default=None)
few, shots = (f"macro_f1_at_{fewest}", f"{fewest} cells of each type") if fewest else ("macro_f1", "all teaching cells")
if not len(scores):
    finding(f"{judging.nothing(family, strategy)} 50_collect lists the reasons.")
else:
    limited = judging.with_limits(artifacts, "finetuning", scores)
    shown = scores[scores["metric"].str.contains("macro_f1")]
    overview = shown.pivot_table(index="run", columns=["dataset", "metric"], values="value", sort=False)
    means = overview.xs(few, axis=1, level="metric")
if len(scores) and strategy == NO_STRATEGY:
    finding(on_baselines(means, headline, what="a macro F1", floor="majority", given=f"Taught by {shots}"))

# %% tags=["show"]
if len(scores) and strategy != NO_STRATEGY:
    told = f"Taught by {shots}, a head on {model_of(family, width, strategy)} has a macro F1 that "
    told += f"{on_one_set(means, headline)} (mean over {seeds_of(runs)}). "
    if "ceiling" in limited:
        known = limited[limited["metric"] == few].groupby("dataset", sort=False)["ceiling"].first()
        name, last = headline if headline in known else known.index[0], means.iloc[-1]
        better = int((last > known[last.index]).sum())
        size = f" at {means.index[-1]:g} %" if len(means) > 1 else ""
        told += f"Logistic regression on the same cells' expression has {known[name]:.2f} there, and the head is "
        told += f"ahead of it on {better} of {counted(len(last), 'set')}{size}."
    else:
        told += on_all_sets(means)
    finding(told)

# %% tags=["show"]
if len(scores):
    display(overview.style.format("{:.3f}", na_rep="–"))

# %% [markdown]
# Means over seeds. Few cells make single runs noisy.

# %% tags=["show"]
from helpers.plots import evaluation_figures as plots

if len(scores):
    display(plots.few_shot_curves(limited))

# %% tags=["show"]
failures.raise_failed(failed)
