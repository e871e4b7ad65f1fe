"""Where adapters go, how many parameters they have, and what is refused."""

import pytest
import torch
from segment_anything import sam_model_registry
from torch import nn

from graft.adapters import LoRA, SerialLoRA, inject, merge
from graft.adapters.anatomy import blocks
from graft.adapters.places import places
from graft.adapters.spec import spec
from tests.adapters.networks import NETWORKS, build, clip, mask_decoder, segment_anything, shake, timm, tiny_vit

each_network = pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)


def count(sites):
    return sum(site.parameters for site in sites)


@pytest.mark.parametrize(("adapter", "expected"), [(SerialLoRA(rank=8), 147_456), (LoRA(rank=8), 589_824)])
def test_parameters_of_sam_vit_b(adapter, expected):
    with torch.device("meta"):
        encoder = sam_model_registry["vit_b"]().image_encoder
        assert count(inject(encoder, adapter)) == expected


@pytest.mark.parametrize(("adapter", "expected"), [(SerialLoRA(rank=8), 245_760), (LoRA(rank=8), 983_040)])
def test_parameters_of_clip_vit_b_16(adapter, expected):
    from transformers import CLIPConfig, CLIPModel

    with torch.device("meta"):
        model = CLIPModel(CLIPConfig(vision_config={"patch_size": 16}))
        assert count(inject(model, adapter)) == expected


@each_network
def test_serial_needs_a_quarter_of_lora(make):
    network = build(make)
    rank, d = 4, network.width
    pairs = 1 if network.shares_input else 3
    serial = count(inject(build(make).model, SerialLoRA(rank)))
    if make is not mask_decoder:  # its cross-attention is narrower inside
        assert serial == network.attentions * 2 * rank * d * pairs
        assert count(inject(build(make).model, LoRA(rank))) == 4 * serial


@pytest.mark.parametrize("targets", [["q"], ["q", "v"], ["k", "o"], ["q", "k", "v"], ["fc1"], ["o", "fc1", "fc2"]])
@each_network
def test_lora_on_any_subset_touches_only_that(make, targets):
    network = build(make)
    before = {name: p.clone() for name, p in network.model.named_parameters()}
    inject(network.model, LoRA(rank=2), targets)
    shake(network.model)
    adapted = network.call(network.model)
    merge(network.model)
    assert torch.allclose(network.call(network.model), adapted, atol=1e-9)
    changed = {name for name, p in network.model.named_parameters() if not torch.equal(p, before[name])}
    expected = {
        id(block.projections[target].linear.weight) for block in blocks(network.model) for target in targets
        if target in block.projections
    }  # fmt: skip
    assert {id(network.model.get_parameter(name)) for name in changed} == expected
    for block in blocks(network.model):
        for target, projection in block.projections.items():
            name = f"{block.name}.{projection.child}.weight"
            rows = slice(None) if projection.rows is None else projection.rows
            assert torch.equal(projection.linear.weight[rows], before[name][rows]) == (target not in targets)


def test_tiny_vit_rows_follow_its_own_view():
    network = build(tiny_vit)
    attention = network.model[0].attn
    block = next(block for block in blocks(network.model) if block.module is attention)
    x = torch.randn(1, 16, 32, dtype=torch.float64)
    q, k, v = attention.qkv(x).view(1, 16, 2, -1).split([attention.key_dim, attention.key_dim, attention.d], dim=3)
    for target, expected in zip("qkv", (q, k, v), strict=True):
        rows = block.projections[target].rows
        assert torch.equal(attention.qkv(x)[..., rows], expected.flatten(2))


def test_clip_passes_its_input_by_keyword_and_merging_removes_only_our_hook():
    network = build(clip)
    attention = network.model.vision_model.encoder.layers[0].self_attn
    seen = []
    attention.register_forward_pre_hook(lambda module, args, kwargs: seen.append(list(kwargs)), with_kwargs=True)
    inject(network.model, SerialLoRA(rank=2))
    network.call(network.model)
    assert "hidden_states" in seen[0]
    merge(network.model)
    seen.clear()
    network.call(network.model)
    assert len(seen) == 1


def test_an_adapter_is_made_in_the_modes_and_dtypes_of_its_layer():
    network = build(segment_anything, torch.float32)
    network.model.bfloat16().train()
    (site, *_) = inject(network.model, SerialLoRA())
    assert site.adapter.training
    assert {p.dtype for p in site.adapter.parameters()} == {torch.bfloat16}


def test_two_methods_on_different_places():
    network = build(segment_anything)
    inject(network.model, SerialLoRA(rank=2))
    inject(network.model, LoRA(rank=2), targets=["o", "fc1"])
    shake(network.model)
    trained = [name for name, p in network.model.named_parameters() if p.requires_grad]
    assert len(trained) == 2 * (2 + 4)  # two blocks; the first call's adapters are still trained
    adapted = network.call(network.model)
    merge(network.model)
    assert torch.allclose(network.call(network.model), adapted, atol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"where": ["blokcs"]}, "names 'blokcs', which the model does not have; near are .*blocks"),
        ({"where": ["patch_embed"]}, "No q, k, v, o projection lies in patch_embed: there is nothing to adapt"),
        ({"targets": ["query"]}, r"targets \['query'\] were given; choose from q, k, v, o, fc1, fc2"),
        ({"targets": []}, "choose from"),
    ],
)
def test_what_matches_nothing_is_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        inject(build(segment_anything).model, LoRA(), **arguments)


def test_a_prefix_matches_whole_names():
    model = nn.ModuleDict({"tower": build(timm).model, "tower_two": build(timm).model})
    assert {site.name.split(".")[0] for site in inject(model, SerialLoRA(), where=["tower"])} == {"tower"}


def test_serial_lora_takes_exactly_q_k_v():
    with pytest.raises(ValueError, match=r"SerialLoRA adapts the one input that q, k and v share, .* given q, v"):
        inject(build(segment_anything).model, SerialLoRA(), targets=["q", "v"])


def test_an_adapted_site_is_refused():
    network = build(segment_anything)
    inject(network.model, SerialLoRA())
    with pytest.raises(ValueError, match=r"blocks\.0\.attn\.qkv has an adapter already"):
        inject(network.model, LoRA())


def test_siglips_pooling_head_is_no_block():
    from transformers import SiglipConfig, SiglipModel

    towers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision, text = towers | {"image_size": 32, "patch_size": 8}, towers | {"vocab_size": 8, "projection_size": 32}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    inject(model, LoRA(rank=2), targets=["q", "fc1"])
    names = [place.name for place in places(model)]
    assert len(names) == 2 * 2 * 2
    assert all(".encoder.layers." in name for name in names)
    merge(model)
    assert not [*places(model)]


def test_an_unknown_attention_that_is_left_out_is_left_alone():
    model = nn.ModuleDict({"known": build(clip).model, "other": nn.TransformerEncoderLayer(16, 2)})
    inject(model, SerialLoRA(rank=2), where=["known"])
    assert all(place.name.startswith("known.") for place in places(model))
    assert spec(model)[0]["method"].endswith("SerialLoRA")
    merge(model)
    assert not [*places(model)]


def test_an_unknown_attention_is_refused_by_its_type():
    model = nn.TransformerEncoderLayer(16, 2)
    with pytest.raises(
        TypeError, match="self_attn is a MultiheadAttention, whose projections are unknown: looked for qkv"
    ):
        inject(model, LoRA())
