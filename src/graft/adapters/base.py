"""The law of adapters: what a low-rank method has to say, and nothing else.

A method says how its parameters are made (`setup`) and what the frozen weight becomes (`fold`). Everything else, the
adapted layer's output, merging, files and tests, follows from these two. Two shortcuts are optional:

    delta(x, W) == F.linear(x, fold(W) - W)     cheaper than folding: the layer computes F.linear(x, W, b) + delta
    shift(x), with fold(W) x == W shift(x)      for a method that acts on the input of several projections at once

A fresh adapter is the identity: fold(W) == W. A method's docstring begins with its equation and its paper, and says how
many values it trains, in a formula that is evaluated by the tests.
"""

import copy
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Self


class Adapter(nn.Module, ABC):
    """A low-rank method, configured. A prototype until `on` gives a copy for one frozen weight.

    Args:
        rank: Rank r of the update.
        alpha: The update is scaled by s = alpha / rank; null means alpha = rank, so that s = 1.
    """

    targets: ClassVar[tuple[str, ...]] = ("q", "k", "v", "o")
    """The projections that the method's paper adapts: the default of `inject`."""

    delta: Callable[[Tensor, Tensor], Tensor]
    """(x of (..., d_in), weight of (d_out, d_in)) -> (..., d_out), where the method has a cheap way."""

    def __init__(self, rank: int = 8, alpha: float | None = None) -> None:
        super().__init__()
        if rank < 1:
            raise ValueError(f"rank is {rank}; a low-rank adapter needs a whole number of at least 1.")
        if alpha is not None and not alpha > 0:
            raise ValueError(f"alpha is {alpha}; give a number above 0, or null for alpha = rank (scale 1).")
        self.rank = rank
        self.alpha = alpha
        self.shared: dict[Any, nn.Module] = {}

    @property
    def scale(self) -> float:
        """s = alpha / rank."""
        return 1.0 if self.alpha is None else self.alpha / self.rank

    def options(self) -> dict[str, Any]:
        """The arguments that make this adapter again: plain values under the names of `__init__`."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def on(self, weight: Tensor) -> Self:
        """A fresh copy of this prototype, set up for one frozen weight of shape (d_out, d_in).

        While `setup` runs, `self.shared` is one dictionary for all copies: for modules that hold what layers share. As
        a module that several adapters refer to, it stays one when the model is moved, copied or pickled.
        """
        adapter = copy.deepcopy(self, {id(self.shared): self.shared})
        adapter.setup(weight)
        adapter.shared = {}
        return adapter

    @abstractmethod
    def setup(self, weight: Tensor) -> None:
        """Make the parameters, on the weight's device and in its dtype."""

    @abstractmethod
    def fold(self, weight: Tensor) -> Tensor:
        """W -> W', both (d_out, d_in): the paper's equation."""

    def fold_bias(self, weight: Tensor, bias: Tensor | None) -> Tensor | None:
        """b -> b', for the few methods that move the bias too."""
        return bias

    def cut(self) -> Self:
        """The smallest adapter that does the same, for good: itself, unless training may leave parts without use."""
        return self

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The adapted layer's output, (..., d_in) -> (..., d_out)."""
        if hasattr(self, "delta"):
            return F.linear(x, weight, bias) + self.delta(x, weight)
        return F.linear(x, self.fold(weight), self.fold_bias(weight, bias))

    def check_rank(self, weight: Tensor, largest: int) -> None:
        """Refuse a rank that the layer cannot hold."""
        if self.rank > largest:
            rows, columns = weight.shape
            raise ValueError(f"rank {self.rank} is larger than a {rows} x {columns} layer holds: at most {largest}.")


class InputAdapter(Adapter):
    """A method that acts once, on the tensor that q, k and v all read: W' x == W shift(x)."""

    targets = ("q", "k", "v")

    @abstractmethod
    def shift(self, x: Tensor) -> Tensor:
        """x -> x', both (..., d_in)."""

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(self.shift(x), weight, bias)


def check_dropout(dropout: float) -> None:
    """Refuse what is no probability, or leaves nothing."""
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is {dropout}; give a probability of at least 0 and less than 1.")
