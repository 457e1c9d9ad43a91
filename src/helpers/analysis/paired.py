"""Scores of runs on evaluation cells drawn anew, the same cells for all runs, from their stored predictions."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
import pandas as pd

from helpers.analysis.error_curves import LEVELS
from helpers.analysis.paired_cells import Confusions, Losses, drawn_counts
from helpers.analysis.results import require
from helpers.evaluate.classification import scored_types
from helpers.store import Store, maker_of, prediction_path

F1 = re.compile(r"^([a-z]+_)?(micro_f1|macro_f1)(_at_\d+)?$")
LOSS = "heldout_loss"
TOLERANCE = 1e-5  # relative; losses are kept in single precision

Way = tuple[str, str] | None  # what stands before and behind a score in a metric's name; None for losses
Names = dict[str, tuple[str, str]]  # score -> its column and metric in the results


def paired_draws(
    store: Store,
    results: pd.DataFrame,
    *,
    task: str,
    metrics: Sequence[str],
    rng: np.random.Generator,
    n_boot: int = 1000,
) -> pd.DataFrame:
    """Scores of trained runs on evaluation cells drawn anew with replacement, as many as there are.

    Each draw takes the same cells of a set for all runs and metrics, so that draws of runs can be compared one by one.

    Parameters
    ----------
    results
        Tidy results; runs whose predictions the store lacks are left out.
    task
        ``classification``, ``finetuning`` or ``heldout_loss``.
    metrics
        Of the task: micro and macro F1, reached in any way (``probe_macro_f1``, ``macro_f1_at_10``), or the held-out
        loss. Cells whose type is not scored are not drawn.

    Returns
    -------
    (n_boot, n_columns), with the column levels `column` (``value``; for losses also ``ceiling``, the mean reference of
    the same cells), `task`, `dataset`, `metric`, `run_id`; as `saturation_points` takes it.

    Raises
    ------
    ValueError
        A metric that single cells do not tell, runs judged on different cells, predictions that do not give the score
        that stands in the results.
    """
    require(results, ["run_id", "family", "width", "task", "dataset", "metric", "percentage", "value"])
    ways = list(dict.fromkeys(_way(metric) for metric in metrics))
    rows = results[(results["task"] == task) & results["metric"].isin(metrics) & (results["percentage"] > 0)]
    there = [run for run in rows["run_id"].unique() if store.has(prediction_path(task, run))]
    rows = rows[rows["run_id"].isin(there)].sort_values("run_id")
    sets = sorted(set(rows["dataset"]))
    seeds = dict(zip(sets, rng.integers(2**63, size=len(sets)), strict=True))
    tables = [pd.DataFrame(np.empty((n_boot + 1, 0)), columns=pd.MultiIndex.from_arrays([[]] * len(LEVELS)))]
    for way in ways:
        judged = rows[rows["metric"].isin([metric for metric in metrics if _way(metric) == way])]
        judged = judged.drop_duplicates("run_id")
        read = _losses(store, judged) if way is None else _types(store, task, judged, way)
        for dataset, runs, cells, names in read:
            drawn = _draw(cells, n_boot, np.random.default_rng(seeds[dataset])) if dataset in seeds else {}
            for score, values in drawn.items():
                column, metric = names[score]
                keys = pd.MultiIndex.from_product([[column], [task], [dataset], [metric], runs])
                tables.append(pd.DataFrame(values, columns=keys))
    return _checked(pd.concat(tables, axis=1).rename_axis(columns=LEVELS), rows)


def _draw(cells: Confusions | Losses, n_boot: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Scores, (1 + n_boot, n_runs): first with each cell once, then of the draws."""
    once = np.ones((1, cells.n_cells), dtype=np.float32)
    blocks = [cells.scores(counts) for counts in chain([once], drawn_counts(cells.n_cells, n_boot, rng))]
    return {score: np.concatenate([block[score] for block in blocks]) for score in blocks[0]}


