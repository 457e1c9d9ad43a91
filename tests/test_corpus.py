"""What is refused before anything is computed from cells, and who lands in which role."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from helpers.corpus import read_source, read_source_obs
from helpers.corpus.checks import check_counts, check_genes, check_obs
from helpers.design import DesignError, load_design
from helpers.split import assign_roles, evaluation_table, half_split, select_genes


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.5, "not integer.* 0.5 in cell 1"),
        (-1.0, "negative.* -1 in cell 1"),
        (np.nan, "NaN or infinite"),
        (np.inf, "NaN or infinite"),
    ],
)
def test_counts_must_be_non_negative_integers(value, told):
    with pytest.raises(ValueError, match=told):
        check_counts(sp.csr_matrix(np.array([[1.0, 2.0], [value, 3.0]])))


def test_cells_without_counts_are_refused():
    with pytest.raises(ValueError, match="1 cells have no counts, the first is cell 1"):
        check_counts(sp.csr_matrix(np.array([[1.0, 2.0], [0.0, 0.0]])))


def test_duplicate_genes_are_named():
    with pytest.raises(ValueError, match=r"1 duplicate gene names \(b\)"):
        check_genes(pd.Index(["a", "b", "b"]))


@pytest.mark.parametrize("column", ["cell_type", "batch"])
def test_missing_obs_columns_are_named(column):
    obs = pd.DataFrame({"cell_type": ["a"], "batch": ["b"]}, index=["x"]).drop(columns=column)
    with pytest.raises(ValueError, match=f"lacks the column '{column}'; it has"):
        check_obs(obs, ["cell_type", "batch"])


def test_duplicate_cells_are_refused():
    with pytest.raises(ValueError, match=r"1 duplicate cell names, e\.g\. 'x'"):
        check_obs(pd.DataFrame({"batch": ["a", "a"]}, index=["x", "x"]), ["batch"])


def test_a_source_of_normalised_values_is_refused(write_design, small_design, small_cells):
    small_cells.X = sp.csr_matrix(np.log1p(small_cells.X.toarray()))
    small_cells.write_h5ad(small_design["corpus"]["path"])
    with pytest.raises(ValueError, match="not integer"):
        read_source(load_design(write_design(small_design)))


def test_unreadable_and_absent_sources_are_named(write_design, small_design, tmp_path):
    (tmp_path / "cells.h5ad").write_bytes(b"no hdf5")
    with pytest.raises(ValueError, match="not a readable h5ad"):
        read_source(load_design(write_design(small_design)))
    small_design["corpus"]["path"] = str(tmp_path / "none.h5ad")
    with pytest.raises(ValueError, match="no such file"):
        read_source(load_design(write_design(small_design)))


def test_a_source_that_is_no_name_is_refused(write_design, small_design):
    small_design["corpus"]["source"] = ["census"]
    with pytest.raises(DesignError, match=r"corpus\.source = \['census'\]: input should be 'embedded'"):
        load_design(write_design(small_design))


def test_nothing_evaluated_on_is_learned_from(write_design, small_design, small_cells):
    design = load_design(write_design(small_design))
    roles = assign_roles(small_cells.obs, design)
    assert roles.value_counts().to_dict() == {"corpus": 96, "evaluation": 18 + 60, "unused": 60, "validation": 6}
    table = evaluation_table(small_cells.obs, roles, design)
    judged = set(table["position"])
    assert not judged & set(np.flatnonzero(roles.isin(["corpus", "validation"])))
    assert table.groupby("dataset")["seen"].first().to_dict() == {"same": "in distribution", "other": "study unseen"}
    pd.testing.assert_series_equal(roles, assign_roles(small_cells.obs, design))


def test_halves_are_stratified_and_seeded():
    labels = np.repeat(["a", "b", "c"], [10, 7, 1])
    train = half_split(labels, rng=np.random.default_rng(0))
    assert train[labels == "a"].sum() == 5
    assert train[labels == "b"].sum() in (3, 4)
    np.testing.assert_array_equal(train, half_split(labels, rng=np.random.default_rng(0)))
    odd = [half_split(labels, rng=np.random.default_rng(seed))[labels == "c"].sum() for seed in range(20)]
    assert set(odd) == {0, 1}


def test_gene_space_is_the_variable_genes_of_the_corpus(small_cells):
    flat = small_cells.X.toarray()
    flat[:, 30:] = 2  # the same in every cell: never variable
    cells = anndata.AnnData(sp.csr_matrix(flat), obs=small_cells.obs, var=small_cells.var)
    genes = select_genes(cells, 20)
    assert genes["selected"].sum() == 20
    assert not genes["selected"][30:].any()
    assert select_genes(cells, None)["selected"].all()
    with pytest.raises(ValueError, match=r"corpus\.genes = 61"):
        select_genes(cells, 61)


def test_the_order_of_a_file_decides_nothing(write_design, small_design, small_cells):
    small_design["evaluation_sets"]["other"]["at_most"] = 30
    design = load_design(write_design(small_design))
    tables = []
    for order in (np.arange(240), np.random.default_rng(0).permutation(240)):
        small_cells[order].copy().write_h5ad(small_design["corpus"]["path"])
        cells = read_source(design)
        roles = assign_roles(cells.obs, design)
        pd.testing.assert_frame_equal(cells.obs.drop(columns=["total_counts", "n_genes"]), read_source_obs(design))
        tables.append((cells, roles, evaluation_table(cells.obs, roles, design)))
    (cells, roles, sets), (shuffled, same_roles, same_sets) = tables
    assert list(shuffled.obs_names) == list(cells.obs_names)
    np.testing.assert_array_equal(shuffled.X.toarray(), cells.X.toarray())
    pd.testing.assert_series_equal(same_roles, roles)
    pd.testing.assert_frame_equal(same_sets, sets)
    assert len(set(sets.loc[sets["dataset"] == "other", "train"])) == 2
