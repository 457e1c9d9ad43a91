"""Which cells may be learned from, and which judge: drawn once per design, before anything else."""

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from helpers import models, subset
from helpers.corpus.checks import match
from helpers.corpus.external import in_source
from helpers.corpus.source import PIECE
from helpers.corpus.stored import StoredCells
from helpers.design import Design, DesignError, n_cells
from helpers.design_runs import SPIKEINS
from helpers.held_out import in_pool, pool_roles
from helpers.joined import transfer_cells
from helpers.judged import check_copies, check_judged
from helpers.responses import ResponseCells, response_cells

ROLES = ("corpus", "validation", "evaluation", "spikein", "unused")


def assign_roles(obs: pd.DataFrame, design: Design) -> pd.Series:
    """Role of each cell, (n_cells,), one of `ROLES`.

    The pretraining pool is corpus, validation and evaluation, see `held_out.pool_roles`; cells outside the pool that an
    evaluation set names are evaluation. Treated cells judge if a context of theirs is held out, else they may be spiked
    in, as those of a file of spike-ins are. Cells of a set's own file only judge.

    Raises DesignError for entries that no cell has, for treated cells in the pretraining pool, and for an evaluation
    set that overlaps corpus, validation or spike-ins without saying ``seen: transductive``.
    """
    roles = pool_roles(obs, design)
    if design.spikeins is not None:
        roles[(obs["dataset_id"] == SPIKEINS).to_numpy()] = "spikein"
    if design.perturbation is not None:
        _assign_treated(obs, roles, design)
    for name in design.evaluation_sets:
        chosen = evaluation_mask(obs, roles, design, name)
        roles[chosen & (roles == "unused")] = "evaluation"
    return roles


def _assign_treated(obs: pd.DataFrame, roles: pd.Series, design: Design) -> None:
    task, spiked = design.perturbation, any(one.strategy in subset.SPIKE_INS for one in design.strategies.values())
    treated = match(obs, task.where, "perturbation.where", among=in_source(obs, design))
    inside = int((treated & (roles != "unused")).sum())
    if inside:
        raise DesignError(f"perturbation.where = {task.where} names {inside:,} cells of corpus.pretraining: keep apart")
    roles[treated] = "spikein" if spiked else "evaluation"
    for name, context in task.held_out.items():
        held_out = treated & match(obs, context, f"perturbation.held_out.{name}")
        if not held_out.any():
            raise DesignError(f"perturbation.held_out.{name} = {context} holds no treated cell: nothing is held out")
        roles[held_out] = "evaluation"


def evaluation_mask(obs: pd.DataFrame, roles: pd.Series, design: Design, name: str) -> np.ndarray:
    """Cells of one evaluation set, (n_cells,) bool; refuses an overlap with cells that models learn from."""
    entry = design.evaluation_sets[name]
    if entry.path is not None:
        return (obs["dataset_id"] == name).to_numpy()
    chosen = match(obs, entry.where or {}, f"evaluation_sets.{name}.where", among=in_source(obs, design))
    if entry.part == "evaluation":  # of the pool: cells of other sets judge, too
        chosen &= in_pool(obs, design) & (roles == "evaluation").to_numpy()
    overlap = int((chosen & roles.isin(["corpus", "validation", "spikein"]).to_numpy()).sum())
    if overlap and entry.seen != "transductive":
        raise DesignError(
            f"evaluation_sets.{name}.seen = {entry.seen!r}, but {overlap:,} of its {int(chosen.sum()):,} cells may be "
            "learned from or validate: say 'part: evaluation' to take held-out cells only, or 'seen: transductive'"
        )
    return chosen


