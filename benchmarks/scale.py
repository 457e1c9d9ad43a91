"""A corpus too large for memory, from h5ad files through the stages: seconds and peak memory of each.

``python -m benchmarks.scale [--small]``: 222,000 cells as sparse as scTab's, 19,331 genes, through every stage from the
corpus to the held-out loss, with PCA and one epoch of scVI; then corpus, split, subset and PCA of 2.2 million. --small
takes 4,000 cells alone. Making the cells is not counted. Needs 20 GB of disk (--folder), and an hour for all.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anndata
import pandas as pd
import scipy.sparse as sp
import yaml

from benchmarks.common import THREADS, alone, report
from benchmarks.sctab_like import Cells
from helpers.provenance import find_project

FILE_CELLS = 55_500  # of each h5ad
FULL = 22_189_056  # cells of scTab
CHAIN = (
    ("00_corpus", {}),
    ("05_split", {}),
    ("10_subset", {"strategy": "random"}),
    ("20_pretrain", {"family": "pca", "strategy": "random"}),
    ("20_pretrain", {"family": "scvi", "strategy": "random"}),
    ("25_embed", {"family": "pca", "strategy": "random"}),
    ("25_embed", {"family": "scvi", "strategy": "random"}),
    ("30_classify", {"family": "pca", "strategy": "random"}),
    ("30_classify", {"family": "scvi", "strategy": "random"}),
    ("34_heldout_loss", {"family": "pca", "strategy": "random"}),
    ("34_heldout_loss", {"family": "scvi", "strategy": "random"}),
)
LARGE = CHAIN[:4]


def design(name: str, path: Path) -> dict:
    """All genes, whole donors held out, 1 % and all of the corpus."""
    return {
        "name": name,
        "seed": 2026,
        "corpus": {"source": "h5ad", "h5ad": {"path": str(path)}},
        "held_out": {"preset": "sctab", "validation_at_most": 5_000},
        "evaluation_sets": {"held_out": {"part": "evaluation", "seen": "in distribution", "at_most": 5_000}},
        "strategies": ["random"],
        "percentages": [1, 100],
        "seeds": [0],
        "families": {"pca": {"preset": "paper"}, "scvi": {"preset": "paper"}},
        "budget": {"kind": "epochs", "amount": 1},
        "evaluations": {
            "classification": {"n_neighbors": 5, "min_cells": 10, "headline_min_cells": 20},
            "heldout_loss": {"headline": "held_out"},
        },
    }


def write_files(folder: Path, n_cells: int) -> None:
    """The cells as h5ad files, gzipped as they are in practice; those of an earlier run are kept."""
    if folder.exists():
        return
    source, parts, n_waiting, n_files = Cells(n_cells), [], 0, 0
    partial = folder.with_suffix(".part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for block in source.blocks():
        parts.append(block)
        n_waiting += block.shape[0]
        while n_waiting >= FILE_CELLS or (n_waiting and n_files * FILE_CELLS + n_waiting == n_cells):
            joined = sp.vstack(parts, format="csr")
            n = min(FILE_CELLS, n_waiting)
            rows = slice(n_files * FILE_CELLS, n_files * FILE_CELLS + n)
            adata = anndata.AnnData(
                sp.csr_matrix(joined[:n]), obs=source.obs.iloc[rows], var=pd.DataFrame(index=source.genes)
            )
            adata.write_h5ad(partial / f"{n_files:04}.h5ad", compression="gzip")
            parts, n_waiting, n_files = [joined[n:]], n_waiting - n, n_files + 1
    partial.rename(folder)


def run(stage: str, path: Path, results: Path, options: dict) -> tuple[float, float]:
    """Seconds of a notebook, start included, and the peak memory in GB of any of its processes."""
    given = {"design": path, "results": results, **options}
    command = [sys.executable, "-m", "helpers.run", f"notebooks/{stage}.py"]
    name = "--".join([stage, *(options[key] for key in ("family", "strategy") if key in options)])
    command += [str(results / "notebooks" / f"{name}.ipynb")]
    command += [str(word) for key, value in given.items() for word in ("-p", key, value)]
    start = time.perf_counter()
    environment = os.environ | dict.fromkeys(THREADS, "1")
    done = subprocess.run(command, cwd=find_project(), env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{stage} failed:\n{done.stderr[-3000:]}")
    return time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6


def measure(folder: Path, n_cells: int, chain: tuple) -> list[dict]:
    """A row for each stage."""
    root = folder / f"cells_{n_cells}"
    alone(write_files, root / "files", n_cells)
    path, rows = root / "design.yaml", []
    path.write_text(yaml.safe_dump(design(f"scale_{n_cells}", root / "files")))
    for stage, options in chain:
        done = alone(run, stage, path, root / "results", options)
        seconds, peak = done.value
        rows.append({"cells": n_cells, "stage": stage, "family": options.get("family", "")})
        rows[-1] |= {"seconds": seconds, "per_million_cells": seconds / n_cells * 1e6, "peak_gb": peak}
        sys.stdout.write(f"{rows[-1]}\n")
        sys.stdout.flush()
    size = sum(file.stat().st_size for file in (root / "results" / "corpus").rglob("*") if file.is_file())
    rows.append({"cells": n_cells, "stage": "corpus on disk", "gb": size / 1e9})
    return rows


def extrapolated(rows: list[dict]) -> list[dict]:
    """What all of scTab would take, on the straight line through the fewest and the most cells: stages, and disk."""
    few, *_, many = sorted({row["cells"] for row in rows})
    told = []
    for large in (row for row in rows if row["cells"] == many):
        key = {name: large[name] for name in ("stage", "family") if name in large}
        small = next(row for row in rows if row["cells"] == few and key.items() <= row.items())
        row = {"cells": FULL, **key}
        for name in ("seconds", "peak_gb", "gb"):
            if name not in large:
                continue
            slope = max(0.0, (large[name] - small[name]) / (many - few))
            row[name] = large[name] + slope * (FULL - many)
        if "seconds" in row:
            row["hours"] = row.pop("seconds") / 3_600
        told.append(row)
    return told


def main(arguments: list[str] | None = None) -> int:
    """Measure and report; 1 if a claim fails."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="4,000 cells through all stages")
    parser.add_argument(
        "--cells", type=int, nargs="*", help="other numbers of cells; the first goes through all stages"
    )
    parser.add_argument("--folder", type=Path, help="where the files and results are kept; a temporary one if left out")
    options = parser.parse_args(arguments)
    sizes = options.cells or ([4_000] if options.small else [222_000, 2_220_000])
    with tempfile.TemporaryDirectory() as temporary:
        folder, rows = options.folder or Path(temporary), []
        for number, n_cells in enumerate(sizes):
            rows += measure(folder, n_cells, LARGE if number else CHAIN)
    first = [row for row in rows if row["cells"] == sizes[0] and "seconds" in row]
    seconds = sum(row["seconds"] for row in first if row["stage"] != "00_corpus")
    peak = max(row["peak_gb"] for row in rows if "peak_gb" in row)
    claims = {}
    if sizes[0] == 222_000:
        claims[f"05 to 34 within 20 min: {seconds / 60:.1f} min"] = seconds <= 1_200
        claims[f"every stage within 4 GB: {max(row['peak_gb'] for row in first):.2f} GB"] = all(
            row["peak_gb"] <= 4 for row in first
        )
    if len(sizes) > 1:
        claims[f"every stage of {sizes[-1]:,} cells within 8 GB: {peak:.2f} GB"] = peak <= 8
        for stage, _ in LARGE:
            small, large = (
                next(row["per_million_cells"] for row in rows if row["cells"] == n and row["stage"] == stage)
                for n in (sizes[0], sizes[-1])
            )
            claims[f"{stage}: time per million cells {large / small:.2f} times that of {sizes[0]:,}"] = (
                large <= 1.2 * small
            )
        rows += extrapolated(rows)
    title = "From h5ad files through the stages, one thread; what was not measured is told by a straight line"
    return report("scale_small" if options.small else "scale", title, rows, claims)


if __name__ == "__main__":
    sys.exit(main())
