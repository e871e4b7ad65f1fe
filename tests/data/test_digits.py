"""The digits as files."""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from graft.data import Digits


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cache") / "digits"
    Digits(root).prepare_data()
    return root


def test_every_digit_is_written_as_it_is(root: Path) -> None:
    data = Digits(root, image_size=16)
    data.setup("fit")
    assert data.names == ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    assert data.template.format(data.names[3]) == "a photo of the digit three."
    digits = load_digits()
    samples = [sample for split in data.samples.values() for sample in split]
    assert sorted(sample.name for sample in samples) == [f"{n:04}-{d}" for n, d in enumerate(digits.target)]
    for sample in samples[::50]:
        number = int(sample.name[:4])
        assert sample.label == digits.target[number]
        with Image.open(sample.image) as image:
            grey = np.asarray(image)
        assert grey.shape == (32, 32)
        assert (np.round(grey[::4, ::4] * (16 / 255)) == digits.images[number]).all()


def test_splits_are_fixed_and_hold_every_digit(root: Path) -> None:
    data = Digits(root, image_size=16)
    data.setup("fit")
    sizes = {split: len(samples) for split, samples in data.samples.items()}
    assert sizes == {"train": 1414, "val": 193, "test": 190}
    for samples in data.samples.values():
        counts = Counter(sample.label for sample in samples)
        assert len(counts) == 10
        assert min(counts.values()) >= len(samples) / 20
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (4, 3, 16, 16)
    assert batch["label"].shape == (4,)


def test_training_never_mirrors(root: Path) -> None:
    data = Digits(root)
    assert repr(data.augment) == "Crop(scale=0.7, flip=False)"


def test_written_once_and_again_after_a_kill(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path))
    (tmp_path / "digits.part" / "images").mkdir(parents=True)
    (tmp_path / "digits.part" / "images" / "0000-0.png").write_bytes(b"half")
    Digits().prepare_data()
    assert not (tmp_path / "digits.part").exists()
    files = {path.name: path.read_bytes() for path in (tmp_path / "digits" / "images").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (root / "images").iterdir()}
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    Digits().prepare_data()
    with pytest.raises(ImportError, match="scikit-learn, which is not installed: pip install"):
        Digits(tmp_path / "other").prepare_data()


def test_a_folder_of_something_else(make_classes: Callable[..., Path]) -> None:
    root = make_classes({"images": 3})
    (root / "images" / "images0.png").rename(root / "images" / "0000-3.png")
    data = Digits(root, image_size=16)
    data.prepare_data()
    with pytest.raises(ValueError, match="holds 3 images, but there are 1797 digits; choose another root"):
        data.setup("fit")
