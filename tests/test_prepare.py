"""The study's sets from public files: tiny files in each layout go through the command and a design."""

import dataclasses
import io
import re
import shutil
import tarfile
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import yaml

from helpers.corpus import read_source
from helpers.design import load_design
from helpers.prepare import entries, h5ad, main, prepare, state
from helpers.prepare.table import DRUGS, LINES, PLATES, SETS
from helpers.responses import response_cells
from helpers.split import assign_roles, evaluation_table
from helpers.subset import draw

PROJECT = Path(__file__).resolve().parents[1]
PAPER = yaml.safe_load((PROJECT / "params" / "paper.yaml").read_text())
GENES = [*(f"g{number}" for number in range(60)), "other0", "other1"]
ENSEMBL = [f"ENSG{number:05}" for number in range(62)]


@pytest.fixture
def folder(tmp_path) -> Path:
    """An empty data/external/ with its folder of downloads."""
    (tmp_path / "external" / "downloads").mkdir(parents=True)
    return tmp_path / "external"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def counts_of(rng: np.random.Generator, n: int, genes: int = 62) -> sp.csr_matrix:
    """Counts (n, genes) in which each cell has some."""
    return sp.csr_matrix(rng.poisson(1.5, (n, genes)) + np.eye(n, genes, dtype=int), dtype=np.float32)


def frame(counts, names, genes=GENES) -> pd.DataFrame:
    """Expected counts by name of cell and gene."""
    return pd.DataFrame(sp.csr_matrix(counts).toarray(), index=names, columns=genes)


def cellxgene_file(path: Path, rng: np.random.Generator, n: int = 40) -> pd.DataFrame:
    """Counts in raw, normalised values in X without two genes, symbols as categories; a column with a slash."""
    counts = counts_of(rng, n)
    columns = {
        "cell_type": pd.Categorical(
            np.resize(["B cell", "T cell"], n), categories=["B cell", "T cell", "none of these"]
        ),
        "donor_id": pd.Categorical(np.resize(["d1", "d1", "d2"], n)),
        "is_primary_data": np.resize([True, False], n),
        "Tooth #_Region": np.resize(["a", "b"], n),
    }
    obs = pd.DataFrame(columns, index=[f"AAAC{number}-1" for number in range(n)])
    var = pd.DataFrame({"feature_name": pd.Categorical(GENES)}, index=ENSEMBL)
    raw = anndata.AnnData(counts, obs=obs, var=var)
    adata = anndata.AnnData(counts[:, 2:].log1p(), obs=obs, var=var[2:])
    adata.raw = raw
    adata.write_h5ad(path)
    with h5py.File(path, "r+") as file:  # as older versions wrote it, in a group of its own
        file["obs"].move("Tooth #_Region", "Tooth #/Region")
        order = [name.replace("#_", "#/") for name in file["obs"].attrs["column-order"]]
        file["obs"].attrs["column-order"] = order
    return frame(counts, obs.index)


def matrix_market(counts: sp.csr_matrix, *, by_gene: bool = False) -> str:
    """Text of genes × cells, cell by cell, as R writes it, or gene by gene."""
    stored = sp.coo_matrix(counts)
    order = np.lexsort((stored.row, stored.col) if by_gene else (stored.col, stored.row))
    lines = [f"{stored.col[k] + 1} {stored.row[k] + 1} {stored.data[k]:g}" for k in order]
    size = f"{counts.shape[1]} {counts.shape[0]} {len(lines)}"
    return "\n".join(["%%MatrixMarket matrix coordinate integer general", "% a remark", size, *lines]) + "\n"


