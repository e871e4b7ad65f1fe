"""Several adapters on one backbone: each does what it does alone, nothing is copied, and the backbone stays bare."""

import copy
import pickle
import re

import pytest
import torch
from safetensors.torch import save_file

from graft.adapters import (
    NOLA,
    DoRA,
    GatedSerialLoRA,
    LoRA,
    SerialLoRA,
    inject,
    load,
    merge,
    save,
    use,
    using,
)
from graft.adapters.bases import Shared
from graft.adapters.spec import spec
from graft.adapters.storage import read
from graft.backbones import build_sam
from tests.adapters.kinds import ADAPTERS, make
from tests.adapters.networks import NETWORKS, build, clip, segment_anything, shake

METHODS = {"polyp": SerialLoRA(rank=2), "vessel": LoRA(rank=4, alpha=2), "cell": DoRA(rank=3)}


def trained(fresh, adapter, path, seed, beside=(), targets=None):
    """A file of an adapter with what was trained beside it, all of random values."""
    model = copy.deepcopy(fresh)
    inject(model, adapter, targets)
    for name, parameter in model.named_parameters():
        if any(name.startswith(prefix) for prefix in beside) and ".adapter." not in name:
            parameter.requires_grad_(True)
    shake(model, seed)
    save(model, path)
    return path


@pytest.fixture
def files(tmp_path):
    """A bare network and three adapters of it by different methods, of which two have a norm trained beside them."""
    network = build(segment_anything)
    beside = {"polyp": ["neck"], "vessel": ["neck.1", "blocks.1.norm1"], "cell": []}
    return network, {
        name: trained(network.model, adapter, tmp_path / f"{name}.safetensors", seed, beside[name])
        for seed, (name, adapter) in enumerate(METHODS.items())
    }


def alone(network, path):
    fresh = copy.deepcopy(network.model)
    load(fresh, path)
    return network.call(fresh)


@pytest.fixture
def kept(files):
    """One model that keeps all three; what each does alone, and the bare backbone."""
    network, paths = files
    expected = {name: alone(network, path) for name, path in paths.items()}
    expected[None] = network.call(network.model)
    assert len({tuple(output.flatten().tolist()) for output in expected.values()}) == 4
    model = copy.deepcopy(network.model)
    for name, path in paths.items():
        load(model, path, name)
    return network, model, expected


def tensors(model):
    return [*model.named_parameters(), *model.named_buffers()]


ORDER = ["polyp", None, "vessel", "cell", "polyp", "cell", None, "vessel", "vessel"]


def test_each_is_what_it_is_alone_however_often_one_switches(kept):
    network, model, expected = kept
    assert torch.equal(network.call(model), expected["cell"])  # the last one loaded
    for name in ORDER:
        use(model, name)
        assert torch.equal(network.call(model), expected[name]), name


@pytest.mark.parametrize("number", range(len(ADAPTERS)), ids=[kind.__name__ for kind in ADAPTERS])
def test_every_method_beside_another_on_one_anatomy_after_the_other(number, tmp_path):
    kind, network = ADAPTERS[number], build(NETWORKS[number % len(NETWORKS)])
    before, keys = network.call(network.model), list(network.model.state_dict())
    paths = {
        "serial": trained(network.model, SerialLoRA(rank=2), tmp_path / "a", 1),
        "method": trained(network.model, make(kind, rank=4), tmp_path / "b", 2),
    }
    expected = {name: alone(network, path) for name, path in paths.items()}
    for name, path in paths.items():
        load(network.model, path, name)
    for name in ("serial", "method", "serial"):
        use(network.model, name)
        assert torch.equal(network.call(network.model), expected[name])
    use(network.model, None)
    assert torch.equal(network.call(network.model), before)
    assert list(network.model.state_dict()) == keys
    assert not any(module._forward_pre_hooks for module in network.model.modules())


