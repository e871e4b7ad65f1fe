"""Random frozen bases: once in memory, in no file, the same from the same seed; and the formulas that stand on them."""

import copy
import pickle

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from graft.adapters import NOLA, SNELL, LoCA, RandLoRA, TeRA, inject, load, save
from graft.adapters.bases import orthogonal, uniform
from graft.adapters.tera import split
from tests.adapters.networks import build, clip, shake

EVERYWHERE = ["q", "k", "v", "o", "fc1", "fc2"]  # 32 x 32, 64 x 32 and 32 x 64, in four blocks
HELD = [
    (RandLoRA(rank=4), 2),  # A, and all B_n
    (NOLA(rank=4, count=16), 3 * 2),  # A_0, all A_i, all B_j: for two widths
    (TeRA(), 3 + 6),  # a core for each shape; factors for each mode and size
    (SNELL(rank=4), 3),  # the first update, for each shape
    (LoCA(count=16), 2),  # a transform for each width
]
held = pytest.mark.parametrize(("adapter", "count"), HELD, ids=[type(adapter).__name__ for adapter, _ in HELD])
seeded = pytest.mark.parametrize("kind", [RandLoRA, NOLA, TeRA, SNELL], ids=lambda kind: kind.__name__)


def storages(model: nn.Module) -> int:
    buffers = [buffer for name, buffer in model.named_buffers(remove_duplicate=False) if ".adapter." in name]
    assert len(buffers) > 20  # each adapter refers to its own
    return len({buffer.untyped_storage().data_ptr() for buffer in buffers})


@held
def test_bases_are_in_memory_once_and_stay_so(adapter, count, tmp_path):
    network = build(clip)
    fresh = copy.deepcopy(network.model)
    inject(network.model, adapter, EVERYWHERE)
    shake(network.model)
    assert storages(network.model) == count
    assert storages(copy.deepcopy(network.model)) == count
    assert storages(pickle.loads(pickle.dumps(network.model))) == count
    save(network.model, tmp_path / "adapter.safetensors")
    load(fresh, tmp_path / "adapter.safetensors")
    assert storages(fresh) == count
    assert torch.equal(network.call(fresh), network.call(network.model))
    assert storages(network.model.to(torch.float32)) == count


def test_what_a_model_shares_already_serves_what_is_injected_later():
    network = build(clip)
    inject(network.model, RandLoRA(rank=4), ["q", "v"])
    inject(network.model, RandLoRA(rank=4), ["k", "fc2"])
    assert storages(network.model) == 2
    other = build(clip)
    inject(other.model, RandLoRA(rank=4), ["q", "v", "k", "fc2"])
    shake(network.model)
    shake(other.model)
    assert torch.equal(network.call(network.model), other.call(other.model))


@held
def test_files_hold_what_is_trained_alone(adapter, count, tmp_path):
    network = build(clip)
    inject(network.model, adapter, EVERYWHERE)
    save(network.model, tmp_path / "adapter.safetensors")
    trained = {name for name, parameter in network.model.named_parameters() if parameter.requires_grad}
    assert load_file(tmp_path / "adapter.safetensors").keys() == trained
    assert {name for name in network.model.state_dict() if ".adapter." in name} == trained


@seeded
def test_a_seed_gives_the_same_bases_on_every_call_and_another_seed_others(kind):
    first, again, other = (numbers(kind(seed=seed), torch.float64) for seed in (0, 0, 1))
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert not any(torch.equal(*pair) for pair in zip(first, other, strict=True))


@seeded
def test_all_precisions_draw_the_same_bases(kind):
    for rough, exact in zip(numbers(kind(), torch.bfloat16), numbers(kind(), torch.float64), strict=True):
        assert (rough - exact).abs().max() < 0.02 * exact.abs().max()


def numbers(adapter, dtype):
    torch.manual_seed(torch.seed())  # nothing depends on the global generator
    made = adapter.on(torch.zeros(64, 48, dtype=dtype))
    return [buffer.double() for buffer in made.buffers()]


