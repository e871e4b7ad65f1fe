"""Stops a run that learns nothing any more, or does not fit into memory, with a sentence that says what to do."""

import signal
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.utils import get_total_norm


class Guard(Callback):
    """Stops before a loss or a gradient that is NaN or infinite reaches the weights; explains a lack of memory."""

    def __init__(self) -> None:
        self.files: list[str] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.files = list(batch["path"])

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        self.check(trainer, "loss", loss)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        if getattr(trainer.precision_plugin, "scaler", None) is None:  # a scaler skips such steps, and tries others
            gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            self.check(trainer, "gradient", get_total_norm(gradients))

    def check(self, trainer: Trainer, what: str, value: Tensor) -> None:
        """Refuse a value that is no number, on all processes together: one alone would leave the others waiting."""
        mine = all_of_us = bool(value.isfinite())
        if trainer.world_size > 1:
            all_of_us = trainer.strategy.reduce_boolean_decision(mine)
        if not all_of_us:
            where = f"step {trainer.global_step + 1} (epoch {trainer.current_epoch})"
            seen = "no number on another process" if mine else f"{value.item()}"
            files = "" if mine else f", on {', '.join(self.files)}"
            last = getattr(trainer.checkpoint_callback, "last_model_path", "")
            raise FloatingPointError(
                f"The {what} is {seen} at {where}{files}. The weights were not changed by it; "
                f"{f'{last} is the last good checkpoint' if last else 'no checkpoint had been saved yet'}. Look at "
                "these images, or give a lower learning rate (--model.optimizer.lr) or --trainer.gradient_clip_val 1."
            )

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if isinstance(exception, torch.OutOfMemoryError) or "can't allocate memory" in str(exception):
            raise MemoryError(remedy(trainer, pl_module)) from exception
        if trainer.is_global_zero and (kill := getattr(trainer.strategy.launcher, "kill", None)):
            kill(signal.SIGTERM)  # processes that this one has started would wait for it forever


def remedy(trainer: Trainer, pl_module: LightningModule) -> str:
    """What to change, in the order of what it costs."""
    size = getattr(pl_module, "image_size", 0)
    batch = getattr(getattr(trainer, "datamodule", None), "batch_size", 1)
    steps = []
    if batch > 1:
        accumulated = trainer.accumulate_grad_batches * 2
        steps.append(
            f"--data.batch_size {batch // 2} with --trainer.accumulate_grad_batches {accumulated} (the same gradient)"
        )
    if not getattr(pl_module, "gradient_checkpointing", True):
        steps.append("--model.gradient_checkpointing true (the same gradient, for one more forward pass)")
    if size >= 128:
        steps.append(f"--model.image_size {size * 3 // 4 // 32 * 32}")
    return (
        f"{trainer.strategy.root_device} has not enough memory for a batch of {batch} at image_size {size}. Try, in "
        f"this order: {'; '.join([*steps, 'a smaller backbone'])}."
    )
