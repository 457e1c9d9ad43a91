"""Models and statistics of cells on disk: what they are of the same cells in memory."""

import os

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import copy_project, repeatable, run_workflow
from planted import draw_cells
from scipy.linalg import subspace_angles

from helpers.corpus import shards
from helpers.corpus.shards import Shards
from helpers.corpus.stored import StoredCells, StoredCounts
from helpers.diversity import vendi
from helpers.models import Budget, TrainingCells, create
from helpers.models.expression import LogCP10k
from helpers.models.pca import principal_axes
from helpers.models.rank_tokens import nonzero_medians
from helpers.split import select_genes
from helpers.subset.components import principal_components
from helpers.subset.report import ScaledExpression
from helpers.variable_genes import variable_genes

FAMILIES = {
    "pca": {},
    "scvi": {"patience": 99},
    "ssl": {"patience": 99},
    "geneformer": {"patience": 99},
    "scimilarity": {"study": "batch", "patience": 99},
}


@pytest.fixture(scope="module")
def train():
    cells = draw_cells(1500, 0)
    cells.var["nonzero_median"] = nonzero_medians(sp.csr_array(cells.X))
    return cells


@pytest.fixture(scope="module")
def stored(train, tmp_path_factory) -> StoredCells:
    """The same cells in five shards."""
    counts, folder = sp.csr_array(train.X), tmp_path_factory.mktemp("shards")
    shards.write(folder, lambda start: iter([counts[start:]]), counts.shape, shard_cells=320)
    return StoredCells(StoredCounts(Shards(folder), np.arange(1500)), train.obs, train.var)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_learns_from_cells_on_disk(family, train, stored):
    validation, budget = draw_cells(300, 1), Budget("cell_views", 6_000)
    fitted = []
    for cells in (train, stored):
        model = create(family, n_genes=train.n_vars, preset="demo", **FAMILIES[family])
        model.fit(TrainingCells(cells, validation), budget=budget, rng=np.random.default_rng(0))
        fitted.append(model)
    here, there = fitted
    assert there.cost["steps"] == here.cost["steps"]
    assert there.cost["unique_cells"] == here.cost["unique_cells"]
    assert there.cost["flops"] == pytest.approx(here.cost["flops"])
    if family == "pca":
        np.testing.assert_array_equal(there.weights["components"], here.weights["components"])
        return
    losses = [model.history["validation_loss"].dropna() for model in fitted]
    assert losses[0].iloc[0] == losses[1].iloc[0], "the same weights at the start"
    assert all(loss.min() < 0.99 * loss.iloc[0] for loss in losses)
    assert losses[1].min() == pytest.approx(losses[0].min(), rel=0.02), "batches differ, what is learned hardly"
    judged = draw_cells(200, 2)
    controls = [
        model.loss_controls(TrainingCells(cells, validation), judged)
        for model, cells in zip(fitted, (train, stored), strict=True)
    ]
    pd.testing.assert_frame_equal(*controls, rtol=0.01)


def test_rows_of_batches_find_the_labels_of_their_cells(train, stored):
    model = create("scimilarity", n_genes=train.n_vars, preset="demo", study="batch")
    model.fit(TrainingCells(stored, draw_cells(50, 1)), budget=Budget("cell_views", 0), rng=np.random.default_rng(0))
    stream = model._batches(stored.X, None, np.random.default_rng(0))
    for _ in range(30):
        expression = np.expm1(next(stream).numpy())
        own = np.sort(train.X[model.rows].toarray() > 0, axis=1)
        np.testing.assert_array_equal(np.sort(expression > 0, axis=1), own)


def test_statistics_of_cells_on_disk_are_those_of_cells_in_memory(train, stored):
    here, there = (select_genes(cells, 20) for cells in (train, stored))
    np.testing.assert_array_equal(there["selected"], here["selected"])
    np.testing.assert_allclose(there["nonzero_median"], here["nonzero_median"], rtol=0.004)
    np.testing.assert_allclose(principal_components(stored, n_top=20), principal_components(train, n_top=20), atol=1e-4)
    scaled = [ScaledExpression(cells, n_top=20)(cells) for cells in (train, stored)]
    assert vendi(scaled[1]) == pytest.approx(vendi(scaled[0]), rel=1e-6)


def test_statistics_of_cells_on_disk_are_those_of_scanpy_in_memory(real_cells, tmp_path):
    """Expression to 1e-6, the same variable genes, variances to 1e-4 and axes to .02 degrees."""
    import scanpy as sc

    cells = real_cells[0].copy()
    counts = sp.csr_array(cells.X)
    shards.write(tmp_path, lambda start: iter([counts[start:]]), counts.shape, shard_cells=1_000)
    on_disk = StoredCells(StoredCounts(Shards(tmp_path), np.arange(cells.n_obs)), cells.obs, cells.var)
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    logs = LogCP10k(on_disk.X)
    np.testing.assert_allclose(logs[:].toarray(), cells.X.toarray(), rtol=1e-6)
    sc.pp.highly_variable_genes(cells, flavor="seurat", n_top_genes=200)
    genes = np.flatnonzero(cells.var["highly_variable"])
    np.testing.assert_array_equal(variable_genes(logs, 200), genes)
    chosen = cells[:, genes].copy()
    sc.pp.pca(chosen, n_comps=10, svd_solver="arpack")
    found = principal_axes(LogCP10k(on_disk.X, genes), 10)
    of_scanpy = chosen.uns["pca"]["variance"] * (cells.n_obs - 1) / cells.n_obs
    np.testing.assert_allclose(found.variances, of_scanpy, rtol=1e-4)
    assert np.rad2deg(subspace_angles(found.axes.T, chosen.varm["PCs"])).max() < 0.02


def test_medians_are_close_for_any_depth_and_missing_for_silent_genes(tmp_path):
    rng = np.random.default_rng(0)
    dense = rng.poisson(rng.gamma(0.3, 20, (700, 50)) * rng.gamma(1, 1, (700, 1))).astype(np.float32)
    dense[:, 7] = 0
    counts = sp.csr_array(dense)
    shards.write(tmp_path, lambda start: iter([counts[start:]]), counts.shape)
    on_disk = StoredCounts(Shards(tmp_path), np.arange(700))
    expected = nonzero_medians(counts)
    assert np.flatnonzero(np.isnan(expected)).tolist() == [7]
    np.testing.assert_allclose(nonzero_medians(on_disk), expected, rtol=0.004)


@pytest.mark.chain
def test_the_chain_from_disk_gives_the_results_of_the_chain_in_memory(tmp_path, small_chain_design, monkeypatch):
    """PCA, which learns from all cells at once, of subsets that are packed, thinned, and read where they lie."""
    project = copy_project(tmp_path / "project")
    strategies = {
        "random": {},
        "geometric_sketching": {"percentages": [50], "options": {"boxes": 10}},
        "depth_20": {"strategy": "depth", "percentages": [50], "options": {"umis": 20}},
    }
    design = small_chain_design(project, strategies=strategies)
    tables = []
    for held in (None, "0"):
        if held is not None:
            monkeypatch.setenv("CELLSCALE_HELD", held)
        results = tmp_path / f"results_{held}"
        done = run_workflow(design, results, project, options=["--until", "collect"])
        assert done.returncode == 0, done.stderr
        tables.append((repeatable(results), pd.read_parquet(results / "diversity.parquet")))
        assert not [path for path in results.rglob(".*.tmp*")], "packs are gone"
    for here, there in zip(*tables, strict=True):
        pd.testing.assert_frame_equal(there, here, rtol=1e-4)
    assert os.environ["CELLSCALE_HELD"] == "0"