def evaluation_table(obs: pd.DataFrame, roles: pd.Series, design: Design) -> pd.DataFrame:
    """One row per evaluation set and cell: dataset, position, cell, seen, label, and the stored half for
    classification.

    Half of each label's cells train the nearest-neighbour classifier (`train` True), the others test it; the same for
    every model.
    """
    tables = []
    for name, entry in design.evaluation_sets.items():
        positions = np.flatnonzero(evaluation_mask(obs, roles, design, name))
        if entry.at_most is not None and len(positions) > entry.at_most:
            positions = np.sort(design.rng("at_most", name).choice(positions, entry.at_most, replace=False))
        labels = obs[entry.label if entry.path is None else "cell_type"].iloc[positions].astype(str).to_numpy()
        columns = {
            "dataset": name,
            "position": positions,
            "cell": obs.index[positions],
            "seen": entry.seen,
            "label": labels,
        }
        tables.append(pd.DataFrame({**columns, "train": half_split(labels, rng=design.rng("half", name))}))
    return pd.concat(tables, ignore_index=True)


def check_design(design: Design, obs: pd.DataFrame) -> int:
    """Check a design against the cells it names, before any compute; returns the number of corpus cells.

    Raises DesignError for unknown datasets, overlaps, and percentages that leave fewer cells than a family can train
    on.
    """
    roles = assign_roles(obs, design)
    n_corpus = int((roles == "corpus").sum())
    for family, chosen in design.families.items():
        try:
            models.check_settings(chosen.family, chosen.preset, chosen.settings)
        except ValueError as error:
            raise DesignError(f"families.{family}.settings: {error}") from error
        needed = models.family_class(chosen.family).min_cells
        for percentage in sorted({size for name in design.strategies for size in design.sizes(name)}):
            if (left := n_cells(percentage, n_corpus)) < needed:
                enough = np.ceil(1000 * needed / n_corpus) / 10
                raise DesignError(
                    f"percentages = {percentage:g} leaves {left} of {n_corpus:,} cells; {family} needs at least "
                    f"{needed}: use {enough:g} or more"
                )
    for name in design.strategies:
        _check_sampling(design, obs, roles.to_numpy(), name)
    _check_full(design)
    check_judged(design, obs, _judged(design, obs)[0])
    return n_corpus


def check_cells(design: Design, cells: AnnData | StoredCells) -> int:
    """Check a design as `check_design` does, and that none of the cells that judge stands twice.

    `cells` are all cells of the source, (n_cells, n_genes) raw counts.
    """
    n_corpus = check_design(design, cells.obs)
    sets, responses = _judged(design, cells.obs)
    check_copies(design, cells, sets, responses)
    return n_corpus


def left_out(design: Design, obs: pd.DataFrame) -> list[str]:
    """What a design that was checked names and does not judge, a line each."""
    sets, responses = _judged(design, obs)
    lines = []
    for name, transfer in design.evaluations.classification.transfer.items():
        cells = sets.loc[sets["dataset"].isin([transfer.train, transfer.test]), "cell"]
        without = len(cells) - len(transfer_cells(obs, sets, name, transfer))
        if without:
            lines.append(
                f"evaluations.classification.transfer.{name} leaves out {without:,} of {len(cells):,} cells: without a "
                f"type by {transfer.label!r} that both sets have"
            )
    for name, one in responses.items():
        if one.left_out:
            named = ", ".join(one.left_out[:10]) + (", …" if len(one.left_out) > 10 else "")
            lines.append(f"{name} leaves out treatments that fewer than three contexts have enough cells of: {named}")
    return lines


def _judged(design: Design, obs: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, ResponseCells]]:
    """The table of the evaluation sets, and the cells of perturbation tasks."""
    roles = assign_roles(obs, design)
    sets = evaluation_table(obs, roles, design)
    return sets, response_cells(obs, roles, sets, design)


