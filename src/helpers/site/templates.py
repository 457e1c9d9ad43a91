"""Pages from the templates in ``docs/pages``."""

from functools import cache
from html import escape
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from helpers.provenance import find_project
from helpers.site.words import in_words
from helpers.words import counted


@cache
def _environment() -> Environment:
    folder = find_project() / "docs" / "pages"
    options = {"undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
    made = Environment(loader=FileSystemLoader(folder), autoescape=False, **options)
    made.filters |= {"cell": cell, "attribute": escape, "number": number, "counted": counted, "in_words": in_words}
    return made


def write_page(path: Path, template: str, **values: object) -> None:
    """Write a page as Markdown."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_environment().get_template(f"{template}.md.jinja").render(**values))


def cell(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", r"\|")


def number(value: float, form: str = ",.0f") -> str:
    """A number in words of the site; a dash where there is none."""
    return "–" if value is None or value != value else format(value, form)
