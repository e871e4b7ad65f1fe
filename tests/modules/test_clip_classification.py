"""CLIP classification against transformers' own models, and scores against formulas written anew."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import LightningDataModule
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

from graft.adapters import LoRA, SerialLoRA, inject, merge
from graft.backbones import build_clip
from graft.backbones.clip import spelling
from graft.callbacks import Adapt
from graft.data import FolderClassification, FolderSegmentation
from graft.download import DownloadError
from graft.modules import ClipClassification, SamSegmentation
from graft.modules.class_scores import ClassScores

NAMES = ["crested gecko", "tabby", "Łódź by night"]
TEMPLATE = "a photo of a {}."


def images(count: int = 4) -> torch.Tensor:
    return torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def told(**options: Any) -> ClipClassification:
    """A module that knows its classes, in the mode of evaluation."""
    module = ClipClassification(**{"backbone": "tiny"} | options).eval()
    module.tell_apart([NAMES], TEMPLATE)
    return module


@pytest.fixture
def siglip(tmp_path: Path) -> Path:
    """A folder with a small random SigLIP and a tokenizer that pads."""
    towers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision, text = towers | {"image_size": 32, "patch_size": 8}, towers | {"vocab_size": 514, "projection_size": 32}
    torch.manual_seed(0)
    SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(tmp_path / "siglip")
    spelling().save_pretrained(tmp_path / "siglip")
    return tmp_path / "siglip"


def test_logits_are_clips() -> None:
    module = told()
    stock, tokenizer = build_clip("tiny")
    tokens = tokenizer([TEMPLATE.format(name) for name in NAMES], padding=True, return_tensors="pt")
    mean, std = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
    pixels = (images() / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    with torch.no_grad():
        expected = stock(pixel_values=pixels, **tokens).logits_per_image
        logits = module({"image": images()})
    assert torch.allclose(logits, expected, atol=1e-5)
    assert expected.std() > 1e-2


def test_logits_are_siglips(siglip: Path) -> None:
    module = told(backbone=str(siglip))
    stock, tokenizer = SiglipModel.from_pretrained(siglip), spelling()
    texts = [TEMPLATE.format(name) for name in NAMES]
    tokens = tokenizer(texts, padding="max_length", truncation=True, max_length=64, return_tensors="pt")
    with torch.no_grad():
        expected = stock(pixel_values=images() / 127.5 - 1, input_ids=tokens["input_ids"]).logits_per_image
        logits = module({"image": images()})
    assert torch.allclose(logits, expected, atol=1e-4)


def test_a_linear_head_starts_as_the_text_does() -> None:
    with torch.no_grad():
        assert torch.allclose(told(head="linear")({"image": images()}), told()({"image": images()}), atol=1e-4)


@pytest.mark.parametrize(
    ("adapter", "where", "parameters"),
    [
        (SerialLoRA(rank=8), None, 245_760),
        (LoRA(rank=8), None, 983_040),
        (SerialLoRA(rank=8), ["vision_model"], 147_456),
        (LoRA(rank=8), ["vision_model"], 589_824),
    ],
)
def test_parameters_of_vit_b_16(adapter: Any, where: list[str] | None, parameters: int) -> None:
    text = {"hidden_size": 512, "num_attention_heads": 8, "num_hidden_layers": 12}
    vision = {"hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 12, "patch_size": 16}
    with torch.device("meta"):
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision))
        inject(model, adapter, where=where)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == parameters


def test_a_merged_model_is_a_stock_model(tmp_path: Path) -> None:
    module = told()
    inject(module.model, SerialLoRA(rank=4))
    for name, parameter in module.named_parameters():
        if name.endswith("adapter.up"):
            torch.nn.init.normal_(parameter, std=0.05)
    module.describe.forget()
    with torch.no_grad():
        adapted = module({"image": images()})
        fresh = told()({"image": images()})
    assert (adapted - fresh).abs().max() > 1e-2
    merge(module.model)
    module.model.save_pretrained(tmp_path / "merged")
    stock = CLIPModel.from_pretrained(tmp_path / "merged")
    pixels = (images() - module.look.mean) / module.look.std
    with torch.no_grad():
        logits = stock(pixel_values=pixels, **module.describe.tokens(NAMES)).logits_per_image
    assert torch.allclose(logits, adapted, atol=1e-4)


def test_half_precision_weights_become_whole(tmp_path: Path) -> None:
    model, tokenizer = build_clip("tiny")
    model.half().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert {p.dtype for p in build_clip(str(tmp_path))[0].parameters()} == {torch.float32}


def test_a_name_that_is_nowhere_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError, match="nobody/nothing is no folder here, nor on the hub, or the hub cannot be"):
        build_clip("nobody/nothing")
    with pytest.raises(DownloadError, match="is a folder without model or tokenizer"):
        build_clip(str(tmp_path))


def test_text_is_embedded_once_while_it_cannot_change() -> None:
    module, seen = told(), []
    module.model.requires_grad_(False)
    module.model.text_model.register_forward_hook(lambda *_: seen.append(1))
    for _ in range(3):
        module({"image": images()})
        module.on_train_batch_end()
    assert len(seen) == 1
    inject(module.model, SerialLoRA(rank=2), where=["text_model"])
    for _ in range(3):
        loss = module({"image": images()}).sum()
        module.on_train_batch_end()
    assert len(seen) == 4
    loss.backward()
    assert all(p.grad is not None for n, p in module.named_parameters() if n.endswith("adapter.up"))


def test_a_name_that_is_too_long_is_warned_of() -> None:
    module = told()
    with pytest.warns(UserWarning, match="The class 'x{100}' takes 1.. tokens, of which 77 are read"):
        tokens = module.describe.tokens(["x" * 100, "short"])
    assert tokens["input_ids"].shape == (2, 77)


def test_a_learned_scale_stays_below_100() -> None:
    module = told()
    with torch.no_grad():
        module.model.logit_scale.fill_(10)
    module.on_train_batch_end()
    assert module.model.logit_scale.exp().item() == pytest.approx(100)
    module.model.requires_grad_(False)
    module.model.logit_scale.fill_(10)
    module.on_train_batch_end()
    assert module.model.logit_scale.item() == 10  # what is frozen stays


def test_novel_classes_need_text() -> None:
    with pytest.raises(ValueError, match="A linear head knows no novel classes"):
        ClipClassification("tiny", head="linear").tell_apart([NAMES, ["other"]], TEMPLATE)


def test_a_linear_head_keeps_its_classes() -> None:
    module = told(head="linear")
    module.tell_apart([NAMES], "another {}.")
    with pytest.raises(ValueError, match=r"knows 3 classes, 'crested gecko' as number 0, but the data have 3, 'tabby'"):
        module.tell_apart([NAMES[1:] + NAMES[:1]], TEMPLATE)  # in another order


def test_data_of_another_task_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ClipClassification learns from ClassificationData, but FolderSegmentation"):
        ClipClassification("tiny").meet(FolderSegmentation(tmp_path))
    with pytest.raises(ValueError, match="SamSegmentation learns from SegmentationData, but FolderClassification"):
        SamSegmentation("tiny", 64).meet(FolderClassification(tmp_path))
    ClipClassification("tiny").meet(FolderClassification(tmp_path))
    ClipClassification("tiny").meet(LightningDataModule())  # a stranger's may give what is needed


def test_scores_are_those_of_others() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, label = 2 * torch.randn(200, 7, generator=generator), torch.randint(7, (200,), generator=generator)
    logits[torch.arange(200), label] += 1.5
    scores = ClassScores(7)
    for part in torch.arange(200).split(64):
        scores.update(logits[part], label[part])
    found = {name: value.item() for name, value in scores.compute().items()}
    p, y = logits.softmax(1).double().numpy(), label.numpy()
    confidence, right = p.max(1), p.argmax(1) == y
    bins = np.ceil(confidence * 15)  # 15 of equal width
    gaps = [abs(right[bins == k].mean() - confidence[bins == k].mean()) * (bins == k).mean() for k in np.unique(bins)]
    assert found == pytest.approx(
        {
            "loss": -np.log(p[np.arange(200), y]).mean(),
            "accuracy": right.mean(),
            "top5": top_k_accuracy_score(y, p, k=5),
            "mean_per_class": balanced_accuracy_score(y, p.argmax(1)),
            "ece": sum(gaps),
        },
        abs=1e-5,
    )


def test_adapt_trains_the_head_and_the_adapters_alone() -> None:
    module = told(head="linear")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = type("Trainer", (), {"datamodule": None})()
        Adapt(SerialLoRA(rank=2), where=["vision_model"], train=["head"]).setup(trainer, module, "fit")
    trained = {name for name, p in module.model.named_parameters() if p.requires_grad}
    assert {name for name in trained if "adapter" not in name} == {"head.weight", "head.bias"}
    assert len(trained) == 2 + 2 * 4
