"""A file or a folder under its name is whole: it is written beside, and renamed when all of it is there."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

CARD = "graft.json"
"""In every folder that is exported: what the model is. A folder without it was written by somebody else."""


def refuse_taken(output: Path, overwrite: bool) -> None:
    """Refuse a name that something bears already.

    Raises:
        ValueError: It is taken and may not be overwritten, or is a folder with something else in it.
    """
    if not os.path.lexists(output):
        return
    if not overwrite:
        raise ValueError(f"{output} exists already: give another --output, or --overwrite true to replace it.")
    if output.is_dir() and not (output / CARD).is_file():
        raise ValueError(
            f"{output} is a folder that no export has written (it has no {CARD}), and is not replaced: give the name "
            "of a new file or folder."
        )


@contextmanager
def whole(output: Path) -> Iterator[Path]:
    """A path beside `output` to write a file or a folder to; it gets the name at the end, or is gone after an error.

    Raises:
        ValueError: The disk is full, or the folder cannot be written.
    """
    beside = output.with_name(f"{output.name}.{os.getpid()}.part")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        for path in [*beside.rglob("*"), beside]:
            sync(path)
        replace(beside, output)
        sync(output.parent)
    except (OSError, SafetensorError) as error:
        remove(beside)
        reason = getattr(error, "strerror", None) or error
        raise ValueError(
            f"{output} cannot be written ({reason}): make room there, or choose another place with --output."
        ) from error
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


def replace(beside: Path, output: Path) -> None:
    """Give what is written its name. A folder cannot be renamed onto another, which is put aside for that moment."""
    if not output.is_dir() and not beside.is_dir():
        beside.replace(output)
        return
    aside = beside.with_suffix(".old")
    if os.path.lexists(output):
        output.rename(aside)
    try:
        beside.rename(output)
    except OSError:
        aside.rename(output)
        raise
    remove(aside)


def remove(path: Path) -> None:
    """Whatever it is, if it is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Note in a folder what its model is."""
    (folder / CARD).write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_pth(state: dict[str, Tensor], path: Path) -> None:
    """Write tensors as torch.load reads them."""
    with path.open("wb") as file:
        try:
            torch.save({name: tensor.contiguous() for name, tensor in state.items()}, file)
        except RuntimeError as error:  # behind which torch hides what is wrong with the disk
            raise next(filter(lambda each: isinstance(each, OSError), causes(error)), error) from error


def causes(error: BaseException) -> Iterator[BaseException]:
    """What an error came of, one after another."""
    while (before := error.__context__) is not None:
        yield before
        error = before
