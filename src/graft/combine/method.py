"""What a way of combining has to say: how the updates at one place become one."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from graft.combine.pairs import Merged, Pair


@dataclass(frozen=True)
class Method(ABC):
    """A way to combine updates, place by place. Its fields are its options."""

    rotates: ClassVar[bool] = True
    """Whether the input may be written in another orthonormal basis: rotated updates give the rotated result."""

    def check(self, pairs: Mapping[str, Sequence[Pair]]) -> None:  # noqa: B027 (most take all)
        """Refuse updates, by place, that this way is not for."""

    @abstractmethod
    def merge(self, pairs: Sequence[Pair], weights: Sequence[float]) -> Merged:
        """One update for several, all of one shape (d_out, d_in), with a weight for each."""


def check_rank(rank: int | None) -> None:
    """Refuse a rank that is none."""
    if rank is not None and rank < 1:
        raise ValueError(f"rank is {rank}; give a whole number of at least 1.")


def largest_rank(pairs: Sequence[Pair]) -> int:
    """The default rank of what is cut: that of the largest pair."""
    return max(len(pair.down) for pair in pairs)
