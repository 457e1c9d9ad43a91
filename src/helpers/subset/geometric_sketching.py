"""Geometric sketching: cells spread evenly over the space that the corpus fills, not over its density."""

import math

import numpy as np
import pandas as pd

from helpers.messages import unknown

ENGINES = ("cellscale", "geosketch")
MAX_STEPS = 200
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
    if engine not in ENGINES:
        raise ValueError(unknown("engine", engine, ENGINES))
    plaid = _Plaid(_checked(embedding, len(obs)))
    boxes = _default_boxes(len(obs)) if boxes is None else boxes
    _check_target(boxes, alpha, len(obs))
    if engine == "geosketch":
        return _package(plaid.points, n, rng, boxes, alpha)
    codes, _ = _bisect(plaid, boxes, alpha)
    return spread(codes, n, rng)


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
        if not (np.isfinite(self.low).all() and np.isfinite(high).all()):
            bad = ~np.isfinite(points).all(axis=1)
            raise ValueError(
                f"embedding is not finite in {bad.sum():,} of {len(bad):,} rows, first in row {bad.argmax():,}: "
                "leave these cells out or embed them again"
            )
        ranges = high - self.low
        self.unit = ranges.max() or points.dtype.type(1)
        self.ranges = ranges / self.unit
        self.scaled: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def boxes(self, side: float, most: float = math.inf) -> tuple[np.ndarray, int]:
        """Box of each cell, (n_obs,) int64, and the number of boxes.

        Once they are more than `most` the search ends: a further dimension can only split boxes. The number is then
        a lower bound.
        """
        side = self.points.dtype.type(side)
        codes, size = np.zeros(len(self.points), dtype=np.int64), 1
        for dim in np.argsort(-self.ranges, kind="stable").tolist():
            if self.ranges[dim] <= side:
                break
            values, ordered = self._dimension(dim)
            starts = _starts(ordered, side, most)
            if size * len(starts) > len(codes) // 8:  # renumbered only now and then, while the tables fit the cache
                codes, size = _distinct(codes, size)
                if size > most:
                    return codes, size
            codes *= len(starts)
            codes += _intervals(values, starts)
            size *= len(starts)
        return _distinct(codes, size)

    def _dimension(self, dim: int) -> tuple[np.ndarray, np.ndarray]:
        """Scaled values of a dimension, (n_obs,) each: cell by cell, and sorted; both are kept for the next side."""
        if dim not in self.scaled:
            values = self.points[:, dim] - self.low[dim]
            values /= self.unit
            self.scaled[dim] = values, np.sort(values)
        return self.scaled[dim]


def _starts(ordered: np.ndarray, side: np.floating, most: float) -> np.ndarray:
    """First values of the intervals along one dimension, from its sorted values; no more than about `most`."""
    starts, first = [], 0
    while first < len(ordered) and len(starts) <= most:
        starts.append(ordered[first])
        first = ordered.searchsorted(ordered[first] + side, side="right")
    return np.array(starts)


def _intervals(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Interval of each value, (n_obs,) integers."""
    if len(starts) > 64:
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
    if not 0 < alpha < 1:
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
