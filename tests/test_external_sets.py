"""Evaluation sets with a file of their own: what a path and a label are enough for, and what is refused."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from helpers import stages
from helpers.corpus import read_source, read_source_obs, source_hash
from helpers.corpus.copies import copied
from helpers.corpus.embedded import read_tables
from helpers.design import DesignError, load_design
from helpers.estimate import main
from helpers.models.counts import cell_keys
from helpers.responses import response_cells, response_tasks
from helpers.split import assign_roles, check_design, evaluation_table, left_out, offered

SPLIT = {"path": "a.h5ad", "perturbation": "drug", "context": "kind", "split": "both", "seen": "study unseen"}


@pytest.fixture
def own_cells() -> anndata.AnnData:
    """90 cells × 64 genes: those of the small corpus in another order, without four, and eight others."""
    rng = np.random.default_rng(5)
    obs = pd.DataFrame(
        {
            "kind": np.array(["a", "b", "c"])[np.arange(90) % 3],
            "plate": np.repeat(["p1", "p2", "p3"], 30),
            "drug": np.where(np.arange(90) % 2, "x", "none"),
        },
        index=[f"cell{number:02}" for number in range(90)],
    )
    names = rng.permutation([*(f"g{number}" for number in range(56)), *(f"other{number}" for number in range(8))])
    return anndata.AnnData(sp.csr_matrix(rng.poisson(2.0, (90, 64))), obs=obs, var=pd.DataFrame(index=names))


@pytest.fixture
def added(small_design, own_cells, write_design, tmp_path):
    """Write cells as a file, add it to the small design with these keys, and load the design."""

    def add(cells: anndata.AnnData = own_cells, **keys):
        path = tmp_path / "own.h5ad"
        cells.write_h5ad(path)
        entry = {"path": str(path), "label": "kind", "seen": "study unseen"} | keys
        sets = small_design["evaluation_sets"] | {"own": entry}
        return load_design(write_design(small_design | {"evaluation_sets": sets}))

    return add


def test_a_path_and_a_label_are_enough(added, small_cells, own_cells, tmp_path):
    design = added()
    cells = read_source(design)
    roles = assign_roles(cells.obs, design)
    table = evaluation_table(cells.obs, roles, design)
    part = table[table["dataset"] == "own"]
    assert check_design(design, read_source_obs(design)) == 96, "the corpus stays as it was"
    assert list(part["position"]) == list(range(240, 330))
    assert set(part["cell"]) == {f"own_{name}" for name in own_cells.obs_names}
    assert list(part["label"]) == list(own_cells.obs["kind"])
    assert part.groupby("label")["train"].sum().tolist() == [15, 15, 15]
    assert set(part["seen"]) == {"study unseen"}
    assert set(roles[240:]) == {"evaluation"}
    obs = cells.obs[240:]
    assert {column: set(obs[column]) for column in ("dataset_id", "batch")} == {"dataset_id": {"own"}, "batch": {"own"}}
    assert obs["donor_id"].isna().all()
    pd.testing.assert_series_equal(obs["cell_type"], obs["cell_type_harmonised"], check_names=False)
    pd.testing.assert_frame_equal(cells.obs.drop(columns=["total_counts", "n_genes"]), read_source_obs(design))
    np.testing.assert_array_equal(cells.obs["total_counts"], cells.X.toarray().sum(axis=1))
    np.testing.assert_array_equal(cells.X[:240].toarray(), small_cells.X.toarray())
    cells.write_h5ad(tmp_path / "back.h5ad")
    back = anndata.read_h5ad(tmp_path / "back.h5ad")
    assert (back.obs["tissue"].isna() == (np.arange(330) >= 240)).all()


def test_genes_are_matched_by_name_and_missing_ones_are_zero(added, small_cells, own_cells):
    cells = read_source(added())
    assert cells.var_names.equals(small_cells.var_names)
    shared = [f"g{number}" for number in range(56)]
    np.testing.assert_array_equal(cells[240:, shared].X.toarray(), own_cells[:, shared].X.toarray())
    assert cells[240:, ["g56", "g57", "g58", "g59"]].X.nnz == 0
    assert cells.uns["missing_genes"]["own"] == pytest.approx(4 / 60)


@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_matrix, sp.csr_matrix.toarray])
def test_a_file_is_read_in_pieces_however_it_is_stored(added, own_cells, monkeypatch, form):
    """Cells in the order of their names, not in the file's, some left out: the same whatever is read at once."""
    mixed = own_cells[np.random.default_rng(0).permutation(90)].copy()
    expected = read_source(added(own_cells, where={"plate": ["p1", "p3"]}))[240:]
    mixed.X = form(sp.csr_matrix(mixed.X))
    monkeypatch.setattr("helpers.corpus.row_blocks.MOST_CELLS", 7)
    monkeypatch.setattr("helpers.corpus.external.MOST_CELLS", 13)
    found = read_source(added(mixed, where={"plate": ["p1", "p3"]}))[240:]
    assert list(found.obs_names) == list(expected.obs_names)
    np.testing.assert_array_equal(found.X.toarray(), expected.X.toarray())


