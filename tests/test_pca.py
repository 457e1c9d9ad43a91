"""PCA by each of its ways: that each is scikit-learn's, from memory and from disk, and no dense matrix is made."""

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.decomposition import PCA

from helpers.models import Budget, TrainingCells, create, expression, pca
from helpers.models.counts import log_cp10k
from helpers.models.expression import LogCP10k, gene_means
from helpers.models.pca import principal_axes

K = 6
WAYS = {
    "cells": {"FEW_CELLS": 10**9},
    "covariance": {"FEW_CELLS": 0},
    "krylov": {"FEW_CELLS": 0, "MANY_GENES": 0},
    "krylov from a sample": {"FEW_CELLS": 0, "MANY_GENES": 0, "SAMPLE": 400},
}


def draw_counts(n_cells: int, n_genes: int, seed: int = 0) -> sp.csr_array:
    """Counts that mix eight programs of decreasing weight, so that the leading axes are far apart."""
    rng = np.random.default_rng(seed)
    programs = rng.gamma(0.3, 1, (8, n_genes))
    programs[:, 3] = 0  # a gene that no cell has
    mixtures = rng.dirichlet(0.4 * 0.7 ** np.arange(8), n_cells)
    counts = rng.poisson(3 * mixtures @ programs).astype(np.float32)
    counts[:, 0] += 1
    return sp.csr_array(counts)


@pytest.fixture(scope="module")
def counts() -> sp.csr_array:
    return draw_counts(1500, 400)


@pytest.fixture(scope="module")
def theirs(counts) -> PCA:
    return PCA(K, svd_solver="full").fit(log_cp10k(counts).toarray().astype(float))


@pytest.fixture
def take(monkeypatch):
    """Make `principal_axes` go one way, or change another constant."""

    def change(way: str = "", **constants) -> None:
        for name, value in (WAYS.get(way, {}) | constants).items():
            monkeypatch.setattr(pca if hasattr(pca, name) else expression, name, value)

    return change


@pytest.fixture
def backed(counts, tmp_path):
    """The counts in a file, opened without reading them."""
    anndata.AnnData(sp.csr_matrix(counts)).write_h5ad(tmp_path / "cells.h5ad")
    adata = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    yield adata.X
    adata.file.close()


class Recorder:
    """Counts that remember the most rows asked for at once, and how many times all rows were read."""

    def __init__(self, counts: sp.csr_array) -> None:
        self.counts, self.shape, self.largest, self.read = counts, counts.shape, 0, 0

    def __getitem__(self, rows: slice) -> sp.csr_array:
        found = self.counts[rows]
        self.largest = max(self.largest, found.shape[0])
        self.read += found.shape[0]
        return found

    @property
    def passes(self) -> float:
        return self.read / self.shape[0]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_is_the_pca_of_scikit_learn_up_to_sign(counts, theirs, take, way):
    take(way, TOLERANCE=1e-9)
    mean, axes, variances, _ = principal_axes(LogCP10k(counts), K)
    np.testing.assert_allclose(mean, theirs.mean_, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(variances, theirs.explained_variance_ * (1499 / 1500), rtol=1e-5)
    np.testing.assert_allclose(np.abs((axes * theirs.components_).sum(axis=1)), 1, atol=1e-5)
    np.testing.assert_allclose(axes @ axes.T, np.eye(K), atol=1e-6)
    assert (axes[np.arange(K), np.abs(axes).argmax(axis=1)] > 0).all()


@pytest.mark.parametrize("way", ["krylov", "krylov from a sample"])
@pytest.mark.parametrize("noise_alone", [False, True])
def test_krylov_variances_are_within_the_stated_tolerance(take, way, noise_alone):
    cells = draw_counts(2000, 900, seed=1)
    if noise_alone:  # no gap anywhere in the spectrum: the hardest case
        cells = sp.csr_array(1 + np.random.default_rng(0).poisson(1, (2000, 900)).astype(np.float32))
    take("covariance")
    exact = principal_axes(LogCP10k(cells), 30)
    take(way)
    found = principal_axes(LogCP10k(cells), 30)
    assert np.abs(found.variances / exact.variances - 1).max() < 1e-3
    scores = log_cp10k(cells).toarray() @ found.axes.T
    np.testing.assert_allclose(scores.var(axis=0), found.variances, rtol=1e-4)
    if not noise_alone:
        np.testing.assert_allclose(np.abs((found.axes * exact.axes).sum(axis=1))[:8], 1, atol=1e-3)


def test_the_way_follows_from_cells_and_genes(counts, take):
    for constants, way, flops in (
        ({"FEW_CELLS": 1500}, "_decompose_cells", 2 * 1500**2 * 400),
        ({"FEW_CELLS": 1499, "MANY_GENES": 400}, "_decompose_covariance", 2 * 1500 * 400**2),
        ({"FEW_CELLS": 1499, "MANY_GENES": 399}, "_decompose_krylov", None),
    ):
        taken = []
        take(**constants)
        found = getattr(pca, way)
        take(**{way: lambda *args, taken=taken, found=found: taken.append(True) or found(*args)})
        recorder = Recorder(counts)
        expected = principal_axes(LogCP10k(recorder), K).flops
        assert taken
        if flops is None:
            flops = 4 * counts.nnz * (K + pca.OVERSAMPLING) * (recorder.passes - 1)  # one is for the mean
        assert expected == flops


@pytest.mark.parametrize("way", WAYS)
def test_memory_and_disk_give_the_same_bits_and_so_does_a_repetition(counts, backed, take, way):
    take(way)
    first, again, from_disk, at_once = (
        principal_axes(source, K)
        for source in (LogCP10k(counts), LogCP10k(counts), LogCP10k(backed), log_cp10k(counts))
    )
    for other in (again, from_disk, at_once):
        for one, another in zip(first, other, strict=True):
            np.testing.assert_array_equal(one, another)


@pytest.mark.parametrize("way", WAYS)
def test_the_size_of_chunks_does_not_matter(counts, take, way):
    take(way)
    expected = principal_axes(LogCP10k(counts), K)
    for chunk in (37, 5000):
        take(CHUNK=chunk)
        for one, another in zip(expected[:3], principal_axes(LogCP10k(counts[:]), K)[:3], strict=True):
            np.testing.assert_allclose(another, one, rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("n_cells", [1, 40, 400])
def test_means_of_many_cells_are_summed_in_parts(take, n_cells):
    cells = draw_counts(n_cells, 30)
    take(CHUNK=7, FLOAT32_SUM=50)
    np.testing.assert_allclose(gene_means(cells), cells.toarray().astype(float).mean(axis=0), rtol=1e-5)
    large = sp.csr_array(np.full((n_cells, 1), 2.0**24 + 1, dtype=np.float32))
    assert gene_means(large) == pytest.approx(2.0**24, rel=1e-6)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("n_cells", "n_genes", "k"), [(60, 30, 30), (60, 30, 29), (30, 60, 29), (30, 60, 30)])
def test_as_many_axes_as_there_are(take, way, n_cells, n_genes, k):
    take(way)
    cells = draw_counts(n_cells, n_genes)
    _, axes, variances, _ = principal_axes(LogCP10k(cells), k)
    assert axes.shape == (k, n_genes)
    np.testing.assert_allclose(axes @ axes.T, np.eye(k), atol=1e-5)
    dense = log_cp10k(cells).toarray().astype(float)
    rank = min(k, n_cells - 1)
    expected = np.linalg.svd(dense - dense.mean(axis=0))[1][:rank] ** 2 / n_cells
    np.testing.assert_allclose(variances[:rank], expected, rtol=1e-3, atol=1e-5 * expected[0])
    assert np.abs(variances[rank:]).max(initial=0) < 1e-5 * expected[0]


@pytest.mark.parametrize("way", WAYS)
def test_cells_that_are_all_alike_have_no_variance(take, way):
    take(way)
    _, axes, variances, _ = principal_axes(LogCP10k(sp.csr_array(np.ones((50, 20), dtype=np.float32))), 3)
    assert np.abs(variances).max() < 2e-6 * 20 * np.log1p(500) ** 2
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-5)


