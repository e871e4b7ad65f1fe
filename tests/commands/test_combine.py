"""Combined adapters do what their formulas say: against PEFT, numpy, and the adapters themselves."""

import copy

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from graft.adapters import (
    SORSA,
    BlockLoRA,
    DoRA,
    GatedLoRA,
    GatedSerialLoRA,
    LoRA,
    LoRAGroup,
    OrthogonalLoRA,
    SerialLoRA,
    SerialSVD,
    WaRA,
    inject,
    load,
    save,
)
from graft.adapters.places import places
from graft.adapters.storage import read
from tests.adapters.networks import build, clip, mask_decoder, segment_anything, shake, tiny_vit
from tests.e2e import graft, refused

SERIAL = [SerialLoRA(rank=2, alpha=3), SerialSVD(rank=3), GatedSerialLoRA(rank=2, random_gate=True)]
LOW_RANK = [
    LoRA(rank=2, alpha=3),
    GatedLoRA(rank=3, alpha=1),
    LoRAGroup(rank=2, pairs=2),
    BlockLoRA(4),
    WaRA(rank=2),
    SORSA(2),
]
TARGETS = ("q", "k", "v", "o")
NAMES = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "out_proj"}
ONES = [
    ["--method=sum"],
    ["--method=svd", "--rank=32"],
    ["--method=lego"],
    ["--method=orthogonal"],
    ["--method=ties", "--rank=32", "--density=1"],
]
"""What leaves one adapter as it is; `reversible` has tests of its own."""


class Made:
    """A bare network, adapters of it in files, and the models that hold them."""

    def __init__(self, folder, make=segment_anything):
        self.folder, self.network, self.models = folder, build(make), {}
        self.beside = None

    def add(self, name, adapter, seed, targets=None):
        model = copy.deepcopy(self.network.model)
        inject(model, adapter, targets)
        for part, parameter in model.named_parameters():
            if self.beside and part.startswith(self.beside):
                parameter.requires_grad_(True)
        shake(model, seed)
        save(model, self.folder / f"{name}.safetensors")
        self.models[name] = model
        return str(self.folder / f"{name}.safetensors")

    def combine(self, *args, output="out"):
        graft("combine", *args, "--output", self.folder / f"{output}.safetensors")
        return self.load(output)

    def load(self, name):
        model = copy.deepcopy(self.network.model)
        load(model, self.folder / f"{name}.safetensors")
        return model

    def output(self, model):
        with torch.no_grad():
            return self.network.call(model)


def updates(model):
    """By place, what the adapters add to the weights."""
    with torch.no_grad():
        return {place.name: place.adapter.fold(place.weight) - place.weight for place in places(model)}


def near(one, other, tolerance=1e-10):
    assert one.keys() == other.keys()
    for name in one:
        assert (one[name] - other[name]).abs().max() <= tolerance * max(1, other[name].abs().max()), name


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path)


# one adapter alone


@pytest.mark.parametrize("method", ONES, ids=" ".join)
@pytest.mark.parametrize("adapter", [*SERIAL, *LOW_RANK], ids=lambda adapter: type(adapter).__name__)
def test_one_adapter_alone_is_the_same_function(made, adapter, method):
    path = made.add("a", adapter, 1)
    model, expected = made.combine(path, *method), made.output(made.models["a"])
    assert (made.output(model) - expected).abs().max() < 1e-10 * expected.abs().max()


# the sum


@pytest.mark.parametrize("make", [segment_anything, clip, tiny_vit, mask_decoder], ids=lambda make: make.__name__)
@pytest.mark.parametrize("adapters", [SERIAL, LOW_RANK], ids=["input", "low-rank"])
def test_the_sum_is_exact_in_any_order(tmp_path, make, adapters):
    made = Made(tmp_path, make)
    paths = [made.add(str(i), adapter, i, ("q", "k", "v")) for i, adapter in enumerate(adapters)]
    parts = [updates(model) for model in made.models.values()]
    weights = [0.3, -0.7, 1.1, 0.5, 2.0, 0.9][: len(paths)]
    expected = {name: sum(w * part[name] for w, part in zip(weights, parts, strict=True)) for name in parts[0]}
    near(updates(made.combine(*paths, f"--weights={weights}")), expected)
    near(updates(made.combine(*paths[::-1], f"--weights={weights[::-1]}")), expected)
    near(updates(made.combine(*paths)), {name: sum(part[name] for part in parts) for name in parts[0]})


