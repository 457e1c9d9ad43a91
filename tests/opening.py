"""How an executed notebook must open: with its question, its finding in two sentences, a table and a figure."""

import re

from helpers.reading import FINDING

MOST_WORDS = 65
SENTENCE = re.compile(r"[.!?](?=\s|$)")


def check(notebook, name: str, *, table: bool = True, figure: bool = True) -> str:
    """Fail unless an executed notebook opens as it must, and return its finding; `table` and `figure` are False where a
    notebook has nothing to show.
    """
    title = notebook.cells[0].source.splitlines()[0]
    assert title.endswith("?"), f"{name}: the title is no question: {title}"
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "stream"], f"{name}: printed lines"
    texts = [place for place, output in enumerate(outputs) if "text/markdown" in output.get("data", {})]
    tables = [place for place, output in enumerate(outputs) if "<table" in output.get("data", {}).get("text/html", "")]
    figures = [place for place, output in enumerate(outputs) if "image/png" in output.get("data", {})]
    assert texts, f"{name}: nothing is found"
    first = texts[0]
    assert outputs[first].metadata.get(FINDING), f"{name}: a text stands before the finding"
    shown = [place for place in (*tables, *figures) if place < first]
    assert not shown, f"{name}: {len(shown)} tables or figures stand before the finding"
    finding = outputs[first]["data"]["text/markdown"].removeprefix("**Finding.** ")
    assert finding in notebook.cells[0].source, f"{name}: the finding does not stand under the question"
    assert len(SENTENCE.findall(finding)) == 2, f"{name}: not two sentences: {finding}"
    assert finding.endswith("."), f"{name}: {finding}"
    words = re.findall(r"\S*\w\S*", finding)
    assert len(words) <= MOST_WORDS, f"{name}: {len(words)} words: {finding}"
    assert not re.search(r"\b(nan|1 (seed|curve|set|size|model|run|type)s)\b", finding), f"{name}: {finding}"
    assert tables or not table, f"{name}: no table"
    assert figures or not figure, f"{name}: no figure"
    assert not (tables and figures) or tables[0] < figures[0], f"{name}: a figure stands before the first table"
    return finding
