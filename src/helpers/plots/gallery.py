"""The figures of a design, with the numbers behind each and a caption that is written from them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from helpers.plots import style
from helpers.plots.captions import TEXTS, caption, kind_of
from helpers.plots.style import save

SOURCES, CAPTIONS = "source_data", "captions.json"


@dataclass
class Gallery:
    """Figures by name. `n_test` has, by task, the test cells (for responses conditions) of each set by its name."""

    n_test: Mapping[str, pd.Series]
    figures: dict[str, Figure] = field(default_factory=dict)
    sources: dict[str, pd.DataFrame] = field(default_factory=dict)
    captions: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, name: str, figure: Figure, source: pd.DataFrame, *, runs: pd.DataFrame, about: str = "") -> Figure:
        """Add a figure, the numbers behind it and its caption; `runs` are the rows of results that it tells of.

        `about` says in its title which score or axis it is of. Returns the figure, so that a notebook can show it.
        Raises ValueError for a name that is taken, or of no kind of figure of `captions.TEXTS`.
        """
        if name in self.figures:
            raise ValueError(f"figure {name!r} is there already: give this one another name")
        text = TEXTS[kind_of(name)]
        self.figures[name], self.sources[name] = figure, source
        self.captions[name] = {
            "title": f"{text.title}: {about}" if about else text.title,
            "caption": caption(text, runs, self.n_test),
            "notebook": text.notebook,
            "data": f"{SOURCES}/{name}.csv",
        }
        return figure

    def write(self, folder: Path) -> None:
        """Write every figure as svg and png, the numbers behind it to ``source_data/``, and ``captions.json``."""
        (folder / SOURCES).mkdir(parents=True)
        for name, figure in self.figures.items():
            save(figure, folder, name)
            self.sources[name].to_csv(folder / SOURCES / f"{name}.csv", index=False, float_format="%.6g")
        (folder / CAPTIONS).write_text(json.dumps(self.captions, indent=1, ensure_ascii=False) + "\n")

    def overview(self) -> pd.DataFrame:
        """Title, width in print and number of rows behind each figure, by its file."""
        rows = {
            f"{name}.svg": {
                "title": self.captions[name]["title"],
                "print width (mm)": round(25.4 * min(figure.get_figwidth(), style.FULL)),
                "rows": len(self.sources[name]),
            }
            for name, figure in self.figures.items()
        }
        return pd.DataFrame.from_dict(rows, orient="index")
