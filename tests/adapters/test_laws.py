"""The law, over every exported adapter and every anatomy: a new adapter is found by these tests."""

import copy
import pickle
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import graft.adapters
from graft.adapters import Adapter, DoRA, InputAdapter, LoRA, SerialLoRA, inject, load, merge, save
from graft.adapters.anatomy import blocks
from graft.adapters.spec import spec
from tests.adapters.kinds import ADAPTERS, make, promised
from tests.adapters.networks import NETWORKS, build, clip, segment_anything, shake

each_adapter = pytest.mark.parametrize("kind", ADAPTERS, ids=lambda kind: kind.__name__)
each_network = pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)


def sampled(chosen):
    """Each adapter on each network: `make test` runs the chosen ones, `make test-all` the others too."""
    cases = []
    for number, kind in enumerate(ADAPTERS):
        for network in NETWORKS:
            marks = [] if chosen(number, kind, network) else pytest.mark.all
            cases.append(pytest.param(kind, network, marks=marks, id=f"{kind.__name__}-{network.__name__}"))
    return pytest.mark.parametrize(("kind", "network"), cases)


in_turn = sampled(lambda number, kind, network: network is NETWORKS[number % len(NETWORKS)])
"""Each adapter on one network, another one for the next: what does not depend on the two at once."""

each_form = sampled(
    lambda number, kind, network: kind in (SerialLoRA, LoRA, DoRA) and network in (segment_anything, clip)
)
"""An adapter on the input, a low-rank one and one that folds, each in layers of its own and in a fused one."""


@each_adapter
@each_network
def test_a_fresh_adapter_is_the_identity(kind, network):
    network = build(network)
    before = network.call(network.model)
    inject(network.model, make(kind, rank=4))
    assert (network.call(network.model) - before).abs().max() < 1e-12  # 0 but where a first product is subtracted


@each_adapter
@each_network
def test_merged_equals_adapted(kind, network):
    merges(kind, build(network), 1e-10)


@in_turn
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.1)])
def test_merged_equals_adapted_in_other_precisions(kind, network, dtype, tolerance):
    merges(kind, build(network, dtype), tolerance)


def merges(kind, network, tolerance):
    untouched = copy.deepcopy(network.model)
    keys, types = list(untouched.state_dict()), [type(module) for module in untouched.modules()]
    inject(network.model, make(kind, rank=4, alpha=6))
    shake(network.model)
    adapted = network.call(network.model)
    assert (adapted - network.call(untouched)).abs().max() > 1e-3  # it does something
    merge(network.model)
    size = adapted.abs().max().clamp(min=1)  # CLIP's logits are 14 times cosines, which may be near 0
    assert (network.call(network.model) - adapted).abs().max() < tolerance * size
    assert list(network.model.state_dict()) == keys
    assert [type(module) for module in network.model.modules()] == types
    assert not any(module._forward_pre_hooks for module in network.model.modules())


@in_turn
def test_bf16_autocast_stays_near_float32(kind, network):
    network = build(network, torch.float32)
    inject(network.model, make(kind, rank=4))
    shake(network.model)
    exact = network.call(network.model)
    with torch.autocast("cpu", torch.bfloat16):
        rough = network.call(network.model)
    assert (rough.float() - exact).abs().max() < 0.1 * exact.abs().max()


@each_adapter
@each_network
def test_the_trunk_gets_no_gradient_and_every_adapter_does(kind, network):
    network = build(network)
    inject(network.model, make(kind, rank=4))
    for _ in range(2):  # factors behind a zero get theirs in the second step
        network.call(network.model).square().sum().backward()
        for parameter in network.model.parameters():
            if parameter.grad is not None:
                parameter.data -= 1e-3 * parameter.grad.sign()
    owned = {p for module in network.model.modules() if isinstance(module, Adapter) for p in module.parameters()}
    for name, parameter in network.model.named_parameters():
        if parameter in owned:
            assert parameter.grad is not None, name
            assert parameter.grad.any(), name
        else:
            assert parameter.grad is None, name


@in_turn
def test_save_and_load_into_a_fresh_backbone(kind, network, tmp_path):
    network = build(network)
    fresh = copy.deepcopy(network.model)
    inject(network.model, make(kind, rank=4, alpha=2))
    extra = next(p for name, p in network.model.named_parameters() if "norm" in name)
    extra.requires_grad_(True)
    shake(network.model)
    save(network.model, tmp_path / "adapter.safetensors")
    torch.manual_seed(99)
    load(fresh, tmp_path / "adapter.safetensors")
    assert torch.equal(network.call(fresh), network.call(network.model))
    assert spec(fresh) == spec(network.model)
    assert [n for n, p in fresh.named_parameters() if p.requires_grad] == [
        n for n, p in network.model.named_parameters() if p.requires_grad
    ]


@in_turn
def test_copies_are_independent_and_pickle(kind, network):
    network = build(network)
    inject(network.model, make(kind, rank=4))
    shake(network.model)
    expected = network.call(network.model)
    copied, pickled = copy.deepcopy(network.model), pickle.loads(pickle.dumps(network.model))
    shake(network.model, seed=3)
    assert not torch.equal(network.call(network.model), expected)
    assert torch.equal(network.call(copied), expected)
    assert torch.equal(network.call(pickled), expected)


