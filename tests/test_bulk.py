"""The benchmark of bulk: its sample of the study, its estimate of a total, scores that are those of the notebooks."""

import json
from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
import yaml

from benchmarks import bulk, growth, straightforward
from benchmarks.processes import side_by_side
from helpers.design import UNTRAINED, load_design
from helpers.provenance import notebook_source, read_notebook
from helpers.store import model_path


@pytest.fixture(scope="module")
def study():
    return load_design(bulk.STUDY)


@pytest.mark.parametrize("n", [1, 4, 6])
def test_a_sample_holds_some_subsets_of_the_study_and_all_families(study, write_design, n):
    sample = load_design(write_design(bulk.sampled(study, n)))
    trained = [run for run in sample.runs() if run.strategy != UNTRAINED]
    assert len(trained) == 5 * n
    assert len(sample.runs()) == 5 * n + 5, "an untrained model of each family"
    assert len({run.subset for run in trained}) == len({run.percentage for run in trained}) == n
    assert {run.id for run in sample.runs()} <= {run.id for run in study.runs()}
    assert bulk.sampled(study, n) == bulk.sampled(study, n)
    left_out = [getattr(getattr(sample.evaluations, task), part) for task in bulk.SLOW for part in bulk.SLOW[task]]
    assert left_out == [None] * 4
    assert sample.corpus == study.corpus
    assert sample.budget_of("geneformer") == study.budget_of("geneformer")


def test_the_small_form_is_a_design(study, write_design):
    small = load_design(write_design(bulk.small(bulk.sampled(study, 1))))
    assert [run.family for run in small.runs()] == ["pca", "pca", "scvi", "scvi"]
    assert {kind for _, kind in bulk.jobs_of(small)} == {"training", UNTRAINED, "classification", "heldout_loss"}


def test_there_is_a_process_for_each_model_and_for_each_dataset_that_it_is_judged_on(study, write_design):
    sample = load_design(write_design(bulk.sampled(study, 4)))
    jobs = [job for of_kind in bulk.jobs_of(sample).values() for job in of_kind]
    assert len(set(jobs)) == len(jobs) == 25 + 25 * (6 + 5 + 3 + 4 + 5)
    assert sum(not task for _, task, _ in jobs) == 25
    assert {len(bulk.jobs_of(sample)[family, "training"]) for family in study.families} == {4}


def test_processes_are_drawn_from_each_family_and_kind():
    jobs = {"a": list("uvwxyz"), "b": ["q"]}
    found = bulk.drawn(jobs, 2, np.random.default_rng(0))
    assert found["b"] == ["q"]
    assert len(set(found["a"])) == 2
    assert found["a"] == sorted(found["a"])
    assert bulk.drawn(jobs, None, np.random.default_rng(0)) == jobs
    times = [bulk.drawn(jobs, 2, np.random.default_rng(seed))["a"] for seed in range(300)]
    assert min(sum(name in one for one in times) for name in "uvwxyz") > 60, "each as likely as any other: 100 times"


def test_a_total_by_hand():
    costs = {"a": np.array([1.0, 3.0]), "b": np.array([5.0]), "c": np.array([2.0, 4.0])}
    told, error = bulk.total(costs, {"a": 4, "b": 1, "c": 2})
    assert told == 4 * 2 + 5 + 6
    assert error == pytest.approx(np.sqrt(4**2 * (1 - 2 / 4) * 2 / 2))  # b and c are known whole


def test_totals_of_all_samples_are_right_on_average_and_so_are_their_errors():
    strata = {"a": np.array([1.0, 2.0, 6.0, 7.0]), "b": np.array([3.0, 3.5, 9.0])}
    sizes = {name: len(values) for name, values in strata.items()}
    samples = product(*(combinations(values, 2) for values in strata.values()))
    found = [bulk.total(dict(zip(strata, map(np.array, pair), strict=True)), sizes) for pair in samples]
    totals, errors = np.array(found).T
    assert totals.mean() == pytest.approx(sum(values.sum() for values in strata.values()))
    assert (errors**2).mean() == pytest.approx(totals.var())


def test_parts_of_the_workflow_add_up_to_what_it_used():
    notebooks = {"00_corpus": 1.0, "20_pretrain--pca--random": 2.0, "25_embed--pca--random": 4.0}
    notebooks |= {"30_classify--pca--random": 8.0, "32_integrate--baselines--none": 16.0, "50_collect": 32.0}
    parts = bulk.parts_of(100.0, notebooks)
    assert parts == {"imports": 37, "loading": 0, "training": 2, "embedding": 4, "scoring": 8, "rest": 49}


