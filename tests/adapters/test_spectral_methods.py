"""Methods that live in the weight's own basis, and the tensor network: each against its formula written anew."""

import copy
import itertools
import math

import numpy as np
import pytest
import scipy
import torch
from safetensors.torch import load_file
from torch import nn

from graft.adapters import SALT, LoLDU, LoRAXS, SerialLoRA, SerialSB, SerialSVD, SVFit, TLoRA, inject, load, merge, save
from graft.adapters.svd import svd
from graft.adapters.tlora import split
from tests.adapters.kinds import promised
from tests.adapters.networks import NETWORKS, build, clip, segment_anything, shake

SPECTRAL = [SALT, SVFit, LoLDU, LoRAXS, SerialSB, SerialSVD]
each_spectral = pytest.mark.parametrize("kind", SPECTRAL, ids=lambda kind: kind.__name__)
each_shape = pytest.mark.parametrize("shape", [(24, 16), (16, 24), (20, 20)])


def weight(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def shaken(adapter, w, seed=2):
    adapter = adapter.on(w)
    shake(adapter, seed)
    return adapter


def close(tensor, array, tolerance=1e-10):
    np.testing.assert_allclose(tensor.detach().numpy(), array, atol=tolerance)


# What files and memory hold


@each_spectral
@pytest.mark.parametrize("make", [segment_anything, clip], ids=lambda make: make.__name__)
def test_files_hold_no_bases_and_give_the_output_again(kind, make, tmp_path):
    network = build(make)
    fresh = copy.deepcopy(network.model)
    sites = inject(network.model, kind(rank=3))
    shake(network.model)
    save(network.model, tmp_path / "adapter.safetensors")
    held = load_file(tmp_path / "adapter.safetensors")
    assert sum(tensor.numel() for tensor in held.values()) == sum(site.parameters for site in sites)
    load(fresh, tmp_path / "adapter.safetensors")
    assert torch.equal(network.call(fresh), network.call(network.model))


@each_spectral
def test_what_is_cut_from_a_basis_keeps_no_more_of_it_in_memory(kind):
    adapter = kind(rank=2).on(weight(40, 40))
    for tensor in [*adapter.parameters(), *adapter.buffers()]:
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()


@each_spectral
def test_a_weight_of_zeros_is_a_weight(kind):
    adapter = kind(rank=2).on(torch.zeros(8, 8))
    assert torch.equal(adapter.fold(torch.zeros(8, 8)), torch.zeros(8, 8))
    assert all(parameter.isfinite().all() for parameter in adapter.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@each_spectral
def test_a_fresh_weight_is_the_same_bit_by_bit(kind, dtype):
    w = weight(24, 24, dtype=dtype)
    assert torch.equal(kind(rank=3).on(w).fold(w), w)


@pytest.mark.parametrize("kind", [*SPECTRAL, TLoRA], ids=lambda kind: kind.__name__)
def test_parameters_are_counted_without_values(kind):
    w = nn.Parameter(torch.empty(48, 32, device="meta"))
    adapter = copy.deepcopy(kind(rank=3).on(w))
    assert sum(parameter.numel() for parameter in adapter.parameters()) == promised(adapter, w)
    assert all(tensor.is_meta for tensor in [*adapter.parameters(), *adapter.buffers()])


# SALT


@each_shape
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.7])
def test_salt_is_its_formula(shape, ratio):
    w = weight(*shape)
    adapter = shaken(SALT(rank=3, ratio=ratio), w)
    left, values, right = (part.numpy() for part in svd(w))
    gain, offset, up, down = (p.detach().numpy() for p in (adapter.gain, adapter.offset, adapter.up, adapter.down))
    m, k = min(shape), math.ceil(ratio * min(shape))
    core = np.zeros((m, m))
    for i, j in itertools.product(range(m), range(m)):
        if i == j:
            core[i, j] = gain[i] * values[i] + offset[i] if i < k else values[i]
        if min(i, j) >= k:
            core[i, j] += sum(up[i - k, n] * down[n, j - k] for n in range(3))
    assert (core < 0).any()  # the relu has something to do
    close(adapter.fold(w), left @ np.maximum(core, 0) @ right)


