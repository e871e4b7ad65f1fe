"""Features kept on disk: found again where nothing has changed, and nowhere else."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from graft.data import features
from graft.data.classification import dataset as reading
from graft.data.classification.dataset import ClassificationDataset
from graft.data.classification.division import Labelled
from graft.data.features import Features
from graft.data.loader import EpochLoader


def means(images: torch.Tensor) -> torch.Tensor:
    """A network: the mean of each channel, (B, 3)."""
    return images.float().mean((2, 3))


class Asked:
    """Counts the images that a network is asked about."""

    def __init__(self, network: Callable[[torch.Tensor], torch.Tensor] = means) -> None:
        self.network, self.count = network, 0

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.count += len(images)
        return self.network(images)


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Labelled]:
    """Eleven images in files of four features."""
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(features, "COUNT", 4)
    for number in range(11):
        image = np.random.default_rng(number).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    return [Labelled(str(number), tmp_path / f"{number}.png", number % 2) for number in range(11)]


def encode(
    samples: Sequence[Labelled], key: str = "weights", share: tuple[int, int] = (0, 1), workers: int = 0
) -> tuple[Features, int]:
    """The features of images, and how many of them were computed."""
    data, asked = ClassificationDataset(samples, image_size=16), Asked()
    like = EpochLoader(data, batch_size=3, num_workers=workers)
    return data.encode(key, asked, like, share), asked.count


@pytest.mark.parametrize("workers", [0, 2])
def test_each_image_is_encoded_once(samples: list[Labelled], workers: int) -> None:
    found, count = encode(samples, workers=workers)
    assert count == 11
    data = ClassificationDataset(samples, image_size=16)
    expected = [means(data[index]["image"][None])[0] for index in range(11)]
    assert all(torch.equal(found[index], expected[index]) for index in (10, 0, 5, 3, 4))
    again, count = encode(samples)
    assert count == 0
    assert all(torch.equal(again[index], expected[index]) for index in range(11))


def test_items_hold_features_in_place_of_images(samples: list[Labelled]) -> None:
    data = ClassificationDataset(samples, image_size=16)
    seen = data[0, 7]
    data.features, _ = encode(samples)
    for sample in samples:
        sample.image.unlink()
    item = data[0, 7]
    assert torch.equal(item.pop("feature"), means(seen.pop("image")[None])[0])
    assert item == seen
    assert "image" not in item


def test_what_changes_the_features_has_them_computed_anew(
    samples: list[Labelled], monkeypatch: pytest.MonkeyPatch
) -> None:
    encode(samples)
    assert encode(samples, "other weights")[1] == 11
    with monkeypatch.context() as patch:
        centre = reading.read_centre
        patch.setattr(reading, "read_centre", lambda path, side: centre(path, side)[::-1])
        assert encode(samples)[1] == 11
    os.utime(samples[5].image, ns=(0, 0))
    assert encode(samples)[1] == 4  # the file that holds it
    Image.open(samples[9].image).convert("L").save(samples[9].image)
    found, count = encode(samples)
    assert count == 3
    assert found[9].unique().numel() == 1
    assert encode(samples[:8])[1] == 0


def test_an_encoding_that_was_stopped_goes_on(samples: list[Labelled]) -> None:
    broken = samples[8].image.read_bytes()
    samples[8].image.write_bytes(broken[:60])
    with pytest.raises(ValueError, match=r"8\.png cannot be read as an image"):
        encode(samples)
    state = samples[8].image.stat()
    samples[8].image.write_bytes(broken)
    os.utime(samples[8].image, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert encode(samples)[1] == 3


def test_processes_share_the_work(samples: list[Labelled]) -> None:
    counts = [encode(samples, share=(rank, 2))[1] for rank in (0, 1)]
    assert counts == [4 + 3, 4]
    assert encode(samples)[1] == 0


def test_a_damaged_file_is_named(samples: list[Labelled]) -> None:
    found, _ = encode(samples)
    found.files[0].write_bytes(b"not tensors")
    with pytest.raises(ValueError, match=rf"{found.files[0].name} cannot be read .* remove it, and its images are enc"):
        found[1]
