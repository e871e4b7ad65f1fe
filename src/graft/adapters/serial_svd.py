"""Serial-SVD, ours, not published: Serial LoRA whose down factor starts in the weights' own directions.

    x' = x + s B A x        so        W' = W (I + s B A)        A = V_r^T at the start

V_r^T are the top r right singular vectors of the stacked [W_q; W_k; W_v]: the directions of the input that these three
answer to most. A (`down`) is r x d, B (`up`) is d x r and starts at zero, s = alpha / r; both are trained: 2 r d
parameters a block.

Serial LoRA (https://arxiv.org/abs/2503.17750) but for the start of A, whose rows here are orthonormal.
"""

from torch import Tensor

from graft.adapters.serial_lora import SerialLoRA
from graft.adapters.svd import svd


class SerialSVD(SerialLoRA):
    """W' = W (I + s B A): Serial LoRA whose A starts as the top right singular vectors of q, k and v (ours).

    Trains 2 * r * d_in values a block.

    Args:
        rank: Rank r of the pair.
        alpha: The update is scaled by s = alpha / rank; null means alpha = rank, so that s = 1.
        dropout: Probability of dropping an input feature on its way through the pair, in training.
    """

    def setup(self, weight: Tensor) -> None:
        self.check_rank(weight, largest=min(weight.shape))
        super().setup(weight)
        _, _, right = svd(weight)
        self.down.data.copy_(right[: self.rank])
