"""Geneformer: ranks, masks, the fast step beside transformers' own model, and that it learns."""

import dataclasses

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from planted import N_GENES, draw_cells

from helpers import models
from helpers.models import Budget, TrainingCells, create, sparse_dropout
from helpers.models.counts import raw_counts
from helpers.models.rank_tokens import FIRST_GENE, MASK, filled, nonzero_medians, tokenise

CPU = torch.device("cpu")
SMALL = {"n_hidden": 16, "n_layers": 2, "max_tokens": 30, "batch_size": 16}


def varied_cells(n: int, seed: int, rate: float = 1.0) -> anndata.AnnData:
    """Cells whose numbers of expressed genes differ; the first has one gene alone."""
    cells = draw_cells(n, seed, rates=(1.5 * rate, 0.1 * rate))
    counts = cells.X.toarray()
    counts[0] = np.arange(N_GENES) == 7
    cells.X = sp.csr_matrix(counts)
    return cells


def fitted(cells: TrainingCells, views: int = 160, **options):
    model = create("geneformer", n_genes=cells.train.n_vars, **({"preset": "demo"} | options))
    model.fit(cells, budget=Budget("cell_views", views), rng=np.random.default_rng(0))
    return model


@pytest.fixture(scope="module")
def cells() -> TrainingCells:
    return TrainingCells(varied_cells(120, 1), varied_cells(40, 2))


@pytest.fixture(scope="module")
def test_cells() -> anndata.AnnData:
    return varied_cells(70, 3)


@pytest.fixture(scope="module")
def trained(cells):
    return fitted(cells, **SMALL)


@pytest.fixture
def batch(trained, test_cells):
    return trained._batch(trained._inputs(raw_counts(test_cells)), slice(0, 20))


