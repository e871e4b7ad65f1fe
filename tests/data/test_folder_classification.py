"""Your own labelled images, in folders or named by a CSV."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graft.data import FolderClassification

Maker = Callable[..., Path]

SPLITS = {"train/hot_dog": 4, "train/bun": 3, "val/bun": 2, "val/hot_dog": 1, "test/bun": 1}


def ready(root: Path, **options: Any) -> FolderClassification:
    data = FolderClassification(root, image_size=16, num_workers=0, **options)
    data.setup("fit")
    return data


def found(data: FolderClassification, split: str) -> list[tuple[str, int]]:
    return [(sample.name, sample.label) for sample in data.samples[split]]


def test_folders_of_splits(make_classes: Maker) -> None:
    root = make_classes(SPLITS)
    (root / "train" / ".hidden").mkdir()
    (root / "train" / "bun" / "notes.txt").write_text("no image")
    data = ready(root)
    assert data.names == ["bun", "hot dog"]
    assert data.template == "a photo of a {}."
    assert found(data, "train") == [(f"bun{n}", 0) for n in range(3)] + [(f"hot_dog{n}", 1) for n in range(4)]
    assert found(data, "val") == [("bun0", 0), ("bun1", 0), ("hot_dog0", 1)]
    assert found(data, "test") == [("bun0", 0)]
    assert str(root) in data.division.origin


def test_without_val_a_tenth_is_held_out(make_classes: Maker) -> None:
    data = ready(make_classes({"train/a": 60, "train/b": 60}))
    assert 3 < len(data.samples["val"]) < 24
    assert len(data.samples["val"]) + len(data.samples["train"]) == 120
    assert data.samples["test"] == []


def test_class_folders_are_divided_by_hash(make_classes: Maker) -> None:
    data = ready(make_classes({"a": 100, "b": 100}))
    sizes = {split: len(samples) for split, samples in data.samples.items()}
    assert sum(sizes.values()) == 200
    assert sizes["train"] > 140
    assert min(sizes.values()) > 8
    before = {sample.image: split for split, samples in data.samples.items() for sample in samples}
    data.root = data.root.rename(data.root.with_name("moved"))
    (data.root / "a" / "a17.png").unlink()
    data._divide()
    after = {sample.image: split for split, samples in data.samples.items() for sample in samples}
    assert after == {data.root / p.parent.name / p.name: s for p, s in before.items() if p.name != "a17.png"}


def test_names(make_classes: Maker) -> None:
    root = make_classes(SPLITS)
    assert ready(root, names={"bun": "bread roll"}).names == ["bread roll", "hot dog"]
    with pytest.raises(ValueError, match=r"names renames cat, but the classes are bun, hot_dog; correct it"):
        ready(root, names={"cat": "dog"})
    with pytest.raises(ValueError, match=r"The classes bun, hot_dog are all called 'hot dog'"):
        ready(root, names={"bun": "hot dog"})


def write(root: Path, *lines: str) -> Path:
    (root / "list.csv").write_text("\n".join(["image,label,split", *lines]), encoding="utf-8")
    return root / "list.csv"


def test_csv(make_classes: Maker) -> None:
    root = make_classes({"x": 5})
    rows = ("x/x0.png,night_cap,train", "x/x1.png,bun,train", "x/x2.png,bun,val", "x/x3.png, bun ,test")
    data = ready(root, csv=write(root, *rows), names={"bun": "bread roll"})
    assert data.names == ["bread roll", "night cap"]
    assert found(data, "train") == [("x0", 1), ("x1", 0)]
    assert found(data, "val") == [("x2", 0)]
    assert found(data, "test") == [("x3", 0)]
    assert "list.csv" in data.division.origin


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("x/x1.png,a,dev", r"list\.csv: the split of x/x1\.png is 'dev', but must be train, val or test"),
        ("../x/x1.png,a,val", r"\.\./x/x1\.png lies outside of .*; move it there"),
        ("x/x0.png,a,val", r"has two rows for x/x0\.png; remove one"),
        ("x/x1.png,b,val", r"train has no image of the class of .*x1\.png \('b'\), only of a; correct the name"),
        ("x/x1.png,,val", r"line 3: no value for label"),
        ("x/gone.png,a,val", r"Not found: .*gone\.png"),
    ],
)
def test_bad_rows(make_classes: Maker, row: str, words: str) -> None:
    root = make_classes({"x": 2})
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        ready(root, csv=write(root, "x/x0.png,a,train", row))


def test_bad_folders(make_classes: Maker, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone holds no folders; make one for each class"):
        ready(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match=r"train holds no folders; make one for each class"):
        ready(make_classes({"train": 2}, "flat"))
    with pytest.raises(FileNotFoundError, match=r"empty/train/b holds no images; put some into it"):
        ready(make_classes({"train/a": 2, "train/b": 0}, "empty"))
    with pytest.raises(ValueError, match=r"train has no image of the class of .*val/b/b0\.png \('b'\), only of a"):
        ready(make_classes({"train/a": 2, "val/b": 1}, "unknown"))
    with pytest.raises(ValueError, match=r"shots is 3, but of the folders of .* train the class 'a' \(2\)"):
        ready(make_classes({"train/a": 2, "val/a": 1}, "few"), shots=3)


def test_copies_are_refused(make_classes: Maker) -> None:
    root = make_classes(SPLITS)
    (root / "test/bun/copy.png").write_bytes((root / "train/hot_dog/hot_dog1.png").read_bytes())
    with pytest.raises(ValueError, match=r"hot_dog1\.png \(train\) and .*copy\.png \(test\) are the same image"):
        ready(root)
