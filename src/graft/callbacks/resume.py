"""Exact resume: a run that was stopped after any batch goes on as if it had not been.

What a checkpoint of Lightning lacks is added: each process's random states, the gradients of an accumulation that is
under way, and a position that says without doubt which batch comes next and whether a validation is due before it.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loops.progress import _Progress
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn

KEY = "exact_resume"
"""Where a checkpoint keeps the states of the processes."""


class ExactResume(Callback):
    """Stores in a checkpoint what it takes to go on exactly, and puts it back before the first step."""

    def __init__(self) -> None:
        self.validated = 0  # batches trained, over all epochs, when a validation last ended
        self.states: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, int]:
        return {"validated": self.validated}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.validated = state_dict["validated"]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validated = trainer.fit_loop.epoch_loop.batch_progress.total.ready

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        state = {"random": random_states(), "gradients": {}}
        if trainer.fit_loop.epoch_progress.total.ready > 0 and settle(trainer, checkpoint, self.validated):
            state["gradients"] = {name: p.grad.cpu() for name, p in trained(pl_module) if p.grad is not None}
        checkpoint[KEY] = from_all(trainer, state)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self.states = checkpoint.get(KEY, [])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """As late as can be: whatever happens before the first step may draw random numbers."""
        if len(self.states) == trainer.world_size:
            state = self.states[trainer.global_rank]
            parameters = dict(trained(pl_module))
            for name, gradient in state["gradients"].items():
                parameters[name].grad = gradient.to(parameters[name].device)
            set_random_states(state["random"])
        elif self.states:
            rank_zero_warn(
                f"The checkpoint is of {len(self.states)} processes, and {trainer.world_size} go on: not exactly, for "
                "their random numbers begin anew and an epoch's images are divided otherwise."
            )
        self.states = []


def trained(pl_module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """The parameters that learn, by name."""
    return [(name, parameter) for name, parameter in pl_module.named_parameters() if parameter.requires_grad]


def from_all(trainer: Trainer, state: dict[str, Any]) -> list[dict[str, Any]]:
    """The states of all processes, by rank, on every process."""
    states = [state]
    if trainer.world_size > 1:
        states *= trainer.world_size
        torch.distributed.all_gather_object(states, state)
    return states


def random_states() -> dict[str, Any]:
    """The states of all global generators, as tensors and plain values."""
    name, keys, *rest = np.random.get_state(legacy=True)
    states: dict[str, Any] = {"python": random.getstate(), "numpy": (name, keys.tolist(), *rest)}  # type: ignore[union-attr]
    states["torch"] = torch.get_rng_state()
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_random_states(states: dict[str, Any]) -> None:
    """Put the generators back where `random_states` found them."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def settle(trainer: Trainer, checkpoint: dict[str, Any], validated: int) -> bool:
    """Rewrite the position in a checkpoint so that Lightning's loops go on after the last batch that was trained.

    Lightning saves at several moments of a batch and of an epoch, and guesses from the counts which one it was. Here
    all of them say the same: this many batches of this epoch are done, and a validation is due before the next one, or
    is not.

    Returns:
        Whether the last batch left gradients that later ones will add to.
    """
    epoch_loop, saved = trainer.fit_loop.epoch_loop, checkpoint["loops"]["fit_loop"]
    epoch, batch = saved["epoch_progress"], saved["epoch_loop.batch_progress"]
    for count in (epoch["total"], epoch["current"]):
        count.update(started=count["ready"], processed=count["ready"] - 1, completed=count["ready"] - 1)
    for count in (batch["total"], batch["current"]):
        count.update(dict.fromkeys(count, count["processed"]))
    batch["is_last_batch"] = batch["current"]["ready"] >= trainer.num_training_batches
    with as_saved(trainer.fit_loop.epoch_progress, epoch), as_saved(epoch_loop.batch_progress, batch):
        assert trainer.fit_loop._data_fetcher is not None  # there is one since the first batch
        at_validation = epoch_loop._should_check_val_fx(trainer.fit_loop._data_fetcher)
        accumulating = epoch_loop._should_accumulate()
    due = at_validation and batch["current"]["ready"] > 0 and batch["total"]["ready"] != validated
    validation = saved["epoch_loop.val_loop.batch_progress"]
    for count in (validation["total"], validation["current"]):
        count.update(ready=int(due), started=int(due), processed=0, completed=0)
    # Lightning's resumed loop ends the batch of a validation a second time, and would count its step twice.
    again = at_validation and not accumulating
    saved["epoch_loop.state_dict"]["_batches_that_stepped"] = trainer.global_step - again
    return accumulating


@contextmanager
def as_saved(progress: _Progress, saved: dict[str, Any]) -> Iterator[None]:
    """While it lasts, progress is what a checkpoint says it is."""
    now = progress.state_dict()
    progress.load_state_dict(saved)
    yield
    progress.load_state_dict(now)
