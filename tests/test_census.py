"""Cells of a SOMA laid out like the Census: the same cells, labels, genes and counts as AnnData and pandas choose."""

import shutil
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp
import tiledbsoma
import tiledbsoma.io
from pydantic import ValidationError

from helpers.corpus import census
from helpers.corpus.census import CensusSource, open_source
from helpers.corpus.ontology import read_obo
from helpers.design_sources import Census

# Type -> types right above it. `line cell` has as many above as `lymphocyte`, but not the native cell.
ABOVE = {
    "cell": [],
    "native cell": ["cell"],
    "cultured cell": ["cell"],
    "passaged cell": ["cultured cell"],
    "line cell": ["passaged cell"],
    "blood cell": ["native cell"],
    "presenting cell": ["native cell"],
    "lymphocyte": ["blood cell"],
    "B cell": ["lymphocyte", "presenting cell"],
    "T cell": ["lymphocyte"],
    "CD4-positive, alpha-beta T cell": ["T cell"],
    "rare cell": ["lymphocyte"],
    "lonely cell": ["lymphocyte"],
}
OBO = """format-version: 1.2
data-version: cl/releases/2023-05-22/cl-simple.owl

[Term]
id: CL:9
name: obsolete blood cell
alt_id: CL:99
is_a: CL:0 ! cell
is_obsolete: true
replaced_by: CL:5
"""
PROTOCOLS = ["10x 3' v3", "10x 5' v2", "Smart-seq2"]


def above(name: str) -> set[str]:
    """All types above one."""
    return set(ABOVE[name]).union(*(above(parent) for parent in ABOVE[name]))


@pytest.fixture(scope="module")
def ontology(tmp_path_factory) -> str:
    """The types as OBO, with what must not count: part_of, develops_from, qualifiers, comments and an obsolete term."""
    ids = {name: f"CL:{number}" for number, name in enumerate(ABOVE)}
    stanzas = [OBO.replace("CL:9\n", "CL:900\n")]
    for name, parents in ABOVE.items():
        lines = ["[Term]", f"id: {ids[name]}", f"name: {name}", 'def: "is_a: CL:0 in words" [PMID:1]', "comment: "]
        lines += ["alt_id: CL:1000"] * (name == "blood cell")
        named = [ids[parent] if parent != "blood cell" else "CL:1000" for parent in parents]
        lines += [f'is_a: {one} {{is_inferred="true"}} ! a comment' for one in named]
        lines += ["relationship: part_of CL:3 ! passaged cell", "relationship: develops_from CL:4 ! line cell"]
        stanzas.append("\n".join(lines) + "\n")
    stanzas.append("[Typedef]\nid: part_of\nname: part of\nis_a: overlaps\n")
    path = tmp_path_factory.mktemp("ontology") / "cl-simple.obo"
    path.write_text("\n".join(stanzas))
    return str(path)


