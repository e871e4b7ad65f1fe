"""Labelled images: CoOp's split files, few shots, halves of the classes, and what a trainer is given."""

import json
import logging
import pickle
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from graft.data.classification import checks
from graft.data.classification.base import ClassificationData, Division, Labelled
from graft.data.classification.dataset import ClassificationDataset, read_centre
from tests.data.test_base import Model, trainer

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec:FutureWarning",  # Lightning's own
    "ignore:.*does not have many workers",
    "ignore:.*DataLoader will create",  # more workers than cores
)

NAMES = ["apple_pie", "bread pudding", "crème", "donut", "eggs"]
COUNTS = {"train": 20, "val": 6, "test": 3}


class Pictures(ClassificationData):
    """Five classes, whose official split has none to validate on."""

    folder = "pictures"
    split_file = "split_zhou_Pictures.json"
    images = "pics"
    template = "a photo of {}, a type of food."

    def official(self) -> Division:
        splits: dict[str, list[Labelled]] = {"train": [], "val": [], "test": []}
        for path in sorted((self.root / "pics").glob("*/*")):
            split = "test" if path.stem[-1] == "0" else "train"
            splits[split].append(Labelled(path.stem, path, NAMES.index(path.parent.name)))
        return Division(NAMES, splits, "the official split")


@pytest.fixture
def root(make_classes: Callable[..., Path]) -> Path:
    """The images of `Pictures`, and CoOp's file for them, whose order is neither that of the folders nor sorted."""
    root = make_classes({f"pics/{name}": sum(COUNTS.values()) for name in NAMES})
    rng, splits = np.random.default_rng(0), {}
    first = 0
    for split, count in COUNTS.items():
        rows = [
            [f"{name}/{name}{number}.png", label, name]
            for label, name in enumerate(NAMES)
            for number in range(first, first + count)
        ]
        splits[split] = [rows[position] for position in rng.permutation(len(rows))]
        first += count
    write(root, splits)
    return root


def write(root: Path, splits: Any) -> None:
    (root / "split_zhou_Pictures.json").write_text(json.dumps(splits), encoding="utf-8")


def read(root: Path) -> dict[str, list[list[Any]]]:
    splits: dict[str, list[list[Any]]] = json.loads((root / "split_zhou_Pictures.json").read_text(encoding="utf-8"))
    return splits


def ready(root: Path, stage: str = "fit", **options: Any) -> Pictures:
    data = Pictures(root, image_size=16, num_workers=0, **options)
    data.setup(stage)
    return data


def rows(data: Pictures, split: str) -> list[list[Any]]:
    """The images of a split as CoOp's file has them, but for their labels' names."""
    return [[str(s.image.relative_to(data.root / "pics").as_posix()), s.label] for s in data.samples[split]]


def test_coops_file_is_followed_exactly(root: Path) -> None:
    data = ready(root)
    for split, expected in read(root).items():
        assert rows(data, split) == [[path, label] for path, label, _ in expected]
        assert [s.name for s in data.samples[split]] == [Path(path).stem for path, _, _ in expected]
    assert data.division.names == NAMES
    assert data.names == data.classes == ["apple pie", *NAMES[1:]]
    assert data.num_classes == 5
    assert data.novel_names == []
    assert data.division.origin == "CoOp's split_zhou_Pictures.json"
    assert data.template == "a photo of {}, a type of food."


@pytest.mark.parametrize("split", ["coop", "official"])
def test_the_official_split_holds_a_tenth_out_by_hash(root: Path, split: str) -> None:
    if split == "coop":
        (root / "split_zhou_Pictures.json").unlink()
    data = ready(root, split=split)
    assert {path for path, _ in rows(data, "test")} == {
        f"{name}/{name}{number}.png" for name in NAMES for number in (0, 10, 20)
    }
    sizes = {name: len(samples) for name, samples in data.samples.items()}
    assert sizes == {"train": 115, "val": 15, "test": 15}
    assert "the official split with a tenth of its training images to validate on" in data.division.origin
    assert ("scores differ from those of CoOp's" in data.division.origin) == (split == "coop")
    elsewhere = root.with_name("elsewhere")
    root.rename(elsewhere)
    assert rows(ready(elsewhere, split=split), "val") == rows(data, "val")