def test_salts_gradients_are_those_of_the_whole_core():
    w = weight(18, 18)
    adapter = shaken(SALT(rank=3), w)
    target = weight(18, 18, seed=1)
    (adapter.fold(w) * target).sum().backward()
    gain, offset, up, down = (p.detach().clone().requires_grad_() for p in adapter.parameters())
    left, values, right = svd(w)
    core = torch.block_diag((gain * values[:9] + offset).diag(), values[9:].diag() + up @ down)
    (left @ core.relu() @ right * target).sum().backward()
    for ours, theirs in zip(adapter.parameters(), (gain, offset, up, down), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-10)
        assert ours.grad.any()


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.5, float("nan")])
def test_salt_refuses_a_share_that_leaves_nothing(ratio):
    with pytest.raises(ValueError, match=r"ratio is .*; give the share of singular values to scale, above 0 and below"):
        SALT(ratio=ratio)


def test_salts_rank_is_at_most_the_number_of_smaller_values():
    SALT(rank=8, ratio=0.5).on(weight(16, 16))
    with pytest.raises(ValueError, match="rank 9 is larger than a 16 x 16 layer holds: at most 8"):
        SALT(rank=9, ratio=0.5).on(weight(16, 16))


# SVFit


@each_shape
@pytest.mark.parametrize("rank", [1, 5, None])
def test_svfit_changes_the_largest_singular_values_alone(shape, rank):
    w = weight(*shape)
    adapter = SVFit(rank).on(w)
    count = rank or min(shape)
    assert adapter.values.shape == (count,)
    adapter.values.data += torch.linspace(0.5, 0.1, count)
    left, values, right = (part.numpy() for part in svd(w))
    values[:count] += np.linspace(0.5, 0.1, count)
    folded = adapter.fold(w).detach().numpy()
    np.testing.assert_allclose(scipy.linalg.svdvals(folded), values, atol=1e-10)
    np.testing.assert_allclose(left.T @ folded @ right.T, np.diag(values), atol=1e-10)
    assert np.linalg.matrix_rank(folded - w.numpy(), tol=1e-10) == count


def test_svfit_starts_at_the_singular_values():
    w = weight(20, 12)
    close(SVFit().on(w).values, scipy.linalg.svdvals(w.numpy()))


# LoLDU


@each_shape
@pytest.mark.parametrize("alpha", [None, 2.0])
def test_loldu_is_its_formula(shape, alpha):
    w = weight(*shape)
    adapter = LoLDU(rank=3, alpha=alpha).on(w)
    permutation, lower, upper = scipy.linalg.lu(w.numpy())
    diagonal = np.diag(upper)[:3]
    unit = upper[:3] / diagonal[:, None]
    start = 1.0 if alpha is None else alpha / 3
    close(adapter.diagonal, diagonal)
    close(adapter.gain, start)
    shake(adapter)
    z, s = adapter.diagonal.detach().numpy(), adapter.gain.item()
    expected = w.numpy() - start * permutation @ lower[:, :3] @ np.diag(diagonal) @ unit
    expected += s * permutation @ lower[:, :3] @ np.diag(z) @ unit
    close(adapter.fold(w), expected)


def test_loldu_of_a_weight_whose_pivots_vanish():
    w = weight(8, 8)
    w[:, 1] = 2 * w[:, 0]
    w[:, 2] = 0
    adapter = shaken(LoLDU(rank=6), w)
    assert adapter.fold(w).isfinite().all()


# LoRA-XS


@each_shape
def test_lora_xs_is_its_formula(shape):
    w = weight(*shape)
    adapter = shaken(LoRAXS(rank=3, alpha=6), w)
    left, values, right = scipy.linalg.svd(w.numpy(), full_matrices=False)
    signs = np.sign((adapter.up.numpy() * left[:, :3]).sum(0))
    core = adapter.core.detach().numpy()
    close(adapter.fold(w) - w, 2 * (left[:, :3] * signs) @ core @ np.diag(values[:3] * signs) @ right[:3])


def test_lora_xs_learns_from_a_core_of_zeros():
    w = weight(20, 20)
    adapter = LoRAXS(rank=3).on(w)
    (adapter.fold(w) * weight(20, 20, seed=1)).sum().backward()
    assert adapter.core.grad.abs().min() > 0


