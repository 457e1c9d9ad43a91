"""What the site adds to Sphinx: formulas without a network, words for pictures that have none, summaries as written."""

from collections import Counter

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx

MOST = 200  # characters of a text that stands for a picture


def setup(app: Sphinx) -> dict[str, bool]:
    """Register them."""
    app.add_html_math_renderer("mathml", (_inline_formula, None), (_formula, None))
    app.connect("doctree-read", _describe_pictures)
    app.connect("autodoc-process-docstring", _keep_summary, priority=400)  # before napoleon's
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _keep_summary(app: Sphinx, what: str, name: str, of: object, options: object, lines: list[str]) -> None:
    """Napoleon takes words before a colon in a property's summary for its type, unless the line ends there."""
    head, colon, rest = lines[0].partition(": ") if lines else ("", "", "")
    if colon and what in ("property", "attribute"):
        lines[:1] = [f"{head}:", rest]


def _inline_formula(translator, node: nodes.math) -> None:
    translator.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def _formula(translator, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="scroll">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def _describe_pictures(app: Sphinx, doctree: nodes.document) -> None:
    """Give pictures without an alternative text the nearest heading, their number under it, the page's title and what
    the section says first.
    """
    page = next((title.astext() for title in doctree.findall(nodes.title)), "")
    pictures = [picture for picture in doctree.findall(nodes.image) if not picture.get("alt")]
    under = [_section(picture) for picture in pictures]
    of, done = Counter(map(id, under)), Counter()
    for picture, section in zip(pictures, under, strict=True):
        done[id(section)] += 1
        heading, text = _words(section, nodes.title), _words(section, nodes.paragraph)
        which = f", picture {done[id(section)]} of {of[id(section)]}" if of[id(section)] > 1 else ""
        where = f", in “{page}”" if heading != page else ""
        picture["alt"] = f"{heading or 'Picture'}{which}{where}. {_shortened(text)}".strip()


def _section(node: nodes.Node) -> nodes.Node:
    while node.parent is not None and not isinstance(node, nodes.section):
        node = node.parent
    return node


def _words(section: nodes.Node, kind: type) -> str:
    """Text of the first title or paragraph of a section that is its own."""
    found = next((child for child in section.children if isinstance(child, kind)), None)
    return " ".join(found.astext().split()) if found is not None else ""


def _shortened(text: str) -> str:
    return text if len(text) <= MOST else f"{text[:MOST].rsplit(' ', 1)[0]} …"
