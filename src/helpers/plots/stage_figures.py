"""Pictures of single stages: what is in the corpus, how a training went, where cells lie."""

import textwrap
import warnings
from collections.abc import Mapping
from itertools import cycle

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from helpers.design import Run
from helpers.plots.layout import shared_legend
from helpers.plots.looks import sequential
from helpers.plots.style import GREY, figure

N_SHOWN_TYPES = 9
N_SHOWN_CELLS = 4000  # exact neighbours, and a UMAP within seconds
MOST = 36  # rows, and columns, of a picture of counts


@figure
def composition(obs: pd.DataFrame, *, by: str, label: str) -> Figure:
    """Cells of each `label` (rows) in each `by` (columns), counts in the fields, colour on a logarithmic scale; of many
    the MOST with most cells.
    """
    import seaborn as sns  # takes a second, so only the stages that need it wait

    counts = pd.crosstab(obs[label].astype(str), obs[by].astype(str))
    told = [f"{min(MOST, n)} of {n:,} {what}" for n, what in zip(counts.shape, ("types", by), strict=True) if n > MOST]
    counts = counts.loc[counts.sum(axis=1).nlargest(MOST, keep="first").index]
    counts = counts[counts.columns[counts.columns.isin(counts.sum().nlargest(MOST).index)]]
    fig, axes = plt.subplots(figsize=(1.6 + 0.75 * counts.shape[1], 0.9 + 0.19 * counts.shape[0]))
    text = counts.map(lambda value: f"{value:,}" if value else "").to_numpy()
    sns.heatmap(
        np.log10(counts.where(counts > 0)),
        annot=text,
        fmt="",
        cmap="Blues",
        cbar=False,
        linewidths=0.5,
        linecolor="white",
        annot_kws={"size": 6.5},
        yticklabels=True,
        ax=axes,
    )
    axes.set(xlabel="", ylabel="", title=", ".join([f"Cells per type and {by} (n = {len(obs):,})", *told]))
    axes.tick_params(axis="x", rotation=30, length=0)
    axes.tick_params(axis="y", length=0)
    return fig


@figure
def evaluation_sets(sets: pd.DataFrame) -> Figure:
    """Cells per label in each evaluation set; `sets` has dataset, label, seen, train."""
    names = list(dict.fromkeys(sets["dataset"]))
    fig, panels = plt.subplots(1, len(names), figsize=(2.6 * len(names), 3.2), squeeze=False)
    for axes, name in zip(panels[0], names, strict=True):
        part = sets[sets["dataset"] == name]
        counts = part["label"].value_counts()[::-1]
        axes.barh(counts.index, counts, color=GREY, height=0.7)
        for at, count in enumerate(counts):
            axes.text(count, at, f" {count:,}", va="center", size=6)
        axes.set(
            xscale="log",
            xlim=(1, counts.max() * 4),
            title=f"{name}\n{part['seen'].iloc[0]}, n = {len(part):,}",
            xlabel="cells",
        )
        axes.tick_params(axis="y", labelsize=6.5)
    return fig


@figure
def subset_composition(subsets: Mapping[float, pd.Series], corpus_labels: pd.Series) -> Figure:
    """Share of each cell type in the corpus and in one subset per size; `subsets` maps percentage to labels."""
    import seaborn as sns  # takes a second, so only the stages that need it wait

    order = corpus_labels.value_counts()
    shown = list(order.index[:N_SHOWN_TYPES])
    colours = [*[colour for colour in sns.color_palette("colorblind") if len(set(colour)) > 1], (0.75, 0.75, 0.75)]
    columns = {f"{percentage:g} %\n{len(labels):,}": labels for percentage, labels in subsets.items()}
    columns[f"corpus\n{len(corpus_labels):,}"] = corpus_labels
    shares = pd.DataFrame(
        {
            column: labels.where(labels.isin(shown), "all others").value_counts(normalize=True)
            for column, labels in columns.items()
        }
    )
    fig, axes = plt.subplots(figsize=(7.2, 3))
    shares = shares.reindex([*shown, "all others"]).fillna(0)
    shares.T.plot.bar(stacked=True, width=0.85, color=colours, ax=axes, rot=0)
    axes.set(ylabel="share of cells", xlabel="size of the subset, in per cent of the corpus and cells", ylim=(0, 1))
    axes.set_title(f"Cell types of one subset per size and of the corpus ({len(order)} types)")
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


