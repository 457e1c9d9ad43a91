"""Where the time of a workflow went: training, embedding and metrics, by the records that the store keeps of them."""

import json
from collections.abc import Mapping
from pathlib import Path

KINDS = {"training": "models", "embedding": "embeddings", "metrics": "evaluations"}
CONTROLS = "predictions"  # floors and ceilings lie here alone, without scores of their own

Records = dict[Path, tuple[int, int]]


def records(root: Path) -> Records:
    """The records of all artifacts that count, and what changes when one is written anew, whatever the clock says."""
    found = [path for folder in KINDS.values() for path in Path(root, folder).rglob(".*.record.json")]
    found += Path(root, CONTROLS).glob(".*controls.parquet.record.json")
    return {path: (status.st_ino, status.st_mtime_ns) for path in found for status in [path.stat()]}


def useful(root: Path, before: Mapping[Path, tuple[int, int]]) -> dict[str, float]:
    """Seconds inside training, embedding and metrics of the artifacts that were written since `before` was taken."""
    told, kinds = dict.fromkeys(KINDS, 0.0), {folder: kind for kind, folder in KINDS.items()}
    for path, written in records(root).items():
        if before.get(path) != written:
            folder = path.relative_to(root).parts[0]
            told[kinds.get(folder, "metrics")] += json.loads(path.read_text())["seconds"]
    return told


def shares(inside: Mapping[str, float], in_notebooks: float, wall: float, cores: int | None) -> dict[str, float]:
    """Per cent of wall time × cores by what they were spent on; of the notebooks' time where cores are not counted.

    Beside the kinds of `inside` these are ``other`` work of notebooks (start, drawing, reading, figures), and ``idle``,
    while less notebooks ran than there are cores.
    """
    whole = wall * cores if cores else in_notebooks
    parts = {**inside, "other": max(0.0, in_notebooks - sum(inside.values()))}
    if cores:
        parts["idle"] = max(0.0, whole - sum(parts.values()))
    return {kind: round(100 * seconds / whole, 1) if whole else 0.0 for kind, seconds in parts.items()}


def told(parts: Mapping[str, float]) -> str:
    """The shares in a line; the first number is what went into training, embedding and metrics."""
    kinds = ", ".join(f"{kind} {parts[kind]:.0f}" for kind in KINDS)
    idle = f", {parts['idle']:.0f} % was idle" if "idle" in parts else ""
    whole = "wall time × cores" if "idle" in parts else "the notebooks' time"
    total = sum(parts[kind] for kind in KINDS)
    rest = f"{parts['other']:.0f} % was other work of notebooks{idle}"
    return f"{total:.0f} % of {whole} went into training, embedding and metrics ({kinds}); {rest}"
