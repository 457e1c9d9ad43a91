"""Cells from h5ad files: read as anndata reads them, shards as one corpus, in bounded memory; what is refused."""

import tracemalloc
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata.io import write_elem
from pydantic import ValidationError

from helpers.corpus import row_blocks
from helpers.corpus.h5ad import open_source
from helpers.corpus.h5ad_file import H5adFile, places_of_counts
from helpers.design import DesignError
from helpers.design_sources import H5adFiles

OBS = {"dataset_id": "study", "cell_type": "celltype", "batch": "sample", "donor_id": "patient"}
STORED = {"csr": sp.csr_matrix, "dense": np.asarray, "csc": sp.csc_matrix}


def make_cells(n_cells: int = 70, seed: int = 0, prefix: str = "cell") -> anndata.AnnData:
    """Cells × 40 genes with counts, the first gene in every cell, and labels under names of their own."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(0.4, (n_cells, 40))
    counts[:, 0] += 1
    obs = pd.DataFrame(
        {
            "study": pd.Categorical(rng.choice(["s1", "s2"], n_cells)),
            "celltype": rng.choice(["B", "T", "NK"], n_cells),
            "sample": rng.choice(["l1", "l2", "l3"], n_cells),
            "patient": rng.integers(1, 4, n_cells),
            "tissue": "blood",
            "age": rng.integers(20, 80, n_cells),
        },
        index=[f"{prefix}{number:03}" for number in range(n_cells)],
    )
    return anndata.AnnData(sp.csr_matrix(counts.astype(np.float32)), obs=obs, var=gene_table())


def gene_table() -> pd.DataFrame:
    return pd.DataFrame({"symbol": [f"SYM{number}" for number in range(40)]}, [f"g{number}" for number in range(40)])


def write(cells: anndata.AnnData, path: Path, **options) -> str:
    """Write cells and return the path, as a design gives it."""
    path.parent.mkdir(exist_ok=True)
    cells.write_h5ad(path, **options)
    return str(path)


def all_counts(source, start: int = 0) -> np.ndarray:
    blocks = list(source.blocks(start))
    assert {block.dtype for block in blocks} <= {np.dtype(np.float32)}
    return np.vstack([np.empty((0, len(source.genes))), *(block.toarray() for block in blocks)])


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of at most 9 cells or 120 values, and bands of 300 values, so that small files have many."""
    monkeypatch.setattr(row_blocks, "MOST_CELLS", 9)
    monkeypatch.setattr(row_blocks, "MOST_BYTES", 960)
    monkeypatch.setattr(row_blocks, "BAND_BYTES", 2400)


@pytest.fixture
def shards(tmp_path) -> tuple[str, anndata.AnnData]:
    """A folder of three files, stored by rows, dense and by columns, and their concatenation."""
    parts = [make_cells(size, seed, f"shard{seed}_") for seed, size in enumerate((23, 31, 16))]
    whole = anndata.concat(parts)
    for number, (part, stored) in enumerate(zip(parts, STORED.values(), strict=True)):
        part.X = stored(part.X.toarray())
        write(part, tmp_path / "shards" / f"{'abc'[number]}.h5ad")
    return str(tmp_path / "shards"), whole


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("place", "compression"), [("X", None), ("X", "gzip"), ("counts", None), ("raw", "gzip")])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint16])
@pytest.mark.parametrize("stored", STORED)
def test_every_way_to_store_counts_is_read_as_anndata_reads_it(stored, dtype, compression, place, tmp_path):
    cells = make_cells()
    counts, normalised = (STORED[stored](matrix) for matrix in (cells.X.toarray().astype(dtype), cells.X.toarray() / 3))
    cells.X = counts
    if place == "raw":
        cells.raw = cells.copy()
    elif place != "X":
        cells.layers[place] = counts
    if place != "X":
        cells.X = normalised
        cells = cells[:, 5:].copy()  # raw keeps all genes, layers do not
        cells.obs_names_make_unique()
    path = write(cells, tmp_path / "cells.h5ad", compression=compression)
    source = open_source(H5adFiles(path=path, obs=OBS, layer=None if place == "X" else place))
    read = anndata.read_h5ad(path)
    expected = {"X": read.X, "counts": read.layers.get("counts"), "raw": read.raw.X if place == "raw" else None}[place]
    expected = expected.toarray() if sp.issparse(expected) else expected
    assert list(source.genes) == list((read.raw if place == "raw" else read).var_names)
    assert list(source.obs.index) == list(read.obs_names)
    np.testing.assert_array_equal(all_counts(source), expected)
    for block in source.blocks():
        assert block.format == "csr"
        assert block.has_canonical_format
        assert block.data.all()
        assert block.shape[0] <= 9
        assert block.nnz <= 120 or stored == "dense"