def atlas_members(rng: np.random.Generator, n: int = 40, *, by_gene: bool = False) -> tuple[dict, pd.DataFrame]:
    """Files of an archive of 3CA, and the expected counts: every fifth cell has no type, genes are quoted."""
    counts = counts_of(rng, n)
    names = [f"P{number}_AAAC" for number in range(n)]
    types = ["" if number % 5 == 0 else ["Malignant", "T_cell"][number % 2] for number in range(n)]
    rows = [
        f"{name},{'P0019' if k % 3 else 18},{kind},{k}" for k, (name, kind) in enumerate(zip(names, types, strict=True))
    ]
    members = {
        "Exp_data_UMIcounts.mtx": matrix_market(counts, by_gene=by_gene),
        "Cells.csv": "\n".join(["cell_name,sample,cell_type,complexity", *rows]) + "\n",
        "Genes.txt": "".join(f'"{gene}"\n' for gene in GENES),
        "Meta-data.csv": "sample\nP0019\n",
    }
    return members, frame(counts, names)[np.array(types) != ""]


def zipped(path: Path, members: dict) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(f"Data_Kim2020_Lung/{name}", text)


def tarred(path: Path, members: dict) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))


def plate_file(path: Path, number: int, rng: np.random.Generator) -> pd.DataFrame:
    """A plate: untreated cells of six lines, a drug with the control's name in its own, and one of the four."""
    drug = list(DRUGS.values())[(number - 1) % 4]
    lines, drugs = [*LINES, "A549", "SW48"], ["DMSO_TF", "Trametinib (DMSO_TF solvate)", drug]
    pairs = [(line, one) for line in lines for one in drugs for _ in range(2)]
    order = rng.permutation(len(pairs))
    obs = pd.DataFrame([pairs[k] for k in order], columns=["cell_name", "drug"]).astype("category")
    obs["sample"], obs["tscp_count"], obs["pass_filter"] = (
        "smp_1",
        np.arange(len(obs)),
        np.resize(["full", "minimal"], len(obs)),
    )
    obs.index = pd.Index([f"01_001_{k:03}-lib_1" for k in range(len(obs))], name="BARCODE_SUB_LIB_ID")
    counts = counts_of(rng, len(obs))
    adata = anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=pd.Index(GENES, name="gene_name")))
    adata.write_h5ad(path)
    with h5py.File(path, "r+") as file:  # as the real ones
        indices = file["X/indices"][:].astype(np.int64)
        del file["X/indices"]
        file["X"].create_dataset("indices", data=indices, chunks=(97,), compression="gzip")
    return frame(counts, f"plate{number}_" + obs.index).assign(
        drug=obs["drug"].to_numpy(), line=obs["cell_name"].to_numpy()
    )


def screen_file(path: Path, genes: list[str], rng: np.random.Generator, n: int = 50) -> pd.DataFrame:
    """Dense counts in one piece, tables as anndata wrote them before 0.8, two genes of one symbol."""
    counts = counts_of(rng, n, len(genes))
    targets = np.resize(["non-targeting", "TP53", "MYC", "GATA1", "TP53"], n)
    with h5py.File(path, "w") as file:
        file.create_dataset("X", data=counts.toarray())
        old_table(
            file,
            "obs",
            "cell_barcode",
            [f"AAAC{k}-1" for k in range(n)],
            {"gem_group": np.arange(n) % 3 + 1},
            {"gene": targets},
        )
        old_table(file, "var", "gene_id", [f"ENSG{k}" for k in range(len(genes))], {}, {"gene_name": genes})
    return frame(counts, range(n), genes).assign(target=targets)


def old_table(file, name: str, index: str, names: list[str], numbers: dict, texts: dict) -> None:
    group = file.create_group(name)
    group.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.1.0", "_index": index})
    group.attrs["column-order"] = np.array([*numbers, *texts], dtype=object)
    group.create_dataset(index, data=np.array(names, dtype=object))
    for column, values in numbers.items():
        group.create_dataset(column, data=values)
    for column, values in texts.items():
        coded = pd.Categorical(values)
        kept = group.require_group("__categories").create_dataset(column, data=np.array(coded.categories, dtype=object))
        group.create_dataset(column, data=coded.codes.astype(np.int16)).attrs["categories"] = kept.ref