def stock_of(model) -> torch.nn.Module:
    """transformers' own model with the same weights, in evaluation mode."""
    from transformers import BertForMaskedLM

    stock = BertForMaskedLM(model.module.config)
    weights = {key: value for key, value in model.module.state_dict().items() if key != "medians"}
    absent = stock.load_state_dict(weights, strict=False)
    assert absent.unexpected_keys == []
    assert set(absent.missing_keys) == {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
    stock.tie_weights()
    return stock.eval()


# Tokens


def test_medians_are_those_of_the_cells_that_have_the_gene():
    counts = sp.csr_array(np.array([[1, 3, 0, 0], [2, 2, 0, 0], [1, 0, 1, 0]], dtype=np.float32))
    np.testing.assert_allclose(nonzero_medians(counts), [5000, 6250, 5000, np.nan])
    np.testing.assert_allclose(filled(nonzero_medians(counts)), [5000, 6250, 5000, 5000])
    with pytest.raises(ValueError, match="nonzero_median holds values that are no medians"):
        filled(np.array([1.0, 0.0]))


def test_ranks_of_hand_made_cells():
    counts = sp.csr_array(np.array([[4, 4, 9, 0, 1], [0, 0, 0, 2, 0], [1, 2, 3, 3, 1]], dtype=np.float32))
    medians = np.array([1, 2, 3, 3, 1], dtype=np.float32)
    tokens = tokenise(counts, medians, 4)
    np.testing.assert_array_equal(tokens.starts, [0, 4, 5, 9])
    expected = [0, 2, 1, 4, 3, 0, 1, 2, 3]  # the last cell's genes are all level
    np.testing.assert_array_equal(tokens.tokens - FIRST_GENE, expected)
    unordered = sp.csr_array((counts.data, counts.indices, counts.indptr), shape=counts.shape)
    unordered.indices, unordered.data = unordered.indices.copy(), unordered.data.copy()
    unordered.indices[-5:], unordered.data[-5:] = unordered.indices[-5:][::-1], unordered.data[-5:][::-1]
    unordered.has_sorted_indices = False
    np.testing.assert_array_equal(tokenise(unordered, medians, 4).tokens, tokens.tokens)


def test_zeros_that_are_stored_are_no_tokens():
    counts = sp.csr_array((np.array([0.0, 2.0], dtype=np.float32), [0, 1], [0, 2]), shape=(1, 3))
    np.testing.assert_array_equal(tokenise(counts, np.ones(3, dtype=np.float32), 9).tokens, [FIRST_GENE + 1])
    np.testing.assert_allclose(nonzero_medians(counts), [np.nan, 1e4, np.nan])


def test_medians_of_the_whole_corpus_are_used_and_kept(cells, test_cells, tmp_path):
    train = cells.train.copy()
    train.var["nonzero_median"] = np.where(np.arange(N_GENES) == 4, np.nan, np.arange(N_GENES) + 1.0)
    model = fitted(TrainingCells(train, cells.validation), views=16, **SMALL)
    np.testing.assert_allclose(model.weights["medians"], filled(train.var["nonzero_median"].to_numpy(np.float32)))
    model.save(tmp_path)
    np.testing.assert_array_equal(models.load(tmp_path).weights["medians"], model.weights["medians"])


# Masks


def test_the_held_out_mask_depends_on_the_cell_alone(trained, test_cells):
    inputs = trained._inputs(raw_counts(test_cells))
    whole = trained._batch(inputs, slice(None))
    masked = whole.masked(whole.fixed_draws(), 0.15)
    per_cell = torch.bincount(whole.cell[masked], minlength=70)
    assert per_cell.min() == 1
    assert 0.14 < masked.double().mean() < 0.25
    alone = trained._batch(inputs, np.array([5, 3]))
    again = alone.tokens[alone.masked(alone.fixed_draws(), 0.15)]
    assert again.tolist() == torch.cat([whole.tokens[masked & (whole.cell == cell)] for cell in (5, 3)]).tolist()
    assert len(set(whole.fixed_draws().tolist())) > 0.99 * len(whole.tokens)


def test_masked_genes_do_not_leak(trained, batch, monkeypatch):
    masked = batch.masked(batch.fixed_draws(), 0.15)
    seen, at = [], trained._at

    def recorded(*given) -> tuple[torch.Tensor, ...]:
        seen.append(torch.nn.functional.linear(*at(*given)))
        return at(*given)

    def logits(changed: torch.Tensor) -> torch.Tensor:
        """Of the same mask, when the masked genes are other ones."""
        with monkeypatch.context() as patch:
            patch.setattr(type(batch), "fixed_draws", lambda _: draws)
            patch.setattr(trained, "_at", recorded)
            trained._cell_losses(dataclasses.replace(batch, tokens=changed))
        return seen[-1]

    draws = batch.fixed_draws()
    with torch.no_grad():
        before = logits(batch.tokens)
        others = torch.where(masked, (batch.tokens + 11 - FIRST_GENE) % N_GENES + FIRST_GENE, batch.tokens)
        assert torch.equal(logits(others), before)
        visible = torch.where(masked, batch.tokens, (batch.tokens + 11 - FIRST_GENE) % N_GENES + FIRST_GENE)
        assert not torch.allclose(logits(visible), before)
    assert before.shape == (int(masked.sum()), FIRST_GENE + N_GENES)


def test_training_masks_as_bert_does(trained, test_cells, monkeypatch):
    inputs = trained._inputs(raw_counts(test_cells))
    batch = trained._batch(inputs, np.repeat(np.arange(1, 70), 20))
    seen = []
    one = torch.zeros(1, 1), torch.zeros(FIRST_GENE + N_GENES, 1), torch.zeros(FIRST_GENE + N_GENES)
    monkeypatch.setattr(trained, "_at", lambda masked, tokens, _: seen.append((masked, tokens)) or given(masked))

    def given(masked: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return one[0].expand(int(masked.sum()), 1), one[1], one[2]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert trained._batch_loss(batch, 0.5).item() == pytest.approx(np.log(FIRST_GENE + N_GENES))
    masked, tokens = seen[0]
    assert torch.equal(tokens[~masked], batch.tokens[~masked])
    assert (tokens[masked] == MASK).double().mean() == pytest.approx(0.8, abs=0.02)
    assert (tokens[masked] == batch.tokens[masked]).double().mean() == pytest.approx(0.1 + 0.1 / N_GENES, abs=0.02)
    assert tokens.max() < FIRST_GENE + N_GENES


# The step


def test_published_number_of_parameters():
    assert create("geneformer", n_genes=19_331).n_parameters["total"] == 10_288_722
    assert create("geneformer", n_genes=100, preset="demo").vocabulary == 102
    with pytest.raises(ValueError, match="vocabulary is 50; accepted: 102 or more for 100 genes"):
        create("geneformer", n_genes=100, vocabulary=50)


@pytest.mark.parametrize(("width", "hidden"), [(0.125, 32), (0.25, 64), (0.52, 132), (1.0, 256)])
def test_width_keeps_four_heads(width, hidden):
    config = create("geneformer", n_genes=20, width=width, vocabulary=None, n_layers=1)._blank_module().config
    assert (config.hidden_size, config.intermediate_size, config.num_attention_heads) == (hidden, 2 * hidden, 4)


@pytest.mark.parametrize("dropout", [0.0, 1e-12])
def test_loss_and_gradients_are_those_of_transformers(trained, batch, dropout, monkeypatch):
    """With a dropout that drops nothing, the training step goes through our attention."""
    stock, module = stock_of(trained), trained.module
    masked = batch.masked(batch.fixed_draws(), 0.15)
    tokens = torch.where(masked, MASK, batch.tokens)
    labels = batch.padded(torch.where(masked, batch.tokens, -100), fill=-100)
    theirs = stock(batch.padded(tokens), attention_mask=batch.real().long(), labels=labels).loss
    theirs.backward()
    for part in module.modules():
        if isinstance(part, torch.nn.Dropout):
            monkeypatch.setattr(part, "p", dropout)
    module.train(dropout > 0)
    ours = torch.nn.functional.cross_entropy(
        torch.nn.functional.linear(*trained._at(masked, tokens, batch)), batch.tokens[masked]
    )
    module.zero_grad()
    ours.backward()
    module.eval()
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)
    expected = dict(stock.named_parameters())
    for name, weight in module.named_parameters():
        torch.testing.assert_close(weight.grad, expected[name].grad, rtol=1e-3, atol=1e-6)


def test_dropout_is_dropout():
    values = torch.ones(200_000, requires_grad=True)
    layer = sparse_dropout.SparseDropout(0.02)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        out = layer(values)
    out.sum().backward()
    assert (out == 0).double().mean() == pytest.approx(0.02, abs=0.002)
    assert torch.equal(values.grad, out.detach())
    assert out.max().item() == pytest.approx(1 / 0.98)
    assert torch.equal(layer.eval()(values), values)


def test_gradients_of_attention_with_dropout_are_those_of_finite_differences():
    absent = torch.tensor([[[False, False, True]], [[False, False, False]]])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = [torch.randn(2, n, 2, dtype=torch.float64, requires_grad=True) for n in (2, 3, 3)]

        def mixed(*parts: torch.Tensor) -> torch.Tensor:
            torch.manual_seed(1)
            return sparse_dropout.SparseDropoutAttention.apply(*parts, absent, 0.3)

        assert torch.autograd.gradcheck(mixed, parts)
        weights = torch.softmax((parts[0] @ parts[1].mT).masked_fill(absent, -torch.inf), dim=-1)
        assert not torch.allclose(mixed(*parts), weights @ parts[2])


# The model


def test_losses_and_embeddings_do_not_depend_on_the_batch(trained, test_cells):
    order = np.random.default_rng(0).permutation(70)[:25]
    for method in (trained.embed, trained.heldout_loss):
        whole = method(test_cells)
        np.testing.assert_allclose(method(test_cells[order]), whole[order], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(method(test_cells[:1]), whole[:1], rtol=1e-5, atol=1e-5)
    assert trained.embed(test_cells).shape == (70, 16)


def test_embedding_is_the_mean_of_the_second_to_last_layer(trained, test_cells):
    stock, batch = stock_of(trained), trained._batch(trained._inputs(raw_counts(test_cells)), slice(None))
    with torch.no_grad():
        states = stock(batch.padded(batch.tokens), attention_mask=batch.real().long(), output_hidden_states=True)
    expected = (states.hidden_states[-2] * batch.real()[..., None]).sum(dim=1) / batch.lengths[:, None]
    np.testing.assert_allclose(trained.embed(test_cells), expected, atol=1e-5)


def test_same_seed_same_weights_and_files_give_the_model_back(cells, trained, test_cells, tmp_path):
    again = fitted(cells, **SMALL)
    for key, value in trained.weights.items():
        np.testing.assert_array_equal(again.weights[key], value)
    trained.save(tmp_path)
    loaded = models.load(tmp_path)
    np.testing.assert_array_equal(loaded.embed(test_cells), trained.embed(test_cells))
    np.testing.assert_array_equal(loaded.heldout_loss(test_cells), trained.heldout_loss(test_cells))
    assert loaded.n_parameters == trained.n_parameters


def test_null_is_that_of_independent_genes(cells, test_cells):
    model = create("geneformer", n_genes=N_GENES, preset="demo")
    null = model.loss_controls(cells, test_cells)["null"]
    present = ((cells.train.X.toarray() > 0).sum(axis=0) + 0.5) / 121
    medians = filled(nonzero_medians(raw_counts(cells.train)))
    batch = tokenise(raw_counts(test_cells), medians, 64).batch(slice(None), CPU)
    masked, gene = batch.masked(batch.fixed_draws(), 0.15).numpy(), batch.tokens.numpy() - FIRST_GENE
    for cell in (0, 1, 69):
        mine = batch.cell.numpy() == cell
        hidden = np.setdiff1d(np.arange(N_GENES), gene[mine & ~masked])
        posterior = present * 0.15 / (present * 0.15 + 1 - present)  # masked, given that it is not seen
        expected = -np.log(posterior[gene[mine & masked]] / posterior[hidden].sum()).mean()
        assert null[cell] == pytest.approx(expected)


def test_57_cells_and_cost():
    few = TrainingCells(varied_cells(57, 1, rate=20), varied_cells(20, 2))
    model = fitted(few, views=130, **SMALL, patience=20)
    assert model.cost["steps"] == 9
    assert model.cost["flops_counted"] == pytest.approx(model.cost["flops"], rel=0.1)
    assert np.isfinite(model.heldout_loss(few.validation)).all()


def test_demo_preset_learns_from_real_cells(real_cells):
    kang, pbmc3k = real_cells
    cells = TrainingCells(kang[500:3500].copy(), kang[:60].copy())
    pbmc3k = pbmc3k[:300].copy()
    model, untrained = fitted(cells, views=10_000), fitted(cells, views=0)
    same_study = kang[300:500].copy()
    for test, of_null, of_untrained in ((same_study, 0.97, 0.92), (pbmc3k, 0.99, 0.93)):
        loss = model.heldout_loss(test).mean()
        assert loss < of_null * model.loss_controls(cells, test)["null"].mean()
        assert loss < of_untrained * untrained.heldout_loss(test).mean()
