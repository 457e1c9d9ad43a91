"""How large a model will be, told from its settings: nothing is built, and no library of models imported for it.

The numbers are those that the models themselves tell (`n_parameters`, `flops` of their cost); a test compares them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from helpers.design_parts import FamilySettings
from helpers.models.protocol import Settings


@dataclass(frozen=True)
class ModelSize:
    """Size of a model, and how it is trained.

    `parameters` are those of the whole model, `flops` those of training on one cell once (0 where there are no steps),
    `batch_values` the numbers that a cell puts into a batch: genes, or tokens × width × layers.
    """

    parameters: int
    n_latent: int
    flops: float
    batch_values: int
    settings: Settings


def model_size(chosen: FamilySettings, width: float, n_genes: int) -> ModelSize | None:
    """Size of a model of a design on `n_genes` genes; None for a family that is not one of the project's own.

    Cells are taken to fill `max_tokens` tokens.
    """
    from helpers.models import family_class

    measure = {"pca": _pca, "scvi": _scvi, "ssl": _ssl, "geneformer": _geneformer, "scimilarity": _scimilarity}
    if chosen.family not in measure:
        return None
    preset = family_class(chosen.family).presets[chosen.preset]
    settings = type(preset)(**(preset.model_dump() | chosen.settings))
    parameters, n_latent, flops, batch_values = measure[chosen.family](settings, width, n_genes)
    return ModelSize(parameters, n_latent, flops, batch_values, settings)


def _pca(settings: Settings, width: float, n_genes: int) -> tuple[int, int, float, int]:
    k = min(_scaled(settings.n_components, width), n_genes)
    return k * n_genes, k, 0.0, n_genes


def _scvi(settings: Settings, width: float, n_genes: int) -> tuple[int, int, float, int]:
    """scvi-tools' module has an encoder of library sizes, and two heads of the decoder, that this likelihood leaves."""
    n, z = _scaled(settings.n_hidden, width), settings.n_latent
    inner = [n] * settings.n_layers
    normalised = 2 * n * settings.n_layers
    encoder = _dense([n_genes, *inner]) + normalised + 2 * _dense([n, z])
    library = _dense([n_genes, n]) + 2 * n + 2 * _dense([n, 1])
    decoder = _dense([z, *inner]) + normalised + 3 * _dense([n, n_genes])
    trained = [n_genes, *inner], [n, z], [n, z], [z, *inner, n_genes]
    return encoder + library + decoder + n_genes, z, _flops(trained), n_genes


def _ssl(settings: Settings, width: float, n_genes: int) -> tuple[int, int, float, int]:
    units = [n_genes, *(_scaled(n, width) for n in settings.n_hidden), settings.n_latent]
    return 2 * _dense(units) + n_genes - units[-1], units[-1], _flops([units, units[::-1]]), n_genes


def _scimilarity(settings: Settings, width: float, n_genes: int) -> tuple[int, int, float, int]:
    units = [n_genes, *(_scaled(n, width) for n in settings.n_hidden), settings.n_latent]
    inner = 2 * sum(2 * n + 1 for n in units[1:-1])  # batch normalisation and PReLU, on both sides
    return 2 * _dense(units) + n_genes - units[-1] + inner, units[-1], _flops([units, units[::-1]]), n_genes


def _geneformer(settings: Settings, width: float, n_genes: int) -> tuple[int, int, float, int]:
    n, layers = 4 * _scaled(settings.n_hidden / 4, width), settings.n_layers
    vocabulary, tokens = settings.vocabulary or n_genes + 2, min(settings.max_tokens, n_genes)
    embedded = (vocabulary + settings.max_tokens + 2) * n + 2 * n
    layer = _dense([n, n]) * 4 + 2 * n + _dense([n, 2 * n, n]) + 2 * n
    head = _dense([n, n]) + 2 * n + vocabulary
    share, earlier = settings.mask_share, layers - 1
    masked = tokens * share + (1 - share) ** tokens
    dense = n**2 * ((8 * earlier + 2) * tokens + 7 * masked) + n * vocabulary * masked
    attention = n * (earlier * tokens**2 + tokens * masked)
    return embedded + layers * layer + head, n, 6 * dense + 14 * attention, tokens * n * layers


def _scaled(units: float, width: float) -> int:
    return max(1, round(units * width))


def _dense(units: Sequence[int]) -> int:
    """Weights and biases of linear layers one after the other."""
    return sum(n_in * n_out + n_out for n_in, n_out in pairwise(units))


def _flops(parts: Sequence[Sequence[int]]) -> float:
    """As `NeuralFamily` counts: 2 for each weight in three passes, but no gradient of the inputs in the first layer."""
    weights = [n_in * n_out for units in parts for n_in, n_out in pairwise(units)]
    return 6 * sum(weights) - 2 * weights[0]