def test_values_stored_twice_count_together_and_zeros_do_not(tmp_path):
    cells = make_cells(2)
    path = write(cells, tmp_path / "cells.h5ad")
    twice = sp.csr_matrix((np.array([200, 0, 200, 1], np.uint8), [3, 4, 3, 0], [0, 3, 4]), shape=(2, 40))
    with h5py.File(path, "r+") as file:
        write_elem(file, "X", twice)
    (block,) = open_source(H5adFiles(path=path, obs=OBS)).blocks()
    assert (block.indices.tolist(), block.data.tolist()) == ([3, 0], [400, 1])


def test_small_integers_do_not_overflow(tmp_path):
    cells = make_cells(2)
    cells.X = sp.csr_matrix(np.repeat(np.array([[128, 128], [255, 1]], dtype=np.uint8), 20, axis=1))
    path = write(cells, tmp_path / "cells.h5ad")
    np.testing.assert_array_equal(all_counts(open_source(H5adFiles(path=path, obs=OBS))), cells.X.toarray())


def test_raw_is_the_files_raw_and_a_layer_of_this_name_if_there_is_none(tmp_path):
    cells = make_cells()
    cells.layers["raw"] = cells.X * 2
    settings = H5adFiles(path=write(cells, tmp_path / "cells.h5ad"), obs=OBS, layer="raw")
    np.testing.assert_array_equal(all_counts(open_source(settings)), 2 * cells.X.toarray())
    cells.raw = cells.copy()
    write(cells, tmp_path / "cells.h5ad")
    np.testing.assert_array_equal(all_counts(open_source(settings)), cells.X.toarray())


def test_blocks_end_before_they_exceed_either_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(row_blocks, "MOST_CELLS", 10)
    monkeypatch.setattr(row_blocks, "MOST_BYTES", 30 * 8)
    sizes = np.array([1] * 15 + [10, 20, 1, 40, 40, 5])
    counts = sp.csr_matrix((np.arange(40) < sizes[:, None]).astype(np.float32))
    for stored in ("csr", "csc"):
        cells = make_cells(len(sizes))
        cells.X = STORED[stored](counts.toarray())
        source = open_source(H5adFiles(path=write(cells, tmp_path / f"{stored}.h5ad"), obs=OBS))
        assert [block.shape[0] for block in source.blocks()] == [10, 6, 2, 1, 1, 1], stored


def test_dense_blocks_end_with_the_chunks_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(row_blocks, "MOST_CELLS", 20)
    path = write(make_cells(), tmp_path / "cells.h5ad")
    with h5py.File(path, "r+") as file:
        write_elem(file, "X", make_cells().X.toarray(), dataset_kwargs={"chunks": (8, 40), "compression": "gzip"})
    source = open_source(H5adFiles(path=path, obs=OBS))
    assert [block.shape[0] for block in source.blocks()] == [16, 16, 16, 16, 6]
    assert [block.shape[0] for block in source.blocks(3)] == [13, 16, 16, 16, 6]
    np.testing.assert_array_equal(all_counts(source, 3), make_cells().X.toarray()[3:])


@pytest.mark.usefixtures("small_blocks")
def test_shards_are_read_as_their_concatenation_from_any_row_on(shards):
    path, whole = shards
    source = open_source(H5adFiles(path=path, obs=OBS))
    expected = whole.X.toarray()
    assert list(source.obs.index) == list(whole.obs_names)
    for ours, theirs in OBS.items():
        assert list(source.obs[ours]) == list(whole.obs[theirs].astype(str)), ours
    assert list(source.obs["age"]) == list(whole.obs["age"])
    for start in range(71):
        np.testing.assert_array_equal(all_counts(source, start), expected[start:])


