# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 90 · What do all results look like, figure by figure?
#
# **Finding.** *Written from the numbers when the notebook is executed.*
#
# **Method.** Every figure is drawn from the tables of the results alone and computes nothing new. Each is written as
# svg and png, at its size in print, with the numbers behind it in `source_data/` and its caption, with n, seeds and
# test sets, in `captions.json`. What a design does not vary has no figure. Of models of several widths, curves over
# sizes are those of width 1. The list has them all; those that no other notebook shows follow it.

# %% tags=["parameters"]
design: str = "params/demo.yaml"  # design file, relative to the project
results: str = "results/demo"  # folder of the results, relative to the project

# %%
import pandas as pd

from helpers import store
from helpers.analysis import laws
from helpers.analysis.judged_sets import loss_units, missing_note, n_test
from helpers.analysis.results import complete_runs, with_sampling
from helpers.analysis.saturation import size_samplings

# %%
from helpers.plots import (
    captions,
    cost_figures,
    design_figure,
    drawn_rows,
    effect_figures,
    looks,
    saturation_figures,
    scaling_figures,
    style,
)
from helpers.plots import study_figures as plots
from helpers.plots import variation_figures as variations
from helpers.plots.diversity_figures import diversity_curves
from helpers.plots.gallery import Gallery
from helpers.plots.response_figures import response_axes

# %%
study, artifacts = store.open_store(design, results, stage="90_figures")
tables = ["results", "diversity", "saturation", "saturation_sizes", "diversity_effect", "response_axes"]
there = [f"{name}.parquet" for name in tables if name != "response_axes" or artifacts.has(f"{name}.parquet")]
folder = artifacts.artifact("figures", inputs=[*there, "scaling"], settings={"name": study.name})

# %%
read = {name.removesuffix(".parquet"): pd.read_parquet(artifacts.read(name)) for name in there}
table, effects = with_sampling(read["results"]), read["diversity_effect"]
trained = table[(table["percentage"] > 0) & (table["strategy"] != "none") & table["task"].notna()]
scaling = {path.stem: pd.read_parquet(path) for path in artifacts.read("scaling").glob("*.parquet")}
headline, units, n_of_sets = study.evaluations.heldout_loss.headline, loss_units(table), n_test(table)
models, one_width = laws.alike(study), plots.at_one_width(table)
looks.know_design(study)
gallery = Gallery(n_of_sets)

# %% [markdown]
# ## The design

# %%
counts = design_figure.design_counts(study, table)
figure = gallery.add("design", design_figure.design_schematic(counts), counts, runs=trained)

# %% [markdown]
# ## What the subsets hold

# %%
subsets = read["diversity"].assign(sampling=lambda rows: rows.get("sampling", rows["strategy"]))
several = subsets[subsets["sampling"].isin(size_samplings(subsets))]
if len(several):
    whole = subsets[(subsets["strategy"] == "random") & (subsets["percentage"] == 100)]
    indices = whole.mean(numeric_only=True) if len(whole) else None
    gallery.add("diversity", diversity_curves(several, indices), several, runs=several)
    gallery.add("subset_sizes", cost_figures.subset_sizes(several), several, runs=several)

# %% [markdown]
# ## Scores against corpus size

# %%
neighbours = study.evaluations.classification.n_neighbors
scores = [("classification", name, f"{style.metric_name(name)} ({neighbours}-NN)") for name in ("micro_f1", "macro_f1")]
if study.evaluations.finetuning:
    fewest = min(study.evaluations.finetuning.few_shot, default=None)
    metric = f"macro_f1_at_{fewest}" if fewest else "macro_f1"
    scores += [("finetuning", metric, f"macro F1 (head, {fewest or 'all'} cells of each type)")]
if study.evaluations.integration:
    scores += [("integration", "avg_bio", "AvgBIO")]