@figure
def type_shares(subsets: Mapping[Run, pd.Series], corpus_labels: pd.Series) -> Figure:
    """Share of each cell type, most common first, in the corpus and in subsets, a line per size, mean over seeds."""
    before = corpus_labels.value_counts(normalize=True)
    before = before[before > 0]
    sizes = sorted({run.percentage for run in subsets})
    fig, axes = plt.subplots(figsize=(7.2, 2.6))
    for size, colour in zip(sizes, sequential(len(sizes)), strict=True):
        shares = [labels.value_counts(normalize=True) for run, labels in subsets.items() if run.percentage == size]
        mean = pd.concat(shares, axis=1).reindex(before.index).fillna(0).mean(axis=1)
        axes.plot(range(len(before)), mean.where(mean > 0), "o-", ms=2.5, color=colour, label=f"{size:g} %")
    axes.plot(range(len(before)), before, color=GREY, lw=1.6, ls="--", label="corpus")
    axes.set(yscale="log", ylabel="share of cells", title="Share of each cell type (mean over seeds; absent: no dot)")
    if len(before) <= 40:
        axes.set_xticks(range(len(before)), before.index, rotation=40, ha="right", rotation_mode="anchor")
    else:
        axes.set_xlabel("cell types, most common in the corpus first")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="size")
    return fig


@figure
def sketch(embedding: np.ndarray, drawn: Mapping[str, np.ndarray], labels: pd.Series) -> Figure:
    """Cells on the first two components, and which of them each subset in `drawn` (name -> rows) takes."""
    import seaborn as sns  # takes a second, so only the stages that need it wait

    types = list(labels.value_counts().index)
    colours = dict(zip(types, sns.color_palette("husl", len(types)), strict=True))
    fig, panels = plt.subplots(1, len(drawn), figsize=(3.6 * len(drawn), 3.9), sharex=True, sharey=True, squeeze=False)
    for axes, (name, rows) in zip(panels[0], drawn.items(), strict=True):
        axes.scatter(*embedding[:, :2].T, s=2, lw=0, color="#D9D9D9", rasterized=True)
        taken = labels.iloc[rows]
        for label in taken.value_counts().index:
            points = embedding[rows[(taken == label).to_numpy()], :2]
            axes.scatter(*points.T, s=9, lw=0, color=colours[label], label=label)
        axes.set(xticks=[], yticks=[], xlabel="PC 1", ylabel="PC 2")
        axes.set_title(f"{name}: {len(rows):,} cells of {taken.nunique()} types")
    shared_legend(fig, panels[0], most=30, ncols=6, markerscale=1.5)
    fig.suptitle(f"Drawn cells (coloured by type) among all {len(labels):,} (grey)", size=8.5)
    return fig


