"""SCimilarity: that it is the published network, that its triplets follow the rules, and that it learns."""

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from planted import N_GENES, draw_cells

from helpers import models
from helpers.models import Budget, Family, TrainingCells, create
from helpers.models.counts import log_cp10k, raw_counts
from helpers.models.scimilarity import SCimilaritySettings
from helpers.models.triplets import Triplets, semihard_triplets


def fitted(cells: TrainingCells, views: int = 8000, seed: int = 0, **options) -> Family:
    model = create("scimilarity", n_genes=N_GENES, **({"preset": "demo"} | options))
    model.fit(cells, budget=Budget("cell_views", views), rng=np.random.default_rng(seed))
    return model


def settings(across_studies: str) -> SCimilaritySettings:
    return SCimilaritySettings(study="batch", across_studies=across_studies)


def on_the_sphere(n: int, seed: int = 0, spread: float = 0.15) -> torch.Tensor:
    """Embedding (n, 8) whose cells are so near each other that semi-hard negatives exist."""
    drawn = 1 + spread * np.random.default_rng(seed).standard_normal((n, 8))
    return torch.nn.functional.normalize(torch.tensor(drawn, dtype=torch.float32), dim=1)


@pytest.fixture(scope="module")
def cells() -> TrainingCells:
    return TrainingCells(draw_cells(200, 1, confined=2), draw_cells(50, 2, confined=2))


@pytest.fixture(scope="module")
def test_cells() -> AnnData:
    return draw_cells(90, 3, confined=2)


@pytest.fixture(scope="module")
def trained(cells) -> Family:
    """A trained model; tests do not change it."""
    return fitted(cells)


# Network


def test_the_encoder_has_the_published_number_of_parameters():
    with torch.device("meta"):  # sizes without memory
        module = create("scimilarity", n_genes=19_331)._module()
    assert sum(weight.numel() for weight in module["encoder"].parameters()) == 22_032_515
    rates = [[layer.p for layer in module[part] if isinstance(layer, torch.nn.Dropout)] for part in module]
    assert rates == [[0.4, 0.5, 0.5], [0.0, 0.5, 0.5]]
    widths = [layer.out_features for layer in module.modules() if isinstance(layer, torch.nn.Linear)]
    assert widths == [1024, 1024, 1024, 128, 1024, 1024, 1024, 19_331]


def test_width_multiplies_hidden_units():
    size = create("scimilarity", n_genes=50, width=2.0, n_hidden=[10, 5], n_latent=4).n_parameters["encoder"]
    # linear layers with biases; batch normalisation has a scale and a shift, PReLU one slope
    assert size == 51 * 20 + 2 * 20 + 1 + 21 * 10 + 2 * 10 + 1 + 11 * 4


def test_embeddings_lie_on_the_unit_sphere(trained, test_cells):
    embedding = trained.embed(test_cells)
    assert embedding.shape == (90, 32)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, rtol=1e-5)


# Triplets


