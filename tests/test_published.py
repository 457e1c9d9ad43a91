"""The study's tables: a made-up folder of their layout, odd rows included, read and analysed like our own results."""

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import opening
import pandas as pd
import pytest

from helpers.analysis.published import BASELINES, FAMILIES, HEADLINES, METRICS, MissingTablesError, read_published
from helpers.analysis.results import RESULT_COLUMNS, wide, with_sampling
from helpers.analysis.saturation import saturation_points
from helpers.evaluate import registry
from helpers.plots import published_figures

PROJECT = Path(__file__).resolve().parents[1]
SEEDS = {0: range(30, 35), 1: range(5), 10: range(5, 10), 25: range(10, 15), 50: range(15, 20), 75: range(20, 25)}
SEEDS |= {100: range(25, 30)}
SETS = {
    "classification": ["hematopoiesis", "intestine"],
    "integration": ["kim_lung", "ocular"],
    "perturbation": ["dinaciclib", "tak901"],
}
SCORES = {
    "classification": ["accuracy", "precision", "recall", "micro_f1", "macro_f1"],
    "integration": [
        *("NMI_cluster/label", "ARI_cluster/label", "ASW_label", "graph_conn", "ASW_batch", "ASW_label/batch"),
        *("PCR_batch", "avg_bio"),
    ],
    "perturbation": ["mse", "R2"],
}
KINDS = ["zeroshot_classification", "finetune_classification", "zeroshot_integration", "finetune_perturbation"]


def made_up(kind: str, rng: np.random.Generator, *, spike_ins: bool) -> pd.DataFrame:
    """A table as the study writes one: scores rise from 1 to 10 % and are flat from there; row index 0 throughout."""
    samplings = ["celltype_reweighted", "geometric_sketching", "random", *(["spikein_10", "spikein_50"] * spike_ins)]
    rows = []
    for dataset in SETS[kind]:
        for sampling in samplings:
            for size, seeds in SEEDS.items():
                if (size == 0 and sampling != "random") or (size == 100 and sampling in samplings[:2]):
                    continue
                for seed in seeds:
                    level = {0: 0.3, 1: 0.5}.get(size, 0.8) + rng.normal(scale=0.005)
                    scores = {name: level + place / 100 for place, name in enumerate(SCORES[kind])}
                    if kind == "perturbation":
                        scores["mse"] = 0.02 / level
                    rows.append(
                        scores | {"percentage": size, "seed": seed, "downsampling_method": sampling, "dataset": dataset}
                    )
    return pd.DataFrame(rows, index=[0] * len(rows))


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """A clone with its folder of tables: spike-ins in one table of each family, seeds missing, columns too many."""
    clone, rng = tmp_path_factory.mktemp("clone"), np.random.default_rng(0)
    place = clone / "plotting" / "metrics_csvs"
    place.mkdir(parents=True)
    for family in FAMILIES:
        for name in KINDS:
            table = made_up(name.split("_")[1], rng, spike_ins=name == "zeroshot_classification")
            if family == "scVI":
                table = table[~((table["seed"] == 7) & (table["downsampling_method"] == "random"))]
            if family == "SSL":
                table = table.assign(note="rerun", width=9.0)
            if family == "SCimilarity":
                table["downsampling_method"] = table["downsampling_method"].replace("random", "randomsplits")
            whole = family == "Geneformer" and name.startswith("finetune")  # written without the row index
            table.to_csv(place / f"{family}_{name}_eval_results.csv", index=not whole)
    filler = {"percentage": -1, "seed": -1, "downsampling_method": "na"}
    for name, (_, task) in BASELINES.items():
        kind = {"finetuning": "classification"}.get(task, task)
        scores = pd.DataFrame({"dataset": SETS[kind]}).assign(**dict.fromkeys(SCORES[kind], 0.6), **filler)
        scores.to_csv(place / f"{name}.csv")
    (place / "scVI_2x_zeroshot_classification_eval_results.csv").write_text("no table that is read")
    return clone


@pytest.fixture
def folder(written, tmp_path) -> Path:
    """A copy of the tables, to be changed."""
    return shutil.copytree(written, tmp_path / "clone") / "plotting" / "metrics_csvs"


@pytest.fixture(scope="module")
def results(written) -> pd.DataFrame:
    return read_published(written)


def table_of(folder: Path, name: str = "PretrainedPCA_zeroshot_classification") -> tuple[pd.DataFrame, Path]:
    path = folder / f"{name}_eval_results.csv"
    return pd.read_csv(path, index_col=0), path


