"""The tables of README and docs, printed from results: ``python -m benchmarks.readme [DESIGN…]``.

Designs are demo, axes, axes_simulated, families and scaling; without names, all whose results are there. ``study``
reads the tables that are kept in study/.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from benchmarks.common import study_stamps
from helpers.analysis.results import with_sampling
from helpers.provenance import project_path

KEY = ["task", "dataset", "metric"]


def read(name: str) -> pd.DataFrame:
    """Results of a design."""
    return with_sampling(pd.read_parquet(project_path(f"results/{name}") / "results.parquet"))


def mean(table: pd.DataFrame, task: str, dataset: str, metric: str, **chosen: object) -> float:
    """Mean over seeds of the runs with these values."""
    rows = table[(table["task"] == task) & (table["dataset"] == dataset) & (table["metric"] == metric)]
    for column, value in chosen.items():
        rows = rows[rows[column] == value]
    return float(rows["value"].mean())


def short(value: float, digits: int = 2) -> str:
    """.84, −.05, 1.00, or – where there is none."""
    if pd.isna(value):
        return "–"
    text = f"{value:.{digits}f}".replace("-", "−")
    return text.replace("0.", ".", 1) if abs(value) < 1 and not text.strip("−").startswith("1") else text


def steps(runs: pd.DataFrame, family: str, task: str, dataset: str, metric: str, digits: int = 2) -> str:
    """Means with no training, with 1 % and with all of the corpus."""
    values = (mean(runs, task, dataset, metric, family=family, percentage=size) for size in (0, 1, 100))
    return " → ".join(short(value, digits) for value in values)


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def demo() -> str:
    """F1 by cells learned from; what further evaluations say; verdicts of scaling."""
    table, sets = read("demo"), ("kang_ctrl", "baron_2_3", "pbmc3k", "heart")
    random = table[table["sampling"].isin(["random", "untrained"])]
    rows = []
    for family, sizes in (("pca", (1.0, 100.0, 0.0)), ("scvi", (1.0, 100.0, 0.0))):
        for size in sizes:
            part = random[(random["family"] == family) & (random["percentage"] == size)]
            cells = f"{part['n_cells'].max():,.0f}" if size else "none"
            scores = [
                " / ".join(short(mean(part, "classification", name, metric)) for metric in ("micro_f1", "macro_f1"))
                for name in sets
            ]
            rows.append([family, cells, *scores])
    for family in ("hvg", "own_pca", "logistic", "majority"):
        part = table[table["family"] == family]
        scores = [
            " / ".join(short(mean(part, "classification", name, metric)) for metric in ("micro_f1", "macro_f1"))
            for name in sets
        ]
        rows.append([family, "–", *scores])
    text = markdown(["", "cells learned from", *sets], rows)
    rows = []
    for task, name, metric in (
        ("classification", "kang_to_pbmc3k", "macro_f1"),
        ("finetuning", "pbmc3k", "macro_f1_at_10"),
        ("finetuning", "heart", "macro_f1_at_10"),
        ("integration", "pbmc", "avg_bio"),
        ("integration", "baron_2_3", "avg_bio"),
        ("perturbation", "cd4_t", "calibrated_specific_r"),
        ("perturbation", "nk", "calibrated_specific_r"),
    ):
        told = [steps(random, family, task, name, metric) for family in ("pca", "scvi")]
        other = [short(mean(table, task, name, metric, family=family)) for family in ("own_pca", "logistic")]
        rows.append([f"{task} {name} {metric}", *told, *other])
    text += "\n" + markdown(["", "PCA: none → 57 → 5,655", "scVI", "own PCA", "logistic"], rows)
    return text + "\n" + laws("demo")


def laws(name: str) -> str:
    """Held-out losses over corpus sizes: change, verdict, exponent; and the joint law."""
    folder = project_path(f"results/{name}") / "scaling"
    table = pd.read_parquet(folder / "laws.parquet")
    part = table[(table["metric"] == "heldout_loss") & (table["axis"] != "unique_cells") & (table["sampling"] != "")]
    rows = []
    for _, law in part[part["form"] != ""].iterrows():
        known = not pd.isna(law["exponent"])
        interval = f"{law['exponent']:.2f} ({law['low']:.2f} to {law['high']:.2f})" if known else "–"
        more = f"{law['more']:.1f} ({law['more_low']:.1f} to {law['more_high']:.1f})" if law["more"] > 0 else "–"
        names = [
            str(law[column]) for column in ("axis", "model", "width", "budget", "percentage", "sampling", "dataset")
        ]
        rows.append([*names, f"{law['change']:.3f}", law["verdict"], law["form"], interval, more])
    head = ["axis", "model", "width", "budget", "%", "sampling", "dataset", "falls by", "verdict", "form", "exponent"]
    text = markdown([*head, "1 % less takes"], rows)
    counts = table.groupby(["task", "axis", "verdict"]).size().to_string()
    joint = pd.read_parquet(folder / "joint.parquet")
    return f"{text}\n{counts}\n" + (joint.to_string() + "\n" if len(joint) else "")


def axes() -> str:
    """Loss and macro F1 of every sampling on two sets."""
    return _samplings("axes", ("pbmc3k", "baron_2_3"))


def axes_simulated() -> str:
    """The same of the simulated cells."""
    return _samplings("axes_simulated", ("new_datasets",))


def _samplings(name: str, sets: tuple[str, ...]) -> str:
    table = read(name)
    rows = []
    for (sampling, size), part in table[table["percentage"] > 0].groupby(["sampling", "percentage"], sort=False):
        losses = [short(mean(part, "heldout_loss", one, "heldout_loss"), 3) for one in sets]
        scores = [short(mean(part, "classification", one, "macro_f1")) for one in sets]
        told = [" / ".join(both) for both in zip(losses, scores, strict=True)]
        rows.append([sampling, f"{size:g}", f"{part['n_cells'].mean():,.0f}", f"{part['n_donors'].mean():.0f}", *told])
    return markdown(["sampling", "%", "cells", "donors", *sets], rows)


def families() -> str:
    """Held-out loss and macro F1 on pbmc3k, from 57 to 5,655 cells, of every family."""
    table, rows = read("families"), []
    for family in table.loc[table["percentage"] > 0, "family"].unique():
        part = table[(table["family"] == family) & (table["task"].isin(["heldout_loss", "classification"]))]
        loss = [mean(part, "heldout_loss", "pbmc3k", "heldout_loss", percentage=size) for size in (1, 100, 0)]
        controls = part[(part["dataset"] == "pbmc3k") & (part["metric"] == "heldout_loss")][["null", "ceiling"]].mean()
        score = [mean(part, "classification", "pbmc3k", "macro_f1", percentage=size) for size in (1, 100)]
        told = [" → ".join(short(value, 3) for value in loss[:2]), short(loss[2], 3)]
        told += [short(value, 3) for value in controls]
        rows.append([family, *told, " → ".join(short(value) for value in score)])
    return markdown(["", "held-out loss", "untrained", "null", "reference", "macro F1"], rows)


def scaling() -> str:
    """Axes of parameters, cell-views and FLOPs, and the joint law."""
    return laws("scaling")


STUDY = (
    ("held-out loss, other study (pbmc3k)", "heldout_loss", "pbmc3k", "heldout_loss", 3),
    ("macro F1, other study (pbmc3k)", "classification", "pbmc3k", "macro_f1", 2),
    ("macro F1, other tissue (heart)", "classification", "heart", "macro_f1", 2),
    ("macro F1, head taught by 10 cells of each type (pbmc3k)", "finetuning", "pbmc3k", "macro_f1_at_10", 2),
    ("AvgBIO, blood across studies", "integration", "pbmc", "avg_bio", 2),
    ("response of CD4 T cells, calibrated r", "perturbation", "cd4_t", "calibrated_specific_r", 2),
)


def study() -> str:
    """Scores with no training, and with 1 % and all of the corpus, of every family; verdicts; which notebooks took how
    much.
    """
    tables = project_path("study/tables")
    results, fits = pd.read_parquet(tables / "results.parquet"), pd.read_parquet(tables / "scaling_laws.parquet")
    runs = with_sampling(results)[lambda table: table["sampling"].isin(["random", "untrained"])]
    names = list(runs["family"].unique())
    rows = [[title, *(steps(runs, family, *chosen) for family in names)] for title, *chosen in STUDY]
    text = markdown(["none → 57 → 5,655 random cells", *names], rows)
    part = fits[(fits["task"] == "heldout_loss") & (fits["axis"] == "n_cells") & (fits["sampling"] == "random")]
    text += "\n" + part.pivot_table(index="dataset", columns="model", values="verdict", aggfunc="first").to_string()
    text += "\n\n" + part.dropna(subset="exponent")[["model", "dataset", "exponent", "low", "high"]].to_string()
    text += "\n\n" + fits.groupby(["task", "axis", "verdict"]).size().to_string()
    text += f"\n\n{spread_of_seeds(runs).to_string()}"
    stamps = pd.DataFrame(study_stamps()).T
    stages = stamps.groupby(stamps.index.str.split("--").str[0])
    text += "\n\n" + stages.agg({"seconds": "sum", "cpu_seconds": "sum", "peak_memory_mb": "max"}).to_string()
    return f"{text}\n{results['run_id'].nunique()} runs, {len(results):,} scores, {stamps['seconds'].sum():,.0f} s\n"


def spread_of_seeds(runs: pd.DataFrame) -> pd.DataFrame:
    """Largest standard deviation over the seeds of one family and size, by test set: of the macro F1, and of the
    held-out loss as a share of its mean.
    """
    found = {}
    for task, metric in (("classification", "macro_f1"), ("heldout_loss", "heldout_loss")):
        rows = runs[(runs["task"] == task) & (runs["metric"] == metric) & (runs["percentage"] > 0)]
        values = rows.groupby(["dataset", "family", "percentage"])["value"]
        spread = values.std() / (values.mean() if task == "heldout_loss" else 1)
        found[f"SD of seeds, {metric}"] = spread.groupby("dataset").max()
    return pd.DataFrame(found)


TABLES: dict[str, Callable[[], str]] = {
    "demo": demo,
    "axes": axes,
    "axes_simulated": axes_simulated,
    "families": families,
    "scaling": scaling,
    "study": study,
}

if __name__ == "__main__":
    folders = {name: f"results/{name}" for name in TABLES} | {"study": "study/tables"}
    there = [name for name, folder in folders.items() if Path(project_path(folder), "results.parquet").exists()]
    for design in sys.argv[1:] or there:
        sys.stdout.write(f"\n{design}\n\n{TABLES[design]()}")
