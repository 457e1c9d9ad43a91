"""What scores of an embedding stand on: nearest neighbours, silhouettes, Louvain clusters. Memory is bounded."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numba import njit

BLOCK = 2**22  # distances held at once: 32 MB, however many cells there are
PRECISE = 20_000  # silhouettes of so many cells are computed in float64, of more in float32, at half the time
GAIN = 1e-12  # a move has to gain more, or rounding would move cells to and fro for ever


@dataclass(frozen=True)
class Neighbors:
    """The nearest other cells of each cell, nearest first: `indices` and `distances`, (n_cells, n_neighbors) each."""

    indices: np.ndarray
    distances: np.ndarray

    def graph(self, n_neighbors: int) -> sp.csr_array:
        """(n_cells, n_cells) of ones where either cell is among the other's first `n_neighbors`.

        The edges of scanpy's umap connectivities with one more in `n_neighbors`, for there a cell is its own first.
        """
        n, k = self.indices.shape
        if not 1 <= n_neighbors <= k:
            raise ValueError(f"neighbors holds {k} neighbours of a cell, {n_neighbors} are needed")
        ends = self.indices[:, :n_neighbors].ravel()
        starts = np.arange(0, n * n_neighbors + 1, n_neighbors)
        links = sp.csr_array((np.ones(len(ends)), ends, starts), shape=(n, n))
        links = (links + links.T).tocsr()
        links.data[:] = 1
        return links


def cell_order(embedding: np.ndarray, ties: np.ndarray | None = None) -> np.ndarray:
    """(n_cells,) positions of the cells in an order without meaning that depends on their values alone.

    Only identical cells keep the order they come in, or that of the numbers `ties` (n_cells,), such as their types.
    """
    order = np.argsort(embedding[:, 0], kind="stable")
    first = embedding[order, 0]
    if (first[1:] == first[:-1]).any():
        order = np.lexsort([*([] if ties is None else [ties]), *embedding.T[::-1]])
    return order[np.random.default_rng(0).permutation(len(order))]


def nearest(embedding: np.ndarray, n_neighbors: int, *, ties: np.ndarray | None = None) -> Neighbors:
    """The `n_neighbors` nearest other cells of each cell, exact, Euclidean.

    Which of equally near cells are taken depends on `cell_order`, not on the order of the rows. Where all cells lie at
    one point each takes those that follow it there, which spreads the links evenly.

    `embedding` is (n_cells, n_latent), finite; `ties` as in `cell_order`. Raises ValueError for no more cells than
    neighbours.
    """
    from sklearn.neighbors import NearestNeighbors

    n = len(embedding)
    if not 1 <= n_neighbors < n:
        raise ValueError(f"n_neighbors = {n_neighbors} of {n:,} cells: use 1 to {n - 1}, or give more cells")
    order = cell_order(embedding, ties)
    points = embedding[order]
    if (points == points[0]).all():
        near, far = (np.arange(n)[:, None] + np.arange(1, n_neighbors + 1)) % n, np.zeros((n, n_neighbors))
    else:
        points = points - points.mean(axis=0)  # leaves distances as they are, and their rounding small
        far, near = NearestNeighbors(n_neighbors=n_neighbors, algorithm="brute").fit(points).kneighbors()
    back = np.argsort(order)
    return Neighbors(order[near][back], far[back])


def silhouettes(embedding: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Silhouette of each cell, (n_cells,) in −1…1, Euclidean; 0 for a cell alone in its group.

    `groups` is (n_cells,) of 0, 1, …, each with a cell. Raises ValueError for one group.

    Source: scikit-learn's silhouette_samples, which adds up a row at a time. Beyond `PRECISE`
    cells distances are float32 here.
    """
    sizes = np.bincount(groups)
    if len(sizes) < 2:
        raise ValueError("one group: a silhouette compares two or more")
    order = np.argsort(groups, kind="stable")
    starts, groups = np.cumsum(sizes) - sizes, groups[order]
    widths = np.empty(len(groups))
    for rows, distances in _distance_blocks(embedding[order]):
        own, here = groups[rows], np.arange(len(rows))
        sums = np.add.reduceat(distances, starts, axis=1).astype(np.float64)
        within = sums[here, own] / np.maximum(sizes[own] - 1, 1)
        means = sums / sizes
        means[here, own] = np.inf
        nearest = means.min(axis=1)
        most = np.maximum(within, nearest)
        widths[order[rows]] = np.divide(nearest - within, most, out=np.zeros(len(rows)), where=most > 0)
    widths[order[sizes[groups] == 1]] = 0
    return widths


