"""SSL: that it is the published masked autoencoder, hides what it should, and learns under each objective."""

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from planted import N_GENES, draw_cells

from helpers import models
from helpers.models import Budget, Family, TrainingCells, create
from helpers.models.counts import cell_keys, log_cp10k, raw_counts
from helpers.models.ssl import N_MASKS, fixed_masks

OBJECTIVES = ["masked", "reconstruction", "triplet"]


def fitted(cells: TrainingCells, views: int = 8000, seed: int = 0, **options) -> Family:
    model = create("ssl", n_genes=N_GENES, **({"preset": "demo"} | options))
    model.fit(cells, budget=Budget("cell_views", views), rng=np.random.default_rng(seed))
    return model


@pytest.fixture(scope="module")
def cells() -> TrainingCells:
    return TrainingCells(draw_cells(200, 1), draw_cells(50, 2))


@pytest.fixture(scope="module")
def test_cells() -> AnnData:
    return draw_cells(90, 3)


@pytest.fixture(scope="module")
def trained(cells) -> dict[str, Family]:
    """One trained model of each objective; tests do not change them."""
    return {objective: fitted(cells, views=20_000, objective=objective) for objective in OBJECTIVES}


def test_it_has_the_published_number_of_parameters():
    with torch.device("meta"):  # sizes without memory
        module = create("ssl", n_genes=19_331)._module()
    assert sum(weight.numel() for weight in module.parameters()) == 20_767_683
    kinds = {type(layer).__name__ for layer in module.modules()}
    assert kinds == {"ModuleDict", "Sequential", "Linear", "SELU", "Dropout"}
    widths = [layer.out_features for layer in module.modules() if isinstance(layer, torch.nn.Linear)]
    assert widths == [512, 512, 256, 256, 64, 256, 256, 512, 512, 19_331]


@pytest.mark.parametrize("width", [0.5, 1.0, 2.0])
def test_width_multiplies_hidden_units(width):
    size = create("ssl", n_genes=50, width=width, n_hidden=[20, 10], n_latent=4).n_parameters
    first, second = round(20 * width), round(10 * width)
    encoder = 51 * first + (first + 1) * second + (second + 1) * 4
    assert size == {"total": encoder + 5 * second + (second + 1) * first + (first + 1) * 50, "encoder": encoder}


def test_training_masks_half_of_the_genes_anew_and_scales_up_the_others(cells):
    model, seen = fitted(cells, views=0, dropout=0.0), []
    model.module["encoder"].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    inputs = model._inputs(raw_counts(cells.train))
    batch = model._batch(inputs, np.arange(200))._replace(expression=torch.ones(200, N_GENES))
    losses = [model._batch_loss(batch, 0.5) for _ in range(2)]
    assert set(seen[0].unique().tolist()) == {0.0, 2.0}
    assert (seen[0] == 0).float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert ((seen[0] == 0) == (seen[1] == 0)).float().mean().item() == pytest.approx(0.5, abs=0.02)
    rebuilt = model.module["decoder"](model.module["encoder"](seen[0]))
    expected = (rebuilt - 1).square()[seen[0] == 0].mean().item()
    assert losses[0].item() == pytest.approx(expected, rel=0.05)  # the mean over half the entries in expectation


def test_what_is_masked_never_leaks(trained):
    model = trained["masked"]
    rng = np.random.default_rng(0)
    expression = torch.from_numpy(rng.random((30, N_GENES), dtype=np.float32))
    mask = torch.from_numpy(rng.integers(N_MASKS, size=30))
    batch = model._batch(model._inputs(raw_counts(draw_cells(30, 4))), slice(0, 30))
    batch = batch._replace(expression=expression, mask=mask)
    hidden = model._fixed_masks(batch)
    other = torch.where(hidden, 100 * torch.rand(30, N_GENES), expression)
    seen = []
    handle = model.module["decoder"].register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        before, after = (model._cell_losses(batch._replace(expression=values)) for values in (expression, other))
    handle.remove()
    assert torch.equal(seen[0], seen[1])
    for losses, values in ((before, expression), (after, other)):  # and the loss is that of the masked genes alone
        by_hand = [(seen[0][cell] - values[cell])[hidden[cell]].square().mean() for cell in range(30)]
        torch.testing.assert_close(losses, torch.stack(by_hand), rtol=1e-5, atol=1e-6)


