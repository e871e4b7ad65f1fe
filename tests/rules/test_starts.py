"""Starts: the fresh model stays what it was, files and checkpoints hold the start, and each is its paper's."""

import copy
import random
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import peft
import pytest
import torch
from lightning.pytorch import Callback

from graft.adapters import LoRA, LoRAXS, SerialLoRA, inject, load, merge, save
from graft.adapters.places import places
from graft.callbacks.rules import losses as batches
from graft.rules import FisherSVD, GradientSVD, LoRAGA, PiSSA
from graft.rules.gradients import over_batches
from graft.rules.start import leading
from tests.adapters.networks import build, clip, segment_anything, shake, tiny_vit
from tests.modules.small import Data, Toy, batch, lora, trainer
from tests.rules.test_rules import steady

STARTS = [
    (PiSSA(), LoRA(rank=2, alpha=3)),
    (LoRAGA(batches=3), LoRA(rank=2, alpha=3)),
    (FisherSVD(batches=3), LoRA(rank=2, alpha=3)),
    (GradientSVD(batches=3), LoRAXS(rank=2, alpha=3)),
]
each_start = pytest.mark.parametrize(("rule", "adapter"), STARTS, ids=[type(rule).__name__ for rule, _ in STARTS])
on_lora = pytest.mark.parametrize(("rule", "adapter"), STARTS[:3], ids=[type(rule).__name__ for rule, _ in STARTS[:3]])
each_network = pytest.mark.parametrize("network", [segment_anything, tiny_vit, clip])


def losses(network):
    """Of batch after batch: another projection of the outputs each."""
    generator = torch.Generator().manual_seed(3)
    while True:
        output = network.call(network.model)
        noise = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output.dtype)
        yield (output * noise).square().sum()


def started(network, rule, adapter):
    """A network with the adapter after its start, the places, what it computed, and the untouched one."""
    network = build(network)
    untouched = copy.deepcopy(network)
    inject(network.model, adapter)
    rule.prepare(network.model)
    rule.start(network.model, losses(network))
    return network, list(places(network.model)), untouched


def gradients(network, count, of=torch.clone):
    """By name of the layer the mean over batches of `of`(dL/dW), from backward passes of a network of its own."""
    network = copy.deepcopy(network)
    source = losses(network)
    total = {}
    network.model.requires_grad_(True)
    for _ in range(count):
        network.model.zero_grad()
        next(source).backward()
        for name, parameter in network.model.named_parameters():
            if parameter.grad is not None:
                total[name] = total.get(name, 0) + of(parameter.grad) / count
    return total


def part(place, untouched, tensors):
    """What belongs to a place, of tensors by the names of layers."""
    (projection,) = place.projections.values()
    name = f"{place.block}.{projection.child}.weight"
    tensor = tensors[name]
    return tensor if projection.rows is None else tensor[projection.rows]


@each_start
@each_network
def test_a_started_model_is_what_it_was_and_merges(rule, adapter, network):
    network, sites, untouched = started(network, rule, adapter)
    before = untouched.call(untouched.model)
    assert (network.call(network.model) - before).abs().max() < 1e-10 * before.abs().max()
    assert not any(p.requires_grad for site in sites for q in site.projections.values() for p in [q.linear.weight])
    for _ in range(2):
        network.call(network.model).square().sum().backward()
    assert all(parameter.grad.any() for site in sites for parameter in site.adapter.parameters())
    shake(network.model)
    adapted = network.call(network.model)
    assert (adapted - before).abs().max() > 1e-3
    merge(network.model)
    assert (network.call(network.model) - adapted).abs().max() < 1e-9 * adapted.abs().max()


@each_start
def test_a_file_holds_the_start(rule, adapter, tmp_path):
    network, _, untouched = started(segment_anything, rule, adapter)
    shake(network.model)
    save(network.model, tmp_path / "adapter.safetensors")
    load(untouched.model, tmp_path / "adapter.safetensors")
    assert torch.equal(untouched.call(untouched.model), network.call(network.model))
    copied = copy.deepcopy(network.model)
    assert torch.equal(network.call(copied), network.call(network.model))


