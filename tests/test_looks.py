"""Colours, markers and order of families, samplings and sets: one for all figures of a design."""

import numpy as np
import pytest
from conftest import PROJECT
from matplotlib.colors import to_rgb

from helpers.plots import looks, style

# Machado, Oliveira & Fernandes 2009, severity 1, on linear RGB.
DEFICIENCIES = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]  # of linear sRGB


def lab(colour: str, seen_by: str) -> np.ndarray:
    """CIE L*a*b* of a colour as a reader with a deficiency sees it."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(DEFICIENCIES[seen_by]) @ linear, 0, 1)
    x, y, z = np.cbrt(np.maximum(XYZ @ seen / [0.9505, 1, 1.089], 0.008856))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def nearest(colours, seen_by: str) -> float:
    """Distance of the two most alike of some colours."""
    seen = np.array([lab(colour, seen_by) for colour in colours])
    apart = np.linalg.norm(seen[:, None] - seen, axis=-1)
    return apart[np.triu_indices(len(seen), 1)].min()


@pytest.fixture(autouse=True)
def forget():
    looks.know()
    yield
    looks.know()


@pytest.mark.parametrize("seen_by", DEFICIENCIES)
def test_colours_are_told_apart_by_colour_blind_readers(seen_by):
    assert nearest(["#00A000", "#B05A00"], "deutan") < 12, "green and brown are not"
    assert nearest([*looks.FAMILY_COLOURS.values(), *looks.OTHER_COLOURS], seen_by) > 12
    assert nearest(looks.SAMPLING_COLOURS.values(), seen_by) > 12
    assert nearest(looks.COLOURS, seen_by) > 12
    assert nearest(style.VERDICT_COLOURS.values(), seen_by) > 12
    assert nearest(style.VERDICT_LINES.values(), seen_by) > 12
    lightness = [lab(colour, seen_by)[0] for colour in looks.sequential(6)]
    assert (np.diff(lightness) < 0).all(), "sizes run from light to dark"


def test_a_sampling_has_one_look_whichever_others_are_asked_for():
    looks.know(["pca"], {"random": "random", "thin": "depth", "thick": "depth"})
    thin, thick = (looks.sampling_marker(name) for name in ("thin", "thick"))
    assert thin == looks.STRATEGY_MARKERS["depth"], "the first of a strategy has its look"
    assert thick in looks.SPARE_MARKERS
    assert looks.sampling_colour("thin") == looks.SAMPLING_COLOURS["depth"]
    looks.sampling_marker("depth"), looks.sampling_marker("unheard_of")
    assert (looks.sampling_marker("thin"), looks.sampling_marker("thick")) == (thin, thick)
    looks.know(["pca"], {"random": "random", "thin": "depth", "thick": "depth"})
    assert looks.sampling_marker("thick") == thick, "whatever was drawn before"


def test_all_samplings_of_every_axis_look_different():
    strategies = {"random": "random", "celltype_reweighted": "celltype_reweighted"}
    strategies |= {"geometric_sketching": "geometric_sketching", "spikein_10": "spikein_10", "spikein_50": "spikein_50"}
    strategies |= {f"depth_{umis}": "depth" for umis in (100, 200, 400, 800)}
    strategies |= {name: "composition" for name in ("kang_alone", "baron_alone", "kang_and_baron")}
    looks.know(["pca"], strategies)
    assert len({looks.sampling_colour(name) for name in strategies}) == len(strategies)
    assert len({looks.sampling_marker(name)[0] for name in strategies}) == len(strategies)


def test_order_is_that_of_the_design_and_what_it_lacks_comes_last():
    assert looks.ordered(["scimilarity", "mine", "scvi", "pca", "scvi"], "families") == [
        "pca",
        "scvi",
        "scimilarity",
        "mine",
    ]
    looks.know(["scvi", "mine"], {"b": "random", "a": "depth"}, ["lung", "heart"])
    assert looks.ordered(["pca", "mine", "scvi"], "families") == ["scvi", "mine", "pca"]
    assert looks.ordered(["a", "b"], "samplings") == ["b", "a"]
    assert looks.ordered(["heart", "lung", "new"], "sets") == ["lung", "heart", "new"]


def test_colour_tells_the_family_unless_a_design_has_one():
    looks.know(["pca", "scvi"])
    assert looks.curve_colour("pca", "random", ["pca"]) == looks.FAMILY_COLOURS["pca"]
    looks.know(["pca"])
    assert looks.curve_colour("pca", "random", ["pca"]) == looks.SAMPLING_COLOURS["random"]


def test_a_single_size_has_a_dark_shade():
    (only,) = looks.sequential(1)
    assert np.mean(only[:3]) < 0.5
    assert looks.shades("#0072B2", 1) == [pytest.approx(to_rgb("#0072B2"))]


def test_no_module_of_figures_names_a_palette_by_itself():
    for path in (PROJECT / "src" / "helpers" / "plots").glob("*_figure*.py"):
        text = path.read_text()
        for palette in ("STRATEGY_MARKERS", "FAMILY_COLOURS", "SAMPLING_COLOURS", "FAMILY_NAMES", "STRATEGY_NAMES"):
            assert palette not in text, f"{path.name} names {palette}"
