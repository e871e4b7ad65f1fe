"""DiffoRA, in our reading: which modules get an adapter at all is searched for, by a value between 0 and 1 for each.

Of the paper its abstract and a summary were to be had; the formula is that of DARTS, of first order.

    search:     dW_m = s sigmoid(a_m) B_m A_m        steps on A, B and steps on a in turn
    then:       dW_m = s B_m A_m for the ceil(share x M) of a block's M modules with the largest a_m, 0 for the others

a_m is one number for each adapted place, 0 at the start; all gates (`gate`) of the place's adapter are sigmoid(a_m).
Jiang et al., 2025, https://arxiv.org/abs/2502.08905

The paper's: a relaxed matrix of decisions, made discrete, a share of the modules that is kept. Ours, beside the rest of
the formula: a block is an attention block or an MLP; odd steps train all but a, even steps a alone, so that the two
learn from batches of their own (of one epoch: the paper's two sets of data would be two halves for good); DARTS's Adam
for a; where the search ends, modules that are kept go on with their factors and an optimizer that begins anew, and the
others are left out, where the paper lets them share what they have.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from graft.rules.base import end_of
from graft.rules.gates import GateRule, taken


class DiffoRA(GateRule):
    """dW_m = s sigmoid(a_m) B_m A_m: a search for the modules that get a pair at all (arXiv 2502.08905; our reading).

    Args:
        share: Share of each block's modules that keep their adapter, above 0 and at most 1.
        search: Share of the run's steps that search, above 0 and less than 1.
        lr: Learning rate of a, above 0.
    """

    def __init__(self, share: float = 0.5, search: float = 0.2, lr: float = 3e-3) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"DiffoRA's share is {share}; give a share of the modules, above 0 and at most 1.")
        if not 0 < search < 1:
            raise ValueError(f"DiffoRA's search is {search}; give a share of the steps, above 0 and less than 1.")
        if not lr > 0:
            raise ValueError(f"DiffoRA's lr is {lr}; give a number above 0.")
        self.share = share
        self.search = search
        self.lr = lr

    def prepare(self, model: nn.Module) -> None:
        self.blocks = [site.block for site in self.sites(model)]
        self.logits = nn.Parameter(torch.zeros(len(self.blocks)))
        self.adam = Adam([self.logits], self.lr, betas=(0.5, 0.999), weight_decay=1e-3)
        self.found = False

    def with_optimizer(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer

    def with_trainer(self, total_steps: float) -> None:
        self.last = math.ceil(self.search * end_of(self, total_steps))

    def start(self, model: nn.Module, losses: Any) -> None:
        self.open(model, self.logits.sigmoid())

    def before_step(self, model: nn.Module, step: int) -> None:
        gradients = taken(self.gated(model))
        if not self.found and step % 2 == 0 and gradients is not None:
            value = self.logits.detach().sigmoid()
            self.logits.grad = gradients.sum(1) * value * (1 - value)  # all gates of a place have one value
            self.adam.step()
            model.zero_grad()  # an optimizer passes over what has no gradient

    def after_step(self, model: nn.Module, step: int) -> None:
        if self.found:
            return
        self.found = step >= self.last
        self.open(model, self.kept() if self.found else self.logits.sigmoid())
        if self.found:
            self.optimizer.state.clear()

    def kept(self) -> Tensor:
        """1 for each place that keeps its adapter, 0 for the others, (places,)."""
        kept = torch.zeros(len(self.blocks))
        for block in dict.fromkeys(self.blocks):
            places = [number for number, name in enumerate(self.blocks) if name == block]
            best = self.logits.detach()[places].argsort(descending=True, stable=True)
            kept[torch.tensor(places)[best[: math.ceil(self.share * len(places))]]] = 1
        return kept

    @torch.no_grad()
    def open(self, model: nn.Module, values: Tensor) -> None:
        """Give all gates of a place its value, (places,)."""
        for adapter, value in zip(self.gated(model), values, strict=True):
            adapter.gate.fill_(float(value))

    def state_dict(self) -> dict[str, Any]:
        return {"logits": self.logits.detach().clone(), "adam": self.adam.state_dict(), "found": self.found}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.logits.data.copy_(state["logits"])
        self.adam.load_state_dict(state["adam"])
        self.adam.param_groups[0]["lr"] = self.lr  # as it is typed now
        self.found = state["found"]
