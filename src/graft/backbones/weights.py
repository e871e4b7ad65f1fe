"""Pretrained weights: fetched, and read without running what is in them."""

import zipfile
from pathlib import Path

import torch
from torch import Tensor

from graft.cache import cache_dir
from graft.download import DownloadError, download

SITE = "https://dl.fbaipublicfiles.com/segment_anything"
SHA256 = {
    "sam_vit_b_01ec64.pth": "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    "sam_vit_l_0b3195.pth": "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    "sam_vit_h_4b8939.pth": "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
}


def official(file: str) -> Path:
    """Where SAM's published `file` is, fetched once and held against its checksum.

    Raises:
        DownloadError: It is not there and cannot be fetched.
    """
    path = cache_dir() / "sam" / file
    try:
        return download(f"{SITE}/{file}", path, sha256=SHA256[file])
    except DownloadError as error:
        raise DownloadError(
            f"SAM's weights {file} are missing or wrong: put {SITE}/{file} at {path} by hand, or run `make demo`, "
            f"which needs neither ({error})"
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
