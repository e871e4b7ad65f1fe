"""Random cuts and middles, held against torchvision."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.random import Generator
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, RandomResizedCrop, Resize
from torchvision.transforms.functional import resized_crop

from graft.data.classification import crop as crops
from graft.data.classification.crop import Crop, cut_centre
from graft.data.classification.dataset import ClassificationDataset, read_centre
from graft.data.classification.division import Labelled
from graft.data.images import Pixels, read_image

BICUBIC = InterpolationMode.BICUBIC


def noise(width: int, height: int) -> Pixels:
    return np.random.default_rng((width, height)).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(width: int, height: int) -> Image.Image:
    """A picture with detail, but not of single pixels, as photographs are."""
    return Image.fromarray(noise(width // 16, height // 16)).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("side", [7, 32, 33])
@pytest.mark.parametrize(
    "size", [(32, 32), (33, 32), (40, 31), (31, 40), (8, 8), (500, 375), (101, 333), (35, 32), (7, 200), (1, 1)]
)
def test_the_middle_is_torchvisions_bit_for_bit(size: tuple[int, int], side: int) -> None:
    image = noise(*size)
    expected = Compose([Resize(side, BICUBIC), CenterCrop(side)])(Image.fromarray(image))
    assert (cut_centre(image, side) == np.asarray(expected)).all()


@pytest.mark.parametrize(("mode", "suffix"), [("L", ".png"), ("RGBA", ".png"), ("RGB", ".jpg")])
def test_the_middle_of_a_file_is_torchvisions(tmp_path: Path, mode: str, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(noise(60, 47)).convert(mode).save(path)
    with Image.open(path) as image:
        expected = Compose([Resize(24, BICUBIC), CenterCrop(24)])(image.convert("RGB"))
    assert (read_centre(path, 24) == np.asarray(expected)).all()  # 47 < 2 x 48: decoded in full


def test_a_large_jpeg_is_decoded_small_and_hardly_differs(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    smooth(4000, 3000).save(path, quality=90)
    assert read_image(path, least=448).shape == (750, 1000, 3)  # a quarter; an eighth would be 375 high
    seconds = {}
    for least in (448, None):
        times = []
        for _ in range(3):
            start = time.perf_counter()
            image = read_image(path, least)
            times.append(time.perf_counter() - start)
        seconds[least] = min(times)
        whole = cut_centre(image, 224)
    assert seconds[448] < 0.6 * seconds[None]
    difference = np.abs(read_centre(path, 224).astype(int) - whole)
    assert difference.mean() < 0.5  # of 255
    assert difference.max() <= 8


@pytest.mark.parametrize(("least", "height"), [(None, 64), (64, 64), (33, 64), (32, 32), (16, 16), (8, 8), (1, 8)])
def test_both_sides_keep_what_is_needed_however_the_jpeg_is_turned(
    tmp_path: Path, least: int | None, height: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.fromarray(noise(64, 96)).save(tmp_path / "a.jpg", exif=exif)
    Image.fromarray(noise(64, 96)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.jpg", least).shape == (height, height * 3 // 2, 3)
    assert read_image(tmp_path / "a.png", least).shape == (96, 64, 3)


@pytest.mark.parametrize("flip", [True, False])
def test_a_cut_is_scaled_as_torchvisions(flip: bool) -> None:
    image, mirrored = noise(61, 47), 0
    for seed in range(40):
        crop = Crop(scale=0.3, flip=flip)
        left, top, width, height = crop.cut(61, 47, np.random.default_rng(seed))
        expected = np.asarray(resized_crop(Image.fromarray(image), top, left, height, width, [20, 20], BICUBIC))
        found = crop(image, 20, np.random.default_rng(seed))
        if (found != expected).any():
            assert (found[:, ::-1] == expected).all()
            mirrored += 1
    assert mirrored == 0 if not flip else 10 < mirrored < 30


@pytest.mark.parametrize(("width", "height"), [(60, 40), (40, 60), (50, 50), (200, 20), (20, 200)])
@pytest.mark.parametrize("scale", [0.08, 0.7])
def test_cuts_are_spread_as_torchvisions(width: int, height: int, scale: float) -> None:
    rng, image = np.random.default_rng(0), torch.zeros(3, height, width)
    torch.manual_seed(0)
    cuts = [Crop(scale).cut(width, height, rng) for _ in range(4000)]
    ours = np.array([(left, top, w, h, w * h, w / h) for left, top, w, h in cuts])
    their_cuts = [RandomResizedCrop.get_params(image, [scale, 1], [3 / 4, 4 / 3]) for _ in range(4000)]
    theirs = np.array([(left, top, w, h, w * h, w / h) for top, left, h, w in their_cuts])
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, 0] + ours[:, 2] <= width).all()
    assert (ours[:, 1] + ours[:, 3] <= height).all()
    error = np.maximum(theirs.std(0), 1e-3) / np.sqrt(4000)
    assert (np.abs(ours.mean(0) - theirs.mean(0)) < 6 * error).all()
    assert (np.abs(ours.std(0) - theirs.std(0)) < 6 * error).all()


@pytest.mark.parametrize("scale", [0, -1, 1.1])
def test_bad_scale(scale: float) -> None:
    with pytest.raises(ValueError, match=rf"scale is {scale}, but must be above 0 and at most 1\."):
        Crop(scale)


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = orientation
    return found


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes (height, width, 3) in which cuts have their images decoded."""
    shapes: list[tuple[int, ...]] = []

    def read(path: Path, least: int | None = None) -> Pixels:
        shapes.append((image := read_image(path, least)).shape)
        return image

    monkeypatch.setattr(crops, "read_image", read)
    return shapes


