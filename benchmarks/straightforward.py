"""The straightforward way: a script that trains one model, or judges one model on one set, for benchmarks.bulk.

``python -m benchmarks.straightforward DESIGN RESULTS OUT RUN [TASK DATASET]`` calls what the notebooks call, and
imports what this one model or evaluation needs. It writes the model below OUT, or a table of scores, and beside it the
processor seconds of its parts. It reads from RESULTS, without checksums, what the workflow has made there: the corpus,
of which only the cells of its set; subsets; the model to judge; nulls and references that are the same for all models.
"""

import importlib
import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from helpers import corpus, models
from helpers.design import UNTRAINED, Design, Run, load_design
from helpers.store import Store, controls_path, evaluation_path, model_path

NEEDS = {
    "classification": ["helpers.evaluate.classification", "helpers.joined"],
    "finetuning": ["helpers.evaluate.classification", "helpers.evaluate.finetune"],
    "integration": ["helpers.evaluate.integration", "helpers.joined"],
    "perturbation": [
        "helpers.evaluate.perturbation",
        "helpers.evaluate.perturbation_means",
        "helpers.judging_responses",
    ],
    "heldout_loss": [],
}


class Files(Store):
    """Artifacts read without a look at their checksums."""

    def read(self, relative: str) -> Path:
        """Path of an artifact."""
        return self.path(relative)


class Clock:
    """Processor seconds since the process started, by part."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    def lap(self, part: str) -> None:
        """Add what was used since the last lap to a part."""
        self.seconds[part] = self.seconds.get(part, 0) + time.process_time() - sum(self.seconds.values())


def cells_at(store: Store, positions: np.ndarray) -> AnnData:
    """Cells at sorted positions in the corpus, (n_positions, n_genes), on all genes; no others are read."""
    return corpus.read_cells(store, positions, gene_space=False)


def in_gene_space(store: Store, cells: AnnData) -> AnnData:
    """The same cells on the models' gene space."""
    genes = pd.read_parquet(store.path("genes.parquet")).query("selected").set_index("gene")
    cells = cells[:, genes.index].copy()
    cells.var["nonzero_median"] = genes["nonzero_median"]
    return cells


def members(design: Design, task: str, name: str) -> list[str]:
    """The evaluation sets that a dataset of a task is made of."""
    if task == "integration":
        return design.evaluations.integration.sets[name].sets
    across = design.evaluations.classification.transfer.get(name)
    return [across.train, across.test] if across else [name]


def train(store: Store, run: Run, folder: Path, clock: Clock) -> None:
    """Train a model as 20_pretrain does, and save it to a folder."""
    roles = corpus.read_roles(store)
    cells, chosen = corpus.read_cells(store), store.design.families[run.family]
    with corpus.training_cells(store, cells, roles, run) as learned:  # few: they are in memory
        given = models.TrainingCells(train=learned, validation=cells[roles == "validation"].copy())
    built = {"family": chosen.family, "preset": chosen.preset, "width": run.width, **chosen.settings}
    granted = store.design.budget_of(run.family)
    clock.lap("loading")
    model = models.create(n_genes=cells.n_vars, **built)
    budget = models.Budget(granted.kind, 0 if run.strategy == UNTRAINED else granted.amount)
    model.fit(given, budget=budget, rng=store.design.rng("model", run.id))
    folder.mkdir(parents=True)
    model.save(folder)
    clock.lap("training")


def classify(store: Store, run: Run, name: str, cells: AnnData, sets: pd.DataFrame, embedding: np.ndarray) -> list:
    """Scores of 30_classify: of a set, and of each of its types."""
    from helpers.evaluate import classification
    from helpers.joined import transfer_cells

    task = store.design.evaluations.classification
    across = task.transfer.get(name)
    part = transfer_cells(cells.obs, sets, name, across) if across else sets
    limits = {"min_cells": task.min_cells, "headline_min": task.headline_min_cells}
    types = classification.scored_types(part.loc[~part["train"] if across else slice(None), "label"], **limits)
    train, labels, values = part["train"].to_numpy(), part["label"].to_numpy(), embedding[part["row"]]
    given = values[train], labels[train], values[~train]
    told = {"": classification.knn_predict(*given, n_neighbors=task.n_neighbors)}
    told["probe_"] = classification.probe_predict(*given)
    rows = []
    for way, predicted in told.items():
        scores = classification.scores(labels[~train], predicted, types=types)
        rows += [(f"{way}{metric}", value) for metric, value in scores.items()]
        of_types = classification.type_scores(labels[~train], predicted, types=types)
        rows += [(f"{way}type_f1", value) for value in of_types["f1"]]
    return rows


def fine_tune(store: Store, run: Run, name: str, cells: AnnData, sets: pd.DataFrame, embedding: np.ndarray) -> list:
    """Scores of 31_finetune: of heads taught by few cells of each type, and by all."""
    from helpers.evaluate import classification, finetune

    design, labels, test = store.design, sets["label"].to_numpy(), np.flatnonzero(~sets["train"])
    task, rules = design.evaluations.finetuning, design.evaluations.classification
    settings = finetune.FineTuneSettings(lr=task.lr, joint_lr=task.joint_lr)
    half = np.flatnonzero(sets["train"])
    named = {"names": sets["cell"].iloc[half]}
    shots = finetune.few_shot_rows(labels[half], task.few_shot, design.rng("shots", name), **named)
    types = classification.scored_types(labels, min_cells=rules.min_cells, headline_min=rules.headline_min_cells)
    rows, values = [], embedding[sets["row"]]
    for shot, learned in ({f"_at_{n}": half[at] for n, at in shots.items()} | {"": half}).items():
        rng = design.rng("head", run.id, name, len(learned))
        head = finetune.fit_head(values[learned], labels[learned], settings=settings, rng=rng)
        scores = classification.scores(labels[test], head.predict(values[test]), types=types)
        rows += [(f"{metric}{shot}", value) for metric, value in scores.items()]
    return rows


