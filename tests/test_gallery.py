"""Captions, sizes in print and text of the figures; what the figures of costs and variations draw."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from conftest import PROJECT
from matplotlib.colors import to_hex, to_rgb

from helpers.design import load_design
from helpers.plots import cost_figures, design_figure, looks, study_figures, style, variation_figures
from helpers.plots.captions import TEXTS, kind_of
from helpers.plots.gallery import Gallery

DRAWN = [PROJECT / "figures", PROJECT / "study" / "figures"]
N = re.compile(r"n = [\d,]+")
SEEDS = re.compile(r"\b\d+( to \d+)? seeds? of (each|one)")


def told_sizes(svg: str) -> list[float]:
    """Sizes of text in an svg, in points."""
    return [float(size) for size in re.findall(r"font(?:-size)?: (?:bold )?([\d.]+)px", svg)]


@pytest.fixture
def results() -> pd.DataFrame:
    """Three sizes with two seeds of two families, judged on two sets by a loss and a score, and untrained models."""
    rows = []
    for family, cost in (("pca", 1e6), ("scvi", 1e9)):
        for size, strategy in ((0.0, "untrained"), (1.0, "random"), (10.0, "random"), (100.0, "random")):
            for seed in (0, 1):
                run = {"run_id": f"{family}-w1/{strategy}/p{size:05.1f}/s0{seed}", "family": family, "width": 1.0}
                run |= {"strategy": strategy, "sampling": strategy, "percentage": size, "subset_seed": seed}
                run |= {"budget": "epochs=1", "n_cells": 50 * size, "n_unique": 50 * size, "status": "ok"}
                run |= {"flops": cost * max(size, 1), "weight_decay": np.nan, "n_parameters": 1000.0}
                for task, metric in (("classification", "macro_f1"), ("heldout_loss", "heldout_loss")):
                    for name, n in (("near", 30), ("far", 4000)):
                        value = 0.5 + 0.1 * np.log10(max(size, 1)) * (1 if metric == "macro_f1" else -1)
                        judged = {
                            "task": task,
                            "metric": metric,
                            "dataset": name,
                            "seen": f"{name} unseen",
                            "n_test": n,
                        }
                        rows.append(run | judged | {"value": value, "null": 0.1, "ceiling": 0.9})
    return pd.DataFrame(rows)


@pytest.fixture
def gallery() -> Gallery:
    counts = pd.Series({"near": 30, "far": 4000})
    return Gallery({"classification": counts, "heldout_loss": counts})


def test_a_figure_is_written_with_its_numbers_and_a_caption_made_from_them(results, gallery, tmp_path):
    options = {"task": "classification", "metric": "macro_f1", "title": "F1"}
    figure = study_figures.size_curves(results, n_test=gallery.n_test["classification"], **options)
    rows = results[results["task"] == "classification"]
    assert gallery.add("size_curves_f1", figure, rows, runs=rows, about="F1") is figure
    gallery.write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "size_curves_f1.svg",
        "size_curves_f1.png",
        "source_data",
        "captions.json",
    }
    assert len(pd.read_csv(tmp_path / "source_data" / "size_curves_f1.csv")) == len(rows)
    told = json.loads((tmp_path / "captions.json").read_text())["size_curves_f1"]
    assert told["title"] == "Score against corpus size: F1"
    assert told["notebook"] == "60_saturation"
    assert told["data"] == "source_data/size_curves_f1.csv"
    assert "12 trained models (PCA, scVI), 2 seeds of each of 3 sizes (50 to 5,000 cells)" in told["caption"]
    assert "near (near unseen, n = 30), far (far unseen, n = 4,000)" in told["caption"]
    assert list(gallery.overview()["rows"]) == [len(rows)]


def test_a_figure_without_a_text_or_with_a_name_twice_is_refused(results, gallery):
    rows = results[results["task"] == "classification"]
    figure = study_figures.size_curves(
        results, task="classification", metric="macro_f1", title="", n_test={"near": 1, "far": 2}
    )
    with pytest.raises(ValueError, match="'mine' is of no known kind: design, size_curves"):
        gallery.add("mine", figure, rows, runs=rows)
    gallery.add("size_curves_f1", figure, rows, runs=rows)
    with pytest.raises(ValueError, match="'size_curves_f1' is there already"):
        gallery.add("size_curves_f1", figure, rows, runs=rows)
    assert kind_of("saturation_error_heldout_loss") == "saturation_error"


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_texts_name_a_notebook_that_is_there(text):
    assert (PROJECT / "notebooks" / f"{text.notebook}.py").exists()


@pytest.mark.parametrize("path", [path for folder in DRAWN for path in sorted(folder.glob("*.svg"))], ids=str)
def test_drawn_figures_have_captions_and_are_readable_in_print(path):
    told = json.loads((path.parent / "captions.json").read_text())[path.stem]
    assert N.search(told["caption"]), "tells its n"
    assert SEEDS.search(told["caption"]), "tells its seeds"
    assert re.search(r"(Test cells|Conditions), .*n = [\d,]+\)|No test set is judged", told["caption"]), (
        "tells its sets"
    )
    assert told["title"]
    assert (path.parent / told["data"]).stat().st_size > 50
    svg = path.read_text()
    assert "<text" in svg, "text stays text"
    width, height = (float(size) / 72 for size in re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg).groups())
    assert min(abs(width - style.COLUMN), abs(width - style.FULL)) < 0.01, "one column, or the full width"
    assert height <= 9.7, "a page has no room for it"
    assert min(told_sizes(svg)) >= style.SMALLEST


def test_colours_of_families_samplings_and_verdicts_are_all_different():
    palettes = (looks.FAMILY_COLOURS, looks.SAMPLING_COLOURS, style.VERDICT_COLOURS, style.VERDICT_LINES)
    colours = [colour.lower() for palette in palettes for colour in palette.values()]
    colours += [colour.lower() for colour in (*looks.COLOURS, *looks.OTHER_COLOURS)]
    assert len(set(colours)) == len(colours)
    markers = [marker for marker, _ in (*looks.STRATEGY_MARKERS.values(), *looks.SPARE_MARKERS)]
    assert len(set(markers)) == len(markers)


def luminance(colour: str) -> float:
    """Relative luminance as the guidelines of accessibility define it."""
    rgb = np.array(to_rgb(colour))
    return float(np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])


def test_lines_are_seen_on_white_and_fields_of_verdicts_differ_in_greyscale():
    for colour in (*style.VERDICT_LINES.values(), *looks.COLOURS):
        assert 1.05 / (luminance(colour) + 0.05) >= 3, colour
    fields = sorted(luminance(colour) + 0.05 for colour in style.VERDICT_COLOURS.values())
    assert (np.divide(fields[1:], fields[:-1]) > 1.3).all()
    assert min(fields) / 0.05 >= 4.5, "black text is read on each"


def test_the_frontier_of_compute_falls_and_costs_more_along_it(results):
    runs = results.query("metric == 'heldout_loss' and dataset == 'near' and percentage > 0")
    worse = runs[runs["percentage"] == 100].assign(percentage=50.0, flops=5e12, value=0.9)
    best = cost_figures.envelope(pd.concat([runs[runs["family"] == "scvi"], worse]))
    assert list(best["flops"]) == [1e9, 1e10, 1e11]
    assert (np.diff(best["value"]) < 0).all()
    same = {"pca": "pca", "scvi": "scvi"}
    flat = runs.assign(flops=runs["flops"].where(runs["family"] == "pca", 1e9))
    assert set(cost_figures.varied(flat, same)["model"]) == {"pca"}
    figure = cost_figures.loss_against_compute(
        cost_figures.varied(runs, same),
        pd.DataFrame({"model": []}),
        models=same,
        units={"pca": "x", "scvi": "y"},
        dataset="near",
    )
    steps = next(line for line in figure.axes[1].lines if line.get_label() == "frontier of the means")
    np.testing.assert_allclose(steps.get_ydata(), [0.5, 0.4, 0.3])


def test_speeds_that_are_not_known_have_no_panel(results):
    runs = results.drop_duplicates("run_id").assign(cells_per_second=2000.0)
    assert len(cost_figures.speed(runs).axes) == 1
    untrained = cost_figures.speed(runs.assign(cells_per_second=runs["percentage"]))
    assert sum(len(line.get_xdata()) for line in untrained.axes[0].lines if line.get_marker() == "o") == 12
    assert len(cost_figures.speed(runs.assign(embedded_per_second=np.nan)).axes) == 1
    assert len(cost_figures.speed(runs.assign(embedded_per_second=10.0)).axes) == 2


def test_widths_and_weight_decays_have_a_line_each(results):
    assert variation_figures.widened(results, {"pca": "pca", "scvi": "scvi"}).empty
    wide = [
        results.assign(width=width, n_parameters=1000 * width, weight_decay=decay)
        for width in (1, 2)
        for decay in (0.1, 0.2)
    ]
    rows = variation_figures.widened(pd.concat(wide), {"pca": "pca", "scvi": "scvi"})
    assert set(rows["percentage"]) == {1, 10, 100}
    figure = variation_figures.widths(rows, metrics=variation_figures.METRICS, dataset="near")
    assert len(figure.axes) == 4, "two metrics, two models"
    lines = [line for line in figure.axes[0].lines if line.get_linestyle() != "None"]
    assert len(lines) == 6, "three sizes, two weight decays"
    assert to_hex(lines[-1].get_color()) == looks.FAMILY_COLOURS["pca"].lower()
    assert list(lines[0].get_xdata()) == [1000, 2000]
    decays = variation_figures.widened(pd.concat(wide[:2]), {"pca": "pca", "scvi": "scvi"})
    one_width = variation_figures.widths(decays, metrics=variation_figures.METRICS, dataset="near")
    assert one_width.axes[-1].get_xlabel() == "weight decay"


def test_spike_ins_stand_beside_random_cells_of_the_same_sizes(results):
    assert variation_figures.spiked(results).empty
    spiked = results.query("percentage == 10").assign(strategy="spikein_50", sampling="spikein_50", value=0.2)
    rows = variation_figures.spiked(pd.concat([results, spiked]))
    assert set(rows["percentage"]) == {10}
    figure = variation_figures.spike_ins(rows)
    assert len(figure.axes) == 8, "two sets; two metrics of two families"
    line = next(line for line in figure.axes[0].lines if line.get_linestyle() == "-" and len(line.get_xdata()))
    assert "10 % (500 cells)" in [line.get_label() for line in figure.axes[0].lines]
    np.testing.assert_allclose(line.get_xydata(), [[0, 0.6], [50, 0.2]])


def test_few_labels_have_a_line_for_each_family_and_corpus(results):
    rows = results.query("task == 'classification' and percentage != 10").assign(task="finetuning")
    shots = [
        rows.assign(metric=name, value=rows["value"] + up) for name, up in (("macro_f1_at_10", 0), ("macro_f1", 0.1))
    ]
    figure = study_figures.few_shot(pd.concat(shots), n_test=pd.Series({"near": 30, "far": 4000}))
    panel = figure.axes[0]
    assert [tick.get_text() for tick in figure.axes[-1].get_xticklabels()] == ["10", "all"]
    assert {line.get_label() for line in panel.lines} >= {"untrained", "1 % of the corpus", "100 % of the corpus"}
    line = next(line for line in panel.lines if line.get_label() == "100 % of the corpus")
    np.testing.assert_allclose(line.get_ydata(), [0.7, 0.8])


def test_the_design_is_counted_and_drawn(results):
    counts = design_figure.design_counts(load_design("params/smoke.yaml"), results).set_index("part")
    assert counts.loc["cells to learn from", "number"] == 5000
    assert counts.loc["random", "number"] == 6
    assert counts.loc["random", "detail"] == "3 sizes × 2 seeds, 50 to 5,000 cells"
    assert counts.loc["pca", "number"] == 8
    assert "2 of them untrained" in counts.loc["pca", "detail"]
    assert counts.loc["heldout_loss", "number"] == 32
    drawn = design_figure.design_schematic(counts.reset_index())
    texts = " ".join(text.get_text().replace("\n", " ") for text in drawn.axes[0].texts)
    assert "16 models, 64 evaluations" in texts
    inside = drawn.axes[0].get_window_extent()
    assert all(
        inside.x0 <= text.get_window_extent().x0 and text.get_window_extent().x1 <= inside.x1
        for text in drawn.axes[0].texts
    )


def test_subsets_are_told_by_cells_and_umis():
    table = pd.DataFrame({"percentage": [1.0, 100.0], "n_cells": [50, 5000], "umis_per_cell": [1000.0, 1200.0]})
    table = table.assign(sampling="random", strategy="random", subset_seed=0)
    figure = cost_figures.subset_sizes(table)
    np.testing.assert_allclose(figure.axes[1].lines[1].get_xydata(), [[50, 5e4], [5000, 6e6]])


def test_curves_over_sizes_are_of_one_width(results):
    several = pd.concat([results.assign(width=width) for width in (0.5, 1.0, 2.0)])
    several = several[(several["family"] == "pca") | (several["width"] != 1)]
    baseline = results.iloc[:1].assign(family="hvg", strategy="none", width=np.nan)
    kept = study_figures.at_one_width(pd.concat([several, baseline]))
    assert kept.groupby("family", dropna=False)["width"].unique().map(list).to_dict()["pca"] == [1.0]
    assert set(kept.loc[kept["family"] == "scvi", "width"]) == {2.0}
    assert (kept["family"] == "hvg").sum() == 1


def test_depth_has_a_line_where_thinning_drops_cells(results):
    results = results.assign(n_donors=np.nan, n_datasets=1.0, umis_per_cell=2000.0)
    assert variation_figures.axes_of(results) == []
    sizes, parts = (1.0, 3.2, 10.0, 32.0, 56.0), []
    for place, size in enumerate(sizes):
        for depth, kept in ((100, 0.9), (1000, 1.0)):
            part = results.query("percentage == 10").assign(
                percentage=size, strategy="depth", sampling=f"depth_{depth}"
            )
            cells = round(50 * size * kept) + part["subset_seed"]
            parts.append(part.assign(n_cells=cells, umis_per_cell=depth + part["subset_seed"] + place))
    table = pd.concat([results, *parts])
    assert variation_figures.axes_of(table) == ["depth"]
    figure = variation_figures.axis_curves(table, strategy="depth", metrics=variation_figures.METRICS)
    lines = [line for line in figure.axes[0].lines if line.get_linestyle() == "-" and len(line.get_xdata()) > 1]
    assert len(lines) == len(sizes), "more sizes than there once were shades"
    assert len({to_hex(line.get_color()) for line in lines}) == len(sizes)
    assert "1 % (45 to 51 cells)" in [line.get_label() for line in figure.axes[0].lines]
    np.testing.assert_allclose(lines[0].get_xdata(), [100.5, 1000.5])
    assert to_hex(looks.shades("#0072B2", 1)[0]) == "#0072b2", "one size has the colour itself"


def test_a_design_tells_what_it_knows_of_the_corpus_and_one_of_what_is_one(results):
    few = results.query("percentage <= 10 and subset_seed == 0 and dataset == 'near'").assign(n_conditions=1)
    few = few[few["percentage"].isin([0, 10]) & (few["family"] == "pca")]
    counts = design_figure.design_counts(load_design("params/smoke.yaml"), few)
    drawn = design_figure.design_schematic(counts)
    texts = " | ".join(text.get_text().replace("\n", " ") for text in drawn.axes[0].texts)
    assert "500 cells drawn at most" in texts
    assert "1 corpus 1 size × 1 seed, 500 cells" in texts
    assert "1 of them untrained; 1,000 parameters" in texts
    assert "1 set, 30 test cells" in texts
    whole = design_figure.design_counts(load_design("params/smoke.yaml"), results)
    assert whole["counts"].iloc[0] == "cells"