def test_gene_names_may_stand_in_a_column_and_counts_in_raw(added, own_cells):
    expected = read_source(added()).X.toarray()
    own_cells.var["symbol"] = own_cells.var_names
    own_cells.var_names = [f"ENSG{number}" for number in range(64)]
    with pytest.raises(ValueError, match=r"own\.path.*60 of the corpus's 60 genes \(100\.0%\).*there are: symbol"):
        read_source(added())
    own_cells.raw = own_cells.copy()
    own_cells.X = sp.csr_matrix(np.log1p(own_cells.X.toarray()))
    np.testing.assert_array_equal(read_source(added(genes="symbol")).X.toarray(), expected)
    with pytest.raises(ValueError, match=r"unknown column of var 'symbl' .did you mean 'symbol'"):
        read_source(added(genes="symbl"))


def test_too_few_genes_are_refused(added, own_cells):
    kept = own_cells.var_names.isin([f"g{number}" for number in range(47)])
    with pytest.raises(
        ValueError, match=r"evaluation_sets\.own.*13 of the corpus's 60 genes \(21\.7%\) .*g47, g48, g49"
    ):
        read_source(added(own_cells[:, kept].copy()))


def test_columns_of_the_file_become_those_of_the_corpus(added):
    obs = read_source_obs(added(batch="plate", perturbation="drug", context="kind", where={"plate": ["p2", "p3"]}))[
        240:
    ]
    assert len(obs) == 60
    assert set(obs["batch"]) == {"own_p2", "own_p3"}
    assert list(obs["perturbation"][:2]) == ["none", "x"]
    assert (obs["context"].astype(str) == obs["cell_type"].astype(str)).all()


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"label": "kin"}, "label: unknown column of obs 'kin' .did you mean 'kind'"),
        ({"batch": "library"}, "batch: unknown column of obs 'library'"),
        ({"where": {"plate": ["p4"]}}, r"where\.plate = 'p4' matches no cell; there are: p1, p2, p3"),
        ({"where": {"plates": ["p1"]}}, r"where\.plates: no such column"),
    ],
)
def test_columns_and_values_that_are_not_there_are_named(added, keys, told):
    with pytest.raises(ValueError, match=rf"evaluation_sets\.own\.path = .*own\.h5ad': {told}"):
        read_source_obs(added(**keys))


def test_missing_labels_are_refused_until_they_are_left_out(added, own_cells):
    own_cells.obs.loc[own_cells.obs["plate"] == "p1", "kind"] = None
    with pytest.raises(
        ValueError, match="label = 'kind' has no value for 30 of 90 cells: choose the others with where"
    ):
        read_source_obs(added())
    assert len(read_source(added(where={"plate": ["p2", "p3"]}))) == 300


def test_counts_of_a_file_are_checked(added, own_cells, monkeypatch):
    own_cells.X = own_cells.X.astype(np.float32)
    own_cells.X.data[:] = 0.5
    with pytest.raises(ValueError, match=r"evaluation_sets\.own\.path = .*X holds .*not integer.*no layer holds any"):
        read_source_obs(added())
    own_cells.layers["umis"] = sp.csr_matrix(np.full((90, 64), 2.0, dtype=np.float32))
    with pytest.raises(ValueError, match=r"counts are in the layer 'umis': say layer: umis"):
        read_source_obs(added())
    assert set(read_source(added(layer="umis"))[240:].X.data) == {2.0}
    with pytest.raises(ValueError, match=r"layer: unknown layer 'umi' .did you mean 'umis'"):
        read_source_obs(added(layer="umi"))
    monkeypatch.setattr("helpers.corpus.row_blocks.FEW_CELLS", 5)
    counts = own_cells.layers.pop("umis").toarray()
    counts[89, own_cells.var_names.get_loc("g3")] = -1
    own_cells.X = sp.csr_matrix(counts)
    read_source_obs(added())
    with pytest.raises(ValueError, match=r"X holds 1 values that are negative, the first -1 in cell 'own_cell89'"):
        read_source(added())
    own_cells.X = sp.csr_matrix((90, 64), dtype=np.float32)
    with pytest.raises(ValueError, match=r"evaluation_sets\.own\.path = .*90 cells have no counts"):
        read_source(added())


