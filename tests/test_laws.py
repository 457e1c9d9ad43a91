"""Every curve of a study, along every axis: which runs belong together, and what the tables say."""

import numpy as np
import pandas as pd
import pytest

from helpers.analysis import joint_laws, laws
from helpers.design import load_design

SIZES = {3.2: 100, 10.0: 320, 32.0: 1000, 56.0: 1800, 100.0: 3200}


def results(families=("pca",), *, widths=(1.0,), samplings=("random",), seeds=3, ratio=50) -> pd.DataFrame:
    """Held-out losses that fall by a law in cells and parameters, and a score that falls short of 1 by as much."""
    rng = np.random.default_rng(0)
    rows = []
    for family in families:
        for width in widths:
            for sampling in samplings:
                for percentage, cells in SIZES.items():
                    for seed in range(seeds):
                        loss = 1 + cells**-0.5 + (1000 * width) ** -0.3 + rng.normal(0, 0.1 / ratio)
                        run = f"{family}-w{width:g}/{sampling}/p{percentage:05.1f}/s{seed:02d}"
                        told = {"run_id": run, "family": family, "width": width, "strategy": sampling}
                        told |= {"percentage": percentage, "n_cells": cells, "n_unique": cells, "budget": "epochs=1"}
                        told |= {"subset_seed": seed, "unique_cells": cells}
                        told |= {"weight_decay": np.nan, "n_parameters": round(1000 * width), "cell_views": cells}
                        told |= {"flops": 6.0 * cells * 1000 * width, "n_donors": np.nan, "n_datasets": 1}
                        told |= {"umis_per_cell": 1685.0, "dataset": "lung"}
                        rows.append(told | {"task": "heldout_loss", "metric": "heldout_loss", "value": loss})
                        rows.append(told | {"task": "classification", "metric": "macro_f1", "value": 2 - loss})
    return pd.DataFrame(rows)


def fitted(table: pd.DataFrame, **options) -> pd.DataFrame:
    models = {name: name for name in table["family"].unique()} | options.pop("models", {})
    return laws.law_table(laws.fit_laws(table, models=models, rng=np.random.default_rng(1), n_boot=50))


def test_losses_of_scores_are_what_is_missing_to_one():
    table = results()
    both = laws.losses(table)
    wide = both.pivot_table(index="run_id", columns="metric", values="loss")
    np.testing.assert_allclose(wide["macro_f1"], wide["heldout_loss"] - 1)
    assert len(laws.losses(table.assign(strategy="untrained"))) == 0
    assert len(laws.losses(table.assign(value=np.nan))) == 0


def test_a_curve_over_cells_for_each_model_sampling_and_metric():
    table = fitted(results(("pca", "scvi"), samplings=("random", "celltype_reweighted")))
    assert set(table["axis"]) == {"n_cells"}  # nothing else varies by itself
    assert len(table) == 2 * 2 * 2
    assert (table["n_runs"] == 15).all()
    assert (table["n_sizes"] == 5).all()
    assert (table["seeds"] == 3).all()
    assert list(table[["smallest", "largest"]].iloc[0]) == [100, 3200]


def test_parameters_are_an_axis_at_fixed_cells():
    table = fitted(results(widths=(0.25, 0.5, 1.0, 2.0)))
    axes = table.groupby("axis").size()
    assert axes["n_parameters"] == len(SIZES) * 2
    assert axes["n_cells"] == 4 * 2
    assert axes["flops"] == len(SIZES) * 2
    along = table[table["axis"] == "n_parameters"]
    assert set(along["percentage"]) == set(SIZES)
    assert along["width"].isna().all()  # varies along the curve


def test_along_flops_stand_the_models_that_no_cheaper_one_beats():
    table = results(widths=(0.25, 0.5, 1.0, 2.0, 4.0), ratio=1000)
    worse = table["width"] == 1.0
    table.loc[worse & (table["metric"] == "heldout_loss"), "value"] += 0.5
    along = fitted(table).query("axis == 'flops'").set_index("metric")["n_sizes"]
    assert set(along["heldout_loss"]) == {4}
    assert set(along["macro_f1"]) == {5}


