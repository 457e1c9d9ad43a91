"""The parts of a design file: typed, checked on construction, never changed afterwards."""

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from helpers.design_sources import SOURCE_SETTINGS, Census, H5adFiles, Simulation, Strict, Text
from helpers.messages import unknown

SEEN = ("in distribution", "library unseen", "study unseen", "tissue unseen", "transductive")


def distinct(values: list) -> list:
    """Raise ValueError if an entry stands twice."""
    if len(set(values)) < len(values):
        raise ValueError("each entry may stand only once")
    return values


def _entries(values: object) -> object:
    """Names, and pairs of a context and a perturbation as tuples; each may stand only once."""
    if not isinstance(values, list):
        return values
    for value in values:
        names = list(value) if isinstance(value, (list, tuple)) else [value]
        if (names != [value] and len(names) != 2) or not all(isinstance(name, str) and name for name in names):
            raise ValueError(f"{value!r} is neither a name nor a pair of a context and a perturbation")
    return distinct([value if isinstance(value, str) else tuple(value) for value in values])


def _one_decimal(value: float) -> float:
    if not math.isclose(value, round(value, 1)) or round(value, 1) == 0:
        raise ValueError(f"{value:g} has more than one decimal; run ids carry one, at least 0.1")
    return value


def _as_in_ids(value: float) -> float:
    if value != float(f"{value:g}"):
        raise ValueError(f"{value!r} has more than the six digits that run ids carry")
    return value


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]
Where = Annotated[dict[str, list[str]], Field(min_length=1)]  # obs column -> accepted values, all must hold
Percentage = Annotated[float, Field(gt=0, le=100), AfterValidator(_one_decimal)]
Percentages = Annotated[list[Percentage], AfterValidator(distinct)]
Seeds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1), AfterValidator(distinct)]
SeedsBySize = dict[Annotated[float, Field(ge=0, le=100)], Seeds]
Entries = Annotated[list[str | tuple[str, str]], BeforeValidator(_entries)]
Width = Annotated[float, Field(gt=0, allow_inf_nan=False), AfterValidator(_as_in_ids)]
Widths = Annotated[list[Width], Field(min_length=1), AfterValidator(distinct)]