@pytest.fixture(scope="module")
def plates(tmp_path_factory) -> tuple[Path, pd.DataFrame]:
    """A folder with all plates, and the counts of their cells."""
    place, rng = tmp_path_factory.mktemp("plates"), np.random.default_rng(3)
    return place, pd.concat([plate_file(place / one.file, k, rng) for k, one in enumerate(PLATES, 1)])


def write_downloads(name: str, folder: Path, rng: np.random.Generator, plates) -> pd.DataFrame:
    """All downloads of an evaluation set, and the expected counts of its cells."""
    entry, place = SETS[name], folder / "downloads"
    if entry.layout == "atlas":
        members, expected = atlas_members(rng)
        zipped(place / entry.downloads[0].file, members)
        return expected
    if entry.layout == "plates":
        shutil.copytree(plates[0], place, dirs_exist_ok=True)
        cells = plates[1]
        chosen = cells["drug"].isin(["DMSO_TF", entry.drug]) & cells["line"].isin(LINES)
        return cells[chosen].drop(columns=["drug", "line"])
    tables = [cellxgene_file(place / one.file, rng) for one in entry.downloads]
    keys = [f"{one.key}_" if one.key else "" for one in entry.downloads]
    return pd.concat(
        [table.rename(index=lambda cell, key=key: key + cell) for key, table in zip(keys, tables, strict=True)]
    )


@pytest.fixture
def judged(small_design, write_design):
    """The small design with the study's entry of a set, which is read from another place."""

    def load(name: str, path: Path):
        entry = PAPER["evaluation_sets"][name] | {"path": str(path)}
        sets = small_design["evaluation_sets"] | {name: entry}
        evaluations = small_design["evaluations"] | {"perturbation": {"min_cells": 4}}
        evaluations = evaluations if "context" in entry else small_design["evaluations"]
        return load_design(write_design(small_design | {"evaluation_sets": sets, "evaluations": evaluations}))

    return load


@pytest.mark.parametrize("name", PAPER["evaluation_sets"])
def test_a_set_of_the_study_goes_from_its_downloads_through_a_design(name, folder, rng, plates, judged, capsys):
    expected = write_downloads(name, folder, rng, plates)
    assert state(name, folder) == "to be prepared"
    assert main([name], folder) == 0
    out = folder / f"{name}.h5ad"
    assert f"{out}\n" in capsys.readouterr().out
    assert state(name, folder) == "ready"
    adata = anndata.read_h5ad(out)
    assert list(adata.var_names) == GENES
    assert (adata.X.format, adata.X.dtype) == ("csr", np.float32)
    pd.testing.assert_frame_equal(adata.to_df(), expected, check_dtype=False, check_names=False)

    design = judged(name, out)
    cells = read_source(design)
    part = cells[240:]
    assert set(part.obs["dataset_id"]) == {name}
    shared = expected[[gene for gene in GENES if not gene.startswith("other")]]
    for cell, counts in zip(part.obs_names, part.X.toarray(), strict=True):
        np.testing.assert_array_equal(counts, shared.loc[cell.removeprefix(f"{name}_")])
    entry = design.evaluation_sets[name]
    assert part.obs["batch"].nunique() == (2 if entry.batch else 1)
    if entry.context:
        roles = assign_roles(cells.obs, design)
        found = response_cells(cells.obs, roles, evaluation_table(cells.obs, roles, design), design)[name]
        assert found.folds == ((PAPER["evaluation_sets"][name]["held_out"][0],),)
        assert set(found.obs["perturbation"]) == {"DMSO_TF", DRUGS[name]}

    origin = adata.uns["origin"]
    for one in SETS[name].downloads:
        told = origin["files"][one.file]
        recorded = (folder / "downloads" / f"{one.file}.sha256").read_text()
        assert recorded == f"{told['sha256']}  {one.file}\n"
        assert told["url"] == (one.url or "not known")
    assert origin["steps"][0] == SETS[name].steps
    assert not [file for file in folder.rglob("*") if "tmp" in file.name]


