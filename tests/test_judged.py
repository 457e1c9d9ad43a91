"""What a design wants judged is checked against its cells: types, batches, cells that stand twice."""

import anndata
import numpy as np
import pytest
import scipy.sparse as sp

from helpers import stages
from helpers.corpus import read_source, read_source_obs
from helpers.corpus.copies import repeated, same_cells
from helpers.design import DesignError, load_design
from helpers.estimate import main
from helpers.joined import transfer_cells
from helpers.split import assign_roles, check_cells, check_design, evaluation_table, left_out


@pytest.fixture
def check(small_design, small_cells, write_design):
    """Write cells and design, and check one against the other as the first notebook does."""

    def run(cells: anndata.AnnData = small_cells) -> int:
        cells.write_h5ad(small_design["corpus"]["path"])
        design = load_design(write_design(small_design))
        return check_cells(design, read_source(design))

    return run


def transfer(**keys) -> dict:
    return {"across": {"train": "same", "test": "other"} | keys}


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"test": "same"}, "transfer.across.test = 'same' is train, too: name two sets"),
        ({"label": "kind"}, "transfer.across: no column 'kind'; obs has: dataset_id, batch, tissue"),
        ({"label": "donor_id"}, "no type by 'donor_id' is in both sets; same has none; other has none: name another"),
        ({"label": "batch"}, "no type by 'batch' is in both sets; same has one_a; other has two: name another label"),
        ({"test": "again"}, "transfer.across: 18 cells are in same and in again: a cell cannot do both"),
    ],
)
def test_transfers_that_cannot_be_judged_are_refused(check, small_design, keys, told):
    small_design["evaluation_sets"]["again"] = small_design["evaluation_sets"]["same"]
    small_design["evaluations"]["classification"]["transfer"] = transfer(**keys)
    with pytest.raises(DesignError, match=told):
        check()


def test_cells_without_a_label_stay_out_of_a_transfer_and_are_told(check, small_design, small_cells, write_design):
    labels = small_cells.obs["cell_type"].astype(object)
    labels[[f"cell{number}" for number in (120, 121, 122)]] = None  # of the set that tests
    labels["cell000"] = None  # may be of the set that teaches
    small_cells.obs["kind"] = labels.replace({"c": "d"}).where(small_cells.obs["dataset_id"] == "two", labels)
    small_design["evaluations"]["classification"]["transfer"] = transfer(label="kind")
    assert check() == 96
    design = load_design(write_design(small_design))
    obs = read_source_obs(design)
    sets = evaluation_table(obs, assign_roles(obs, design), design)
    part = transfer_cells(obs, sets, "across", design.evaluations.classification.transfer["across"])
    assert set(part["label"]) == {"a", "b"}, "neither 'nan' nor what one set alone has"
    tested = part[~part["train"]]
    assert len(tested) == 60 - 20 - 2
    assert (tested["label"].to_numpy() == obs.loc[tested["cell"], "kind"].to_numpy()).all()
    told = f"transfer.across leaves out {78 - len(part)} of 78 cells: without a type by 'kind' that both sets have"
    assert told in left_out(design, obs)[0]
    assert main([str(write_design(small_design))]) == 0


def test_a_transfer_needs_as_many_cells_as_a_set(check, small_design, small_cells):
    rare = np.where(np.arange(240) % 20 == 0, "a", small_cells.obs["dataset_id"])
    small_cells.obs["kind"] = rare
    small_design["evaluations"]["classification"]["transfer"] = transfer(label="kind")
    with pytest.raises(DesignError, match="the commonest type of across has 3 cells: use that or fewer"):
        check()


def test_a_set_of_one_type_cannot_teach_heads(check, small_design, small_cells):
    small_cells.obs.loc[small_cells.obs["dataset_id"] == "two", "cell_type"] = "a"
    assert check() == 96
    small_design["evaluations"]["finetuning"] = {"few_shot": [5]}
    with pytest.raises(DesignError, match=r"evaluation_sets\.other\.label = 'cell_type': .* teaches has 1 type"):
        check()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"batch": "cell_type"}, "no type by 'cell_type' has cells in two batches by 'cell_type', .* 'mixing: none'"),
        ({"batch": "plate"}, "integration.sets.both: no column 'plate'; obs has"),
        ({"batch": "tissue"}, "its cells have one tissue, 'blood'; at least 2 are needed"),
        ({"label": "tissue"}, "its cells have one tissue, 'blood'; at least 2 are needed"),
        ({"batch": "donor_id"}, "78 of its cells have no donor_id"),
        ({"sets": ["few"], "batch": "well"}, "integration.sets.both has 12 cells; at least 15 are needed"),
    ],
)
def test_sets_whose_batches_cannot_be_judged_are_refused(check, small_design, small_cells, change, told):
    small_cells.obs["well"] = np.resize(["w1", "w1", "w1", "w2", "w2", "w2"], 240)
    small_design["evaluation_sets"]["few"] = small_design["evaluation_sets"]["other"] | {"at_most": 12}
    small_design["evaluations"]["classification"] |= {"min_cells": 2, "headline_min_cells": 2}
    entry = {"sets": ["same", "other"], "batch": "dataset_id"}
    small_design["evaluations"]["integration"] = {"sets": {"both": entry}}
    assert check() == 96
    small_design["evaluations"]["integration"] = {"sets": {"both": entry | change}}
    with pytest.raises(DesignError, match=told):
        check()