@each_start
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_resumed_run_goes_on_and_a_checkpoint_alone_gives_the_model_back(rule, adapter, accumulate, tmp_path):
    def fit(epochs, path=None):
        module = Toy(lr_scheduler=steady)
        run = trainer(
            tmp_path, lora(adapter=adapter, rules=[rule]), max_epochs=epochs, accumulate_grad_batches=accumulate
        )
        torch.manual_seed(7)
        run.fit(module, Data(), ckpt_path=path, weights_only=True)
        return module, run

    half, run = fit(2)
    run.save_checkpoint(tmp_path / "half.ckpt")
    whole, _ = fit(4)
    resumed, _ = fit(4, tmp_path / "half.ckpt")
    state, again = whole.state_dict(), resumed.state_dict()
    assert state.keys() == again.keys()
    assert all(torch.equal(state[name], again[name]) for name in state)
    kept = {"start_down", "start_up"} if isinstance(adapter, LoRA) else {"down", "up"}
    assert kept <= {name.rpartition(".")[2] for name in state}
    loaded = Toy.load_from_checkpoint(tmp_path / "half.ckpt", weights_only=True)
    images = batch()["image"]
    assert torch.equal(loaded.eval().model(images), half.eval().model(images))
    assert not torch.equal(half.model(images), whole.eval().model(images))


@each_start
def test_a_start_in_half_precision_trains(rule, adapter, tmp_path):
    module = Toy()
    trainer(tmp_path, lora(adapter=adapter, rules=[rule]), precision="bf16-mixed").fit(module, Data())
    for place in places(module.model):
        assert all(tensor.isfinite().all() for tensor in place.adapter.state_dict().values())


@each_start
def test_a_start_of_half_precision_weights(rule, adapter):
    network = build(clip, torch.bfloat16)
    before = network.call(network.model)
    inject(network.model, adapter)
    rule.start(network.model, losses(network))
    assert (network.call(network.model) - before).abs().max() < 0.05 * before.abs().max()
    for place in places(network.model):
        assert {tensor.dtype for tensor in place.adapter.state_dict().values()} == {torch.bfloat16}


@each_network
def test_pissa_starts_where_pefts_does(network):
    network = build(network, torch.float32)
    inject(network.model, LoRA(rank=3, alpha=6))
    PiSSA().start(network.model, iter(()))
    for place in places(network.model):
        layer = torch.nn.Linear(place.weight.shape[1], place.weight.shape[0], bias=False)
        layer.weight.data = place.weight.detach().clone()
        config = peft.LoraConfig(r=3, lora_alpha=6, target_modules=["0"], init_lora_weights="pissa")
        theirs = peft.inject_adapter_in_model(config, torch.nn.Sequential(layer))[0]
        down, up = theirs.lora_A.default.weight, theirs.lora_B.default.weight
        sign = (place.adapter.down * down).sum(1).sign()
        assert torch.allclose(place.adapter.down, sign[:, None] * down, atol=1e-5)
        assert torch.allclose(place.adapter.up, sign * up, atol=1e-5)
        frozen = place.weight - place.adapter.start_up @ place.adapter.start_down
        assert torch.allclose(frozen, theirs.base_layer.weight, atol=1e-5)


@each_network
@pytest.mark.parametrize("kept", [torch.clone, torch.square])
def test_the_gradients_are_the_mean_over_batches(network, kept):
    network = build(network)
    expected = gradients(network, 3, kept)
    untouched = copy.deepcopy(network)
    inject(network.model, LoRA(rank=3))
    sites = list(places(network.model))
    for place, mean in zip(sites, over_batches(sites, losses(network), 3, kept), strict=True):
        assert torch.allclose(mean, part(place, untouched, expected), rtol=1e-9)
    inject(untouched.model, SerialLoRA(rank=3))
    sites = list(places(untouched.model))
    for place, mean in zip(sites, over_batches(sites, losses(untouched), 3, kept), strict=True):
        assert mean.shape == place.weight.shape  # q, k and v stacked
    assert not any(p.requires_grad for name, p in network.model.named_parameters() if "adapter" not in name)


