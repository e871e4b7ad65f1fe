"""Laws over all published classification sets: what each reads, and what it says when its files are not there.

The images and lists are `tests.layouts`'; torchvision reads the same folders wherever it knows the set.
"""

import gc
import inspect
import json
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
from torchvision import datasets
from torchvision.datasets import flowers102, utils

from graft import data
from graft.data.classification.base import ClassificationData
from graft.data.classification.division import Division
from graft.data.classification.published import label_folders
from graft.data.files import keeping_all
from graft.download import DownloadError
from tests.layouts import LAYOUTS

OWN = {"Digits", "FolderClassification"}  # whose images are written by Graft or are the user's
SETS: dict[str, type[ClassificationData]] = {
    name: kind
    for name in data.__all__
    if inspect.isclass(kind := getattr(data, name)) and issubclass(kind, ClassificationData)
    if not inspect.isabstract(kind) and name not in OWN
}
FETCHED = sorted(name for name, kind in SETS.items() if kind.fetch is not ClassificationData.fetch)
WITH_FILE = sorted(name for name, kind in SETS.items() if kind.split_file)

NAMES = {
    "Food101": ["apple_pie", "baby_back_ribs", "hot_dog"],
    "DTD": ["banded", "polka-dotted", "zigzagged"],
    "Caltech101": ["face", "leopard", "airplane", "wild_cat"],
    "OxfordPets": ["abyssinian", "american_bulldog", "bengal", "yorkshire_terrier"],
    "EuroSAT": ["Annual Crop Land", "Forest", "Sea or Lake"],
    "Flowers102": ["pink primrose", "hard-leaved pocket orchid", "canterbury bells"],
    "FGVCAircraft": ["707-320", "Gulfstream IV", "F/A-18"],
    "StanfordCars": ["2000 AM General Hummer SUV", "2012 Acura RL Sedan", "2012 Ram C/V Cargo Van Minivan"],
    "SUN397": ["abbey", "airplane_cabin", "outdoor church"],
    "UCF101": ["Apply_Eye_Makeup", "Handstand_Pushups", "Yo_Yo"],
    "ImageNet": ["tench", "goldfish", "great white shark"],
}

INSIDE = {  # where torchvision keeps what is a set's root
    "Food101": "food-101",
    "DTD": "dtd/dtd",
    "Caltech101": "caltech101",
    "OxfordPets": "oxford-iiit-pet",
    "EuroSAT": "eurosat",
    "Flowers102": "flowers-102",
    "FGVCAircraft": "fgvc-aircraft-2013b/data",
    "StanfordCars": "stanford_cars",
    "SUN397": "",
    "ImageNet": "",
}

ARCHIVES = {  # as they are published: what lies where in them, and where in the layout
    "Food101": {"food-101.tar.gz": {"food-101": ""}},
    "DTD": {"dtd-r1.0.1.tar.gz": {"dtd": ""}},
    "Caltech101": {"caltech-101.zip": {"caltech-101/101_ObjectCategories.tar.gz": "101_ObjectCategories.tar.gz"}},
    "OxfordPets": {"images.tar.gz": {"images": "images"}, "annotations.tar.gz": {"annotations": "annotations"}},
    "EuroSAT": {"EuroSAT.zip": {"2750": "2750"}},
    "Flowers102": {"102flowers.tgz": {"jpg": "jpg"}, "imagelabels.mat": {}, "setid.mat": {}},
    "FGVCAircraft": {"fgvc-aircraft-2013b.tar.gz": {"fgvc-aircraft-2013b/data": ""}},
}

Read = dict[str, dict[Path, int]]  # of each split the files and their labels


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))


def make(name: str, root: Path) -> Path:
    root.mkdir(parents=True)
    LAYOUTS[name](root)
    return root


def divided(name: str, root: Path, **options: Any) -> ClassificationData:
    """A set that is ready for training and testing."""
    found = SETS[name](root, image_size=32, num_workers=0, **options)
    found.setup("fit")
    found.setup("test")
    return found


def read(division: Division) -> Read:
    return {split: {sample.image: sample.label for sample in part} for split, part in division.splits.items()}