def test_every_set_of_the_study_is_in_the_table_and_the_other_way_round():
    assert set(SETS) == {*PAPER["evaluation_sets"], "replogle"}
    assert len(SETS) == 12
    for name, entry in PAPER["evaluation_sets"].items():
        assert entry["path"] == f"data/external/{name}.h5ad"
        assert entry["source"] == f"python data/prepare.py {name}"
        assert "genes" not in entry
        keys = {entry["label"], entry.get("batch"), entry.get("perturbation"), entry.get("context")} - {None}
        assert keys == set(SETS[name].columns)
    files = [(one.file, one.key) for entry in SETS.values() for one in entry.downloads]
    assert len({file for file, _ in files}) == len(set(files)), "a file has one key"
    for entry in SETS.values():
        assert len({one.key for one in entry.downloads}) == len(entry.downloads)


def test_the_readme_names_every_set_with_its_page():
    readme = (PROJECT / "data" / "README.md").read_text()
    section = readme.split("## Public evaluation sets")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)$", section, re.MULTILINE))
    assert list(rows) == list(SETS)
    for name, entry in SETS.items():
        assert entry.page in rows[name]
        assert (entry.licence or "not known").split(",")[0] in rows[name]


# -- CELLxGENE ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def placenta(folder, rng) -> tuple[Path, pd.DataFrame]:
    """The download of one set, and its counts."""
    path = folder / "downloads" / SETS["placenta"].downloads[0].file
    return path, cellxgene_file(path, rng)


@pytest.mark.parametrize("stored", ["csc", "dense", "csr without raw", "csr of integers"])
def test_counts_may_be_stored_in_other_ways(placenta, folder, stored, monkeypatch):
    path, expected = placenta
    monkeypatch.setattr(h5ad, "BLOCK_CELLS", 7)
    monkeypatch.setattr(entries, "BLOCK_CELLS", 7)
    monkeypatch.setattr(h5ad, "VALUES", 100)
    counts = sp.csr_matrix(expected.to_numpy())
    matrix = {"csc": counts.tocsc(), "dense": counts.toarray(), "csr of integers": counts.astype(np.int64)}.get(
        stored, counts
    )
    with h5py.File(path, "r+") as file:
        place = "raw/X"
        if stored == "csr without raw":
            place = "X"
            del file["X"], file["var"]
            file["var"] = file["raw/var"]
            del file["raw"]
        put(file, place, matrix)
    adata = anndata.read_h5ad(prepare("placenta", folder))
    pd.testing.assert_frame_equal(adata.to_df(), expected, check_dtype=False, check_names=False)
    assert list(adata.obs.columns) == ["cell_type", "donor_id", "is_primary_data", "Tooth #_Region"]
    assert list(adata.obs["cell_type"].cat.categories) == ["B cell", "T cell"]
    assert list(adata.obs["is_primary_data"][:3]) == [True, False, True]


def test_rows_of_one_symbol_are_summed_and_cells_without_counts_left_out(placenta, folder):
    path, expected = placenta
    counts = expected.to_numpy()
    counts[3] = 0
    with h5py.File(path, "r+") as file:
        put(file, "raw/X", sp.csr_matrix(counts))
        put(file, "raw/var/feature_name", np.array([*GENES[:-1], "g0"], dtype=object))
    adata = anndata.read_h5ad(prepare("placenta", folder))
    assert list(adata.var_names) == GENES[:-1]
    kept = np.arange(40) != 3
    np.testing.assert_array_equal(adata.to_df()["g0"], counts[kept, 0] + counts[kept, -1])
    np.testing.assert_array_equal(adata.to_df()["g1"], counts[kept, 1])
    steps = "\n".join(adata.uns["origin"]["steps"])
    assert "several rows of one symbol are summed: g0" in steps
    assert "1 cells without counts are left out" in steps