def test_serial_loras_become_a_serial_lora_of_all_their_ranks(made):
    paths = [made.add("a", SerialLoRA(rank=2, alpha=6), 1), made.add("b", SerialLoRA(rank=3), 2)]
    model = made.combine(*paths)
    for place, one, two in zip(places(model), places(made.models["a"]), places(made.models["b"]), strict=True):
        assert type(place.adapter) is SerialLoRA
        assert place.adapter.scale == 1
        assert torch.equal(place.adapter.down, torch.cat([one.adapter.down, two.adapter.down]))
        assert torch.equal(place.adapter.up, torch.cat([3 * one.adapter.up, two.adapter.up], dim=1))


def test_a_sum_of_more_ranks_than_a_layer_has_is_still_exact(made):
    paths = [made.add(str(seed), LoRA(rank=20), seed) for seed in range(2)]
    model = made.combine(*paths)
    parts = [updates(one) for one in made.models.values()]
    near(updates(model), {name: parts[0][name] + parts[1][name] for name in parts[0]})
    assert {place.adapter.rank for place in places(model)} == {32}


def test_what_a_rank_leaves_out_is_said(made, capsys):
    paths = [made.add(str(seed), LoRA(rank=4), seed) for seed in range(3)]
    capsys.readouterr()
    found = updates(made.combine(*paths, "--method=svd", "--rank=5"))
    said = " ".join(capsys.readouterr().out.split())
    parts = [updates(one) for one in made.models.values()]
    whole = {name: sum(part[name] for part in parts) for name in found}
    left = {name: float((whole[name] - found[name]).norm() / whole[name].norm()) for name in found}
    share = sum((whole[name] - found[name]).square().sum() for name in found)
    share = float((share / sum(one.square().sum() for one in whole.values())).sqrt())
    assert f"leaves out {share:.1%} of the updates' norm, at most {max(left.values()):.1%} (at blocks." in said


# against PEFT, on separate projections


def peft_update(made, adapters, kind, weights, **options):
    """PEFT's combination of the same LoRAs, by the names of our places."""
    model = None
    for name, (rank, alpha) in adapters.items():
        config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(NAMES.values()))
        if model is None:
            model = peft.get_peft_model(copy.deepcopy(made.network.model), config, name)
        else:
            model.add_adapter(name, config)
    layers = {
        place.name: model.base_model.model.get_submodule(f"{place.block}.{NAMES[place.targets[0]]}")
        for place in places(next(iter(made.models.values())))
    }
    for name in adapters:
        for place in places(made.models[name]):
            layers[place.name].lora_A[name].weight.data.copy_(place.adapter.down)
            layers[place.name].lora_B[name].weight.data.copy_(place.adapter.up)
    model.to(torch.float64)
    model.base_model.add_weighted_adapter(list(adapters), weights, "all", combination_type=kind, **options)
    return {name: layer.get_delta_weight("all").detach() for name, layer in layers.items()}


@pytest.mark.filterwarnings("ignore")  # PEFT's: of transformers' new names, and that a density of 1 prunes nothing
@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [0.25, 1.5, 0.5]], ids=str)
@pytest.mark.parametrize(
    ("method", "kind", "ours", "theirs"),
    [
        ("sum", "cat", [], {}),
        ("svd", "svd", ["--rank=3"], {"svd_rank": 3}),
        ("svd", "svd", [], {}),
        ("ties", "ties_svd", ["--rank=5", "--density=0.3"], {"svd_rank": 5, "density": 0.3}),
        ("ties", "ties_svd", ["--rank=32", "--density=1"], {"svd_rank": 32, "density": 1.0}),
        ("ties", "ties_svd", [], {"density": 0.2}),
    ],
)
def test_equals_pefts(tmp_path, method, kind, ours, theirs, weights):
    made = Made(tmp_path, clip)
    adapters = {"one": (2, 6), "two": (4, 4), "three": (3, 1)}
    paths = [made.add(name, LoRA(*given), seed, TARGETS) for seed, (name, given) in enumerate(adapters.items())]
    found = updates(made.combine(*paths, f"--method={method}", f"--weights={weights}", *ours))
    near(found, peft_update(made, adapters, kind, weights, **theirs), 1e-6)  # PEFT's weights are float32


# LoRA-LEGO, against numpy


FACTORS = [0.05, 8.0, 1.5]


