"""What is a method's own, among those beside a projection: its formula written anew, ranks, what is frozen."""

import copy

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from graft.adapters import (
    SORSA,
    BlockLoRA,
    Bone,
    DoRA,
    Hydra,
    LoRA,
    LoRAGroup,
    MiSS,
    OrthogonalLoRA,
    SparseLoRA,
    inject,
    load,
    merge,
    save,
)
from tests.adapters.networks import build, segment_anything, shake, timm

D_OUT, D_IN = 12, 20


def on_layer(prototype, d_out=D_OUT, d_in=D_IN):
    """A shaken adapter with its layer: (adapter, W, b)."""
    torch.manual_seed(0)
    linear = nn.Linear(d_in, d_out).double().requires_grad_(False)
    adapter = prototype.on(linear.weight)
    shake(adapter)
    return adapter, linear.weight, linear.bias


def update(adapter, weight):
    return (adapter.fold(weight) - weight).detach()


def rank(matrix):
    return int(torch.linalg.matrix_rank(matrix, rtol=1e-10))


# DoRA


def test_doras_rows_have_its_magnitudes_as_norms():
    adapter, weight, _ = on_layer(DoRA(rank=4, alpha=6))
    folded = adapter.fold(weight).detach()
    turned = weight + 1.5 * adapter.up @ adapter.down
    assert torch.allclose(folded.norm(dim=1), adapter.magnitude.abs(), atol=1e-12)
    assert torch.allclose(torch.cosine_similarity(folded, turned, dim=1), adapter.magnitude.sign(), atol=1e-12)


def test_doras_gradients_are_the_same_with_and_without_folding():
    adapter, weight, bias = on_layer(DoRA(rank=4, alpha=6))
    x = torch.randn(7, D_IN, dtype=torch.float64)
    outputs = adapter(x, weight, bias), nn.functional.linear(x, adapter.fold(weight), bias)
    direct, folded = (torch.autograd.grad(y.square().sum(), list(adapter.parameters())) for y in outputs)
    for one, other in zip(direct, folded, strict=True):
        assert torch.allclose(one, other, atol=1e-10)


def test_dora_leaves_a_row_of_zeros_alone():
    weight = torch.randn(6, 8)
    weight[2] = 0
    adapter = DoRA(rank=2).on(weight)
    assert torch.equal(adapter.fold(weight), weight)
    adapter(torch.randn(3, 8), weight, None).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in adapter.parameters())


# Hydra


def test_hydras_serial_branch_reads_the_output_with_its_bias():
    adapter, weight, bias = on_layer(Hydra(rank=4, alpha=6))
    x = torch.randn(3, D_IN, dtype=torch.float64)
    expected = []
    for row in x:
        y = torch.einsum("oi,i->o", weight, row) + bias
        parallel = torch.einsum("or,ri,i->o", adapter.up, adapter.down, row)
        serial = torch.einsum("or,rp,p->o", adapter.serial_up, adapter.serial_down, y)
        expected.append(y + 6 / 4 * (parallel + serial))
    assert torch.allclose(adapter(x, weight, bias), torch.stack(expected), atol=1e-12)
    folded = nn.functional.linear(x, adapter.fold(weight), adapter.fold_bias(weight, bias))
    assert torch.allclose(folded, torch.stack(expected), atol=1e-12)


def test_hydra_moves_the_bias_of_a_fused_layer_too():
    network = build(segment_anything)
    assert network.model.blocks[0].attn.qkv.bias.any()
    inject(network.model, Hydra(rank=4, alpha=6), targets=["q", "v", "o"])
    shake(network.model)
    adapted = network.call(network.model)
    before = network.model.blocks[0].attn.qkv.bias.clone()
    merge(network.model)
    assert torch.allclose(network.call(network.model), adapted, atol=1e-10)
    moved = (network.model.blocks[0].attn.qkv.bias != before).view(3, -1)
    assert [bool(part.any()) for part in moved] == [True, False, True]


def test_hydra_adapts_what_its_vtab_experiments_adapt():
    sites = inject(build(timm).model, Hydra(rank=4))
    assert [site.name for site in sites] == [
        f"blocks.{number}.{child}" for number in range(2) for child in ("attn.proj", "mlp.fc2")
    ]


# MiSS and Bone


@pytest.mark.parametrize("width", [4, 6])
def test_miss_adds_one_matrix_to_each_slice(width):
    adapter, weight, _ = on_layer(MiSS(rank=width))
    expected = weight.clone()
    for first in range(0, D_IN, width):
        part = expected[:, first : first + width]
        part += adapter.up.detach()[:, : part.shape[1]]
    assert torch.allclose(adapter.fold(weight), expected, atol=1e-12)
    assert rank(update(adapter, weight)) == width


