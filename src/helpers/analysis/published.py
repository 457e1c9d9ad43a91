"""The study's published result tables in the tidy form of our own results."""

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.analysis.results import RESULT_COLUMNS
from helpers.design import NO_STRATEGY, UNTRAINED, Run, n_cells
from helpers.messages import unknown

logger = logging.getLogger(__name__)

SOURCE = "https://github.com/microsoft/scFM-dataselection"
COMMIT = "f20c3bc"
TABLES = "plotting/metrics_csvs"  # where a clone holds them
CORPUS_CELLS = 22_189_056  # of scTab, the 100 %
FAMILIES = {
    "PretrainedPCA": "pca",
    "scVI": "scvi",
    "SSL": "ssl",
    "Geneformer": "geneformer",
    "SCimilarity": "scimilarity",
}
TASKS = {
    "zeroshot_classification": "classification",
    "finetune_classification": "finetuning",
    "zeroshot_integration": "integration",
    "finetune_perturbation": "perturbation",
    "zeroshot_perturbation": "perturbation",  # this and the next are of the layout, but not among the study's tables
    "finetune_integration": "finetuning",
}
BASELINES = {
    "zero_shot_classification_variable_genes_baselines": ("hvg", "classification"),
    "zero_shot_classification_pca_baselines": ("own_pca", "classification"),
    "finetune_classification_logistic_regression_variable_genes_baselines": ("logistic", "finetuning"),
    "zero_shot_integration_variable_genes_baselines": ("hvg", "integration"),
    "zero_shot_integration_pca_baselines": ("own_pca", "integration"),
    "finetune_perturbation_noprediction_baseline": ("no_change", "perturbation"),
}
METRICS = {
    "accuracy": "accuracy",  # with one label per cell the micro F1
    "precision": "macro_precision",
    "recall": "macro_recall",
    "micro_f1": "micro_f1",
    "macro_f1": "macro_f1",
    "NMI_cluster/label": "nmi",
    "ARI_cluster/label": "ari",
    "ASW_label": "asw_label",
    "graph_conn": "graph_connectivity",
    "ASW_label/batch": "asw_batch",
    "ASW_batch": "asw_of_batches",  # silhouette of the batches over all cells, from 0 to 1: the lower, the better mixed
    "PCR_batch": "pcr_batch",
    "avg_bio": "avg_bio",
    "mse": "mean_profile_mse",
    "R2": "mean_profile_r",  # a Pearson r of mean profiles, whatever it is called
}
HEADLINES = {"classification": "micro_f1", "finetuning": "micro_f1", "integration": "avg_bio"} | {
    "perturbation": "mean_profile_r"
}
NOT_IN_FIGURES = ("ocular",)  # of integration, in the tables but not among the study's sixteen evaluations
STRATEGIES = {  # as letters and digits alone
    "random": "random",
    "randomsplits": "random",
    "celltypereweighted": "celltype_reweighted",
    "celltypereweighting": "celltype_reweighted",
    "geometricsketching": "geometric_sketching",
    "geometricsketch": "geometric_sketching",
    "spikein10": "spikein_10",
    "spikein50": "spikein_50",
}
DESCRIPTION = ["percentage", "seed", "downsampling_method", "dataset"]
KEY = ["run_id", "task", "dataset", "metric"]


class MissingTablesError(ValueError, FileNotFoundError):
    """A folder that holds none of the study's tables."""


