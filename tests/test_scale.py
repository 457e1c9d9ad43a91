"""What the bench of scale tells of more cells than it ran."""

import pytest

from benchmarks.scale import FULL, extrapolated


def test_all_cells_lie_on_the_line_through_two_numbers_of_them():
    rows = [
        {"cells": n, "stage": stage, "family": family, "seconds": 10 + slope * n, "peak_gb": 1 + 1e-6 * n}
        for n in (1_000, 10_000)
        for stage, family, slope in (
            ("00_corpus", "", 2e-3),
            ("20_pretrain", "pca", 1e-3),
            ("20_pretrain", "scvi", 5.0),
        )
        if (n, family) != (10_000, "scvi")  # measured with few cells alone: nothing is told
    ]
    rows += [{"cells": n, "stage": "corpus on disk", "gb": n / 1e6} for n in (1_000, 10_000)]
    corpus, pca, disk = extrapolated(rows)
    assert corpus["hours"] == pytest.approx((10 + 2e-3 * FULL) / 3_600)
    assert pca["hours"] == pytest.approx((10 + 1e-3 * FULL) / 3_600)
    assert pca["peak_gb"] == pytest.approx(1 + 1e-6 * FULL)
    assert disk == {"cells": FULL, "stage": "corpus on disk", "gb": pytest.approx(FULL / 1e6)}
