"""The training loop of all families that learn by gradient descent; torch is imported with this module."""

from __future__ import annotations

import contextlib
import math
import os
import time
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from helpers.models.protocol import HISTORY_COLUMNS, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class TrainSettings(Settings):
    """How to train. Shares and counts refer to the run's whole budget, so that a larger budget stretches them."""

    batch_size: int = Field(1024, ge=2)  # batch normalisation needs two cells
    lr: float = Field(1e-3, gt=0)
    lr_warmup: float = Field(0.0, ge=0, lt=1)  # share of steps over which the rate rises linearly to lr
    schedule: Literal["constant", "cosine"] = "constant"  # cosine falls to 0 at the last step
    adam_eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.0, ge=0)  # L2 penalty in the gradient
    validations: int = Field(20, ge=1)  # validation losses computed over a run
    patience: int = Field(5, ge=1)  # validations without a new best before stopping


def train(
    module: torch.nn.Module,
    *,
    n_cells: int,
    cell_views: int,
    batch_loss: Callable[[np.ndarray, float], torch.Tensor],
    validation_loss: Callable[[], float],
    settings: TrainSettings,
    rng: np.random.Generator,
    gradient_scale: float = 1.0,
) -> tuple[pd.DataFrame, dict[str, int | float | bool]]:
    """Train a module in place with Adam; at the end it holds the weights with the lowest validation loss.

    Parameters
    ----------
    n_cells
        Training cells; each epoch visits them in a new random order.
    cell_views
        Budget; rounded up to full batches, 0 trains nothing.
    batch_loss
        Loss (scalar tensor) of the cells at the given row positions (batch_size,); the second argument is the share of
        the run that is done, in (0, 1), for warm-ups.
    validation_loss
        Loss on the validation cells; called in evaluation mode without gradients.
    gradient_scale
        Factor between the loss and what the optimiser sees.

    Returns
    -------
    history
        One row per validation, the first before training: step, epoch, cell_views, train_loss (mean since the row
        before), validation_loss.
    cost
        steps, cell_views, best_step, stopped_early, seconds (with validation, without building the module).

    Raises
    ------
    FloatingPointError
        When a loss is NaN or infinite; names the step.
    """
    started = time.perf_counter()
    steps = math.ceil(cell_views / settings.batch_size)
    interval = max(1, math.ceil(steps / settings.validations))
    optimizer = torch.optim.Adam(
        module.parameters(), lr=settings.lr, eps=settings.adam_eps, weight_decay=settings.weight_decay, fused=True
    )
    order = batches(n_cells, settings.batch_size, rng)
    best_loss, best_step, best_weights, stalled = math.inf, 0, {}, 0
    history, since_last = [], []
    for step in range(steps + 1):
        if step > 0:
            progress = (step - 0.5) / steps
            for group in optimizer.param_groups:
                group["lr"] = settings.lr * lr_factor(progress, settings)
            loss = batch_loss(next(order), progress)
            since_last.append(_finite(loss.item(), "training", step, steps))
            optimizer.zero_grad()
            (loss * gradient_scale).backward()
            optimizer.step()
        if step % interval == 0 or step == steps:
            validation = _finite(_evaluate(module, validation_loss), "validation", step, steps)
            views, train_loss = step * settings.batch_size, np.mean(since_last or [math.nan])
            history.append((step, views / n_cells, views, train_loss, validation))
            since_last, stalled = [], stalled + 1
            if validation < best_loss:
                best_loss, best_step, stalled = validation, step, 0
                best_weights = {key: value.clone() for key, value in module.state_dict().items()}
            if stalled == settings.patience:
                break
    module.load_state_dict(best_weights)
    module.eval()
    cost = {"steps": step, "cell_views": step * settings.batch_size, "best_step": best_step}
    cost |= {"stopped_early": step < steps, "seconds": time.perf_counter() - started}
    return pd.DataFrame(history, columns=HISTORY_COLUMNS), cost


def batches(n_cells: int, batch_size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Endless full batches of row positions: shuffled epochs one after another, cut into equal pieces.

    A batch may hold the end of one epoch and the start of the next, and a corpus smaller than a batch is repeated in
    it, so a step costs the same at every corpus size. At any time two cells' numbers of visits differ by one at most.
    """
    waiting = np.empty(0, dtype=np.int64)
    while True:
        while len(waiting) < batch_size:
            waiting = np.concatenate([waiting, rng.permutation(n_cells)])
        yield waiting[:batch_size]
        waiting = waiting[batch_size:]


def lr_factor(progress: float, settings: TrainSettings) -> float:
    """Learning rate as a share of `lr` when `progress`, in (0, 1), of the run is done."""
    if progress < settings.lr_warmup:
        return progress / settings.lr_warmup
    if settings.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (progress - settings.lr_warmup) / (1 - settings.lr_warmup)))


@contextlib.contextmanager
def torch_seed(rng: np.random.Generator) -> Iterator[None]:
    """Let torch draw from a seed that `rng` gives, and put its generators back as they were."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(int(rng.integers(2**63)))
        yield


def training_device() -> torch.device:
    """The GPU if torch sees one, else the CPU with one thread unless OMP_NUM_THREADS asks for more."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    return torch.device("cpu")


@torch.no_grad()
def _evaluate(module: torch.nn.Module, validation_loss: Callable[[], float]) -> float:
    module.eval()
    loss = float(validation_loss())
    module.train()
    return loss


def _finite(loss: float, kind: str, step: int, steps: int) -> float:
    if not math.isfinite(loss):
        raise FloatingPointError(f"{kind} loss is {loss} at step {step} of {steps}; a lower lr may help")
    return loss
