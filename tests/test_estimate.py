"""Estimates: sizes that the models themselves tell, rules with known answers, and what is said of a design."""

import numpy as np
import pytest

from helpers.design_parts import FamilySettings
from helpers.model_size import model_size
from helpers.models import create


@pytest.mark.parametrize("width", [1.0, 0.25, 2.0])
@pytest.mark.parametrize("preset", ["demo", "paper"])
@pytest.mark.parametrize("family", ["pca", "scvi", "ssl", "geneformer", "scimilarity"])
def test_sizes_are_those_that_the_models_tell(family, preset, width):
    size = model_size(FamilySettings(family=family, preset=preset), width, 3000)
    model = create(family, n_genes=3000, preset=preset, width=width)
    assert size.parameters == model.n_parameters["total"]
    if family != "pca":
        model.module, model._lengths = (
            model._blank_module(),
            np.array([min(size.settings.max_tokens, 3000)]) if family == "geneformer" else None,
        )
        assert size.flops == pytest.approx(model._flops_per_view(), rel=1e-12)
