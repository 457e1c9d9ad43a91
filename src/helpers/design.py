"""The design file: what is varied, on which cells, and how it is judged. Science only, never machine settings.

``python -m helpers.design params/demo.yaml`` prints the runs with their estimated time and disk; nothing is run.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from helpers.messages import explain, unknown

UNTRAINED = "untrained"
NO_STRATEGY = "none"  # baselines learn from no subset
SEEN = ("in distribution", "library unseen", "study unseen", "tissue unseen", "transductive")

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]
Where = Annotated[dict[str, list[str]], Field(min_length=1)]  # obs column -> accepted values, all must hold


class DesignError(ValueError):
    """A design, or a choice of its runs, that cannot be carried out."""


class Strict(BaseModel):
    """Base of all parts of a design: unknown keys and wrong types are refused, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Corpus(Strict):
    """Where the cells come from and which of them are offered for pretraining."""

    source: Literal["embedded"]
    path: str = "data/embedded.h5ad"
    pretraining: Where
    genes: Annotated[int, Field(ge=50)] | None = None


class HeldOut(Strict):
    """Cells of the pretraining pool that no model learns from, drawn once for all runs; shares of the
    cells in `where`.
    """

    where: Where
    validation: Annotated[float, Field(gt=0, lt=1)]
    evaluation: Annotated[float, Field(gt=0, lt=1)]

    @model_validator(mode="after")
    def _leaves_cells(self):
        if self.validation + self.evaluation >= 1:
            raise ValueError(
                f"validation + evaluation = {self.validation + self.evaluation:g} leaves nothing to learn from"
            )
        return self


class EvaluationSet(Strict):
    """Cells that judge every model; `seen` says how much of them pretraining could know."""

    where: Where
    part: Literal["evaluation", "all"] = "all"
    seen: Literal[SEEN]
    label: str = "cell_type"


class FamilySettings(Strict):
    """How a model family is built: preset, widths as multipliers of the preset, further settings of the family."""

    preset: Literal["paper", "demo"] = "paper"
    widths: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)] = [1.0]
    settings: dict[str, int | float | str | bool] = {}

    @field_validator("widths")
    @classmethod
    def _distinct_widths(cls, values: list[float]) -> list[float]:
        return _distinct(values)


class BudgetSettings(Strict):
    """How long each model trains: a number of cell-views (constant over sizes) or of epochs."""

    kind: Literal["cell_views", "epochs"]
    amount: Annotated[int, Field(gt=0)]


class Classification(Strict):
    """Zero-shot cell type classification by nearest neighbours; types under `min_cells` cells are not scored."""

    n_neighbors: Annotated[int, Field(ge=1)] = 5
    min_cells: Annotated[int, Field(ge=2)] = 10
    headline_min_cells: Annotated[int, Field(ge=2)] = 20

    @model_validator(mode="after")
    def _headline_types_are_scored(self):
        if self.headline_min_cells < self.min_cells:
            raise ValueError(f"headline_min_cells = {self.headline_min_cells} is under min_cells = {self.min_cells}")
        return self


class HeldoutLoss(Strict):
    """Held-out loss of every run on the common test sets; one of them is the headline."""

    headline: str


class Evaluations(Strict):
    """The evaluations of each model."""

    classification: Classification
    heldout_loss: HeldoutLoss


