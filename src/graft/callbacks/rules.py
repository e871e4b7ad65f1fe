"""When the rules of a training are asked: around its start, its batches and its optimizer steps."""

from collections.abc import Generator, Iterator
from contextlib import closing, nullcontext
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, distributed, nn

from graft.adapters import Adapter
from graft.rules import Rule
from graft.rules.base import refuse_conflicts


class FollowRules(Callback):
    """Calls the hooks of rules, once an optimizer step each, in their order.

    Args:
        rules: Rules that get along.
    """

    def __init__(self, rules: list[Rule] | None = None) -> None:
        self.rules = rules or []
        self.steps_seen = 0
        refuse_conflicts(self.rules)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.steps_seen = trainer.global_step  # not 0 where a run is resumed
        model = backbone(pl_module)
        for rule in self.rules:
            rule.with_optimizer(trainer.optimizers[0])
            rule.with_trainer(trainer.estimated_stepping_batches)
            if trainer.global_step == 0:
                # The training draws the same random numbers with and without a start.
                with isolate_rng(), closing(losses(trainer, pl_module)) as batches:
                    rule.start(model, batches)
        if self.rules and distributed.is_available() and distributed.is_initialized():
            for tensor in adapter_tensors(model):
                distributed.broadcast(tensor, 0)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        for rule in self.rules:
            rule.before_batch(backbone(pl_module), trainer.global_step + 1)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        model, step = backbone(pl_module), trainer.global_step + 1
        for rule in self.rules:
            if (penalty := rule.penalty(model, step)) is not None:
                pl_module.log(f"penalty/{type(rule).__name__}", penalty.detach())
                add_gradient(penalty, model)
        for rule in self.rules:
            rule.before_step(model, step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        for rule in self.rules:
            rule.after_batch(backbone(pl_module))
        if trainer.global_step > self.steps_seen:  # not after every batch: gradients may be accumulated
            self.steps_seen = trainer.global_step
            for rule in self.rules:
                rule.after_step(backbone(pl_module), trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        return {type(rule).__name__: rule.state_dict() for rule in self.rules}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let the rules of a training go on; in a test they have nothing to do, and are not prepared."""
        if not trainer.training:
            return
        saved = checkpoint.get("callbacks", {}).get(self.state_key, {})  # without rules there is no state
        mine = {type(rule).__name__: rule for rule in self.rules}
        if mine.keys() != saved.keys():
            raise ValueError(
                f"This checkpoint was trained with the rules {', '.join(saved) or 'none'}, but the configuration has "
                f"{', '.join(mine) or 'none'}: go on with the same adapt.rules."
            )
        for name, rule in mine.items():
            rule.load_state_dict(saved[name])


def backbone(pl_module: LightningModule) -> nn.Module:
    """What is adapted: the module's `model`."""
    model = getattr(pl_module, "model", None)
    if not isinstance(model, nn.Module):
        raise TypeError(f"{type(pl_module).__name__} has no backbone: build it in `__init__`, as `self.model`.")
    return model


def losses(trainer: Trainer, pl_module: LightningModule) -> Generator[Tensor, None, None]:
    """The loss of one training batch after another, for as long as it is asked for.

    When it is closed nothing is left of it: what is tried out is not logged, and running statistics are what they were.
    Nothing scales these losses, so that float16 would lose small gradients: what it trains in is here float32.
    """
    kept = [(buffer, buffer.clone()) for buffer in running(pl_module)]
    setattr(pl_module, "log", lambda *_, **__: None)  # noqa: B010 (what is tried out is not logged)
    try:
        while True:
            for index, batch in enumerate(trainer.train_dataloader or ()):
                here = trainer.strategy.batch_to_device(batch, pl_module.device)
                half = trainer.precision_plugin.precision == "16-mixed"
                with torch.enable_grad(), nullcontext() if half else trainer.precision_plugin.train_step_context():
                    loss = pl_module.training_step(here, index)
                assert isinstance(loss, Tensor)
                yield loss
    finally:
        delattr(pl_module, "log")
        for buffer, value in kept:
            buffer.copy_(value)


def running(pl_module: LightningModule) -> Iterator[Tensor]:
    """The buffers that a training step may change: those of modules in training, such as a BatchNorm's statistics."""
    for module in pl_module.modules():
        if module.training and not isinstance(module, Adapter):
            yield from module.buffers(recurse=False)


def add_gradient(penalty: Tensor, model: nn.Module) -> None:
    """Add a penalty's gradient to those of the loss, which processes have averaged and a scaler has unscaled."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(penalty, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, found, strict=True):
        if gradient is not None:
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


def adapter_tensors(model: nn.Module) -> list[Tensor]:
    """What adapters hold: their parameters, and the buffers that their files hold."""
    kept = model.state_dict()
    owned = {name for name, module in model.named_modules() if isinstance(module, Adapter)}
    return [tensor for name, tensor in kept.items() if name.rpartition(".")[0] in owned]
