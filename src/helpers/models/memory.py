"""Memory of a training: how much it took, and what to do where there is too little."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def peak_memory() -> Iterator[dict[str, float]]:
    """Peak memory of this process within the block, filled in at its end, in MB; at any time so far, where the system
    cannot tell.
    """
    with contextlib.suppress(OSError):  # Linux alone can start anew
        Path("/proc/self/clear_refs").write_text("5")
    told: dict[str, float] = {}
    yield told
    try:
        status = Path("/proc/self/status").read_text()
        told["peak_memory_mb"] = round(int(status.split("VmHWM:")[1].split()[0]) / 1024)
    except (OSError, IndexError):
        unit = 1024**2 if sys.platform == "darwin" else 1024
        told["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)


@contextlib.contextmanager
def memory_told(setting: str, size: int) -> Iterator[None]:
    """Turn the ways of saying that memory is out into a MemoryError that names a smaller batch for a setting."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # of torch, of numpy
        told = str(error)
        if isinstance(error, RuntimeError) and "out of memory" not in told and "allocate memory" not in told:
            raise
        smaller = f"try {setting} = {size // 2}" if size > 3 else "no smaller batch would help"
        raise MemoryError(f"a batch of {size} cells does not fit into memory; {smaller}") from error