@each_network
def test_lora_ga_takes_the_singular_vectors_that_pefts_does(network):
    """PEFT's B is multiplied by the singular values too, so that theirs is divided by them."""
    network = build(network)
    inject(network.model, LoRA(rank=3, alpha=6))
    sites = list(places(network.model))
    layers = {id(p.linear): p.linear for place in sites for p in place.projections.values()}
    wanted = {key: spread(linear.weight.shape) for key, linear in layers.items()}
    loss = sum((linear.weight.requires_grad_(True) * wanted[key]).sum() for key, linear in layers.items())
    LoRAGA(batches=1, gamma=9.0).start(network.model, iter([loss]))
    for place in sites:
        (projection,) = place.projections.values()
        gradient = wanted[id(projection.linear)]
        gradient = gradient if projection.rows is None else gradient[projection.rows]
        layer = torch.nn.Linear(*reversed(gradient.shape), bias=False)
        layer._peft_loraga_grad = gradient
        options = peft.LoraGAConfig(direction="ArB2r", scale="unit")
        config = peft.LoraConfig(
            r=3, lora_alpha=6, target_modules=["0"], init_lora_weights="lora_ga", lora_ga_config=options
        )
        theirs = peft.inject_adapter_in_model(config, torch.nn.Sequential(layer))[0]
        down, up = theirs.lora_A.default.weight.double(), theirs.lora_B.default.weight.double()
        up, c = up / up.norm(dim=0), len(gradient) ** 0.25 / 3
        mine = place.adapter
        assert torch.allclose(mine.down, (mine.down * down).sum(1).sign()[:, None] * c * down, atol=1e-4)
        assert torch.allclose(mine.up, (mine.up * up).sum(0).sign() * c * up, atol=1e-4)


def spread(shape):
    """A matrix whose singular values, and those of its thirds, lie far apart, so that its vectors are well known."""
    generator = torch.Generator().manual_seed(4)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    return noise * 0.5 ** torch.arange(shape[1], dtype=torch.float64)


def test_lora_gas_first_step_is_of_the_gradients_best_approximation():
    """B's step then A's: G A^T A + B B^T G, which holds the 2r largest singular triples of G, each once."""
    _, sites, untouched = started(clip, LoRAGA(batches=1, gamma=1.0), LoRA(rank=3))
    means = gradients(untouched, 1)
    for place in sites:
        gradient, c = part(place, untouched, means), len(place.weight) ** 0.25
        down, up = place.adapter.down / c, place.adapter.up / c
        left, values, right = torch.linalg.svd(gradient)
        best = left[:, :6] * values[:6] @ right[:6]
        assert torch.allclose(gradient @ down.T @ down + up @ up.T @ gradient, best, atol=1e-8 * values[0].item())


@each_network
def test_fisher_svd_is_the_best_approximation_of_the_weighted_weight(network):
    network, sites, untouched = started(network, FisherSVD(batches=2), LoRA(rank=3, alpha=6))
    fishers = gradients(untouched, 2, torch.square)
    for place in sites:
        q = part(place, untouched, fishers).sum(1).sqrt()
        pair = 2 * place.adapter.up @ place.adapter.down
        left, values, right = torch.linalg.svd(torch.diag(q) @ place.weight)
        assert torch.allclose(torch.diag(q) @ pair, left[:, :3] * values[:3] @ right[:3], atol=1e-9 * values[0].item())
        norms = place.adapter.down.norm(dim=1) ** 2 * 2
        assert torch.allclose(norms, values[:3] / q.mean())