def test_nothing_before_the_first_row_is_read(shards):
    path, whole = shards
    source = open_source(H5adFiles(path=path, obs=OBS))
    with h5py.File(Path(path) / "b.h5ad", "r+") as file:
        file["X"][0] = -1
    (Path(path) / "a.h5ad").unlink()
    np.testing.assert_array_equal(all_counts(source, 24), whole.X.toarray()[24:])
    with pytest.raises(ValueError, match=r"b\.h5ad: X holds 40 values that are negative, the first -1 in cell 0"):
        all_counts(source, 23)
    with pytest.raises(ValueError, match=r"a\.h5ad is not a readable h5ad file"):
        all_counts(source, 22)


def test_files_stand_in_the_order_of_their_names_and_no_others_are_read(tmp_path):
    for name, seed in (("b", 0), ("a10", 1), ("a9", 2)):
        write(make_cells(5, seed, f"{name}_"), tmp_path / "shards" / f"{name}.h5ad")
    for name in ("._a9.h5ad", "notes.txt"):
        (tmp_path / "shards" / name).write_bytes(b"\0")
    source = open_source(H5adFiles(path=str(tmp_path / "shards"), obs=OBS))
    assert [file.path.name for file in source.files] == ["a10.h5ad", "a9.h5ad", "b.h5ad"]
    assert list(source.obs.index[[0, 5, 10]]) == ["a10_000", "a9_000", "b_000"]


def test_a_shard_with_its_genes_in_another_order_is_brought_into_that_of_the_first(tmp_path):
    first, second = make_cells(20, 0, "a"), make_cells(20, 1, "b")
    write(first, tmp_path / "shards" / "a.h5ad")
    order = np.random.default_rng(2).permutation(40)
    write(second[:, order].copy(), tmp_path / "shards" / "b.h5ad")
    for genes in (None, "symbol"):
        source = open_source(H5adFiles(path=str(tmp_path / "shards"), obs=OBS, genes=genes))
        assert list(source.genes) == list(gene_table()["symbol"] if genes else gene_table().index)
        np.testing.assert_array_equal(all_counts(source), np.vstack([first.X.toarray(), second.X.toarray()]))
        assert all(block.has_canonical_format for block in source.blocks())


def test_other_genes_are_refused(tmp_path):
    write(make_cells(9), tmp_path / "shards" / "a.h5ad")
    other = make_cells(9, prefix="other")[:, 4:].copy()
    other.var_names = [*other.var_names[:-1], "new"]
    write(other, tmp_path / "shards" / "b.h5ad")
    told = r"b\.h5ad has other genes than a\.h5ad: 5 are missing, such as g0, g1, g2; 1 are in it alone, such as new"
    with pytest.raises(ValueError, match=told):
        open_source(H5adFiles(path=str(tmp_path / "shards"), obs=OBS))


@pytest.mark.parametrize("name", "ab")
def test_repeated_genes_are_refused(name, tmp_path):
    for one in "ab":
        write(make_cells(9, prefix=one), tmp_path / "shards" / f"{one}.h5ad")
    twice = make_cells(9, prefix=name)
    counts = sp.csr_matrix(np.hstack([twice.X.toarray(), np.ones((9, 1), dtype=np.float32)]))
    with h5py.File(tmp_path / "shards" / f"{name}.h5ad", "r+") as file:
        write_elem(file, "X", counts)
        write_elem(file, "var", pd.DataFrame(index=[*gene_table().index, "g3"]))
    with pytest.raises(ValueError, match=rf"{name}\.h5ad: var_names holds 1 duplicate gene names \(g3\)"):
        open_source(H5adFiles(path=str(tmp_path / "shards"), obs=OBS))


def test_gene_names_may_stand_in_a_column(tmp_path):
    cells = make_cells(9)
    cells.var["symbol"] = cells.var["symbol"].astype("category")
    path = write(cells, tmp_path / "cells.h5ad")
    assert list(open_source(H5adFiles(path=path, obs=OBS, genes="symbol")).genes[:2]) == ["SYM0", "SYM1"]
    told = r"cells\.h5ad: genes: unknown column of var 'symbl' \(did you mean 'symbol'\?\); there are: symbol"
    with pytest.raises(DesignError, match=told):
        open_source(H5adFiles(path=path, obs=OBS, genes="symbl"))
    cells.var["symbol"] = cells.var["symbol"].where(np.arange(40) > 2)
    with pytest.raises(ValueError, match=r"cells\.h5ad: 3 of 40 genes have no name in symbol"):
        open_source(H5adFiles(path=write(cells, tmp_path / "cells.h5ad"), obs=OBS, genes="symbol"))


