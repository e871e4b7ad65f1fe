"""LoCAAlternation: LoCA's amplitudes and locations are trained in turns, until the locations are fixed.

    step k <= share x steps:    the first 10 of every 30 steps train a, the other 20 train l
    later:                      a alone

a are the amplitudes (`coefficients`) of a `LoCA`, l the locations (`rows`, `columns`) of its cosines. What has no turn
gets no gradient, so that optimizers pass over it, moments and all; what else is trained, a head, has every turn. The
locations' learning rate is the amplitudes' times `ratio`.
Du et al., LoCA, ICLR 2025, https://arxiv.org/abs/2502.06820

10, 20, a tenth of the steps, and rates of 1e-4 and 5e-3 (most of GLUE), which make the ratio 0.02, are the paper's.
Locations that are fixed stay so in a run that is resumed with more steps.
"""

from typing import Any

from torch import nn

from graft.adapters import LoCA
from graft.rules.base import Rule, end_of

LOCATIONS, AMPLITUDES = ("rows", "columns"), ("coefficients",)


class LoCAAlternation(Rule):
    """a, l, a, l ... then a: LoCA's amplitudes and locations in turns, till the locations are fixed (arXiv 2502.06820).

    Args:
        coefficients: Steps of the amplitudes in a turn, at least 1.
        locations: Steps of the locations that follow, at least 1.
        share: Share of the run's steps after which the locations are fixed, 0 (at once) to 1.
        ratio: The learning rate of the locations in units of everything else's, above 0.
    """

    acts_on = LoCA

    def __init__(self, coefficients: int = 10, locations: int = 20, share: float = 0.1, ratio: float = 0.02) -> None:
        for name, value in {"coefficients": coefficients, "locations": locations}.items():
            if value < 1:
                raise ValueError(f"LoCAAlternation's {name} is {value}; give a whole number of steps, at least 1.")
        if not 0 <= share <= 1:
            raise ValueError(f"LoCAAlternation's share is {share}; give a share of the steps, 0 to 1.")
        if not 0 < ratio < float("inf"):
            raise ValueError(f"LoCAAlternation's ratio is {ratio}; give a number above 0.")
        self.coefficients = coefficients
        self.locations = locations
        self.share = share
        self.ratio = ratio

    def prepare(self, model: nn.Module) -> None:
        self.sites(model)
        self.fixed = False

    def param_groups(self, model: nn.Module, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        slow = {site.adapter.get_parameter(name) for site in self.sites(model) for name in LOCATIONS}
        rest = [group | {"params": [p for p in group["params"] if p not in slow]} for group in groups]
        moved = [
            group | {"params": chosen, "name": f"{group['name']}_locations", "lr_ratio": self.ratio}
            for group in groups
            if (chosen := [p for p in group["params"] if p in slow])
        ]
        return [group for group in rest + moved if group["params"]]

    def with_trainer(self, total_steps: float) -> None:
        self.last = round(self.share * end_of(self, total_steps))

    def moves(self, step: int) -> bool:
        """Whether optimizer step number `step`, from 1, is one of the locations'."""
        turn = (step - 1) % (self.coefficients + self.locations)
        return not self.fixed and step <= self.last and turn >= self.coefficients

    def before_step(self, model: nn.Module, step: int) -> None:
        resting = AMPLITUDES if self.moves(step) else LOCATIONS
        for site in self.sites(model):
            for name in resting:
                site.adapter.get_parameter(name).grad = None  # an optimizer passes over what has no gradient

    def after_step(self, model: nn.Module, step: int) -> None:
        self.fixed = self.fixed or step >= self.last

    def state_dict(self) -> dict[str, Any]:
        return {"fixed": self.fixed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.fixed = state["fixed"]
