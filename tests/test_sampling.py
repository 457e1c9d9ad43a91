"""From a design to the cells that a run learns from: who is offered, what is drawn, thinned and reported."""

import contextlib
import subprocess
import sys

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import corpus, store, subset
from helpers.corpus import read_source, read_source_obs, source_hash, training_cells
from helpers.design import DesignError, Run, load_design
from helpers.design_sources import Simulation
from helpers.models.counts import log_cp10k, raw_counts
from helpers.split import assign_roles, check_design, offered
from helpers.subset.components import principal_components
from helpers.subset.report import ScaledExpression, describe

TREATED = {
    "where": {"batch": ["three"]},
    "held_out": {"b": {"cell_type": ["b"]}, "rare": {"cell_type": ["c"], "batch": ["three"]}},
}


@pytest.fixture
def spiked(small_design) -> dict:
    """The small design with treated cells (batch three): those of type a may be spiked in."""
    return small_design | {"perturbation": TREATED, "strategies": ["random", "spikein_10", "spikein_50"]}


@pytest.mark.parametrize("name", ["study", "axes", "axes_simulated"])
def test_designs_of_the_project_fit_their_cells(name):
    design = load_design(f"params/{name}.yaml")
    assert check_design(design, read_source_obs(design)) > 5_000


def test_the_study_has_16_corpora_with_five_seeds_each_in_its_numbering():
    design = load_design("params/study.yaml")
    subsets = [run for name in design.strategies for run in design.subsets(name)]
    corpora = {(run.strategy, run.percentage) for run in subsets}
    assert len(subsets) == 80
    assert len(corpora) == 16
    published = {1: range(5), 10: range(5, 10), 25: range(10, 15), 50: range(15, 20), 75: range(20, 25)}
    published[100] = range(25, 30)
    for corpus_ in corpora:
        seeds = [run.seed for run in subsets if (run.strategy, run.percentage) == corpus_]
        assert seeds == list(published[corpus_[1]])
    assert {strategy for strategy, size in corpora if size == 100} == {"random"}
    assert [run.seed for run in design.select("pca", 1.0, "untrained")] == list(range(30, 35))
    assert [run.id for run in design.select("pca", 1.0, "random", seeds=[7])] == ["pca-w1/random/p010.0/s07"]
    with pytest.raises(DesignError, match=r"seeds = 7 is not in the design; it holds: 0, 1, 2, 3, 4"):
        design.select("pca", 1.0, "random", [1], [7])


@pytest.mark.parametrize(
    ("strategies", "told"),
    [
        ({"random": {"strategy": "donors"}}, "the name 'random' of a sampling means something else"),
        ({"untrained": {"strategy": "random"}}, "the name 'untrained'"),
        ({"few": {}}, r"strategies\.few.*unknown strategy 'few'"),
        ({"few": {"strategy": "donors", "options": {"n": 3}}}, "donors: unknown option 'n'"),
        ({"few": {"strategy": "donors", "options": {"label": "tissue"}}}, "donors: unknown option 'label'"),
        ({"deep": {"strategy": "depth"}}, "depth: the option 'umis' is missing"),
        ({"mix": {"strategy": "composition"}}, "composition: the option 'blocks' is missing"),
        ({"random": {"nest": True}}, r"strategies\.random\.nest.*did you mean 'nested'"),
        ({"random": {"percentages": [0.25]}}, "more than one decimal"),
        ({"random": {}, "celltype_reweighted": {"percentages": [100]}}, "leave celltype_reweighted nothing to draw"),
        ({"random": {}, "spikein_10": {}}, r"strategies\.spikein_10 needs treated cells"),
        ({}, "at least 1"),
    ],
)
def test_samplings_that_mean_nothing_are_refused(write_design, small_design, strategies, told):
    with pytest.raises(DesignError, match=told):
        load_design(write_design(small_design | {"strategies": strategies}))


def test_seeds_of_sizes_that_are_not_there_are_refused(write_design, small_design):
    with pytest.raises(DesignError, match=r"seeds_by_size\.7: no such size; there are: 0\.0, 50\.0, 100\.0"):
        load_design(write_design(small_design | {"seeds_by_size": {7: [1]}}))


@pytest.mark.parametrize(
    ("strategies", "told"),
    [
        ({"few": {"strategy": "donors"}}, r"strategies\.few at 50 %: obs\['donor_id'\] is missing for 96 of 96"),
        ({"few": {"strategy": "datasets", "options": {"k": 4}}}, r"k = 4 is more than the 1 datasets there are"),
        ({"mix": {"strategy": "composition", "options": {"blocks": {"on": 1}}}}, "did you mean 'one'"),
        ({"deep": {"strategy": "depth", "options": {"umis": 1e6}}}, r"umis = 1000000.0 must be above 0 and at most"),
        ({"few": {"strategy": "datasets", "nested": True, "options": {"k": 1}}}, "nested subsets of a fixed number"),
    ],
)
def test_samplings_that_the_cells_cannot_fill_are_refused(write_design, small_design, strategies, told):
    design = load_design(write_design(small_design | {"strategies": strategies}))
    with pytest.raises(DesignError, match=told):
        check_design(design, read_source(design).obs)


