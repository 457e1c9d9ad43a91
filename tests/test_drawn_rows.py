"""Captions tell of the runs that are drawn, and the tables behind figures hold the numbers that are drawn."""

import numpy as np
import pandas as pd
import pytest

from helpers.analysis import laws
from helpers.plots import captions, drawn_rows, effect_figures, scaling_figures
from helpers.plots.gallery import Gallery

MODELS = {"pca": "pca", "scvi": "scvi"}
SIZES = {"random": (1.0, 10.0, 32.0, 100.0), "mine": (1.0, 10.0, 56.0)}
FLOOR, EXPONENT = 0.2, 0.5

# Panels of a few dots have less room than any real figure's.
pytestmark = pytest.mark.filterwarnings("ignore:constrained_layout not applied")


@pytest.fixture
def results() -> pd.DataFrame:
    """Two families, random cells of four sizes and another sampling of three, two seeds, two sets, three scores."""
    rows = []
    for family in MODELS:
        for sampling, size in ((name, size) for name, sizes in SIZES.items() for size in sizes):
            for seed in (0, 1):
                run = {"run_id": f"{family}/{sampling}/{size}/{seed}", "family": family, "width": 1.0, "budget": "b"}
                run |= {"weight_decay": 0.0, "strategy": sampling, "sampling": sampling, "percentage": size}
                run |= {"subset_seed": seed, "n_cells": 50 * size, "status": "ok"}
                loss = FLOOR + (50 * size) ** -EXPONENT + 0.01 * seed
                scores = {("heldout_loss", "heldout_loss"): loss, ("classification", "macro_f1"): 1 - loss}
                scores |= {("finetuning", "macro_f1"): 0.9 - loss}
                for (task, metric), value in scores.items():
                    for name in ("near", "far"):
                        rows.append(run | {"task": task, "metric": metric, "dataset": name, "value": value})
    return pd.DataFrame(rows)


@pytest.fixture
def runs(results) -> pd.DataFrame:
    return laws.losses(results).assign(model=lambda rows: rows["family"].map(MODELS))


@pytest.fixture
def found(runs) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Laws of all curves, by rule: those of PCA on one set are power laws, others saturate or have broken ones."""
    rows, lines = [], []
    for number, (names, own) in enumerate(laws.curves(runs, MODELS)):
        x, least = np.geomspace(own["n_cells"].min(), own["n_cells"].max(), 5), names["model"] == "pca"
        law = (
            {"form": "power law", "verdict": "power law"} if least else {"form": "exponential", "verdict": "saturated"}
        )
        if names["dataset"] == "far":
            law = {"form": "broken power law", "verdict": "not identifiable"}
        known = law["form"] != "exponential"
        law |= {"exponent": EXPONENT if known else np.nan, "low": 0.4 if known else np.nan, "high": 0.6, "floor": FLOOR}
        law |= {"n_sizes": own["n_cells"].nunique(), "n_runs": len(own), "seeds": 2}
        rows.append(names | law | {"smallest": x[0], "largest": x[-1]})
        value = FLOOR + x**-EXPONENT
        lines.append(pd.DataFrame({"curve": number, "x": x, "value": value, "low": value - 0.1, "high": value + 0.1}))
    return pd.DataFrame(rows), pd.concat(lines)


def heights(figure) -> np.ndarray:
    """Values of all dots and lines of a figure's panels, sorted; not of lines that only lead or limit."""
    lines = [line for axes in figure.axes for line in axes.lines if len(line.get_ydata()) > 1]
    return np.sort(np.concatenate([np.asarray(line.get_ydata(), float) for line in lines]))


def test_curves_have_their_runs_and_their_numbers(found, runs):
    table, curves = found
    shown = table[(table["metric"] == "heldout_loss") & (table["sampling"] == "random")]
    figure = scaling_figures.fitted_curves(shown, curves, runs)
    source = drawn_rows.fitted_rows(shown, curves, runs)
    np.testing.assert_allclose(np.sort(source["y"]), heights(figure))
    told = drawn_rows.runs_of_curves(shown, runs, MODELS)
    assert len(told) == (source["drawn"] == "run").sum() == 2 * 2 * 4 * 2, "families, sets, sizes, seeds"
    caption = captions.caption(captions.TEXTS["scaling_laws"], told, {})
    assert "n = 16 trained models (PCA, scVI), 2 seeds of each of 4 sizes (50 to 5,000 cells)" in caption
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts[0] == "not identifiable\nbroken power law 0.50\n(0.40 to 0.60)"
    assert texts[1] == "power law\n0.50\n(0.40 to 0.60)"
    assert texts[3] == "saturated\nexponential"


def test_an_exponent_without_an_interval_is_told_without(found, runs):
    table, curves = found
    one = table[(table["metric"] == "heldout_loss") & (table["model"] == "pca")].head(1)
    figure = scaling_figures.fitted_curves(one.assign(low=np.nan, high=np.nan), curves, runs)
    told = figure.axes[0].texts[0].get_text()
    assert "nan" not in told
    assert told.endswith("0.50\n(no interval)")


