"""How well an embedding keeps cell types apart and mixes batches: the published battery, in the time of one look.

Every function takes arrays: an embedding (n_cells, n_latent), the cells' types (n_cells,) and their batches (n_cells,).
Scores lie between 0 and 1, and more is better, but for `pcr`. Which value means nothing differs from score to score and
from set to set: read each beside `control_embeddings`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.evaluate.cells import checked_embedding, name_codes, type_codes
from helpers.evaluate.neighbors import Neighbors, cell_order, louvain, nearest, silhouettes

RESOLUTIONS = np.arange(1, 21) / 10
N_NEIGHBORS = 14  # other cells: scanpy's n_neighbors = 15 counts the cell itself
N_WIDE = 89  # other cells that scib-metrics looks at
_OF_BATCHES = ("asw_batch", "pcr_batch", "pcr_comparison", "condition_separation", "condition_variance")
OF_BATCHES = {*_OF_BATCHES, *(f"scib_metrics_{name}" for name in ("bras", "ilisi_knn", "kbet"))}  # others: of types


def shared_neighbors(
    embedding: np.ndarray, labels: Sequence | np.ndarray | None = None, *, wide: bool = False
) -> Neighbors:
    """The neighbours of each cell that all scores of an embedding share: 14, or the 89 of `scib_metrics_scores`.

    With `labels` (n_cells,) the order of the rows decides nothing even among cells at one point. Raises ValueError for
    values that are not finite, and for no more cells than neighbours.
    """
    values, wanted = checked_embedding(embedding), N_WIDE if wide else N_NEIGHBORS
    if len(values) <= wanted:
        raise ValueError(f"embedding has {len(values)} cells: {wanted + 1} or more make a neighbour graph")
    return nearest(values, wanted, ties=None if labels is None else np.unique(labels, return_inverse=True)[1])


def avg_bio(
    embedding: np.ndarray, labels: Sequence | np.ndarray, *, neighbors: Neighbors | None = None, n_repeats: int = 1
) -> dict[str, float]:
    """How well types stay apart: the published AvgBIO and its three parts.

    Parameters
    ----------
    embedding, labels
        (n_cells, n_latent) finite, and (n_cells,) of two types or more.
    neighbors
        From `nearest`, 14 neighbours or more; without them they are searched.
    n_repeats
        Runs of the clustering to average over. One run is off by .01 to .03 where the best resolution is a close call,
        which holds for scib's too.

    Returns
    -------
    nmi (arithmetic) and ari of the Louvain clustering, among resolutions 0.1, 0.2, … 2.0, with the best nmi; asw_label;
    avg_bio, the mean of these three.

    Raises
    ------
    ValueError
        Values that are not finite, cells without a type, a single type, fewer than 15 cells.

    Source: study, and scib 1.1.7 with `louvain`: unweighted edges between a cell and its 14 nearest others. Deviates
    from it in the random order of visits alone, which depends on the embedding's values, not on the order of the rows.
    """
    values, types = checked_embedding(embedding), type_codes(labels, len(embedding))
    return _avg_bio(values, types, _given_or_nearest(values, types, neighbors), n_repeats, silhouettes(values, types))


def _avg_bio(
    values: np.ndarray, types: np.ndarray, neighbors: Neighbors, n_repeats: int, widths: np.ndarray
) -> dict[str, float]:
    from sklearn.metrics import adjusted_rand_score

    if n_repeats < 1:
        raise ValueError(f"n_repeats = {n_repeats}: use 1 or more")
    graph, order, runs = neighbors.graph(N_NEIGHBORS), cell_order(values, types), []
    for repeat in range(n_repeats):
        visits = np.random.default_rng(repeat).permutation(order)
        visited = graph[visits][:, visits].sorted_indices()  # the same whatever order the cells come in
        clusterings = [louvain(visited, resolution) for resolution in RESOLUTIONS]
        scores = [_nmi(types[visits], clusters) for clusters in clusterings]
        best = int(np.argmax(scores))
        runs.append((scores[best], adjusted_rand_score(types[visits], clusterings[best])))
    nmi, ari = np.mean(runs, axis=0)
    parts = {"nmi": float(nmi), "ari": float(ari), "asw_label": float(widths.mean() + 1) / 2}
    return parts | {"avg_bio": float(np.mean(list(parts.values())))}


def asw_label(embedding: np.ndarray, labels: Sequence | np.ndarray) -> float:
    """Mean silhouette of the types, from −1…1 to 0…1: 0.5 says nothing. A cell alone in its type counts as 0.5.

    Raises ValueError as `avg_bio`. Source: scib's silhouette, Euclidean.
    """
    values = checked_embedding(embedding)
    return float(silhouettes(values, name_codes(labels, "labels", len(values))).mean() + 1) / 2


def asw_batch(embedding: np.ndarray, labels: Sequence | np.ndarray, batch: Sequence | np.ndarray) -> float:
    """Mixing of batches within types: the mean over types of the mean of 1 − |silhouette of the batch|.

    Types seen in one batch only, and types with each cell in a batch of its own, are left out. Raises ValueError where
    no type is left, and for the input that `avg_bio` refuses. Source: scib's silhouette_batch, Euclidean.
    """
    values = checked_embedding(embedding)
    types, batches = name_codes(labels, "labels", len(values)), name_codes(batch, "batch", len(values))
    means = []
    for label in range(types.max() + 1):
        cells = np.flatnonzero(types == label)
        if 1 < len(np.unique(batches[cells])) < len(cells):
            means.append((1 - np.abs(silhouettes(values[cells], batches[cells]))).mean())
    if not means:
        raise ValueError("no type has cells in two batches, one of them twice: mixing within types cannot be judged")
    return float(np.mean(means))


def graph_connectivity(neighbors: Neighbors, labels: Sequence | np.ndarray) -> float:
    """Mean over types of the share of a type's cells in its largest connected part of the neighbour graph.

    `neighbors` holds 14 neighbours or more of each cell. Without any structure it is near 1 for common types and near 0
    for rare ones: a collapsed embedding scores as a shuffled one. Source: scib's graph_connectivity.
    """
    from scipy.sparse.csgraph import connected_components

    types = name_codes(labels, "labels", len(neighbors.indices))
    links = neighbors.graph(N_NEIGHBORS).tocoo()
    inside = types[links.row] == types[links.col]
    links.data, links.coords = links.data[inside], (links.row[inside], links.col[inside])
    part = connected_components(links, directed=False)[1]
    parts = pd.DataFrame({"type": types, "part": part}).value_counts()
    return float((parts.groupby("type").max() / np.bincount(types)).mean())


def pcr(embedding: np.ndarray, batch: Sequence | np.ndarray, *, n_components: int = 50) -> float:
    """Share of the variance of the first `n_components` principal components that lies between batches: 0 is best.

    Where all cells lie at one point nothing lies between batches: 0. Raises ValueError for values that are not finite,
    cells without a batch, a single batch.

    Source: scib's pc_regression on a batch of names. The R² of the components, weighted by their variances, add up to a
    ratio of sums of squares, so that no regression is needed.
    """
    values = checked_embedding(embedding)
    batches = name_codes(batch, "batch", len(values))
    if batches.max() == 0:
        raise ValueError("batch holds one batch: two or more can differ")
    if (values == values[0]).all():
        return 0.0
    centred = values - values.mean(axis=0, dtype=np.float64)
    if centred.shape[1] > n_components:
        centred = centred @ np.linalg.eigh(centred.T @ centred)[1][:, -n_components:]
    sums = np.zeros((batches.max() + 1, centred.shape[1]))
    np.add.at(sums, batches, centred)
    return float((sums**2 / np.bincount(batches)[:, None]).sum() / (centred**2).sum())


def pcr_comparison(before: float, after: float) -> float:
    """Share of the batch variance that an embedding removes, (before − after) / before, and 0 where it adds some.

    `before` is the `pcr` of the expression, as its first 50 principal components show it (`own_pca_embedding`); `after`
    that of the embedding. Raises ValueError where `before` is 0 or less.

    Source: scib's pcr_comparison, scaled, which the study's tables call PCR_batch. It takes the components of all
    genes, here those of the set's 2,000 most variable ones.
    """
    if before <= 0:
        raise ValueError(f"before = {before}: batches that do not differ before cannot come nearer")
    return max(0.0, (before - after) / before)


def battery(
    embedding: np.ndarray,
    labels: Sequence | np.ndarray,
    batch: Sequence | np.ndarray | None = None,
    *,
    neighbors: Neighbors | None = None,
    before: float | None = None,
    n_repeats: int = 1,
) -> tuple[dict[str, float], np.ndarray]:
    """All scores of one embedding, with neighbours searched once, and the silhouette of each cell among the types.

    Parameters as in `avg_bio`; `batch` is (n_cells,) of two batches or more, or None for a set that has one; `before`
    the `pcr` of the expression that was embedded, see `pcr_comparison`.

    Returns
    -------
    scores
        nmi, ari, asw_label, avg_bio, graph_connectivity; with `batch` asw_batch and pcr_batch too; with `before`
        pcr_comparison.
    silhouettes
        (n_cells,), whose mean is asw_label, but from −1 to 1.
    """
    values, types = checked_embedding(embedding), type_codes(labels, len(embedding))
    if batch is not None and name_codes(batch, "batch", len(values)).max() == 0:
        raise ValueError("batch holds one batch: give batch=None to score types alone")
    neighbors = _given_or_nearest(values, types, neighbors)
    widths = silhouettes(values, types)
    scores = _avg_bio(values, types, neighbors, n_repeats, widths)
    scores["graph_connectivity"] = graph_connectivity(neighbors, types)
    if batch is not None:
        scores |= {"asw_batch": asw_batch(values, types, batch), "pcr_batch": pcr(values, batch)}
    if before is not None:
        scores["pcr_comparison"] = pcr_comparison(before, scores["pcr_batch"])
    return scores, widths


def scib_metrics_scores(
    embedding: np.ndarray,
    labels: Sequence | np.ndarray,
    batch: Sequence | np.ndarray,
    *,
    neighbors: Neighbors | None = None,
    compilation_cache: str | Path | None = None,
) -> dict[str, float]:
    """Scores of the package scib-metrics, under `scib_metrics_` and its own names; not comparable with `battery`'s.

    Parameters as in `avg_bio`, but 89 neighbours or more; `compilation_cache` is a folder where JAX keeps what it
    compiles, for this process from now on. The first call on a new shape compiles for up to a minute. Neighbours are
    exact here.

    Source: scib-metrics, Benchmarker: 90 neighbours for LISI, 50 for kBET and 15 for clusters, the cell included.
    Deviates from it in kBET, here the share of accepted cells of the whole set: per type, each size compiles anew.
    """
    values, types = checked_embedding(embedding), name_codes(labels, "labels", len(embedding))
    batches = name_codes(batch, "batch", len(values))
    near = _given_or_nearest(values, types, neighbors, N_WIDE)
    import jax
    from scib_metrics import metrics
    from scib_metrics.nearest_neighbors import NeighborsResults

    if compilation_cache is not None:
        jax.config.update("jax_compilation_cache_dir", str(compilation_cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    itself = np.arange(len(values))[:, None]
    indices, distances = near.indices[:, :N_WIDE], near.distances[:, :N_WIDE]
    wide = NeighborsResults(np.hstack([itself, indices]), np.hstack([0.0 * itself, distances]))
    scores = {
        "isolated_labels": metrics.isolated_labels(values, types, batches),
        "silhouette_label": metrics.silhouette_label(values, types),
        "bras": metrics.bras(values, types, batches),
        "clisi_knn": metrics.clisi_knn(wide, types),
        "ilisi_knn": metrics.ilisi_knn(wide, batches),
        "kbet": metrics.kbet(wide.subset_neighbors(50), batches)[0],
    }
    for clusters, given in (("kmeans", values), ("leiden", wide.subset_neighbors(15))):
        found = getattr(metrics, f"nmi_ari_cluster_labels_{clusters}")(given, types)
        scores |= {f"{name}_{clusters}": value for name, value in found.items()}
    return {f"scib_metrics_{name}": float(value) for name, value in scores.items()}


def control_embeddings(
    embedding: np.ndarray, labels: Sequence | np.ndarray, batch: Sequence | np.ndarray, *, rng: np.random.Generator
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Floors and ceilings of the scores on a set: for each control its embedding, labels and batch.

    - labels: the types themselves, one axis each, and a little noise: ceiling of types kept apart.
    - shuffled_cells: the embedding with its rows permuted: floor of types kept apart.
    - batch: the batches themselves, in the same way: floor of mixing.
    - shuffled_batch: the embedding with batches permuted: ceiling of mixing.
    """
    values, labels, batch = checked_embedding(embedding), np.asarray(labels), np.asarray(batch)

    def axes(names: np.ndarray, key: str) -> np.ndarray:
        codes = name_codes(names, key, len(values))
        return np.eye(codes.max() + 1)[codes] + rng.normal(0, 0.01, (len(codes), codes.max() + 1))

    return {
        "labels": (axes(labels, "labels"), labels, batch),
        "shuffled_cells": (rng.permutation(values), labels, batch),
        "batch": (axes(batch, "batch"), labels, batch),
        "shuffled_batch": (values, labels, rng.permutation(batch)),
    }


