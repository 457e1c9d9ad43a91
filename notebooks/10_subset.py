# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 10 · What does a smaller corpus look like?
#
# **Finding.** *Written from the numbers when the notebook is executed.*
#
# **Method.** One way of sampling draws subsets of the corpus at every size and seed; all families learn from the same
# subsets. Each draw has a random generator of its own, named after the subset, or after its seed alone where subsets
# are nested. `params/` says what is sampled under which name; each strategy is explained in its file in
# `src/helpers/subset/`.

# %% tags=["parameters"]
design: str = "params/demo.yaml"  # design file, relative to the project
results: str = "results/demo"  # folder of the results, relative to the project
strategy: str = "random"  # sampling of the design: how cells are drawn

# %%
import pandas as pd

from helpers import corpus, store, subset
from helpers.design import Run, load_design, n_cells
from helpers.reading import finding, track
from helpers.split import offered
from helpers.subset.components import principal_components

sampling = load_design(design).sampling(strategy)
modules = [subset.module_of(sampling.strategy)]
study, artifacts = store.open_store(design, results, stage="10_subset", modules=modules)
roles = corpus.read_roles(artifacts)
n_corpus = int((roles == "corpus").sum())
positions = offered(roles, sampling.strategy)
obs = corpus.read_obs(artifacts).iloc[positions]

# %% [markdown]
# ## Draw
# Sketches are spread over the principal components of the corpus. Thinning and spike-ins start from the cells that
# `random` draws with the same seed. Written are positions in `corpus/`.

# %%
given = {"nested": sampling.nested, "perturbed": roles[positions] == "spikein"}
if subset.reads_embedding(sampling.strategy):
    given["embedding"] = principal_components(corpus.open_cells(artifacts, gene_space=False)[positions])

base = "random" if sampling.strategy in subset.FROM_RANDOM else strategy
runs = study.subsets(strategy)
for run in track(runs, "subsets"):
    n, alike = n_cells(run.percentage, n_corpus), Run("", 1.0, base, run.percentage, run.seed)
    name = [base, run.seed] if sampling.nested else [alike.subset]
    settings = {"seed": study.seed, "name": name, "n": n, **sampling.model_dump(exclude={"percentages"})}
    file = artifacts.artifact(store.subset_path(run), inputs=["corpus", "split.parquet"], settings=settings)
    if not file.fresh:
        rows = subset.draw(sampling.strategy, obs, n, rng=study.rng("subset", *name), **given, **sampling.options)
        with file.write() as path:
            corpus.write_positions(path, positions[rows])

# %% [markdown]
# ## Realised sizes

# %% tags=["show"]
import numpy as np

from helpers.reading import between
from helpers.subset import depth
from helpers.subset.report import describe
from helpers.words import counted

drawn = {run: pd.read_parquet(artifacts.read(store.subset_path(run)))["position"].to_numpy() for run in runs}
rows = {run: np.searchsorted(positions, chosen) for run, chosen in drawn.items()}
share = depth.kept(obs, sampling.options["umis"]) if sampling.strategy == "depth" else 1.0
told = [{"percentage": run.percentage, **describe(obs, chosen, share=share)} for run, chosen in rows.items()]
table = pd.DataFrame(told)
sizes = table.groupby("percentage")
whole = describe(obs, np.flatnonzero(roles[positions] == "corpus"))

# %% tags=["show"]
small = table[table["percentage"] == table["percentage"].min()]
which = "The smallest" if len(sizes) > 1 else "They"
finding(
    f"`{strategy}` subsets hold {counted(table['n_cells'], 'cell')}, at {counted(len(sizes), 'size')} with "
    f"{counted(sizes.size(), 'seed')} each. {which} keep {between(small['n_types'], '.0f')} of the corpus's "
    f"{counted(whole['n_types'], 'cell type')}, with a Shannon index of {between(small['shannon'], '.2f')} bits where "
    f"the corpus has {whole['shannon']:.2f}."
)

# %% [markdown]
# UMIs are those after thinning, on average. Cells that thinning leaves without counts are not learned from; the next
# notebook leaves them out.

# %% tags=["show"]
forms = {name: ",.0f" if name.startswith(("n_", "umis")) else ".3g" for name in table.columns[1:]}
text = {name: sizes[name].agg(lambda values, form=form: between(values, form)) for name, form in forms.items()}
pd.DataFrame(text).rename_axis("% of corpus").replace("nan", "unknown")

# %% [markdown]
# ## Cell types before and after

# %% tags=["show"]
from helpers.plots import looks
from helpers.plots import stage_figures as plots

looks.know_design(study)
labels = obs["cell_type"].astype(str)
before = labels[roles[positions] == "corpus"]
first = [run for run in runs if run.seed == study.seeds_of(run.percentage)[0]]
plots.subset_composition({run.percentage: labels.iloc[rows[run]] for run in first}, before)

# %% tags=["show"]
plots.type_shares({run: labels.iloc[chosen] for run, chosen in rows.items()}, before)

# %% tags=["show"]
smallest = next(iter(rows.values()))
random_rows = subset.draw("random", obs, len(smallest), rng=study.rng("subset", "beside the sketch"))
beside = {"random": random_rows, strategy: smallest}
plots.sketch(given["embedding"], beside, labels) if "embedding" in given else None
