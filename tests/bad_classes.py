"""Bad input of classification, as data: more cases for `tests.bad_input`, with a tiny CLIP and folders of classes."""

import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from graft.backbones import build_clip
from tests.layouts import make_food101
from tests.place import Case, Place, noise, place, run, text, together

CONFIG = """\
model:
  class_path: graft.modules.ClipClassification
  init_args: {backbone: tiny}
data:
  class_path: graft.data.FolderClassification
  init_args: {root: CLASSES, batch_size: 4, num_workers: 0, augment: null}
adapt:
  adapter: {class_path: graft.adapters.SerialLoRA, init_args: {rank: 4}}
  where: [vision_model]
checkpoint: {monitor: val/accuracy}
pictures: {count: 0}
predictions: {folder: OUT}
trainer: {accelerator: cpu, devices: 1, max_steps: 1, log_every_n_steps: 1, logger: false, enable_progress_bar: false}
"""
COUNTS = {"train": 2, "val": 1, "test": 1}  # images of each class


def draw(at: Place, root: str, *classes: str) -> None:
    for split, count in COUNTS.items():
        for name in classes:
            for number in range(count):
                at.save(f"{root}/{split}/{name}/{name}{number}.png", noise(f"{root}{split}{name}{number}", 40, 32))


def clip(at: Place) -> None:
    """clip.yaml, and what it trains on."""
    at.write("clip.yaml", CONFIG)
    draw(at, "CLASSES", "cat", "dog", "owl", "tree")


def other(*classes: str) -> Callable[[Place], None]:
    """Another data set."""
    return lambda at: draw(at, "OTHER", *classes)


@cache
def trained(*typed: str) -> bytes:
    """The checkpoint of a run of clip.yaml."""
    with tempfile.TemporaryDirectory() as folder, place(Path(folder)) as at:
        clip(at)
        said = run("fit", "--config=clip.yaml", *typed)
        assert said.code == 0, said.stderr
        return Path("checkpoints", "last.ckpt").read_bytes()


def checkpoint(*typed: str) -> Callable[[Place], None]:
    return lambda at: at.write("last.ckpt", trained(*typed))


def late(at: Place) -> None:
    """An image that is truncated and not among those looked at before the first step."""
    at.truncate("CLASSES/train/dog/dog1.png")
    at.patch.setattr("graft.data.classification.base.check_files", lambda *_: None)


def copied(at: Place) -> None:
    at.write("CLASSES/test/dog/copy.png", (at.folder / "CLASSES/train/cat/cat0.png").read_bytes())


LONG = "a very " + "very " * 20 + "old cat"


def warned(at: Place) -> None:
    """Whether the name is warned of."""
    words = f"The class '{LONG}' takes 1.. tokens, of which 77 are read: shorten it"
    at.until.enter_context(pytest.warns(UserWarning, match=words))


def food(change: Callable[[Any], None]) -> Callable[[Place], None]:
    """A small Food-101 whose split file was changed."""

    def prepare(at: Place) -> None:
        make_food101(at.folder / "FOOD")
        path = at.folder / "FOOD" / "split_zhou_Food101.json"
        split = json.loads(path.read_text())
        change(split)
        path.write_text(json.dumps(split))

    return prepare


def misnamed(split: Any) -> None:
    split["val"][0][2] = "apple_tart"


def unknown(split: Any) -> None:
    split["test"][0][1:] = [7, "sushi"]


def untrained(split: Any) -> None:
    split["train"] = [row for row in split["train"] if row[2] != "hot_dog"]


def unlisted(at: Place) -> None:
    make_food101(at.folder / "FOOD")
    at.write("FOOD/meta/classes.txt", "apple_pie\nhot_dog\n")


def saved(at: Place) -> Path:
    """A folder with CLIP and its tokenizer."""
    model, tokenizer = build_clip("tiny")
    model.save_pretrained(at.folder / "CLIP")
    tokenizer.save_pretrained(at.folder / "CLIP")
    return at.folder / "CLIP"


def without(files: str) -> Callable[[Place], None]:
    """Such a folder from which files are gone."""

    def prepare(at: Place) -> None:
        for path in saved(at).glob(files):
            path.unlink()

    return prepare


def other_sizes(at: Place) -> None:
    path = saved(at) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"projection_dim": 64}))


def other_weights(at: Place) -> None:
    save_file({"fc.weight": torch.zeros(2, 2)}, saved(at) / "model.safetensors", metadata={"format": "pt"})


