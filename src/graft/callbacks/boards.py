"""Where pictures go, and what the classes in them are called."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger


def boards(trainer: Trainer) -> list[Any]:
    """The writers of the run's TensorBoard loggers, as many on every process; only that of the first process writes."""
    return [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


def labels(pl_module: LightningModule) -> Sequence[str]:
    """Names of the classes that a classifier tells apart; none of any other module."""
    names: Sequence[Sequence[str]] = getattr(pl_module, "names", [])
    return names[0] if names else []


def regions(pl_module: LightningModule) -> Sequence[str]:
    """Names of the classes, the background left out, that a segmentation finds; none of any other module."""
    classes: Sequence[str] = getattr(getattr(pl_module, "scores", None), "classes", [])
    return classes
