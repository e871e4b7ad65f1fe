"""IncreLoRA: ranks that grow during the training, where they are worth most.

    dW = s B diag(g) A        importance = EMA(I) x EMA(|I - EMA(I)|)        I = sum |w dL/dw| / sqrt(n)

Every `interval` steps the `top` adapters of highest importance get `add` pairs more, until the mean rank is `target`.
Pairs that come next are in reserve: their gates are 1e-5, just enough that their factors learn in advance.
Zhang et al., 2023, https://arxiv.org/abs/2308.12043

The gate g (`gate`) is the paper's E: 0 at the start, and trained for the pairs in use alone; A (`down`) and B (`up`)
start from N(0, 0.02^2). Ours: all pairs are there from the start, up to the adapter's rank, and wait behind gates of 0.
The paper takes I over the entries of dW, which needs its whole gradient; here w are the n entries of A and B. The paper
divides the update by a place's rank of the moment, which shrinks what was learned whenever it grows; here s stays. The
authors' interval and warm-up are 1000 steps; 100 are our default. Their penalty for factors that are not orthonormal
(weight 0.1) is a rule of its own.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from graft.rules.gates import GateRule

RESERVE = 1e-5
SPREAD = 0.02
SMOOTHING = 0.85


class IncreLoRA(GateRule):
    """dW = s B diag(g) A, g grows: more ranks where sum |w dL/dw| has long been large and unsteady (arXiv 2308.12043).

    Args:
        first: Rank of every adapter at the start, at least 1.
        target: Mean rank of the adapters when growth ends, at least `first` and at most the adapters' rank.
        top: How many adapters grow at a time.
        add: By how much an adapter grows; as many pairs are in reserve.
        interval: Optimizer steps from one growth to the next.
        warmup: Optimizer steps before which nothing grows.
    """

    def __init__(
        self, first: int = 1, target: int = 4, top: int = 2, add: int = 1, interval: int = 100, warmup: int = 100
    ) -> None:
        for name, value in {"first": first, "target": target, "top": top, "add": add, "interval": interval}.items():
            if value < 1:
                raise ValueError(f"IncreLoRA's {name} is {value}; give a whole number of at least 1.")
        if target < first:
            raise ValueError(f"IncreLoRA's target is {target}, below its first rank {first}: ranks only grow.")
        self.first = first
        self.target = target
        self.top = top
        self.add = add
        self.interval = interval
        self.warmup = warmup

    def prepare(self, model: nn.Module) -> None:
        ranks = [adapter.rank for adapter in self.gated(model)]
        if self.target > min(ranks):
            raise ValueError(
                f"IncreLoRA's target is a mean rank of {self.target}, but the adapters hold {min(ranks)}: "
                "give adapt.adapter a larger rank, some 2 x target."
            )
        self.ranks = [self.first] * len(ranks)
        self.importance = torch.zeros(len(ranks))
        self.uncertainty = torch.zeros(len(ranks))

    def start(self, model: nn.Module, losses: Iterator[Tensor]) -> None:
        for adapter in self.gated(model):
            nn.init.normal_(adapter.down, std=SPREAD)
            nn.init.normal_(adapter.up, std=SPREAD)
            nn.init.zeros_(adapter.gate)
        self.fill_reserve(model)

    @property
    def missing(self) -> int:
        """How many pairs are yet to come into use, over all adapters."""
        return self.target * len(self.ranks) - sum(self.ranks)

    @torch.no_grad()
    def fill_reserve(self, model: nn.Module) -> None:
        """Open the pairs that come next by a crack; shut them where none will come."""
        for adapter, rank in zip(self.gated(model), self.ranks, strict=True):
            adapter.gate[rank : rank + self.add] = RESERVE if self.missing else 0

    def before_step(self, model: nn.Module, step: int) -> None:
        scores = []
        for adapter, rank in zip(self.gated(model), self.ranks, strict=True):
            scores.append(sensitivity(adapter.down, adapter.up))
            if adapter.gate.grad is not None:
                adapter.gate.grad[rank:] = 0
        if self.missing and (score := torch.stack(scores).cpu()).isfinite().all():  # (places,); else a step left out
            self.importance.lerp_(score, 1 - SMOOTHING)
            self.uncertainty.lerp_((score - self.importance).abs(), 1 - SMOOTHING)

    def after_step(self, model: nn.Module, step: int) -> None:
        if not self.missing or step <= self.warmup or step % self.interval:
            return
        room = [adapter.rank - rank for adapter, rank in zip(self.gated(model), self.ranks, strict=True)]
        order = (self.importance * self.uncertainty).argsort(descending=True, stable=True).tolist()
        for place in [place for place in order if room[place]][: self.top]:
            self.ranks[place] += min(self.add, room[place], self.missing)
        self.fill_reserve(model)

    def state_dict(self) -> dict[str, Any]:
        remembered = {"importance": self.importance.clone(), "uncertainty": self.uncertainty.clone()}
        return {"ranks": list(self.ranks)} | remembered

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.ranks = list(state["ranks"])
        self.importance, self.uncertainty = state["importance"].clone(), state["uncertainty"].clone()


def sensitivity(*weights: nn.Parameter) -> Tensor:
    """sum |w dL/dw| / sqrt(n), a scalar in float32."""
    parts = [(w.detach() * w.grad).abs().sum(dtype=torch.float32) for w in weights if w.grad is not None]
    return torch.stack(parts).sum() / math.sqrt(sum(w.numel() for w in weights))