@pytest.mark.chain
def test_a_stage_that_cannot_fill_a_sampling_writes_nothing(write_design, small_design, tmp_path):
    deep = {"deep": {"strategy": "depth", "options": {"umis": 1e6}}}
    design, results = write_design(small_design | {"strategies": deep}), tmp_path / "results"
    arguments = [tmp_path / "out.ipynb", "-p", "design", design, "-p", "results", results]
    command = [sys.executable, "-m", "helpers.run", "notebooks/00_corpus.py", *arguments]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "strategies.deep at 50 %: umis = 1000000.0 must be above 0 and at most" in done.stderr
    assert [path.name for path in results.iterdir()] == ["design.json"]


def test_a_spike_in_that_cannot_be_filled_names_the_largest_size(write_design, spiked):
    # Two thirds of the 60 treated cells are held out, so that 20 are left: at most 41 cells with half of them treated.
    design = load_design(write_design(spiked))
    with pytest.raises(DesignError, match=r"spikein_50 at 50 %.*there are 20 and 96: use n ≤ 41"):
        check_design(design, read_source_obs(design))


def test_treated_cells_are_spiked_in_or_judge(write_design, spiked, small_cells):
    roles = assign_roles(small_cells.obs, load_design(write_design(spiked)))
    treated = small_cells.obs["batch"] == "three"
    assert roles[treated & (small_cells.obs["cell_type"] == "a")].eq("spikein").all()
    assert roles[treated & (small_cells.obs["cell_type"] != "a")].eq("evaluation").all()
    assert not roles[~treated].eq("spikein").any()
    assert (roles.to_numpy()[offered(roles.to_numpy(), "random")] == "corpus").all()
    assert set(roles.to_numpy()[offered(roles.to_numpy(), "spikein_10")]) == {"corpus", "spikein"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"where": {"batch": ["one_b"]}}, "names 60 cells of corpus.pretraining"),
        ({"held_out": {"b": {"batch": ["two"]}}}, "perturbation.held_out.b = .* holds no treated cell"),
        ({"held_out": {"b": {"cell_type": ["x"]}}}, r"perturbation\.held_out\.b\.cell_type = 'x' matches no cell"),
    ],
)
def test_treated_cells_that_cannot_be_told_apart_are_refused(write_design, spiked, small_cells, change, told):
    with pytest.raises(DesignError, match=told):
        assign_roles(small_cells.obs, load_design(write_design(spiked | {"perturbation": TREATED | change})))


def test_missing_contexts_are_refused(write_design, spiked, small_cells):
    """A cell whose context is not known could belong to a held-out one."""
    small_cells.obs["lineage"] = ["myeloid" if kind == "b" else None for kind in small_cells.obs["cell_type"]]
    small_cells.write_h5ad(spiked["corpus"]["path"])
    spiked["perturbation"] = TREATED | {"held_out": {"m": {"lineage": ["myeloid"]}}}
    with pytest.raises(ValueError, match=r"obs\['lineage'\] is missing for 160 of 240 cells"):
        read_source_obs(load_design(write_design(spiked)))


def test_spike_ins_and_thinning_start_from_the_random_draw():
    obs = pd.DataFrame({"total_counts": np.ones(300), "perturbation": ["control"] * 200 + ["drug"] * 100})
    for nested in (False, True):
        one = subset.draw("random", obs[:200], 80, rng=np.random.default_rng(3), nested=nested)
        thin = subset.draw("depth", obs[:200], 80, rng=np.random.default_rng(3), nested=nested, umis=1)
        spiked = subset.draw("spikein_50", obs, 80, rng=np.random.default_rng(3), nested=nested)
        np.testing.assert_array_equal(one, thin)
        assert set(spiked[spiked < 200]) <= set(one)
        assert (spiked >= 200).sum() == 40


@pytest.mark.parametrize("options", [{"boxes": 0}, {"boxes": 97}, {"alpha": 2.0}, {"alpha": "x"}, {"engine": "foo"}])
def test_options_of_a_sketch_are_checked_before_anything_is_computed(write_design, small_design, options):
    sketch = {"geometric_sketching": {"options": options}}
    design = load_design(write_design(small_design | {"strategies": sketch}))
    with pytest.raises(DesignError, match=f"geometric_sketching at 50 %: .*{next(iter(options))}"):
        check_design(design, read_source_obs(design))