@pytest.mark.parametrize("n", [20, 60])
def test_triplets_are_those_of_a_literal_reading(n):
    rng, embedding, margin = np.random.default_rng(n), on_the_sphere(n), 0.05
    types, studies = rng.integers(3, size=n), rng.integers(2, size=n)
    distance = np.square(embedding.numpy()[:, None].astype(float) - embedding.numpy()[None]).sum(axis=2)
    choices = {
        (i, j): {
            k for k in range(n) if types[k] != types[i] and distance[i, j] < distance[i, k] < distance[i, j] + margin
        }
        for i in range(n)
        for j in range(i + 1, n)
        if types[i] == types[j] and studies[i] != studies[j]
    }
    triplets = Triplets(pd.DataFrame({"cell_type": types, "batch": studies}), settings("required"))
    seen, found = {pair: set() for pair in choices}, []
    original, n_draws = triplets._loss, 60
    triplets._loss = lambda embedding, types, indices: (
        found.append(torch.stack(indices, dim=1)) or original(embedding, types, indices)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(n_draws):
            triplets.loss(embedding, np.arange(n))
    for drawn in found:
        assert {(i, j) for i, j, _ in drawn.tolist()} == {pair for pair in choices if choices[pair]}
        assert len(drawn) == sum(map(bool, choices.values()))  # one negative for each pair
        for i, j, k in drawn.tolist():
            seen[i, j].add(k)
    assert all(seen[pair] <= choices[pair] for pair in choices)
    few = [pair for pair in choices if len(choices[pair]) <= 5]
    assert few
    assert all(seen[pair] == choices[pair] for pair in few)  # every choice comes up
    euclidean = np.sqrt(distance)
    i, j, k = found[-1].T.numpy()
    expected = np.maximum(euclidean[i, j] - euclidean[i, k] + margin, 0).mean()
    assert original(embedding, None, tuple(found[-1].T)).item() == pytest.approx(expected, rel=1e-3)


def test_all_triplets_are_among_those_of_the_library():
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.miners import TripletMarginMiner

    embedding, types = on_the_sphere(80), torch.arange(80) % 4
    distance = LpDistance(normalize_embeddings=False, power=2)
    theirs = TripletMarginMiner(margin=0.05, type_of_triplets="semihard", distance=distance)(embedding, types)
    same = types[:, None] == types
    ours = semihard_triplets(embedding, same & ~torch.eye(80, dtype=torch.bool), ~same, 0.05)
    theirs, ours = (set(zip(*(index.tolist() for index in indices), strict=True)) for indices in (theirs, ours))
    assert len(ours) > 500
    assert ours <= theirs
    assert {(i, j) for i, j, _ in ours} == {(i, j) for i, j, _ in theirs}


@pytest.mark.parametrize("across_studies", ["required", "preferred"])
def test_a_study_is_paired_with_itself_only_for_types_it_alone_has(cells, across_studies):
    obs, rng = cells.train.obs, np.random.default_rng(0)
    triplets, pairs = Triplets(obs, settings(across_studies)), []
    original = triplets._loss
    triplets._loss = lambda embedding, types, indices: pairs.append(indices) or original(embedding, types, indices)
    for seed in range(5):
        rows = rng.integers(len(obs), size=64)  # some cells twice
        triplets.loss(on_the_sphere(64, seed), rows)
        anchor, positive, negative = (obs.iloc[rows[index.numpy()]] for index in pairs[-1])
        within = anchor["batch"].to_numpy() == positive["batch"].to_numpy()
        assert (anchor["cell_type"].to_numpy() == positive["cell_type"].to_numpy()).all()
        assert (anchor["cell_type"].to_numpy() != negative["cell_type"].to_numpy()).all()
        assert (anchor.index != positive.index).all()
        assert (within == (anchor["cell_type"] == "c").to_numpy()).all()
        assert within.any() == (across_studies == "preferred")
        assert not within.all()
    share = triplets.cost["within_study_triplets"]
    assert 0 < share < 1 if across_studies == "preferred" else share == 0
    assert triplets.cost["triplets"] == sum(len(anchor) for anchor, _, _ in pairs)


def test_without_triplets_the_loss_is_zero_and_has_gradients():
    obs = pd.DataFrame({"cell_type": ["a", "a", "b", "b"], "batch": ["one", "two", "one", "two"]})
    far = torch.tensor([[1.0, 0], [1, 0], [-1, 0], [-1, 0]], requires_grad=True)
    loss = Triplets(obs, settings("required")).loss(far, np.arange(4))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(far.grad, torch.zeros(4, 2))


@pytest.mark.parametrize("n", [40, 400])
def test_gradients_are_finite_where_cells_coincide(n):
    obs = pd.DataFrame({"cell_type": np.arange(n) % 4, "batch": np.arange(n) % 3})
    embedding = on_the_sphere(10).repeat(n // 10, 1).requires_grad_()
    Triplets(obs, settings("required")).loss(embedding, np.arange(n)).backward()
    assert torch.isfinite(embedding.grad).all()
    assert embedding.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"cell_type": "a"}, {}, "all 200 training cells have cell_type 'a'; triplets need two types"),
        ({"batch": "one"}, {"across_studies": "required"}, "no type in 'cell_type' is in two values of 'batch'"),
        ({}, {"label": "celltype"}, "no column 'celltype'; there are: cell_type, batch"),
        ({}, {"study": "dataset_id"}, "no column 'dataset_id'"),
        (
            {"cell_type": [None] * 3 + ["a"] * 100 + ["b"] * 97},
            {},
            "3 of 200 training cells have no value in 'cell_type'",
        ),
    ],
)
def test_labels_that_make_no_triplets_are_refused_before_training(cells, change, options, message):
    train = cells.train.copy()
    for column, values in change.items():
        train.obs[column] = values
    model = create("scimilarity", n_genes=N_GENES, preset="demo", **options)
    with pytest.raises(ValueError, match=message):
        model.fit(TrainingCells(train, cells.validation), budget=Budget("epochs", 1), rng=np.random.default_rng(0))
    assert model.module is None


