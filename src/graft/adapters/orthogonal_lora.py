"""Orthogonal Adaptation: a low-rank pair whose frozen down is orthogonal to the downs of other concepts.

    W' = W + s B A        with        A_i A_j^T = 0 for concepts i and j

A is r x d_in, frozen: r rows of one random orthogonal matrix, others for each concept, and the same matrix for all who
use the same seed. B (`up`) is d_out x r, s = alpha / r: r d_out parameters a projection. Updates that were trained
apart, one concept each, can be added: to what concept i's rows read of an input, concept j adds nothing.
Po et al., CVPR 2024, https://arxiv.org/abs/2312.02432

The paper draws each concept's rows at random, so that two may share a few; blocks of rows that share none, alpha = r
(scale 1) and the targets are ours. B starts at zero. The rows are never stored: they are drawn again from the seed,
once for all layers of an input width.
"""

from torch import Tensor, nn

from graft.adapters.bases import orthogonal, shared
from graft.adapters.low_rank import LowRankAdapter


class OrthogonalLoRA(LowRankAdapter):
    """W' = W + s B A, A frozen and orthogonal between concepts: updates that can be added (arXiv 2312.02432).

    Trains r * d_out values a projection.

    Args:
        rank: Rank r of each pair.
        alpha: The update is scaled by s = alpha / rank; null means alpha = rank, so that s = 1.
        dropout: Probability of dropping an input feature on its way through the pair, in training.
        concept: Index of the concept, from 0: those that are to be added need different ones, and the same rank.
        seed: Seed of the orthogonal matrix: those that are to be added need the same.
    """

    def __init__(
        self, rank: int = 8, alpha: float | None = None, dropout: float = 0.0, concept: int = 0, seed: int = 0
    ) -> None:
        super().__init__(rank, alpha, dropout)
        if concept < 0:
            raise ValueError(f"concept is {concept}; give an index of at least 0.")
        self.concept = concept
        self.seed = seed

    def setup(self, weight: Tensor) -> None:
        d_out, d_in = weight.shape
        self.check_rank(weight, largest=min(d_out, d_in))
        first, end = self.concept * self.rank, (self.concept + 1) * self.rank
        if end > d_in:
            raise ValueError(
                f"concept {self.concept} of rank {self.rank} ends at row {end} of {d_in}, the input features of a "
                f"{d_out} x {d_in} layer; choose a concept below {d_in // self.rank}, or a smaller rank."
            )
        self.down = shared(self, weight, rows, self.seed, d_in, first, end)
        self.up = nn.Parameter(weight.new_zeros(d_out, self.rank))

    def factors(self) -> tuple[Tensor, Tensor]:
        return self.down(), self.scale * self.up


def rows(seed: int, width: int, first: int, end: int) -> Tensor:
    """Rows first to end of a random orthogonal matrix (width, width); the rest of it is let go."""
    return orthogonal(seed, 0, width)[first:end].clone()
