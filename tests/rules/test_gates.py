"""Rules that act on gates, each held to its own facts, and adapters that are cut to what is left of them."""

import copy
import math

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from safetensors.torch import load_file

from graft.adapters import GatedLoRA, GatedSerialLoRA, LoRA, SerialLoRA, inject, load, save
from graft.adapters.places import places
from graft.modules.optimizers import parameter_groups
from graft.rules import BayesianGates, DiffoRA, DyLoRA, IncreLoRA, ProximalGate
from graft.rules.bayesian_gates import hard_concrete, probability
from graft.rules.draws import generator
from tests.adapters.networks import NETWORKS, build, clip, segment_anything, shake
from tests.modules.small import Data, Toy, batch, lora, trainer

GATED = [GatedLoRA, GatedSerialLoRA]


def gated(model):
    return [place.adapter for place in places(model)]


def adapted(adapter=None, network=segment_anything):
    network = build(network)
    inject(network.model, adapter or GatedLoRA(rank=4, alpha=6))
    shake(network.model)
    return network


def learn(model, seed=5):
    """Random gradients, as those of a batch."""
    source = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn(parameter.shape, generator=source, dtype=torch.float64)


class Watch(Callback):
    """What the gates are in each batch's forward pass, and in each validation."""

    def __init__(self):
        self.training, self.validation = [], []

    def gates(self, module):
        return torch.stack([adapter.gate.detach().clone() for adapter in gated(module.model)])

    def on_before_backward(self, trainer, module, loss):
        self.training.append(self.gates(module))

    def on_validation_start(self, trainer, module):
        self.validation.append(self.gates(module))


def fit(folder, rule, rank=4, **options):
    """A run of the toy, watched."""
    watch, module = Watch(), Toy()
    adapt = lora(adapter=GatedLoRA(rank=rank, alpha=6), rules=[rule])
    trainer(folder, adapt, watch, **{"max_epochs": 4} | options).fit(module, Data())
    return watch, module


@pytest.mark.parametrize("rule", [IncreLoRA(target=2), DiffoRA(), BayesianGates()], ids=lambda r: type(r).__name__)
def test_a_step_that_a_gradient_scaler_leaves_out_teaches_nothing(rule):
    network = adapted()
    rule.prepare(network.model)
    rule.last = 9
    rule.start(network.model, iter(()))
    begun = copy.deepcopy(rule.state_dict())
    for step in (1, 2):
        learn(network.model, step)
        for place, adapter in enumerate(gated(network.model)):
            for parameter in adapter.parameters():
                parameter.grad.flatten()[place % parameter.numel()] = math.inf
        rule.before_step(network.model, step)
    assert str(rule.state_dict()) == str(begun)
    learn(network.model)
    rule.before_step(network.model, 4)
    assert str(rule.state_dict()) != str(begun)
    assert "nan" not in str(rule.state_dict())


@pytest.mark.parametrize("kind", [DiffoRA, BayesianGates])
def test_a_resumed_rule_has_the_rate_that_is_typed_now(kind):
    network = adapted()
    first, again = kind(lr=0.1), kind(lr=0.2)
    for rule in (first, again):
        rule.prepare(network.model)
    again.load_state_dict(first.state_dict())
    assert again.adam.param_groups[0]["lr"] == 0.2


# What adapters keep of gates


@pytest.mark.parametrize(("kind", "plain"), [(GatedLoRA, LoRA), (GatedSerialLoRA, SerialLoRA)])
def test_with_gates_of_one_it_is_the_method_without(kind, plain):
    models = []
    for adapter in (kind(rank=4, alpha=6), plain(rank=4, alpha=6)):
        network = build(segment_anything)
        torch.manual_seed(0)
        inject(network.model, adapter)
        shake_pairs(network.model)
        models.append(network.call(network.model))
    assert (models[0] - models[1]).abs().max() < 1e-12


