"""Rules that change the gradients, or the factors between steps: LoRA-Pro, ALLoRA, ReSVD; and LoRA+ against PEFT's."""

import copy
import pickle

import peft
import pytest
import torch
from peft.optimizers import create_loraplus_optimizer
from torch import nn

from graft.adapters import SORSA, LoRA, LoRAGroup, SerialLoRA, inject
from graft.adapters.places import places
from graft.modules.optimizers import parameter_groups
from graft.rules import ALLoRA, LoRAPlus, LoRAPro, ReSVD
from graft.rules.lora_pro import nearest
from graft.rules.re_svd import refactored
from tests.adapters.networks import build, clip, segment_anything, shake, tiny_vit
from tests.modules.small import Data, Toy, lora, trainer


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def adapted(network, adapter):
    """A network whose adapter does something, and where each adapter is."""
    network = build(network)
    inject(network.model, adapter)
    shake(network.model)
    return network, list(places(network.model))


def loss(network):
    """One of which every output has a gradient of its own."""
    output = network.call(network.model)
    return (output * random(*output.shape, seed=5)).sum() + output.square().sum()


def true_gradients(network, sites):
    """dL/dW of each site's weight."""
    weights = {id(p.linear.weight): p.linear.weight for site in sites for p in site.projections.values()}
    for weight in weights.values():
        weight.requires_grad_(True)
    found = dict(zip(weights, torch.autograd.grad(loss(network), list(weights.values())), strict=True))
    for weight in weights.values():
        weight.requires_grad_(False)
    parts = [next(iter(site.projections.values())) for site in sites]
    return [found[id(p.linear.weight)][slice(None) if p.rows is None else p.rows] for p in parts]


def moved(down, up, of_down, of_up, scale):
    """How the weight moves when the factors move by their gradients."""
    return scale * (up @ of_down + of_up @ down)


@pytest.mark.parametrize("case", ["any", "no up", "an up of rank 1"])
def test_lora_pro_solves_the_least_squares_problem(case):
    scale, down, up, full = 1.5, random(3, 9), random(7, 3, seed=1), random(7, 9, seed=2)
    up *= {"any": 1.0, "no up": 0.0, "an up of rank 1": torch.tensor([1.0, 0.0, 0.0])}[case]
    of_down, of_up = scale * up.T @ full, scale * full @ down.T
    mine = nearest(down, up, of_down, of_up, scale)
    # Independently: of all pairs whose step is nearest to the full one, the pair nearest to LoRA's own gradients.
    eye_out, eye_in = torch.eye(7, dtype=torch.float64), torch.eye(9, dtype=torch.float64)
    design = scale * torch.cat([torch.kron(up, eye_in), torch.kron(eye_out, down.T.contiguous())], dim=1)
    rest = (full - moved(down, up, of_down, of_up, scale)).flatten()
    found = torch.linalg.lstsq(design, rest, driver="gelsd").solution
    assert torch.allclose(mine[0], of_down + found[:27].view(3, 9), atol=1e-10)
    assert torch.allclose(mine[1], of_up + found[27:].view(7, 3), atol=1e-10)
    lora_error = (moved(down, up, of_down, of_up, scale) - full).norm()
    assert (moved(down, up, *mine, scale) - full).norm() < 0.9 * lora_error
    if case == "no up":  # the paper's first step
        assert not mine[0].any()
        assert torch.allclose(mine[1], of_up @ torch.linalg.inv(down @ down.T) / scale**2)


@pytest.mark.parametrize("network", [segment_anything, tiny_vit, clip])
def test_lora_pro_is_nearer_to_the_full_gradient_than_lora(network):
    network, sites = adapted(network, LoRA(rank=3, alpha=6))
    full = true_gradients(network, sites)
    loss(network).backward()
    before = [(site.adapter.down.grad.clone(), site.adapter.up.grad.clone()) for site in sites]
    LoRAPro().before_step(network.model, 1)
    for site, gradient, pair in zip(sites, full, before, strict=True):
        down, up = site.adapter.down.detach(), site.adapter.up.detach()
        assert torch.allclose(pair[0], 2 * up.T @ gradient)  # the two are of one loss
        error = (moved(down, up, site.adapter.down.grad, site.adapter.up.grad, 2) - gradient).norm()
        outside = lambda basis: torch.eye(len(basis)) - basis @ torch.linalg.pinv(basis)  # noqa: E731
        assert error == pytest.approx((outside(up) @ gradient @ outside(down.T)).norm().item(), rel=1e-6)
        assert error < (moved(down, up, *pair, 2) - gradient).norm()


