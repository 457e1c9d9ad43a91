"""The home page: the question, the headline figure, findings, verdicts, and what none of it can say."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from helpers.analysis.reach import is_small, reach
from helpers.plots import looks
from helpers.plots.style import VERDICT_COLOURS
from helpers.site.collection import Collection
from helpers.site.explorer import address, scores
from helpers.site.figures import Figure
from helpers.site.notebook_pages import Stage
from helpers.site.templates import write_page
from helpers.site.words import in_words
from helpers.words import counted

QUESTION = "Does more, or more diverse, pretraining data make single-cell models better, and how would I know?"
HEADLINE = "heldout_loss"
MOST_BYTES = 500_000  # of the headline figure as svg; a heavier one is shown as png
ANSWERS = ("60_saturation", "61_scaling_laws", "62_diversity_effect")


def write(
    collections: Sequence[Collection],
    source: Path,
    *,
    stages: Mapping[str, Sequence[Stage]],
    figures: Mapping[str, Sequence[Figure]],
    documents: Sequence[tuple[str, str]],
) -> None:
    """Write the home page, whose headline, findings and numbers are those of the first collection."""
    first = collections[0]
    tables = {one.name: scores(pd.read_parquet(one.results)) for one in collections if one.results is not None}
    values = {
        "question": QUESTION,
        "lead": _lead(tables.get(first.name)),
        "scores": counted(len(tables[first.name]), "score") if first.name in tables else "the scores",
        "headline": _headline(first, figures[first.name]),
        "findings": list(_findings(first, stages[first.name])),
        "verdicts": [told for one in collections if (told := _verdicts(one, tables.get(one.name), stages[one.name]))],
        "caveat": _caveat(first),
    }
    write_page(source / "index.md", "home", first=first, collections=collections, documents=documents, **values)


def _lead(table: pd.DataFrame | None) -> str:
    """What this is, in three sentences."""
    about = "Models learn from subsets of a corpus, and each is judged on cells that it never saw."
    trained = pd.DataFrame() if table is None else table[table["percentage"] > 0]
    if trained.empty:
        return about
    families = [in_words(name) for name in looks.ordered(trained["family"], "families")]
    n_models, cells = trained["run_id"].nunique(), trained["n_cells"]
    return (
        f"{about} Here {counted(n_models, 'model')} ({', '.join(families)}) learned from "
        f"{_cells(cells.min(), cells.max())}, drawn in {counted(trained['strategy'].nunique(), 'way')}; with "
        f"untrained ones and baselines they have {counted(len(table), 'score')}, each beside its floor and ceiling. "
        "Everything is an executed notebook that can be run again, on your own atlas too."
    )


def _cells(smallest: float, largest: float) -> str:
    """A range of numbers of cells, which may be one number."""
    most = counted(round(largest), "cell")
    return most if smallest == largest else f"{smallest:,.0f} to {most}"


def _headline(collection: Collection, figures: Sequence[Figure]) -> dict | None:
    found = next((figure for figure in figures if figure.name == HEADLINE), None)
    if found is None:
        return None
    svg = collection.figures / f"{HEADLINE}.svg"
    light = svg.stat().st_size <= MOST_BYTES or not svg.with_suffix(".png").exists()
    shown = {key: getattr(found, key) for key in ("name", "title", "caption", "files", "alt", "size")}
    return shown | {"kind": "svg" if light else "png"}


def _findings(collection: Collection, stages: Sequence[Stage]):
    for stage in stages:
        if stage.name in ANSWERS and stage.pages[0].finding:
            page = f"{collection.name}/{stage.page}.{'ipynb' if len(stage.pages) == 1 else 'md'}"
            question = stage.question.partition(" · ")[2] or stage.question
            yield {"question": question, "page": page, "text": stage.pages[0].finding}


def _verdicts(collection: Collection, table: pd.DataFrame | None, stages: Sequence[Stage]) -> dict | None:
    """The table of verdicts of a collection, as rows by family and cells by set; None where none was found."""
    laws = collection.verdicts()
    if laws is None or laws.empty:
        return None
    budgets = laws.groupby(["model", "width"])["budget"].transform("nunique")
    rows: dict[str, dict] = {}
    for law, n_budgets in zip(laws.to_dict("records"), budgets, strict=True):
        width = "" if law["width"] == 1 else f", {law['width']:g}×"
        budget = f", {law['budget']}" if n_budgets > 1 else ""
        family = in_words(law["model"]) + width + budget
        rows.setdefault(family, {})[law["dataset"]] = _cell(collection, law)
    seen = {} if table is None else dict(zip(table["dataset"], table["seen"], strict=True))
    pages = {stage.name: stage.page for stage in stages}
    notebook = pages.get("61_scaling_laws", "notebooks")
    cells = _cells(laws["smallest"].min(), laws["largest"].max())
    sizes, models = counted(laws["n_sizes"].max(), "size"), counted(laws["n_runs"].max(), "model")
    return {
        "title": collection.title,
        "inside": collection.inside,
        "range": f"{cells}, {sizes}, {models} a curve",
        "notebook": f"{collection.name}/{notebook}.html",
        "sets": sorted(laws["dataset"].unique(), key=lambda name: list(seen).index(name) if name in seen else 0),
        "seen": seen,
        "rows": rows,
    }


def _cell(collection: Collection, law: Mapping[str, object]) -> dict:
    chosen = {"family": law["model"], "sampling": "random", "task": "heldout_loss", "dataset": law["dataset"]}
    link = address(collection, {name: [value] for name, value in chosen.items()})
    told = {"verdict": law["verdict"], "colour": VERDICT_COLOURS[law["verdict"]], "reason": law["reason"]}
    is_law = law["verdict"] == "power law"
    exponent = f"{law['exponent']:.2f} ({law['low']:.2f} to {law['high']:.2f})" if is_law else ""
    return told | {"link": link, "exponent": exponent}


def _caveat(collection: Collection) -> str:
    laws = collection.verdicts()
    if laws is None or laws.empty:
        return "A score holds for the corpus and the cells that it was measured on, and for no more."
    largest = laws["largest"].max()
    about = f"Every verdict holds for up to {largest:,.0f} cells of this corpus, on these test sets, and for no more."
    if is_small(largest):
        about += f" {reach(largest)}: a corpus this small shows that the method works."
    return f"{about} Labels that come from clusterings favour PCA. Losses compare models of one family alone."
