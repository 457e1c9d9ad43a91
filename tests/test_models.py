"""Model families: the registry, the loop, and that PCA and scVI are what they are called."""

import importlib.metadata
import json
import subprocess
import sys

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scipy.stats
import torch
from anndata.abc import CSRDataset
from hypothesis import given
from hypothesis import strategies as st
from planted import N_GENES, draw_cells

from helpers import models
from helpers.models import Budget, Family, TrainingCells, create, protocol
from helpers.models.counts import log_cp10k, raw_counts
from helpers.models.pca import FEW_CELLS, principal_axes
from helpers.models.scvi import Cells, nb_log_likelihood
from helpers.models.train import TrainSettings, lr_factor, shuffled, train

TOY_FAMILY = '''
"""Predicts the mean count of each gene: the smallest family there is, as a package of its own would bring it."""

import numpy as np
import pandas as pd

from helpers.models import Family


class GeneMean(Family):
    loss_unit = "squared error"

    def _fit(self, train, validation, budget, rng):
        self.weights = {"mean": train.mean(axis=0)}
        losses = {"train_loss": self._losses(train).mean(), "validation_loss": self._losses(validation).mean()}
        return pd.DataFrame([{"step": 1, "epoch": 1.0, "cell_views": train.shape[0]} | losses]), {}

    def _embed(self, counts):
        return np.log1p(counts.toarray().astype(float))

    def _losses(self, counts):
        return np.square(counts.toarray() - self.weights["mean"]).mean(axis=1)
'''


@pytest.fixture(scope="module")
def cells() -> TrainingCells:
    return TrainingCells(draw_cells(200, 1), draw_cells(50, 2))


@pytest.fixture(scope="module")
def test_cells() -> anndata.AnnData:
    return draw_cells(90, 3)


def fitted(family: str, cells: TrainingCells, views: int = 2000, seed: int = 0, **options) -> Family:
    model = create(family, n_genes=cells.train.n_vars, **({"preset": "demo"} | options))
    model.fit(cells, budget=Budget("cell_views", views), rng=np.random.default_rng(seed))
    return model


@pytest.fixture(scope="module")
def trained(cells) -> dict[str, Family]:
    """One trained model of each built-in family; tests do not change them."""
    return {family: fitted(family, cells, views=8000) for family in ("pca", "scvi")}


@pytest.fixture
def own_registry(monkeypatch):
    monkeypatch.setattr(models, "_registered", dict(models._registered))


@pytest.fixture
def toy_class(tmp_path, monkeypatch, own_registry):
    (tmp_path / "toy_family.py").write_text(TOY_FAMILY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "toy_family", raising=False)
    point = importlib.metadata.EntryPoint("gene_mean", "toy_family:GeneMean", models.ENTRY_POINT_GROUP)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point] if group == point.group else [])


# Registry


