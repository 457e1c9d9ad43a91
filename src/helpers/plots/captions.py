"""Captions of the figures: what is drawn and what it cannot tell, by kind; n, seeds and test sets come from numbers."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from helpers.analysis.reach import is_small
from helpers.plots import looks, style
from helpers.reading import between
from helpers.words import counted

_DOTS = "Dots are seeds, lines their means."
_BEYOND = "Beyond the sizes shown nothing is known."
_SAME_CELLS = "The same test cells judge all models, so that another choice of them is in no interval."
_BANDS = "bands and intervals are of 90 %, by a bootstrap over seeds"


@dataclass(frozen=True)
class Text:
    """What a kind of figure shows, which notebook explains it, and what it cannot tell."""

    title: str
    shows: str
    limits: str
    notebook: str


TEXTS = {
    "design": Text(
        "The study's design",
        "From the corpus through samplings, each with its sizes and seeds, to families of models and evaluations; each "
        "box has its number of corpora, models or judged sets.",
        "It tells what was made, and nothing about the scores.",
        "00_corpus",
    ),
    "size_curves": Text(
        "Score against corpus size",
        f"Families in rows, test sets in columns. {_DOTS} Horizontal lines: untrained models, baselines, floor and "
        "supervised reference. Percentages of the corpus stand above the cells.",
        f"{_SAME_CELLS} {_BEYOND}",
        "60_saturation",
    ),
    "few_shot": Text(
        "Few labelled cells",
        "Macro F1 of a head on the embedding against the cells of each type that teach it, of untrained models and of "
        "those pretrained on the smallest and the largest corpus, families in rows; lines are means over seeds. Grey: "
        "majority class and logistic regression on the same taught cells.",
        f"Only the two ends of the corpus sizes are shown. {_BEYOND}",
        "31_finetune",
    ),
    "responses": Text(
        "Calibrated scores of predicted responses against corpus size",
        "Families in rows, held-out contexts in columns. Scores are calibrated, unclipped: 0 is the strongest null, 1 "
        f"the ceiling. {_DOTS}",
        f"One treatment of one study teaches and judges: other treatments may answer otherwise. {_BEYOND}",
        "33_perturb",
    ),
    "response_axes": Text(
        "Predicted responses against what teaches them",
        "Calibrated score against the number of treated cells (above) and of contexts (below) that teach a head on a "
        "fixed encoder; lines are means, bars ranges over draws.",
        "More contexts bring more cells along; draws of one fold share cells and judges.",
        "63_response_axes",
    ),
    "heldout_loss": Text(
        "Held-out loss against corpus size",
        f"Families in rows, test sets in columns. {_DOTS} Grey: null of gene means and count-split reference.",
        f"Losses of families have different units: compare along a row, never down a column. {_BEYOND}",
        "34_heldout_loss",
    ),
    "saturation": Text(
        "Saturation points by the published rule",
        "The smallest size, in per cent of the corpus, at which any seed scores above 0.95 × the best of its curve.",
        f"The rule takes a maximum, lets one lucky seed decide and has no interval. {_BEYOND}",
        "60_saturation",
    ),
    "saturation_error": Text(
        "Saturation points by the error rule",
        "The smallest size whose mean error is at most the smallest mean error / 0.95 (frame), its 90 % interval "
        "(line) and the probability of each size in per cent of the draws (numbers). A dotted line: no interval, "
        "since a size has a single seed, or since the best error is not over 0 in many draws, as that of a loss under "
        "its reference.",
        f"A curve whose point is its largest size has not saturated within the range. {_BEYOND}",
        "60_saturation",
    ),
    "scaling_laws": Text(
        "Scaling of the held-out loss with cells",
        "Runs as dots, the form that leads as a line, its colour the verdict; in words: the verdict, the form and its "
        f"exponent; {_BANDS}.",
        "A verdict holds within the fitted range; losses are compared within a family only.",
        "61_scaling_laws",
    ),
    "excess_loss": Text(
        "Loss above the fitted floor",
        "Mean loss of each size less the fitted floor, on logarithmic axes, of curves whose verdict is a power law; "
        "lines are the fits.",
        "The floor is fitted, and the last points depend on it most; nothing is told beyond the range.",
        "61_scaling_laws",
    ),
    "exponents": Text(
        "Exponents of power laws",
        "Exponents with 90 % intervals of all curves that an unbroken power law leads, colours by family, "
        "marks by sampling; open marks: another verdict.",
        "An exponent holds within its fitted range, and those of different axes are not comparable.",
        "61_scaling_laws",
    ),
    "verdicts": Text(
        "Verdicts on scaling with cells",
        "The verdict on every curve: what is judged in rows, models in columns, samplings in panels.",
        "A verdict holds within its fitted range; not identifiable does not mean that there is no law.",
        "61_scaling_laws",
    ),
    "compute_frontier": Text(
        "Held-out loss against compute",
        "Every trained model against the FLOPs of its training, darker with more cells; steps: the lowest mean loss at "
        "no more FLOPs; dashed, where one could be fitted: the frontier of the joint law of parameters and data.",
        "Models whose FLOPs hardly differ, since they have one budget, are left out. The frontier of noisy means is "
        "somewhat too low; losses are compared within a family only.",
        "61_scaling_laws",
    ),
    "compute_optimal": Text(
        "Compute-optimal model sizes",
        "Loss by parameters at several budgets of FLOPs from the joint law L(N, D), and the parameters of lowest loss "
        "at each; bands are of 90 %.",
        "Between and beyond the widths and sizes that were trained the law is interpolated or extrapolated.",
        "61_scaling_laws",
    ),
    "widths": Text(
        "Width and weight decay",
        f"Scores and losses against the number of parameters, a line for each number of cells, darker with more, and "
        f"weight decay. {_DOTS}",
        "All widths of a family share one budget, learning rate and schedule: a wider model may want others.",
        "61_scaling_laws",
    ),
    "spike_ins": Text(
        "Treated cells spiked into the corpus",
        "Scores and losses where 0, 10 or 50 % of the cells of a random corpus are replaced by treated ones, at equal "
        "size; dots are seeds, lines join the means of one size, darker with more cells.",
        "The cells that are replaced are lost to the corpus: more treated and fewer untreated cells act together.",
        "62_diversity_effect",
    ),
    "diversity": Text(
        "Diversity against size",
        f"Types, Shannon index, Vendi score, donors, datasets and depth of every corpus. {_DOTS} Dashed: all cells.",
        "The Vendi score cannot exceed the number of cells; large subsets of one corpus overlap.",
        "15_diversity",
    ),
    "subset_sizes": Text(
        "What subsets hold",
        f"Median UMIs per cell, and their product with the cells, against the cells of subsets, above which stand the "
        f"percentages of the corpus. {_DOTS}",
        "The product of cells and median UMIs is near the number of UMIs, and not that number itself.",
        "10_subset",
    ),
    "speed": Text(
        "Training and inference time",
        "Cells per second that models learn from, and, where it was recorded, embed, loading and writing included; "
        "dots are models, lines medians.",
        "Measured on the machine that made the results, with other jobs beside: good for orders of magnitude alone.",
        "25_embed",
    ),
    "axis": Text(
        "At a fixed number of cells",
        f"Scores against donors, datasets or depth while the number of cells stays. {_DOTS} Dotted: all cells.",
        f"{_SAME_CELLS} {_BEYOND}",
        "62_diversity_effect",
    ),
    "loss_against_metric": Text(
        "Downstream score against held-out loss",
        "A mark for each model, by its sampling, coloured by corpus size, on the same test set.",
        f"An association over sizes, which move both, and no cause. {_BEYOND}",
        "62_diversity_effect",
    ),
    "monotone_fits": Text(
        "Does the score flatten while the loss still falls?",
        "Scores against held-out loss with the monotone fit of random cells; shaded: its end that gains under one "
        "standard deviation of seeds.",
        f"An association over sizes, which move both, and no cause. {_BEYOND}",
        "62_diversity_effect",
    ),
    "strategy_effects": Text(
        "Samplings against random cells, at equal size",
        "Differences to random cells with 90 % intervals, right is better; filled: p < .05 after Holm's correction.",
        f"A sampling changes types, depth and likeness of cells at once. {_SAME_CELLS}",
        "62_diversity_effect",
    ),
}


def kind_of(name: str) -> str:
    """The kind of a figure by its name: the longest that the name starts with. Raises ValueError if there is none."""
    kinds = [kind for kind in TEXTS if name == kind or name.startswith(f"{kind}_")]
    if not kinds:
        raise ValueError(f"figure {name!r} is of no known kind: {', '.join(TEXTS)}")
    return max(kinds, key=len)


def caption(text: Text, runs: pd.DataFrame, n_test: Mapping[str, pd.Series]) -> str:
    """What a figure shows, of how many models, seeds and test cells, and what it cannot tell."""
    sets = _told_sets(runs, n_test) or ["No test set is judged."]
    beyond = about_size(runs) if text.limits.endswith(_BEYOND) else ""
    return " ".join([text.shows, _told_runs(runs), *sets, text.limits, beyond]).strip()


def about_size(runs: pd.DataFrame) -> str:
    """That a corpus is small, if its largest subset has under 1 % of the cells of the study's, else nothing."""
    small = is_small(runs["n_cells"].max())
    return "A corpus this small says nothing about one of millions of cells." if small else ""