def below(found: ClassificationData) -> dict[str, dict[str, int]]:
    """The official split with the paths below the root."""
    parts = read(found.official())
    return {s: {p.relative_to(found.root).as_posix(): label for p, label in part.items()} for s, part in parts.items()}


def needed(name: str) -> tuple[str, ...]:
    """What the set's file says that its official split needs."""
    files: tuple[str, ...] = sys.modules[SETS[name].__module__].FILES  # type: ignore[attr-defined]
    return files


def test_every_exported_set_has_a_layout() -> None:
    assert set(SETS) == set(LAYOUTS) == set(NAMES)


@pytest.mark.parametrize("split", ["official", "coop"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_split_is_whole(name: str, split: str, tmp_path: Path) -> None:
    found = divided(name, make(name, tmp_path / "set"), split=split)
    assert found.division.names == NAMES[name]
    assert found.names == [words.replace("_", " ") for words in NAMES[name]]
    samples = [sample for part in found.division.splits.values() for sample in part]
    assert all(found.division.splits.values()), "an empty split"
    assert all(sample.image.is_file() for sample in samples)
    assert {sample.label for sample in found.division.splits["train"]} == set(range(len(NAMES[name])))
    assert {sample.label for sample in samples} == set(range(len(NAMES[name])))
    assert len({sample.image for sample in samples}) == len(samples), "an image in two splits"
    batch = next(iter(found.train_dataloader()))
    assert batch["image"].shape[1:] == (3, 32, 32)


@pytest.mark.parametrize("name", WITH_FILE)
def test_coops_file_is_read_as_it_is(name: str, tmp_path: Path) -> None:
    found = divided(name, make(name, tmp_path / "set"))
    kind = SETS[name]
    rows = json.loads((found.root / str(kind.split_file)).read_text())
    expected = {split: {found.root / kind.images / file: label for file, label, _ in rows[split]} for split in rows}
    assert read(found.division) == expected
    assert str(kind.split_file) in found.division.origin


@pytest.mark.parametrize("name", WITH_FILE)
def test_without_coops_file_the_split_is_the_official_one(name: str, tmp_path: Path) -> None:
    root = make(name, tmp_path / "set")
    (root / str(SETS[name].split_file)).unlink()
    assert read(divided(name, root).division) == read(divided(name, root, split="official").division)


def theirs(name: str, root: Path) -> Read:
    """What torchvision reads in the folder that holds `INSIDE[name]`."""
    parts = {"train": "train", "val": "val", "test": "test"}
    if name == "Food101":
        readers: dict[str, Any] = {part: datasets.Food101(root, part) for part in ("train", "test")}
    elif name == "DTD":
        readers = {part: datasets.DTD(root, part) for part in parts}
    elif name == "OxfordPets":
        readers = {"train": datasets.OxfordIIITPet(root, "trainval"), "test": datasets.OxfordIIITPet(root, "test")}
    elif name == "Flowers102":
        readers = {part: datasets.Flowers102(root, part) for part in parts}
    elif name == "FGVCAircraft":
        readers = {part: datasets.FGVCAircraft(root, part) for part in parts}
    elif name == "StanfordCars":
        readers = {part: datasets.StanfordCars(root, part) for part in ("train", "test")}
    elif name == "ImageNet":
        folders = {"train": "train", "test": "val"}
        readers = {part: datasets.ImageFolder(root / "images" / folder) for part, folder in folders.items()}
    elif name == "EuroSAT":
        readers = {"": datasets.EuroSAT(root)}
    elif name == "SUN397":
        readers = {"": datasets.SUN397(root)}
    else:
        reader = datasets.Caltech101(root)  # keeps numbers of files, and Faces_easy
        kept = [category for category in reader.categories if category != "Faces_easy"]
        rows = [(reader.categories[y], index) for y, index in zip(reader.y, reader.index, strict=True)]
        folder = Path(reader.root) / "101_ObjectCategories"
        return {"": {folder / c / f"image_{index:04d}.jpg": kept.index(c) for c, index in rows if c in kept}}
    return {part: dict(_pairs(reader)) for part, reader in readers.items()}


def _pairs(reader: Any) -> Iterator[tuple[Path, int]]:
    """The files and labels of one of torchvision's sets, which keep them under several names."""
    for names in (("_samples",), ("samples",), ("_image_files", "_labels"), ("_images", "_labels")):
        if all(hasattr(reader, name) for name in names):
            values = [getattr(reader, name) for name in names]
            rows = values[0] if len(values) == 1 else zip(*values, strict=True)
            yield from ((Path(file), int(label)) for file, label in rows)
            return
    raise AssertionError(f"{reader} keeps its files elsewhere")


@pytest.mark.parametrize("name", INSIDE)
def test_torchvision_reads_the_same(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flowers102, "check_integrity", lambda path, md5: Path(path).is_file())
    root = make(name, tmp_path / INSIDE[name] if INSIDE[name] else tmp_path / "set")
    ours = read(SETS[name](root).official())
    expected = theirs(name, tmp_path if INSIDE[name] else root)
    if "" in expected:  # torchvision has all images, but no split of them
        assert {file: label for part in ours.values() for file, label in part.items()} == expected[""]
    else:
        assert ours == {"val": {}} | expected


@pytest.mark.parametrize("name", ["Caltech101", "EuroSAT"])
def test_classes_without_an_official_split_are_divided_alike_everywhere(name: str, tmp_path: Path) -> None:
    division = SETS[name](make(name, tmp_path / "set")).official()
    again = SETS[name](make(name, tmp_path / "elsewhere/set")).official()
    for split, count in (("train", 3), ("val", 1), ("test", 2)):  # of six: 50 : 20 : 30
        labels = [sample.label for sample in division.splits[split]]
        assert [labels.count(label) for label in range(len(division.names))] == [count] * len(division.names)
        assert [s.image.name for s in division.splits[split]] == [s.image.name for s in again.splits[split]]
    assert "none is official" in division.origin


@pytest.mark.parametrize("name", ["DTD", "Caltech101", "EuroSAT"])
def test_a_hidden_folder_is_no_class(name: str, tmp_path: Path) -> None:
    root = make(name, tmp_path / "set")
    (root / SETS[name].images / ".thumbnails").mkdir()
    assert SETS[name](root).official().names == NAMES[name]


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_template_has_one_place_for_the_name(name: str) -> None:
    assert SETS[name].template.count("{}") == 1
    assert SETS[name].template.endswith(".")


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_is_missing_is_named_in_a_sentence(name: str, tmp_path: Path) -> None:
    root = tmp_path / "typo"
    with pytest.raises(FileNotFoundError) as refusal:
        SETS[name](root, image_size=32).setup("fit")
    assert str(refusal.value).startswith(f"{root} does not hold {', '.join(needed(name))}: ")
    assert "http" in str(refusal.value)
    assert ("leave root out to have it fetched" in str(refusal.value)) == (name in FETCHED)
    assert str(refusal.value).endswith((".", ".)"))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("name", "file"), [(name, file) for name in LAYOUTS for file in needed(name)])
def test_each_file_that_is_missing_is_named(name: str, file: str, tmp_path: Path) -> None:
    root = make(name, tmp_path / "set")
    (root / file).rename(tmp_path / "taken")
    with pytest.raises(FileNotFoundError) as refusal:
        SETS[name](root).official()
    assert str(refusal.value).startswith(f"{root} does not hold {file}: ")


def pack(archive: Path, members: dict[str, str], layout: Path) -> None:
    """Write an archive of parts of a layout; of no parts, copy the file of its name."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as file:
            for name, source in members.items():
                for path in [layout / source, *sorted((layout / source).rglob("*"))]:
                    file.write(path, Path(name) / path.relative_to(layout / source))
    elif members:
        with tarfile.open(archive, "w:gz") as tar:
            for name, source in members.items():
                tar.add(layout / source, name)
    else:
        shutil.copy(layout / archive.name, archive)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Make torchvision find a set's archives, as published, and return the list of what it downloads."""

    def serve(name: str) -> list[str]:
        layout, downloads = make(name, tmp_path / "layout"), list[str]()
        if name == "Caltech101":
            pack(layout / "101_ObjectCategories.tar.gz", {"101_ObjectCategories": "101_ObjectCategories"}, layout)
        for file in layout.glob("split_zhou_*"):
            file.unlink()

        def download_url(url: str, root: str, filename: str | None = None, md5: str | None = None) -> None:
            file = filename or url.rsplit("/", 1)[1]
            Path(root).mkdir(parents=True, exist_ok=True)
            pack(Path(root) / file, ARCHIVES[name][file], layout)
            downloads.append(file)

        for module in (utils, flowers102):
            monkeypatch.setattr(module, "download_url", download_url)
        monkeypatch.setattr(flowers102, "check_integrity", lambda path, md5: Path(path).is_file())
        return downloads

    return serve


def files_below(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_every_fetched_set_is_served() -> None:
    assert set(FETCHED) == set(ARCHIVES)


@pytest.mark.parametrize("name", FETCHED)
def test_a_set_is_fetched_once(name: str, served: Callable[[str], list[str]], tmp_path: Path) -> None:
    downloads = served(name)
    found = SETS[name]()
    part = tmp_path / "cache" / f"{found.folder}.part"
    (part / INSIDE[name] / found.images).mkdir(
        parents=True
    )  # of a process that was killed; torchvision takes it as whole
    found.root.mkdir()
    (found.root / "notes.txt").touch()  # and CoOp's file, which one may put there first, stay
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: SETS[name]().prepare_data(), range(2)))
    found.prepare_data()
    assert downloads == list(ARCHIVES[name])
    left_out = {"cat_to_name.json", "101_ObjectCategories.tar.gz"}  # CoOp's own, and what was packed for this test
    assert files_below(found.root) >= {"notes.txt"} | files_below(tmp_path / "layout") - left_out
    assert not [path for path in files_below(found.root) if path.endswith((".gz", ".tgz", ".zip"))]
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {found.folder, f"{found.folder}.lock"}
    assert below(found) == below(SETS[name](tmp_path / "layout"))


