"""All pages of the site, in the order in which they need each other."""

from collections.abc import Sequence
from pathlib import Path

from helpers.site import documents, explorer, figures, home, notebook_pages, provenance_page
from helpers.site.collection import Collection
from helpers.site.templates import write_page


def write(collections: Sequence[Collection], source: Path, files: Path) -> None:
    """Write every page below `source`, and what they link to below `files`."""
    stages = {one.name: notebook_pages.write(one, source, files) for one in collections}
    drawn = {one.name: figures.write(one, source, files, stages[one.name]) for one in collections}
    for one in collections:
        values = {"collection": one, "stages": stages[one.name]}
        write_page(source / one.name / "notebooks.md", "notebooks", **values)
        explorer.write_table(one, files / one.name)
    with_table = [one for one in collections if one.results is not None]
    write_page(source / "explorer.md", "explorer", collections=with_table)
    provenance_page.write(collections, source, stages)
    told = documents.write(collections, source)
    home.write(collections, source, stages=stages, figures=drawn, documents=told)