@pytest.fixture(scope="module")
def cells() -> anndata.AnnData:
    """600 cells × 50 genes with the Census's columns; soma_joinid with gaps, rows and genes in another order."""
    rng = np.random.default_rng(0)
    n, n_genes = 600, 50
    types = [*ABOVE, "unknown"]
    weights = np.array([2, 2, 2, 2, 8, 8, 2, 8, 8, 8, 8, 1, 4, 3])
    kind = rng.choice(types, n, p=weights / weights.sum())
    obs = pd.DataFrame(
        {
            "soma_joinid": rng.permutation(np.sort(rng.choice(5 * n, n, replace=False))),
            "dataset_id": rng.choice(["d1", "d2", "d3"], n),
            "assay": rng.choice(PROTOCOLS, n, p=[0.6, 0.3, 0.1]),
            "cell_type": kind,
            "donor_id": rng.choice(["1", "2", "pooled"], n),
            "is_primary_data": rng.random(n) < 0.8,
            "tissue": rng.choice(["blood", "lung left lobe", "lung"], n),
            "age": rng.integers(20, 90, n),
        }
    )
    obs.loc[kind == "lonely cell", ["dataset_id", "donor_id"]] = ["d1", "1"]
    obs.loc[(kind == "T cell") & (obs["dataset_id"] == "d3"), "donor_id"] = "1"
    rare = np.arange((kind == "rare cell").sum())
    obs.loc[kind == "rare cell", "dataset_id"] = np.array(["d1", "d2", "d3"])[rare % 3]
    obs.loc[kind == "rare cell", "donor_id"] = np.array(["1", "2", "pooled"])[rare // 3 % 3]
    obs.loc[kind == "rare cell", ["assay", "is_primary_data"]] = [PROTOCOLS[0], True]
    obs["tissue_general"] = obs["tissue"].str.replace(" left lobe", "")
    var = pd.DataFrame(
        {
            "soma_joinid": rng.permutation(np.sort(rng.choice(80, n_genes, replace=False))),
            "feature_id": [f"ENSG{number:03}" for number in range(n_genes)],
            "feature_name": [f"G{number}" for number in range(n_genes - 1)] + ["G0"],
            "feature_length": rng.integers(200, 9_000, n_genes),
        }
    )
    counts = sp.csr_matrix(rng.poisson(0.4, (n, n_genes)) * rng.integers(1, 300, (n, 1)), dtype=np.float32)
    return anndata.AnnData(
        counts, obs=obs.set_index(obs.index.astype(str)), var=var.set_index("feature_id", drop=False)
    )


def write_soma(folder: Path, cells: anndata.AnnData, *, dictionaries: bool = True) -> Path:
    """Write cells as the Census is written, counts in two goes; text as dictionaries, or plain and in its own order."""
    obs = cells.obs.astype({"dataset_id": "category", "assay": "category"}) if dictionaries else cells.obs

    def write_table(parent, name: str, table: pd.DataFrame, first: str) -> None:
        arrow = pa.Table.from_pandas(table, preserve_index=False)
        bounds, index = [0, int(table["soma_joinid"].max())], ["soma_joinid"]
        domain, index = ([bounds], index) if dictionaries else ([["", ""], bounds], [first, *index])
        written = parent.add_new_dataframe(name, schema=arrow.schema, domain=domain, index_column_names=index)
        written.close()
        for part in np.array_split(np.arange(len(table)), 3):
            with tiledbsoma.open(written.uri, "w") as again:  # see the test of lost text
                again.write(arrow.take(part))

    rows, columns = (frame["soma_joinid"].to_numpy() for frame in (cells.obs, cells.var))
    shape = (int(rows.max()) + 1, int(columns.max()) + 1)
    with tiledbsoma.Collection.create(str(folder)) as root:
        organisms = root.add_new_collection("census_data")
        experiment = organisms.add_new_collection("homo_sapiens", tiledbsoma.Experiment)
        write_table(experiment, "obs", obs, "cell_type")
        measurement = experiment.add_new_collection("ms").add_new_collection("RNA", tiledbsoma.Measurement)
        write_table(measurement, "var", cells.var, "feature_id")
        layers = measurement.add_new_collection("X")
        layers.add_new_dense_ndarray("dense", type=pa.float32(), shape=(2, 2)).close()
        layer = layers.add_new_sparse_ndarray("raw", type=pa.float32(), shape=shape)
        layer.close()
        for part in np.array_split(np.arange(cells.n_obs), 2):
            counts = cells.X[part].tocoo()
            place = np.column_stack([rows[part][counts.row], columns[counts.col]])
            with tiledbsoma.open(layer.uri, "w") as array:
                array.write(pa.SparseCOOTensor.from_numpy(counts.data[:, None], place, shape=shape))
    return folder


@pytest.fixture(scope="module")
def soma(cells, tmp_path_factory) -> Path:
    return write_soma(tmp_path_factory.mktemp("a census") / "soma", cells)


RULES = {"min_cells": 20, "min_donors": 5, "min_ancestors": 3}
WHERE = {"is_primary_data": [True], "assay": PROTOCOLS[:2]}


@pytest.fixture
def settings(soma, ontology):
    def make(**keys) -> Census:
        given = {"uri": str(soma), "where": WHERE, "ontology": ontology, "genes": None, "var_column": "feature_id"}
        return Census.model_validate(given | RULES | keys)

    return make


def chosen(cells: anndata.AnnData, given: Census) -> anndata.AnnData:
    """The same choice with pandas alone, in the order of soma_joinid."""
    obs = cells.obs.copy()
    obs["donor"] = obs["dataset_id"] + "_" + obs["donor_id"]
    for column, values in given.where.items():
        obs = obs[obs[column].isin(values)]
    kept = []
    for name, group in obs.groupby("cell_type", observed=True):
        placed = given.ontology is None or (
            name in ABOVE and given.descends_from in above(name) and len(above(name)) >= given.min_ancestors
        )
        if placed and len(group) >= given.min_cells and group["donor"].nunique() >= given.min_donors:
            kept.append(name)
    obs = obs[obs["cell_type"].isin(kept)].sort_values("soma_joinid")
    found = cells[obs.index, np.argsort(cells.var["soma_joinid"])].copy()
    found.obs["donor"] = obs["donor"]
    return found


def read(source: CensusSource, start: int = 0) -> np.ndarray:
    blocks = list(source.blocks(start))
    assert all(isinstance(block, sp.csr_array) and block.dtype == np.float32 for block in blocks)
    assert all(block.has_canonical_format for block in blocks)
    return sp.vstack(blocks).toarray() if blocks else np.zeros((0, len(source.genes)), np.float32)


def check(source: CensusSource, expected: anndata.AnnData) -> None:
    assert list(source.obs.index) == [f"{number:09}" for number in expected.obs["soma_joinid"]]
    names = {"batch": "dataset_id", "donor_id": "donor", "tissue": "tissue_general"}
    assert list(source.obs) == ["dataset_id", "cell_type", "batch", "donor_id", "tissue", "assay"]
    for column in source.obs:
        values = source.obs[column]
        assert list(values) == list(expected.obs[names.get(column, column)])
        assert list(values.cat.categories) == sorted(set(values))
    np.testing.assert_array_equal(read(source), expected.X.toarray())


CHOICES = [
    {},
    {"min_cells": 0, "min_donors": 0, "min_ancestors": 0},
    {"min_cells": 40},
    {"min_donors": 6},
    {"min_ancestors": 4},
    {"descends_from": "cell", "min_ancestors": 3},
    {"descends_from": "blood cell"},
    {"ontology": None},
    {"ontology": None, "min_cells": 0, "min_donors": 0},
    {"where": {}},
    {"where": {"assay": ["Smart-seq2"], "is_primary_data": [True, False]}, "min_cells": 3, "min_donors": 2},
    {"where": {"age": list(range(20, 50)), "tissue": ["lung", "lung left lobe"]}, "min_cells": 10},
]


@pytest.mark.parametrize("keys", CHOICES, ids=str)
def test_cells_labels_and_counts_are_those_that_pandas_chooses(settings, cells, keys):
    given = settings(**keys)
    expected = chosen(cells, given)
    assert 0 < expected.n_obs < cells.n_obs or not given.where or given.ontology is None
    source = open_source(given)
    check(source, expected)
    assert list(source.genes) == list(expected.var["feature_id"])


def test_each_rule_leaves_out_types_that_the_others_keep(settings, cells):
    """The choices above tell rules apart, and a rule keeps what just reaches it."""
    plain = {"min_cells": 0, "min_donors": 0, "min_ancestors": 0, "descends_from": "cell"}
    everything = set(chosen(cells, settings(**plain)).obs["cell_type"])
    lost = {
        rule: everything - set(open_source(settings(**plain | {rule: value})).obs["cell_type"])
        for rule, value in {
            "min_cells": 20,
            "min_donors": 5,
            "min_ancestors": 3,
            "descends_from": "native cell",
        }.items()
    }
    assert "rare cell" in lost["min_cells"] - lost["min_donors"] - lost["min_ancestors"]
    assert "lonely cell" in lost["min_donors"] - lost["min_cells"] - lost["min_ancestors"]
    assert "blood cell" in lost["min_ancestors"] - lost["min_cells"] - lost["min_donors"]
    assert lost["descends_from"] >= {"line cell", "native cell"}, "the term itself is not under it"
    first = chosen(cells, settings(**plain))
    n_cells = first.obs["cell_type"].value_counts()["T cell"]
    n_donors = first.obs[first.obs["cell_type"] == "T cell"]["donor"].nunique()
    for rule, reached in {"min_cells": n_cells, "min_donors": n_donors, "min_ancestors": 4}.items():
        for more in (0, 1):
            source = open_source(settings(**plain | {rule: int(reached) + more}))
            assert ("T cell" in set(source.obs["cell_type"])) == (more == 0)


def test_ancestors_are_counted_once_and_by_is_a_alone(ontology):
    terms = read_obo(Path(ontology))
    assert set(terms.ids) == set(ABOVE)
    names = {identifier: name for name, identifier in terms.ids.items()}
    for name in ABOVE:
        assert {names[one] for one in terms.ancestors(name)} == above(name)
    assert len(terms.ancestors("B cell")) == 5
    with pytest.raises(KeyError):
        terms.ancestors("obsolete blood cell")


def test_the_defaults_are_those_of_sctab():
    """Of its code: more than 30 donors, more than 7 ancestors."""
    given = Census()
    assert (given.release, given.organism, given.descends_from) == ("2023-05-15", "homo_sapiens", "native cell")
    assert (given.min_cells, given.min_donors, given.min_ancestors) == (5_000, 31, 8)
    assert given.where["is_primary_data"] == [True]
    assert len(set(given.where["assay"])) == 7
    assert all(protocol.startswith("10x") for protocol in given.where["assay"])


def test_an_experiment_by_itself_and_text_of_either_kind_give_the_same(settings, cells, soma, tmp_path):
    expected = chosen(cells, settings())
    plain = write_soma(tmp_path / "plain", cells, dictionaries=False)
    experiment = soma / "census_data" / "homo_sapiens"
    for uri in (plain, experiment, plain.as_uri()):
        check(open_source(settings(uri=str(uri))), expected)


def test_a_soma_made_from_an_anndata_is_read(settings, cells, tmp_path):
    """As its owner has one: soma_joinid from 0 on, categories, cells in the order of the file."""
    own = anndata.AnnData(
        obs=cells.obs.drop(columns="soma_joinid").astype({"cell_type": "category"}),
        var=cells.var.drop(columns="soma_joinid").rename_axis("gene"),
        layers={"raw": cells.X},
    )
    uri = tiledbsoma.io.from_anndata(str(tmp_path / "own"), own, measurement_name="RNA")
    own.obs["soma_joinid"], own.var["soma_joinid"], own.X = np.arange(own.n_obs), np.arange(own.n_vars), cells.X
    source = open_source(settings(uri=uri))
    check(source, chosen(own, settings()))
    assert list(source.genes) == list(cells.var["feature_id"])


@pytest.mark.parametrize(("block_cells", "buffer_bytes"), [(1, 2**20), (7, 2**10), (64, 2**8), (10_000, 2**26)])
def test_blocks_from_any_row_are_slices_whatever_the_memory(settings, cells, block_cells, buffer_bytes):
    source = open_source(settings(), block_cells=block_cells, buffer_bytes=buffer_bytes)
    expected = chosen(cells, settings())
    check(source, expected)
    counts = expected.X.toarray()
    for start in (1, len(counts) - 65, len(counts) - 64, len(counts) - 1, len(counts)):
        np.testing.assert_array_equal(read(source, start), counts[start:])
    assert {block.shape[0] for block in source.blocks(3)} <= {block_cells, (len(counts) - 3) % block_cells}


def test_cells_before_the_start_and_those_left_out_are_not_read(settings, cells, monkeypatch):
    asked, plain = [], tiledbsoma.SparseNDArray.read
    monkeypatch.setattr(
        tiledbsoma.SparseNDArray,
        "read",
        lambda self, coords: asked.extend(coords[0].to_pylist()) or plain(self, coords),
    )
    source = open_source(settings(), block_cells=50)
    assert asked == [], "no count is read before it is asked for"
    list(source.blocks(120))
    assert asked == list(chosen(cells, settings()).obs["soma_joinid"][120:])
    del asked[:]
    next(source.blocks())
    assert len(asked) == 50, "nor more than a block at a time"


def test_cells_without_counts_on_the_chosen_genes_are_empty_rows(settings, cells, tmp_path):
    emptied = cells.copy()
    emptied.X = sp.csr_matrix(cells.X.multiply(np.arange(50) < 3))
    source = open_source(settings(uri=str(write_soma(tmp_path / "soma", emptied))), block_cells=1)
    counts = chosen(emptied, settings()).X.toarray()
    assert (counts.sum(axis=1) == 0).any()
    np.testing.assert_array_equal(read(source), counts)


@pytest.mark.parametrize("name", ["genes.txt", "genes.csv", "genes.parquet"])
def test_a_list_of_genes_is_taken_in_the_order_of_the_soma(settings, cells, tmp_path, name):
    wanted = pd.DataFrame({"length": 1, "gene_names": [f"G{number}" for number in (30, 2, 17, 45, 8)]})
    path = tmp_path / name
    if name == "genes.txt":
        path.write_text("\n".join(wanted["gene_names"]) + "\n\n")
    elif name == "genes.csv":
        wanted.to_csv(path)
    else:
        wanted.to_parquet(path)
    source = open_source(settings(genes=str(path), var_column="feature_name"))
    expected = chosen(cells, settings())
    expected = expected[:, expected.var["feature_name"].isin(wanted["gene_names"])]
    assert list(source.genes) == list(expected.var["feature_name"])
    assert len(source.genes) == 5
    check(source, expected)


def test_columns_get_the_names_that_a_design_asks_for(settings, cells):
    names = {"cell_type": "cell_type", "donor_id": ["dataset_id", "donor_id"], "years": "age"}
    names |= {"library": ["assay", "dataset_id", "donor_id"], "first": "is_primary_data"}
    source = open_source(settings(obs=names))
    expected = chosen(cells, settings())
    assert list(source.obs) == list(names)
    assert list(source.obs["years"]) == list(expected.obs["age"])
    assert list(source.obs["library"]) == list(expected.obs["assay"].astype(str) + "_" + expected.obs["donor"])
    assert source.obs["first"].all()


def test_two_ways_to_one_joined_name_are_one_donor(settings, cells, tmp_path):
    """As text joined is: a_b of c is a of b_c."""
    merged = cells.copy()
    merged.obs["dataset_id"] = np.where(np.arange(600) % 2, "a_b", "a")
    merged.obs["donor_id"] = np.where(np.arange(600) % 2, "c", "b_c")
    keys = {"ontology": None, "min_donors": 0}
    source = open_source(settings(uri=str(write_soma(tmp_path / "soma", merged)), **keys))
    assert list(source.obs["donor_id"].cat.categories) == ["a_b_c"]


def altered(cells: anndata.AnnData, column: str, values: object, where: object = slice(None)) -> anndata.AnnData:
    other = cells.copy()
    other.obs[column] = other.obs[column].astype(object)
    other.obs.iloc[where, other.obs.columns.get_loc(column)] = values
    return other


def test_missing_labels_are_refused_only_where_they_decide(settings, cells, tmp_path):
    gaps = altered(cells, "donor_id", None, slice(0, 5))
    gaps = altered(gaps, "is_primary_data", True, slice(0, 5))
    gaps = altered(gaps, "assay", PROTOCOLS[0], slice(0, 5))
    gaps.obs["is_primary_data"] = gaps.obs["is_primary_data"].astype(bool)
    uri = str(write_soma(tmp_path / "soma", gaps))
    with pytest.raises(ValueError, match=r"obs\['donor_id'\] is missing for 5 of \d+ cells"):
        open_source(settings(uri=uri))
    source = open_source(settings(uri=uri, min_donors=0, ontology=None, min_cells=0))
    assert source.obs["donor_id"].isna().sum() == 5
    assert "None" not in source.obs["donor_id"].cat.categories
    untyped = str(write_soma(tmp_path / "untyped", altered(cells, "cell_type", None, slice(0, 50))))
    with pytest.raises(ValueError, match=r"obs\['cell_type'\] is missing for \d+ of \d+ cells"):
        open_source(settings(uri=untyped, min_donors=0))


def test_the_fingerprint_stays_with_the_cells_and_changes_with_them(settings, cells, soma, tmp_path):
    plain = open_source(settings()).fingerprint()
    copy = tmp_path / "a copy%20#1"
    shutil.copytree(soma, copy)
    assert open_source(settings(uri=str(copy)), block_cells=9, buffer_bytes=2**12).fingerprint() == plain
    assert open_source(settings(min_cells=RULES["min_cells"] - 1)).fingerprint() == plain, "the same cells"
    found = {
        "cells": open_source(settings(where={"assay": PROTOCOLS[:1]})).fingerprint(),
        "types": open_source(settings(min_ancestors=4)).fingerprint(),
        "labels": open_source(settings(obs=Census().obs | {"tissue": "tissue"})).fingerprint(),
        "columns": open_source(settings(obs=Census().obs | {"organ": "tissue"})).fingerprint(),
        "names": open_source(settings(obs=Census().obs | {"batch": "assay"})).fingerprint(),
    }
    genes = tmp_path / "genes.txt"
    genes.write_text("ENSG001\nENSG002")
    found["genes"] = open_source(settings(genes=str(genes))).fingerprint()
    found["rewritten"] = open_source(settings(uri=str(write_soma(tmp_path / "again", cells)))).fingerprint()
    layer = copy / "census_data" / "homo_sapiens" / "ms" / "RNA" / "X" / "raw"
    with tiledbsoma.open(str(layer), "w") as array:
        place = np.array([[int(cells.obs["soma_joinid"].iloc[0]), int(cells.var["soma_joinid"].iloc[0])]])
        array.write(pa.SparseCOOTensor.from_numpy(np.array([[7.0]], dtype=np.float32), place, shape=array.shape))
    found["counts"] = open_source(settings(uri=str(copy))).fingerprint()
    with tiledbsoma.open(str(layer), "d") as array:
        array.delete_cells((slice(0, 5),))
    found["deleted"] = open_source(settings(uri=str(copy))).fingerprint()
    assert len({plain, *found.values()}) == len(found) + 1


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"organism": "mus_musculus"}, "unknown organism 'mus_musculus'.*there are: homo_sapiens"),
        ({"where": {"asay": ["Smart-seq2"]}}, "where.asay: unknown column 'asay' .did you mean 'assay'"),
        ({"where": {"assay": ["Smart-seq3"]}}, "where.assay: unknown value 'Smart-seq3' .did you mean 'Smart-seq2'"),
        ({"where": {"assay": [3]}}, r"where.assay = \[3\]: the SOMA holds values of type large_string"),
        ({"where": {"is_primary_data": ["yes"]}}, r"where.is_primary_data = \['yes'\].*type bool"),
        ({"where": {"soma_joinid": [10**6]}}, "where.soma_joinid: unknown value 1000000"),
        ({"where": {"cell_type": ["line cell"], "assay": PROTOCOLS}}, "no cell type is left: of 1, 1 have at least 20"),
        ({"min_cells": 10_000}, "0 have at least 10,000 cells, .* lower min_cells"),
        ({"descends_from": "natve cell"}, "descends_from = 'natve cell'.*did you mean 'native cell'.*autumn 2023"),
        ({"descends_from": "obsolete blood cell"}, "no term of .* has this name"),
        ({"ontology": "nowhere.obo"}, "ontology = 'nowhere.obo': no such file.*purl.obolibrary.org/obo/cl.obo"),
        ({"genes": "nowhere.parquet"}, "genes = 'nowhere.parquet': no such file; .*theislab/scTab"),
        ({"var_column": "feature_nme"}, "var_column: unknown column 'feature_nme' .did you mean 'feature_name'"),
        ({"var_column": "feature_name"}, r"var_column = 'feature_name': .* 1 duplicate gene names \(G0\).*feature_id"),
        ({"obs": Census().obs | {"tissue": "organ"}}, "obs.tissue: unknown column 'organ'"),
        ({"obs": Census().obs | {"donor_id": ["dataset_id", "doner"]}}, "obs.donor_id: unknown column 'doner'"),
        ({"uri": "nowhere/soma"}, "uri = 'nowhere/soma': no SOMA is there"),
    ],
    ids=str,
)
def test_what_is_not_there_is_named(settings, keys, told):
    with pytest.raises(ValueError, match=told):
        open_source(settings(**keys))