@pytest.mark.parametrize(("shots", "seed"), [(1, 0), (4, 0), (16, 0), (16, 3)])
def test_shots(root: Path, shots: int, seed: int) -> None:
    data = ready(root, shots=shots, seed=seed)
    everything = ready(root)
    for split, count in (("train", shots), ("val", min(shots, 4))):
        chosen = rows(data, split)
        assert Counter(label for _, label in chosen) == dict.fromkeys(range(5), count)
        assert len({path for path, _ in chosen}) == len(chosen)
        assert all(row in rows(everything, split) for row in chosen)
    assert rows(data, "test") == rows(everything, "test")


def test_shots_depend_on_seed_and_names_alone(root: Path) -> None:
    first = ready(root, shots=8)
    other = ready(root, shots=8, seed=1)
    assert rows(first, "train") != rows(other, "train")
    assert rows(first, "val") != rows(other, "val")
    numbers = [[path.split(".")[0][-2:] for path, own in rows(first, "train") if own == label] for label in range(5)]
    assert len({tuple(number) for number in numbers}) == 5  # not the same numbers of each class
    assert set(map(tuple, rows(ready(root, shots=4), "train"))) < set(map(tuple, rows(first, "train")))
    expected = {split: rows(first, split) for split in COUNTS}
    splits = read(root)
    write(root, {**splits, "train": splits["train"][::-1], "val": sorted(splits["val"])})
    root = root.rename(root.with_name("elsewhere"))
    assert {split: rows(ready(root, shots=8), split) for split in COUNTS} == expected


def test_too_few_for_the_shots_names_the_class(root: Path) -> None:
    splits = read(root)
    splits["train"] = [row for row in splits["train"] if row[1] != 1 or row[0].endswith("7.png")]
    splits["val"] = [row for row in splits["val"] if row[1] != 2 or row[0].endswith("1.png")]
    write(root, splits)
    with pytest.raises(ValueError, match=r"shots is 3, but of CoOp's .* train the class 'bread pudding' \(2\); lower"):
        ready(root, shots=3)
    with pytest.raises(ValueError, match=r"'apple_pie' \(20\) and 4 more classes; lower"):
        ready(root, shots=21)
    counts = Counter(label for _, label in rows(ready(root, shots=2), "val"))
    assert counts == {0: 2, 1: 2, 2: 1, 3: 2, 4: 2}  # to validate on, as many as there are


def test_halves_are_coops(root: Path) -> None:
    base, novel, everything = (ready(root, "test", classes=name, shots=4) for name in ("base", "novel", "all"))
    assert (base.names, base.novel_names) == (["apple pie", "bread pudding", "crème"], ["donut", "eggs"])
    assert (novel.names, novel.novel_names) == (["donut", "eggs"], [])
    assert (base.num_classes, novel.num_classes) == (3, 2)
    for split in COUNTS:
        everyone = rows(everything, split)
        assert rows(base, split) == [row for row in everyone if row[1] < 3]
        assert rows(novel, split) == [[path, label - 3] for path, label in everyone if label >= 3]
    loaders = base.test_dataloader()
    assert isinstance(loaders, list)
    found = [[label for batch in loader for label in batch["label"].tolist()] for loader in loaders]
    assert found == [[label for _, label in rows(data, "test")] for data in (base, novel)]
    assert not isinstance(novel.test_dataloader(), list)


