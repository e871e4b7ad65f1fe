"""Checkpoints: they hold what was trained, rebuild the adapted model, and refuse what does not fit."""

import copy
import shutil

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from graft.adapters import LoRA, SerialLoRA
from graft.modules import SamSegmentation
from tests.modules.small import Data, batch, sam, serial, trainer


def fit(folder, adapt, ckpt_path=None):
    """Two epochs with a checkpoint after each; also the trainer, whose optimizer has a state."""
    lightning.seed_everything(0, verbose=False)
    module = sam()
    checkpoints = ModelCheckpoint(folder, "{epoch}", save_top_k=-1, auto_insert_metric_name=False)
    run = trainer(folder, adapt, checkpoints, enable_checkpointing=True, max_epochs=2)
    run.fit(module, Data(), ckpt_path=ckpt_path, weights_only=True)
    return module, run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with 0.ckpt and 1.ckpt, the module after both epochs, and its trainer."""
    folder = tmp_path_factory.mktemp("run")
    return folder, *fit(folder, serial())


def altered(run, tmp_path, change):
    """The path of a checkpoint after a change."""
    checkpoint = torch.load(run[0] / "1.ckpt", weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, tmp_path / "altered.ckpt")
    return tmp_path / "altered.ckpt"


def test_a_checkpoint_holds_what_was_trained_and_buffers_and_nothing_frozen(run):
    folder, module, _ = run
    checkpoint = torch.load(folder / "1.ckpt", weights_only=True)
    trained = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    parameters = {name for name, _ in module.named_parameters()}
    buffers = set(module.state_dict()) - parameters
    assert set(checkpoint["state_dict"]) == trained | buffers
    assert any("adapter.up" in name for name in trained)
    assert any(name.startswith("model.mask_decoder.") for name in trained)
    assert (folder / "1.ckpt").stat().st_size < 3.5 * 4 * sum(module.get_parameter(n).numel() for n in trained) + 2e5


@pytest.mark.parametrize("seed", [0, 5])
def test_a_checkpoint_alone_gives_the_adapted_model_back(run, seed):
    folder, module, _ = run
    torch.manual_seed(seed)
    loaded, images = SamSegmentation.load_from_checkpoint(folder / "1.ckpt", weights_only=True), batch()
    with torch.no_grad():
        logits, expected, untouched = (network.cpu()(images) for network in (loaded, module, sam()))
    assert torch.equal(logits, expected)
    assert not torch.allclose(logits, untouched, atol=1e-3)
    assert {n for n, p in loaded.named_parameters() if p.requires_grad} == {
        n for n, p in module.named_parameters() if p.requires_grad
    }
    assert not any(part.training for part in loaded.model.modules())


def test_a_resumed_run_ends_where_the_whole_run_did(run, tmp_path):
    folder, module, whole = run
    resumed, again = fit(tmp_path, serial(), folder / "0.ckpt")
    assert again.global_step == whole.global_step == 4
    for name, tensor in module.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name
    assert again.lr_scheduler_configs[0].scheduler.state_dict() == whole.lr_scheduler_configs[0].scheduler.state_dict()
    moments, expected = (t.optimizers[0].state_dict()["state"] for t in (again, whole))
    assert moments.keys() == expected.keys()
    for i, state in expected.items():
        assert all(torch.equal(moments[i][name], value) for name, value in state.items())


def test_testing_with_a_checkpoint_scores_the_trained_model(run, tmp_path):
    folder, module, _ = run
    (expected,) = trainer(tmp_path).test(copy.deepcopy(module), Data(), verbose=False)
    (scores,) = trainer(tmp_path, serial()).test(sam(), Data(), folder / "1.ckpt", verbose=False, weights_only=True)
    assert scores == expected


@pytest.mark.parametrize(
    ("adapter", "sentence"),
    [
        (SerialLoRA(rank=3), r"holds SerialLoRA \{'rank': 2,.*; the configuration asks for SerialLoRA \{'rank': 3"),
        (LoRA(rank=2), r"holds SerialLoRA \{.*; the configuration asks for LoRA \{.*\} on q, k, v, o"),
    ],
)
def test_another_adapter_is_refused(run, tmp_path, adapter, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit(tmp_path, serial(adapter=adapter), run[0] / "1.ckpt")


def test_other_weights_of_the_backbone_are_refused(run, tmp_path):
    weights = sam().model.state_dict()
    weights["image_encoder.blocks.0.mlp.lin1.weight"][0, 0] += 1e-3
    torch.save(weights, tmp_path / "other.pth")
    path = altered(run, tmp_path, lambda c: c["hyper_parameters"].update(checkpoint=str(tmp_path / "other.pth")))
    with pytest.raises(ValueError, match="was trained on other weights of tiny than those loaded here"):
        SamSegmentation.load_from_checkpoint(path, weights_only=True)


UP = "model.image_encoder.blocks.1.attn.qkv.adapter.up"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: c["graft"].update(backbone="vit_b"), "was trained on vit_b, not on tiny; go on with"),
        (lambda c: c["state_dict"].pop(UP), f"lacks {UP}, which was trained"),
        (lambda c: c["state_dict"].update({UP: torch.zeros(32, 5)}), rf"{UP} of shape \(32, 5\); .* needs \(32, 2\)"),
        (lambda c: c["state_dict"].update({"model.odd": torch.zeros(1)}), "holds model.odd, which this model does not"),
        (lambda c: c["state_dict"].pop("model.mask_decoder.mask_tokens.weight"), "lacks .*mask_tokens.weight, which"),
        (lambda c: c.pop("graft"), "was not made by graft"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(run, tmp_path, change, sentence):
    path = altered(run, tmp_path, change)
    with pytest.raises(ValueError, match=sentence):
        SamSegmentation.load_from_checkpoint(path, weights_only=True)
    with pytest.raises(ValueError, match=sentence):
        fit(tmp_path / "again", serial(), path)


def test_checkpoints_are_read_in_another_place(run, tmp_path):
    path = shutil.copy(run[0] / "1.ckpt", tmp_path / "moved.ckpt")
    assert SamSegmentation.load_from_checkpoint(path, weights_only=True).hparams.backbone == "tiny"
