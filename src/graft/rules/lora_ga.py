"""LoRA-GA: the pair starts in the main directions of the weight's gradient, so that its first step is the weight's.

    G = U S V^T        A = c V_{1..r}^T        B = c U_{r+1..2r}        c = d_out^(1/4) / gamma^(1/2)
    W' = W - s B_0 A_0 + s B A

G (d_out x d_in) is the gradient of the frozen weight, A (`down`) is r x d_in, B (`up`) is d_out x r, s = alpha / r. Of
all pairs of orthogonal factors this one's first step of gradient descent is nearest to that of full fine-tuning.
Wang et al., NeurIPS 2024, https://arxiv.org/abs/2407.05000

Which singular vectors, c on both factors and gamma = 16 are those of the authors' code, which has s = alpha / sqrt(r).
PEFT takes the same vectors, but multiplies B by its singular values too and c to B alone. G is averaged over 8 batches
by default (ours); its singular vectors are computed exactly rather than at random.
"""

from collections.abc import Iterator

from torch import Tensor, nn

from graft.adapters import LoRA
from graft.rules.gradients import over_batches
from graft.rules.start import StartFromGradients, begin, leading


class LoRAGA(StartFromGradients):
    """G = U S V^T, A = c V_{1..r}^T, B = c U_{r+1..2r}: a start along the first gradients (arXiv 2407.05000).

    Args:
        batches: Training batches that the gradient is averaged over, at least 1, on every process.
        gamma: The larger, the smaller the first factors: c = d_out^(1/4) / gamma^(1/2).
    """

    acts_on = LoRA

    def __init__(self, batches: int = 8, gamma: float = 16.0) -> None:
        super().__init__(batches)
        if not 0 < gamma < float("inf"):
            raise ValueError(f"LoRAGA's gamma is {gamma}; give a number above 0.")
        self.gamma = gamma

    def prepare(self, model: nn.Module) -> None:
        for site in self.sites(model):
            rank, (d_out, d_in) = site.adapter.rank, site.weight.shape
            if 2 * rank > min(d_out, d_in):
                raise ValueError(
                    f"LoRAGA takes {2 * rank} singular vectors for rank {rank}, but a {d_out} x {d_in} layer has "
                    f"{min(d_out, d_in)}: choose a rank of at most {min(d_out, d_in) // 2}."
                )

    def start(self, model: nn.Module, losses: Iterator[Tensor]) -> None:
        sites = self.sites(model)
        gradients = over_batches(sites, losses, self.batches)
        for site, (left, _, right) in zip(sites, leading(sites, gradients, times=2), strict=True):
            c, r = len(left) ** 0.25 / self.gamma**0.5, site.adapter.rank
            begin(site.adapter, down=c * right[:r], up=c * left[:, r:])
