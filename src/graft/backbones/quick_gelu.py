"""CLIP's activation with half of what is kept for the gradient."""

import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 1.702


class QuickGELU(nn.Module):
    """x sigmoid(1.702 x), approximately GELU (https://arxiv.org/abs/1606.08415), of any shape.

    Written as SiLU(1.702 x) / 1.702 it is one kernel that keeps its input alone; written as the product, autograd keeps
    x and the sigmoid, which in a CLIP with frozen weights is most of what it keeps.
    """

    def forward(self, x: Tensor) -> Tensor:
        """To the same shape."""
        return F.silu(SLOPE * x).div_(SLOPE)  # in place: SiLU's gradient does not need what comes out


def lighten(model: nn.Module) -> None:
    """Replace a transformers model's quick GELUs, in place."""
    from transformers.activations import QuickGELUActivation

    for module in model.modules():
        if isinstance(getattr(module, "activation_fn", None), QuickGELUActivation):
            module.activation_fn = QuickGELU()
