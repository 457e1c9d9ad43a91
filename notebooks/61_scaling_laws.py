# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 61 · Is there a scaling law, and along which axis?
#
# **Finding.** *Written from the numbers when the notebook is executed.*
#
# **Method.** Five forms (constant, logarithm, power law with a floor, exponential saturation, broken power law) are
# fitted to every curve along every axis that the design varies, by a robust loss, and compared by AICc. The verdict
# follows fixed rules, in this order: *no scaling*, *saturated*, *power law*, *not identifiable*. A power law must lead
# every other form, fit the means of all sizes, foretell the largest from the others, and have an exponent that is told
# to within 1. Intervals are of 90 %, by a bootstrap over seeds; the test cells are the same for all runs. Along FLOPs a
# curve holds the models that no cheaper one beats, chosen by the means of the other seeds, so that its intervals are
# optimistic. Losses are compared within a family only. A verdict holds for the range that was fitted, not beyond it.

# %% tags=["parameters"]
design: str = "params/demo.yaml"  # design file, relative to the project
results: str = "results/demo"  # folder of the results, relative to the project

# %%
import pandas as pd

from helpers import store
from helpers.analysis import joint_laws, laws

study, artifacts = store.open_store(design, results, stage="61_scaling_laws")
results_table = pd.read_parquet(artifacts.read("results.parquet"))
models = laws.alike(study)
folder = artifacts.artifact("scaling", inputs=["results.parquet"], settings={"models": models, "seed": study.seed})

# %%
if not folder.fresh:
    found = laws.fit_laws(results_table, models=models, rng=study.rng("scaling"))
    joint = joint_laws.fit_joints(results_table, models=models, rng=study.rng("scaling", "joint"))
    tables = {"laws": laws.law_table(found), "curves": laws.law_curves(found), "joint": joint_laws.joint_table(joint)}
    tables["profiles"], tables["frontier"] = joint_laws.frontiers(joint)
    with folder.write() as path:
        path.mkdir()
        for name, table in tables.items():
            table.to_parquet(path / f"{name}.parquet", index=False)
tables = {path.stem: pd.read_parquet(path) for path in artifacts.read("scaling").glob("*.parquet")}

# %% [markdown]
# ## The held-out losses in numbers

# %% tags=["show"]
from helpers.analysis.judged_sets import missing_note
from helpers.analysis.reach import reach
from helpers.reading import finding, note
from helpers.words import counted

table = tables["laws"]
over_cells = table[table["axis"] == "n_cells"]
fitted = over_cells[over_cells["form"] != ""]
losses = fitted[fitted["metric"] == "heldout_loss"]
random, scores = (part[part["sampling"] == "random"] for part in (losses, fitted.drop(losses.index)))
judged_by = f"Of {counted(len(scores), 'curve')} of their downstream scores {laws.told_verdicts(scores['verdict'])}"
judged_by = judged_by if len(scores) else "No downstream score has a curve"

# %% tags=["show"]
if len(random):
    finding(
        f"Of {counted(len(random), 'held-out loss curve')} over random cells ({laws.told_sizes(random)}) "
        f"{laws.told_verdicts(random['verdict'])}. {judged_by}, and {reach(over_cells['largest'].max())}."
    )
else:
    none = "No curve of the held-out loss over random cells has the four sizes that a verdict needs."
    finding(f"{none} Name more percentages in the design to get one.")
if missing := missing_note(study, results_table):
    note(missing)

# %% [markdown]
# Each curve with its verdict. *1 % less*: the factor by which the axis would have to grow for 1 % less loss, told for
# power laws alone.

# %% tags=["show"]
laws.readable(table[(table["metric"] == "heldout_loss") & (table["form"] != "")]).style.hide()

# %% [markdown]
# ## Verdicts over corpus size

# %% tags=["show"]
from helpers.plots import looks
from helpers.plots import scaling_figures as plots

looks.know_design(study)
runs = laws.losses(results_table).assign(model=lambda rows: rows["family"].map(models))
if len(fitted):
    display(plots.verdict_map(over_cells))

# %% [markdown]
# ## The held-out loss of each curve, and the form that leads
# Samplings with too few sizes for a fit are left out.

# %% tags=["show"]
for (sampling, width, budget), part in losses.groupby(["sampling", "width", "budget"], sort=False):
    kind, amount = budget.split("=")
    note(f"`{sampling}`, width {width:g}, budget of {int(amount):,} {kind.replace('_', '-')}:")
    display(plots.fitted_curves(part, tables["curves"], runs))

# %% [markdown]
# ## Above the floor
# A power law is a straight line here. The floor is fitted, and the last points depend on it most.

# %% tags=["show"]
if (losses["verdict"] == "power law").any():
    display(plots.excess_loss(losses, tables["curves"], runs))
else:
    note("No curve over corpus sizes has a power law.")

# %% [markdown]
# ## Exponents

# %% tags=["show"]
if table["low"].notna().any():
    display(plots.exponent_forest(table))
else:
    note("No curve is led by a power law.")

# %% [markdown]
# ## Parameters and data together
# L(N, D) = E + A / N^α + B / D′^β, with D′ the worth of repeated cells, for models of at least three sizes.

# %% tags=["show"]
if len(tables["joint"]):
    display(tables["joint"].style.format(precision=3).hide())
else:
    note("This design varies no number of parameters: params/scaling.yaml does.")

# %% tags=["show"]
for (model, dataset), part in tables["profiles"].groupby(["model", "dataset"]):
    best, law = (tables[name].query("model == @model and dataset == @dataset") for name in ("frontier", "joint"))
    told = f"{model}, {dataset}, {law['n_runs'].iloc[0]} runs, {counted(len(study.seeds), 'seed')}"
    display(plots.compute_frontier(part, best, title=told))