@pytest.mark.parametrize("stored", STORED)
def test_values_that_are_no_counts_are_refused_and_what_holds_counts_is_named(stored, tmp_path):
    cells = make_cells()
    counts = cells.X.toarray()
    cells.X = STORED[stored](np.log1p(counts))
    path = write(cells, tmp_path / "cells.h5ad")
    told = r"cells\.h5ad: X holds [\d,]+ values that are not integer, the first (0\.69|1\.0)\d+ in cell 0: "
    with pytest.raises(ValueError, match=told + r"raw counts .* needed; nothing else in the file holds counts"):
        open_source(H5adFiles(path=path, obs=OBS))
    assert places_of_counts(Path(path)) == []
    cells.layers["scaled"] = -counts
    cells.layers["umis"] = STORED[stored](counts)
    cells.layers["nothing"] = sp.csr_matrix(counts.shape)
    path = write(cells, tmp_path / "cells.h5ad")
    with pytest.raises(ValueError, match=told + r".*; layers\['umis'\] holds counts: say layer: umis, for all files$"):
        open_source(H5adFiles(path=path, obs=OBS))
    with pytest.raises(ValueError, match=r"layers\['scaled'\] holds .* negative, .*\['umis'\] holds counts: say layer"):
        open_source(H5adFiles(path=path, obs=OBS, layer="scaled"))
    with pytest.raises(
        DesignError, match=r"layer: unknown place of counts 'umi' \(did you mean 'umis'\?\); there are:"
    ):
        open_source(H5adFiles(path=path, obs=OBS, layer="umi"))
    np.testing.assert_array_equal(all_counts(open_source(H5adFiles(path=path, obs=OBS, layer="umis"))), counts)


def test_counts_in_raw_alone_are_named_and_a_wrong_layer_points_to_x(tmp_path):
    cells = make_cells()
    cells.raw = cells.copy()
    cells.X = sp.csr_matrix(np.log1p(cells.X.toarray()))
    path = write(cells, tmp_path / "cells.h5ad")
    with pytest.raises(ValueError, match=r"not integer.*; raw holds counts: say layer: raw, for all files$"):
        open_source(H5adFiles(path=path, obs=OBS))
    assert places_of_counts(Path(path)) == ["raw"]
    other = make_cells()
    other.layers["log"] = other.X / 7
    path = write(other, tmp_path / "other.h5ad")
    with pytest.raises(ValueError, match=r"layers\['log'\] .*; X holds counts: leave layer out$"):
        open_source(H5adFiles(path=path, obs=OBS, layer="log"))
    with h5py.File(path, "r+") as file:
        del file["X"]
    with pytest.raises(DesignError, match=r"layer: unknown place of counts 'X'; there are: log"):
        open_source(H5adFiles(path=path, obs=OBS))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (-1.0, "1 values that are negative, the first -1 in cell 60"),
        (np.nan, "1 values that are NaN or infinite, the first nan in cell 60"),
        (0.5, r"1 values that are not integer, the first 0\.5 in cell 60"),
        (2.0**24, "16,777,216: counts of 16,777,216 and more are not exact in float32"),
    ],
)
@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("stored", STORED)
def test_each_block_is_checked_when_it_is_read(stored, value, told, tmp_path, monkeypatch):
    monkeypatch.setattr(row_blocks, "FEW_CELLS", 5)
    cells = make_cells()
    counts = cells.X.toarray().astype(np.float64)
    counts[60, -1] = value
    cells.X = STORED[stored](counts)
    source = open_source(H5adFiles(path=write(cells, tmp_path / "cells.h5ad"), obs=OBS))
    with pytest.raises(ValueError, match=rf"cells\.h5ad: X holds {told}"):
        all_counts(source)
    np.testing.assert_array_equal(all_counts(source, 61), counts[61:])


def test_integers_that_float32_cannot_hold_are_not_rounded(tmp_path):
    for value, whole in ((2**24 - 1, True), (2**24 + 1, False)):
        cells = make_cells(3)
        counts = cells.X.toarray().astype(np.int64)
        counts[1, 1] = value
        cells.X = sp.csr_matrix(counts)
        path = write(cells, tmp_path / "cells.h5ad")
        if whole:
            np.testing.assert_array_equal(all_counts(open_source(H5adFiles(path=path, obs=OBS))), counts)
        else:
            with pytest.raises(ValueError, match="X holds 16,777,217: counts of 16,777,216 and more"):
                open_source(H5adFiles(path=path, obs=OBS))