def test_duplicate_genes_cells_and_dataset_names_are_refused(added, own_cells, small_design, write_design):
    twice = own_cells.copy()
    twice.obs_names = ["cell00", *own_cells.obs_names[:-1]]
    with pytest.raises(ValueError, match="'own_cell00'"):
        read_source(added(twice))
    names = own_cells.var_names.to_numpy(dtype=object)
    names[names == "g1"] = "g0"
    own_cells.var_names = names
    with pytest.raises(ValueError, match=r"gene names \(g0\)"):
        read_source(added(own_cells))
    sets = {"two": added().evaluation_sets["own"].model_dump(exclude_none=True)}
    design = load_design(write_design(small_design | {"evaluation_sets": small_design["evaluation_sets"] | sets}))
    with pytest.raises(ValueError, match=r"evaluation_sets\.two.*the corpus has a dataset 'two', too: choose another"):
        read_source_obs(design)


def copies(small_cells: anndata.AnnData, own_cells: anndata.AnnData) -> anndata.AnnData:
    """The own cells, the last seven of which are cells of the pool under other names, without two genes."""
    shared = [f"g{number}" for number in range(56)]
    first, last = own_cells[:83, shared], small_cells[[0, 5, 59, 60, 61, 100, 119], shared]
    obs = own_cells.obs.copy()
    return anndata.AnnData(sp.vstack([first.X, last.X], format="csr"), obs=obs, var=pd.DataFrame(index=shared))


def test_cells_that_may_be_learned_from_are_refused_and_counted(added, small_cells, own_cells):
    told = r"evaluation_sets\.own.*seen = 'study unseen', but 7 of the 90 cells have the counts .*'own_cell83' first"
    with pytest.raises(ValueError, match=told):
        read_source(added(copies(small_cells, own_cells)))
    judged = own_cells.copy()  # cells of another set are no overlap: no model learns from them
    other = small_cells[130:140, [f"g{number}" for number in range(56)]]
    judged = anndata.AnnData(other.X, obs=judged.obs[:10], var=other.var)
    assert len(read_source(added(judged))) == 250


@pytest.fixture
def spiked(small_design, own_cells, write_design, tmp_path):
    """A design whose spike-ins are the own cells, and other parts of it."""

    def write(**parts):
        own_cells.write_h5ad(tmp_path / "treated.h5ad")
        spikeins = {"path": str(tmp_path / "treated.h5ad"), "label": "kind", "where": {"drug": ["x"]}}
        strategies = {"strategies": ["random", "spikein_50"], "percentages": [50.0]}
        return load_design(write_design(small_design | strategies | {"spikeins": spikeins} | parts))

    return write


def test_spike_ins_may_have_a_file_of_their_own(spiked, own_cells):
    design = spiked()
    cells = read_source(design)
    roles = assign_roles(cells.obs, design)
    assert check_design(design, cells.obs) == 96
    assert (roles == "spikein").sum() == 45 == len(cells) - 240
    assert (roles[240:] == "spikein").all()
    assert offered(roles.to_numpy(), "spikein_50").tolist()[-45:] == list(range(240, 285))
    assert offered(roles.to_numpy(), "random").max() < 240
    shared = [gene for gene in own_cells.var_names if gene in cells.var_names]
    treated = own_cells[own_cells.obs["drug"] == "x"]
    np.testing.assert_array_equal(cells[240:, shared].X.toarray(), treated[:, shared].X.toarray())
    plain = source_hash(design)
    own_cells.X[0, 0] += 1
    assert source_hash(spiked()) != plain


