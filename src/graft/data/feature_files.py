"""Files of features: which images' they are is in their names.

A file holds the features of 256 images (or of one, where these are large), and is named by what they are: paths, sizes
and times of change. A changed, added or removed image so renews files and leaves those before it, an encoding that was
stopped goes on, and a damaged file is written again.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from graft.whole import whole


class Features:
    """The features of images, one tensor for each: `features[index]`.

    Args:
        folder: Where the files are, in the folder of all features; its name says what the images are encoded with.
        images: Files of the images.
        count: Images in a file.
    """

    def __init__(self, folder: Path, images: Sequence[Path], count: int) -> None:
        self.count = count
        parts = [images[first : first + count] for first in range(0, len(images), count)]
        self.files = [folder / f"{_name(part)}.safetensors" for part in parts]

    def __getitem__(self, index: int) -> Tensor:
        opened = _opened if self.count > 1 else _open  # what stays open stays in memory
        feature: Tensor = opened(self.files[index // self.count]).get_slice("features")[index % self.count]
        return feature

    def missing(self) -> list[int]:
        """Numbers of the files that are not there, or not whole; file k is of the images from `count` * k on."""
        return [k for k, file in enumerate(self.files) if not is_whole(file)]

    def write(self, k: int, features: Tensor) -> None:
        """Write file k, whole or not at all.

        Raises:
            ValueError: It cannot be written.
        """
        file = self.files[k]
        try:
            with whole(file) as beside:
                save_file({"features": features.contiguous()}, beside)
        except (SafetensorError, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ValueError(
                f"The features of images cannot be kept in {file.parent.parent} ({reason}): make room there, or choose "
                "another folder with --cache, or that of CachePrefix."
            ) from error
        _opened.cache_clear()  # of a damaged file by this name


def _name(images: Sequence[Path]) -> str:
    states = ((path, path.stat()) for path in images)
    words = "\n".join(f"{path.absolute()} {state.st_size} {state.st_mtime_ns}" for path, state in states)
    return hashlib.sha256(words.encode()).hexdigest()[:32]


def is_whole(file: Path) -> bool:
    """Whether features can be read from a file; says so where one is damaged."""
    if not file.is_file():
        return False
    try:
        with safe_open(file, framework="pt") as opened:  # refuses a file that is not as long as it says
            if "features" in opened.keys():  # noqa: SIM118 (no mapping)
                return True
    except (SafetensorError, OSError):
        pass
    rank_zero_warn(f"{file} is damaged: the features of its images are computed again.")
    return False


def _open(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file} cannot be read ({error}): remove it, and its images are encoded again.") from error


_opened = lru_cache(maxsize=1024)(_open)
