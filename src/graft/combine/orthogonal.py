"""Orthogonal Adaptation: a sum in which no update touches what another reads.

    dW = sum_i w_i dW_i        with A_i A_j^T = 0 for all i and j, so that        dW x = w_i dW_i x for x in A_i's rows

Po et al., CVPR 2024, https://arxiv.org/abs/2312.02432

It is `sum`, held to its condition. The interference of j with i is the share of dW_j (in the Frobenius norm) that acts
on the span of A_i's rows. OrthogonalLoRAs of different concepts and one seed have none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import torch

from graft.combine.method import Method
from graft.combine.pairs import Merged, Pair, total

MOST = 1e-3  # rounding in half precision


@dataclass(frozen=True)
class Orthogonal(Method):
    """The updates' sum, exactly, of updates that do not interfere."""

    def check(self, pairs: Mapping[str, Sequence[Pair]]) -> None:
        found = {
            name: max((interference(one, other) for one, other in permutations(at, 2)), default=0.0)
            for name, at in pairs.items()
        }
        worst = max(found, key=found.__getitem__)
        if found[worst] > MOST:
            raise ValueError(
                f"The adapters are not orthogonal: up to {found[worst]:.1%} of one's update (at {worst}) acts on what "
                "another reads. Train OrthogonalLoRA with one seed and another concept for each, or add them all the "
                "same by --method sum."
            )

    def merge(self, pairs: Sequence[Pair], weights: Sequence[float]) -> Merged:
        return Merged(total(pairs, weights))


def interference(reader: Pair, other: Pair) -> float:
    """The share of the other's update that acts on the span of the reader's rows, 0 to 1."""
    basis = torch.linalg.qr(reader.down.T).Q
    share = Pair(other.down @ basis @ basis.T, other.up).square / max(other.square, torch.finfo(torch.float64).tiny)
    return float(max(share, 0.0) ** 0.5)
