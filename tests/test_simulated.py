"""The simulated corpus: reproducible, nested as real studies are, and true to the parameters that it reports."""

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from pydantic import ValidationError
from scipy.stats import linregress, spearmanr

from helpers.corpus import simulated
from helpers.corpus.checks import check_counts, check_genes, check_obs
from helpers.corpus.simulated import Simulation

SMALL = Simulation(
    n_cells=3_000, n_genes=80, n_tissues=3, n_types=8, n_datasets=7, donors_per_dataset=3, depth=100, seed=4
)
ONE = {"n_tissues": 1, "n_types": 1, "n_datasets": 1, "donors_per_dataset": 1}  # all cells alike but for noise


def changed(settings: Simulation = SMALL, **values) -> Simulation:
    return Simulation(**{**settings.model_dump(), **values})


def make(settings: Simulation, rows: slice = slice(None)) -> sp.csr_matrix:
    return simulated.counts(settings, simulated.sample_obs(settings), rows)


def same(a: sp.csr_matrix, b: sp.csr_matrix) -> bool:
    return a.shape == b.shape and (a != b).nnz == 0


@pytest.fixture(scope="module")
def cells() -> anndata.AnnData:
    return simulated.read(SMALL)


@pytest.fixture(scope="module")
def obs() -> pd.DataFrame:
    """Labels of the default simulation."""
    return simulated.sample_obs(Simulation())


def test_cells_are_what_every_corpus_must_be(cells):
    assert cells.shape == (SMALL.n_cells, SMALL.n_genes)
    assert isinstance(cells.X, sp.csr_matrix)
    assert cells.X.dtype == np.float32
    check_counts(cells.X)
    check_genes(cells.var_names)
    check_obs(cells.obs, ["dataset_id", "tissue", "cell_type", "cell_type_harmonised", "batch", "donor_id"])
    assert (cells.obs["perturbation"] == "control").all()
    assert [cells.obs_names[0], cells.var_names[-1]] == ["sim_0000001", "gene00080"]


def test_settings_alone_decide(cells):
    again = simulated.read(SMALL)
    assert same(again.X, cells.X)
    pd.testing.assert_frame_equal(again.obs, cells.obs)
    other = simulated.read(changed(seed=5))
    assert not same(other.X, cells.X)
    assert not np.allclose(other.var["base"], cells.var["base"])
    assert not other.obs["cell_type"].astype(str).equals(cells.obs["cell_type"].astype(str))


def test_nothing_touches_the_global_random_state():
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    make(SMALL, slice(0, 10))
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


@pytest.mark.parametrize("chunk", [300, 1024, 1500, 5000])
def test_chunks_do_not_change_the_cells(cells, chunk):
    parts = [make(SMALL, slice(start, start + chunk)) for start in range(0, SMALL.n_cells, chunk)]
    assert same(sp.vstack(parts, format="csr"), cells.X)


@pytest.mark.parametrize(
    "rows", [slice(0, 100), slice(1020, 1030), slice(1024, 2048), slice(-7, None), slice(9, 9), slice(9, 2)]
)
def test_any_slice_is_that_of_all_cells(cells, rows):
    assert same(make(SMALL, rows), cells.X[rows])


def test_wrong_cells_and_steps_are_refused():
    obs = simulated.sample_obs(SMALL)
    with pytest.raises(ValueError, match="obs holds 10 cells, n_cells = 3,000"):
        simulated.counts(SMALL, obs[:10], slice(0, 5))
    with pytest.raises(ValueError, match="without steps"):
        simulated.counts(SMALL, obs, slice(0, 10, 2))


def test_more_cells_have_the_same_truth():
    few, many = simulated.truth(SMALL), simulated.truth(changed(n_cells=9_000))
    for name in ("tissue", "type", "donor", "dataset", "datasets", "donors", "types_of_tissue", "types_of_donor"):
        pd.testing.assert_frame_equal(getattr(few, name), getattr(many, name))


