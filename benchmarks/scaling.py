"""Scaling fits of a table of the study's size, and their optimum and speed beside a loop over scipy.

``python -m benchmarks.scaling [--small]``; --small takes a tenth of the curves. One thread; ratios are of processor
seconds. The peer fits one table after the other by scipy's trust region from five starts, the same form and loss.
"""

import sys
import time

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from benchmarks.common import alone, report
from helpers.analysis.curves import Curve, read_curve
from helpers.analysis.forms import forms_for
from helpers.analysis.separable import fit, huber

CELLS = 22_189_056
SIZES = {"random": (1, 10, 25, 50, 75, 100), "celltype_reweighted": (1, 10, 25, 50, 75), "sketch": (1, 10, 25, 50, 75)}
N_SEEDS, N_FAMILIES, N_EVALUATIONS = 5, 5, 16
MOST = 180.0  # seconds, of all fits and 1,000 draws
FASTER = 10.0
N_TABLES = 100


def study_table(n_families: int) -> pd.DataFrame:
    """Held-out losses of 80 runs of each family in 16 evaluations: power laws, exponentials and constants in turn."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(n_families * N_EVALUATIONS):
        for strategy, percentages in SIZES.items():
            cells = np.repeat(np.array(percentages) / 100 * CELLS, N_SEEDS)
            shape = ((cells / cells[0]) ** -0.4, np.exp(-cells / 3e6), np.zeros(len(cells)))[number % 3]
            losses = 3 + shape + rng.normal(0, 0.03, len(cells))
            names = {"family": f"f{number // N_EVALUATIONS}", "dataset": f"d{number % N_EVALUATIONS}"}
            rows.append(pd.DataFrame({**names, "strategy": strategy, "n_cells": cells, "loss": losses}))
    return pd.concat(rows, ignore_index=True)


def all_fits(n_families: int) -> tuple[float, dict[str, int]]:
    """Processor seconds of every verdict with 1,000 draws, and how often each was given."""
    from helpers.analysis.scaling import fit_scaling

    table = study_table(n_families)
    start = time.process_time()
    verdicts = [
        fit_scaling(part, rng=np.random.default_rng(0), n_boot=1000).verdict
        for _, part in table.groupby(["family", "dataset", "strategy"])
    ]
    return time.process_time() - start, pd.Series(verdicts).value_counts().to_dict()


def tables() -> tuple[Curve, np.ndarray]:
    """A curve of six sizes and five seeds, and draws of it."""
    part = study_table(1).query("strategy == 'random' and dataset == 'd0'")
    curve = read_curve(part, "n_cells", "loss")
    return curve, curve.resampled(N_TABLES, np.random.default_rng(1))


def ours() -> tuple[float, np.ndarray]:
    """Processor seconds of all draws of a power law, and the optimum of each."""
    curve, samples = tables()
    form = next(form for form in forms_for(curve.x) if form.name == "power law")
    start = time.process_time()
    fits = fit(form, curve.x, curve.groups, samples, delta=curve.delta, n_grid=40)
    return time.process_time() - start, fits.objective


def peer() -> tuple[float, np.ndarray]:
    """The same by scipy, one draw and one start after the other."""
    curve, samples = tables()
    form = next(form for form in forms_for(curve.x) if form.name == "power law")
    low, high = form.bounds[0]
    start, found = time.process_time(), []
    for sample in samples:

        def residuals(values, losses=sample):
            column = form.columns(values[None, 2:], curve.x)[0, :, 0]
            return (values[0] + values[1] * column)[curve.groups] - losses

        tried = [
            least_squares(
                residuals,
                [sample.mean(), 0.1, theta],
                bounds=([-np.inf, -np.inf, low], [np.inf, np.inf, high]),
                loss="huber",
                f_scale=curve.delta,
            )
            for theta in np.linspace(low, high, 7)[1:-1]
        ]
        found.append(min(huber(one.fun, curve.delta).sum() for one in tried))
    return time.process_time() - start, np.array(found)


def main(small: bool) -> int:
    """Measure, print, check the claims."""
    n_families = 1 if small else N_FAMILIES
    seconds, verdicts = alone(all_fits, n_families).value
    (own_seconds, own), (peer_seconds, other) = alone(ours).value, alone(peer).value
    rows = [
        {"what": f"{48 * n_families} curves, 1,000 draws each", "seconds": seconds, "verdicts": str(verdicts)},
        {"what": f"{N_TABLES} fits of a power law, ours", "seconds": own_seconds, "verdicts": ""},
        {"what": f"{N_TABLES} fits of a power law, scipy from five starts", "seconds": peer_seconds, "verdicts": ""},
    ]
    share = n_families / N_FAMILIES
    claims = {
        f"all fits within {MOST * share:.0f} s ({seconds:.0f} s on one core)": seconds <= MOST * share,
        f"{FASTER:g} times as fast as scipy ({peer_seconds / own_seconds:.0f} times)": peer_seconds
        > FASTER * own_seconds,
        f"the same optimum (worst excess {np.max(own / other - 1):.1e})": bool(np.all(own <= other * (1 + 1e-6))),
    }
    return report("scaling", "Scaling fits", rows, claims)


if __name__ == "__main__":
    sys.exit(main("--small" in sys.argv[1:]))