def test_families_are_found_without_importing_torch_or_scvi():
    code = (
        "import sys; from helpers import models; assert {'pca', 'scvi'} <= set(models.families());"
        "models.module_of('scvi'); models.create('pca', n_genes=5);"
        "print(sorted({'torch', 'scvi', 'scanpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_module_of_names_importable_modules():
    assert models.module_of("pca") == "helpers.models.pca"
    assert models.module_of("scvi") == "helpers.models.scvi"


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        (lambda: create("scvy", n_genes=5), ["unknown family", "'scvy'", "did you mean 'scvi'", "pca"]),
        (lambda: models.module_of("pka"), ["unknown family", "did you mean 'pca'"]),
        (lambda: create("pca", n_genes=5, preset="papr"), ["preset of pca", "'papr'", "'paper'", "demo"]),
        (lambda: create("scvi", n_genes=5, n_hiden=3), ["n_hiden=3", "did you mean 'n_hidden'", "kl_warmup"]),
        (
            lambda: create("pca", n_genes=5, n_components=0),
            ["pca: n_components = 0", "greater than or equal to 1"],
        ),
        (lambda: create("pca", n_genes=5, n_components="7"), ["pca: n_components = '7'", "valid integer"]),
        (lambda: create("scvi", n_genes=5, schedule="step"), ["schedule", "'linear' or 'cosine'", "'step'"]),
        (lambda: create("pca", n_genes=5, width=0.0), ["width is 0.0", "above 0"]),
        (lambda: create("pca", n_genes=5, width=float("nan")), ["width is nan"]),
        (lambda: create("pca", n_genes=5, width="2"), ["width is '2'", "a number above 0"]),
        (lambda: create("pca", n_genes=0), ["n_genes is 0"]),
        (lambda: create("pca", n_genes=10.5), ["n_genes is 10.5", "a whole number"]),
        (lambda: create("scvi", n_genes=5, accelerator="tpu"), ["unknown accelerator 'tpu'", "auto, cpu"]),
        (lambda: Budget("steps", 5), ["'steps'", "cell_views", "epochs"]),
        (lambda: Budget("epochs", -1), ["-1", "0 or more"]),
        (lambda: Budget("epochs", 2.5), ["2.5", "whole number"]),
    ],
)
def test_wrong_values_are_named_with_what_is_accepted(call, parts):
    with pytest.raises(ValueError, match=parts[0]) as error:
        call()
    assert [part for part in parts if part not in str(error.value)] == []


def test_budget_counts_cell_views():
    assert Budget("epochs", 3).cell_views(57) == 171
    assert Budget("cell_views", 3).cell_views(57) == 3


def test_entry_point_brings_a_whole_family(toy_class, cells, test_cells, tmp_path):
    assert len(TOY_FAMILY.splitlines()) < 50
    assert {"gene_mean", "pca", "scvi"} <= set(models.families())
    assert models.module_of("gene_mean") == "toy_family"
    assert "toy_family" not in sys.modules
    model = create("gene_mean", n_genes=N_GENES)
    assert model.name == "gene_mean"
    model.fit(cells, budget=Budget("epochs", 1), rng=np.random.default_rng(0))
    expected = np.square(test_cells.X.toarray() - cells.train.X.toarray().mean(axis=0)).mean(axis=1)
    np.testing.assert_allclose(model.heldout_loss(test_cells), expected, rtol=1e-5)
    assert model.embed(test_cells).dtype == np.float32
    assert model.loss_controls(cells, test_cells).isna().all(axis=None)
    assert model.n_parameters == {"total": N_GENES, "encoder": N_GENES}
    assert model.cost["steps"] == 1
    assert model.cost["cell_views"] == model.cost["unique_cells"] == 200
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(
        models.load(tmp_path / "model").heldout_loss(test_cells), model.heldout_loss(test_cells)
    )


def test_register_refuses_a_taken_name_but_not_the_same_class_anew(own_registry):
    def define(name: str) -> type[Family]:
        return models.register("mine")(type(name, (Family,), {"__module__": __name__}))

    define("Mine")
    again = define("Mine")
    assert models.family_class("mine") is again
    assert "mine" in models.families()
    assert models.module_of("mine") == __name__
    with pytest.raises(ValueError, match=r"family 'mine' is already .*Mine; register Other"):
        define("Other")
    with pytest.raises(ValueError, match=r"family 'scvi' is already helpers\.models\.scvi"):
        models.register("scvi")(type("Mine", (Family,), {}))


# Cells


def test_training_cells_must_share_their_genes(cells):
    with pytest.raises(ValueError, match=r"20 of the 60 genes the training cells have are missing .* g40, g41, g42"):
        TrainingCells(cells.train, cells.validation[:, :40])
    with pytest.raises(ValueError, match="train has 0 cells"):
        TrainingCells(cells.train[:0], cells.validation)


