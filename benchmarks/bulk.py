"""The workflow beside the straightforward way, one process per model and per evaluation, on a share of the study.

``python -m benchmarks.bulk [--all | --small]``: processor seconds, user and system, of all processes, as many side by
side as there are cores.

Four of the 80 subsets of `params/study.yaml`, drawn at random, are learned by its five families: 20 of 400 models, and
one untrained model of each family, as every design has. They are judged on all datasets of all evaluations, without
what the design itself finds too slow for all runs. Ours is the workflow up to the table of results: it also prepares
corpus, subsets, floors and ceilings, and leaves executed notebooks with pictures. The straightforward way finds all
that prepared; it starts a process for each model, and one for each dataset that a model is judged on
(`benchmarks.straightforward`). Both call the same functions with the same cells, settings and random numbers.

Of its processes, two of each family and kind (training, and each evaluation) are run, drawn at random, and stand for
the others; the standard error is that of the draw. With --all every one is run. --small has two families, one subset
and the two evaluations that every design has.

In the sample a notebook holds one or two models, in the study up to thirty. So a last table sets what the study took,
by the stamps of its notebooks and with what is slow (`study/provenance.json`), beside what the straightforward way
would take for all of its models and evaluations by the means of the sample, without what is slow.
"""

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from pandas.core.groupby import SeriesGroupBy

from benchmarks.common import report, study_stamps
from benchmarks.growth import kernels
from benchmarks.processes import side_by_side, workflow
from helpers.design import UNTRAINED, Design, Run, load_design
from helpers.design_evaluations import TASKS
from helpers.provenance import file_sha256
from helpers.stages import BASELINES
from helpers.store import evaluation_path, model_path

STUDY = "params/study.yaml"
SHARE = 0.05
EACH = 2
FASTER, FASTER_SMALL = 5.0, 1.0
SLOW = {"finetuning": ["full"], "integration": ["scib_metrics"], "perturbation": ["mlp", "axes"]}
TOLERANCE = 1e-3  # of scores: cells are embedded in batches of other cells
PARTS = ["imports", "loading", "training", "embedding", "scoring"]
STAGES = {"20_pretrain": "training", "25_embed": "embedding"} | dict.fromkeys(TASKS, "scoring")
TOLD = {
    "imports": "start, imports, end; workflow: engine, runners, imports",
    "loading": "loading of cells and models; workflow: among the others",
    "training": "training",
    "embedding": "embedding",
    "scoring": "scoring",
    "rest": "corpus, subsets, baselines, table: made once, for both",
    "all": "all",
}
SMALL = {"families": ["pca", "scvi"], "evaluations": ["classification", "heldout_loss"]}

Job = tuple[Run, str, str]  # model, evaluation, dataset; no evaluation to train the model


def sampled(study: Design, n: int) -> dict:
    """Plain values of a design with `n` subsets of another, of different sizes, and one untrained model of a family.

    Sizes differ since a design names the seeds of a size for all its strategies together.
    """
    values, rng = study.model_dump(), study.rng("bulk")
    grid = [subset for name in study.strategies for subset in study.subsets(name)]
    chosen: list[Run] = []
    while len({run.percentage for run in chosen}) < n:
        chosen = [grid[number] for number in rng.choice(len(grid), n, replace=False)]
    for name in list(values["strategies"]):
        sizes = sorted(run.percentage for run in chosen if run.strategy == name)
        if sizes:
            values["strategies"][name]["percentages"] = sizes
        else:
            del values["strategies"][name]
    values["percentages"] = sorted(run.percentage for run in chosen)
    values["seeds"] = study.seeds_of(0)[:1]
    values["seeds_by_size"] = {run.percentage: [run.seed] for run in chosen}
    for task, parts in SLOW.items():
        values["evaluations"][task] |= dict.fromkeys(parts)
    return values


def small(values: dict) -> dict:
    """The same design with few families, evaluations and cell-views."""
    values["families"] = {name: values["families"][name] | {"budget": None} for name in SMALL["families"]}
    values["budget"]["amount"] = 2_000
    values["evaluations"] = {name: values["evaluations"][name] for name in SMALL["evaluations"]}
    return values


