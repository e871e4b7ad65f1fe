"""Several adapters on one fused layer compute what its folded weight does, wherever their rows lie."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from graft.adapters.anatomy import Projection
from graft.adapters.inject import adapter_of
from graft.adapters.linear import Fused
from tests.adapters.kinds import ADAPTERS, make
from tests.adapters.networks import shake

IN_A_ROW = dict(zip("qkv", torch.arange(48).chunk(3), strict=True))
BY_HEAD = {target: torch.arange(48).view(2, 3, 8)[:, part].flatten() for part, target in enumerate("qkv")}
LAYOUTS = {
    "qkv": IN_A_ROW,
    "qv": {target: IN_A_ROW[target] for target in "qv"},
    "vq": {target: IN_A_ROW[target] for target in "vq"},
    "qkv by head": BY_HEAD,
    "k by head": {"k": BY_HEAD["k"]},
}


@pytest.mark.parametrize("kind", ADAPTERS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("rows", LAYOUTS.values(), ids=LAYOUTS)
def test_outputs_and_gradients_are_those_of_the_folded_weight(kind, rows):
    torch.manual_seed(0)
    linear = nn.Linear(32, 48).double()
    linear.requires_grad_(False)
    group = {target: Projection("qkv", linear, each) for target, each in rows.items()}
    fused = adapter_of(group, make(kind, rank=4, alpha=6))
    assert isinstance(fused, Fused)
    shake(fused)
    x = torch.randn(3, 5, 32, dtype=torch.float64, requires_grad=True)
    wanted = [x, *fused.parameters()]
    folded = F.linear(x, fused.fold(linear.weight), fused.fold_bias(linear.weight, linear.bias))
    adapted = fused(x, linear.weight, linear.bias)
    assert (adapted - folded).abs().max() < 1e-10 * folded.abs().max()
    expected = torch.autograd.grad(folded.square().sum(), wanted)
    for gradient, other in zip(torch.autograd.grad(adapted.square().sum(), wanted), expected, strict=True):
        assert other.any()
        assert (gradient - other).abs().max() < 1e-10 * other.abs().max()