def test_one_row_per_run_evaluation_and_metric(results):
    assert list(results) == [column for column in RESULT_COLUMNS if column in results]
    assert set(results) >= {"run_id", "family", "width", "strategy", "percentage", "subset_seed", "n_cells", "value"}
    assert not results.duplicated(["run_id", "task", "dataset", "metric"]).any()
    models = results[results["strategy"] != "none"]
    assert list(models["family"].unique()) == ["pca", "scvi", "ssl", "geneformer", "scimilarity"]
    assert set(models["task"]) == {"classification", "finetuning", "integration", "perturbation"}
    of_pca = models[(models["family"] == "pca") & (models["task"] == "classification")]
    # random 5 sizes × 5 seeds + all + none, two samplings of 5 sizes, two spike-ins of 6; 2 sets × 5 scores
    assert len(of_pca) == 5 * (7 + 2 * 5 + 2 * 6) * 2 * 5
    assert (models["width"] == 1).all()
    assert (models["subset_seed"] == models["init_seed"]).all()


def test_a_row_by_hand(folder, results):
    raw, _ = table_of(folder, "scVI_finetune_classification")
    one = raw.query("percentage == 10 and seed == 5 and downsampling_method == 'random' and dataset == 'intestine'")
    found = results.query("run_id == 'scvi-w1/random/p010.0/s05' and dataset == 'intestine'")
    found = found[found["task"] == "finetuning"].set_index("metric")
    names = {"accuracy": "accuracy", "precision": "macro_precision", "recall": "macro_recall"}
    names |= {"micro_f1": "micro_f1", "macro_f1": "macro_f1"}
    assert found["value"].to_dict() == {ours: one[theirs].item() for theirs, ours in names.items()}
    assert found[["percentage", "n_cells", "subset_seed", "strategy", "status", "seen"]].iloc[0].tolist() == [
        *(10, 2_218_906, 5, "random", "ok", "study unseen")
    ]


def test_sizes_are_shares_of_the_corpus(results):
    sizes = (
        results.drop_duplicates("percentage").dropna(subset="percentage").set_index("percentage")["n_cells"].to_dict()
    )
    assert sizes[100] == 22_189_056
    assert sizes[1] == 221_891
    assert sizes[0] == 0
    untrained = results[results["percentage"] == 0]
    assert set(untrained["strategy"]) == {"untrained"}
    assert "pca-w1/untrained/p000.0/s30" in set(untrained["run_id"])
    assert set(results[results["strategy"] == "untrained"]["percentage"]) == {0}


def test_metrics_have_our_names_and_the_two_batch_silhouettes_stay_apart(folder, results):
    raw, _ = table_of(folder, "SSL_zeroshot_integration")
    own = {"accuracy", "asw_of_batches"}  # what our stages do not compute
    assert own < set(results["metric"])
    for name in set(results["metric"]) - own:
        assert registry.metric(name).description
    means = results[results["family"] == "ssl"].groupby("metric")["value"].mean()
    assert means["asw_of_batches"] == pytest.approx(raw["ASW_batch"].mean())
    assert means["asw_batch"] == pytest.approx(raw["ASW_label/batch"].mean())
    assert registry.metric(METRICS["R2"]).description == "Pearson r of the treated profile, the study's R2"
    for task, metric in HEADLINES.items():
        assert metric in set(results.loc[results["task"] == task, "metric"])


def test_baselines_learn_from_no_corpus(results):
    baselines = results[results["strategy"] == "none"]
    assert set(baselines["run_id"]) == {"hvg/none", "own_pca/none", "logistic/none", "no_change/none"}
    assert baselines[["percentage", "n_cells", "subset_seed"]].isna().all(axis=None)


def test_the_clone_and_its_folder_of_tables_are_the_same(folder, results):
    pd.testing.assert_frame_equal(read_published(str(folder)), results)


def test_the_analysis_of_our_own_results_runs_over_them(results):
    scores = results[results["task"] == "finetuning"]
    points = saturation_points(scores, metric="micro_f1", rule="published")
    assert len(points) == 5 * 3 * 2
    assert set(points["percentage"]) == {10}, "scores rise from 1 to 10 % and are flat from there"
    assert set(with_sampling(results)["sampling"]) >= {"celltype_reweighted", "geometric_sketching", "spikein_50"}
    table = wide(results, ["classification/intestine/micro_f1", "perturbation/tak901/mean_profile_r"])
    assert table["run_id"].is_unique
    both = table.dropna(subset=table.columns[-2:])
    assert {"random", "untrained", "geometric_sketching"} <= set(both["strategy"])


