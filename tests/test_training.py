"""What every family keeps to: budgets, widths, weight decay, learning rates, and clear words at failures."""

import functools
from itertools import pairwise

import numpy as np
import pytest
import torch
from planted import N_GENES, draw_cells

from helpers.models import Budget, Family, TrainingCells, create
from helpers.models.counts import raw_counts

NEURAL = ["scvi", "ssl", "geneformer", "scimilarity"]
SMALL = {"scvi": {}, "ssl": {}, "scimilarity": {}, "geneformer": {"n_hidden": 16, "n_layers": 2, "max_tokens": 32}}


@pytest.fixture(scope="module")
def cells() -> TrainingCells:
    return TrainingCells(draw_cells(150, 1), draw_cells(40, 2))


def made(family: str, **options) -> Family:
    return create(family, n_genes=N_GENES, **({"preset": "demo"} | SMALL[family] | options))


def fitted(family: str, cells: TrainingCells, budget: Budget | int = 640, **options) -> Family:
    model = made(family, **options)
    budget = Budget("cell_views", budget) if isinstance(budget, int) else budget
    model.fit(cells, budget=budget, rng=np.random.default_rng(0))
    return model


@pytest.mark.parametrize("family", NEURAL)
def test_gradients_are_finite_and_reach_every_part_that_is_trained(family, cells):
    model = fitted(family, cells, 0, **({"triplet_weight": 0.5} if family == "scimilarity" else {}))
    model.module.train()
    model.rows = np.arange(64)
    batch = model._batch(model._inputs(raw_counts(cells.train)), model.rows)
    (model._batch_loss(batch, 0.5) * model.gradient_scale).backward()
    gradients = {name: weight.grad for name, weight in model.module.named_parameters()}
    idle = {name for name, gradient in gradients.items() if gradient is None}
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values() if gradient is not None)
    # scvi-tools' module has heads that this likelihood does not use, as the published count of parameters has
    assert all(name.startswith(("l_encoder", "decoder.px_r_decoder", "decoder.px_dropout")) for name in idle), idle
    assert not idle or family == "scvi"


@pytest.mark.parametrize("family", NEURAL)
def test_same_seed_same_weights_and_another_seed_others(family, cells):
    one, again = fitted(family, cells), fitted(family, cells)
    other = made(family)
    other.fit(cells, budget=Budget("cell_views", 640), rng=np.random.default_rng(1))
    for key, value in one.weights.items():
        np.testing.assert_array_equal(again.weights[key], value)
    assert any(not np.array_equal(other.weights[key], value) for key, value in one.weights.items())


