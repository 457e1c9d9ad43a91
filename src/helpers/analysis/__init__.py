"""From the tidy results to statements: tables, saturation points, scaling laws, the study's own tables."""

import importlib

HOMES = {
    "wide": "results",
    "saturation_points": "saturation",
    "fit_scaling": "scaling",
    "fit_joint": "joint",
    "read_published": "published",
}
__all__ = sorted(HOMES)


def __getattr__(name: str) -> object:
    """A public name from the module that holds it, which is imported now: a stage runs again for what it uses alone."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{HOMES[name]}"), name)
