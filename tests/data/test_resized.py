"""Images and masks that are kept as resized: the same items, each file decoded once, nothing out of date."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from graft.data import FolderSegmentation
from graft.data.loader import EpochLoader
from graft.data.samples import Sample
from graft.data.segmentation import resized
from graft.data.segmentation.augment import Augment
from graft.data.segmentation.dataset import SegmentationDataset
from graft.data.segmentation.resized import Resized, resize, resize_once

SIDE = 48


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Images of other sizes, larger and smaller than the square, with masks."""
    made = []
    for number, (height, width) in enumerate(((100, 128), (33, 21), (48, 48))):
        rng = np.random.default_rng(number)
        mask = np.zeros((height, width), np.uint8)
        mask[height // 4 : height // 2, width // 4 : width // 2] = 255
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        files = tmp_path / f"image{number}.png", tmp_path / f"mask{number}.png"
        Image.fromarray(image).save(files[0])
        Image.fromarray(mask).save(files[1])
        made.append(Sample(f"image{number}", *files))
    return made


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are decoded, in turn."""
    paths: list[Path] = []
    image, mask = resized.read_image, resized.read_mask
    monkeypatch.setattr(resized, "read_image", lambda path: paths.append(path) or image(path))
    monkeypatch.setattr(resized, "read_mask", lambda path, classes: paths.append(path) or mask(path, classes))
    return paths


def equal(one: Resized, other: Resized) -> bool:
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("training", [True, False])
def test_items_are_the_same_bit_for_bit(samples: list[Sample], tmp_path: Path, training: bool) -> None:
    options: dict[str, Any] = {"training": training, "augment": Augment(), "seed": 3}
    plain = SegmentationDataset(samples, SIDE, **options)
    kept = SegmentationDataset(samples, SIDE, **options, keep=tmp_path / "kept")
    for epoch in range(3):  # written in the first, read in the others
        for index in range(len(samples)):
            one, other = plain[epoch, index], kept[epoch, index]
            assert one.keys() == other.keys()
            for key, value in one.items():
                same = torch.equal(value, other[key]) if isinstance(value, torch.Tensor) else value == other[key]
                assert same, key


@pytest.mark.parametrize("training", [True, False])
def test_each_file_is_decoded_once_an_epoch_and_once_in_all_if_kept(
    samples: list[Sample], tmp_path: Path, decoded: list[Path], training: bool
) -> None:
    files = sorted(path for sample in samples for path in (sample.image, sample.mask) if path)
    for keep, epochs in ((None, 2), (tmp_path / "kept", 1)):
        dataset = SegmentationDataset(samples, SIDE, training=training, keep=keep)
        for epoch in range(2):
            for index in range(len(samples)):
                dataset[epoch, index]
        assert sorted(decoded) == sorted(files * epochs)
        decoded.clear()


def test_workers_keep_and_read_the_same(samples: list[Sample], tmp_path: Path) -> None:
    dataset = SegmentationDataset(samples * 4, SIDE, keep=tmp_path / "kept")
    for _ in range(2):
        loader = EpochLoader(dataset, batch_size=None, num_workers=2)
        for number, item in enumerate(loader):
            assert torch.equal(item["image"], SegmentationDataset(samples, SIDE)[number % 3]["image"])
    assert len(list((tmp_path / "kept").iterdir())) == len(samples)


def test_many_at_once_leave_one_whole_file(samples: list[Sample], tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda _: resize_once(samples[0], SIDE, 1, tmp_path / "kept"), range(40)))
    assert all(equal(each, resize(samples[0], SIDE, 1)) for each in read)
    assert len(list((tmp_path / "kept").iterdir())) == 1


@pytest.mark.parametrize("changed", ["image", "mask", "side", "classes"])
def test_what_changes_is_read_again(samples: list[Sample], tmp_path: Path, changed: str) -> None:
    sample, side, classes = samples[2], SIDE, 1
    resize_once(sample, side, classes, tmp_path / "kept")
    if changed == "side":
        side = 32
    elif changed == "classes":
        classes = 255
    else:
        path = getattr(sample, changed)
        before = path.stat()
        Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert equal(resize_once(sample, side, classes, tmp_path / "kept"), resize(sample, side, classes))


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:-1], lambda b: b"\xff" * len(b), lambda b: b"no" * 9])
def test_a_damaged_file_is_written_again(samples: list[Sample], tmp_path: Path, damage: Any) -> None:
    resize_once(samples[0], SIDE, 1, tmp_path / "kept")
    (file,) = (tmp_path / "kept").iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert equal(resize_once(samples[0], SIDE, 1, tmp_path / "kept"), resize(samples[0], SIDE, 1))
    assert file.read_bytes() == whole


def test_a_full_disk_is_said_and_leaves_nothing(
    samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(tensors: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(resized, "save_file", full)
    with pytest.raises(ValueError, match=r"cannot be kept in .*kept \(.*No space left.*\): make room there"):
        resize_once(samples[0], SIDE, 1, tmp_path / "kept")
    assert list((tmp_path / "kept").iterdir()) == []


def test_the_option_keeps_them_in_the_cache_folder(
    samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "set"
    for folder, attribute in (("images", "image"), ("masks", "mask")):
        (root / folder).mkdir(parents=True)
        for sample in samples:
            getattr(sample, attribute).rename(root / folder / f"{sample.name}.png")
    for split, sample in zip(("train", "val", "test"), samples, strict=True):
        (root / f"{split}.txt").write_text(sample.name)
    for keep in (False, True):
        data = FolderSegmentation(root, image_size=SIDE, num_workers=0, keep_resized=keep)
        data.setup("fit")
        assert len(list(data.train_dataloader())) == len(list(data.val_dataloader())) == 1
        assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 2 * keep
