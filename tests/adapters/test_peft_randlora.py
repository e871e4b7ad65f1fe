"""RandLoRA against PEFT's, on a network whose layers differ in width and lie both ways."""

import copy

import peft
import pytest
from peft.tuners._buffer_dict import BufferDict
from peft.tuners.randlora.layer import RandLoraLayer

from graft.adapters import RandLoRA, inject
from tests.adapters.networks import build, mask_decoder, shake


@pytest.mark.parametrize("rank", [4, 5])  # 5 does not divide the widths
def test_outputs_and_gradients_equal_pefts(rank):
    network = build(mask_decoder)
    layers = ["q_proj", "k_proj", "v_proj", "out_proj", "lin1", "lin2"]
    theirs = peft.inject_adapter_in_model(
        peft.RandLoraConfig(r=rank, randlora_alpha=6, target_modules=layers), copy.deepcopy(network.model)
    )
    inject(network.model, RandLoRA(rank=rank, alpha=6))
    ours = {name: module.adapter for name, module in network.model.named_modules() if hasattr(module, "adapter")}
    starts = {name: (adapter.gate.clone(), adapter.stretch.clone()) for name, adapter in ours.items()}
    shake(network.model)

    pairs, orders = [], set()
    for name, module in theirs.named_modules():
        if not isinstance(module, RandLoraLayer):
            continue
        adapter = ours.pop(name)
        gate, stretch = module.randlora_lambda["default"], module.randlora_gamma["default"]
        assert (starts[name][0] == gate.T).all()
        assert (stretch - starts[name][1]).abs().max() < 1e-8  # float32 there
        count, small, large = len(adapter.gate), min(module.weight.shape), max(module.weight.shape)
        renumbered = adapter.bases()[:large, :count].transpose(1, 2).reshape(large, count, rank)
        module.randlora_A = BufferDict({"default": adapter.bases.down[:, None, :small]})
        module.randlora_B = BufferDict({"default": renumbered})
        gate.data, stretch.data = adapter.gate.data.T.clone(), adapter.stretch.data.clone()
        pairs.append((gate, stretch, adapter))
        orders.add((count, module.out_features < module.in_features))
    assert not ours
    assert len(pairs) == 4 * 4 + 2  # four attentions and an MLP
    assert len(orders) > 2

    ours_out, theirs_out = network.call(network.model), network.call(theirs)
    assert (ours_out - theirs_out).abs().max() < 1e-10
    ours_out.square().sum().backward()
    theirs_out.square().sum().backward()
    for gate, stretch, adapter in pairs:
        assert (gate.grad.T - adapter.gate.grad).abs().max() < 1e-10 * max(1, gate.grad.abs().max())
        assert (stretch.grad - adapter.stretch.grad).abs().max() < 1e-10 * max(1, stretch.grad.abs().max())
