# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 62 · At a fixed size, does diversity explain the score?
#
# **Finding.** *Written from the numbers when the notebook is executed.*
#
# **Method.** Size is held fixed by comparing runs of one size alone: partial correlations of score and diversity, and
# differences of each strategy to random cells, by size, then pooled. P-values of strategies exchange runs of one size,
# those of diversity whole samplings where it is these that differ; of fewer than five there is none. Intervals are of
# 90 %: over seeds, and for diversity over samplings where these are exchanged. All tests in here are corrected
# together (Holm). Higher is better everywhere: losses change sign. What the numbers cannot tell: a strategy changes
# several things at once (types, their depth, how alike cells are), so that an effect of an index may be one of another;
# all runs share their test cells, whose choice is in no interval; large subsets of one corpus overlap, so that their
# seeds spread too little.

# %% tags=["parameters"]
design: str = "params/demo.yaml"  # design file, relative to the project
results: str = "results/demo"  # folder of the results, relative to the project

# %%
import pandas as pd

from helpers import store
from helpers.analysis.diversity_effect import MEASURES, partial_effect
from helpers.analysis.equal_budget import equal_compute, equal_data
from helpers.analysis.metric_against_loss import metric_against_loss
from helpers.analysis.resampling import holm
from helpers.analysis.results import complete_runs, with_sampling
from helpers.analysis.saturation import size_samplings
from helpers.analysis.strategy_effect import strategy_effects

study, artifacts = store.open_store(design, results, stage="62_diversity_effect")
table = pd.read_parquet(artifacts.read("results.parquet"))
trained = with_sampling(table[(table["percentage"] > 0) & (table["status"] == "ok")])
nested = [name for name, sampling in study.strategies.items() if sampling.nested]
reference = next((name for name, sampling in study.strategies.items() if sampling.strategy == "random"), None)
file = artifacts.artifact("diversity_effect.parquet", inputs=["results.parquet"], settings={"nested": nested})

# %%
# One score for each task; the others move with it and would only add tests.
HEADLINES = {
    "classification": "macro_f1",
    "integration": "avg_bio",
    "perturbation": "calibrated_specific_r",
    "heldout_loss": "heldout_loss",
}
LOSS = HEADLINES["heldout_loss"]
keys = trained[["task", "dataset", "metric"]].drop_duplicates()
keys = [tuple(key) for key in keys.to_numpy() if HEADLINES.get(key[0]) == key[2]]
have_loss = {dataset for task, dataset, metric in keys if metric == LOSS}
n_models = len(trained[["family", "width"]].drop_duplicates())
n_tests = len(keys) * n_models * (len(MEASURES) + trained["sampling"].nunique() - 1)
n_permutations = max(9_999, 200 * n_tests)


def runs_of(**columns) -> pd.DataFrame:
    """One row per run that has all these columns: name -> (task, dataset, metric)."""
    return with_sampling(complete_runs(trained, columns))


# %% [markdown]
# ## Effects of diversity and of strategies, at fixed size
# Thinned cells are left out of the former: what differs is their depth, which lowers every index of expression.


# %%
def effects_at_fixed_size(key: tuple[str, str, str]) -> pd.DataFrame:
    """Partial effects and strategy effects on one score, of each model."""
    runs, parts = runs_of(score=key), []
    runs["score"] *= -1 if key[2] == LOSS else 1
    for (family, width), model in runs.groupby(["family", "width"], sort=False):
        rng = study.rng("diversity effect", *key, family, width)
        whole = model[model["strategy"] != "depth"]
        options = {"nested": nested, "rng": rng, "n_permutations": n_permutations}
        partial = [{"term": name} | partial_effect(whole, diversity=name, **options) for name in MEASURES]
        parts.append(pd.DataFrame(partial).assign(kind="diversity", family=family, width=width))
        if {reference} < set(model["sampling"]):
            strategies = strategy_effects(model, reference=reference, **options)
            parts.append(strategies.assign(kind="strategy", family=family, width=width))
    return pd.concat(parts)


# %% [markdown]
# ## Does a metric flatten while the loss falls?
# Along each sampling that has several sizes, and for the rank correlation across all runs.


