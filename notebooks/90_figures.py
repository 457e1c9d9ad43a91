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
# svg and png, with the numbers behind it in `source_data/`. Those that `60` to `63` show are not shown again; the list
# at the end has them all.

# %% tags=["parameters"]
design: str = "params/demo.yaml"  # design file, relative to the project
results: str = "results/demo"  # folder of the results, relative to the project

# %%
import pandas as pd

from helpers import store
from helpers.analysis import laws
from helpers.analysis.collect import loss_units, missing_note, n_judged
from helpers.analysis.results import complete_runs, with_sampling
from helpers.plots import effect_figures, saturation_figures, scaling_figures
from helpers.plots import study_figures as plots
from helpers.plots.response_figures import response_axes
from helpers.plots.style import save

study, artifacts = store.open_store(design, results, stage="90_figures")
table = with_sampling(pd.read_parquet(artifacts.read("results.parquet")))
sets = pd.read_parquet(artifacts.read("evaluation_sets.parquet"))
saturation = ["saturation.parquet", "saturation_sizes.parquet"]
points, sizes = (pd.read_parquet(artifacts.read(name)) for name in saturation)
effects = pd.read_parquet(artifacts.read("diversity_effect.parquet"))
inputs = ["results.parquet", *saturation, "scaling", "diversity_effect.parquet", "evaluation_sets.parquet"]
inputs += [name for name in ("response_axes.parquet",) if artifacts.has(name)]
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
    rows = table[(table["task"] == task) & (table["metric"] == metric)]
    if not (rows["percentage"] > 0).any():
        continue  # missing; 50_collect says why
    sources[f"size_curves_{task}_{metric}"] = rows
    figures[f"size_curves_{task}_{metric}"] = plots.size_curves(
        table, task=task, metric=metric, title=title, n_test=n_judged(task, artifacts)
    )
    display(figures[f"size_curves_{task}_{metric}"])

# %% [markdown]
# ## Predicted responses against corpus size
# 0 is the strongest null, 1 the ceiling.

# %%
part = table[(table["task"] == "perturbation") & table["metric"].isin(plots.RESPONSES)]
if (part["percentage"] > 0).any():
    sources["responses"], figures["responses"] = part, plots.responses(part)
    display(figures["responses"])

# %% [markdown]
# ## Predicted responses against what teaches them
# The encoder is fixed; treated training cells above, training contexts below.

# %%
if artifacts.has("response_axes.parquet"):
    taught = pd.read_parquet(artifacts.read("response_axes.parquet"))
    sources["response_axes"] = taught[taught["metric"] == "specific_r"]
    figures["response_axes"] = response_axes(taught, metric="specific_r")

# %% [markdown]
# ## Held-out loss against corpus size
# Losses of different families have different units: compare along a row, never down a column.

# %%
rows = table[table["metric"] == "heldout_loss"]
if (rows["percentage"] > 0).any():
    sources["heldout_loss"] = rows
    figures["heldout_loss"] = plots.heldout_loss(table, units=units, n_test=sets.groupby("dataset").size())
    display(figures["heldout_loss"])

# %% [markdown]
# ## Saturation points by the published rule

# %%
n_test = {"heldout_loss": sets.groupby("dataset").size()}
n_test["perturbation"] = table.groupby("dataset")["n_conditions"].max().dropna().astype(int)
n_test |= {task: n_judged(task, artifacts) for task in set(points["task"]) - set(n_test)}
trained = table[(table["percentage"] > 0) & table["sampling"].isin(points["sampling"])]
for (task, metric), part in points[points["rule"] == "published"].groupby(["task", "metric"], sort=False):
    name, runs = f"saturation_{task}_{metric}", trained[(trained["task"] == task) & (trained["metric"] == metric)]
    sources[name] = part.dropna(axis=1, how="all")
    figures[name] = saturation_figures.saturation_heatmap(part, runs, n_test=n_test[task])

# %% [markdown]
# ## Saturation points by the error rule
# Near the smallest mean error (q = 0.95), with the probability of each size.

