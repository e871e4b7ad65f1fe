"""The doctor: looks at the data, the model and one batch, and ends with a verdict."""

from copy import copy
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from lightning.pytorch import Callback, Trainer
from rich.console import Console
from torch.utils.data import DataLoader

from graft.callbacks import Adapt, Guard
from graft.callbacks.report import report
from graft.check import learning, parts
from graft.check.finding import Finding, noted
from graft.check.overfit import Learnt, Watch, constant
from graft.check.sheet import contact_sheet
from graft.check.show import heading, show_learnt, verdict
from graft.data.base import ImageData
from graft.modules.adapted import AdaptedModule
from graft.quiet import hushed

C = TypeVar("C", bound=Callback)


class Doctor(Trainer):
    """A trainer that looks before it leaps."""

    def check(
        self,
        model: AdaptedModule,
        datamodule: ImageData,
        steps: int = 30,
        output: Path = Path("lightning_logs/check"),
        ckpt_path: str | None = None,
        weights_only: bool | None = None,
    ) -> None:
        """Check data, model and learning before a training. Takes what `fit` takes: replace the one word by the other.

        Args:
            model: The module.
            datamodule: The data.
            steps: Steps on one batch, to see whether it is learnt.
            output: Folder of the contact sheet.
            ckpt_path: As of `fit`; it is not opened, for the check begins where a new run would.
            weights_only: As of `fit`.
        """
        if steps < 2:
            raise ValueError(f"steps is {steps}, but must be at least 2.")
        console, findings = Console(highlight=False), list[Finding]()
        self.strategy.connect(model)
        datamodule.trainer = self
        with hushed("lightning.pytorch"):  # about a training that is none
            heading(console, f"Data: {type(datamodule).__name__}")
            findings += parts.look_at(datamodule, model, console)
            if not stopped(findings):
                with noted(findings):
                    model.meet(datamodule)
                    path, names = output / "contact_sheet.png", [*datamodule.classes]
                    dataset: Any = datamodule.train_dataloader().dataset
                    count = contact_sheet(dataset, path, names, getattr(model, "prompt", "none"))
                    said = f"[bold]{path}[/] shows {count} training images as the model will see them."
                    console.print(said, soft_wrap=True)
            heading(console, f"Model: {type(model).__name__} on {model.backbone}")
            findings += (self.adapting if stopped(findings) else self.learning)(model, datamodule, console)
        if verdict(console, findings):
            raise SystemExit(1)

    def adapting(self, model: AdaptedModule, datamodule: ImageData, console: Console) -> list[Finding]:
        """What is wrong with the model, where there is nothing to learn from."""
        findings: list[Finding] = []
        with noted(findings):
            for callback in kept(self, Adapt):
                callback.setup(self, model, "fit")
            report(model.model)
        return findings

    def learning(self, model: AdaptedModule, datamodule: ImageData, console: Console) -> list[Finding]:
        """What is wrong with the model, learning one batch by heart."""
        learnt, refusals = Learnt(), list[Finding]()
        with noted(refusals):
            batch = datamodule.collate(some(datamodule.train_dataloader().dataset, datamodule.batch_size))
            learnt.batch_size = len(batch["image"])
            self.callbacks = [Watch(batch, learnt, console), *kept(self, Adapt), *kept(self, Guard)]
            model.lr_scheduler = constant
            try:
                self.fit(model, DataLoader(cast("Any", [batch] * self.max_steps), batch_size=None, collate_fn=dict))
            except FloatingPointError as error:  # the guard's
                refusals.append(Finding(str(error), f"{learning.RATE}: {learnt.rate / 10:.1e}", fatal=True))
        show_learnt(console, learnt)
        return [finding for look in learning.LOOKS for finding in look(learnt)] or refusals


def stopped(findings: list[Finding]) -> bool:
    """Whether `fit` would come no further."""
    return any(finding.fatal for finding in findings)


def kept(trainer: Any, kind: type[C]) -> list[C]:
    """The trainer's callbacks of a kind."""
    return [callback for callback in trainer.callbacks if isinstance(callback, kind)]


def some(dataset: Any, count: int) -> list[Any]:
    """Items of a training set as they are in their files, at random but always the same; with something in the mask."""
    plain = copy(dataset)
    plain.augment, plain.training = None, False
    order = np.random.default_rng(0).permutation(len(plain))
    items = (plain[0, int(index)] for index in order)
    return [*islice((item for item in items if "mask" not in item or item["mask"].any()), count)]
