"""What is the same when a model is trained again, and how far it is off where it is not.

``python -m benchmarks.reproducibility [--small]``: each family with its demo preset learns from 1 % of the demo's
corpus (and from all of it; not with --small), again with the same seed, with two threads, and as on an older processor:
numpy without AVX2 and FMA, torch's own kernels and oneDNN without AVX, OpenBLAS and MKL with the kernels of such a one.
What each process learned is judged on pbmc3k: held-out loss, and macro F1 by 5 nearest neighbours, one half of the
cells from the other.
"""

import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import anndata
import numpy as np

from benchmarks.common import THREADS, report
from benchmarks.training import VIEWS, write

ONE = dict.fromkeys(THREADS, "1")
OLDER = {
    "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR",
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "OPENBLAS_CORETYPE": "Nehalem",
}
WAYS = {"again": ONE, "two threads": dict.fromkeys(THREADS, "2"), "older processor": ONE | OLDER}


def trained(family: str, file: str, folder: Path) -> None:
    """Train one model and write what it knows and how it is judged; runs in a process of its own."""
    from helpers.evaluate.classification import scored_types, scores
    from helpers.evaluate.knn import knn_predict
    from helpers.models import Budget, TrainingCells, create

    warnings.simplefilter("ignore")  # of libraries, and of numpy about features that it has not
    cells, validation, judged = (anndata.read_h5ad(folder / f"{name}.h5ad") for name in (file, "validation", "judged"))
    model = create(family, n_genes=cells.n_vars, preset="demo")
    budget = Budget("epochs", 1) if family == "pca" else Budget("cell_views", VIEWS[family] // 4)
    model.fit(TrainingCells(cells, validation), budget=budget, rng=np.random.default_rng(0))
    embedding, types, learners = (
        model.embed(judged),
        judged.obs["cell_type"].to_numpy(),
        np.arange(judged.n_obs) % 2 == 0,
    )
    predicted = knn_predict(embedding[learners], types[learners], embedding[~learners])
    f1 = scores(types[~learners], predicted, types=scored_types(types[~learners]))["macro_f1"]
    told = {"loss": float(model.heldout_loss(judged).mean()), "macro_f1": float(f1)}
    np.savez(folder / "embedding.npz", embedding)
    (folder / "told.json").write_text(json.dumps(told))


def outcome(family: str, file: str, folder: Path, settings: dict[str, str]) -> tuple[dict[str, float], np.ndarray]:
    """Scores and embedding, (n_cells, n_latent), of a model that a process with these settings trained."""
    command = [sys.executable, "-m", "benchmarks.reproducibility", "--train", family, file, str(folder)]
    subprocess.run(command, env=os.environ | settings, check=True)
    with np.load(folder / "embedding.npz") as held:
        return json.loads((folder / "told.json").read_text()), held["arr_0"]


def main(arguments: list[str]) -> int:
    """Compare every family's second training with its first; 1 if one with the same settings differs at all."""
    if arguments[:1] == ["--train"]:
        trained(arguments[1], arguments[2], Path(arguments[3]))
        return 0
    small, rows = "--small" in arguments, []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder)
        everything = anndata.read_h5ad("data/embedded.h5ad")
        genes = anndata.read_h5ad(folder / "validation.h5ad", backed="r").var
        judged = everything[everything.obs["batch"] == "pbmc3k", genes.index].copy()
        judged.var = genes
        judged.write_h5ad(folder / "judged.h5ad")
        for family in ("pca", "scvi") if small else ("pca", *VIEWS):
            for file in ("1 %",) if small else ("1 %", "100 %"):
                first, embedding = outcome(family, file, folder, ONE)
                for way, settings in WAYS.items():
                    told, other = outcome(family, file, folder, settings)
                    rows.append(
                        {
                            "family": family,
                            "corpus": file,
                            "way": way,
                            "same embedding": bool(np.array_equal(embedding, other)),
                            "loss, relative": told["loss"] / first["loss"] - 1,
                            "macro F1": told["macro_f1"] - first["macro_f1"],
                        }
                    )
    again = [row["same embedding"] for row in rows if row["way"] == "again"]
    claims = {"trained again on one machine with one thread, embeddings are equal to the last bit": all(again)}
    return report("reproducibility", "Trained again: differences to the first model", rows, claims)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