def test_nested_sizes_need_the_same_seeds(write_design, small_design):
    nested = {"strategies": {"random": {"nested": True}}, "seeds_by_size": {100.0: [7]}}
    with pytest.raises(DesignError, match=r"strategies\.random\.nested needs the same seeds at all sizes"):
        load_design(write_design(small_design | nested))


def test_an_evaluation_set_of_spike_ins_is_refused(write_design, spiked, small_cells):
    spiked["evaluation_sets"]["treated"] = {"where": {"batch": ["three"]}, "seen": "study unseen"}
    with pytest.raises(DesignError, match="20 of its 60 cells may be learned from"):
        assign_roles(small_cells.obs, load_design(write_design(spiked)))


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 40), nested=st.booleans())
@settings(max_examples=60, deadline=None)
def test_held_out_cells_are_never_drawn(embedded, seed, n, nested):
    """On the real cells: no draw holds a cell of a held-out type or lineage, of validation or evaluation."""
    obs, roles = embedded
    for strategy in ("random", "celltype_reweighted", "spikein_10", "spikein_50"):
        positions = offered(roles, strategy)
        given = {"nested": nested, "perturbed": roles[positions] == "spikein"}
        rows = subset.draw(strategy, obs.iloc[positions], n, rng=np.random.default_rng(seed), **given)
        drawn = obs.iloc[positions[rows]]
        treated = drawn["batch"] == "kang_stim"
        assert treated.sum() == round({"spikein_10": 0.1, "spikein_50": 0.5}.get(strategy, 0) * n)
        assert drawn.loc[treated, "cell_type"].isin(["CD4+ T cells", "CD8+ T cells", "T"]).all()
        assert drawn.loc[~treated, "batch"].isin(["kang_ctrl", "baron_lib1"]).all()
        assert set(roles[positions[rows]]) <= {"corpus", "spikein"}


@pytest.fixture(scope="module")
def embedded() -> tuple[pd.DataFrame, np.ndarray]:
    design = load_design("params/axes.yaml")
    obs = read_source_obs(design)
    roles = assign_roles(obs, design).to_numpy()
    assert (roles == "spikein").sum() == 3_224, "about 3,200 treated cells remain"
    return obs, roles


@pytest.fixture
def opened(write_design, small_design, tmp_path):
    """A store with corpus, split and one subset of each of two samplings; a function that reads what a run is given."""
    strategies = {"random": {}, "depth_20": {"strategy": "depth", "options": {"umis": 20}}}
    design = load_design(write_design(small_design | {"strategies": strategies}))
    cells = read_source(design)
    roles = assign_roles(cells.obs, design).to_numpy()
    opened = store.Store(design, tmp_path / "results", "10_subset")
    positions = np.flatnonzero(roles == "corpus")[:40]
    for name in strategies:
        with opened.artifact(store.subset_path(Run("", 1.0, name, 50.0, 0))).write() as path:
            corpus.write_positions(path, positions)
    with contextlib.ExitStack() as stack:

        def learned(family: str, name: str, percentage: float = 50.0) -> anndata.AnnData:
            run = Run(family, 1.0, name, percentage, 0)
            return stack.enter_context(training_cells(opened, cells, roles, run))

        yield learned, cells, roles, positions


def test_thinned_cells_have_fewer_counts_and_the_same_for_every_family(opened):
    learned, cells, roles, positions = opened
    whole = learned("pca", "random")
    thinned = learned("pca", "depth_20")
    again = learned("scvi", "depth_20")
    np.testing.assert_array_equal(whole.obs_names, cells.obs_names[positions])
    np.testing.assert_array_equal(whole.X.toarray(), cells.X[positions].toarray())
    np.testing.assert_array_equal(thinned.X.toarray(), again.X.toarray())
    assert (thinned.X.toarray() <= whole[thinned.obs_names].X.toarray()).all()
    median = np.median(cells.obs["total_counts"][roles == "corpus"])
    share = thinned.X.sum() / whole.X.sum()
    assert share == pytest.approx(20 / median, rel=0.1)


def test_cells_without_counts_after_thinning_are_left_out(opened):
    learned, cells, *_ = opened
    cells.obs["total_counts"] *= 30  # as if most counts lay in genes that are not read: under one is left per cell
    thinned = learned("pca", "depth_20")
    assert 0 < thinned.n_obs < 40
    assert (np.asarray(thinned.X.sum(axis=1)) > 0).all()


def test_untrained_models_are_given_the_corpus(opened):
    learned, *_ = opened
    assert learned("pca", "untrained", 0.0).n_obs == 96


