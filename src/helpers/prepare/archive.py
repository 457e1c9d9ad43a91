"""Files inside a zip or a tar of any compression, read without unpacking it."""

import contextlib
import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO


@contextlib.contextmanager
def member(path: Path, name: str) -> Iterator[IO[bytes]]:
    """The file `name` of an archive, in whatever folder, opened for bytes.

    Raises ValueError if it is not there, there twice, or cannot be read to its end.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive, archive.open(_only(archive.namelist(), name, path)) as handle:
                yield handle
        else:
            with tarfile.open(path) as archive:
                yield archive.extractfile(_only(archive.getnames(), name, path))
    except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        told = str(error).partition("\n")[0]
        raise ValueError(f"{path} is cut, or neither zip nor tar: {told}; download it anew") from error


def _only(names: list[str], name: str, path: Path) -> str:
    found = [one for one in names if PurePosixPath(one).name == name]
    if len(found) != 1:
        raise ValueError(f"{path} holds {len(found)} files {name}, one is needed; it has: {', '.join(names[:20])}")
    return found[0]