def test_genes_that_one_of_two_files_lacks_are_left_out_and_told(folder, rng, plates):
    expected = write_downloads("intestine", folder, rng, plates)
    with h5py.File(folder / "downloads" / SETS["intestine"].downloads[1].file, "r+") as file:
        put(file, "raw/var/feature_name", np.array([*GENES[:-2], "new", GENES[-1]], dtype=object))
    adata = anndata.read_h5ad(prepare("intestine", folder))
    left = [gene for gene in GENES if gene != "other0"]
    pd.testing.assert_frame_equal(adata.to_df(), expected[left], check_dtype=False, check_names=False)
    assert adata.obs_names[0] == "ifn_AAAC0-1"
    assert adata.obs_names[-1] == "media_AAAC39-1"
    assert "2 of 63 genes, which not all files have, are left out" in adata.uns["origin"]["steps"][1]


def put(file: h5py.File, place: str, element) -> None:
    """Write an element in place of another one."""
    group, _, name = place.rpartition("/")
    if place in file:
        del file[place]
    anndata.io.write_elem(file[group or "/"], name, element)


def drop(place: str):
    def change(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            table, _, column = place.rpartition("/")
            del file[place]
            order = [name for name in file[table].attrs["column-order"] if name != column]
            file[table].attrs["column-order"] = order or np.array([], dtype="S1")

    return change


def normalised(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["raw/X/data"][...] = file["raw/X/data"][...] / 3


def without_counts(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["raw"], file["X"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def unlabelled(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["obs/cell_type/codes"][:2] = -1


def same_names(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["obs/_index"][1] = "AAAC0-1"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (drop("obs/cell_type"), r"{file}: unknown column of obs 'cell_type'.*; there are: donor_id, "),
        (drop("raw/var/feature_name"), r"{file}: unknown column of var 'feature_name'"),
        (normalised, r"{file}, raw/X: X holds .* values that are not integer.*raw counts \(integers ≥ 0\) are needed"),
        (without_counts, r"{file} has neither X nor raw/X"),
        (cut, r"{file} is not a readable h5ad file"),
        (unlabelled, r"obs\['cell_type'\] is missing for 2 of 40 cells"),
        (same_names, r"1 duplicate cell names, e\.g\. 'AAAC0-1'"),
    ],
)
def test_what_is_wrong_with_a_file_is_named_and_nothing_is_left(placenta, folder, change, told):
    change(placenta[0])
    with pytest.raises(ValueError, match=told.format(file=re.escape(placenta[0].name))):
        prepare("placenta", folder)
    assert list(folder.rglob("*.*")) == [placenta[0]], "no output, no record of a hash, no temporary file"


def test_a_file_that_was_not_made_here_is_not_written_over(placenta, folder):
    own = folder / "placenta.h5ad"
    for make in (lambda: own.write_bytes(b"mine"), lambda: own.write_bytes(placenta[0].read_bytes())):
        make()
        before = own.read_bytes()
        assert state("placenta", folder) == "placenta.h5ad is there, but was not made by this command"
        with pytest.raises(ValueError, match=r"placenta\.h5ad was not made by this command and would be lost: move it"):
            prepare("placenta", folder)
        assert own.read_bytes() == before


def test_another_version_is_told_and_made_anew(placenta, folder, monkeypatch):
    out = prepare("placenta", folder)
    before = out.read_bytes()
    assert prepare("placenta", folder).read_bytes() == before, "the same cells make the same bytes"
    monkeypatch.setattr("helpers.prepare.VERSION", 2)
    assert state("placenta", folder) == "to be prepared again: made by another version"
    prepare("placenta", folder)
    assert state("placenta", folder) == "ready"


def test_memory_does_not_grow_with_the_file(folder, rng, monkeypatch):
    """A file of 128 MB, and one whose 1.6 million values are stored gene by gene, in under 40 MB."""
    monkeypatch.setattr(h5ad, "VALUES", 200_000)
    path, n, n_genes = folder / "downloads" / SETS["placenta"].downloads[0].file, 32_000, 1000
    counts = sp.random_array((n, n_genes), density=0.05, rng=rng, format="csr", dtype=np.float32)
    counts.data[:] = 1
    obs = pd.DataFrame({"cell_type": pd.Categorical(["a"] * n)}, index=[f"c{number}" for number in range(n)])
    var = pd.DataFrame({"feature_name": [f"g{number}" for number in range(n_genes)]}, index=range(n_genes)).rename(str)
    for matrix in (counts.toarray(), counts.tocsc()):
        anndata.AnnData(matrix, obs=obs, var=var).write_h5ad(path)
        del matrix
        path.with_name(f"{path.name}.sha256").unlink(missing_ok=True)
        tracemalloc.start()
        out = prepare("placenta", folder)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 40e6
        assert (counts != anndata.read_h5ad(out).X).nnz == 0


# -- 3CA ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def archive(folder) -> Path:
    return folder / "downloads" / "Data_Kim2020_Lung.zip"


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize("by_gene", [False, True])
def test_an_archive_may_be_zip_or_tar_in_any_order_of_values(archive, folder, rng, monkeypatch, pack, by_gene):
    members, expected = atlas_members(rng, by_gene=by_gene)
    pack(archive, members)
    monkeypatch.setattr(entries, "BLOCK_CELLS", 7)
    monkeypatch.setattr(entries, "LINES", 100)
    adata = anndata.read_h5ad(prepare("kim_lung", folder))
    pd.testing.assert_frame_equal(adata.to_df(), expected, check_dtype=False, check_names=False)
    assert set(adata.obs["sample"]) == {"P0019", "18"}
    assert list(adata.obs.columns) == ["sample", "cell_type", "complexity"]


def without_last_line(members: dict) -> dict:
    text = members["Exp_data_UMIcounts.mtx"]
    return members | {"Exp_data_UMIcounts.mtx": text[: text.rindex("\n", 0, -1) + 1]}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without_last_line, r"Exp_data_UMIcounts\.mtx ends after ([\d,]+) of [\d,]+ values: it is cut"),
        (
            lambda m: m | {"Genes.txt": "g0\n"},
            "62 genes × 40 cells, but the tables beside it have 1 genes and 40 cells",
        ),
        (
            lambda m: m | {"Exp_data_UMIcounts.mtx": "genes\n"},
            "begins with 'genes': a general coordinate Matrix Market",
        ),
        (lambda m: m | {"Cells.csv": "cell_name,sample\na,b\n"}, r"unknown column of Cells\.csv 'cell_type'"),
        (
            lambda m: {k: v for k, v in m.items() if k != "Genes.txt"},
            r"holds 0 files Genes\.txt, one is needed; it has: ",
        ),
        (lambda m: m | {"twice/Cells.csv": ""}, r"holds 2 files Cells\.csv, one is needed"),
    ],
)
def test_what_is_wrong_inside_an_archive_is_named(archive, folder, rng, change, told):
    zipped(archive, change(atlas_members(rng)[0]))
    with pytest.raises(ValueError, match=told) as caught:
        prepare("kim_lung", folder)
    assert archive.name in str(caught.value)
    assert list(folder.rglob("*.*")) == [archive]


@pytest.mark.parametrize(("pack", "share"), [(zipped, 0.9), (tarred, 0.6), (tarred, 0.001)])
def test_a_cut_archive_is_named(archive, folder, rng, pack, share):
    pack(archive, atlas_members(rng)[0])
    content = archive.read_bytes()
    archive.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"Data_Kim2020_Lung\.zip is cut, or neither zip nor tar"):
        prepare("kim_lung", folder)
    assert list(folder.rglob("*.*")) == [archive]


