"""A small run that writes down what it does and saves at every moment, to be held against one that goes on."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import seed_everything
from lightning.pytorch.callbacks import Checkpoint

from graft.adapters import LoRA
from graft.callbacks import Baseline, ExactResume
from graft.data import PolypPhantoms
from tests.modules.small import sam, serial, trainer


class Diary(Checkpoint):
    """Writes down what a run does, in order, and saves at every moment that there is. (Lightning calls it last.)"""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.entries: list[tuple[Any, ...]] = []
        self.saved: dict[Path, int] = {}  # how many entries there were

    def save(self, trainer: Any, moment: str) -> None:
        if self.folder is not None and trainer.global_step > 0:
            path = self.folder / f"{len(self.saved):02}-{moment}.ckpt"
            self.saved[path] = len(self.entries)
            trainer.save_checkpoint(path)

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        self.save(trainer, "before-batch")

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        rate, step = trainer.optimizers[0].param_groups[0]["lr"], trainer.fit_loop.epoch_loop._batches_that_stepped
        where = (trainer.current_epoch, batch_idx, trainer.global_step, step, rate)
        self.entries.append(("batch", *where, batch["name"], outputs["loss"].item()))
        self.save(trainer, "after-batch")

    def on_validation_batch_start(self, trainer: Any, *_: Any) -> None:
        self.save(trainer, "in-validation")

    def on_validation_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step > 0:
            scores = {name: value.item() for name, value in trainer.callback_metrics.items() if "val" in name}
            step = trainer.fit_loop.epoch_loop._batches_that_stepped
            self.entries.append(("validation", trainer.current_epoch, trainer.global_step, step, scores))
        self.save(trainer, "after-validation")

    def on_train_epoch_end(self, trainer: Any, *_: Any) -> None:
        self.save(trainer, "after-epoch")

    def on_train_end(self, trainer: Any, *_: Any) -> None:
        self.save(trainer, "at-the-end")


def run(
    folder: Path,
    diary: Diary,
    ckpt_path: Path | None = None,
    prompt: str = "none",
    train_count: int = 8,
    batch_size: int = 2,
    workers: int = 0,
    dropout: float = 0.3,
    rules: Any = (),
    gradient_checkpointing: bool = False,
    callbacks: Any = (),
    **options: Any,
) -> dict[str, torch.Tensor]:
    """Train from seed 0, with augmentation and dropout; the weights at the end."""
    seed_everything(0 if ckpt_path is None else 1, verbose=False)  # a resumed run must not lean on its seed
    data = PolypPhantoms(folder, train_count, val_count=3, test_count=1, height=40, width=56, batch_size=batch_size,
                         num_workers=workers)  # fmt: skip
    module = sam(prompt, gradient_checkpointing=gradient_checkpointing)
    adapt = serial(adapter=LoRA(rank=2, dropout=dropout), rules=list(rules))
    defaults: dict[str, Any] = {"max_epochs": 2, "enable_checkpointing": True}
    fit = trainer(folder, adapt, Baseline(), ExactResume(), diary, *callbacks, **defaults | options)
    fit.fit(module, data, ckpt_path=ckpt_path)
    return {name: p.detach().clone() for name, p in module.named_parameters() if p.requires_grad}
