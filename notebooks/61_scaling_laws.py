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
# ## Verdicts over corpus size

# %% tags=["show"]
from helpers.plots import scaling_figures as plots
from helpers.reading import finding, note

table = tables["laws"]
runs = laws.losses(results_table).assign(model=lambda rows: rows["family"].map(models))
over_cells = table[table["axis"] == "n_cells"]
if (over_cells["form"] != "").any():
    display(plots.verdict_map(over_cells))

# %% [markdown]
# ## The held-out loss of each curve, and the form that leads
# Samplings with too few sizes for a fit are left out.

# %% tags=["show"]
losses = over_cells[(over_cells["metric"] == "heldout_loss") & (over_cells["form"] != "")]
for (sampling, width, budget), part in losses.groupby(["sampling", "width", "budget"], sort=False):
    note(f"{sampling.replace('_', ' ')}, width {width:g}, budget {budget}:")
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
# ## In numbers
# Held-out losses with their verdicts. *1 % less*: the factor by which the axis would have to grow for 1 % less loss,
# told for power laws alone.

# %% tags=["show"]
laws.readable(table[(table["metric"] == "heldout_loss") & (table["form"] != "")]).style.hide()

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
    told = f"{model}, {dataset}, {law['n_runs'].iloc[0]} runs, {len(study.seeds)} seeds"
    display(plots.compute_frontier(part, best, title=told))

# %% tags=["show"]
from helpers.analysis.judged_sets import missing_note

random = losses[losses["sampling"] == "random"]
told = ", ".join(f"{verdict} {(random['verdict'] == verdict).sum()}" for verdict in plots.VERDICTS)
scores = over_cells.loc[(over_cells["metric"] != "heldout_loss") & (over_cells["form"] != ""), "verdict"]
if random.empty:
    none = "No curve of the held-out loss over random cells has the four sizes that a verdict needs."
    finding(f"{none}{missing_note(study, results_table)}")
else:
    finding(
        f"Held-out losses of {len(random)} curves over random cells, {laws.told_sizes(random)}: {told}. Of "
        f"{len(scores)} curves of downstream scores {(scores == 'power law').sum()} follow a power law, "
        f"{(scores == 'saturated').sum()} saturate and {(scores == 'not identifiable').sum()} tell nothing of the "
        f"kind. All of it holds for up to {over_cells['largest'].max():,.0f} cells, and for no more."
        f"{missing_note(study, results_table)}"
    )