def _checked(draws: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The draws of what stands in the results, whose scores the predictions must give."""
    columns = [column for column in ("value", "ceiling") if column in rows]
    stored = pd.concat([rows.assign(column=column, stored=rows[column]) for column in columns])
    stored = stored.set_index(LEVELS)["stored"].astype(float)
    draws = draws.loc[:, draws.columns.isin(stored.index)]
    stored = stored[draws.columns]
    given = draws.iloc[0]
    if len(wrong := stored.index[(given - stored).abs() > TOLERANCE * np.maximum(stored.abs(), 1)]):
        key = wrong[0]
        told = f"{key[3]} of {key[4]} on {key[2]} is {stored[key]:.6g} in the results, {given[key]:.6g} by them"
        maker = maker_of(prediction_path(key[1], key[4]))
        raise ValueError(f"{len(wrong)} scores differ from the stored predictions ({told}): run {maker}, 50_collect")
    return draws.iloc[1:].reset_index(drop=True).sort_index(axis=1)


def _way(metric: str) -> Way:
    if metric == LOSS:
        return None
    found = F1.match(metric)
    if found is None:
        raise ValueError(f"metric {metric!r} is not told by single cells; micro_f1, macro_f1 and {LOSS} are")
    return found[1] or "", found[3] or ""


def _tables(
    store: Store, task: str, runs: Sequence[str], columns: list[str], way: str = ""
) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Run, set and predictions, of one `way` where several are told apart; a set has the same cells in all runs."""
    first: dict[str, tuple[str, pd.Series]] = {}
    filters = [("way", "==", way)] if way else None
    for run in runs:
        path = store.read(prediction_path(task, run))
        table = pd.read_parquet(path, columns=["dataset", "position", *columns], filters=filters)
        for dataset, part in table.groupby("dataset", sort=False, observed=True):
            part = part.reset_index(drop=True)
            other, cells = first.setdefault(str(dataset), (run, part["position"]))
            if not part["position"].equals(cells):
                maker = maker_of(prediction_path(task, run))
                raise ValueError(f"{run} and {other} were judged on different cells of {dataset}: run {maker}")
            yield run, str(dataset), part


def _types(
    store: Store, task: str, judged: pd.DataFrame, way: tuple[str, str]
) -> Iterator[tuple[str, list[str], Confusions, Names]]:
    """Sets, with the runs judged on each and what they say."""
    before, behind = way
    heads = task == "finetuning"
    column = "predicted" if heads else f"{before}predicted"
    runs, labels, known, said = defaultdict(list), {}, {}, defaultdict(list)
    tables = _tables(store, task, judged["run_id"], ["label", column], f"{before}head{behind}" if heads else "")
    for run, dataset, table in tables:
        if dataset not in labels:
            labels[dataset], known[dataset] = table["label"], pd.Index(table["label"].dropna().unique())
        runs[dataset].append(run)
        said[dataset].append(known[dataset].get_indexer(table[column]).astype(np.int16))
    rules = store.design.evaluations.classification
    both_halves = pd.read_parquet(store.read("evaluation_sets.parquet"))
    names = {score: ("value", f"{before}{score}{behind}") for score in ("micro_f1", "macro_f1")}
    for dataset, of_cells in labels.items():
        halves = both_halves.loc[both_halves["dataset"] == dataset, "label"]
        own = of_cells if dataset in rules.transfer else halves  # across studies the test half is a whole set
        types = scored_types(own, min_cells=rules.min_cells, headline_min=rules.headline_min_cells)
        types = types[types["scored"]]
        number = pd.Index(types["label"]).get_indexer(known[dataset])
        number = np.append(number, -1).astype(np.int16)  # of what no cell is
        true = number[known[dataset].get_indexer(of_cells)]
        kept = true >= 0
        predicted = np.stack([number[of_run][kept] for of_run in said[dataset]], axis=1)
        yield dataset, runs[dataset], Confusions(true[kept], predicted, types["headline"].to_numpy()), names


def _losses(store: Store, judged: pd.DataFrame) -> Iterator[tuple[str, list[str], Losses, Names]]:
    """Sets, with the runs judged on each, their losses and references; a family and width has one reference."""
    models = dict(zip(judged["run_id"], zip(judged["family"], judged["width"], strict=True), strict=True))
    runs, losses, references = defaultdict(list), defaultdict(list), defaultdict(dict)
    for run, dataset, table in _tables(store, LOSS, judged["run_id"], ["loss", "reference"]):
        runs[dataset].append(run)
        losses[dataset].append(table["loss"].to_numpy(dtype=np.float32))
        references[dataset].setdefault(models[run], table["reference"].to_numpy(dtype=np.float32))
    names = {"loss": ("value", LOSS), "reference": ("ceiling", LOSS)}
    for dataset, of_models in references.items():
        number = {model: place for place, model in enumerate(of_models)}
        reference_of = np.array([number[models[run]] for run in runs[dataset]])
        stacked = [np.stack(list(part), axis=1) for part in (losses[dataset], of_models.values())]
        yield dataset, runs[dataset], Losses(*stacked, reference_of), names
