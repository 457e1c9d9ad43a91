"""Names, sizes and settings shared by all figures; `looks` has the colours and markers of families and samplings."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

FAMILY_NAMES = {"pca": "PCA", "scvi": "scVI", "ssl": "SSL", "geneformer": "Geneformer", "scimilarity": "SCimilarity"}


def family_name(family: str, width: float = 1) -> str:
    """A family in words, with its width where that is not 1."""
    return FAMILY_NAMES.get(family, family) + ("" if width == 1 else f" {width:g}×")


STRATEGY_NAMES = {
    "random": "random",
    "celltype_reweighted": "cell type reweighted",
    "geometric_sketching": "geometric sketching",
    "spikein_10": "10 % spike-ins",
    "spikein_50": "50 % spike-ins",
}
TASK_NAMES = {
    "classification": "cell types by neighbours",
    "finetuning": "cell types by a taught head",
    "integration": "integration of batches",
    "perturbation": "predicted responses",
    "heldout_loss": "held-out loss",
}
METRIC_NAMES = {
    "micro_f1": "micro F1",
    "macro_f1": "macro F1",
    "avg_bio": "AvgBIO",
    "heldout_loss": "held-out loss",
    "delta_r": "delta r",
    "specific_r": "context-specific r",
    "mean_profile_r": "r of mean responses",
    "calibrated_mean_profile_r": "calibrated r of mean responses",
    "calibrated_delta_r": "calibrated delta r",
    "calibrated_specific_r": "calibrated context-specific r",
    "calibrated_de_overlap": "calibrated DE overlap",
}
JUDGES = {"classification": "neighbours", "finetuning": "head"}  # what tells types, of tasks that share metrics


def sampling_name(sampling: str) -> str:
    """A sampling in words."""
    return STRATEGY_NAMES.get(sampling, sampling.replace("_", " "))


def curve_name(family: str, sampling: str, width: float = 1) -> str:
    """A curve in words, with its width where that is not 1."""
    return f"{family_name(family, width)}, {sampling_name(sampling)}"


def task_name(task: str) -> str:
    """A task in words."""
    return TASK_NAMES.get(task, task.replace("_", " "))


SPELT = {  # parts of the names of metrics
    "ari": "ARI",
    "asw": "ASW",
    "auprc": "AUPRC",
    "de": "DE",
    "f1": "F1",
    "heldout": "held-out",
    "mlp": "MLP",
    "mse": "MSE",
    "nmi": "NMI",
    "pcr": "PCR",
    "r2": "R²",
}


def metric_name(metric: str) -> str:
    """A metric in words."""
    return METRIC_NAMES.get(metric) or " ".join(SPELT.get(part, part) for part in metric.split("_"))


def score_name(task: str, metric: str) -> str:
    """A metric of a task in words, with what tells the types where tasks share the metric."""
    return metric_name(metric) + (f" ({JUDGES[task]})" if task in JUDGES else "")


# Fields and bands, which differ in greyscale too, and lines, of which each has a contrast of 3 to white or more.
VERDICT_COLOURS = {
    "no scaling": "#5F97CF",
    "saturated": "#E0B13C",
    "power law": "#228866",
    "not identifiable": "#E3E3E3",
}
VERDICT_LINES = {"no scaling": "#2F6CA8", "saturated": "#9A6A00", "power law": "#00563B", "not identifiable": "#767676"}
BASELINE_NAMES = {"hvg": "HVGs", "own_pca": "own PCA"}
BASELINE_LINES = {"hvg": (0, (4, 1, 1, 1)), "own_pca": (0, (5, 2))}
LIMIT_LINES = {"null": (0, (1, 3)), "ceiling": "-"}  # columns of the results
_OF_LABELS = ("classification", "finetuning")
LIMIT_NAMES = {  # by task
    "null": dict.fromkeys(_OF_LABELS, "majority class (floor)") | {"integration": "shuffled cells (floor)"},
    "ceiling": dict.fromkeys(_OF_LABELS, "logistic regression (supervised)")
    | {"integration": "types as embedding (ceiling)"},
}
GREY, INK = "#5A5A5A", "#222222"  # of limits and baselines, and of what stands for all families in a legend
UNTRAINED_LINE = (0, (3, 1, 1, 1, 1, 1))
COLUMN, FULL = 89 / 25.4, 183 / 25.4  # inches: one column of a page in print, and its full width
SMALLEST = 6  # points, in print

RC = {
    "figure.constrained_layout.use": True,
    "figure.dpi": 120,
    "savefig.dpi": 200,
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": SMALLEST,
    "ytick.labelsize": SMALLEST,
    "legend.fontsize": 6.5,
    "legend.title_fontsize": 6.5,
    "figure.titlesize": 7,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.2,
    "svg.fonttype": "none",  # text stays text
    "text.hinting": "none",  # else its width, by which parts are placed, differs between a screen and a file
    "svg.hashsalt": "cellscale",  # the same figure gives the same file
}


def figure(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in the project's style and close the figure, so that a notebook shows it once, as the cell's value.

    Its parts are placed once, and stay there in every file that is written of it; one that is drawn upon another
    figure is placed anew.
    """

    @wraps(draw)
    def styled(*arguments, **options) -> Figure:
        with mpl.rc_context(RC):
            drawn = draw(*arguments, **options)
            if any(axes.get_subplotspec() for axes in drawn.axes):  # else it placed its parts itself
                drawn.set_layout_engine("constrained")
                drawn.draw_without_rendering()
            drawn.set_layout_engine("none")
        plt.close(drawn)
        return drawn

    return styled


def save(drawn: Figure, folder: Path, name: str) -> None:
    """Write a figure as svg and png; the same figure gives the same files."""
    with mpl.rc_context(RC):
        drawn.savefig(folder / f"{name}.svg", metadata={"Date": None})
        drawn.savefig(folder / f"{name}.png", metadata={"Software": None})