def _told_runs(runs: pd.DataFrame) -> str:
    """Models, or corpora, with their seeds and sizes."""
    trained = runs[runs["percentage"] > 0]
    sampling = "sampling" if "sampling" in trained else "strategy"
    seeds, sizes = seeds_of_each_size(trained), trained["percentage"].nunique()
    told = f"{seeds} of each of {sizes} sizes" if sizes > 1 else f"{seeds} of one size"
    told += f" ({between(trained['n_cells'], ',.0f')} cells)"
    if "family" in trained:
        names = [style.family_name(name) for name in looks.ordered(trained["family"], "families")]
        models = trained["run_id"].nunique() if "run_id" in trained else len(trained)
        return f"n = {counted(models, 'trained model')} ({', '.join(names)}), {told}."
    corpora = trained.drop_duplicates([sampling, "percentage", "subset_seed"])
    return f"n = {counted(len(corpora), 'corpus/corpora')}, {told}."


def seeds_of_each_size(runs: pd.DataFrame) -> str:
    """Seeds of the subsets of one sampling and size, in words."""
    sampling = "sampling" if "sampling" in runs else "strategy"
    return counted(runs.groupby([sampling, "percentage"])["subset_seed"].nunique(), "seed")


def _told_sets(runs: pd.DataFrame, n_test: Mapping[str, pd.Series]) -> list[str]:
    """A sentence for each task with its test sets, how far from the corpus they lie, and their n."""
    if "dataset" not in runs:
        return []
    told = []
    for task, rows in runs.dropna(subset=["task"]).groupby("task", sort=False):
        sets = rows.drop_duplicates("dataset")
        seen = sets["seen"] if "seen" in sets else [""] * len(sets)
        counts = n_test.get(task, pd.Series(dtype=int))
        parts = [
            f"{name} ({how + ', ' if isinstance(how, str) and how else ''}n = {counts[name]:,})"
            for name, how in zip(sets["dataset"], seen, strict=True)
            if name in counts.index
        ]
        if parts:
            what = "conditions" if task == "perturbation" else "test cells"
            told.append(f"{what.capitalize()}, {style.task_name(task)}: {', '.join(parts)}.")
    return told