def test_cells_that_judge_must_not_be_spiked_in(spiked, small_design, own_cells, tmp_path):
    own_cells.write_h5ad(tmp_path / "own.h5ad")
    own = {"own": {"path": str(tmp_path / "own.h5ad"), "label": "kind", "seen": "study unseen"}}
    design = spiked(evaluation_sets=small_design["evaluation_sets"] | own)
    with pytest.raises(ValueError, match="45 of the 90 cells have the counts of cells that may be learned from"):
        read_source(design)


def test_a_missing_file_of_spike_ins_and_their_name_are_told(spiked, small_design, tmp_path, capsys):
    missing = {"path": "data/external/none.h5ad", "source": "python data/prepare.py replogle"}
    design = spiked(spikeins=missing)
    with pytest.raises(ValueError, match=r"spikeins\.path = 'data/external/none\.h5ad', from python data/prepare"):
        read_source_obs(design)
    assert main([str(tmp_path / "design.yaml"), "--estimate"]) == 0
    assert "Spike-ins are not at hand, so not checked" in capsys.readouterr().out
    taken = {"spikeins": {"where": {"dataset_id": ["two"]}, "seen": "study unseen"}}
    with pytest.raises(DesignError, match=r"evaluation_sets\.spikeins: the name means something else"):
        spiked(evaluation_sets=small_design["evaluation_sets"] | taken)


def test_cells_with_one_key_and_other_counts_are_no_copies():
    factors = cell_keys(sp.csr_array(np.eye(2))).astype(np.float32)  # a gene's share in the key
    one, other = (sp.csr_matrix([[factors[1], 0.0]]), sp.csr_matrix([[0.0, factors[0]]]))
    np.testing.assert_array_equal(cell_keys(one), cell_keys(other))
    assert not copied(one, other).any()
    assert copied(sp.vstack([other, one], format="csr"), one).tolist() == [False, True]
    split = sp.csr_matrix((np.array([1, factors[1] - 1, 0], dtype=np.float32), [0, 0, 1], [0, 3]), shape=(1, 2))
    assert copied(split, one).all(), "a count in two entries is one count"


def test_a_declared_overlap_is_accepted(added, small_cells, own_cells):
    design = added(copies(small_cells, own_cells), seen="transductive")
    cells = read_source(design)
    roles = assign_roles(cells.obs, design)
    assert (roles[240:] == "evaluation").all()
    assert (roles == "corpus").sum() == 96


def test_cells_of_a_file_match_nothing_that_does_not_name_them(added, small_cells, small_design, own_cells):
    """Pool, other sets and treated cells are those of the source, even if a file's cells have the same values."""
    small_design["corpus"]["pretraining"] = {"cell_type": ["a", "b"]}
    small_design["evaluation_sets"] = {
        "same": {"where": {"cell_type": ["a", "b"]}, "part": "evaluation", "seen": "in distribution"},
        "other": {"where": {"cell_type": ["c"]}, "seen": "tissue unseen"},
    }
    small_cells.obs["perturbation"] = np.where(np.arange(240) >= 180, "x", "none")
    small_cells.write_h5ad(small_design["corpus"]["path"])
    small_design["corpus"]["pretraining"]["perturbation"] = ["none"]
    for entry in small_design["evaluation_sets"].values():
        entry["where"]["perturbation"] = ["none"]
    small_design["evaluations"]["perturbation"] = {"control": {"perturbation": ["none"]}, "min_cells": 4}
    small_design["perturbation"] = {"where": {"perturbation": ["x"]}, "held_out": {"b": {"cell_type": ["b"]}}}
    small_design["strategies"] = ["random", "spikein_10"]
    small_design["held_out"]["evaluation"] = 0.6
    design = added(perturbation="drug", context="kind", control="none")
    obs = read_source_obs(design)
    roles = assign_roles(obs, design)
    assert (roles[240:] == "evaluation").all(), "no cell of a file is spiked in"
    table = evaluation_table(obs, roles, design)
    assert table.groupby("dataset").size().to_dict() == {"same": 24, "other": 60, "own": 90}
    found = response_cells(obs, roles, table, design)
    assert list(found) == ["b", "own"]
    assert found["b"].positions.max() < 240
    assert list(found["own"].positions) == list(range(240, 330))