def test_means_above_the_floor_have_the_colour_of_their_set(found, runs):
    table, curves = found
    of_loss = table[table["metric"] == "heldout_loss"].assign(verdict="power law")
    figure = scaling_figures.excess_loss(of_loss, curves, runs)
    source = drawn_rows.excess_rows(of_loss, curves, runs)
    np.testing.assert_allclose(np.sort(source["y"]), heights(figure))
    assert set(source["floor"]) == {FLOOR}
    assert set(source["exponent"].dropna()) == {EXPONENT}
    colours = {}
    for axes in figure.axes[:2]:
        for line in axes.lines:
            if ":" in line.get_label():
                name = line.get_label().split(":")[0].split(", ")[-1]
                colours.setdefault(name, set()).add(line.get_color())
    assert {name: len(of_set) for name, of_set in colours.items()} == {"near": 1, "far": 1}
    assert colours["near"] != colours["far"]
    straight = table[(table["metric"] == "heldout_loss") & (table["verdict"] == "power law")]
    told = captions.caption(captions.TEXTS["excess_loss"], drawn_rows.runs_of_curves(straight, runs, MODELS), {})
    assert "n = 14 trained models (PCA)" in told


def test_the_forest_has_unbroken_power_laws_alone(found):
    table, _ = found
    led = drawn_rows.led_by_power_law(table)
    assert set(led["form"]) == {"power law"}
    figure = scaling_figures.exponent_forest(table)
    assert len(figure.axes[0].get_yticks()) == len(led) < np.isfinite(table["low"]).sum()
    assert "No curve is led" in scaling_figures.exponent_forest(table[table["form"] != "power law"]).get_suptitle()
    assert "(0.01\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}4)" in figure.get_suptitle()


def test_figures_of_laws_have_tables_of_their_own(found, runs):
    table, curves = found
    shown, gallery = table[table["metric"] == "heldout_loss"], Gallery({})
    sources = {
        "verdicts": table[drawn_rows.VERDICT],
        "exponents": drawn_rows.led_by_power_law(table)[drawn_rows.EXPONENT],
        "scaling_laws": drawn_rows.fitted_rows(shown, curves, runs),
        "excess_loss": drawn_rows.excess_rows(shown, curves, runs),
    }
    for name, source in sources.items():
        gallery.add(name, scaling_figures.verdict_map(table), source, runs=runs)
    texts = {name: source.to_csv(index=False) for name, source in gallery.sources.items()}
    assert len(set(texts.values())) == 4
    assert set(sources["verdicts"]) >= {"task", "dataset", "model", "sampling", "verdict"}


def test_effects_of_samplings_are_told_of_the_sizes_that_both_have(results):
    judged = results[["task", "dataset", "metric", "family", "width"]].drop_duplicates().assign(term="mine")
    judged["testable"] = judged["task"] == "classification"
    told = drawn_rows.compared_runs(judged, results, reference="random")
    assert set(told["percentage"]) == {1, 10}
    assert set(told["task"]) == {"classification"}
    caption = captions.caption(captions.TEXTS["strategy_effects"], told, {})
    assert "n = 16 trained models (PCA, scVI), 2 seeds of each of 2 sizes (50 to 500 cells)" in caption


def test_a_monotone_fit_has_its_dots_and_its_line(results):
    wide = results.query("dataset == 'near'").pivot_table(
        index=["run_id", "family", "width", "strategy", "sampling", "percentage", "n_cells", "subset_seed"],
        columns=["task"],
        values="value",
    )
    pairs = wide.rename(columns={"classification": "score", "heldout_loss": "loss"}).reset_index()
    end = {"kind": "flat end", "term": "random", "dataset": "near", "task": "classification", "width": 1.0}
    ends = pd.DataFrame([end | {"family": "pca", "estimate": 0.5, "verdict": "both move", "n": 8, "n_seeds": 2}])
    options = {"sampling": "random", "dataset": "near"}
    rows = effect_figures.monotone_rows(pairs, ends, **options)
    figure = effect_figures.monotone_fits(pairs, ends, metric_name="F1", units=dict.fromkeys(MODELS, "nats"), **options)
    line = next(line for line in figure.axes[0].lines if len(line.get_xdata()) > 1)
    fit = rows[rows["drawn"] == "fit"]
    np.testing.assert_allclose(fit[["loss", "score"]], line.get_xydata())
    assert set(fit["flat_share"]) == {0.5}
    dots = np.concatenate([one.get_offsets() for axes in figure.axes[:2] for one in axes.collections])
    dots = dots[np.isfinite(dots.astype(float)).all(axis=1)]
    of_runs = rows.loc[rows["drawn"] == "run", ["loss", "score"]].to_numpy()
    np.testing.assert_allclose(np.sort(of_runs, axis=0), np.sort(dots, axis=0))


def test_only_small_corpora_are_said_to_be_small(results):
    text = captions.TEXTS["size_curves"]
    assert captions.caption(text, results, {}).endswith("small says nothing about one of millions of cells.")
    large = captions.caption(text, results.assign(n_cells=results["n_cells"] * 1000), {})
    assert large.endswith("Beyond the sizes shown nothing is known.")
