"""The cells of a study: read from their source, checked, written once, and handed to the stages."""

from helpers.corpus.opened import open_source, read_source, read_source_obs, source_hash
from helpers.corpus.reading import (
    open_cells,
    read_cells,
    read_evaluation_cells,
    read_obs,
    read_roles,
    stored_cells,
    training_cells,
    write_positions,
)
from helpers.corpus.writing import write

__all__ = [
    "open_cells",
    "open_source",
    "read_cells",
    "read_evaluation_cells",
    "read_obs",
    "read_roles",
    "read_source",
    "read_source_obs",
    "source_hash",
    "stored_cells",
    "training_cells",
    "write",
    "write_positions",
]
