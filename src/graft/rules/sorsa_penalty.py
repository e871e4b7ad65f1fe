"""SORSA's regularizer: the trained singular vectors stay orthonormal.

    weight * mean over all A and B of ||A A^T - I||_F and ||B^T B - I||_F

A (`down`) is r x d_in, B (`up`) is d_out x r, of every projection: neither is scaled.
Cao and Song, SORSA, 2024, https://arxiv.org/abs/2409.00055

The mean and the weight are those of the authors' code. Beside SORSA's, the factors of other low-rank adapters may be
held so: LoRA's A is drawn to rows of length 1 at once, B to columns of length 1 once they are not zero.
"""

import torch
from torch import Tensor, nn

from graft.adapters import LowRankAdapter
from graft.rules.penalty import Penalty, exact, from_identity


class SORSAPenalty(Penalty):
    """weight * mean(||A A^T - I||_F, ||B^T B - I||_F): orthonormal factors (arXiv 2409.00055).

    Args:
        weight: What the mean is multiplied by: the paper's gamma.
    """

    acts_on = LowRankAdapter

    def __init__(self, weight: float = 4e-4) -> None:
        super().__init__(weight)

    def prepare(self, model: nn.Module) -> None:
        self.factors(model)

    def penalty(self, model: nn.Module, step: int) -> Tensor:
        return self.weight * torch.stack([from_identity(f @ f.T) for f in map(exact, self.factors(model))]).mean()

    def factors(self, model: nn.Module) -> list[Tensor]:
        """All A and B^T that are trained, each (r, d).

        Raises:
            ValueError: there are none.
        """
        adapters = [site.adapter for site in self.sites(model)]
        downs = [adapter._parameters.get("down") for adapter in adapters]
        ups = [adapter._parameters.get("up") for adapter in adapters]
        trained: list[Tensor] = [down for down in downs if down is not None]
        trained += [up.T for up in ups if up is not None and up.ndim == 2]
        if not trained:
            raise ValueError(
                f"SORSAPenalty keeps the factors `down` and `up` orthonormal, but {type(adapters[0]).__name__} trains "
                "neither: give another adapt.adapter, such as LoRA, or drop the rule."
            )
        return trained
