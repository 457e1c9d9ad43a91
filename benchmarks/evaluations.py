"""What judging one model costs: every evaluation of the demo design's sets, embeddings given, one thread.

``python -m benchmarks.evaluations [--small]``: seconds of processor time by evaluation, for embeddings of 10 and 50
dimensions; --small has 10 alone, with the same limits. Four evaluations have one limit together: classification (the
halves of each set and the transfer across studies, by neighbours and by the probe), integration, responses by the ridge
head, held-out loss (PCA's). The heads of the four sets of untreated cells have another. What no model changes (truth,
nulls and ceilings of the responses, batches of the expression) is made once for all models, and told apart.
"""

import sys
import time
from collections.abc import Callable

import numpy as np

from benchmarks.common import alone, report

DESIGN = "params/demo.yaml"
MOST = 5.0  # seconds, of the four evaluations together, and of the heads


def cells_of(design_file: str) -> tuple:
    """Design, cells, their roles, evaluation sets and gene space, as the stages have them."""
    from helpers import corpus
    from helpers.design import load_design
    from helpers.split import assign_roles, evaluation_table, select_genes

    design = load_design(design_file)
    cells = corpus.read_source(design)
    roles = assign_roles(cells.obs, design)
    sets = evaluation_table(cells.obs, roles, design)
    genes = select_genes(cells[(roles == "corpus").to_numpy()], design.corpus.genes).set_index("gene").query("selected")
    return design, cells, roles, sets, genes.index


def measured(n_components: int) -> list[dict]:
    """A row for each evaluation."""
    from helpers.evaluate import baselines, classification, finetune, integration, perturbation
    from helpers.models import Budget, TrainingCells, create
    from helpers.responses import response_cells, response_tasks

    design, cells, roles, sets, genes = cells_of(DESIGN)
    space = cells[:, genes]
    model = create("pca", n_genes=len(genes), n_components=n_components)
    corpus = TrainingCells(
        space[(roles == "corpus").to_numpy()].copy(), space[(roles == "validation").to_numpy()].copy()
    )
    model.fit(corpus, budget=Budget("epochs", 1), rng=np.random.default_rng(0))
    judged = space[sets["position"].to_numpy()].copy()
    judged.obs_names_make_unique()
    embedding = model.embed(judged)
    parts = {name: np.flatnonzero(sets["dataset"] == name) for name in sets["dataset"].unique()}
    labels, train = sets["label"].to_numpy(), sets["train"].to_numpy()
    rows, task = [], design.evaluations

    def timed(name: str, function: Callable[[], object]) -> object:
        start = time.process_time()
        found = function()
        rows.append({"dimensions": n_components, "evaluation": name, "seconds": time.process_time() - start})
        return found

    def classify() -> None:
        for at in parts.values():
            mine, others = at[train[at]], at[~train[at]]
            given = embedding[mine], labels[mine], embedding[others]
            classification.knn_predict(*given)
            classification.probe_predict(*given)
        for transfer in task.classification.transfer.values():
            label = cells.obs[transfer.label].astype(str).to_numpy()[sets["position"]]
            ends = [parts[transfer.train], parts[transfer.test]]
            mine, others = (at[np.isin(label[at], label[end])] for at, end in zip(ends, ends[::-1], strict=True))
            given = embedding[mine], label[mine], embedding[others]
            classification.knn_predict(*given)
            classification.probe_predict(*given)

    def expressed() -> dict[tuple[str, ...], float]:
        """What batches explain of the expression, for the sets whose batches should mix."""
        found = {}
        for entry in task.integration.sets.values():
            if entry.mixing == "wanted":
                at = sets["position"].to_numpy()[np.concatenate([parts[name] for name in entry.sets])]
                batch = cells.obs[entry.batch].astype(str).to_numpy()[at]
                found[tuple(entry.sets)] = integration.pcr(baselines.embed("own_pca", cells[at]), batch)
        return found

    def integrate() -> None:
        for entry in task.integration.sets.values():
            at = np.concatenate([parts[name] for name in entry.sets])
            obs = cells.obs.iloc[sets["position"].to_numpy()[at]]
            batch = None if entry.mixing == "none" else obs[entry.batch].astype(str)
            before = before_of.get(tuple(entry.sets))
            integration.battery(embedding[at], obs[entry.label].astype(str), batch, before=before)

    before_of = timed("batches of the expression (once)", expressed)
    found = response_cells(cells.obs, roles, sets, design)
    tasks = response_tasks(cells, np.arange(cells.n_obs), found, min_cells=task.perturbation.min_cells)
    references = timed(
        "responses: truth, nulls, ceilings (once)",
        lambda: [perturbation.prepare(one.task, rng=np.random.default_rng(0)) for one in tasks],
    )
    controls = [model.embed(space[one.positions].copy()) for one in tasks]

    def respond() -> None:
        for one, of_task, embedded in zip(tasks, references, controls, strict=True):
            perturbation.evaluate(one.task, of_task, embedded)

    def teach() -> None:
        settings = finetune.HeadSettings(lr=task.finetuning.lr)
        for name, at in parts.items():
            if name != "kang_stim":  # treated
                mine = at[train[at]]
                head = finetune.fit_head(embedding[mine], labels[mine], settings=settings, rng=np.random.default_rng(0))
                head.predict(embedding[at[~train[at]]])

    for warm in (classify, integrate, teach):  # imports and compilation are paid once in a stage
        warm()
    timed("classification", classify)
    timed("integration", integrate)
    timed("perturbation, ridge", respond)
    timed("held-out loss", lambda: model.heldout_loss(judged))
    timed("heads of four sets", teach)
    return rows


def main(small: bool) -> int:
    """Measure and report; 1 if a claim fails."""
    rows, claims = [], {}
    for n_components in (10,) if small else (10, 50):
        rows += alone(measured, n_components).value
    for n_components in {row["dimensions"] for row in rows}:
        seconds = {row["evaluation"]: row["seconds"] for row in rows if row["dimensions"] == n_components}
        four = sum(seconds[name] for name in ("classification", "integration", "perturbation, ridge", "held-out loss"))
        for name, total in (("four evaluations", four), ("heads", seconds["heads of four sets"])):
            claims[f"{n_components} dimensions, {name}: {total:.1f} s, at most {MOST:g}"] = total <= MOST
    title = "One model judged on the embedded sets, seconds of processor time, one thread"
    return report("evaluations_small" if small else "evaluations", title, rows, claims)


if __name__ == "__main__":
    sys.exit(main("--small" in sys.argv[1:]))
