"""A file or a folder under its name is whole: it is written beside, and renamed when all of it is there."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path beside another to write a file or a folder to; it gets the name at the end, or is gone after an error.

    Raises:
        OSError: The disk is full, or the folder cannot be written; what bore the name is untouched.
    """
    beside = path.with_name(f"{path.name}.{uuid4().hex}.part")  # others, of other machines too, may be writing it
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.touch()  # refuses before the work, and tells who may read a new file: safetensors lets its owner alone
        mode = beside.stat().st_mode
        beside.unlink()
        yield beside
        for written in [*beside.rglob("*"), beside]:
            if written.is_file():
                written.chmod(mode)
            sync(written)
        replace(beside, path)
        sync(path.parent)
    except BaseException:
        remove(beside)
        raise


def sync(path: Path) -> None:
    """Have the disk hold it, else a power cut could leave the new name with none of its bytes."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace(beside: Path, path: Path) -> None:
    """Give what is written its name. A folder cannot be renamed onto another, which is put aside for that moment."""
    if not path.is_dir() and not beside.is_dir():
        beside.replace(path)
        return
    aside = beside.with_suffix(".old")
    if os.path.lexists(path):
        path.rename(aside)
    try:
        beside.rename(path)
    except OSError:
        aside.rename(path)
        raise
    remove(aside)


def remove(path: Path) -> None:
    """Whatever it is, if it is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)
