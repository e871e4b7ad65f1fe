"""What the user types wins over what a checkpoint holds; what was not typed anew goes on as it was."""

from functools import partial

import pytest
import torch
from lightning.pytorch import Callback
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, StepLR

from graft.modules.schedule import WarmupCosine
from graft.rules import LoRAPlus
from tests.modules.small import Data, Toy, lora, trainer


class Rates(Callback):
    def __init__(self):
        self.used = []

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.used.append(optimizer.param_groups[0]["lr"])


@pytest.fixture
def go_on(tmp_path):
    """Train four steps as `first` says, go on to step eight as `then` says: the trainer, and the rates of the rest."""

    def go_on(first, then, rules=((), ())):
        begun, ended, rates = trainer(tmp_path, lora(), max_steps=4), trainer(tmp_path, lora(), max_steps=8), Rates()
        begun.callbacks[0].rules, ended.callbacks[0].rules = map(list, rules)
        begun.fit(Toy(**first), Data())
        begun.save_checkpoint(tmp_path / "last.ckpt")
        ended.callbacks.append(rates)
        ended.fit(Toy(**then), Data(), ckpt_path=tmp_path / "last.ckpt")
        assert ended.global_step == 8
        return ended, rates.used

    return go_on


def optimizer(**options):
    return lambda groups: torch.optim.AdamW(groups, **{"lr": 1e-2} | options)


def test_a_schedule_goes_on_to_its_new_end(go_on):
    """The first run's cosine had come down to zero; that of eight steps stands at a half."""
    _, used = go_on({}, {})
    expected = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], 1e-2)
    schedule = WarmupCosine(expected, 8, 0.0)
    assert used == pytest.approx([1e-2 * schedule.lr_lambdas[0](step) for step in range(4, 8)])
    assert used[0] == pytest.approx(5e-3)


def test_a_typed_rate_wins(go_on):
    _, used = go_on({}, {"optimizer": optimizer(lr=2e-2)})
    assert used[0] == pytest.approx(1e-2)


def test_typed_options_of_the_optimizer_win(go_on):
    ended, _ = go_on({}, {"optimizer": optimizer(weight_decay=0.3, betas=(0.8, 0.9))})
    groups = {group["name"]: group for group in ended.optimizers[0].param_groups}
    assert groups["matrices"]["weight_decay"] == 0.3
    assert groups["vectors"]["weight_decay"] == 0
    assert groups["matrices"]["betas"] == (0.8, 0.9)
    assert next(iter(ended.optimizers[0].state.values()))["step"] == 8  # and its moments went on


@pytest.mark.parametrize(
    ("kind", "options", "typed"),
    [
        (CosineAnnealingLR, {"T_max": 10}, {"T_max": 20}),
        (StepLR, {"step_size": 2, "gamma": 0.5}, {"step_size": 2, "gamma": 0.1}),
        (OneCycleLR, {"max_lr": 1e-2, "total_steps": 4}, {"max_lr": 1e-2, "total_steps": 8}),
    ],
)
def test_typed_options_of_the_schedule_win_from_its_step_on(kind, options, typed, go_on):
    ended, used = go_on({"lr_scheduler": partial(kind, **options)}, {"lr_scheduler": partial(kind, **typed)})
    (config,) = ended.lr_scheduler_configs
    for name, value in typed.items():
        if name != "max_lr":
            assert getattr(config.scheduler, name) == value
    assert config.scheduler.last_epoch == 8
    expected = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))], 1e-2)
    fresh = kind(expected, **typed)
    for _ in range(7):
        expected.step()
        fresh.step()
    if kind is OneCycleLR:  # a rate of the step alone; others change it from where it is
        assert used[-1] == pytest.approx(fresh.get_last_lr()[0])


def test_a_schedule_that_was_not_typed_anew_is_the_checkpoints(go_on):
    schedule = partial(StepLR, step_size=3, gamma=0.5)
    _, used = go_on({"lr_scheduler": schedule}, {"lr_scheduler": schedule})
    assert used == pytest.approx([5e-3, 5e-3, 2.5e-3, 2.5e-3])


def test_other_rules_are_refused(go_on):
    with pytest.raises(ValueError, match=r"groups matrices, vectors, but the configuration makes .*matrices_up"):
        go_on({}, {}, rules=((), (LoRAPlus(),)))
