"""Response to a perturbation in held-out contexts: task, nulls, ceilings and scores.

Nothing but the score reads treated cells of a held-out condition. Cells are sorted by name before anything is drawn,
so that results do not depend on their order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from helpers.evaluate import perturbation_metrics as pm
from helpers.evaluate.perturbation_heads import Response, ridge
from helpers.evaluate.perturbation_task import Condition, Task
from helpers.models.expression import chunks

NULLS = ("no_change", "training_mean", "context_matched_mean")
CEILINGS = ("technical_duplicate", "interpolated_duplicate")
DRAWN = 300  # cells of a condition whose distribution is compared
COLUMNS = [
    "held_out",
    "perturbation",
    "metric",
    "value",
    "null",
    "ceiling",
    "calibrated",
    "null_name",
    "ceiling_name",
    "gap_sd",
    "n_de",
]


@dataclass(frozen=True)
class Reference:
    """What no model changes, for one held-out condition; see `prepare`.

    `drawn` are positions of control cells (≤ DRAWN,) whose distribution is compared, `drawn_cells` their log1p CP10k;
    `training_deltas` (n_training, n_genes) follow `task.training`; `nulls` are deltas (n_genes,). `controls` has a row
    per metric: the scores of the nulls and ceilings, the strongest `null` and `ceiling`, their names, `gap_sd`.
    """

    truth: pm.Truth
    space: pm.Space
    drawn: np.ndarray
    drawn_cells: np.ndarray
    training_deltas: np.ndarray
    nulls: dict[str, np.ndarray]
    controls: pd.DataFrame

    @cached_property
    def limits(self) -> dict[str, dict]:
        """Strongest null and ceiling of each metric, their names, and how far their gap scatters."""
        return self.controls[["null", "ceiling", "null_name", "ceiling_name", "gap_sd"]].to_dict("index")


def prepare(
    task: Task,
    *,
    rng: np.random.Generator,
    n_bootstrap: int = 25,
    controls: dict[Condition, pd.DataFrame] | None = None,
) -> dict[Condition, Reference]:
    """Truth, nulls and ceilings of each held-out condition, computed once for all models.

    With `controls` of an earlier call, on the same task with the same generator, their scores are taken from there.

    A random half of the treated cells is the truth of every score. Nulls: ``no_change``, the control cells;
    ``training_mean``, these plus the mean training delta; ``context_matched_mean``, these plus the mean delta of the
    training context whose control profile is most alike (Pearson r). Ceilings: ``technical_duplicate``, the other
    half; ``interpolated_duplicate``, w × duplicate + (1 − w) × training mean for each gene, with w = 1 − FDR of the
    duplicate differing from the training mean (Miller et al. 2025, 10.1101/2025.10.20.683304, whose w tests for DE).
    The strongest null and ceiling of a metric are the nearest to its best value; `gap_sd` is the SD of the difference
    when control cells and both halves are drawn again with replacement.
    """
    if n_bootstrap < 2:
        raise ValueError(f"n_bootstrap = {n_bootstrap}: use 2 or more, since a standard deviation is taken over them")
    spaces = {others: _space(task, others) for others in set(task.training.values())}
    known = {
        one: tuple(pm.moments(task.expression[task.rows(one, control=control)]) for control in (False, True))
        for one in sorted(set(task.training).union(*task.training.values()))
    }
    children = rng.spawn(len(task.training))  # one for each condition: its cells move no draw of another
    stored = controls or dict.fromkeys(task.training)
    return {
        condition: _reference(task, condition, known, spaces[others], child, n_bootstrap, stored[condition])
        for (condition, others), child in zip(task.training.items(), children, strict=True)
    }


def relearned(references: dict[Condition, Reference], part: Task) -> dict[Condition, Reference]:
    """References of the whole task for heads that learn from `part`, a restriction of it.

    The training deltas are those of `part`. Truth, nulls, ceilings and what is called context-specific stay, so that
    scores of all parts are comparable.
    """
    deltas = {
        one: _mean(part.expression[part.rows(one)]) - _mean(part.expression[part.rows(one, control=True)])
        for one in sorted(set().union(*part.training.values()))
    }
    return {
        condition: replace(reference, training_deltas=np.array([deltas[one] for one in part.training[condition]]))
        for condition, reference in references.items()
    }


def _mean(cells) -> np.ndarray:
    """Mean log1p CP10k (n_genes,), as in `moments`, which need two cells."""
    return np.asarray(cells.mean(axis=0), dtype=np.float64)


def _reference(
    task: Task,
    condition: Condition,
    known: dict,
    space: pm.Space,
    rng: np.random.Generator,
    n_bootstrap: int,
    controls: pd.DataFrame | None,
) -> Reference:
    """`known` holds the moments of treated and of control cells for every condition of the task."""
    others = task.training[condition]
    control_rng, treated_rng, bootstrap_rng = rng.spawn(3)
    control, treated = task.rows(condition, control=True), treated_rng.permutation(task.rows(condition))
    parts = [task.expression[rows] for rows in (control, *np.array_split(treated, 2))]
    drawn = control_rng.permutation(control)[:DRAWN]
    drawn_cells = task.expression[drawn].toarray()
    places = [space.place(cells) for cells in (drawn_cells, *(half[:DRAWN].toarray() for half in parts[1:]))]
    deltas = {one: treated.mean - control.mean for one, (treated, control) in known.items()}
    training = np.array([deltas[one] for one in others])
    mean, error = training.mean(axis=0), sum(cells.var / cells.n for one in others for cells in known[one])
    alike = [pm.correlation(known[condition][1].mean, known[one][1].mean) for one in others]
    nearest = others[int(np.argmax(alike))].context
    matched = training[[one.context == nearest for one in others]].mean(axis=0)
    nulls = dict(zip(NULLS, (np.zeros_like(mean), mean, matched), strict=True))
    compared = np.array([delta for one, delta in deltas.items() if one != condition])

    def truth_of(own: pm.Moments, true: pm.Moments, cells: np.ndarray) -> pm.Truth:
        return pm.Truth(own, true, cells, compared, mean, error / len(others) ** 2)

    def scored(pick: Callable[[int], np.ndarray]) -> pd.DataFrame:
        """Nulls and ceilings against the truth, with the cells that `pick` takes out of n."""
        own, true, duplicate = (pm.moments(cells[pick(cells.shape[0])]) for cells in parts)
        own_cells, true_cells, duplicate_cells = (cells[pick(len(cells))] for cells in places)
        truth = truth_of(own, true, true_cells)
        delta = duplicate.mean - own.mean
        trust = 1 - pm.welch(delta - mean, duplicate, own, truth.training_error)[1]
        blend = trust * delta + (1 - trust) * mean
        predictions = {
            name: pm.Prediction(added, own.var, own_cells + space.shift(added)) for name, added in nulls.items()
        }
        predictions["technical_duplicate"] = pm.Prediction(delta, duplicate.var, duplicate_cells)
        shifted = duplicate_cells + space.shift(blend - delta)
        predictions["interpolated_duplicate"] = pm.Prediction(blend, duplicate.var, shifted)
        return pd.DataFrame({name: pm.scores(truth, one) for name, one in predictions.items()})

    truth = truth_of(*(pm.moments(cells) for cells in parts[:2]), places[1])
    if controls is None:
        again = [scored(lambda n: bootstrap_rng.integers(n, size=n)) for _ in range(n_bootstrap)]
        controls = _strongest(scored(np.arange), again)
    return Reference(truth, space, drawn, drawn_cells, training, nulls, controls)


def _strongest(table: pd.DataFrame, again: list[pd.DataFrame]) -> pd.DataFrame:
    """The scores of nulls and ceilings with the strongest of both by metric, and how far their gap scatters."""
    off = table.sub([pm.METRICS[name].best for name in table.index], axis=0).abs().fillna(np.inf)
    null, ceiling = off[list(NULLS)].idxmin(axis=1), off[list(CEILINGS)].idxmin(axis=1)
    gaps = [_picked(one, ceiling) - _picked(one, null) for one in again]
    table = table.assign(
        null=_picked(table, null), ceiling=_picked(table, ceiling), null_name=null, ceiling_name=ceiling
    )
    table["gap_sd"] = np.std(gaps, axis=0, ddof=1)
    return table


def _picked(table: pd.DataFrame, columns: pd.Series) -> np.ndarray:
    """For each row of the table its value in the column that `columns` names."""
    return np.array([table.loc[at, column] for at, column in columns.items()])


def _space(task: Task, conditions: Sequence[Condition], n_genes: int = 1000, n_pcs: int = 50) -> pm.Space:
    """Principal components of training cells, treated and control, on the genes that vary most in them."""
    parts = [task.rows(one, control=control) for one in conditions for control in (True, False)]
    cells = task.expression[np.unique(np.concatenate(parts))]
    known = pm.moments(cells)
    columns = np.sort(np.argsort(-known.var, kind="stable")[:n_genes])
    mean, products = known.mean[columns], np.zeros((len(columns), len(columns)))
    for _, some in chunks(cells[:, columns]):
        centred = some.toarray() - mean
        products += centred.T @ centred
    n_pcs = min(n_pcs, len(columns), known.n - 1)
    return pm.Space(columns, mean, np.linalg.eigh(products)[1][:, ::-1][:, :n_pcs].T)


def evaluate(
    task: Task, references: dict[Condition, Reference], embedding: np.ndarray, *, head: Callable = ridge
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of one model, and the deltas that it predicts.

    Parameters
    ----------
    references
        From `prepare`.
    embedding
        (n_controls, n_latent) of the AnnData's rows `task.control_rows`, finite.
    head
        `ridge`, or another function of task, references and embedding that returns a `Response` for each condition.

    Returns
    -------
    scores
        A row per held-out condition and metric: `held_out`, `perturbation`, `metric`, `value`, `null`, `ceiling`,
        `calibrated` (unclipped; NaN where the metric cannot separate null from ceiling), `null_name`, `ceiling_name`,
        `gap_sd`, `n_de` (truly DE genes: the strength of the effect).
    deltas
        A row per held-out condition and gene: `held_out`, `perturbation`, `gene`, `delta`, in log1p CP10k.
    """
    responses = head(task, references, checked(embedding, task))
    deltas = [
        pd.DataFrame({**one._asdict(), "gene": task.genes, "delta": responses[one].delta.astype(np.float32)})
        for one in references
    ]
    table = pd.concat(deltas, ignore_index=True).rename(columns={"context": "held_out"})
    return score(references, responses), table