class Corpus(Strict):
    """Where the cells come from and which of them are offered for pretraining, all if `pretraining` is left out.

    Each source but ``embedded``, whose file is `path`, has its settings under a key of its own.
    """

    source: Literal["embedded", "simulated", "h5ad", "census"]
    path: str = "data/embedded.h5ad"
    simulation: Simulation | None = None
    h5ad: H5adFiles | None = None
    census: Census | None = None
    pretraining: dict[str, list[str]] = Field(default={})
    genes: Annotated[int, Field(ge=50)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_defaults(cls, values: object) -> object:
        """Settings that are good as they are need not be given."""
        if isinstance(values, dict) and values.get("source") in ("simulated", "census"):
            return {SOURCE_SETTINGS[values["source"]]: {}} | values
        return values

    @model_validator(mode="after")
    def _one_source(self):
        for source, key in SOURCE_SETTINGS.items():
            given = getattr(self, key) is not None
            if given and self.source != source:
                raise ValueError(f"{key} is given, but source = {self.source!r}: use {source!r}, or leave it out")
            if not given and self.source == source:
                raise ValueError(f"{key} is missing: source = {source!r} has its settings there")
        return self


HELD_OUT_PRESETS = {"sctab": {"by": "donor_id", "validation": 0.15, "evaluation": 0.15}}


class HeldOut(Strict):
    """Cells of the pretraining pool that no model learns from, drawn once for all runs.

    Without `by` they are shares of the cells in `where`. With `by`, a column such as the donor, they are all cells of
    shares of its values: of those that cells in `where` have, or, without `where`, of all. `validation_at_most` so many
    cells stop the training. `preset` names the other entries: ``sctab`` holds out 15 and 15 % of the donors.
    """

    where: Where | None = None
    by: Text | None = None
    validation: Annotated[float, Field(gt=0, lt=1)]
    evaluation: Annotated[float, Field(gt=0, lt=1)]
    validation_at_most: Annotated[int, Field(ge=10)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, values: object) -> object:
        if not isinstance(values, dict) or "preset" not in values:
            return values
        own = {key: value for key, value in values.items() if key != "preset"}
        if values["preset"] not in list(HELD_OUT_PRESETS):
            raise ValueError(unknown("preset", values["preset"], HELD_OUT_PRESETS))
        return HELD_OUT_PRESETS[values["preset"]] | own

    @model_validator(mode="after")
    def _leaves_cells(self):
        if self.where is None and self.by is None:
            raise ValueError("where or by is missing: name cells, or a column whose values are held out")
        if self.validation + self.evaluation >= 1:
            raise ValueError(
                f"validation + evaluation = {self.validation + self.evaluation:g} leaves nothing to learn from"
            )
        return self


class Perturbation(Strict):
    """Treated cells. Those of a held-out context (a type, a lineage) judge; spike-ins draw from the others alone."""

    where: Where
    held_out: Annotated[dict[Name, Where], Field(min_length=1)]


class OwnCells(Strict):
    """What is said of cells that have a file of their own (h5ad, raw counts), or may have one."""

    where: Where | None = None  # this and the next four: columns of the file's obs; without a file, of the corpus
    label: Text = "cell_type"
    batch: Text | None = None
    perturbation: Text | None = None
    context: Text | None = None
    genes: Text | None = None  # column of the file's var with the gene names, if var_names are others
    layer: Text | None = None  # of the file, with the counts; if left out X, or raw where X holds none
    source: Text | None = None  # where the file comes from, told when it is missing


class SpikeIns(OwnCells):
    """Treated cells that replace part of spike-in subsets: all of a file, or those that `where` names."""

    path: Text


class EvaluationSet(OwnCells):
    """Cells that judge every model; `seen` says how much of them pretraining could know.

    They are the corpus's cells that `where` names, with ``part: evaluation`` those of them that are held out of what
    may be learned from, or those of a file of their own (h5ad, raw counts) in `path`, all of them or those that `where`
    names. `at_most` so many are drawn at random.
    """

    path: Text | None = None
    part: Literal["evaluation", "all"] = "all"
    seen: Literal[SEEN]
    control: Text | None = None  # value of `perturbation` that marks untreated cells; "control" if left out
    split: Literal["context", "perturbation", "both"] = "context"  # what no head learns from
    held_out: Entries = Field(default=[])  # left out in turn; empty for all
    at_most: Annotated[int, Field(ge=10)] | None = None

    @model_validator(mode="after")
    def _of_the_corpus_or_of_a_file(self):
        if self.path is not None and self.part != "all":
            raise ValueError(
                f"part = {self.part!r} is a share of the corpus, but path = {self.path!r}: leave part out, or path"
            )
        if self.path is None and self.where is None and self.part == "all":
            raise ValueError("where is missing: name cells of the corpus, or give the path of a file of their own")
        for key in ("batch", "perturbation", "context", "genes", "layer", "source"):
            if self.path is None and getattr(self, key) is not None:
                raise ValueError(f"{key} = {getattr(self, key)!r} is of a file: give its path, or leave {key} out")
        if self.context is not None and self.perturbation is None:
            raise ValueError(f"context = {self.context!r} has no perturbation: name its column, or leave context out")
        for key in ("control", "held_out", "split"):
            if self.context is None and getattr(self, key) not in (None, [], "context"):
                raise ValueError(
                    f"{key} = {getattr(self, key)!r} needs the columns perturbation and context: name them"
                )
        for entry in self.held_out:
            if isinstance(entry, str) == (self.split == "both"):
                would = "pairs such as [a type, a drug]" if self.split == "both" else f"names of a {self.split}"
                raise ValueError(f"held_out = {entry!r}, but split = {self.split!r} holds out {would}")
        return self


class Sampling(Strict):
    """A way to draw smaller corpora: a strategy with its options.

    `percentages` are those of the design if empty. With `nested`, larger subsets of a seed contain its smaller ones.
    """

    strategy: str
    percentages: Percentages = Field(default=[])
    nested: bool = False
    options: dict[str, int | float | str | bool | dict[str, float]] = Field(default={})

    @model_validator(mode="after")
    def _known(self):
        from helpers.subset import check_options

        check_options(self.strategy, self.options)
        return self


class BudgetSettings(Strict):
    """How long each model trains: a number of cell-views (constant over sizes) or of epochs."""

    kind: Literal["cell_views", "epochs"]
    amount: Annotated[int, Field(gt=0)]


class FamilySettings(Strict):
    """How models are built: the family, its preset, widths as multipliers of the preset, further settings, and a budget
    where it is not that of the design.
    """

    family: str
    preset: Literal["paper", "demo"] = "paper"
    widths: Widths = Field(default=[1.0])
    settings: dict[str, int | float | str | bool | list[int] | list[float] | None] = Field(default={})
    budget: BudgetSettings | None = None

    @property
    def module(self) -> str:
        """Importable name of the module that defines the family."""
        from helpers.models import module_of

        return module_of(self.family)
