"""What the notebooks of a design cost, measured on this machine: the table behind estimates and progress.

``python -m benchmarks.costs [--small] [--write]``: --write puts the table into src/helpers/costs.json, --small measures
the demo's sizes alone and writes nothing. All seconds are of one core. Measured are, in this order,

models      a step of training, embedding and held-out loss of each family, see benchmarks.costs_models
judging     one model by each evaluation, see benchmarks.costs_judging
corpus      what is done once to 20,000 simulated cells × 19,331 genes: reading, splitting, drawing, Vendi score
notebooks   each stage of a small design with all evaluations, through the workflow on one core: what a notebook takes
            beside all that the other numbers explain, its memory, and what it writes. What analyses the curves of a
            few sizes in no time is known from the whole study, by the stamps that it keeps

The number of curves is what the analysis grows with. Whatever the table says of this machine, it says of the one that
measured it; another may differ by a factor of two. It is claimed that nothing changed by more than a factor of three.
"""

import json
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import yaml

from benchmarks import costs_judging, costs_models
from benchmarks.common import alone, report, study_stamps
from benchmarks.processes import workflow
from helpers.costs import FILE
from helpers.provenance import environment, project_path

N_CELLS, N_DRAWN = 20_000, 1_000_000
FACTOR = 3.0
SECONDS = ("read", "split", "components", "vendi", "draw", "sketch")  # of what is done to a corpus once, per cell
NOTEBOOK = ("seconds", "memory_mb", "per_curve", "per_judged", "first", "bytes_per_judged")
STUDY = "params/study.yaml"
OF_THE_STUDY = ("50_collect", "61_scaling_laws", "62_diversity_effect", "90_figures")
DESIGN = {  # of the notebooks: the demo's sets and evaluations, little training
    "name": "costs",
    "strategies": ["random"],
    "percentages": [10, 32, 100],
    "seeds": [0, 1],
    "budget": {"kind": "cell_views", "amount": 1_000},
}


