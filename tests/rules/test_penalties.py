"""Penalties: equal to their formula on dense matrices, in a training, and where they do not belong."""

import pytest
import torch

from graft.adapters import SORSA, BlockLoRA, LoRA, LoRAGroup, LoRAXS, SerialLoRA, inject
from graft.adapters.places import places
from graft.rules import LambdaOrthogonality, PEGOPenalty, SORSAPenalty
from tests.adapters.networks import build, clip, segment_anything, shake, tiny_vit
from tests.modules.small import Data, Toy, lora, trainer
from tests.rules.test_rules import steady

each_network = pytest.mark.parametrize("network", [segment_anything, tiny_vit, clip])


def adapted(network, adapter, fresh=False):
    network = build(network)
    inject(network.model, adapter)
    if not fresh:
        shake(network.model)
    return network.model, list(places(network.model))


def same(penalty, dense, model):
    """Value and gradients of the rule's penalty and of the formula on dense matrices."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert penalty.item() == pytest.approx(dense.item(), rel=1e-9)
    mine, theirs = torch.autograd.grad(penalty, parameters), torch.autograd.grad(dense, parameters)
    for one, other in zip(mine, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-10 * other.abs().max().item())


@each_network
def test_pego_is_the_sum_over_dense_updates(network):
    model, sites = adapted(network, LoRAGroup(rank=2, alpha=3, pairs=3))
    dense = 0
    for place in sites:
        down, up = place.adapter.down, place.adapter.up
        updates = [1.5 * up[:, 2 * i : 2 * i + 2] @ down[2 * i : 2 * i + 2] for i in range(3)]
        for i in range(3):
            dense += (place.weight @ updates[i].T).abs().sum()
            for j in range(i):
                dense += (updates[i] @ updates[j].T).abs().sum()
    same(PEGOPenalty(weight=0.7).penalty(model, 1), 0.7 * dense, model)


def test_pego_holds_no_dense_matrix_until_its_gradient():
    model, _ = adapted(clip, LoRAGroup(rank=2, pairs=3))
    held = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: held.append(tensor.shape) or tensor, lambda t: t):
        PEGOPenalty().penalty(model, 1)
    assert (32, 32) not in held


@each_network
def test_sorsas_is_the_mean_over_all_factors(network):
    model, sites = adapted(network, LoRA(rank=3))
    norms = []
    for place in sites:
        down, up, eye = place.adapter.down, place.adapter.up, torch.eye(3)
        norms += [(down @ down.T - eye).square().sum().sqrt(), (up.T @ up - eye).square().sum().sqrt()]
    same(SORSAPenalty(weight=0.7).penalty(model, 1), 0.7 * sum(norms) / len(norms), model)


def test_a_fresh_sorsa_has_no_penalty():
    model, _ = adapted(clip, SORSA(rank=3), fresh=True)
    assert SORSAPenalty(weight=1.0).penalty(model, 1).item() < 1e-12
    model, _ = adapted(clip, SORSA(rank=3))
    assert SORSAPenalty(weight=1.0).penalty(model, 1).item() > 0.1


@each_network
@pytest.mark.parametrize("threshold", [0.0, 1.0, 50.0])
def test_lambda_orthogonality_is_that_of_the_dense_map(network, threshold):
    model, sites = adapted(network, SerialLoRA(rank=3, alpha=6))
    terms = []
    for place in sites:
        eye = torch.eye(32, dtype=torch.float64)
        t = eye + 2 * place.adapter.up @ place.adapter.down
        norm = torch.linalg.matrix_norm(t @ t.T - eye)
        terms.append(torch.sigmoid(3 * (norm - threshold)) * norm)
    rule = LambdaOrthogonality(weight=0.7, threshold=threshold, slope=3.0)
    same(rule.penalty(model, 1), 0.7 * sum(terms) / len(terms), model)


def test_lambda_orthogonality_lets_a_rotation_be():
    model, sites = adapted(clip, SerialLoRA(rank=2))
    rule = LambdaOrthogonality(threshold=0.0)
    for place in sites:  # T turns the plane of the first two axes by a right angle
        plane = torch.eye(32, dtype=torch.float64)[:2]
        turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
        place.adapter.down.data.copy_(plane)
        place.adapter.up.data.copy_(plane.T @ (turn - torch.eye(2)))
    assert rule.penalty(model, 1).item() < 1e-7
    place.adapter.up.data.mul_(1.1)
    assert rule.penalty(model, 1).item() > 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_fresh_serial_lora_has_no_gradient_of_lambda_orthogonality(dtype):
    network = build(clip, dtype)
    inject(network.model, SerialLoRA(rank=3))
    LambdaOrthogonality().penalty(network.model, 1).backward()
    for parameter in network.model.parameters():
        assert parameter.grad is None or not parameter.grad.any()  # 0, not NaN


CASES = [
    (PEGOPenalty, LoRAGroup(rank=2, pairs=2)),
    (SORSAPenalty, LoRA(rank=2)),
    (SORSAPenalty, SORSA(rank=2)),
    (LambdaOrthogonality, SerialLoRA(rank=2)),
]


@pytest.mark.parametrize(("kind", "adapter"), CASES, ids=lambda case: getattr(case, "__name__", type(case).__name__))
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_heavier_penalty_is_smaller_after_training(kind, adapter, precision, tmp_path):
    after = {}
    for weight in (1e-9, 3.0):
        module = Toy(lr_scheduler=steady)
        rules = [kind(weight=weight)]
        if kind is LambdaOrthogonality:
            rules = [kind(weight=weight, threshold=0.0)]
        run = trainer(tmp_path, lora(adapter=adapter, rules=rules), max_epochs=8, precision=precision)
        run.fit(module, Data())
        tensors = [tensor for place in places(module.model) for tensor in place.adapter.parameters()]
        assert all(tensor.isfinite().all() for tensor in tensors)
        after[weight] = rules[0].penalty(module.model, 1).item() / weight
        logged = run.callback_metrics[f"penalty/{kind.__name__}"]
        assert 0 <= logged < float("inf")
    assert after[3.0] < after[1e-9]


@pytest.mark.parametrize("kind", [PEGOPenalty, SORSAPenalty, LambdaOrthogonality])
@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_that_is_not_above_zero_is_refused(kind, weight):
    with pytest.raises(ValueError, match=rf"^{kind.__name__}'s weight is {weight}; give a number above 0\.$"):
        kind(weight=weight)


@pytest.mark.parametrize("options", [{"threshold": -1.0}, {"slope": 0.0}])
def test_bad_thresholds_and_slopes_are_refused(options):
    with pytest.raises(ValueError, match=rf"^LambdaOrthogonality's {next(iter(options))} is .*; give a .*\.$"):
        LambdaOrthogonality(**options)


@pytest.mark.parametrize(
    ("rule", "adapter", "said"),
    [
        (PEGOPenalty(), LoRA(rank=2), "The rule PEGOPenalty is for adapters such as LoRAGroup, but the model has LoRA"),
        (LambdaOrthogonality(), LoRA(rank=2), "is for adapters such as SerialLoRA, but the model has LoRA"),
        (SORSAPenalty(), SerialLoRA(rank=2), "The rule SORSAPenalty is for .* but the model has SerialLoRA"),
        (SORSAPenalty(), LoRAXS(rank=2), "orthonormal, but LoRAXS trains neither: give another adapt.adapter"),
    ],
)
def test_an_adapter_that_a_penalty_is_not_for_is_refused(rule, adapter, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        trainer(tmp_path, lora(adapter=adapter, rules=[rule])).fit(Toy(), Data())


def test_sorsas_penalty_leaves_out_what_is_no_matrix():
    model, sites = adapted(clip, BlockLoRA(rank=4, blocks=2))
    assert len(SORSAPenalty().factors(model)) == len(sites)  # its ups are stacks of matrices