# %%
def against_loss(key: tuple[str, str, str]) -> pd.DataFrame:
    """Rank correlation with −loss and flat end of one score, of each model and sampling."""
    runs, rows = runs_of(score=key, loss=("heldout_loss", key[1], LOSS)), []
    for (family, width), model in runs.groupby(["family", "width"], sort=False):
        rng = study.rng("metric against loss", *key, family, width)
        for sampling in [*size_samplings(model), "all runs"]:
            part = model if sampling == "all runs" else model[model["sampling"] == sampling]
            told = metric_against_loss(part, rng=rng)
            told |= {"term": sampling, "family": family, "width": width, "testable": pd.notna(told["rho"])}
            told |= {"kind": "rank correlation", "estimate": told["rho"], "low": told["rho_low"]}
            rows.append(told | {"high": told["rho_high"]})
            if sampling != "all runs":
                end = {"estimate": told["flat"], "low": told["flat_low"], "high": told["flat_high"]}
                rows.append(told | {"kind": "flat end", "testable": pd.notna(told["flat"])} | end)
    return pd.DataFrame(rows)


# %% [markdown]
# ## Families and objectives at equal data and at equal compute
# Of random cells. FLOPs are those that each family counts for its training; losses of families have no common unit.


# %%
def at_equal_budget(key: tuple[str, str, str]) -> pd.DataFrame:
    """Differences of one score between models, at as many cells and at as many FLOPs."""
    runs = runs_of(score=key)
    runs, rng = runs[runs["sampling"] == reference], study.rng("equal budget", *key)
    if runs.empty:
        return pd.DataFrame()
    return pd.concat(
        [
            equal_data(runs, rng=rng).assign(kind="equal data"),
            equal_compute(runs, rng=rng).assign(kind="equal compute"),
        ]
    )


# %%
NAMES = ["kind", "task", "dataset", "metric", "model", "family", "width", "term"]
NUMBERS = ["estimate", "low", "high", "p", "p_holm", "slope", "n", "n_sizes", "n_seeds"]
COLUMNS = [*NAMES, *NUMBERS, "verdict", "range", "testable", "reason"]

# %%
if not file.fresh:
    parts = []
    for key in keys:
        named = dict(zip(("task", "dataset", "metric"), key, strict=True))
        parts.append(effects_at_fixed_size(key).assign(**named))
        if key[2] != LOSS:
            parts.append(at_equal_budget(key).assign(**named))
            if key[1] in have_loss:
                parts.append(against_loss(key).assign(**named))
    effects = pd.concat([part for part in parts if len(part)], ignore_index=True)
    effects["model"] = effects["family"] + effects["width"].map("-w{:g}".format).where(effects["width"] != 1, "")
    effects = effects.assign(p_holm=holm(effects["p"].to_numpy(float))).reindex(columns=COLUMNS)
    with file.write() as path:
        effects.to_parquet(path, index=False)
effects = pd.read_parquet(artifacts.read("diversity_effect.parquet"))

# %% [markdown]
# ## Diversity

# %% tags=["show"]
from helpers.analysis.judged_sets import loss_units, missing_note
from helpers.analysis.reach import reach
from helpers.reading import finding, note
from helpers.words import counted, listed

by_diversity, by_strategy = (effects[effects["kind"] == kind] for kind in ("diversity", "strategy"))
tested = by_diversity[by_diversity["p"].notna()]
alike = set(by_diversity.loc[by_diversity["testable"], "term"]) - set(tested["term"])
links = [
    f"{MEASURES[term]} in {(part['p_holm'] < 0.05).sum()} of {counted(len(part), 'test')}"
    for term, part in tested.groupby("term", sort=False)
]
names = listed([name for term, name in MEASURES.items() if term in alike])
if links:
    told = f"At a fixed size, the score goes with {listed(links)} after correction"
    diverse = told + (f", while {names} cannot be told apart from the strategy" if alike else "")
elif alike:
    diverse = f"For want of samplings, effects of {names} at a fixed size cannot be told from those of the strategy"
else:
    diverse = "No measure of diversity could be tested at a fixed size"

# %% tags=["show"]
compared = by_strategy[by_strategy["testable"]]
compared = compared.assign(
    better=(compared["p_holm"] < 0.05) & (compared["estimate"] > 0),
    worse=(compared["p_holm"] < 0.05) & (compared["estimate"] < 0),
)
sides = compared.groupby("term")[["better", "worse"]].sum().assign(n=compared.groupby("term").size())
clear = sides[sides["better"] + sides["worse"] > 0].sort_values(["better", "worse"], ascending=False)
strategies = [f"`{row.Index}` is better in {row.better} and worse in {row.worse}" for row in clear.itertuples()]
others = len(sides) - min(2, len(clear))
if sides.empty:
    told = "Nothing was compared with random cells"
elif clear.empty:
    which = f"None of {len(sides)} samplings differs" if len(sides) > 1 else f"`{sides.index[0]}` does not differ"
    told = f"{which} from as many random cells in any score"