def test_lego_takes_means_of_units_that_are_alike(made):
    """Two adapters of the same directions: the clusters are known, and so are the means."""
    first = made.add("a", SerialLoRA(rank=3, alpha=6), 1)
    metadata, tensors = read(first)
    turned = {}
    for name, tensor in tensors.items():  # other scales and another order: only the angles are the same
        factors = torch.tensor(FACTORS, dtype=torch.float64)[[2, 0, 1]]
        turned[name] = tensor[[2, 0, 1]] * factors[:, None] if name.endswith("down") else tensor[:, [2, 0, 1]] * 0.7
    second = made.folder / "b.safetensors"
    save_file(turned, second, metadata)
    found = updates(made.combine(first, second, "--method=lego"))
    for name, place in {place.name: place for place in places(made.models["a"])}.items():
        down, up = place.adapter.down.detach().numpy(), 2 * place.adapter.up.detach().numpy()
        expected = np.zeros((down.shape[1], down.shape[1]))
        for k, factor in enumerate(FACTORS):
            units = [np.concatenate([down[k], up[:, k]]), np.concatenate([factor * down[k], 0.7 * up[:, k]])]
            mean = (units[0] + units[1]) / 2
            mean *= (np.abs(units[0]).max() + np.abs(units[1]).max()) / 2 / np.abs(mean).max()
            expected += np.outer(mean[len(down[k]) :], mean[: len(down[k])])
        weight = place.weight.detach().numpy()
        assert np.abs(found[name].numpy() - weight @ expected).max() < 1e-10


def test_lego_of_another_rank_is_scaled_for_the_number_of_units(made):
    paths = [made.add(str(seed), LoRA(rank=4), seed) for seed in range(3)]
    model = made.combine(*paths, "--method=lego", "--rank=12")  # each unit alone: the sum, times sqrt(4 / 12)
    parts = [updates(one) for one in made.models.values()]
    near(updates(model), {name: (4 / 12) ** 0.5 * sum(part[name] for part in parts) for name in parts[0]})
    assert {place.adapter.rank for place in places(made.combine(*paths, "--method=lego", "--rank=2"))} == {2}


# Orthogonal Adaptation


def test_orthogonal_ones_leave_each_others_subspace_alone(made):
    paths = [made.add(f"{c}", OrthogonalLoRA(rank=3, alpha=c + 1, concept=c), c) for c in (0, 2, 3)]
    model = made.combine(*paths, "--method=orthogonal")
    together = updates(model)
    for one in made.models.values():
        rows = {place.name: place.adapter.factors()[0] for place in places(one)}
        for name, alone in updates(one).items():
            read_by_it = rows[name].T @ rows[name]  # the projection on its own rows
            assert (together[name] @ read_by_it - alone).abs().max() < 1e-10
    assert not [key for key in read(made.folder / "out.safetensors")[1] if "down" in key]  # rows are in no file


def test_concepts_that_are_neighbours_need_no_more_room(made):
    paths = [made.add(f"{c}", OrthogonalLoRA(rank=4, concept=c), c) for c in (2, 3)]
    model = made.combine(*paths, "--method=orthogonal")
    assert {(place.adapter.rank, place.adapter.concept) for place in places(model)} == {(8, 1)}
    near(updates(made.combine(*paths, "--method=sum")), updates(model))
    near(updates(made.combine(*paths, "--method=svd", "--rank=32")), updates(model))


def test_interference_is_measured(made, capsys):
    """Two LoRAs whose second reads, by construction, 0.6 of its update's norm off the first's rows."""
    path = made.add("a", LoRA(rank=1), 1)
    metadata, tensors = read(path)
    other = {}
    for name, tensor in tensors.items():
        other[name] = tensor
        if name.endswith("down"):
            direction = tensor / tensor.norm()
            rest = torch.randn(tensor.shape, dtype=tensor.dtype)
            rest -= (rest @ direction.T) * direction
            other[name] = 0.6 * direction + 0.8 * rest / rest.norm()
    save_file(other, made.folder / "b.safetensors", metadata)
    given = [path, made.folder / "b.safetensors", "--method=orthogonal", "--output", made.folder / "c.safetensors"]
    assert "up to 60.0% of one's update" in refused(capsys, "combine", *given)
    assert not (made.folder / "c.safetensors").exists()


