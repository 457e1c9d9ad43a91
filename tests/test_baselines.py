"""Baselines: what they predict, that they converge, and that no test label can reach them."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from helpers.evaluate import baselines, classification
from helpers.models.counts import log_cp10k, raw_counts
from helpers.split import half_split
from helpers.variable_genes import variable_genes

EMBEDDED = Path(__file__).resolve().parents[1] / "data" / "embedded.h5ad"
TYPES = np.array(["B", "CD4 T", "NK"])


@pytest.fixture(scope="module")
def cells() -> anndata.AnnData:
    """150 cells × 90 genes of three types, raw counts; a third of the genes marks each type, ten are never seen."""
    rng = np.random.default_rng(0)
    types = rng.choice(3, 150, p=[0.5, 0.3, 0.2])
    rates = np.where(np.arange(90) % 3 == types[:, None], 3.0, 1.0) * rng.gamma(2, 0.5, 90)
    rates[:, 80:] = 0
    obs = pd.DataFrame({"cell_type": TYPES[types]}, index=[f"cell{i}" for i in range(150)])
    counts = sp.csr_matrix(rng.poisson(rates).astype(np.float32))
    return anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(90)]))


@pytest.fixture(scope="module")
def pbmc3k() -> anndata.AnnData:
    everything = anndata.read_h5ad(EMBEDDED)
    return everything[everything.obs["dataset_id"] == "pbmc3k"].copy()


def labels_of(cells: anndata.AnnData) -> tuple[np.ndarray, np.ndarray]:
    labels = cells.obs["cell_type"].astype(str).to_numpy()
    return labels, half_split(labels, rng=np.random.default_rng(1))


def classify(name: str, cells: anndata.AnnData, labels: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Predicted labels of the test cells by any baseline."""
    if name in baselines.PREDICTORS:
        return baselines.predict(name, cells, labels, train)
    embedding = baselines.embed(name, cells)
    return classification.knn_predict(embedding[train], labels[train], embedding[~train])


@pytest.mark.parametrize("name", [*baselines.EMBEDDINGS, *baselines.PREDICTORS])
def test_test_labels_cannot_reach_a_baseline(name, cells):
    labels, train = labels_of(cells)
    predicted = classify(name, cells, labels, train)
    assert predicted.shape == ((~train).sum(),)
    rng = np.random.default_rng(2)
    for other in (rng.permutation(labels[~train]), np.full((~train).sum(), "never seen in training")):
        changed = labels.astype(object)
        changed[~train] = other
        np.testing.assert_array_equal(classify(name, cells, changed, train), predicted)
    changed = labels.copy()
    changed[train] = "NK"
    assert set(classify(name, cells, changed, train)) == {"NK"}  # training labels do count


@pytest.mark.parametrize("name", baselines.PREDICTORS)
def test_a_prediction_depends_on_no_other_test_cell(name, cells):
    labels, train = labels_of(cells)
    predicted = baselines.predict(name, cells, labels, train)
    kept = train | (np.arange(150) == np.flatnonzero(~train)[3])
    alone = baselines.predict(name, cells[kept], labels[kept], train[kept])
    assert alone.tolist() == [predicted[3]]


def test_expression_of_other_test_cells_chooses_no_gene(cells):
    labels, train = labels_of(cells)
    others = np.flatnonzero(~train)[20:]
    counts = cells.X.toarray()
    counts[others] = 0
    counts[np.ix_(others, [0, 3, 6, 9, 12])] = 1
    counts[others, others % 5 * 3] = 10_000  # by far the most dispersed genes, if these cells had a say
    changed = anndata.AnnData(sp.csr_matrix(counts), obs=cells.obs, var=cells.var)
    first, second = (baselines.logistic_labels(each, train, labels[train], n_top=5) for each in (cells, changed))
    np.testing.assert_array_equal(first[:20], second[:20])
    assert len(set(first[:20])) > 1


@pytest.mark.parametrize("name", ["hvg", "own_pca", "logistic"])
def test_informed_baselines_beat_the_majority(name, cells):
    labels, train = labels_of(cells)
    floor = np.mean(baselines.predict("majority", cells, labels, train) == labels[~train])
    assert np.mean(classify(name, cells, labels, train) == labels[~train]) > floor + 0.2
    shuffled = np.random.default_rng(4).permutation(labels)
    assert np.mean(classify(name, cells, shuffled, train) == shuffled[~train]) < floor + 0.1


def test_majority_is_the_commonest_training_type(cells):
    train = np.arange(150) < 5
    labels = np.array(["NK", "B", "NK", "CD4 T", "B"] + ["CD4 T"] * 145)
    assert set(baselines.predict("majority", cells, labels, train)) == {"B"}  # as common as NK, first by name


def test_embeddings_repeat_and_leave_the_cells_alone(cells):
    before = cells.X.copy()
    for name in baselines.EMBEDDINGS:
        embedding = baselines.embed(name, cells)
        assert embedding.dtype == np.float32
        assert np.isfinite(embedding).all()
        np.testing.assert_array_equal(baselines.embed(name, cells), embedding)
    assert (before != cells.X).nnz == 0