def test_cells_without_counts_and_other_types_are_refused(tmp_path):
    cells = make_cells()
    cells.X = sp.csr_matrix(np.where(np.arange(70)[:, None] == 40, 0, cells.X.toarray()))
    source = open_source(H5adFiles(path=write(cells, tmp_path / "cells.h5ad"), obs=OBS))
    with pytest.raises(ValueError, match=r"cells\.h5ad: 1 cells have no counts, the first is cell 40: filter them out"):
        all_counts(source)
    cells.X = make_cells().X > 0
    with pytest.raises(ValueError, match="X is of type bool: raw counts"):
        open_source(H5adFiles(path=write(cells, tmp_path / "cells.h5ad"), obs=OBS))


def test_labels_get_the_names_of_designs_and_all_else_is_kept(tmp_path):
    cells = make_cells(12)
    cells.obs["depth"] = np.linspace(0, 1, 12, dtype=np.float32)
    cells.obs["good"] = True
    cells.obs["celltype"] = pd.Categorical(cells.obs["celltype"], ["T", "NK", "unused", "B"])
    settings = H5adFiles(path=write(cells, tmp_path / "cells.h5ad"), obs=OBS)
    obs = open_source(settings).obs
    assert list(obs) == ["dataset_id", "cell_type", "batch", "donor_id", "tissue", "age", "depth", "good"]
    assert all(obs[label].dtype == "category" for label in ("dataset_id", "cell_type", "batch", "donor_id", "tissue"))
    assert (obs["age"].dtype, obs["depth"].dtype, obs["good"].dtype) == (np.int64, np.float32, bool)
    assert list(obs["cell_type"].cat.categories) == ["B", "NK", "T"]
    assert list(obs["donor_id"]) == list(cells.obs["patient"].astype(str))


def test_a_column_that_names_single_cells_or_is_not_in_all_files_is_left_out(tmp_path):
    parts = [make_cells(1_200, seed, f"{seed}_") for seed in (0, 1)]
    for part in parts:
        part.obs["barcode"] = [f"barcode {name}" for name in part.obs_names]
        part.obs["clone"] = part.obs["barcode"].str[:-1]
    parts[1].obs["sex"] = "female"
    parts[0].obs["donor_id"] = parts[0].obs["patient"]
    for name, part in zip("ab", parts, strict=True):
        write(part, tmp_path / "shards" / f"{name}.h5ad")
    source = open_source(H5adFiles(path=str(tmp_path / "shards"), obs={"cell_type": "celltype"}))
    assert source.left_out == {
        "donor_id": "not in b.h5ad",
        "sex": "not in a.h5ad",
        "barcode": "names single cells in a.h5ad",
    }
    assert "clone" in source.obs, "a value stands for ten cells"
    named = open_source(H5adFiles(path=str(tmp_path / "shards"), obs={"cell_type": "celltype", "origin": "barcode"}))
    assert list(named.obs["origin"][:2]) == ["barcode 0_000", "barcode 0_001"], "a design asked for it"


def test_files_without_dataset_or_batch_are_datasets_of_their_own(tmp_path):
    cells = make_cells(4)
    del cells.obs["study"], cells.obs["sample"]
    write(cells, tmp_path / "shards" / "lung.h5ad")
    other = make_cells(4, prefix="other")
    other.obs["dataset_id"] = other.obs["study"]
    write(other, tmp_path / "shards" / "other.h5ad")
    obs = open_source(H5adFiles(path=str(tmp_path / "shards"), obs={"cell_type": "celltype"})).obs
    expected = ["lung"] * 4 + list(other.obs["study"])
    assert list(obs["dataset_id"]) == list(obs["batch"]) == expected


def test_one_column_may_have_two_names(tmp_path):
    cells = make_cells(6)
    cells.obs["dataset_id"] = cells.obs["study"]
    path = write(cells, tmp_path / "cells.h5ad")
    obs = open_source(H5adFiles(path=path, obs={"cell_type": "celltype", "batch": "dataset_id"})).obs
    assert list(obs["dataset_id"]) == list(obs["batch"]) == list(cells.obs["study"])