# -- plates ------------------------------------------------------------------------------------------------------------


def test_a_plate_is_needed_once_for_all_drugs(folder, rng, plates):
    write_downloads("tahoe_tak901", folder, rng, plates)
    first = prepare("tahoe_tak901", folder)
    sums = anndata.read_h5ad(first).uns["origin"]["files"]
    for one in PLATES:
        (folder / "downloads" / one.file).unlink()
    assert {state(name, folder) for name in DRUGS} == {"to be prepared", "ready"}
    adata = anndata.read_h5ad(prepare("tahoe_ph797804", folder))
    assert set(adata.obs["drug"]) == {"DMSO_TF", "PH-797804"}
    assert set(adata.obs["cell_name"]) == set(LINES)
    assert set(adata.obs["pass_filter"]) == {"full", "minimal"}
    assert adata.uns["origin"]["files"] == sums
    (folder / "tahoe" / "plate5.h5ad").unlink()
    with pytest.raises(
        ValueError, match=r"tahoe_dinaciclib: missing files, 1 in all:\n .*plate5_filt_Vevo.*size unknown"
    ):
        prepare("tahoe_dinaciclib", folder)


def test_files_without_a_cell_of_a_set_are_named(folder, rng, plates, screened):
    write_downloads("tahoe_tak901", folder, rng, plates)
    path = folder / "downloads" / PLATES[0].file
    adata = anndata.read_h5ad(path)
    adata[adata.obs["cell_name"] == "A549"].copy().write_h5ad(path)
    with pytest.raises(ValueError, match=r"plate1_filt.*, X: no cell is left"):
        prepare("tahoe_tak901", folder)
    for one in SETS["replogle"].downloads:
        with h5py.File(folder / "downloads" / one.file, "r+") as file:
            file["obs/gene"][:] = list(file["obs/__categories/gene"].asstr()).index("non-targeting")
    with pytest.raises(ValueError, match=r"K562_gwps.*, X, K562_essential.*, X, rpe1.*, X: no cell is left"):
        prepare("replogle", folder)