def test_bone_moves_each_block_along_itself_and_is_not_of_low_rank():
    adapter, weight, _ = on_layer(Bone(rank=2))
    expected = weight.clone()
    for i in range(D_OUT // 2):
        for j in range(D_IN // 2):
            block = weight[2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            expected[2 * i : 2 * i + 2, 2 * j : 2 * j + 2] += block @ adapter.blocks[i] + adapter.blocks[i]
    assert torch.allclose(adapter.fold(weight), expected, atol=1e-12)
    assert rank(update(adapter, weight)) == D_OUT


@pytest.mark.parametrize("width", [3, 5])  # divides only the outputs, only the inputs
def test_bone_refuses_a_rank_that_does_not_divide(width):
    message = rf"rank {width} does not divide the 20 input and 12 output features of a 12 x 20 layer; .* divisor of 4\."
    with pytest.raises(ValueError, match=message):
        on_layer(Bone(rank=width))


# Block-LoRA and groups


def test_block_lora_has_the_rank_of_its_shared_down():
    adapter, weight, _ = on_layer(BlockLoRA(rank=8, alpha=6, blocks=4))
    expected = sum(6 / 8 * torch.einsum("or,ri->oi", up, adapter.down) for up in adapter.up)
    assert torch.allclose(update(adapter, weight), expected.detach(), atol=1e-12)
    assert rank(update(adapter, weight)) == 2


@pytest.mark.parametrize("blocks", [0, -2, 3, 16])
def test_block_lora_refuses_blocks_that_do_not_divide_the_rank(blocks):
    with pytest.raises(ValueError, match=rf"rank 8 is no multiple of blocks, which is {blocks}: change"):
        BlockLoRA(rank=8, blocks=blocks)


def test_a_group_is_the_sum_of_its_members():
    adapter, weight, _ = on_layer(LoRAGroup(rank=2, alpha=6, pairs=3))
    members = adapter.members()
    assert [(down.shape, up.shape) for down, up in members] == [((2, D_IN), (D_OUT, 2))] * 3
    expected = sum(torch.einsum("or,ri->oi", up, down) for down, up in members)
    assert torch.allclose(update(adapter, weight), expected.detach(), atol=1e-12)
    assert torch.equal(members[1][1], 6 / 2 * adapter.up[:, 2:4])
    assert rank(update(adapter, weight)) == 6


def test_a_group_of_one_is_lora():
    group, weight, bias = on_layer(LoRAGroup(rank=4, alpha=6, pairs=1))
    lora, *_ = on_layer(LoRA(rank=4, alpha=6))
    lora.load_state_dict(group.state_dict())
    x = torch.randn(3, D_IN, dtype=torch.float64)
    assert torch.equal(group(x, weight, bias), lora(x, weight, bias))


def test_a_group_of_none_is_refused():
    with pytest.raises(ValueError, match="pairs is 0; "):
        LoRAGroup(pairs=0)


# Orthogonal Adaptation


def test_concepts_read_nothing_of_each_other():
    adapters = [OrthogonalLoRA(rank=4, concept=concept) for concept in range(D_IN // 4)]
    downs = torch.cat([on_layer(adapter)[0].factors()[0] for adapter in adapters])
    assert torch.allclose(downs @ downs.T, torch.eye(D_IN, dtype=torch.float64), atol=1e-12)
    other = on_layer(OrthogonalLoRA(rank=4, seed=1))[0].factors()[0]
    assert not torch.allclose(other, downs[:4], atol=0.1)


def test_added_concepts_do_as_each_does_on_its_own_inputs():
    adapters = [on_layer(OrthogonalLoRA(rank=4, alpha=6, concept=concept))[0] for concept in (0, 3)]
    weight = torch.randn(D_OUT, D_IN, dtype=torch.float64)
    both = weight + sum(update(adapter, weight) for adapter in adapters)
    for adapter in adapters:
        own = torch.randn(5, 4, dtype=torch.float64) @ adapter.factors()[0]
        assert torch.allclose(own @ both.T, own @ adapter.fold(weight).T, atol=1e-12)
        assert not torch.allclose(own @ both.T, own @ weight.T, atol=1e-2)


def test_the_rows_are_once_in_memory_and_never_in_a_file(tmp_path):
    network = build(timm)
    fresh = copy.deepcopy(network.model)
    inject(network.model, OrthogonalLoRA(rank=4, concept=2))
    shake(network.model)
    save(network.model, tmp_path / "adapter.safetensors")
    load(fresh, tmp_path / "adapter.safetensors")
    assert torch.equal(network.call(fresh), network.call(network.model))
    assert {name.rpartition(".")[2] for name in load_file(tmp_path / "adapter.safetensors")} == {"up"}
    for model in (network.model, copy.deepcopy(network.model), fresh, copy.deepcopy(fresh).to(torch.float32)):
        downs = downs_of(model)
        assert len(downs) == 2 * 4
        assert len({down.data_ptr() for down in downs}) == 1
        assert downs[0].untyped_storage().nbytes() == downs[0].nbytes  # not the whole matrix


def test_each_input_width_has_its_rows():
    model = build(timm).model
    inject(model, OrthogonalLoRA(rank=4), targets=["q", "fc1", "fc2"])
    assert len({down.data_ptr() for down in downs_of(model)}) == 2
    assert {down.shape for down in downs_of(model)} == {(4, 32), (4, 128)}


def downs_of(model):
    return [module.factors()[0] for module in model.modules() if isinstance(module, OrthogonalLoRA)]


@pytest.mark.parametrize("concept", [5, 17])
def test_a_concept_beyond_the_input_features_is_refused(concept):
    on_layer(OrthogonalLoRA(rank=4, concept=4))
    with pytest.raises(ValueError, match=rf"concept {concept} of rank 4 ends at row .* of 20, .* a concept below 5"):
        on_layer(OrthogonalLoRA(rank=4, concept=concept))
    with pytest.raises(ValueError, match="concept is -1; "):
        OrthogonalLoRA(concept=-1)


# SORSA


def test_sorsa_starts_as_the_largest_singular_triples():
    weight = torch.randn(D_OUT, D_IN, dtype=torch.float64)
    adapter = SORSA(rank=4, alpha=6).on(weight)
    left, values, right = np.linalg.svd(weight.numpy(), full_matrices=False)
    np.testing.assert_allclose(adapter.sigma.detach().numpy(), values[:4], atol=1e-12)
    product = (adapter.up * adapter.sigma) @ adapter.down
    np.testing.assert_allclose(product.detach().numpy(), left[:, :4] * values[:4] @ right[:4], atol=1e-12)
    first = product.detach().clone()
    shake(adapter)
    trained = torch.einsum("or,r,ri->oi", adapter.up, adapter.sigma, adapter.down)
    assert torch.allclose(adapter.fold(weight), weight + 6 / 4 * (trained - first), atol=1e-12)
    assert rank(update(adapter, weight)) == 8


def test_sorsas_dropout_leaves_a_fresh_adapter_the_identity():
    weight = torch.randn(D_OUT, D_IN, dtype=torch.float64)
    adapter = SORSA(rank=4, dropout=0.5).on(weight).train()
    x = torch.randn(5, D_IN, dtype=torch.float64)
    assert torch.allclose(adapter(x, weight, None), x @ weight.T, atol=1e-12)


def test_what_sorsa_learns_is_not_rounded_away_by_autocast():
    torch.manual_seed(0)
    weight, x = torch.randn(96, 96) / 10, torch.randn(64, 96)
    adapter = SORSA(rank=8).on(weight)
    assert torch.equal(adapter.fold(weight), weight)  # to the last bit
    for parameter in adapter.parameters():
        parameter.data += 1e-3 * torch.randn_like(parameter)
    exact = adapter.delta(x, weight)
    with torch.autocast("cpu", torch.bfloat16):
        rough = adapter.delta(x, weight)
    assert (rough - exact).norm() < 0.02 * exact.norm()


# Sparse LoRA


def test_sparse_lora_moves_single_entries_beside_its_pair():
    adapter, weight, _ = on_layer(SparseLoRA(rank=2, alpha=6, density=0.2))
    dense = update(adapter, weight) - 6 / 2 * torch.einsum("or,ri->oi", adapter.up, adapter.down).detach()
    moved = dense.abs() > 1e-12
    assert moved.sum() == round(0.2 * D_OUT * D_IN) == len(adapter.values)
    assert torch.allclose(dense[moved], adapter.values.detach(), atol=1e-12)  # in the order of the places
    assert rank(update(adapter, weight)) == D_OUT
    assert moved.any(dim=0).sum() > D_IN / 2  # all over the weight
    assert moved.any(dim=1).sum() > D_OUT / 2


def test_sparse_loras_places_come_from_its_seed_and_not_from_the_file(tmp_path):
    network = build(timm)
    fresh = copy.deepcopy(network.model)
    inject(network.model, SparseLoRA(rank=2, density=0.1, seed=3))
    shake(network.model)
    save(network.model, tmp_path / "adapter.safetensors")
    assert {name.rpartition(".")[2] for name in load_file(tmp_path / "adapter.safetensors")} == {"down", "up", "values"}
    torch.manual_seed(99)
    load(fresh, tmp_path / "adapter.safetensors")
    assert torch.equal(network.call(fresh), network.call(network.model))
    weight = torch.randn(D_OUT, D_IN)
    one, other = (SparseLoRA(rank=2, density=0.1, seed=seed).on(weight).places for seed in (3, 4))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("density", [0.0, -0.1, 1.5])
def test_a_density_that_is_no_share_is_refused(density):
    with pytest.raises(ValueError, match=rf"density is {density}; "):
        SparseLoRA(density=density)


def test_even_a_small_layer_has_an_entry():
    assert len(SparseLoRA(rank=1, density=0.001).on(torch.randn(4, 4)).values) == 1


# What a seed gives


def test_the_files_of_today_find_their_rows_and_places_tomorrow():
    rows = OrthogonalLoRA(rank=2, concept=1, seed=5).on(torch.empty(4, 4)).factors()[0]
    places = SparseLoRA(rank=2, density=0.2, seed=5).on(torch.empty(4, 4)).places
    noise = torch.randn(4, 4, generator=torch.Generator().manual_seed(1_000_003 * 5), dtype=torch.float64)
    q, r = np.linalg.qr(noise.numpy())
    expected = torch.from_numpy(q * np.sign(np.diag(r)))[2:]
    assert torch.allclose(rows.double(), expected, atol=1e-6)
    assert places.tolist() == [3, 10, 11]
