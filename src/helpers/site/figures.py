"""The figures of a collection on one page: each with its caption, its notebook and its numbers."""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from helpers.site.collection import Collection
from helpers.site.explorer import address
from helpers.site.notebook_pages import Stage
from helpers.site.templates import write_page

DRAWN_BY = "90_figures"
MOST = 4  # values of a column that a link to the explorer names
ON_SCREEN = 1.6  # pixels of a point: figures are made for print, where they are read from near
VIEW_BOX = re.compile(r'viewBox="[\d.]+ [\d.]+ ([\d.]+) ([\d.]+)"')


@dataclass(frozen=True)
class Figure:
    """A figure as a page shows it: `files` is its path without a suffix, `size` its width and height in pixels if they
    are known, `links` by address.
    """

    name: str
    title: str
    caption: str
    files: str
    size: tuple[int, int] | None = None
    links: dict[str, str] = field(default_factory=dict)

    @property
    def alt(self) -> str:
        """What the picture shows, for who cannot see it: its title, and the first sentence of its caption."""
        first = re.split(r"(?<=[.!?])\s", self.caption, maxsplit=1)[0]
        return f"{self.title}. {first}" if first else f"{self.title}; its numbers are linked below"


def write(collection: Collection, source: Path, files: Path, stages: Sequence[Stage]) -> list[Figure]:
    """Write the page of a collection's figures and copy their files; nothing without figures."""
    if collection.figures is None:
        return []
    shutil.copytree(collection.figures, files / collection.name / "figures")
    pages = {stage.name: stage.page for stage in stages}
    told = [_figure(collection, name, about, pages) for name, about in collection.captions().items()]
    drawn_by = f"{pages[DRAWN_BY]}.ipynb" if DRAWN_BY in pages else "notebooks.md"
    write_page(
        source / collection.name / "figures.md", "figures", collection=collection, figures=told, drawn_by=drawn_by
    )
    return told


def _figure(collection: Collection, name: str, about: Mapping[str, str], pages: Mapping[str, str]) -> Figure:
    files = f"files/{collection.name}/figures"
    picture, numbers = collection.figures / f"{name}.svg", collection.figures / "source_data" / f"{name}.csv"
    links = {}
    explained = [stage for stage in (about.get("notebook", DRAWN_BY), DRAWN_BY) if stage in pages]
    if explained:
        links[f"{pages[explained[0]]}.html"] = f"Notebook {explained[0]}"
    if numbers.exists():
        links[f"../{files}/source_data/{name}.csv"] = "Numbers (.csv)"
        if collection.results is not None and (chosen := _chosen(numbers)):
            links[f"../{address(collection, chosen)}"] = "In the explorer"
    links[f"../{files}/{name}.svg"] = "SVG"
    if picture.with_suffix(".png").exists():
        links[f"../{files}/{name}.png"] = "PNG"
    return Figure(name, about["title"].rstrip("."), about["caption"], f"{files}/{name}", _size(picture), links)


def _chosen(numbers: Path) -> dict[str, list[str]]:
    """Tasks and metrics of the numbers behind a figure, where they are few."""
    columns = pd.read_csv(numbers, usecols=lambda name: name in {"task", "metric"}, dtype=str)
    values = {name: sorted(columns[name].dropna().unique()) for name in columns}
    return {name: found for name, found in values.items() if 0 < len(found) <= MOST}


def _size(picture: Path) -> tuple[int, int] | None:
    """Width and height of an svg on a page, which does not jump when it is loaded if they are told."""
    with picture.open(encoding="utf-8") as handle:
        found = VIEW_BOX.search(handle.read(2000))
    return (round(ON_SCREEN * float(found[1])), round(ON_SCREEN * float(found[2]))) if found else None
