"""Rules: LoRA+'s learning rates, and when the hooks are called."""

import pytest
import torch

from graft.adapters import Hydra, LoRA, SerialLoRA, inject, merge
from graft.adapters.places import at_size, places
from graft.rules import LoRAPlus, Rule
from graft.rules.known import known_places
from tests.adapters.networks import build, clip, segment_anything
from tests.modules.small import Data, Toy, lora, trainer


class Recorder(Rule):
    """Writes down what it is called for, and whether there are gradients and a change."""

    def __init__(self):
        self.calls = []

    def before_step(self, model, step):
        gradients = all(p.grad is not None for p in model.parameters() if p.requires_grad)
        self.weight = model.head[1].weight.detach().clone()
        self.calls.append(("before", step, gradients))

    def after_step(self, model, step):
        self.calls.append(("after", step, not torch.equal(model.head[1].weight, self.weight)))


def steady(optimizer):
    return torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)


def expected(first, last):
    return [(when, step, True) for step in range(first, last + 1) for when in ("before", "after")]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_rules_are_called_once_an_optimizer_step(accumulate, tmp_path):
    rule = Recorder()
    trainer(tmp_path, lora(rules=[rule]), max_epochs=4, accumulate_grad_batches=accumulate).fit(Toy(), Data())
    assert rule.calls == expected(1, 8 // accumulate)


def test_rules_of_a_resumed_run_go_on_counting(tmp_path):
    run = trainer(tmp_path, lora(rules=[Recorder()]), max_epochs=2, accumulate_grad_batches=2)
    run.fit(Toy(lr_scheduler=steady), Data())
    run.save_checkpoint(tmp_path / "half.ckpt")
    rule = Recorder()
    resumed = trainer(tmp_path, lora(rules=[rule]), max_epochs=4, accumulate_grad_batches=2)
    resumed.fit(Toy(lr_scheduler=steady), Data(), ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert rule.calls == expected(3, 4)


def test_a_second_run_with_the_same_callback_counts_from_one(tmp_path):
    rule = Recorder()
    adapt = lora(rules=[rule])
    for _ in range(2):
        rule.calls.clear()
        trainer(tmp_path, adapt, max_epochs=1).fit(Toy(), Data())
        assert rule.calls == expected(1, 2)


@pytest.mark.parametrize("adapter", [LoRA(rank=2), SerialLoRA(rank=2)])
def test_lora_plus_speeds_up_the_up_factors_alone(adapter, tmp_path):
    module = Toy(lr_scheduler=steady)
    run = trainer(tmp_path, lora(adapter=adapter, rules=[LoRAPlus(ratio=16)]))
    run.fit(module, Data())
    names = {parameter: name for name, parameter in module.model.named_parameters() if parameter.requires_grad}
    grouped = [(p, group) for group in run.optimizers[0].param_groups for p in group["params"]]
    assert sorted(names[p] for p, _ in grouped) == sorted(names.values())
    for parameter, group in grouped:
        assert group["lr"] == pytest.approx(1e-2 * (16 if names[parameter].endswith(".up") else 1))
        assert (group["weight_decay"] == 0) == (parameter.ndim == 1)
    assert sum(name.endswith(".up") for name in names.values()) == (4 if isinstance(adapter, LoRA) else 1)


def test_lora_plus_speeds_up_both_of_hydras_ups(tmp_path):
    module = Toy()
    run = trainer(tmp_path, lora(adapter=Hydra(rank=2), rules=[LoRAPlus()]))
    run.fit(module, Data())
    fast = {p for group in run.optimizers[0].param_groups if group.get("lr_ratio") for p in group["params"]}
    names = {name.rpartition(".")[2] for name, p in module.model.named_parameters() if p in fast}
    assert names == {"up", "serial_up"}


@pytest.mark.parametrize("ratio", [0.0, -1.0, float("nan")])
def test_a_ratio_that_is_not_above_zero_is_refused(ratio):
    with pytest.raises(ValueError, match=r"ratio is .*; give a number above 0"):
        LoRAPlus(ratio)


def test_lora_plus_without_an_up_factor_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no adapter of this model trains one"):
        trainer(tmp_path, lora(adapter=None, rules=[LoRAPlus()])).fit(Toy(), Data())


def same(model):
    """Whether what is remembered is what is there."""
    return [(p.name, p.adapter) for p in known_places(model)] == [(p.name, p.adapter) for p in places(model)]


def test_places_are_described_once_and_anew_when_adapters_change(monkeypatch):
    model, described = build(clip).model, []
    inject(model, LoRA(rank=2), where=["vision_model"])
    first = known_places(model)
    monkeypatch.setattr("graft.rules.known.places", lambda model: described.append(1) or places(model))
    assert known_places(model) is first
    assert not described
    inject(model, LoRA(rank=2), where=["text_model"])
    assert same(model)
    assert len(known_places(model)) == 2 * len(first)
    place = known_places(model)[3]
    place.replace(LoRA(rank=1).on(place.weight))
    assert same(model)
    with at_size(model):
        assert same(model)
    merge(model)
    assert known_places(model) == []


def test_places_are_of_their_own_model_and_on_its_device():
    one, other = build(segment_anything).model, build(segment_anything).model
    for model in (one, other):
        inject(model, LoRA(rank=2))
    assert same(one)
    assert same(other)
    other.load_state_dict(one.state_dict())
    other.to("meta")
    rows = [p.rows for place in known_places(other) for p in place.projections.values() if p.rows is not None]
    assert {tensor.device.type for tensor in rows} == {"meta"}
