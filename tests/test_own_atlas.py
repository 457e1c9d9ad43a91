"""The walk-through of README.md for an atlas of one's own, on a small one that is written here."""

import os
import subprocess
import sys

import anndata
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import PROJECT, copy_project, run_workflow
from planted import draw_cells


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    """A copy of the project with an atlas of two files, and a design made from the template; both as a user would."""
    project = copy_project(tmp_path_factory.mktemp("atlas") / "project")
    folder = project / "data" / "external" / "atlas"
    folder.mkdir(parents=True)
    for number in range(2):
        cells = draw_cells(700, number)
        rng = np.random.default_rng(number)
        cells.obs = pd.DataFrame(
            {
                "study": f"study{number}",
                "annotation": cells.obs["cell_type"].to_numpy(),
                "sample": [f"s{one}" for one in rng.integers(3, size=700)],
                "patient": [f"p{one}" for one in rng.integers(20, size=700)],
            },
            index=[f"cell{one}" for one in range(700)],
        )
        counts = cells.X.copy()
        cells.layers["counts"] = counts
        cells.X = np.log1p(counts)  # as many atlases have it
        cells.write_h5ad(folder / f"part{number}.h5ad")
    values = yaml.safe_load((PROJECT / "params" / "own_atlas.yaml").read_text())
    values["corpus"]["genes"] = 50
    values["percentages"], values["seeds"], values["budget"]["amount"] = [10, 100], [0], 2_000
    return project, values


def checked(project, values) -> subprocess.CompletedProcess:
    """What the command says of a design."""
    (project / "params" / "mine.yaml").write_text(yaml.safe_dump(values))
    environment = os.environ | {"PYTHONPATH": str(project / "src")}
    command = [sys.executable, "-m", "helpers.design", "params/mine.yaml"]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.chain
def test_an_atlas_goes_from_its_files_to_results(atlas):
    project, values = atlas
    told = checked(project, values)
    assert told.returncode == 2
    assert "corpus.h5ad: part0.h5ad: X holds" in told.stderr
    assert "layers['counts'] holds counts: say layer: counts" in told.stderr
    values["corpus"]["h5ad"]["layer"] = "counts"
    told = checked(project, values)
    assert told.returncode == 2
    assert "part0.h5ad" in told.stderr
    assert "names: file" in told.stderr, "cells of both files have the same names"
    values["corpus"]["h5ad"] |= {"names": "file", "within_dataset": ["donor_id", "batch"]}
    told = checked(project, values)
    assert told.returncode == 0, told.stderr
    done = run_workflow("params/mine.yaml", "results/own_atlas", project)
    assert done.returncode == 0, done.stderr[-3000:]
    results = pd.read_parquet(project / "results" / "own_atlas" / "results.parquet")
    assert {"pca", "scvi"} <= set(results["family"])
    split = pd.read_parquet(project / "results" / "own_atlas" / "split.parquet")
    donors = pd.concat(
        anndata.read_h5ad(file).obs.assign(study=file.stem)
        for file in sorted((project / "data/external/atlas").iterdir())
    )
    donor = (donors["study"] + donors["patient"].astype(str)).to_numpy()
    of_donor = pd.crosstab(donor, split["role"].to_numpy()) > 0
    assert (of_donor.sum(axis=1) == 1).all(), "no donor is learned from and judges"