# %%
curve = ["family", "width", "strategy", "task", "dataset", "sampling"]
near = points[(points["rule"] == "error") & (points["q"] == 0.95)]
for (task, metric), part in near.groupby(["task", "metric"], sort=False):
    shares = sizes[(sizes["task"] == task) & (sizes["metric"] == metric) & (sizes["q"] == 0.95)]
    name = "_".join(dict.fromkeys(["saturation_error", task, metric]))
    told = part[[*curve, "percentage", "low", "high", "gain_per_doubling", "gain_low", "gain_high", "resampled"]]
    sources[name] = shares.merge(told, on=curve, suffixes=("", "_of_point"))
    figures[name] = saturation_figures.probability_heatmap(part, shares, metric=metric, q=0.95, n_test=n_test[task])

# %% [markdown]
# ## Scaling laws of the held-out loss
# The forms, bands and verdicts that `61_scaling_laws` found.

# %%
laws_found, curves = (pd.read_parquet(artifacts.read("scaling") / f"{name}.parquet") for name in ("laws", "curves"))
runs_fitted = laws.losses(table).assign(model=lambda rows: rows["family"].map(laws.alike(study)))
over_cells = laws_found[laws_found["axis"] == "n_cells"]
of_loss = over_cells[(over_cells["metric"] == "heldout_loss") & (over_cells["form"] != "")]
shown = of_loss[(of_loss["sampling"] == "random") & (of_loss["width"] == of_loss["width"].max())]
drawn = {}
if len(shown):
    drawn["scaling_laws"] = scaling_figures.fitted_curves(shown, curves, runs_fitted)
if (of_loss["verdict"] == "power law").any():
    drawn["excess_loss"] = scaling_figures.excess_loss(of_loss, curves, runs_fitted)
if laws_found["low"].notna().any():
    drawn["exponents"] = scaling_figures.exponent_forest(laws_found)
if (over_cells["form"] != "").any():
    drawn["verdicts"] = scaling_figures.verdict_map(over_cells)
figures, sources = figures | drawn, sources | dict.fromkeys(drawn, laws_found)

# %% [markdown]
# ## Does the metric flatten while the loss still falls?

# %%
headline = study.evaluations.heldout_loss.headline
columns = {"score": ("classification", headline, "macro_f1"), "loss": ("heldout_loss", headline, "heldout_loss")}
pairs = with_sampling(complete_runs(table[table["percentage"] > 0], columns))
if len(pairs):
    told = ["run_id", "family", "strategy", "sampling", "n_cells", "subset_seed", "score", "loss"]
    sources["loss_against_metric"], of_metric = pairs[told], {"dataset": headline, "metric_name": "macro F1"}
    figures["loss_against_metric"] = plots.loss_against_metric(pairs, units=units, **of_metric)
    display(figures["loss_against_metric"])

# %%
at_random = [name for name, sampling in study.strategies.items() if sampling.strategy == "random"]
if len(pairs) and at_random:
    told = {"dataset": headline, "metric_name": "macro F1", "units": units, "sampling": at_random[0]}
    sources["monotone_fits"] = effects[(effects["kind"] == "flat end") & (effects["term"] == at_random[0])]
    figures["monotone_fits"] = effect_figures.monotone_fits(pairs, effects, **told)

# %% [markdown]
# ## Strategies against random cells, at equal size

# %%
by_strategy = effects[effects["kind"] == "strategy"]
if by_strategy["testable"].any():
    sources["strategy_effects"] = by_strategy
    figures["strategy_effects"] = effect_figures.forest(by_strategy, xlabel="difference to random cells")

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

# %% [markdown]
# ## All figures
# Rows of numbers behind each.

# %% tags=["show"]
pd.Series({f"{name}.svg": len(sources[name]) for name in figures}, name="rows").to_frame().style.format("{:,}")

# %% tags=["show"]
from helpers.reading import finding

runs = table[table["percentage"] > 0]
names = ", ".join(sorted(runs["family"].unique()))
finding(
    f"{len(figures)} figures of {runs['run_id'].nunique()} trained models ({names}; "
    f"{runs['percentage'].nunique()} sizes from {runs['n_cells'].min():,.0f} to {runs['n_cells'].max():,.0f} cells, "
    f"{runs['subset_seed'].nunique()} seeds). The corpus is small: the figures show that the method works, and claim "
    f"nothing about larger ones.{missing_note(study, artifacts)}"
)
