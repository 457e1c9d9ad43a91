"""How far results reach: for corpora of which sizes they hold."""

from helpers.analysis.published import CORPUS_CELLS

SMALL = CORPUS_CELLS / 100  # cells, under which a corpus says nothing about the study's


def is_small(n_cells: float) -> bool:
    """Whether the largest corpus of a design, in cells, has under 1 % of the cells of the study's."""
    return n_cells < SMALL


def reach(n_cells: float) -> str:
    """What results say of larger corpora, as the end of a sentence; `n_cells` is the largest number learned from."""
    if is_small(n_cells):
        return f"{n_cells:,.0f} cells say nothing about {CORPUS_CELLS / 1e6:.0f} million"
    return f"nothing is known beyond {n_cells:,.0f} cells"
