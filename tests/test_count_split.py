"""The count-split reference, where the truth is known: cells that can be measured a second time in full."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scipy.stats

from helpers.models import TrainingCells, create
from helpers.models.count_split import SPLITS, _half_of, _halves, reference_losses
from helpers.models.counts import hashed

N_GENES = 300
FAMILIES = {"pca": {}, "ssl": {}, "ssl reconstruction": {"objective": "reconstruction"}, "scimilarity": {}, "scvi": {}}
FAMILIES |= {"geneformer": {}}


def rates(n_cells: int, seed: int) -> np.ndarray:
    """Expected counts (n_cells, N_GENES) of cells of six types with about 900 counts."""
    types = np.exp(np.random.default_rng(0).normal(0, 1.3, (6, N_GENES)))
    rng = np.random.default_rng(seed)
    expected = types[rng.integers(6, size=n_cells)]
    depth = 900 * np.exp(0.3 * rng.standard_normal((n_cells, 1)))
    return depth * expected / expected.sum(axis=1, keepdims=True)


def same_rates(n_cells: int) -> np.ndarray:
    return np.repeat(rates(1, 0), n_cells, axis=0)


def measured(expected: np.ndarray, seed: int) -> sp.csr_array:
    return sp.csr_array(np.random.default_rng(seed).poisson(expected).astype(np.float32))


def as_cells(counts: sp.csr_array) -> anndata.AnnData:
    return anndata.AnnData(
        sp.csr_matrix(counts), obs=pd.DataFrame({"cell_type": "a"}, index=map(str, range(len(counts.indptr) - 1)))
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_reference_is_the_loss_that_a_second_measurement_leaves(name):
    model = create(name.split()[0], n_genes=N_GENES, preset="demo", **FAMILIES[name])
    corpus, cells = rates(1500, 1), rates(600, 2)
    known, test = ((measured(expected, 3), measured(expected, 4)) for expected in (corpus, cells))
    controls = model.loss_controls(TrainingCells(as_cells(known[0]), as_cells(known[1])), as_cells(test[0]))
    null, reference, error = controls.mean()
    assert 0 < error < 0.05 * (null - reference)
    truth = null - model._split_gains(known, test).mean()
    assert reference < 0.95 * null
    assert truth == pytest.approx(reference, abs=0.08 * (null - truth))


@pytest.mark.parametrize("name", ["pca", "scvi", "geneformer"])
def test_where_cells_differ_by_noise_alone_nothing_is_gained(name):
    model = create(name, n_genes=N_GENES, preset="demo")
    corpus, cells = (as_cells(measured(same_rates(n), n)) for n in (1500, 600))
    null, reference, _ = model.loss_controls(TrainingCells(corpus, corpus[:5].copy()), cells).mean()
    assert reference == pytest.approx(null, rel=0.02)


def test_halves_share_out_all_counts_and_are_independent():
    counts = measured(same_rates(400), 2)
    one, other, kept = _halves(counts, np.arange(400, dtype=np.uint64), 0)
    np.testing.assert_array_equal((one + other).toarray(), counts.toarray())
    np.testing.assert_array_equal(kept, np.arange(400))
    assert one.sum() == pytest.approx(other.sum(), rel=0.01)
    for gene in np.argsort(counts.sum(axis=0))[-5:]:
        shared = np.corrcoef(one[:, [gene]].toarray()[:, 0], other[:, [gene]].toarray()[:, 0])[0, 1]
        assert abs(shared) < 0.2


def test_halves_are_binomial_also_where_counts_are_large():
    counts = np.repeat([1.0, 40.0, 64.0, 65.0, 1000.0], 20_000)
    drawn = _half_of(counts, hashed(np.arange(len(counts), dtype=np.uint64))).reshape(5, -1)
    for row, count in zip(drawn, counts[::20_000], strict=True):
        expected = scipy.stats.binom(count, 0.5)
        assert row.mean() == pytest.approx(expected.mean(), abs=4 * expected.std() / 20_000**0.5)
        assert row.std() == pytest.approx(expected.std(), rel=0.02)
        assert row.min() >= 0
        assert row.max() <= count
    assert set(drawn[0]) == {0, 1}


@pytest.mark.parametrize("name", ["pca", "scvi", "geneformer"])
def test_a_cell_has_its_reference_wherever_it_stands(name):
    model = create(name, n_genes=N_GENES, preset="demo")
    corpus, cells = as_cells(measured(rates(300, 1), 3)), as_cells(measured(rates(90, 2), 4))
    order = np.random.default_rng(0).permutation(90)
    known = TrainingCells(corpus, corpus[:5].copy())
    shuffled = TrainingCells(corpus[np.random.default_rng(1).permutation(300)].copy(), corpus[:5].copy())
    straight = model.loss_controls(known, cells)
    turned = model.loss_controls(shuffled, cells[order, np.random.default_rng(2).permutation(N_GENES)].copy())
    np.testing.assert_allclose(turned, straight.iloc[order], rtol=1e-4)


def test_of_shallow_cells_the_reference_is_rough():
    """A bias that the README states: at 200 counts the extrapolation is off by up to a fifth of the gain."""
    found = {}
    for name in ("pca", "scvi"):
        model = create(name, n_genes=N_GENES, preset="demo")
        corpus, cells = rates(3000, 1) * 200 / 900, rates(2000, 2) * 200 / 900
        known, test = ((measured(expected, 3), measured(expected, 4)) for expected in (corpus, cells))
        controls = model.loss_controls(TrainingCells(as_cells(known[0]), as_cells(known[1])), as_cells(test[0])).mean()
        truth = model._split_gains(known, test).mean()
        found[name] = (controls["null"] - controls["reference"]) / truth
    assert found == {"pca": pytest.approx(1.1, abs=0.1), "scvi": pytest.approx(0.9, abs=0.1)}


def test_cells_too_poor_to_be_split_gain_nothing():
    counts = sp.csr_array(np.vstack([np.eye(1, N_GENES, dtype=np.float32), 50 * np.ones((2, N_GENES), np.float32)]))
    gains = lambda corpus, cells: np.ones(cells[0].shape[0])  # noqa: E731
    found = reference_losses(np.full(3, 5.0), counts, counts, gains)
    np.testing.assert_array_equal(found, [[5, 4, 4]] * SPLITS)
    np.testing.assert_array_equal(reference_losses(np.full(1, 5.0), counts, counts[[0]], gains), 5)


def test_the_parabola_is_followed_to_the_whole_cell():
    """Gains that are a parabola in the logarithm of the depth are found exactly."""
    counts = measured(rates(20, 1), 2)
    depth = float(counts.sum())

    def gains(corpus: object, cells: tuple) -> np.ndarray:
        level = round(np.log2(depth / cells[0].sum()))  # 1, 2, 3 for halves, quarters, eighths
        return np.full(20, 7 - 2 * level + 0.25 * level**2)

    found = reference_losses(np.full(20, 10.0), counts, counts, gains)
    np.testing.assert_allclose(found, np.full((SPLITS, 20), 10 - 7))
