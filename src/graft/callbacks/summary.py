"""The end of a run in words: scores before and after, where everything lies, what to run next."""

import shlex
import sys
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console

from graft.callbacks.report import titles
from graft.callbacks.rules import backbone


class Summary(Callback):
    """Remembers the monitored score before the first step; tells it, the last and the best when training ends."""

    def __init__(self) -> None:
        self.first: float | None = None

    def state_dict(self) -> dict[str, float | None]:
        return {"first": self.first}

    def load_state_dict(self, state_dict: dict[str, float | None]) -> None:
        self.first = state_dict["first"]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        if self.first is None and trainer.global_step == 0:
            self.first = self.score(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """After the progress bar is gone."""
        folder = Path(trainer.log_dir or trainer.default_root_dir)  # all processes must ask together
        last, checkpoint = self.score(trainer), trainer.checkpoint_callback
        if (
            stage != "fit"
            or getattr(trainer, "fast_dev_run", False)
            or not isinstance(checkpoint, ModelCheckpoint)
            or last is None
            or not trainer.is_global_zero
        ):
            return
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                adapters = " + ".join(titles(backbone(pl_module))) or "none"
                logger.log_hyperparams(
                    {**pl_module.hparams, "adapter": adapters}, {f"final/{checkpoint.monitor}": last}
                )
        best, config = checkpoint.best_model_path or checkpoint.last_model_path, folder / "config.yaml"
        lines = {
            f"{checkpoint.monitor} before the first step": "-" if self.first is None else f"{self.first:.4f}",
            f"{checkpoint.monitor} at the end": f"{last:.4f}",
            "best checkpoint": best,
            "pictures": folder / "pictures",
            "TensorBoard files": folder,
        }
        console = Console(soft_wrap=True, highlight=False)
        console.print()
        for name, value in lines.items():
            console.print(f"[bold]{name:<32}[/bold] {value}")
        console.print("\n[bold]Next[/bold]")
        python = relative(Path(sys.executable))
        console.print(f"  {python.parent / 'tensorboard'} --logdir {shlex.quote(str(folder))}")
        console.print(f"  {python} main.py test --config {shlex.quote(str(config))} --ckpt_path {shlex.quote(best)}")

    def score(self, trainer: Trainer) -> float | None:
        """The monitored score as last logged."""
        monitor = getattr(trainer.checkpoint_callback, "monitor", None)
        value = trainer.callback_metrics.get(monitor) if monitor else None
        return None if value is None else float(value)


def relative(path: Path) -> Path:
    """The path as seen from here, where it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
