"""The segmentation module: what is cut off, what is scored, what the loss reaches."""

import copy

import pytest
import torch
import torch.nn.functional as F

from graft.callbacks import Adapt
from tests.modules.small import SIDE, Data, batch, sam, serial, trainer

PROMPTS = ["none", "box", "point"]
each_task = pytest.mark.parametrize(("prompt", "num_classes"), [(p, k) for p in PROMPTS for k in (1, 3)])


def perfect(module, images, padding):
    """Logits that say the truth inside each image and `padding` outside."""
    truth = F.one_hot(images["mask"].long(), module.num_classes + 1).movedim(-1, 1).float() * 2 - 1
    logits = truth[:, 1:] if module.num_classes == 1 else truth
    return torch.where(module.valid(images)[:, None], logits, padding)


def loss_of(module, images):
    return module.loss(module(images), images["mask"], module.valid(images))["loss"]


@pytest.mark.parametrize("padding", [100.0, -100.0, float("nan")])
@pytest.mark.parametrize("num_classes", [1, 3])
def test_masks_are_cut_from_the_padding_and_have_the_original_size(num_classes, padding):
    module, images = sam(num_classes=num_classes), batch(3, num_classes)
    masks = module.masks(perfect(module, images, padding), images)
    for mask, truth in zip(masks, images["original_mask"], strict=True):
        assert mask.dtype == torch.uint8
        assert torch.equal(mask, truth)  # rectangles, twice as large: each edge lies between two pixels


@pytest.mark.parametrize("padding", [100.0, -100.0])
@pytest.mark.parametrize("num_classes", [1, 3])
def test_scores_do_not_depend_on_what_is_said_in_the_padding(num_classes, padding, tmp_path, monkeypatch):
    module = sam(num_classes=num_classes)
    monkeypatch.setattr(module, "forward", lambda images: perfect(module, images, padding))
    (logged,) = trainer(tmp_path, serial()).validate(module, Data(num_classes), verbose=False)
    assert logged["val/dice"] == logged["val/dice_set"] == logged["val/iou"] == 1
    assert {name for name in logged if "kind" in name} == {
        f"val/{score}/kind_{k}" for score in ("dice", "iou") for k in range(num_classes) if num_classes > 1
    }


@each_task
def test_logits_have_the_size_of_the_square_and_prediction_that_of_the_file(prompt, num_classes):
    module, images = sam(prompt, num_classes), batch(3, num_classes)
    with torch.no_grad():
        logits, masks = module(images), module.predict_step(images, 0)
    assert logits.shape == (3, 1 if num_classes == 1 else num_classes + 1, SIDE, SIDE)
    assert [tuple(mask.shape) for mask in masks] == [tuple(size) for size in images["original_size"].tolist()]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_only_the_prompt_that_was_asked_for_is_seen(prompt):
    module, images = sam(prompt), batch()
    with torch.no_grad():
        before = module(images)
        for name in ("box", "point"):
            moved = images | {name: images[name] + 20}
            assert torch.equal(module(moved), before) == (name != prompt)


@each_task
def test_unreached_is_what_gets_no_gradient_from_the_loss(prompt, num_classes):
    module, images = sam(prompt, num_classes), batch(3, num_classes)
    everything = copy.deepcopy(module)
    everything.model.requires_grad_(True)
    loss_of(everything, images).backward()
    without = {n for n, p in everything.model.named_parameters() if p.grad is None or not p.grad.any()}
    assert module.unreached() == without


def test_asking_what_is_unreached_changes_nothing():
    module = sam("box")
    for i, parameter in enumerate(module.model.parameters()):
        parameter.requires_grad_(i % 3 == 0)
    flags = [parameter.requires_grad for parameter in module.model.parameters()]
    state = torch.get_rng_state()
    with torch.no_grad():
        unreached = module.unreached()
    assert torch.equal(torch.get_rng_state(), state)
    assert [parameter.requires_grad for parameter in module.model.parameters()] == flags
    assert all(parameter.grad is None for parameter in module.model.parameters())
    assert any("iou_prediction_head" in name for name in unreached)


def test_with_the_decoder_alone_the_image_embedding_has_no_graph():
    module, images = sam(), batch()
    Adapt(train=["mask_decoder"]).setup(None, module, "fit")
    seen = []
    module.sam.image_encoder.register_forward_hook(lambda _module, _args, embedding: seen.append(embedding))
    loss_of(module, images).backward()
    assert not seen[0].requires_grad
    for name, parameter in module.model.named_parameters():
        assert (parameter.grad is not None) == (name.startswith("mask_decoder.") and name not in module.unreached())


@each_task
def test_every_task_trains_in_bf16_and_all_that_is_trained_moves(prompt, num_classes, tmp_path):
    module = sam(prompt, num_classes, warmup=0.0)
    fit = trainer(tmp_path, serial(), precision="bf16-mixed")
    before = {name: parameter.clone() for name, parameter in module.model.named_parameters()}
    fit.fit(module, Data(num_classes))
    assert fit.callback_metrics["train/loss"].isfinite()
    for name, parameter in module.model.named_parameters():
        if name.endswith("adapter.up"):
            assert parameter.any(), name  # it started at zero
        elif not name.endswith("adapter.down"):
            assert torch.equal(parameter, before[name]) == (not parameter.requires_grad), name
