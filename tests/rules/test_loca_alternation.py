"""LoCA's turns, against the authors' flags, and what they do to parameters and to the optimizer's moments."""

import pytest
import torch
from lightning.pytorch import Callback

from graft.adapters import LoCA
from graft.adapters.places import places
from graft.rules import LoCAAlternation
from tests.modules.small import Data, Toy, lora, trainer
from tests.rules.test_rules import steady

PARTS = ("coefficients", "rows", "columns")


def ready(steps, **options):
    rule, module = LoCAAlternation(**options), Toy()
    lora(adapter=LoCA(count=9), rules=[rule]).setup(trainer("."), module, "fit")
    rule.with_trainer(steps)
    return rule, module


def flags(steps, until):
    """Whether locations are trained in each step, by the flag that the authors turn on and off as they count."""
    locations, found = False, []
    for count in range(steps):
        if count < until and count % 30 == 0:
            locations = False
        if count < until and count % 30 == 10:
            locations = True
        if count == until:
            locations = False
        found.append(locations)
    return found


@pytest.mark.parametrize(("share", "until"), [(0.1, 40), (0.2, 80), (0.02, 8), (0.0, 0), (0.25, 100), (1.0, 400)])
def test_turns_are_those_of_the_authors(share, until):
    rule, module = ready(400, share=share)
    found = []
    for step in range(1, 401):
        found.append(rule.moves(step))
        rule.after_step(module.model, step)
    assert found == flags(400, until)


class Watch(Callback):
    """After each step: what has changed, and how many steps the optimizer has counted for it."""

    def __init__(self):
        self.changed, self.counted = [], []

    def parts(self, module):
        adapter = next(iter(places(module.model))).adapter
        return {name: getattr(adapter, name) for name in PARTS} | {"head": module.model.head[1].weight}

    def on_train_batch_start(self, trainer, module, *_):
        self.before = {name: part.detach().clone() for name, part in self.parts(module).items()}

    def on_train_batch_end(self, trainer, module, *_):
        state = trainer.optimizers[0].state
        parts = self.parts(module).items()
        self.changed.append({name for name, part in parts if not torch.equal(part, self.before[name])})
        self.counted.append({name: int(state[part]["step"]) if part in state else 0 for name, part in parts})


def test_what_has_no_turn_is_passed_over_with_its_moments(tmp_path):
    watch = Watch()
    rule = LoCAAlternation(coefficients=1, locations=2, share=0.75, ratio=1.0)  # six of eight steps
    adapt = lora(adapter=LoCA(count=200), rules=[rule])
    trainer(tmp_path, adapt, watch, max_epochs=4).fit(Toy(), Data())
    amplitudes, locations = {"coefficients", "head"}, {"rows", "columns", "head"}
    assert watch.changed == [amplitudes, locations, locations] * 2 + [amplitudes] * 2
    assert watch.counted[-1] == {"coefficients": 4, "rows": 4, "columns": 4, "head": 8}


def test_locations_have_a_rate_of_their_own(tmp_path):
    module = Toy(lr_scheduler=steady, optimizer=lambda groups: torch.optim.AdamW(groups, lr=5e-3))
    run = trainer(tmp_path, lora(adapter=LoCA(count=9), rules=[LoCAAlternation()]))
    run.fit(module, Data())
    rates = {p: group["lr"] for group in run.optimizers[0].param_groups for p in group["params"]}
    for name, parameter in module.model.named_parameters():
        if parameter.requires_grad:
            slow = name.rpartition(".")[2] in ("rows", "columns")
            assert rates.pop(parameter) == pytest.approx(1e-4 if slow else 5e-3)  # the paper's rates
    assert not rates


def test_locations_that_are_fixed_stay_so_in_a_longer_run():
    first, module = ready(10, share=0.5, coefficients=1, locations=1)
    for step in range(1, 6):
        first.after_step(module.model, step)
    longer, _ = ready(100, share=0.5, coefficients=1, locations=1)
    assert any(longer.moves(step) for step in range(6, 50))
    longer.load_state_dict(first.state_dict())
    assert not any(longer.moves(step) for step in range(6, 100))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"coefficients": 0}, r"coefficients is 0; give a whole number of steps, at least 1\."),
        ({"locations": -1}, r"locations is -1; give a whole number of steps, at least 1\."),
        ({"share": 1.1}, r"share is 1\.1; give a share of the steps, 0 to 1\."),
        ({"share": float("nan")}, r"share is nan; give a share of the steps, 0 to 1\."),
        ({"ratio": 0.0}, r"ratio is 0\.0; give a number above 0\."),
    ],
)
def test_bad_options_are_refused(options, said):
    with pytest.raises(ValueError, match=f"^LoCAAlternation's {said}$"):
        LoCAAlternation(**options)


def test_a_run_without_an_end_has_no_share():
    with pytest.raises(ValueError, match=r"^LoCAAlternation needs an end: give trainer\.max_steps or"):
        LoCAAlternation().with_trainer(float("inf"))
