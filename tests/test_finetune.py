"""Heads on frozen embeddings and fine-tuned encoders: what they reach, what they must not see, and what they refuse."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from helpers.evaluate import finetune as ft
from helpers.models import Budget, Family, TrainingCells, create
from helpers.models.neural import NeuralFamily

NAMES = np.array(["B", "CD4 T", "NK", "rare"])
FAST = ft.HeadSettings(lr=1e-2)
JOINT = ft.FineTuneSettings(lr=1e-2, joint_lr=1e-3)
SHORT = ft.FineTuneSettings(max_epochs=10, patience=10, joint_lr=1e-3)  # the head alone stays unfinished
N_GENES = 40
FAMILIES = {
    "scvi": {"n_hidden": 16},
    "ssl": {"n_hidden": [32, 16], "n_latent": 8},
    "geneformer": {"n_hidden": 16, "n_layers": 2, "max_tokens": 32},
    "scimilarity": {"n_hidden": [32], "n_latent": 8},
}


def blobs(n: int = 300, *, spread: float = 0.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Four types of unequal size in 6 dimensions: embedding (n, 6), labels (n,)."""
    rng = np.random.default_rng(seed)
    codes = rng.choice(4, n, p=[0.5, 0.3, 0.15, 0.05])
    means = np.random.default_rng(7).normal(0, 2, (4, 6))
    return means[codes] + rng.normal(0, spread, (n, 6)), NAMES[codes]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def draw_cells(n: int, seed: int) -> anndata.AnnData:
    """Counts of two loud lineages; in each two faint types, the labels, that three of the genes tell."""
    draw = np.random.default_rng(seed)
    lineage, kind = draw.integers(2, size=(2, n))
    rates = np.where(np.arange(N_GENES) % 2 == lineage[:, None], 8.0, 2.0)
    rates[:, :3] = 1 + 4 * kind[:, None]
    counts = draw.poisson(rates).astype(np.float32)
    labels = np.array(["a", "b"])[kind]
    obs = pd.DataFrame({"cell_type": labels, "batch": "one"}, index=[f"cell{seed}_{i:04}" for i in range(n)])
    return anndata.AnnData(sp.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)]))


def untrained(family: str) -> Family:
    cells = draw_cells(60, 1)
    model = create(family, n_genes=N_GENES, **({"preset": "demo"} | FAMILIES.get(family, {})))
    model.fit(TrainingCells(cells, draw_cells(20, 2)), budget=Budget("cell_views", 0), rng=rng())
    return model


@pytest.fixture(scope="module")
def models() -> dict[str, Family]:
    return {family: untrained(family) for family in FAMILIES}


def test_separable_types_are_told_apart():
    (train, labels), (test, true) = blobs(), blobs(seed=1)
    head = ft.fit_head(train, labels, settings=FAST, rng=rng())
    assert (head.predict(test) == true).mean() > 0.98
    chances = head.predict_proba(test)
    assert chances.shape == (300, 4)
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    assert head.types.tolist() == sorted(NAMES)


def test_permuted_labels_reach_no_more_than_the_majority():
    (train, labels), (test, true) = blobs(), blobs(seed=1)
    hits = []
    for seed in range(4):
        head = ft.fit_head(train, rng(seed).permutation(labels), settings=FAST, rng=rng(seed))
        hits.append((head.predict(test) == true).mean())
    assert np.mean(hits) == pytest.approx((true == "B").mean(), abs=0.06)


def test_scale_and_offset_of_an_embedding_do_not_matter():
    (train, labels), (test, _), scale = blobs(), blobs(seed=1), 1e-3
    head, moved = (
        ft.fit_head(values, labels, settings=FAST, rng=rng()) for values in (train, scale * train + 3 * scale)
    )
    np.testing.assert_allclose(moved.predict_proba(scale * test + 3 * scale), head.predict_proba(test), atol=0.02)
    raw = ft.fit_head(scale * train, labels, settings=FAST.model_copy(update={"standardise": False}), rng=rng())
    assert np.abs(raw.predict_proba(scale * test) - head.predict_proba(test)).max() > 0.1


def test_the_order_of_cells_does_not_matter_and_seeds_do():
    train, labels = blobs()
    order = rng(3).permutation(len(labels))
    head = ft.fit_head(train, labels, settings=FAST, rng=rng())
    again = ft.fit_head(train[order], labels[order], settings=FAST, rng=rng())
    other = ft.fit_head(train, labels, settings=FAST, rng=rng(1))
    np.testing.assert_allclose(again.predict_proba(train), head.predict_proba(train), atol=1e-6)
    assert np.abs(other.predict_proba(train) - head.predict_proba(train)).max() > 1e-3


def test_fitting_leaves_the_generators_of_torch_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    ft.fit_head(*blobs(100), settings=ft.HeadSettings(max_epochs=2), rng=rng())
    assert torch.rand(1) == expected