def test_designs_differ_in_the_number_of_seeds_alone(write_design):
    for n_seeds in growth.SEEDS[False]:
        runs = load_design(write_design(growth.design_of(n_seeds))).runs()
        assert sum(run.strategy != UNTRAINED for run in runs) == 10 * n_seeds
        assert sum(run.strategy == UNTRAINED for run in runs) == 2


def test_a_process_is_told_with_its_children_and_one_that_fails_with_its_words(tmp_path):
    works = "import time\nwhile time.process_time() < 0.5: pass"
    (tmp_path / "starts.py").write_text(f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {works!r}])")
    alone, both = side_by_side([["python", "-c", works], ["python", str(tmp_path / "starts.py")]])
    assert 0.5 <= alone.cpu < 5
    assert 0.5 <= both.cpu < 5
    with pytest.raises(RuntimeError, match="ended with 3:\nno more"):
        side_by_side([["python", "-c", "import sys; print('no more', file=sys.stderr); sys.exit(3)"]])


def test_a_clock_tells_each_part_once():
    clock = straightforward.Clock()
    for part in ("imports", "loading", "imports"):
        clock.lap(part)
    assert list(clock.seconds) == ["imports", "loading"]
    assert all(seconds >= 0 for seconds in clock.seconds.values())


@pytest.fixture
def results(small_design, write_design, tmp_path):
    """A design with all evaluations, and its results by the cells of the notebooks that make artifacts."""
    small_design["held_out"]["evaluation"] = 0.5
    small_design["perturbation"] = {"where": {"batch": ["three"]}, "held_out": {"of_a": {"cell_type": ["a"]}}}
    small_design["evaluations"] |= {
        "finetuning": {"lr": 0.01, "few_shot": [2]},
        "integration": {
            "sets": {
                "both": {"sets": ["same", "other"], "batch": "dataset_id"},
                "treated": {"sets": ["same", "other"], "batch": "batch", "mixing": "unwanted"},
                "other": {"sets": ["other"], "batch": "batch", "mixing": "none"},
            }
        },
        "perturbation": {"control": {"batch": ["one_a"]}, "min_cells": 4},
    }
    small_design["evaluations"]["classification"]["transfer"] = {"across": {"train": "same", "test": "other"}}
    design, folder = write_design(small_design), tmp_path / "results"
    baselines = {"family": "baselines", "strategy": "none"}
    chain = [("00_corpus", {}), ("05_split", {}), ("10_subset", {"strategy": "random"})]
    chain += [(stage, baselines) for stage in ("32_integrate", "33_perturb")]
    chain += [("20_pretrain", {}), ("25_embed", {}), ("30_classify", {}), ("31_finetune", {}), ("32_integrate", {})]
    chain += [("33_perturb", {}), ("34_heldout_loss", {})]
    for stage, parameters in chain:
        names = {"design": str(design), "results": str(folder), "family": "pca", "width": 1.0, "strategy": "random"}
        names |= {"percentages": [], "seeds": [], "display": None, **parameters}
        for cell in read_notebook(notebook_source(stage)).cells:
            if cell.cell_type == "code" and not {"parameters", "show"} & set(cell.metadata.get("tags", [])):
                exec(cell.source, names)
    return design, folder


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_it_is_what_the_notebooks_do(results, tmp_path):
    design, folder = results
    run = next(run for run in load_design(design).runs() if run.strategy != UNTRAINED)
    jobs = [(one, task, name) for one, task, name in bulk.jobs_of(load_design(design))["pca", "training"] if one == run]
    judged = ["classification", "finetuning", "integration", "perturbation", "heldout_loss"]
    jobs += [job for task in judged for job in bulk.jobs_of(load_design(design))["pca", task] if job[0] == run]
    assert len(jobs) == 1 + 3 + 2 + 3 + 1 + 2
    for one, *task in jobs:
        straightforward.main(str(design), str(folder), str(tmp_path / "out"), one.id, *filter(None, task))
    n_models, largest = bulk.differences(folder, tmp_path / "out", jobs)
    assert n_models == 0
    assert largest <= 1e-6
    weights = tmp_path / "out" / model_path(run) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert bulk.differences(folder, tmp_path / "out", jobs)[0] == 1
    table = next((tmp_path / "out" / "evaluations").glob("heldout_loss--other--*.parquet"))
    pd.read_parquet(table).assign(value=lambda rows: rows["value"] + 0.5).to_parquet(table)
    assert bulk.differences(folder, tmp_path / "out", jobs)[1] == pytest.approx(0.5)
    told = json.loads(table.with_suffix(".json").read_text())
    assert {"imports", "loading", "scoring"} <= told.keys() <= set(bulk.PARTS)
    assert yaml.safe_load(design.read_text())["name"] == "small"
