"""What an export writes: a file, or a folder with a card that says what its model is."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from graft.whole import whole

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
def written(output: Path) -> Iterator[Path]:
    """A path beside `output` to write a file or a folder to, whole or not at all.

    Raises:
        ValueError: The disk is full, or the folder cannot be written.
    """
    try:
        with whole(output) as beside:
            yield beside
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(
            f"{output} cannot be written ({reason}): make room there, or choose another place with --output."
        ) from error


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
