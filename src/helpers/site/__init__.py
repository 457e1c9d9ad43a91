"""A static site of a study's results: executed notebooks, figures, an explorer of all scores, provenance, API.

``make site`` builds ``results/<design>/site/index.html`` from what ``make demo`` has left; it opens from the file
system and asks nothing of any network. `build` takes the collections to show, so that a part of them makes a small
site.
"""

import io
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from helpers.provenance import find_project
from helpers.site import pages, vendor
from helpers.site.collection import Collection, SiteError
from helpers.store import discard

__all__ = ["Collection", "SiteError", "build"]

RESERVED = {"api", "data", "docs", "files", "static"}  # folders of the site


def build(collections: Sequence[Collection], out: Path, *, jobs: int | None = None) -> Path:
    """Build the site of some collections, the first of which is the home page's, and return its ``index.html``.

    Parameters
    ----------
    collections
        What to show; their names are folders of the site.
    out
        Folder of the site. What lies there is replaced, as a whole, once the new one is built.
    jobs
        Processes of Sphinx; by default one for each processor, two at most.

    Raises
    ------
    SiteError
        A collection has the name of another folder of the site; or Sphinx warned of something, such as a link to
        nowhere, or failed.
    """
    taken = set(RESERVED)
    for one in collections:
        if one.name in taken:
            raise SiteError(f"name = {one.name!r}: the site has a folder of that name; give the design another one")
        taken.add(one.name)
    staged = out.with_name(f"{out.name}.tmp")
    discard(staged)
    source, files, docs = staged / "source", staged / "extra" / "files", find_project() / "docs"
    files.mkdir(parents=True)
    shutil.copytree(docs / "static", source / "static")
    vendor.copy_libraries(source / "static")
    pages.write(collections, source, files)
    _run_sphinx(docs, staged, jobs or min(2, os.cpu_count() or 1))
    discard(out)
    (staged / "html").replace(out)
    discard(staged)
    return out / "index.html"


def _run_sphinx(docs: Path, staged: Path, jobs: int) -> None:
    """Turn the staged pages into html; every warning is an error."""
    from sphinx.application import Sphinx  # takes a second to import, with all that it needs
    from sphinx.errors import SphinxError
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    source, warnings = staged / "source", io.StringIO()
    settings = {"html_extra_path": [str(staged / "extra")], "html_static_path": [str(source / "static")]}
    places = (source, docs, staged / "html", staged / "doctrees")
    options = {"status": None, "warning": warnings, "warningiserror": True, "parallel": jobs}
    try:
        with patch_docutils(docs), docutils_namespace():
            app = Sphinx(*places, "html", confoverrides=settings, **options)
            app.build()
    except SphinxError as error:
        raise SiteError(f"the pages could not be made: {error}") from error
    if app.statuscode:
        raise SiteError(f"the pages could not be made:\n{warnings.getvalue().strip()}")