def test_a_layers_random_pairs_do_not_depend_on_the_layers_beside_it():
    weight, prototype = torch.randn(32, 24, dtype=torch.float64), RandLoRA(rank=5)
    alone = RandLoRA(rank=5).on(weight)
    before = prototype.on(weight)
    prototype.on(torch.randn(40, 96, dtype=torch.float64))
    after = prototype.on(weight)
    assert before.bases is after.bases
    assert alone.bases().shape < after.bases().shape
    for adapter in (alone, before, after):
        shake(adapter)
    assert torch.equal(alone.fold(weight), before.fold(weight))
    assert torch.equal(alone.fold(weight), after.fold(weight))


def test_longer_draws_begin_alike_and_streams_differ():
    assert torch.equal(uniform(3, 1, 1000, 7)[:33], uniform(3, 1, 33, 7))
    assert not torch.equal(uniform(3, 1, 33, 7), uniform(3, 2, 33, 7))
    assert (uniform(0, 0, 10**5).double().var() - 1 / 3).abs() < 0.01


@pytest.mark.parametrize("shape", [(24, 16), (16, 24), (16, 16)])
def test_randlora_is_the_sum_of_its_products(shape):
    weight = torch.randn(shape, dtype=torch.float64)
    adapter = RandLoRA(rank=5, alpha=2).on(weight)
    shake(adapter)
    update = 0
    for n in range(4):  # ceil(16 / 5)
        left = adapter.bases()[:, n] @ adapter.gate[n].diag()
        update = update + left @ adapter.bases.down @ adapter.stretch[n].diag()
    update = 2 / 5 * (update if shape[0] >= shape[1] else update.T)
    assert (adapter.fold(weight) - weight - update).abs().max() < 1e-12
    assert torch.linalg.matrix_rank(adapter.fold(weight) - weight) == 16


def test_nola_mixes_its_factors():
    weight = torch.randn(24, 16, dtype=torch.float64)
    adapter = NOLA(rank=3, alpha=6, count=11).on(weight)
    shake(adapter)
    first, downs, ups = adapter.first(), adapter.down(), adapter.up()
    down = first + sum(adapter.mix_down[i] * downs[i] for i in range(11))
    up = sum(adapter.mix_up[j] * ups[j] for j in range(11))
    assert (adapter.fold(weight) - weight - 2 * up @ down).abs().max() < 1e-12
    assert downs.abs().max() <= 11**-0.5
    assert first.abs().max() <= 16**-0.5


def test_tera_is_a_tucker_tensor_of_full_rank():
    weight = torch.randn(24, 36, dtype=torch.float64)
    adapter = TeRA(alpha=3).on(weight)
    shake(adapter)
    u1, u2, u3, u4 = (factor() for factor in adapter.factors)
    d1, d2, d3, d4 = (gate.diag() for gate in adapter.gates.split([4, 6, 6, 6]))
    unfolded = adapter.core().reshape(24, 36)
    update = torch.kron(u1 @ d1, u2 @ d2) @ unfolded @ torch.kron(u3 @ d3, u4 @ d4).T
    assert (adapter.fold(weight) - weight - 3 * update).abs().max() < 1e-12
    assert torch.linalg.matrix_rank(update) == 24


def test_tera_trains_112_values_at_768_and_starts_where_the_first_vector_is_zero():
    adapter = TeRA().on(torch.empty(768, 768, device="meta"))
    assert adapter.gates.shape == (112,)
    assert [split(size) for size in (768, 3072, 1280, 13)] == [(24, 32), (48, 64), (32, 40), (1, 13)]
    small = TeRA().on(torch.randn(12, 12))
    assert small.gates.tolist() == [0.0] * 3 + [1.0] * 11
    small.fold(torch.zeros(12, 12)).square().sum().backward()
    assert not small.gates.grad.any()  # 0 is the least
    small.fold(torch.zeros(12, 12)).sum().backward()
    assert small.gates.grad[:3].all()


def test_orthogonal_factors():
    factor = orthogonal(0, 1, 17)
    assert (factor @ factor.T - torch.eye(17)).abs().max() < 1e-12


@pytest.mark.parametrize("kind", [NOLA, LoCA])
def test_a_count_below_one_is_refused(kind):
    with pytest.raises(ValueError, match="count is 0; "):
        kind(count=0)