def read_published(folder: str | Path) -> pd.DataFrame:
    """Read the study's published tables into the tidy form of results.parquet.

    Parameters
    ----------
    folder
        A clone of the study's code, or its folder of tables: one CSV for each family and evaluation,
        ``<Family>_<zeroshot|finetune>_<classification|integration|perturbation>_eval_results.csv``, and its baselines.

    Returns
    -------
    One row per run × evaluation × metric, with the columns of `RESULT_COLUMNS` that the tables tell. Models of 0 %
    have the strategy ``untrained``, baselines the strategy ``none``. Metrics have our names: the study's R2 is
    ``mean_profile_r``, its ASW_label/batch ``asw_batch``, its ASW_batch ``asw_of_batches``.

    A copy of a row counts once; scores that are not there, and rows without a seed, are left out. These, further
    columns, further tables (other widths and weight decays) and tables that are not there are told in the log.

    Raises
    ------
    MissingTablesError
        None of the tables is there; it lists what was looked for.
    ValueError
        A file is no such table, a number is no number, a percentage is a fraction or over 100, a sampling is unknown,
        two scores of one run differ.

    Source: DenAdel et al., Nature Methods 2026, 10.1038/s41592-026-03120-y; its code at commit f20c3bc.
    """
    place, names = _find(Path(folder).expanduser())
    parts = [_read_runs(place / name, family, task) for name, (family, task) in names.items()]
    parts += [
        _read_baseline(place / f"{name}.csv", *told)
        for name, told in BASELINES.items()
        if (place / f"{name}.csv").is_file()
    ]
    rows = _without_copies(pd.concat(parts, ignore_index=True)).assign(width=1.0, seen="study unseen", status="ok")
    return rows[[column for column in RESULT_COLUMNS if column in rows]]


def _file(family: str, evaluation: str) -> str:
    return f"{family}_{evaluation}_eval_results.csv"


def _find(folder: Path) -> tuple[Path, dict[str, tuple[str, str]]]:
    """The folder of the tables, and what those that are there hold: (family, task) by file name."""
    wanted = {_file(name, text): (family, task) for name, family in FAMILIES.items() for text, task in TASKS.items()}
    for place in (folder, folder / TABLES):
        there = {name: told for name, told in wanted.items() if (place / name).is_file()}
        if there:
            lacking = dict.fromkeys(told for told in wanted.values() if told not in there.values())
            _tell("no table of", (f"{task} by {family}" for family, task in lacking))
            others = {path.name for path in place.glob("*.csv")} - set(there) - {f"{name}.csv" for name in BASELINES}
            _tell("not read, as they belong to no family at its usual settings", sorted(others))
            return place, there
    state = (
        f"neither it nor {TABLES}/ in it holds a table of the study" if folder.is_dir() else "there is no such folder"
    )
    raise MissingTablesError(
        f"folder = {str(folder)!r}: {state}. It takes a clone of {SOURCE} (commit {COMMIT}); "
        f"looked for: {', '.join(wanted)}"
    )


def _tell(what: str, names: Iterable[str]) -> None:
    if names := list(names):
        logger.warning("%s: %s", what, ", ".join(names))


def _read(path: Path, needed: list[str]) -> tuple[pd.DataFrame, list[str]]:
    """A table as it is, and its columns with scores."""
    try:
        raw = pd.read_csv(path)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is no table of the study: {error}") from error
    scores, columns = [column for column in raw if column in METRICS], ", ".join(map(str, raw.columns))
    if absent := [column for column in needed if column not in raw]:
        raise ValueError(f"{path.name} lacks the columns {', '.join(absent)}; it has: {columns}")
    if not scores:
        raise ValueError(f"{path.name} has no score; it has: {columns}; known are: {', '.join(METRICS)}")
    known = {*scores, *DESCRIPTION}
    _tell(
        f"{path.name}, columns not read", [name for name in raw if name not in known and not name.startswith("Unnamed")]
    )
    if raw["dataset"].isna().any():
        raise ValueError(f"{_line(raw['dataset'].isna(), path.name)}: dataset is missing")
    numbers = {column: _numbers(raw, column, path.name) for column in scores}
    return raw[needed].assign(dataset=raw["dataset"].astype(str), **numbers), scores


