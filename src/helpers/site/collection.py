"""What one part of the site shows: the notebooks, figures, tables and stamps of one design."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from helpers.notebooks import CONTROLS, PROVENANCE
from helpers.plots import looks
from helpers.provenance import find_project, read_notebook
from helpers.site.words import in_words

RECORD = ".record.json"  # beside an artifact, of the store


class SiteError(ValueError):
    """A site that cannot be built."""


@dataclass(frozen=True)
class Collection:
    """Notebooks, figures and tables of one design.

    `name` is the folder of the site, `title` stands over it. `results` is the tidy table, `laws` that of the verdicts,
    `stamps` how each notebook was made, `records` where artifacts come from; each may be missing.
    """

    name: str
    title: str
    notebooks: tuple[Path, ...]
    figures: Path | None = None
    results: Path | None = None
    laws: Path | None = None
    stamps: dict[str, dict] = field(default_factory=dict)
    records: dict[str, dict] = field(default_factory=dict)

    @property
    def inside(self) -> str:
        """The title inside a sentence: the name of a user's own design stays as it is."""
        return self.title if self.title == self.name else self.title[:1].lower() + self.title[1:]

    def captions(self) -> dict[str, dict[str, str]]:
        """Title, caption, notebook and data of each figure by its name, in order; in words where nothing is told."""
        if self.figures is None:
            return {}
        file = self.figures / "captions.json"
        told = _read(file) if file.exists() else {}
        names = sorted(path.stem for path in self.figures.glob("*.svg"))
        ordered = [name for name in told if name in names] + [name for name in names if name not in told]
        return {name: {"title": _title(name), "caption": ""} | told.get(name, {}) for name in ordered}

    def verdicts(self) -> pd.DataFrame | None:
        """Verdicts on the held-out loss over numbers of random cells, a row for each model and set; None without."""
        if self.laws is None:
            return None
        table = pd.read_parquet(self.laws)
        chosen = {"axis": "n_cells", "sampling": "random", "metric": "heldout_loss"}
        for column, value in chosen.items():
            table = table[table[column] == value]
        family = table["model"].map({name: n for n, name in enumerate(looks.ordered(table["model"], "families"))})
        return table.assign(family=family).sort_values(["family", "width", "dataset"]).reset_index(drop=True)


def finished(results: Path, design: str) -> Collection:
    """The results folder of a finished design. Raises SiteError, with what to do, if something is not there yet."""
    needed = [results / name for name in ("notebooks", "figures", "results.parquet", "scaling/laws.parquet")]
    missing = [path.relative_to(results).as_posix() for path in needed if not path.exists()]
    if missing:
        raise SiteError(f"{results.name}: no {', '.join(missing)} there: run make demo DESIGN={design} first")
    notebooks = tuple(path for path in sorted((results / "notebooks").glob("*.ipynb")) if ".failed" not in path.name)
    title = "The demo" if results.name == "demo" else results.name
    tables = {"results": results / "results.parquet", "laws": results / "scaling" / "laws.parquet"}
    records = {file.name[1 : -len(RECORD)]: _read(file) for file in sorted(results.glob(f".*{RECORD}"))}
    more = {"figures": results / "figures", "records": records, "stamps": stamps(notebooks)}
    return Collection(results.name, title, notebooks, **tables, **more)


def kept(folder: Path) -> Collection:
    """The kept copy of a design's results, as ``python -m helpers.notebooks keep`` writes it."""
    records = folder / "tables" / "records.json"
    told = {"stamps": _read(folder / PROVENANCE), "figures": folder / "figures"}
    told |= {"records": _read(records)} if records.exists() else {}
    tables = {"results": folder / "tables" / "results.parquet", "laws": folder / "tables" / "scaling_laws.parquet"}
    notebooks = tuple(sorted((folder / "notebooks").glob("*.ipynb")))
    return Collection(folder.name, f"The project's {folder.name}", notebooks, **tables, **told)


def controls() -> Collection:
    """The controls of the analysis: as last executed, else the tracked reading copy."""
    project = find_project()
    own, reading = project / CONTROLS, project / "notebooks" / "executed" / CONTROLS.name
    notebooks = tuple(path for path in (own, reading) if path.exists())[:1]
    return Collection("controls", "Controls of the analysis", notebooks, stamps=stamps(notebooks))


def stamps(notebooks: tuple[Path, ...]) -> dict[str, dict]:
    """What the executed notebooks say of how they were made, by the name of each."""
    return {path.stem: dict(read_notebook(path).metadata.get("cellscale", {})) for path in notebooks}


def _read(file: Path) -> dict:
    return json.loads(file.read_text())


def _title(name: str) -> str:
    words = in_words(name)
    return words[:1].upper() + words[1:]