def _distance_blocks(points: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and their distances to all cells, (n_rows,) and (n_rows, n_cells); a block is overwritten by the next."""
    if (points == points[0]).all():
        points = np.zeros_like(points)  # whatever rounding the centre would leave
    centred = points - points.mean(axis=0, dtype=np.float64)  # leaves distances as they are, and their rounding small
    centred = centred.astype(np.float64 if len(points) <= PRECISE else np.float32)
    norms = (centred**2).sum(axis=1)
    step = max(1, BLOCK // len(points))
    held = np.empty((min(step, len(points)), len(points)), dtype=centred.dtype)
    for start in range(0, len(points), step):
        rows = np.arange(start, min(start + step, len(points)))
        distances = np.matmul(-2 * centred[rows], centred.T, out=held[: len(rows)])
        distances += norms
        distances += norms[rows, None]
        distances[np.arange(len(rows)), rows] = 0
        np.sqrt(np.maximum(distances, 0, out=distances), out=distances)
        yield rows, distances


def louvain(graph: sp.csr_array, resolution: float) -> np.ndarray:
    """Communities of a graph, (n_cells,) of 0, 1, …, by greedy modularity with a resolution.

    `graph` is (n_cells, n_cells), symmetric, its entries positive. Cells are visited in its order first, which decides
    among moves of equal worth: permute it for another run.

    Source: Blondel 2008, with the resolution of Reichardt and Bornholdt 2006, as in the package `louvain`
    (RBConfigurationVertexPartition). Deviates from it by revisiting only cells with a neighbour that has moved.
    """
    indptr, indices = graph.indptr.astype(np.int64), graph.indices.astype(np.int64)  # one type: compiled once
    return _louvain(indptr, indices, graph.data.astype(np.float64), float(resolution))


@njit(cache=True)
def _louvain(indptr, indices, weights, resolution):
    membership = np.arange(len(indptr) - 1)
    while True:
        n = len(indptr) - 1
        community = _move(indptr, indices, weights, resolution)
        number, n_communities = np.full(n, -1), 0
        for i in range(n):
            if number[community[i]] < 0:
                number[community[i]] = n_communities
                n_communities += 1
        community = number[community]
        membership = community[membership]
        if n_communities == n:
            return membership
        indptr, indices, weights = _merge(indptr, indices, weights, community, n_communities)


@njit(cache=True)
def _move(indptr, indices, weights, resolution):
    """Move single nodes to the neighbouring community with the best modularity until none gains."""
    n = len(indptr) - 1
    community, size, total = np.arange(n), np.ones(n, dtype=np.int64), np.zeros(n)
    for i in range(n):
        total[i] = weights[indptr[i] : indptr[i + 1]].sum()
    degree, everything = total.copy(), total.sum()
    link, touched = np.zeros(n), np.empty(n, dtype=np.int64)
    empty, n_empty = np.empty(n, dtype=np.int64), 0
    queue, waiting, head, length = np.arange(n), np.ones(n, dtype=np.bool_), 0, n
    while length > 0:
        i, head, length = queue[head], (head + 1) % n, length - 1
        waiting[i] = False
        own, n_touched = community[i], 0
        for e in range(indptr[i], indptr[i + 1]):
            c = community[indices[e]]
            if indices[e] != i:
                if link[c] == 0:
                    touched[n_touched] = c
                    n_touched += 1
                link[c] += weights[e]
        total[own] -= degree[i]
        size[own] -= 1
        pull = resolution * degree[i] / everything
        best, gain = own, link[own] - pull * total[own]
        for c in touched[:n_touched]:
            if link[c] - pull * total[c] > gain + GAIN:
                best, gain = c, link[c] - pull * total[c]
            link[c] = 0
        if gain < -GAIN and n_empty > 0:  # better alone
            n_empty -= 1
            best = empty[n_empty]
        total[best] += degree[i]
        size[best] += 1
        if best != own:
            community[i] = best
            if size[own] == 0:
                empty[n_empty] = own
                n_empty += 1
            for j in indices[indptr[i] : indptr[i + 1]]:
                if not waiting[j] and community[j] != best:
                    waiting[j] = True
                    queue[(head + length) % n] = j
                    length += 1
    return community


@njit(cache=True)
def _merge(indptr, indices, weights, community, n_communities):
    """The graph of the communities: one node each, links added up, links inside as a loop."""
    members = np.argsort(community, kind="mergesort")
    starts = np.searchsorted(community[members], np.arange(n_communities + 1))
    merged, ends, sums = np.zeros(n_communities + 1, dtype=indptr.dtype), np.empty_like(indices), np.empty_like(weights)
    link, n_links = np.zeros(n_communities), 0
    for c in range(n_communities):
        for i in members[starts[c] : starts[c + 1]]:
            for e in range(indptr[i], indptr[i + 1]):
                d = community[indices[e]]
                if link[d] == 0:
                    ends[n_links] = d
                    n_links += 1
                link[d] += weights[e]
        merged[c + 1] = n_links
        for e in range(merged[c], n_links):
            sums[e] = link[ends[e]]
            link[ends[e]] = 0
    return merged, ends[:n_links].copy(), sums[:n_links].copy()
