"""Gradient checkpointing: the same gradients from fewer kept activations."""

import pytest
import torch

from graft.adapters import LoRA, inject
from graft.backbones import build_sam


@pytest.mark.parametrize(("name", "size"), [("tiny", 64), ("vit_t", 64)])
def test_the_gradient_is_the_same_and_less_is_kept(name: str, size: int) -> None:
    torch.manual_seed(0)
    sam = build_sam(name, size)
    inject(sam, LoRA(rank=2, dropout=0.2), where=["image_encoder"])
    for module in sam.modules():
        if hasattr(module, "up"):
            torch.nn.init.normal_(module.up, std=0.02)
            module.train()
    image = torch.randn(2, 3, size, size)
    results = []
    for recompute in (False, True):
        sam.recompute(recompute)
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor, kept: dict[int, int] = kept) -> torch.Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        torch.manual_seed(1)  # the same dropout
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = sam.image_encoder(image).square().mean()
        gradients = torch.autograd.grad(loss, [p for p in sam.parameters() if p.requires_grad])
        results.append((loss, gradients, sum(kept.values())))
    (loss, gradients, bytes_kept), (again, recomputed, fewer) = results
    assert torch.equal(loss, again)
    assert all(torch.equal(a, b) for a, b in zip(gradients, recomputed, strict=True))
    assert any(gradient.any() for gradient in gradients)
    assert fewer < 0.7 * bytes_kept