@pytest.mark.parametrize("family", NEURAL)
def test_budgets_count_cell_views_or_epochs_and_history_tells_both(family, cells):
    batch = made(family).settings.batch_size
    by_views = fitted(family, cells, 5 * batch - 1, patience=50)
    by_epochs = fitted(family, cells, Budget("epochs", 2), patience=50)
    assert (by_views.cost["steps"], by_views.cost["cell_views"]) == (5, 5 * batch)
    assert by_epochs.cost["cell_views"] == batch * -(-300 // batch)
    history = by_epochs.history
    np.testing.assert_allclose(history["epoch"] * 150, history["cell_views"])
    assert history["step"].tolist() == list(range(by_epochs.cost["steps"] + 1))
    assert np.isfinite(history["validation_loss"].iloc[[0, -1]]).all()
    assert np.isfinite(history["train_loss"][1:]).all()


@pytest.mark.parametrize("family", NEURAL)
def test_weight_decay_makes_weights_smaller(family, cells):
    def length(weight_decay: float) -> float:
        model = fitted(family, cells, 1280, weight_decay=weight_decay, patience=50)
        return sum(np.square(array).sum() for name, array in model.weights.items() if name.endswith("weight"))

    strong = {"scvi": 100.0}.get(family, 40.0)
    assert length(strong) < 0.9 * length(0.0)


@pytest.mark.parametrize(
    ("family", "widths"), [("scvi", [0.5, 1, 2, 4]), ("ssl", [0.5, 1, 2]), ("scimilarity", [0.25, 1, 2])]
)
def test_width_multiplies_the_hidden_units(family, widths):
    sizes = [create(family, n_genes=N_GENES, width=width).n_parameters for width in widths]
    for smaller, larger in pairwise(sizes):
        assert larger["total"] > 1.5 * smaller["total"]
        assert larger["encoder"] > 1.3 * smaller["encoder"]


@pytest.mark.parametrize("hidden", [32, 64, 128, 256])
def test_geneformer_has_the_published_widths(hidden):
    model = create("geneformer", n_genes=N_GENES, width=hidden / 256, vocabulary=100, max_tokens=64)
    assert model._blank_module().config.hidden_size == hidden
    assert model._blank_module().config.intermediate_size == 2 * hidden


def test_a_sweep_keeps_the_rate_with_the_lowest_validation_loss(cells):
    rates = [1e-6, 3e-3, 1e-4]
    alone = {f"{lr:g}": fitted("ssl", cells, lr=lr).history["validation_loss"].min() for lr in rates}
    model = fitted("ssl", cells, lr_sweep=rates)
    assert model.cost["lr_sweep"] == pytest.approx(alone)
    assert model.cost["lr"] == 3e-3
    for key, value in fitted("ssl", cells, lr=3e-3).weights.items():
        np.testing.assert_array_equal(model.weights[key], value)
    assert "lr_sweep" not in fitted("ssl", cells, 0, lr_sweep=rates).cost  # untrained


def test_a_rate_that_diverges_drops_out_of_the_sweep(cells, tmp_path):
    model = fitted("ssl", cells, lr_sweep=[1e30, 1e-3])
    assert model.cost["lr_sweep"]["1e+30"] is None
    assert model.cost["lr"] == 1e-3
    per_step = model.cost["flops"] / model.cost["steps"]
    assert model.cost["sweep_flops"] > model.cost["flops"] + per_step - 1, "the steps of the other rate count"
    assert model.cost["sweep_seconds"] > model.cost["seconds"]
    model.save(tmp_path)
    with pytest.raises(FloatingPointError, match="loss is"):
        fitted("ssl", cells, lr_sweep=[1e30, 1e31])


def test_the_l1_penalty_follows_the_rate_of_the_sweep(cells):
    swept, alone = (
        fitted("scimilarity", cells, lr_sweep=[0.002], l1=10.0),
        fitted("scimilarity", cells, lr=0.002, l1=10.0),
    )
    for key, value in alone.weights.items():
        np.testing.assert_array_equal(swept.weights[key], value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        MemoryError("Unable to allocate 763. MiB for an array"),
    ],
)
def test_a_batch_that_does_not_fit_names_a_smaller_one(cells, monkeypatch, error):
    model = made("ssl", batch_size=64)

    def too_large(batch, progress):
        raise error

    monkeypatch.setattr(model, "_batch_loss", too_large)
    with pytest.raises(MemoryError, match="a batch of 64 cells does not fit into memory; try batch_size = 32"):
        model.fit(cells, budget=Budget("cell_views", 64), rng=np.random.default_rng(0))


@pytest.mark.parametrize("call", ["embed", "heldout_loss", "fit"])
def test_an_evaluation_that_does_not_fit_names_the_setting(cells, monkeypatch, call):
    model = fitted("ssl", cells, 0)

    def too_large(batch):
        raise MemoryError("Unable to allocate 763. MiB for an array")

    for name in ("_encode", "_cell_losses"):
        monkeypatch.setattr(model, name, too_large)
    calls = {"fit": lambda: model.fit(cells, budget=Budget("cell_views", 64), rng=np.random.default_rng(0))}
    calls |= {name: functools.partial(getattr(model, name), cells.validation) for name in ("embed", "heldout_loss")}
    with pytest.raises(MemoryError, match="a batch of 512 cells does not fit into memory; try evaluation_batch = 256"):
        calls[call]()


def test_the_evaluation_batch_changes_nothing_but_rounding(cells):
    for family in NEURAL:
        model, other = fitted(family, cells), made(family, evaluation_batch=7)
        other.module, other.weights, other.genes = model.module, model.weights, model.genes
        for call in ("embed", "heldout_loss"):
            found = [getattr(one, call)(cells.validation) for one in (model, other)]
            np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-5)


def test_other_errors_of_a_step_stay_what_they_are(cells, monkeypatch):
    model = made("ssl")

    def broken(batch, progress):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(model, "_batch_loss", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        model.fit(cells, budget=Budget("cell_views", 64), rng=np.random.default_rng(0))


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="accelerator"):
        made("ssl", accelerator="tpu")


@pytest.mark.parametrize("family", NEURAL)
def test_losses_and_gradients_survive_bfloat16_as_used_on_a_gpu(family, cells):
    model = fitted(family, cells)
    model.module.train()
    batch, losses = model._batch(model._inputs(raw_counts(cells.train)), np.arange(64)), []
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses.append(model._batch_loss(batch, 0.5))
    assert losses[1].dtype == torch.float32
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=5e-3)
    losses[1].backward()
    assert all(torch.isfinite(weight.grad).all() for weight in model.module.parameters() if weight.grad is not None)
