"""Where artifacts live: written atomically, checksummed, made anew only if their inputs, settings or code changed.

An artifact is a file or a folder below ``results/<design>/``. Beside it lies a record, ``.<name>.record.json``, with
the key (hash of inputs, settings and code), the checksum of the content, the stage that made it and the seconds it
took. An artifact is valid if its record is there and the checksum holds, and fresh if the key holds too. A crash at any
moment leaves either the old artifact, the new one, or none.
"""

import contextlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from helpers.design import Design, Run, load_design
from helpers.design_evaluations import TASKS
from helpers.provenance import checksum, code_hash, digest, project_path

logger = logging.getLogger(__name__)

MAKERS = {
    "corpus": "00_corpus",
    "split.parquet": "05_split",
    "genes.parquet": "05_split",
    "evaluation_sets.parquet": "05_split",
    "subsets": "10_subset",
    "diversity.parquet": "15_diversity",
    "models": "20_pretrain",
    "embeddings": "25_embed",
    "results.parquet": "50_collect",
    "parts.parquet": "50_collect",
    "saturation.parquet": "60_saturation",
    "saturation_sizes.parquet": "60_saturation",
    "scaling": "61_scaling_laws",
    "diversity_effect.parquet": "62_diversity_effect",
    "response_axes.parquet": "63_response_axes",
    "figures": "90_figures",
}
RUNNER_FOLDERS = {"notebooks", ".lock"}  # may be there before the first artifact is
FORMAT = 1
RESTORED = "restored"  # key of the record of an artifact that was restored from a copy of a design's tables


class StoreError(ValueError):
    """What can be wrong with stored artifacts."""


class MissingArtifactError(StoreError, FileNotFoundError):
    """An artifact that an earlier notebook makes is not there."""


class CorruptArtifactError(StoreError):
    """An artifact whose content does not match its checksum."""


class ForeignResultsError(StoreError):
    """A results folder that belongs to another design."""


class Store:
    """Artifacts of one design, as one stage reads and writes them."""

    def __init__(self, design: Design, root: Path, stage: str, modules: Iterable[str] = ()):
        self.design, self.root, self.stage, self._modules = design, Path(root), stage, tuple(modules)
        self._verified: set[str] = set()
        check_owner(design, self.root)

    @cached_property
    def code(self) -> str:
        """Hash of the stage's code: its notebook's cells, the modules they import and those named by the caller."""
        return code_hash(self.stage, self._modules)

    def path(self, relative: str) -> Path:
        """Absolute path below the results folder; a path that leaves it is refused."""
        pure = PurePosixPath(relative)
        if pure.is_absolute() or ".." in pure.parts or not pure.parts:
            raise StoreError(f"{relative!r} leaves the results folder")
        return self.root / pure

    def artifact(self, relative: str, *, inputs: Iterable[str] = (), settings: Mapping | None = None) -> "Artifact":
        """An artifact of this stage; its key covers `inputs` (earlier artifacts, by content), `settings` and code.

        One that was restored from a kept copy without its inputs stands as it is, since nothing here can make it again.
        Raises MissingArtifactError, naming the notebook to run, if an input is not there.
        """
        inputs, record = list(inputs), read_record(self.path(relative))
        if record and RESTORED in record and not all(map(self.has, inputs)):
            return Artifact(self, relative, record["key"])
        sums = {name: self._record(name)["sha256"] for name in inputs}
        parts = {"format": FORMAT, "inputs": sums, "settings": dict(settings or {}), "code": self.code}
        return Artifact(self, relative, digest(parts))

    def read(self, relative: str) -> Path:
        """Path of a verified artifact. Raises MissingArtifactError (naming the notebook that makes it) or
        CorruptArtifactError (the artifact is set aside, so that the next run rebuilds it). Shards of the corpus are
        verified by whoever reads their cells.
        """
        if relative not in self._verified:
            record = self._record(relative)
            if checksum(self.path(relative), shards=False) != record["sha256"]:
                discard(self.path(relative))
                told = f"run notebooks/{maker_of(relative)}.ipynb to rebuild it"
                raise CorruptArtifactError(f"{relative} is corrupt and was removed: {told}")
            self._verified.add(relative)
        return self.path(relative)

    def has(self, relative: str) -> bool:
        """Whether an artifact with a record is there; content is checked when it is read."""
        return read_record(self.path(relative)) is not None and self.path(relative).exists()

    def _record(self, relative: str) -> dict:
        record = read_record(self.path(relative))
        if record is None or not self.path(relative).exists():
            told = f"run notebooks/{maker_of(relative)}.ipynb first"
            raise MissingArtifactError(f"{relative} is missing in {self.root}: {told}")
        return record


