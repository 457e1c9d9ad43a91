"""What the pictures of stages show."""

import numpy as np
import pandas as pd
import pytest

from helpers.plots import stage_figures


def points_of(figure) -> list[np.ndarray]:
    """Drawn cells, (n_cells, 2), of each type of each panel, in the order of the legends."""
    return [np.asarray(dots.get_offsets()) for axes in figure.axes for dots in axes.collections]


def spread(points: np.ndarray) -> float:
    return np.linalg.norm(points - points.mean(axis=0), axis=1).max()


@pytest.fixture
def embedded() -> tuple[np.ndarray, pd.DataFrame]:
    """Sets of 90 and of 12 cells, of three types far apart in five dimensions."""
    labels = np.resize(["a", "b", "c"], 102)
    centres = pd.Series(labels).map({"a": 0, "b": 20, "c": 40}).to_numpy()
    embedding = np.random.default_rng(0).normal(centres[:, None], 1, (102, 5)).astype(np.float32)
    sets = pd.DataFrame({"dataset": np.repeat(["large", "small"], [90, 12]), "label": labels, "row": range(102)})
    return embedding, sets


def test_a_umap_keeps_types_together_and_is_the_same_each_time(embedded):
    once, again = (points_of(stage_figures.embeddings(*embedded, title="run", umap=True)) for _ in range(2))
    assert [len(points) for points in once] == [30, 30, 30, 4, 4, 4]
    for points, same in zip(once, again, strict=True):
        np.testing.assert_array_equal(points, same)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        apart = np.linalg.norm(once[one].mean(axis=0) - once[other].mean(axis=0))
        assert apart > max(spread(once[one]), spread(once[other]))


def test_of_large_sets_some_cells_are_drawn_and_the_title_says_so(embedded, monkeypatch):
    monkeypatch.setattr(stage_figures, "N_SHOWN_CELLS", 40)
    figure = stage_figures.embeddings(*embedded, title="run", umap=False)
    assert [axes.get_title() for axes in figure.axes] == ["large (n = 40 of 90)", "small (n = 12)"]
    assert sum(len(points) for points in points_of(figure)) == 52
