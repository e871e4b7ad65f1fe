"""A rule: how adapters are trained, where that is the paper's idea."""

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.optim import Optimizer

from graft.adapters import Adapter
from graft.adapters.places import Place
from graft.rules.known import known_places


class Rule:
    """What a training rule may do; each hook does nothing unless a rule says otherwise. `Adapt` calls them.

    Processes that train together call the hooks alike, with gradients that are averaged already: what a rule decides
    from these, its state and the step is the same on all. What it draws at random it draws from its seed and the step.
    """

    acts_on: ClassVar[type[nn.Module]] = Adapter
    """The adapters that the rule is for; a model without any is refused."""

    decides: ClassVar[str | None] = None
    """What the rule alone decides, such as "the start" or "the gates": two rules that decide the same are refused."""

    def prepare(self, model: nn.Module) -> None:
        """Take note of the adapters, once they are injected and before a checkpoint is restored."""

    def param_groups(self, model: nn.Module, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Regroup the optimizer's parameters; `lr_ratio` in a group multiplies the learning rate."""
        return groups

    def start(self, model: nn.Module, losses: Iterator[Tensor]) -> None:
        """Set the adapters' first values, before step 1 of a run that is not resumed.

        Args:
            model: The adapted backbone.
            losses: Each `next` computes the loss of another training batch, with a graph to all that requires a
                gradient then. Use `torch.autograd.grad`, and `gradients.average` over processes.
        """

    def with_optimizer(self, optimizer: Optimizer) -> None:
        """Take note of the optimizer, before the first step of every run."""

    def with_trainer(self, total_steps: float) -> None:
        """Take note of how many optimizer steps the run has in all (inf: no end is known), before its first step."""

    def before_batch(self, model: nn.Module, step: int) -> None:
        """Change the adapters for the forward and backward passes towards optimizer step number `step`, from 1."""

    def penalty(self, model: nn.Module, step: int) -> Tensor | None:
        """What is added to the loss of optimizer step number `step`, weighted: a scalar of the parameters alone."""
        return None

    def before_step(self, model: nn.Module, step: int) -> None:
        """Change the gradients, before optimizer step number `step`, counted from 1."""

    def after_batch(self, model: nn.Module) -> None:
        """Take back what `before_batch` changed, after every batch, so that it is in no validation and checkpoint."""

    def after_step(self, model: nn.Module, step: int) -> None:
        """Change the parameters, after optimizer step number `step`, counted from 1."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know, as tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` said; called after `prepare`."""

    def sites(self, model: nn.Module) -> list[Place]:
        """The places of the adapters that the rule is for.

        Raises:
            ValueError: there are none.
        """
        known = known_places(model)
        found = [place for place in known if isinstance(place.adapter, self.acts_on)]
        if not found:
            held = {type(place.adapter).__name__ for place in known} or {"none"}
            fitting = " or ".join(sorted(_names(self.acts_on))[:3])
            raise ValueError(
                f"The rule {type(self).__name__} is for adapters such as {fitting}, but the model has "
                f"{', '.join(sorted(held))}: give another adapt.adapter, or drop the rule."
            )
        return found


def end_of(rule: Rule, total_steps: float) -> int:
    """The number of a run's optimizer steps.

    Raises:
        ValueError: the run has no end, so shares of it mean nothing.
    """
    if total_steps == float("inf"):
        raise ValueError(f"{type(rule).__name__} needs an end: give trainer.max_steps or trainer.max_epochs.")
    return int(total_steps)


def _names(kind: type[nn.Module]) -> set[str]:
    """What a user may type for a class: its name, or the names of those below it where it is abstract."""
    if not inspect.isabstract(kind):
        return {kind.__name__}
    return {name for child in kind.__subclasses__() if child.__module__.startswith("graft.") for name in _names(child)}


def refuse_conflicts(rules: Sequence[Rule]) -> None:
    """Refuse rules that decide the same, and one that is given twice.

    Raises:
        ValueError: two do, or one is.
    """
    deciding: dict[str, Rule] = {}
    kinds = [type(rule) for rule in rules]
    for rule in rules:
        if kinds.count(type(rule)) > 1:
            raise ValueError(f"The rule {type(rule).__name__} is given twice: keep one.")
        if rule.decides is not None and (first := deciding.setdefault(rule.decides, rule)) is not rule:
            raise ValueError(
                f"The rules {type(first).__name__} and {type(rule).__name__} both decide {rule.decides}: keep one."
            )
