# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 70 · What do the study's own tables say, by the same analysis?
#
# **Finding.** *Written from the numbers when the notebook is executed.*
#
# **Method.** The study's published scores are read into the form of our results; nothing of them is in this
# repository. Each curve, a family on one set by one sampling, is judged on its headline metric three times: by the
# published rule, by the rule on the error scale with an interval over seeds, and by fits of the error, 1 − score,
# against cells, whose verdict may be "not identifiable". The study's figures show 240 curves, 191 at 1 %. Six sizes
# over two decades cannot show more than they hold: seeds of 100 % share all their cells, those of 50 and 75 % many, so
# their spread is a lower bound; a random part of the cells keeps nearly every donor; and a score near its ceiling
# saturates whatever the model could still learn.

# %% tags=["parameters"]
folder: str = ""  # clone of the study's code, or its folder of tables; with none nothing is read
results: str = "results/published"  # folder of the tables that are made here, relative to the project

# %%
import logging
from logging.handlers import QueueHandler
from queue import SimpleQueue

import numpy as np
import pandas as pd

from helpers.analysis.published import COMMIT, HEADLINES, NOT_IN_FIGURES, SOURCE, TABLES, read_published
from helpers.analysis.saturation import saturation_points, size_probabilities
from helpers.analysis.scaling import VERDICTS, fit_scaling
from helpers.analysis.two_rules import side_by_side
from helpers.provenance import project_path
from helpers.reading import finding, note, track

# %%
CURVE = ["family", "strategy", "task", "dataset"]
place = project_path(results)
if folder and (place / "design.json").exists():
    raise ValueError(f"results = {results!r} holds the results of a design: use a folder of its own")
remarks, log, any_curve = SimpleQueue(), logging.getLogger("helpers.analysis.published"), False
log.propagate = False  # what reading remarks stands below the finding
log.addHandler(QueueHandler(remarks))
if folder:
    table = read_published(project_path(folder))
    headline = table[table["metric"] == table["task"].map(HEADLINES)]
    trained = headline[headline["percentage"] > 0]
    trained = trained[trained.groupby(CURVE)["percentage"].transform("nunique") > 1]  # one size is no curve
    any_curve = len(trained) > 0


# %% [markdown]
# ## Saturation by both rules, and fits


# %%
def saturation(judge, rule: str, q: float) -> pd.DataFrame:
    """Saturation points of every curve on its headline metric, or the probabilities of its sizes."""
    options = {} if judge is size_probabilities else {"rule": rule}
    tables = [
        judge(part, metric=name, q=q, **options).assign(metric=name)
        for name, part in trained.groupby("metric", sort=False)
    ]
    return pd.concat(tables, ignore_index=True).assign(rule=rule, q=q)


def scaling(name: tuple, runs: pd.DataFrame) -> dict:
    """What one curve of errors says about scale; its random draws depend on its name alone."""
    rng = np.random.default_rng(list("/".join(name).encode()))
    found = fit_scaling(runs.assign(loss=1 - runs["value"]), x="n_cells", y="loss", rng=rng)
    told = {name: getattr(found, name) for name in ("verdict", "form", "exponent", "reason")}
    return dict(zip(CURVE, name, strict=True)) | told | dict(zip(("low", "high"), found.interval, strict=True))


# %%
if any_curve:
    published = saturation(saturation_points, "published", 0.95)
    by_error = pd.concat([saturation(saturation_points, "error", q) for q in (0.90, 0.95, 0.99)], ignore_index=True)
    error = by_error[by_error["q"] == 0.95]
    sizes = saturation(size_probabilities, "error", 0.95)
    points = pd.concat([published, by_error.astype({"n_seeds": "Int64", "at_edge": "boolean"})], ignore_index=True)
    curves = list(trained.groupby(CURVE, sort=False))
    fits = pd.DataFrame([scaling(name, runs) for name, runs in track(curves, "curves")])


# %%
def keep(frame: pd.DataFrame, name: str) -> None:
    """Write a table whole or not at all."""
    place.mkdir(parents=True, exist_ok=True)
    temporary = place / f".{name}.tmp.parquet"
    frame.to_parquet(temporary, index=False)
    temporary.replace(place / f"{name}.parquet")


if folder:
    keep(table, "results")
if any_curve:
    keep(points, "saturation")
    keep(sizes, "saturation_sizes")
    keep(fits, "scaling")

# %% [markdown]
# ## What the tables say

# %% tags=["show"]
from helpers.analysis.laws import told_verdicts
from helpers.words import counted, doing

