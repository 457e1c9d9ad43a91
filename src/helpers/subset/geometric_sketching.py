"""Geometric sketching: cells spread evenly over the space that the corpus fills, not over its density."""

import math
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import pandas as pd

from helpers.messages import unknown

ENGINES = ("cellscale", "geosketch")
MAX_STEPS = 200
BLOCK = 1 << 15  # cells; their values stay in the processor's cache
N_BINS = 1 << 16
MANY = 64  # intervals along one dimension
NARROWEST = 1e-20  # a bracket of sides narrower than this ends the bisection


def draw(
    obs: pd.DataFrame,
    n: int,
    *,
    rng: np.random.Generator,
    embedding: np.ndarray,
    boxes: int | None = None,
    alpha: float = 0.1,
    engine: str = "cellscale",
) -> np.ndarray:
    """Draw `n` cells round by round, one random cell of each box in each round, until the boxes run out of cells.

    Equal states of `rng` draw nested sketches: the smaller one is part of the larger one.

    Parameters
    ----------
    obs
        (n_obs, n_columns); only its length is read.
    embedding
        (n_obs, n_pcs), numbers; read in its own precision if that is float32 or float64.
    boxes
        Number of boxes to aim at, 1 to n_obs; by default 1 % of the cells, and at least 2.
    alpha
        Relative tolerance of that number, over 0 and under 1.
    engine
        One of `ENGINES`: the code of this file, or the package geosketch, for comparison.

    Returns
    -------
    (n,) int64, sorted row positions.

    Raises
    ------
    ValueError
        An absent or unfit embedding, an option out of its range.
    ImportError
        Engine "geosketch" without the package.

    Source: Hie et al. 2019, Cell Systems 8:483, with the gapped boxes and the bisection of their package geosketch 1.3.
    Its boxes are as many as the cells to draw by default; a number that does not depend on `n` is what nests sketches.
    """
    check(len(obs), boxes=boxes, alpha=alpha, engine=engine)
    boxes = _default_boxes(len(obs)) if boxes is None else boxes
    plaid = _Plaid(_checked(embedding, len(obs)))
    if engine == "geosketch":
        return _package(plaid.points, n, rng, boxes, alpha)
    codes, _ = _bisect(plaid, boxes, alpha)
    return spread(codes, n, rng)


def check(n_obs: int, *, boxes: int | None = None, alpha: float = 0.1, engine: str = "cellscale") -> None:
    """Raise ValueError for options of `draw` that are out of range for `n_obs` cells."""
    if engine not in ENGINES:
        raise ValueError(unknown("engine", engine, ENGINES))
    _check_target(_default_boxes(n_obs) if boxes is None else boxes, alpha, n_obs)


def partition(embedding: np.ndarray, side: float) -> np.ndarray:
    """Number of each cell's box, (n_obs,) int64 from 0 to n_boxes - 1, none empty.

    `side` is the length of a box in units of the largest range among the dimensions of `embedding` (n_obs, n_pcs).
    Along a dimension the first interval starts at the smallest point and ends `side` further, the next starts at the
    first point beyond that end, and so on. A box is a combination of intervals. Raises ValueError for an unfit
    embedding, as `draw` does, and for a side under 0.
    """
    if not side >= 0:
        raise ValueError(f"side = {side!r} must be 0 or more; 1 is the largest range of the embedding")
    return _Plaid(_checked(embedding)).boxes(side)[0]


def cover(embedding: np.ndarray, boxes: int, alpha: float = 0.1) -> tuple[np.ndarray, float]:
    """`partition` into about `boxes` boxes, at most the share `alpha` more or fewer, and the side that gives it.

    The side is found by bisection; where no side will do (few distinct points, say), the last one tried is kept.
    Raises ValueError as `draw` does.
    """
    points = _checked(embedding)
    _check_target(boxes, alpha, len(points))
    return _bisect(_Plaid(points), boxes, alpha)