def test_fixed_masks_hide_the_same_number_of_genes_in_each_cell(cells):
    masks = fixed_masks(N_GENES, 0.5)
    assert masks.shape == (N_MASKS, N_GENES)
    assert (masks.sum(axis=1) == 30).all()
    assert (np.abs(masks.mean(axis=0) - 0.5) < 0.15).all()
    assert fixed_masks(1, 0.1).all()
    chosen = cell_keys(raw_counts(cells.train)) % N_MASKS
    assert len(np.unique(chosen)) > 100


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_heldout_loss_depends_on_the_cell_alone(trained, test_cells, objective):
    losses = trained[objective].heldout_loss(test_cells)
    np.testing.assert_array_equal(trained[objective].heldout_loss(test_cells), losses)
    order = np.random.default_rng(0).permutation(90)[:40]
    np.testing.assert_allclose(trained[objective].heldout_loss(test_cells[order]), losses[order], rtol=1e-4)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_each_objective_beats_the_untrained_model_and_the_null(trained, cells, test_cells, objective):
    model, untrained = trained[objective], fitted(cells, views=0, objective=objective)
    null = model.loss_controls(cells, test_cells)["null"]
    loss = model.heldout_loss(test_cells).mean()
    assert loss < 0.95 * null.mean()
    assert loss < 0.8 * untrained.heldout_loss(test_cells).mean()
    assert model.history["validation_loss"].min() == pytest.approx(
        model.heldout_loss(cells.validation).mean(), rel=1e-5
    )


def test_null_is_the_gene_means_at_the_genes_of_the_loss(cells, test_cells):
    errors = np.square(log_cp10k(raw_counts(test_cells)).toarray() - log_cp10k(raw_counts(cells.train)).mean(axis=0))
    masks = fixed_masks(N_GENES, 0.5)[cell_keys(raw_counts(test_cells)) % N_MASKS]
    for objective, expected in (("masked", (errors * masks).sum(axis=1) / 30), ("triplet", errors.mean(axis=1))):
        model = create("ssl", n_genes=N_GENES, preset="demo", objective=objective)
        np.testing.assert_allclose(model.loss_controls(cells, test_cells)["null"], expected, rtol=1e-4)


def test_only_the_triplet_objective_needs_labels_and_says_so(trained, cells):
    bare = AnnData(cells.train.X, obs=pd.DataFrame(index=cells.train.obs_names), var=cells.train.var)
    unlabelled = TrainingCells(bare, cells.validation)
    assert "supervised" not in fitted(unlabelled, views=64).cost
    with pytest.raises(ValueError, match="no column 'cell_type'"):
        fitted(unlabelled, views=64, objective="triplet")
    assert trained["triplet"].cost["supervised"] is True
    assert trained["triplet"].cost["triplets"] > 0
    assert trained["triplet"].cost["within_study_triplets"] == 0.0  # each planted type is in both libraries
    assert len({model.loss_unit for model in trained.values()}) == 3


def test_the_triplet_objective_trains_the_encoder_on_triplets_alone(cells, test_cells):
    model = fitted(cells, views=0, objective="triplet")
    model.rows = np.arange(64)
    batch, gradients = model._batch(model._inputs(raw_counts(cells.train)), model.rows), []
    for loss in (
        lambda: model._batch_loss(batch, 0.5),
        lambda: model._triplets.loss(model._encode(batch), model.rows),
    ):
        model.module.zero_grad()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            loss().backward()
        gradients.append({key: weight.grad for key, weight in model.module.named_parameters()})
    for key in model.module.state_dict():
        if key.startswith("encoder"):
            torch.testing.assert_close(gradients[0][key], gradients[1][key])
            assert gradients[0][key].abs().sum() > 0
        else:
            assert gradients[0][key].abs().sum() > 0
            assert gradients[1][key] is None
    np.testing.assert_allclose(np.linalg.norm(model.embed(test_cells), axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_57_cells_train_to_the_same_weights_again_and_load_gives_the_model_back(objective, tmp_path, test_cells):
    few = TrainingCells(draw_cells(57, 1), draw_cells(20, 2))
    first, again = (fitted(few, views=1000, objective=objective) for _ in range(2))
    for key, array in first.weights.items():
        assert np.isfinite(array).all()
        np.testing.assert_array_equal(array, again.weights[key])
    first.save(tmp_path)
    loaded = models.load(tmp_path)
    np.testing.assert_array_equal(loaded.embed(test_cells), first.embed(test_cells))
    np.testing.assert_array_equal(loaded.heldout_loss(test_cells), first.heldout_loss(test_cells))
    assert (loaded.cost, loaded.loss_unit) == (first.cost, first.loss_unit)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_counted_and_analytic_operations_agree(trained, objective):
    cost = trained[objective].cost
    assert cost["flops_counted"] == pytest.approx(cost["flops"], rel=0.1)


def test_nothing_global_is_left_changed(cells):
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    fitted(cells, views=640, objective="triplet")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002


def test_the_demo_preset_learns_from_real_cells(real_cells):
    kang, pbmc3k = real_cells
    cells = TrainingCells(kang[500:2500].copy(), kang[:300].copy())
    model, untrained = (create("ssl", n_genes=500, preset="demo") for _ in range(2))
    for each, views in ((model, 8000), (untrained, 0)):
        each.fit(cells, budget=Budget("cell_views", views), rng=np.random.default_rng(0))
    null, reference, _ = model.loss_controls(cells, pbmc3k).mean()
    assert reference < model.heldout_loss(pbmc3k).mean() < 0.95 * null
    assert model.heldout_loss(pbmc3k).mean() < 0.8 * untrained.heldout_loss(pbmc3k).mean()
