"""Public files as they were downloaded: where each belongs, whether it is the expected one, and how to fetch it."""

import hashlib
import http.client
import logging
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from helpers.prepare.table import Download
from helpers.store import write_text

logger = logging.getLogger(__name__)

BLOCK = 1 << 20
TOLD_EACH = 1 << 30  # bytes between two lines on how far a download is


def describe(download: Download, folder: Path) -> str:
    """Where a file belongs, and where it comes from."""
    size = "size unknown" if download.size is None else f"{download.size / 1e9:.1f} GB"
    return f"{folder / download.file}, from {download.url or 'an address that is not known'} ({size})"


def absent(downloads: Iterable[Download], folder: Path) -> list[Download]:
    """Files that are not in the folder."""
    return [one for one in downloads if not (folder / one.file).is_file()]


def checked(download: Download, folder: Path) -> str:
    """SHA-256 of a file, once all that is known of it holds.

    Raises ValueError if size, MD5 or SHA-256 are not those of the table, or the SHA-256 is not the one that was
    recorded when the file was first used.
    """
    path = folder / download.file
    if download.size is not None and path.stat().st_size != download.size:
        raise ValueError(
            f"{path} has {path.stat().st_size:,} bytes, expected {download.size:,}: remove it and download it again"
        )
    found = _digests(path, *(["sha256", "md5"] if download.md5 else ["sha256"]))
    recorded = _record(path).read_text().split()[0] if _record(path).is_file() else None
    expected = {
        "MD5": (download.md5, found.get("md5"), "of the table"),
        "SHA-256": (download.sha256, found["sha256"], "of the table"),
        "SHA-256 ": (recorded, found["sha256"], f"recorded in {_record(path).name} when it was first used"),
    }
    for kind, (wanted, is_, where) in expected.items():
        if wanted is not None and wanted != is_:
            raise ValueError(
                f"{path}: {kind.strip()} is {is_}, expected {wanted}, {where}: remove it and download it again"
            )
    return found["sha256"]


def record(download: Download, folder: Path, sha256: str) -> None:
    """Keep the SHA-256 of a file beside it, as ``sha256sum --check`` reads it; one that is there stays."""
    path = folder / download.file
    if not _record(path).is_file():
        write_text(_record(path), f"{sha256}  {path.name}\n")


def fetch(download: Download, folder: Path) -> None:
    """Download a file; what an interrupted call left behind is taken up.

    Raises ValueError if no address is known, or the file cannot be had whole.
    """
    path = folder / download.file
    if download.url is None:
        raise ValueError(f"{path}: no address is known: download it by hand")
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.part")
    start = partial.stat().st_size if partial.is_file() else 0
    headers = {"User-Agent": "cellscale"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        with urllib.request.urlopen(urllib.request.Request(download.url, headers=headers), timeout=60) as response:
            if response.status not in (200, 206):
                raise ValueError(f"{path}: {download.url} answers {response.status}, not with a file; use a browser")
            _receive(response, partial, start if response.status == 206 else 0)
    except urllib.error.HTTPError as error:
        whole = error.code == 416 and error.headers.get("Content-Range", "").endswith(f"/{start}")
        if not whole:
            raise ValueError(f"{path}: {download.url} answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise ValueError(f"{path}: the download failed ({error}); the same command takes it up again") from error
    partial.replace(path)


def _receive(response, partial: Path, start: int) -> None:
    """Append what is received to the first `start` bytes of a partial file."""
    length = response.headers.get("Content-Length")
    done, told = start, start
    with partial.open("ab" if start else "wb") as handle:
        while block := response.read(BLOCK):
            handle.write(block)
            done += len(block)
            if done - told >= TOLD_EACH:
                logger.info("%s: %.1f GB", partial.stem, done / 1e9)
                told = done
    if length is not None and done != start + int(length):
        raise OSError(f"{done:,} of {start + int(length):,} bytes")


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _digests(path: Path, *kinds: str) -> dict[str, str]:
    """Hex digests of a file, all in one reading."""
    sums = {kind: hashlib.new(kind, usedforsecurity=False) for kind in kinds}
    with path.open("rb") as handle:
        while block := handle.read(BLOCK):
            for one in sums.values():
                one.update(block)
    return {kind: one.hexdigest() for kind, one in sums.items()}
