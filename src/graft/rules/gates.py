"""What rules share that act on gates."""

from torch import nn

from graft.adapters.gated import Gated
from graft.rules.base import Rule


class GateRule(Rule):
    """Decides which pairs of the adapters are in use, and how much, by their gates."""

    acts_on = Gated
    decides = "the gates"

    def prepare(self, model: nn.Module) -> None:
        self.gated(model)

    def gated(self, model: nn.Module) -> list[Gated]:
        """The adapters.

        Raises:
            ValueError: there are none.
        """
        return [site.adapter for site in self.sites(model) if isinstance(site.adapter, Gated)]


def end_of(rule: GateRule, total_steps: float) -> int:
    """The number of a run's optimizer steps.

    Raises:
        ValueError: the run has no end, so shares of it mean nothing.
    """
    if total_steps == float("inf"):
        raise ValueError(f"{type(rule).__name__} needs an end: give trainer.max_steps or trainer.max_epochs.")
    return int(total_steps)