def test_lines_without_cells_of_a_drug_are_named(folder, rng, plates):
    write_downloads("tahoe_tak901", folder, rng, plates)
    for number in range(4, 15, 4):  # all plates with TAK-901
        path = folder / "downloads" / PLATES[number - 1].file
        adata = anndata.read_h5ad(path)
        adata[~((adata.obs["drug"] == "TAK-901") & (adata.obs["cell_name"] == "LoVo"))].copy().write_h5ad(path)
    with pytest.raises(ValueError, match="the plates hold no cell of TAK-901 in LoVo: are all of them there"):
        prepare("tahoe_tak901", folder)


# -- spike-ins ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def screened(folder, rng, monkeypatch) -> dict[str, pd.DataFrame]:
    """Downloads of the three screens on genes that differ, and their counts; the table expects no real file."""
    entry = SETS["replogle"]
    tiny = tuple(dataclasses.replace(one, size=None, md5=None) for one in entry.downloads)
    monkeypatch.setitem(SETS, "replogle", dataclasses.replace(entry, downloads=tiny))
    genes = [[*GENES[:58], "g0"], GENES[:55], GENES[5:62]]
    files = [folder / "downloads" / one.file for one in tiny]
    return {one.key: screen_file(path, names, rng) for one, path, names in zip(tiny, files, genes, strict=True)}