def test_labels_that_each_dataset_numbers_anew_get_its_name(tmp_path):
    cells = make_cells(30)
    cells.obs["patient"] = cells.obs["patient"].astype(float)
    path = write(cells, tmp_path / "cells.h5ad")
    obs = open_source(H5adFiles(path=path, obs=OBS, within_dataset=["donor_id", "batch"])).obs
    for label, theirs in (("donor_id", cells.obs["patient"].astype(int)), ("batch", cells.obs["sample"])):
        expected = [f"{study}_{value}" for study, value in zip(cells.obs["study"], theirs, strict=True)]
        assert list(obs[label]) == expected
    with pytest.raises(DesignError, match=r"within_dataset: unknown label 'donor'.*did you mean 'donor_id'"):
        open_source(H5adFiles(path=path, obs=OBS, within_dataset=["donor"]))
    with pytest.raises(ValidationError, match="within_dataset names dataset_id"):
        H5adFiles(path=path, within_dataset=["dataset_id"])


def test_missing_donors_stay_missing_unless_the_design_names_their_column(tmp_path):
    cells = make_cells(30)
    cells.obs["donor_id"] = pd.Categorical(np.where(np.arange(30) < 20, "d1", None))
    path = write(cells, tmp_path / "cells.h5ad")
    labels = {key: OBS[key] for key in ("dataset_id", "cell_type", "batch")}
    obs = open_source(H5adFiles(path=path, obs=labels, within_dataset=["donor_id"])).obs
    assert obs["donor_id"].isna().tolist() == [False] * 20 + [True] * 10
    told = r"cells\.h5ad: obs\['donor_id'\] \(donor_id\) has no value for 10 of 30 cells: .* there are: study, celltype"
    with pytest.raises(ValueError, match=told):
        open_source(H5adFiles(path=path, obs=labels | {"donor_id": "donor_id"}))


@pytest.mark.parametrize("label", ["dataset_id", "cell_type", "batch"])
def test_every_cell_needs_its_labels(label, tmp_path):
    parts = [make_cells(30, prefix=name) for name in "ab"]
    parts[1].obs[OBS[label]] = parts[1].obs[OBS[label]].astype(object).where(np.arange(30) > 3)
    for name, part in zip("ab", parts, strict=True):
        write(part, tmp_path / "shards" / f"{name}.h5ad")
    told = rf"b\.h5ad: obs\['{OBS[label]}'\] \({label}\) has no value for 4 of 30 cells: .* there are: study, celltype"
    with pytest.raises(ValueError, match=told):
        open_source(H5adFiles(path=str(tmp_path / "shards"), obs=OBS))


def test_columns_that_are_not_there_are_named_with_those_that_are(tmp_path):
    path = write(make_cells(5), tmp_path / "cells.h5ad")
    told = (
        r"obs\.donor_id = 'patients': cells\.h5ad: unknown column of obs 'patients' \(did you mean 'patient'\?\); there"
    )
    with pytest.raises(DesignError, match=told):
        open_source(H5adFiles(path=path, obs=OBS | {"donor_id": "patients"}))
    told = r"cells\.h5ad: unknown column of obs 'cell_type' \(did you mean 'celltype'\?\); .* obs: {cell_type: …}"
    with pytest.raises(DesignError, match=told):
        open_source(H5adFiles(path=path))


def test_numbers_and_text_of_different_files_meet(tmp_path):
    values = {"a": np.array([1, 2, 3]), "b": np.array([1.0, 2.0, 4.0]), "c": np.array(["1", "x", "y"])}
    shards = tmp_path / "shards"
    for name, column in values.items():
        cells = make_cells(3, prefix=name)
        cells.obs["patient"] = column
        cells.obs["weight"] = column.astype(np.float32) if name != "c" else [7, 8, 9]
        cells.obs["flag"] = [True, False, True] if name == "a" else ["yes", "no", "no"]
        write(cells, shards / f"{name}.h5ad")
    obs = open_source(H5adFiles(path=str(shards), obs=OBS)).obs
    assert list(obs["donor_id"]) == ["1", "2", "3", "1", "2", "4", "1", "x", "y"]
    assert obs["weight"].dtype == np.float64
    assert list(obs["weight"]) == [1, 2, 3, 1, 2, 4, 7, 8, 9]
    assert list(obs["flag"]) == ["True", "False", "True", "yes", "no", "no", "yes", "no", "no"]
    (shards / "b.h5ad").unlink()
    (shards / "c.h5ad").unlink()
    other = make_cells(2, prefix="other")
    other.obs["flag"] = [1, 0]
    write(other, shards / "d.h5ad")
    obs = open_source(H5adFiles(path=str(shards), obs=OBS)).obs
    assert list(obs["flag"]) == ["True", "False", "True", "1", "0"]


