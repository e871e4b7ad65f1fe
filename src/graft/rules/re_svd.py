"""ReSVD: FedSVD's refactorisation, every k steps of one training.

    U S V^T = B A        A <- V^T,  B <- U S        the product B A is unchanged, the rows of A are orthonormal

A (`down`) is r x d_in, B (`up`) is d_out x r. With orthonormal A the gradient of B is no larger than that of the
product times the input, and A follows the directions in which the update has grown. QR of B and of A^T, then the
singular values of an r x r matrix: B A itself is never computed.
Lee et al., FedSVD, NeurIPS 2025, https://arxiv.org/abs/2505.12805

In the paper a server does so between the rounds of clients that train B alone, with A frozen. Ours: every `every`
steps of any training, with A trained too. The optimizer's moments belong to the factors that were, so they are
forgotten, with their step counts. While B = 0 the directions are arbitrary, and nothing is done. Processes that train
together refactor each for itself: their factors are the same bit for bit, and so is what becomes of them.
"""

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from graft.adapters import LoRA
from graft.rules.base import Rule


class ReSVD(Rule):
    """B A = U S V^T, A <- V^T, B <- U S: the pair is refactored every k steps (ours, after FedSVD,
    arXiv 2505.12805).

    Args:
        every: Optimizer steps between two refactorisations, at least 1.
    """

    acts_on = LoRA

    def __init__(self, every: int = 100) -> None:
        if every < 1:
            raise ValueError(f"ReSVD's every is {every}; give a whole number of steps, at least 1.")
        self.every = every

    def prepare(self, model: nn.Module) -> None:
        self.sites(model)

    def with_optimizer(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer

    @torch.no_grad()
    def after_step(self, model: nn.Module, step: int) -> None:
        if step % self.every:
            return
        for site in self.sites(model):
            down, up = site.adapter.down, site.adapter.up
            assert isinstance(down, nn.Parameter)
            assert isinstance(up, nn.Parameter)
            if up.any():
                for factor, value in zip((down, up), refactored(down, up), strict=True):
                    factor.copy_(value)
                    self.optimizer.state.pop(factor, None)


def refactored(down: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """The pair with the same product whose down, (r, d_in), has orthonormal rows."""
    dtype = torch.promote_types(down.dtype, torch.float32)
    up_basis, up_rest = torch.linalg.qr(up.to(dtype))
    down_basis, down_rest = torch.linalg.qr(down.T.to(dtype))
    left, values, right = torch.linalg.svd(up_rest @ down_rest.T)
    return right @ down_basis.T, up_basis @ (left * values)
