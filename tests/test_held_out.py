"""Whole donors held out: drawn once, none in two roles, and checked again by whoever reads cells to learn from."""

import numpy as np
import pandas as pd
import pytest

from helpers.corpus import read_source_obs
from helpers.design import DesignError, load_design
from helpers.held_out import check_kept_apart, pool_roles
from helpers.split import assign_roles, check_design, evaluation_table

SIMULATED = {"seed": 3, "n_cells": 1_000, "n_genes": 60, "n_datasets": 5, "n_tissues": 2, "n_types": 4}


@pytest.fixture
def design(write_design, small_design):
    """A design on simulated cells of 25 donors, and other entries of `held_out`."""

    def write(held_out: object, **simulation: object):
        datasets = [f"dataset{number}" for number in range(1, 1 + (SIMULATED | simulation)["n_datasets"])]
        corpus = {"source": "simulated", "simulation": SIMULATED | simulation, "pretraining": {"dataset_id": datasets}}
        sets = {"other": {"where": {"dataset_id": datasets}, "part": "evaluation", "seen": "in distribution"}}
        return load_design(
            write_design(small_design | {"corpus": corpus, "held_out": held_out, "evaluation_sets": sets})
        )

    return write


def test_whole_donors_are_held_out_in_the_shares_of_the_preset(design):
    study = design({"preset": "sctab"})
    assert (study.held_out.by, study.held_out.validation, study.held_out.evaluation) == ("donor_id", 0.15, 0.15)
    obs = read_source_obs(study)
    roles = assign_roles(obs, study)
    of_donor = pd.crosstab(obs["donor_id"], roles) > 0
    assert (of_donor.sum(axis=1) == 1).all(), "each donor has one role"
    assert of_donor.sum().to_dict() == {"corpus": 17, "evaluation": 4, "validation": 4}, "of 25: 70, 15 and 15 %"
    check_design(study, obs)
    pd.testing.assert_series_equal(assign_roles(obs, study), roles)
    other = study.model_copy(update={"seed": 2})
    assert (assign_roles(obs, other) != roles).any()


def test_held_out_cells_are_those_of_the_pool_whatever_else_judges(design):
    study = design({"preset": "sctab"})
    pool = {"dataset_id": ["dataset1", "dataset2"]}
    sets = {
        "held_out": {"part": "evaluation", "seen": "in distribution"},
        "other": {"where": {"dataset_id": ["dataset3"]}, "seen": "study unseen"},
    }
    values = study.model_dump(mode="json", exclude_unset=True)
    corpus = values["corpus"] | {"pretraining": pool}
    study = type(study).model_validate(values | {"corpus": corpus, "evaluation_sets": sets})
    obs = read_source_obs(study)
    roles = assign_roles(obs, study)
    table = evaluation_table(obs, roles, study)
    of_set = table.groupby("dataset")["position"].agg(lambda rows: set(obs["dataset_id"].iloc[rows]))
    assert of_set["held_out"] <= {"dataset1", "dataset2"}
    assert of_set["other"] == {"dataset3"}
    held_out = table.loc[table["dataset"] == "held_out", "position"]
    assert set(obs["donor_id"].iloc[held_out]).isdisjoint(obs.loc[roles == "corpus", "donor_id"])


def test_donors_of_some_cells_are_held_out_with_all_their_cells(design):
    study = design({"by": "donor_id", "where": {"cell_type": ["type1"]}, "validation": 0.2, "evaluation": 0.2})
    obs = read_source_obs(study)
    roles = pool_roles(obs, study)
    held = set(obs.loc[roles != "corpus", "donor_id"])
    assert held <= set(obs.loc[obs["cell_type"] == "type1", "donor_id"])
    assert held.isdisjoint(obs.loc[roles == "corpus", "donor_id"])


def test_few_cells_stop_the_training_and_the_others_of_their_donors_are_unused(design):
    study = design({"preset": "sctab", "validation_at_most": 30})
    obs = read_source_obs(study)
    roles = pool_roles(obs, study)
    assert (roles == "validation").sum() == 30
    everything = pool_roles(obs, design({"preset": "sctab"}))
    assert (everything[roles == "unused"] == "validation").all()
    assert set(obs.loc[roles == "unused", "donor_id"]).isdisjoint(obs.loc[roles == "corpus", "donor_id"])


@pytest.mark.parametrize(
    ("held_out", "told"),
    [
        ({"validation": 0.1, "evaluation": 0.1}, "where or by is missing"),
        ({"preset": ["sctab"]}, "unknown preset"),
        ({"preset": "sctabs"}, "unknown preset 'sctabs' .did you mean 'sctab'"),
        ({"preset": "sctab", "validation": 0.9}, r"validation \+ evaluation = 1\.05 leaves nothing"),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(design, held_out, told):
    with pytest.raises(DesignError, match=told):
        design(held_out)


def test_columns_that_are_missing_and_shares_of_no_donor_are_refused(design):
    with pytest.raises(ValueError, match="'donor'"):
        read_source_obs(design({"by": "donor", "validation": 0.1, "evaluation": 0.1}))
    few = design({"by": "dataset_id", "validation": 0.05, "evaluation": 0.2})
    with pytest.raises(DesignError, match=r"held_out\.validation = 0\.05 of 5 values of 'dataset_id' holds out none"):
        assign_roles(read_source_obs(few), few)
    rest = design({"by": "dataset_id", "validation": 0.4, "evaluation": 0.59}, n_datasets=2)
    with pytest.raises(DesignError, match="all that are left"):
        assign_roles(read_source_obs(rest), rest)


def test_a_missing_donor_is_refused_by_name(write_design, small_design):
    study = load_design(write_design(small_design | {"held_out": {"preset": "sctab"}}))
    with pytest.raises(ValueError, match=r"donor_id.*missing for 240 of 240 cells"):
        read_source_obs(study)


def test_a_donor_in_two_roles_is_found_when_cells_are_read(design, tmp_path):
    study = design({"preset": "sctab"})
    obs = read_source_obs(study)
    roles = assign_roles(obs, study).to_numpy()
    check_kept_apart(obs, roles, np.flatnonzero(roles == "corpus"), study)
    leaked = roles.copy()
    leaked[np.flatnonzero(roles == "validation")[0]] = "corpus"
    with pytest.raises(ValueError, match="1 values of 'donor_id' are held out and learned from"):
        check_kept_apart(obs, leaked, np.flatnonzero(leaked == "corpus"), study)
