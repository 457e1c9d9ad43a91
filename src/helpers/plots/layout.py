"""How figures are laid out: panels in print width, legends and titles of their width, axes of cells."""

import copy
import textwrap
from collections.abc import Iterable, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from helpers.plots.style import COLUMN, FULL, INK, sampling_name

LEGEND_ROW = 0.14  # inches
TALLEST = 7.6  # inches of rows of panels, on a page
SHARED = "from half of all cells on, seeds share cells (at 100 % all): their spread is a lower bound"  # of random ones


def grid(n: int, *, height: float, most: int = 3, **options: object) -> tuple[Figure, list[Axes]]:
    """A figure of the page's full width, of one column if its panels stand below each other, with `n` panels of a
    `height` in inches, at `most` so many beside each other.
    """
    columns = next(count for count in range(1, most + 1) if -(-n // count) == -(-n // most))
    rows, width = -(-n // columns), COLUMN if columns == 1 else FULL
    fig, panels = plt.subplots(rows, columns, figsize=(width, height * rows + 0.6), squeeze=False, **options)
    for axes in panels.flat[n:]:
        axes.remove()
    return fig, list(panels.flat[:n])


def rows_of_sets(n_rows: int, n_sets: int, *, height: float, **options: object) -> tuple[Figure, np.ndarray]:
    """A figure of the page's full width, of one column for one set: sets in columns, rows of a `height` in inches, or
    of less where a page has no room for so many.
    """
    size = (FULL if n_sets > 1 else COLUMN, min(height * n_rows, TALLEST) + 0.8)
    return plt.subplots(n_rows, n_sets, figsize=size, squeeze=False, **options)


def name_rows(panels: np.ndarray, names: Sequence[str], titles: Sequence[str], *, xlabel: str) -> None:
    """Label the first panel of each row, title the first of each column, and name the axis below the last row."""
    for axes, title in zip(panels[0], titles, strict=True):
        axes.set_title(title, pad=4)
    for row, name in zip(panels, names, strict=True):
        row[0].set_ylabel(name)
    for axes in panels[-1]:
        axes.set_xlabel("\n".join(textwrap.wrap(xlabel, int(16 * axes.figure.get_figwidth() / len(panels[-1])))))


def curve_panels(samplings: dict[str, int], *, height: float) -> tuple[Figure, dict[str, Axes]]:
    """A figure with a panel for each sampling -> number of its columns, of one column of a page if that has room."""
    needed = 1.4 + 0.33 * sum(max(n, 2) for n in samplings.values())
    ratios = {"width_ratios": [max(n, 2) for n in samplings.values()]}
    size = (COLUMN if needed <= COLUMN else FULL, height)
    fig, panels = plt.subplots(1, len(samplings), figsize=size, squeeze=False, **ratios)
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
    fig: Figure,
    axes: Iterable[Axes],
    *,
    most: int | None = None,
    ncols: int = 4,
    title: str = "",
    of_all: Iterable[str] = (),
    **options: object,
) -> None:
    """One legend under the figure with what any of `axes` names, each name once; none if there are over `most`.

    It has at most `ncols` columns and no more than there is room for; names in `of_all` are drawn in several colours
    and stand in the legend in black. Its title is wrapped to the figure's width. The figure grows by what rows and
    title need beyond four lines, so that panels do not shrink.
    """
    entries = {}
    for one in axes:
        for line, name in zip(*one.get_legend_handles_labels(), strict=True):
            entries.setdefault(name, line)
    entries |= {name: _in_ink(entries[name]) for name in of_all if name in entries}
    if most is None or len(entries) <= most:
        ncols = max(1, min(ncols, int(fig.get_figwidth() / (0.5 + 0.047 * max(map(len, entries), default=1)))))
        told = wrapped(fig, title)
        lines = -(-len(entries) // ncols) + told.count("\n") + 1
        fig.set_figheight(fig.get_figheight() + LEGEND_ROW * max(0, lines - 4))
        options |= {"loc": "outside lower center", "ncols": ncols, "title": told or None}
        fig.legend(list(entries.values()), list(entries), columnspacing=1.2, handlelength=2.2, **options)


def _in_ink(line: Line2D) -> Line2D:
    inked = copy.copy(line)
    inked.set_color(INK)
    if line.get_markerfacecolor() != "white":
        inked.set(markerfacecolor=INK)
    inked.set(markeredgecolor=INK)
    return inked


def head(fig: Figure, text: str) -> None:
    """A title over the figure, wrapped to its width; the figure grows by what its lines need beyond five."""
    told = wrapped(fig, text)
    fig.set_figheight(fig.get_figheight() + LEGEND_ROW * max(0, told.count("\n") - 4))
    fig.suptitle(told)


def wrapped(fig: Figure, text: str) -> str:
    """Text in lines that are no wider than a figure."""
    most = int(19 * fig.get_figwidth())
    return "\n".join(part for line in text.split("\n") for part in textwrap.wrap(line, most))


def narrow(text: str) -> str:
    """Text in lines for the side of a low panel."""
    return "\n".join(textwrap.wrap(text, 20))


def clear_of_marks(fig: Figure, panels: Iterable[Axes]) -> None:
    """Move the one text of each panel to its first corner without marks; without such raise the panel's upper end."""
    fig.draw_without_rendering()
    for axes in panels:
        for text in axes.texts:
            for _ in range(MOST_RAISES):
                if any(_is_free(axes, text, corner) for corner in CORNERS):
                    break
                low, high = axes.get_ylim()
                axes.set_ylim(low, high + 0.08 * (high - low))


CORNERS = ((0.97, 0.96), (0.03, 0.04), (0.97, 0.04), (0.03, 0.96))  # right above, left below, …, of a panel
MOST_RAISES = 20


def _is_free(axes: Axes, text: Text, corner: tuple[float, float]) -> bool:
    """Put a text in a corner, and say whether no line, dot or band of the panel lies under it."""
    x, y = corner
    text.set(position=corner, ha="right" if x > 0.5 else "left", va="top" if y > 0.5 else "bottom")
    box = text.get_window_extent().padded(2.5 * axes.figure.dpi / 72)
    marks = [line.get_transform().transform(line.get_xydata()) for line in axes.lines if len(line.get_xdata())]
    bands = [path.vertices for band in axes.collections for path in band.get_paths()]
    marks += [axes.transData.transform(vertices) for vertices in bands]
    return not any(box.count_contains(_dense(points)) for points in marks)


def _dense(points: np.ndarray) -> np.ndarray:
    """Points of a line, (n, 2), and between each two of them more, so that none passes through a box unseen."""
    steps = np.linspace(0, 1, 20)[:, None, None]
    return np.vstack([(points[:-1] + steps * np.diff(points, axis=0)).reshape(-1, 2), points[-1:]])


def shared(samplings: Iterable[str]) -> str:
    """What seeds cannot tell, on a line of its own, if random cells are among `samplings`; else nothing."""
    return f"\n{SHARED}" if "random" in set(samplings) else ""


def size_axis(axes: Axes, cells: np.ndarray, percentages: np.ndarray, *, name_percentages: bool = True) -> None:
    """Cells on a logarithmic axis, the percentages of the corpus above it; both (n_sizes,), ascending."""
    axes.set_xscale("log")
    columns = axes.get_subplotspec().get_gridspec().ncols
    kept = apart(np.log(cells), 0.36 / (axes.figure.get_figwidth() / columns - 0.45))
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
