"""Perturbation response: metrics by hand and against cell-eval, heads against scikit-learn, nothing leaks."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.spatial.distance import pdist
from scipy.stats import false_discovery_control, ttest_ind
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.metrics import average_precision_score

from helpers.evaluate import perturbation as pt
from helpers.evaluate import perturbation_heads as heads
from helpers.evaluate import perturbation_metrics as pm
from helpers.evaluate import perturbation_task as tasks
from helpers.evaluate.baselines import own_pca_embedding
from helpers.evaluate.registry import register

EMBEDDED = Path(__file__).resolve().parents[1] / "data" / "embedded.h5ad"
COLUMNS = {"control": "ctrl", "perturbation": "drug", "context": "type"}
G = 200


def experiment(drugs: tuple[str, ...] = ("ifn",), n: int = 40, seed: int = 0) -> anndata.AnnData:
    """Types a–e under control and each drug, `n` cells each, in random order: 200 genes, 12 shared and 8 specific."""
    rng = np.random.default_rng(seed)
    base, shared = rng.gamma(2, 2, G), np.where(np.arange(G) < 12, 4.0, 1.0)
    counts, labels = [], []
    for number, kind in enumerate("abcde"):
        own = base * np.where(np.arange(G) // 10 % 5 == number, 3, 1)
        for drug in ("ctrl", *drugs):
            specific = np.where((np.arange(G) >= 100 + 8 * number) & (np.arange(G) < 108 + 8 * number), 5.0, 1.0)
            rate = own if drug == "ctrl" else own * shared * specific * (1 + 0.2 * drugs.index(drug))
            counts.append(rng.poisson(rate, (n, G)))
            labels += [(kind, drug)] * n
    obs = pd.DataFrame(labels, columns=["type", "drug"], index=[f"cell{i:04}" for i in range(len(labels))])
    adata = anndata.AnnData(sp.csr_matrix(np.concatenate(counts).astype(np.float32)), obs=obs)
    return adata[rng.permutation(adata.n_obs)].copy()


def embed(adata: anndata.AnnData, task: tasks.Task, seed: int = 3) -> np.ndarray:
    """A linear embedding of each control cell on its own, (n_controls, 6)."""
    axes = np.random.default_rng(seed).normal(size=(adata.n_vars, 6))
    return np.log1p(adata.X.toarray())[task.control_rows] @ axes


def prepared(adata: anndata.AnnData, held_out=("b",), split: str = "context", **options) -> tuple[tasks.Task, dict]:
    task = tasks.read_task(adata, **COLUMNS, held_out=list(held_out), split=split)
    return task, pt.prepare(task, rng=np.random.default_rng(1), n_bootstrap=options.pop("n_bootstrap", 3))


@pytest.fixture(scope="module")
def simulated() -> tuple[anndata.AnnData, tasks.Task, dict]:
    adata = experiment()
    return adata, *prepared(adata, n_bootstrap=10)


def predicted(truth: pm.Truth, delta: np.ndarray, cells: np.ndarray | None = None) -> dict[str, float]:
    return pm.scores(truth, pm.Prediction(delta, truth.treated.var, truth.cells if cells is None else cells))


@pytest.fixture(scope="module")
def truth(simulated) -> pm.Truth:
    return next(iter(simulated[2].values())).truth


# Metrics with known answers


def test_perfect_prediction_is_the_best_value_of_every_metric(truth):
    values = predicted(truth, truth.delta)
    assert set(values) == set(pm.METRICS)
    energy = values.pop("energy_distance")
    for name, value in values.items():
        assert value == pytest.approx(pm.METRICS[name].best), name
    assert energy < 0  # the same cells on both sides are nearer than two draws, whose mean is 0


def test_no_change_and_collapse_and_wrong_sign(truth):
    still = predicted(truth, np.zeros(G))
    expected = {"delta_r": 0, "de_overlap": 0, "de_direction_match": 0, "rank_among_treated": 0.5, "tail_r": 0}
    assert {name: still[name] for name in expected} == expected
    assert still["mean_profile_r"] > 0.6  # no change looks good by the published metric
    assert still["mean_profile_mse"] == pytest.approx(np.mean(truth.delta**2))

    mean = predicted(truth, truth.training_delta)
    assert (mean["specific_r"], mean["specific_top50_overlap"]) == (0, 0)
    assert mean["specific_auprc"] == pytest.approx(truth.is_specific.mean() / 2)

    constant = predicted(truth, np.full(G, 0.3))
    assert (constant["delta_r"], constant["tail_r"], constant["rank_among_treated"]) == (0, 0, 0.5)

    wrong = predicted(truth, -truth.delta)
    assert (wrong["delta_r"], wrong["tail_r"]) == pytest.approx((-1, -1))
    assert (wrong["de_direction_match"], wrong["rank_among_treated"]) == (0, 0)
    assert wrong["de_overlap"] > 0.9  # by size of the change alone, as in cell-eval
    assert wrong["r2"] < still["r2"] < 1
    assert wrong["tail_mse"] == pytest.approx(4 * still["tail_mse"])

    mirrored = predicted(truth, 2 * truth.training_delta - truth.delta)
    assert mirrored["specific_r"] == pytest.approx(-1)
    assert mirrored["specific_top50_overlap"] == 0
    assert mirrored["specific_auprc"] < mean["specific_auprc"]
    for values in (still, mean, constant, wrong, mirrored):
        for name, value in values.items():
            assert pm.METRICS[name].low - 1e-12 <= value <= pm.METRICS[name].high + 1e-12, name


def test_overlap_by_hand():
    true, training = np.zeros(300), np.full(300, 2.0)
    true[:50] = 3  # specific part: +1 in the first 50, −2 elsewhere
    found = training.copy()
    found[250:] = 1
    assert pm.specific_top50_overlap(true, found, training) == 0  # stable choice: genes 50 to 99 are the true top
    found = training.copy()
    found[50:90], found[90:100], found[290:] = 0, 4, 0
    assert pm.specific_top50_overlap(true, found, training) == 40 / 50  # ten have the wrong sign, ten are elsewhere


def test_auprc_is_that_of_sklearn_over_up_and_down():
    rng = np.random.default_rng(0)
    true, evidence = rng.normal(size=(2, 100))
    chosen = rng.random(100) < 0.2
    expected = average_precision_score(np.r_[chosen & (true > 0), chosen & (true < 0)], np.r_[evidence, -evidence])
    assert pm.specific_auprc(chosen, true, evidence) == pytest.approx(expected)
    assert pm.specific_auprc(chosen, true, true * chosen) == pytest.approx(1)
    assert pm.specific_auprc(chosen, true, -true * chosen) < 0.1
    assert np.isnan(pm.specific_auprc(np.zeros(100, dtype=bool), true, evidence))


def test_rank_counts_the_deltas_that_are_beaten():
    rng = np.random.default_rng(0)
    own, near, *others = rng.normal(size=(6, 50))
    assert pm.rank_among_treated(own, own + 0.1 * near, np.array(others)) == 1
    assert pm.rank_among_treated(own, near, np.array([near, *others[:3]])) <= 0.75


def test_energy_distance_is_unbiased_and_sees_shift_and_collapse():
    rng = np.random.default_rng(0)
    pairs = [pm.energy_distance(*rng.normal(size=(2, 40, 5))) for _ in range(200)]
    assert np.mean(pairs) == pytest.approx(0, abs=4 * np.std(pairs) / np.sqrt(200))
    cells = rng.normal(size=(200, 5))
    assert pm.energy_distance(cells, rng.normal(size=(200, 5)) + 1) > 0.5
    assert pm.energy_distance(cells, np.zeros((200, 5))) > 0.5  # the right mean alone is not enough
    one = np.array([[0.0], [2.0]]), np.array([[1.0], [4.0]])
    assert pm.energy_distance(*one) == pytest.approx(2 * (1 + 4 + 1 + 2) / 4 - 2 - 3)


def test_fdr_is_that_of_scipy():
    rng = np.random.default_rng(0)
    treated, control = rng.normal(0.4, 2, (30, 50)), rng.normal(0, 1, (60, 50))
    treated[:, 0], control[:, 0] = 1, 0  # no variance: not significant
    moments = [pm.Moments(len(cells), cells.mean(0), cells.var(0, ddof=1)) for cells in (treated, control)]
    change = moments[0].mean - moments[1].mean
    expected = ttest_ind(treated[:, 1:], control[:, 1:], equal_var=False)
    t, fdr = pm.welch(change, *moments)
    np.testing.assert_allclose(t, np.r_[0, expected.statistic])
    np.testing.assert_allclose(fdr, false_discovery_control(np.r_[1, expected.pvalue]))
    assert (pm.welch(change, *moments, 100.0)[1] > 0.9).all()  # what is subtracted is not known: nothing is refuted


def test_moments_are_those_of_numpy():
    cells = sp.random_array((30, 20), density=0.3, format="csr", rng=np.random.default_rng(0))
    moments = pm.moments(cells)
    np.testing.assert_allclose(moments.mean, cells.toarray().mean(axis=0))
    np.testing.assert_allclose(moments.var, cells.toarray().var(axis=0, ddof=1), atol=1e-12)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # cell-eval's own, of polars
def test_de_metrics_are_those_of_cell_eval():
    types = pytest.importorskip("cell_eval._types", reason="cell-eval is not installed")
    de = pytest.importorskip("cell_eval.metrics._de", reason="cell-eval is not installed")
    pl = pytest.importorskip("polars", reason="cell-eval is not installed")
    rng = np.random.default_rng(0)
    for share in (0.05, 0.3, 0.9):
        change, guess = rng.normal(size=(2, 80))
        guess = change + guess
        fdr, guessed = (np.where(rng.random(80) < share, 0.01, 0.5) for _ in range(2))
        tables = [
            pl.DataFrame(
                {"target": ["x"] * 80, "feature": [f"g{i:02}" for i in range(80)], "log2_fold_change": lfc, "fdr": q}
            ).with_columns(p_value=pl.col("fdr"))
            for lfc, q in ((change, fdr), (guess, guessed))
        ]
        pair = types.initialize_de_comparison(*tables)
        overlap = de.de_overlap_metric(pair, k=None)["x"]
        assert pm.de_overlap(change, fdr, guess, guessed) == pytest.approx(overlap)
        assert pm.de_direction_match(change, fdr, guess) == pytest.approx(de.DEDirectionMatch()(pair)["x"])


def test_calibration_is_unclipped_and_refuses_what_is_not_separated():
    assert pm.calibrated(0.9, 0.5, 0.8, gap_sd=0.1, best=1) == pytest.approx(4 / 3)
    assert pm.calibrated(0.2, 0.5, 0.8, gap_sd=0.1, best=1) == pytest.approx(-1)
    assert pm.calibrated(3, 2, 1, gap_sd=0.1, best=0) == pytest.approx(-1)
    assert np.isnan(pm.calibrated(0.6, 0.5, 0.8, gap_sd=0.16, best=1))
    assert np.isnan(pm.calibrated(0.6, 0.8, 0.5, gap_sd=0.01, best=1))  # the ceiling is worse than the null
    assert np.isnan(pm.calibrated(0.6, np.nan, 0.5, gap_sd=0.01, best=1))


def test_a_metric_is_registered_once():
    def delta_r():
        """Another metric of that name."""

    with pytest.raises(ValueError, match="'delta_r' is registered already"):
        register(pm.METRICS, "again", low=0, high=1, best=1, citation="")(delta_r)
    assert all(metric.citation and metric.low <= metric.best <= metric.high for metric in pm.METRICS.values())


# Task


def test_task_pairs_embedding_rows_with_control_cells(simulated):
    adata, task, _ = simulated
    obs = adata.obs.iloc[task.control_rows]
    assert (obs["drug"] == "ctrl").all()
    assert len(obs) == 200
    held = tasks.Condition("b", "ifn")
    assert set(obs.iloc[task.rows(held, control=True)]["type"]) == {"b"}
    assert list(task.training) == [held]
    assert [one.context for one in task.training[held]] == list("acde")
    assert task.cells.index[task.rows(held)].is_monotonic_increasing


def test_the_three_splits_share_nothing_that_is_held_out():
    adata = experiment(("ifn", "tgf", "tnf"), n=12)
    read = {"min_cells": 10, **COLUMNS}
    task = tasks.read_task(adata, held_out=["b", "c"], **read)
    assert len(task.training) == 6
    for condition, others in task.training.items():
        assert others == tuple(tasks.Condition(one, condition.perturbation) for one in "ade")
    task = tasks.read_task(adata, held_out=["tnf"], split="perturbation", **read)
    assert len(task.training) == 5
    assert {one.perturbation for others in task.training.values() for one in others} == {"ifn", "tgf"}
    task = tasks.read_task(adata, held_out=[("b", "tnf")], split="both", **read)
    assert task.training == {
        ("b", "tnf"): tuple(tasks.Condition(one, drug) for one in "acde" for drug in ("ifn", "tgf"))
    }
    scores, deltas = pt.evaluate(
        task, pt.prepare(task, rng=np.random.default_rng(0), n_bootstrap=2), embed(adata, task)
    )
    assert scores["metric"].tolist() == list(pm.METRICS)
    assert len(deltas) == G


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"perturbation": "drugs"}, r"unknown obs column 'drugs' \(did you mean 'drug'"),
        ({"context": "kind"}, "unknown obs column 'kind'"),
        ({"control": "CTRL"}, r"unknown control in obs\['drug'\] 'CTRL'"),
        ({"held_out": ["z"]}, "unknown held-out context 'z'"),
        ({"held_out": [("b", "z")], "split": "both"}, "unknown held-out both 'b, z'"),
        ({"held_out": "b"}, "a list of at least one"),
        ({"held_out": []}, "a list of at least one"),
        ({"split": "cells"}, "unknown split 'cells'"),
        ({"held_out": ["b"], "min_cells": 41}, "'b' has 40 control and 40 treated cells; at least 41 of each"),
        ({"min_cells": 3}, "min_cells = 3"),
        ({"held_out": ["untreated"]}, "'untreated' has 25 control and 0 treated cells"),
        ({"held_out": ["no control"]}, "'no control' has 0 control and 25 treated cells"),
        ({"held_out": ["a", "b", "c", "d"]}, r"leaves 1 training context\(s\) \['e'\] for \('a', 'ifn'\)"),
        ({"held_out": ["ifn"], "split": "perturbation"}, "leaves 0 training perturbation"),
    ],
)
def test_unusable_tasks_are_refused(change, told):
    adata = experiment()
    extra = experiment()[:50].copy()
    extra.obs_names = [f"extra{i}" for i in range(50)]
    extra.obs["type"] = np.repeat(["untreated", "no control"], 25)
    extra.obs["drug"] = np.repeat(["ctrl", "ifn"], 25)
    adata = anndata.concat([adata, extra])
    with pytest.raises(ValueError, match=told):
        tasks.read_task(adata, **({"held_out": ["b"], **COLUMNS} | change))


def test_unusable_cells_and_embeddings_are_refused(simulated):
    adata, task, references = simulated
    twice = adata.copy()
    twice.obs_names = ["cell0001", *adata.obs_names[1:-1], "cell0001"]
    with pytest.raises(ValueError, match="'cell0001' stands twice"):
        tasks.read_task(twice, **COLUMNS, held_out=["b"])
    logs = adata.copy()
    logs.X = logs.X.log1p()
    with pytest.raises(ValueError, match="no counts"):
        tasks.read_task(logs, **COLUMNS, held_out=["b"])
    for bad in (np.ones((7, 2)), np.ones(200), np.full((200, 2), np.nan)):
        with pytest.raises(ValueError, match=r"\(200, n_latent\) finite"):
            pt.evaluate(task, references, bad)
    with pytest.raises(ValueError, match="n_bootstrap = 1"):
        pt.prepare(task, rng=np.random.default_rng(0), n_bootstrap=1)


def test_cells_without_labels_are_left_aside():
    adata = experiment()
    adata.obs["type"] = adata.obs["type"].astype(object).where(np.arange(adata.n_obs) >= 5)
    assert len(tasks.read_task(adata, **COLUMNS, held_out=["b"]).cells) == adata.n_obs - 5


# Protocol


def test_ridge_is_that_of_sklearn():
    rng = np.random.default_rng(0)
    embeddings = [rng.normal(number, 1 + number, (n, 5)) for number, n in enumerate((20, 50, 90))]
    deltas, new = rng.normal(size=(3, 7)), rng.normal(size=(4, 5))
    weight = np.repeat([1 / len(cells) for cells in embeddings], [len(cells) for cells in embeddings])
    X, targets = np.concatenate(embeddings), np.repeat(deltas, [len(cells) for cells in embeddings], axis=0)
    centre = np.average(X, axis=0, weights=weight)
    scale = np.sqrt(np.average((X - centre) ** 2, axis=0, weights=weight))
    for alpha in (0.01, 1.0, 100.0):
        model = Ridge(alpha).fit((X - centre) / scale, targets, sample_weight=weight)
        mix = heads.mixing_weights(embeddings, deltas, np.arange(3), alphas=np.array([alpha]))
        np.testing.assert_allclose(mix(new) @ deltas, model.predict((new - centre) / scale), rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(mix(new).sum(axis=1), 1)


def test_the_penalty_is_chosen_by_leaving_a_group_out():
    rng = np.random.default_rng(0)
    places, slope = rng.normal(size=(6, 2)), rng.normal(size=(2, 30))
    embeddings = [place + 0.01 * rng.normal(size=(30, 2)) for place in places]
    linear, noise = places @ slope, rng.normal(size=(6, 30))
    at = rng.normal(size=(1, 2))
    np.testing.assert_allclose(
        heads.mixing_weights(embeddings, linear, np.arange(6))(at) @ linear, at @ slope, atol=0.1
    )
    np.testing.assert_allclose(heads.mixing_weights(embeddings, noise, np.arange(6))(at), 1 / 6, atol=0.15)


def test_a_collapsed_embedding_predicts_the_training_mean(simulated):
    _, task, references = simulated
    scores, deltas = pt.evaluate(task, references, np.ones((200, 3)))
    reference = next(iter(references.values()))
    np.testing.assert_allclose(deltas["delta"], reference.nulls["training_mean"], atol=1e-6)
    values = scores.set_index("metric")["value"]
    for name in ("specific_r", "specific_top50_overlap"):
        assert values[name] == 0
    pd.testing.assert_series_equal(
        values.drop(["de_overlap", "energy_distance"]),
        reference.controls["training_mean"].drop(["de_overlap", "energy_distance"]),
        check_names=False,
    )


def test_scores_stand_beside_null_and_ceiling(simulated):
    adata, task, references = simulated
    scores, _ = pt.evaluate(task, references, embed(adata, task))
    assert scores.columns.tolist() == pt.COLUMNS
    assert set(scores["null_name"]) <= set(pt.NULLS)
    assert set(scores["ceiling_name"]) <= set(pt.CEILINGS)
    table = next(iter(references.values())).controls
    best = np.array([pm.METRICS[name].best for name in table.index])
    nearest = (table[list(pt.NULLS)].sub(best, axis=0)).abs().min(axis=1)
    np.testing.assert_allclose((table["null"] - best).abs(), nearest)
    lost = pt.inseparable(references)
    assert set(lost["metric"]) == set(scores.loc[scores["calibrated"].isna(), "metric"])
    kept = scores.dropna(subset="calibrated")
    assert {"specific_r", "delta_r"} <= set(kept["metric"])
    share = (kept["value"] - kept["null"]) / (kept["ceiling"] - kept["null"])
    np.testing.assert_allclose(kept["calibrated"], share)


def test_without_an_effect_nothing_is_separable_for_the_specific_part():
    adata = experiment()
    treated = adata.obs["drug"] == "ifn"
    rng = np.random.default_rng(0)
    adata.obs["drug"] = np.where(treated, "ifn", "ctrl")[rng.permutation(adata.n_obs)]
    _, references = prepared(adata, n_bootstrap=10)
    assert {"specific_auprc", "de_overlap"} <= set(pt.inseparable(references)["metric"])


def changed_treated(adata: anndata.AnnData, context: str) -> anndata.AnnData:
    """The same cells with other counts in the treated cells of a context."""
    other = adata.copy()
    rows = np.flatnonzero((adata.obs["type"] == context) & (adata.obs["drug"] == "ifn"))
    counts = other.X.toarray()
    counts[rows] = np.random.default_rng(9).poisson(5, (len(rows), G))
    other.X = sp.csr_matrix(counts)
    return other


def test_treated_cells_of_the_held_out_context_reach_the_truth_alone(simulated):
    adata, task, references = simulated
    other_task, other = prepared(changed_treated(adata, "b"), n_bootstrap=10)
    embedding, held = embed(adata, task), tasks.Condition("b", "ifn")
    before, after = references[held], other[held]
    assert np.abs(before.truth.delta - after.truth.delta).max() > 1
    for name in pt.NULLS:
        np.testing.assert_array_equal(before.nulls[name], after.nulls[name])
    for name in ("drawn", "drawn_cells", "training_deltas"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    for one, two in zip(before.space, after.space, strict=True):
        np.testing.assert_array_equal(one, two)
    settings = {"rng": None, "max_epochs": 2, "lr": 1e-3}
    for head in (heads.ridge, lambda *given: heads.mlp(*given, **settings | {"rng": np.random.default_rng(0)})):
        one, two = head(task, references, embedding)[held], head(other_task, other, embedding)[held]
        np.testing.assert_array_equal(one.delta, two.delta)
        np.testing.assert_array_equal(one.cells, two.cells)
    learned_from = prepared(changed_treated(adata, "a"))[1][held]  # a training context does change them
    assert np.abs(before.nulls["training_mean"] - learned_from.nulls["training_mean"]).max() > 0.1


def test_cells_of_one_held_out_context_move_no_draw_of_another():
    adata = experiment()
    gone = np.flatnonzero((adata.obs["type"] == "b") & (adata.obs["drug"] == "ifn"))[:7]
    fewer = adata[np.setdiff1d(np.arange(adata.n_obs), gone)].copy()
    one, two = (prepared(cells, ["b", "c"])[1][tasks.Condition("c", "ifn")] for cells in (adata, fewer))
    np.testing.assert_array_equal(one.truth.treated.mean, two.truth.treated.mean)
    np.testing.assert_array_equal(one.drawn_cells, two.drawn_cells)


def test_ceilings_are_other_cells_than_the_truth(simulated):
    _, task, references = simulated
    reference = references[tasks.Condition("b", "ifn")]
    both = task.expression[task.rows(tasks.Condition("b", "ifn"))].mean(axis=0)
    own = reference.truth.control.mean
    duplicate = 2 * both - reference.truth.treated.mean  # halves of 20 cells: what the truth leaves
    mse = reference.controls.loc["mean_profile_mse"]
    assert reference.truth.treated.n == 20
    assert mse["technical_duplicate"] == pytest.approx(
        np.mean((duplicate - own - reference.truth.delta) ** 2), rel=1e-4
    )
    assert mse["technical_duplicate"] > 0.001
    assert 0 < mse["interpolated_duplicate"] < mse["training_mean"]


def test_the_bootstrap_knows_how_far_the_gap_scatters():
    tables = [next(iter(prepared(experiment(seed=seed), n_bootstrap=8)[1].values())).controls for seed in range(10)]
    for name in ("delta_r", "specific_r", "tail_mse"):
        true = np.std([table.loc[name, "ceiling"] - table.loc[name, "null"] for table in tables], ddof=1)
        assert 0.3 < np.mean([table.loc[name, "gap_sd"] for table in tables]) / true < 3


def test_cells_are_compared_in_principal_components_of_training_cells(simulated):
    _, task, references = simulated
    space = references[tasks.Condition("b", "ifn")].space
    cells = task.expression[np.flatnonzero(task.cells["context"] != "b")].toarray()
    pca = PCA(50).fit(cells)
    distances = pdist(pca.transform(cells[:30]))
    np.testing.assert_allclose(pdist(space.place(cells[:30])), distances, rtol=1e-4)
    np.testing.assert_allclose(
        space.place(cells[:1] + 0.5) - space.place(cells[:1]), [space.shift(np.full(G, 0.5))], rtol=1e-3
    )


def test_order_of_cells_changes_nothing(simulated):
    adata, task, references = simulated
    order = np.random.default_rng(4).permutation(adata.n_obs)
    shuffled = adata[order].copy()
    other_task, other = prepared(shuffled, n_bootstrap=10)
    assert (task.control_rows != other_task.control_rows).any()
    first = pt.evaluate(task, references, embed(adata, task))
    second = pt.evaluate(other_task, other, embed(shuffled, other_task))
    for one, two in zip(first, second, strict=True):
        pd.testing.assert_frame_equal(one, two, check_exact=True)


def test_pairs_are_of_one_condition_and_drawn_anew(simulated):
    _, task, _ = simulated
    others = next(iter(task.training.values()))
    rng = np.random.default_rng(0)
    controls, partners = heads.pair(task, others, rng)
    cells = task.cells.reset_index()
    assert sorted(controls) == sorted(np.concatenate([task.rows(one, control=True) for one in others]))
    assert (cells["context"].iloc[controls].to_numpy() == cells["context"].iloc[partners].to_numpy()).all()
    assert set(cells["perturbation"].iloc[partners]) == {"ifn"}
    again = dict(zip(*heads.pair(task, others, rng), strict=True))
    assert np.mean([again[control] == partner for control, partner in zip(controls, partners, strict=True)]) < 0.1


def test_the_mlp_learns_repeats_and_leaves_the_global_generator(simulated):
    import torch

    adata, task, references = simulated
    embedding = embed(adata, task)
    held = tasks.Condition("b", "ifn")

    def fit(**settings) -> heads.Response:
        return heads.mlp(task, references, embedding, rng=np.random.default_rng(0), **settings)[held]

    state = torch.get_rng_state()
    learned, untrained = fit(lr=1e-2, max_epochs=20), fit(max_epochs=1, lr=1e-9)
    assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_array_equal(fit(lr=1e-2, max_epochs=20).delta, learned.delta)
    true = references[held].truth.delta
    assert np.mean((learned.delta - true) ** 2) < 0.2 * np.mean((untrained.delta - true) ** 2)
    assert learned.delta[:12].mean() > learned.delta[12:].mean() + 0.5  # the response that all types share
    np.testing.assert_allclose(
        learned.cells.mean(axis=0) - references[held].truth.control.mean, learned.delta, atol=1e-4
    )


# Real cells


def test_ifn_beta_in_blood_has_the_known_headroom():
    everything = anndata.read_h5ad(EMBEDDED)
    kang = everything[everything.obs["batch"].isin(["kang_ctrl", "kang_stim"])].copy()
    columns = {"control": "control", "perturbation": "perturbation", "context": "cell_type"}
    for held_out in ("NK cells", "CD14+ Monocytes"):
        task = tasks.read_task(kang, **columns, held_out=[held_out])
        references = pt.prepare(task, rng=np.random.default_rng(0), n_bootstrap=2)
        table = next(iter(references.values())).controls
        assert 0.82 < table.loc["mean_profile_r", "no_change"] < 0.97
        assert 0.93 < table.loc["mean_profile_r", "training_mean"] < 0.995
        assert 0.75 < table.loc["specific_r", "technical_duplicate"] <= 1
        assert 0.45 < table.loc["specific_r", "context_matched_mean"] < 0.85
        assert table.loc["energy_distance", "technical_duplicate"] == pytest.approx(0, abs=0.1)
    embedding = own_pca_embedding(kang[task.control_rows], n_components=30, n_top=500)
    scores, _ = pt.evaluate(task, references, embedding)
    values = scores.set_index("metric")
    assert values.loc["delta_r", "value"] > 0.85
    assert values.loc["specific_r", "value"] > values.loc["specific_r", "null"]
