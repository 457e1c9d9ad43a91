"""AvgBIO beside the package scib on real cells, and the whole battery on 100,000 simulated cells × 64 dimensions.

``python -m benchmarks.integration [--small]``; --small takes one real set and 5,000 simulated cells.
"""

import contextlib
import io
import subprocess
import sys
import warnings

import numpy as np

from benchmarks.common import alone, report
from helpers.provenance import project_path

SETS = ("heart", "pbmc3k", "baron")
TRY_LOUVAIN = "import igraph, louvain as v; v.find_partition(igraph.Graph.Full(9), v.RBConfigurationVertexPartition)"
SCIB_WARNINGS = "The function louvain|pkg_resources is deprecated|This package has been superseded|invalid escape"


def real(name: str) -> tuple[np.ndarray, np.ndarray]:
    """50 components of an embedded set, and its types."""
    import anndata

    from helpers.evaluate.baselines import own_pca_embedding

    everything = anndata.read_h5ad(project_path("data/embedded.h5ad"))
    cells = everything[everything.obs["dataset_id"] == name].copy()
    return own_pca_embedding(cells), cells.obs["cell_type"].astype(str).to_numpy()


def simulated(n_cells: int, n_latent: int = 64) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Twenty types of unequal size and four batches: embedding, types, batches."""
    rng = np.random.default_rng(0)
    types, batch = np.minimum(rng.geometric(0.15, n_cells) - 1, 19), rng.integers(0, 4, n_cells)
    centres, shifts = rng.normal(0, 0.5, (20, n_latent)), rng.normal(0, 0.2, (4, n_latent))
    noise = rng.standard_normal((n_cells, n_latent))
    return (centres[types] + shifts[batch] + noise).astype(np.float32), types, batch


def warm_real(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The input, after ours has compiled and loaded what it needs on a few of its cells."""
    embedding, labels = real(name)
    ours(embedding[::4], labels[::4])
    return embedding, labels


def warm_real_scib(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The input, after scib has done so."""
    embedding, labels = real(name)
    scib(embedding[::4], labels[::4])
    return embedding, labels


def warm_simulated(n_cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The input, after ours has compiled."""
    battery(*simulated(500))
    return simulated(n_cells)


def ours(embedding: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Ours, one run of the clustering as in scib."""
    from helpers.evaluate.integration import avg_bio

    return avg_bio(embedding, labels)


def battery(embedding: np.ndarray, labels: np.ndarray, batch: np.ndarray) -> dict[str, float]:
    """Ours, every score."""
    from helpers.evaluate.integration import battery

    return battery(embedding, labels, batch)[0]


def scib(embedding: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The package: neighbours, Louvain at twenty resolutions, and its three scores."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        import anndata
        import pandas as pd
        import scanpy as sc
        import scib  # which resets the filters

        warnings.filterwarnings("ignore", SCIB_WARNINGS)
        obs = pd.DataFrame({"type": pd.Categorical(labels)}, index=[str(i) for i in range(len(labels))])
        adata = anndata.AnnData(np.zeros((len(labels), 1), dtype=np.float32), obs, obsm={"X_emb": embedding})
        sc.pp.neighbors(adata, use_rep="X_emb")
        resolutions = scib.me.get_resolutions(20, 0, 2)
        scib.me.cluster_optimal_resolution(
            adata, "type", "cluster", cluster_function=sc.tl.louvain, metric=scib.me.nmi, resolutions=resolutions
        )
        parts = {name: getattr(scib.me, name)(adata, "cluster", "type") for name in ("nmi", "ari")}
        parts["asw_label"] = scib.me.silhouette(adata, "type", "X_emb")
    return {name: float(value) for name, value in parts.items()} | {"avg_bio": float(np.mean(list(parts.values())))}


def main(small: bool) -> int:
    """Measure and report; 1 if a claim fails."""
    n_cells, rows, claims = (5_000 if small else 100_000), [], {}

    def note(what: str, done) -> None:
        rows.append({"what": what, "seconds": done.seconds, "peak_gb": done.peak_gb, **done.value})

    # A louvain built for another igraph ends the interpreter, and a pool would wait for it for ever.
    works = subprocess.run([sys.executable, "-W", "ignore", "-c", TRY_LOUVAIN], capture_output=True).returncode == 0
    claims["scib's Louvain runs here (louvain 0.8 with igraph 0.10 or 0.11)"] = works
    for name in SETS[: 1 if small else None]:
        mine = alone(ours, name, prepare=warm_real)
        note(f"ours, {name}", mine)
        if works:
            theirs = alone(scib, name, prepare=warm_real_scib)
            note(f"scib, {name}", theirs)
            ratio = theirs.seconds / mine.seconds
            apart = max(abs(mine.value[key] - theirs.value[key]) for key in theirs.value)
            claims |= {
                f"{name}: at least 10 times faster than scib: {ratio:.1f}": ratio >= 10,
                f"{name}: within .02 of scib: {apart:.4f}": apart <= 0.02,
            }
    whole = alone(battery, n_cells, prepare=warm_simulated)
    note(f"battery, {n_cells:,} × 64", whole)
    if not small:
        claims |= {
            f"{n_cells:,} × 64 within 300 s: {whole.seconds:.0f} s": whole.seconds <= 300,
            f"{n_cells:,} × 64 within 6 GB: {whole.peak_gb:.2f} GB": whole.peak_gb <= 6,
        }
    title = "Integration scores, one thread, compiled beforehand; peak of the process, packages included"
    return report("integration_small" if small else "integration", title, rows, claims)


if __name__ == "__main__":
    sys.exit(main("--small" in sys.argv[1:]))