def test_said_once(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lightning.pytorch.utilities.rank_zero")
    data = ready(root, shots=16)
    data.setup("validate")
    data.setup("test")
    ready(root, classes="base")
    assert [record.getMessage() for record in caplog.records] == [
        "Pictures: CoOp's split_zhou_Pictures.json, 16 shots of 5 classes (seed 0)",
        "Pictures: CoOp's split_zhou_Pictures.json, 60 training images of the 3 base classes of 5 classes (seed 0)",
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: [], r"is no split file of CoOp's \(TypeError"),
        (lambda s: {"train": s["train"], "val": []}, r"is no split file of CoOp's \(KeyError: 'test'\)"),
        (lambda s: {**s, "val": [["a.png", 0]]}, r"is no split file of CoOp's \(ValueError"),
        (lambda s: {**s, "val": [["a.png", 0, "donut"]]}, "calls the label 0 both 'apple_pie' and 'donut'"),
        (lambda s: {**s, "val": [["a.png", 9, "figs"]]}, "has 6 labels from 0 to 9, but they must be 0, 1, 2"),
        (lambda s: {**s, "val": [["../a.png", 0, "apple_pie"]]}, r"\.\./a\.png lies outside of .*pics"),
        (lambda s: {**s, "val": [["/a.png", 0, "apple_pie"]]}, r"/a\.png lies outside of .*pics"),
        (lambda s: {**s, "val": s["test"][:1]}, r"is in both val and test of CoOp's split_zhou_Pictures.json"),
        (lambda s: {**s, "train": [r for r in s["train"] if r[1] != 3]}, "has no training images of donut; add"),
    ],
)
def test_a_broken_split_file_is_refused(root: Path, change: Callable[[Any], Any], words: str) -> None:
    write(root, change(read(root)))
    with pytest.raises(ValueError, match=words):
        ready(root)


def test_missing_and_unreadable_images_are_named(root: Path) -> None:
    path = root / "pics" / ready(root).samples["train"][-1].image.relative_to(root / "pics")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=rf"Not found: {path}; put each there"):
        ready(root)
    ready(root, "test")  # which does not use it
    path = ready(root, "test").samples["test"][0].image
    path.write_bytes(b"no image")
    with pytest.raises(ValueError, match=f"{path.name} cannot be read as an image"):
        ready(root, "test")


def test_a_file_is_there_by_whatever_path(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "pics/donut/below").mkdir()
    paths = [Path("donut0.png"), Path("below/../donut1.png"), root / "pics/donut/donut2.png"]
    monkeypatch.chdir(root / "pics/donut")
    checks.check_files([Labelled(path.stem, path, 0) for path in paths])
    for missing in (Path("gone.png"), Path("gone/a.png"), root / "gone/a.png"):
        with pytest.raises(FileNotFoundError, match=f"^Not found: {missing}; put"):
            checks.check_files([Labelled(path.stem, path, 0) for path in [*paths, missing]])


