"""DCT-AdamW: AdamW whose moments live in the r cosine directions that hold most of a matrix's gradient.

    S = G Q        i = the r columns of S with the largest l1 norms        P = Q[:, i]
    g = S[:, i],  m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2,  W <- W - lr (m^ / (sqrt(v^) + eps)) P^T

G (d_out x d_in) is a matrix's gradient and Q (d_in x d_in) the orthonormal discrete cosine transform, one for all
matrices of a width: no singular vectors are computed, and a matrix's state are m, v (d_out x r) and i. A matrix with
fewer rows than columns is treated as its transpose. Memory is saved where whole matrices are trained (`adapt.train`).
Modoranu et al., 2025, https://arxiv.org/abs/2505.17967

As in the authors' code the columns are chosen again every `gap` steps, moments of columns that stay are kept, those of
new ones begin at zero, and weight decay is AdamW's. Their error feedback, which needs the memory of a whole gradient,
and their fast transform are not here. Vectors, and matrices that have no more than r columns (LoRA's factors, mostly),
are AdamW's.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT


class DCTAdamW(Optimizer):
    """M, V of G Q_r, Q the discrete cosine transform: AdamW in the r largest columns of G Q (arXiv 2505.17967).

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        betas: Decay of the first and the second moment, each at least 0 and below 1.
        eps: Added to the root of the second moment.
        weight_decay: Decoupled weight decay.
        rank: Cosine directions r of each matrix, at least 1.
        gap: Steps after which they are chosen again, at least 1.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        rank: int = 32,
        gap: int = 1,
    ) -> None:
        for name, value in {"lr": lr, "eps": eps, "weight_decay": weight_decay}.items():
            if not value >= 0:
                raise ValueError(f"DCTAdamW's {name} is {value}; give a number of at least 0.")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"DCTAdamW's betas are {betas}; give two numbers of at least 0 and below 1.")
        for name, value in {"rank": rank, "gap": gap}.items():
            if value < 1:
                raise ValueError(f"DCTAdamW's {name} is {value}; give a whole number of at least 1.")
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "rank": rank, "gap": gap}
        super().__init__(params, options)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.sub_(self.update(parameter, self.state[parameter], group))
        return loss

    def update(self, parameter: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        """What a step takes from a parameter, beside its decay."""
        assert parameter.grad is not None
        if parameter.ndim != 2 or group["rank"] >= min(parameter.shape):
            return adam(parameter.grad, state, group)
        wide = parameter.shape[0] < parameter.shape[1]
        gradient = parameter.grad.T if wide else parameter.grad
        transform = dct(gradient.shape[1], gradient.dtype, gradient.device)
        spectrum = gradient @ transform
        if state.get("step", 0) % group["gap"] == 0:
            choose(spectrum, state, group["rank"])
        columns = chosen(state, group["rank"])
        change = adam(spectrum[:, columns], state, group) @ transform[:, columns].T
        return change.T if wide else change


def adam(gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    """The change of AdamW's that the moments say, once they have met the gradient."""
    first, second = group["betas"]
    for name in ("moment", "square"):
        state.setdefault(name, torch.zeros_like(gradient))
    state["step"] = state.get("step", 0) + 1
    state["moment"].lerp_(gradient, 1 - first)
    state["square"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
    root = state["square"].sqrt() / math.sqrt(1 - second ** state["step"]) + group["eps"]
    change: Tensor = state["moment"] / root * (group["lr"] / (1 - first ** state["step"]))
    return change


def choose(spectrum: Tensor, state: dict[str, Any], rank: int) -> None:
    """Choose the columns with the largest l1 norms; moments of those that were chosen before are kept."""
    largest = spectrum.abs().sum(0).argsort(descending=True, stable=True)[:rank]
    before = chosen(state, rank) if "columns" in state else None
    # Ones at the chosen: an optimizer that loads its state gives all tensors the parameter's dtype, indices too.
    state["columns"] = spectrum.new_zeros(spectrum.shape[1]).index_fill_(0, largest, 1)
    if before is not None:
        for name in ("moment", "square"):
            whole = torch.zeros_like(spectrum).index_copy_(1, before, state[name])
            state[name] = whole[:, chosen(state, rank)]


def chosen(state: dict[str, Any], rank: int) -> Tensor:
    """The indices of the chosen columns, (rank,), rising."""
    indices: Tensor = state["columns"].argsort(descending=True, stable=True)[:rank]
    return indices


@cache
def dct(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The orthonormal discrete cosine transform: x @ dct(n) transforms the rows of x, (..., n). Do not write to it."""
    k = torch.arange(size, dtype=torch.float64)
    waves = torch.cos(math.pi / size * (k[:, None] + 0.5) * k) * math.sqrt(2 / size)
    waves[:, 0] = math.sqrt(1 / size)
    return waves.to(device, dtype)
