# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 20 · How does the loss fall as the corpus grows?
#
# **Finding.** *Written from the numbers when the notebook is executed.*
#
# **Method.** One model family learns from every subset of one strategy, each model from its own initial weights and
# with the same budget of cell-views. The same validation cells stop every run; the weights with the lowest validation
# loss are kept. A model that is already there, made from the same cells, settings and code, is not trained again. A
# run whose loss is no longer finite is given up, and named below.

# %% tags=["parameters"]
design: str = "params/demo.yaml"  # design file, relative to the project
results: str = "results/demo"  # folder of the results, relative to the project
family: str = "pca"  # model family
width: float = 1.0  # multiplier of the preset's width
strategy: str = "random"  # sampling of the design; untrained for models with no training
percentages: list = []  # sizes to train, in per cent of the corpus; empty for all of the design
seeds: list = []  # seeds to train; empty for all of the design

# %%
import pandas as pd

from helpers import corpus, failures, models, store
from helpers.design import UNTRAINED
from helpers.reading import finding, track

study, artifacts = store.open_store(design, results, stage="20_pretrain", modules=[family])
runs = study.select(family, width, strategy, percentages, seeds)

# %%
roles = pd.read_parquet(artifacts.read("split.parquet"))["role"].to_numpy()
cells = corpus.read_cells(artifacts)
validation = cells[roles == "validation"].copy()
chosen = study.families[family]
built = {"family": chosen.family, "preset": chosen.preset, "width": width, **chosen.settings}
options = {} if strategy == UNTRAINED else study.strategies[strategy].options
granted = study.budget_of(family)
budget = models.Budget(granted.kind, 0 if strategy == UNTRAINED else granted.amount)

# %% [markdown]
# ## Train

# %%
for run in track(runs, "models"):
    subset = [] if run.strategy == UNTRAINED else [store.subset_path(run)]
    settings = {"seed": study.seed, "run": run.id, "model": built, "options": options}
    settings |= {"budget": [budget.kind, budget.amount]}
    inputs = ["corpus", "split.parquet", "genes.parquet", *subset]
    folder = artifacts.artifact(store.model_path(run), inputs=inputs, settings=settings)
    if not folder.fresh:
        learned = corpus.training_cells(artifacts, cells, roles, run)
        training = models.TrainingCells(train=learned, validation=validation)
        model = models.create(n_genes=cells.n_vars, **built)
        with folder.write() as path:
            try:
                model.fit(training, budget=budget, rng=study.rng("model", run.id))
                model.save(path)
            except FloatingPointError as error:  # the training diverged; the others go on
                failures.give_up(path, error)

# %% [markdown]
# ## Loss curves and cost

# %% tags=["show"]
import json

from helpers.plots import stage_figures as plots

histories, cards = {}, {}
for run in failures.standing(artifacts, runs):
    folder = artifacts.read(store.model_path(run))
    histories[run] = pd.read_parquet(folder / "history.parquet")
    cards[run] = json.loads((folder / "model.json").read_text())
unit, parameters = next((card["loss_unit"], card["n_parameters"]["total"]) for card in cards.values())
plots.loss_curves(histories, unit=unit)

# %% tags=["show"]
cost = pd.DataFrame([{"percentage": run.percentage, "seed": run.seed, **card["cost"]} for run, card in cards.items()])
cost["validation_loss"] = [history["validation_loss"].min() for history in histories.values()]
columns = ["unique_cells", "steps", "cell_views", "flops", "seconds", "cells_per_second", "peak_memory_mb"]
summary = cost.groupby("percentage")[[*columns, "validation_loss"]].mean()
summary["stopped_early"] = cost.groupby("percentage")["stopped_early"].sum()
summary.style.format("{:,.0f}").format({"seconds": "{:.2f}", "validation_loss": "{:.4f}", "flops": "{:.2e}"})

# %% tags=["show"]
early = [run.id for run, card in cards.items() if card["cost"]["stopped_early"]]
given_up = {run.id: failures.reason(artifacts.root, run) for run in runs if run not in cards}
if early:
    print("Stopped before the budget was used:", *early, sep="\n  ")
if given_up:
    print("Given up:", *(f"{name}: {why}" for name, why in given_up.items()), sep="\n  ")
small, large = summary.iloc[0], summary.iloc[-1]
if strategy == UNTRAINED:
    finding(
        f"{len(cards)} untrained {family} models of {parameters:,} parameters: the floor that every trained model must "
        "leave behind."
    )
else:
    finding(
        f"The validation loss of {family} goes from {small['validation_loss']:.4f} with {small['unique_cells']:,.0f} "
        f"cells to {large['validation_loss']:.4f} with {large['unique_cells']:,.0f} ({unit}, mean of "
        f"{cost['seed'].nunique()} seeds). {len(early)} of {len(runs)} runs stopped before their budget was used, "
        f"{len(given_up)} were given up."
    )
