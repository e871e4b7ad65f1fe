"""FisherSVD: PiSSA, where the rows of the weight count as much as the task depends on them.

    F = mean of (dL/dW)^2        q_i = sqrt(sum_j F_ij)        diag(q) W = U S V^T
    A = sqrt(S_r / s) V_r^T        B = diag(1 / q) U_r sqrt(S_r / s)        W' = W - s B_0 A_0 + s B A

A (`down`) is r x d_in, B (`up`) is d_out x r, s = alpha / r, and F (d_out x d_in) is W's Fisher information, as the
mean over batches of its squared gradient. s B_0 A_0 is the rank-r matrix nearest to W when row i weighs q_i.
This is FILA, the start of LoKU: Cha et al., ICLR 2025, https://arxiv.org/abs/2408.06621

LoKU unlearns: its F is the ratio of the importances for what to forget and what to keep. With the importance for the
task alone it is a start for any task, which is ours; so is it to divide q by its mean, for it is no ratio, and to count
rows below 1e-5 of that as 1e-5. Where all rows matter alike, it is PiSSA.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from graft.adapters import LoRA
from graft.rules.gradients import over_batches
from graft.rules.start import StartFromGradients, begin, leading


class FisherSVD(StartFromGradients):
    """diag(q) W = U S V^T, B A = diag(1/q) U_r S_r V_r^T: a start by rows that matter (ours, after arXiv 2408.06621).

    Args:
        batches: Training batches that the squared gradient is averaged over, at least 1, on every process.
    """

    acts_on = LoRA

    def start(self, model: nn.Module, losses: Iterator[Tensor]) -> None:
        sites = self.sites(model)
        fishers = over_batches(sites, losses, self.batches, of=torch.square)
        roots = [importance(fisher) for fisher in fishers]
        weighted = (q[:, None] * site.weight.cpu() for q, site in zip(roots, sites, strict=True))
        for site, q, (left, values, right) in zip(sites, roots, leading(sites, weighted), strict=True):
            root = (values / site.adapter.scale).sqrt()
            begin(site.adapter, down=root[:, None] * right, up=left * root / q[:, None].to(left))


def importance(fisher: Tensor) -> Tensor:
    """q of (d_out,), in units of its mean."""
    q = fisher.sum(1).sqrt()
    return (q / q.mean().clamp_min(torch.finfo(q.dtype).tiny)).clamp_min(1e-5)
