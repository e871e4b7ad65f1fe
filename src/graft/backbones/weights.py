"""Pretrained weights: fetched, and read without running what is in them."""

import zipfile
from pathlib import Path

import torch
from torch import Tensor

from graft.download import DownloadError, cache_dir, download

SITE = "https://dl.fbaipublicfiles.com/segment_anything"


def official(file: str) -> Path:
    """Where SAM's published `file` is, fetched once; its name ends in the first digits of its MD5.

    Raises:
        DownloadError: It is not there and cannot be fetched.
    """
    path = cache_dir() / "sam" / file
    try:
        return download(f"{SITE}/{file}", path, md5_prefix=path.stem.rsplit("_", 1)[-1])
    except DownloadError as error:
        raise DownloadError(
            f"SAM's weights {file} are missing: put {SITE}/{file} at {path} by hand, or run `make demo`, which needs "
            f"neither ({error})"
        ) from error


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a .pth file, by name.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds something else, or is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}: expected the weights of a SAM, as a .pth file.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a damaged pickle can raise anything
        raise ValueError(
            f"{path} cannot be read as weights: expected a .pth file with nothing but tensors, complete."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ValueError(f"{path} holds no weights: expected a .pth file with tensors by name.")
    return state