def test_copies_in_a_published_split_are_warned_of(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ready(root)
    train, test = data.samples["train"][0].image, data.samples["test"][0].image
    test.write_bytes(train.read_bytes())
    with pytest.warns(UserWarning, match=rf"{train.name} .*{test.name}.*byte for byte\. CoOp's .* stays as it was"):
        ready(root)
    monkeypatch.setattr(checks, "MOST", 100)
    ready(root)  # 145 images


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shots": 0}, "shots is 0, but must be at least 1"),
        ({"split": "mine"}, "split is 'mine', but must be one of coop, official"),
        ({"classes": "new"}, "classes is 'new', but must be one of all, base, novel"),
        ({"template": "a photo"}, "template is 'a photo', but must hold {} once"),
        ({"template": "{} and {}"}, "template is '{} and {}', but must hold {} once"),
        ({"template": "{} {name}"}, "must hold {} once"),
        ({"template": ""}, "template is '', but must hold {} once"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_bad_options(root: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Pictures(root, **options)


def test_one_class_has_no_halves(root: Path) -> None:
    write(root, {split: [row for row in found if row[1] == 0] for split, found in read(root).items()})
    with pytest.raises(ValueError, match="classes is base, but one class has no halves"):
        ready(root, classes="base")


def test_default_folder_and_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path))
    assert Pictures().root == tmp_path / "pictures"
    assert Pictures(template="art of the {}.").template == "art of the {}."
    assert ClassificationData.template == "a photo of a {}."


def test_an_empty_split_is_refused_when_it_is_needed(root: Path) -> None:
    write(root, {**read(root), "test": []})
    data = ready(root, "test")
    with pytest.raises(ValueError, match=r"The test split of .* is empty; add images"):
        data.test_dataloader()


def test_items(root: Path) -> None:
    sample = ready(root).samples["train"][3]
    plain = ClassificationDataset([sample], 16)[5, 0]
    assert plain.keys() == {"image", "label", "name", "path"}
    assert (plain["image"].dtype, plain["image"].shape) == (torch.uint8, (3, 16, 16))
    assert (plain["label"].dtype, plain["label"].shape, int(plain["label"])) == (torch.int64, (), sample.label)
    assert (plain["name"], plain["path"]) == (sample.name, str(sample.image))
    dark = replace(sample, image=sample.image.with_name("dark.png"))
    Image.new("RGB", (20, 16), (1, 2, 3)).save(dark.image)
    assert (ClassificationDataset([dark], 16)[0]["image"] == torch.tensor([1, 2, 3])[:, None, None]).all()


def test_randomness_is_of_seed_epoch_and_index(root: Path) -> None:
    data = ready(root)
    same = [data.samples["train"][0]] * 2

    def image(epoch: int, index: int, seed: int = 0) -> bytes:
        return ClassificationDataset(same, 16, data.augment, seed)[epoch, index]["image"].numpy().tobytes()

    assert image(1, 0) == image(1, 0)
    assert len({image(0, 0), image(1, 0), image(0, 1), image(0, 0, seed=1)}) == 4


def seen_in_training(root: Path, workers: int) -> list[dict[str, Any]]:
    model = Model(image_size=16)
    trainer(limit_val_batches=0).fit(model, Pictures(root, shots=2, batch_size=3, num_workers=workers))
    return model.seen


def test_workers_change_nothing_and_epochs_do(root: Path) -> None:
    alone, helped = seen_in_training(root, 0), seen_in_training(root, 2)
    for one, other in zip(alone, helped, strict=True):
        assert one["path"] == other["path"]
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(one["label"], other["label"])
    assert [batch["path"] for batch in alone[:4]] != [batch["path"] for batch in alone[4:]]
    assert alone[0]["image"].shape == (3, 3, 16, 16)
    assert alone[0]["label"].shape == (3,)
    pictures: dict[str, set[bytes]] = {}
    for batch in alone:
        for path, image in zip(batch["path"], batch["image"], strict=True):
            pictures.setdefault(path, set()).add(image.numpy().tobytes())
    assert len(pictures) == 10
    assert all(len(found) == 2 for found in pictures.values())  # cut anew in the second epoch


def test_only_training_is_random(root: Path) -> None:
    data, plain = ready(root), ready(root, augment=None)
    for loader in (data.val_dataloader(), plain.train_dataloader()):
        batch = next(iter(loader))
        expected = [read_centre(Path(path), 16).transpose(2, 0, 1) for path in batch["path"]]
        assert (batch["image"].numpy() == np.stack(expected)).all()


class Two(Model):
    """Knows which of two test loaders a batch is from."""

    def test_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> None:
        self.seen.append({**batch, "loader": dataloader_idx})


def test_a_trainer_tests_both_halves_and_predicts_without_a_set(root: Path, tmp_path: Path) -> None:
    model = Two(image_size=16)
    trainer().test(model, Pictures(root, classes="base", num_workers=0), verbose=False)
    counts = Counter(batch["loader"] for batch in model.seen for _ in batch["name"])
    assert counts == {0: 9, 1: 6}
    model.seen.clear()
    data = Pictures(tmp_path / "none", num_workers=0, predict_root=root / "pics" / "donut")
    trainer().predict(model, data)
    assert data.names == data.novel_names == []
    assert model.seen[0].keys() == {"image", "name", "path"}
    assert sum(len(batch["name"]) for batch in model.seen) == 29


def test_stands_without_a_trainer_and_pickles(root: Path) -> None:
    loader = pickle.loads(pickle.dumps(ready(root))).train_dataloader()
    assert next(iter(loader))["image"].shape == (4, 3, 16, 16)