@pytest.mark.parametrize("family", ["pca", "scvi"])
@pytest.mark.parametrize("method", ["embed", "heldout_loss"])
def test_genes_are_found_by_name(trained, test_cells, family, method):
    call = getattr(trained[family], method)
    expected = call(test_cells)
    np.testing.assert_array_equal(call(test_cells[:, ::-1]), expected)
    further = draw_cells(90, 3, n_genes=5)
    further.var_names, further.obs_names = list("abcde"), test_cells.obs_names
    more = anndata.concat([further, test_cells], axis=1, merge="first")
    np.testing.assert_array_equal(call(more), expected)
    there = np.ones(60)
    there[3:15] = 0
    lacking = anndata.AnnData(test_cells.X.multiply(there).tocsr(), test_cells.obs, test_cells.var)
    with pytest.warns(
        UserWarning, match=r"12 of the 60 genes of the model \(20.0%\) are missing and count as 0, .* g4"
    ):
        found = call(test_cells[:, [*range(3), *range(15, 60)]])
    np.testing.assert_array_equal(found, call(lacking))
    with pytest.raises(
        ValueError, match=r"13 of the 60 genes of the model \(21.7%\) are missing, .* at most 20% may be"
    ):
        call(test_cells[:, 13:])
    twice = test_cells.copy()
    twice.var_names = ["g1", *test_cells.var_names[1:]]
    with pytest.raises(ValueError, match="gene 'g1' stands twice"):
        call(twice)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: X * 0.5, "no counts; accepted: raw integer counts"),
        (lambda X: -X, "no counts; accepted: raw integer counts"),
        (lambda X: X * np.nan, "no counts; accepted: raw integer counts"),
        (lambda X: X * (np.arange(90) != 7)[:, None], r"1 of 90 cells have no counts in these genes \(first: cell7\)"),
    ],
)
def test_values_that_are_no_counts_are_refused(trained, test_cells, change, message):
    wrong = anndata.AnnData(change(test_cells.X.toarray()), obs=test_cells.obs, var=test_cells.var)
    with pytest.raises(ValueError, match=message):
        trained["pca"].embed(wrong)


@pytest.mark.parametrize("family", ["pca", "scvi"])
def test_cells_on_disk_give_what_cells_in_memory_give(family, trained, cells, test_cells, tmp_path, monkeypatch):
    monkeypatch.setattr(protocol, "PART", 70)
    files = []
    for name, adata in (("train", cells.train), ("test", test_cells)):
        adata.write_h5ad(tmp_path / f"{name}.h5ad")
        files.append(anndata.read_h5ad(tmp_path / f"{name}.h5ad", backed="r"))
    on_disk, test = files
    assert isinstance(create("pca", n_genes=N_GENES)._training_counts(on_disk), CSRDataset)
    model = fitted(family, TrainingCells(on_disk, cells.validation), views=8000)
    for key, value in trained[family].weights.items():
        np.testing.assert_array_equal(model.weights[key], value)
    for method in ("embed", "heldout_loss"):
        expected = getattr(trained[family], method)(test_cells)
        np.testing.assert_allclose(getattr(model, method)(test), expected, rtol=1e-5, atol=1e-5)
    controls = model.loss_controls(cells, test_cells)
    pd.testing.assert_frame_equal(model.loss_controls(TrainingCells(on_disk, cells.validation), test), controls)
    for file in files:
        file.file.close()


def test_cells_on_disk_are_checked_too(cells, tmp_path):
    halved = cells.train.copy()
    halved.X = halved.X / 2
    halved.write_h5ad(tmp_path / "cells.h5ad")
    on_disk = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    with pytest.raises(ValueError, match="raw integer counts"):
        fitted("pca", TrainingCells(on_disk, cells.validation))
    on_disk.file.close()


@pytest.mark.parametrize("family", ["pca", "scvi"])
def test_counts_in_two_entries_are_one_count(family, trained, test_cells):
    X = sp.csr_matrix(test_cells.X)
    twice = sp.csr_matrix((np.repeat(X.data / 2, 2), np.repeat(X.indices, 2), X.indptr * 2), X.shape)
    twice.data[::2], twice.data[1::2] = X.data - 1, 1
    split = anndata.AnnData(twice, obs=test_cells.obs, var=test_cells.var)
    np.testing.assert_array_equal(trained[family].embed(split), trained[family].embed(test_cells))


