"""Training steps, embeddings and held-out losses of each family at several sizes, for `benchmarks.costs`.

Cells are simulated as in benchmarks.pca; small gene spaces are genes with the most counts. A training is made with
few and with more steps: the difference is the cost of a step, what is left that of a model. Seconds are of the
processor, one thread. Batches are smaller than published where memory says so; a cell-view costs the same then.
"""

import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from benchmarks import pca

N_CELLS, N_FEW, N_VALIDATION, N_JUDGED = 3_000, 100, 100, 1_000
POINTS = {  # preset, genes, width, settings, numbers of steps
    "scvi": [
        ("demo", 500, 1.0, {}, (20, 220)),
        ("demo", 2_000, 0.25, {}, (20, 220)),
        ("demo", 2_000, 1.0, {}, (20, 220)),
        ("paper", 2_000, 1.0, {}, (1, 9)),
        ("paper", 19_331, 1.0, {}, (1, 4)),
    ],
    "ssl": [
        ("demo", 500, 1.0, {}, (20, 220)),
        ("demo", 2_000, 0.25, {}, (20, 220)),
        ("demo", 2_000, 1.0, {}, (20, 220)),
        ("paper", 2_000, 1.0, {"batch_size": 1024}, (1, 7)),
        ("paper", 19_331, 1.0, {"batch_size": 1024}, (1, 4)),
    ],
    "geneformer": [
        ("demo", 500, 1.0, {}, (20, 120)),
        ("demo", 2_000, 1.0, {}, (20, 120)),
        ("demo", 2_000, 1.0, {"max_tokens": 128}, (20, 80)),
        ("paper", 19_331, 1.0, {"batch_size": 4, "evaluation_batch": 4}, (1, 4)),
    ],
    "scimilarity": [
        ("demo", 500, 1.0, {}, (20, 220)),
        ("demo", 2_000, 0.25, {}, (20, 220)),
        ("demo", 2_000, 1.0, {}, (20, 220)),
        ("paper", 2_000, 1.0, {}, (1, 4)),
        ("paper", 19_331, 1.0, {}, (1, 3)),
    ],
}
PCA_POINTS = [
    (500, 60),
    (500, 3_000),
    (2_000, 1_000),
    (2_000, 5_000),
    (19_331, 2_000),
    (19_331, 20_000),
]  # genes, cells
DEEP = 12_000  # UMIs of the median cell where cells must fill 2,048 tokens


def cells(n_cells: int, n_genes: int, *, deep: bool = False) -> object:
    """Simulated cells of three types in two studies, on the `n_genes` genes with the most counts."""
    import anndata
    import pandas as pd

    usual, pca.UMIS = pca.UMIS, DEEP if deep else pca.UMIS
    counts = pca.counts(pca.tables(np.random.default_rng(0)), n_cells, np.random.default_rng(1))
    pca.UMIS = usual
    counts = counts[:, np.sort(np.argsort(-np.asarray(counts.sum(axis=0)).ravel())[:n_genes])]
    names, number = [f"c{i}" for i in range(n_cells)], np.arange(n_cells)
    study = np.array(["x", "y"])[number // 3 % 2]
    obs = {"cell_type": np.array(["a", "b", "c"])[number % 3], "dataset_id": study, "batch": study}
    var = pd.DataFrame(index=[f"g{i}" for i in range(n_genes)])
    return anndata.AnnData(counts, obs=pd.DataFrame(obs, index=names), var=var)


def trained(family: str, preset: str, n_genes: int, width: float, settings: dict, steps: tuple[int, int]) -> dict:
    """A row of a family that is trained step by step."""
    from helpers.models import Budget, TrainingCells, create
    from helpers.models.counts import raw_counts

    warnings.simplefilter("ignore")  # of libraries
    large = preset == "paper" and family == "geneformer"
    known = cells(N_FEW if large else N_CELLS, n_genes, deep=large)
    given = TrainingCells(known, known[: 4 if large else N_VALIDATION].copy())
    seconds, memory = [], []
    for n_steps in (1, *steps):  # the first pays for imports
        model = create(family, n_genes=n_genes, preset=preset, width=width, validations=1, patience=1000, **settings)
        budget = Budget("cell_views", n_steps * model.settings.batch_size)
        start = time.process_time()
        model.fit(given, budget=budget, rng=np.random.default_rng(0))
        seconds.append(time.process_time() - start)
        memory.append(model.cost["peak_memory_mb"])
    batch, cost = model.settings.batch_size, model.cost
    step = (seconds[2] - seconds[1]) / (steps[1] - steps[0])
    row = {"family": family, "preset": preset, "genes": n_genes, "width": width, "settings": settings, "batch": batch}
    row |= {"flops": cost["flops"] / cost["cell_views"], "flops_counted": cost["flops_counted"] / cost["cell_views"]}
    row |= judged(model, known[: 8 if large else N_JUDGED].copy())
    validated = 2 * given.validation.n_obs * row["loss"]
    rng = np.random.default_rng(0)
    inputs, start = model._inputs(raw_counts(known)), time.process_time()
    for _ in range(3):
        model._batch(inputs, rng.integers(known.n_obs, size=batch))
    feed = (time.process_time() - start) / 3 / batch
    fixed = max(0.0, seconds[1] - steps[0] * step - validated)
    return row | {"train": step / batch, "feed": feed, "fit": fixed, "peak_mb": max(memory)}


def fitted(n_genes: int, n_cells: int) -> dict:
    """A row of PCA, which sees each cell once."""
    from helpers.models import Budget, TrainingCells, create

    known = cells(n_cells, n_genes)
    given = TrainingCells(known, known[:N_VALIDATION].copy())
    for _ in range(2):
        model, start = create("pca", n_genes=n_genes), time.process_time()
        model.fit(given, budget=Budget("epochs", 1), rng=np.random.default_rng(0))
        seconds = time.process_time() - start
    row = {"family": "pca", "preset": "paper", "genes": n_genes, "width": 1.0, "settings": {}, "batch": n_cells}
    row |= {"flops": 0.0} | judged(model, known[:N_JUDGED].copy())
    return row | {"fit": seconds, "peak_mb": model.cost["peak_memory_mb"]}


def judged(model: object, some: object) -> dict:
    """Seconds per cell of embedding and of the held-out loss, bytes on disk, and seconds per cell of its controls."""
    from helpers.models import TrainingCells

    timed = {}
    for name, function in (("embed", model.embed), ("loss", model.heldout_loss)):
        function(some[: max(2, some.n_obs // 10)].copy())
        start = time.process_time()
        function(some)
        timed[name] = (time.process_time() - start) / some.n_obs
    start = time.process_time()
    model.loss_controls(TrainingCells(some, some[:2].copy()), some)
    controls = (time.process_time() - start) / (2 * some.n_obs)
    with tempfile.TemporaryDirectory() as folder:
        model.save(folder)
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
    return timed | {"controls": controls, "bytes": size}