def test_fisher_svd_is_pissa_where_all_rows_matter_alike():
    networks = [build(clip), build(clip)]
    for network, rule in zip(networks, [FisherSVD(batches=1), PiSSA()], strict=True):
        inject(network.model, LoRA(rank=3, alpha=6))
        weights = {p.linear.weight for place in places(network.model) for p in place.projections.values()}
        rule.start(network.model, iter([sum(weight.requires_grad_(True).sum() for weight in weights)]))
    for one, other in zip(places(networks[0].model), places(networks[1].model), strict=True):
        assert torch.allclose(one.adapter.down, other.adapter.down)
        assert torch.allclose(one.adapter.up, other.adapter.up)


@each_network
@pytest.mark.parametrize("lr", [0.0, 0.01])
def test_gradient_svd_trains_between_singular_vectors_of_the_first_signs(network, lr):
    network, sites, untouched = started(network, GradientSVD(batches=2, lr=lr), LoRAXS(rank=3, alpha=6))
    means = gradients(untouched, 2)
    for place in sites:
        step = -part(place, untouched, means).sign()
        left, values, right = torch.linalg.svd(step)
        basis = place.adapter.up @ torch.diag(values[:3]) @ place.adapter.down
        assert torch.allclose(basis, left[:, :3] * values[:3] @ right[:3], atol=1e-10)
        assert torch.allclose(place.adapter.fold(place.weight), place.weight + lr * basis, atol=1e-12)
        assert not isinstance(place.adapter.up, torch.nn.Parameter)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: LoRAGA(batches=0), "LoRAGA's batches is 0; give a whole number of at least 1."),
        (lambda: FisherSVD(batches=-1), "FisherSVD's batches is -1; give a whole number of at least 1."),
        (lambda: GradientSVD(batches=0), "GradientSVD's batches is 0; give a whole number of at least 1."),
        (lambda: GradientSVD(lr=-1.0), "GradientSVD's lr is -1.0; give a number of at least 0."),
        (lambda: LoRAGA(gamma=0.0), "LoRAGA's gamma is 0.0; give a number above 0."),
        (lambda: lora(rules=[PiSSA(), LoRAGA()]), "The rules PiSSA and LoRAGA both decide the start: keep one."),
    ],
)
def test_bad_options_are_refused(make, said):
    with pytest.raises(ValueError, match="^" + said.replace(".", r"\.") + "$"):
        make()


@pytest.mark.parametrize("rule", [rule for rule, _ in STARTS], ids=lambda rule: type(rule).__name__)
def test_an_adapter_that_a_start_is_not_for_is_refused(rule, tmp_path):
    adapt = lora(adapter=SerialLoRA(rank=2), rules=[rule])
    with pytest.raises(ValueError, match=rf"^The rule {type(rule).__name__} is for adapters such as .* has SerialLoRA"):
        trainer(tmp_path, adapt).fit(Toy(), Data())


def test_more_singular_vectors_than_there_are_are_refused(tmp_path):
    adapt = lora(adapter=LoRA(rank=9), rules=[LoRAGA()])
    with pytest.raises(ValueError, match=r"18 singular vectors for rank 9, but a 16 x 16 .* has 16: choose .* 8\."):
        trainer(tmp_path, adapt).fit(Toy(), Data())


def test_a_layer_that_the_loss_does_not_reach_is_refused_by_name():
    network = build(clip)
    inject(network.model, LoRA(rank=2))
    sites = list(places(network.model))
    image = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    of_images = (network.model.vision_model(image).last_hidden_state.sum() for _ in range(1))  # when it is asked for
    with pytest.raises(ValueError, match=r"does not depend on the weights of text_model\.encoder\.layers\.0\.self"):
        over_batches(sites, of_images, 1)


def test_a_gradient_that_is_not_finite_is_refused_by_name():
    network = build(clip)
    inject(network.model, LoRA(rank=2))
    sites = list(places(network.model))
    broken = (loss * float("inf") for loss in losses(network))
    with pytest.raises(
        ValueError, match=r"weights of text_model\.encoder\.layers\.0\.self.* NaN or .* --trainer\.prec"
    ):
        over_batches(sites, broken, 1)