def test_donors_nest_in_datasets_and_datasets_in_tissues(obs):
    settings = Simulation()
    for lower, upper in (("donor_id", "dataset_id"), ("dataset_id", "tissue")):
        assert obs[[lower, upper]].drop_duplicates()[lower].is_unique
    assert obs["batch"].astype(str).equals(obs["dataset_id"].astype(str))
    assert obs["donor_id"].nunique() == settings.n_datasets * settings.donors_per_dataset
    assert obs["tissue"].nunique() == settings.n_tissues
    assert "dataset03_donor2" in set(obs["donor_id"])
    per_donor = obs["donor_id"].value_counts()
    assert per_donor.max() > 10 * per_donor.min()


def test_types_live_in_one_tissue_or_in_all(obs):
    tissues = obs.groupby("cell_type", observed=True)["tissue"].nunique()
    shared = set(tissues.index[tissues > 1])
    assert shared == {"type06", "type12", "type18", "type24"}
    known = simulated.truth(Simulation())
    assert set((known.types_of_tissue > 0).sum()) == {1, 4}
    np.testing.assert_allclose(known.types_of_tissue.sum(axis=1), 1)
    np.testing.assert_allclose(known.types_of_donor.sum(axis=1), 1)


def test_types_are_long_tailed(obs):
    shares = obs["cell_type"].value_counts(normalize=True)
    assert len(shares) == 24
    assert 0.1 < shares.iloc[0] < 0.35
    assert shares.iloc[-1] < 0.006
    even = simulated.sample_obs(Simulation(type_tail=0))["cell_type"].value_counts(normalize=True)
    slope = linregress(np.log(np.arange(1, 25)), np.log(shares)).slope
    assert slope < -1
    assert linregress(np.log(np.arange(1, 25)), np.log(even)).slope > slope + 0.3


def test_donors_have_types_of_their_own(obs):
    known = simulated.truth(Simulation())
    seen = pd.crosstab(obs["donor_id"], obs["cell_type"])
    big = seen.index[seen.sum(axis=1) > 300]
    drawn = known.types_of_donor.loc[big, seen.columns]
    np.testing.assert_allclose(seen.loc[big].div(seen.loc[big].sum(axis=1), axis=0), drawn, atol=0.12)
    tissue = known.datasets.loc[known.donors.loc[big, "dataset_id"], "tissue"]
    assert np.abs(drawn.to_numpy() - known.types_of_tissue.loc[tissue, seen.columns].to_numpy()).max() > 0.15


def test_dataset_depth_follows_the_truth():
    settings = Simulation(n_cells=6_000, n_genes=300, depth=1000)
    obs = simulated.sample_obs(settings)
    totals = pd.Series(np.asarray(simulated.counts(settings, obs, slice(None)).sum(axis=1)).ravel(), obs.index)
    seen = totals.groupby(obs["dataset_id"].astype(str)).median()
    depth = simulated.truth(settings).datasets["depth"]
    assert np.exp(np.log(depth).mean()) == pytest.approx(1000)
    assert spearmanr(seen, depth).statistic > 0.95
    np.testing.assert_allclose(seen / depth, 1, atol=0.25)
    assert (seen / depth).mean() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("dispersion", "depth_sd"), [(0.3, 0.0), (1.5, 0.0), (0.3, 0.5)])
def test_mean_and_variance_are_those_of_the_truth(dispersion, depth_sd):
    n_cells, depth = 20_000, 400
    settings = changed(n_cells=n_cells, n_genes=50, depth=depth, depth_sd_cells=depth_sd, dispersion=dispersion, **ONE)
    X = make(settings).toarray()
    shares = simulated.truth(settings).expression(simulated.sample_obs(settings)[:1])[0]
    # moments of the log-normal depth carry over to the counts
    mean = shares * depth * np.exp(depth_sd**2 / 2)
    squared = mean**2 * np.exp(depth_sd**2)
    variance = mean + (1 + dispersion) * squared - mean**2
    z = (X.mean(axis=0) - mean) / np.sqrt(variance / n_cells)
    assert np.abs(z).max() < 5
    assert 0.6 < z.std() < 1.5 or depth_sd  # a shared error of depth moves all genes together
    ratio = (X.var(axis=0) / variance)[mean > 0.5]
    assert len(ratio) > 20
    np.testing.assert_allclose(ratio, 1, atol=0.2)
    assert ratio.mean() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("level", ["tissue", "type", "donor", "dataset"])
