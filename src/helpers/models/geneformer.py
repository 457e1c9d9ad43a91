"""Geneformer (Theodoris 2023): BERT on rank-value tokens with a masked-token loss, on transformers' module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import scipy.sparse as sp
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from helpers.models import register
from helpers.models.count_split import in_memory
from helpers.models.neural import NeuralFamily
from helpers.models.protocol import TrainingCells
from helpers.models.rank_tokens import FIRST_GENE, MASK, PAD, Batch, Tokens, filled, nonzero_medians, tokenise
from helpers.models.sparse_dropout import SparseDropout, SparseDropoutAttention
from helpers.models.token_rates import guess_losses, rank_classes, token_rates
from helpers.models.train import TrainSettings

if TYPE_CHECKING:
    import pandas as pd

    from helpers.models.count_split import Halves

HEADS = 4


class GeneformerSettings(TrainSettings):
    """Settings of the published pretraining; `width` multiplies `n_hidden`."""

    n_hidden: int = Field(256, ge=4)
    n_layers: int = Field(6, ge=1)
    max_tokens: int = Field(2048, ge=1)
    vocabulary: int | None = Field(None, ge=3)  # None: two special tokens and the genes
    mask_share: float = Field(0.15, gt=0, lt=1)
    dropout: float = Field(0.02, ge=0, lt=1)
    batch_size: int = Field(144, ge=2)  # 18 on each of 8 GPUs
    evaluation_batch: int = Field(32, ge=1)
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    optimizer: Literal["adam", "adamw"] = "adamw"
    lr_warmup: float = Field(0.02, ge=0, lt=1)  # 10,000 steps, if three epochs of 22 million cells
    weight_decay: float = Field(1e-3, ge=0)


@register("geneformer")
class Geneformer(NeuralFamily):
    """Geneformer: 6 layers, 4 heads, width 256, up to 2,048 tokens, no special tokens but padding and mask.

    A gene's value is its count per 10,000 divided by its non-zero median: that of the column `nonzero_median` of
    `cells.train.var` if there is one, as a study should have it, so that its runs see the same tokens; else that of the
    training cells (NaN: of none of them). A gene without a median gets the median of the others', so that every gene
    of every cell can be a token. The medians are kept with the weights.

    The loss is the mean over a cell's masked tokens; its unit is per token, not per gene. In training 15 % of the
    tokens are drawn anew each time, at least one per cell, and treated as in BERT. In the held-out and validation loss
    the tokens to mask are fixed once per cell by its counts, and all of them are masked. The null knows how many cells
    of the corpus have each gene among their tokens (half a cell added) and which genes of this cell are visible, so
    cannot be a masked one: the odds of the others to be masked, were genes independent. The embedding is the mean over
    a cell's tokens of the second-to-last layer's output.

    Only what the loss needs is computed: dense layers see no padding, the last layer and the vocabulary's see the
    masked tokens alone. On the CPU dropout draws as many numbers as it drops values. `n_hidden` times the width is
    rounded to a multiple of the 4 heads.

    `paper`: as published, but the warm-up is a share of the run. `demo`: 64 tokens, 2 layers of width 32 and small
    batches, so that 20,000 cell-views take about 20 s; tuned on the validation cells (kang_ctrl) alone. Few tokens
    leave it far behind what the cells hold.
    """

    presets: ClassVar = {
        "paper": GeneformerSettings(vocabulary=25_426),
        "demo": GeneformerSettings(
            n_hidden=32, n_layers=2, max_tokens=64, batch_size=16, lr=5e-3, lr_warmup=0.1, validations=10, patience=3
        ),
    }
    loss_unit = "cross entropy, nats per masked token"

    def __init__(self, n_genes: int, **options: Any) -> None:
        _transformers()  # imported before a seed is set, lest the import draw from it
        super().__init__(n_genes, **options)
        self.vocabulary = self.settings.vocabulary or FIRST_GENE + n_genes
        if self.vocabulary < FIRST_GENE + n_genes:
            raise ValueError(
                f"vocabulary is {self.vocabulary}; accepted: {FIRST_GENE + n_genes} or more for {n_genes} genes"
            )

    def _prepare(self, cells: TrainingCells) -> None:
        self._known_medians = cells.train.var.get("nonzero_median")

    def _fit(self, train: sp.csr_array, *others: Any) -> tuple[pd.DataFrame, dict[str, Any]]:
        known = self._known_medians
        medians = nonzero_medians(train) if known is None else known.to_numpy(np.float32)
        self.weights = {"medians": filled(medians)}
        self._lengths = np.minimum((in_memory(train) > 0).sum(axis=1), self.settings.max_tokens).astype(float)
        return super()._fit(train, *others)

    def _module(self) -> nn.Module:
        settings = self.settings
        transformers = _transformers()
        n_hidden = HEADS * max(1, round(settings.n_hidden * self.width / HEADS))
        config = transformers.BertConfig(
            vocab_size=self.vocabulary,
            hidden_size=n_hidden,
            num_hidden_layers=settings.n_layers,
            num_attention_heads=HEADS,
            intermediate_size=2 * n_hidden,
            hidden_act="relu",
            hidden_dropout_prob=settings.dropout,
            attention_probs_dropout_prob=settings.dropout,
            max_position_embeddings=settings.max_tokens,
            pad_token_id=PAD,
        )
        module = transformers.BertForMaskedLM(config)
        del module.cls.predictions.decoder  # its weights are those of the embedding and `bias`
        for part in list(module.modules()):
            for name, child in part.named_children():
                if isinstance(child, nn.Dropout):
                    setattr(part, name, SparseDropout(settings.dropout))
        medians = self.weights.get("medians", np.ones(self.n_genes, dtype=np.float32))
        module.register_buffer("medians", torch.from_numpy(medians))
        return module

    def _encoder(self, module: nn.Module) -> nn.Module:
        return nn.ModuleList([module.bert.embeddings, module.bert.encoder.layer[:-1]])

    def _last_layers(self, module: nn.Module) -> list[nn.Module]:
        return list(module.bert.encoder.layer[:-1][-1:]) or [module.bert.embeddings]

    def _inputs(self, counts: sp.csr_array) -> Tokens:
        return tokenise(counts, self.weights["medians"], self.settings.max_tokens)

    def _batch(self, inputs: Tokens, rows: np.ndarray | slice) -> Batch:
        return inputs.batch(rows, self.device)

    def _batch_loss(self, batch: Batch, progress: float) -> torch.Tensor:
        """15 % of the tokens are predicted: 80 % of them masked, 10 % another gene, 10 % as they are."""
        draws, fate = torch.rand(2, len(batch.tokens), device=self.device)
        masked = batch.masked(draws, self.settings.mask_share)
        others = torch.randint(FIRST_GENE, FIRST_GENE + self.n_genes, batch.tokens.shape, device=self.device)
        tokens = torch.where(masked & (fate < 0.1), others, batch.tokens)
        tokens = torch.where(masked & (fate >= 0.2), MASK, tokens)
        hidden, weight, bias = self._at(masked, tokens, batch)
        return functional.cross_entropy(functional.linear(hidden, weight, bias), batch.tokens[masked])

    def _cell_losses(self, batch: Batch) -> torch.Tensor:
        masked = batch.masked(batch.fixed_draws(), self.settings.mask_share)
        tokens = torch.where(masked, MASK, batch.tokens)
        losses = functional.cross_entropy(
            functional.linear(*self._at(masked, tokens, batch)), batch.tokens[masked], reduction="none"
        )
        cell, n_cells = batch.cell[masked].cpu(), len(batch.lengths)
        sums = torch.zeros(n_cells, dtype=torch.float64).index_add(0, cell, losses.cpu().double())
        return sums / torch.bincount(cell, minlength=n_cells)

    def _encode(self, batch: Batch) -> torch.Tensor:
        hidden = self._hidden(batch.tokens, batch, self.module.bert.encoder.layer[:-1])
        return batch.padded(hidden).sum(dim=1) / batch.lengths[:, None]

    def _at(
        self, masked: torch.Tensor, tokens: torch.Tensor, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Input, weight and bias of the vocabulary's layer, at the masked tokens alone, as is the last BERT layer."""
        bert, head = self.module.bert, self.module.cls.predictions
        *layers, last = bert.encoder.layer
        hidden = _layer(last, self._hidden(tokens, batch, layers), batch, batch.subset(masked))
        return head.transform(hidden), bert.embeddings.word_embeddings.weight, head.bias

    def _hidden(self, tokens: torch.Tensor, batch: Batch, layers: list[nn.Module]) -> torch.Tensor:
        """Output of the last of these layers (n_tokens, n_hidden)."""
        hidden = self.module.bert.embeddings(tokens[None], position_ids=batch.rank[None])[0]
        for layer in layers:
            hidden = _layer(layer, hidden, batch, batch)
        return hidden

    def _flops_per_view(self) -> float:
        """Of cells as long as these; attention is 7 products, since its weights are computed anew for the gradients."""
        tokens, share, n_hidden = self._lengths, self.settings.mask_share, self.module.config.hidden_size
        masked = tokens * share + (1 - share) ** tokens  # at least one
        square, earlier = n_hidden**2, self.settings.n_layers - 1
        dense = (8 * earlier + 2) * square * tokens + (6 + 1) * square * masked + n_hidden * self.vocabulary * masked
        attention = n_hidden * (earlier * tokens**2 + tokens * masked)
        return float((6 * dense + 14 * attention).mean())

    def _null_losses(self, corpus: sp.csr_array, counts: sp.csr_array) -> np.ndarray:
        """Genes are tokens of a cell independently of each other, each at its rate in the corpus."""
        tokens, of_corpus = self._control_tokens(counts, corpus)
        shapes = ((len(part.keys), self.n_genes) for part in (tokens, of_corpus))
        unknown, of_unknown = (sp.csr_array(shape, dtype=np.int64) for shape in shapes)
        return guess_losses(tokens, token_rates(of_corpus, of_unknown), unknown, self.settings.mask_share)

    def _split_gains(self, corpus: Halves, cells: Halves) -> np.ndarray:
        """Reference: as the null, but with a gene's rate among those corpus cells whose other half ranks it alike."""
        tokens, other, of_corpus, of_other = self._control_tokens(*cells, *corpus)
        known, of_known = (rank_classes(part, self.n_genes) for part in (other, of_other))
        losses = guess_losses(tokens, token_rates(of_corpus, of_known), known, self.settings.mask_share)
        return self._null_losses(corpus[0], cells[0]) - losses

    def _control_tokens(self, *parts: sp.csr_array) -> list[Tokens]:
        """Tokens of cells; the last of them are the corpus, whose medians are taken where there are none yet."""
        medians = self.weights.get("medians")
        medians = filled(nonzero_medians(parts[-1])) if medians is None else medians
        return [tokenise(in_memory(part), medians, self.settings.max_tokens) for part in parts]