class Touched(Callback):
    """What a start could leave behind, as the first batch finds it."""

    def on_train_batch_start(self, trainer, module, batch, index):
        if trainer.global_step == 0:
            self.drawn = random.random(), np.random.rand(), torch.rand(3).tolist()
            norm = module.model.head[0]
            self.buffers = {name: buffer.clone() for name, buffer in norm.named_buffers()}
            self.gradients = [p for p in module.parameters() if p.grad is not None]
            self.asking = [p for p in module.model.attention.qkv.parameters(recurse=False) if p.requires_grad]
            self.logs = "log" in vars(module)


@pytest.mark.parametrize("rule", [rule for rule, _ in STARTS[1:]], ids=lambda rule: type(rule).__name__)
def test_a_start_leaves_nothing_behind_but_the_adapter(rule, tmp_path):
    adapter = {type(rule): adapter for rule, adapter in STARTS}[type(rule)]
    found = []
    for rules in ([], [rule]):
        touched = Touched()
        torch.manual_seed(5)
        random.seed(5)
        np.random.seed(5)
        trainer(tmp_path, lora(adapter=adapter, rules=rules), touched).fit(Toy(), Data(shuffle=True))
        assert not touched.gradients + touched.asking
        assert not touched.logs
        found.append(touched)
    assert found[0].drawn == found[1].drawn
    assert found[0].buffers.keys() == {"running_mean", "running_var", "num_batches_tracked"}
    assert all(torch.equal(value, found[1].buffers[name]) for name, value in found[0].buffers.items())


def test_losses_that_train_in_float16_are_computed_in_float32():
    """Nothing scales them: of gradients this small float16 would keep nothing."""
    module = Toy()
    module.training_step = lambda batch, index: 1e-6 * (module.model(batch["image"]) - 1).square().mean()
    weight = module.model.attention.proj.weight
    module.requires_grad_(True).eval()

    def gradient(precision, context):
        plugin = SimpleNamespace(precision=precision, train_step_context=context)
        strategy = SimpleNamespace(batch_to_device=lambda batch, device: batch)
        source = batches(
            SimpleNamespace(precision_plugin=plugin, strategy=strategy, train_dataloader=[batch()]), module
        )
        found = torch.autograd.grad(next(source), weight)[0]
        source.close()
        return found

    def half():
        return torch.autocast("cpu", torch.float16)

    exact = gradient("32-true", nullcontext)
    assert exact.any()
    assert torch.equal(gradient("16-mixed", half), exact)
    assert not torch.equal(gradient("bf16-mixed", lambda: torch.autocast("cpu", torch.bfloat16)), exact)
    with half():  # what would be lost
        lost = torch.autograd.grad(module.training_step(batch(), 0), weight)[0]
    assert (lost - exact).norm() > 0.5 * exact.norm()


def test_no_two_gradients_are_on_the_device_at_once():
    network = build(clip)
    inject(network.model, LoRA(rank=2))
    sites = list(places(network.model))
    weights = [p.linear.weight for site in sites for p in site.projections.values()]
    most = 0

    def count(gradient):
        nonlocal most
        most = max(most, sum(weight.grad is not None for weight in weights))
        return gradient

    means = over_batches(sites, losses(network), 2, count)
    assert most == 1
    assert not any(weight.grad is not None or weight._post_accumulate_grad_hooks for weight in weights)
    assert [mean.shape for mean in means] == [site.weight.shape for site in sites]


@pytest.mark.parametrize("times", [1, 2])
def test_leading_triples_are_those_of_the_matrix(times):
    network = build(clip)
    inject(network.model, LoRA(rank=3))
    sites = list(places(network.model))
    matrices = [spread(site.weight.shape) for site in sites]
    for matrix, (left, values, right) in zip(matrices, leading(sites, matrices, times), strict=True):
        best = torch.linalg.svd(matrix)
        n = 3 * times
        assert torch.allclose(values, best.S[:n])
        assert torch.allclose(left * values @ right, best.U[:, :n] * best.S[:n] @ best.Vh[:n])
        assert left.is_contiguous()  # else a broadcast refuses it
