"""CLIP's activation: the same as transformers', values and gradients, and half of what it keeps."""

import copy
import pickle
from typing import Any

import pytest
import torch
from transformers.activations import QuickGELUActivation

from graft.backbones import build_clip
from graft.backbones.quick_gelu import QuickGELU


def both(dtype: torch.dtype) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Values and gradients of ours and of theirs."""
    x = torch.cat([torch.linspace(-30, 30, 6001, dtype=dtype), torch.tensor([-1e4, 0.0, 1e4], dtype=dtype)])
    found = []
    for activation in (QuickGELU(), QuickGELUActivation()):
        leaf = x.clone().requires_grad_()
        y = activation(leaf)
        y.backward(torch.cos(x))
        assert leaf.grad is not None
        found.append((y.detach(), leaf.grad))
    return found


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_values_and_gradients_are_those_of_transformers(dtype: torch.dtype, most: float) -> None:
    (ours, gradient), (theirs, other) = both(dtype)
    usual = slice(0, -3)
    assert (ours - theirs)[usual].abs().max() < most
    assert (gradient - other)[usual].abs().max() < most
    torch.testing.assert_close(ours, theirs)  # far out as well
    torch.testing.assert_close(gradient, other)


def test_its_own_gradient_is_right_by_finite_differences() -> None:
    x = torch.randn(40, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(QuickGELU(), x)
    assert torch.autograd.gradgradcheck(QuickGELU(), x)


def test_it_keeps_one_tensor_for_the_gradient() -> None:
    def kept(activation: Any) -> int:
        sizes: dict[int, int] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        x = torch.randn(64, 64, requires_grad=True) + 0  # of a layer before, which keeps nothing
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            y = activation(x)
        assert y.requires_grad
        return sum(sizes.values()) // (64 * 64 * 4)

    assert kept(QuickGELU()) == 1
    assert kept(QuickGELUActivation()) == 2


def test_a_clip_that_is_built_has_it_everywhere_and_computes_the_same() -> None:
    ours, tokenizer = build_clip("tiny")
    assert not any(isinstance(module, QuickGELUActivation) for module in ours.modules())
    assert sum(isinstance(module, QuickGELU) for module in ours.modules()) == 6
    ours = pickle.loads(pickle.dumps(copy.deepcopy(ours))).double()
    theirs = copy.deepcopy(ours)
    for module in theirs.modules():
        if hasattr(module, "activation_fn"):
            module.activation_fn = QuickGELUActivation()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    tokens = tokenizer(["a cat", "a dog"], padding=True, return_tensors="pt")
    said = [model(pixel_values=images, **tokens).logits_per_image for model in (ours, theirs)]
    assert (said[0] - said[1]).abs().max() < 1e-10
    gradients = []
    for model, logits in zip((ours, theirs), said, strict=True):
        logits.square().sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert (gradient - gradients[1][name]).abs().max() < 1e-10 * (1 + gradient.abs().max()), name
    assert ours.state_dict().keys() == theirs.state_dict().keys()