def spread(codes: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `n` cells evenly over boxes: (n,) int64, sorted; `codes` (n_obs,) are the cells' boxes, none empty.

    What is drawn from `rng` does not depend on `n`, so that equal states give nested draws.
    """
    n_boxes = int(codes.max()) + 1
    # A box's turn in the round; all rounds may share the turns, as only the last one can be cut short and show them.
    turn = rng.permutation(n_boxes).astype(np.min_scalar_type(n_boxes))  # up to 16 bits are sorted in linear time
    cells = rng.permutation(len(codes))
    turns = turn[codes[cells]]
    cells = cells[np.argsort(turns, kind="stable")]
    counts = np.bincount(turns)
    rounds = np.arange(len(cells)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(cells[np.argsort(rounds, kind="stable")[:n]])


class _Plaid:
    """Boxes of `points` (n_obs, n_pcs), each dimension moved to start at 0 and all divided by the largest range."""

    def __init__(self, points: np.ndarray) -> None:
        self.points = points
        self.low, high = points.min(axis=0), points.max(axis=0)
        with np.errstate(over="ignore", invalid="ignore"):
            ranges = high - self.low
        if not np.isfinite(ranges).all():
            bad = ~np.isfinite(points).all(axis=1)
            where = f"not finite in {bad.sum():,} of {len(bad):,} rows, first in row {bad.argmax():,}: leave them out"
            raise ValueError(f"embedding is {where if bad.any() else 'too far spread: scale it'}")
        self.unit = ranges.max() or points.dtype.type(1)
        self.ranges = ranges / self.unit
        self.dimensions: dict[int, _Dimension] = {}

    def boxes(self, side: float, most: float = math.inf) -> tuple[np.ndarray, int]:
        """Box of each cell, (n_obs,) int64, and the number of boxes.

        Once they are more than `most` the search ends: a further dimension can only split boxes. The number is then
        a lower bound.
        """
        side = self.points.dtype.type(side)
        codes, size = np.zeros(len(self.points), dtype=np.int64), 1
        order = np.argsort(-self.ranges, kind="stable")
        for place, dim in enumerate(order.tolist()):
            if self.ranges[dim] <= side:
                break
            if dim not in self.dimensions:
                self._scale(order[place : place + 8])
            dimension = self.dimensions[dim]
            starts = dimension.starts(side, most)
            if size * len(starts) > len(codes) // 8:  # renumbered only now and then, while the tables fit the cache
                codes, size = _distinct(codes, size)
                if size > most:
                    return codes, size
            for rows in _blocks(len(codes)):
                codes[rows] *= len(starts)
                codes[rows] += _intervals(dimension.scaled[rows], starts)
            size *= len(starts)
        return _distinct(codes, size)

    def _scale(self, dims: np.ndarray) -> None:
        """Prepare some dimensions, of which each pass over the points serves several; they are kept for all sides."""
        values = np.empty((len(dims), len(self.points)), dtype=self.points.dtype)
        for rows in _blocks(len(self.points)):
            values[:, rows] = ((self.points[rows][:, dims] - self.low[dims]) / self.unit).T
        self.dimensions |= {dim: _Dimension(own) for dim, own in zip(dims.tolist(), values, strict=True)}


class _Dimension:
    """Scaled values along one dimension, (n_obs,) from 0 to at most 1, and how to step through them.

    A few steps find the next value in narrow bins of equal width; many are worth a sort.
    """

    def __init__(self, scaled: np.ndarray) -> None:
        self.scaled, self.bins = scaled, np.empty(len(scaled), dtype=np.uint16)
        filled = np.zeros(N_BINS, dtype=bool)
        for rows in _blocks(len(scaled)):
            self.bins[rows] = self._bin(scaled[rows])
            filled[self.bins[rows]] = True
        self.filled = np.flatnonzero(filled)

    def starts(self, side: np.floating, most: float) -> np.ndarray:
        """First values of the intervals of length `side`; no more than about `most`."""
        starts, first = [], self.scaled.dtype.type(0)
        while first is not None and len(starts) <= most:
            starts.append(first)
            beyond = self._beyond if len(starts) < MANY else self._beyond_sorted
            first = beyond(first + side)
        return np.array(starts)

    def _beyond(self, limit: np.floating) -> np.floating | None:
        """The smallest value above `limit`, None if there is none."""
        if limit >= 1:
            return None
        at = np.searchsorted(self.filled, self._bin(limit))
        for bin_ in self.filled[at : at + 2]:  # the limit's own, if it is filled, and the next
            near = self.scaled[self.bins == bin_]
            near = near[near > limit]
            if len(near):
                return near.min()
        return None

    def _beyond_sorted(self, limit: np.floating) -> np.floating | None:
        at = self.ordered.searchsorted(limit, side="right")
        return self.ordered[at] if at < len(self.ordered) else None

    @cached_property
    def ordered(self) -> np.ndarray:
        return np.sort(self.scaled)

    def _bin(self, scaled: np.ndarray | np.floating) -> np.ndarray:
        return (scaled * self.scaled.dtype.type(N_BINS - 1)).astype(np.uint16)


def _blocks(n: int) -> Iterator[slice]:
    """Rows, BLOCK at a time."""
    return (slice(first, first + BLOCK) for first in range(0, n, BLOCK))


def _intervals(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Interval of each value, (n_obs,) integers."""
    if len(starts) > MANY:
        return np.searchsorted(starts, values, side="right") - 1
    found = np.zeros(len(values), dtype=np.uint8)  # one fast comparison per interval beats a search per cell
    for start in starts[1:]:
        found += values >= start
    return found


def _distinct(codes: np.ndarray, size: int) -> tuple[np.ndarray, int]:
    """`codes` (n_obs,) in 0 to `size` - 1 renumbered without gaps, and how many there are."""
    if size > 4 * len(codes):
        values, codes = np.unique(codes, return_inverse=True)
        return codes, len(values)
    seen = np.zeros(size, dtype=bool)
    seen[codes] = True
    number = np.cumsum(seen) - 1
    return number.take(codes), int(number[-1]) + 1


def _bisect(plaid: _Plaid, boxes: int, alpha: float) -> tuple[np.ndarray, float]:
    """Boxes and side for `cover`. All sides are in the precision of the points, as are those of the package."""
    low, high = plaid.points.dtype.type(0), plaid.ranges.max()
    least, most = boxes * (1 - alpha), boxes * (1 + alpha)
    following = (low + high) / 4
    for _ in range(MAX_STEPS):
        side = following
        codes, n_boxes = plaid.boxes(side, most)
        if n_boxes > most:
            low, following = side, (side + high) / 2
        elif n_boxes < least:
            high, following = side, (side + low) / 2
        else:
            break
        if high - low < NARROWEST or following == side:  # the same side again could only repeat itself
            break
    return (codes if n_boxes <= most else plaid.boxes(side)[0]), float(side)


def _package(points: np.ndarray, n: int, rng: np.random.Generator, boxes: int, alpha: float) -> np.ndarray:
    """Rows that the package geosketch draws; it seeds NumPy's global state, which is put back."""
    try:
        from geosketch import gs
    except ImportError as error:
        raise ImportError("engine 'geosketch' needs that package: pip install geosketch") from error
    state = np.random.get_state()  # noqa: NPY002
    try:
        return np.array(gs(points, n, k=boxes, alpha=alpha, seed=int(rng.integers(2**32))), dtype=np.int64)
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _default_boxes(n_obs: int) -> int:
    return min(n_obs, max(2, round(n_obs / 100)))


def _check_target(boxes: int, alpha: float, n_obs: int) -> None:
    if isinstance(boxes, bool) or not isinstance(boxes, int | np.integer) or not 1 <= boxes <= n_obs:
        raise ValueError(f"boxes = {boxes!r} must be a whole number, 1 to the number of cells, {n_obs:,}")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < 1:
        raise ValueError(f"alpha = {alpha!r} must lie between 0 and 1, both excluded; 0.1 is usual")


def _checked(embedding: np.ndarray | None, n_obs: int | None = None) -> np.ndarray:
    """`embedding` as (n_obs, n_pcs) float32 or float64; a copy only where it is neither."""
    if embedding is None:
        raise ValueError(
            "embedding = None: geometric sketching needs one, (n_obs, n_pcs); usual are 50 principal components of the "
            "highly variable genes, of counts scaled to 10,000 per cell and log1p-transformed"
        )
    points = np.asarray(embedding)
    if points.ndim != 2 or 0 in points.shape or len(points) != (n_obs or len(points)):
        wanted = f"({'n_obs' if n_obs is None else n_obs}, n_pcs): a row for each cell and at least one column"
        raise ValueError(f"embedding has shape {points.shape}; it must be {wanted}")
    if points.dtype.kind not in "iuf":
        raise ValueError(f"embedding has dtype {points.dtype}: it must hold real numbers, float32 for instance")
    if points.dtype not in (np.float32, np.float64):
        points = points.astype(np.float64)
    return points