def test_treatments_of_a_file_excuse_no_gaps_in_those_of_the_source(added, small_cells, small_design):
    small_cells.obs["perturbation"] = [None, *["none"] * 179, *["x"] * 60]
    small_cells.write_h5ad(small_design["corpus"]["path"])
    small_design["perturbation"] = {"where": {"perturbation": ["x"]}, "held_out": {"b": {"cell_type": ["b"]}}}
    with pytest.raises(ValueError, match=r"obs\['perturbation'\] is missing for 1 of 240 cells"):
        read_source_obs(added(perturbation="drug", context="kind"))


@pytest.fixture
def treated(added, small_design):
    """The responses of the own cells, by keys of their set and of the evaluation."""
    small_design["evaluations"]["perturbation"] = {"min_cells": 10}

    def read(**keys):
        design = added(**({"perturbation": "drug", "context": "kind", "control": "none"} | keys))
        cells = read_source(design)
        roles = assign_roles(cells.obs, design)
        found = response_cells(cells.obs, roles, evaluation_table(cells.obs, roles, design), design)
        return cells, found

    return read


def test_every_context_of_a_file_is_held_out_in_turn(treated, own_cells):
    cells, found = treated()
    assert found["own"].folds == (("a",), ("b",), ("c",))
    tasks = response_tasks(cells, np.arange(cells.n_obs), found, min_cells=10)
    assert [one.dataset for one in tasks] == ["own"] * 3
    for one, held in zip(tasks, "abc", strict=True):
        assert [where.context for where in one.task.training] == [held]
        taught = {where.context for others in one.task.training.values() for where in others}
        assert taught == set("abc") - {held}
        controls = cells.obs.iloc[one.positions]
        assert set(controls["perturbation"]) == {"none"}
        assert list(controls.index) == sorted(controls.index)
        assert len(controls) == 45
    few = response_tasks(cells[240:], np.arange(240, 330), treated(held_out=["b"])[1], min_cells=10)
    assert list(few[0].positions) == list(tasks[1].positions)
    assert len(few) == 1


def test_treatments_of_two_contexts_are_left_out_and_told(treated, added, own_cells, small_design):
    """x is measured in a, b, c; y in a and b alone, so that one context would be left to learn from; z in one."""
    small_design["evaluations"]["perturbation"]["min_cells"] = 6
    kinds, number = own_cells.obs["kind"].to_numpy(), np.arange(90) // 3 % 4
    own_cells.obs["drug"] = np.select([number == 0, number == 1, number == 2], ["none", "x", "y"], "z")
    own_cells.obs.loc[(kinds == "c") & (number == 2), "drug"] = "x"
    own_cells.obs.loc[(kinds != "a") & (number == 3), "drug"] = "none"
    keys = {"perturbation": "drug", "context": "kind", "control": "none"}
    cells, found = treated(held_out=["a"])
    assert found["own"].left_out == ("y", "z")
    assert set(found["own"].obs["perturbation"]) == {"none", "x"}
    one = response_tasks(cells, np.arange(cells.n_obs), found, min_cells=6)[0].task
    assert [tuple(where) for where in one.training] == [("a", "x")]
    assert treated(held_out=["c"])[1]["own"].left_out == (), "y is not held out with c"
    assert treated()[1]["own"].folds == (("a",), ("b",), ("c",))
    design = added(**keys)
    told = "own leaves out treatments that fewer than three contexts have enough cells of: y, z"
    assert left_out(design, read_source_obs(design)) == [told]


