"""The study's evaluation sets and spike-ins from their public files; ``python data/prepare.py`` is the command."""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from helpers.messages import unknown
from helpers.prepare import downloads
from helpers.prepare.table import SETS, VERSION, Download, PublicSet
from helpers.provenance import project_path

logger = logging.getLogger(__name__)

EXTERNAL = "data/external"
DOWNLOADS = "downloads"  # below it
TAKEN = "tahoe"  # below it, too: the cells that were taken of each plate
FOREIGN = 0  # version of a file that was not made here


def state(name: str, folder: Path) -> str:
    """Whether a set is ready, and else what it waits for."""
    entry, version = SETS[name], _version(folder / f"{name}.h5ad")
    if version == VERSION:
        return "ready"
    if version == FOREIGN:
        return f"{name}.h5ad is there, but was not made by this command"
    missing = _missing(entry, folder)
    if missing:
        return f"download missing ({len(missing)} of {len(entry.downloads)})"
    return "to be prepared" if version is None else "to be prepared again: made by another version"


def prepare(name: str, folder: Path, *, download: bool = False, cells: int | None = None, seed: int = 0) -> Path:
    """Make a set from its public files, and return its path below `folder`.

    Files are looked for in ``downloads/`` there; with `download` those that are missing are fetched. With `cells`, so
    many are drawn at random, and the number and the seed stand in the file's name. Raises ValueError for missing files,
    with addresses and places; for files that are not the expected ones; and for what `writing.write` refuses.
    """
    from helpers.prepare.layouts import LAYOUTS
    from helpers.prepare.writing import drawn, write

    entry, steps = SETS[name], SETS[name].steps
    out = folder / (f"{name}.h5ad" if cells is None else f"{name}_{cells}_seed{seed}.h5ad")
    if _version(out) == FOREIGN:
        raise ValueError(f"{out} was not made by this command and would be lost: move it")
    missing = _missing(entry, folder)
    if missing and not download:
        raise ValueError(_told(name, entry, missing, folder))
    if missing:
        logger.info("%s: licence: %s; see %s", name, entry.licence or "not known", entry.page)
    paths, sums = _taken(entry, folder) if entry.layout == "plates" else _files(entry, folder)
    parts = LAYOUTS[entry.layout](entry, paths)
    if cells is not None:
        parts = drawn(parts, cells, np.random.default_rng(seed))
        steps = f"{steps}; {cells:,} cells drawn with seed {seed}"
    write(out, parts, _origin(entry, sums, steps), needed=entry.columns, union=entry.layout == "screens")
    if entry.layout != "plates":
        for one in entry.downloads:
            downloads.record(one, folder / DOWNLOADS, sums[one.file])
    return out


def _missing(entry: PublicSet, folder: Path) -> list[Download]:
    """Files that a set still needs."""
    there = [one for one in entry.downloads if entry.layout == "plates" and _version(_piece(one, folder)) == VERSION]
    return downloads.absent([one for one in entry.downloads if one not in there], folder / DOWNLOADS)


def _told(name: str, entry: PublicSet, missing: Sequence[Download], folder: Path) -> str:
    """What is missing, where it comes from and where it belongs."""
    lines = [downloads.describe(one, folder / DOWNLOADS) for one in missing]
    more = [f"see {entry.page}; licence: {entry.licence or 'not known'}", *([entry.note] if entry.note else [])]
    if any(one.url for one in missing):
        more.append(f"put the files there, or fetch them: python data/prepare.py {name} --download")
    return "\n  ".join([f"{name}: missing files, {len(missing)} in all:", *lines, *more])


def _files(entry: PublicSet, folder: Path) -> tuple[list[Path], dict[str, str]]:
    """The files of a set, and their SHA-256 by name; those that are missing are fetched."""
    for one in downloads.absent(entry.downloads, folder / DOWNLOADS):
        logger.info("fetching %s", downloads.describe(one, folder / DOWNLOADS))
        downloads.fetch(one, folder / DOWNLOADS)
    sums = {one.file: downloads.checked(one, folder / DOWNLOADS) for one in entry.downloads}
    return [folder / DOWNLOADS / one.file for one in entry.downloads], sums


def _taken(entry: PublicSet, folder: Path) -> tuple[list[Path], dict[str, str]]:
    """Files with the cells of all drugs that the plates hold, made plate by plate, and the SHA-256 of the plates."""
    from helpers.prepare.layouts import treated
    from helpers.prepare.writing import write

    paths, sums = [], {}
    for one in entry.downloads:
        piece = _piece(one, folder)
        if _version(piece) != VERSION:
            alone = replace(entry, downloads=(one,))
            found, sha256 = _files(alone, folder)
            steps = "raw counts of the cells of all four drugs and of the control in the study's lines"
            write(piece, [treated(found[0])], _origin(alone, sha256, steps), needed=entry.columns)
            downloads.record(one, folder / DOWNLOADS, sha256[one.file])
            logger.info("%s: its cells are in %s; the plate is not needed any more", one.file, piece)
        paths.append(piece)
        sums[one.file] = _sha256_of_plate(piece, one.file)
    return paths, sums


def _piece(download: Download, folder: Path) -> Path:
    return folder / TAKEN / f"{download.key}.h5ad"


def _origin(entry: PublicSet, sums: dict[str, str], steps: str) -> dict:
    files = {one.file: {"url": one.url or "not known", "sha256": sums[one.file]} for one in entry.downloads}
    about = {"page": entry.page, "licence": entry.licence or "not known", "note": entry.note or ""}
    return {"version": VERSION, "files": files, "steps": steps, **about}


def _version(path: Path) -> int | None:
    """Version of a prepared file, None if there is no file."""
    import h5py

    if not path.is_file():
        return None
    if not h5py.is_hdf5(path):
        return FOREIGN
    with h5py.File(path) as file:
        return int(file[place][()]) if (place := "uns/origin/version") in file else FOREIGN


def _sha256_of_plate(piece: Path, file: str) -> str:
    from anndata.io import read_elem

    from helpers.prepare.h5ad import opened

    with opened(piece) as opened_piece:
        return read_elem(opened_piece["uns/origin/files"])[file]["sha256"]


def _number(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a whole number, 1 or more, is needed")
    return int(text)


def main(arguments: Sequence[str] | None = None, folder: Path | None = None) -> int:
    """Command line; exit code 1 if a set could not be prepared."""
    parser = argparse.ArgumentParser(prog="data/prepare.py", description="Make the study's sets from public files.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="sets to prepare; without one, all are listed")
    parser.add_argument(
        "--download", action="store_true", help="fetch what is missing; look at licences and sizes first"
    )
    parser.add_argument("--cells", type=_number, help="draw so many cells at random, for a smaller file")
    parser.add_argument("--seed", type=int, default=0, help="of that draw (default: %(default)s)")
    options = parser.parse_args(arguments)
    folder = folder or project_path(EXTERNAL)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    if not options.names:
        sys.stdout.write("".join(f"{name:<24} {state(name, folder)}\n" for name in SETS))
        return 0
    try:
        for name in options.names:
            if name not in SETS:
                raise ValueError(unknown("set", name, SETS))
        for name in options.names:
            told = prepare(name, folder, download=options.download, cells=options.cells, seed=options.seed)
            sys.stdout.write(f"{told}\n")
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0
