"""A run that trains a head alone looks at each image once, and learns what it would have learned."""

from pathlib import Path
from typing import Any

import pytest
import torch

from graft.adapters import LoRA, inject
from graft.callbacks import Encode
from graft.data.classification import dataset as reading
from graft.modules import ClipClassification
from tests.e2e import CONFIGS, class_folders, graft

CLIP = ["--config", str(CONFIGS / "clip_folder.yaml"), "--model.backbone=tiny", "--data.num_workers=0"]
HEAD = ["--adapt.adapter=null", "--adapt.train=[head]", "--model.head=linear", "--data.augment=null"]
SHORT = ["--trainer.accelerator=cpu", "--trainer.precision=32-true", "--data.batch_size=4", "--trainer.max_epochs=3"]
SIZES = {"train": 12, "val": 6, "test": 6}


@pytest.fixture
def args(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    return [*CLIP, *HEAD, *SHORT, *class_folders(tmp_path), "--trainer.max_steps=-1", "--data.shots=null"]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The images that are read, in their order."""
    files: list[Path] = []
    centre = reading.read_centre

    def note(path: Path, side: int) -> Any:
        files.append(path)
        return centre(path, side)

    monkeypatch.setattr(reading, "read_centre", note)
    return files


def outcome(cli: Any) -> tuple[dict[str, float], torch.Tensor]:
    return {name: value.item() for name, value in cli.trainer.callback_metrics.items() if "val/" in name}, (
        cli.model.model.head.weight.detach().clone()
    )


def test_epochs_read_no_image_and_learn_the_same(
    args: list[str], read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = 2  # the first of each split, to know how files become pixels
    scores, head = outcome(graft("fit", *args))
    assert len(read) == SIZES["train"] + SIZES["val"] + probe
    assert len(set(read)) == SIZES["train"] + SIZES["val"]
    read.clear()
    cli = graft("fit", *args)
    assert len(read) == probe
    last = Path(str(cli.trainer.log_dir)) / "checkpoints" / "last.ckpt"
    read.clear()
    tested = graft("test", *args, "--ckpt_path", last).trainer.callback_metrics["test/accuracy"]
    again = graft("test", *args, "--ckpt_path", last).trainer.callback_metrics["test/accuracy"]
    assert len(read) == SIZES["test"] + 1 + 1
    monkeypatch.setattr(Encode, "encode", lambda *_: None)
    read.clear()
    plain_scores, plain_head = outcome(graft("fit", *args))
    assert len(read) == 3 * SIZES["train"] + 4 * SIZES["val"]
    assert torch.allclose(head, plain_head, atol=1e-5)
    assert scores == pytest.approx(plain_scores, abs=1e-5)
    assert (head - graft("fit", *args, "--trainer.max_epochs=1").model.model.head.weight).abs().max() > 1e-4
    assert tested == again == graft("test", *args, "--ckpt_path", last).trainer.callback_metrics["test/accuracy"]


def test_images_are_read_where_their_features_change(args: list[str], read: list[Path], tmp_path: Path) -> None:
    adapted = [arg for arg in args if "adapt." not in arg]
    graft("fit", *adapted, "--trainer.max_epochs=2", "--adapt.train=[head]", "--adapt.where=[vision_model]")
    assert len(read) == 2 * SIZES["train"] + 3 * SIZES["val"]
    graft("fit", *[arg for arg in args if "augment" not in arg], "--trainer.max_epochs=1")
    graft("fit", *args, "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1")
    assert len(list((tmp_path / "cache" / "features").rglob("*.safetensors"))) == 1  # of the second's validation


def test_a_tower_that_is_trained_or_adapted_has_no_fingerprint() -> None:
    first, second = ClipClassification("tiny"), ClipClassification("tiny")
    assert first.look.sha256() is None  # nothing is frozen yet
    first.requires_grad_(False)
    second.requires_grad_(False)
    assert first.look.sha256() == second.look.sha256() is not None
    with torch.no_grad():
        second.clip.visual_projection.weight[0, 0] += 1e-3
    assert second.look.sha256() != first.look.sha256()
    inject(first.model, LoRA(rank=1), where=["text_model"])
    assert first.look.sha256() is not None
    inject(first.model, LoRA(rank=1), where=["vision_model.encoder.layers.3"])
    first.requires_grad_(False)
    assert first.look.sha256() is None