def test_the_weights_with_the_lowest_stopping_loss_are_kept():
    train, labels = blobs(200, spread=3.0)
    types, codes = np.unique(labels, return_inverse=True)
    settings = ft.HeadSettings(lr=3e-2, patience=10, stop_share=0.3)
    order = np.lexsort([*train.T, codes])
    stop = order[ft._labels(types, codes[order], settings, rng()).stop]  # as `fit_head` draws them, first of all
    head = ft.fit_head(train, labels, settings=settings, rng=rng())
    loss = -np.log(head.predict_proba(train)[stop, codes[stop]]).mean()
    validations = head.history["validation_loss"].dropna().to_numpy()
    assert loss == pytest.approx(validations.min(), rel=1e-4)
    assert loss < 0.98 * validations[-1]
    assert head.cost["stopped_early"]
    assert len(validations) == validations.argmin() + 1 + settings.patience


def test_each_type_lends_cells_to_stop_by_but_not_its_only_one():
    codes = np.repeat([0, 1, 2, 3], [40, 10, 2, 1])
    stop = ft._labels(NAMES, codes, ft.HeadSettings(stop_share=0.2), rng()).stop
    assert np.bincount(codes[stop], minlength=4).tolist() == [8, 2, 1, 0]


def test_constant_dimensions_are_harmless():
    (train, labels), (test, true) = blobs(), blobs(seed=1)
    padded = [np.hstack([part, np.full((len(part), 2), 0.1), np.zeros((len(part), 1))]) for part in (train, test)]
    head = ft.fit_head(padded[0], labels, settings=FAST, rng=rng())
    assert (head.predict(padded[1]) == true).mean() > 0.98
    flat = ft.fit_head(np.full((300, 3), 0.1), labels, settings=FAST, rng=rng())
    assert set(flat.predict(np.full((5, 3), 0.1))) == {"B"}  # nothing to learn but which type is the commonest


def test_few_shot_draws_are_nested_and_by_name():
    labels = np.repeat(NAMES, [200, 80, 30, 4])
    names = np.array([f"cell{number}" for number in range(len(labels))])
    rows = ft.few_shot_rows(labels, [10, 50, 100], rng(), names=names)
    counts = {n: [int((labels[drawn] == name).sum()) for name in NAMES] for n, drawn in rows.items()}
    assert counts == {10: [10, 10, 10, 4], 50: [50, 50, 30, 4], 100: [100, 80, 30, 4]}
    assert set(rows[10]) < set(rows[50]) < set(rows[100])
    assert all((np.diff(drawn) > 0).all() for drawn in rows.values())
    order = rng(1).permutation(len(labels))
    shuffled = ft.few_shot_rows(labels[order], [10], rng(), names=names[order])
    assert set(names[order][shuffled[10]]) == set(names[rows[10]])
    assert set(ft.few_shot_rows(labels, [10], rng(1), names=names)[10]) != set(rows[10])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_given_model_stays_as_it_is(family, models):
    model, cells = models[family], draw_cells(100, 3)
    before = {key: value.copy() for key, value in model.weights.items()}
    embedding, weights, generator = model.embed(cells), model.weights, torch.get_rng_state()
    tuned = ft.fine_tune(model, cells, cells.obs["cell_type"], settings=SHORT, rng=rng())
    assert model.weights is weights
    for key, value in model.module.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[key])
        np.testing.assert_array_equal(model.weights[key], before[key])
    np.testing.assert_array_equal(model.embed(cells), embedding)
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(weight.requires_grad for part in (model, tuned.model) for weight in part.module.parameters())
    statistics = [key for key in before if "running" in key or key == "medians"]
    for key in statistics:
        np.testing.assert_array_equal(tuned.model.weights[key], before[key])
    assert tuned.predict(cells).shape == (100,)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_of_the_encoder_is_trained_with_its_dropout(family, models, monkeypatch):
    model, cells = models[family], draw_cells(100, 3)
    modes = []
    encode = type(model)._encode

    def watched(self, batch):
        parts = [part for part in self._encoder(self.module).modules() if isinstance(part, torch.nn.Dropout)]
        modes.append((torch.is_grad_enabled(), [part.training for part in parts]))
        return encode(self, batch)

    monkeypatch.setattr(type(model), "_encode", watched)
    tuned = ft.fine_tune(model, cells, cells.obs["cell_type"], settings=SHORT, rng=rng())
    assert any(learning for learning, _ in modes)
    assert all(training == learning for learning, dropouts in modes for training in dropouts)
    encoders = [dict(part._encoder(part.module).named_parameters()) for part in (model, tuned.model)]
    same = {name for name, weight in encoders[0].items() if torch.equal(weight, encoders[1][name])}
    assert all(name.startswith("var_encoder") for name in same), same  # the embedding of scVI has no part in it