def test_lora_xs_takes_factors_found_in_data_and_files_hold_them(tmp_path):
    network = build(segment_anything)
    fresh = copy.deepcopy(network.model)
    before = network.call(network.model)
    for site in inject(network.model, LoRAXS(rank=3), targets=["o"]):
        site.adapter.register_buffer("down", weight(3, 32, seed=4))
        site.adapter.register_buffer("up", weight(32, 3, seed=5))
        site.adapter.core.data.copy_(weight(3, 3, seed=6))
        site.adapter.start()
    assert torch.allclose(network.call(network.model), before, atol=1e-12)
    shake(network.model)
    save(network.model, tmp_path / "adapter.safetensors")
    held = {name.rpartition(".")[2] for name in load_file(tmp_path / "adapter.safetensors")}
    assert held == {"core", "down", "up", "start_down", "start_up"}
    load(fresh, tmp_path / "adapter.safetensors")
    assert torch.equal(network.call(fresh), network.call(network.model))
    merge(fresh)
    assert torch.allclose(network.call(fresh), network.call(network.model), atol=1e-10)


# Serial-SB and Serial-SVD


@pytest.mark.parametrize("make", NETWORKS[:4], ids=lambda make: make.__name__)
@pytest.mark.parametrize("kind", [SerialSB, SerialSVD], ids=lambda kind: kind.__name__)
def test_the_basis_is_that_of_q_k_and_v_together(kind, make):
    network = build(make)
    for site in inject(network.model, kind(rank=5)):
        attention, names = site.module, ("q_proj", "k_proj", "v_proj")
        layers = [attention] if isinstance(attention, nn.Linear) else [getattr(attention, name) for name in names]
        stacked = np.concatenate([layer.weight.detach().numpy() for layer in layers])
        top = scipy.linalg.svd(stacked)[2][:5]
        ours = site.adapter.basis if kind is SerialSB else site.adapter.down.detach()
        close(ours @ ours.T, np.eye(5))
        close(ours.T @ ours, top.T @ top, 1e-8)
        if kind is SerialSVD:
            assert not site.adapter.up.any()


def test_serial_sb_is_its_formula_and_leaves_other_directions_alone():
    w = weight(60, 20)
    adapter = shaken(SerialSB(rank=3, alpha=6), w)
    v, core = adapter.basis.numpy().T, adapter.core.detach().numpy()
    close(adapter.fold(w), w.numpy() @ (np.eye(20) + 2 * v @ core @ v.T))
    x = weight(7, 20, seed=1)
    across = x - x @ torch.from_numpy(v @ v.T)
    close(adapter.shift(across), across.numpy(), 1e-12)
    assert (adapter.shift(x) - x).abs().max() > 1e-2


def test_serial_svd_is_serial_lora_after_its_start():
    w = weight(60, 20)
    ours, theirs = shaken(SerialSVD(rank=3, alpha=6), w), shaken(SerialLoRA(rank=3, alpha=6), w)
    assert torch.equal(ours.fold(w), theirs.fold(w))


# TLoRA


def trace_ring(cores, indices):
    product = np.eye(cores[0].shape[-1])
    for core, index in zip(cores, indices, strict=True):
        product = product @ core[index]
    return np.trace(product)


@pytest.mark.parametrize("shape", [(12, 18), (18, 12), (7, 10), (8, 5)])
@pytest.mark.parametrize("transform_rank", [1, 2, 3])
def test_tlora_is_its_formula(shape, transform_rank):
    w = weight(*shape)
    adapter = shaken(TLoRA(rank=2, transform_rank=transform_rank), w)
    (d_out, d_in), numpy = shape, lambda cores: [core.detach().numpy() for core in cores]
    identity = [np.eye(n)[:, :, None, None] / transform_rank for n in split(d_in)]
    turned = [core + eye for core, eye in zip(numpy(adapter.transform), identity, strict=True)]
    inputs, outputs = (list(itertools.product(*map(range, split(d)))) for d in (d_in, d_out))
    t = np.array([[trace_ring(turned, list(zip(i, j, strict=True))) for j in inputs] for i in inputs])
    ring = numpy(adapter.rows) + numpy(adapter.columns)
    r = np.array([[trace_ring(ring, i + j) for j in inputs] for i in outputs])
    close(adapter.fold(w), w.numpy() @ t + r)