def test_what_is_left_out_is_told(folder, caplog):
    table, path = table_of(folder)
    table = table.reset_index(drop=True)
    table.loc[3, "micro_f1"] = np.nan
    table.loc[4, "seed"] = np.nan
    pd.concat([table, table.iloc[[7]]]).to_csv(path)
    (folder / "SSL_finetune_perturbation_eval_results.csv").unlink()
    with caplog.at_level(logging.WARNING):
        results = read_published(folder)
    told = "\n".join(caplog.messages)
    assert "no table of: perturbation by ssl" in told
    assert "belong to no family at its usual settings: scVI_2x_zeroshot_classification_eval_results.csv" in told
    assert "SSL_zeroshot_integration_eval_results.csv, columns not read: note, width" in told
    assert f"{path.name}, line 6: 1 rows without a seed are left out" in told
    assert f"{path.name}: 1 scores of micro_f1 are not there and left out, e.g. of pca-w1/celltype" in told
    assert f"rows that stand twice count once: {results['run_id'].iloc[6]} on hematopoiesis in {path.name}" in told
    first = results[(results["task"] == "classification") & (results["family"] == "pca")]
    assert len(first) == 1450 - 1 - 5
    assert results["value"].notna().all()
    assert (results["width"] == 1).all(), "a further column of that name says nothing"


def test_other_spellings(folder, results):
    table, path = table_of(folder, "SSL_finetune_perturbation")
    spelled = {"random": "Random", "celltype_reweighted": "cell type reweighting"}
    table.replace(spelled | {"geometric_sketching": "Geometric-sketching"}).to_csv(path)
    pd.testing.assert_frame_equal(read_published(folder), results)


def test_one_family_is_enough(folder):
    for path in folder.glob("*.csv"):
        if path.name != "scVI_zeroshot_integration_eval_results.csv":
            path.unlink()
    results = read_published(folder)
    assert set(results["family"]) == {"scvi"}
    assert set(results["metric"]) == {METRICS[name] for name in SCORES["integration"]}


def test_a_folder_without_tables_lists_what_was_looked_for(tmp_path):
    with pytest.raises(MissingTablesError, match="neither it nor plotting/metrics_csvs/ in it holds") as told:
        read_published(tmp_path)
    for family in FAMILIES:
        for kind in KINDS:
            assert f"{family}_{kind}_eval_results.csv" in str(told.value)
    assert "microsoft/scFM-dataselection (commit f20c3bc)" in str(told.value)
    with pytest.raises(MissingTablesError, match="there is no such folder"):
        read_published(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("percentage", 0.01, r"line 4: percentage = 0.01 \(1 such rows\): is it a fraction\?"),
        ("percentage", "10%", r"line 4: percentage = '10%' \(1 such rows\): a number is needed"),
        ("percentage", 1000, "line 4: percentage = 1000 .*: 0 .untrained. or 1 to 100 per cent"),
        ("percentage", None, "line 4: percentage = nan .*: 0 .untrained. or 1 to 100 per cent"),
        ("seed", 1.5, "line 4: seed = 1.5 .*: a whole number is needed"),
        ("micro_f1", "high", "line 4: micro_f1 = 'high' .*: a number is needed"),
        ("micro_f1", np.inf, "line 4: micro_f1 = inf .*: a number is needed"),
        ("dataset", None, "line 4: dataset is missing"),
        ("downsampling_method", "donors", "line 4: unknown downsampling_method 'donors'.*celltype_reweighted"),
    ],
)
def test_rows_that_cannot_be_right_are_named(folder, column, value, told):
    table, path = table_of(folder)
    table = table.reset_index(drop=True).astype({column: object})
    table.loc[2, column] = value
    table.to_csv(path)
    with pytest.raises(ValueError, match=f"PretrainedPCA_zeroshot_classification_eval_results.csv, {told}"):
        read_published(folder)


def test_two_scores_of_one_run_are_refused(folder):
    table, path = table_of(folder)
    pd.concat([table, table.iloc[[0]].assign(macro_f1=0.123)]).to_csv(path)
    told = r"1 scores stand twice with other values, e.g. macro_f1 of pca-w1/celltype_reweighted/p001.0/s00 on "
    with pytest.raises(ValueError, match=told + r"hematopoiesis in PretrainedPCA\S+: 0.5\d+ and 0.123; keep one"):
        read_published(folder)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is no table of the study: No columns"),
        ("a,b\n1,2\n", "lacks the columns percentage, seed, downsampling_method, dataset; it has: a, b"),
        ("f1,percentage,seed,downsampling_method,dataset\n", "has no score; it has: f1, .* known are: accuracy"),
    ],
)
def test_a_file_that_is_no_table_is_refused(folder, text, told):
    table_of(folder)[1].write_text(text)
    with pytest.raises(ValueError, match=f"PretrainedPCA_zeroshot_classification_eval_results.csv {told}"):
        read_published(folder)