# %%
for task, metric, title in scores:
    rows = one_width[(one_width["task"] == task) & (one_width["metric"] == metric)]
    if size_samplings(rows):  # else of one size, or missing; 50_collect says why
        figure = plots.size_curves(rows, task=task, metric=metric, title=title, n_test=n_of_sets[task])
        curves = rows[rows["sampling"].isin(size_samplings(rows))]
        gallery.add(f"size_curves_{task}_{metric}", figure, rows, runs=curves, about=title)

# %% [markdown]
# ## Few labelled cells
# Of models without training, and of the smallest and the largest random corpus.

# %%
taught = one_width[one_width["metric"].str.fullmatch(r"macro_f1(_at_\d+)?", na=False)].query("task == 'finetuning'")
taught = taught[taught["strategy"].isin(["untrained", "random"])]
taught = taught[taught["percentage"].isin([0, taught.loc[taught["percentage"] > 0, "percentage"].min(), 100])]
if len(taught["metric"].unique()) > 1 and (taught["percentage"] > 0).any():
    figure = plots.few_shot(taught, n_test=n_of_sets["finetuning"])
    gallery.add("few_shot", figure, taught.dropna(axis=1, how="all"), runs=taught)

# %% [markdown]
# ## Predicted responses against corpus size
# 0 is the strongest null, 1 the ceiling.

# %%
rows = one_width[one_width["metric"].isin(plots.RESPONSES)].query("task == 'perturbation'")
for metric, of_metric in rows.groupby("metric", sort=False):
    if size_samplings(of_metric):
        figure, told = plots.responses(of_metric, metric=metric), style.metric_name(metric)
        name = f"responses_{metric.removeprefix('calibrated_')}"
        gallery.add(name, figure, of_metric, runs=of_metric, about=told)

# %% [markdown]
# ## Predicted responses against what teaches them
# The encoder is fixed; treated training cells above, training contexts below.

# %%
if "response_axes" in read:
    rows = read["response_axes"].query("metric == 'specific_r'")
    figure = response_axes(read["response_axes"], metric="specific_r")
    encoders = trained[(trained["task"] == "perturbation") & trained["run_id"].isin(rows["run_id"])]
    gallery.add("response_axes", figure, rows, runs=encoders)

# %% [markdown]
# ## Held-out loss against corpus size
# Losses of different families have different units: compare along a row, never down a column.

# %%
rows = one_width[one_width["metric"] == "heldout_loss"]
if size_samplings(rows):
    figure = plots.heldout_loss(rows, units=units, n_test=n_of_sets["heldout_loss"])
    gallery.add("heldout_loss", figure, rows, runs=rows[rows["sampling"].isin(size_samplings(rows))])

# %% [markdown]
# ## Saturation points by both rules
# By the error rule with the probability of each size, q = 0.95.

# %%
points, sizes = read["saturation"], read["saturation_sizes"]


def about(task: str, metric: str) -> str:
    """Task and score in words."""
    return ", ".join(dict.fromkeys([style.task_name(task), style.metric_name(metric)]))


for (task, metric), part in points[points["rule"] == "published"].groupby(["task", "metric"], sort=False):
    runs = trained[(trained["task"] == task) & (trained["metric"] == metric)]
    runs = runs[runs["sampling"].isin(part["sampling"])]
    figure = saturation_figures.saturation_heatmap(part, runs, n_test=n_of_sets[task])
    told = {"runs": runs, "about": about(task, metric)}
    gallery.add(f"saturation_{task}_{metric}", figure, part.dropna(axis=1, how="all"), **told)

# %%
curve = ["family", "width", "strategy", "task", "dataset", "sampling"]
near = points[(points["rule"] == "error") & (points["q"] == 0.95)]
for (task, metric), part in near.groupby(["task", "metric"], sort=False):
    shares = sizes[(sizes["task"] == task) & (sizes["metric"] == metric) & (sizes["q"] == 0.95)]
    told = part[[*curve, "percentage", "low", "high", "gain_per_doubling", "gain_low", "gain_high", "resampled"]]
    source = shares.merge(told, on=curve, suffixes=("", "_of_point"))
    figure = saturation_figures.probability_heatmap(part, shares, metric=metric, q=0.95, n_test=n_of_sets[task])
    runs = trained[(trained["task"] == task) & (trained["metric"] == metric)]
    told = {"runs": runs[runs["sampling"].isin(part["sampling"])], "about": about(task, metric)}
    gallery.add("_".join(dict.fromkeys(["saturation_error", task, metric])), figure, source, **told)