def test_effects_have_their_size_and_place(level):
    none = {f"{name}_effect": 0.0 for name in ("tissue", "type", "donor", "dataset")}
    settings = changed(n_genes=2000, **{**none, f"{level}_effect": 0.5})
    known = simulated.truth(settings)
    effect = getattr(known, level).to_numpy()
    if level == "type":
        assert (effect != 0).mean() == pytest.approx(simulated.MARKERS, abs=0.01)
        effect = effect[effect != 0]
    assert effect.std() == pytest.approx(0.5, abs=0.12 if level == "type" else 0.02)
    obs = simulated.sample_obs(settings)
    column = {"tissue": "tissue", "type": "cell_type", "donor": "donor_id", "dataset": "dataset_id"}[level]
    profiles = np.unique(known.expression(obs)[:, :50].round(12), axis=0)
    assert len(profiles) == obs[column].nunique()


def test_expression_adds_the_effects_by_name():
    known = simulated.truth(SMALL)
    obs = simulated.sample_obs(SMALL)[2000:2001]
    row = obs.iloc[0]
    log = known.base + known.tissue.loc[row["tissue"]] + known.type.loc[row["cell_type"]]
    log += known.donor.loc[row["donor_id"]] + known.dataset.loc[row["dataset_id"]]
    np.testing.assert_allclose(known.expression(obs)[0], np.exp(log) / np.exp(log).sum())


def test_every_cell_has_a_count_even_at_the_lowest_depth():
    X = make(changed(depth=1, depth_sd_datasets=0, depth_sd_cells=0))
    assert np.asarray(X.sum(axis=1)).min() == 1


def test_written_and_read_back_without_warnings(cells, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cells.write_h5ad(tmp_path / "cells.h5ad")
        back = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert same(back.X, cells.X)
    pd.testing.assert_frame_equal(back.obs, cells.obs)
    known = simulated.truth(SMALL)
    pd.testing.assert_series_equal(back.var["base"], known.base, check_names=False)
    for name in ("tissue", "type", "donor", "dataset"):
        pd.testing.assert_frame_equal(back.varm[f"{name}_effect"], getattr(known, name).T)
    for name in ("datasets", "donors", "types_of_tissue", "types_of_donor"):
        pd.testing.assert_frame_equal(back.uns["truth"][name], getattr(known, name), check_dtype=False)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_types": 2}, "n_types = 2 is under n_tissues = 3"),
        ({"n_datasets": 2}, "n_datasets = 2 is under n_tissues = 3"),
        ({"n_cells": 20}, "n_cells = 20 is under n_datasets × donors_per_dataset = 21"),
        ({"n_genes": 10}, "n_genes\n.*greater than or equal to 50"),
        ({"dispersion": 0}, "dispersion\n.*greater than 0"),
        ({"type_effect": -1}, "type_effect\n.*greater than or equal to 0"),
        ({"depth": float("nan")}, "depth\n"),
        ({"n_cells": 1e4}, "n_cells\n.*valid integer"),
        ({"seed": -1}, "seed\n.*greater than or equal to 0"),
        ({"n_donors": 3}, "n_donors\n.*not permitted"),
    ],
)
def test_bad_settings_are_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        changed(**values)


def test_the_smallest_simulation_works():
    settings = Simulation(n_cells=1, n_genes=50, **ONE)
    assert simulated.read(settings).shape == (1, 50)
