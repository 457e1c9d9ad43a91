"""Guesses of masked rank-value tokens from how often each gene is a token: the controls of Geneformer's loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
import torch

from helpers.models.rank_tokens import FIRST_GENE

if TYPE_CHECKING:
    from helpers.models.rank_tokens import Tokens

CHUNK = 512  # cells at a time
RANK_CLASSES = 4  # quarters of a cell's ranking; class 0: the gene is no token


def rank_classes(cells: Tokens, n_genes: int) -> sp.csr_array:
    """Where in its cell's ranking each gene stands, (n_cells, n_genes): 1 for the top quarter to 4, else 0."""
    lengths = np.diff(cells.starts)
    rank = np.arange(len(cells.tokens)) - np.repeat(cells.starts[:-1], lengths)
    classes = 1 + RANK_CLASSES * rank // np.repeat(lengths, lengths)
    return sp.csr_array((classes, cells.tokens.astype(np.int64) - FIRST_GENE, cells.starts), (len(lengths), n_genes))


def token_rates(cells: Tokens, known: sp.csr_array) -> np.ndarray:
    """Share of cells that have a gene among their tokens (1 + RANK_CLASSES, n_genes), by its class in `known`
    (n_cells, n_genes); half a cell is added to both outcomes.
    """
    n_cells, n_genes = known.shape
    tokens, known = rank_classes(cells, n_genes).tocoo(), known.tocoo()
    among, all_cells = np.zeros((2, 1 + RANK_CLASSES, n_genes))
    np.add.at(all_cells, (known.data, known.col), 1)
    both = (sp.csr_array(known) * (sp.csr_array(tokens) > 0)).tocoo()
    np.add.at(among, (both.data, both.col), 1)
    all_cells[0] = n_cells - all_cells.sum(axis=0)
    among[0] = np.bincount(tokens.col, minlength=n_genes) - among.sum(axis=0)
    return (among + 0.5) / (all_cells + 1)


def guess_losses(cells: Tokens, rates: np.ndarray, known: sp.csr_array, mask_share: float) -> np.ndarray:
    """Cross entropy of the masked tokens, nats per token (n_cells,), if genes are tokens independently of each other.

    Genes that are visible in the cell cannot be masked ones; the odds of the others come from `token_rates` and their
    class in `known`. Tokens are masked as in the held-out loss.
    """
    odds = rates * mask_share / (1 - rates * (1 - mask_share))
    genes, losses = np.arange(rates.shape[1]), np.empty(known.shape[0])
    for start in range(0, len(losses), CHUNK):
        rows = slice(start, start + CHUNK)
        batch = cells.batch(rows, torch.device("cpu"))
        masked = batch.masked(batch.fixed_draws(), mask_share).numpy()
        of_gene = odds[known[rows].toarray(), genes]
        cell = batch.cell.numpy()
        of_token = of_gene[cell, batch.tokens.numpy() - FIRST_GENE]
        hidden = of_gene.sum(axis=1) - np.bincount(cell, of_token * ~masked)
        losses[rows] = np.log(hidden) - np.bincount(cell, np.log(of_token) * masked) / np.bincount(cell, masked)
    return losses
