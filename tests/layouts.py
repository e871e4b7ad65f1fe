"""The published classification sets in small: their folders, lists and CoOp's split files, with generated images.

`LAYOUTS[name](root)` fills a folder as `graft.data`'s class of that name looks for it. The images are named so that
each split has some, also where a tenth of the training images is held out by a hash of their paths.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
from PIL import Image
from scipy.io import savemat

COLOURS = ((220, 40, 40), (40, 200, 60), (50, 80, 230), (230, 210, 50))  # of the classes: a network can learn them
PART = {"train": range(4), "val": range(4, 5), "test": range(5, 6)}  # of CoOp's files: places among a class's images

Images = list[tuple[str, int]]  # paths and labels


def draw(path: Path, label: int) -> None:
    """Write an image of the class's colour and of a pattern that is the path's own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(crc32("/".join(path.parts[-3:]).encode()))
    grid = np.clip(rng.normal(COLOURS[label % len(COLOURS)], 45, (8, 10, 3)), 0, 255).astype(np.uint8)
    Image.fromarray(grid).resize((80, 64), Image.Resampling.BICUBIC).save(path, quality=90)


def write(path: Path, lines: Sequence[str]) -> None:
    """Write a text of lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def write_split(path: Path, images: Images, names: Sequence[str]) -> None:
    """Write a file of CoOp's, with four, one and one of each class's six images."""
    of_class = [[file for file, at in images if at == label] for label in range(len(names))]
    split = {
        part: [[of_class[label][place], label, name] for label, name in enumerate(names) for place in places]
        for part, places in PART.items()
    }
    path.write_text(json.dumps(split))


def make_food101(root: Path) -> None:
    names = ("apple_pie", "baby_back_ribs", "hot_dog")
    images = [(f"{name}/{1005649 + 37 * n}.jpg", label) for label, name in enumerate(names) for n in range(6)]
    for file, label in images:
        draw(root / "images" / file, label)
    write(root / "meta/classes.txt", names)
    for split, places in (("train", (5, 1, 2, 0)), ("test", (3, 4))):
        listed = {name: [images[6 * label + n][0][:-4] for n in places] for label, name in enumerate(names)}
        write(root / f"meta/{split}.txt", [file for files in listed.values() for file in files])
        (root / f"meta/{split}.json").write_text(json.dumps(listed))
    write_split(root / "split_zhou_Food101.json", images, names)


def make_dtd(root: Path) -> None:
    names = ("banded", "polka-dotted", "zigzagged")
    images = [(f"{name}/{name}_{2 * n + 2:04d}.jpg", label) for label, name in enumerate(names) for n in range(6)]
    for file, label in images:
        draw(root / "images" / file, label)
    (root / "images/banded/.directory").touch()  # as in the archive
    for split, places in (("train", (1, 5)), ("val", (0, 3)), ("test", (2, 4))):
        write(root / f"labels/{split}1.txt", [images[6 * label + n][0] for label in range(3) for n in places])
    write_split(root / "split_zhou_DescribableTextures.json", images, names)


def make_caltech101(root: Path) -> None:
    names = {"Faces": "face", "Leopards": "leopard", "airplanes": "airplane", "wild_cat": "wild_cat"}
    images = [(f"{name}/image_{n + 1:04d}.jpg", label) for label, name in enumerate(names) for n in range(6)]
    for file, label in images:
        draw(root / "101_ObjectCategories" / file, label)
    for name in ("BACKGROUND_Google", "Faces_easy"):
        draw(root / "101_ObjectCategories" / name / "image_0001.jpg", 3)
    write_split(root / "split_zhou_Caltech101.json", images, list(names.values()))


def make_oxford_pets(root: Path) -> None:
    breeds = ("Abyssinian", "american_bulldog", "Bengal", "yorkshire_terrier")
    images = [(f"{breed}_{n + 97}.jpg", label) for label, breed in enumerate(breeds) for n in range(6)]
    for file, label in images:
        draw(root / "images" / file, label)
    for split, places in (("trainval", (2, 0, 3, 5)), ("test", (1, 4))):
        listed = [images[6 * label + n] for label in range(4) for n in places]
        lines = [f"{file[:-4]} {label + 1} {1 if file[0].isupper() else 2} {label // 2 + 1}" for file, label in listed]
        write(root / f"annotations/{split}.txt", lines)
    write_split(root / "split_zhou_OxfordPets.json", images, [breed.lower() for breed in breeds])


def make_eurosat(root: Path) -> None:
    names = {"AnnualCrop": "Annual Crop Land", "Forest": "Forest", "SeaLake": "Sea or Lake"}
    images = [(f"{name}/{name}_{n + 1}.jpg", label) for label, name in enumerate(names) for n in range(6)]
    for file, label in images:
        draw(root / "2750" / file, label)
    write_split(root / "split_zhou_EuroSAT.json", images, list(names.values()))


def make_flowers102(root: Path) -> None:
    names = ("pink primrose", "hard-leaved pocket orchid", "canterbury bells")
    classes = [1 + n // 6 for n in range(18)]  # of image_00001 and so on
    images = [(f"image_{n + 1:05d}.jpg", label - 1) for n, label in enumerate(classes)]
    for file, label in images:
        draw(root / "jpg" / file, label)
    savemat(root / "imagelabels.mat", {"labels": [classes]})
    lists = (("trnid", (3, 6)), ("valid", (1, 4)), ("tstid", (2, 5)))
    savemat(root / "setid.mat", {key: [[6 * label + n for label in range(3) for n in ns]] for key, ns in lists})
    (root / "cat_to_name.json").write_text(json.dumps({str(n): names[n - 1] for n in (2, 1, 3)}))
    write_split(root / "split_zhou_OxfordFlowers.json", images, names)


def make_fgvc_aircraft(root: Path) -> None:
    variants = ("707-320", "Gulfstream IV", "F/A-18")  # in the order of the list, not of the alphabet
    numbers = [f"{34309 + 1021 * n:07d}" for n in range(18)]
    for n, number in enumerate(numbers):
        draw(root / "images" / f"{number}.jpg", n // 6)
    write(root / "variants.txt", variants)
    for split, places in (("train", (4, 1)), ("val", (0, 3)), ("trainval", (0, 1, 3, 4)), ("test", (5, 2))):
        listed = [f"{numbers[6 * label + n]} {variant}" for label, variant in enumerate(variants) for n in places]
        write(root / f"images_variant_{split}.txt", listed)


def make_stanford_cars(root: Path) -> None:
    models = ("AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Ram C/V Cargo Van Minivan 2012")
    names = ("2000 AM General Hummer SUV", "2012 Acura RL Sedan", "2012 Ram C/V Cargo Van Minivan")
    images: Images = []
    fields = [(key, object) for key in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]
    files = {"cars_train": "devkit/cars_train_annos.mat", "cars_test": "cars_test_annos_withlabels.mat"}
    (root / "devkit").mkdir(parents=True)
    savemat(root / "devkit/cars_meta.mat", {"class_names": np.array([models], dtype=object)})
    for folder, file in files.items():
        listed = [(f"{n + 1:05d}.jpg", (n + 1) % 3) for n in range(12, 24 if folder == "cars_train" else 18)]
        for name, label in listed:
            draw(root / folder / name, label)
        rows = [(1, 1, 80, 64, label + 1, name) for name, label in listed]
        savemat(root / file, {"annotations": np.array(rows, dtype=fields)[None]})
        images += [(f"{folder}/{name}", label) for name, label in listed]
    write_split(root / "split_zhou_StanfordCars.json", images, names)


def make_sun397(root: Path) -> None:
    scenes = {"a/abbey": "abbey", "a/airplane_cabin": "airplane_cabin", "c/church/outdoor": "outdoor church"}
    letters = "bqdkza"
    images = [(f"{scene}/sun_{letter * 16}.jpg", label) for label, scene in enumerate(scenes) for letter in letters]
    for file, label in images:
        draw(root / "SUN397" / file, label)
    for folder in (root, root / "SUN397"):  # it is in both archives
        write(folder / "ClassName.txt", [f"/{scene}" for scene in scenes])
    for split, places in (("Training", (1, 0, 3, 5)), ("Testing", (2, 4))):
        write(root / f"{split}_01.txt", [f"/{images[6 * label + n][0]}" for label in range(3) for n in places])
    write_split(root / "split_zhou_SUN397.json", images, list(scenes.values()))


def make_ucf101(root: Path) -> None:
    actions = {"ApplyEyeMakeup": "Apply_Eye_Makeup", "HandstandPushups": "Handstand_Pushups", "YoYo": "Yo_Yo"}
    videos = {name: f"v_{name.replace('Handstand', 'HandStand')}" for name in actions}  # so are they published
    images = [
        (f"{actions[name]}/{videos[name]}_g{n + 1:02d}_c02.jpg", label)
        for label, name in enumerate(actions)
        for n in range(6)
    ]
    for file, label in images:
        draw(root / "UCF-101-midframes" / file, label)
    write(root / "ucfTrainTestlist/classInd.txt", [f"{label + 1} {name}" for label, name in enumerate(actions)])
    for split, groups in (("train", (3, 4, 5, 6)), ("test", (1, 2))):
        label_of = {name: f" {label + 1}" if split == "train" else "" for label, name in enumerate(actions)}
        lines = [f"{name}/{videos[name]}_g{n:02d}_c02.avi{label_of[name]}" for name in actions for n in groups]
        write(root / f"ucfTrainTestlist/{split}list01.txt", lines)
    write_split(root / "split_zhou_UCF101.json", images, list(actions.values()))


def make_imagenet(root: Path) -> None:
    words = {
        "n01443537": "goldfish",
        "n01440764": "tench",
        "n01484850": "great white shark",
        "n02124075": "Egyptian Mau",
    }
    synsets = sorted(words)[:3]  # classnames.txt may know more
    for label, synset in enumerate(synsets):
        for n in range(6):
            draw(root / f"images/train/{synset}/{synset}_{1 + 11 * n}.JPEG", label)
        for n in range(2):
            draw(root / f"images/val/{synset}/ILSVRC2012_val_{293 + 100 * n + label:08d}.JPEG", label)
    write(root / "classnames.txt", [f"{synset} {name}" for synset, name in words.items()])


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "Food101": make_food101,
    "DTD": make_dtd,
    "Caltech101": make_caltech101,
    "OxfordPets": make_oxford_pets,
    "EuroSAT": make_eurosat,
    "Flowers102": make_flowers102,
    "FGVCAircraft": make_fgvc_aircraft,
    "StanfordCars": make_stanford_cars,
    "SUN397": make_sun397,
    "UCF101": make_ucf101,
    "ImageNet": make_imagenet,
}