def with_copies(cells: anndata.AnnData, rows: slice, name: str) -> anndata.AnnData:
    """Cells, and some of them once more under other names in a dataset of their own."""
    copies = cells[rows].copy()
    copies.obs_names = [f"{one}_again" for one in copies.obs_names]
    copies.obs["dataset_id"] = name
    copies.obs["batch"] = name
    return anndata.concat([cells, copies])


def test_a_set_that_holds_its_cells_twice_is_refused(check, small_cells):
    told = r"evaluation_sets.other: 5 of its 65 cells have the counts of another of its cells, 'cell120_again' first"
    with pytest.raises(DesignError, match=told):
        check(with_copies(small_cells, slice(120, 125), "two"))
    assert check(with_copies(small_cells, slice(180, 240), "three")) == 96, "cells that judge nothing may"


def test_treated_cells_that_stand_twice_are_refused(check, small_cells, small_design):
    small_design["perturbation"] = {"where": {"dataset_id": ["three"]}, "held_out": {"c": {"cell_type": ["c"]}}}
    small_design["evaluations"]["perturbation"] = {"control": {"dataset_id": ["two"]}, "min_cells": 10}
    assert check() == 96
    with pytest.raises(DesignError, match=r"perturbation\.held_out\.c: 60 of its 180 cells have the counts of another"):
        check(with_copies(small_cells, slice(180, 240), "three"))


def test_a_transfer_to_copies_of_the_cells_that_teach_is_refused(check, small_cells, small_design):
    cells = with_copies(small_cells, slice(120, 180), "copy")
    counts = cells.X.toarray()
    counts[240:, :4] = 0  # a file that lacks four genes
    cells.X = sp.csr_matrix(counts)
    small_design["evaluation_sets"]["copy"] = {"where": {"dataset_id": ["copy"]}, "seen": "study unseen"}
    assert check(cells) == 96
    small_design["evaluations"]["classification"]["transfer"] = transfer(train="other", test="copy")
    told = "transfer.across: 60 of the 60 cells to test have the counts of cells that teach, 'cell120_again' first"
    with pytest.raises(DesignError, match=told):
        check(cells)


def test_nearly_empty_cells_may_agree_by_chance():
    counts = np.zeros((6, 40), dtype=np.float32)
    counts[:3, :19], counts[3:, :20] = 1, 1
    assert repeated(sp.csr_matrix(counts)).tolist() == [False] * 4 + [True] * 2
    assert same_cells(sp.csr_matrix(counts), sp.csr_matrix(counts[[0, 5]])).tolist() == [False] * 3 + [True] * 3


def test_no_cell_of_the_project_stands_twice():
    design = load_design("params/demo.yaml")
    cells = read_source(design)
    assert not repeated(sp.csr_matrix(cells.X)).any()
    assert check_cells(design, cells) == 5655 == check_design(design, cells.obs)


def test_a_notebook_that_failed_in_part_is_tried_again(small_design, write_design, tmp_path, monkeypatch):
    design = load_design(write_design(small_design))
    monkeypatch.setattr(stages, "outputs", lambda *given: [])  # nothing is missing
    folder = tmp_path / "results" / "notebooks"
    folder.mkdir(parents=True)
    for name in ("30_classify--pca--random", "34_heldout_loss--pca--random"):
        (folder / f"{name}.ipynb").write_text("{}")
    (folder / "30_classify--pca--random.failed.ipynb").write_text("{}")
    told = stages.repair(design, tmp_path / "results")
    assert told == ["30_classify--pca--random failed in part: it is tried again"]
    assert not (folder / "30_classify--pca--random.ipynb").exists()
    assert (folder / "34_heldout_loss--pca--random.ipynb").exists()