if any_curve:
    both, smallest = side_by_side(points), trained["percentage"].min()
    in_figures = ~published["dataset"].isin(NOT_IN_FIGURES) & ~published["strategy"].str.startswith("spikein")
    at_once, early = published["percentage"] == smallest, int((error["percentage"] == smallest).sum())
    n, first = counted(len(published), "curve"), doing(int(at_once.sum()), "saturates", "saturate")
    finding(
        f"Of {n} of the study's tables {first} at {smallest:g} % by the published rule ({(at_once & in_figures).sum()} "
        f"of the {in_figures.sum()} that its figures show) and {early} by the error rule, and the two disagree on "
        f"{both['disagree'].sum()}. By fits of the error against cells, {told_verdicts(fits['verdict'])}."
    )
elif folder:
    told = ", ".join(f"{size:g}" for size in sorted(headline["percentage"].dropna().unique()))
    finding(f"The tables hold no curve. Of each there is at most one size over 0 % (sizes in %: {told or 'none'}).")

# %% tags=["show"]
if not folder:
    finding(
        f"No tables were read. The study publishes them with its code: clone {SOURCE} (commit {COMMIT}) and point the "
        f"parameter `folder` at the clone, or at its {TABLES}, as in `python -m helpers.run notebooks/70_published.py "
        "OUT.ipynb -p folder PATH`."
    )
if not remarks.empty():
    note("While reading:", [remarks.get().getMessage() for _ in range(remarks.qsize())])

# %% [markdown]
# ## What was read
# Runs of each family and task; sets are those of the tables, of which the study's figures leave some out.

# %% tags=["show"]
from helpers.plots import published_figures as plots
from helpers.plots import saturation_figures

if folder:
    read = table[table["strategy"] != "none"].groupby(["task", "family"], sort=False)
    overview = read.agg(runs=("run_id", "nunique"), samplings=("strategy", "nunique"), scores=("value", "size"))
    sets = read["dataset"].unique().map(", ".join)
    display(overview.assign(sets=sets).style.format("{:,}", subset=["scores"]))

# %% [markdown]
# ## The curves

# %% tags=["show"]
NAMES = {
    "classification": "micro F1, zero-shot (5 nearest neighbours)",
    "finetuning": "micro F1, fine-tuned",
    "integration": "AvgBIO, zero-shot",
    "perturbation": "Pearson r of absolute mean profiles (the study's R2), where no change may win",
}
for task in trained["task"].unique() if any_curve else []:
    display(plots.published_curves(headline, task=task, metric=HEADLINES[task], title=NAMES[task]))

# %% [markdown]
# ## Saturation points
# In per cent of the corpus, on the headline metric of each task.

# %% tags=["show"]
if any_curve:
    title = "Saturation point by the published rule: the smallest size, in %, where any seed has over 0.95 × the best"
    display(plots.saturation_grid(published, title=f"{title}\n{plots.about(trained)}"))

# %% tags=["show"]
if any_curve:
    title = "Saturation point by the rule on the error scale, in %, and its 90 % interval over seeds"
    display(plots.saturation_grid(error, title=f"{title}\n{plots.about(trained)}"))

# %% tags=["show"]
if any_curve:
    for (task, metric), points_of in error.groupby(["task", "metric"], sort=False):
        sizes_of = sizes[(sizes["task"] == task) & (sizes["metric"] == metric)]
        options = {"metric": metric, "n_test": None}
        display(saturation_figures.probability_heatmap(points_of, sizes_of, q=0.95, **options))
        display(saturation_figures.gains(points_of, sizes_of, **options))

# %% [markdown]
# ## Where the two rules disagree
# Curves whose published point lies outside the 90 % interval of the error rule (q = 0.95), or where one rule alone has
# a point.

# %% tags=["show"]
if any_curve:
    apart = both[both["disagree"]].drop(columns=["judged_twice", "disagree"])
    told = apart.style.format({"published": "{:g}", "gain_per_doubling": "{:.4f}"}, na_rep="–")
    display(told.format_index("{:g}", level="width"))

# %% [markdown]
# ## Verdicts
# Of the error against cells. Where seeds are few and sizes six, "not identifiable" is no finding about the model.

# %% tags=["show"]
if any_curve:
    title = "What the error, 1 − score, against cells says about scale"
    display(plots.verdict_grid(fits, title=f"{title}\n{plots.about(trained)}"))

# %% tags=["show"]
if any_curve:
    counts = pd.crosstab([fits["task"], fits["strategy"]], fits["verdict"])
    display(counts.reindex(columns=list(VERDICTS), fill_value=0))

# %% tags=["show"]
if any_curve:
    reasons = fits.groupby(["verdict", "form"], sort=False)
    display(reasons.agg(curves=("reason", "size"), one_reason=("reason", "first")))
    laws = fits[fits["verdict"] == "power law"].drop(columns=["verdict", "reason"])
    display(laws.style.format(precision=3).hide() if len(laws) else "No curve has the verdict power law.")