def test_fit_refuses_too_few_cells_and_another_gene_space(cells):
    with pytest.raises(ValueError, match="train has 1 cells; pca needs at least 10"):
        fitted("pca", TrainingCells(cells.train[:1], cells.validation))
    with pytest.raises(ValueError, match="60 genes; this model was created for 61"):
        create("pca", n_genes=61).fit(cells, budget=Budget("epochs", 1), rng=np.random.default_rng(0))


def test_an_unfitted_model_says_so(test_cells, tmp_path):
    for call in (lambda m: m.embed(test_cells), lambda m: m.heldout_loss(test_cells), lambda m: m.save(tmp_path)):
        with pytest.raises(RuntimeError, match="pca model is not fitted"):
            call(create("pca", n_genes=N_GENES))


# Files


@pytest.mark.parametrize("family", ["pca", "scvi"])
def test_same_seed_gives_the_same_bytes_and_load_gives_the_model_back(family, cells, test_cells, tmp_path):
    first, again, other = (
        fitted(family, cells, views=views, seed=seed) for views, seed in ((640, 0), (640, 0), (0, 1))
    )
    for model, name in ((first, "first"), (again, "again"), (other, "other")):
        model.save(tmp_path / name)

    def content(name: str, file: str) -> bytes:
        return (tmp_path / name / file).read_bytes()

    for file in ("weights.safetensors", "history.parquet"):
        assert content("first", file) == content("again", file)
        assert content("first", file) != content("other", file)
    described, repeated = (json.loads(content(name, "model.json")) for name in ("first", "again"))
    for description in (described, repeated):
        assert description["cost"].pop("seconds") > 0
        assert description["cost"].pop("cells_per_second") > 0
        assert description["cost"].pop("peak_memory_mb") > 0
    assert described == repeated
    loaded = models.load(tmp_path / "first")
    np.testing.assert_array_equal(loaded.embed(test_cells), first.embed(test_cells))
    np.testing.assert_array_equal(loaded.heldout_loss(test_cells), first.heldout_loss(test_cells))
    pd.testing.assert_frame_equal(loaded.history, first.history)
    assert (loaded.cost, loaded.n_parameters, loaded.settings) == (first.cost, first.n_parameters, first.settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "format_version is 99; this version reads 2"),
        ({"family": "mystery"}, "unknown family 'mystery'"),
        ({"genes": ["g0"]}, "1 different genes listed; expected n_genes = 60"),
        ({"settings": {"n_components": 3, "colour": "red"}}, "colour='red'"),
        ({"weights_sha256": "0"}, "weights.safetensors is not the file that was saved with model.json"),
    ],
)
def test_load_refuses_what_it_does_not_know(trained, tmp_path, change, message):
    trained["pca"].save(tmp_path)
    description = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(description | change))
    with pytest.raises(ValueError, match=message):
        models.load(tmp_path)


def test_a_model_loads_only_its_own_kind(trained, tmp_path):
    trained["pca"].save(tmp_path)
    for other, message in (
        (create("pca", n_genes=N_GENES, preset="demo", width=2.0), "width is 1.0; this model has 2.0"),
        (create("pca", n_genes=61, preset="demo"), "n_genes is 60; this model has 61"),
        (create("scvi", n_genes=N_GENES, preset="demo"), "family is 'pca'; this model has 'scvi'"),
    ):
        with pytest.raises(ValueError, match=message):
            other.load(tmp_path)


# PCA


