"""Methods that PEFT has too against PEFT's, on the network where both mean the same: separate projections."""

import copy
from typing import NamedTuple

import peft
import pytest
from torch import nn

from graft.adapters import Bone, DoRA, LoRA, MiSS, inject
from graft.adapters.base import Adapter
from tests.adapters.networks import build, clip, shake

MODULES = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "out_proj"}


class Pair(NamedTuple):
    """A method of ours and of PEFT's, and by our parameters' names: PEFT's names, and whether PEFT transposes."""

    adapter: Adapter
    config: peft.PeftConfig
    names: dict[str, tuple[str, bool]]


FACTORS = {"down": ("lora_A.default.weight", False), "up": ("lora_B.default.weight", False)}
PAIRS = {
    "LoRA": Pair(LoRA(rank=4, alpha=6), peft.LoraConfig(r=4, lora_alpha=6), FACTORS),
    "DoRA": Pair(
        DoRA(rank=4, alpha=6),
        peft.LoraConfig(r=4, lora_alpha=6, use_dora=True),
        FACTORS | {"magnitude": ("lora_magnitude_vector.default.weight", False)},
    ),
    "MiSS": Pair(MiSS(rank=4), peft.MissConfig(r=4), {"up": ("miss_block.default", True)}),
    "MiSS of a rank that does not divide the width": Pair(
        MiSS(rank=5), peft.MissConfig(r=5), {"up": ("miss_block.default", True)}
    ),
    "Bone": Pair(Bone(rank=4), peft.MissConfig(r=4, init_weights="bat"), {"blocks": ("miss_block.default", False)}),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("targets", [("q", "k", "v", "o"), ("fc1", "fc2")], ids=["attention", "MLP"])
def test_outputs_and_gradients_equal_pefts(pair: Pair, targets: tuple[str, ...]) -> None:
    network = build(clip)
    config = copy.deepcopy(pair.config)
    config.target_modules = {MODULES.get(target, target) for target in targets}
    theirs = peft.inject_adapter_in_model(config, copy.deepcopy(network.model))
    inject(network.model, pair.adapter, targets)
    shake(network.model)
    ours_of = {name: p for name, p in network.model.named_parameters() if p.requires_grad}
    theirs_of = {name: twin(theirs, name, pair) for name in ours_of}
    assert len(ours_of) == len(pair.names) * len(targets) * 4  # in four blocks
    assert {id(p) for p in theirs_of.values()} == {id(p) for p in theirs.parameters() if p.requires_grad}
    for name, parameter in theirs_of.items():
        parameter.data.copy_(turned(ours_of[name], name, pair))

    ours_out, theirs_out = network.call(network.model), network.call(theirs)
    assert (ours_out - theirs_out).abs().max() < 1e-12 * theirs_out.abs().max()
    ours_out.square().sum().backward()
    theirs_out.square().sum().backward()
    for name, parameter in theirs_of.items():
        gradient = parameter.grad
        assert (gradient - turned(ours_of[name].grad, name, pair)).abs().max() < 1e-10 * max(1, gradient.abs().max())


def twin(theirs: nn.Module, name: str, pair: Pair) -> nn.Parameter:
    """PEFT's parameter for ours of this name."""
    layer, _, leaf = name.partition(".adapter.")
    return theirs.get_parameter(f"{layer}.{pair.names[leaf][0]}")


def turned(values, name: str, pair: Pair):
    """Our values in PEFT's shape."""
    return values.T if pair.names[name.rpartition(".")[2]][1] else values
