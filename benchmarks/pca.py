"""PCA of 222,000 cells × 19,331 genes of simulated counts read from disk, and beside scikit-learn's on fewer cells.

``python -m benchmarks.pca [--small]``; --small takes a tenth of the cells and claims nothing about the full size.
"""

import sys
import tempfile
from pathlib import Path

import anndata
import h5py
import numpy as np
import scipy.sparse as sp

from benchmarks.common import alone, report

N_GENES, N_PROGRAMS, K = 19_331, 60, 50
UMIS = 1_500  # of the median cell
BLOCK = 2_048  # cells made at a time
SLOTS = 65_536  # a gene has as many of these as its share in a program


def write(path: Path, n_cells: int) -> float:
    """Counts of cells that mix programs of genes, written block by block as h5ad; returns the share of zeros."""
    programs = tables(np.random.default_rng(0))
    n_values = 0
    with h5py.File(path, "w") as file:
        anndata.io.write_elem(file, "X", sp.csr_matrix((0, N_GENES), dtype=np.float32))
        X = anndata.io.sparse_dataset(file["X"])
        for start in range(0, n_cells, BLOCK):
            block = counts(programs, min(BLOCK, n_cells - start), np.random.default_rng([1, start]))
            X.append(block)
            n_values += block.nnz
        blank = anndata.AnnData(shape=(n_cells, N_GENES))
        for name in ("obs", "var"):
            anndata.io.write_elem(file, name, getattr(blank, name))
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
    return 1 - n_values / (n_cells * N_GENES)


def tables(rng: np.random.Generator) -> np.ndarray:
    """Genes in the slots of each program (N_PROGRAMS, SLOTS): a common base, changed by each program."""
    shares = np.exp(1.8 * rng.standard_normal(N_GENES) + 0.7 * rng.standard_normal((N_PROGRAMS, N_GENES)))
    ends = np.cumsum(shares / shares.sum(axis=1, keepdims=True), axis=1)
    return np.stack([np.searchsorted(end, (np.arange(SLOTS) + 0.5) / SLOTS) for end in ends]).clip(max=N_GENES - 1)


def counts(programs: np.ndarray, n_cells: int, rng: np.random.Generator) -> sp.csr_matrix:
    """Counts (n_cells, N_GENES): each UMI is of a program of its cell's mixture, and of a gene of that program."""
    mixtures = rng.dirichlet(0.1 * np.geomspace(1, 0.1, N_PROGRAMS), n_cells)
    umis = 1 + (UMIS * np.exp(0.4 * rng.standard_normal(n_cells))).astype(np.int64)
    program = np.repeat(np.tile(np.arange(N_PROGRAMS), n_cells), rng.multinomial(umis, mixtures).ravel())
    genes = programs[program, rng.integers(SLOTS, size=len(program))]
    ones, cells = np.ones(len(genes), dtype=np.float32), np.repeat(np.arange(n_cells), umis)
    return sp.csr_matrix((ones, (cells, genes)), shape=(n_cells, N_GENES))


def on_disk(path: Path) -> tuple[anndata.AnnData]:
    """The cells, of which nothing is read yet."""
    return (anndata.read_h5ad(path, backed="r"),)


def in_memory(path: Path) -> tuple[anndata.AnnData]:
    """The cells as a sparse matrix in memory."""
    return (anndata.read_h5ad(path),)


def ours(adata: anndata.AnnData) -> list[float]:
    """Axes from disk; explained variances, as all below. Imported inside: each process holds the one candidate only."""
    from helpers.models.pca import LogCP10k, principal_axes

    return principal_axes(LogCP10k(adata.X), K).variances.tolist()


def family(adata: anndata.AnnData) -> list[float]:
    """The family as a study trains it: axes, and the losses of all cells; variances of the embedding."""
    from helpers.models import Budget, TrainingCells, create

    model = create("pca", n_genes=N_GENES)
    model.fit(TrainingCells(adata, adata[:1000]), budget=Budget("epochs", 1), rng=np.random.default_rng(0))
    return np.var(model.embed(adata), axis=0, dtype=np.float64).tolist()


def logs(adata: anndata.AnnData) -> sp.csr_array:
    """log1p CP10k in memory, for the peers."""
    from helpers.models.counts import log_cp10k, raw_counts

    return log_cp10k(raw_counts(adata))


def arpack(adata: anndata.AnnData) -> list[float]:
    """scikit-learn's PCA of a sparse matrix, exact."""
    from sklearn.decomposition import PCA

    return PCA(K, svd_solver="arpack", random_state=0).fit(logs(adata)).explained_variance_.tolist()


def truncated(adata: anndata.AnnData) -> list[float]:
    """scikit-learn's randomised decomposition, which does not centre: its first axis is the mean."""
    from sklearn.decomposition import TruncatedSVD

    return TruncatedSVD(K + 1, random_state=0).fit(logs(adata)).explained_variance_.tolist()


def incremental(adata: anndata.AnnData) -> list[float]:
    """scikit-learn's PCA in batches, made dense by it."""
    from sklearn.decomposition import IncrementalPCA

    return IncrementalPCA(K, batch_size=1024).fit(logs(adata)).explained_variance_.tolist()


def main(small: bool) -> int:
    """Measure and report; 1 if a claim fails."""
    n_full, n_peers = (22_200, 3_000) if small else (222_000, 10_000)
    rows, variances = [], {}
    with tempfile.TemporaryDirectory() as temporary:
        paths = {n: Path(temporary) / f"{n}.h5ad" for n in (n_full, n_peers)}
        zeros = {n: alone(write, path, n).value for n, path in paths.items()}

        def measure(name: str, candidate, prepare, n_cells: int) -> dict:
            done = alone(candidate, paths[n_cells], prepare=prepare)
            variances[name] = np.array(done.value)
            rows.append({"what": name, "cells": n_cells, "seconds": done.seconds, "peak_gb": done.peak_gb})
            rows[-1] |= {"variance": variances[name].sum()}
            return rows[-1]

        full = measure("ours, from disk", ours, on_disk, n_full)
        fit = measure("family: fit and embed, in memory", family, in_memory, n_full)
        measure("ours", ours, on_disk, n_peers)
        measure("sklearn PCA, arpack", arpack, in_memory, n_peers)
        measure("sklearn TruncatedSVD, not centred", truncated, in_memory, n_peers)
        measure("sklearn IncrementalPCA", incremental, in_memory, n_peers)
    theirs = variances["sklearn PCA, arpack"] * (n_peers - 1) / n_peers
    off = np.abs(variances["ours"] / theirs - 1).max()
    claims = {f"each variance within 1e-3 of the exact one: {off:.1e}": off <= 1e-3}
    if not small:
        for name, row in (("from disk", full), ("family in memory", fit)):
            claims[f"{n_full:,} × {N_GENES:,}, {name}, within 300 s: {row['seconds']:.0f} s"] = row["seconds"] <= 300
            claims[f"{n_full:,} × {N_GENES:,}, {name}, within 6 GB: {row['peak_gb']:.2f} GB"] = row["peak_gb"] <= 6
    values = (1 - zeros[n_full]) * N_GENES
    title = f"PCA, {K} components of {N_GENES:,} genes, {values:,.0f} of them in a cell ({zeros[n_full]:.1%} zeros)"
    return report("pca_small" if small else "pca", title, rows, claims)


if __name__ == "__main__":
    sys.exit(main("--small" in sys.argv[1:]))