@pytest.mark.parametrize(
    ("n_cells", "n_components"), [(FEW_CELLS, 5), (FEW_CELLS + 50, 5), (FEW_CELLS + 50, 40), (20, 50)]
)
def test_pca_is_the_pca_of_scikit_learn(n_cells, n_components):
    from sklearn.decomposition import PCA

    cells = TrainingCells(draw_cells(n_cells, 5), draw_cells(30, 6))
    model = fitted("pca", cells, n_components=n_components)
    expression = np.log1p(cells.train.X.toarray() / cells.train.X.sum(axis=1) * 1e4)
    k = min(n_components, n_cells - 1)
    theirs = PCA(k, svd_solver="full").fit(np.asarray(expression))
    overlap = np.abs((model.weights["components"] * theirs.components_).sum(axis=1))
    np.testing.assert_allclose(overlap, 1, atol=1e-3)
    test = np.log1p(cells.validation.X.toarray() / cells.validation.X.sum(axis=1) * 1e4)
    rebuilt = theirs.inverse_transform(theirs.transform(np.asarray(test)))
    np.testing.assert_allclose(
        model.heldout_loss(cells.validation), np.square(np.asarray(test) - rebuilt).mean(axis=1), rtol=1e-3
    )
    np.testing.assert_allclose(
        model.embed(cells.validation), test @ model.weights["components"].T, rtol=1e-4, atol=1e-3
    )
    assert model.history["validation_loss"].item() == pytest.approx(model.heldout_loss(cells.validation).mean())


def test_pca_width_multiplies_components_and_small_corpora_limit_them(cells):
    assert create("pca", n_genes=19_331).n_parameters == {"total": 19_331 * 50, "encoder": 19_331 * 50}
    assert create("pca", n_genes=19_331, width=0.5).n_parameters["encoder"] == 19_331 * 25
    assert create("pca", n_genes=30).n_components == 30
    few = fitted("pca", TrainingCells(cells.train[:12], cells.validation))
    assert few.embed(cells.validation).shape == (50, 11)
    assert few.n_parameters["total"] == 11 * N_GENES


def test_untrained_pca_is_a_random_orthonormal_projection(cells, test_cells):
    model, other = (fitted("pca", cells, views=0, seed=seed, n_components=10) for seed in (0, 1))
    axes = model.weights["components"]
    np.testing.assert_allclose(axes @ axes.T, np.eye(10), atol=1e-6)
    assert not model.weights["mean"].any()
    assert np.abs(axes - other.weights["components"]).max() > 0.1
    assert (model.cost["steps"], model.cost["cell_views"], model.cost["flops"]) == (0, 0, 0)
    assert (
        model.heldout_loss(test_cells).mean()
        > 2 * fitted("pca", cells, n_components=10).heldout_loss(test_cells).mean()
    )


def test_pca_is_better_than_its_null(cells, test_cells):
    model = fitted("pca", cells, n_components=5)
    null = model.loss_controls(cells, test_cells)["null"]
    expression, corpus = (log_cp10k(raw_counts(adata)).toarray() for adata in (test_cells, cells.train))
    np.testing.assert_allclose(null, np.square(expression - corpus.mean(axis=0)).mean(axis=1), rtol=1e-4)
    assert model.heldout_loss(test_cells).mean() < null.mean()


def test_principal_axes_have_fixed_signs():
    axes = principal_axes(log_cp10k(raw_counts(draw_cells(FEW_CELLS + 1, 5))), 4)[1]
    assert (axes[np.arange(4), np.abs(axes).argmax(axis=1)] > 0).all()


# scVI


@pytest.mark.parametrize(("width", "hidden"), [(0.5, 64), (1.0, 128), (2.0, 256)])
def test_scvi_width_sets_hidden_units(width, hidden):
    size = create("scvi", n_genes=50, width=width).n_parameters
    # input layer, batch normalisation (scale and shift), posterior mean and variance
    assert size["encoder"] == 50 * hidden + 3 * hidden + 2 * (hidden * 10 + 10)


def test_scvi_has_the_published_number_of_parameters():
    assert create("scvi", n_genes=19_331).n_parameters["total"] == 12_454_434


@pytest.mark.parametrize(("preset", "momentum"), [("paper", 0.01), ("demo", 0.1)])
def test_presets_set_the_memory_of_batch_normalisation(preset, momentum):
    module = create("scvi", n_genes=20, preset=preset)._module()
    assert {layer.momentum for layer in module.modules() if isinstance(layer, torch.nn.BatchNorm1d)} == {momentum}


