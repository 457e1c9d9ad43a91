"""What a pretrained model has to beat: features and classifiers that know the evaluation set alone.

No baseline reads a test label. The embeddings read the expression of all cells of the set, as in the study; the
classifiers read nothing of the test half before they predict it.
"""

from collections.abc import Callable

import numpy as np
from anndata import AnnData

from helpers.evaluate.knn import knn_predict
from helpers.evaluate.perturbation import CEILINGS, NULLS
from helpers.messages import unknown
from helpers.models.counts import log_cp10k, raw_counts
from helpers.variable_genes import variable_genes


def hvg_embedding(adata: AnnData, *, n_top: int = 2000) -> np.ndarray:
    """Log-normalised expression of the set's most variable genes, (n_cells, n_top) float32.

    `adata` holds raw counts, (n_cells, n_genes); with fewer genes than `n_top` all are kept. Raises ValueError for
    cells without counts.

    Source: study, baseline HVG. It scales each gene to unit variance, which in 2,000 dimensions lets rare noise decide
    the neighbours (5-NN accuracy on pbmc3k .59, without it .80), and picks genes by scanpy's cutoffs, not by number.
    """
    logs = log_cp10k(raw_counts(adata))
    return logs[:, variable_genes(logs, n_top)].toarray()


def own_pca_embedding(adata: AnnData, *, n_components: int = 50, n_top: int = 2000) -> np.ndarray:
    """Principal components of the set's own most variable genes, (n_cells, n_components) float32.

    `adata` holds raw counts, (n_cells, n_genes). There are at most n_cells − 1 components, and one for each gene. The
    solver is exact and draws nothing at random. Raises ValueError for cells without counts.

    Source: study, baseline PCA; it scales the genes first, here they stay as the pretrained PCA sees them.
    """
    from sklearn.decomposition import PCA

    values = hvg_embedding(adata, n_top=n_top).astype(np.float64)
    n_components = min(n_components, len(values) - 1, values.shape[1])
    return PCA(n_components, svd_solver="covariance_eigh").fit_transform(values).astype(np.float32)


def majority_labels(adata: AnnData, train: np.ndarray, train_labels: np.ndarray) -> np.ndarray:
    """The commonest training type for every test cell, the first name of equally common ones: the floor."""
    types, counts = np.unique(train_labels, return_counts=True)
    return np.full(int((~train).sum()), types[counts.argmax()])


def logistic_labels(adata: AnnData, train: np.ndarray, train_labels: np.ndarray, *, n_top: int = 2000) -> np.ndarray:
    """Types of the test cells by L1 logistic regression (C = 1) on variable genes of the training cells.

    Source: study, baseline of fine-tuned classification: log1p CP10k, not scaled. Its solver, saga on all types at
    once, stops after 100 passes short of the optimum; here liblinear solves one type against the rest to the end, ten
    times faster and as accurate on the embedded sets. It picks genes by scanpy's cutoffs, not by number.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    logs = log_cp10k(raw_counts(adata))
    if len(np.unique(train_labels)) == 1:
        return np.full(int((~train).sum()), train_labels[0])
    genes = variable_genes(logs[train], n_top)
    model = OneVsRestClassifier(LogisticRegression(l1_ratio=1, solver="liblinear", random_state=0))
    return model.fit(logs[train][:, genes], train_labels).predict(logs[~train][:, genes])


def permuted_labels(
    adata: AnnData, train: np.ndarray, train_labels: np.ndarray, *, n_neighbors: int = 5, n_top: int = 2000
) -> np.ndarray:
    """Types told by nearest neighbours whose labels were shuffled: a floor that knows how common types are.

    Neighbours are found on principal components of the training cells. The shuffle is fixed and follows the names of
    the cells, not their order.
    """
    from sklearn.decomposition import PCA

    logs = log_cp10k(raw_counts(adata))
    values = logs[:, variable_genes(logs[train], n_top)].toarray().astype(np.float64)
    components = PCA(min(50, int(train.sum()) - 1, values.shape[1]), svd_solver="covariance_eigh").fit(values[train])
    rank = np.argsort(np.argsort(adata.obs_names[train]))
    shuffled = np.random.default_rng(0).permutation(np.sort(np.asarray(train_labels, dtype=str)))[rank]
    near = components.transform(values[train]), shuffled, components.transform(values[~train])
    return knn_predict(*near, n_neighbors=min(n_neighbors, int(train.sum())))


EMBEDDINGS: dict[str, Callable[..., np.ndarray]] = {"hvg": hvg_embedding, "own_pca": own_pca_embedding}
PREDICTORS: dict[str, Callable[..., np.ndarray]] = {
    "logistic": logistic_labels,
    "majority": majority_labels,
    "permuted": permuted_labels,
}
BASELINES = {  # of each task of a design
    "classification": (*EMBEDDINGS, *PREDICTORS),
    "finetuning": ("own_pca", "logistic", "majority"),
    "integration": ("hvg", "own_pca", "floor", "ceiling"),
    "perturbation": ("own_pca", *NULLS, *CEILINGS, "floor", "ceiling"),
    "heldout_loss": (),
}
# Which of them are the null and the ceiling, or reference, of a task whose runs do not know their own.
FLOORS = {"classification": "majority", "finetuning": "majority", "integration": "floor", "perturbation": "floor"}
REFERENCES = {"classification": "logistic", "finetuning": "logistic"} | dict.fromkeys(
    ("integration", "perturbation"), "ceiling"
)


def embed(name: str, adata: AnnData) -> np.ndarray:
    """Embedding of a baseline in `EMBEDDINGS`, (n_cells, n_latent) float32; raises ValueError for another name."""
    if name not in EMBEDDINGS:
        raise ValueError(unknown("embedding baseline", name, EMBEDDINGS))
    return EMBEDDINGS[name](adata)


def predict(name: str, adata: AnnData, labels: np.ndarray, train_mask: np.ndarray) -> np.ndarray:
    """Labels of the test cells, (n_test,), by a baseline in `PREDICTORS`.

    Parameters
    ----------
    adata
        (n_cells, n_genes) raw counts.
    labels
        (n_cells,); those of the test half are cut off before the baseline is called.
    train_mask
        (n_cells,) bool, True to train.

    Raises
    ------
    ValueError
        Unknown name, lengths that differ, no training cell, cells without counts.
    """
    if name not in PREDICTORS:
        raise ValueError(unknown("predicting baseline", name, PREDICTORS))
    train, labels = np.asarray(train_mask, dtype=bool), np.asarray(labels)
    if not len(train) == len(labels) == adata.n_obs:
        raise ValueError(f"{adata.n_obs} cells, {len(labels)} labels and a train_mask of {len(train)} must be as many")
    if not train.any():
        raise ValueError("train_mask is False everywhere: a baseline needs training cells")
    return PREDICTORS[name](adata, train, labels[train])
