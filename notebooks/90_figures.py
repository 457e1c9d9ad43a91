# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 90 · The figures
#
# **Finding.** *Written from the numbers when the notebook is executed.*
#
# **Method.** Every figure is drawn from the tables of the results alone and computes nothing new. Each is written as
# svg and png, with the numbers behind it in `source_data/`.

# %% tags=["parameters"]
design: str = "params/demo.yaml"  # design file, relative to the project
results: str = "results/demo"  # folder of the results, relative to the project

# %%
import pandas as pd

from helpers import store
from helpers.analysis.collect import loss_units, n_judged
from helpers.analysis.results import wide, with_sampling
from helpers.plots import saturation_figures
from helpers.plots import study_figures as plots
from helpers.plots.style import save

study, artifacts = store.open_store(design, results, stage="90_figures")
table = with_sampling(pd.read_parquet(artifacts.read("results.parquet")))
sets = pd.read_parquet(artifacts.read("evaluation_sets.parquet"))
saturation = ["saturation.parquet", "saturation_sizes.parquet"]
points, sizes = (pd.read_parquet(artifacts.read(name)) for name in saturation)
inputs = ["results.parquet", *saturation, "evaluation_sets.parquet"]
folder = artifacts.artifact("figures", inputs=inputs, settings={"name": study.name})
units = loss_units(study, artifacts)
figures, sources = {}, {}

# %% [markdown]
# ## Scores against corpus size

# %%
scores = [("classification", "micro_f1", "micro F1 (5-NN)"), ("classification", "macro_f1", "macro F1 (5-NN)")]
if study.evaluations.finetuning:
    fewest = min(study.evaluations.finetuning.few_shot, default=None)
    taught = f"macro_f1_at_{fewest}" if fewest else "macro_f1"
    scores += [("finetuning", taught, f"macro F1 (head, {fewest or 'all'} cells of each type)")]
if study.evaluations.integration:
    scores += [("integration", "avg_bio", "AvgBIO")]
for task, metric, title in scores:
    sources[f"size_curves_{metric}"] = table[(table["task"] == task) & (table["metric"] == metric)]
    figures[f"size_curves_{metric}"] = plots.size_curves(
        table, task=task, metric=metric, title=title, n_test=n_judged(task, artifacts)
    )
    display(figures[f"size_curves_{metric}"])

# %% [markdown]
# ## Predicted responses against corpus size
# 0 is the strongest null, 1 the ceiling.

# %%
if study.evaluations.perturbation:
    part = table[(table["task"] == "perturbation") & table["metric"].isin(plots.RESPONSES)]
    sources["responses"], figures["responses"] = part, plots.responses(part)
    display(figures["responses"])

# %% [markdown]
# ## Held-out loss against corpus size
# Losses of different families have different units: compare along a row, never down a column.

# %%
sources["heldout_loss"] = table[table["metric"] == "heldout_loss"]
figures["heldout_loss"] = plots.heldout_loss(table, units=units, n_test=sets.groupby("dataset").size())
figures["heldout_loss"]

# %% [markdown]
# ## Saturation points by the published rule

# %%
for metric, name in (("micro_f1", "micro F1"), ("macro_f1", "macro F1")):
    part = points[(points["metric"] == metric) & (points["rule"] == "published")].dropna(axis=1, how="all")
    title = f"Saturation point by the published rule ({name}, {len(study.seeds)} seeds)"
    sources[f"saturation_{metric}"] = part
    figures[f"saturation_{metric}"] = saturation_figures.saturation_heatmap(part, title=title)
figures["saturation_micro_f1"]

# %%
figures["saturation_macro_f1"]

# %% [markdown]
# ## Saturation points by the error rule
# Near the smallest mean error (q = 0.95), with the probability of each size.

# %%
curve = ["family", "width", "strategy", "task", "dataset", "sampling"]
n_test = {"macro_f1": n_judged("classification", artifacts), "heldout_loss": sets.groupby("dataset").size()}
for metric, name in (("macro_f1", "macro F1"), ("heldout_loss", "held-out loss over its reference")):
    part = points[(points["metric"] == metric) & (points["rule"] == "error") & (points["q"] == 0.95)]
    shares = sizes[(sizes["metric"] == metric) & (sizes["q"] == 0.95)]
    told = part[[*curve, "percentage", "low", "high", "gain_per_doubling", "gain_low", "gain_high", "resampled"]]
    sources[f"saturation_error_{metric}"] = shares.merge(told, on=curve, suffixes=("", "_of_point"))
    figures[f"saturation_error_{metric}"] = saturation_figures.probability_heatmap(
        part, shares, title=f"Saturation by the error rule, {name}, q = 0.95", n_test=n_test[metric]
    )
figures["saturation_error_macro_f1"]

# %%
figures["saturation_error_heldout_loss"]

# %% [markdown]
# ## Does the metric flatten while the loss still falls?

# %%
headline = study.evaluations.heldout_loss.headline
columns = {"score": ("classification", headline, "macro_f1"), "loss": ("heldout_loss", headline, "heldout_loss")}
pairs = with_sampling(wide(table[table["percentage"] > 0], columns)).dropna(subset=list(columns))
told = ["run_id", "family", "strategy", "sampling", "n_cells", "subset_seed", "score", "loss"]
sources["loss_against_metric"] = pairs[told]
figures["loss_against_metric"] = plots.loss_against_metric(pairs, dataset=headline, metric_name="macro F1", units=units)
figures["loss_against_metric"]

# %% [markdown]
# ## Donors, datasets and depth at a fixed number of cells
# One figure for each of these axes that the design varies.

# %%
rows = {"macro_f1": "macro F1 (5-NN)", "heldout_loss": "held-out loss"}
for strategy in plots.axes_of(table):
    of_tasks = table[table["task"].isin(["classification", "heldout_loss"])]
    sources[f"axis_{strategy}"] = of_tasks[(of_tasks["strategy"] == strategy) & of_tasks["metric"].isin(rows)]
    figures[f"axis_{strategy}"] = plots.axis_curves(of_tasks, strategy=strategy, metrics=rows)
    display(figures[f"axis_{strategy}"])

# %%
if not folder.fresh:
    with folder.write() as path:
        (path / "source_data").mkdir(parents=True)
        for name, figure in figures.items():
            save(figure, path, name)
            sources[name].to_csv(path / "source_data" / f"{name}.csv", index=False, float_format="%.6g")

# %% tags=["show"]
from helpers.reading import finding

runs = table[table["percentage"] > 0]
names = ", ".join(sorted(runs["family"].unique()))
finding(
    f"{len(figures)} figures of {runs['run_id'].nunique()} trained models ({names}; "
    f"{runs['percentage'].nunique()} sizes from {runs['n_cells'].min():,.0f} to {runs['n_cells'].max():,.0f} cells, "
    f"{runs['subset_seed'].nunique()} seeds). The corpus is small: the figures show that the method works, and claim "
    "nothing about larger ones."
)
