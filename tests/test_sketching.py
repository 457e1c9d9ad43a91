"""Geometric sketching: the boxes and sides of the package geosketch, even draws, and its coverage of the space."""

import re
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from helpers import subset
from helpers.subset.geometric_sketching import ENGINES, MAX_STEPS, NARROWEST, cover, partition, spread

SEEDS = st.integers(0, 2**32 - 1)
DTYPES = st.sampled_from([np.float32, np.float64])


def points(n: int, dims: int, dtype: type, seed: int, decimals: int = 9) -> np.ndarray:
    """Clusters in `dims` dimensions of falling spread, the last one constant; few `decimals` make ties."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(5, dims))
    embedding = (centres[rng.integers(0, 5, n)] + rng.normal(0, 0.3, (n, dims))) / np.arange(1, dims + 1)
    embedding[:, -1] = 1.5
    return embedding.round(decimals).astype(dtype)


def atlas(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embedding (n, 10) and type (n,) of cells: four common types and twelve of 10 cells each."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(16), [(n - 120) // 4] * 4 + [10] * 12)
    scale = 1 / np.sqrt(np.arange(1, 11))
    embedding = (rng.normal(0, 4, (16, 10))[labels] + rng.normal(size=(len(labels), 10))) * scale
    return embedding.astype(np.float32), labels


def draw(embedding: np.ndarray, n: int, seed: int = 0, **options) -> np.ndarray:
    obs, rng = pd.DataFrame(index=range(len(embedding))), np.random.default_rng(seed)
    return subset.draw("geometric_sketching", obs, n, rng=rng, embedding=embedding, **options)


def partition_by_hand(embedding: np.ndarray, side: np.floating) -> np.ndarray:
    """The literal reading: walk along each dimension from its smallest point, and open an interval where one ends."""
    scaled = (embedding - embedding.min(0)) / ((embedding - embedding.min(0)).max() or 1)
    intervals = np.zeros(scaled.shape, dtype=int)
    for d in range(scaled.shape[1]):
        if scaled[:, d].max() <= side:
            continue
        start, interval = scaled[:, d].min(), 0
        for cell in np.argsort(scaled[:, d]):
            if scaled[cell, d] > start + side:
                start, interval = scaled[cell, d], interval + 1
            intervals[cell, d] = interval
    return np.unique(intervals, axis=0, return_inverse=True)[1].ravel()


def cover_by_hand(embedding: np.ndarray, boxes: int, alpha: float) -> tuple[np.ndarray, float]:
    """Every step of the bisection, repetitions of a side included."""
    low, high = embedding.dtype.type(0), embedding.dtype.type(1)
    following = high / 4
    for _ in range(MAX_STEPS):
        side = following
        codes = partition_by_hand(embedding, side)
        if codes.max() + 1 > boxes * (1 + alpha):
            low, following = side, (side + high) / 2
        elif codes.max() + 1 < boxes * (1 - alpha):
            high, following = side, (side + low) / 2
        else:
            break
        if high - low < NARROWEST:
            break
    return codes, side


def assert_same_boxes(one: np.ndarray, other: np.ndarray) -> None:
    pairs = len(set(zip(one.tolist(), other.tolist(), strict=True)))
    assert pairs == len(set(one.tolist())) == len(set(other.tolist()))


def assert_even(codes: np.ndarray, rows: np.ndarray) -> None:
    """Boxes that still have cells gave as many as each other or one less, exhausted ones no more than those."""
    counts, taken = np.bincount(codes), np.bincount(codes[rows], minlength=codes.max() + 1)
    rest = taken[taken < counts]
    if len(rest):
        assert rest.max() - rest.min() <= 1
        assert taken.max() <= rest.min() + 1


@given(n=st.integers(2, 60), dims=st.integers(1, 4), dtype=DTYPES, seed=SEEDS, decimals=st.sampled_from([0, 1, 9]))
@settings(max_examples=150, deadline=None)
def test_boxes_are_those_of_the_literal_reading(n, dims, dtype, seed, decimals):
    embedding = points(n, dims, dtype, seed, decimals)
    for side in (0, 0.01, 0.1, 0.25, 0.7, 1):
        codes = partition(embedding, side)
        assert codes.dtype == np.int64
        assert set(codes.tolist()) == set(range(codes.max() + 1))
        assert_same_boxes(codes, partition_by_hand(embedding, dtype(side)))


@given(
    n=st.integers(2, 60), dtype=DTYPES, seed=SEEDS, decimals=st.sampled_from([0, 1, 9]), alpha=st.floats(0.01, 0.9),
    data=st.data(),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_bisection_takes_the_literal_steps(n, dtype, seed, decimals, alpha, data):
    embedding, boxes = points(n, 6, dtype, seed, decimals), data.draw(st.integers(1, n))
    codes, side = cover(embedding, boxes, alpha)
    if np.ptp(embedding, 0).any():
        codes_by_hand, side_by_hand = cover_by_hand(embedding, boxes, alpha)
        assert_same_boxes(codes, codes_by_hand)
        assert side == side_by_hand or len(np.unique(embedding, axis=0)) < boxes


@pytest.mark.parametrize("decimals", [2, 9])
@pytest.mark.parametrize("boxes", [2, 12, 90])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_side_and_boxes_are_those_of_the_package(dtype, boxes, decimals, capsys):
    import geosketch

    embedding = points(500, 6, dtype, boxes, decimals)
    codes, side = cover(embedding, boxes)
    n_boxes = codes.max() + 1
    assert 0.9 * boxes <= n_boxes <= 1.1 * boxes
    geosketch.gs(embedding, 1, k=boxes, verbose=1)
    log = capsys.readouterr().out
    sides = [dtype(number) for number in re.findall(r"unit to (\S+)", log)]
    assert side == (sides[-1] if sides else 0.25)
    assert f"Found {n_boxes} grid cells" in log
    # One cell of each of its boxes is one cell of each of ours, whichever cells it takes: the boxes are the same.
    for seed in range(20):
        rows = draw(embedding, int(n_boxes), seed, boxes=boxes, engine="geosketch")
        assert sorted(codes[rows]) == list(range(n_boxes))


def test_early_ends_of_a_step_change_nothing():
    # 40,000 boxes are too many after few dimensions; sides so short are also searched with long tables.
    embedding = points(3000, 8, np.float32, 0)
    codes, side = cover(embedding, 2500, 0.01)
    assert 2475 <= codes.max() + 1 <= 2525
    assert_same_boxes(codes, partition(embedding, side))
    assert_same_boxes(codes, partition(embedding[:, ::-1], side))
    assert partition(embedding, 0).max() == 2999


def test_a_bisection_that_ends_on_too_many_boxes_gives_all_of_them():
    # 128 boxes for sides under a third, 2 from there on; in float32 the bracket closes on the side below.
    embedding = np.random.default_rng(0).integers(0, 2, (2000, 7)).astype(np.float32) * np.float32(
        [3, 1, 1, 1, 1, 1, 1]
    )
    codes, side = cover(embedding, 20)
    assert side < np.float32(1) / np.float32(3)
    assert codes.max() + 1 == 128
    assert_same_boxes(codes, cover_by_hand(embedding, 20, 0.1)[0])


@given(counts=st.lists(st.integers(1, 12), min_size=1, max_size=9), seed=SEEDS, data=st.data())
@settings(max_examples=100, deadline=None)
def test_draws_are_even_exact_and_nested(counts, seed, data):
    codes = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    few, many = sorted(data.draw(st.tuples(*[st.integers(1, len(codes))] * 2)))
    smaller, larger = (spread(codes, n, np.random.default_rng(seed)) for n in (few, many))
    for rows, n in ((smaller, few), (larger, many)):
        assert rows.dtype == np.int64
        assert rows.shape == (n,)
        assert (np.diff(rows) > 0).all()
        assert_even(codes, rows)
    assert set(smaller) <= set(larger)


@pytest.mark.parametrize("n", [2, 5])
def test_boxes_and_their_cells_are_equally_likely(n):
    """Of 3 boxes, 2 give one cell, or all one and 2 a second one: any two of them, and any of their cells."""
    codes, times, rng = np.repeat([0, 1, 2], [2, 6, 3]), 6000, np.random.default_rng(0)
    hits = np.bincount(np.concatenate([spread(codes, n, rng) for _ in range(times)]), minlength=11)
    share = n / 3 / np.bincount(codes)[codes]
    z = (hits - times * share) / np.sqrt(times * share * (1 - share))
    assert np.abs(z).max() < 4


@pytest.mark.parametrize("engine", ENGINES)
def test_both_engines_draw_rounds_of_the_same_boxes(engine):
    embedding = points(400, 5, np.float32, 3)
    codes, _ = cover(embedding, 30)
    drawn = [draw(embedding, n, boxes=30, engine=engine) for n in (10, 30, 95, 250, 399, 400)]
    for rows, larger in zip(drawn, [*drawn[1:], np.arange(400)], strict=True):
        assert rows.dtype == np.int64
        assert (np.diff(rows) > 0).all()
        assert_even(codes, rows)
        assert set(rows) <= set(larger)
    assert [len(rows) for rows in drawn] == [10, 30, 95, 250, 399, 400]
    assert not np.array_equal(drawn[2], draw(embedding, 95, 1, boxes=30, engine=engine))
    np.testing.assert_array_equal(drawn[2], draw(embedding, 95, 0, boxes=30, engine=engine))


def test_coverage_and_rare_types_are_those_of_the_package():
    embedding, labels = atlas(5000)

    def measured(rows: np.ndarray) -> tuple[float, float]:
        """Partial Hausdorff distance (q = 1e-3) and the share of the rare types with a cell in the sketch."""
        distance = np.quantile(cdist(embedding, embedding[rows]).min(axis=1), 1 - 1e-3)
        return float(distance), np.isin(np.arange(4, 16), labels[rows]).mean()

    ours, package = (
        np.array([measured(draw(embedding, 60, seed, boxes=100, engine=engine)) for seed in range(25)])
        for engine in ENGINES
    )
    uniform = np.array([measured(np.random.default_rng(seed).choice(5000, 60, replace=False)) for seed in range(25)])
    for other in (ours, uniform):
        # Draws of one law differ in their means by chance, rarely by more than three standard errors.
        error = np.sqrt((other[:, 1].var(ddof=1) + package[:, 1].var(ddof=1)) / 25)
        as_good_at_rare_types = other[:, 1].mean() >= package[:, 1].mean() - 3 * error
        as_close = np.median(other[:, 0]) <= 1.05 * np.median(package[:, 0])
        assert as_good_at_rare_types == as_close == (other is ours)


def test_one_in_a_hundred_cells_is_the_usual_number_of_boxes():
    embedding = points(1500, 6, np.float32, 0)
    np.testing.assert_array_equal(draw(embedding, 40), draw(embedding, 40, boxes=15))
    assert not np.array_equal(draw(embedding, 40), draw(embedding, 40, boxes=30))
    few = embedding[:20]
    np.testing.assert_array_equal(draw(few, 7), draw(few, 7, boxes=2))
    np.testing.assert_array_equal(draw(few[:1], 1), [0])


def test_heavy_duplicates_give_a_box_to_each_distinct_point():
    embedding = np.repeat(points(7, 3, np.float32, 0), [1, 1, 2, 3, 30, 60, 403], axis=0)
    codes, _ = cover(embedding, 100)
    assert_same_boxes(codes, np.repeat(np.arange(7), [1, 1, 2, 3, 30, 60, 403]))
    rows = draw(embedding, 16, boxes=100)
    np.testing.assert_array_equal(np.bincount(codes[rows])[codes[[0, 1, 2, 4, 7, 37, 97]]], [1, 1, 2, 3, 3, 3, 3])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int16])
def test_equal_points_are_one_box(dtype):
    embedding = np.full((40, 3), 7, dtype=dtype)
    codes, _ = cover(embedding, 4)
    np.testing.assert_array_equal(codes, np.zeros(40))
    np.testing.assert_array_equal(partition(embedding, 0.1), np.zeros(40))
    assert len(draw(embedding, 11)) == 11


def test_other_numbers_are_read_as_float64_and_nothing_is_changed():
    whole = np.random.default_rng(0).integers(-50, 50, (200, 4))
    np.testing.assert_array_equal(draw(whole, 30), draw(whole.astype(np.float64), 30))
    embedding = points(300, 4, np.float32, 0)
    before = embedding.copy()
    embedding.flags.writeable = False
    for engine in ENGINES:
        draw(embedding, 30, engine=engine)
    np.testing.assert_array_equal(embedding, before)
    np.testing.assert_array_equal(draw(np.asfortranarray(embedding), 30), draw(embedding, 30))


@pytest.mark.parametrize("engine", ENGINES)
def test_global_random_state_is_neither_read_nor_changed(engine):
    embedding, drawn = points(200, 4, np.float32, 0), []
    for seed in (1, 2):
        np.random.seed(seed)  # noqa: NPY002
        before = np.random.get_state()[1].copy()  # noqa: NPY002
        drawn.append(draw(embedding, 20, engine=engine))
        np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    np.testing.assert_array_equal(*drawn)


def with_holes() -> np.ndarray:
    embedding = points(30, 3, np.float32, 0)
    embedding[[4, 9], [0, 2]] = np.nan, -np.inf
    return embedding


@pytest.mark.parametrize(
    ("embedding", "options", "told"),
    [
        (None, {}, "embedding = None: .* 50 principal components .* highly variable genes"),
        (np.zeros(30), {}, r"shape \(30,\); it must be \(30, n_pcs\)"),
        (np.zeros((29, 2)), {}, r"shape \(29, 2\); it must be \(30, n_pcs\): a row for each cell"),
        (np.zeros((30, 0)), {}, "at least one column"),
        (np.full((30, 2), "a"), {}, "dtype <U1: it must hold real numbers"),
        (np.zeros((30, 2), dtype=complex), {}, "dtype complex128"),
        (with_holes(), {}, "not finite in 2 of 30 rows, first in row 4"),
        (np.repeat([[-1e308], [1e308]], 15, axis=0), {}, "too far spread: scale it"),
        (np.zeros((30, 2)), {"boxes": 0}, "boxes = 0 .* 1 to the number of cells, 30"),
        (np.zeros((30, 2)), {"boxes": 31}, "boxes = 31"),
        (np.zeros((30, 2)), {"boxes": 2.5}, "boxes = 2.5 must be a whole number"),
        (np.zeros((30, 2)), {"boxes": True}, "boxes = True"),
        (np.zeros((30, 2)), {"alpha": 0}, "alpha = 0 must lie between 0 and 1"),
        (np.zeros((30, 2)), {"alpha": 1.0}, "alpha = 1.0"),
        (np.zeros((30, 2)), {"alpha": np.nan}, "alpha = nan"),
        (np.zeros((30, 2)), {"engine": "geosketsch"}, "unknown engine 'geosketsch' .did you mean 'geosketch'"),
    ],
)
def test_unfit_input_is_refused_before_anything_is_drawn(embedding, options, told):
    rng, obs = np.random.default_rng(0), pd.DataFrame(index=range(30))
    with pytest.raises(ValueError, match=told):
        subset.draw("geometric_sketching", obs, 3, rng=rng, embedding=embedding, **options)
    assert rng.bit_generator.state == np.random.default_rng(0).bit_generator.state


def test_boxes_are_refused_for_unfit_input_too():
    with pytest.raises(ValueError, match="not finite"):
        partition(with_holes(), 0.1)
    with pytest.raises(ValueError, match=r"shape \(0, 3\); it must be \(n_obs, n_pcs\)"):
        cover(np.zeros((0, 3)), 1)
    for side in (-0.1, float("nan")):
        with pytest.raises(ValueError, match=rf"side = {side} must be 0 or more"):
            partition(points(30, 3, np.float32, 0), side)
    with pytest.raises(ValueError, match="boxes = 31"):
        cover(np.zeros((30, 2)), 31)


def test_a_lacking_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "geosketch", None)
    with pytest.raises(ImportError, match="pip install geosketch"):
        draw(points(30, 3, np.float32, 0), 3, engine="geosketch")
