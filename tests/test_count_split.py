"""The count-split reference, where the truth is known: cells that can be measured a second time in full."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from helpers.models import TrainingCells, create
from helpers.models.count_split import _halves, reference_losses

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
    null, reference = controls.mean()
    truth = null - model._split_gains(known, test).mean()
    assert reference < 0.95 * null
    assert truth == pytest.approx(reference, abs=0.08 * (null - truth))


@pytest.mark.parametrize("name", ["pca", "scvi", "geneformer"])
def test_where_cells_differ_by_noise_alone_nothing_is_gained(name):
    model = create(name, n_genes=N_GENES, preset="demo")
    corpus, cells = (as_cells(measured(same_rates(n), n)) for n in (1500, 600))
    null, reference = model.loss_controls(TrainingCells(corpus, corpus[:5].copy()), cells).mean()
    assert reference == pytest.approx(null, rel=0.02)


def test_halves_share_out_all_counts_and_are_independent():
    counts = measured(same_rates(400), 2)
    one, other, kept = _halves(counts, np.random.default_rng(0))
    np.testing.assert_array_equal((one + other).toarray(), counts.toarray())
    np.testing.assert_array_equal(kept, np.arange(400))
    assert one.sum() == pytest.approx(other.sum(), rel=0.01)
    for gene in np.argsort(counts.sum(axis=0))[-5:]:
        shared = np.corrcoef(one[:, [gene]].toarray()[:, 0], other[:, [gene]].toarray()[:, 0])[0, 1]
        assert abs(shared) < 0.2


def test_cells_too_poor_to_be_split_have_no_reference():
    counts = sp.csr_array(np.vstack([np.eye(1, N_GENES, dtype=np.float32), 50 * np.ones((2, N_GENES), np.float32)]))
    gains = lambda corpus, cells: np.ones(cells[0].shape[0])  # noqa: E731
    found = reference_losses(np.full(3, 5.0), counts, counts, gains)
    assert np.isnan(found[0])
    np.testing.assert_array_equal(found[1:], [4, 4])
    assert np.isnan(reference_losses(np.full(1, 5.0), counts, counts[[0]], gains)).all()


def test_the_parabola_is_followed_to_the_whole_cell():
    """Gains that are a parabola in the logarithm of the depth are found exactly."""
    counts = measured(rates(20, 1), 2)
    depth = float(counts.sum())

    def gains(corpus: object, cells: tuple) -> np.ndarray:
        level = round(np.log2(depth / cells[0].sum()))  # 1, 2, 3 for halves, quarters, eighths
        return np.full(20, 7 - 2 * level + 0.25 * level**2)

    np.testing.assert_allclose(reference_losses(np.full(20, 10.0), counts, counts, gains), 10 - 7)
