# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 50 · What came out, in one table?
#
# **Finding.** *Written from the numbers when the notebook is executed.*
#
# **Method.** One row per run, evaluation set and metric, with what the run learned from and what it cost. Every value
# has its null and its ceiling or reference beside it: majority class and logistic regression for classification, gene
# means and the count-split reference for the held-out loss. Runs or evaluations that are not there are listed, never
# filled in: the next run tries them again. Beside it, `parts.parquet` has the F1 of each type and the scores of each
# held-out condition, of every run.

# %% tags=["parameters"]
design: str = "params/demo.yaml"  # design file, relative to the project
results: str = "results/demo"  # folder of the results, relative to the project

# %%
import pandas as pd

from helpers import failures, store
from helpers.analysis.collect import (
    baseline_rows,
    describe_runs,
    expected_tables,
    missing_evaluations,
    result_rows,
    told_missing,
)
from helpers.analysis.judged_sets import with_test_sets
from helpers.reading import finding, note

study, artifacts = store.open_store(design, results, stage="50_collect")
present = {path: owner for path, owner in expected_tables(study, artifacts).items() if artifacts.has(path)}
missing = missing_evaluations(study, artifacts)
given_up = failures.told(artifacts, study.runs())
inputs = ["corpus", "split.parquet", "evaluation_sets.parquet", *present]
settings = {"missing": missing.to_dict("list"), "given_up": given_up, **study.model_dump()}
files = [artifacts.artifact(f"{name}.parquet", inputs=inputs, settings=settings) for name in ("results", "parts")]

# %%
if not all(file.fresh for file in files):
    runs = describe_runs(study, artifacts)
    for file, of_parts in zip(files, (False, True), strict=True):
        rows = result_rows(runs, artifacts, present, parts=of_parts), baseline_rows(artifacts, present, parts=of_parts)
        rows = pd.concat(rows, ignore_index=True)
        with file.write() as path:
            (rows if of_parts else with_test_sets(rows, study, artifacts)).to_parquet(path, index=False)
table = pd.read_parquet(artifacts.read("results.parquet"))
parts = pd.read_parquet(artifacts.read("parts.parquet"))

# %% [markdown]
# ## The table

# %% tags=["show"]
from helpers.words import counted

trained = table[(table["strategy"] != "none") & (table["status"] == "ok")]
n_given_up = table.loc[table["status"] == "failed", "run_id"].nunique()
n_baselines = table.loc[table["strategy"] == "none", "family"].nunique()
minutes = trained.drop_duplicates("run_id")["seconds"].sum() / 60
lost = {"evaluation": (len(missing), "missing"), "run": (n_given_up, "given up")}
lost = [f"{counted(n, what) if n else f'no {what}'} {why}" for what, (n, why) in lost.items()]
finding(
    f"The table has {len(table):,} rows of {trained['run_id'].nunique():,} of {counted(len(study.runs()), 'run')} and "
    f"{counted(n_baselines, 'baseline')}, with {' and '.join(lost)}. Training all models took "
    f"{minutes:,.1f} core-minutes."
)

# %% tags=["show"]
if len(missing):
    note("Not there:", told_missing(missing).splitlines())
if given_up:
    note("Given up:", given_up.splitlines())

# %% tags=["show"]
overview = trained.groupby(["family", "strategy", "task"], sort=False).agg(
    runs=("run_id", "nunique"),
    sets=("dataset", "nunique"),
    rows=("value", "size"),
    smallest=("n_cells", "min"),
    largest=("n_cells", "max"),
)
overview.style.format("{:,.0f}")

# %% [markdown]
# ## What it cost
# Each model's speed, in training and, loading and writing included, in embedding.

# %% tags=["show"]
from helpers.plots.cost_figures import speed

speeds = trained[trained["percentage"] > 0].drop_duplicates("run_id")
speed(speeds) if len(speeds) else None

# %% [markdown]
# ## Some rows, and the hardest types

# %% tags=["show"]
table.sample(min(8, len(table)), random_state=1).sort_index()[
    ["run_id", "n_cells", "shannon", "cell_views", "dataset", "seen", "metric", "value", "null", "ceiling"]
].style.format(precision=3, thousands=",").hide()

# %% tags=["show"]
of_types = parts[(parts["metric"] == "type_f1") & parts["type"].ne("")]
hardest = of_types[of_types["percentage"] == of_types["percentage"].max()].groupby(["dataset", "type"], sort=False)
hardest = hardest[["n_test", "value", "null", "ceiling"]].mean().sort_values("value").head(8).reset_index()
hardest.style.format(precision=2).hide().set_caption("Types with the lowest F1, mean of the runs of the largest size")
