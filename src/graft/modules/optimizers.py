"""Which parameters learn at which rate: groups, what schedulers may not undo, and what a resumed run keeps."""

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from graft.rules import Rule


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


def rates(optimizer: Optimizer) -> list[float]:
    """The rate that each group's schedule is measured in."""
    return [group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]


def keep_typed_rates(optimizer: Optimizer, scheduler: LRScheduler, typed: Sequence[float]) -> None:
    """After a checkpoint was restored, go on with its schedule at the rates that the user typed now."""
    for k, (restored, rate) in enumerate(zip(rates(optimizer), typed, strict=True)):
        if restored and restored != rate:
            group = optimizer.param_groups[k]
            for name in {"lr", "initial_lr", "max_lr", "min_lr"} & group.keys():
                group[name] *= rate / restored
            scheduler.base_lrs[k] = rate
