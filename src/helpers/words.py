"""Numbers in words: with their nouns and verbs, in the right number."""

from collections.abc import Iterable, Sequence

import numpy as np

from helpers.reading import between


def counted(number: float | Iterable[float], what: str) -> str:
    """Numbers and what is counted, ``1 seed``, ``3 seeds``, ``1 to 3 seeds``; a plural other than with s after a /."""
    one, _, many = what.partition("/")
    told = between([number] if np.ndim(number) == 0 else number, ",.0f")
    return f"{told} {one if told == '1' else many or one + 's'}"


def doing(number: int, one: str, many: str) -> str:
    """How many do something, ``none saturates``, ``1 saturates``, ``4 saturate``."""
    return f"{f'{number:,}' if number else 'none'} {one if number < 2 else many}"


def listed(items: Sequence[str]) -> str:
    """Words in a row, ``a, b and c``."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def trend(first: float, last: float) -> str:
    """What a number does from `first` to `last`: ``rises``, ``falls`` or ``stays``."""
    return "rises" if last > first else "falls" if last < first else "stays"
