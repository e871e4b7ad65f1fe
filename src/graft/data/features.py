"""Features of images, kept on disk, so that a frozen network looks at each image once.

A file holds the features of 256 images, and is named by what they are: paths, sizes and times of change. A changed,
added or removed image so renews files and leaves those before it, and an encoding that was stopped goes on.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from graft.cache import cache_dir
from graft.data.loader import settle_in

COUNT = 256  # images in a file

Encoder = Callable[[Tensor], Tensor]


class Features:
    """The features of images, one tensor for each: `features[index]`.

    Args:
        folder: Where the files are; its name says what the images are encoded with.
        images: Files of the images.
    """

    def __init__(self, folder: Path, images: Sequence[Path]) -> None:
        parts = [images[first : first + COUNT] for first in range(0, len(images), COUNT)]
        self.files = [folder / f"{_name(part)}.safetensors" for part in parts]

    def __getitem__(self, index: int) -> Tensor:
        feature: Tensor = _open(self.files[index // COUNT]).get_slice("features")[index % COUNT]
        return feature

    def missing(self) -> list[int]:
        """Numbers of the files that are not there; file k is of the images from `COUNT` * k on."""
        return [k for k, file in enumerate(self.files) if not file.is_file()]

    def write(self, k: int, features: Tensor) -> None:
        """Write file k, whole or not at all."""
        file = self.files[k]
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f"{file.name}.{os.getpid()}.part")
        save_file({"features": features.contiguous()}, beside)
        beside.replace(file)


def encode(
    images: Sequence[Path],
    pixels: Dataset[Any],
    key: str,
    encoder: Encoder,
    like: DataLoader[Any],
    share: tuple[int, int],
) -> Features:
    """The features of images; those that no earlier run has left in the cache are computed now.

    Args:
        images: Files of the images.
        pixels: Items of these images, whose `image` is what the encoder gets.
        key: What decides how the encoder sees. How a file becomes pixels need not be in it: the first image's pixels
            are added.
        encoder: From (B, 3, S, S), uint8, to (B, ...).
        like: The images are loaded in batches of this loader's size, by as many workers.
        share: This process among those of the machine, and how many they are. Each encodes its share; all must be done
            before any feature is read.
    """
    first = hashlib.sha256(pixels[0]["image"].numpy().tobytes()).hexdigest()
    folder = cache_dir() / "features" / hashlib.sha256(f"{key} {first}".encode()).hexdigest()[:32]
    features, size = Features(folder, images), like.batch_size or 1
    mine = {k: range(len(images))[k * COUNT : (k + 1) * COUNT] for k in features.missing() if k % share[1] == share[0]}
    if not mine:
        return features
    batches = {k: [list(part[at : at + size]) for at in range(0, len(part), size)] for k, part in mine.items()}
    loader = DataLoader(
        pixels,
        batch_sampler=[batch for part in batches.values() for batch in part],
        num_workers=like.num_workers,
        worker_init_fn=settle_in,
        generator=torch.Generator(),  # the run's own random numbers stay as they are
    )
    rank_zero_info(f"Each image is encoded once; the features are kept in {folder}")
    with tqdm(total=sum(map(len, mine.values())), unit=" images", desc="encoding", disable=None) as bar:
        read = iter(loader)
        for k, part in batches.items():
            found = []
            for batch in part:
                found.append(encoder(next(read)["image"]).float().cpu())
                bar.update(len(batch))
            features.write(k, torch.cat(found))
    return features


def _name(images: Sequence[Path]) -> str:
    states = ((path, path.stat()) for path in images)
    words = "\n".join(f"{path.absolute()} {state.st_size} {state.st_mtime_ns}" for path, state in states)
    return hashlib.sha256(words.encode()).hexdigest()[:32]


@lru_cache(maxsize=1024)
def _open(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file} cannot be read ({error}): remove it, and its images are encoded again.") from error
