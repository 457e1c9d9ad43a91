"""The design file: what is varied, on which cells, and how it is judged. Science only, never machine settings.

``python -m helpers.design params/demo.yaml`` prints the runs with their estimated time and disk; nothing is run.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from helpers.design_evaluations import TASKS, Evaluations, check_evaluations, check_selections, judged_sets
from helpers.design_parts import (
    BudgetSettings,
    Corpus,
    EvaluationSet,
    FamilySettings,
    HeldOut,
    Name,
    Percentages,
    Perturbation,
    Sampling,
    Seeds,
    SeedsBySize,
    SpikeIns,
    Strict,
    distinct,
)
from helpers.design_runs import BASELINES, NO_STRATEGY, SPIKEINS, UNTRAINED, Run, n_cells
from helpers.messages import explain, unknown
from helpers.subset import SAME_WHOLE, SPIKE_INS, STRATEGIES

__all__ = ["BASELINES", "NO_STRATEGY", "UNTRAINED", "Design", "DesignError", "Run", "load_design", "n_cells"]


class DesignError(ValueError):
    """A design, or a choice of its runs, that cannot be carried out."""


class Design(Strict):
    """A whole study: corpus, held-out cells, ways of sampling × percentages × seeds, families, budget, evaluations.

    `strategies` is a list of strategies, or a mapping from names to what is sampled under that name; so `families` may
    hold one family under several names. `seeds_by_size` names other seeds for some percentages, 0 for untrained models.
    """

    name: Name
    seed: Annotated[int, Field(ge=0)]
    corpus: Corpus
    held_out: HeldOut
    perturbation: Perturbation | None = None
    spikeins: SpikeIns | None = None
    evaluation_sets: Annotated[dict[Name, EvaluationSet], Field(min_length=1)]
    strategies: Annotated[dict[Name, Sampling], Field(min_length=1)]
    percentages: Annotated[Percentages, Field(min_length=1)]
    seeds: Seeds
    seeds_by_size: SeedsBySize = Field(default={})
    families: Annotated[dict[Name, FamilySettings], Field(min_length=1)]
    budget: BudgetSettings
    evaluations: Evaluations

    @field_validator("strategies", mode="before")
    @classmethod
    def _named_samplings(cls, values: object) -> object:
        """A list of strategies as a mapping; a name without a strategy is that strategy's."""
        if isinstance(values, list):
            values = {str(name): {} for name in distinct(values)}
        return _named_after(values, "strategy")

    @field_validator("strategies")
    @classmethod
    def _names_do_not_mislead(cls, values: dict[str, Sampling]) -> dict[str, Sampling]:
        for name, sampling in values.items():
            if name in (UNTRAINED, NO_STRATEGY) or (name in STRATEGIES and name != sampling.strategy):
                raise ValueError(f"the name {name!r} of a sampling means something else already: choose another")
        return values

    @field_validator("families", mode="before")
    @classmethod
    def _named_families(cls, values: object) -> object:
        """A name without a family is that family's."""
        return _named_after(values, "family")

    @field_validator("families")
    @classmethod
    def _known_families(cls, values: dict[str, FamilySettings]) -> dict[str, FamilySettings]:
        from helpers.models import families

        for name, value in values.items():
            if value.family not in families():
                raise ValueError(unknown("family", value.family, families()))
            if name == BASELINES or (name != value.family and name in families()):
                raise ValueError(f"the name {name!r} of a model means something else already: choose another")
        return values

    @model_validator(mode="after")
    def _names_of_files_differ(self):
        if self.spikeins is not None and SPIKEINS in self.evaluation_sets:
            raise ValueError(f"evaluation_sets.{SPIKEINS}: the name means something else already: choose another")
        return self

    @model_validator(mode="after")
    def _headline_is_a_set(self):
        headline = self.evaluations.heldout_loss.headline
        if headline not in self.evaluation_sets:
            raise ValueError("evaluations.heldout_loss.headline: " + unknown("dataset", headline, self.evaluation_sets))
        return self

    @model_validator(mode="after")
    def _evaluations_can_be_made(self):
        check_evaluations(self.evaluations, self.evaluation_sets, self.perturbation, self.runs())
        return self

    @model_validator(mode="after")
    def _every_strategy_has_sizes(self):
        for name in self.strategies:
            if not self.sizes(name):
                raise ValueError(f"percentages leave {name} nothing to draw: add one under 100")
        known = {0.0, *(size for name in self.strategies for size in self.sizes(name))}
        for size in self.seeds_by_size:
            if size not in known:
                raise ValueError(f"seeds_by_size.{size:g}: no such size; there are: {_listed(sorted(known))}")
        return self

    @model_validator(mode="after")
    def _nested_sizes_share_their_seeds(self):
        for name, sampling in self.strategies.items():
            if sampling.nested and len({tuple(self.seeds_of(size)) for size in self.sizes(name)}) > 1:
                raise ValueError(f"strategies.{name}.nested needs the same seeds at all sizes, see seeds_by_size")
        return self

    @model_validator(mode="after")
    def _spike_ins_have_a_source(self):
        for name, sampling in self.strategies.items():
            if sampling.strategy in SPIKE_INS and self.perturbation is None and self.spikeins is None:
                raise ValueError(
                    f"strategies.{name} needs treated cells: say in `perturbation` which of the corpus they are, or in "
                    "`spikeins` which file holds them"
                )
        return self

    @model_validator(mode="after")
    def _selections_choose_runs(self):
        check_selections(self.evaluations, self.runs())
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

    @property
    def external(self) -> dict[str, EvaluationSet]:
        """The evaluation sets with a file of their own."""
        return {name: entry for name, entry in self.evaluation_sets.items() if entry.path is not None}

    @property
    def files(self) -> dict[str, EvaluationSet | SpikeIns]:
        """The cells with a file of their own: those of `external`, and spike-ins."""
        return {**self.external, **({SPIKEINS: self.spikeins} if self.spikeins else {})}

    def evaluates(self, task: str) -> bool:
        """Whether an evaluation is asked for, by its name among `evaluations`."""
        return getattr(self.evaluations, task) is not None

    def judges(self, task: str, run: "Run") -> bool:
        """Whether a run is among those that an evaluation is for."""
        return getattr(self.evaluations, task).runs.holds(run)

    def datasets(self, task: str) -> dict[str, str]:
        """What an evaluation judges, by name, and how much pretraining could know of its cells; see `judged_sets`."""
        return judged_sets(self.evaluations, self.evaluation_sets, self.perturbation, task)

    def seen(self) -> dict[str, str]:
        """How much pretraining could know of the cells of all that is judged, by name."""
        return {name: seen for task in TASKS.values() for name, seen in self.datasets(task).items()}

    def is_first(self, family: str, width: float, strategy: str) -> bool:
        """Whether a piece of work is its family's first, which shows what one look per family is enough for."""
        return next(chunk for chunk in self.chunks() if chunk[0] == family) == (family, width, strategy)

    def budget_of(self, family: str) -> BudgetSettings:
        """How long each model of a family trains."""
        return self.families[family].budget or self.budget

    def sizes(self, strategy: str) -> list[float]:
        """Percentages of a sampling; where all cells (100 %) are the same cells for each, only ``random`` runs them."""
        if strategy == UNTRAINED:
            return [0.0]
        sampling = self.strategies[strategy]
        sizes = sorted(sampling.percentages or self.percentages)
        return [size for size in sizes if size < 100 or sampling.strategy not in SAME_WHOLE]

    def seeds_of(self, percentage: float) -> list[int]:
        """Seeds of the runs of one size."""
        return self.seeds_by_size.get(percentage, self.seeds)

    def select(
        self, family: str, width: float, strategy: str, percentages: Sequence[float] = (), seeds: Sequence[int] = ()
    ) -> list["Run"]:
        """Runs of one family, width and sampling; empty `percentages` or `seeds` take all of the design.

        Raises DesignError for a choice that the design does not hold.
        """
        _check_choice("family", [family], self.families)
        _check_choice("width", [width], self.families[family].widths)
        _check_choice("strategy", [strategy], [*self.strategies, UNTRAINED])
        _check_choice("percentages", percentages, self.sizes(strategy))
        sizes = sorted(percentages) or self.sizes(strategy)
        _check_choice("seeds", seeds, sorted({seed for size in sizes for seed in self.seeds_of(size)}))
        return [
            Run(family, float(width), strategy, float(size), seed)
            for size in sizes
            for seed in self.seeds_of(size)
            if not seeds or seed in seeds
        ]

    def subsets(self, strategy: str) -> list["Run"]:
        """The subsets of one sampling, as runs without a model."""
        return [Run("", 1.0, strategy, size, seed) for size in self.sizes(strategy) for seed in self.seeds_of(size)]

    def sampling(self, strategy: str) -> Sampling:
        """What is sampled under a name; DesignError if the design does not hold it."""
        _check_choice("strategy", [strategy], self.strategies)
        return self.strategies[strategy]

    def rng(self, *names: object) -> np.random.Generator:
        """Random generator for one purpose, independent of all others: the seed sequence's child of that name."""
        words = np.frombuffer(hashlib.sha256("/".join(map(str, names)).encode()).digest(), dtype=np.uint32)
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=tuple(int(word) for word in words)))