# %% [markdown]
# ## Scaling laws
# The forms, bands and verdicts that `61_scaling_laws` found.

# %%
laws_found, curves = scaling["laws"], scaling["curves"]
fitted = laws.losses(table).assign(model=lambda rows: rows["family"].map(models))
drawn = []  # name, figure, its laws, what is drawn of them
if len(laws_found):
    over_cells = laws_found[laws_found["axis"] == "n_cells"]
    judged, led = over_cells[over_cells["form"] != ""], drawn_rows.led_by_power_law(laws_found)
    of_loss = judged[judged["metric"] == "heldout_loss"]
    shown = of_loss[(of_loss["sampling"] == "random") & (of_loss["width"] == of_loss["width"].max())]
    straight = of_loss[of_loss["verdict"] == "power law"]
    if len(judged):
        figure = scaling_figures.verdict_map(over_cells)
        drawn.append(("verdicts", figure, judged, judged[drawn_rows.VERDICT]))
    if len(shown):
        figure = scaling_figures.fitted_curves(shown, curves, fitted)
        drawn.append(("scaling_laws", figure, shown, drawn_rows.fitted_rows(shown, curves, fitted)))
    if len(straight):
        figure = scaling_figures.excess_loss(of_loss, curves, fitted)
        drawn.append(("excess_loss", figure, straight, drawn_rows.excess_rows(straight, curves, fitted)))
    if len(led):
        drawn.append(("exponents", scaling_figures.exponent_forest(led), led, led[drawn_rows.EXPONENT]))
for name, figure, of_laws, source in drawn:
    gallery.add(name, figure, source, runs=drawn_rows.runs_of_curves(of_laws, fitted, models))

# %% [markdown]
# ## Compute
# The lowest loss for as many FLOPs, by the runs, and by the law of parameters and data where there is one.

# %%
rows = trained[(trained["metric"] == "heldout_loss") & (trained["dataset"] == headline) & trained["flops"].notna()]
rows, frontier = cost_figures.varied(rows, models), scaling["frontier"].query("dataset == @headline")
if len(rows):
    told = {"models": models, "units": units, "dataset": headline}
    gallery.add("compute_frontier", cost_figures.loss_against_compute(rows, frontier, **told), rows, runs=rows)

# %%
for name, best in frontier.groupby("model", sort=False):
    profiles = scaling["profiles"].query("model == @name and dataset == @headline")
    figure = scaling_figures.compute_frontier(profiles, best, title=f"{name}, {headline}")
    of_model = rows[rows["family"].map(models) == name]
    gallery.add(f"compute_optimal_{name}", figure, best, runs=of_model, about=f"{name}, {headline}")

# %%
if len(trained):
    speeds = trained.drop_duplicates("run_id")
    source = speeds.filter(["run_id", "family", "width", "n_cells", *cost_figures.SPEEDS, "device"])
    runs = speeds.drop(columns="dataset")
    gallery.add("speed", cost_figures.speed(speeds), source, runs=runs)

# %% [markdown]
# ## Width, weight decay and spike-ins
# Each where the design varies it.

# %%
rows = variations.widened(table, {name: settings.family for name, settings in study.families.items()})
rows = rows[rows["metric"].isin(variations.METRICS) & (rows["dataset"] == headline)]
if len(rows):
    figure = variations.widths(rows, metrics=variations.METRICS, dataset=headline)
    gallery.add("widths", figure, rows, runs=rows)

