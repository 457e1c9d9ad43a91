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
# with the same budget at most. The same validation cells stop every run; the weights with the lowest validation loss
# are kept. PCA, which is solved and not trained, sees each cell of its subset. A model that is already there, made from
# the same cells, settings and code, is not trained again. A run is given up, and named below, if its loss is no longer
# finite, memory is too small, or its cells cannot teach the family; the others go on.

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
from helpers.reading import finding, note, track

study, artifacts = store.open_store(design, results, stage="20_pretrain", modules=[family])
runs = study.select(family, width, strategy, percentages, seeds)

# %%
roles = corpus.read_roles(artifacts)
cells = corpus.open_cells(artifacts)
validation = cells[roles == "validation"].to_memory()
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
        model = models.create(n_genes=cells.n_vars, **built)
        with corpus.training_cells(artifacts, cells, roles, run) as learned, folder.write() as path:
            try:
                training = models.TrainingCells(train=learned, validation=validation)
                model.fit(training, budget=budget, rng=study.rng("model", run.id))
                model.save(path)
            except (FloatingPointError, MemoryError, models.UnfitCellsError) as error:
                failures.give_up(path, error)

# %% [markdown]
# ## Loss and cost

# %% tags=["show"]
import json

from helpers.findings import model_of
from helpers.plots.style import family_name
from helpers.words import counted, doing, trend

histories, cards = {}, {}
for run in failures.standing(artifacts, runs):
    folder = artifacts.read(store.model_path(run))
    histories[run] = pd.read_parquet(folder / "history.parquet")
    cards[run] = json.loads((folder / "model.json").read_text())
unit = next((card["loss_unit"] for card in cards.values()), "")
best = {run: {"validation_loss": history["validation_loss"].min()} for run, history in histories.items()}
cost = pd.DataFrame(
    [{"percentage": run.percentage, "seed": run.seed, **card["cost"], **best[run]} for run, card in cards.items()]
)

# %% tags=["show"]
forms = dict.fromkeys(["unique_cells", "steps", "cell_views", "cells_per_second", "peak_memory_mb"], "{:,.0f}")
forms |= {"flops": "{:.2e}", "seconds": "{:.2f}", "sweep_seconds": "{:.2f}", "within_study_triplets": "{:.0%}"}
forms |= {"validation_loss": "{:.4f}", "stopped_early": "{:.0f}"}  # means over seeds, and how many stopped
sums = {column: "sum" if column == "stopped_early" else "mean" for column in forms if column in cost}
summary = cost.groupby("percentage").agg(sums) if cards else cost
n_early = sum(card["cost"]["stopped_early"] for card in cards.values())
n_given_up = len(runs) - len(cards)

# %% tags=["show"]
model, n_models = (
    model_of(family, width, strategy),
    counted(len(cards), f"untrained {family_name(family, width)} model"),
)
if not cards:
    which = f"All {n_given_up} runs of {model} were" if n_given_up > 1 else f"The one run of {model} was"
    finding(f"{which} given up. The reasons stand below.")
elif strategy == UNTRAINED:
    parameters = next(card["n_parameters"]["total"] for card in cards.values())
    each = f"{'has' if len(cards) == 1 else 'have'} {parameters:,} parameters{'' if len(cards) == 1 else ' each'}"
    finding(f"{n_models} {each} and learned from no cell. They are the floor that trained models must leave behind.")
else:
    told = [
        f"{end.validation_loss:.4f} with {end.unique_cells:,.0f} cells" for end in summary.iloc[[0, -1]].itertuples()
    ]
    losses = summary["validation_loss"].iloc[[0, -1]]
    change = f"{trend(*losses)} from {told[0]} to {told[1]}" if len(summary) > 1 else f"is {told[0]}"
    lost = f", and {doing(n_given_up, 'was', 'were')} given up" if n_given_up else ""
    finding(
        f"The validation loss of {model} {change} ({unit}, mean over {counted(cost['seed'].nunique(), 'seed')}). Of "
        f"{counted(len(runs), 'model')} {doing(n_early, 'stopped', 'stopped')} before the budget was used{lost}."
    )

# %% tags=["show"]
if n_given_up:
    note("Given up:", failures.told(artifacts, runs).splitlines())

# %% [markdown]
# Means over seeds; `stopped_early` counts the seeds that stopped before their budget was used.

# %% tags=["show"]
summary.style.format({column: forms[column] for column in summary}).format_index("{:g} %")

# %% tags=["show"]
from helpers.plots import stage_figures as plots

plots.loss_curves(histories, unit=unit) if cards else None
