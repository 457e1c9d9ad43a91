"""Responses against what teaches them: restricted tasks, draws, planted axes, and what the curves are said to say."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from helpers import stages
from helpers.analysis.response_axes import advantages, axis_verdicts
from helpers.design import DesignError, load_design
from helpers.evaluate import perturbation as pt
from helpers.evaluate import perturbation_axes as axes
from helpers.evaluate.perturbation_heads import ridge
from helpers.evaluate.perturbation_task import Condition, Task, read_task, restricted
from helpers.plots.response_figures import response_axes

G = 150
PLACES = {"a": -1.0, "b": 1.0, "c": 0.4, "d": -0.4, "e": 0.9, "f": -0.7}
HELD = Condition("e", "ifn")


def experiment(slope: float, *, drugs: tuple[str, ...] = ("ifn",), n: int = 30, seed: int = 0) -> anndata.AnnData:
    """Types at a place each, whose response is shared in 40 genes and goes with the place, by `slope`, in 40 others."""
    rng = np.random.default_rng(seed)
    base = rng.gamma(3, 2, G)
    shared, along = np.where(np.arange(G) < 40, 0.8, 0.0), np.where(np.arange(G) >= G - 40, slope, 0.0)
    along *= rng.choice([-1, 1], G)
    counts, labels = [], []
    for kind, place in PLACES.items():
        for drug in ("ctrl", *drugs):
            counts.append(rng.poisson(base * np.exp(0 if drug == "ctrl" else shared + place * along), (n, G)))
            labels += [(kind, drug)] * n
    obs = pd.DataFrame(labels, columns=["type", "drug"], index=[f"cell{i:04}" for i in range(len(labels))])
    adata = anndata.AnnData(sp.csr_matrix(np.concatenate(counts).astype(np.float32)), obs=obs)
    return adata[rng.permutation(adata.n_obs)].copy()


def task_of(adata: anndata.AnnData, held_out: str = "e") -> Task:
    return read_task(adata, control="ctrl", perturbation="drug", context="type", held_out=[held_out])


def places(adata: anndata.AnnData, task: Task) -> np.ndarray:
    """An embedding that knows the place of each control cell, with noise that depends on the cell alone."""
    names = adata.obs_names[task.control_rows].str[4:].astype(int)
    known = adata.obs["type"].iloc[task.control_rows].map(PLACES).to_numpy(dtype=float)
    return (known + 0.05 * np.sin(np.asarray(names)))[:, None].astype(np.float32)


def drawn(task: Task, **options) -> list[axes.Lesson]:
    given = {"shares": [10, 40], "contexts": [1, 2, 4], "repeats": 3} | options
    return axes.lessons(task, **given, rng=np.random.default_rng(3))


@pytest.fixture(scope="module")
def planted() -> tuple[anndata.AnnData, Task, dict]:
    adata = experiment(0.8)
    task = task_of(adata)
    return adata, task, pt.prepare(task, rng=np.random.default_rng(1), n_bootstrap=5)


# A task that is cut down


def test_a_restricted_task_has_all_controls_and_the_chosen_treated_cells(planted):
    _, task, _ = planted
    chosen = np.concatenate([task.rows(Condition("c", "ifn"))[[4, 1]], task.rows(Condition("a", "ifn"))[:1]])
    part = restricted(task, chosen)
    treated = part.cells[part.cells["perturbation"] == "ifn"]
    assert sorted(treated.index) == sorted(task.cells.index[chosen])
    assert part.training == {HELD: (Condition("a", "ifn"), Condition("c", "ifn"))}
    np.testing.assert_array_equal(part.control_rows, task.control_rows)
    for one in (HELD, *part.training[HELD]):
        np.testing.assert_array_equal(part.rows(one, control=True), task.rows(one, control=True))
    assert len(part.rows(HELD)) == 0, "what is to be predicted is gone"
    rows = part.rows(Condition("c", "ifn"))
    np.testing.assert_array_equal(part.expression[rows].toarray(), task.expression[np.sort(chosen[:2])].toarray())


def test_cells_that_may_not_teach_are_refused(planted):
    _, task, _ = planted
    good = task.rows(Condition("a", "ifn"))
    for wrong in (task.rows(HELD)[:2], task.rows(Condition("a", "ifn"), control=True)[:2], [10_000, 10_001]):
        with pytest.raises(ValueError, match="2 of 32 positions are no treated training cells"):
            restricted(task, np.concatenate([good, wrong]))
    with pytest.raises(ValueError, match="1 positions stand twice"):
        restricted(task, np.append(good, good[0]))
    with pytest.raises(ValueError, match=r"none of the 0 cells teaches \('e', 'ifn'\)"):
        restricted(task, np.array([], dtype=int))


# What teaches


def test_lessons_hold_what_their_level_says(planted):
    _, task, _ = planted
    found = drawn(task)
    whole = np.flatnonzero((task.cells["perturbation"] == "ifn") & (task.cells["context"] != "e"))
    levels = pd.DataFrame(found).groupby(["axis", "share", "n_contexts"]).size()
    assert levels["treated cells"].to_dict() == {(10, 5): 3, (40, 5): 3, (100, 5): 1}
    assert levels["contexts"].to_dict() == {(100, 1): 3, (100, 2): 3, (100, 4): 3, (100, 5): 1}
    for lesson in found:
        contexts = task.cells["context"].iloc[lesson.treated].value_counts()
        assert len(contexts) == lesson.n_contexts
        assert set(contexts) == {round(0.3 * lesson.share)}
        assert set(lesson.treated) <= set(whole), "no control cell and no cell of the held-out type"
        assert len(np.unique(lesson.treated)) == len(lesson.treated)
    assert all(len(one.treated) == len(whole) for one in found[-2:])


def test_draws_differ_and_larger_ones_contain_smaller_ones(planted):
    _, task, _ = planted
    found = drawn(task, repeats=5)
    by = {(one.axis, one.share, one.n_contexts, one.draw): set(one.treated) for one in found}
    for draw in range(5):
        assert by["treated cells", 10, 5, draw] < by["treated cells", 40, 5, draw]
        assert by["contexts", 100, 1, draw] < by["contexts", 100, 2, draw] < by["contexts", 100, 4, draw]
    assert len({frozenset(cells) for cells in by.values()}) == len(by) - 1, "both axes end in the whole"
    alone = [by["contexts", 100, 1, draw] for draw in range(5)]
    assert len(set.union(*alone)) == 150, "five draws of one context are all five contexts"
    assert len([one for one in drawn(task, repeats=9) if one.n_contexts == 1]) == 5, "a choice stands once"


def test_levels_and_repeats_move_no_other_draw(planted):
    _, task, _ = planted
    few, many = drawn(task), drawn(task, shares=[5, 10, 40, 100], contexts=[1, 2, 3, 4, 8], repeats=5)
    told = {(one.axis, one.share, one.n_contexts, one.draw): one.treated for one in many}
    for one in few:
        np.testing.assert_array_equal(one.treated, told[one.axis, one.share, one.n_contexts, one.draw])


def test_small_shares_leave_each_condition_a_cell(planted):
    _, task, _ = planted
    least = drawn(task, shares=[0.1])[0]
    assert list(task.cells["context"].iloc[least.treated]) == list("abcdf")


def test_every_treatment_has_the_number_of_contexts():
    task = task_of(experiment(0.5, drugs=("ifn", "tgf"), n=22))
    for lesson in drawn(task):
        part = restricted(task, lesson.treated)
        assert {len(others) for others in part.training.values()} == {lesson.n_contexts}
        assert len(part.training) == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"shares": [0, 10]}, "shares = 0: use over 0 and at most 100"),
        ({"shares": [120]}, "shares = 120: use over 0 and at most 100"),
        ({"contexts": [0]}, "contexts = 0: use 1 or more"),
        ({"repeats": 0}, "repeats = 0: use 1 or more"),
    ],
)
def test_levels_out_of_range_are_refused(planted, change, told):
    with pytest.raises(ValueError, match=told):
        drawn(planted[1], **change)


# Scores along the axes


def scores(adata: anndata.AnnData, task: Task, references: dict, taught: list[axes.Lesson]) -> pd.DataFrame:
    return pd.concat(axes.scores_along(task, references, {"places": places(adata, task)}, taught), ignore_index=True)


def test_the_whole_task_has_the_scores_of_the_whole_task(planted):
    adata, task, references = planted
    expected, _ = pt.evaluate(task, references, places(adata, task))
    for lesson in drawn(task)[-2:]:
        found = scores(adata, task, references, [lesson]).query("encoder == 'places'")
        columns = ["metric", "value", "null", "ceiling", "calibrated"]
        pd.testing.assert_frame_equal(found[columns].reset_index(drop=True), expected[columns], check_exact=True)
        assert set(found["n_treated"]) == {150}
    mean = scores(adata, task, references, drawn(task)[-1:]).query("encoder == 'training_mean'").set_index("metric")
    known = references[HELD].controls["training_mean"]
    for name in ("delta_r", "mean_profile_mse", "tail_r", "specific_r", "specific_auprc"):
        assert mean.loc[name, "value"] == pytest.approx(known[name], abs=1e-6)


def test_treated_cells_of_the_held_out_type_reach_no_head(planted):
    adata, task, references = planted
    other = adata.copy()
    rows = np.flatnonzero((adata.obs["type"] == "e") & (adata.obs["drug"] == "ifn"))
    counts = other.X.toarray()
    counts[rows] = np.random.default_rng(9).poisson(5, (len(rows), G))
    other.X = sp.csr_matrix(counts)
    other_task = task_of(other)
    others, embedding = pt.prepare(other_task, rng=np.random.default_rng(1), n_bootstrap=5), places(adata, task)
    for one, two in zip(drawn(task), drawn(other_task), strict=True):
        np.testing.assert_array_equal(one.treated, two.treated)
        responses = []
        for whole, known, lesson in ((task, references, one), (other_task, others, two)):
            part = restricted(whole, lesson.treated)
            responses.append(ridge(part, pt.relearned(known, part), embedding)[HELD])
        np.testing.assert_array_equal(responses[0].delta, responses[1].delta)
        np.testing.assert_array_equal(responses[0].cells, responses[1].cells)


def test_null_and_ceiling_stay_and_training_is_that_of_the_part(planted):
    _, task, references = planted
    part = restricted(task, drawn(task)[0].treated)
    one = pt.relearned(references, part)[HELD]
    for name in ("truth", "space", "controls", "nulls", "drawn_cells"):
        assert getattr(one, name) is getattr(references[HELD], name)
    first = part.training[HELD][0]
    by_hand = part.expression[part.rows(first)].toarray().mean(0) - part.expression[
        part.rows(first, control=True)
    ].toarray().mean(0)
    np.testing.assert_allclose(one.training_deltas[0], by_hand, atol=1e-5)


def test_order_of_cells_changes_nothing(planted):
    adata, task, references = planted
    shuffled = adata[np.random.default_rng(4).permutation(adata.n_obs)].copy()
    other = task_of(shuffled)
    others = pt.prepare(other, rng=np.random.default_rng(1), n_bootstrap=5)
    one, two = scores(adata, task, references, drawn(task)), scores(shuffled, other, others, drawn(other))
    pd.testing.assert_frame_equal(one, two, check_exact=True)


def test_with_one_context_every_head_is_its_response(planted):
    adata, task, references = planted
    lesson = next(one for one in drawn(task) if one.n_contexts == 1)
    found = scores(adata, task, references, [lesson]).set_index(["encoder", "metric"])["value"]
    pd.testing.assert_series_equal(found["places"], found["training_mean"])
    part = restricted(task, lesson.treated)
    of_part = pt.relearned(references, part)
    direct = pt.score(of_part, ridge(part, of_part, pt.checked(places(adata, task), part))).set_index("metric")["value"]
    pd.testing.assert_series_equal(found["places"], direct, check_names=False)


def along(adata: anndata.AnnData, metric: str) -> pd.DataFrame:
    """Mean value by level, a column per encoder. Two contexts are left aside: they leave no penalty to choose."""
    task = task_of(adata)
    references = pt.prepare(task, rng=np.random.default_rng(1), n_bootstrap=5)
    taught = drawn(task, shares=[10], contexts=[1, 3, 4], repeats=5)
    found = scores(adata, task, references, taught)
    of_contexts = found[(found["metric"] == metric) & (found["axis"] == "contexts")]
    return of_contexts.pivot_table(index="n_contexts", columns="encoder", values="value")


def test_a_response_that_goes_with_the_place_needs_contexts(planted):
    found = along(planted[0], "delta_r")
    assert found.loc[1, "places"] < 0.5
    assert found.loc[5, "places"] > found.loc[1, "places"] + 0.3
    assert found.loc[5, "places"] > found.loc[5, "training_mean"] + 0.2, "the embedding tells what the mean does not"
    assert found["places"].is_monotonic_increasing


def test_a_response_that_all_types_share_needs_none():
    found = along(experiment(0.0, n=100), "delta_r")
    assert found.loc[1, "places"] > 0.9
    assert found.loc[5, "places"] < found.loc[1, "places"] + 0.08
    np.testing.assert_allclose(found["places"], found["training_mean"], atol=0.02)


def test_embeddings_that_do_not_fit_are_refused(planted):
    _, task, references = planted
    with pytest.raises(ValueError, match=r"\(180, n_latent\) finite"):
        next(axes.scores_along(task, references, {"short": np.ones((7, 2))}, drawn(task)))


# What the curves say


def curves(gains: dict[str, float], *, noise: float = 0.01, seed: int = 0) -> pd.DataFrame:
    """Calibrated scores that near 1 by a power law of the treated cells with these exponents, in one fold."""
    rng, rows = np.random.default_rng(seed), []
    names = {"pca": ("pca", "random", 100.0), "none": ("pca", "untrained", 0.0), "own_pca": ("own_pca", "none", np.nan)}
    for name, exponent in gains.items():
        family, strategy, percentage = names[name]
        for level, n_treated in enumerate(100 * 2 ** np.arange(7)):
            for draw in range(5 if level < 6 else 1):
                score = 1 - 0.8 * (n_treated / 100) ** -exponent + noise * rng.normal()
                rows.append(
                    [family, 1.0 if strategy != "none" else np.nan, strategy, percentage, n_treated, draw, score]
                )
    table = pd.DataFrame(rows, columns=["family", "width", "strategy", "percentage", "n_treated", "draw", "calibrated"])
    table["share"] = 100 * table["n_treated"] / 6400
    fold = {"dataset": "nk", "held_out": "NK cells", "axis": "treated cells", "metric": "delta_r", "n_contexts": 6}
    return table.assign(**fold, seed=0.0, run_id=table["family"] + "/" + table["strategy"])


def test_verdicts_tell_a_planted_law_from_a_flat_curve():
    table = curves({"pca": 0.5, "none": 0.0}, noise=0.004)
    found = axis_verdicts(table, metric="delta_r", rng=np.random.default_rng(0)).set_index("strategy")
    assert found.loc["random", "verdict"] == "power law"
    assert found.loc["random", "gain_low"] > 0.5
    assert found.loc["random", "last"] == pytest.approx(0.9, abs=0.03)
    assert found.loc["untrained", "verdict"] == "no scaling"
    assert found.loc["untrained", "levels"] == 7
    assert len(axis_verdicts(table.assign(calibrated=np.nan), metric="delta_r", rng=np.random.default_rng(0))) == 0
    with pytest.raises(ValueError, match="unknown metric 'delta'"):
        axis_verdicts(table, metric="delta", rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="lacks the columns n_contexts"):
        axis_verdicts(table.drop(columns="n_contexts"), metric="delta_r", rng=np.random.default_rng(0))


def test_advantages_are_paired_by_draw():
    table = curves({"pca": 0.5, "none": 0.0, "own_pca": 0.5}, noise=0)
    table.loc[(table["family"] == "own_pca") & (table["draw"] == 2), "calibrated"] += 0.1
    found = advantages(table, metric="delta_r").set_index(["rival", "share"])
    assert set(found.index.get_level_values("rival")) == {"untrained", "own_pca"}
    half = found.xs(50.0, level="share")
    assert half["n_draws"].tolist() == [5, 5]
    assert half.loc["untrained", ["low", "high"]].tolist() == pytest.approx([0.8 - 0.8 / 32**0.5] * 2)
    assert half.loc["own_pca", ["gain", "low", "high"]].tolist() == pytest.approx([-0.02, -0.1, 0], abs=1e-12)
    assert found.loc[("untrained", 100.0), "n_draws"] == 1
    assert len(advantages(table.assign(n_contexts=1), metric="delta_r")) == 0
    assert list(advantages(table[table["strategy"] == "none"], metric="delta_r").columns[-2:]) == [
        "percentage",
        "rival",
    ]


def test_the_figure_says_where_nothing_can_be_told():
    table = curves({"pca": 0.5, "none": 0.0, "own_pca": 0.5})
    lost = table.assign(dataset="b", held_out="B", calibrated=np.nan)
    few = table.assign(axis="contexts", n_contexts=(table["n_treated"] / 100).astype(int))
    drawn = response_axes(pd.concat([table, few, lost]), metric="delta_r")
    assert len(drawn.axes) == 4
    texts = [[text.get_text() for text in one.texts] for one in drawn.axes]
    assert [len(text) for text in texts] == [0, 1, 0, 1]
    legend = drawn.legends[0]
    assert "5 draws" in legend.get_title().get_text()
    assert "1 seed of each trained encoder, whose spread is not seen" in " ".join(legend.get_title().get_text().split())
    names = {text.get_text() for text in legend.get_texts()}
    assert names == {"PCA, 100 % of the corpus", "PCA, untrained", "own PCA of the control cells"}


# The design


def asked(demo: dict, **change) -> dict:
    demo["evaluations"]["perturbation"]["axes"] = {"treated": [10, 50], "contexts": [1, 2], "repeats": 2} | change
    return demo


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"treated": [0]}, "axes.treated.0 = 0: input should be greater than 0"),
        ({"treated": [101]}, "axes.treated.0 = 101"),
        ({"treated": []}, r"axes.treated = \[\]"),
        ({"contexts": [0]}, "axes.contexts.0 = 0"),
        ({"contexts": [2, 2]}, "axes.contexts .*only once"),
        ({"repeats": 1}, "axes.repeats = 1: input should be greater than or equal to 2"),
        ({"cells": [1]}, "axes.cells: unknown key 'cells'"),
        ({"runs": {"families": ["scvi"], "seeds": [9]}}, "axes.runs = .*'seeds': .9.* selects no run of the design"),
    ],
)
def test_axes_that_cannot_be_made_are_refused(write_design, demo, change, told):
    with pytest.raises(DesignError, match=told):
        load_design(write_design(asked(demo, **change)))


def test_the_stage_is_a_piece_where_the_design_asks_for_it(write_design, demo, tmp_path):
    runs = {"families": ["pca"], "percentages": [0, 100], "seeds": [0]}
    design = load_design(write_design(asked(demo, runs=runs)))
    piece = stages.Piece("63_response_axes")
    assert piece in stages.pieces(design)
    names = {other.name for other in stages.upstream(design, piece)}
    assert names == {"25_embed--pca--random", "25_embed--pca--untrained", "33_perturb--baselines--none"}
    assert piece in stages.upstream(design, stages.Piece("90_figures"))
    assert stages.outputs(design, piece, tmp_path) == ["response_axes.parquet"]
    del demo["evaluations"]["perturbation"]["axes"]
    without = load_design(write_design(demo))
    assert piece not in stages.pieces(without)
    judged = stages.Piece("33_perturb", "baselines", 1.0, "none")
    assert stages.stamp(without, judged) == stages.stamp(design, judged), "axes make no response anew"
