"""All figures of a design with samplings of its own names: their looks, their order, and whether print can be read."""

import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import PROJECT
from matplotlib.axis import Axis
from matplotlib.collections import PathCollection
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from matplotlib.text import Text

from helpers.analysis.judged_sets import loss_units, n_test
from helpers.analysis.results import with_sampling
from helpers.design import load_design
from helpers.plots import looks, study_figures, style
from helpers.provenance import read_notebook

TABLES = PROJECT / "study" / "tables"
RENAMED = {"celltype_reweighted": "by_type", "geometric_sketching": "sketched"}  # as the design names its samplings
MINE = {"scimilarity": "mine"}  # and one of its families
LEFT_OUT = ["ssl", "geneformer"]  # so that all figures are drawn in a minute
TWICE = ["micro_f1", "mean_profile_r", "calibrated_delta_r", "avg_bio"]  # metrics with figures like those of others
NOT_DRAWN = r"design: str|folder\.fresh|gallery\.overview|finding\("  # in cells that draw no figure
SLACK = 1.0  # pixels, of 120 an inch


def _design(folder) -> SimpleNamespace:
    """The study with other names, a second sketch, spike-ins, depths and a second width, which its tables lack."""
    design = yaml.safe_load((PROJECT / "params" / "study.yaml").read_text())
    design["strategies"] = {"sketched": {"strategy": "geometric_sketching"}, "random": {}}
    design["strategies"] |= {"by_type": {"strategy": "celltype_reweighted"}}
    design["strategies"] |= {"sketched_anew": {"strategy": "geometric_sketching"}, "spikein_10": {}, "spikein_50": {}}
    for umis in (100, 400):
        design["strategies"][f"depth_{umis}"] = {"strategy": "depth", "options": {"umis": umis}}
    design["families"] = {MINE.get(name, name): settings for name, settings in design["families"].items()}
    design["families"] = {name: design["families"][name] for name in design["families"] if name not in LEFT_OUT}
    del design["evaluations"]["finetuning"]["full"]
    design["families"]["mine"]["family"] = "scimilarity"
    design["evaluations"]["classification"]["n_neighbors"] = 7
    design["seeds_by_size"] = {size: design["seeds_by_size"][size] for size in design["percentages"]}
    path = folder / "named.yaml"
    path.write_text(yaml.safe_dump(design, sort_keys=False))
    return load_design(path)


def _renamed(table: pd.DataFrame) -> pd.DataFrame:
    names = RENAMED | MINE
    for column in table.columns.intersection(["family", "model", "sampling", "term"]):
        table[column] = table[column].replace(names)
    if "run_id" in table:
        for old, new in RENAMED.items():
            table["run_id"] = table["run_id"].str.replace(f"/{old}/", f"/{new}/")
    if "sampling" in table or "term" in table:
        column = "sampling" if "sampling" in table else "term"
        again = table[table[column] == "sketched"].assign(**{column: "sketched_anew"})
        if "curve" not in table and table.index.name is None and "exponent" not in table:
            table = pd.concat([table, again], ignore_index=True)
    return table


def _more_runs(results: pd.DataFrame) -> pd.DataFrame:
    """Results with the samplings and the width that the study has not."""
    random = results[results["run_id"].str.contains("/random/", na=False)]
    parts = [results]
    for place, (name, strategy) in enumerate(
        [("spikein_10",) * 2, ("spikein_50",) * 2, ("depth_100", "depth"), ("depth_400", "depth")]
    ):
        part = random[random["percentage"].isin([1, 10])]
        ids = part["run_id"].str.replace("/random/", f"/{name}/")
        part = part.assign(run_id=ids, strategy=strategy, value=part["value"] * (0.9 + 0.02 * place))
        umis = int(name.split("_")[1]) if strategy == "depth" else part["umis_per_cell"]
        parts.append(part.assign(umis_per_cell=umis))
    sketches = results[results["strategy"] == "geometric_sketching"]
    parts.append(sketches.assign(run_id=sketches["run_id"].str.replace("/sketched/", "/sketched_anew/")))
    wide = random[random["family"] == "scvi"]
    ids = wide["run_id"].str.replace("-w1/", "-w2/")
    parts.append(wide.assign(run_id=ids, width=2.0, n_parameters=wide["n_parameters"] * 2, value=wide["value"] * 0.95))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Figures of the design by name, as 90_figures draws them, and the design."""
    folder = tmp_path_factory.mktemp("tables")
    (folder / "scaling").mkdir()
    for path in TABLES.glob("*.parquet"):
        table = _renamed(pd.read_parquet(path))
        if path.stem == "results":
            table = _more_runs(table)
        for column in table.columns.intersection(["family", "model"]):
            table = table[~table[column].isin(LEFT_OUT)]
        if "metric" in table and path.stem != "scaling_laws":
            table = table[~table["metric"].isin(TWICE)]
        whose, name = (folder / "scaling", path.name[8:]) if path.stem.startswith("scaling_") else (folder, path.name)
        table.to_parquet(whose / name)
    study = _design(folder)
    artifacts = SimpleNamespace(read=lambda name: folder / name, has=lambda name: (folder / name).exists())
    space = {"study": study, "artifacts": artifacts, "display": lambda shown: None}
    for cell in read_notebook(PROJECT / "notebooks" / "90_figures.py").cells:
        if cell.cell_type == "code" and not re.search(
            r"parameters|folder\.fresh|gallery\.overview|finding\(|SHOWN", cell.source
        ):
            source = re.sub(r"^(study, artifacts|folder) =.*$", "", cell.source, flags=re.MULTILINE)
            if "design: str" not in source:
                exec(compile(source, "90_figures", "exec"), space)
    yield space["gallery"].figures, study
    looks.know()


def names_of(drawn) -> list[str]:
    return sorted(drawn[0])


def texts_of(figure) -> list[Text]:
    """All texts of a figure that can be seen: ticks beyond the ends of an axis are there, and are not drawn."""
    unseen = {text for axes in figure.axes if not axes.get_visible() for text in axes.findobj(Text)}
    for axis in figure.findobj(Axis):
        low, high = sorted(axis.get_view_interval())
        slack = 1e-6 * (high - low)
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not low - slack <= tick.get_loc() <= high + slack:
                unseen |= {tick.label1, tick.label2}
    return [text for text in figure.findobj(Text) if _is_drawn(text) and text not in unseen]


def _is_drawn(text: Text) -> bool:
    return text.get_visible() and bool(text.get_text().strip())


def boxes_of(texts) -> np.ndarray:
    return np.array([text.get_window_extent().extents for text in texts])


def overlapping(texts, boxes) -> list[tuple[str, str]]:
    """Pairs of texts that lie over each other by more than `SLACK`."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    over = np.triu((high - low > SLACK).all(axis=-1), 1)
    return [(texts[one].get_text(), texts[other].get_text()) for one, other in np.argwhere(over)]


