"""Colours, markers and figure settings shared by all figures; colours are those of Okabe and Ito,
safe for colour-blind readers.
"""

import textwrap
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

FAMILY_COLOURS = {
    "pca": "#0072B2",
    "scvi": "#D55E00",
    "ssl": "#009E73",
    "geneformer": "#CC79A7",
    "scimilarity": "#E69F00",
}
OTHER_COLOURS = ("#56B4E9", "#7A5C3E", "#6A3D9A", "#F0E442")  # families of users, in order of appearance
FAMILY_NAMES = {"pca": "PCA", "scvi": "scVI", "ssl": "SSL", "geneformer": "Geneformer", "scimilarity": "SCimilarity"}


def family_name(family: str, width: float = 1.0) -> str:
    """A family as a reader knows it, with its width where that is not 1: ``scVI``, ``scVI 2×``."""
    return FAMILY_NAMES.get(family, family) + ("" if width == 1 else f" {width:g}×")


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
# Fields and bands, which differ in greyscale too, and lines, of which each has a contrast of 3 to white or more.
VERDICT_COLOURS = {
    "no scaling": "#5F97CF",
    "saturated": "#E0B13C",
    "power law": "#228866",
    "not identifiable": "#E3E3E3",
}
VERDICT_LINES = {"no scaling": "#2F6CA8", "saturated": "#9A6A00", "power law": "#0B6B4C", "not identifiable": "#767676"}
# Of evaluation sets, metrics and terms: none of a family's or a sampling's, each with a contrast of 3 to white or more.
COLOURS = ("#1F4E5F", "#B8336A", "#5B8C00", "#C0561A", "#6C4AB6", "#00868B", "#7A7A00", "#A02C2C", "#4A4A8A")
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
COLUMN, FULL = 3.5, 7.2  # inches: 89 mm, one column of a page in print, and 183 mm, its full width
SMALLEST = 6  # points, in print
LEGEND_ROW = 0.14  # inches
SHARED = "from half of all cells on, seeds share cells (at 100 % all): their spread is a lower bound"  # of random ones

