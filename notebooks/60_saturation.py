# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 60 · Where does learning saturate, by the study's own rule?
#
# **Finding.** *Written from the numbers when the notebook is executed.*
#
# **Method.** The published rule: per family, strategy and evaluation set, the saturation point is the smallest size
# at which any seed scores above 0.95 × the best score of that curve. The rule takes a maximum, lets one lucky seed pass
# and has no interval: a small saturation point says that the metric is near its best, not that scale cannot help.
# A sampling that is drawn at few sizes can only saturate at one of them. Read it beside the held-out loss.

# %% tags=["parameters"]
design: str = "params/demo.yaml"  # design file, relative to the project
results: str = "results/demo"  # folder of the results, relative to the project

# %%
import pandas as pd

from helpers import store
from helpers.analysis.results import with_sampling
from helpers.analysis.saturation import points_by_metric, size_samplings

study, artifacts = store.open_store(design, results, stage="60_saturation")
table = with_sampling(pd.read_parquet(artifacts.read("results.parquet")))
sets = pd.read_parquet(artifacts.read("evaluation_sets.parquet"))
scores = table[table["task"] == "classification"]
over_sizes = scores[scores["sampling"].isin(size_samplings(scores))]  # a single size has no saturation point
file = artifacts.artifact("saturation.parquet", inputs=["results.parquet"])

# %%
points = points_by_metric(over_sizes, metrics=["micro_f1", "macro_f1"], rule="published")
if not file.fresh:
    with file.write() as path:
        points.to_parquet(path, index=False)

# %% [markdown]
# ## Saturation points

# %% tags=["show"]
from helpers.analysis.collect import loss_units, missing_note, n_judged
from helpers.plots import study_figures as plots
from helpers.reading import finding

names = {"micro_f1": "micro F1", "macro_f1": "macro F1"}
n_seeds = len(study.seeds)
for metric, of_metric in points.groupby("metric", sort=False):
    title = f"Saturation point by the published rule ({names[metric]}, {n_seeds} seeds)"
    display(plots.saturation_heatmap(of_metric, title=title))

# %% [markdown]
# ## Size curves

# %% tags=["show"]
judged = {"task": "classification", "n_test": n_judged("classification", artifacts)}
for metric in points["metric"].unique():
    display(plots.size_curves(table, metric=metric, title=f"{names[metric]} (zero-shot, 5-NN)", **judged))

# %% [markdown]
# ## In numbers
# Mean micro / macro F1 over seeds, random subsets.

# %% tags=["show"]
f1 = scores[scores["metric"].isin(["micro_f1", "macro_f1"]) & scores["strategy"].isin(["random", "untrained", "none"])]
kept = f1["percentage"].isin([0, min(study.percentages), max(study.percentages)]) | (f1["strategy"] == "none")
rows = f1[kept].assign(size=f1["n_cells"].map("{:,.0f} cells".format).where(f1["strategy"] != "none", "–"))
means = rows.pivot_table(index=["family", "size"], columns=["dataset", "metric"], values="value", sort=False)
text = {
    name: means[name]["micro_f1"].map("{:.2f}".format) + means[name]["macro_f1"].map(" / {:.2f}".format)
    for name in rows["dataset"].unique()
}
pd.DataFrame(text)

# %% [markdown]
# ## The same runs by their held-out loss

# %% tags=["show"]
units = loss_units(study, artifacts)
if (table["metric"] == "heldout_loss").any():
    display(plots.heldout_loss(table, units=units, n_test=sets.groupby("dataset").size()))

# %% tags=["show"]
headline = study.evaluations.heldout_loss.headline
sampling = next(iter(size_samplings(table)), "")
smallest, micro = min(study.percentages), points[points["metric"] == "micro_f1"]
losses = table.query("metric == 'heldout_loss' and sampling == @sampling and dataset == @headline")
means = losses.pivot_table(index="family", columns="percentage", values="value")
falls = ", ".join(f"{name} {100 * (1 - row.iloc[-1] / row.iloc[0]):.1f} %" for name, row in means.dropna().iterrows())
at_once, early = int((micro["percentage"] == smallest).sum()), int((micro["percentage"] <= 10).sum())
finding(
    f"By the published rule {at_once} of {len(micro)} curves (micro F1) saturate at the smallest size, {smallest:g} % "
    f"of the corpus, and {early} at or below 10 %. From there to the whole corpus the held-out loss of the same models "
    f"on {headline} falls by: {falls or 'not known'}. The rule has no interval, and {n_seeds} seeds on a small corpus "
    f"say nothing about 22 million cells.{missing_note(study, artifacts)}"
)
