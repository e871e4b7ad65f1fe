"""PiSSA: the pair starts as the principal singular values and vectors of the weight.

    W = U S V^T        B = U_r sqrt(S_r / s)        A = sqrt(S_r / s) V_r^T        W' = W - s B_0 A_0 + s B A

A (`down`) is r x d_in, B (`up`) is d_out x r, s = alpha / r: s B_0 A_0 is the best rank-r approximation of W, and what
is trained are W's own main directions; the rest, W - s B_0 A_0, stays frozen.
Meng et al., NeurIPS 2024, https://arxiv.org/abs/2404.02948

The weight itself is not touched: the first pair is kept beside the trained one, in files too.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from graft.adapters import LoRA
from graft.adapters.svd import svd
from graft.rules.start import Start, begin


class PiSSA(Start):
    """W = U S V^T, B A = U_r S_r V_r^T: the pair starts as the weight's largest part (arXiv 2404.02948)."""

    acts_on = LoRA

    @torch.no_grad()
    def start(self, model: nn.Module, losses: Iterator[Tensor]) -> None:
        for site in self.sites(model):
            left, values, right = svd(site.weight)
            r = site.adapter.rank
            root = (values[:r] / site.adapter.scale).sqrt()
            begin(site.adapter, down=root[:, None] * right[:r], up=left[:, :r] * root)
