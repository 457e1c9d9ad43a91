"""The project's own documents as pages: README, docs/, changes, how to contribute, the API."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from helpers.provenance import find_project
from helpers.site.collection import Collection

DOCUMENTS = {  # title in the sidebar -> file of the project
    "README": "README.md",
    "The demo": "docs/demo.md",
    "The whole study": "docs/study.md",
    "Ways of sampling": "docs/sampling.md",
    "Model families": "docs/families.md",
    "Evaluations": "docs/evaluations.md",
    "Does it scale?": "docs/scaling.md",
    "How far it reaches": "docs/scale.md",
    "Running it": "docs/running.md",
    "The cells": "data/README.md",
    "This site": "docs/site.md",
    "Changes": "CHANGELOG.md",
    "Contributing": "CONTRIBUTING.md",
}
READINGS = "notebooks/executed"
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
OTHER = re.compile(r"^([a-z]+:|#)")  # an address of its own, or a place on the same page


def write(collections: Sequence[Collection], source: Path) -> list[tuple[str, str]]:
    """Write those documents that the project has, and the pages of the API; return title and page of each."""
    project, told = find_project(), []
    for title, name in DOCUMENTS.items():
        file = project / name
        if file.exists():
            page = page_of(name)
            target = source / f"{page}.md"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(relinked(file.read_text(), PurePosixPath(name), collections, source))
            told.append((title, page))
    shutil.copytree(project / "docs" / "api", source / "api")
    return [*told, ("API", "api/index")]


def page_of(name: str) -> str:
    """Page of a document of the project: ``readme`` of ``README.md``, ``data/readme`` of ``data/README.md``."""
    return PurePosixPath(name).with_suffix("").as_posix().lower()


def relinked(text: str, name: PurePosixPath, collections: Sequence[Collection], source: Path) -> str:
    """The text of a document with links that lead somewhere on the site: to a page, or to a copy of the file.

    What has neither becomes plain text.
    """
    up = "../" * (len(name.parts) - 1)

    def changed(found: re.Match) -> str:
        picture, words, address = found.groups()
        words = LINK.sub(changed, words)
        if OTHER.match(address):
            return f"{picture}[{words}]({address})"
        path, _, place = address.partition("#")
        target = _target(_joined(name.parent, path), collections, source)
        return f"{picture}[{words}]({up}{target}{'#' * bool(place)}{place})" if target else words

    return LINK.sub(changed, text)


def _target(path: str, collections: Sequence[Collection], source: Path) -> str | None:
    """Page or file of the site, from its root, that stands for a path of the project."""
    project = find_project()
    if path in DOCUMENTS.values():
        return f"{page_of(path)}.md"
    if path == "data":
        return f"{page_of('data/README.md')}.md"
    if path == "figures" and collections[0].figures:
        return f"{collections[0].name}/figures.md"
    for one in collections:
        if path in (one.name, READINGS):
            return f"{one.name}/notebooks.md"
    if path.endswith(".ipynb"):  # a page, or nothing: a copy would become a page too
        folder, name = PurePosixPath(path).parent.as_posix(), PurePosixPath(path).stem
        shown = [one for one in collections if folder in (READINGS, f"{one.name}/notebooks")]
        having = [one for one in shown if name in {notebook.stem for notebook in one.notebooks}]
        return f"{having[0].name}/{name}.ipynb" if having else None
    if (project / path).is_file():
        copy = source / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(project / path, copy)
        return path
    return None


def _joined(folder: PurePosixPath, path: str) -> str:
    parts: list[str] = []
    for part in (folder / path).parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)