def check_all(figures, check) -> None:
    wrong = {name: found for name, figure in figures.items() if (found := check(figure))}
    assert not wrong, "\n".join(f"{name}: {found}" for name, found in wrong.items())


def test_every_kind_of_figure_that_the_design_can_have_is_drawn(drawn):
    kinds = {"design", "diversity", "subset_sizes", "few_shot", "response_axes", "heldout_loss", "verdicts"}
    kinds |= {
        "scaling_laws",
        "excess_loss",
        "exponents",
        "compute_frontier",
        "speed",
        "widths",
        "spike_ins",
        "axis_depth",
    }
    kinds |= {"loss_against_metric", "monotone_fits", "strategy_effects", "responses_specific_r"}
    kinds |= {
        "size_curves_classification_macro_f1",
        "saturation_classification_macro_f1",
        "saturation_error_heldout_loss",
    }
    assert kinds <= set(drawn[0])


def test_figures_are_one_column_wide_or_as_wide_as_a_page(drawn):
    def check(figure):
        width, height = 25.4 * figure.get_size_inches()
        fits = min(abs(width - 89), abs(width - 183)) < 0.01 and height <= 247
        return None if fits else f"{width:.1f} × {height:.1f}"

    check_all(drawn[0], check)
    one_column = [name for name, figure in drawn[0].items() if figure.get_figwidth() == style.COLUMN]
    assert {"subset_sizes", "speed", "compute_frontier"} <= set(one_column)


def test_text_is_readable_in_print_and_lies_within_the_figure(drawn):
    def check(figure):
        texts = texts_of(figure)
        small = [text.get_text() for text in texts if text.get_fontsize() < style.SMALLEST]
        boxes, end = boxes_of(texts), figure.bbox.extents[2:]
        beyond = ((boxes[:, :2] < -SLACK) | (boxes[:, 2:] > end + SLACK)).any(axis=1)
        return small + [text.get_text() for text, out in zip(texts, beyond, strict=True) if out]

    check_all(drawn[0], check)


def test_no_text_lies_over_another(drawn):
    def check(figure):
        texts = texts_of(figure)
        return overlapping(texts, boxes_of(texts))

    check_all(drawn[0], check)


@pytest.mark.parametrize("n_families", [1, 2, 5])
def test_names_of_rows_have_room_whatever_the_number_of_families(n_families):
    results = with_sampling(pd.read_parquet(TABLES / "results.parquet"))
    families = [name for name in looks.FAMILY_COLOURS if name in set(results["family"])][:n_families]
    rows = results[results["family"].isin(families)]
    drawn = study_figures.heldout_loss(rows, units=loss_units(results), n_test=n_test(results)["heldout_loss"])
    drawn.draw_without_rendering()
    texts = texts_of(drawn)
    assert overlapping(texts, boxes_of(texts)) == []


def test_the_checks_of_text_can_fail(drawn):
    figure = drawn[0]["speed"]
    long = figure.text(0.9, 0.5, "runs out of the figure", size=5)
    texts = texts_of(figure)
    boxes = boxes_of([long])
    assert boxes[0, 2] > figure.bbox.extents[2] + SLACK
    title = figure._suptitle
    long.set(position=title.get_position(), text=title.get_text(), ha="center", va="top")
    assert (title.get_text(), long.get_text()) in overlapping(texts, boxes_of(texts))
    long.remove()