def test_seeds_that_stop_at_different_steps_are_of_one_size():
    tables = [
        results((name,)).assign(budget=f"cell_views={views}", cell_views=views, flops=views)
        for name, views in (("a", 1000), ("b", 2000), ("c", 4000), ("d", 8000))
    ]
    table = pd.concat(tables)
    seed = table["run_id"].str[-1].astype(int)
    table["cell_views"] -= seed  # early stopping
    along = fitted(table, models=dict.fromkeys("abcd", "a")).query("axis == 'cell_views'")
    assert set(along["n_sizes"]) == {4}
    assert set(along["seeds"]) == {3}


def test_models_that_differ_in_budget_alone_share_an_axis(small_design, write_design):
    families = {"pca": {"preset": "demo"}}
    families |= {
        f"pca_{n}": {"family": "pca", "preset": "demo", "budget": {"kind": "epochs", "amount": n}} for n in (2, 3)
    }
    families["pca_few"] = {"family": "pca", "preset": "demo", "settings": {"n_components": 3}}
    models = laws.alike(load_design(write_design(small_design | {"families": families})))
    assert models == {"pca": "pca", "pca_2": "pca", "pca_3": "pca", "pca_few": "pca_few"}
    tables = [
        results((name,)).assign(budget=f"cell_views={views}", cell_views=views, flops=views)
        for name, views in (("a", 1000), ("b", 2000), ("c", 4000), ("d", 8000))
    ]
    table = fitted(pd.concat(tables), models=dict.fromkeys("abcd", "a"))
    assert (table["axis"] == "cell_views").sum() == len(SIZES) * 2
    assert set(table["model"]) == {"a"}


@pytest.mark.parametrize(("axis", "strategy"), [("n_donors", "donors"), ("n_datasets", "datasets")])
def test_donors_and_datasets_are_axes_at_fixed_cells(axis, strategy):
    tables = [
        results(samplings=(f"{strategy}_{k}",)).query("percentage == 10").assign(strategy=strategy, **{axis: k})
        for k in (1, 3, 10, 30)
    ]
    table = fitted(pd.concat(tables))
    assert list(table["axis"]) == [axis, axis]
    assert set(table["percentage"]) == {10.0}


def test_depth_has_full_depth_at_its_end():
    thin = [
        results(samplings=(f"depth_{umis}",)).query("percentage == 100").assign(strategy="depth", umis_per_cell=umis)
        for umis in (100.0, 200.0, 400.0)
    ]
    table = fitted(pd.concat([*thin, results()]))
    along = table[table["axis"] == "umis_per_cell"]
    assert len(along) == 2
    assert set(along["largest"]) == {1685.0}


def test_seeds_whose_cells_have_other_medians_are_of_one_depth():
    rng = np.random.default_rng(0)
    thin = [
        results(samplings=(f"depth_{umis}",)).assign(strategy="depth", umis_per_cell=umis) for umis in (100, 200, 400)
    ]
    table = pd.concat([*thin, results()]).query("percentage == 10")
    own = {run: rng.uniform(0.95, 1.05) for run in table["run_id"].unique()}
    table["umis_per_cell"] *= table["run_id"].map(own)
    along = fitted(table).query("axis == 'umis_per_cell'")
    assert set(along["n_sizes"]) == {4}
    assert set(along["seeds"]) == {3}
    full = table.loc[table["strategy"] == "random", "umis_per_cell"]
    np.testing.assert_allclose(along["largest"], full.mean(), atol=0.051)


def test_donors_that_differ_by_seed_are_one_size():
    tables = [
        results(samplings=(f"donors_{k}",)).query("percentage == 10").assign(strategy="donors", n_donors=float(k))
        for k in (2, 5, 10, 30)
    ]
    table = pd.concat(tables)
    table["n_donors"] -= (table["subset_seed"] == 0) & (table["n_donors"] == 30)  # one donor has too few cells
    along = fitted(table).query("axis == 'n_donors'")
    assert set(along["n_sizes"]) == {4}
    assert set(along["largest"]) == {29.7}


