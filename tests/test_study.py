"""The study that is kept in study/: whole, made by committed code, and light."""

import json

import pandas as pd
import pytest
from conftest import PROJECT

from helpers.design import load_design
from helpers.stages import pieces

FOLDER = PROJECT / "study"


@pytest.fixture(scope="module")
def design():
    return load_design("params/study.yaml")


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.read_parquet(FOLDER / "tables" / "results.parquet")


def test_it_holds_400_models_and_at_least_16_evaluations_of_each(design, table):
    runs = {run.id for run in design.runs() if run.percentage > 0}
    assert len(runs) == 400
    judged = table.loc[table["run_id"].isin(runs), ["run_id", "task", "dataset"]].drop_duplicates()
    evaluations = judged.groupby("run_id").size()
    assert set(evaluations.index) == runs
    assert evaluations.min() >= 16
    assert evaluations.sum() >= 6400


def test_every_notebook_of_it_was_executed_from_committed_code_and_all_models_by_one_revision(design):
    stamps = json.loads((FOLDER / "provenance.json").read_text())
    assert set(stamps) == {piece.name for piece in pieces(design)}
    assert not any(stamp["git_dirty"] for stamp in stamps.values())
    assert len({stamp["git_revision"] for name, stamp in stamps.items() if name < "50"}) == 1


def test_it_is_light():
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert max(path.stat().st_size for path in files if path.suffix == ".ipynb") < 1_000_000
    assert sum(path.stat().st_size for path in files) < 40_000_000
