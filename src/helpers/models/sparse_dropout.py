"""Dropout on a CPU that draws the few values to drop, in layers and in attention weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

CACHED = 2**18  # attention weights, or logits, worked on at a time: they stay in the processor's cache


class SparseDropout(nn.Dropout):
    """Dropout that draws the few values to drop, not a number for each value."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if not self.training or values.device.type != "cpu":
            return super().forward(values)
        return _drop(values / (1 - self.p), _dropped(values.numel(), self.p))


class SparseDropoutAttention(torch.autograd.Function):
    """Attention whose weights lose a share `p`, for scaled queries (n, longest, n_hidden / heads) and the like.

    A few cells are done at a time, and their weights are computed anew for the gradients: none are kept.
    """

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, absent: torch.Tensor | None, p: float
    ) -> torch.Tensor:
        mixed, dropped = torch.empty_like(query), []
        for part in _parts(query, key):
            weights = _weights(query, key, absent, part)
            dropped.append(_dropped(weights.numel(), p))
            torch.bmm(_drop(weights, dropped[-1]), value[part], out=mixed[part])
        ctx.save_for_backward(query, key, value, absent, *dropped)
        return mixed

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, absent, *dropped = ctx.saved_tensors
        d_query, d_key, d_value = (torch.empty_like(array) for array in (query, key, value))
        for part, at in zip(_parts(query, key), dropped, strict=True):
            weights = _weights(query, key, absent, part)
            d_weights = _drop(torch.bmm(gradient[part], value[part].mT), at)  # becomes d_scores: fresh memory is slow
            d_scores = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype, grad_input=d_weights)
            torch.bmm(d_scores, key[part], out=d_query[part])
            torch.bmm(d_scores.mT, query[part], out=d_key[part])
            torch.bmm(_drop(weights, at).mT, gradient[part], out=d_value[part])
        return d_query, d_key, d_value, None, None


def _parts(query: torch.Tensor, key: torch.Tensor) -> list[slice]:
    """So many cells and heads at a time that their attention weights stay in the processor's cache."""
    size = max(1, CACHED // (query.shape[1] * key.shape[1]))
    return [slice(start, start + size) for start in range(0, len(query), size)]


def _weights(query: torch.Tensor, key: torch.Tensor, absent: torch.Tensor | None, part: slice) -> torch.Tensor:
    scores = torch.bmm(query[part], key[part].mT)
    if absent is not None:
        scores.masked_fill_(absent[part], -math.inf)
    return torch.softmax(scores, dim=-1, out=scores)


def _dropped(n: int, p: float) -> torch.Tensor:
    """Positions of dropped values, with repeats: each of the `n` is among them with probability p, independently.

    That many uniform draws as a Poisson number with mean -n log(1 - p) hit a position with exactly that probability.
    """
    n_draws = int(torch.poisson(torch.tensor(-n * math.log1p(-p), dtype=torch.float64)))
    return torch.randint(n, (n_draws,))


def _drop(values: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Values with zeros at some positions, in place."""
    values.view(-1).index_fill_(0, at, 0)
    return values