def _check_full(design: Design) -> None:
    """Raise DesignError if a model without an encoder is selected to be fine-tuned."""
    task = design.evaluations.finetuning
    if task is None or task.full is None:
        return
    chosen = {run.family for run in design.runs() if task.full.holds(run)}
    able = [name for name in design.families if models.can_be_fine_tuned(design.families[name].family)]
    for name in sorted(chosen.difference(able)):
        raise DesignError(
            f"evaluations.finetuning.full selects {name}, which has no encoder to train on: name others in its "
            f"families; there are: {', '.join(able) or 'none, so leave full out'}"
        )


def offered(roles: np.ndarray, strategy: str) -> np.ndarray:
    """Positions of the cells that a strategy draws from: the corpus, and for spike-ins the treated cells beside it."""
    return np.flatnonzero((roles == "corpus") | ((roles == "spikein") & (strategy in subset.SPIKE_INS)))


def _check_sampling(design: Design, obs: pd.DataFrame, roles: np.ndarray, name: str) -> None:
    """Check the smallest and the largest subset, so that what cannot be filled is told before anything is written."""
    sampling = design.strategies[name]
    if sampling.strategy == "depth" and "total_counts" not in obs:
        return  # not known before the counts are read
    positions = offered(roles, sampling.strategy)
    treated = roles[positions] == "spikein"
    n_corpus = int((roles == "corpus").sum())
    for size in {min(design.sizes(name)), max(design.sizes(name))}:
        try:
            subset.check(
                sampling.strategy,
                obs.iloc[positions],
                n_cells(size, n_corpus),
                nested=sampling.nested,
                perturbed=treated,
                **sampling.options,
            )
        except ValueError as error:
            raise DesignError(f"strategies.{name} at {size:g} %: {error}") from error


def half_split(labels: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:
    """Stratified halves, (n_cells,) bool, True to train; the odd cell of a type falls to either side at random."""
    train = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        cells = rng.permutation(np.flatnonzero(labels == label))
        train[cells[: (len(cells) + int(rng.integers(2))) // 2]] = True
    return train


def check_gene_count(n_genes: int | None, present: int) -> None:
    """Raise DesignError if a design asks for more genes than are present."""
    if n_genes is not None and n_genes > present:
        raise DesignError(f"corpus.genes = {n_genes} but the cells have {present:,} genes: use that many or fewer")


def silent_cells(cells: AnnData | StoredCells, genes: np.ndarray) -> np.ndarray:
    """Cells without a count in the genes of a mask (n_genes,), (n_cells,) bool; `cells` are read once."""
    if genes.all():
        return np.zeros(cells.n_obs, dtype=bool)
    pieces = (cells.X[start : start + PIECE] for start in range(0, cells.n_obs, PIECE))
    return np.concatenate([np.asarray(counts @ genes.astype(np.float32)).ravel() for counts in pieces]) == 0


def select_genes(corpus: AnnData | StoredCells, n_genes: int | None) -> pd.DataFrame:
    """The models' gene space: the `n_genes` most variable genes of the corpus cells (all, if None).

    `corpus` holds raw counts, (n_cells, n_genes), in memory or on disk, which are read twice. Returns one row per gene
    with `gene`, `selected` and `nonzero_median`, the median of its counts per 10,000 over the cells that have any, NaN
    if none has. Variability is the normalised dispersion of log1p CP10k, see helpers.variable_genes.
    """
    from helpers.models.counts import CountsOnDisk
    from helpers.models.expression import LogCP10k
    from helpers.models.rank_tokens import nonzero_medians
    from helpers.variable_genes import variable_genes

    check_gene_count(n_genes, corpus.n_vars)
    counts = corpus.X if isinstance(corpus.X, CountsOnDisk) else sp.csr_array(corpus.X)
    selected = np.ones(corpus.n_vars, dtype=bool)
    if n_genes is not None:
        selected = np.isin(np.arange(corpus.n_vars), variable_genes(LogCP10k(counts), n_genes))
    names = corpus.var_names.astype(str)
    return pd.DataFrame({"gene": names, "selected": selected, "nonzero_median": nonzero_medians(counts)})
