"""How checkpoints reach the disk and come back: whole or not at all, and without running what is in them."""

import io
import os
import pickle
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written, or a file is no checkpoint that can be trusted."""


class WholeFiles(TorchCheckpointIO):
    """Writes beside and renames, so that a file by a checkpoint's name is always complete; reads plain values only."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint; whatever bore its name stays as it was until the new one is safe on the disk.

        Raises:
            CheckpointError: The disk is full, or the folder cannot be written.
        """
        path = Path(path)
        beside = path.with_name(f"{path.name}.part")
        content = io.BytesIO()
        torch.save(checkpoint, content)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())  # else a power cut could leave the new name with none of its bytes
            beside.replace(path)
        except OSError as error:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            raise CheckpointError(
                f"The checkpoint {path} ({len(content.getbuffer()) / 1e6:.0f} MB) cannot be written "
                f"({error.strerror or error}): make room or choose another folder with --checkpoint.dirpath. What "
                "was saved before is untouched: go on from there."
            ) from error

    def load_checkpoint(self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True) -> Any:
        """Read a checkpoint's tensors and plain values; nothing else is unpickled, whatever `weights_only` says.

        Raises:
            CheckpointError: There is no such file, it is damaged, or it holds more than tensors and plain values.
        """
        path = Path(path)
        check_exists(path)
        if not zipfile.is_zipfile(path):
            raise CheckpointError(
                f"{path} ({path.stat().st_size} bytes) is no complete checkpoint: it was cut off, or is something "
                "else. Give another, such as last.ckpt or best-*.ckpt in the run's checkpoints folder."
            )
        try:
            checkpoint = torch.load(path, map_location=map_location, weights_only=True)
        except pickle.UnpicklingError as error:
            raise CheckpointError(
                f"{path} holds more than tensors and plain values, which could run a stranger's program: it is not "
                "loaded. Give a checkpoint that graft has written."
            ) from error
        except Exception as error:  # a damaged file can raise anything
            raise CheckpointError(f"{path} cannot be read as a checkpoint: it is damaged. Give another.") from error
        if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
            raise CheckpointError(f"{path} is no checkpoint of a training run: give one that graft has written.")
        return checkpoint


def check_exists(path: Path) -> None:
    """Refuse a path where no file is, and say which would be near."""
    if path.is_dir():
        near = sorted(path.rglob("*.ckpt"))
        raise CheckpointError(
            f"{path} is a folder, but a checkpoint is a file" + (f": did you mean {near[-1]}?" if near else ".")
        )
    if not path.is_file():
        near = sorted(path.parent.glob("*.ckpt"))
        raise CheckpointError(
            f"There is no checkpoint {path}"
            + (f": did you mean {near[-1]}?" if near else ". Look for .ckpt files in lightning_logs/*/checkpoints.")
        )