class Design(Strict):
    """A whole study: corpus, held-out cells, sampling strategies × percentages × seeds, families, budget,
    evaluations.
    """

    name: Name
    seed: Annotated[int, Field(ge=0)]
    corpus: Corpus
    held_out: HeldOut
    evaluation_sets: Annotated[dict[Name, EvaluationSet], Field(min_length=1)]
    strategies: Annotated[list[str], Field(min_length=1)]
    percentages: Annotated[list[Annotated[float, Field(gt=0, le=100)]], Field(min_length=1)]
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    families: Annotated[dict[str, FamilySettings], Field(min_length=1)]
    budget: BudgetSettings
    evaluations: Evaluations

    @field_validator("percentages", "seeds", "strategies")
    @classmethod
    def _distinct_entries(cls, values: list) -> list:
        return _distinct(values)

    @field_validator("percentages")
    @classmethod
    def _one_decimal(cls, values: list[float]) -> list[float]:
        for value in values:
            if not math.isclose(value, round(value, 1)) or round(value, 1) == 0:
                raise ValueError(f"{value:g} has more than one decimal; run ids carry one, at least 0.1")
        return values

    @field_validator("strategies")
    @classmethod
    def _known_strategies(cls, values: list[str]) -> list[str]:
        from helpers.subset import STRATEGIES

        for value in values:
            if value not in STRATEGIES:
                raise ValueError(unknown("strategy", value, STRATEGIES))
        return values

    @field_validator("families")
    @classmethod
    def _known_families(cls, values: dict[str, FamilySettings]) -> dict[str, FamilySettings]:
        from helpers.models import families

        for value in values:
            if value not in families():
                raise ValueError(unknown("family", value, families()))
        return values

    @model_validator(mode="after")
    def _headline_is_a_set(self):
        headline = self.evaluations.heldout_loss.headline
        if headline not in self.evaluation_sets:
            raise ValueError("evaluations.heldout_loss.headline: " + unknown("dataset", headline, self.evaluation_sets))
        return self

    @model_validator(mode="after")
    def _every_strategy_has_sizes(self):
        for strategy in self.strategies:
            if not self.sizes(strategy):
                raise ValueError(
                    f"percentages = {self.percentages} leave {strategy} nothing to draw: add one under 100"
                )
        return self

    def runs(self) -> list["Run"]:
        """Every model of the design, untrained ones (percentage 0) last within a family."""
        return [run for family, width, strategy in self.chunks() for run in self.select(family, width, strategy)]

    def chunks(self) -> Iterator[tuple[str, float, str]]:
        """Family, width, strategy of each piece of work; ``untrained`` stands among the strategies."""
        for family, settings in self.families.items():
            for width in settings.widths:
                for strategy in (*self.strategies, UNTRAINED):
                    yield family, width, strategy

    def sizes(self, strategy: str) -> list[float]:
        """Percentages of a strategy; all cells (100 %) are the same cells for each, so only ``random`` runs them."""
        if strategy == UNTRAINED:
            return [0.0]
        return [size for size in sorted(self.percentages) if size < 100 or strategy == "random"]

    def select(
        self, family: str, width: float, strategy: str, percentages: Sequence[float] = (), seeds: Sequence[int] = ()
    ) -> list["Run"]:
        """Runs of one family, width and strategy; empty `percentages` or `seeds` take all of the design.

        Raises DesignError for a choice that the design does not hold.
        """
        _check_choice("family", [family], self.families)
        _check_choice("width", [width], self.families[family].widths)
        _check_choice("strategy", [strategy], [*self.strategies, UNTRAINED])
        _check_choice("percentages", percentages, self.sizes(strategy))
        _check_choice("seeds", seeds, self.seeds)
        return [
            Run(family, float(width), strategy, float(percentage), seed)
            for percentage in (sorted(percentages) or self.sizes(strategy))
            for seed in (sorted(seeds) or self.seeds)
        ]

    def check_strategy(self, strategy: str) -> None:
        """Raise DesignError for a sampling strategy that the design does not hold."""
        _check_choice("strategy", [strategy], self.strategies)

    def rng(self, *names: object) -> np.random.Generator:
        """Random generator for one purpose, independent of all others: the seed sequence's child of that name."""
        words = np.frombuffer(hashlib.sha256("/".join(map(str, names)).encode()).digest(), dtype=np.uint32)
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=tuple(int(word) for word in words)))


@dataclass(frozen=True)
class Run:
    """One model: family and width, trained on one subset of the corpus."""

    family: str
    width: float
    strategy: str
    percentage: float
    seed: int

    @property
    def model(self) -> str:
        """Family and width, e.g. ``scvi-w1``."""
        return f"{self.family}-w{self.width:g}"

    @property
    def subset(self) -> str:
        """The subset of cells, e.g. ``random/p010.0/s05``."""
        return f"{self.strategy}/p{self.percentage:05.1f}/s{self.seed:02d}"

    @property
    def id(self) -> str:
        """Readable name, e.g. ``scvi-w1/random/p010.0/s05``."""
        return f"{self.model}/{self.subset}"


def n_cells(percentage: float, n_corpus: int) -> int:
    """Number of cells of a subset: the percentage of the corpus, rounded."""
    return round(percentage / 100 * n_corpus)


def load_design(path: str | Path) -> Design:
    """Read and validate a design file; DesignError names the file, the key, the value and what would do."""
    from helpers.provenance import project_path

    file = project_path(path)
    if not file.is_file():
        there = ", ".join(sorted(entry.name for entry in file.parent.glob("*.yaml"))) or "none"
        raise DesignError(f"design = {str(path)!r}: no such file; designs in that folder: {there}")
    try:
        content = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise DesignError(f"{file.name} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise DesignError(f"{file.name} must hold keys and values; accepted keys: {', '.join(Design.model_fields)}")
    try:
        return Design(**content)
    except ValidationError as error:
        raise DesignError(f"{file.name}: " + "; ".join(explain(item, Design) for item in error.errors())) from error


def _distinct(values: list) -> list:
    if len(set(values)) < len(values):
        raise ValueError("each entry may stand only once")
    return values


def _check_choice(key: str, values: Sequence, known) -> None:
    for value in values:
        if value not in known:
            raise DesignError(f"{key} = {value!r} is not in the design; it holds: {', '.join(map(str, known))}")


if __name__ == "__main__":
    import sys

    from helpers.estimate import main

    sys.exit(main())