def test_unique_cells_are_those_that_training_saw():
    table = results()
    assert "unique_cells" not in set(fitted(table)["axis"])
    table["unique_cells"] = table["n_cells"].clip(upper=1800)  # 1,800 cell-views
    along = fitted(table).query("axis == 'unique_cells'").set_index("metric")
    assert set(along.index) == {"heldout_loss", "macro_f1"}
    assert set(along["n_sizes"]) == {4}
    assert set(along["n_runs"]) == {15}, "the two largest sizes are one"
    assert set(along["largest"]) == {1800}
    assert "unique_cells" not in set(fitted(table.drop(columns="unique_cells"))["axis"])


def test_noise_alone_does_not_fall_along_flops():
    """Minima of noise do; a run's own noise has no part in the choice of the models that no cheaper one beats."""
    rng = np.random.default_rng(0)
    table = results(widths=(0.25, 0.5, 1.0, 2.0, 4.0)).query("metric == 'heldout_loss' and percentage < 50")
    changes = []
    for _ in range(60):
        noise = laws.losses(table.assign(value=rng.normal(1, 0.01, len(table))))
        for names, runs in laws.curves(noise, {"pca": "pca"}):
            if names["axis"] == "flops":
                means = runs.groupby("flops")["loss"].mean()
                changes.append((means.iloc[0] - means.iloc[-1]) / 0.01)
    assert len(changes) > 40
    assert abs(np.mean(changes)) < 0.4, "1.1 where minima of means are kept"


def test_row_order_changes_nothing():
    table = results(("pca", "scvi"))
    first, other = fitted(table), fitted(table.sample(frac=1, random_state=1))
    pd.testing.assert_frame_equal(first, other)


def test_curves_and_reader_agree_with_the_fits():
    found = laws.fit_laws(results(), models={"pca": "pca"}, rng=np.random.default_rng(1), n_boot=50)
    curves, table = laws.law_curves(found), laws.law_table(found)
    assert set(curves["curve"]) == {0, 1}
    assert (curves["low"] <= curves["high"]).all()
    readable = laws.readable(table)
    for text, value in zip(readable["exponent (90 %)"], table["exponent"], strict=True):
        assert "to" in text or text == "–", "an exponent never stands without its interval"
        assert np.isnan(value) == (text.startswith("not told") or text == "–")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, "one run for each size: a joint law without intervals is not told"),
        ({"cell_views": np.nan}, "cell_views is missing or infinite in 5 of 25 rows"),
    ],
)
def test_joint_laws_that_cannot_be_told_have_a_reason(change, told):
    table = results(widths=(0.1, 0.3, 1.0, 3.0, 10.0), seeds=1)
    table.loc[table["width"] == 0.1, list(change)] = list(change.values())
    found = joint_laws.fit_joints(table, models={"pca": "pca"}, rng=np.random.default_rng(1), n_boot=20)
    row = joint_laws.joint_table(found).iloc[0]
    assert (row["model"], row["dataset"], row["parameter"], row["n_runs"]) == ("pca", "lung", "none", 25)
    assert told in row["reason"]
    assert not row["identifiable"]
    assert np.isnan(row["value"])
    assert all(part.empty for part in joint_laws.frontiers(found))


def test_joint_laws_need_three_sizes_of_model():
    rng = np.random.default_rng(1)
    one = joint_laws.fit_joints(results(), models={"pca": "pca"}, rng=rng, n_boot=20)
    assert joint_laws.joint_table(one).empty
    profiles, best = joint_laws.frontiers(one)
    assert profiles.empty
    assert best.empty
    found = joint_laws.fit_joints(
        results(widths=(0.1, 0.3, 1.0, 3.0, 10.0), ratio=200), models={"pca": "pca"}, rng=rng, n_boot=50
    )
    (law,) = found
    assert law.flops == pytest.approx(6)
    table = joint_laws.joint_table(found).set_index("parameter")
    for name, value in (("alpha", 0.3), ("beta", 0.5), ("E", 1.0)):
        assert table.loc[name, "value"] == pytest.approx(value, rel=0.1)
        assert table.loc[name, "low"] < table.loc[name, "value"] < table.loc[name, "high"]
    profiles, best = joint_laws.frontiers(found)
    assert set(best["budget"]) == set(profiles["budget"]) == set(law.budgets)
    assert best["n_parameters"].is_monotonic_increasing
