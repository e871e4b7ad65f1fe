"""Which labelled images train, validate and test: a published division, the few shots of it, and its halves.

Few shots and halves are those of Zhou et al., "Learning to Prompt for Vision-Language Models" (CoOp, IJCV 2022,
arXiv 2109.01134) and "Conditional Prompt Learning for Vision-Language Models" (CVPR 2022, arXiv 2203.05557).
"""

import json
from collections import defaultdict
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path, PurePosixPath

import numpy as np

from graft.data.files import keeping_all
from graft.data.splits import SHARES
from graft.data.table import read_text


@dataclass(frozen=True)
class Labelled:
    """An image's file, the name it goes by, and its class's index in the division's names."""

    name: str
    image: Path
    label: int


@dataclass(frozen=True)
class Division:
    """The class names, the images of "train", "val" and "test", and whose division it is, in words."""

    names: list[str]
    splits: dict[str, list[Labelled]]
    origin: str


def read_division(path: Path, images: Path) -> Division:
    """Read a file of CoOp's, {"train": [[path, label, class name], ...], "val": ..., "test": ...}, exactly as it is.

    Args:
        path: The file.
        images: Folder that its paths are relative to.

    Raises:
        ValueError: The file is not of this form, a path leads out of the folder, a label has two names or none.
    """
    try:
        rows = json.loads(read_text(path))
        table = {split: [(str(file), int(label), str(name)) for file, label, name in rows[split]] for split in SHARES}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is no split file of CoOp's ({type(error).__name__}: {error}); it holds lists of [path, label, "
            "class name] for train, val and test. Fetch it again, or remove it for the official split."
        ) from error
    names: dict[int, str] = {}
    for file, label, name in (row for part in table.values() for row in part):
        if names.setdefault(label, name) != name:
            raise ValueError(
                f"{path} calls the label {label} both {names[label]!r} and {name!r}; a label has one name. Fetch the "
                "file again, or remove it for the official split."
            )
        if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
            raise ValueError(f"{path}: {file} lies outside of {images}; its paths must be relative to that folder.")
    if sorted(names) != list(range(len(names))):
        raise ValueError(
            f"{path} has {len(names)} labels from {min(names, default=0)} to {max(names, default=0)}, but they must be "
            "0, 1, 2, ... without a gap. Fetch the file again, or remove it for the official split."
        )
    splits = {
        split: [Labelled(PurePosixPath(file).stem, images / file, label) for file, label, _ in part]
        for split, part in table.items()
    }
    return Division([names[label] for label in range(len(names))], splits, f"CoOp's {path.name}")


@keeping_all()
def hold_out(division: Division, root: Path) -> Division:
    """Move a tenth of the training images, picked by the hash of their paths below `root`, to an empty "val"."""
    if division.splits["val"]:
        return division
    splits: dict[str, list[Labelled]] = {**division.splits, "train": [], "val": []}
    for sample in division.splits["train"]:
        digest = sha256(below(sample.image, root).encode()).digest()
        held_out = int.from_bytes(digest[:8], "big") / 2**64 < 0.1
        splits["val" if held_out else "train"].append(sample)
    origin = f"{division.origin} with a tenth of its training images to validate on"
    return replace(division, splits=splits, origin=origin)


def choose_shots(division: Division, shots: int, seed: int, root: Path) -> Division:
    """Keep `shots` training images of each class, and min(shots, 4) to validate on or as many as there are.

    The choice follows from (seed, label) and the sorted paths below `root`; a smaller one is part of a larger one.

    Raises:
        ValueError: A class has fewer training images.
    """
    few = [
        f"{name!r} ({len(found)})"
        for name, found in zip(division.names, _by_label(division, "train"), strict=True)
        if len(found) < shots
    ]
    if few:
        raise ValueError(
            f"shots is {shots}, but of {division.origin} fewer images train the class {few[0]}"
            + (f" and {len(few) - 1} more classes" if len(few) > 1 else "")
            + "; lower shots, or add images."
        )
    splits = dict(division.splits)
    for split, count in (("train", shots), ("val", min(shots, 4))):
        splits[split] = []
        for label, found in enumerate(_by_label(division, split)):
            order = np.random.default_rng((seed, label)).permutation(len(found))
            found.sort(key=lambda sample: below(sample.image, root))
            splits[split] += [found[position] for position in order[:count]]
    return replace(division, splits=splits)


@keeping_all()
def halves(division: Division) -> tuple[Division, Division]:
    """The first half of the classes in the order of labels (the larger one of an odd number) and the rest, from 0."""
    middle = -(-len(division.names) // 2)
    parts = []
    for labels in (range(middle), range(middle, len(division.names))):
        first = labels.start
        splits = {
            split: [Labelled(s.name, s.image, s.label - first) for s in part if s.label in labels]
            for split, part in division.splits.items()
        }
        parts.append(replace(division, names=division.names[labels.start : labels.stop], splits=splits))
    return parts[0], parts[1]


def below(path: Path, root: Path) -> str:
    """The path of a file relative to a folder above it, the same text on every machine."""
    return path.as_posix().removeprefix(f"{root.as_posix()}/")  # relative_to takes a minute for ImageNet


def _by_label(division: Division, split: str) -> list[list[Labelled]]:
    found: dict[int, list[Labelled]] = defaultdict(list)
    for sample in division.splits[split]:
        found[sample.label].append(sample)
    return [found[label] for label in range(len(division.names))]
