"""A rule: how adapters are trained, where that is the paper's idea."""

from typing import Any

from torch import nn


class Rule:
    """What a training rule may do; each hook does nothing unless a rule says otherwise. `Adapt` calls them."""

    def param_groups(self, model: nn.Module, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Regroup the optimizer's parameters; `lr_ratio` in a group multiplies the learning rate."""
        return groups

    def before_step(self, model: nn.Module, step: int) -> None:
        """Change the gradients, before optimizer step number `step`, counted from 1."""

    def after_step(self, model: nn.Module, step: int) -> None:
        """Change the parameters, after optimizer step number `step`, counted from 1."""