def integrate(store: Store, run: Run, name: str, cells: AnnData, sets: pd.DataFrame, embedding: np.ndarray) -> list:
    """Scores of 32_integrate, but for those by scib-metrics."""
    from helpers.evaluate import integration
    from helpers.joined import integration_cells

    entry = store.design.evaluations.integration.sets[name]
    part = integration_cells(cells.obs, sets, name, entry)
    known = pd.read_parquet(store.path(controls_path("integration"))).set_index("dataset")["pcr_batch"]
    values, label = embedding[part["row"]], part["label"]
    near = integration.shared_neighbors(values, label)
    batch = None if entry.mixing == "none" else part["batch"]
    scores = integration.battery(values, label, batch, neighbors=near, before=known.get(name))[0]
    if entry.mixing == "unwanted":
        scores["condition_separation"] = 1 - scores.pop("asw_batch")
        scores["condition_variance"] = scores.pop("pcr_batch")
    return list(scores.items())


def lose(store: Store, run: Run, name: str, cells: AnnData, sets: pd.DataFrame, loss: np.ndarray) -> list:
    """Score of 34_heldout_loss; null and reference are those of the family."""
    return [("heldout_loss", loss[sets["row"]].mean())]


JUDGES = {"classification": classify, "finetuning": fine_tune, "integration": integrate, "heldout_loss": lose}


def judge(store: Store, run: Run, task: str, name: str, clock: Clock) -> list[tuple[str, float]]:
    """Metrics and values of a model on a dataset of a task."""
    sets = pd.read_parquet(store.path("evaluation_sets.parquet"))
    if task == "perturbation":
        return respond(store, run, name, sets, clock)
    sets = sets[sets["dataset"].isin(members(store.design, task, name))]
    positions = np.unique(sets["position"])
    cells = in_gene_space(store, cells_at(store, positions))
    sets = sets.assign(row=np.searchsorted(positions, sets["position"]))
    model = models.load(store.path(model_path(run)))
    clock.lap("loading")
    values = (model.heldout_loss if task == "heldout_loss" else model.embed)(cells)
    clock.lap("scoring" if task == "heldout_loss" else "embedding")
    return JUDGES[task](store, run, name, cells, sets, values)


def respond(store: Store, run: Run, name: str, sets: pd.DataFrame, clock: Clock) -> list[tuple[str, float]]:
    """Scores of 33_perturb by the ridge head: means over the held-out conditions, and those of each."""
    from helpers.evaluate import perturbation, perturbation_means
    from helpers.judging_responses import Responses
    from helpers.responses import response_cells, response_tasks

    design, roles = store.design, pd.Series(corpus.read_roles(store))
    found = response_cells(corpus.read_obs(store), roles, sets, design)[name]
    cells = cells_at(store, found.positions)
    model = models.load(store.path(model_path(run)))
    clock.lap("loading")
    least = design.evaluations.perturbation.min_cells
    tasks = response_tasks(cells, found.positions, {name: found}, min_cells=least)
    known = Responses(cells, found.positions, roles, found.positions, {}, tasks)
    references, failed = known.references(design, pd.read_parquet(store.path(controls_path("perturbation"))))
    if failed:
        raise ValueError(failed[name])
    tables = []
    for (_, one, controls_at), of_task in zip(tasks, references, strict=True):
        clock.lap("scoring")
        embedding = model.embed(in_gene_space(store, cells[np.searchsorted(found.positions, controls_at)]))
        clock.lap("embedding")
        tables.append(perturbation.evaluate(one, of_task, embedding)[0].assign(dataset=name))
    columns = ["dataset", "context", "perturbation", "metric", "value", "null", "ceiling", "calibrated", "n_de"]
    conditions = pd.concat(tables).rename(columns={"held_out": "context"})[columns]
    scores = pd.concat([perturbation_means.means(conditions), conditions], ignore_index=True)
    return list(scores[["metric", "value"]].itertuples(index=False, name=None))


def main(design: str, results: str, out: str, run_id: str, *judged: str) -> None:
    """Train a model, or judge one; `judged` are task and dataset."""
    clock, study = Clock(), load_design(design)
    run = next(run for run in study.runs() if run.id == run_id)
    needed = NEEDS[judged[0]] if judged else []
    for module in (study.families[run.family].module, *needed):
        importlib.import_module(module)
    clock.lap("imports")
    store, folder = Files(study, Path(results), "straightforward"), Path(out)
    if judged:
        task, name = judged
        scores = pd.DataFrame(judge(store, run, task, name, clock), columns=["metric", "value"])
        file = folder / evaluation_path(f"{task}--{name}", run)
        file.parent.mkdir(parents=True, exist_ok=True)
        scores.to_parquet(file, index=False)
        clock.lap("scoring")
    else:
        file = folder / model_path(run)
        train(store, run, file, clock)
    file.with_suffix(".json").write_text(json.dumps(clock.seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