@pytest.mark.parametrize("d_in", [24, 17, 64])
@pytest.mark.parametrize("transform_rank", [1, 2, 3])
def test_tloras_transform_starts_as_the_identity_and_is_of_full_rank_afterwards(d_in, transform_rank):
    w = weight(20, d_in)
    adapter = TLoRA(rank=3, transform_rank=transform_rank).on(w)
    close(adapter.turn(), np.eye(d_in), 1e-14)
    assert not adapter.residual().any()
    shake(adapter)
    assert np.linalg.matrix_rank(adapter.turn().detach().numpy()) == d_in


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_tlora_is_the_identity_to_rounding(dtype, tolerance):
    w = weight(96, 96, dtype=dtype)
    assert (TLoRA().on(w).fold(w) - w).norm() < tolerance * w.norm()


def test_tloras_small_turns_are_not_rounded_away_by_autocast():
    w = weight(96, 96, dtype=torch.float32)
    adapter = TLoRA().on(w)
    for core in adapter.transform:
        core.data += 1e-3 * weight(*core.shape, seed=1, dtype=torch.float32)
    exact = adapter.fold(w) - w
    with torch.autocast("cpu", torch.bfloat16):
        rough = adapter.fold(w) - w
    assert (rough - exact).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_tlora_adds_at_most_the_square_of_its_ring_rank(rank):
    adapter = shaken(TLoRA(rank=rank), weight(30, 40))
    assert np.linalg.matrix_rank(adapter.residual().detach().numpy()) == rank**2


@pytest.mark.parametrize(("transform_rank", "rank", "count"), [(2, 4, 1_984), (2, 6, 3_104)])
def test_parameters_of_tlora(transform_rank, rank, count):
    adapter = TLoRA(rank, transform_rank).on(torch.empty(768, 768, device="meta"))
    assert sum(parameter.numel() for parameter in adapter.parameters()) == count


@pytest.mark.parametrize(("transform_rank", "at_least"), [(1, 1), (2, 2)])
def test_training_makes_use_of_tloras_ring(transform_rank, at_least):
    torch.manual_seed(0)
    w, target = weight(20, 24), weight(20, 24, seed=1)
    adapter = TLoRA(rank=1, transform_rank=transform_rank).on(w)
    optimizer = torch.optim.Adam(adapter.parameters(), lr=1e-2)
    for _ in range(5):
        optimizer.zero_grad()
        (adapter.fold(w) - target).square().mean().backward()
        optimizer.step()
    first, *others = split(24)
    pairs = adapter.turn().detach().view(first, math.prod(others), first, math.prod(others)).transpose(1, 2)
    kronecker_terms = np.linalg.svd(pairs.flatten(2).flatten(0, 1).numpy(), compute_uv=False)
    assert (kronecker_terms > 1e-4).sum() >= at_least
    assert (kronecker_terms > 1e-10).sum() <= transform_rank**2


def test_decay_takes_tlora_back_to_the_identity():
    adapter = shaken(TLoRA(), weight(20, 24))
    for parameter in adapter.parameters():
        parameter.data.zero_()
    close(adapter.turn(), np.eye(24), 1e-14)


@pytest.mark.parametrize(
    ("n", "factors"), [(768, (8, 8, 12)), (1024, (8, 8, 16)), (3072, (12, 16, 16)), (97, (1, 1, 97)), (1, (1, 1, 1))]
)
def test_dimensions_are_split_evenly(n, factors):
    assert split(n) == factors


def test_no_split_has_a_smaller_sum():
    for n in range(1, 130):
        triples = [t for t in itertools.product(range(1, n + 1), repeat=2) if n % (t[0] * t[1]) == 0]
        assert math.prod(split(n)) == n
        assert sum(split(n)) == min(a + b + n // (a * b) for a, b in triples)


@pytest.mark.parametrize("transform_rank", [0, -1])
def test_tlora_refuses_a_ring_of_nothing(transform_rank):
    with pytest.raises(ValueError, match=r"transform_rank is .*; a ring needs a whole number of at least 1"):
        TLoRA(transform_rank=transform_rank)