def jobs_of(design: Design) -> dict[tuple[str, str], list[Job]]:
    """Processes of the straightforward way by family and kind: training, no training (untrained), or an evaluation."""
    found: dict[tuple[str, str], list[Job]] = {}
    for run in design.runs():
        kind = UNTRAINED if run.strategy == UNTRAINED else "training"
        found.setdefault((run.family, kind), []).append((run, "", ""))
        for task in filter(design.evaluates, TASKS.values()):
            found.setdefault((run.family, task), []).extend((run, task, name) for name in design.datasets(task))
    return found


def drawn(jobs: dict, each: int | None, rng: np.random.Generator) -> dict:
    """`each` of the processes of every family and kind, at random, in their order; None for all."""
    sizes = {key: min(each or len(of_kind), len(of_kind)) for key, of_kind in jobs.items()}
    return {
        key: [of_kind[at] for at in np.sort(rng.choice(len(of_kind), sizes[key], replace=False))]
        for key, of_kind in jobs.items()
    }


def total(costs: Mapping, sizes: Mapping) -> tuple[float, float]:
    """Sum over strata of finite populations, and its standard error, from simple random samples of them.

    `costs` has the sample of each stratum (n_drawn,), `sizes` how many it stands for. A stratum of which one of several
    is drawn shows no spread, and adds nothing to the error.

    Source: Cochran, Sampling Techniques, 1977, chapter 5.
    """
    told = variance = 0.0
    for key, cost in costs.items():
        told += sizes[key] * cost.mean()
        if len(cost) > 1:
            variance += sizes[key] ** 2 * (1 - len(cost) / sizes[key]) * cost.var(ddof=1) / len(cost)
    return float(told), float(np.sqrt(variance))


def straightforward(design: Path, results: Path, folder: Path, jobs: Sequence[Job]) -> pd.DataFrame:
    """Run processes; a row for each with its processor seconds, `all` and by part."""
    start = [sys.executable, "-m", "benchmarks.straightforward", str(design), str(results), str(folder)]
    used = side_by_side([[*start, run.id, *filter(None, judged)] for run, *judged in jobs])
    told = [json.loads(_written(folder, job).with_suffix(".json").read_text()) for job in jobs]
    table = pd.DataFrame(told).reindex(columns=PARTS).fillna(0.0).assign(all=[one.cpu for one in used])
    table["imports"] += table["all"] - table[PARTS].sum(axis=1)  # start and end of the interpreter
    return table


def _written(folder: Path, job: Job) -> Path:
    run, task, name = job
    return folder / (evaluation_path(f"{task}--{name}", run) if task else model_path(run))


def differences(results: Path, folder: Path, jobs: list[Job]) -> tuple[int, float]:
    """How many models differ from ours in any bit of their weights, and how far scores differ at most."""
    n_models, largest = 0, 0.0
    for job in jobs:
        run, task, name = job
        if not task:
            weights = [_written(root, job) / "weights.safetensors" for root in (results, folder)]
            n_models += len({file_sha256(file) for file in weights}) > 1
            continue
        ours = pd.read_parquet(results / evaluation_path(task, run)).query("dataset == @name").reset_index(drop=True)
        theirs = pd.read_parquet(_written(folder, job))
        if list(ours["metric"]) != list(theirs["metric"]) or (ours["value"].isna() != theirs["value"].isna()).any():
            raise ValueError(f"{run.id}, {task} on {name}: other scores than ours")
        largest = max(largest, float(np.nanmax(np.abs(ours["value"].to_numpy() - theirs["value"].to_numpy()))))
    return n_models, largest


