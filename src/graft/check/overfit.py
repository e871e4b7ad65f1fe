"""One batch is learnt by heart, by the run's own trainer, optimizer and rules, at a constant rate.

Whatever can learn a data set can learn a few of its images: where the loss on these does not fall, what is wrong is the
wiring or the rate, not the data.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from graft.modules.scores import SegmentationScores

Batch = dict[str, Any]


def constant(optimizer: Optimizer) -> LambdaLR:
    """The optimizer's own rates, from the first step to the last."""
    return LambdaLR(optimizer, lambda _: 1.0)


@dataclass
class Learnt:
    """What the steps on one batch have shown. Losses and scores are those of the batch without dropout.

    Args:
        losses: Before and after.
        scores: Before and after: the mean Dice or the accuracy, in 0 to 1.
        batch_size: Number of images.
        score: dice or accuracy.
        rate: Of the optimizer, without what rules multiply it with.
        path: The loss of each step, with dropout.
        steps: Steps done.
        seconds: A step's, without the first.
        unreached: Parameters to be trained that got no gradient at all in the first backward pass.
        silent: Those whose gradient was zero in every step.
        still: Those that are what they were.
        trained: All that is trained.
    """

    batch_size: int = 0
    score: str = "dice"
    rate: float = 0.0
    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    path: list[float] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    unreached: list[str] = field(default_factory=list)
    silent: set[str] = field(default_factory=set)
    still: set[str] = field(default_factory=set)
    trained: set[str] = field(default_factory=set)


class Watch(Callback):
    """Takes note of what a training on one batch does."""

    def __init__(self, batch: Batch, learnt: Learnt, console: Console) -> None:
        self.batch = batch
        self.learnt = learnt
        self.start: dict[str, Tensor] = {}
        self.ends: list[float] = []
        columns = (TextColumn("learning one batch"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        group = trainer.optimizers[0].param_groups[0]
        self.learnt.rate = group["lr"] / group.get("lr_ratio", 1.0)
        self.judge(trainer, pl_module)
        self.bar.start()
        self.task = self.bar.add_task("", total=trainer.max_steps)

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        if not self.start:  # only now: rules may have given adapters another start
            self.start = {name: p.detach().clone() for name, p in trained(pl_module)}
            self.learnt.trained, self.learnt.silent = {*self.start}, {*self.start}

    def on_after_backward(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.global_step == 0:
            self.learnt.unreached = [name for name, p in trained(pl_module) if p.grad is None]

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Optimizer) -> None:
        self.learnt.silent -= {name for name, p in trained(pl_module) if p.grad is not None and p.grad.any()}

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, *_: Any) -> None:
        self.learnt.path.append(float(outputs["loss"]))
        self.learnt.steps = trainer.global_step
        self.ends.append(monotonic())
        self.bar.advance(self.task)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        if len(self.ends) > 1:
            self.learnt.seconds = (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1)
        self.learnt.still = {name for name, p in trained(pl_module) if torch.equal(p, self.start[name])}
        self.judge(trainer, pl_module)

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        self.bar.stop()

    def judge(self, trainer: Trainer, pl_module: Any) -> None:
        """Loss and score of the batch now."""
        batch = trainer.strategy.batch_to_device(self.batch, pl_module.device)
        with resting(pl_module), torch.no_grad(), trainer.precision_plugin.forward_context():
            self.learnt.losses.append(float(pl_module.training_step(batch, 0)))
            score = dice if "mask" in batch else accuracy
            self.learnt.score = score.__name__
            self.learnt.scores.append(score(pl_module, batch))


@contextmanager
def resting(pl_module: Any) -> Iterator[None]:
    """Without dropout, and without a word to the loggers."""
    modes = {module: module.training for module in pl_module.modules()}
    pl_module.eval()
    pl_module.log = lambda *_, **__: None
    try:
        yield
    finally:
        del pl_module.log
        for module, training in modes.items():
            module.training = training


def dice(pl_module: Any, batch: Batch) -> float:
    """Mean Dice over the images of a batch."""
    scores = SegmentationScores(pl_module.scores.classes).to(pl_module.device)
    for mask, truth in zip(pl_module.predict_step(batch, 0), batch["original_mask"], strict=True):
        scores.update(mask, truth)
    return float(scores.compute()["dice"])


def accuracy(pl_module: Any, batch: Batch) -> float:
    """Share of a batch's images whose best class is right."""
    return float((pl_module.predict_step(batch, 0).argmax(-1) == batch["label"]).float().mean())


def trained(pl_module: Any) -> list[tuple[str, torch.nn.Parameter]]:
    """The backbone's parameters that are trained, by name."""
    return [(name, p) for name, p in pl_module.model.named_parameters() if p.requires_grad]