def load_design(path: str | Path) -> Design:
    """Read and validate a design file; DesignError names the file, the key, the value and what would do."""
    from helpers.provenance import project_path

    file = project_path(path)
    if not file.is_file():
        there = ", ".join(sorted(entry.name for entry in file.parent.glob("*.yaml"))) or "none"
        raise DesignError(f"design = {str(path)!r}: no such file; designs in that folder: {there}")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DesignError(f"{file.name} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise DesignError(f"{file.name} must hold keys and values; accepted keys: {', '.join(Design.model_fields)}")
    try:
        return Design(**content)
    except ValidationError as error:
        raise DesignError(f"{file.name}: " + "; ".join(explain(item, Design) for item in error.errors())) from error


def _named_after(values: object, key: str) -> object:
    """Entries of a mapping that leave `key` out get their own name for it; other values are for pydantic to refuse."""
    if not isinstance(values, dict):
        return values
    return {name: {key: name} | value if isinstance(value, dict) else value for name, value in values.items()}


def _check_choice(key: str, values: Sequence, known) -> None:
    for value in values:
        if value not in known:
            raise DesignError(f"{key} = {value!r} is not in the design; it holds: {_listed(known)}")


def _listed(values: Iterable) -> str:
    return ", ".join(map(str, values))


if __name__ == "__main__":
    import sys

    from helpers.estimate import main

    sys.exit(main())