def test_negative_binomial_is_that_of_scipy():
    rng = np.random.default_rng(0)
    counts, means = rng.poisson(1.5, (7, 11)), rng.gamma(2, 1, (7, 11))
    theta = rng.gamma(2, 1, 11)
    expected = scipy.stats.nbinom.logpmf(counts, theta, theta / (theta + means)).sum(axis=1)
    ours = nb_log_likelihood(*(torch.tensor(array) for array in (counts.astype(float), np.log(means), np.log(theta))))
    np.testing.assert_allclose(ours, expected, rtol=1e-9)


@pytest.mark.parametrize("kl_weight", [0.25, 1.0])
@pytest.mark.parametrize("training", [False, True])
def test_loss_and_gradients_are_those_of_scvi_tools(trained, test_cells, kl_weight, training):
    model = trained["scvi"]
    module, batch = model.module.train(training), torch.from_numpy(test_cells.X.toarray())
    zeros = torch.zeros(len(batch), 1)
    state = {key: value.clone() for key, value in module.state_dict().items()}
    losses, gradients = [], []
    for theirs in (True, False):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            if theirs:
                inputs = {"X": batch, "batch": zeros, "labels": zeros}
                loss = module(inputs, loss_kwargs={"kl_weight": kl_weight})[2].loss / N_GENES
            else:
                loss = model._batch_loss(Cells(batch, None), kl_weight * model.settings.kl_warmup)
        module.zero_grad()
        loss.backward()
        losses.append(loss.item())
        gradients.append({key: weight.grad for key, weight in module.named_parameters() if weight.grad is not None})
        module.load_state_dict(state)
    module.eval()
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert gradients[0].keys() == gradients[1].keys()
    for key in gradients[0]:
        torch.testing.assert_close(gradients[1][key], gradients[0][key], rtol=1e-3, atol=1e-6)


def test_heldout_loss_is_an_elbo_that_depends_on_the_cell_alone(trained, test_cells):
    model = trained["scvi"]
    losses = model.heldout_loss(test_cells)
    assert losses.shape == (90,)
    assert losses.dtype == np.float64
    np.testing.assert_array_equal(model.heldout_loss(test_cells), losses)
    order = np.random.default_rng(0).permutation(90)[:40]
    np.testing.assert_allclose(model.heldout_loss(test_cells[order]), losses[order], rtol=1e-5)
    batch = torch.from_numpy(test_cells.X.toarray())
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        posterior = model._posterior(batch)
        draws = torch.stack([model._negative_elbo(batch, posterior, posterior.sample(), 1.0) for _ in range(50)])
    error = draws.std(dim=0).mean().item() / np.sqrt(90)
    assert abs(losses.mean() - draws.mean().item()) < 4 * error


def test_null_of_scvi(cells, test_cells):
    null = create("scvi", n_genes=N_GENES).loss_controls(cells, test_cells)["null"]
    counts, corpus = test_cells.X.toarray(), cells.train.X.toarray().astype(float)
    share = (corpus.sum(axis=0) + 0.5) / (corpus.sum(axis=0) + 0.5).sum()
    means = corpus.sum(axis=1, keepdims=True) * share
    excess = (np.square(corpus - means) - means).sum(axis=0)
    theta = np.where(excess > 0, np.square(means).sum(axis=0) / np.where(excess > 0, excess, 1), 1e4)
    predicted = counts.sum(axis=1, keepdims=True) * share
    expected = -scipy.stats.nbinom.logpmf(counts, theta, theta / (theta + predicted)).mean(axis=1)
    np.testing.assert_allclose(null, expected, rtol=1e-6)


def test_null_survives_a_gene_that_the_corpus_never_saw(cells, test_cells):
    unseen = cells.train.copy()
    unseen.X = sp.csr_matrix(unseen.X.toarray() * (np.arange(N_GENES) != 5))
    controls = create("scvi", n_genes=N_GENES).loss_controls(TrainingCells(unseen, cells.validation), test_cells)
    assert np.isfinite(controls).all(axis=None)


