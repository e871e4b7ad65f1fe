"""LoRA against PEFT's, on the network where both mean the same: separate projections."""

import copy

import peft

from graft.adapters import LoRA, inject
from tests.adapters.networks import build, clip, shake


def test_outputs_and_gradients_equal_pefts():
    network = build(clip)
    theirs = peft.inject_adapter_in_model(
        peft.LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj", "k_proj", "v_proj", "out_proj"]),
        copy.deepcopy(network.model),
    )
    inject(network.model, LoRA(rank=4, alpha=6))
    shake(network.model)
    values = dict(network.model.named_parameters())
    pairs = {}
    for name, parameter in theirs.named_parameters():
        if "lora_" in name:
            ours = name.replace("lora_A.default.weight", "adapter.down").replace("lora_B.default.weight", "adapter.up")
            parameter.data.copy_(values[ours])
            pairs[name] = ours
    assert len(pairs) == 2 * 4 * 4  # down and up of four projections in four blocks

    ours_out, theirs_out = network.call(network.model), network.call(theirs)
    assert (ours_out - theirs_out).abs().max() < 1e-12
    ours_out.square().sum().backward()
    theirs_out.square().sum().backward()
    for name, ours in pairs.items():
        gradient = theirs.get_parameter(name).grad
        assert (gradient - values[ours].grad).abs().max() < 1e-10 * max(1, gradient.abs().max())