def compared(small_form: bool, each: int | None) -> dict:
    """What both ways used on one design, how far their results differ, and how much was done."""
    study = load_design(STUDY)
    n_subsets = 1 if small_form else round(SHARE * sum(len(study.subsets(name)) for name in study.strategies))
    values = sampled(study, n_subsets)
    with tempfile.TemporaryDirectory() as temporary:
        file, results, folder = (Path(temporary, name) for name in ("design.yaml", "results", "straightforward"))
        file.write_text(yaml.safe_dump(small(values) if small_form else values))
        design = load_design(file)
        jobs = jobs_of(design)
        chosen = drawn(jobs, each, study.rng("bulk", "processes"))
        run = [job for of_kind in chosen.values() for job in of_kind]
        ours, notebooks = workflow(file, results, until="50_collect"), kernels(results / "notebooks")
        processes = straightforward(file, results, folder, run)
        processes[["family", "kind"]] = [key for key, of_kind in chosen.items() for _ in of_kind]
        told = {"ours": ours.cpu, "notebooks": notebooks, "processes": processes}
        told |= {"sizes": {key: len(of_kind) for key, of_kind in jobs.items()}, "models": len(design.runs())}
        return told | dict(zip(("weights", "scores"), differences(results, folder, run), strict=True))


def parts_of(ours: float, notebooks: Mapping[str, float]) -> dict[str, float]:
    """Processor seconds of the workflow by part: kernels by what their stage is for, all else among the imports."""
    parts = dict.fromkeys([*PARTS, "rest"], 0.0)
    for name, seconds in notebooks.items():
        stage = name.split("--")[0]
        parts["rest" if BASELINES in name else STAGES.get(stage, "rest")] += seconds
    return parts | {"imports": ours - sum(notebooks.values())}


def main(small_form: bool, everything: bool) -> int:
    """Measure and report; 1 if a claim fails."""
    found = compared(small_form, None if everything else 1 if small_form else EACH)
    processes, sizes, name = found["processes"], found["sizes"], "bulk_small" if small_form else "bulk"
    by_kind = processes.groupby(["family", "kind"], sort=False)
    sums = {part: total(dict(list(by_kind[part])), sizes) for part in [*PARTS, "all"]} | {"rest": (0.0, 0.0)}
    ours = parts_of(found["ours"], found["notebooks"]) | {"all": found["ours"]}
    rows = [
        {"part": words, "workflow": ours[part], "straightforward": sums[part][0], "± SE": sums[part][1]}
        for part, words in TOLD.items()
    ]
    ratio, error = np.array(sums["all"]) / found["ours"]
    least = FASTER_SMALL if small_form else FASTER
    claims = {
        f"{ratio:.2f} ± {error:.2f} times the processor time of the workflow, at least {least:g}": ratio >= least,
        f"the same weights to the last bit, but for {found['weights']} models": found["weights"] == 0,
        f"scores equal to {TOLERANCE:g}: {found['scores']:.1e}": found["scores"] <= TOLERANCE,
    }
    n = sum(sizes.values())
    title = (
        f"{found['models']} models and {n - found['models']} evaluations, processor seconds; "
        f"{len(processes)} of {n} processes stand for the straightforward way"
    )
    means = by_kind["all"].mean().reset_index().pivot_table(index="family", columns="kind", values="all", sort=False)
    failed = report(name, title, rows, claims)
    one = "One process of the straightforward way, mean processor seconds"
    failed |= report(f"{name}_processes", one, means.reset_index().to_dict("records"), {})
    return failed if small_form else failed | whole(by_kind["all"], found)


def whole(costs: SeriesGroupBy, found: Mapping) -> int:
    """Report what all of the study takes both ways, in hours; the workflow's engine as often as there are notebooks."""
    stamps, jobs = study_stamps(), jobs_of(load_design(STUDY))
    engine = (found["ours"] - sum(found["notebooks"].values())) / len(found["notebooks"])
    ours = sum(stamp["cpu_seconds"] + engine for stamp in stamps.values())
    theirs, error = total(dict(list(costs)), {key: len(of_kind) for key, of_kind in jobs.items()})
    row = {"processes": sum(map(len, jobs.values())), "workflow": ours / 3600, "straightforward": theirs / 3600}
    row |= {"± SE": error / 3600, "ratio": theirs / ours}
    return report("bulk_whole", "All of the study, processor hours, by the costs of the sample", [row], {})


if __name__ == "__main__":
    sys.exit(main("--small" in sys.argv[1:], "--all" in sys.argv[1:]))