def test_subsets_with_cells_that_may_not_be_learned_from_are_refused(opened):
    learned, _, roles, positions = opened
    roles[positions[:3]] = "evaluation"
    with pytest.raises(ValueError, match=r"random/p050.0/s00.parquet holds 3 cells that are not corpus"):
        learned("pca", "random")


def test_positions_are_written_small_and_read_back(tmp_path):
    positions = np.flatnonzero(np.random.default_rng(0).random(200_000) < 0.5)
    corpus.write_positions(tmp_path / "some.parquet", positions)
    read = pd.read_parquet(tmp_path / "some.parquet")["position"].to_numpy()
    np.testing.assert_array_equal(read, positions)
    assert read.dtype == np.int64
    assert (tmp_path / "some.parquet").stat().st_size < positions.nbytes / 10


def test_a_description_by_hand():
    obs = pd.DataFrame(
        {
            "cell_type": ["a", "a", "b", "c", "c"],
            "dataset_id": ["x", "x", "x", "y", "y"],
            "donor_id": ["d", "e", "d", "f", "f"],
            "total_counts": [10.0, 20, 30, 40, 1000],
        }
    )
    told = describe(obs, np.array([0, 1, 2, 3]), share=0.5)
    assert told["n_cells"] == told["n_unique"] == 4
    assert (told["n_donors"], told["n_datasets"], told["n_types"], told["umis_per_cell"]) == (3, 2, 3, 12.5)
    assert told["shannon"] == pytest.approx(1.5)
    assert told["inverse_simpson"] == pytest.approx(8 / 3)
    assert told["gini_simpson"] == pytest.approx(5 / 8)
    obs.loc[3, "donor_id"] = None
    assert np.isnan(describe(obs, np.arange(5))["n_donors"]), "unknown, not few"
    assert describe(obs, np.array([0, 0, 1]))["n_unique"] == 2
    bare = describe(obs[["cell_type"]], np.array([0, 2]))
    assert np.isnan([bare["n_donors"], bare["n_datasets"], bare["umis_per_cell"]]).all()
    assert bare["shannon"] == 1


def test_components_are_those_of_scikit_learn(small_cells):
    from sklearn.decomposition import PCA

    ours = principal_components(small_cells, n_components=5)
    logs = log_cp10k(raw_counts(small_cells)).toarray().astype(float)
    theirs = PCA(5, svd_solver="full").fit_transform(logs)
    ours = ours - ours.mean(axis=0)  # ours are not centred
    signs = np.sign((ours * theirs).sum(axis=0))
    np.testing.assert_allclose(ours * signs, theirs, atol=1e-4)


def test_scaled_expression_has_mean_zero_and_unit_variance_on_the_corpus_alone(small_cells):
    scaled = ScaledExpression(small_cells[:100])
    rows = scaled(small_cells[:100].copy())
    values = np.vstack([rows[start : start + 30] for start in range(0, 100, 30)])
    assert values.shape == rows.shape
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(values.std(axis=0), 1, atol=1e-5)
    assert abs(scaled(small_cells[100:].copy())[0:140].std(axis=0) - 1).max() > 0.01, "other cells, same scale"


def test_simulated_cells_are_a_source_like_any_other(write_design, small_design):
    simulation = {"n_cells": 600, "n_genes": 60, "n_datasets": 4, "n_types": 6, "donors_per_dataset": 2}
    small_design["corpus"] = {
        "source": "simulated",
        "simulation": simulation,
        "pretraining": {"dataset_id": ["dataset1", "dataset2"]},
    }
    small_design["held_out"]["where"] = {"dataset_id": ["dataset1"]}
    small_design["evaluation_sets"] = {"other": {"where": {"dataset_id": ["dataset3"]}, "seen": "study unseen"}}
    small_design["strategies"] = {"donors": {}, "donors_2": {"strategy": "donors", "options": {"k": 2}}}
    small_design["percentages"] = [10.0, 20.0]
    design = load_design(write_design(small_design))
    cells = read_source(design)
    assert cells.shape == (600, 60)
    np.testing.assert_array_equal(cells.obs["total_counts"], np.asarray(cells.X.sum(axis=1)).ravel())
    pd.testing.assert_frame_equal(cells.obs.drop(columns=["total_counts", "n_genes"]), corpus.read_source_obs(design))
    assert check_design(design, cells.obs) > 100
    other = design.model_copy(update={"corpus": design.corpus.model_copy(update={"simulation": Simulation()})})
    assert source_hash(design) != source_hash(other)
    small_design["corpus"]["source"] = "embedded"
    with pytest.raises(DesignError, match="simulation is given, but source = 'embedded'"):
        load_design(write_design(small_design))