else:
    of = counted(clear["n"].iloc[:2], "score")
    told = f"Against as many random cells {listed(strategies[:2])} of {of}"
finding(f"{diverse}. {told}, and {reach(trained['n_cells'].max())}.")

# %% tags=["show"]
signs = tested[tested["p_holm"] < 0.05].groupby(["task", "dataset", "model"])["estimate"].agg(["size", "min", "max"])
several = signs[signs["size"] > 1]
opposed = int(((several["min"] < 0) & (several["max"] > 0)).sum())
untested = [name for term, name in MEASURES.items() if term not in {*alike, *tested["term"]}]
notes = [f"Two indices have opposite signs in {opposed} of {counted(len(several), 'case')}."] if opposed else []
notes += [f"Not testable at a fixed size: {listed(untested)}."] if untested else []
notes += [f"Further samplings compared: {others}."] if others and len(clear) else []
if told := " ".join([*notes, missing_note(study, table)]).strip():
    note(told)

# %% tags=["show"]
shown = [
    "model",
    "metric",
    "dataset",
    "term",
    "estimate",
    "low",
    "high",
    "slope",
    "p",
    "p_holm",
    "n",
    "range",
    "reason",
]
told = by_diversity[by_diversity["testable"] & by_diversity["task"].isin(["classification", "heldout_loss"])]
told[shown].style.format(precision=2).format("{:.2g}", subset=["p", "p_holm"]).hide()

# %% [markdown]
# Filled marks: p under 0.05 after correction; crosses: no p, since few samplings differ, so that an effect of diversity
# cannot be separated from the strategy. Where diversity is not known or hardly differs, there is no number.

# %% tags=["show"]
from helpers.plots import effect_figures as plots
from helpers.plots import looks

looks.know_design(study)
units = loss_units(table)
if by_diversity["testable"].any():
    display(plots.forest(by_diversity, xlabel="partial correlation at fixed size", same_scale=True))

# %% tags=["show"]
left = by_diversity[~by_diversity["testable"]]
told = left.groupby(["term", "model", "reason"], sort=False).size()
told.rename("scores not tested").reset_index().style.hide()

# %% [markdown]
# ## Strategies against random cells

# %% tags=["show"]
if by_strategy["testable"].any():
    display(plots.forest(by_strategy, xlabel="difference to random cells"))

# %% tags=["show"]
shown = ["model", "metric", "dataset", "term", "estimate", "low", "high", "p", "p_holm", "n", "range", "reason"]
told = by_strategy[by_strategy["task"].isin(["classification", "heldout_loss"])]
told[shown].style.format(precision=3).format("{:.2g}", subset=["p", "p_holm"]).hide()

# %% [markdown]
# ## The score against the held-out loss
# Bands mark the flat end: the lowest part of the loss range, over which the monotone fit of the random runs gains less
# than one standard deviation of seeds.

# %% tags=["show"]
headline = study.evaluations.heldout_loss.headline
pairs = runs_of(score=("classification", headline, "macro_f1"), loss=("heldout_loss", headline, LOSS))
if len(pairs):
    named = {"sampling": reference, "dataset": headline, "metric_name": "macro F1"}
    display(plots.monotone_fits(pairs, effects, units=units, **named))

# %% tags=["show"]
ends = effects[effects["kind"] == "flat end"]
shown = ["model", "metric", "dataset", "term", "verdict", "estimate", "low", "high", "n", "n_seeds", "reason"]
ends[shown].style.format(precision=2).hide()

# %% tags=["show"]
verdicts = ends.loc[ends["term"] == reference, "verdict"].value_counts()
if len(verdicts):
    note(
        f"Of {counted(verdicts.sum(), 'curve')} along sizes of random cells, with "
        f"{counted(ends['n_seeds'], 'seed')} a size, the verdict is: "
        + ", ".join(f"*{verdict}* {n}" for verdict, n in verdicts.items())
        + "."
    )

# %% [markdown]
# ## Equal data, equal compute

# %% tags=["show"]
runs = pairs[pairs["sampling"] == reference]
plots.equal_budgets(runs, dataset=headline, metric_name="macro F1") if len(runs) else None

# %% tags=["show"]
shown = ["kind", "metric", "dataset", "model", "term", "estimate", "low", "high", "range", "reason"]
equal = effects[effects["kind"].isin(["equal data", "equal compute"]) & (effects["task"] == "classification")]
equal[shown].style.format(precision=3).hide()