@pytest.mark.parametrize("name", FETCHED)
@pytest.mark.parametrize("error", [URLError("no route"), RuntimeError("File not found or corrupted."), EOFError()])
def test_what_cannot_be_fetched_is_told_how_to_get(
    name: str, error: Exception, served: Callable[[str], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served(name)

    def download_url(url: str, root: str, *args: Any, **kwargs: Any) -> None:
        Path(root).mkdir(parents=True, exist_ok=True)
        (Path(root) / "half").touch()
        raise error

    for module in (utils, flowers102):
        monkeypatch.setattr(module, "download_url", download_url)
    found = SETS[name]()
    with pytest.raises(DownloadError) as refusal:
        found.prepare_data()
    reason = str(error).rstrip(".") or "EOFError"
    assert str(refusal.value).startswith(
        f"{found.folder} cannot be fetched to {found.root} ({reason}); by hand, unpack "
    )
    assert "http" in str(refusal.value)
    assert not files_below(tmp_path / "cache") - {f"{found.folder}.lock"}


@pytest.mark.parametrize("name", FETCHED)
def test_the_images_come_last(
    name: str, served: Callable[[str], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads = served(name)
    found = SETS[name]()
    rename = Path.rename

    def full(path: Path, target: Path) -> Path:
        if target == found.root / found.images:
            raise OSError(28, "No space left on device")
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        with pytest.raises(DownloadError, match="No space left on device"):
            found.prepare_data()
    assert [file for file in needed(name) if not (found.root / file).exists()] == [found.images]
    found.prepare_data()  # what is half there is fetched again
    assert downloads == 2 * list(ARCHIVES[name])
    assert read(found.official()).keys() == {"train", "val", "test"}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_given_root_is_never_fetched(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download_url(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a download")

    for module in (utils, flowers102):
        monkeypatch.setattr(module, "download_url", download_url)
    SETS[name](tmp_path / "typo").prepare_data()
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize(
    ("name", "file", "text", "says"),
    [
        ("Food101", "meta/test.txt", "pizza/7\n", r"test\.txt has pizza/7\.jpg in 'pizza', none of the 3 classes"),
        ("DTD", "labels/val1.txt", "dotted/1.jpg\n", r"val1\.txt has dotted/1\.jpg in 'dotted', none of the 3"),
        ("OxfordPets", "annotations/test.txt", "Bengal_1 2\n", r"'Bengal_1 2', but 4 columns were expected"),
        ("FGVCAircraft", "images_variant_val.txt", "1 A380\n", r"has 1\.jpg in 'A380', none of the 3 classes"),
        ("SUN397", "Testing_01.txt", "/z/zoo/sun_a.jpg\n", r"has z/zoo/sun_a\.jpg in 'z/zoo', none of the 3"),
        ("UCF101", "ucfTrainTestlist/testlist01.txt", "Nap/v_Nap_g01.avi\n", r"in 'Nap', none of the 3 classes"),
        ("ImageNet", "classnames.txt", "n01440764 tench\n", r"has no name for n01443537, n01484850; get it again"),
        ("Flowers102", "setid.mat", "no", r"setid\.mat is no MATLAB file that can be read"),
        ("StanfordCars", "devkit/cars_meta.mat", "no", r"cars_meta\.mat is no MATLAB file that can be read"),
        ("Flowers102", "cat_to_name.json", "[]", r"cat_to_name\.json is no table of numbers and names"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(name: str, file: str, text: str, says: str, tmp_path: Path) -> None:
    root = make(name, tmp_path / "set")
    (root / file).write_text(text)
    with pytest.raises(ValueError, match=says):
        SETS[name](root).official()


def test_imagenet_without_the_folder_images(tmp_path: Path) -> None:
    root = make("ImageNet", tmp_path / "set")
    with_images = below(SETS["ImageNet"](root))
    for folder in ("train", "val"):
        (root / "images" / folder).rename(root / folder)
    without = below(SETS["ImageNet"](root))
    assert {split: {f"images/{path}": label for path, label in part.items()} for split, part in without.items()} == (
        with_images
    )
    shutil.rmtree(root / "val")
    with pytest.raises(FileNotFoundError, match=r"set does not hold val: .* images/train and images/val"):
        SETS["ImageNet"](root).official()


def test_imagenet_whose_validation_images_lie_in_no_folders(tmp_path: Path) -> None:
    root = make("ImageNet", tmp_path / "set")
    for path in list((root / "images/val").rglob("*.JPEG")):
        path.rename(root / "images/val" / path.name)
    for folder in (root / "images/val").iterdir():
        if folder.is_dir():
            folder.rmdir()
    with pytest.raises(FileNotFoundError, match="images/val holds no folders, but one for each class was expected"):
        SETS["ImageNet"](root).official()


def test_imagenet_with_a_folder_that_is_no_class(tmp_path: Path) -> None:
    root = make("ImageNet", tmp_path / "set")
    (root / "images/val/n01443537").rename(root / "images/val/n99999999")
    with pytest.raises(ValueError, match=r"images/val has n99999999, none of the 3 classes; get it again"):
        SETS["ImageNet"](root).official()


@pytest.mark.parametrize("enabled", [True, False])
def test_the_search_for_garbage_goes_on_after_long_lists(tmp_path: Path, enabled: bool) -> None:
    if not enabled:
        gc.disable()
    try:
        with pytest.raises(FileNotFoundError, match="does not exist"):
            label_folders(tmp_path, ["none"], ["none"])
        assert gc.isenabled() == enabled
        with keeping_all():
            assert not gc.isenabled()
        assert gc.isenabled() == enabled
    finally:
        gc.enable()


def test_flowers_without_coops_names_have_torchvisions(tmp_path: Path) -> None:
    root = make("Flowers102", tmp_path / "set")
    (root / "cat_to_name.json").unlink()
    names = SETS["Flowers102"](root).official().names
    assert len(names) == 102
    assert names[:3] == NAMES["Flowers102"]
    assert names[59] == "pink-yellow dahlia"