def checked(embedding: np.ndarray, task: Task) -> np.ndarray:
    """The embedding (n_controls, n_latent) in float64; ValueError if it does not fit the task or is not finite."""
    embedding = np.asarray(embedding, dtype=np.float64)
    if embedding.ndim != 2 or len(embedding) != len(task.control_rows) or not np.isfinite(embedding).all():
        told = f"embedding has shape {embedding.shape} and {int((~np.isfinite(embedding)).sum())} values not finite"
        raise ValueError(f"{told}; ({len(task.control_rows)}, n_latent) finite values of task.control_rows are needed")
    return embedding


def score(references: dict[Condition, Reference], responses: dict[Condition, Response]) -> pd.DataFrame:
    """Scores of predicted responses, as in `evaluate`."""
    rows = []
    for condition, reference in references.items():
        delta, cells = responses[condition]
        prediction = pm.Prediction(delta, cells.var(axis=0, ddof=1), reference.space.place(cells))
        values = pm.scores(reference.truth, prediction)
        told = {"held_out": condition.context, "perturbation": condition.perturbation}
        told["n_de"] = int((reference.truth.fdr < pm.FDR).sum())
        for name, limits in reference.limits.items():
            low, high, sd = (limits[key] for key in ("null", "ceiling", "gap_sd"))
            share = pm.calibrated(values[name], low, high, gap_sd=sd, best=pm.METRICS[name].best)
            rows.append({**told, **limits, "metric": name, "value": values[name], "calibrated": share})
    return pd.DataFrame(rows, columns=COLUMNS)


def inseparable(references: dict[Condition, Reference]) -> pd.DataFrame:
    """Metrics that cannot separate null from ceiling in a held-out condition, so that no calibrated score exists.

    A row each: `held_out`, `perturbation`, `metric`, `null`, `ceiling`, `gap_sd`, `null_name`, `ceiling_name`.
    """
    tables = []
    for condition, reference in references.items():
        table = reference.controls[["null", "ceiling", "gap_sd", "null_name", "ceiling_name"]]
        limits = zip(table.index, table["null"], table["ceiling"], table["gap_sd"], strict=True)
        lost = [not pm.separates(low, high, gap_sd=sd, best=pm.METRICS[name].best) for name, low, high, sd in limits]
        table = table[lost].rename_axis("metric").reset_index()
        table.insert(0, "held_out", condition.context)
        table.insert(1, "perturbation", condition.perturbation)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
