"""Executed notebooks as pages: code folded, the finding on top, links to all that belongs to them."""

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from html import escape
from itertools import groupby
from pathlib import Path

import nbformat

from helpers.provenance import find_project, read_notebook
from helpers.reading import FINDING, FINDING_PLACE
from helpers.site.collection import Collection
from helpers.site.templates import write_page
from helpers.site.words import in_words
from helpers.words import counted

FOUND = re.compile(r"\*\*Finding\.\*\*\s+(.+?)(?:\n\s*\n|\Z)", re.DOTALL)
TITLE = re.compile(r"\A#\s+(.+)\n?")


@dataclass(frozen=True)
class Page:
    """An executed notebook: its name, the stage, what it was run for, its question and its finding."""

    name: str
    stage: str
    about: str
    question: str
    finding: str


@dataclass(frozen=True)
class Stage:
    """All notebooks of a stage; its page is that of the notebook if there is but one."""

    name: str
    question: str
    pages: tuple[Page, ...]

    @property
    def page(self) -> str:
        """Name of the page that shows the stage."""
        return self.pages[0].name if len(self.pages) == 1 else self.name


def write(collection: Collection, source: Path, files: Path) -> list[Stage]:
    """Write the pages of a collection's notebooks below `source`, and the notebooks themselves below `files`."""
    folder, copies, told = source / collection.name, files / collection.name / "notebooks", []
    folder.mkdir(parents=True)
    copies.mkdir(parents=True)
    (files / "source").mkdir(exist_ok=True)
    for path in collection.notebooks:
        notebook = read_notebook(path)
        page = describe(path.stem, notebook)
        told.append(page)
        shutil.copy(path, copies)
        script = find_project() / "notebooks" / f"{page.stage}.py"
        if script.exists():
            shutil.copy(script, files / "source")
        prepare(notebook, page, _bar(collection, page, has_source=script.exists()))
        nbformat.write(notebook, folder / path.name)
    stages = list(_by_stage(told))
    for stage in stages:
        if len(stage.pages) > 1:
            write_page(folder / f"{stage.name}.md", "stage", stage=stage, collection=collection)
    return stages


def describe(name: str, notebook) -> Page:
    """What an executed notebook is about, from its name and its first cell."""
    stage, *about = name.split("--")
    text = notebook.cells[0].source if notebook.cells else ""
    title, found = TITLE.match(text), FOUND.search(text)
    finding = " ".join(found[1].split()) if found and FINDING_PLACE not in found[1] else ""
    words = ", ".join(in_words(part) for part in about if part != "none")
    return Page(name, stage, words, title[1].strip() if title else stage, finding)


def prepare(notebook, page: Page, bar: str) -> None:
    """Make a notebook fit to be read as a page: a title of its own, its finding in a box, `bar` under the title, its
    code folded. Outputs stay as they are, but for the finding, which would stand there twice.
    """
    for cell in notebook.cells:
        if cell.cell_type == "code":
            _fold(cell)
            if page.finding:
                cell.outputs = [output for output in cell.outputs if FINDING not in output.get("metadata", {})]
    first = notebook.cells[0]
    rest = FOUND.sub(lambda found: f"{_box(found[1])}\n\n", TITLE.sub("", first.source), count=1)
    title = f"# {page.question}" + (f" ({page.about})" if page.about else "")
    first.source = f"{title}\n\n{bar}\n\n{rest.strip()}\n"


def _box(finding: str) -> str:
    return f":::{{admonition}} Finding\n:class: finding\n{finding.strip()}\n:::"


def _fold(cell) -> None:
    tags = cell.metadata.get("tags", [])
    if "injected-parameters" in tags:
        return  # a few lines that tell what the notebook was run for
    lines = counted(len(cell.source.strip().splitlines()), "line")
    what = "Parameters and their defaults" if "parameters" in tags else f"Code, {lines}"
    cell.metadata["tags"] = [*tags, "hide-input"]
    cell.metadata["mystnb"] = {"code_prompt_show": what, "code_prompt_hide": what}


def _bar(collection: Collection, page: Page, *, has_source: bool) -> str:
    """Links of a notebook's page, and how it was made, as one block of html."""
    stamp = collection.stamps.get(page.name, {})
    links = {f"../files/{collection.name}/notebooks/{page.name}.ipynb": "Notebook (.ipynb)"}
    if has_source:
        links[f"../files/source/{page.stage}.py"] = "Source (.py)"
    made = [name for name, told in collection.captions().items() if told.get("notebook", "") == page.stage]
    if made:
        links[f"figures.html#{made[0]}"] = "Its figures"
    elif collection.figures is not None and page.stage == "90_figures":
        links["figures.html"] = "Its figures"
    if stamp:
        links[f"../provenance.html#{collection.name}-{page.name}"] = "Provenance"
    download = {".ipynb", ".py"}
    told = " ".join(
        f'<a href="{escape(to)}"{" download" if Path(to).suffix in download else ""}>{what}</a>'
        for to, what in links.items()
    )
    button = '<button type="button" class="show-code" aria-pressed="false">Show all code</button>'
    return f'<div class="notebook-bar"><p>{_how(stamp)}</p><p>{told} {button}</p></div>'


def _how(stamp: dict) -> str:
    if not stamp:
        return "How it was executed is not known."
    when = datetime.fromisoformat(stamp["started"])
    changed = ", with changes that were not committed" if stamp["git_dirty"] else ""
    revision = f"revision <code>{stamp['git_revision'][:7]}</code>{changed}" if stamp["git_revision"] else "no revision"
    return (
        f"Executed {when:%d %B %Y, %H:%M} UTC in {stamp['seconds']:,.0f} s with at most "
        f"{stamp['peak_memory_mb']:,.0f} MB, from {revision}."
    )


def _by_stage(told: Iterable[Page]) -> Iterable[Stage]:
    for name, pages in groupby(sorted(told, key=lambda page: (page.stage, page.name)), key=lambda page: page.stage):
        of_stage = tuple(pages)
        yield Stage(name, of_stage[0].question, of_stage)