@pytest.fixture
def crossed(own_cells) -> anndata.AnnData:
    """The own cells under three drugs; every type gets each, or none."""
    own_cells.obs["drug"] = np.array(["none", "x", "y", "z", "none"])[np.arange(90) // 3 % 5]
    return own_cells


@pytest.mark.parametrize(
    ("keys", "held_out", "n_taught"),
    [
        ({"split": "perturbation"}, ["x", "y", "z"], [6, 6, 6]),
        ({"split": "perturbation", "held_out": ["y"]}, ["y"], [6]),
        ({"split": "both"}, [(kind, drug) for kind in "abc" for drug in "xyz"], [4] * 9),
        ({"split": "both", "held_out": [["b", "x"], ["c", "z"]]}, [("b", "x"), ("c", "z")], [4, 4]),
        ({"split": "context", "held_out": ["b"]}, ["b"], [6]),
    ],
)
def test_a_design_says_what_is_held_out(treated, crossed, small_design, keys, held_out, n_taught):
    small_design["evaluations"]["perturbation"]["min_cells"] = 4
    cells, found = treated(cells=crossed, **keys)
    assert found["own"].folds == tuple((one,) for one in held_out)
    tasks = response_tasks(cells, np.arange(cells.n_obs), found, min_cells=4)
    for one, held, n in zip(tasks, held_out, n_taught, strict=True):
        tested, taught = set(one.task.training), set().union(*one.task.training.values())
        assert len(taught) == n
        for field in ("context", "perturbation"):
            names = {getattr(condition, field) for condition in tested}
            if keys["split"] in (field, "both"):
                assert names == {held if isinstance(held, str) else held[field == "perturbation"]}
                assert not names & {getattr(condition, field) for condition in taught}
        assert set(cells.obs.iloc[one.positions]["perturbation"]) == {"none"}


def test_a_sample_of_a_file_is_all_that_is_judged(treated):
    _, found = treated(at_most=80)
    assert len(found["own"].positions) == 80


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"control": None}, r"evaluation_sets.own.control = 'control' marks no cell; there are: none, x"),
        ({"held_out": ["d"]}, r"evaluation_sets.own: d has 0 control cells .* and 0 treated ones"),
        ({"where": {"kind": ["a", "b"]}}, "contexts with enough cells are a, b; two beside those that are held out"),
        ({"at_most": 30}, "contexts with enough cells are none"),
        ({"split": "perturbation"}, r"\['x'\] leaves 0 training perturbation\(s\)"),
        ({"split": "both", "held_out": [["a", "y"]]}, "unknown held-out both 'a, y' .did you mean 'a, x'"),
    ],
)
def test_responses_that_cannot_be_judged_are_named(treated, keys, told):
    with pytest.raises(DesignError, match=told):
        treated(**keys)


def test_rare_types_and_one_cell_do_no_harm(added, own_cells):
    own_cells.obs["kind"] = ["once", *["a"] * 60, *["b"] * 29]
    obs = read_source_obs(design := added())
    table = evaluation_table(obs, assign_roles(obs, design), design)
    assert table.query("dataset == 'own' and label == 'once'").shape[0] == 1
    assert check_design(design, obs) == 96


def test_a_changed_file_or_key_makes_the_corpus_anew(added, own_cells):
    def stamp(**keys) -> str:
        design = added(own_cells, **keys)
        assert source_hash(design) != plain
        return stages.stamp(design, stages.Piece("00_corpus"))

    plain = source_hash(added().model_copy(update={"evaluation_sets": {}}))
    stamps = [stamp(), stamp(label="plate"), stamp(seen="transductive"), stamp(where={"plate": ["p1"]})]
    assert stamp(source="elsewhere") == stamps[0]
    own_cells.X = own_cells.X * 2
    stamps.append(stamp())
    assert len(set(stamps)) == 5


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"seen": "study unseen"}, "evaluation_sets.own: where is missing"),
        ({"path": "a.h5ad", "part": "evaluation", "seen": "study unseen"}, "part = 'evaluation'"),
        ({"where": {"batch": ["two"]}, "batch": "plate", "seen": "study unseen"}, "batch = 'plate' is of a file"),
        ({"where": {"batch": ["two"]}, "genes": "symbol", "seen": "study unseen"}, "genes = 'symbol' is of a file"),
        ({"path": "a.h5ad", "context": "line", "seen": "study unseen"}, "context = 'line' has no perturbation"),
        ({"path": "a.h5ad", "control": "none", "seen": "study unseen"}, "control = 'none' needs the columns"),
        ({"path": "a.h5ad", "held_out": ["a"], "seen": "study unseen"}, "held_out = ['a'] needs the columns"),
        ({"path": "a.h5ad", "split": "both", "seen": "study unseen"}, "split = 'both' needs the columns"),
        (SPLIT | {"held_out": ["a"]}, "held_out = 'a', but split = 'both' holds out pairs such as [a type, a drug]"),
        (SPLIT | {"held_out": [["a"]]}, "evaluation_sets.own.held_out = [['a']]: ['a'] is neither a name nor a pair"),
        (SPLIT | {"held_out": [3]}, "evaluation_sets.own.held_out = [3]: 3 is neither a name nor a pair"),
        (SPLIT | {"held_out": [["a", "x"], ["a", "x"]]}, "each entry may stand only once"),
        (SPLIT | {"split": "perturbation", "held_out": [["a", "x"]]}, "holds out names of a perturbation"),
        (SPLIT | {"split": "drug"}, "evaluation_sets.own.split = 'drug'"),
        ({"path": "", "seen": "study unseen"}, "evaluation_sets.own.path = ''"),
        ({"path": "a.h5ad", "lable": "kind", "seen": "study unseen"}, "did you mean 'label'"),
        ({"path": 3, "seen": "study unseen"}, "evaluation_sets.own.path = 3"),
    ],
)
def test_keys_that_do_not_go_together_are_named(small_design, write_design, entry, told):
    small_design["evaluation_sets"]["own"] = entry
    with pytest.raises(DesignError) as caught:
        load_design(write_design(small_design))
    assert told in str(caught.value)


