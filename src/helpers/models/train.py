"""The training loop of all families that learn by gradient descent; torch is imported with this module."""

from __future__ import annotations

import contextlib
import math
import os
import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch.utils.flop_counter import FlopCounterMode

from helpers.messages import unknown
from helpers.models.memory import memory_told
from helpers.models.protocol import HISTORY_COLUMNS, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class TrainSettings(Settings):
    """How to train. Shares and counts refer to the run's whole budget, so that a larger budget stretches them."""

    batch_size: int = Field(1024, ge=2)  # batch normalisation needs two cells
    lr: float = Field(1e-3, gt=0)
    lr_warmup: float = Field(0.0, ge=0, lt=1)  # share of steps over which the rate rises linearly to lr
    lr_sweep: list[Annotated[float, Field(gt=0)]] = Field(
        []
    )  # train with each, keep the lowest validation loss; one that diverges drops out
    schedule: Literal["constant", "linear", "cosine"] = "constant"  # the others fall to 0 at the last step
    optimizer: Literal["adam", "adamw"] = "adam"
    adam_eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.0, ge=0)  # L2 penalty in the gradient (adam) or apart from it (adamw)
    evaluation_batch: int = Field(512, ge=1)  # cells embedded or judged at a time
    validations: int = Field(20, ge=1)  # validation losses computed over a run
    patience: int = Field(5, ge=1)  # validations without a new best before stopping


class DivergedError(FloatingPointError):
    """A loss that is no longer finite."""

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


def train(
    module: torch.nn.Module,
    *,
    n_cells: int,
    cell_views: int,
    batches: Iterator[Any],
    step_loss: Callable[[Any, float], torch.Tensor],
    validation_loss: Callable[[], float],
    settings: TrainSettings,
    gradient_scale: float = 1.0,
) -> tuple[pd.DataFrame, dict[str, int | float | bool]]:
    """Train a module in place; at the end it holds the weights with the lowest validation loss.

    On a GPU the loss is computed in bfloat16 where torch holds that to be safe.

    Parameters
    ----------
    n_cells
        Training cells.
    cell_views
        Budget; rounded up to full batches, 0 trains nothing.
    batches
        Endless batches of `settings.batch_size` cells each.
    step_loss
        Loss (scalar tensor) of a batch; the second argument is the share of the run that is done, in (0, 1), for
        warm-ups.
    validation_loss
        Loss on the validation cells; called in evaluation mode without gradients.
    gradient_scale
        Factor between the loss and what the optimiser sees.

    Returns
    -------
    history
        One row per step, the first before training: step, epoch, cell_views, train_loss of the step's batch,
        validation_loss, NaN at steps without one.
    cost
        steps, cell_views, best_step, stopped_early, flops_counted (torch's count of the matrix products of the first
        step, times the steps), seconds (with validation, without building the module).

    Raises
    ------
    DivergedError
        When a loss is NaN or infinite; names the step.
    MemoryError
        When a batch does not fit; names a smaller one.
    """
    started = time.perf_counter()
    steps = math.ceil(cell_views / settings.batch_size)
    interval = max(1, math.ceil(steps / settings.validations))
    device = next(module.parameters()).device.type
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.optimizer]
    options = {"lr": settings.lr, "eps": settings.adam_eps, "weight_decay": settings.weight_decay}
    optimizer = kind(module.parameters(), fused=device != "mps", **options)
    best_loss, best_step, best_weights, stalled = math.inf, 0, {}, 0
    history, counter = [], FlopCounterMode(display=False)
    for step in range(steps + 1):
        train_loss = validation = math.nan
        if step > 0:
            progress = (step - 0.5) / steps
            for group in optimizer.param_groups:
                group["lr"] = settings.lr * lr_factor(progress, settings)
            with memory_told("batch_size", settings.batch_size), counter if step == 1 else contextlib.nullcontext():
                batch = next(batches)
                with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
                    loss = step_loss(batch, progress)
                train_loss = _finite(loss.item(), "training", step, steps)
                optimizer.zero_grad()
                (loss * gradient_scale).backward()
                optimizer.step()
        if step % interval == 0 or step == steps:
            validation = _finite(_evaluate(module, validation_loss), "validation", step, steps)
            stalled += 1
            if validation < best_loss:
                best_loss, best_step, stalled = validation, step, 0
                best_weights = {key: value.clone() for key, value in module.state_dict().items()}
        views = step * settings.batch_size
        history.append((step, views / n_cells, views, train_loss, validation))
        if stalled == settings.patience:
            break
    module.load_state_dict(best_weights)
    module.eval()
    cost = {"steps": step, "cell_views": views, "best_step": best_step}
    cost |= {"flops_counted": counter.get_total_flops() * step, "stopped_early": step < steps}
    cost |= {"seconds": time.perf_counter() - started}
    return pd.DataFrame(history, columns=HISTORY_COLUMNS), cost


def shuffled(n_cells: int, batch_size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
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
    later = (progress - settings.lr_warmup) / (1 - settings.lr_warmup)
    return 1 - later if settings.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * later))


@contextlib.contextmanager
def torch_seed(seed: int) -> Iterator[None]:
    """Let torch draw from a seed, and put its generators back as they were."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def training_device(accelerator: str = "auto") -> torch.device:
    """The named device, or with ``auto`` a CUDA GPU if torch sees one, else the CPU; mps is untested, so never taken.

    The CPU gets one thread unless OMP_NUM_THREADS asks for more. Raises ValueError for a device that is not there.
    """
    present = ["cpu", *(name for name in ("cuda", "mps") if getattr(torch, name).is_available())]
    if accelerator not in ("auto", *present):
        raise ValueError(unknown("accelerator", accelerator, ("auto", *present)))
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1").split(",")[0]))  # libraries may have changed it
    chosen = "cuda" if "cuda" in present else "cpu"
    return torch.device(chosen if accelerator == "auto" else accelerator)


@torch.no_grad()
def _evaluate(module: torch.nn.Module, validation_loss: Callable[[], float]) -> float:
    module.eval()
    loss = float(validation_loss())
    module.train()
    return loss


def _finite(loss: float, kind: str, step: int, steps: int) -> float:
    if not math.isfinite(loss):
        raise DivergedError(f"{kind} loss is {loss} at step {step} of {steps}; a lower lr may help", step)
    return loss
