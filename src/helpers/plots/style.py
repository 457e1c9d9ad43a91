"""Colours, markers and figure settings shared by all figures; colours are those of Okabe and Ito,
safe for colour-blind readers.
"""

from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

FAMILY_COLOURS = {
    "pca": "#0072B2",
    "scvi": "#D55E00",
    "ssl": "#009E73",
    "geneformer": "#CC79A7",
    "scimilarity": "#E69F00",
}
OTHER_COLOURS = ("#56B4E9", "#7A5C3E", "#6A3D9A", "#F0E442")  # families of users, in order of appearance
FAMILY_NAMES = {"pca": "PCA", "scvi": "scVI", "ssl": "SSL", "geneformer": "Geneformer", "scimilarity": "SCimilarity"}
# Where one family is drawn under many samplings, which then carry the colour.
SAMPLING_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5C3E", "#6A3D9A", "#000000")
STRATEGY_MARKERS = {
    "random": ("o", "-"),
    "celltype_reweighted": ("s", "--"),
    "geometric_sketching": ("^", ":"),
    "spikein_10": ("v", "-."),
    "spikein_50": ("v", ":"),
    "donors": ("P", "--"),
    "datasets": ("X", "--"),
    "depth": ("D", "-."),
    "composition": ("*", "-"),
}
STRATEGY_NAMES = {
    "random": "random",
    "celltype_reweighted": "cell type reweighted",
    "geometric_sketching": "geometric sketching",
    "spikein_10": "10 % spike-ins",
    "spikein_50": "50 % spike-ins",
}
BASELINE_NAMES = {"hvg": "HVGs", "own_pca": "own PCA"}
BASELINE_LINES = {"hvg": (0, (4, 1, 1, 1)), "own_pca": (0, (5, 2))}
LIMIT_LINES = {"null": (0, (1, 3)), "ceiling": "-"}  # columns of the results
_OF_LABELS = ("classification", "finetuning")
LIMIT_NAMES = {  # by task
    "null": dict.fromkeys(_OF_LABELS, "majority class (floor)") | {"integration": "shuffled cells (floor)"},
    "ceiling": dict.fromkeys(_OF_LABELS, "logistic regression (supervised)")
    | {"integration": "types as embedding (ceiling)"},
}
GREY = "#5A5A5A"
LEGEND_ROW = 0.15  # inches
SHARED = "from half of all cells on, seeds share cells (at 100 % all): their spread is a lower bound"  # of random ones

RC = {
    "figure.constrained_layout.use": True,
    "figure.dpi": 90,
    "savefig.dpi": 200,
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.2,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "cellscale",  # the same figure gives the same file
}


def figure(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in the project's style and close the figure, so that a notebook shows it once, as the cell's value.

    Its parts are placed once, and stay there in every file that is written of it; one that is drawn upon another
    figure is placed anew.
    """

    @wraps(draw)
    def styled(*arguments, **options) -> Figure:
        with mpl.rc_context(RC):
            drawn = draw(*arguments, **options)
            drawn.set_layout_engine("constrained")
            drawn.draw_without_rendering()
            drawn.set_layout_engine("none")
        plt.close(drawn)
        return drawn

    return styled


def save(drawn: Figure, folder: Path, name: str) -> None:
    """Write a figure as svg and png; the same figure gives the same files."""
    with mpl.rc_context(RC):
        drawn.savefig(folder / f"{name}.svg", metadata={"Date": None})
        drawn.savefig(folder / f"{name}.png", metadata={"Software": None})


def family_colour(family: str, families: list[str]) -> str:
    """Colour of a family; families beyond the built-in ones take further colours in their order among `families`."""
    others = [name for name in families if name not in FAMILY_COLOURS]
    return FAMILY_COLOURS.get(family) or OTHER_COLOURS[others.index(family) % len(OTHER_COLOURS)]


def curve_colour(family: str, sampling: str, families: list[str], samplings: list[str]) -> str:
    """Colour of a curve: that of its family, or of its sampling where many samplings of one family are compared."""
    if len(families) > 1 or len(samplings) <= 3:
        return family_colour(family, families)
    return SAMPLING_COLOURS[samplings.index(sampling) % len(SAMPLING_COLOURS)]


def curve_name(family: str, sampling: str, width: float = 1.0) -> str:
    """A curve in words, with its width where that is not 1."""
    sized = FAMILY_NAMES.get(family, family) + ("" if width == 1 else f" {width:g}×")
    return f"{sized}, {STRATEGY_NAMES.get(sampling, sampling.replace('_', ' '))}"


def strategy_marker(strategy: str) -> tuple[str, object]:
    """Marker and line style of a strategy."""
    return STRATEGY_MARKERS.get(strategy, ("D", "-."))


def sequential(n: int) -> list[tuple[float, ...]]:
    """Colours for `n` sizes, light to dark."""
    return [tuple(colour) for colour in mpl.colormaps["viridis_r"](np.linspace(0, 1, n + 2)[1:-1])]


def shared_legend(
    fig: Figure, axes: Iterable[Axes], *, most: int | None = None, ncols: int = 1, **options: object
) -> None:
    """One legend under the figure with what any of `axes` names, each name once; none if there are over `most`.

    The figure grows by what its rows need beyond four, so that panels do not shrink.
    """
    entries = {}
    for one in axes:
        entries |= dict(zip(*reversed(one.get_legend_handles_labels()), strict=True))
    if most is None or len(entries) <= most:
        fig.set_figheight(fig.get_figheight() + LEGEND_ROW * max(0, -(-len(entries) // ncols) - 4))
        fig.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=ncols, **options)


def shared(samplings: Iterable[str]) -> str:
    """What seeds cannot tell, on a line of its own, if random cells are among `samplings`; else nothing."""
    return f"\n{SHARED}" if "random" in set(samplings) else ""


def size_axis(axes: Axes, cells: np.ndarray, percentages: np.ndarray, *, name_percentages: bool = True) -> None:
    """Cells on a logarithmic axis, the percentages of the corpus above it; both (n_sizes,), ascending."""
    axes.set_xscale("log")
    kept = _apart(np.log(cells))
    axes.set_xticks(cells[kept], [f"{value:,.0f}" for value in cells[kept]])
    axes.set_xticks([], minor=True)
    if name_percentages:
        above = axes.secondary_xaxis("top")
        above.set_xticks(cells[kept], [f"{value:g} %" for value in percentages[kept]])
        above.set_xticks([], minor=True)
        above.tick_params(length=2)
        above.spines["top"].set_visible(False)


def _apart(places: np.ndarray, least: float = 0.2) -> list[int]:
    """Which of ascending places (n,) to name, from the last on, so that no two are nearer than a share of the range."""
    kept = [len(places) - 1]
    for place in range(len(places) - 2, -1, -1):
        if places[kept[-1]] - places[place] >= least * np.ptp(places):
            kept.append(place)
    return kept[::-1]