def test_a_switch_copies_no_weight(kept):
    _, model, _ = kept

    def addresses():
        found = {}
        for name in (None, *METHODS):
            use(model, name)
            found[name] = {key: tensor.data_ptr() for key, tensor in tensors(model) if tensor.numel()}
        return found

    first = addresses()
    assert first == addresses()
    backbone = first.pop(None)
    for name, found in first.items():
        own = {key for key in found if found[key] != backbone.get(key)}
        assert own, name
        assert all(".adapter." in key or key.startswith(("neck", "blocks.1.norm1")) for key in own)
    held = [address for found in first.values() for key, address in found.items() if address != backbone.get(key)]
    assert len(set(held)) == len(held)  # nothing of one adapter is another's


def test_none_gives_the_bare_backbone_back(files):
    network, paths = files
    model = copy.deepcopy(network.model)
    before = {key: (id(tensor), tensor.clone(), tensor.requires_grad) for key, tensor in tensors(model)}
    kinds = [type(module) for module in model.modules()]
    for name, path in paths.items():
        load(model, path, name)
    use(model, None)
    assert {key: (id(t), t.requires_grad) for key, t in tensors(model)} == {
        k: (i, r) for k, (i, _, r) in before.items()
    }
    assert all(torch.equal(tensor, before[key][1]) for key, tensor in tensors(model))
    assert [type(module) for module in model.modules()] == kinds
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_save_and_spec_see_the_active_one(kept, files, tmp_path):
    _, model, _ = kept
    _, paths = files
    for name, method in METHODS.items():
        use(model, name)
        assert [entry["method"].rpartition(".")[2] for entry in spec(model)] == [type(method).__name__]
        save(model, tmp_path / "again")
        (metadata, saved), (expected, given) = read(tmp_path / "again"), read(paths[name])
        assert metadata == expected
        assert saved.keys() == given.keys()
        assert all(torch.equal(saved[key], given[key]) for key in given)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_keeps_its_own(kept, copied):
    network, model, expected = kept
    use(model, "polyp")
    other = copied(model)
    use(other, "vessel")
    for _, tensor in tensors(other):
        if tensor.requires_grad:
            tensor.data.zero_()
    assert torch.equal(network.call(model), expected["polyp"])
    use(model, "vessel")
    assert torch.equal(network.call(model), expected["vessel"])
    use(other, "cell")
    assert torch.equal(network.call(other), expected["cell"])


def test_an_adapter_follows_a_model_that_was_cast(kept):
    network, model, expected = kept
    model.to(torch.float32)
    for name in ("polyp", None, "vessel"):
        use(model, name)
        assert {tensor.dtype for _, tensor in tensors(model) if tensor.is_floating_point()} == {torch.float32}
    model.to(torch.float64)
    use(model, "polyp")
    assert (network.call(model) - expected["polyp"]).abs().max() < 1e-5 * expected["polyp"].abs().max()


def test_using_switches_for_a_while_also_where_it_fails(kept):
    network, model, expected = kept
    use(model, "polyp")
    with using(model, "vessel"):
        assert torch.equal(network.call(model), expected["vessel"])
        with using(model, None):
            assert torch.equal(network.call(model), expected[None])
        assert torch.equal(network.call(model), expected["vessel"])
    with pytest.raises(KeyError), using(model, "cell"):
        raise KeyError
    assert torch.equal(network.call(model), expected["polyp"])


def test_only_the_active_one_is_trained(kept):
    network, model, expected = kept
    use(model, "vessel")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trains = [p for p in model.parameters() if p.requires_grad]
    network.call(model).square().sum().backward()
    torch.optim.SGD(trains, lr=0.1).step()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name, p in model.named_parameters() if p.requires_grad}
    for name in ("polyp", "cell", None):
        use(model, name)
        assert torch.equal(network.call(model), expected[name])


def test_random_bases_are_there_once_for_all(tmp_path):
    network = build(clip)
    paths = [trained(network.model, NOLA(rank=2, count=16), tmp_path / str(seed), seed) for seed in range(3)]
    for number, path in enumerate(paths):
        load(network.model, path, str(number))
    found = set()
    for number, path in enumerate(paths):
        use(network.model, str(number))
        assert torch.equal(network.call(network.model), alone(build(clip), path))
        found |= {module for module in network.model.modules() if isinstance(module, Shared)}
    assert len(found) == 3  # A_0, all A_i, all B_j


