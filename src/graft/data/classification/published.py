"""What published classification sets share: fetched whole or not at all, with lists of images or folders of classes."""

import shutil
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock

from graft.cache import cache_dir
from graft.data.classification.base import ClassificationData
from graft.data.classification.division import Division, Labelled
from graft.data.files import keeping_all, list_images, name_some
from graft.data.table import read_text
from graft.download import DownloadError

OR_FETCH = "or leave root out to have it fetched"

ARCHIVES = (".gz", ".tgz", ".zip")  # which torchvision leaves beside what they held

Rows = Iterable[tuple[str, Hashable]]
"""Image files, relative to the folder of images, and what the set's own lists call their classes."""


def fetch_published(data: ClassificationData, download: Callable[..., object], inside: str, how: str) -> None:
    """Have torchvision download a set, and move it to its place; the images last, so that with them all is there.

    Only the cache is filled: a folder that the user gave may be a misspelt one.

    Args:
        data: The set.
        download: Its class in torchvision, called with a folder and `download=True`.
        inside: What becomes the set's root, below that folder.
        how: How to get the set by hand.

    Raises:
        DownloadError: The set cannot be reached, is damaged, or cannot be written.
    """
    root, images = data.root, data.root / data.images
    if root != cache_dir() / data.folder or images.is_dir():
        return
    part = root.with_name(f"{root.name}.part")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{root}.lock"):
            if images.is_dir():  # another process has fetched it while this one waited
                return
            shutil.rmtree(part, ignore_errors=True)  # left by a process that was killed
            try:
                download(part, download=True)
                for path in sorted((part / inside).iterdir(), key=lambda path: path.name == images.name):
                    if path.suffix not in ARCHIVES and not (root / path.name).exists():
                        path.rename(root / path.name)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    except Exception as error:  # the network, a checksum, the disk; a damaged archive can raise anything
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise DownloadError(f"{root.name} cannot be fetched to {root} ({reason}); by hand, {how}.") from error


def require(root: Path, files: Sequence[str], how: str) -> None:
    """Check that the files and folders of a set are there.

    Raises:
        FileNotFoundError: Some are not; they are named, with how to get them.
    """
    if missing := [name for name in files if not (root / name).exists()]:
        raise FileNotFoundError(f"{root} does not hold {', '.join(missing)}: {how}.")


def read_lines(path: Path) -> list[str]:
    """The lines of a text, without blanks around them and without empty ones."""
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def read_columns(path: Path, count: int) -> list[list[str]]:
    """The lines of a text in `count` columns with blanks between them, of which the last may hold blanks."""
    rows = [line.split(maxsplit=count - 1) for line in read_lines(path)]
    if short := next((row for row in rows if len(row) < count), None):
        raise ValueError(f"{path} has the line {' '.join(short)!r}, but {count} columns were expected; get it again.")
    return rows


def read_mat(path: Path) -> dict[str, Any]:
    """The variables of a MATLAB file."""
    from scipy.io import loadmat  # type: ignore[import-untyped]  # few sets need it

    try:
        return dict(loadmat(path, squeeze_me=True))
    except Exception as error:  # whatever a damaged file makes of the reader
        raise ValueError(f"{path} is no MATLAB file that can be read ({error}); get it again.") from error


def label_images(images: Path, rows: Rows, classes: Sequence[Hashable], source: Path) -> list[Labelled]:
    """Images with their labels, which are places in `classes`; `source` is where the rows come from."""
    labels = {name: label for label, name in enumerate(classes)}
    found = []
    for file, name in rows:
        if name not in labels:
            raise ValueError(f"{source} has {file} in {name!r}, none of the {len(classes)} classes; get it again.")
        found.append(Labelled(PurePosixPath(file).stem, images / file, labels[name]))
    return found


def class_folders(images: Path) -> list[str]:
    """The names of the folders in a folder, sorted; hidden ones are none of a set's."""
    found = sorted(path.name for path in images.iterdir() if path.is_dir() and path.name[0] != ".")
    if not found:
        raise FileNotFoundError(f"{images} holds no folders, but one for each class was expected; unpack the set anew.")
    return found


@keeping_all()
def label_folders(images: Path, folders: Sequence[str], classes: Sequence[str]) -> list[Labelled]:
    """All images of folders, which are called as their classes, with their labels, in the order of their names."""
    labels = {name: label for label, name in enumerate(classes)}
    if strange := [name for name in folders if name not in labels]:
        raise ValueError(f"{images} has {name_some(strange)}, none of the {len(classes)} classes; get it again.")
    found = [(labels[folder], list_images(images / folder)) for folder in folders]
    return [Labelled(name, path, label) for label, files in found for name, path in files.items()]


def folders_division(images: Path, left_out: Collection[str], renamed: Mapping[str, str]) -> Division:
    """A set without a split of its own: its folders are its classes, but for some, and some are renamed."""
    folders = [name for name in class_folders(images) if name not in left_out]
    samples = label_folders(images, folders, folders)
    names = [renamed.get(name, name) for name in folders]
    return Division(names, divide_by_hash(samples, images), "a division 50 : 20 : 30 by hash (none is official)")


def divide_by_hash(samples: Sequence[Labelled], images: Path) -> dict[str, list[Labelled]]:
    """Divide each class 50 : 20 : 30, as CoOp does where a set has no split of its own, by a hash of the path."""
    order = sorted(samples, key=lambda sample: sha256(sample.image.relative_to(images).as_posix().encode()).digest())
    splits: dict[str, list[Labelled]] = {"train": [], "val": [], "test": []}
    for label in sorted({sample.label for sample in samples}):
        found = [sample for sample in order if sample.label == label]
        first, second = round(0.5 * len(found)), round(0.5 * len(found)) + round(0.2 * len(found))
        for split, part in zip(splits, (found[:first], found[first:second], found[second:]), strict=True):
            splits[split] += part
    return splits