@dataclass(frozen=True)
class Artifact:
    """One artifact about to be written, or found fresh."""

    store: Store
    relative: str
    key: str

    @property
    def path(self) -> Path:
        """Where the artifact lies once written."""
        return self.store.path(self.relative)

    @property
    def fresh(self) -> bool:
        """Whether it is there, unharmed and made from the same inputs, settings and code; a corrupt one is named."""
        record = read_record(self.path)
        if record is None or record["key"] != self.key or not self.path.exists():
            return False
        if checksum(self.path) != record["sha256"]:
            logger.warning("%s is corrupt and will be rebuilt", self.relative)
            return False
        return True

    @contextlib.contextmanager
    def write(self, *, resume: bool = False) -> Iterator[Path]:
        """A temporary file or folder to write to; it becomes the artifact when the block ends without error.

        With `resume` it is what an interrupted attempt with the same key has left; only a ValueError, which says that
        what was to be written is wrong, leaves nothing.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        name = f".{self.path.name}.{self.key[:16]}.part" if resume else f".{uuid.uuid4().hex[:8]}.tmp{self.path.suffix}"
        temporary, start = self.path.parent / name, time.perf_counter()
        for other in set(self.path.parent.glob(f".{self.path.name}.*.part")) - {temporary}:
            _remove(other)
        try:
            yield temporary
            seconds, sha256 = round(time.perf_counter() - start, 3), checksum(temporary, shards=False)
            record = {"key": self.key, "sha256": sha256, "stage": self.store.stage, "seconds": seconds}
            discard(self.path)
            temporary.rename(self.path)
            write_text(record_path(self.path), json.dumps(record))
            self.store._verified.add(self.relative)
        except BaseException as error:
            if not resume or isinstance(error, ValueError):
                _remove(temporary)
            raise


def open_store(
    design: str | Path, results: str | Path, *, stage: str, modules: Iterable[str] = ()
) -> tuple[Design, Store]:
    """Design and store of a stage; `modules` are those that it finds by name at run time (family, strategy), where the
    name of a model of the design stands for its family's. Raises ForeignResultsError for another design's results.
    """
    loaded = load_design(design)
    names = [loaded.families[name].module if name in loaded.families else name for name in modules]
    return loaded, Store(loaded, project_path(results), stage, names)


def check_owner(design: Design, root: Path) -> None:
    """Raise ForeignResultsError if `root` holds another design's results, StoreError if it holds no results."""
    owner, recorded = root / "design.json", record_path(root / "corpus").exists()
    if owner.exists():
        try:
            name = json.loads(owner.read_text())["name"]
        except (ValueError, TypeError, KeyError) as error:
            told = f"if the folder is of the design {design.name!r}, remove that file, and the next run writes it again"
            raise StoreError(f"{owner} is corrupt: {told}") from error
        if name != design.name:
            told = f"holds the design {name!r}, not {design.name!r}: use results/{design.name}, or the design {name!r}"
            raise ForeignResultsError(f"results = {str(root)!r} {told}")
    elif not recorded and root.exists() and any(entry.name not in RUNNER_FOLDERS for entry in root.iterdir()):
        told = "is not empty and holds no results: use an empty or new folder"
        raise ForeignResultsError(f"results = {str(root)!r} {told}")


def claim(design: Design, root: Path) -> None:
    """Mark `root` as the results folder of this design; the first stage does it."""
    check_owner(design, root)
    root.mkdir(parents=True, exist_ok=True)
    write_text(root / "design.json", json.dumps({"name": design.name, "design": design.model_dump()}, indent=1))


def model_path(run: Run) -> str:
    """Folder of a trained model: weights, model.json, history.parquet."""
    return f"models/{run.id}"


def subset_path(run: Run) -> str:
    """Positions of the cells that a run learns from."""
    return f"subsets/{run.subset}.parquet"


def embedding_path(run: Run) -> str:
    """Embeddings of all evaluation cells by a run."""
    return f"embeddings/{run.id}.npz"


def evaluation_path(task: str, run: Run | str) -> str:
    """Tidy rows of one evaluation of a run, or of a named baseline."""
    return f"evaluations/{_flat(task, run)}.parquet"


def prediction_path(task: str, run: Run | str) -> str:
    """Per-cell predictions or losses of one evaluation of a run, or of a named baseline."""
    return f"predictions/{_flat(task, run)}.parquet"


def controls_path(task: str, family: str = "", width: float = 1.0) -> str:
    """Floors and ceilings that are the same for all runs of a model, or of all models."""
    return prediction_path(task, f"{family}-w{width:g}/controls" if family else "controls")


def _flat(task: str, run: Run | str) -> str:
    name = run if isinstance(run, str) else run.id
    return f"{task}--{name.replace('/', '--')}"


def maker_of(relative: str) -> str:
    """The notebook that makes an artifact."""
    first = PurePosixPath(relative).parts[0]
    if first in ("evaluations", "predictions"):
        task = PurePosixPath(relative).name.split("--")[0]
        return next(stage for stage, own in TASKS.items() if own == task)
    return MAKERS[first]


def valid(path: Path) -> bool:
    """Whether an artifact and its record are there and the content matches its checksum."""
    record = read_record(path)
    return record is not None and path.exists() and checksum(path) == record["sha256"]


def sweep(root: Path) -> None:
    """Remove what crashes left behind: temporary files and folders."""
    for path in [*root.rglob(".*.tmp"), *root.rglob(".*.tmp.*")]:
        _remove(path)


def write_text(path: Path, text: str) -> None:
    """Write a small text file atomically and durably."""
    temporary = path.parent / f".{uuid.uuid4().hex[:8]}.tmp"
    try:
        with temporary.open("w") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # on a full disk


def discard(path: Path) -> None:
    """Remove an artifact, its record first, so that a half-removed one never counts as valid."""
    record_path(path).unlink(missing_ok=True)
    _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def record_path(path: Path) -> Path:
    """Where the record of an artifact lies."""
    return path.parent / f".{path.name}.record.json"


def read_record(path: Path) -> dict | None:
    """Record of an artifact: key, sha256, stage, seconds; None where there is none."""
    try:
        record = json.loads(record_path(path).read_text())
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None  # none, or harmed: the artifact then counts as absent and is rebuilt
    return record if isinstance(record, dict) and {"key", "sha256", "stage", "seconds"} <= record.keys() else None