def shake_pairs(model):
    source = torch.Generator().manual_seed(2)
    for adapter in gated(model):
        for factor in (adapter.down, adapter.up):
            factor.data = torch.randn(factor.shape, generator=source, dtype=factor.dtype)


@pytest.mark.parametrize("kind", GATED)
def test_random_gates_are_normal_and_change_nothing(kind):
    network = build(clip)
    before = network.call(network.model)
    inject(network.model, kind(rank=30, random_gate=True))
    gates = torch.cat([adapter.gate for adapter in gated(network.model)])
    assert abs(gates.mean()) < 0.3
    assert 0.7 < gates.std() < 1.3
    assert torch.equal(network.call(network.model), before)


@pytest.mark.parametrize("kind", GATED)
@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
def test_what_is_shut_is_cut_from_files_and_the_output_stays(kind, network, tmp_path):
    """Sites have ranks of their own, down to one that is all shut; fused projections too."""
    fresh = build(network)
    network = adapted(kind(rank=4, alpha=6), network)
    save(network.model, tmp_path / "full.safetensors")
    for number, adapter in enumerate(gated(network.model)):
        adapter.gate.data[torch.arange(4).roll(number) < number % 5] = 0
    expected = network.call(network.model)
    save(network.model, tmp_path / "cut.safetensors")
    assert torch.equal(network.call(network.model), expected)  # the model itself is as it was
    assert all(adapter.rank == 4 for adapter in gated(network.model))
    load(fresh.model, tmp_path / "cut.safetensors")
    assert (fresh.call(fresh.model) - expected).abs().max() < 1e-12 * expected.abs().max()
    assert (tmp_path / "cut.safetensors").stat().st_size < (tmp_path / "full.safetensors").stat().st_size
    for number, adapter in enumerate(gated(fresh.model)):
        assert adapter.rank == len(adapter.gate) == max(1, 4 - number % 5)
        assert adapter.scale == pytest.approx(1.5)
        assert all(parameter.requires_grad for parameter in adapter.parameters())
    save(fresh.model, tmp_path / "again.safetensors")
    first, second = (load_file(tmp_path / f"{name}.safetensors") for name in ("cut", "again"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_adapter_whose_start_is_subtracted_is_not_cut(tmp_path):
    network = adapted()
    before = network.call(network.model)
    for adapter in gated(network.model):
        adapter.start()
    fresh, untouched = build(segment_anything), build(segment_anything)
    assert (network.call(network.model) - untouched.call(untouched.model)).abs().max() < 1e-12
    for adapter in gated(network.model):
        adapter.gate.data[1:] = 0
    expected = network.call(network.model)
    assert not torch.allclose(expected, before)
    save(network.model, tmp_path / "cut.safetensors")
    load(fresh.model, tmp_path / "cut.safetensors")
    assert (fresh.call(fresh.model) - expected).abs().max() < 1e-12 * expected.abs().max()
    assert {(len(adapter.gate), len(adapter.start_down)) for adapter in gated(fresh.model)} == {(4, 4)}


def test_gates_have_no_weight_decay():
    module = Toy()
    inject(module.model, GatedLoRA(rank=2))
    (group,) = [g for g in parameter_groups(module.model, []) if gated(module.model)[0].gate in set(g["params"])]
    assert group["weight_decay"] == 0


# SoRA and CoDyRA


def test_gates_move_towards_zero_by_the_threshold():
    network = adapted()
    before = [adapter.gate.detach().numpy().copy() for adapter in gated(network.model)]
    rule = ProximalGate(threshold=0.15)
    rule.prepare(network.model)
    rule.with_trainer(math.inf)
    rule.after_step(network.model, 1)
    for adapter, gate in zip(gated(network.model), before, strict=True):
        assert np.allclose(adapter.gate.detach().numpy(), np.sign(gate) * np.maximum(np.abs(gate) - 0.15, 0))
    assert any((adapter.gate == 0).any() and (adapter.gate != 0).any() for adapter in gated(network.model))


def test_the_threshold_rises_in_a_line_from_where_it_begins():
    rule = ProximalGate(threshold=0.005, first=0.001, begin=0.5)
    rule.with_trainer(100)
    assert [rule.threshold_at(step) for step in (1, 50, 75, 100)] == pytest.approx([0, 0, 0.003, 0.005])
    steady = ProximalGate(threshold=0.005, begin=0.5)
    steady.with_trainer(100)
    assert [steady.threshold_at(step) for step in (50, 51, 100)] == [0, 0.005, 0.005]


def test_a_run_without_an_end_has_no_shares():
    for rule in (ProximalGate(begin=0.5), ProximalGate(first=0.0), DiffoRA()):
        with pytest.raises(ValueError, match=r"needs an end: give trainer\.max_steps"):
            rule.with_trainer(math.inf)


def test_a_trained_and_pruned_adapter_is_smaller_and_computes_the_same(tmp_path):
    watch, module = fit(tmp_path, ProximalGate(threshold=0.2, first=0.1))
    assert (watch.training[0] == 1).all()
    save(module.model, tmp_path / "pruned.safetensors")
    _, plain = fit(tmp_path, ProximalGate(threshold=1e-6))
    save(plain.model, tmp_path / "full.safetensors")
    assert (tmp_path / "pruned.safetensors").stat().st_size < (tmp_path / "full.safetensors").stat().st_size
    fresh = Toy().model.eval()
    load(fresh, tmp_path / "pruned.safetensors")
    images = batch()["image"]
    assert torch.allclose(fresh(images), module.model.eval()(images), atol=1e-6)
    assert any(adapter.rank < 4 for adapter in gated(fresh))


def test_gates_of_few_digits_lose_what_the_equation_says():
    """A bfloat16 just below 1 is 0.996: a step of 3e-4 is nothing to it, a thousand are."""
    network = build(clip, torch.bfloat16)
    inject(network.model, GatedLoRA(rank=4))
    gated(network.model)[0].gate.data[1:] = torch.tensor([-1.0, 0.2, 0.001])
    rule = ProximalGate(threshold=3e-4)
    rule.prepare(network.model)
    rule.with_trainer(math.inf)
    for step in range(1, 1001):
        rule.after_step(network.model, step)
        if step == 500:  # a resumed run goes on with the rest
            state, rule = rule.state_dict(), ProximalGate(threshold=3e-4)
            rule.prepare(network.model)
            rule.with_trainer(math.inf)
            rule.load_state_dict(state)
    assert gated(network.model)[0].gate.tolist() == pytest.approx([0.7, -0.7, 0, 0], rel=2**-8)
    assert gated(network.model)[1].gate.tolist() == pytest.approx([0.7] * 4, rel=2**-8)


# DyLoRA


def test_ranks_are_drawn_evenly_and_by_the_seed_alone():
    rules = [DyLoRA(seed=seed) for seed in (0, 0, 1)]
    for rule in rules:
        rule.prepare(adapted(GatedLoRA(rank=8)).model)
    drawn = [[rule.rank_at(step) for step in range(1, 4001)] for rule in rules]
    assert drawn[0] == drawn[1] != drawn[2]
    counts = np.bincount(drawn[0], minlength=9)
    assert counts[0] == 0
    assert ((counts[1:] - 500) ** 2 / 500).sum() < 24.3  # chi-squared with 7 degrees of freedom: 1 in 1000


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_at_rank_b_it_is_a_lora_of_the_first_b_pairs(rank, tmp_path):
    network, plain = adapted(), build(segment_anything)
    inject(plain.model, LoRA(rank=rank, alpha=6))
    for wide, narrow in zip(gated(network.model), gated(plain.model), strict=True):
        narrow.down.data, narrow.up.data = wide.down.data[:rank].clone(), wide.up.data[:, :rank].clone()
    DyLoRA().use(network.model, rank)
    expected = plain.call(plain.model)
    assert (network.call(network.model) - expected).abs().max() < 1e-12 * expected.abs().max()
    save(network.model, tmp_path / "used.safetensors")
    fresh = build(segment_anything)
    load(fresh.model, tmp_path / "used.safetensors")
    assert {adapter.rank for adapter in gated(fresh.model)} == {rank}
    assert (fresh.call(fresh.model) - expected).abs().max() < 1e-12 * expected.abs().max()


@pytest.mark.parametrize("rank", [0, 5])
def test_a_rank_that_was_not_trained_is_refused(rank):
    with pytest.raises(ValueError, match=f"rank {rank} was given; this model was trained for ranks 1 to 4"):
        DyLoRA().use(adapted().model, rank)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_batch_sees_its_rank_and_a_validation_all(frozen, tmp_path):
    rule = DyLoRA(frozen=frozen)
    watch, _ = fit(tmp_path, rule, max_epochs=6, accumulate_grad_batches=2, val_check_interval=1)
    assert len(watch.training) == len(watch.validation) == 12  # validated amid accumulations too
    for number, gates in enumerate(watch.training):
        rank = rule.rank_at(number // 2 + 1)
        assert torch.allclose(gates, (torch.arange(4) < rank) * (4 / rank))
    assert all((gates == 1).all() for gates in watch.validation)
    assert len({rule.rank_at(step) for step in range(1, 7)}) > 1


@pytest.mark.parametrize("frozen", [True, False])
def test_one_pair_learns_or_all_up_to_it(frozen):
    network = adapted()
    rule = DyLoRA(frozen=frozen)
    rule.prepare(network.model)
    step = next(step for step in range(1, 99) if rule.rank_at(step) == 3)
    rule.before_batch(network.model, step)
    network.call(network.model).pow(3).sum().backward()  # squares would be LayerNorm's constant
    rule.before_step(network.model, step)
    for adapter in gated(network.model):
        assert adapter.gate.grad is None
        assert adapter.down.grad.any(1).tolist() == [not frozen, not frozen, True, False]
        assert adapter.up.grad.any(0).tolist() == [not frozen, not frozen, True, False]


# IncreLoRA


def test_ranks_grow_where_the_importance_is():
    network = adapted(GatedLoRA(rank=4), clip)
    rule = IncreLoRA(first=1, target=2, top=2, add=1, interval=2, warmup=2)
    rule.prepare(network.model)
    rule.start(network.model, iter(()))
    important, second = 3, 7
    assert [adapter.gate.tolist() for adapter in gated(network.model)] == [[0, pytest.approx(1e-5), 0, 0]] * 16
    for step in range(1, 7):
        learn(network.model, step)
        for number, adapter in enumerate(gated(network.model)):
            factor = {important: 100, second: 10}.get(number, 1)
            adapter.down.grad *= factor
            adapter.up.grad *= factor
        rule.before_step(network.model, step)
        for adapter, rank in zip(gated(network.model), rule.ranks, strict=True):
            assert adapter.gate.grad.bool().tolist() == [place < rank for place in range(4)]
        rule.after_step(network.model, step)
        grown = {0: 1, 1: 1, 2: 1, 3: 1, 4: 2, 5: 2, 6: 3}[step]  # not at 2, which belongs to the warm-up
        assert rule.ranks == [grown if number in (important, second) else 1 for number in range(16)]
        gates = gated(network.model)[important].gate.tolist()
        assert gates == [0] + [pytest.approx(1e-5)] * grown + [0] * (3 - grown)


def test_growth_ends_at_the_target_or_where_an_adapter_is_full():
    network = adapted(GatedLoRA(rank=4), clip)
    rule = IncreLoRA(first=1, target=2, top=3, add=2, interval=1, warmup=0)
    rule.prepare(network.model)
    rule.start(network.model, iter(()))
    for step in range(1, 20):
        learn(network.model, step)
        gated(network.model)[0].down.grad *= 1e3
        rule.before_step(network.model, step)
        rule.after_step(network.model, step)
    assert sum(rule.ranks) == 2 * 16
    assert rule.ranks[0] == 4 == max(rule.ranks)
    for adapter, rank in zip(gated(network.model), rule.ranks, strict=True):
        assert not adapter.gate[rank:].any()  # nothing is left in reserve
        assert adapter.cut().rank <= rank


def test_importance_is_smoothed_sensitivity_times_its_smoothed_change():
    network = adapted()
    rule = IncreLoRA()
    rule.prepare(network.model)
    scores, mean, change = [], 0, 0
    for step in (1, 2, 3):
        learn(network.model, step)
        adapter = gated(network.model)[1]
        pairs = [(p.detach().numpy(), p.grad.numpy()) for p in (adapter.down, adapter.up)]
        scores.append(sum(np.abs(w * g).sum() for w, g in pairs) / math.sqrt(sum(w.size for w, _ in pairs)))
        mean = 0.85 * mean + 0.15 * scores[-1]
        change = 0.85 * change + 0.15 * abs(scores[-1] - mean)
        rule.before_step(network.model, step)
    assert rule.importance[1].item() == pytest.approx(mean, rel=1e-5)
    assert rule.uncertainty[1].item() == pytest.approx(change, rel=1e-5)


def test_increlora_refuses_what_cannot_be():
    with pytest.raises(ValueError, match="target is 1, below its first rank 2"):
        IncreLoRA(first=2, target=1)
    with pytest.raises(ValueError, match="interval is 0; give a whole number of at least 1"):
        IncreLoRA(interval=0)
    with pytest.raises(ValueError, match=r"mean rank of 5, but the adapters hold 4: give adapt\.adapter a larger rank"):
        IncreLoRA(target=5).prepare(adapted().model)


# DiffoRA


@pytest.mark.parametrize("share", [0.25, 0.3, 0.5, 1.0])
def test_the_best_of_each_block_are_kept(share):
    network = adapted(network=clip)
    rule = DiffoRA(share=share)
    rule.prepare(network.model)
    rule.logits.data = torch.randn(16, generator=torch.Generator().manual_seed(0))
    kept = rule.kept().view(4, 4)  # four attention blocks of q, k, v, o
    assert (kept.sum(1) == math.ceil(share * 4)).all()
    logits = rule.logits.detach().view(4, 4)
    for row, values in zip(kept.bool(), logits, strict=True):
        assert row.all() or values[row].min() > values[~row].max()


def test_steps_on_weights_and_on_logits_take_turns():
    network = adapted()
    rule = DiffoRA(lr=0.1)
    rule.prepare(network.model)
    rule.with_optimizer(torch.optim.SGD(network.model.parameters()))
    rule.with_trainer(100)
    rule.start(network.model, iter(()))
    assert all((adapter.gate == 0.5).all() for adapter in gated(network.model))
    for step in (1, 2):
        learn(network.model, step)
        sums = torch.stack([adapter.gate.grad.sum() for adapter in gated(network.model)])
        rule.before_step(network.model, step)
        others = [adapter.down.grad for adapter in gated(network.model)]
        assert all((gradient is None) == (step == 2) for gradient in others)
        assert all(adapter.gate.grad is None for adapter in gated(network.model))
        rule.after_step(network.model, step)
    assert torch.allclose(rule.logits.grad.double(), sums / 4, rtol=1e-5)  # sigmoid's slope at 0
    assert torch.allclose(rule.logits, -0.1 * sums.sign().float(), rtol=1e-4)  # Adam's first step
    for adapter, logit in zip(gated(network.model), rule.logits, strict=True):
        assert torch.allclose(adapter.gate, logit.detach().sigmoid().double())


def test_steps_on_logits_are_none_of_the_optimizers(tmp_path):
    """No moment, no step count and no weight decay: what is trained beside the gates stays as it was, too."""
    found, counted = [], []

    class Compare(Callback):
        def on_train_batch_end(self, trainer, module, *_):
            found.append({name: p.detach().clone() for name, p in module.named_parameters() if "gate" not in name})
            counted.append({int(state["step"]) for state in trainer.optimizers[0].state.values()})

    adapt = lora(adapter=GatedLoRA(rank=4), rules=[DiffoRA(search=0.8)])  # of 8 steps 7
    trainer(tmp_path, adapt, Compare(), max_epochs=4).fit(Toy(), Data())
    for odd, even in ((0, 1), (2, 3), (4, 5)):
        assert all(torch.equal(found[odd][name], value) for name, value in found[even].items())
        assert not torch.equal(found[even]["model.head.1.weight"], found[even + 1]["model.head.1.weight"])
    assert counted[:6] == [{1}, {1}, {2}, {2}, {3}, {3}]


def test_after_the_search_gates_are_open_or_shut_and_the_optimizer_begins_anew(tmp_path):
    rule = DiffoRA(share=0.5, search=0.6)
    watch, module = fit(tmp_path, rule)  # 8 steps: a search of 5
    assert all(((gates > 0) & (gates < 1)).all() for gates in watch.training[:5])
    assert all(
        gates.sum() == 2 * 4 and gates.sum(1).tolist() == rule.kept().mul(4).tolist() for gates in watch.training[5:]
    )
    assert rule.optimizer.state[module.model.head[1].weight]["step"] == 3
    save(module.model, tmp_path / "found.safetensors")
    fresh = Toy().model
    load(fresh, tmp_path / "found.safetensors")
    assert sorted(adapter.rank for adapter in gated(fresh)) == [1, 1, 4, 4]


# Bayesian gates


def test_hard_concrete_variables_equal_their_formula():
    rng = np.random.default_rng(0)
    logits, noise = rng.normal(0, 2, (3, 50)), rng.uniform(size=(3, 50))
    stretched = 1.2 / (1 + np.exp(-1.5 * (np.log(noise / (1 - noise)) + logits))) - 0.1
    expected = np.minimum(1, np.maximum(0, stretched))
    assert np.allclose(hard_concrete(torch.tensor(logits), torch.tensor(noise)), expected)
    assert 0.2 < ((expected == 0) | (expected == 1)).mean() < 1
    many = hard_concrete(torch.full((100_000,), 0.7), torch.rand(100_000, generator=torch.Generator().manual_seed(0)))
    assert (many > 0).float().mean().item() == pytest.approx(probability(torch.tensor(0.7)).item(), abs=0.01)


def test_gates_are_products_that_cut_from_the_end():
    network = adapted(GatedLoRA(rank=8))
    rule = BayesianGates()
    rule.prepare(network.model)
    rule.logits.data.fill_(1.0)
    ranks = []
    for step in range(1, 60):
        rule.before_batch(network.model, step)
        for adapter, size in zip(gated(network.model), rule.size, strict=True):
            open_ = adapter.gate != 0
            ranks.append(int(open_.sum()))
            assert open_[: ranks[-1]].all()
            assert torch.allclose(adapter.gate[: ranks[-1]].float(), size[: ranks[-1]])
    assert {*ranks} == {*range(1, 9)}


def test_processes_begin_with_the_gates_of_the_first():
    network = adapted()
    rule = BayesianGates()
    rule.prepare(network.model)
    for number, adapter in enumerate(gated(network.model)):  # what DDP does to all but the first
        adapter.gate.data.fill_(number + 2)
    rule.start(network.model, iter(()))
    rule.before_batch(network.model, 1)
    for number, adapter in enumerate(gated(network.model)):
        assert {*adapter.gate.tolist()} <= {0, number + 2}
        assert adapter.gate[0] == number + 2


def test_gradients_reach_sizes_and_logits_by_the_chain_rule():
    """Against gates written as one formula, from the loss on: what autograd would have given."""
    network = adapted()
    rule = BayesianGates(strength=0.3, lr=0.1)
    rule.prepare(network.model)
    rule.logits.data = torch.randn(rule.logits.shape, generator=torch.Generator().manual_seed(0))
    sizes, logits = (p.detach().clone().requires_grad_() for p in (rule.size, rule.logits))
    rule.before_batch(network.model, 1)
    network.call(network.model).pow(3).sum().backward()
    gradients = [adapter.gate.grad.clone() for adapter in gated(network.model)]
    drawn = [adapter.gate.detach().clone() for adapter in gated(network.model)]
    rule.before_step(network.model, 1)
    assert all(adapter.gate.grad is None for adapter in gated(network.model))
    noise = torch.rand(logits.shape, generator=generator(0, 1))
    total = 0
    for number, gradient in enumerate(gradients):
        z = ((torch.log(noise[number] / (1 - noise[number])) + logits[number]) * 1.5).sigmoid() * 1.2 - 0.1
        product, gates = torch.ones(()), []
        for factor in [torch.ones(()), *z.clamp(0, 1)]:
            product = product * factor
            gates.append(product)
        soft = torch.stack(gates)
        assert torch.allclose(drawn[number].float(), (sizes[number] * soft.round()).detach())
        value = sizes[number] * (soft + (soft.round() - soft).detach())
        total = total + (value * gradient.float()).sum()
        total = total + 0.3 * torch.sigmoid(logits[number] + 2 / 3 * math.log(11)).mean()
    expected = torch.autograd.grad(total, [sizes, logits])
    assert torch.allclose(rule.size.grad, expected[0], rtol=1e-4, atol=1e-5)
    assert torch.allclose(rule.logits.grad, expected[1], rtol=1e-4, atol=1e-5)
    assert rule.logits.grad.any()


def test_validation_sees_the_likely_gates_and_the_strength_shuts_them(tmp_path):
    rule = BayesianGates(strength=100.0, lr=2.0)
    watch, module = fit(tmp_path, rule, max_epochs=4, val_check_interval=1)
    assert (watch.validation[0] != 0).all()
    likely = 1 / (1 + np.exp(rule.logits.detach().numpy() + 2 / 3 * math.log(11))) < 0.34
    alive = np.concatenate([np.ones((4, 1)), np.cumprod(likely, 1)], 1)
    assert alive.sum() < 16
    assert np.allclose(watch.validation[-1], alive * rule.size.detach().numpy())
    save(module.model, tmp_path / "likely.safetensors")
    fresh = Toy().model
    load(fresh, tmp_path / "likely.safetensors")
    assert [adapter.rank for adapter in gated(fresh)] == alive.sum(1).astype(int).tolist()


def test_a_rank_of_one_has_no_gate_to_shut(tmp_path):
    _, module = fit(tmp_path, BayesianGates(), rank=1)
    assert all(adapter.gate.isfinite().all() for adapter in gated(module.model))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ProximalGate(threshold=0), "threshold is 0; give a number above 0"),
        (lambda: ProximalGate(first=-1.0), "first is -1.0; give a number of at least 0"),
        (lambda: ProximalGate(begin=1.0), "begin is 1.0; give a share of the steps"),
        (lambda: DiffoRA(share=0), "share is 0; give a share of the modules"),
        (lambda: DiffoRA(search=1.0), "search is 1.0; give a share of the steps"),
        (lambda: DiffoRA(lr=float("nan")), "lr is nan; give a number above 0"),
        (lambda: BayesianGates(strength=0), "strength is 0; give a number above 0"),
        (lambda: BayesianGates(lr=-1), "lr is -1; give a number above 0"),
    ],
)
def test_bad_options_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_a_copy_of_a_gated_model_is_its_own():
    network = adapted()
    copied = copy.deepcopy(network.model)
    DyLoRA().use(copied, 1)
    assert all(adapter.gate.all() for adapter in gated(network.model))