def test_values_that_go_together_in_no_cell_leave_none(settings, cells, soma):
    young = cells.obs["age"].min()
    assays = set(cells.obs["assay"][cells.obs["age"] == young])
    where = {"age": [int(young)], "soma_joinid": [int(cells.obs["soma_joinid"][cells.obs["age"] != young].iloc[0])]}
    assert assays
    with pytest.raises(ValueError, match=r"where = .* leaves none of 600 cells"):
        open_source(settings(where=where))


def test_protocols_of_the_defaults_need_not_all_be_there(soma, ontology, cells):
    given = Census(uri=str(soma), ontology=ontology, genes=None, var_column="feature_id", **RULES)
    check(open_source(given), chosen(cells, given))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("G1\nG2\nG1\n", "1 genes stand twice, e.g. G1"),
        ("\n", "it names no gene"),
        ("G1\nnone\nnor\nneither\nG2\nno", r"4 of 6 are not in the SOMA's feature_name, e.g. none, nor, neither"),
        ("G0\nG1", "duplicate gene names .G0."),
    ],
)
def test_lists_that_do_not_fit_are_refused(settings, tmp_path, text, told):
    path = tmp_path / "genes.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=told):
        open_source(settings(genes=str(path), var_column="feature_name"))
    table = tmp_path / "genes.csv"
    table.write_text("gene_nmes\nG1\n")
    with pytest.raises(ValueError, match=r"genes_column: unknown column 'gene_names' .did you mean 'gene_nmes'"):
        open_source(settings(genes=str(table)))