# Training


def test_the_loss_is_the_weighted_sum(cells):
    model = fitted(cells, views=0, input_dropout=0.0, dropout=0.0)
    rows = model.rows = np.arange(100)
    batch = model._batch(model._inputs(raw_counts(cells.train)), rows)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        loss = model._batch_loss(batch, 0.25).item()
        torch.manual_seed(0)
        triplet = model._triplets.loss(model._encode(batch), rows).item()
    last = model.module["encoder"][-1]
    norm = (last.weight.abs().sum() + last.bias.abs().sum()).item()
    rebuilt = model._cell_losses(batch).mean().item()
    lr = 0.005 * 0.5 * (1 + np.cos(np.pi * 0.25))
    assert triplet > 0
    assert loss == pytest.approx(0.001 * triplet + 0.999 * rebuilt + 1e-4 * lr * norm, rel=1e-6)


def test_it_beats_the_untrained_model_and_the_null(trained, cells, test_cells):
    losses, untrained = trained.heldout_loss(test_cells), fitted(cells, views=0)
    null = trained.loss_controls(cells, test_cells)["null"]
    expression, corpus = (log_cp10k(raw_counts(adata)).toarray() for adata in (test_cells, cells.train))
    np.testing.assert_allclose(null, np.square(expression - corpus.mean(axis=0)).mean(axis=1), rtol=1e-4)
    assert losses.mean() < 0.95 * null.mean()
    assert losses.mean() < 0.8 * untrained.heldout_loss(test_cells).mean()
    assert untrained.cost["triplets"] == untrained.cost["within_study_triplets"] == 0
    order = np.random.default_rng(0).permutation(90)[:40]
    np.testing.assert_allclose(trained.heldout_loss(test_cells[order]), losses[order], rtol=1e-4)


def test_triplets_bring_types_together(cells, test_cells):
    """A larger weight of the triplets must bring cells nearer to their own type, relative to other types."""
    same = test_cells.obs["cell_type"].to_numpy()[:, None] == test_cells.obs["cell_type"].to_numpy()
    ratios = []
    for weight in (0.0, 0.9):
        embedding = fitted(cells, views=4000, triplet_weight=weight, n_latent=4).embed(test_cells)
        distance = np.linalg.norm(embedding[:, None] - embedding[None], axis=2)
        ratios.append(distance[same].mean() / distance[~same].mean())
    assert ratios[1] < 0.8 * ratios[0]


def test_57_cells_train_to_the_same_weights_again_and_load_gives_the_model_back(tmp_path, test_cells):
    few = TrainingCells(draw_cells(57, 1, confined=2), draw_cells(20, 2, confined=2))
    first, again = (fitted(few, views=1000) for _ in range(2))
    for key, array in first.weights.items():
        assert np.isfinite(array).all()
        np.testing.assert_array_equal(array, again.weights[key])
    first.save(tmp_path)
    loaded = models.load(tmp_path)
    np.testing.assert_array_equal(loaded.embed(test_cells), first.embed(test_cells))
    np.testing.assert_array_equal(loaded.heldout_loss(test_cells), first.heldout_loss(test_cells))
    assert loaded.cost == first.cost


def test_cost(trained):
    assert trained.cost["supervised"] is True
    assert trained.cost["triplets"] > 0
    assert 0 < trained.cost["within_study_triplets"] < 1
    assert trained.cost["flops_counted"] == pytest.approx(trained.cost["flops"], rel=0.1)


def test_the_demo_preset_learns_from_real_cells(real_cells):
    kang, pbmc3k = real_cells
    cells = TrainingCells(kang[500:2500].copy(), kang[:300].copy())
    model, untrained = (create("scimilarity", n_genes=500, preset="demo") for _ in range(2))
    for each, views in ((model, 8000), (untrained, 0)):
        each.fit(cells, budget=Budget("cell_views", views), rng=np.random.default_rng(0))
    null, reference, _ = model.loss_controls(cells, pbmc3k).mean()
    assert reference < model.heldout_loss(pbmc3k).mean() < 0.9 * null
    assert model.heldout_loss(pbmc3k).mean() < 0.8 * untrained.heldout_loss(pbmc3k).mean()
