"""Integration scores at their floors and ceilings, against scib and scikit-learn, and in any order of the cells."""

import contextlib
import importlib.metadata
import io
import random
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.metrics import normalized_mutual_info_score, silhouette_samples

from helpers.evaluate import integration as it
from helpers.evaluate import neighbors as nb
from helpers.evaluate.registry import METRICS

BIO = ["nmi", "ari", "asw_label", "avg_bio"]


def scores_of(*given, **options) -> dict[str, float]:
    return it.battery(*given, **options)[0]


def cells(n: int = 400, spread: float = 0.6, shift: float = 0.0, seed: int = 0):
    """Four types of unequal size in 8 dimensions, two batches `shift` apart: embedding, labels, batch."""
    rng = np.random.default_rng(seed)
    codes, batch = rng.choice(4, n, p=[0.4, 0.3, 0.2, 0.1]), rng.integers(0, 2, n)
    embedding = rng.normal(0, 2, (4, 8))[codes] + rng.normal(0, spread, (n, 8)) + shift * batch[:, None]
    return embedding.astype(np.float32), np.array(["B", "CD4 T", "NK", "rare"])[codes], np.array(["x", "y"])[batch]


@pytest.fixture(scope="module")
def scib():
    """The package, its warnings silenced while it is imported and used; tests skip where it is not there."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield pytest.importorskip("scib", reason="scib, of the extra `dev`, is not importable", exc_type=ImportError)


@pytest.fixture(autouse=True)
def _quiet(request):
    with warnings.catch_warnings():
        if "scib" in request.fixturenames:
            warnings.simplefilter("ignore")
        yield


def annotated(embedding: np.ndarray, labels: np.ndarray, batch: np.ndarray) -> ad.AnnData:
    import scanpy as sc

    obs = pd.DataFrame({"type": pd.Categorical(labels), "batch": pd.Categorical(batch)})
    adata = ad.AnnData(np.zeros((len(labels), 1), dtype=np.float32), obs.set_axis(map(str, range(len(obs)))))
    adata.obsm["X_emb"] = embedding
    sc.pp.neighbors(adata, use_rep="X_emb")
    return adata


def test_separate_types_and_mixed_batches_score_high():
    scores = scores_of(*cells(spread=0.1))
    assert scores["nmi"] == scores["ari"] == scores["graph_connectivity"] == 1
    assert scores["asw_label"] > 0.9
    assert scores["avg_bio"] == pytest.approx(np.mean([scores[name] for name in BIO[:3]]))
    assert scores["asw_batch"] > 0.95
    assert scores["pcr_batch"] < 0.01


def test_a_shifted_batch_shows_in_every_mixing_score():
    near, far = scores_of(*cells()), scores_of(*cells(shift=3.0))
    assert near["asw_batch"] > 0.9 > 0.4 > far["asw_batch"]
    assert near["pcr_batch"] < 0.01 < 0.4 < far["pcr_batch"]
    assert far["graph_connectivity"] < 0.7 < near["graph_connectivity"]
    assert it.pcr_comparison(far["pcr_batch"], near["pcr_batch"]) > 0.97
    assert it.pcr_comparison(near["pcr_batch"], far["pcr_batch"]) == 0
    assert it.pcr_comparison(0.4, 0.1) == pytest.approx(0.75)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6 / 3])
@pytest.mark.parametrize("in_type_order", [True, False])
def test_a_collapsed_embedding_says_nothing(value, in_type_order):
    _, labels, batch = cells(1000)
    labels = np.sort(labels) if in_type_order else labels
    scores = scores_of(np.full((1000, 10), value, dtype=np.float32), labels, batch)
    assert scores["nmi"] < 0.05
    assert abs(scores["ari"]) < 0.03
    assert scores["asw_label"] == 0.5
    assert (scores["asw_batch"], scores["pcr_batch"]) == (1, 0)


def test_two_points_for_four_types_are_worth_two_types():
    _, labels, batch = cells()
    scores = scores_of(np.isin(labels, ["B", "NK"])[:, None] * np.ones((1, 5)), labels, batch)
    assert 0.2 < scores["nmi"] < 0.7
    assert scores["asw_label"] < 0.6


def test_permuted_labels_give_the_floor():
    embedding, labels, batch = cells(1000)
    runs = [scores_of(embedding, np.random.default_rng(seed).permutation(labels), batch) for seed in range(4)]
    floor = pd.DataFrame(runs).mean()
    assert floor["nmi"] < 0.03
    assert abs(floor["ari"]) < 0.02
    assert floor["asw_label"] == pytest.approx(0.5, abs=0.03)
    assert it.avg_bio(embedding, labels)["avg_bio"] > 0.85


def test_controls_bound_the_scores():
    embedding, labels, batch = cells(spread=1.5, shift=1.0)
    controls = it.control_embeddings(embedding, labels, batch, rng=np.random.default_rng(0))
    scores = pd.DataFrame({name: scores_of(*control) for name, control in controls.items()})
    real = scores_of(embedding, labels, batch)
    for name in BIO:
        assert scores.loc[name].idxmax() == "labels"
        assert scores.loc[name, "shuffled_cells"] < real[name] < scores.loc[name, "labels"]
    assert scores.loc["avg_bio", "labels"] > 0.97
    assert scores.loc["asw_batch", "batch"] < 0.05 < real["asw_batch"] < scores.loc["asw_batch", "shuffled_batch"]
    assert scores.loc["pcr_batch", "shuffled_batch"] < real["pcr_batch"] < 0.99 < scores.loc["pcr_batch", "batch"]


@pytest.mark.parametrize("n_repeats", [1, 2])
def test_order_of_cells_decides_nothing(n_repeats):
    given = cells(500, spread=1.5)
    order = np.random.default_rng(3).permutation(500)
    # Louvain sees the same graph in the same order; sums of distances alone are added up in another one.
    expected = scores_of(*given, n_repeats=n_repeats)
    assert scores_of(*(x[order] for x in given), n_repeats=n_repeats) == pytest.approx(expected, abs=1e-9)
    assert 0.1 < expected["nmi"] < 0.95


def test_order_of_identical_cells_of_different_types_decides_nothing():
    rng = np.random.default_rng(4)
    points = rng.normal(size=(40, 3))[rng.integers(40, size=600)]  # about 15 cells at each point
    labels, order = rng.choice(list("abc"), 600), rng.permutation(600)
    expected, _ = it.battery(points, labels)
    assert it.battery(points[order], labels[order])[0] == pytest.approx(expected, abs=1e-9)


def test_repeats_average_and_leave_random_states_alone():
    embedding, labels, batch = cells(500, spread=1.5)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002, to see that it is left alone
    states = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    one, three = (scores_of(embedding, labels, batch, n_repeats=n) for n in (1, 3))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states  # noqa: NPY002
    assert one["nmi"] != three["nmi"] == pytest.approx(one["nmi"], abs=0.05)
    assert one["asw_label"] == three["asw_label"]


def test_given_neighbours_are_used():
    given = cells()
    wide = nb.nearest(given[0], 30)
    assert scores_of(*given, neighbors=wide) == scores_of(*given)
    other = nb.nearest(np.random.default_rng(0).permutation(given[0]), 14)
    assert it.avg_bio(*given[:2], neighbors=other)["nmi"] < 0.2


def test_wide_neighbours_serve_all_scores_of_an_embedding(monkeypatch):
    given = cells(300)
    narrow, wide = it.shared_neighbors(given[0]), it.shared_neighbors(given[0], wide=True)
    assert (narrow.indices.shape, wide.indices.shape) == ((300, 14), (300, 89))
    np.testing.assert_array_equal(wide.indices[:, :14], narrow.indices)
    monkeypatch.setattr(it, "nearest", None)  # would fail if it were searched again
    assert scores_of(*given, neighbors=wide) == scores_of(*given, neighbors=narrow)
    with pytest.raises(ValueError, match="neighbors holds 14 neighbours of a cell, 89 are needed"):
        it.scib_metrics_scores(*given, neighbors=narrow)
    with pytest.raises(ValueError, match="embedding has 80 cells: 90 or more"):
        it.shared_neighbors(given[0][:80], wide=True)


def test_the_published_pcr_compares_with_the_expression():
    """0 for what is as far apart as the expression or farther, 1 where nothing is left; controls bound it."""
    embedding, labels, batch = cells(spread=1.5, shift=1.0)
    before = it.pcr(embedding, batch)
    centres = np.array([embedding[batch == name].mean(axis=0) for name in "xy"])
    mended = embedding - centres[(batch == "y").astype(int)]
    half = embedding - centres[(batch == "y").astype(int)] / 2
    of = {
        name: scores_of(one, labels, batch, before=before) for name, one in (("as is", embedding), ("mended", mended))
    }
    assert of["as is"]["pcr_comparison"] == 0
    assert of["mended"]["pcr_comparison"] == pytest.approx(1, abs=1e-6)
    assert 0.5 < scores_of(half, labels, batch, before=before)["pcr_comparison"] < 0.9
    assert "pcr_comparison" not in scores_of(embedding, labels, batch)
    controls = it.control_embeddings(embedding, labels, batch, rng=np.random.default_rng(0))
    assert scores_of(*controls["batch"], before=before)["pcr_comparison"] == 0
    assert scores_of(*controls["shuffled_batch"], before=before)["pcr_comparison"] > 0.9


def test_neighbours_are_the_nearest_others():
    embedding = cells(300)[0]
    squared = ((embedding[:, None].astype(float) - embedding[None]) ** 2).sum(axis=2)
    np.fill_diagonal(squared, np.inf)
    found = nb.nearest(embedding, 5)
    np.testing.assert_array_equal(found.indices, np.argsort(squared, axis=1)[:, :5])
    np.testing.assert_allclose(found.distances, np.sqrt(np.sort(squared, axis=1)[:, :5]), rtol=1e-6)
    graph = found.graph(2).toarray()
    np.testing.assert_array_equal(graph, graph.T)
    assert set(np.flatnonzero(graph[0])) >= set(found.indices[0, :2])
    assert 2 * 300 <= graph.sum() <= 4 * 300


@pytest.mark.parametrize("precise", [10**6, 0])
def test_silhouettes_are_those_of_sklearn(monkeypatch, precise):
    monkeypatch.setattr(nb, "PRECISE", precise)
    monkeypatch.setattr(nb, "BLOCK", 2000)  # 6 rows at once, and a last block of 4
    embedding, labels, _ = cells(304, spread=2.0)
    codes = np.unique(labels, return_inverse=True)[1]
    codes[7] = 4  # alone in its group
    embedding = np.hstack([embedding.astype(float) + 100, np.ones((304, 1))])  # far from the origin; a constant column
    expected = silhouette_samples(embedding, codes)
    np.testing.assert_allclose(nb.silhouettes(embedding, codes), expected, atol=1e-9 if precise else 1e-5)
    assert it.asw_label(embedding, codes) == pytest.approx((expected.mean() + 1) / 2, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_nmi_is_that_of_sklearn(seed):
    rng = np.random.default_rng(seed)
    types, clusters = rng.integers(0, 4, 60), rng.integers(0, seed + 1, 60)
    assert it._nmi(types, clusters) == pytest.approx(normalized_mutual_info_score(types, clusters), abs=1e-12)


def modularity(graph: sp.csr_array, groups: np.ndarray, resolution: float) -> float:
    degree, member = graph.sum(axis=1), np.eye(groups.max() + 1)[groups]
    inside = np.trace(member.T @ (graph @ member))
    return inside / degree.sum() - resolution * ((degree @ member) ** 2).sum() / degree.sum() ** 2


@pytest.mark.parametrize("resolution", [0.1, 1.0, 2.0])
def test_louvain_is_as_modular_as_that_of_igraph(resolution):
    igraph = pytest.importorskip("igraph")
    graph = nb.nearest(cells(600, spread=2.0)[0], 14).graph(14)
    half = sp.triu(graph).tocoo()
    theirs = igraph.Graph(n=600, edges=np.stack(half.coords, axis=1))
    igraph.set_random_number_generator(random.Random(0))
    try:
        best = max(
            modularity(graph, np.array(theirs.community_multilevel(resolution=resolution).membership), resolution)
            for _ in range(3)
        )
    finally:
        igraph.set_random_number_generator(random)
    ours = nb.louvain(graph, resolution)
    assert sorted(set(ours)) == list(range(ours.max() + 1))
    assert modularity(graph, ours, resolution) == pytest.approx(best, abs=0.015)


def test_louvain_finds_cliques_and_what_is_apart():
    clique = np.ones((6, 6)) - np.eye(6)
    graph = sp.block_array([[clique, None, None], [None, clique, None], [None, None, sp.csr_array((1, 1))]]).tolil()
    graph[0, 6] = graph[6, 0] = 1
    assert nb.louvain(sp.csr_array(graph), 1.0).tolist() == [0] * 6 + [1] * 6 + [2]
    assert nb.louvain(sp.csr_array(graph), 0.001).tolist() == [0] * 12 + [1]


def test_connectivity_by_hand():
    embedding = np.repeat([0.0, 100.0, 200.0], 20)[:, None] + np.random.default_rng(0).normal(size=(60, 1))
    found = nb.nearest(embedding, 14)
    assert it.graph_connectivity(found, ["a"] * 30 + ["b"] * 30) == pytest.approx(2 / 3)
    assert it.graph_connectivity(found, ["a"] * 59 + ["b"]) == pytest.approx((20 / 59 + 1) / 2)


@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_scores_are_those_of_scib(scib, shift):
    embedding, labels, batch = cells(spread=1.5, shift=shift)
    batch = np.where(labels == "rare", "x", batch)  # a type of one batch, which asw_batch leaves out
    adata = annotated(embedding, labels, batch)
    ours = scores_of(embedding, labels, batch)
    assert (adata.obsp["connectivities"] > 0).nnz == nb.nearest(embedding, 14).graph(14).nnz
    assert ours["graph_connectivity"] == pytest.approx(scib.me.graph_connectivity(adata, "type"), abs=1e-12)
    assert ours["asw_label"] == pytest.approx(scib.me.silhouette(adata, "type", "X_emb"), abs=1e-6)
    theirs = scib.me.silhouette_batch(adata, "batch", "type", "X_emb", verbose=False)
    assert ours["asw_batch"] == pytest.approx(theirs, abs=1e-6)
    assert ours["pcr_batch"] == pytest.approx(scib.me.pcr(adata, "batch", embed="X_emb"), abs=1e-6)


def test_only_the_first_components_count_as_in_scib(scib):
    embedding, labels, batch = cells(shift=0.5)
    wide = np.hstack([embedding, np.random.default_rng(0).normal(0, 0.5, (400, 60))])
    theirs = scib.me.pcr(annotated(wide, labels, batch), "batch", embed="X_emb")
    assert it.pcr(wide, batch) == pytest.approx(theirs, abs=1e-6)
    assert abs(it.pcr(wide, batch, n_components=68) - theirs) > 5e-4


def test_the_comparison_with_the_expression_is_that_of_scib(scib):
    from sklearn.decomposition import PCA

    embedding, labels, batch = cells(spread=1.5, shift=2.0)
    rng = np.random.default_rng(0)
    expression = embedding @ rng.normal(size=(8, 80)) + rng.normal(size=(400, 80))
    mended = embedding - np.where(batch == "y", 1.0, 0.0)[:, None]
    before, after = annotated(embedding, labels, batch), annotated(mended, labels, batch)
    before = ad.AnnData(expression, before.obs)
    theirs = scib.me.pcr_comparison(before, after, "batch", embed="X_emb", n_comps=50)
    own = it.pcr(PCA(50, svd_solver="full").fit_transform(expression), batch)
    ours = scores_of(mended, labels, batch, before=own)["pcr_comparison"]
    assert 0.2 < ours < 0.9
    assert ours == pytest.approx(theirs, abs=1e-4)


# Of scib 1.1.7 with louvain 0.8.2 and igraph 0.11.9: mean nmi and ari of random_state 0, 1 and 2.
RECORDED = {1.2: [0.9331, 0.9422], 1.6: [0.7030, 0.7542]}


@pytest.mark.parametrize("spread", [1.2, 1.6])
def test_clusters_score_as_recorded_of_scib(spread):
    embedding, labels, _ = cells(600, spread=spread)
    ours = it.avg_bio(embedding, labels, n_repeats=3)
    assert [ours["nmi"], ours["ari"]] == pytest.approx(RECORDED[spread], abs=0.02)


@pytest.mark.skipif(
    not importlib.metadata.packages_distributions().get("louvain")
    or importlib.metadata.version("louvain") < "0.8"
    or importlib.metadata.version("igraph") >= "0.12",
    reason="scib's Louvain needs louvain 0.8 with igraph 0.10 or 0.11, others crash: make test-peers runs this",
)
def test_avg_bio_is_that_of_scib(scib):
    import scanpy as sc

    embedding, labels, batch = cells(600, spread=1.2)
    adata = annotated(embedding, labels, batch)
    resolutions = scib.me.get_resolutions(20, 0, 2)
    assert resolutions == pytest.approx(it.RESOLUTIONS)
    with contextlib.redirect_stdout(io.StringIO()):
        scib.me.cluster_optimal_resolution(
            adata, "type", "cluster", cluster_function=sc.tl.louvain, metric=scib.me.nmi, resolutions=resolutions
        )
    theirs = {"nmi": scib.me.nmi(adata, "cluster", "type"), "ari": scib.me.ari(adata, "cluster", "type")}
    theirs["asw_label"] = scib.me.silhouette(adata, "type", "X_emb")
    theirs["avg_bio"] = np.mean(list(theirs.values()))
    assert it.avg_bio(embedding, labels) == pytest.approx(theirs, abs=0.02)


def test_scib_metrics_tell_mixed_from_shifted(tmp_path):
    pytest.importorskip("scib_metrics")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        near, far = (
            it.scib_metrics_scores(*cells(300, shift=shift), compilation_cache=tmp_path / "jax") for shift in (0.0, 3.0)
        )
        given = cells(300)
        shared = it.scib_metrics_scores(*given, neighbors=nb.nearest(given[0], 100))
        controls = it.control_embeddings(*given, rng=np.random.default_rng(0))
        of = pd.DataFrame({name: it.scib_metrics_scores(*control) for name, control in controls.items()})
    assert shared == near, "more neighbours than are looked at change nothing"
    assert set(of.index) == {name for name in METRICS if name.startswith("scib_metrics_")}
    for name in of.index:
        worst, best = ("batch", "shuffled_batch") if name in it.OF_BATCHES else ("shuffled_cells", "labels")
        assert of.loc[name, worst] < of.loc[name, best] - 0.2, name
        assert of.loc[name, worst] - 0.02 < near[name] < of.loc[name, best] + 0.05, name
    assert all(name.startswith("scib_metrics_") and -1e-9 <= value <= 1 + 1e-6 for name, value in near.items())
    for name in ("bras", "ilisi_knn", "kbet"):
        assert near[f"scib_metrics_{name}"] > far[f"scib_metrics_{name}"] + 0.2
    assert near["scib_metrics_clisi_knn"] > 0.95
    assert near["scib_metrics_nmi_kmeans"] > 0.9
    assert any((tmp_path / "jax").iterdir())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"embedding": np.ones(40)}, "embedding has shape"),
        ({"embedding": np.ones((40, 0))}, "embedding has shape"),
        ({"embedding": np.full((40, 3), np.nan)}, "NaN or infinite in 40 of 40"),
        ({"embedding": np.full((40, 3), np.inf)}, "NaN or infinite in 40 of 40"),
        ({"labels": ["a"] * 40}, "labels holds one type"),
        ({"labels": ["a", "b"] * 19 + [None, np.nan]}, "labels is missing for 2 of 40 cells"),
        ({"labels": ["a", "b"]}, "labels has 2 entries, the embedding 40"),
        ({"batch": ["x"] * 40}, "give batch=None"),
        ({"batch": [None] + ["x"] * 39}, "batch is missing for 1 of 40"),
        ({"batch": ["x", "y"] * 20}, "no type has cells in two batches"),
        ({"n_repeats": 0}, "n_repeats = 0"),
        ({"neighbors": nb.Neighbors(np.zeros((4, 14), dtype=int), np.zeros((4, 14)))}, "neighbors of 4 cells"),
        ({"neighbors": nb.Neighbors(np.zeros((40, 5), dtype=int), np.zeros((40, 5)))}, "14 are needed"),
    ],
)
def test_unusable_input_is_refused(change, told):
    rng = np.random.default_rng(0)
    good = {"embedding": rng.normal(size=(40, 3)), "labels": ["a", "b"] * 20, "batch": ["x", "x", "y", "y"] * 10}
    assert set(scores_of(**good)) == {*BIO, "graph_connectivity", "asw_batch", "pcr_batch"}
    with pytest.raises(ValueError, match=told):
        scores_of(**(good | change))


def test_few_cells_one_batch_and_no_variance_before_are_told():
    embedding, labels, _ = cells(14)
    with pytest.raises(ValueError, match="embedding has 14 cells: 15 or more"):
        it.avg_bio(embedding, labels)
    with pytest.raises(ValueError, match="n_neighbors = 14 of 14 cells"):
        nb.nearest(embedding, 14)
    with pytest.raises(ValueError, match="batch holds one batch"):
        it.pcr(embedding, ["x"] * 14)
    with pytest.raises(ValueError, match="before = 0"):
        it.pcr_comparison(0.0, 0.1)
    with pytest.raises(ValueError, match="one group"):
        nb.silhouettes(embedding, np.zeros(14, dtype=int))


def test_a_type_of_one_cell_counts_as_nothing_in_silhouettes():
    embedding, labels, _ = cells(spread=0.1)
    alone = np.append(labels, "single")
    far = np.vstack([embedding, np.full(8, 50.0)])
    assert it.asw_label(far, alone) == pytest.approx((400 * it.asw_label(embedding, labels) + 0.5) / 401, abs=1e-3)
    assert set(scores_of(far, alone)) == {*BIO, "graph_connectivity"}
