"""What metrics mean: each of the results has a description, a range and a source."""

import numpy as np
import pytest

from helpers.evaluate import registry
from helpers.evaluate.perturbation_metrics import METRICS as RESPONSES


@pytest.mark.parametrize("name", [*registry.METRICS, *RESPONSES])
def test_every_metric_is_described(name):
    known = registry.metric(name)
    assert known.description
    assert known.citation
    assert known.low < known.high
    assert np.isnan(known.best) or known.low <= known.best <= known.high


def test_ways_and_shots_are_told_beside_the_metric():
    plain, few = registry.metric("macro_f1"), registry.metric("full_macro_f1_at_10")
    assert few.description == (
        f"{plain.description}, by the encoder and a head trained together, taught by 10 cells of each type"
    )
    assert (few.low, few.high, few.best) == (0, 1, 1)
    calibrated = registry.metric("mlp_calibrated_energy_distance")
    assert "0 at the strongest null" in calibrated.description
    assert (calibrated.low, calibrated.high, calibrated.best) == (-np.inf, np.inf, 1)


def test_scores_of_scib_metrics_are_described_one_by_one():
    known = {name: one for name, one in registry.METRICS.items() if name.startswith("scib_metrics_")}
    assert len({one.description for one in known.values()}) == len(known) == 10
    for name, one in known.items():
        assert name.removeprefix("scib_metrics_") not in one.description, "a name does not describe itself"
        assert "10.1038/" in one.citation
        assert "scib-metrics 0.6.1" in one.citation
        assert (one.low, one.high, one.best) == (-1 if "_ari_" in name else 0, 1, 1)


def test_an_unknown_metric_is_told_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'macro_f1'"):
        registry.metric("makro_f1")
