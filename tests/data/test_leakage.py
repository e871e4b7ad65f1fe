"""Images in two splits at once: copies are refused, look-alikes are warned of."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFile

from graft.data import leakage
from graft.data.leakage import ALIKE, PLAIN, SHARED, SIDE, centre, check_copies, difference_hash, warn_of_lookalikes
from graft.data.samples import Sample
from graft.data.segmentation.folder import FolderSegmentation
from graft.data.segmentation.kvasir_seg import KvasirSEG
from graft.data.segmentation.phantom import phantom
from graft.data.segmentation.polyp_phantoms import PolypPhantoms
from graft.data.splits import Splits
from tests.data.conftest import Maker

STAGES = ["fit", "validate", "test"]


def scene(seed: int, height: int = 160, width: int = 192) -> Image.Image:
    return Image.fromarray(phantom(np.random.default_rng(seed), height, width)[0])


def list_names(root: Path, **lists: str) -> None:
    for split, names in lists.items():
        (root / f"{split}.txt").write_text("\n".join(names))


def splits_of(folder: Path, **files: Image.Image | bytes) -> Splits:
    """Write files, each named after its split and a letter, such as `train_a`, and return the splits."""
    splits: Splits = {"train": [], "val": [], "test": []}
    for name, content in files.items():
        path = folder / f"{name}.png"
        path.write_bytes(content) if isinstance(content, bytes) else content.save(path)
        splits[name.split("_")[0]].append(Sample(name, path))
    return splits


@pytest.mark.parametrize("stage", STAGES)
def test_copies_are_refused_whatever_their_names(make_set: Maker, stage: str) -> None:
    root = make_set(["a", "b", "c"])
    list_names(root, train="a", val="b", test="c")
    (root / "images" / "c.png").write_bytes((root / "images" / "a.png").read_bytes())
    sentence = r"a\.png \(train\) and .*c\.png \(test\) are the same image, byte for byte, but .*; remove one, or list"
    with pytest.raises(ValueError, match=sentence):
        FolderSegmentation(root, image_size=16).setup(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_copies_in_the_splits_of_a_csv(make_set: Maker, stage: str) -> None:
    root = make_set(["a", "b", "c"])
    (root / "more").mkdir()
    for copy, name in (("a", "a"), ("b", "b"), ("a2", "a")):
        (root / "more" / f"{copy}.png").write_bytes((root / "images" / f"{name}.png").read_bytes())
    rows = ["images/a,train", "more/a2,train", "images/b,train", "more/a,val", "more/b,test", "images/c,test"]
    pairs = [f"{row.split(',')[0]}.png,masks/a.png,{row.split(',')[1]}" for row in rows]
    (root / "set.csv").write_text("\n".join(["image,mask,split", *pairs]))
    data = FolderSegmentation(root, root / "set.csv", image_size=16)
    with pytest.raises(
        ValueError, match=r"images/a\.png \(train\) .*more/a\.png \(val\) .* \(and 1 more images are in"
    ):
        data.setup(stage)


def test_only_files_that_may_be_the_same_are_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    digest = leakage._digest
    monkeypatch.setattr(leakage, "_digest", lambda path: read.append(path.stem) or digest(path))
    middle, other = b"m" * 9000, b"o" * 9000
    files = {"train_a": b"1" + middle + b"1", "val_a": b"2" + middle + b"1", "test_a": b"1" + middle + b"2"}
    files |= {"val_b": b"1" + other + b"1", "train_c": b"longer" + middle, "train_d": b"twice", "train_e": b"twice"}
    check_copies(splits_of(tmp_path, **files))
    assert sorted(read) == ["test_a", "train_a", "val_a"]


def test_missing_and_empty_files_are_no_copies(tmp_path: Path) -> None:
    splits = splits_of(tmp_path, train_a=b"", val_a=b"", train_b=b"b", test_b=b"b")
    splits["train"][1].image.unlink()
    splits["test"].append(Sample("folder", tmp_path))
    splits["val"].append(Sample("folder", tmp_path))
    check_copies(splits)


def shifted(image: Image.Image) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, (1, 0, 2, 0, 1, 2))


def zoomed(image: Image.Image) -> Image.Image:
    return image.resize(image.size, Image.Resampling.BILINEAR, (4, 3, image.width - 4, image.height - 3))


def recompressed(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=20)
    return Image.open(file)


def brighter(image: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(1.3)


def smaller(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2))


@pytest.mark.parametrize("change", [shifted, zoomed, recompressed, brighter, smaller])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_look_alikes_are_named(make_set: Maker, change: Callable[..., Image.Image], suffix: str) -> None:
    root = make_set([f"{number:02}" for number in range(30)])
    for number, name in enumerate(["07", "08", "09"]):
        Image.fromarray(np.zeros((160, 192), dtype=np.uint8)).save(root / "masks" / f"{name}.png")
        scene(number).save(root / "images" / f"{name}.png")
    changed = change(scene(1))
    (root / "images" / "08.png").unlink()
    Image.new("L", changed.size).save(root / "masks" / "08.png")
    changed.save(root / "images" / f"08{suffix}")
    scene(1).save(root / "images" / "07.png")
    list_names(root, val="", test="")
    (root / "val.txt").write_text("08\n00")
    (root / "test.txt").write_text("09\n01")
    data = FolderSegmentation(root, image_size=16)
    with pytest.warns(UserWarning, match="look almost alike") as caught:
        data.setup("fit")
    [said] = [str(warning.message) for warning in caught]
    pair = f"{root / 'images' / '07.png'} (train) and {root / 'images' / f'08{suffix}'} (val)"
    assert f"such as {pair} (pairs found: 1)" in said
    assert "list whole sequences in train.txt, val.txt or test.txt" in said
    for stage in ("validate", "test"):
        data.setup(stage)  # says nothing: who only evaluates has no split to choose


def test_other_processes_say_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = splits_of(tmp_path, train_a=scene(0), val_a=brighter(scene(0)))
    with pytest.warns(UserWarning, match="pairs found: 1"):
        warn_of_lookalikes(splits)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    warn_of_lookalikes(splits)


def test_look_alikes_within_a_split_are_nobodys_business(tmp_path: Path) -> None:
    warn_of_lookalikes(splits_of(tmp_path, train_a=scene(0), train_b=brighter(scene(0)), val_a=scene(1)))


def test_large_sets_are_looked_at_in_part(tmp_path: Path) -> None:
    files = {f"{split}_{n}": scene(n) for split in ("train", "val", "test") for n in range(4)}
    splits = splits_of(tmp_path, **files)
    with pytest.warns(UserWarning, match=r"train_\d\.png.*, or .*\(pairs found: 12\)\. Scores"):
        warn_of_lookalikes(splits, most=12)
    with pytest.warns(UserWarning, match=r"train_[02].* and .*val_[02].*, or .*\(pairs found: 6, among 6 of 12 im"):
        warn_of_lookalikes(splits, most=6)  # 0 and 2 of each


def test_generated_phantoms_do_not_look_alike(tmp_path: Path) -> None:
    data = PolypPhantoms(tmp_path / "phantoms", train_count=60, val_count=20, test_count=20, image_size=128)
    data.prepare_data()
    data.setup("fit")  # a warning would be an error


def test_plain_images_tell_nothing(tmp_path: Path) -> None:
    colours = [Image.new("RGB", (40, 30), colour) for colour in ("black", "white", "red")]
    dots = [Image.new("L", (40, 30)), Image.new("L", (40, 30))]
    for dot, value in zip(dots, (100, 200), strict=True):
        dot.putpixel((20, 15), value)
    warn_of_lookalikes(splits_of(tmp_path, train_a=colours[0], val_a=colours[1], test_a=colours[2]))
    warn_of_lookalikes(splits_of(tmp_path, train_a=dots[0], val_a=dots[1]))


def test_real_images_rarely_look_alike(kvasir: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_lookalikes(KvasirSEG(kvasir).splits())
    counts = [int(str(warning.message).split("pairs found: ")[1].split(")")[0]) for warning in caught]
    assert sum(counts) <= 10  # some images do show the same scene


def test_unreadable_files_are_passed_over(tmp_path: Path) -> None:
    whole = scene(0)
    file = io.BytesIO()
    whole.save(file, "PNG")
    broken = {"val_text": b"no image", "val_half": file.getvalue()[:9000], "val_empty": b""}
    splits = splits_of(tmp_path, train_a=whole, val_a=scene(1), **broken)
    splits["test"] = [Sample("gone", tmp_path / "gone.png"), Sample("folder", tmp_path)]
    warn_of_lookalikes(splits)
    warn_of_lookalikes({split: splits[split] for split in ("test",)})
    with pytest.warns(UserWarning, match=r"train_a.* and .*test_a"):  # though others cannot be read
        warn_of_lookalikes({**splits, **splits_of(tmp_path, train_a=whole, test_a=brighter(whole))})


def test_files_that_pillow_warns_of(tmp_path: Path) -> None:
    image = scene(0)
    file = io.BytesIO()
    image.quantize().save(file, "PNG", transparency=bytes(range(256)))
    with pytest.warns(UserWarning, match="look almost alike") as caught:
        warn_of_lookalikes(splits_of(tmp_path, train_a=image, val_a=file.getvalue()))
    assert len(caught) == 1


def test_large_jpegs_are_decoded_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene(0).resize((1600, 1200)).save(tmp_path / "a.jpg")
    decoded: list[Any] = []
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: decoded.append(image.size) or load(image))
    difference_hash(tmp_path / "a.jpg")
    assert set(decoded) == {(200, 150)}


@pytest.mark.parametrize("share", [0.9, 0.3])  # Pillow itself warns of one and refuses the other
def test_bombs_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    decoded: list[Any] = []
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: decoded.append(image.size) or load(image))
    image = scene(0)
    splits = splits_of(tmp_path, train_a=image, val_a=brighter(image))
    decoded.clear()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(share * image.width * image.height))
    warn_of_lookalikes(splits)
    assert decoded == []
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.warns(UserWarning, match="look almost alike"):
        warn_of_lookalikes(splits)


def slow_resize(values: NDArray[Any], width: int, height: int, whole: bool) -> NDArray[Any]:
    """Average with a triangle as wide as two output pixels, columns first; whole numbers after each pass for 8 bits."""
    for count in (width, height):
        scale = values.shape[1] / count
        reach = max(scale, 1)
        out = np.zeros((values.shape[0], count))
        for index in range(count):
            offset = np.abs(np.arange(values.shape[1]) + 0.5 - (index + 0.5) * scale)
            weights = np.where(offset < reach, 1 - offset / reach, 0)
            out[:, index] = values @ (weights / weights.sum())
        values = (np.floor(out + 0.5) if whole else out).T
    return values.round(6)  # so that averages of equal numbers are equal


def slow_hash(grey: NDArray[Any], whole: bool) -> list[int]:
    right, down = slow_resize(grey, SIDE + 1, SIDE, whole), slow_resize(grey, SIDE, SIDE + 1, whole)
    steps = [right[row, column + 1] - right[row, column] for row in range(SIDE) for column in range(SIDE)]
    steps += [down[row + 1, column] - down[row, column] for row in range(SIDE) for column in range(SIDE)]
    return [int(step > 0) - int(step < 0) for step in steps]


@pytest.mark.parametrize(("height", "width"), [(160, 192), (97, 131), (40, 56), (12, 10)])
def test_hash_against_its_definition(tmp_path: Path, height: int, width: int) -> None:
    image = scene(5, height, width)
    red, green, blue = np.moveaxis(np.asarray(image, dtype=np.int64), 2, 0)
    grey = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16  # ITU-R 601
    deep = Image.fromarray((grey * 200 + 13).astype(np.uint16))  # mostly above 255
    splits = splits_of(tmp_path, train_a=image, train_b=Image.fromarray(grey.astype(np.uint8)), train_c=deep)
    colour, eight, sixteen = (difference_hash(sample.image) for sample in splits["train"])
    assert colour is not None
    assert eight is not None
    assert sixteen is not None
    assert colour.tolist() == eight.tolist()
    # Pillow computes with whole numbers, so that what is next to a half may be rounded otherwise.
    assert np.mean(eight == slow_hash(grey, whole=True)) > 0.99
    assert np.mean(sixteen == slow_hash(grey * 200 + 13, whole=False)) > 0.99


def test_likeness_against_its_definition() -> None:
    hashes = np.random.default_rng(0).integers(-1, 2, (7, 2 * SIDE**2)).astype(np.int8)
    hashes[5:] = 0
    hashes[5:, :9] = 1  # too plain
    rows = centre(hashes)
    mean = [sum(int(value) for value in column) / (7 + SHARED) for column in hashes.T]
    without = [[value - m for value, m in zip(row, mean, strict=True)] for row in hashes.tolist()]
    lengths = [max(sum(d * d for d in row) ** 0.5, PLAIN) for row in without]
    for one in range(7):
        for other in range(7):
            product = sum(a * b for a, b in zip(without[one], without[other], strict=True))
            assert rows[one] @ rows[other] == pytest.approx(product / lengths[one] / lengths[other], abs=1e-5)
    assert rows[0] @ rows[0] == pytest.approx(1, abs=1e-5)
    assert rows[5] @ rows[6] < ALIKE
