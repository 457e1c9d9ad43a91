"""What is done to an executed notebook before it is written, for those who read it."""

import base64
import io

from helpers.reading import FINDING, FINDING_PLACE

COLOURS = 128  # of a picture's palette


def put_finding_on_top(notebook) -> None:
    """Copy the finding that a cell shows to its place under the question."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    texts = [output["data"]["text/markdown"] for output in outputs if output.get("metadata", {}).get(FINDING)]
    for cell in notebook.cells:
        if texts and cell.cell_type == "markdown" and FINDING_PLACE in cell.source:
            cell.source = cell.source.replace(f"**Finding.** {FINDING_PLACE}", texts[-1])


def lighten(notebook) -> None:
    """Give the pictures of a notebook a palette, with which they need about a third of the bytes and look the same."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                data["image/png"] = _with_palette(data["image/png"])


def _with_palette(picture: str) -> str:
    """A PNG file in base64, flattened on white; as it was if that is smaller."""
    from PIL import Image  # only where there are pictures

    drawn = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn).convert("RGB")
    file = io.BytesIO()
    flat.quantize(COLOURS, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return min(picture, base64.b64encode(file.getvalue()).decode(), key=len)