def test_the_grids_show_every_curve_once(results):
    trained = results[(results["task"] == "finetuning") & (results["percentage"] > 0)]
    points = saturation_points(trained, metric="micro_f1", rule="published").assign(low=1.0, high=25.0)
    points.loc[0, "percentage"] = np.nan  # a curve whose best is zero has none
    fig = published_figures.saturation_grid(points, title=published_figures.about(trained))
    texts = [text.get_text() for axes in fig.axes for text in axes.texts]
    assert sorted(texts) == ["10\n1–25"] * 29 + ["–\n1–25"]
    assert [axes.get_title() for axes in fig.axes] == ["PCA", "scVI", "SSL", "Geneformer", "SCimilarity"]
    assert fig.get_suptitle().startswith("4 to 5 seeds of each size, 0.22 to 22 million cells; "), "scVI lacks a seed"


def run_notebook(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "helpers.run", "notebooks/70_published.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=False)


def finding(folder: Path) -> str:
    """The finding of the executed notebook; what it shows without a curve is no figure, without tables nothing."""
    notebook = nbformat.read(folder / "out.ipynb", as_version=4)
    curves, read = (folder / "results" / "scaling.parquet").exists(), (folder / "results").exists()
    return opening.check(notebook, "70_published", table=read, figure=curves)


@pytest.mark.chain
def test_the_notebook_says_where_the_tables_are_if_it_has_none(tmp_path):
    done = run_notebook(tmp_path / "out.ipynb", "-p", "results", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    first = finding(tmp_path)
    assert first.startswith("No tables were read. ")
    assert "clone https://github.com/microsoft/scFM-dataselection (commit f20c3bc) and point the parameter" in first
    assert not (tmp_path / "results").exists()


@pytest.mark.chain
def test_the_notebook_analyses_the_tables(folder, tmp_path):
    for path in folder.glob("*_eval_results.csv"):
        if not path.name.startswith("PretrainedPCA"):
            path.unlink()
    made = tmp_path / "results"
    done = run_notebook(tmp_path / "out.ipynb", "-p", "folder", folder.parents[1], "-p", "results", made)
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(pd.read_parquet(made / "results.parquet"), read_published(folder))
    points, fits = pd.read_parquet(made / "saturation.parquet"), pd.read_parquet(made / "scaling.parquet")
    assert points.groupby("rule").size().to_dict() == {"error": 3 * 28, "published": 28}
    points = points[points["q"] == 0.95]
    at_ten = (points["percentage"] == 10).groupby(points["rule"]).mean()  # scores rise from 1 to 10 % and are flat then
    assert at_ten["published"] == 1
    assert at_ten["error"] > 0.9
    assert points.loc[points["rule"] == "error", ["low", "high"]].notna().all(axis=None)
    assert set(fits["verdict"]) == {"saturated"}
    first = finding(tmp_path)
    assert "Of 28 curves of the study's tables none saturates at 1 % by the published rule (0 of the 21 that" in first
    assert "By fits of the error against cells, none follows a power law and 28 saturate." in first
    sizes = pd.read_parquet(made / "saturation_sizes.parquet")
    assert sizes.groupby(["strategy", "metric", "dataset", "task"])["probability"].sum().between(0.95, 1.0001).all()
    names = ["results.parquet", "saturation.parquet", "saturation_sizes.parquet", "scaling.parquet"]
    assert sorted(path.name for path in made.iterdir()) == names


@pytest.mark.chain
def test_the_notebook_says_that_one_size_is_no_curve(folder, tmp_path):
    for path in folder.glob("*.csv"):
        if not path.name.startswith("SSL_finetune_perturbation"):
            path.unlink()
    (path,) = folder.glob("*.csv")
    table = pd.read_csv(path, index_col=0)
    table[table["percentage"] == 10].to_csv(path)
    done = run_notebook(tmp_path / "out.ipynb", "-p", "folder", folder, "-p", "results", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    first = finding(tmp_path)
    assert "at most one size over 0 % (sizes in %: 10)" in first


@pytest.mark.chain
def test_the_notebook_leaves_the_results_of_a_design_alone(folder, tmp_path):
    (tmp_path / "design.json").write_text("{}")
    for path in folder.glob("*.csv"):
        if path.name != "SSL_finetune_perturbation_eval_results.csv":
            path.unlink()
    done = run_notebook(tmp_path / "out.ipynb", "-p", "folder", folder, "-p", "results", tmp_path)
    assert done.returncode == 1
    assert "holds the results of a design" in done.stderr