# %%
rows = variations.spiked(one_width)
rows = rows[rows["metric"].isin(variations.METRICS) & rows["task"].isin(["classification", "heldout_loss"])]
if len(rows):
    gallery.add("spike_ins", variations.spike_ins(rows), rows, runs=rows)

# %% [markdown]
# ## Donors, datasets and depth at a fixed number of cells
# One figure for each of these axes that the design varies.

# %%
of_tasks = one_width[one_width["task"].isin(["classification", "heldout_loss"])]
for strategy in variations.axes_of(of_tasks):
    rows = of_tasks[(of_tasks["strategy"] == strategy) & of_tasks["metric"].isin(variations.METRICS)]
    figure = variations.axis_curves(of_tasks, strategy=strategy, metrics=variations.METRICS)
    gallery.add(f"axis_{strategy}", figure, rows, runs=rows, about=strategy)

# %% [markdown]
# ## Does the metric flatten while the loss still falls?

# %%
columns = {"score": ("classification", headline, "macro_f1"), "loss": ("heldout_loss", headline, "heldout_loss")}
pairs = with_sampling(complete_runs(table[table["percentage"] > 0], columns))
pair = {"dataset": headline, "metric_name": "macro F1", "units": units}
runs = trained[trained["run_id"].isin(pairs["run_id"]) & (trained["dataset"] == headline)]
runs = runs.query("(task == 'classification' and metric == 'macro_f1') or metric == 'heldout_loss'")
if len(set(pairs["n_cells"])) > 1:
    told = ["run_id", "family", "strategy", "sampling", "n_cells", "subset_seed", "score", "loss"]
    gallery.add("loss_against_metric", plots.loss_against_metric(pairs, **pair), pairs[told], runs=runs)
    at_random = [name for name, sampling in study.strategies.items() if sampling.strategy == "random"]
    if at_random:
        fit = {"sampling": at_random[0], "dataset": headline}
        figure = effect_figures.monotone_fits(pairs, effects, **pair | fit)
        gallery.add("monotone_fits", figure, effect_figures.monotone_rows(pairs, effects, **fit), runs=runs)

# %% [markdown]
# ## Strategies against random cells, at equal size

# %%
by_strategy = effects[effects["kind"] == "strategy"]
if by_strategy["testable"].any():
    figure = effect_figures.forest(by_strategy, xlabel="difference to random cells")
    at_random = next(name for name, sampling in study.strategies.items() if sampling.strategy == "random")
    runs = drawn_rows.compared_runs(by_strategy, trained, reference=at_random)
    gallery.add("strategy_effects", figure, by_strategy, runs=runs)

# %%
if not folder.fresh:
    with folder.write() as path:
        gallery.write(path)

# %% [markdown]
# ## All figures
# Rows of numbers behind each.

# %% tags=["show"]
from helpers.analysis.reach import reach
from helpers.plots.style import family_name
from helpers.reading import finding, note
from helpers.words import counted, listed

n_models = counted(trained["run_id"].nunique(), "trained model")
families = listed([family_name(name) for name in looks.ordered(trained["family"], "families")])
finding(
    f"{counted(len(gallery.figures), 'figure shows/figures show')} {n_models} of {families}, which learned from "
    f"{counted(trained['n_cells'], 'cell')} with {captions.seeds_of_each_size(trained)} of each size. Each stands in "
    f"svg and png beside its numbers, and {reach(trained['n_cells'].max())}."
)
if missing := missing_note(study, table):
    note(missing)

# %% tags=["show"]
gallery.overview().style.format({"rows": "{:,}"})

# %% [markdown]
# ## Figures that no other notebook shows

# %% tags=["show"]
SHOWN = ("design", "subset_sizes", "size_curves", "few_shot", "responses", "compute_frontier", "widths", "spike_ins")
for name, figure in gallery.figures.items():
    if captions.kind_of(name) in (*SHOWN, "axis"):
        note(f"**{gallery.captions[name]['title']}**")
        display(figure)