def test_fine_tuning_finds_what_the_frozen_embedding_lost():
    cells, test = draw_cells(500, 3), draw_cells(400, 4)
    model = create("ssl", n_genes=N_GENES, preset="demo", n_hidden=[64], n_latent=1)
    model.fit(TrainingCells(cells, draw_cells(20, 2)), budget=Budget("cell_views", 10_000), rng=rng())
    labels, true = cells.obs["cell_type"].to_numpy(), test.obs["cell_type"].to_numpy()
    head = ft.fit_head(model.embed(cells), labels, settings=FAST, rng=rng())
    frozen = (head.predict(model.embed(test)) == true).mean()
    tuned = ft.fine_tune(model, cells, labels, settings=JOINT, rng=rng())
    assert (tuned.predict(test) == true).mean() > frozen + 0.15
    assert tuned.head.history["validation_loss"].min() < tuned.head.history["validation_loss"].iloc[0]
    assert (tuned.predict(test) == true).mean() > 0.85
    permuted = [ft.fine_tune(model, cells, rng(s).permutation(labels), settings=JOINT, rng=rng()) for s in range(4)]
    assert np.mean([(one.predict(test) == true).mean() for one in permuted]) < 0.65


def test_fine_tuning_does_not_depend_on_the_order_of_cells(models):
    cells = draw_cells(100, 3)
    shuffled = cells[rng(1).permutation(100)].copy()
    one, other = (
        ft.fine_tune(models["ssl"], part, part.obs["cell_type"], settings=JOINT, rng=rng())
        for part in (cells, shuffled)
    )
    for key, value in one.model.weights.items():
        np.testing.assert_array_equal(other.model.weights[key], value)


def test_last_layers_are_those_that_the_family_names(models, monkeypatch):
    model, cells = models["ssl"], draw_cells(100, 3)
    monkeypatch.setattr(type(model), "_last_layers", lambda self, module: [module["encoder"][-1]])
    tuned = ft.fine_tune(model, cells, cells.obs["cell_type"], settings=SHORT, rng=rng(), layers="last")
    changed = {key for key, value in model.weights.items() if not np.array_equal(tuned.model.weights[key], value)}
    last = len(model.module["encoder"]) - 1
    assert changed == {f"encoder.{last}.weight", f"encoder.{last}.bias"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"labels_train": ["a"] * 6}, r"1 type\(s\): a"),
        ({"labels_train": ["a", "b"]}, r"labels_train \(2,\) must be \(6,\)"),
        ({"labels_train": ["a", "a", "b", "b", None, np.nan]}, "lacks 2 of 6 labels"),
        ({"labels_train": list("abcdef")}, "one type needs two"),
        ({"embedding_train": np.full((6, 2), np.nan)}, "embedding_train is NaN or infinite in 6 of 6"),
        ({"embedding_train": np.ones(6)}, "embedding_train has shape"),
    ],
)
def test_unusable_input_is_refused(change, told):
    good = {"embedding_train": np.arange(12.0).reshape(6, 2), "labels_train": list("aaabbb")}
    head = ft.fit_head(**good, settings=FAST, rng=rng())
    assert set(head.predict(good["embedding_train"])) <= {"a", "b"}
    with pytest.raises(ValueError, match=told):
        ft.fit_head(**(good | change), settings=FAST, rng=rng())
    with pytest.raises(ValueError, match="3 dimensions; this head was fitted to 2"):
        head.predict(np.ones((2, 3)))


def test_unusable_models_layers_and_names_are_refused(models, monkeypatch):
    cells = draw_cells(60, 3)
    arguments = {"labels_train": cells.obs["cell_type"], "settings": JOINT, "rng": rng()}
    with pytest.raises(ValueError, match="pca has no encoder to fine-tune; fit_head"):
        ft.fine_tune(untrained("pca"), cells, **arguments)
    with pytest.raises(ValueError, match=r"unknown layers 'lats'.*did you mean 'last'"):
        ft.fine_tune(models["ssl"], cells, **arguments, layers="lats")
    monkeypatch.setattr(type(models["ssl"]), "_last_layers", NeuralFamily._last_layers)
    with pytest.raises(ValueError, match="ssl does not name its"):
        ft.fine_tune(models["ssl"], cells, **arguments, layers="last")
    with pytest.raises(RuntimeError, match="not fitted"):
        ft.fine_tune(create("ssl", n_genes=N_GENES), cells, **arguments)
    with pytest.raises(ValueError, match="'twice' stands twice"):
        ft.few_shot_rows(["a", "b"], [1], rng(), names=["twice", "twice"])
    with pytest.raises(ValueError, match=r"n_per_type = \[10, 0\]"):
        ft.few_shot_rows(["a", "b"], [10, 0], rng(), names=["one", "two"])
    with pytest.raises(ValueError, match="greater than 0"):
        ft.HeadSettings(stop_share=0.0)
