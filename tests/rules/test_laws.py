"""What holds of every rule: a new one is found by these tests."""

from functools import cache
from itertools import combinations_with_replacement

import pytest
import torch
from lightning.pytorch import Callback
from torch.utils.data import DataLoader

from graft.adapters import inject
from graft.callbacks import Adapt
from graft.callbacks.rules import FollowRules
from graft.data.batch import collate
from graft.rules import LoRAPlus, Rule
from tests.adapters.kinds import ADAPTERS, make
from tests.adapters.networks import build, segment_anything, shake
from tests.modules.small import Data, Items, Toy, batch, trainer
from tests.rules.kinds import RULES, run, soon, suits
from tests.rules.processes import alone, together

each_rule = pytest.mark.parametrize("kind", RULES, ids=lambda kind: kind.__name__)


NAMES = "|".join(kind.__name__ for kind in ADAPTERS)
NAMES = f"({NAMES})( or ({NAMES}))*"  # all that can be typed


def alike(first, second):
    """Whether two states of tensors and plain values are the same, bit for bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(alike(first[name], second[name]) for name in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(alike, first, second))
    return first == second


class SaveAt(Callback):
    """Writes a checkpoint after each of these optimizer steps."""

    def __init__(self, folder, *steps):
        self.folder, self.steps = folder, steps

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step in self.steps:
            trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")


class Whole(Data):
    """All images in one batch."""

    def loader(self, shuffle=False):
        return DataLoader(Items(4, 1), batch_size=4, collate_fn=collate)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """How the run of a rule ends, the rule itself, and a folder with the run's checkpoints; each is run once."""

    @cache
    def of(kind):
        folder, rule = tmp_path_factory.mktemp(kind.__name__), soon(kind)
        weights, state = run(folder, kind, SaveAt(folder, 2, 6), rules=[rule])
        return weights, state, rule, folder

    return of


@each_rule
def test_a_resumed_run_equals_an_uninterrupted_one(kind, ended):
    weights, state, _, folder = ended(kind)
    for step in (2, 6):
        again = run(folder, kind, ckpt_path=folder / f"{step}.ckpt")
        assert alike(again, (weights, state)), step


@each_rule
def test_a_second_run_of_the_same_rule_is_like_the_first(kind, ended):
    weights, state, rule, folder = ended(kind)
    assert alike(run(folder, kind, rules=[rule]), (weights, state))


@each_rule
def test_a_rule_makes_a_difference_but_to_no_shape(kind, ended):
    weights, _, _, folder = ended(kind)
    without, _ = run(folder, kind, rules=[])
    assert not alike(weights, without)
    assert {name: tensor.shape for name, tensor in weights.items()} == {n: t.shape for n, t in without.items()}
    assert all(tensor.isfinite().all() for tensor in weights.values())


@pytest.mark.parametrize("kind", [k for k in RULES if k.decides != "the start"], ids=lambda kind: kind.__name__)
def test_two_halves_of_a_step_are_one_step(kind, tmp_path):
    """What the model computes is the same; its factors alone may differ, where a rule chooses among equal ones."""
    ends = []
    for options in ({"accumulate_grad_batches": 2}, {"data": Whole()}):
        module = Toy(optimizer=lambda groups: torch.optim.SGD(groups, lr=0.1))
        before = module.model.eval()(images := batch(4)["image"])
        run(tmp_path, kind, module=module, train=[], max_epochs=8, **options)  # a head's BatchNorm would see the halves
        ends.append(module.model.eval()(images) - before)
    assert (ends[0] - ends[1]).abs().max() < 1e-3 * ends[0].abs().max()


@each_rule
def test_what_a_rule_remembers_is_tensors_and_plain_values(kind, ended, tmp_path):
    _, state, _, _ = ended(kind)
    torch.save(state, tmp_path / "state.pt")
    assert alike(torch.load(tmp_path / "state.pt", weights_only=True), state)


@each_rule
def test_what_a_rule_remembers_is_all_that_it_knows(kind, ended):
    """A fresh rule that takes over the state of a run's is like it in everything that rules make ready for a model."""
    _, _, rule, _ = ended(kind)
    again, module = soon(kind), Toy()
    inject(module.model, make(suits(kind), rank=4))
    again.prepare(module.model)
    again.load_state_dict(rule.state_dict())
    for name, value in vars(again).items():
        assert alike(plain(value), plain(vars(rule)[name])), name


def plain(value):
    """The state of what has one, such as an optimizer."""
    return value.state_dict() if hasattr(value, "state_dict") else value


@each_rule
def test_a_model_without_its_adapter_is_refused(kind, tmp_path):
    others = [adapter for adapter in ADAPTERS if not issubclass(adapter, kind.acts_on)][:1]
    for adapter in [None, *(make(other, rank=4) for other in others)]:
        adapt = Adapt(adapter, train=["head"], rules=[soon(kind)])
        said = (
            f"^The rule {kind.__name__} is for adapters such as ({NAMES}), but the model has {name_of(adapter)}: give "
        )
        if kind is LoRAPlus:  # it is for all that have one factor
            said = "^LoRAPlus speeds up the factor `up`, but no adapter of this model trains one: give "
        with pytest.raises(ValueError, match=rf"{said}another adapt\.adapter.*, or drop the rule\.$"):
            trainer(tmp_path, adapt).fit(Toy(), Data())


def name_of(adapter):
    return "none" if adapter is None else type(adapter).__name__


def test_two_that_decide_the_same_are_refused():
    for one, other in combinations_with_replacement(RULES, 2):
        if one is other:
            with pytest.raises(ValueError, match=f"The rule {one.__name__} is given twice: keep one"):
                FollowRules([soon(one), soon(other)])
        elif one.decides is not None and one.decides == other.decides:
            with pytest.raises(ValueError, match=rf"both decide {one.decides}: keep one"):
                FollowRules([soon(one), soon(other)])
        else:
            FollowRules([soon(one), soon(other)])


@pytest.mark.parametrize(
    "kind", [kind for kind in RULES if kind.penalty is not Rule.penalty], ids=lambda kind: kind.__name__
)
def test_a_penalty_is_a_scalar_with_the_gradient_of_finite_differences(kind):
    network = build(segment_anything)
    inject(network.model, make(suits(kind), rank=4))
    shake(network.model)
    rule = soon(kind)
    rule.prepare(network.model)
    parameters = [p for p in network.model.parameters() if p.requires_grad]
    penalty = rule.penalty(network.model, 1)
    assert penalty.shape == ()
    assert penalty > 0
    gradients = torch.autograd.grad(penalty, parameters, allow_unused=True)
    generator = torch.Generator().manual_seed(3)
    directions = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    expected = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True) if g is not None)
    ends = []
    for step in (1e-6, -2e-6):
        for parameter, direction in zip(parameters, directions, strict=True):
            parameter.data += step * direction
        ends.append(rule.penalty(network.model, 1))
    assert ((ends[0] - ends[1]) / 2e-6).item() == pytest.approx(expected.item(), rel=1e-5)


def test_two_processes_end_alike(tmp_path):
    """One start of two processes for all rules; no parameter is added or reshaped, or DDP would not go on."""
    first, second = together(tmp_path)
    assert first["ends"].keys() == {kind.__name__ for kind in RULES}
    for name in first["ends"]:
        assert alike(first["ends"][name], second["ends"][name]), name
    assert alike(first["shared out"], second["shared out"])
    assert alike(first["shared out"], alone())  # as one process would have found them