@pytest.mark.parametrize("way", ["covariance", "krylov"])
def test_cells_are_read_in_chunks_and_seldom(counts, take, way):
    take(way, CHUNK=128)
    recorder = Recorder(counts)
    principal_axes(LogCP10k(recorder), K)
    assert recorder.largest == 128
    assert recorder.passes == 2 if way == "covariance" else 3 <= recorder.passes <= 8


def test_a_sample_is_evenly_spread_and_saves_passes(take):
    cells = draw_counts(6000, 300, seed=3)
    alone, helped = Recorder(cells), Recorder(cells)
    take("krylov")
    principal_axes(LogCP10k(alone), 7)
    take(SAMPLE=600)
    made, krylov = [], pca._krylov
    take(_krylov=lambda expression, *args: made.append(expression) or krylov(expression, *args))
    principal_axes(LogCP10k(helped), 7)
    np.testing.assert_array_equal(made[0].toarray(), log_cp10k(cells)[::10].toarray())
    assert helped.passes < alone.passes


def test_memory_holds_chunks_and_the_krylov_space_alone(take):
    import tracemalloc

    n_cells, n_genes = 20_000, 3000
    cells = sp.random_array((n_cells, n_genes), density=0.01, dtype=np.float32, rng=0, format="csr")
    cells.data = np.ceil(5 * cells.data)
    take("krylov from a sample", CHUNK=256, MAX_PASSES=3)
    tracemalloc.start()
    principal_axes(LogCP10k(cells), 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6 < n_genes**2 * 8 < n_cells * n_genes * 4


def test_a_model_of_many_genes_is_trained_judged_and_counted(take):
    take("krylov")
    cells = TrainingCells(*(anndata.AnnData(sp.csr_matrix(draw_counts(n, 300, seed=2))) for n in (900, 100)))
    model, untrained = (create("pca", n_genes=300, n_components=8) for _ in range(2))
    model.fit(cells, budget=Budget("epochs", 1), rng=np.random.default_rng(0))
    untrained.fit(cells, budget=Budget("epochs", 0), rng=np.random.default_rng(0))
    assert model.n_parameters == {"total": 2400, "encoder": 2400}
    passes, rest = divmod(model.cost["flops"], 4 * cells.train.X.nnz * (8 + pca.OVERSAMPLING))
    assert rest == 0
    assert 2 <= passes <= pca.MAX_PASSES
    assert untrained.cost["flops"] == 0
    null, reference, _ = model.loss_controls(cells, cells.validation).mean()
    loss = model.heldout_loss(cells.validation)
    assert reference < loss.mean() < 0.9 * null
    assert loss.mean() < 0.9 * untrained.heldout_loss(cells.validation).mean()
    expected = log_cp10k(sp.csr_array(cells.validation.X)) @ model.weights["components"].T
    np.testing.assert_array_equal(model.embed(cells.validation), expected)


def test_paper_preset_has_the_published_size():
    assert create("pca", n_genes=19_331, preset="paper").n_parameters["total"] == 19_331 * 50