@pytest.mark.parametrize("options", [{"concept": 0}, {"concept": 1, "rank": 6}])
def test_concepts_that_share_rows_are_refused(made, capsys, options):
    paths = [made.add("a", OrthogonalLoRA(rank=8), 1), made.add("b", OrthogonalLoRA(**{"rank": 8} | options), 2)]
    said = refused(capsys, "combine", *paths, "--method=orthogonal", "--output", made.folder / "c.safetensors")
    assert "are not orthogonal" in said


# reversible


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("adapters", [SERIAL, LOW_RANK], ids=["input", "low-rank"])
def test_reversible_gives_each_back(made, adapters, count):
    made.beside = "neck"
    paths = [made.add(str(i), adapter, i, ("q", "k", "v")) for i, adapter in enumerate(adapters)][:count]
    graft("combine", *paths, "--method=reversible", "--output", made.folder / "all.safetensors")
    for i, one in enumerate([*made.models.values()][:count]):
        model = made.combine(made.folder / "all.safetensors", f"--extract={i}", output=f"back{i}")
        near(updates(model), updates(one))
        assert (made.output(model) - made.output(one)).abs().max() < 1e-10


def test_fewer_vectors_lose_what_the_svd_at_each_position_says(made, capsys):
    paths = [made.add(str(seed), LoRA(rank=16), seed) for seed in range(4)]
    capsys.readouterr()
    graft("combine", *paths, "--method=reversible", "--rank=1", "--output", made.folder / "all.safetensors")
    n, r, p = 4, 16, 1
    assert f"{(p * (r + n) + r) / (r * n):.0%} of the values" in " ".join(capsys.readouterr().out.split())
    back = [made.combine(made.folder / "all.safetensors", f"--extract={i}", output=f"{i}back") for i in range(4)]
    for leaf in ("down", "up"):
        given, found = (
            np.stack([[getattr(place.adapter, leaf).detach().numpy() for place in places(one)] for one in models])
            for models in (made.models.values(), back)
        )  # (adapters, places, ...)
        given, found = (x if leaf == "up" else x.swapaxes(-1, -2) for x in (given, found))  # positions of r values
        for place in range(given.shape[1]):
            for position in range(given.shape[2]):
                x = given[:, place, position].T  # (r, n)
                centred = x - x.mean(1, keepdims=True)
                left = np.linalg.svd(centred)[0][:, :p]
                expected = x.mean(1, keepdims=True) + left @ left.T @ centred
                assert np.abs(found[:, place, position].T - expected).max() < 1e-10


# what was trained beside


def test_decoders_are_averaged_taken_or_refused(made, capsys):
    made.beside = "neck"
    paths = [made.add(str(seed), LoRA(rank=2), seed) for seed in range(2)]
    parts = [{n: p for n, p in one.named_parameters() if n.startswith("neck")} for one in made.models.values()]
    values = sum(p.numel() for p in parts[0].values())

    def neck(*options):
        capsys.readouterr()
        model = made.combine(*paths, *options)
        said = " ".join(capsys.readouterr().out.split())
        return {n: p for n, p in model.named_parameters() if n.startswith("neck")}, said

    found, said = neck()
    near(found, {name: (parts[0][name] + parts[1][name]) / 2 for name in found})
    assert f"the average of neck ({values:,} values)" in said
    found, _ = neck("--weights=[0.3,0.9]")
    near(found, {name: 0.25 * parts[0][name] + 0.75 * parts[1][name] for name in found})
    found, said = neck("--trained_parts=first")
    near(found, parts[0], 0)
    assert f"the first's neck ({values:,} values)" in said
    said = refused(capsys, "combine", *paths, "--trained_parts=refuse", "--output", made.folder / "x.safetensors")
    assert f"neck ({values:,} values) beside its adapters" in said
    assert "give --trained_parts average" in said
    said = refused(capsys, "combine", *paths, "--weights=[1,-1]", "--output", made.folder / "x.safetensors")
    assert "give no mean of neck" in said


def test_a_combination_can_be_combined_again(made):
    paths = [made.add(str(seed), LoRA(rank=2), seed) for seed in range(3)]
    made.combine(*paths[:2], output="two")
    near(updates(made.combine(made.folder / "two.safetensors", paths[2])), updates(made.combine(*paths, output="all")))


# what is refused


