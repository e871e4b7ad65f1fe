"""Every kind of file gives RGB, or class indices, or one sentence."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graft.data.images import jpeg_size, read_image, read_mask

RGB = (204, 102, 51)  # in the palette of web colours


def save(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours_stay(tmp_path: Path, mode: str) -> None:
    path = save(Image.new("RGB", (4, 3), RGB).convert(mode), tmp_path / "a.png")
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.shape == (3, 4, 3)
    assert (image == RGB).all()


def test_grey_has_three_equal_channels(tmp_path: Path) -> None:
    assert (read_image(save(Image.new("L", (4, 3), 77), tmp_path / "a.png")) == np.full((3, 4, 3), 77)).all()


def test_cmyk(tmp_path: Path) -> None:
    image = read_image(save(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), tmp_path / "a.jpg"))
    assert np.abs(image.astype(int) - [255, 0, 0]).max() < 8


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (4, 3), 1)
    image.putpalette([0, 0, 0, *RGB])
    assert (read_image(save(image, tmp_path / "a.png", transparency=b"\x00\xff")) == RGB).all()


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 257, 300 * 100, 65535]], dtype=np.uint16)
    image = read_image(save(Image.fromarray(values), tmp_path / "a.png"))
    assert image[0, :, 0].tolist() == [0, 1, round(30000 / 257), 255]


def test_exif_turns_image_and_mask(tmp_path: Path) -> None:
    pixels = np.zeros((2, 5), dtype=np.uint8)
    pixels[0, 4] = 255  # top right
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: top right becomes bottom right
    path = save(Image.fromarray(pixels), tmp_path / "a.png", exif=exif)
    for read in (read_image(path)[..., 0] // 255, read_mask(path, 1)):
        assert read.shape == (5, 2)
        assert np.argwhere(read).tolist() == [[4, 1]]


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
@pytest.mark.parametrize(("mode", "suffix"), [("RGB", ".jpg"), ("L", ".jpg"), ("CMYK", ".jpg"), ("RGB", ".png")])
def test_a_jpegs_size_is_known_before_it_is_decoded(
    tmp_path: Path, mode: str, suffix: str, orientation: int | None
) -> None:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    path = save(Image.new(mode, (20, 12)), tmp_path / f"a{suffix}", exif=exif)
    height, width, _ = read_image(path).shape
    assert jpeg_size(path) == ((width, height) if suffix == ".jpg" else None)
    path = path.rename(tmp_path / "a.bmp")  # the content counts
    assert jpeg_size(path) == ((width, height) if suffix == ".jpg" else None)


@pytest.mark.parametrize(
    ("content", "word"), [(b"", "cannot identify"), (b"no image", "cannot identify"), (None, "truncated")]
)
def test_broken_file_is_named(tmp_path: Path, content: bytes | None, word: str) -> None:
    path = tmp_path / "bröken.jpg"
    if content is None:
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        content = save(Image.fromarray(noise), path).read_bytes()[:1500]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"bröken.jpg cannot be read as an image.*{word}"):
        read_image(path)
    if word != "truncated":  # which its header does not show
        with pytest.raises(ValueError, match=f"bröken.jpg cannot be read as an image.*{word}"):
            jpeg_size(path)


@pytest.mark.parametrize("read", [read_image, jpeg_size])
def test_missing_file_is_named(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.png does not exist"):
        read(tmp_path / "gone.png")


@pytest.mark.parametrize("read", [read_image, jpeg_size])
@pytest.mark.parametrize("limit", [99, 40])  # Pillow warns above its limit, and refuses above its double
def test_too_many_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, read: Callable[[Path], object]
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(ValueError, match=f"more than the {limit} pixels"):
        read(save(Image.new("L", (10, 10)), tmp_path / "a.jpg"))


def test_fractions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fractions"):
        read_image(save(Image.new("F", (4, 3), 0.5), tmp_path / "a.tif"))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0, 0, 0], [0, 0, 0, 0]),
        ([0, 1, 1, 0], [0, 1, 1, 0]),
        ([0, 7, 3, 1], [0, 0, 0, 0]),  # JPEG noise of an empty mask
        ([7, 127, 128, 248], [0, 0, 1, 1]),
        ([248, 255, 250, 251], [1, 1, 1, 1]),
    ],
)
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_binary_threshold(tmp_path: Path, values: list[int], expected: list[int], mode: str) -> None:
    path = save(Image.fromarray(np.array([values], dtype=np.uint8)).convert(mode), tmp_path / "m.png")
    assert read_mask(path, 1)[0].tolist() == expected


def test_binary_mask_of_sixteen_bits_and_of_one(tmp_path: Path) -> None:
    deep = save(Image.fromarray(np.array([[0, 300, 40000, 65535]], dtype=np.uint16)), tmp_path / "a.png")
    bits = save(Image.fromarray(np.array([[False, True]])), tmp_path / "b.png")
    assert read_mask(deep, 1)[0].tolist() == [0, 0, 1, 1]
    assert read_mask(bits, 1)[0].tolist() == [0, 1]


def test_jpeg_noise_of_an_empty_mask_stays_empty_even_at_one(tmp_path: Path) -> None:
    path = save(Image.new("L", (16, 16), 1), tmp_path / "m.jpg", quality=100)
    assert np.asarray(Image.open(path)).max() == 1
    assert not read_mask(path, 1).any()


def test_palette_masks(tmp_path: Path) -> None:
    indices = Image.fromarray(np.array([[0, 1, 1]], dtype=np.uint8)).convert("P")
    indices.putdata([0, 1, 1])
    indices.putpalette([0, 0, 0, 10, 0, 0])  # index 1 is dark, and still the object
    assert read_mask(save(indices, tmp_path / "a.png"), 1)[0].tolist() == [0, 1, 1]
    indices.putdata([0, 2, 1])
    indices.putpalette([0, 0, 0, 10, 0, 0, 255, 255, 255])
    assert read_mask(save(indices, tmp_path / "b.png"), 1)[0].tolist() == [0, 1, 0]
    assert read_mask(tmp_path / "b.png", 2)[0].tolist() == [0, 2, 1]


def test_indices_stay_and_unknown_ones_are_refused(tmp_path: Path) -> None:
    path = save(Image.fromarray(np.array([[0, 1, 2, 3]], dtype=np.uint8)), tmp_path / "m.png")
    assert read_mask(path, 3)[0].tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"m\.png holds the class index 3, but there are 2 classes"):
        read_mask(path, 2)


@pytest.mark.parametrize(("mode", "name"), [("L", "m.jpg"), ("RGB", "m.png")])
def test_indices_cannot_be_lossy_or_coloured(tmp_path: Path, mode: str, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} cannot hold the indices of 2 classes"):
        read_mask(save(Image.new(mode, (4, 3)), tmp_path / name), 2)
