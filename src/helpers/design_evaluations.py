"""The evaluations of a design: what is judged, on which sets, and for which runs where it is too slow for all."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from helpers.design_parts import SEEN, EvaluationSet, Name, Perturbation, Strict, Where, distinct
from helpers.messages import unknown

if TYPE_CHECKING:
    from helpers.design import Run

TASKS = {  # evaluation stage -> what it judges, by its name among the evaluations of a design
    "30_classify": "classification",
    "31_finetune": "finetuning",
    "32_integrate": "integration",
    "33_perturb": "perturbation",
    "34_heldout_loss": "heldout_loss",
}


class Selection(Strict):
    """Some runs of a design, for what is too slow for all; an empty list takes all. Untrained models have size 0."""

    families: list[Name] = Field([])
    percentages: list[float] = Field([])
    seeds: list[int] = Field([])

    def holds(self, run: "Run") -> bool:
        """Whether a run is among them."""
        chosen = ((self.families, run.family), (self.percentages, run.percentage), (self.seeds, run.seed))
        return all(not values or value in values for values, value in chosen)


class Evaluation(Strict):
    """What all evaluations share: the runs that are judged, all if nothing is selected."""

    runs: Selection = Selection()


class Transfer(Strict):
    """Types of the cells of one evaluation set told by neighbours from another; both have the column `label`."""

    train: str
    test: str
    label: str = "cell_type_harmonised"


class Classification(Evaluation):
    """Zero-shot cell type classification by nearest neighbours; types under `min_cells` cells are not scored."""

    n_neighbors: Annotated[int, Field(ge=1)] = 5
    min_cells: Annotated[int, Field(ge=2)] = 10
    headline_min_cells: Annotated[int, Field(ge=2)] = 20
    transfer: dict[Name, Transfer] = Field({})

    @model_validator(mode="after")
    def _headline_types_are_scored(self):
        if self.headline_min_cells < self.min_cells:
            raise ValueError(f"headline_min_cells = {self.headline_min_cells} is under min_cells = {self.min_cells}")
        return self


class HeldoutLoss(Evaluation):
    """Held-out loss on the common test sets; one of them is the headline."""

    headline: str


class Finetuning(Evaluation):
    """Supervised classification by a head on the embedding, from all training cells and from few of each type; models
    in `full` are trained on with it.
    """

    lr: Annotated[float, Field(gt=0)] = 1e-4
    few_shot: Annotated[list[Annotated[int, Field(ge=2)]], AfterValidator(distinct)] = Field([10, 50, 100])
    full: Selection | None = None
    layers: Literal["all", "last"] = "all"
    joint_lr: Annotated[float, Field(gt=0)] = 1e-4


class IntegrationSet(Strict):
    """Evaluation sets taken together, the column of their batches, and what mixing these would mean."""

    sets: Annotated[list[Name], Field(min_length=1), AfterValidator(distinct)]
    batch: str
    label: str = "cell_type"
    mixing: Literal["wanted", "none", "unwanted"] = "wanted"  # none: replicates; unwanted: batches differ by biology


class Integration(Evaluation):
    """How well types stay apart and batches mix in the embedding; for selected models by scib-metrics, too."""

    sets: Annotated[dict[Name, IntegrationSet], Field(min_length=1)]
    scib_metrics: Selection | None = None


class ResponseAxes(Evaluation):
    """Quality of a predicted response against what teaches the head, with the encoder of each of `runs` fixed.

    `treated` are shares of the treated training cells in per cent, `contexts` numbers of training contexts; each axis
    ends in all that a held-out context leaves, whether named or not. `repeats` random draws are made at each level.
    """

    treated: Annotated[list[Annotated[float, Field(gt=0, le=100)]], Field(min_length=1), AfterValidator(distinct)]
    contexts: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1), AfterValidator(distinct)]
    repeats: Annotated[int, Field(ge=2)] = 5


class Response(Evaluation):
    """Treated cells of held-out contexts predicted from the embedding of control cells.

    Those of `Design.perturbation` are if `control` names their control cells; so are those of each evaluation set with
    a file of its own that says `perturbation` and `context`.
    """

    control: Where | None = None
    context: str = "cell_type"
    min_cells: Annotated[int, Field(ge=4)] = 20
    mlp: Selection | None = None  # the study's head; all runs have a ridge head
    mlp_lr: Annotated[float, Field(gt=0)] = 1.0e-4  # its learning rate
    axes: ResponseAxes | None = None


class Evaluations(Strict):
    """The evaluations of each model; those that are left out are not made."""

    classification: Classification
    finetuning: Finetuning | None = None
    integration: Integration | None = None
    perturbation: Response | None = None
    heldout_loss: HeldoutLoss

    @property
    def response_axes(self) -> ResponseAxes | None:
        """The axes of what teaches a response, if they are asked for."""
        return self.perturbation and self.perturbation.axes


def check_evaluations(
    evaluations: Evaluations,
    sets: Mapping[str, EvaluationSet],
    perturbation: Perturbation | None,
    runs: Sequence["Run"],
) -> None:
    """Raise ValueError for sets that are not there, names that mislead, responses without treated cells, and axes that
    are for none of `runs`.
    """
    transfer = evaluations.classification.transfer
    integration = evaluations.integration.sets if evaluations.integration else {}
    named = {f"classification.transfer.{name}": [one.train, one.test] for name, one in transfer.items()}
    named |= {f"integration.sets.{name}": one.sets for name, one in integration.items()}
    for name, one in transfer.items():
        if one.train == one.test:
            raise ValueError(
                f"evaluations.classification.transfer.{name}.test = {one.test!r} is train, too: name two sets"
            )
    for key, wanted in named.items():
        for one in wanted:
            if one not in sets:
                raise ValueError(f"evaluations.{key}: " + unknown("evaluation set", one, sets))
        name = key.split(".")[-1]
        if name in sets and wanted != [name]:
            raise ValueError(f"evaluations.{key}: an evaluation set has that name: choose another")
    if (task := evaluations.perturbation) is None:
        return
    if task.axes is not None and not any(map(task.axes.runs.holds, runs)):
        chosen = {key: values for key, values in task.axes.runs.model_dump().items() if values}
        raise ValueError(f"evaluations.perturbation.axes.runs = {chosen} selects no run of the design")
    if task.control is None:
        if not any(entry.context for entry in sets.values()):
            raise ValueError(
                "evaluations.perturbation has nothing to predict: name the control cells of `perturbation`, or an "
                "evaluation set with path, perturbation and context"
            )
        return
    if perturbation is None:
        raise ValueError("evaluations.perturbation.control needs treated cells: say in `perturbation` which they are")
    for name, where in perturbation.held_out.items():
        if name in sets:
            raise ValueError(f"perturbation.held_out.{name}: an evaluation set has that name: choose another")
        if list(where) != [task.context]:
            told = f"perturbation.held_out.{name} names {', '.join(where)}; evaluations.perturbation holds out"
            raise ValueError(f"{told} values of its context, {task.context!r}, alone")


def judged_sets(
    evaluations: Evaluations, sets: Mapping[str, EvaluationSet], perturbation: Perturbation | None, task: str
) -> dict[str, str]:
    """What a task judges, by the name that it has among the datasets of the results -> how much pretraining could know
    of its cells; of sets together the most. Nothing if the task is left out.
    """
    known = {name: entry.seen for name, entry in sets.items()}
    own = getattr(evaluations, task)
    if own is None:
        return {}
    if task == "classification":
        return known | {name: known[transfer.test] for name, transfer in own.transfer.items()}
    if task == "integration":
        order = ("transductive", *SEEN).index
        return {name: min((known[part] for part in entry.sets), key=order) for name, entry in own.sets.items()}
    if task == "perturbation":
        # control cells of the corpus's treated ones come from a library that pretraining knows
        of_corpus = dict.fromkeys(perturbation.held_out, "in distribution") if own.control else {}
        return of_corpus | {name: entry.seen for name, entry in sets.items() if entry.context is not None}
    return known


def selections(part: Strict, key: str) -> Iterator[tuple[str, Selection]]:
    """All selections of runs below a part of a design, by their keys."""
    for name in type(part).model_fields:
        value = getattr(part, name)
        if isinstance(value, Selection):
            yield f"{key}.{name}", value
        elif isinstance(value, Strict):
            yield from selections(value, f"{key}.{name}")


def check_selections(evaluations: Evaluations, runs: Sequence["Run"]) -> None:
    """Raise ValueError for a selection of families, sizes or seeds that no run of the design has, or of no run."""
    columns = {"families": "family", "percentages": "percentage", "seeds": "seed"}
    there = {key: sorted({getattr(run, column) for run in runs}) for key, column in columns.items()}
    for key, selection in selections(evaluations, "evaluations"):
        for column, known in there.items():
            for value in getattr(selection, column):
                if value not in known:
                    told = ", ".join(f"{one:g}" if column == "percentages" else str(one) for one in known)
                    raise ValueError(f"{key}.{column} = {value!r} is not in the design; it holds: {told}")
        if not any(map(selection.holds, runs)):
            chosen = {column: values for column, values in selection.model_dump().items() if values}
            raise ValueError(f"{key} = {chosen} selects no run: its values do not occur together in the design")
