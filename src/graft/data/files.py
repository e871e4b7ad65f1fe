"""Find images in a folder, name them where they are many, and write a folder of them."""

import gc
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


def list_images(folder: Path) -> dict[str, Path]:
    """The images of a folder, itself alone, by name without extension and in the order of names.

    Raises:
        FileNotFoundError: There is no such folder, or no image in it.
        ValueError: Two files have the same name but for the extension.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"The folder {folder} does not exist; create it and put images into it ({_kinds()}).")
    images: dict[str, Path] = {}
    named = sorted((path.name, path) for path in folder.iterdir())  # a million paths are slow to compare
    for name, path in named:
        stem, dot, suffix = name.rpartition(".")
        if f"{dot}{suffix.lower()}" not in SUFFIXES or name.startswith("."):
            continue
        if stem in images:
            raise ValueError(f"{images[stem]} and {name} differ only in the extension; rename or remove one.")
        images[stem] = path
    if not images:
        raise FileNotFoundError(f"The folder {folder} holds no images; put some into it ({_kinds()}).")
    return images


@contextmanager
def keeping_all() -> Iterator[None]:
    """Spare Python its search for garbage, whose passes over millions of objects take longer than to make them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def write_once(root: Path, write: Callable[[Path], None]) -> None:
    """Have a folder written that is missing or empty, all of it or nothing, by one process of the machine."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{root}.lock"):
        if not root.is_dir() or not any(root.iterdir()):
            part = root.with_name(f"{root.name}.part")
            shutil.rmtree(part, ignore_errors=True)  # left by a process that was killed
            write(part)
            part.replace(root)


def name_some(names: list[str], most: int = 5) -> str:
    """A list of names that stays readable however long it is."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _kinds() -> str:
    return ", ".join(suffix[1:] for suffix in SUFFIXES)