def corpus_seconds(n_cells: int, n_genes: int) -> dict[str, float]:
    """Seconds per cell of what is done to the cells of a corpus once, and bytes of a drawn position."""
    from helpers import corpus, subset
    from helpers.design import load_design
    from helpers.diversity import vendi
    from helpers.split import assign_roles, check_cells, evaluation_table, select_genes
    from helpers.subset.components import principal_components
    from helpers.subset.report import ScaledExpression

    warnings.simplefilter("ignore")  # of libraries
    told, drawn, rng = {}, N_DRAWN if n_genes > 2_000 else 10_000, np.random.default_rng(0)
    cells = costs_models.cells(n_cells, n_genes)
    cells.obs["batch"] = [f"{name}{i % 2}" for i, name in enumerate(cells.obs["batch"])]
    told["nonzeros"] = cells.X.nnz / n_cells
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cells.write_h5ad(folder / "cells.h5ad")
        values = yaml.safe_load(Path(project_path("params/smoke.yaml")).read_text())
        values["corpus"] = {
            "source": "embedded",
            "path": f"{folder}/cells.h5ad",
            "pretraining": {"batch": ["x0", "x1"]},
        }
        values["held_out"]["where"] = {"batch": ["x0"]}
        values["evaluation_sets"] = {"other": {"where": {"batch": ["y0", "y1"]}, "seen": "study unseen"}}
        values["evaluations"]["heldout_loss"]["headline"] = "other"
        (folder / "design.yaml").write_text(yaml.safe_dump(values))
        design = load_design(folder / "design.yaml")
        start = time.process_time()
        cells = corpus.write(folder / "corpus", design, corpus.open_source(design))
        check_cells(design, cells)
        told["read"] = (time.process_time() - start) / n_cells
        start = time.process_time()
        roles = assign_roles(cells.obs, design)
        select_genes(cells[np.flatnonzero(roles == "corpus")], min(2_000, n_genes))
        evaluation_table(cells.obs, roles, design)
        told["split"] = (time.process_time() - start) / n_cells
        start = time.process_time()
        embedding = principal_components(cells)
        told["components"] = (time.process_time() - start) / n_cells
        start = time.process_time()
        vendi(ScaledExpression(cells)(cells))
        told["vendi"] = (time.process_time() - start) / n_cells
        embedding = np.repeat(embedding, 10, axis=0) + rng.normal(0, 0.1, (10 * n_cells, embedding.shape[1]))
        labels = cells.obs.iloc[rng.integers(n_cells, size=drawn)].reset_index(drop=True)
        start = time.process_time()
        positions = subset.draw("celltype_reweighted", labels, drawn // 4, rng=rng)
        told["draw"] = (time.process_time() - start) / drawn
        corpus.write_positions(folder / "p.parquet", positions)
        told["position_bytes"] = (folder / "p.parquet").stat().st_size / len(positions)
        start, many = time.process_time(), cells.obs.iloc[np.zeros(len(embedding), dtype=int)]
        subset.draw("geometric_sketching", many, n_cells, rng=rng, embedding=embedding.astype(np.float32))
        told["sketch"] = (time.process_time() - start) / (len(embedding) * np.log(len(embedding)))
    return told


def notebooks(costs: dict) -> tuple[dict, dict]:
    """What each kind of notebook takes beside what `costs` explain, and a row of heads along the axes of responses."""
    values = yaml.safe_load(Path(project_path("params/demo.yaml")).read_text()) | DESIGN
    values["evaluations"]["finetuning"]["runs"] = {}
    with tempfile.TemporaryDirectory() as folder:
        design, results = Path(folder, "costs.yaml"), Path(folder, "results")
        design.write_text(yaml.safe_dump(values))
        workflow(design, results, cores=1)
        table, axes = beside(design, results, costs)
        return of_the_study(table), axes


def beside(design_file: Path, results: Path, costs: dict) -> tuple[dict, dict]:
    """The numbers of `notebooks` from a design's executed notebooks."""
    from helpers.corpus import open_source
    from helpers.corpus.extent import extent
    from helpers.costs import Costs
    from helpers.design import load_design
    from helpers.stages import outputs, pieces, work_of
    from helpers.work import axis_heads, curves, kind_of

    design = load_design(design_file)
    cells = extent(design, open_source(design))
    found: dict[str, list[dict]] = {}
    nothing = dict.fromkeys(map(kind_of, pieces(design)), dict.fromkeys(NOTEBOOK, 0.0))
    known = Costs(
        tuple(costs["models"]), (*costs["judging"], {"task": "axes", "seconds": 0.0}), costs["corpus"], nothing, {}
    )
    for piece in pieces(design):
        stamp = json.loads((results / "notebooks" / f"{piece.name}.ipynb").read_text())["metadata"]["cellscale"]
        told, made = work_of(design, piece, cells, known), [results / name for name in outputs(design, piece, results)]
        row = {"seconds": max(0.0, stamp["cpu_seconds"] - told.seconds), "piece": piece}
        row["memory_mb"] = max(0.0, stamp["peak_memory_mb"] - told.memory / 1e6)
        row["bytes"] = sum(path.stat().st_size for path in made if path.is_file())
        found.setdefault(kind_of(piece), []).append(row)
    start = float(np.median([row["seconds"] for row in found["30_classify"]]))
    table, n_runs = {}, len(design.runs())
    for kind, rows in found.items():
        seconds = [row["seconds"] for row in rows]
        first = [row["seconds"] for row in rows if design.is_first(*_chunk(row["piece"]))] if kind == "25_embed" else []
        more, own = max(0.0, sum(seconds) - start), dict.fromkeys(NOTEBOOK, 0.0)
        own |= {"seconds": float(np.median(seconds)), "memory_mb": max(row["memory_mb"] for row in rows)}
        if kind.endswith("--baselines"):
            own |= {"seconds": start, "per_judged": more / cells.n_judged}
        elif kind >= "50":
            own |= {"seconds": start, "per_curve": more / curves(design) * (kind != "63_response_axes")}
        elif kind >= "30":
            own["bytes_per_judged"] = sum(row["bytes"] for row in rows) / n_runs / cells.n_judged
        if first:
            own |= {"seconds": min(seconds), "first": float(np.mean(first)) - min(seconds)}
        table[kind] = own
    axes = max(0.0, found["63_response_axes"][0]["seconds"] - start) / axis_heads(design)
    return table, {"task": "axes", "seconds": axes}


def of_the_study(table: dict) -> dict:
    """The table, with the seconds per curve that the study's own notebooks took."""
    from helpers.design import load_design
    from helpers.work import curves

    stamps, study = study_stamps(), load_design(STUDY)
    for kind in OF_THE_STUDY:
        own = table[kind]
        own["per_curve"] = max(0.0, stamps[kind]["cpu_seconds"] - own["seconds"]) / curves(study)
    return table


def _chunk(piece: object) -> tuple:
    return piece.family, piece.width, piece.strategy


def changed(old: dict, new: dict) -> dict[str, float]:
    """How many times each measured number is what it was, by its name; those that are in both tables."""

    def flat(table: dict) -> dict[str, float]:
        models = {
            f"{row['family']} {row['preset']} {row['genes']} × {row['width']:g} {row['settings'] or ''} {key}": row[key]
            for row in table["models"]
            for key in ("train", "embed", "loss", "controls", "fit")
            if key in row and (key != "fit" or row["family"] == "pca")
        }
        judging = {
            f"{row['task']} {row.get('cells', '')}": row["seconds"] for row in table["judging"] if row.get("seconds")
        }
        return models | judging | {key: table["corpus"][key] for key in SECONDS}

    before, after = flat(old), flat(new)
    return {name: after[name] / before[name] for name in before.keys() & after.keys() if before[name]}


def main(small: bool, write: bool) -> int:
    """Measure, compare with what the project holds, and write; 1 if something changed by more than FACTOR."""
    points = [(family, *point) for family, known in costs_models.POINTS.items() for point in known]
    rows = [
        alone(costs_models.fitted, *point).value for point in costs_models.PCA_POINTS if not small or point[0] < 5_000
    ]
    rows += [alone(costs_models.trained, *point).value for point in points if not small or point[1] == "demo"]
    judging = [
        row for n in costs_judging.SIZES[: 2 if small else None] for row in alone(costs_judging.by_cells, n).value
    ]
    costs = {"models": rows, "judging": judging}
    costs["corpus"] = alone(corpus_seconds, *((5_000, 2_000) if small else (N_CELLS, 19_331))).value
    if not small:
        costs["judging"] += alone(costs_judging.of_the_demo).value + alone(costs_judging.by_scib_metrics, 2_000).value
        costs["notebooks"], axes = notebooks(costs)
        costs["judging"].append(axes)
    costs["environment"] = environment()
    before = json.loads(FILE.read_text()) if FILE.exists() else None
    if write and not small:
        lines = ",\n".join(f' "{key}": {_lines(value)}' for key, value in costs.items())
        FILE.write_text(f"{{\n{lines}\n}}\n")
    ratios = changed(before, costs) if before else {}
    worst = max(ratios, key=lambda name: abs(np.log(ratios[name])), default=None)
    claims = {}
    if worst is not None:
        told = f"no number changed by more than {FACTOR:g} times; most, {ratios[worst]:.2f} times: {worst}"
        claims[told] = 1 / FACTOR <= ratios[worst] <= FACTOR
    title = f"Costs, seconds of one core; {FILE.name} {'written' if write and not small else 'left as it is'}"
    return report("costs_small" if small else "costs", title, rows, claims)


def _lines(value: object) -> str:
    """JSON with a line for each row of a table, numbers with four digits."""
    rounded = json.loads(json.dumps(value), parse_float=lambda text: float(f"{float(text):.4g}"))
    if isinstance(rounded, list):
        return "[\n  " + ",\n  ".join(map(json.dumps, rounded)) + "\n ]"
    rows = (f"{json.dumps(key)}: {json.dumps(one)}" for key, one in rounded.items())
    return "{\n  " + ",\n  ".join(rows) + "\n }"


if __name__ == "__main__":
    sys.exit(main("--small" in sys.argv[1:], "--write" in sys.argv[1:]))
