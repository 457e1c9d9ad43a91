"""The table of the explorer: the tidy results as columns that a page reads from the file system.

A script tag is all that a page opened from the file system may load, so the table is a script. Runs, sets and metrics
are told once; a row is a run, a set, a metric and three numbers, each column an array of bytes in base64. Numbers keep
all their digits.
"""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

from helpers.analysis.results import with_sampling
from helpers.evaluate.registry import metric
from helpers.site.collection import Collection
from helpers.site.words import in_words

RUN = ["run_id", "family", "width", "sampling", "percentage", "n_cells", "seed"]
SET = ["task", "dataset", "seen"]
LIMITS = ["null", "ceiling"]
IN_WORDS = ["family", "sampling", "task", "metric"]  # sets of cells and runs have their names everywhere


def write_table(collection: Collection, folder: Path) -> None:
    """Write ``results.js`` and a copy of the table itself; nothing for a collection without a table."""
    if collection.results is None:
        return
    table = encode(pd.read_parquet(collection.results))
    text = json.dumps(table, separators=(",", ":"), allow_nan=False)
    (folder / "results.js").write_text(f"cellscale.receive({json.dumps(collection.name)},{text});\n")
    (folder / "results.parquet").write_bytes(collection.results.read_bytes())


def address(collection: Collection, chosen: Mapping[str, Sequence[str]]) -> str:
    """Address of the explorer, from the root of the site, that shows some values of some columns; the page's script
    reads it. A comma stands between values, so that one inside a value is escaped.
    """
    parts = {"results": [collection.name], **chosen}
    told = "&".join(f"{name}={','.join(quote(value, safe='') for value in values)}" for name, values in parts.items())
    return f"explorer.html#{told}"


def encode(results: pd.DataFrame) -> dict:
    """The tidy table as plain values: ``runs`` and ``sets`` (columns of the distinct ones), ``metrics`` (names and what
    they mean), ``columns`` (arrays of bytes, one entry per row), ``words`` (names of values, by column) and ``n``.

    Runs that were given up have a row without a task: such rows are left out, and ``given_up`` is their number.
    """
    table = with_sampling(scores(results))
    table = table.assign(seed=table["subset_seed"].fillna(table["init_seed"]))
    columns, told = {}, {}
    for name, keys in (("runs", RUN), ("sets", SET)):
        codes, distinct = _distinct(table, keys)
        columns[name], told[name] = _packed(codes), {key: _plain(distinct[key]) for key in keys}
    codes, names = pd.factorize(table["metric"])
    columns["metric"] = _packed(codes)
    for key in LIMITS:
        limits, distinct = pd.factorize(table[key], use_na_sentinel=False)
        columns[key], told[f"{key}s"] = _packed(limits), _plain(pd.Series(distinct))
    columns["value"] = _bytes(table["value"].to_numpy("<f8"), "f8")
    told["words"] = {key: {name: in_words(name) for name in table[key].unique()} for key in IN_WORDS}
    told |= {"n": len(table), "given_up": int(results["task"].isna().sum())}
    return {"columns": columns, "metrics": [_meaning(name) for name in names], **told}


def scores(results: pd.DataFrame) -> pd.DataFrame:
    """Rows that hold a score: all but those of runs that were given up."""
    return results[results["task"].notna()]


def _distinct(table: pd.DataFrame, keys: list[str]) -> tuple[np.ndarray, pd.DataFrame]:
    """Number of each row's combination of some columns, and the combinations."""
    codes = table.groupby(keys, dropna=False, sort=False).ngroup()
    return codes.to_numpy(), table.loc[~codes.duplicated(), keys]


def _packed(codes: np.ndarray) -> dict:
    size = next(size for size in (1, 2, 4) if len(codes) == 0 or codes.max() < 256**size)
    return _bytes(codes.astype(f"<u{size}"), f"u{size}")


def _bytes(values: np.ndarray, kind: str) -> dict:
    return {"type": kind, "data": base64.b64encode(values.tobytes()).decode()}


def _plain(values: pd.Series) -> list:
    return [None if pd.isna(value) else value for value in values.tolist()]


def _meaning(name: str) -> dict[str, object]:
    """What a metric means, and what its column ``ceiling`` is to it; a metric of the user's own has its name alone."""
    try:
        known = metric(name)
    except ValueError:
        return {"name": name}
    limits = {key: _limit(getattr(known, key)) for key in ("low", "high", "best")}
    told = {"about": known.description, "source": known.citation, **limits}
    return {"name": name, **told, "aim": "ceiling" if known.best > 0 else "reference"}  # not where less is better


def _limit(value: float) -> float | str | None:
    """A number for JSON: infinity as a word, None where there is none."""
    if math.isnan(value):
        return None
    return round(float(value), 6) if math.isfinite(value) else ("∞" if value > 0 else "−∞")
