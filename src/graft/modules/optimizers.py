"""Which parameters learn at which rate: groups, what schedulers may not undo, and what a resumed run keeps."""

import inspect
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from graft.rules import Rule

PROGRESS = {"last_epoch", "_step_count", "_last_lr", "best", "num_bad_epochs", "cooldown_counter", "T_cur", "T_i"}
"""What a scheduler of torch counts; the rest of its state are its options, and what it computes from them."""


def parameter_groups(model: nn.Module, rules: Sequence[Rule]) -> list[dict[str, Any]]:
    """What is trained: matrices, and vectors (biases, norms) without weight decay, regrouped by the rules."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"name": "matrices", "params": [p for p in parameters if p.ndim > 1]},
        {"name": "vectors", "params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    for rule in rules:
        groups = rule.param_groups(model, groups)
    return groups


def refuse_lost_ratios(optimizer: Optimizer, scheduler: LRScheduler, rules: Sequence[Rule]) -> None:
    """Some schedulers (OneCycleLR) set rates of their own and would undo those that a rule gave.

    Raises:
        ValueError: the groups' rates do not stand in the ratios that the rules asked for.
    """
    bare = [
        rate / group.get("lr_ratio", 1.0) for rate, group in zip(rates(optimizer), optimizer.param_groups, strict=True)
    ]
    if max(bare) > 1.001 * min(bare):
        raise ValueError(
            f"{type(scheduler).__name__} gives all parameters one learning rate, which undoes that of the rules "
            f"({', '.join(type(rule).__name__ for rule in rules)}): choose another scheduler, or drop them."
        )


def refuse_other_groups(checkpoint: dict[str, Any], groups: Sequence[dict[str, Any]]) -> None:
    """An optimizer cannot go on with parameters that are grouped otherwise.

    Raises:
        ValueError: the checkpoint's groups were made by other rules.
    """
    saved = [group.get("name", "?") for state in checkpoint["optimizer_states"] for group in state["param_groups"]]
    if saved != (names := [group["name"] for group in groups]):
        raise ValueError(
            f"This checkpoint's optimizer has the groups {', '.join(saved)}, but the configuration makes "
            f"{', '.join(names)}: go on with the same adapt.rules."
        )


def rates(optimizer: Optimizer) -> list[float]:
    """The rate that each group's schedule is measured in."""
    return [group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]


@dataclass(frozen=True)
class Typed:
    """The optimizer and the schedule as the user asks for them now, which a checkpoint may hold otherwise."""

    rates: list[float]
    groups: list[dict[str, Any]]
    schedule: dict[str, Any]

    @classmethod
    def by(cls, optimizer: Optimizer, scheduler: LRScheduler) -> "Typed":
        """Take note, before a checkpoint is restored."""
        groups = [
            {name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups
        ]
        return cls(rates(optimizer), deepcopy(groups), deepcopy(scheduler.state_dict()))

    def keep(self, optimizer: Optimizer, scheduler: LRScheduler) -> None:
        """After a checkpoint was restored, go on from its step with what the user typed."""
        if self.changes(scheduler):
            progress = {name: value for name, value in scheduler.state_dict().items() if name in PROGRESS}
            scheduler.load_state_dict(self.schedule | progress)
        for k, (group, typed) in enumerate(zip(optimizer.param_groups, self.groups, strict=True)):
            scheduled = {"lr", "initial_lr", "max_lr", "min_lr"}
            if "max_momentum" in group:  # the schedule moves these too
                scheduled |= {"betas", "momentum", "base_momentum", "max_momentum"}
            group.update({name: value for name, value in typed.items() if name not in scheduled})
            restored = group.get("initial_lr", group["lr"])
            if restored and restored != self.rates[k]:
                for name in {"lr", "initial_lr", "max_lr", "min_lr"} & group.keys():
                    group[name] *= self.rates[k] / restored
                scheduler.base_lrs[k] = self.rates[k]
            if isinstance(scheduler, LambdaLR):  # a rate of the step alone: where the run's end moved, so did the rate
                group["lr"] = scheduler.base_lrs[k] * scheduler.lr_lambdas[k](scheduler.last_epoch)

    def changes(self, scheduler: LRScheduler) -> bool:
        """Whether the restored schedule has other options than those typed now."""
        restored, options = scheduler.state_dict(), inspect.signature(type(scheduler)).parameters
        return any(
            restored[name] != self.schedule[name] for name in options if name in restored and name not in PROGRESS
        )
