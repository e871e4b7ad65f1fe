"""Checkpoints are written whole or not at all, and read without running what is in them."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from graft.checkpoint_io import CheckpointError, WholeFiles

IO = WholeFiles()


class Bomb:
    """What a stranger's file could do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    checkpoint = {"state_dict": {"a": torch.arange(3)}, "loops": {"done": 3, "rest": (1, "two", None)}}
    IO.save_checkpoint(checkpoint, tmp_path / "new" / "last.ckpt")
    read = IO.load_checkpoint(tmp_path / "new" / "last.ckpt")
    assert torch.equal(read["state_dict"].pop("a"), torch.arange(3))
    assert read == {"state_dict": {}, "loops": checkpoint["loops"]}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("stage", ["fsync", "replace"])
def test_a_full_disk_keeps_what_was_there(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    IO.save_checkpoint({"state_dict": {}, "step": 1}, path)

    def full(*_: Any) -> None:
        assert (tmp_path / "last.ckpt.part").exists()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace")}[stage], full)
    with pytest.raises(
        CheckpointError, match=r"last.ckpt \(0 MB\) cannot be written \(No space left on device\): make room"
    ):
        IO.save_checkpoint({"state_dict": {}, "step": 2}, path)
    assert IO.load_checkpoint(path)["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_the_name_is_given_when_the_bytes_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the middle of writing, a run leaves no file by a checkpoint's name."""

    def killed(*_: Any) -> None:
        raise SystemExit

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(SystemExit):
        IO.save_checkpoint({"state_dict": {}}, tmp_path / "last.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt.part"]


@pytest.mark.parametrize("weights_only", [None, True, False])
def test_nothing_in_a_file_is_run(weights_only: bool | None, tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "more": Bomb(tmp_path / "ran")}, tmp_path / "bomb.ckpt")
    with pytest.raises(CheckpointError, match="could run a stranger's program: it is not loaded"):
        IO.load_checkpoint(tmp_path / "bomb.ckpt", weights_only=weights_only)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 0.999])
def test_a_file_that_was_cut_is_refused(part: float, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    IO.save_checkpoint({"state_dict": {"a": torch.randn(1000)}}, path)
    os.truncate(path, int(path.stat().st_size * part))
    with pytest.raises(CheckpointError, match="is no complete checkpoint: it was cut off"):
        IO.load_checkpoint(path)


def test_changed_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    IO.save_checkpoint({"state_dict": {}}, path)
    content = bytearray(path.read_bytes())
    at = content.index(b"state_dict")
    content[at - 8 : at + 4] = bytes(12)
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        IO.load_checkpoint(path)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("none.ckpt", "There is no checkpoint .*none.ckpt: did you mean .*last.ckpt?"),
        (".", "is a folder, but a checkpoint is a file: did you mean .*last.ckpt?"),
        ("away/none.ckpt", "Look for .ckpt files in lightning_logs"),
        ("weights.pth", "is no checkpoint of a training run"),
    ],
)
def test_other_paths_are_refused(given: str, said: str, tmp_path: Path) -> None:
    IO.save_checkpoint({"state_dict": {}}, tmp_path / "last.ckpt")
    torch.save({"a": torch.zeros(1)}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=said):
        IO.load_checkpoint(tmp_path / given)