def test_sam_with_a_decoder_for_each(tmp_path):
    fresh = build_sam("tiny", image_size=64, checkpoint=None)
    paths = [trained(fresh, SerialLoRA(rank=2), tmp_path / str(seed), seed, ["mask_decoder"]) for seed in range(2)]
    image, model = torch.randn(1, 3, 64, 64), copy.deepcopy(fresh)

    def masks(model):
        with torch.no_grad():
            return model.decode(model.image_encoder(image))

    expected = []
    for number, path in enumerate(paths):
        single = copy.deepcopy(fresh)
        load(single, path)
        expected.append(masks(single))
        load(model, path, str(number))  # its hash is the bare backbone's, though another decoder is in the model
    for number in (0, 1, 0):
        use(model, str(number))
        assert torch.equal(masks(model), expected[number])


# what is refused


def test_an_unknown_name_is_refused_with_near_ones(kept):
    network, model, expected = kept
    with pytest.raises(ValueError, match=r"keeps no adapter named 'vesel'; near are vessel\."):
        use(model, "vesel")
    with pytest.raises(ValueError, match=r"named 'x'; near are cell, polyp, vessel\."):
        use(model, "x")
    assert torch.equal(network.call(model), expected["cell"])
    with pytest.raises(ValueError, match=r"load\(model, path, name\) would put one there"):
        use(network.model, "polyp")


def test_a_file_of_another_backbone_is_refused_and_all_is_as_it_was(kept, files, tmp_path):
    network, model, expected = kept
    other = copy.deepcopy(network.model)
    other.blocks[0].norm1.weight.data[0] += 1e-3
    path = trained(other, GatedSerialLoRA(rank=2), tmp_path / "other", 5, ["neck"])
    for active in ("polyp", None):
        use(model, active)
        state = [(key, id(tensor), tensor.requires_grad) for key, tensor in tensors(model)]
        with pytest.raises(ValueError, match="was trained on other weights"):
            load(model, path, "other")
        assert [(key, id(tensor), tensor.requires_grad) for key, tensor in tensors(model)] == state
        assert torch.equal(network.call(model), expected[active])
    with pytest.raises(ValueError, match="was trained on other weights"):
        load(network.model, path, "first")
    assert torch.equal(network.call(network.model), expected[None])
    assert all(parameter.requires_grad for parameter in network.model.parameters())


def test_a_file_that_does_not_fit_leaves_no_trace(files, tmp_path):
    network, paths = files
    metadata, cut = read(paths["polyp"])
    cut.pop("blocks.1.attn.qkv.adapter.up")
    save_file(cut, tmp_path / "cut", metadata)
    keys = list(network.model.state_dict())
    with pytest.raises(ValueError, match=r"lacks blocks\.1\.attn\.qkv\.adapter\.up"):
        load(network.model, tmp_path / "cut", "cut")
    assert list(network.model.state_dict()) == keys
    load(network.model, paths["polyp"], "cut")


def test_names_are_taken_once_and_needed_by_all(kept, files):
    network, model, expected = kept
    with pytest.raises(ValueError, match=r"keeps an adapter named 'polyp' already: choose another"):
        load(model, files[1]["polyp"], "polyp")
    with pytest.raises(ValueError, match=r"keeps adapters by name \(polyp, vessel, cell\): give .* a name"):
        load(model, files[1]["polyp"])
    assert torch.equal(network.call(model), expected["cell"])


def test_what_was_merged_or_injected_beside_is_no_backbone_for_others(kept, files):
    network, model, expected = kept
    use(model, None)
    inject(model, LoRA(rank=2))
    with pytest.raises(ValueError, match=r"holds an adapter without a name: .* fresh copy"):
        use(model, "polyp")
    merged = copy.deepcopy(network.model)
    load(merged, files[1]["polyp"], "polyp")
    load(merged, files[1]["vessel"], "vessel")
    merge(merged)
    assert (network.call(merged) - expected["vessel"]).abs().max() < 1e-10 * expected["vessel"].abs().max()
    with pytest.raises(ValueError, match=r"holds 'vessel' no longer as it was loaded: .* fresh copy"):
        use(merged, "polyp")
    inject(network.model, LoRA(rank=2))
    with pytest.raises(ValueError, match=re.escape("holds an adapter without a name")):
        load(network.model, files[1]["polyp"], "polyp")
