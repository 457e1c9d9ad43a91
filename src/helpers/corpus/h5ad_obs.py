"""Labels of the cells of several h5ad files in one table, under the names that designs use."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from helpers.corpus.h5ad_file import H5adFile
from helpers.corpus.labels import paired
from helpers.design import DesignError
from helpers.design_sources import H5adFiles
from helpers.messages import unknown

LABELS = ("dataset_id", "cell_type", "batch", "donor_id")  # always text
NEEDED = ("dataset_id", "cell_type", "batch")  # of every cell
MOST_VALUES = 1_000  # text with more values than this, and than half of the cells, names single cells


def read_obs(files: Sequence[H5adFile], settings: H5adFiles) -> tuple[pd.DataFrame, dict[str, str]]:
    """Labels of all cells, (n_cells, n_columns), file below file; and why columns were left out, by name.

    Columns are those that all files have, but for text that names single cells. Text is categories, sorted; numbers
    stay, except in the four labels. A file without a dataset_id is a dataset of its own, named as the file is, and
    without a batch each dataset is one. Raises ValueError, which names the file, for columns that the design names and
    a file lacks, for missing values in these or in labels that every cell needs, and for cell names that stand twice.
    """
    columns = [_columns(file, settings) for file in files]
    left_out: dict[str, str] = {}
    for file, own in zip(files, columns, strict=True):
        lacking = {ours for other in columns for ours in other} - {*own, "dataset_id", "batch"}
        left_out |= {ours: f"not in {file.path.name}" for ours in lacking if ours not in left_out}
    named = {ours for own in columns for ours in own} - left_out.keys()
    order = [*LABELS, *settings.obs, *dict.fromkeys(ours for own in columns for ours in own)]
    parts: dict[str, list] = {ours: [] for ours in order if ours in {*named, *NEEDED}}
    for file, own in zip(files, columns, strict=True):
        for ours in [*parts]:
            if ours in own:
                values = _read(file, ours, own[ours], needed=ours in NEEDED or ours in settings.obs)
            else:
                stem = pd.Categorical.from_codes(np.zeros(file.n_cells, dtype=np.int8), [file.path.stem])
                values = stem if ours == "dataset_id" else parts["dataset_id"][-1]
            if ours not in {*LABELS, *settings.obs} and _names_cells(values):
                left_out[ours] = f"names single cells in {file.path.name}"
                del parts[ours]
            else:
                parts[ours].append(values)
    names = _read_names(files, settings)
    obs = pd.DataFrame({ours: _joined(parts.pop(ours)) for ours in [*parts]}, index=names, copy=False)
    for label in settings.within_dataset:
        if label not in obs:
            raise DesignError(f"within_dataset: {unknown('label', label, obs.columns)}")
        obs[label] = paired(obs["dataset_id"].array, _as_text(obs[label]))
    return obs, left_out


def _columns(file: H5adFile, settings: H5adFiles) -> Mapping[str, str]:
    """Columns of a file by their names in designs."""
    for ours, theirs in settings.obs.items():
        if theirs not in file.columns:
            told = unknown("column of obs", theirs, file.columns)
            raise DesignError(f"obs.{ours} = {theirs!r}: {file.path.name}: {told}")
    renamed = set(settings.obs.values()) - set(LABELS)
    columns = {**{name: name for name in file.columns if name not in renamed}, **settings.obs}
    if "cell_type" not in columns:
        told = unknown("column of obs", "cell_type", file.columns)
        raise DesignError(f"{file.path.name}: {told}; say which has the types, such as obs: {{cell_type: …}}")
    return columns


def _read(file: H5adFile, ours: str, theirs: str, *, needed: bool) -> pd.Series | pd.Categorical:
    """A column as numbers, or as categories of text."""
    values = file.column(theirs)
    if needed and (missing := int(values.isna().sum())):
        raise ValueError(
            f"{file.path.name}: obs[{theirs!r}] ({ours}) has no value for {missing:,} of {file.n_cells:,} cells: "
            f"fill it in, leave these cells out, or name another column; there are: {', '.join(file.columns)}"
        )
    return values if ours not in LABELS and pd.api.types.is_numeric_dtype(values) else _as_text(values)


def _as_text(values: pd.Series) -> pd.Categorical:
    """Categories of text; whole numbers are written alike, whatever their type."""
    values = pd.Categorical(values).remove_unused_categories()
    names = values.categories
    if names.dtype.kind == "f" and (names % 1 == 0).all():
        names = names.astype(np.int64)
    return pd.Categorical.from_codes(values.codes, names.astype(str))


def _names_cells(values: pd.Series | pd.Categorical) -> bool:
    return isinstance(values, pd.Categorical) and len(values.categories) > max(MOST_VALUES, len(values) / 2)


def _joined(parts: list[pd.Series | pd.Categorical]) -> pd.Series | pd.Categorical:
    """Values below one another: numbers if they are numbers in every file."""
    if not any(isinstance(part, pd.Categorical) for part in parts):
        numbers = pd.concat(parts, ignore_index=True)
        if pd.api.types.is_numeric_dtype(numbers):
            return numbers.array
    text = [part if isinstance(part, pd.Categorical) else _as_text(part) for part in parts]
    return pd.api.types.union_categoricals(text, sort_categories=True)


def _read_names(files: Sequence[H5adFile], settings: H5adFiles) -> pd.Index:
    """Names of all cells; ValueError if one stands twice."""
    parts = [file.names() for file in files]
    if settings.names == "file":
        parts = [f"{file.path.stem}_" + names for file, names in zip(files, parts, strict=True)]
    names = parts[0].append(parts[1:])
    if not (again := names.duplicated()).any():
        return names
    second = int(np.argmax(again))
    rows = [int(np.flatnonzero(names == names[second])[0]), second]
    ends = np.cumsum([len(part) for part in parts])
    first, other = (files[at].path.name for at in np.searchsorted(ends, rows, side="right"))
    if first == other:
        told, would = f"{first} names", "make them unique, with adata.obs_names_make_unique()"
    else:
        told, would = f"{first} and {other} both name", "say names: file, which puts the name of its file before each"
    raise ValueError(f"{told} the cell {names[second]!r}; {int(again.sum()):,} names stand twice in all: {would}")