def test_lora_pro_decomposes_all_layers_of_a_shape_at_once(monkeypatch):
    """With the gradients that one layer after the other gets."""
    network = build(clip)
    inject(network.model, LoRA(rank=3, alpha=6), targets=["q", "v", "fc1", "fc2"])
    shake(network.model)
    loss(network).backward()
    adapters = [site.adapter for site in places(network.model)]
    adapters[1].down.grad = None  # one that is passed over
    expected = {
        a: nearest(a.down.detach(), a.up.detach(), a.down.grad, a.up.grad, 2)
        for a in adapters
        if a.down.grad is not None
    }
    shapes, eigh = [], torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda gram: shapes.append(tuple(gram.shape)) or eigh(gram))
    LoRAPro().before_step(network.model, 1)
    assert shapes == [(2, 7, 3, 3), (2, 4, 3, 3), (2, 4, 3, 3)]  # of A and B; q and v, fc1, fc2
    for adapter, (of_down, of_up) in expected.items():
        assert torch.allclose(adapter.down.grad, of_down, atol=1e-12 * of_down.abs().max().item())
        assert torch.allclose(adapter.up.grad, of_up, atol=1e-12 * of_up.abs().max().item())
    assert adapters[1].down.grad is None


def test_lora_pro_in_single_precision():
    scale, down, up, full = 2.0, random(8, 40), 1e-3 * random(30, 8, seed=1), random(30, 40, seed=2)
    exact = nearest(down, up, scale * up.T @ full, scale * full @ down.T, scale)
    single = nearest(*(t.float() for t in (down, up, scale * up.T @ full, scale * full @ down.T)), scale)
    for one, other in zip(single, exact, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() < 1e-4 * other.norm()


@pytest.mark.parametrize("network", [segment_anything, tiny_vit, clip])
@pytest.mark.parametrize("adapter", [LoRA(rank=3, alpha=6), LoRAGroup(rank=2, pairs=2), SORSA(rank=3)])
def test_allora_scales_the_rows_of_the_updates_gradient_alone(network, adapter):
    """Gradients of all layers follow from the true dL/dW: so what is passed back to x is not scaled."""
    network, sites = adapted(network, adapter)
    before, full = network.call(network.model), true_gradients(network, sites)
    eta = 1.7
    ALLoRA(eta).prepare(network.model)
    assert torch.allclose(network.call(network.model), before, atol=1e-12)
    loss(network).backward()
    for site, gradient in zip(sites, full, strict=True):
        down, up = site.adapter.update()
        dense = (up @ down).detach()
        c = 1 / torch.sqrt(torch.tensor([row.norm() for row in dense]) + 1 / eta**2)
        assert c.max() > 1.01 * c.min()
        owned = list(site.adapter.parameters())
        expected = torch.autograd.grad((up @ down * (c[:, None] * gradient)).sum(), owned)
        for parameter, value in zip(owned, expected, strict=True):
            assert torch.allclose(parameter.grad, value, atol=1e-9 * value.abs().max().item())


def test_alloras_layer_pickles_copies_compiles_and_runs_under_autocast():
    network = build(segment_anything, torch.float32)
    inject(network.model, LoRA(rank=2))
    shake(network.model)
    ALLoRA(eta=2.0).prepare(network.model)
    block = network.model.blocks[1].attn
    x = torch.randn(1, 4, 4, 32, generator=torch.Generator().manual_seed(1))

    def gradients(block, half=False):
        for parameter in block.parameters():
            parameter.grad = None
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            output = block(x)
        output.float().square().sum().backward()
        return [p.grad for p in block.parameters() if p.requires_grad]

    exact = gradients(block)
    for other in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        assert all(map(torch.equal, gradients(other), exact))
    compiled = gradients(torch.compile(block, backend="aot_eager", fullgraph=True))
    assert all(torch.allclose(one, other, rtol=1e-4, atol=1e-4) for one, other in zip(compiled, exact, strict=True))
    for rough, gradient in zip(gradients(block, half=True), exact, strict=True):
        assert rough.dtype == torch.float32
        assert (rough - gradient).norm() < 0.05 * gradient.norm()


@pytest.mark.parametrize("rule", [LoRAPro(), ReSVD(every=1)], ids=lambda rule: type(rule).__name__)
def test_half_precision_factors_stay_so(rule):
    network = build(clip, torch.bfloat16)
    inject(network.model, LoRA(rank=3))
    shake(network.model)
    before = network.call(network.model)
    before.square().sum().backward()
    rule.with_optimizer(torch.optim.SGD([p for p in network.model.parameters() if p.requires_grad]))
    rule.before_step(network.model, 1)
    rule.after_step(network.model, 1)
    for place in places(network.model):
        for factor in place.adapter.parameters():
            assert factor.dtype == factor.grad.dtype == torch.bfloat16
            assert factor.isfinite().all()
            assert factor.grad.isfinite().all()
    assert (network.call(network.model) - before).abs().max() < 0.05 * before.abs().max()


def test_re_svd_keeps_the_product_and_makes_the_down_orthonormal():
    down, up = random(3, 9), random(7, 3, seed=1)
    new_down, new_up = refactored(down, up)
    assert torch.allclose(new_up @ new_down, up @ down, atol=1e-12)
    assert torch.allclose(new_down @ new_down.T, torch.eye(3, dtype=torch.float64), atol=1e-12)
    values = torch.linalg.svdvals(up @ down)[:3]
    assert torch.allclose(new_up.norm(dim=0), values)  # the columns of U S
    assert torch.allclose(new_up.T @ new_up, torch.diag(values**2), atol=1e-12)


def test_re_svd_acts_every_few_steps_and_forgets_the_moments():
    network, sites = adapted(clip, LoRA(rank=3, alpha=6))
    last = sites[-1].adapter
    nn.init.zeros_(last.up)
    kept = last.down.detach().clone()
    rule, parameters = ReSVD(every=4), [p for p in network.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=0.0, weight_decay=0.0)
    rule.with_optimizer(optimizer)
    loss(network).backward()
    optimizer.step()
    before = network.call(network.model)
    first = sites[0].adapter.down.detach().clone()
    for step in (1, 2, 3):
        rule.after_step(network.model, step)
    assert torch.equal(sites[0].adapter.down, first)
    rule.after_step(network.model, 4)
    assert not torch.equal(sites[0].adapter.down, first)
    assert torch.allclose(network.call(network.model), before, atol=1e-10)
    for site in sites[:-1]:
        assert torch.allclose(site.adapter.down @ site.adapter.down.T, torch.eye(3, dtype=torch.float64), atol=1e-12)
    assert torch.equal(last.down, kept)  # its product is zero: all directions are alike
    assert set(optimizer.state) == {last.down, last.up}


def test_re_svd_trains_on(tmp_path):
    module = Toy()
    trainer(tmp_path, lora(rules=[ReSVD(every=2)]), max_epochs=3).fit(module, Data())  # 6 steps: the last ends in one
    for site in places(module.model):
        down = site.adapter.down.detach()
        assert torch.allclose(down @ down.T, torch.eye(2), atol=1e-5)
        assert site.adapter.up.any()


def test_lora_plus_gives_the_rates_of_pefts_optimizer():
    network = build(clip)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "k_proj", "v_proj", "out_proj"])
    theirs = peft.inject_adapter_in_model(config, copy.deepcopy(network.model))
    made = create_loraplus_optimizer(
        theirs, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=16.0, loraplus_weight_decay=0.01
    )
    names = {parameter: name for name, parameter in theirs.named_parameters()}
    wanted = {names[p]: (group["lr"], group["weight_decay"]) for group in made.param_groups for p in group["params"]}
    inject(network.model, LoRA(rank=4))
    names = {parameter: name for name, parameter in network.model.named_parameters()}
    groups = parameter_groups(network.model, [LoRAPlus(ratio=16.0)])
    mine = {names[p]: (1e-3 * group.get("lr_ratio", 1.0), 0.01) for group in groups for p in group["params"]}
    leaf = {"adapter.down": "lora_A.default.weight", "adapter.up": "lora_B.default.weight"}
    for name, rate in mine.items():
        stem, end = name.rsplit(".", 2)[0], ".".join(name.rsplit(".", 2)[1:])
        assert wanted.pop(f"{stem}.{leaf[end]}") == pytest.approx(rate)
    assert not wanted
    assert len({rate for rate, _ in mine.values()}) == 2


@pytest.mark.parametrize("eta", [0.0, -1.0, float("nan"), float("inf")])
def test_an_eta_that_is_not_above_zero_is_refused(eta):
    with pytest.raises(ValueError, match=r"^ALLoRA's eta is .*; give a number above 0\.$"):
        ALLoRA(eta)


def test_steps_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"^ReSVD's every is 0; give a whole number of steps, at least 1\.$"):
        ReSVD(every=0)


@pytest.mark.parametrize(
    ("rule", "suitable"), [(LoRAPro(), "such as LoRA"), (ALLoRA(), "such as .*LoRA"), (ReSVD(), "such as LoRA")]
)
def test_an_adapter_that_a_rule_is_not_for_is_refused(rule, suitable, tmp_path):
    adapt = lora(adapter=SerialLoRA(rank=2), rules=[rule])
    with pytest.raises(ValueError, match=rf"^The rule {type(rule).__name__} is for .*{suitable}.* has SerialLoRA"):
        trainer(tmp_path, adapt).fit(Toy(), Data())


def test_two_rules_for_the_gradients_are_refused():
    with pytest.raises(ValueError, match="LoRAPro and ALLoRA both decide the gradients: keep one"):
        lora(rules=[LoRAPro(), ALLoRA()])