def both(crop: Crop, path: Path, side: int, seed: int) -> tuple[Pixels, Pixels]:
    """The square from the file, and from the whole image; both have drawn the same numbers."""
    ours, theirs = np.random.default_rng(seed), np.random.default_rng(seed)
    squares = crop.read(path, side, ours), crop(read_image(path), side, theirs)
    assert ours.bit_generator.state == theirs.bit_generator.state
    return squares


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("size", "suffix"), [((61, 47), ".jpg"), ((331, 257), ".png"), ((331, 257), ".tif")])
def test_small_and_other_files_are_cut_bit_for_bit(
    tmp_path: Path, size: tuple[int, int], suffix: str, orientation: int
) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(noise(*size)).save(path, exif=exif(orientation))
    for seed in range(8):
        found, expected = both(Crop(), path, 12, seed)
        assert (found == expected).all()


@pytest.mark.parametrize("size", [(2000, 1500), (2003, 1497)])
def test_a_large_jpeg_is_cut_from_a_small_one(
    tmp_path: Path, decoded: list[tuple[int, ...]], size: tuple[int, int]
) -> None:
    path = tmp_path / "large.jpg"
    smooth(*size).save(path, quality=90)
    scales = set()
    for seed in range(15):
        found, expected = both(Crop(), path, 160, seed)
        cut = Crop().cut(*size, np.random.default_rng(seed))
        scales.add(scale := round(size[0] / decoded[-1][1]))
        assert min(cut[2:]) / scale >= 2 * 160
        assert min(cut[2:]) / (2 * scale) <= 2 * 160
        assert np.abs(found.astype(int) - expected).mean() < 1  # of 255
    assert scales == {1, 2, 4}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(896, 600), (901, 603)])
def test_a_cut_shows_the_same_place_however_the_jpeg_is_turned(
    tmp_path: Path, decoded: list[tuple[int, ...]], size: tuple[int, int], orientation: int
) -> None:
    across, down = np.meshgrid(*(np.linspace(0, 255, side) for side in size))
    ramps = np.stack([across, down, 255 - across], axis=2).astype(np.uint8)  # a colour for each place
    Image.fromarray(ramps).save(tmp_path / "a.jpg", quality=95, subsampling=0, exif=exif(orientation))
    for seed in range(15):
        found, expected = both(Crop(), tmp_path / "a.jpg", 16, seed)
        assert np.abs(found.astype(int) - expected).mean() < (1 if size == (896, 600) else 3)  # 8 pixels differ by 3
    assert {round(size[1] / min(shape[:2])) for shape in decoded} == {4, 8}


class Darker(Crop):
    """A user's own augmentation of the whole image."""

    def __call__(self, image: Pixels, side: int, rng: Generator) -> Pixels:
        assert image.shape == (640, 896, 3)
        return super().__call__(image // 2, side, rng)


class LeftHalf(Crop):
    """A user's own choice of the part."""

    def cut(self, width: int, height: int, rng: Generator) -> tuple[int, int, int, int]:
        return 0, 0, width // 2, height


def test_a_subclass_is_given_what_it_expects(tmp_path: Path, decoded: list[tuple[int, ...]]) -> None:
    path = tmp_path / "a.jpg"
    smooth(896, 640).save(path)
    found, expected = both(Darker(), path, 16, 0)
    assert (found == expected).all()
    item = ClassificationDataset([Labelled("a", path, 0)], 16, Darker())[0, 0]
    rng = np.random.default_rng((0, 0, 0))
    assert (item["image"].numpy() == Darker()(read_image(path), 16, rng).transpose(2, 0, 1)).all()
    assert set(decoded) == {(640, 896, 3)}
    found, expected = both(LeftHalf(), path, 16, 0)
    assert np.abs(found.astype(int) - expected).mean() < 1
    assert decoded[-1] == (80, 112, 3)
    decoded.clear()
    ClassificationDataset([Labelled("a", path, 0)], 16, LeftHalf())[0, 0]
    assert decoded == [(80, 112, 3)]