def _nmi(types: np.ndarray, clusters: np.ndarray) -> float:
    """Mutual information over the mean of both entropies, as scikit-learn's with the arithmetic mean."""
    joint = np.bincount(types * (clusters.max() + 1) + clusters, minlength=(types.max() + 1) * (clusters.max() + 1))
    joint = joint.reshape(types.max() + 1, -1) / len(types)

    def entropy(shares: np.ndarray) -> float:
        shares = shares[shares > 0]
        return float(-(shares * np.log(shares)).sum())

    both = entropy(joint.sum(axis=0)) + entropy(joint.sum(axis=1))
    return max(0.0, 2 * (both - entropy(joint.ravel())) / both) if both else 1.0


def _given_or_nearest(
    values: np.ndarray, types: np.ndarray, neighbors: Neighbors | None, wanted: int = N_NEIGHBORS
) -> Neighbors:
    if neighbors is None:
        return shared_neighbors(values, types, wide=wanted > N_NEIGHBORS)
    if len(neighbors.indices) != len(values):
        raise ValueError(
            f"neighbors of {len(neighbors.indices):,} cells, embedding of {len(values):,}: give the same cells"
        )
    if (there := neighbors.indices.shape[1]) < wanted:
        raise ValueError(f"neighbors holds {there} neighbours of a cell, {wanted} are needed")
    return neighbors
