"""The doctor as people call it: what it says of a run, what it draws, and whether it tells wiring that learns."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from graft.callbacks.pictures import GAP
from graft.check import learning
from graft.check.overfit import Learnt
from graft.check.sheet import SIDE, STRIP, contact_sheet
from graft.data.segmentation.dataset import SegmentationDataset
from graft.data.segmentation.pairs import pair_files
from graft.modules import SamSegmentation
from tests.e2e import BASE, CONFIGS, draw, graft, refused, tiny

SAM = ["--config", BASE, "--config", CONFIGS / "embedded/sam_polyp.yaml"]
CLIP = ["--config", CONFIGS / "clip_folder.yaml"]
FAST = ["--model.optimizer.lr=1e-2", "--steps=12"]


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")


def small(model: str, data: str, folder: Path) -> list[str]:
    init_args: dict[str, Any] = {}
    named = {"model": {"class_path": model, "init_args": init_args}, "data": {"class_path": data}}
    return tiny(named, folder)


@pytest.fixture
def sam(tmp_path: Path) -> list[Any]:
    return [*SAM, *small("SamSegmentation", "PolypPhantoms", tmp_path), *FAST]


def told(capsys: pytest.CaptureFixture[str], *args: Any) -> str:
    """What a check says that ends well."""
    graft("check", *args)
    return capsys.readouterr().out


def failed(capsys: pytest.CaptureFixture[str], *args: Any) -> str:
    """What a check says that ends with exit code 1."""
    with pytest.raises(SystemExit) as exit_:
        graft("check", *args)
    assert exit_.value.code == 1
    return capsys.readouterr().out


def test_a_sound_segmentation_is_well(sam: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    said = told(capsys, *sam)
    assert "All is well" in said
    first, last = map(float, re.findall(r"loss ([\d.]+) to ([\d.]+)", said)[0])
    assert last < 0.9 * first
    assert not Path("lightning_logs/version_0").exists()  # no run


def test_a_sound_classification_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = told(capsys, *CLIP, *small("ClipClassification", "FolderClassification", tmp_path), *FAST)
    assert "All is well" in said
    before, after = map(float, re.findall(r"accuracy (\d\.\d+) to (\d\.\d+)", said)[0])
    assert after > before


def test_a_rate_of_zero_is_told(sam: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    said = failed(capsys, *sam, "--model.optimizer.lr=0")
    assert "no trained value changed in 12 steps: the learning rate is 0." in said
    assert "model.optimizer.init_args.lr: 1.0e-3" in said


def test_a_rate_that_is_too_small_is_a_warning(sam: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    said = told(capsys, *sam, "--model.optimizer.lr=1e-6")
    assert "give ten times that" in said
    assert "model.optimizer.init_args.lr: 1.0e-05" in said


def test_a_rate_that_is_too_large_is_told(sam: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    said = failed(capsys, *sam, "--model.optimizer.lr=10")
    assert "they are too large" in said
    assert "model.optimizer.init_args.lr: 1.0e+00" in said


def test_a_loss_that_is_no_number_is_told(
    sam: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = SamSegmentation.training_step

    def broken(self: SamSegmentation, batch: Any, batch_idx: int) -> Any:
        return honest(self, batch, batch_idx) * (float("nan") if self.trainer.global_step >= 2 else 1)

    monkeypatch.setattr(SamSegmentation, "training_step", broken)
    said = failed(capsys, *sam)
    assert "The loss is nan at step 3" in said
    assert "model.optimizer.init_args.lr: 1.0e-03" in said


def cut(monkeypatch: pytest.MonkeyPatch, by: Any) -> None:
    """Put something between encoder and decoder."""
    honest = SamSegmentation.decode
    monkeypatch.setattr(SamSegmentation, "decode", lambda self, x, batch: honest(self, by(x), batch))


def test_a_part_that_is_cut_off_is_named(
    sam: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(monkeypatch, torch.Tensor.detach)
    said = failed(capsys, *sam)
    assert re.search(r"x 4 of \d+ trained tensors got no gradient: image_encoder.blocks.0.attn.qkv.adapter.down", said)


def test_a_part_whose_gradient_is_zero_is_named(
    sam: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(monkeypatch, lambda x: x.detach() + 0 * x)
    said = told(capsys, *sam)
    assert re.search(r"! The gradient of 4 of \d+ trained tensors was zero in all 12 steps: image_encoder", said)
    said = failed(capsys, *sam, "--adapt.train=[]")  # now nothing else learns
    assert "x The gradient of 4 of 4 trained tensors was zero" in said


def test_broken_data_do_not_hide_the_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = [*SAM, *small("SamSegmentation", "FolderSegmentation", tmp_path), "--data=FolderSegmentation"]
    (tmp_path / "mine/masks/train0.png").unlink()
    said = failed(capsys, *args, f"--data.root={tmp_path / 'mine'}")
    assert "without a mask of the same name" in said
    assert "SerialLoRA(rank=8, dropout=0.0) on q, k, v in 2 blocks" in said
    assert "1 thing to mend" in said


def test_an_impossible_adapter_is_told_beside_the_data(sam: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    said = failed(capsys, *sam, "--adapt.where=[nowhere]")
    assert "nowhere" in said
    assert "contact_sheet.png shows 4 training images" in said


def test_too_few_steps_are_refused(sam: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "check", *sam, "--steps=1") == "steps is 1, but must be at least 2."


@pytest.mark.parametrize("count", [1, 4, 6, 20])
def test_a_contact_sheet_has_a_tile_for_each_image(count: int, tmp_path: Path) -> None:
    root = draw(tmp_path / "set", "images", "masks", ".png")
    samples = (pair_files(root / "images", root / "masks") * 3)[:count]
    dataset = SegmentationDataset(samples, 64, training=True)
    shown = contact_sheet(dataset, tmp_path / "deep/sheet.png", ["polyp"], "none")
    assert shown == min(count, 16)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["sheet.png"]
    with Image.open(tmp_path / "deep/sheet.png") as sheet:
        sheet.verify()
    across, down = min(shown, 4), -(-shown // 4)
    size = (across * SIDE + (across - 1) * GAP, down * (SIDE + STRIP) + (down - 1) * GAP)
    assert sheet.size == size
    pixels = np.asarray(Image.open(tmp_path / "deep/sheet.png").convert("RGB")).astype(int)
    for position in range(shown):
        top, left = position // 4 * (SIDE + STRIP + GAP) + STRIP, position % 4 * (SIDE + GAP)
        seen = pixels[top : top + SIDE, left : left + SIDE]
        item = dataset[0, position * count // shown]
        truth = Image.fromarray(item["image"].permute(1, 2, 0).numpy()).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        mask = np.asarray(Image.fromarray(item["mask"].numpy()).resize((SIDE, SIDE), Image.Resampling.NEAREST)) > 0
        difference = np.abs(seen - np.asarray(truth)).max(-1)
        assert (difference[~mask] <= 2).mean() > 0.99  # as the model sees it, where nothing lies over it
        assert not mask.any() or difference[mask].mean() > 20


def learnt(first: float, last: float, path: list[float] | None = None, still: bool = False) -> Learnt:
    names = {"a", "b"}
    return Learnt(
        *(4, "dice", 1e-3, [first, last], [0.0, 0.5], path or [first, (first + last) / 2, last], 3, 0.1),
        still=names if still else set(),
        trained=names,
    )


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (learnt(1.0, 0.5), None),
        (learnt(1.0, 0.95), "slow"),
        (learnt(0.01, 0.0099), None),  # known already
        (learnt(1.0, 1.0), "unfelt"),
        (learnt(1.0, 1.0, still=True), "still"),
        (learnt(1.0, 1.05), "overshot"),
        (learnt(1.0, 0.95, [1.0, 5.0, 0.95]), "overshot"),
        (learnt(1.0, 0.95, [1.0, 0.8, 0.95]), "overshot"),
        (learnt(1.0, 0.3, [1.0, 5.0, 0.3]), None),
    ],
)
def test_each_course_of_a_loss_has_one_name(seen: Learnt, expected: str | None) -> None:
    names = [look.__name__ for look in learning.LOOKS for _ in look(seen)]
    assert names == ([expected] if expected else [])


def test_bounces_are_a_warning_and_a_loss_that_rises_is_none() -> None:
    fatal = [
        finding.fatal
        for seen in (learnt(1.0, 0.95, [1.0, 0.8, 0.95]), learnt(1.0, 0.95, [1.0, 1.2, 0.95]), learnt(1.0, 1.05))
        for finding in learning.overshot(seen)
    ]
    assert fatal == [False, True, True]