def test_log_cp10k_by_hand():
    adata = anndata.AnnData(sp.csr_matrix(np.array([[1, 3], [0, 5]], dtype=np.float32)))
    expected = np.log1p([[2500, 7500], [0, 10_000]])
    np.testing.assert_allclose(log_cp10k(raw_counts(adata)).toarray(), expected, rtol=1e-6)
    adata.X = adata.X.toarray()
    np.testing.assert_allclose(log_cp10k(raw_counts(adata)).toarray(), expected, rtol=1e-6)


def test_own_pca_is_that_of_a_full_decomposition(cells):
    values = baselines.hvg_embedding(cells, n_top=40).astype(float)
    left, singular, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    got = baselines.own_pca_embedding(cells, n_components=6, n_top=40)
    np.testing.assert_allclose(np.abs(got), np.abs(left * singular)[:, :6], atol=1e-4)
    assert baselines.own_pca_embedding(cells[:10]).shape == (10, 9)
    assert baselines.own_pca_embedding(cells, n_top=20).shape == (150, 20)


def normalised_dispersion(logs: np.ndarray) -> np.ndarray:
    """Seurat's rule, read literally: log(variance / mean), as a z-score among genes of a similar mean (20 bins)."""
    values = np.expm1(logs.astype(float))
    mean, variance = values.mean(axis=0), values.var(axis=0, ddof=1)
    seen = variance > 0
    dispersion = np.full(len(mean), np.nan)
    dispersion[seen] = np.log(variance[seen] / mean[seen])
    edges = np.linspace(np.log1p(mean.min()), np.log1p(mean.max()), 21)
    bins = np.clip(np.searchsorted(edges, np.log1p(mean), side="left") - 1, 0, 19)
    z = np.full(len(mean), -np.inf)
    for gene in np.flatnonzero(seen):
        peers = dispersion[(bins == bins[gene]) & seen]
        spread = np.std(peers, ddof=1) if len(peers) > 1 else 0
        z[gene] = (dispersion[gene] - peers.mean()) / spread if spread > 0 else 1
    return z


@pytest.mark.parametrize("n_top", [1, 15, 60])
def test_variable_genes_are_those_of_seurats_rule(cells, n_top):
    logs = log_cp10k(raw_counts(cells))
    z = normalised_dispersion(logs.toarray())
    chosen = variable_genes(logs, n_top)
    assert len(chosen) == n_top
    assert (np.diff(chosen) > 0).all()
    assert z[chosen].min() >= np.delete(z, chosen).max()


@pytest.mark.parametrize("n_top", [1, 15, 60])
def test_variable_genes_are_those_of_scanpy(cells, n_top):
    import scanpy as sc

    logs = log_cp10k(raw_counts(cells))
    theirs = sc.pp.highly_variable_genes(anndata.AnnData(logs), n_top_genes=n_top, inplace=False)
    np.testing.assert_array_equal(variable_genes(logs, n_top), np.flatnonzero(theirs["highly_variable"]))


def test_genes_never_seen_come_last(cells):
    logs = log_cp10k(raw_counts(cells))
    assert variable_genes(logs, 80).tolist() == list(range(80))
    assert len(variable_genes(logs, 85)) == 85
    assert variable_genes(logs, 2000).tolist() == list(range(90))


def test_logistic_regression_of_a_single_type_answers_that_type(cells):
    train = labels_of(cells)[1]
    assert set(baselines.logistic_labels(cells, train, np.full(int(train.sum()), "a"))) == {"a"}


def test_unusable_input_is_refused(cells):
    labels, train = labels_of(cells)
    with pytest.raises(ValueError, match="did you mean 'logistic'"):
        baselines.predict("logistics", cells, labels, train)
    with pytest.raises(ValueError, match="there are: hvg, own_pca"):
        baselines.embed("majority", cells)
    with pytest.raises(ValueError, match="must be as many"):
        baselines.predict("majority", cells, labels[:-1], train)
    with pytest.raises(ValueError, match="False everywhere"):
        baselines.predict("majority", cells, labels, np.zeros(150, dtype=bool))
    empty = cells.copy()
    empty.X.data[empty.X.indptr[7] : empty.X.indptr[8]] = 0
    for call in (
        lambda: baselines.embed("own_pca", empty),
        lambda: baselines.predict("logistic", empty, labels, train),
    ):
        with pytest.raises(ValueError, match="1 of 150 cells have no counts"):
            call()


@pytest.mark.parametrize(
    ("name", "micro", "macro"),
    [("own_pca", 0.94, 0.91), ("hvg", 0.80, 0.74), ("logistic", 0.94, 0.92), ("majority", 0.43, 0.09)],
)
def test_numbers_on_real_cells(pbmc3k, name, micro, macro):
    labels, train = labels_of(pbmc3k)
    got = classification.scores(
        labels[~train], classify(name, pbmc3k, labels, train), types=classification.scored_types(labels)
    )
    assert got["micro_f1"] == pytest.approx(micro, abs=0.03)
    assert got["macro_f1"] == pytest.approx(macro, abs=0.04)
