"""What the workflow costs by the number of runs: from the corpus to the figures, with 50, 100 and 400 trained models.

``python -m benchmarks.growth [--small]``: processor seconds of all processes, two families, five subsets a seed, 300
cell-views a model, the two evaluations that every design has. Only the number of seeds grows. A line through the two
smaller designs tells what the largest may cost; --small has 10, 20 and 40 models.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import yaml

from benchmarks.common import report
from benchmarks.processes import Used, workflow
from helpers.design import load_design
from helpers.provenance import project_path

DESIGN = "params/smoke.yaml"
SEEDS = {False: (5, 10, 40), True: (1, 2, 4)}  # of ten models each
ABOVE = 1.2  # times what the line tells


def design_of(n_seeds: int) -> dict:
    """Plain values of a design with ten trained models for each seed, and an untrained one of each family."""
    values = yaml.safe_load(project_path(DESIGN).read_text())
    strategies = {"random": {}, "celltype_reweighted": {"percentages": [3.2, 32]}}
    views = {"kind": "cell_views", "amount": 300}
    changed = {"name": f"seeds_{n_seeds}", "strategies": strategies, "budget": views}
    return values | changed | {"seeds": list(range(n_seeds)), "seeds_by_size": {0: [0]}}


def kernels(notebooks: Path) -> dict[str, float]:
    """Processor seconds of the kernel of each executed notebook, by its name."""
    read = {path.stem: json.loads(path.read_text()) for path in sorted(notebooks.glob("*.ipynb"))}
    return {name: notebook["metadata"]["cellscale"]["cpu_seconds"] for name, notebook in read.items()}


def measured(n_seeds: int, folder: Path) -> tuple[int, Used, dict[str, float]]:
    """Number of trained models, what they used in all, and by stage."""
    file, results = folder / f"{n_seeds}.yaml", folder / str(n_seeds)
    file.write_text(yaml.safe_dump(design_of(n_seeds)))
    used = workflow(file, results)
    n_models = sum(run.percentage > 0 for run in load_design(file).runs())
    stages: dict[str, float] = {}
    for name, seconds in kernels(results / "notebooks").items():
        stage = name.split("--")[0]
        stages[stage] = stages.get(stage, 0) + seconds
    return n_models, used, stages


def main(small: bool) -> int:
    """Measure and report; 1 if a claim fails."""
    with tempfile.TemporaryDirectory() as folder:
        found = [measured(n_seeds, Path(folder)) for n_seeds in SEEDS[small]]
    models, cpu = np.array([(n, used.cpu) for n, used, _ in found]).T
    slope = (cpu[1] - cpu[0]) / (models[1] - models[0])
    intercept = cpu[0] - slope * models[0]
    rows = [
        {
            "models": n,
            "cpu": used.cpu,
            "wall": used.wall,
            "cpu/model": used.cpu / n,
            "line": intercept + slope * n,
            **by_stage,
            "engine": used.cpu - sum(by_stage.values()),
        }
        for n, used, by_stage in found
    ]
    ratio = cpu[2] / rows[2]["line"]
    claims = {
        f"{models[2]:g} models cost {ratio:.2f} of what the line through the others tells "
        f"({intercept:.0f} s and {slope:.2f} s a model), at most {ABOVE:g}": ratio <= ABOVE
    }
    return report("growth_small" if small else "growth", "By number of models, processor seconds", rows, claims)


if __name__ == "__main__":
    sys.exit(main("--small" in sys.argv[1:]))
