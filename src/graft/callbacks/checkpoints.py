"""Checkpoints: the best, the last, and one wherever a run is stopped."""

import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from graft.callbacks.signals import Signals
from graft.callbacks.summary import relative


class Checkpoints(ModelCheckpoint):
    """Saves the best and the last model, and at Ctrl-C, SIGTERM and a SLURM preemption the model as it is.

    A signal is answered between two batches, when weights, optimizer and position belong together, and by all processes
    at the same one. The options are those of Lightning's `ModelCheckpoint`.
    """

    signals = Signals()  # a process has one set of handlers
    farewell = ""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.signals.listen()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.answer(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        self.answer(trainer)

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.world_size == 1 and trainer.global_step > 0:  # processes may have unequally many, and wait in vain
            self.answer(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.save_last and self._last_global_step_saved != trainer.global_step:
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
        self.signals.ignore()  # here: Lightning gives its own handlers back before any `teardown`

    def answer(self, trainer: Trainer) -> None:
        """Do what a signal has asked for, if one has: to any of the processes."""
        asked = self.signals.asked
        if trainer.world_size > 1:
            heard = torch.tensor(asked, device=trainer.strategy.root_device)
            asked = int(trainer.strategy.reduce(heard, reduce_op="max"))
        if asked == signal.SIGUSR1:
            self.signals.requeue()
        elif asked:
            self.signals.ignore()
            self.stop(trainer, asked)

    def stop(self, trainer: Trainer, number: int) -> None:
        """Save, and leave with the exit code that a shell gives to a signal."""
        path = Path(str(self.dirpath)) / f"{self.CHECKPOINT_NAME_LAST}{self.FILE_EXTENSION}"
        self.farewell = "Stopped before the first step: there is nothing to save."
        if trainer.global_step > 0 and not getattr(trainer, "fast_dev_run", False):
            trainer.save_checkpoint(path, self.save_weights_only)
            self.farewell = f"Stopped after step {trainer.global_step} and saved. To go on:\n  {resumed(path)}"
        raise SystemExit(128 + number)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        super().on_exception(trainer, pl_module, exception)
        self.signals.ignore()
        if self.farewell and trainer.is_global_zero:  # here, where the progress bar is gone
            print(f"\n{self.farewell}", file=sys.stderr)


def resumed(path: Path) -> str:
    """The command that is running, with the checkpoint to go on from."""
    arguments = [str(relative(Path(sys.executable))), *sys.argv]
    for k, argument in enumerate(arguments):
        if argument.startswith("--ckpt_path"):
            del arguments[k : k + (1 if "=" in argument else 2)]
            break
    return shlex.join([*arguments, "--ckpt_path", str(relative(path))])
