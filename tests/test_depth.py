"""Fewer counts per cell: binomial thinning, and the share of counts that gives the median cell its depth."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.stats import binom, chisquare

from helpers import subset
from helpers.subset import depth


@pytest.mark.parametrize(("count", "share"), [(2, 0.5), (10, 0.3), (300, 0.9)])
def test_thinning_is_binomial(count, share):
    """Mean and variance of 40,000 entries within 4 standard errors, and the whole distribution; entries independent."""
    n, dist = 40_000, binom(count, share)
    got = depth.thin(sp.csr_matrix(np.full((200, 200), count)), share, np.random.default_rng(3)).toarray().ravel()
    fourth = dist.var() ** 2 * (2 + dist.stats(moments="k"))  # of (x - mean)², its variance
    assert abs(got.mean() - dist.mean()) < 4 * np.sqrt(dist.var() / n)
    assert abs(got.var() - dist.var()) < 4 * np.sqrt(fourth / n)
    assert abs(np.corrcoef(got[1:], got[:-1])[0, 1]) < 4 / np.sqrt(n)
    bounds = np.unique(dist.ppf(np.linspace(0, 1, 9)[1:-1]))
    bounds = bounds[bounds < count]
    seen = np.bincount(np.searchsorted(bounds, got), minlength=len(bounds) + 1)
    assert chisquare(seen, n * np.diff([0, *dist.cdf(bounds), 1])).pvalue > 1e-3


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint16])
def test_thinning_keeps_type_and_shape_and_its_input(dtype):
    dense = np.random.default_rng(0).poisson(3, (30, 20)).astype(dtype)
    counts = sp.csr_matrix(dense)
    thinned = depth.thin(counts, 0.4, np.random.default_rng(1))
    assert sp.issparse(thinned)
    assert (thinned.format, thinned.dtype, thinned.shape) == ("csr", dtype, (30, 20))
    assert (thinned.data > 0).all()
    assert (thinned.toarray() <= dense).all()
    np.testing.assert_array_equal(counts.toarray(), dense)
    np.testing.assert_array_equal(thinned.toarray(), depth.thin(counts, 0.4, np.random.default_rng(1)).toarray())
    assert (thinned != depth.thin(counts, 0.4, np.random.default_rng(2))).nnz
    np.testing.assert_array_equal(depth.thin(counts, 1, np.random.default_rng(1)).toarray(), dense)
    assert depth.thin(counts, 0, np.random.default_rng(1)).nnz == 0


@pytest.mark.parametrize(
    ("value", "share", "message"),
    [
        (0.5, 0.5, "no counts"),
        (-1, 0.5, "no counts"),
        (np.nan, 0.5, "no counts"),
        (1, 1.5, "1.5 must be from 0 to 1"),
        (1, np.nan, "nan must be"),
    ],
)
def test_what_cannot_be_thinned_is_refused(value, share, message):
    with pytest.raises(ValueError, match=message):
        depth.thin(sp.csr_matrix([[1.0, value]]), share, np.random.default_rng(0))


def test_share_to_keep_by_hand():
    obs = pd.DataFrame({"total_counts": [100, 900, 200]})
    assert depth.kept(obs, 50) == 0.25
    assert depth.kept(obs, 200) == 1
    assert depth.kept(pd.DataFrame({"total_counts": [1, 2, 4, 9]}), 1.5) == 0.5


@pytest.mark.parametrize("umis", [200.5, 0, -1, np.nan, True, None])
def test_depths_that_cannot_be_had_are_refused(umis):
    with pytest.raises(ValueError, match=f"umis = {umis} must be above 0 and at most 200, the present median"):
        depth.kept(pd.DataFrame({"total_counts": [100, 900, 200]}), umis)
    with pytest.raises(ValueError, match="lacks the column 'total_counts', UMIs per cell; it has: cell_type"):
        subset.draw("depth", pd.DataFrame({"cell_type": ["a"]}), 1, rng=np.random.default_rng(0), umis=1)


def test_depth_draws_what_random_draws_and_the_median_cell_gets_its_umis():
    counts = sp.csr_matrix(np.random.default_rng(0).poisson(2, (400, 500)))
    obs = pd.DataFrame({"total_counts": np.asarray(counts.sum(axis=1)).ravel()})
    drawn = (("depth", {"umis": 250}), ("random", {}))
    np.testing.assert_array_equal(
        *(subset.draw(name, obs, 70, rng=np.random.default_rng(5), **more) for name, more in drawn)
    )
    thinned = depth.thin(counts, depth.kept(obs, 250), np.random.default_rng(0))
    assert abs(np.median(np.asarray(thinned.sum(axis=1))) - 250) < 4


@pytest.mark.parametrize("totals", [[10.0, np.inf, 5.0], [10.0, 0.0, 5.0], [10.0, -1.0, 5.0], ["10", "7", "5"]])
def test_totals_that_are_no_depths_are_refused(totals):
    with pytest.raises(ValueError, match="finite numbers over 0"):
        depth.kept(pd.DataFrame({"total_counts": totals}), 2)
