"""Which colour, marker and place a family, a sampling or a test set has in every figure of a design.

Colours of families are those of Okabe and Ito, those of samplings the muted ones of Tol, both safe for colour-blind
readers.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

if TYPE_CHECKING:
    from helpers.design import Design

FAMILY_COLOURS = {
    "pca": "#0072B2",
    "scvi": "#D55E00",
    "ssl": "#009E73",
    "geneformer": "#CC79A7",
    "scimilarity": "#E69F00",
}
OTHER_COLOURS = ("#9326FF", "#663300", "#56B4E9", "#5D4266")  # families of users, in order of appearance
# Where no family is told apart, or one alone is drawn under many samplings; muted colours of Tol, none of a family's.
SAMPLING_COLOURS = {
    "random": "#332288",
    "celltype_reweighted": "#CC6677",
    "geometric_sketching": "#117733",
    "spikein_10": "#DDCC77",
    "spikein_50": "#999933",
    "donors": "#44AA99",
    "datasets": "#88CCEE",
    "depth": "#882255",
    "composition": "#AA4499",
}
# Of evaluation sets, metrics and terms: none of a family's or a sampling's, each with a contrast of 3 to white
# or more, and as far from each other as can be for colour-blind readers.
COLOURS = ("#1F4E5F", "#D97D21", "#B266FF", "#663B0F", "#330066", "#4000FF", "#7493B2", "#8C8C5B", "#8600B2")
STRATEGY_MARKERS = {
    "random": ("o", "-"),
    "celltype_reweighted": ("s", "--"),
    "geometric_sketching": ("^", ":"),
    "spikein_10": ("v", "-."),
    "spikein_50": (">", ":"),
    "donors": ("P", "--"),
    "datasets": ("X", "--"),
    "depth": ("D", "-."),
    "composition": ("*", "-"),
}
# Of samplings that a design names, beyond the first of each strategy.
SPARE_MARKERS = (("<", "--"), ("p", ":"), ("h", "-."), ("d", "--"), ("8", "-"), ("H", ":"))


def know(families: Iterable[str] = (), samplings: Mapping[str, str] | None = None, sets: Iterable[str] = ()) -> None:
    """Take from a design the order of families, samplings (name -> strategy) and test sets.

    All figures that are drawn later have this order, one colour for each family, and one marker, line and colour for
    each sampling, whichever of them a figure shows. Without a design they have the order of this module.
    """
    samplings = samplings or {}
    _ORDER.update(families=list(families), samplings=list(samplings), sets=list(sets))
    for looks, own, spare, names in (
        (_OF_FAMILIES, FAMILY_COLOURS, OTHER_COLOURS, {name: name for name in _ORDER["families"]}),
        (_OF_SAMPLINGS, SAMPLING_COLOURS, COLOURS, samplings),
        (_MARKERS, STRATEGY_MARKERS, SPARE_MARKERS, samplings),
    ):
        looks.clear()
        _give(looks, own, spare, names)


def know_design(design: "Design") -> None:
    """`know` the families, samplings and evaluation sets of a design."""
    know(design.families, {name: one.strategy for name, one in design.strategies.items()}, design.evaluation_sets)


_ORDER: dict[str, list[str]] = {"families": [], "samplings": [], "sets": []}
_BUILT_IN = {"families": FAMILY_COLOURS, "samplings": STRATEGY_MARKERS, "sets": ()}
_OF_FAMILIES: dict[str, str] = dict(FAMILY_COLOURS)
_OF_SAMPLINGS: dict[str, str] = dict(SAMPLING_COLOURS)
_MARKERS: dict[str, tuple] = dict(STRATEGY_MARKERS)


def _give(looks: dict, own: Mapping, spare: Sequence, names: Mapping[str, str]) -> None:
    """Give each name a look: its own, that of its strategy if no other name has it, or else one that is left."""
    for keys in (names, names.values()):
        for name, key in zip(names, keys, strict=True):
            if name not in looks and key in own and own[key] not in looks.values():
                looks[name] = own[key]
    left = [look for look in (*spare, *own.values()) if look not in looks.values()]
    looks.update(zip([name for name in names if name not in looks], cycle(left or spare), strict=False))


def ordered(names: Iterable[str], kind: str) -> list[str]:
    """Each of some names once, in the order of the design; names that it lacks come last, as they came.

    `kind` is ``families``, ``samplings`` or ``sets``.
    """
    order = _ORDER[kind] or list(_BUILT_IN[kind])
    return sorted(dict.fromkeys(names), key=lambda name: order.index(name) if name in order else len(order))


def family_colour(family: str) -> str:
    """Colour of a family, the same in every figure; families that no design told take further colours as they come."""
    _give(_OF_FAMILIES, FAMILY_COLOURS, OTHER_COLOURS, {family: family})
    return _OF_FAMILIES[family]


def sampling_colour(sampling: str) -> str:
    """Colour of a sampling, the same in every figure, where families are not told apart by colour."""
    _give(_OF_SAMPLINGS, SAMPLING_COLOURS, COLOURS, {sampling: sampling})
    return _OF_SAMPLINGS[sampling]


def sampling_marker(sampling: str) -> tuple[str, object]:
    """Marker and line style of a sampling, the same in every figure."""
    _give(_MARKERS, STRATEGY_MARKERS, SPARE_MARKERS, {sampling: sampling})
    return _MARKERS[sampling]


def curve_colour(family: str, sampling: str, families: Sequence[str]) -> str:
    """Colour of a curve: that of its family, or of its sampling in a design, else a figure, of one family."""
    return sampling_colour(sampling) if len(_ORDER["families"] or families) == 1 else family_colour(family)


def shades(colour: str, n: int) -> list[tuple[float, ...]]:
    """A colour for each of `n` sizes, from a light one to the colour itself, which a single size has."""
    rgb = np.array(mpl.colors.to_rgb(colour))
    return [tuple(1 - (1 - rgb) * share) for share in np.linspace(1, 0.35, n)[::-1]]


# Light to dark, without the yellow end, which white paper swallows.
SIZES = mpl.colors.ListedColormap(mpl.colormaps["viridis_r"](np.linspace(0.15, 1, 256)), "sizes")


def sequential(n: int) -> list[tuple[float, ...]]:
    """Colours for `n` sizes, light to dark; a single size has a dark one."""
    return [tuple(colour) for colour in SIZES(np.linspace(0, 1, n) if n > 1 else [0.75])]