def _layer(layer: nn.Module, hidden: torch.Tensor, batch: Batch, asked: Batch) -> torch.Tensor:
    """A BERT layer's output (n_asked, n_hidden) at the tokens asked for, of `hidden` (n_tokens, n_hidden)."""
    own, few = layer.attention.self, asked.of(hidden)
    shape = -1, HEADS, own.attention_head_size
    query, key, value = (
        tokens.padded(dense(values).view(shape)).transpose(1, 2)
        for dense, values, tokens in ((own.query, few, asked), (own.key, hidden, batch), (own.value, hidden, batch))
    )
    real = batch.real()
    p = own.dropout.p if layer.training else 0.0
    if p and hidden.device.type == "cpu":
        flat = (part.flatten(0, 1) for part in (query * own.scaling, key, value / (1 - p)))
        absent = None if real is None else ~real.repeat_interleave(HEADS, dim=0)[:, None]
        mixed = SparseDropoutAttention.apply(*flat, absent, p).view(query.shape)
    else:
        seen = None if real is None else real[:, None, None]
        mixed = functional.scaled_dot_product_attention(query, key, value, seen, p)
    mixed = asked.unpadded(mixed.transpose(1, 2)).flatten(1)
    return layer.feed_forward_chunk(layer.attention.output(mixed, few))


def _transformers() -> Any:
    """transformers, which takes seconds to import."""
    import transformers

    return transformers