def test_scvi_learns_planted_types(trained, cells, test_cells):
    model, untrained = trained["scvi"], fitted("scvi", cells, views=0)
    null = model.loss_controls(cells, test_cells)["null"]
    losses = model.heldout_loss(test_cells)
    assert losses.mean() < 0.9 * null.mean()
    assert losses.mean() < 0.85 * untrained.heldout_loss(test_cells).mean()
    assert model.embed(test_cells).shape == (90, 10)
    assert model.embed(test_cells).dtype == np.float32
    assert model.loss_unit == "negative ELBO, nats per gene"


def test_cost_of_scvi(trained):
    cost = trained["scvi"].cost
    assert cost["cell_views"] == cost["steps"] * 64
    assert cost["unique_cells"] == 200
    # two dense layers of each half, and the two heads of the posterior; 2 x 3 operations per weight
    macs = 2 * N_GENES * 128 + 2 * 128 * 10 + 10 * 128
    first = N_GENES * 128  # whose inputs need no gradient
    assert cost["flops"] == (6 * macs - 2 * first) * cost["cell_views"]
    assert cost["flops_counted"] == pytest.approx(cost["flops"], rel=0.1)
    assert cost["peak_memory_mb"] > 50
    assert cost["cells_per_second"] == pytest.approx(cost["cell_views"] / cost["seconds"])


def test_early_stopping_keeps_the_best_weights():
    few = TrainingCells(draw_cells(12, 1), draw_cells(50, 2))
    model = fitted("scvi", few, views=20_000)
    history, best = model.history, model.history["validation_loss"].min()
    assert model.cost["stopped_early"]
    assert model.cost["cell_views"] < 20_000
    assert history["step"].iloc[-1] == model.cost["steps"]
    assert (
        history.loc[history["validation_loss"] == best, "step"].item() == model.cost["best_step"] < model.cost["steps"]
    )
    assert model.heldout_loss(few.validation).mean() == pytest.approx(best, rel=1e-6)


def test_a_run_whose_weights_break_names_the_step(cells, monkeypatch):
    backward = torch.Tensor.backward

    def breaking(loss: torch.Tensor) -> None:
        backward(loss * float("nan"))

    monkeypatch.setattr(torch.Tensor, "backward", breaking)
    with pytest.raises(FloatingPointError, match="training loss is nan at step 2 of 32"):
        fitted("scvi", cells)


def test_a_diverging_run_names_the_step(cells):
    with pytest.raises(FloatingPointError, match=r"loss is (nan|inf) at step \d+ of 32; a lower lr may help"):
        fitted("scvi", cells, lr=1e20, lr_warmup=0.0)


def test_nothing_global_is_left_changed(cells, test_cells, tmp_path):
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    model = fitted("scvi", cells, views=640)
    model.save(tmp_path)
    models.load(tmp_path).heldout_loss(test_cells)
    assert model.n_parameters["total"] > 0
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002


# The loop


@given(n_cells=st.integers(1, 40), batch_size=st.integers(1, 30), n_batches=st.integers(1, 12))
def test_batches_are_full_and_visit_all_cells_alike(n_cells, batch_size, n_batches):
    stream = shuffled(n_cells, batch_size, np.random.default_rng(0))
    drawn = [next(stream) for _ in range(n_batches)]
    assert {len(rows) for rows in drawn} == {batch_size}
    visits = np.bincount(np.concatenate(drawn), minlength=n_cells)
    assert len(visits) == n_cells
    assert visits.max() - visits.min() <= 1


def test_batches_are_shuffled_anew_in_each_epoch():
    stream = shuffled(50, 50, np.random.default_rng(0))
    first, second = next(stream), next(stream)
    assert first.tolist() != second.tolist()
    assert sorted(first) == sorted(second) == list(range(50))


