"""Bayesian gates, those of B-LoRA on ranks: how many pairs are in use is a random number whose distribution is learned.

    g = e * round(1, z_1, z_1 z_2, ..., z_1 z_2 ... z_{r-1})        loss + strength x sum over adapters of mean_k P_k
    z_k = clip(sigmoid((log u - log(1 - u) + c_k) / beta) (high - low) + low, 0, 1)        u ~ uniform(0, 1)
    P_k = P(z_k > 0) = sigmoid(c_k - beta log(-low / high))

g is the gate of `GatedLoRA` (dW = s B diag(g) A); e (r numbers) and c (r - 1 numbers, 6 at the start) are trained, z
are hard concrete: mostly 0 or 1, with a gradient between. A pair that is shut shuts all that come after it. Gradients
pass straight through the rounding. beta = 2/3, low = -0.1, high = 1.1.
Meo et al., 2024, https://arxiv.org/abs/2406.13046

Validation and files see no chance: pair k is open if 1 - P_j < 0.34 for all j up to k. Of the paper this is the choice
of ranks alone, without its quantizers. Ours: A and B start as the adapter starts them, e as its gates are (1, or N(0,
1) by `random_gate`, as in a co-author's code), and one Adam trains e and c; there, e has the adapter's optimizer.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam

from graft.rules.draws import generator
from graft.rules.gates import GateRule, taken

BETA, LOW, HIGH = 2 / 3, -0.1, 1.1
SHUT = 0.34
FIRST = 6.0


class BayesianGates(GateRule):
    """g = e * cumprod(z), z hard concrete: a learned distribution over how many pairs are in use (arXiv 2406.13046).

    Args:
        strength: Weight of the probabilities that gates are open, beside the loss. Above 0.
        lr: Learning rate of e and c, above 0.
        seed: Of the drawn gates.
    """

    def __init__(self, strength: float = 1e-3, lr: float = 1e-2, seed: int = 0) -> None:
        for name, value in {"strength": strength, "lr": lr}.items():
            if not value > 0:
                raise ValueError(f"BayesianGates' {name} is {value}; give a number above 0.")
        self.strength = strength
        self.lr = lr
        self.seed = seed

    def prepare(self, model: nn.Module) -> None:
        gates = torch.stack([adapter.gate.detach().cpu().float() for adapter in self.gated(model)])
        self.size = nn.Parameter(gates)  # e, (places, r)
        self.logits = nn.Parameter(torch.full_like(gates[:, 1:], FIRST))  # c, (places, r - 1)
        self.adam = Adam([self.size, self.logits], self.lr)

    def start(self, model: nn.Module, losses: Any) -> None:
        """Take the gates again: if they were drawn, all processes have those of the first by now."""
        with torch.no_grad():
            for size, adapter in zip(self.size, self.gated(model), strict=True):
                size.copy_(adapter.gate)

    def drawn(self, step: int) -> Tensor:
        """g for optimizer step number `step`, (places, r), with a graph to e and c."""
        noise = torch.rand(self.logits.shape, generator=generator(self.seed, step))
        return self.size * straight_round(chain(hard_concrete(self.logits, noise)))

    def likely(self) -> Tensor:
        """g without chance, (places, r)."""
        return self.size * chain((1 - probability(self.logits) < SHUT).float())

    def before_batch(self, model: nn.Module, step: int) -> None:
        self.open(model, self.drawn(step))

    def after_batch(self, model: nn.Module) -> None:
        self.open(model, self.likely())

    def before_step(self, model: nn.Module, step: int) -> None:
        gradients = taken(self.gated(model))
        if gradients is None:
            return
        with torch.enable_grad():
            loss = self.strength * probability(self.logits).sum() / max(1, self.logits.shape[1])
            loss = loss + (self.drawn(step) * gradients).sum()
        self.adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.adam.step()

    @torch.no_grad()
    def open(self, model: nn.Module, gates: Tensor) -> None:
        """Give each adapter its gates, of (places, r)."""
        for adapter, gate in zip(self.gated(model), gates, strict=True):
            adapter.gate.copy_(gate)

    def state_dict(self) -> dict[str, Any]:
        size, logits = self.size.detach().clone(), self.logits.detach().clone()
        return {"size": size, "logits": logits, "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.size.data.copy_(state["size"])
        self.logits.data.copy_(state["logits"])
        self.adam.load_state_dict(state["adam"])
        self.adam.param_groups[0]["lr"] = self.lr  # as it is typed now


def hard_concrete(logits: Tensor, noise: Tensor) -> Tensor:
    """z in [0, 1] from noise in [0, 1), alike in shape."""
    z = torch.sigmoid((torch.logit(noise, eps=1e-6) + logits) / BETA)
    return (z * (HIGH - LOW) + LOW).clamp(0, 1)


def probability(logits: Tensor) -> Tensor:
    """P(z > 0)."""
    return torch.sigmoid(logits - BETA * math.log(-LOW / HIGH))


def chain(z: Tensor) -> Tensor:
    """(places, r - 1) -> (places, r): 1, z_1, z_1 z_2, ..."""
    return F.pad(z, (1, 0), value=1.0).cumprod(1)


def straight_round(x: Tensor) -> Tensor:
    """To 0 or 1, with the gradient of x."""
    return x.round() + (x - x.detach())