def unreachable(at: Place) -> None:
    """A hub without network, rather than half a minute of attempts."""
    at.patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    at.patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(at.folder / "cache"))


def nothing_fetched(at: Place) -> None:
    assert not (at.folder / "cache").exists()


def case(
    given: str, typed: str = "", says: tuple[str, ...] = (), *prepare: Callable[[Place], object], **more: Any
) -> Case:
    """A case with clip.yaml."""
    return Case(given, typed, says, together(clip, *prepare), **{"config": "clip.yaml"} | more)


LINEAR = ("--model.head=linear", "--adapt.train=[head]")
HEAD = " ".join(LINEAR)
RESUME = "--ckpt_path=last.ckpt"
OTHER = f"{RESUME} --data.root=OTHER"
FOOD = "--data=Food101 --data.root=FOOD"
OWN = "--model.backbone=CLIP"
CSV = "image,label,split\ntrain/cat/cat0.png,cat,train\ntrain/dog/dog0.png,dog,train\nval/cat/cat0.png,kat,val\n"

CLASSES: dict[str, list[Case]] = {
    "Images of classes": [
        case(
            "A class without images",
            "",
            ("CLASSES/train/dog holds no images", "put some"),
            lambda at: at.remove("CLASSES/train/dog/dog0.png", "CLASSES/train/dog/dog1.png"),
        ),
        case("A folder that is not there", "--data.root=NONE", ("NONE holds no folders", "make one for each class")),
        case("One class", "--data.root=OTHER", ("'cat' is the only class", "add another"), other("cat")),
        case(
            "A class that is not trained",
            "--data.root=OTHER",
            ("OTHER/val/bee/bee0.png ('bee')", "only of ant", "correct the name, or add"),
            other("ant"),
            lambda at: at.save("OTHER/val/bee/bee0.png", noise("bee")),
        ),
        case(
            "A CSV with an unknown class",
            "--data.csv=list.csv",
            ("val/cat/cat0.png ('kat')", "only of cat, dog", "correct the name"),
            text("list.csv", CSV),
        ),
        case(
            "A test split without images",
            RESUME,
            ("test split", "is empty", "add images"),
            checkpoint(),
            lambda at: rmtree(at.folder / "CLASSES" / "test"),
            command="test",
        ),
        case(
            "A truncated image",
            "",
            ("CLASSES/train/dog/dog1.png", "truncated", "replace or remove"),
            lambda at: at.truncate("CLASSES/train/dog/dog1.png"),
        ),
        case(
            "A truncated image that a worker process meets",
            "--data.num_workers=1 --trainer.max_steps=2",
            ("CLASSES/train/dog/dog1.png", "truncated", "replace or remove"),
            late,
        ),
        case(
            "An image that is in two splits",
            "",
            ("train/cat/cat0.png (train)", "test/dog/copy.png (test)", "remove one"),
            copied,
        ),
        case(
            "A split file with two names of a class",
            FOOD,
            ("split_zhou_Food101.json", "both 'apple_pie' and 'apple_tart'", "remove it for the official split"),
            food(misnamed),
        ),
        case(
            "A split file with an unknown class",
            FOOD,
            ("split_zhou_Food101.json", "from 0 to 7", "remove it for the official split"),
            food(unknown),
        ),
        case(
            "A split file that trains a class on no image",
            FOOD,
            ("split_zhou_Food101.json", "no training images of hot_dog", "add some"),
            food(untrained),
        ),
        case(
            "A list with an unknown class",
            f"{FOOD} --data.split=official",
            ("FOOD/meta/train.txt", "'baby_back_ribs'", "none of the 2 classes"),
            unlisted,
        ),
    ],
    "Shots, halves and templates": [
        case("More shots than images", "--data.shots=3", ("shots is 3", "'cat' (2)", "lower shots, or add images")),
        case("", "--data.shots=0", ("shots is 0", "at least 1, or null")),
        case("", "--data.shots=1.5", ("data.shots is 1.5", "a whole number or null")),
        case("", "--data.split=cop", ("data.split is cop", "did you mean coop?")),
        case("", "--data.split=mine", ("data.split is mine", "choose from coop, official")),
        case("", "--data.classes=half", ("data.classes is half", "choose from all, base, novel")),
        case(
            "Halves of three classes",
            "--data.classes=base --data.root=OTHER",
            ("classes is base", "3 classes have no halves of two", "leave the option out"),
            other("ant", "bee", "cow"),
        ),
        case("A template without a place", "--data.template='a photo'", ("'a photo'", "must hold {} once")),
        case("A template with two", "--data.template='{} or {}'", ("'{} or {}'", "must hold {} once")),
        case(
            "A name that is longer than the 77 tokens that CLIP reads",
            "--data.root=OTHER",
            (),
            other(LONG, "dog"),
            warned,
            handled="Warned of, and trained on as far as it is read.",
        ),
    ],
    "Heads": [
        case(
            "A linear head and novel classes",
            f"{HEAD} --data.classes=base",
            ("linear head", "no novel classes", "--model.head text"),
        ),
        case(
            "A linear head and adapters that it does not hear of",
            f"{HEAD} --adapt.where=[text_model]",
            ("text_model", "got no gradient", "adapt.where"),
        ),
        case(
            "A linear head of more classes than the data's",
            f"{HEAD} {OTHER}",
            ("knows 4 classes, 'cat' as number 0", "have 3, 'ant' there", "--model.head text"),
            checkpoint(*LINEAR),
            other("ant", "bee", "cow"),
        ),
        case(
            "A linear head of fewer",
            f"{HEAD} {OTHER}",
            ("knows 4 classes, none as number 4", "have 5, 'yak' there", "give data of the same classes"),
            checkpoint(*LINEAR),
            other("cat", "dog", "owl", "tree", "yak"),
            command="validate",
        ),
        case(
            "A linear head of other classes, as many",
            f"{HEAD} {OTHER}",
            ("knows 4 classes, 'dog' as number 1", "have 4, 'fox' there", "give data of the same classes"),
            checkpoint(*LINEAR),
            other("cat", "fox", "owl", "tree"),
            command="test",
        ),
        case(
            "The names of classes that were not trained",
            OTHER,
            (),
            checkpoint(),
            other("ant", "bee", "cow"),
            command="test",
            handled="Tested, by the new names.",
        ),
        case(
            "A checkpoint without the linear head",
            f"{HEAD} {RESUME}",
            ("trained with --model.head text, not with linear", "config.yaml"),
            checkpoint(),
            command="test",
        ),
        case(
            "A checkpoint with one",
            RESUME,
            ("trained with --model.head linear, not with text", "config.yaml"),
            checkpoint(*LINEAR),
            command="test",
        ),
        case(
            "A checkpoint with adapters in other places",
            f"{RESUME} --adapt.where=[text_model]",
            ("adapt other parts", "text_model.encoder.layers.0.self_attn", "config.yaml"),
            checkpoint(),
        ),
    ],
    "Models of the hub, and their folders": [
        case(
            "No network (simulated)",
            "--model.backbone=openai/clip-vit-base-patch16",
            (
                "openai/clip-vit-base-patch16",
                "cannot be reached",
                "or a folder into which `save_pretrained` has written",
            ),
            unreachable,
        ),
        case("A folder without a model", "--model.backbone=CLASSES", ("CLASSES", "without model", "`save_pretrained`")),
        case("No weights", OWN, ("CLIP is a folder without model", "`save_pretrained`"), without("model.safetensors")),
        case("No tokenizer", OWN, ("CLIP holds no tokenizer", "`save_pretrained`"), without("tokenizer*")),
        case(
            "Truncated weights",
            OWN,
            ("CLIP", "damaged files", "file not fully covered", "`save_pretrained`"),
            saved,
            lambda at: at.truncate("CLIP/model.safetensors"),
        ),
        case("The weights of another model", OWN, ("CLIP lack 110", "logit_scale", "`save_pretrained`"), other_weights),
        case("Weights of other sizes", OWN, ("CLIP lack 2", "text_projection", "`save_pretrained`"), other_sizes),
        case(
            "Another kind of model",
            OWN,
            ("CLIP is a bert", "one of clip, siglip", "give another"),
            text("CLIP/config.json", '{"model_type": "bert"}'),
        ),
    ],
    "Another task's data": [
        case(
            "A segmentation of data with classes",
            "--model.backbone=vit_b --data=Food101",
            (
                "SamSegmentation learns from SegmentationData",
                "Food101",
                "such as FolderSegmentation",
                "another --model",
            ),
            config="tiny.yaml",
            then=nothing_fetched,
        ),
        case(
            "A classification of data with masks",
            "--model.backbone=openai/clip-vit-base-patch16 --data=KvasirSEG",
            ("ClipClassification learns from ClassificationData", "KvasirSEG", "such as FolderClassification"),
            then=nothing_fetched,
        ),
    ],
}