@figure
def loss_curves(histories: Mapping[Run, pd.DataFrame], *, unit: str) -> Figure:
    """Training and validation loss of all sizes and seeds; against cell-views, or against size where
    training is one step.
    """
    sizes = sorted({run.percentage for run in histories})
    colours = dict(zip(sizes, sequential(len(sizes)), strict=True))
    stepwise = any(len(history) > 1 for history in histories.values())
    by_validation = {run: _by_validation(history) for run, history in histories.items()}
    fig, panels = plt.subplots(1, 2, figsize=(7.2, 2.8), sharey=True)
    for axes, column in zip(panels, ("train_loss", "validation_loss"), strict=True):
        for run, history in histories.items():
            first = run.seed == min(other.seed for other in histories if other.percentage == run.percentage)
            name = f"{run.percentage:g} %" if first else None
            if stepwise:
                later = by_validation[run]
                axes.plot(
                    later["cell_views"], later[column], color=colours[run.percentage], lw=0.9, alpha=0.8, label=name
                )
            else:
                at = sizes.index(run.percentage)
                axes.plot(at, history[column].iloc[-1], "o", ms=3.5, color=colours[run.percentage], label=name)
        axes.set(title=column.replace("_", " "), xlabel="cell-views" if stepwise else "percentage of the corpus")
        if not stepwise:
            axes.set_xticks(range(len(sizes)), [f"{size:g}" for size in sizes])
    if stepwise:
        losses = pd.concat(by_validation.values())[["train_loss", "validation_loss"]]
        panels[0].set_ylim(losses.min(axis=None) * 0.97, np.nanquantile(losses, 0.97))
    panels[0].set_ylabel("\n".join(textwrap.wrap(unit, 30)))
    panels[1].legend(title="size", loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def _by_validation(history: pd.DataFrame) -> pd.DataFrame:
    """One row per validation but the first, when all are untrained; the training loss is the mean since the last."""
    later = history[history["step"] > 0]
    number = later["validation_loss"].notna().shift(fill_value=False).cumsum()
    return later.groupby(number).agg({"cell_views": "last", "train_loss": "mean", "validation_loss": "last"})


@figure
def embeddings(embedding: np.ndarray, sets: pd.DataFrame, *, title: str, umap: bool) -> Figure:
    """Cells of each evaluation set by an embedding, (n_cells, n_latent), coloured by type: on its first two principal
    components, or as UMAP; of larger sets `N_SHOWN_CELLS` cells are drawn.
    """
    names = list(dict.fromkeys(sets["dataset"]))
    rows = (len(names) + 1) // 2
    fig, panels = plt.subplots(rows, 2, figsize=(8.6, 2.9 * rows), squeeze=False)
    for axes in panels.flat[len(names) :]:
        axes.remove()
    for axes, name in zip(panels.flat, names, strict=False):
        every = sets[sets["dataset"] == name]
        part = every if len(every) <= N_SHOWN_CELLS else every.sample(N_SHOWN_CELLS, random_state=0)
        centred = embedding[part["row"]] - embedding[part["row"]].mean(axis=0)
        axis = np.linalg.svd(centred, full_matrices=False)[2][:2].T
        plane = _umap(centred, start=centred @ axis) if umap else centred @ axis
        labels = part["label"].to_numpy()
        order = list(pd.Series(labels).value_counts().index)
        for label, colour in zip(order, cycle(mpl.colormaps["tab20"].colors), strict=False):
            axes.scatter(*plane[labels == label].T, s=3, lw=0, color=colour, label=label, rasterized=True)
        number = f"{len(part):,}" if len(part) == len(every) else f"{len(part):,} of {len(every):,}"
        first, second = ("UMAP 1", "UMAP 2") if umap else ("PC 1 of the embedding", "PC 2")
        axes.set(xticks=[], yticks=[], xlabel=first, ylabel=second, title=f"{name} (n = {number})")
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=3, fontsize=6, handletextpad=0.1)
    fig.suptitle(title, size=9)
    return fig


def _umap(points: np.ndarray, *, start: np.ndarray) -> np.ndarray:
    """UMAP of points, (n_cells, n_latent), from a start, (n_cells, 2); the same points give the same picture.

    Deviates from scanpy's defaults by its start, which keeps more of what lies far from what (Kobak & Linderman 2021),
    and by 200 epochs for 500, in less than half the time.
    """
    import scanpy as sc
    from anndata import AnnData

    cells = AnnData(points)
    with warnings.catch_warnings():  # umap-learn misses Tensorflow, and its tqdm widgets in a kernel
        warnings.filterwarnings("ignore", message="Tensorflow not installed|IProgress not found")
        from umap import umap_

        for function in (umap_.smooth_knn_dist, umap_.compute_membership_strengths):
            function.enable_caching()  # else compiled anew in each process, five seconds
        sc.pp.neighbors(cells, n_neighbors=min(15, len(points)), use_rep="X", random_state=0)
        sc.tl.umap(cells, init_pos=start, maxiter=200, random_state=0)
    return cells.obsm["X_umap"]
