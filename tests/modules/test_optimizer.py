"""What is optimized, and the learning rates over a run."""

import math

import pytest
import torch
from torch.optim.lr_scheduler import ConstantLR, OneCycleLR

from graft.modules.schedule import WarmupCosine
from graft.rules import LoRAPlus
from tests.modules.small import Data, Toy, lora, sam, serial, trainer


def rates(steps, warmup):
    """The factor on the learning rate at each step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=2.0)
    scheduler = WarmupCosine(optimizer, steps, warmup)
    factors = []
    for _ in range(steps + 1):
        factors.append(optimizer.param_groups[0]["lr"] / 2.0)
        optimizer.step()
        scheduler.step()
    return factors


def test_the_rate_warms_up_in_a_line_and_falls_as_half_a_cosine():
    factors = rates(100, warmup=0.2)
    assert factors[:20] == pytest.approx([(step + 1) / 20 for step in range(20)])
    assert factors[20] == pytest.approx(1)
    assert factors[40] == pytest.approx((1 + math.sqrt(0.5)) / 2)  # a quarter of the way: cos 45
    assert factors[60] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0)
    assert all(0 <= factor <= 1 for factor in factors)


@pytest.mark.parametrize(("warmup", "first"), [(0.0, 1.0), (1.0, 0.1)])
def test_a_run_may_warm_up_never_or_always(warmup, first):
    factors = rates(10, warmup)
    assert factors[0] == pytest.approx(first)
    assert max(factors) == pytest.approx(1)


def test_a_run_spans_the_whole_schedule(tmp_path):
    run, module = trainer(tmp_path, serial(), max_epochs=3), sam(warmup=0.0)
    run.fit(module, Data())
    assert run.global_step == 6
    assert run.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


def test_a_scheduler_of_torchs_is_stepped_after_every_optimizer_step(tmp_path):
    seen = []
    module = Toy(lr_scheduler=lambda optimizer: OneCycleLR(optimizer, max_lr=1e-2, total_steps=4, pct_start=0.5))
    module.on_train_batch_end = lambda *_: seen.append(module.optimizers().param_groups[0]["lr"])
    trainer(tmp_path, lora(), max_steps=4).fit(module, Data())
    expected = OneCycleLR(torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], 1.0), 1e-2, total_steps=4, pct_start=0.5)
    for rate in seen[:3]:
        expected.optimizer.step()
        expected.step()
        assert rate == pytest.approx(expected.get_last_lr()[0])
    assert len(seen) == 4


def test_every_trained_parameter_is_in_one_group_and_vectors_do_not_decay(tmp_path):
    module, run = sam(), trainer(tmp_path, serial())
    run.fit(module, Data())
    groups = run.optimizers[0].param_groups
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in module.parameters() if p.requires_grad)
    decays = {parameter.ndim > 1: set() for group in groups for parameter in group["params"]}
    for group in groups:
        for parameter in group["params"]:
            decays[parameter.ndim > 1].add(group["weight_decay"])
    assert decays == {True: {0.01}, False: {0.0}}


def test_a_scheduler_that_undoes_a_rules_rates_is_refused(tmp_path):
    module = Toy(lr_scheduler=lambda optimizer: OneCycleLR(optimizer, max_lr=1e-2, total_steps=4))
    with pytest.raises(ValueError, match=r"OneCycleLR gives all parameters one learning rate, .* \(LoRAPlus\)"):
        trainer(tmp_path, lora(rules=[LoRAPlus()])).fit(module, Data())


def test_a_rule_keeps_its_rates_under_a_scheduler_that_scales(tmp_path):
    module, run = Toy(lr_scheduler=lambda optimizer: ConstantLR(optimizer, 0.5, 100)), trainer(tmp_path, lora())
    run.callbacks[0].rules = [LoRAPlus(ratio=4)]
    run.fit(module, Data())
    assert {group["name"]: group["lr"] for group in run.optimizers[0].param_groups} == pytest.approx(
        {"matrices": 0.005, "vectors": 0.005, "matrices_up": 0.02}
    )


@pytest.mark.parametrize("warmup", [-0.1, 2])
def test_a_share_that_is_none_is_refused(warmup):
    with pytest.raises(ValueError, match=r"warmup is .*, but must be a share of the steps, 0 to 1"):
        Toy(warmup=warmup)
