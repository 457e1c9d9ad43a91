"""Seconds to judge one model by each evaluation, for `benchmarks.costs`; of the processor, one thread.

Classification, heads and integration judge simulated embeddings of 32 dimensions, twenty types and four batches, at
three numbers of cells; responses, and what is slow, the embedded cells of the demo. What compiles is called before.
"""

import time
import warnings
from collections.abc import Callable

import numpy as np

from benchmarks.evaluations import DESIGN, cells_of
from benchmarks.integration import simulated
from helpers.work import MLP_LR

SIZES = (1_000, 4_000, 16_000)  # cells
N_LATENT = 32


def timed(function: Callable[[], object]) -> float:
    """Processor seconds of a call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def by_cells(n_cells: int) -> list[dict]:
    """Rows of the evaluations that read an embedding and labels: half of the cells teach, half test."""
    from helpers.evaluate import classification, finetune, integration

    warnings.simplefilter("ignore")  # of libraries
    half = finetune.HeadSettings(lr=1e-3)

    def classify(embedding: np.ndarray, types: np.ndarray, batch: np.ndarray) -> None:
        given = embedding[::2], types[::2], embedding[1::2]
        classification.knn_predict(*given)
        classification.probe_predict(*given)

    def teach(embedding: np.ndarray, types: np.ndarray, batch: np.ndarray) -> None:
        head = finetune.fit_head(embedding[::2], types[::2], settings=half, rng=np.random.default_rng(0))
        head.predict(embedding[1::2])

    def integrate(embedding: np.ndarray, types: np.ndarray, batch: np.ndarray) -> None:
        integration.battery(embedding, types, batch)

    rows, cells = [], simulated(n_cells, N_LATENT)
    for task, judge in (("classification", classify), ("finetuning", teach), ("integration", integrate)):
        judge(*simulated(500, N_LATENT))
        rows.append({"task": task, "cells": n_cells, "seconds": timed(lambda judge=judge: judge(*cells))})
    return rows


def by_scib_metrics(n_cells: int) -> list[dict]:
    """A row of the table of scib-metrics, compiled for this number of cells."""
    from helpers.evaluate import integration

    warnings.simplefilter("ignore")
    embedding, types, batch = simulated(n_cells, N_LATENT)

    def judge() -> None:
        near = integration.shared_neighbors(embedding, types, wide=True)
        integration.scib_metrics_scores(embedding, types, batch, neighbors=near)

    first, again = timed(judge), timed(judge)
    compiled = {"task": "scib_metrics_compiled", "cells": n_cells, "seconds": max(0.0, first - again)}
    return [{"task": "scib_metrics", "cells": n_cells, "seconds": again}, compiled]


def of_the_demo() -> list[dict]:
    """Rows of responses and of slow parts: seconds for each held-out condition, or for each cell that teaches."""
    from helpers.evaluate import finetune, perturbation
    from helpers.evaluate.perturbation_heads import mlp
    from helpers.models import Budget, TrainingCells, create
    from helpers.responses import response_cells, response_tasks

    warnings.simplefilter("ignore")
    design, cells, roles, sets, genes = cells_of(DESIGN)
    space, rng = cells[:, genes], np.random.default_rng
    corpus = TrainingCells(*(space[(roles == role).to_numpy()].copy() for role in ("corpus", "validation")))
    model = create("ssl", n_genes=len(genes), preset="demo")
    model.fit(corpus, budget=Budget("cell_views", 10_000), rng=rng(0))
    found = response_cells(cells.obs, roles, sets, design)
    tasks = response_tasks(cells, np.arange(cells.n_obs), found, min_cells=design.evaluations.perturbation.min_cells)
    one = max(tasks, key=lambda task: len(task.positions))
    conditions, embedding = len(one.task.training), model.embed(space[one.positions].copy())
    references = perturbation.prepare(one.task, rng=rng(0))
    stored = {where: reference.controls for where, reference in references.items()}
    parts = {
        "perturbation_prepared": lambda: perturbation.prepare(one.task, rng=rng(0)),
        "perturbation_read": lambda: perturbation.prepare(one.task, rng=rng(0), controls=stored),
        "perturbation": lambda: perturbation.evaluate(one.task, references, embedding),
        "mlp": lambda: mlp(one.task, references, embedding, rng=rng(0), lr=MLP_LR),
        "mlp_published": lambda: mlp(one.task, references, embedding, rng=rng(0)),
    }
    n_controls = len(one.positions)
    rows = [
        {"task": task, "cells": n_controls, "genes": cells.n_vars, "seconds": timed(judge) / conditions}
        for task, judge in parts.items()
    ]
    chosen = sets[(sets["dataset"] == "kang_ctrl") & sets["train"]]
    given = space[chosen["position"].to_numpy()].copy()
    settings = finetune.FineTuneSettings(lr=1e-3, joint_lr=1e-3)
    tuned = finetune.fine_tune(model, given, chosen["label"].to_numpy(), settings=settings, rng=rng(0))
    epochs = tuned.head.cost["cell_views"] / (0.9 * len(chosen))
    return [*rows, {"task": "full", "cells": len(chosen), "epochs": epochs}]