def test_missing_and_unreadable_files_are_named(added, tmp_path):
    design = added(source="the shelf")
    (tmp_path / "own.h5ad").write_bytes(b"no hdf5")
    with pytest.raises(ValueError, match=r"evaluation_sets\.own\.path = .*is not a readable h5ad file"):
        read_source(design)
    (tmp_path / "own.h5ad").unlink()
    for read in (read_source, read_source_obs, source_hash):
        with pytest.raises(
            ValueError, match=r"missing files of evaluation sets, 1 in all:\n .*own\.h5ad', from the shelf"
        ):
            read(design)


def test_the_study_parses_and_names_its_missing_files(capsys, monkeypatch, tmp_path):
    design = load_design("params/paper.yaml")
    trained = [run for run in design.runs() if run.percentage]
    assert len(trained) == 400
    assert len(design.external) == 11, "periodontitis is judged twice"
    tahoe = [name for name in design.external if name.startswith("tahoe_")]
    assert set(design.evaluations.integration.sets) == {"kim_lung", "liver", "periodontitis", "renal"}
    assert len(tahoe) == 4
    assert all(entry.path == f"data/external/{name}.h5ad" and entry.source for name, entry in design.external.items())
    monkeypatch.setattr("helpers.corpus.external.project_path", lambda path: tmp_path / path)
    assert main(["params/paper.yaml"]) == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert "error: missing files of evaluation sets, 11 in all:" in told
    for name, entry in design.external.items():
        assert f"evaluation_sets.{name}.path = '{entry.path}', from {entry.source}" in told


def test_the_entries_of_the_study_fit_files_with_their_columns(monkeypatch, tmp_path):
    """What the design asks of the files is enough for its tasks: sets, batches, four drugs and untreated cells."""
    design, demo = load_design("params/paper.yaml"), load_design("params/demo.yaml")
    design = design.model_copy(update={"corpus": demo.corpus, "held_out": demo.held_out})
    names = read_tables(design.corpus.path)[1]
    genes = pd.DataFrame({"feature_name": names}, index=names)
    (tmp_path / "data" / "external").mkdir(parents=True)
    for name, entry in design.external.items():
        columns = {
            "cell_type": ["a", "b"] * 80,
            "donor_id": np.repeat(["d1", "d2"], 80),
            "sample": np.repeat(["s1", "s2"], 80),
            "drug": np.repeat([name, "DMSO_TF"], 80),
            "cell_name": np.resize(["LoVo", "PANC-1", "NCI-H2030", "BT-474"], 160),
        }
        obs = pd.DataFrame(columns, index=[f"c{number}" for number in range(160)])
        X = sp.csr_matrix((160, len(genes)), dtype=np.float32)
        anndata.AnnData(X, obs=obs, var=genes).write_h5ad(tmp_path / entry.path)
    monkeypatch.setattr("helpers.corpus.external.project_path", lambda path: tmp_path / path)
    obs = read_source_obs(design)
    assert check_design(design, obs) == 5655
    roles = assign_roles(obs, design)
    found = response_cells(obs, roles, evaluation_table(obs, roles, design), design)
    lines = {"dinaciclib": "NCI-H2030", "homoharringtonine": "LoVo", "ph797804": "BT-474", "tak901": "PANC-1"}
    assert {name: one.folds for name, one in found.items()} == {f"tahoe_{k}": ((v,),) for k, v in lines.items()}
    for name, one in found.items():
        assert set(obs.iloc[one.positions]["dataset_id"]) == {name}
        assert one.obs["perturbation"].value_counts().to_dict() == {name: 80, "DMSO_TF": 80}
    for name in design.evaluations.integration.sets:
        assert obs["batch"][obs["dataset_id"] == name].nunique() == 2
