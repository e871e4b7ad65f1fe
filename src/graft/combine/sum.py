"""The sum of the updates, or any linear combination of them: task arithmetic.

    dW = w_1 dW_1 + ... + w_n dW_n        A = [A_1; ...; A_n]        B = [w_1 s_1 B_1, ..., w_n s_n B_n]

Ilharco et al., ICLR 2023, https://arxiv.org/abs/2212.04089

Exact: the factors stand side by side, and the ranks add up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from graft.combine.method import Method
from graft.combine.pairs import Merged, Pair, total


@dataclass(frozen=True)
class Sum(Method):
    """The updates' sum, exactly, of a rank that is the sum of theirs."""

    def merge(self, pairs: Sequence[Pair], weights: Sequence[float]) -> Merged:
        return Merged(total(pairs, weights))
