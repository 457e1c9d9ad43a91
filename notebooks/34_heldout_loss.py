# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 34 · Does the held-out loss keep falling?
#
# **Finding.** *Written from the numbers when the notebook is executed.*
#
# **Method.** Every run of a family scores the same frozen test cells, each cell by itself, with genes and scaling
# fixed once. Beside it stand what the corpus tells of each gene, which knows no cell (null), and what another
# measurement of the same cell would tell, found by splitting its counts at random (reference). The reference is no
# bound: a model that sees what it is to rebuild, or knows how genes go together, may pass it. Losses are compared
# within a family only.

# %% tags=["parameters"]
design: str = "params/demo.yaml"  # design file, relative to the project
results: str = "results/demo"  # folder of the results, relative to the project
family: str = "pca"  # model family
width: float = 1.0  # multiplier of the preset's width
strategy: str = "random"  # how the cells were drawn; untrained for models with no training
percentages: list = []  # sizes to evaluate, in per cent of the corpus; empty for all of the design
seeds: list = []  # seeds to evaluate; empty for all of the design

# %%
import functools

import numpy as np
import pandas as pd

from helpers import corpus, failures, judging, models, store
from helpers.evaluate.knn import finite
from helpers.reading import finding

study, artifacts = store.open_store(design, results, stage="34_heldout_loss", modules=[family])
runs = judging.runs_of(study, artifacts, "heldout_loss", family, width, strategy, percentages, seeds)
cells, sets = corpus.read_evaluation_cells(artifacts)

# %% [markdown]
# ## Null and reference
# Both belong to the family, not to the run: the null knows the whole corpus' genes. They are computed once, whichever
# of its models is asked.


# %%
def load_one() -> models.Family:
    """A model of the family, the largest that can be read."""
    unread: dict[str, str] = {}
    for run in reversed(runs):
        with failures.going_on(unread, run.id):
            return models.load(artifacts.read(store.model_path(run)))
    raise failures.FailedPartsError("; ".join(unread.values()))


# %%
def control_losses(unprepared: dict[str, str]) -> pd.DataFrame:
    """Null and reference loss of each cell of each evaluation set, and the standard error of the reference's mean; sets
    that fail are put into `unprepared`.
    """
    roles = corpus.read_roles(artifacts)
    everything = corpus.open_cells(artifacts)
    validation = everything[roles == "validation"].to_memory()
    known = models.TrainingCells(train=everything[roles == "corpus"], validation=validation)
    model, parts = load_one(), []
    for name, part in sets.groupby("dataset", sort=False):
        with failures.going_on(unprepared, name):
            controls = model.loss_controls(known, cells[part["row"].to_numpy()].copy())
            parts.append(pd.concat([part[["dataset", "position"]].reset_index(drop=True), controls], axis=1))
    return pd.concat(parts, ignore_index=True)


# %%
inputs = ["corpus", "split.parquet", "evaluation_sets.parquet", "genes.parquet"]
settings = study.families[family].model_dump(include={"family", "preset", "settings"})
file = artifacts.artifact(store.controls_path("heldout_loss", family, width), inputs=inputs, settings=settings)
if runs and (not file.fresh or failures.noted(artifacts, file.relative)):
    unprepared = {}
    with file.write() as path:
        control_losses(unprepared).to_parquet(path, index=False)
    failures.note(artifacts, file.relative, unprepared)

# %% [markdown]
# ## Loss of each run on each cell


# %%
@functools.lru_cache(maxsize=1)
def losses_of(run) -> np.ndarray:
    """Loss of each evaluation cell by a run, (n_cells,)."""
    return models.load(artifacts.read(store.model_path(run))).heldout_loss(cells)


def evaluate(run, name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean loss of a run on one evaluation set, with null and reference, and those of each cell."""
    if name in (unprepared := failures.noted(artifacts, file.relative)):
        raise failures.FailedPartsError(f"no null and reference of {name}: {unprepared[name]}")
    part = sets[sets["dataset"] == name]
    loss = finite(losses_of(run)[part["row"].to_numpy(), None], "the loss")[:, 0]
    controls = pd.read_parquet(artifacts.read(file.relative))
    losses = controls[controls["dataset"] == name].assign(loss=loss)
    means = losses.drop(columns="position").groupby("dataset", sort=False).mean().reset_index()
    names = {"loss": "value", "reference": "ceiling", "reference_se": "ceiling_se"}
    return means.rename(columns=names).assign(metric="heldout_loss"), losses


needed = [*inputs, file.relative]
of_run = [store.model_path]
scores, failed = judging.judge(artifacts, "heldout_loss", runs, evaluate, inputs=needed, of_run=of_run)

# %% [markdown]
# ## Loss against size

# %% tags=["show"]
from helpers.findings import model_of
from helpers.words import trend

if len(scores):
    overview = scores.pivot_table(index="run", columns="dataset", values="value", sort=False)
    of_family = scores.groupby("dataset", sort=False)[["null", "ceiling", "ceiling_se"]].first().T.astype(float)
    there = [run for run in runs if artifacts.has(store.prediction_path("heldout_loss", run))]
    unit = models.load(artifacts.read(store.model_path(there[0]))).loss_unit
    name = study.evaluations.heldout_loss.headline
    name = name if name in overview else overview.columns[0]
    head, (null, reference, _) = overview[name].dropna(), of_family[name]
    spread = scores[scores["dataset"] == name].groupby("run")["value"].std().mean()

# %% tags=["show"]
if len(scores):
    first, last = (f"{head.iloc[end]:.4f} at {head.index[end]:g} %" for end in (0, -1))
    change = f"is {head.iloc[0]:.4f}"
    if len(head) > 1:
        step = head.iloc[-2] - head.iloc[-1]
        change = f"{trend(head.iloc[0], head.iloc[-1])} from {first} to {last} of the corpus, "
        change += f"{'down' if step >= 0 else 'up'} {abs(step):.4f} in the last step"
    seeds = f", with an SD of seeds of {spread:.4f}" if pd.notna(spread) else ""
    known = f" and another measurement of the same cells {reference:.4f}" if pd.notna(reference) else ""
    finding(
        f"The held-out loss of {model_of(family, width, strategy)} on {name} {change}{seeds}. The null of gene means "
        f"has {null:.4f}{known} ({unit})."
    )
else:
    finding(f"{judging.nothing(family, strategy)} 50_collect lists the reasons.")

# %% tags=["show"]
if len(scores):
    told = of_family.set_axis(["null of gene means", "count-split reference", "its standard error"])
    rows = pd.concat([overview.set_axis([f"{size:g} %" for size in overview.index]), told])[list(overview)]
    display(rows.style.format("{:.4f}"))

# %% tags=["show"]
from helpers.plots import evaluation_figures as plots

if len(scores):
    losses = {run: pd.read_parquet(artifacts.read(store.prediction_path("heldout_loss", run))) for run in there}
    display(plots.loss_by_cell(losses, unit=unit))

# %% tags=["show"]
failures.raise_failed(failed)
