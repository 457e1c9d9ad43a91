"""Model families behind one protocol: create one by name, train it, embed cells, measure its loss, save it, load it.

A family of your own is one file here (`<name>.py` with ``@register("<name>")``), a class in a notebook under the same
decorator, or an installed package's entry point in the group ``cellscale.models`` whose value is the class.
A built-in name is found before an entry point of the same name.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from helpers.messages import explain, unknown
from helpers.models.protocol import FORMAT_VERSION, Budget, Family, TrainingCells, UnfitCellsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "Budget",
    "Family",
    "TrainingCells",
    "UnfitCellsError",
    "can_be_fine_tuned",
    "create",
    "families",
    "family_class",
    "load",
    "module_of",
    "register",
]

ENTRY_POINT_GROUP = "cellscale.models"
SUPPORT = {
    "protocol",
    "counts",
    "count_split",
    "expression",
    "memory",
    "train",
    "neural",
    "triplets",
    "rank_tokens",
    "sparse_dropout",
    "token_rates",
}  # modules here that hold no family

_registered: dict[str, type[Family]] = {}


def register(name: str) -> Callable[[type[Family]], type[Family]]:
    """Class decorator that makes a family known under `name`.

    Raises
    ------
    ValueError
        When the name belongs to another class. The same class defined anew (a notebook cell run twice) replaces itself.
    """

    def decorate(cls: type[Family]) -> type[Family]:
        owner = _registered.get(name)
        taken_by = f"{owner.__module__}.{owner.__qualname__}" if owner else _built_in().get(name, "")
        if taken_by and taken_by not in (f"{cls.__module__}.{cls.__qualname__}", cls.__module__):
            raise ValueError(f"family {name!r} is already {taken_by}; register {cls.__qualname__} under another name")
        cls.name = name
        _registered[name] = cls
        return cls

    return decorate


def families() -> tuple[str, ...]:
    """Names of all known families, sorted: built-in, registered in this process, and entry points."""
    return tuple(sorted(_built_in() | _registered.keys() | _entry_points().keys()))


def module_of(family: str) -> str:
    """Importable name of the module that defines a family; does not import a built-in or an entry point.

    Raises
    ------
    ValueError
        For an unknown family.
    """
    if family in _built_in():
        return _built_in()[family]
    if family in _registered:
        return _registered[family].__module__
    if family in _entry_points():
        return _entry_points()[family].module
    raise ValueError(unknown("family", family, families()))


def create(
    family: str,
    *,
    n_genes: int,
    preset: str = "paper",
    width: float = 1.0,
    accelerator: str = "auto",
    **settings: Any,
) -> Family:
    """Make an unfitted model.

    Parameters
    ----------
    family
        One of `families()`.
    n_genes
        Number of genes of the gene space.
    preset
        Named set of settings: ``paper`` as published, ``demo`` for minutes on a laptop.
    width
        Multiplier of the preset's width (components, hidden units).
    accelerator
        Where to compute: ``auto`` (a CUDA GPU if there is one, else the CPU), ``cpu``, ``cuda`` or ``mps`` (untested).
    **settings
        Settings that differ from the preset's.

    Raises
    ------
    ValueError
        For an unknown family, preset or setting, or a value out of range; names key, value and what is accepted.
    """
    check_settings(family, preset, settings)
    return family_class(family)(n_genes, preset=preset, width=width, accelerator=accelerator, **settings)


def check_settings(family: str, preset: str, settings: Mapping[str, Any]) -> None:
    """Raise ValueError for an unknown preset or setting of a family, or a value out of range; makes no model."""
    presets = family_class(family).presets
    if preset not in presets:
        raise ValueError(unknown(f"preset of {family}", preset, presets))
    kind = type(presets[preset])
    for key, value in settings.items():
        if key not in kind.model_fields:
            raise ValueError(unknown(f"setting of {family} ({key}={value!r})", key, kind.model_fields))
    try:
        kind(**(presets[preset].model_dump() | dict(settings)))
    except ValidationError as error:
        raise ValueError(f"{family}: " + "; ".join(explain(item, kind) for item in error.errors())) from error


def load(folder: str | Path, *, accelerator: str = "auto") -> Family:
    """Load a fitted model from the folder that `Family.save` wrote, for any `accelerator`, see `create`.

    Raises
    ------
    ValueError
        When the folder was written in another format version, its family or settings are unknown here, or its files
        do not belong together.
    """
    description = json.loads((Path(folder) / "model.json").read_text())
    if description.get("format_version") != FORMAT_VERSION:
        found = description.get("format_version")
        raise ValueError(f"{folder}: format_version is {found!r}; this version reads {FORMAT_VERSION}: train anew")
    settings = {key: description[key] for key in ("n_genes", "preset", "width")} | description["settings"]
    model = create(description["family"], accelerator=accelerator, **settings)
    model.load(folder)
    return model


def _built_in() -> dict[str, str]:
    """Family name -> module, for each file beside this one; looking them up imports none of them."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return {name: f"{__name__}.{name}" for name in names if name not in SUPPORT}


def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)}


def family_class(family: str) -> type[Family]:
    """The class of a family, imported if need be: what it needs (`min_cells`) and measures (`loss_unit`).

    Raises ValueError for an unknown family.
    """
    if family not in _registered:
        if family in _built_in():
            module = importlib.import_module(_built_in()[family])
            if family not in _registered:
                raise ValueError(f"{module.__name__} registers no family {family!r}: name the file as the family")
        elif family in _entry_points():
            cls = _entry_points()[family].load()
            if family not in _registered:  # the package may have used the decorator itself
                register(family)(cls)
        else:
            raise ValueError(unknown("family", family, families()))
    return _registered[family]


def can_be_fine_tuned(family: str) -> bool:
    """Whether models of a family have an encoder that can be trained on. Raises ValueError for an unknown family."""
    from helpers.models.neural import NeuralFamily

    return issubclass(family_class(family), NeuralFamily)
