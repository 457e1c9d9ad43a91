"""What becomes of the outputs of a notebook before it is written."""

import base64
import io

import matplotlib.pyplot as plt
import nbformat
import numpy as np
from PIL import Image

from helpers.executed import lighten


def encoded(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def lightened(picture: str) -> str:
    output = nbformat.v4.new_output("display_data", {"image/png": picture, "text/plain": "<Figure>"})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=[output])])
    lighten(notebook)
    nbformat.validate(notebook)
    assert notebook.cells[0].outputs[0]["data"]["text/plain"] == "<Figure>"
    return notebook.cells[0].outputs[0]["data"]["image/png"]


def pixels(picture: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")).astype(int)


def test_a_figure_becomes_lighter_and_looks_the_same():
    fig, axes = plt.subplots()
    rng = np.random.default_rng(0)
    axes.scatter(*rng.normal(size=(2, 500)), c=rng.uniform(size=500), alpha=0.4)
    file = io.BytesIO()
    fig.savefig(file)
    plt.close(fig)
    before = base64.b64encode(file.getvalue()).decode()
    after = lightened(before)
    assert len(after) < 0.5 * len(before)
    assert pixels(after).shape == pixels(before).shape
    assert np.abs(pixels(after) - pixels(before)).mean() < 1
    assert (pixels(after)[0, 0] == 255).all()


def test_what_is_transparent_becomes_white():
    rng = np.random.default_rng(0)
    picture = rng.integers(256, size=(30, 40, 4), dtype=np.uint8)
    picture[..., 3], picture[:10, :, 3] = 255, 0
    after = pixels(lightened(encoded(Image.fromarray(picture))))
    assert (after[:10] == 255).all()
    assert not (after[10:] == 255).all()


def test_a_picture_that_cannot_become_lighter_stays():
    picture = encoded(Image.new("P", (1, 1), 0))
    assert lightened(picture) == picture