def test_learning_rate_rises_then_falls():
    cosine = TrainSettings(lr_warmup=0.2, schedule="cosine")
    assert [round(lr_factor(share, cosine), 3) for share in (0.1, 0.2, 0.6, 1.0)] == [0.5, 1.0, 0.5, 0.0]
    assert lr_factor(0.7, TrainSettings(lr_warmup=0.2)) == 1.0


def test_the_loop_trains_any_module():
    rng = np.random.default_rng(0)
    X, slope = rng.standard_normal((100, 3)), np.array([1.0, -2.0, 0.5])
    X, y = (torch.tensor(array, dtype=torch.float32) for array in (X, X @ slope))
    module, seen = torch.nn.Linear(3, 1), []
    torch.nn.init.zeros_(module.weight)
    torch.nn.init.zeros_(module.bias)

    def step_loss(rows: np.ndarray, progress: float) -> torch.Tensor:
        assert module.training
        seen.append(progress)
        return (module(X[rows])[:, 0] - y[rows]).square().mean()

    def validation_loss() -> float:
        assert not module.training
        assert not torch.is_grad_enabled()
        return (module(X)[:, 0] - y).square().mean().item()

    settings = TrainSettings(batch_size=10, lr=0.05, validations=8, schedule="cosine")
    loop = {"n_cells": 100, "batches": shuffled(100, 10, rng), "settings": settings}
    loop |= {"step_loss": step_loss, "validation_loss": validation_loss}
    before = module.weight.detach().clone()
    history, cost = train(module, cell_views=0, **loop)
    assert (len(history), cost["steps"], cost["stopped_early"]) == (1, 0, False)
    assert torch.equal(module.weight, before)
    history, cost = train(module, cell_views=3995, **loop)
    best_step = history["step"][history["validation_loss"].idxmin()]
    assert cost.pop("seconds") > 0
    assert cost.pop("flops_counted") == 400 * 10 * (2 + 2) * 3  # forward, and the gradient of three weights
    assert cost == {"steps": 400, "cell_views": 4000, "best_step": best_step, "stopped_early": False}
    assert history["step"].tolist() == list(range(401))
    assert history["epoch"].tolist() == [step / 10 for step in range(401)]
    assert history["train_loss"].isna().tolist() == [True] + [False] * 400
    assert history["step"][history["validation_loss"].notna()].tolist() == list(range(0, 401, 50))
    assert not module.training
    assert seen == pytest.approx([(step + 0.5) / 400 for step in range(400)])
    np.testing.assert_allclose(module.weight.detach().numpy()[0], slope, atol=1e-3)


def test_the_loop_stops_when_validation_gets_worse_and_goes_back():
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(module.weight, 0.0)
    history, cost = train(  # the weight rises by lr at each step and passes the best value, 0.3, at step 3
        module,
        n_cells=4,
        cell_views=80,
        step_loss=lambda rows, progress: -module.weight.sum(),
        validation_loss=lambda: abs(module.weight.item() - 0.3),
        batches=shuffled(4, 4, np.random.default_rng(0)),
        settings=TrainSettings(batch_size=4, lr=0.1, validations=20, patience=2),
        gradient_scale=1000.0,
    )
    del cost["seconds"], cost["flops_counted"]
    assert cost == {"steps": 5, "cell_views": 20, "best_step": 3, "stopped_early": True}
    assert history["step"].tolist() == [0, 1, 2, 3, 4, 5]
    assert module.weight.item() == pytest.approx(0.3, abs=1e-4)


# Real cells


def test_demo_presets_learn_from_real_cells(real_cells):
    kang, pbmc3k = real_cells
    cells = TrainingCells(kang[500:3500].copy(), kang[:300].copy())
    for family, share in (("scvi", 0.97), ("pca", 0.9)):
        model, untrained = fitted(family, cells, views=16_000), fitted(family, cells, views=0)
        null, reference, error = model.loss_controls(cells, pbmc3k).mean()
        assert error < 0.01 * (null - reference)
        assert reference < model.heldout_loss(pbmc3k).mean() < share * null
        assert model.heldout_loss(pbmc3k).mean() < 0.8 * untrained.heldout_loss(pbmc3k).mean()