def test_cells_have_names_of_their_own(tmp_path):
    shards = tmp_path / "shards"
    write(make_cells(20), shards / "a.h5ad")
    write(make_cells(30)[15:].copy(), shards / "b.h5ad")
    settings = {"path": str(shards), "obs": OBS}
    told = r"a\.h5ad and b\.h5ad both name the cell 'cell015'; 5 names stand twice in all: say names: file"
    with pytest.raises(ValueError, match=told):
        open_source(H5adFiles(**settings))
    source = open_source(H5adFiles(**settings, names="file"))
    assert list(source.obs.index[[0, 20]]) == ["a_cell000", "b_cell015"]
    path = shards / "b.h5ad"
    with h5py.File(path, "r+") as file:
        file["obs/_index"][3] = "cell016"
    with pytest.raises(ValueError, match=r"b\.h5ad names the cell 'b_cell016'; 1 names .*obs_names_make_unique"):
        open_source(H5adFiles(path=str(path), obs=OBS, names="file"))
    with pytest.raises(ValidationError, match="Input should be 'file'"):
        H5adFiles(**settings, names="shard")


def test_a_path_without_files_is_refused(tmp_path):
    with pytest.raises(DesignError, match=r"path = '.*/none': no such file or folder"):
        open_source(H5adFiles(path=str(tmp_path / "none")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DesignError, match=r"path = '.*/empty': no \*\.h5ad in this folder; it holds: nothing"):
        open_source(H5adFiles(path=str(tmp_path / "empty")))
    (tmp_path / "empty" / "cells.zarr").mkdir()
    with pytest.raises(DesignError, match=r"it holds: cells\.zarr"):
        open_source(H5adFiles(path=str(tmp_path / "empty")))


def test_files_that_cannot_be_read_are_named(shards):
    path, _ = shards
    settings, last = H5adFiles(path=path, obs=OBS), Path(path) / "c.h5ad"
    whole = last.read_bytes()
    for share in (0, 0.1, 0.5, 0.9, 0.999):
        last.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ValueError, match=r"^c\.h5ad is not a readable h5ad file: "):
            open_source(settings)
    last.write_bytes(whole)
    with h5py.File(last, "r+") as file:
        file["X/indices"][:] = 99
    with pytest.raises(ValueError, match=r"^c\.h5ad: "):
        open_source(settings)
    with h5py.File(last, "w") as file:
        file["matrix"] = np.ones(3)
    with pytest.raises(ValueError, match=r"^c\.h5ad: its obs is no table"):
        open_source(settings)


def test_a_file_whose_parts_do_not_fit_or_that_is_empty_is_refused(tmp_path):
    path = write(make_cells(9), tmp_path / "cells.h5ad")
    with h5py.File(path, "r+") as file:
        write_elem(file, "obs", make_cells(8).obs)
    with pytest.raises(ValueError, match=r"cells\.h5ad: X has 9 cells × 40 genes, obs and var name 8 × 40"):
        open_source(H5adFiles(path=path, obs=OBS))
    path = write(make_cells(9)[:0].copy(), tmp_path / "cells.h5ad")
    with pytest.raises(ValueError, match=r"cells\.h5ad: X has 0 cells × 40 genes"):
        open_source(H5adFiles(path=path, obs=OBS))


def test_damage_amid_a_file_is_told_when_it_is_read(tmp_path):
    cells = make_cells(3_000)
    path = Path(write(cells, tmp_path / "cells.h5ad", compression="gzip"))
    source = open_source(H5adFiles(path=str(path), obs=OBS))
    with h5py.File(path) as file:
        chunk = file["X/data"].id.get_chunk_info(file["X/data"].id.get_num_chunks() - 1)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cells\.h5ad is not a readable h5ad file: .*"):
        all_counts(source)


