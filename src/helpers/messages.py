"""Messages about bad input: the key, the value and what would do."""

import difflib
import sys
from collections.abc import Callable
from typing import get_args

from pydantic import BaseModel


def answered(work: Callable[[], str]) -> int:
    """Answer of a command line: what `work` tells, or the message of the ValueError that it raises. Returns the exit
    code, 0 or 1.
    """
    try:
        told = work()
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"{told}\n")
    return 0


def unknown(kind: str, value: object, known) -> str:
    """Message for a name that is not among `known`, with the nearest one."""
    names = [str(name) for name in known]
    near = difflib.get_close_matches(str(value), names, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"unknown {kind} {value!r}{hint}; there are: {', '.join(names)}"


def _model_at(root: type[BaseModel], location: tuple) -> type[BaseModel]:
    """The part of `root` that a path of keys leads to; keys of a mapping (a set's name, say) lead to its values."""
    model = root
    for key in location:
        if key in model.model_fields:
            found = _models_in(model.model_fields[key].annotation)
            model = found[0] if found else model
    return model


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def explain(item: dict, root: type[BaseModel]) -> str:
    """One complaint of pydantic about a `root` as ``key = value: what would do``."""
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"{key}: " + unknown("key", item["loc"][-1], _model_at(root, item["loc"][:-1]).model_fields)
    if item["type"] == "missing":
        return f"{key}: missing"
    message = item["msg"].removeprefix("Value error, ")
    number = " (YAML reads 1e-3 as text: write 1.0e-3)" if item["type"] == "float_type" else ""
    value = "" if isinstance(item["input"], dict) else f" = {item['input']!r}"
    return f"{key or 'design'}{value}: {message[:1].lower() + message[1:]}{number}"
