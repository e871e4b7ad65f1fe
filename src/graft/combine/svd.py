"""The sum of the updates, cut to a rank.

    w_1 dW_1 + ... + w_n dW_n = U diag(S) V^T        dW = U_r diag(S_r) V_r^T

No update of rank r is nearer to the sum; the share of its norm that is lost is said. The decomposition is of the small
product between the factors' orthonormal bases, exactly that of the sum.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from graft.combine.method import Method, check_rank, largest_rank
from graft.combine.pairs import Merged, Pair, nearest, total


@dataclass(frozen=True)
class SVD(Method):
    """The sum's best approximation of a rank.

    Args:
        rank: None is that of the largest of the updates.
    """

    rank: int | None = None

    def __post_init__(self) -> None:
        check_rank(self.rank)

    def merge(self, pairs: Sequence[Pair], weights: Sequence[float]) -> Merged:
        return nearest(total(pairs, weights), self.rank or largest_rank(pairs))