RC = {
    "figure.constrained_layout.use": True,
    "figure.dpi": 120,
    "savefig.dpi": 200,
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": SMALLEST,
    "ytick.labelsize": SMALLEST,
    "legend.fontsize": 6.5,
    "legend.title_fontsize": 6.5,
    "figure.titlesize": 7,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.2,
    "svg.fonttype": "none",  # text stays text
    "text.hinting": "none",  # else its width, by which parts are placed, differs between a screen and a file
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
            if any(axes.get_subplotspec() for axes in drawn.axes):  # else it placed its parts itself
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
    return sampling_colour(sampling, samplings)


def sampling_colour(sampling: str, samplings: Sequence[str]) -> str:
    """Colour of a sampling; those that a design names itself take the colours that are left, in their order."""
    left = [colour for name, colour in SAMPLING_COLOURS.items() if name not in samplings] or list(COLOURS)
    others = [name for name in samplings if name not in SAMPLING_COLOURS]
    return SAMPLING_COLOURS.get(sampling) or left[others.index(sampling) % len(left)]


def sampling_name(sampling: str) -> str:
    """A sampling in words."""
    return STRATEGY_NAMES.get(sampling, sampling.replace("_", " "))


def shades(colour: str, n: int) -> list[tuple[float, ...]]:
    """A colour for each of `n` sizes, from a light one to the colour itself."""
    rgb = np.array(mpl.colors.to_rgb(colour))
    return [tuple(1 - (1 - rgb) * share) for share in np.linspace(1, 0.35, n)[::-1]]


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


def grid(n: int, *, height: float, most: int = 3, **options: object) -> tuple[Figure, list[Axes]]:
    """A figure of the page's full width, of one column if it has one panel, with `n` panels of a `height` in inches."""
    columns = next(count for count in range(1, most + 1) if -(-n // count) == -(-n // most))
    rows, width = -(-n // columns), COLUMN if n == 1 else FULL
    fig, panels = plt.subplots(rows, columns, figsize=(width, height * rows + 0.6), squeeze=False, **options)
    for axes in panels.flat[n:]:
        axes.remove()
    return fig, list(panels.flat[:n])


def curve_panels(samplings: dict[str, int], *, height: float) -> tuple[Figure, dict[str, Axes]]:
    """A figure with a panel for each sampling -> number of its columns; the full width has room for 16 of them."""
    width = min(FULL, 1.8 + 0.36 * sum(max(n, 2) for n in samplings.values()))
    ratios = {"width_ratios": [max(n, 2) for n in samplings.values()]}
    fig, panels = plt.subplots(1, len(samplings), figsize=(max(COLUMN, width), height), squeeze=False, **ratios)
    for axes, (sampling, n) in zip(panels[0], samplings.items(), strict=True):
        axes.set_title("\n".join(textwrap.wrap(sampling_name(sampling), 5 + 5 * max(n, 2), break_on_hyphens=False)))
        axes.tick_params(length=0)
    return fig, dict(zip(samplings, panels[0], strict=True))


def name_columns(panels: Iterable[Axes], columns: Sequence[str], rows: Sequence[str]) -> None:
    """Names of the columns of fields, upright so that they need little room, and of their rows in the first panel."""
    for number, axes in enumerate(panels):
        axes.set(xlabel="", ylabel="")
        axes.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=90)
        axes.set_yticks(np.arange(len(rows)) + 0.5, rows if number == 0 else [""] * len(rows), rotation=0)


def lowest(panels: Sequence[Axes]) -> list[Axes]:
    """Those of a grid's panels that have none below them."""
    columns = panels[0].get_subplotspec().get_gridspec().ncols
    return list(panels[-columns:])


def shared_legend(
    fig: Figure, axes: Iterable[Axes], *, most: int | None = None, ncols: int = 1, title: str = "", **options: object
) -> None:
    """One legend under the figure with what any of `axes` names, each name once; none if there are over `most`.

    Its title is wrapped to the figure's width. The figure grows by what rows and title need beyond four lines, so that
    panels do not shrink.
    """
    entries = {}
    for one in axes:
        entries |= dict(zip(*reversed(one.get_legend_handles_labels()), strict=True))
    if most is None or len(entries) <= most:
        ncols = ncols if fig.get_figwidth() > COLUMN else min(ncols, 2)
        told = wrapped(fig, title)
        lines = -(-len(entries) // ncols) + told.count("\n") + 1
        fig.set_figheight(fig.get_figheight() + LEGEND_ROW * max(0, lines - 4))
        options |= {"loc": "outside lower center", "ncols": ncols, "title": told or None}
        fig.legend(list(entries.values()), list(entries), columnspacing=1.2, handlelength=2.2, **options)


def head(fig: Figure, text: str) -> None:
    """A title over the figure, wrapped to its width; the figure grows by what its lines need beyond five."""
    told = wrapped(fig, text)
    fig.set_figheight(fig.get_figheight() + LEGEND_ROW * max(0, told.count("\n") - 4))
    fig.suptitle(told)


def wrapped(fig: Figure, text: str) -> str:
    """Text in lines that are no wider than a figure."""
    most = int(19 * fig.get_figwidth())
    return "\n".join(part for line in text.split("\n") for part in textwrap.wrap(line, most))


def shared(samplings: Iterable[str]) -> str:
    """What seeds cannot tell, on a line of its own, if random cells are among `samplings`; else nothing."""
    return f"\n{SHARED}" if "random" in set(samplings) else ""


def size_axis(axes: Axes, cells: np.ndarray, percentages: np.ndarray, *, name_percentages: bool = True) -> None:
    """Cells on a logarithmic axis, the percentages of the corpus above it; both (n_sizes,), ascending."""
    axes.set_xscale("log")
    columns = axes.get_subplotspec().get_gridspec().ncols
    kept = apart(np.log(cells), 0.38 / (axes.figure.get_figwidth() / columns - 0.45))
    axes.set_xticks(cells[kept], [f"{value:,.0f}" for value in cells[kept]])
    axes.set_xticks([], minor=True)
    if name_percentages:
        above = axes.secondary_xaxis("top")
        above.set_xticks(cells[kept], [f"{value:g} %" for value in percentages[kept]])
        above.set_xticks([], minor=True)
        above.tick_params(length=2)
        above.spines["top"].set_visible(False)


def log_ticks(axis: Axis, low: float, high: float) -> None:
    """Plain numbers on a logarithmic axis from `low` to `high`; powers set small would be unreadable in print."""
    decades = np.log10(high / low)
    axis.set_major_locator(
        LogLocator(subs=(1,) if decades > 2 else (1, 2, 5) if decades > 0.7 else (1, 1.5, 2, 3, 4, 5, 7))
    )
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    axis.set_minor_formatter(NullFormatter())


def plain(value: float) -> str:
    """A number in words: 20,000, 0.05, 2e10."""
    if 1e-3 <= value < 1e6:
        return f"{value:,g}" if value >= 1 else f"{value:g}"
    return f"{value:.2g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e−")


def apart(places: np.ndarray, least: float) -> list[int]:
    """Which of ascending places (n,) to name: both ends, and between them as many as are no nearer to each other than
    a share of the range.
    """
    kept, room = [len(places) - 1], least * np.ptp(places)
    for place in range(len(places) - 2, 0, -1):
        if places[kept[-1]] - places[place] >= room and places[place] - places[0] >= room:
            kept.append(place)
    return [0, *kept[::-1]] if len(places) > 1 else kept