@pytest.fixture
def pair(made):
    return made, [made.add("a", LoRA(rank=2), 1), made.add("b", LoRA(rank=2), 2)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--weights=[1]"], ["--weights has 1, but 2 adapters"]),
        (["--weights=[1,.nan]"], ["--weights is [1.0, nan]", "finite"]),
        (["--rank=3"], ["--method sum has no use for --rank"]),
        (["--method=svd", "--rank=0"], ["rank is 0", "at least 1"]),
        (["--method=svd", "--density=0.1"], ["--method svd has no use for --density"]),
        (["--method=ties", "--density=0"], ["density is 0.0", "above 0"]),
        (["--method=reversible", "--weights=[1,2]"], ["--method reversible has no use for --weights"]),
        (["--method=reversible", "--rank=0"], ["rank is 0", "at least 1"]),
        (["--extract=0"], ["--extract takes an adapter out of one file, but 2 are given"]),
    ],
)
def test_options_without_sense_are_refused(pair, capsys, options, words):
    made, paths = pair
    said = refused(capsys, "combine", *paths, *options, "--output", made.folder / "c.safetensors")
    assert all(word in said for word in words), said
    assert sorted(path.name for path in made.folder.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_an_output_that_would_mislead_or_destroy_is_refused(pair, capsys):
    made, paths = pair
    before = read(paths[0])[1]
    assert "is a .safetensors" in refused(capsys, "combine", *paths, "--output", made.folder / "c.ckpt")
    assert "one of the adapters given" in refused(capsys, "combine", *paths, "--output", paths[0])
    assert all(torch.equal(read(paths[0])[1][name], tensor) for name, tensor in before.items())


def test_other_backbones_places_kinds_and_parts_are_refused(pair, capsys):
    made, (path, _) = pair

    def said(other):
        return refused(capsys, "combine", path, other, "--output", made.folder / "x.safetensors")

    assert "adapt different places" in said(made.add("c", LoRA(rank=2), 1, ["q"]))
    assert "hold LoRA and SerialLoRA: one acts on the input" in said(made.add("c", SerialLoRA(rank=2), 1))
    made.beside = "neck"
    assert "c.safetensors holds neck.0.weight" in (words := said(made.add("c", LoRA(rank=2), 1)))
    assert "hashes cannot tell" in words
    made.beside = None
    nn.init.ones_(made.network.model.blocks[0].norm1.bias)
    assert "trained on different weights" in said(made.add("c", LoRA(rank=2), 1))


@pytest.mark.parametrize(
    ("adapter", "words"),
    [
        (DoRA(rank=2), "the update of DoRA is no product of two thin matrices"),
        (OrthogonalLoRA(rank=2), "holds OrthogonalLoRA, whose frozen factors follow from the backbone"),
    ],
)
def test_methods_without_factors_are_refused(made, capsys, adapter, words):
    path = made.add("a", adapter, 1)
    assert words in refused(capsys, "combine", path, "--method=lego", "--output", made.folder / "c.safetensors")


def test_an_adapter_that_is_damaged_is_refused(pair, capsys):
    made, paths = pair
    metadata, tensors = read(paths[1])
    tensors["blocks.1.attn.proj.adapter.up"][0, 0] = float("nan")
    save_file(tensors, paths[1], metadata)
    said = refused(capsys, "combine", *paths, "--method=svd", "--output", made.folder / "c.safetensors")
    assert "b.safetensors holds NaN or infinite values in blocks.1.attn.proj.adapter.up" in said


def test_files_of_other_kinds_are_refused(pair, capsys):
    made, paths = pair
    both, out = made.folder / "both.safetensors", made.folder / "c.safetensors"
    graft("combine", *paths, "--method=reversible", "--output", both)
    assert "--extract INDEX` takes one out" in refused(capsys, "combine", both, "--output", out)
    said = refused(capsys, "combine", both, "--extract=2", "--output", out)
    assert "no adapter 2: give --extract one of 0 (a.safetensors), 1 (b.safetensors)" in said
    assert "not a file of several adapters" in refused(capsys, "combine", paths[0], "--extract=0", "--output", out)
    save_file({"x": torch.zeros(1)}, made.folder / "x.safetensors")
    said = refused(capsys, "combine", made.folder / "x.safetensors", "--output", out)
    assert "a safetensors file of another kind, not an adapter file" in said
    with pytest.raises(ValueError, match="takes one out, not an adapter file"):
        load(made.network.model, both)


def test_help_says_what_the_methods_are(capsys):
    with pytest.raises(SystemExit):
        graft("combine", "--help")
    said = " ".join(capsys.readouterr().out.split())
    assert "orthogonal: the sum of adapters that do not interfere" in said