def _read_runs(path: Path, family: str, task: str) -> pd.DataFrame:
    raw, scores = _read(path, DESCRIPTION)
    size, seed = _numbers(raw, "percentage", path.name), _numbers(raw, "seed", path.name)
    _refuse(
        raw, (size > 0) & (size < 1), "percentage", path.name, "is it a fraction? 1 to 100 per cent are needed, as 10"
    )
    _refuse(raw, ~size.between(0, 100), "percentage", path.name, "0 (untrained) or 1 to 100 per cent are needed")
    _refuse(raw, seed.notna() & ((seed < 0) | (seed % 1 != 0)), "seed", path.name, "a whole number is needed")
    if seed.isna().any():
        logger.warning("%s: %d rows without a seed are left out", _line(seed.isna(), path.name), seed.isna().sum())
    plain = raw["downsampling_method"].astype(str).str.lower().str.replace(r"[^a-z0-9]", "", regex=True)
    strategy = plain.map(STRATEGIES).where(size > 0, UNTRAINED)
    if strategy.isna().any():
        value = raw.loc[strategy.isna(), "downsampling_method"].iloc[0]
        known = dict.fromkeys(STRATEGIES.values())
        raise ValueError(f"{_line(strategy.isna(), path.name)}: {unknown('downsampling_method', value, known)}")
    told = raw.assign(percentage=size.astype(float), subset_seed=seed, init_seed=seed, strategy=strategy, family=family)
    told = told[seed.notna()].astype({"subset_seed": int, "init_seed": int})
    runs = [Run(family, 1.0, *key) for key in told[["strategy", "percentage", "subset_seed"]].itertuples(index=False)]
    told = told.assign(run_id=[run.id for run in runs], n_cells=[n_cells(run.percentage, CORPUS_CELLS) for run in runs])
    return _tidy(told, scores, path.name, task)


def _read_baseline(path: Path, name: str, task: str) -> pd.DataFrame:
    """A baseline knows no corpus: what its table says of one is a filler."""
    raw, scores = _read(path, ["dataset"])
    return _tidy(raw.assign(run_id=f"{name}/{NO_STRATEGY}", family=name, strategy=NO_STRATEGY), scores, path.name, task)


def _tidy(table: pd.DataFrame, scores: list[str], name: str, task: str) -> pd.DataFrame:
    """A row for each score that is there."""
    about = [column for column in table if column in RESULT_COLUMNS and column not in scores]
    rows = table.melt(id_vars=about, value_vars=scores, var_name="metric").assign(task=task, table=name)
    rows["metric"] = rows["metric"].map(METRICS)
    for metric, lost in rows[rows["value"].isna()].groupby("metric", sort=False):
        first = f"{lost['run_id'].iloc[0]} on {lost['dataset'].iloc[0]}"
        logger.warning("%s: %d scores of %s are not there and left out, e.g. of %s", name, len(lost), metric, first)
    return rows.dropna(subset="value")


def _without_copies(rows: pd.DataFrame) -> pd.DataFrame:
    once = rows.drop_duplicates([*KEY, "value"], ignore_index=True)
    if len(once) < len(rows):
        copies = rows[rows.duplicated([*KEY, "value"])].drop_duplicates(["run_id", "dataset", "table"])
        names = copies["run_id"] + " on " + copies["dataset"].astype(str) + " in " + copies["table"]
        _tell("rows that stand twice count once", names)
    twice = once[once.duplicated(KEY)]
    if len(twice):
        same = once[(once[KEY] == twice[KEY].iloc[0]).all(axis=1)]
        run, _, dataset, metric = same[KEY].iloc[0]
        values, tables = " and ".join(map(str, same["value"])), ", ".join(dict.fromkeys(same["table"]))
        raise ValueError(
            f"{len(twice)} scores stand twice with other values, e.g. {metric} of {run} on {dataset} in {tables}: "
            f"{values}; keep one of the rows"
        )
    return once


def _numbers(raw: pd.DataFrame, column: str, name: str) -> pd.Series:
    numbers = pd.to_numeric(raw[column], errors="coerce")
    _refuse(raw, (numbers.isna() & raw[column].notna()) | np.isinf(numbers), column, name, "a number is needed")
    return numbers


def _refuse(raw: pd.DataFrame, wrong: pd.Series, column: str, name: str, hint: str) -> None:
    """Raise ValueError if any row is `wrong`, naming the first."""
    if wrong.any():
        value = raw.loc[wrong, column].tolist()[0]
        raise ValueError(f"{_line(wrong, name)}: {column} = {value!r} ({wrong.sum()} such rows): {hint}")


def _line(wrong: pd.Series, name: str) -> str:
    """Where the first of some rows stands; the header is line 1."""
    return f"{name}, line {int(np.flatnonzero(wrong)[0]) + 2}"