def test_files_that_are_no_ontology_or_another_version_are_refused(settings, ontology, tmp_path):
    path = tmp_path / "cl.obo"
    path.write_text("<owl/>")
    with pytest.raises(ValueError, match=r"ontology = .*it is no OBO file"):
        open_source(settings(ontology=str(path)))
    path.write_text(Path(ontology).read_text().replace("name: T cell", "name: T-cell"))
    with pytest.raises(ValueError, match=r"does not know 1 of 14 cell types, e.g. 'T cell': take the version"):
        open_source(settings(ontology=str(path)))


def test_a_soma_that_is_laid_out_otherwise_is_refused(settings, cells, soma, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no SOMA")
    with pytest.raises(ValueError, match="no SOMA is there"):
        open_source(settings(uri=str(tmp_path / "file")))
    with pytest.raises(ValueError, match="is a SOMADataFrame; a collection or an experiment would do"):
        open_source(settings(uri=str(soma / "census_data" / "homo_sapiens" / "obs")))
    with pytest.raises(ValueError, match=r"unknown item 'census_data'.*there are: homo_sapiens"):
        open_source(settings(uri=str(soma / "census_data")))
    for name, told in (("counts", "unknown layer of X 'counts'"), ("dense", "is a SOMADenseNDArray")):
        monkeypatch.setattr(census, "LAYER", name)
        with pytest.raises(ValueError, match=told):
            open_source(settings())
    monkeypatch.setattr(census, "MEASUREMENT", "ATAC")
    with pytest.raises(ValueError, match=r"unknown measurement 'ATAC'.*there are: RNA"):
        open_source(settings())


def test_text_that_was_lost_in_writing_is_told(settings, cells, tmp_path):
    """tiledbsoma 2.3.0 loses it if a table is filled while the collection that it was just added to is open."""
    table = pa.Table.from_pandas(cells.obs.astype({"cell_type": "category"}), preserve_index=False)
    with tiledbsoma.Experiment.create(str(tmp_path / "soma")) as experiment:
        domain = [[0, int(cells.obs["soma_joinid"].max())]]
        with experiment.add_new_dataframe("obs", schema=table.schema, domain=domain) as obs:
            obs.write(table)
        measurement = experiment.add_new_collection("ms").add_new_collection("RNA", tiledbsoma.Measurement)
        var = pa.table({"soma_joinid": pa.array([0]), "feature_id": ["ENSG001"]})
        measurement.add_new_dataframe("var", schema=var.schema, domain=[[0, 0]]).write(var)
        measurement.add_new_collection("X").add_new_sparse_ndarray("raw", type=pa.float32(), shape=(1, 1)).close()
    with pytest.raises(ValueError, match=r"the SOMA's obs is harmed: .* write it anew"):
        open_source(settings(uri=str(tmp_path / "soma")))


def test_a_release_is_asked_for_in_its_public_bucket(ontology, monkeypatch):
    """What would be opened; nothing is reached from here."""
    asked = []

    def refuse(uri, context):
        asked.append((uri, context.tiledb_config))
        raise RuntimeError("S3: Error while listing\nHostname not found")

    monkeypatch.setattr(tiledbsoma, "open", refuse)
    with pytest.raises(ValueError, match=r"release = '2023-05-15' cannot be opened: S3: Error while listing; "):
        open_source(Census(ontology=ontology, genes=None), buffer_bytes=2**20)
    with pytest.raises(ValueError, match="uri = 's3://mine/soma' cannot be opened"):
        open_source(Census(uri="s3://mine/soma", ontology=ontology, genes=None))
    (release, public), (uri, own) = asked
    assert release == "s3://cellxgene-census-public-us-west-2/cell-census/2023-05-15/soma/"
    assert (public["vfs.s3.region"], public["vfs.s3.no_sign_request"]) == ("us-west-2", "true")
    assert int(public["soma.init_buffer_bytes"]) == 2**20
    assert uri == "s3://mine/soma"
    assert own.get("vfs.s3.no_sign_request") != "true"


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"release": "2023-05-15", "uri": "soma"}, "are both given"),
        ({"release": "stable"}, "release"),
        ({"where": {"assay": []}}, "where"),
        ({"where": {"assay": "10x 3' v3"}}, "where"),
        ({"min_cells": -1}, "min_cells"),
        ({"min_donors": 2.5}, "min_donors"),
        ({"obs": {"dataset_id": "dataset_id", "cell_type": "cell_type"}}, "lacks donor_id"),
        ({"obs": {"donor_id": "donor_id"}}, "lacks cell_type"),
        ({"obs": {"cell_type": "cell_type", "donor_id": ["donor_id"]}}, "obs"),
        ({"assays": ["10x 3' v3"]}, "assays"),
    ],
    ids=str,
)
def test_settings_that_do_not_go_together_are_refused(keys, told):
    with pytest.raises(ValidationError, match=told):
        Census.model_validate(keys)
