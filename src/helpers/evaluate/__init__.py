"""How models are judged: one file per evaluation, arrays in, numbers out."""

from typing import Any

__all__ = ["avg_bio"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # numba takes a second to import, so only who asks for it waits
        from helpers.evaluate import integration

        return getattr(integration, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