def as_anndata_07_wrote_it(path: Path) -> None:
    """Make a file look as anndata 0.7 wrote it: codes and categories apart, no encoding of columns and arrays."""
    with h5py.File(path, "r+") as file:
        for attribute in ("encoding-type", "encoding-version"):
            del file.attrs[attribute]
        for table in (file["obs"], file["var"]):
            table.attrs["encoding-version"] = "0.1.0"
            kept_apart = table.create_group("__categories")
            for name in [*table.attrs["column-order"], table.attrs["_index"]]:
                values = table[name]
                if isinstance(values, h5py.Group):
                    codes = values["codes"][:]
                    kept_apart[name] = values["categories"][:]
                    kept_apart[name].attrs["ordered"] = False
                    del table[name]
                    table[name] = codes
                    table[name].attrs["categories"] = kept_apart[name].ref
                else:
                    for attribute in ("encoding-type", "encoding-version"):
                        del values.attrs[attribute]


def test_files_of_anndata_07_are_read_and_older_ones_refused(tmp_path):
    cells = make_cells()
    path = Path(write(cells, tmp_path / "cells.h5ad"))
    expected = open_source(H5adFiles(path=str(path), obs=OBS)).obs
    as_anndata_07_wrote_it(path)
    with pytest.warns(anndata.OldFormatWarning):
        pd.testing.assert_frame_equal(anndata.read_h5ad(path).obs, cells.obs, check_categorical=False)
    source = open_source(H5adFiles(path=str(path), obs=OBS))
    pd.testing.assert_frame_equal(source.obs, expected)
    np.testing.assert_array_equal(all_counts(source), cells.X.toarray())
    with h5py.File(path, "r+") as file:
        del file["obs"]
        file["obs"] = np.zeros(70, dtype=[("index", "S9"), ("celltype", "S2")])
    with pytest.raises(ValueError, match=r"cells\.h5ad: its obs is no table; files of anndata before 0\.7"):
        open_source(H5adFiles(path=str(path), obs=OBS))


def test_the_fingerprint_is_of_bytes_names_and_settings(shards, tmp_path):
    path, _ = shards
    settings = H5adFiles(path=path, obs=OBS)
    first = open_source(settings).fingerprint()
    (tmp_path / "shards").rename(tmp_path / "moved")
    settings = H5adFiles(path=str(tmp_path / "moved"), obs=OBS)
    seen = [first]
    assert open_source(settings).fingerprint() == first, "where files lie does not count"
    for changed in ({"genes": "symbol"}, {"names": "file"}, {"within_dataset": ["batch"]}, {"obs": OBS | {"x": "age"}}):
        seen.append(open_source(settings.model_copy(update=changed)).fingerprint())
    (tmp_path / "moved" / "a.h5ad").rename(tmp_path / "moved" / "d.h5ad")
    seen.append(open_source(settings).fingerprint())
    with h5py.File(tmp_path / "moved" / "d.h5ad", "r+") as file:
        file["X/data"][0] += 1
    seen.append(open_source(settings).fingerprint())
    assert len(set(seen)) == len(seen) == 7


def test_one_file_gives_its_table_as_anndata_does(tmp_path):
    cells = make_cells()
    file = H5adFile(Path(write(cells, tmp_path / "cells.h5ad")))
    pd.testing.assert_frame_equal(file.obs(), anndata.read_h5ad(file.path).obs)
    assert (file.n_cells, len(file.genes)) == cells.shape
    assert places_of_counts(file.path) == ["X"]


@pytest.mark.parametrize(("stored", "most"), [("csr", 8), ("dense", 8), ("csc", 20)])
def test_memory_is_bounded_by_the_block_and_not_by_the_file(stored, most, tmp_path, monkeypatch):
    """A file of 32 blocks of 1 MB: memory for `most` of them."""
    monkeypatch.setattr(row_blocks, "MOST_BYTES", 2**20)
    monkeypatch.setattr(row_blocks, "BAND_BYTES", 2**22)
    counts = np.random.default_rng(0).poisson(0.7, (8_000, 1_000)).astype(np.float32)
    cells = anndata.AnnData(STORED[stored](counts), obs=make_cells(8_000).obs)
    source = open_source(H5adFiles(path=write(cells, tmp_path / "cells.h5ad"), obs=OBS))
    n_cells, total, expected = 0, 0.0, counts.sum(dtype=np.float64)
    del cells, counts
    tracemalloc.start()
    for block in source.blocks():
        n_cells, total = n_cells + block.shape[0], total + block.sum(dtype=np.float64)
        assert block.data.nbytes + block.indices.nbytes <= 1.1 * 2**20
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (n_cells, total) == (8_000, expected)
    assert 2**20 < peak < most * 2**20, f"{peak / 2**20:.1f} MB"