def test_words_on_fitted_curves_are_clear_of_dots_and_lines(drawn):
    def check(figure):
        found = []
        for axes in figure.axes:
            for text in axes.texts:
                box = text.get_window_extent()
                for line in axes.lines:
                    if box.count_contains(line.get_transform().transform(line.get_xydata())):
                        found.append(text.get_text())
        return found

    check_all({"scaling_laws": drawn[0]["scaling_laws"]}, check)


def _entries(figure):
    """Handle and text of everything in any legend of a figure."""
    for legend in figure.findobj(Legend):
        yield from zip(legend.legend_handles, [text.get_text() for text in legend.get_texts()], strict=True)


def _has_marker(handle, marker: str) -> bool:
    if isinstance(handle, Line2D):
        return handle.get_marker() == marker
    if isinstance(handle, PathCollection):
        wanted = MarkerStyle(marker)
        path = wanted.get_path().transformed(wanted.get_transform())
        return np.array_equal(handle.get_paths()[0].vertices, path.vertices)
    return False


def test_a_sampling_has_its_marker_and_a_place_in_every_legend(drawn):
    figures, study = drawn
    by_name = {style.sampling_name(name): name for name in study.strategies}
    seen = set()

    def check(figure):
        entries = [(handle, by_name[text]) for handle, text in _entries(figure) if text in by_name]
        wrong = [name for handle, name in entries if not _has_marker(handle, looks.sampling_marker(name)[0])]
        seen.update(name for _, name in entries)
        colours = {looks.sampling_colour(name) for _, name in entries} | {style.INK, style.GREY}
        wrong += [name for handle, name in entries if isinstance(handle, Line2D) and handle.get_color() not in colours]
        for legend in figure.findobj(Legend):
            order = [by_name[text.get_text()] for text in legend.get_texts() if text.get_text() in by_name]
            wrong += [order] if order != looks.ordered(order, "samplings") else []
        return wrong

    check_all(figures, check)
    assert seen == set(study.strategies)


def test_marks_of_a_figure_are_of_its_samplings(drawn):
    figures, study = drawn
    allowed = {looks.sampling_marker(name)[0] for name in study.strategies} | {"o", "x", "|", "None", "", "none", None}
    check_all(figures, lambda figure: [mark for mark in _marks(figure) if mark not in allowed])


def _marks(figure) -> set:
    return {line.get_marker() for axes in figure.axes for line in axes.lines}


def test_families_stand_in_the_order_of_the_design(drawn):
    figures, study = drawn
    by_name = {style.family_name(name): name for name in study.families}

    def check(figure):
        panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
        wrong = []
        for told in ("get_title", "get_ylabel"):
            names = [by_name[first] for axes in panels if (first := getattr(axes, told)().split("\n")[0]) in by_name]
            names = list(dict.fromkeys(names))
            wrong += [names] if names != looks.ordered(names, "families") else []
        for axes in panels:
            names = [by_name[label.get_text()] for label in axes.get_xticklabels() if label.get_text() in by_name]
            wrong += [names] if names != looks.ordered(names, "families") else []
        return wrong

    check_all(figures, check)


def test_a_family_has_its_colour_in_every_row_of_its_own(drawn):
    figures, study = drawn
    by_name = {style.family_name(name): name for name in study.families}
    others = {looks.family_colour(name) for name in study.families}

    def check(figure):
        wrong = []
        for axes in figure.axes:
            names = [by_name[first] for first in axes.get_ylabel().split("\n")[:1] if first in by_name]
            for name in names:
                foreign = {line.get_color() for line in axes.lines} & (others - {looks.family_colour(name)})
                wrong += [(name, colour) for colour in foreign]
        return wrong

    check_all(figures, check)


def test_figures_tell_the_neighbours_of_the_design(drawn):
    figure = drawn[0]["size_curves_classification_macro_f1"]
    assert "(7-NN)" in figure.axes[0].get_ylabel()
    check_all(drawn[0], lambda shown: [text.get_text() for text in texts_of(shown) if "5-NN" in text.get_text()])


def test_axes_of_cells_are_logarithmic_with_percentages_beside(drawn):
    def check(figure):
        of_cells = [axes for axes in figure.axes if re.match(r"cells( in the (corpus|subset))?$", axes.get_xlabel())]
        told = [
            text.get_text() for axes in figure.axes for text in axes.findobj(Text) if text.get_text().endswith(" %")
        ]
        flat = [axes.get_xlabel() for axes in of_cells if axes.get_xscale() != "log"]
        return flat + (["no percentages"] if of_cells and not told else [])

    check_all(drawn[0], check)


def test_seeds_of_trained_encoders_alone_are_told(drawn):
    title = drawn[0]["response_axes"].legends[0].get_title().get_text()
    assert "1 seed of each trained encoder" in " ".join(title.split())
