"""Features of images, computed once and kept on disk, so that a frozen network looks at each image once."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from graft.cache import cache_dir
from graft.data.feature_files import Features
from graft.data.loader import settle_in

COUNT = 256  # images in a file

Encoder = Callable[..., Tensor]


def encode(
    images: Sequence[Path],
    pixels: Dataset[Any],
    key: str,
    encoder: Encoder,
    like: DataLoader[Any],
    share: tuple[int, int],
    folder: Path | None = None,
    reads: Sequence[str] = ("image",),
    count: int | None = None,
) -> Features:
    """The features of images; those that no earlier run has left in the cache are computed now.

    Args:
        images: Files of the images.
        pixels: Items of these images, whose `image` is what the encoder gets.
        key: What decides how the encoder sees. How a file becomes pixels need not be in it: the first image's pixels
            are added.
        encoder: From what it `reads` to (B, ...).
        like: The images are loaded in batches of this loader's size, by as many workers.
        share: This process among those of the machine, and how many they are. Each encodes its share; all must be done
            before any feature is read.
        folder: Where the features are kept, each key's in a folder of its own; null for the cache.
        reads: What of a batch the encoder gets: the images (B, 3, S, S), uint8, and perhaps more.
        count: Images in a file.

    Raises:
        ValueError: An image cannot be read, or a file not be written.
    """
    first = hashlib.sha256(pixels[0]["image"].numpy().tobytes()).hexdigest()
    folder = (folder or cache_dir() / "features") / hashlib.sha256(f"{key} {first}".encode()).hexdigest()[:32]
    count = count or COUNT
    features, size = Features(folder, images, count), like.batch_size or 1
    mine = {k: range(len(images))[k * count : (k + 1) * count] for k in features.missing() if k % share[1] == share[0]}
    if not mine:
        return features
    batches = {k: [list(part[at : at + size]) for at in range(0, len(part), size)] for k, part in mine.items()}
    loader = DataLoader(
        pixels,
        batch_sampler=[batch for part in batches.values() for batch in part],
        num_workers=like.num_workers,
        collate_fn=like.collate_fn,
        worker_init_fn=settle_in,
        generator=torch.Generator(),  # the run's own random numbers stay as they are
    )
    rank_zero_info(f"Each image is encoded once; the features are kept in {folder}")
    with tqdm(total=sum(map(len, mine.values())), unit=" images", desc="encoding", disable=None) as bar:
        read = iter(loader)
        for k, part in batches.items():
            found = []
            for batch in part:
                loaded = next(read)
                found.append(encoder(*(loaded[name] for name in reads)).cpu())
                bar.update(len(batch))
            features.write(k, torch.cat(found))
    return features