@each_adapter
def test_delta_or_shift_is_the_folded_weight(kind):
    torch.manual_seed(0)
    linear = nn.Linear(24, 16).double()
    adapter = make(kind, rank=4, alpha=6).on(linear.weight)
    shake(adapter)
    x = torch.randn(3, 5, 24, dtype=torch.float64)
    folded = x @ adapter.fold(linear.weight).T
    assert (adapter(x, linear.weight, None) - folded).abs().max() < 1e-10
    if isinstance(adapter, InputAdapter):
        assert (adapter.shift(x) @ linear.weight.T - folded).abs().max() < 1e-10
    elif hasattr(adapter, "delta"):
        assert (adapter.delta(x, linear.weight) - (folded - x @ linear.weight.T)).abs().max() < 1e-10


@each_adapter
def test_a_prototype_stays_a_prototype(kind):
    prototype = make(kind, rank=2)
    weight = torch.randn(8, 8)
    first, second = prototype.on(weight), prototype.on(weight)
    assert not list(prototype.parameters())
    assert not {id(p) for p in first.parameters()} & {id(p) for p in second.parameters()}
    assert prototype.options().get("rank", 2) == 2  # not every method has one
    assert kind(**prototype.options()).options() == prototype.options()


@each_adapter
@pytest.mark.parametrize("options", [{"rank": 0}, {"rank": -3}, {"alpha": -1.0}, {"alpha": 0.0}])
def test_bad_options_are_refused(kind, options):
    if not options.keys() <= kind().options().keys():
        pytest.skip("this method has no such option")
    with pytest.raises(ValueError, match=rf"{next(iter(options))} is .*; "):
        kind(**options)


@each_adapter
def test_a_rank_that_does_not_fit_is_refused_and_nothing_is_changed(kind):
    network = build(NETWORKS[0])
    before = network.call(network.model)
    refusal = None
    try:
        inject(network.model, make(kind, rank=36))
    except ValueError as error:
        refusal = str(error)
    if refusal is None:  # a method that can
        assert torch.allclose(network.call(network.model), before)
    else:
        assert re.search(r"^blocks\.0.*rank 36 (is larger than|does not divide)", refusal)
        assert not spec(network.model)
        assert all(parameter.requires_grad for parameter in network.model.parameters())


@each_adapter
@pytest.mark.parametrize("shape", [(16, 24), (24, 16), (24, 24)])
def test_as_many_values_are_trained_as_the_docstring_says(kind, shape):
    adapter = make(kind, rank=4).on(torch.randn(shape))
    assert sum(p.numel() for p in adapter.parameters()) == promised(adapter, torch.empty(shape))


@each_form
def test_compiles_without_a_graph_break(kind, network):
    network, calls = build(network, torch.float32), []
    block = next(block for block in blocks(network.model) if "q" in block.projections)
    layer = network.model.get_submodule(block.name.rpartition(".")[0])  # in which a hook of the block's is compiled too
    hook = layer.register_forward_pre_hook(lambda _, *given: calls.append(given), with_kwargs=True)
    network.call(network.model.requires_grad_(False))  # so that the block's inputs have no graph
    hook.remove()
    inject(network.model, make(kind, rank=4), where=[block.name])
    shake(network.model)
    torch.compiler.reset()  # every method compiles the same block's forward
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    args, kwargs = calls[0]
    for one, other in zip(outputs(compiled(*args, **kwargs)), outputs(layer(*args, **kwargs)), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def outputs(found):
    """The tensors that a layer gives."""
    return [found] if isinstance(found, torch.Tensor) else [part for part in found if part is not None]


@each_adapter
def test_what_a_step_makes_is_made_on_the_weights_device(kind):
    weight = torch.randn(24, 24)
    adapter = make(kind, rank=4).on(weight)
    with torch.device("meta"):  # here is what is made without a device; it cannot be copied from there
        adapter(torch.randn(3, 24, device="cpu"), weight, None).sum().backward()
        assert adapter.fold(weight).device == weight.device


@each_adapter
def test_dropout_acts_in_training_alone(kind):
    if "dropout" not in kind().options():
        pytest.skip("this method has no dropout")
    torch.manual_seed(0)
    adapter = kind(rank=4, dropout=0.5).on(torch.randn(16, 16))
    shake(adapter)
    x, weight = torch.randn(4, 16), torch.randn(16, 16)
    assert not torch.equal(adapter.train()(x, weight, None), adapter(x, weight, None))
    assert torch.equal(adapter.eval()(x, weight, None), adapter(x, weight, None))


def test_the_example_in_contributing_keeps_the_law():
    text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
    namespace = {"LoRA": graft.adapters.LoRA}
    exec(text.split("```python")[1].split("```")[0], namespace)
    network = build(NETWORKS[0])
    before = network.call(network.model)
    inject(network.model, namespace["RsLoRA"](rank=4))
    assert torch.equal(network.call(network.model), before)
    shake(network.model)
    adapted = network.call(network.model)
    merge(network.model)
    assert torch.allclose(network.call(network.model), adapted, atol=1e-9)