def test_spike_ins_are_the_targeted_cells_on_the_genes_of_all_screens(screened, folder):
    adata = anndata.read_h5ad(prepare("replogle", folder))
    assert list(adata.var_names) == GENES
    assert adata.n_obs == 3 * 40
    for key, expected in screened.items():
        part = adata[adata.obs["dataset_id"] == f"replogle_{key}"]
        kept = expected[expected["target"] != "non-targeting"]
        assert list(part.obs_names) == [f"{key}_AAAC{number}-1" for number in kept.index]
        assert list(part.obs["perturbation"]) == list(kept["target"])
        assert set(part.obs["cell_type"]) == {"RPE1" if key == "rpe1" else "K562"}
        assert set(part.obs["batch"]) == {f"replogle_{key}_{number}" for number in (1, 2, 3)}
        counts = kept.drop(columns="target").T.groupby(level=0).sum().T
        np.testing.assert_array_equal(part.to_df()[counts.columns], counts)
        assert part[:, ~part.var_names.isin(counts.columns)].X.nnz == 0
    steps = "\n".join(adata.uns["origin"]["steps"])
    assert "lacks 7 of 62 genes, which are 0" in steps
    assert "several rows of one symbol are summed: g0" in steps


def test_a_sample_of_spike_ins_depends_on_its_seed_alone(screened, folder, monkeypatch, capsys):
    whole = anndata.read_h5ad(prepare("replogle", folder)).to_df()
    assert main(["replogle", "--cells", "30", "--seed", "4"], folder) == 0
    out = folder / "replogle_30_seed4.h5ad"
    first = anndata.read_h5ad(out)
    assert first.n_obs == 30
    assert "30 cells drawn with seed 4" in first.uns["origin"]["steps"][0]
    pd.testing.assert_frame_equal(first.to_df(), whole.loc[first.obs_names])
    monkeypatch.setattr(h5ad, "BLOCK_CELLS", 5)
    monkeypatch.setattr(h5ad, "SCATTERED", 1)
    pd.testing.assert_frame_equal(
        anndata.read_h5ad(prepare("replogle", folder, cells=30, seed=4)).to_df(), first.to_df()
    )
    other = anndata.read_h5ad(prepare("replogle", folder, cells=30, seed=5))
    assert list(other.obs_names) != list(first.obs_names)
    assert main(["replogle", "--cells", "121"], folder) == 1
    assert "cells = 121, but there are 120" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["replogle", "--cells", "0"], folder)


def test_spike_ins_below_a_corpus_serve_a_design(screened, folder, small_cells, small_design, write_design, tmp_path):
    """The columns are those that `perturbation` and the spike-ins need, once the cells stand below the corpus's own."""
    spiked = anndata.read_h5ad(prepare("replogle", folder))
    small_cells.obs["perturbation"] = "control"
    both = anndata.concat([small_cells, spiked], join="inner")
    both.obs = pd.concat([small_cells.obs, spiked.obs]).astype({"donor_id": "category"})
    both.obs["cell_type_harmonised"] = both.obs["cell_type"]
    both.write_h5ad(small_design["corpus"]["path"])
    sets = [f"replogle_{key}" for key in screened]
    small_design["perturbation"] = {"where": {"dataset_id": sets}, "held_out": {"rpe1": {"cell_type": ["RPE1"]}}}
    small_design["strategies"] = ["random", "spikein_50"]
    design = load_design(write_design(small_design))
    cells = read_source(design)
    roles = assign_roles(cells.obs, design)
    assert set(roles[cells.obs["cell_type"] == "RPE1"]) == {"evaluation"}
    assert set(roles[cells.obs["cell_type"] == "K562"]) == {"spikein"}
    pool = cells.obs[roles.isin(["corpus", "spikein"])]
    chosen = draw("spikein_50", pool, 40, rng=np.random.default_rng(0))
    assert pool.iloc[chosen]["cell_type"].eq("K562").sum() == 20


def test_files_of_other_screens_are_refused(folder, rng):
    for one in SETS["replogle"].downloads:
        screen_file(folder / "downloads" / one.file, GENES, rng)
    with pytest.raises(
        ValueError, match=r"K562_gwps_raw_singlecell_01\.h5ad has [\d,]+ bytes, expected 65,830,941,948"
    ):
        prepare("replogle", folder)


def test_old_tables_warn_of_nothing(screened, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepare("replogle", folder)
