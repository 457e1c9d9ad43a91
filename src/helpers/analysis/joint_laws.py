"""The joint laws of parameters and data of a study, and the compute-optimal sizes that follow."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from helpers.analysis.joint import FEWEST, JointFit, fit_joint
from helpers.analysis.laws import losses

N_BUDGETS = 4
SIZED = ["model", "width", "budget", "percentage"]


@dataclass(frozen=True)
class JointLaw:
    """The law of one model and dataset, its `runs`, and `flops` of a parameter and cell-view; or why there is none."""

    model: str
    dataset: str
    runs: pd.DataFrame
    fit: JointFit | None
    reason: str = ""

    @property
    def flops(self) -> float:
        """Training FLOPs of one parameter and one cell-view, the median of the runs."""
        return float((self.runs["flops"] / (self.runs["n_parameters"] * self.runs["cell_views"])).median())

    @property
    def budgets(self) -> np.ndarray:
        """Compute budgets over the range of the runs' FLOPs."""
        return np.geomspace(self.runs["flops"].min(), self.runs["flops"].max(), N_BUDGETS)


def fit_joints(
    results: pd.DataFrame, *, models: Mapping[str, str], rng: np.random.Generator, n_boot: int = 1000
) -> list[JointLaw]:
    """The joint law of each model and dataset with three numbers of parameters and of cells.

    It is of held-out losses and random cells. `models` is `laws.alike` of the design. Cell-views of a size are means
    over its seeds, which early stopping may end at different steps. Runs that `fit_joint` refuses (one seed, numbers
    that are missing) have no law but its reason.
    """
    runs = losses(results)
    runs = runs[(runs["metric"] == "heldout_loss") & (runs["sampling"] == "random")]
    runs = runs.assign(model=runs["family"].map(models)).drop(columns="family")
    runs["cell_views"] = runs.groupby(SIZED)["cell_views"].transform("mean").round()
    found = []
    for (model, dataset), part in runs.groupby(["model", "dataset"]):
        if min(part["n_parameters"].nunique(), part["n_unique"].nunique()) >= FEWEST:
            try:
                found.append(JointLaw(model, dataset, part, fit_joint(part, rng=rng.spawn(1)[0], n_boot=n_boot)))
            except ValueError as refused:
                found.append(JointLaw(model, dataset, part, None, str(refused)))
    return found


def joint_table(found: list[JointLaw]) -> pd.DataFrame:
    """Parameters with intervals, one row each: model, dataset, parameter, value, low, high, identifiable, reason,
    fixed_repetition, n_runs. Where there is no law, one row says why, without a parameter.
    """
    tables = []
    for law in found:
        fit = law.fit
        none = {"parameter": ["none"], "value": np.nan, "low": np.nan, "high": np.nan}
        rows = fit.parameters.rename_axis("parameter").reset_index() if fit else pd.DataFrame(none)
        told = {"identifiable": fit.identifiable, "reason": fit.reason} if fit else {"reason": law.reason}
        told = {"identifiable": False, "fixed_repetition": bool(fit and fit.fixed_repetition)} | told
        tables.append(rows.assign(model=law.model, dataset=law.dataset, n_runs=len(law.runs), **told))
    columns = ["model", "dataset", "parameter", "value", "low", "high", "identifiable", "reason"]
    empty = pd.DataFrame(columns=[*columns, "fixed_repetition", "n_runs"])
    return pd.concat(tables, ignore_index=True)[empty.columns] if tables else empty


def frontiers(found: list[JointLaw]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Losses by model size at each budget, and the compute-optimal sizes, where a law is identifiable.

    New cells are taken for each view. Both have model and dataset beside the columns of `JointFit`.
    """
    profiles, best = [pd.DataFrame(columns=["model", "dataset", "budget", "n_parameters", "value", "low", "high"])], []
    best = [
        pd.DataFrame(columns=["model", "dataset", "budget", "n_parameters", "low", "high", "views", "loss", "inside"])
    ]
    for law in (one for one in found if one.fit and one.fit.identifiable):
        named = {"model": law.model, "dataset": law.dataset}
        sizes = np.geomspace(law.runs["n_parameters"].min() / 3, law.runs["n_parameters"].max() * 3, 80)
        for budget in law.budgets:
            profiles.append(law.fit.profiles(budget, law.flops, sizes).assign(budget=budget, **named))
        best.append(law.fit.frontier(law.budgets, law.flops).assign(**named))
    return tuple(pd.concat([part for part in tables if len(part)] or tables) for tables in (profiles, best))
