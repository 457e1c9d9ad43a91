"""What the figures of the study show beside the curves."""

import matplotlib.colors as colors
import pandas as pd
import pytest

from helpers.plots import effect_figures, evaluation_figures, study_figures
from helpers.plots.layout import SHARED
from helpers.plots.style import GREY


def grey_levels(axes) -> dict[str, float]:
    """Height of each grey horizontal line that the legend names."""
    lines = [line for line in axes.lines if colors.same_color(line.get_color(), GREY) and len(line.get_ydata()) == 2]
    return {line.get_label(): line.get_ydata()[0] for line in lines}


def legend(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.fixture
def results() -> pd.DataFrame:
    """Two sizes and an untrained model of one family on two sets whose null and ceiling differ, and a baseline."""
    runs = [(0.0, "untrained", 0, "pca"), (10.0, "random", 50, "pca"), (100.0, "random", 500, "pca")]
    runs.append((float("nan"), "none", float("nan"), "own_pca"))
    limits = {"one": (0.1, 0.9, 1), "two": (0.2, 0.8, 3)}
    rows = [
        {
            "percentage": size,
            "strategy": strategy,
            "sampling": strategy,
            "n_cells": n,
            "family": family,
            "dataset": name,
        }
        | {"subset_seed": 0, "seen": "study unseen", "value": 0.5, "null": null, "ceiling": ceiling, "n_conditions": k}
        for size, strategy, n, family in runs
        for name, (null, ceiling, k) in limits.items()
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("integration", ["shuffled cells (floor)", "types as embedding (ceiling)"]),
        ("classification", ["majority class (floor)", "logistic regression (supervised)"]),
    ],
)
def test_size_curves_show_null_and_ceiling_of_each_set(results, task, names):
    scores = results.assign(task=task, metric="score")
    n_test = pd.Series({"one": 10, "two": 20})
    figure = study_figures.size_curves(scores, task=task, metric="score", title="score", n_test=n_test)
    for axes, (null, ceiling) in zip(figure.axes, [(0.1, 0.9), (0.2, 0.8)], strict=True):
        levels = grey_levels(axes)
        assert [levels[name] for name in names] == [null, ceiling]
        assert levels["own PCA"] == 0.5
    assert set(names) < set(legend(figure))


def test_responses_name_their_null_and_ceiling_and_the_number_of_conditions(results):
    metric = study_figures.RESPONSES[0]
    figure = study_figures.responses(results.assign(metric=metric, null=0.0, ceiling=1.0), metric=metric)
    assert {"strongest null (0)", "ceiling (1)"} < set(legend(figure))
    assert all(set(grey_levels(axes).values()) == {0, 1} for axes in figure.axes)
    assert [axes.get_title() for axes in figure.axes[:2]] == ["one\n1 condition", "two\n3 conditions"]


def test_figures_tell_seeds_range_and_what_the_range_cannot_tell(results):
    scores = results.assign(task="integration", metric="score")
    n_test = pd.Series({"one": 10, "two": 20})
    curves = study_figures.size_curves(scores, task="integration", metric="score", title="score", n_test=n_test)
    title = curves.legends[0].get_title().get_text()
    known = "2 sizes, 50 to 500 cells: of more nothing is known"
    assert title == f"1 seed of each size (dots), mean (line); {known}\n{SHARED}"
    pairs = results.query("strategy == 'random'").assign(score=0.5, loss=[0.1, 0.2, 0.3, 0.4])
    options = {"dataset": "one", "metric_name": "F1", "units": {"pca": "nats"}}
    told = " ".join(study_figures.loss_against_metric(pairs, **options).legends[0].get_title().get_text().split())
    assert told.startswith(f"n = 4 runs a panel (dots), 1 seed of each size; {known}")
    assert told.endswith(f"known, nor of lower losses {SHARED}")


def test_stage_figures_show_limits_where_they_are_known(results):
    scores = results.rename(columns={"percentage": "run"}).query("family == 'pca'").assign(metric="avg_bio")
    bare = evaluation_figures.scores_by_size(scores.drop(columns=["null", "ceiling"]), metrics=["avg_bio"], unit="x")
    assert legend(bare) == ["one", "two"]
    figure = evaluation_figures.scores_by_size(scores, metrics=["avg_bio"], unit="x")
    assert legend(figure) == ["one", "two", "null", "ceiling"]
    heights = [line.get_ydata()[0] for line in figure.axes[0].lines if list(line.get_xdata()) == [0, 1]]
    assert sorted(heights) == [0.1, 0.2, 0.8, 0.9]


def test_a_monotone_fit_tells_its_verdict_and_nothing_is_written_over_another(results):
    pairs = results.query("strategy == 'random'").assign(score=0.5, loss=[0.1, 0.2, 0.3, 0.4], width=1.0)
    end = {"kind": "flat end", "term": "random", "dataset": "one", "task": "classification", "family": "pca"}
    ends = pd.DataFrame([end | {"width": 1.0, "estimate": 0.5, "verdict": "both move", "n": 4, "n_seeds": 1}])
    figure = effect_figures.monotone_fits(
        pairs, ends, sampling="random", dataset="one", metric_name="F1", units={"pca": "nats"}
    )
    panel = figure.axes[0]
    assert panel.get_title() == "PCA\nboth move (n = 4, 1 seed)"
    assert len(panel.patches) == 1, "the flat end is shaded"
    over, title = figure._suptitle.get_window_extent(), panel.title.get_window_extent()
    assert over.y0 >= title.y1
    assert figure.bbox.y1 >= over.y1
