"""Images that are in two splits at once: a score on them rewards what was learnt by heart.

Copies are refused. Look-alikes, such as neighbouring frames of a video, are warned of. An image's difference hash (N.
Krawetz, hackerfactor.com/blog/index.php?/archives/529-Kind-of-Like-That.html; here in two directions, with ties) is
compared after what all images share is taken off, such as the black corners of an endoscope or the ribs in X-rays:

    s            signs of the brightness steps to the right and downwards on a grid of 16 x 16: 512 of -1, 0 or 1
    d = s - m    with m = sum of s over all n images / (n + 30)
    likeness     <d, d'> / (|d| |d'|), which is 1 for a copy and about 0 for images that have nothing in common
"""

import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from itertools import combinations
from pathlib import Path

import numpy as np
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray
from PIL import Image

from graft.data.splits import Splits

SIDE = 16
SHARED = 30  # images at which half of what all share is taken off: in a few images nobody knows what is shared
PLAIN = 8.0  # least length of d: an image whose steps are fewer than 64 is too plain to resemble another by chance

ALIKE = 0.6
"""Least likeness warned of. Of the 404,550 pairs that 900 images of Kvasir-SEG make, the likest of two scenes reach
0.51, and seven of one scene 0.61 to 0.99. Of changed copies of every fourth all with JPEG quality 10, 30 % more or less
brightness, half the side, 4 of 352 pixels of shift or 6 % of zoom are found; of those shifted by 8 pixels, 86 %."""

File = tuple[str, Path]  # a split and an image in it
Hash = NDArray[np.int8]


def check_copies(splits: Splits) -> None:
    """Check that no image file has the same bytes as one of another split. Files that are not there are passed over.

    Raises:
        ValueError: An image is in two splits; both files and splits are named.
    """
    groups = [_files(splits)]
    for key in (_size, _middle, _digest):  # from cheap to dear: whole files are hashed only if all else is equal
        groups = [group for files in groups for group in _divide(files, key)]
    if groups:
        (split, path), *rest = groups[0]
        other_split, other = next(file for file in rest if file[0] != split)
        more = f" (and {len(groups) - 1} more images are in two splits)" if len(groups) > 1 else ""
        raise ValueError(
            f"{path} ({split}) and {other} ({other_split}) are the same image, byte for byte{more}, but an image may "
            "be in one split only; remove one, or list both for the same split (in train.txt, ..., or in the CSV)."
        )


@rank_zero_only
def warn_of_lookalikes(splits: Splits, most: int = 5000) -> None:
    """Warn, once and on the first process alone, if images of different splits look almost alike.

    Args:
        splits: The images of each split. Those that cannot be read, or have too many pixels to be, are passed over.
        most: Number of images looked at, evenly spaced if there are more.
    """
    files = _files(splits)
    looked_at = [files[position * len(files) // most] for position in range(most)] if len(files) > most else files
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore")  # about the files: whoever reads them in earnest passes it on
        hashes = list(pool.map(difference_hash, [path for _, path in looked_at]))
    seen = [(*file, signs) for file, signs in zip(looked_at, hashes, strict=True) if signs is not None]
    rows = centre(np.array([signs for *_, signs in seen], dtype=np.int8).reshape(-1, 2 * SIDE**2))
    where = {split: [row for row, (owner, *_) in enumerate(seen) if owner == split] for split in splits}
    pairs, examples = 0, []
    for split, other_split in combinations(splits, 2):
        likeness = rows[where[split]] @ rows[where[other_split]].T  # (images of a split, images of the other)
        if number := int((likeness >= ALIKE).sum()):
            pairs += number
            row, column = divmod(int(likeness.argmax()), likeness.shape[1])
            path, other = seen[where[split][row]][1], seen[where[other_split][column]][1]
            examples.append(f"{path} ({split}) and {other} ({other_split})")
    if pairs:
        among = f", among {most} of {len(files)} images" if len(files) > most else ""
        warnings.warn(
            f"Images in different splits look almost alike, such as {', or '.join(examples[:2])} (pairs found: {pairs}"
            f"{among}). Scores on them are too good. Put what shows one scene into one split: list whole sequences in "
            "train.txt, val.txt or test.txt, or in the CSV.",
            stacklevel=3,
        )


def difference_hash(path: Path) -> Hash | None:
    """The signs of an image's brightness steps, -1, 0 or 1: 256 to the right, then 256 downwards, row by row.

    None for a file that cannot be read, or has more than Pillow's limit of pixels: `check_pairs` speaks of those.
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or float("inf")):
                return None
            image.draft("L", (4 * SIDE, 4 * SIDE))  # a JPEG is decoded at down to an eighth of its size
            grey = image.convert("F" if image.mode[0] in "IF" else "L")  # "L" would clip 16 bits
    except Exception:  # Pillow raises whatever its decoders stumble on
        return None
    right, down = (
        np.asarray(grey.resize(size, Image.Resampling.BILINEAR), dtype=np.float32)
        for size in ((SIDE + 1, SIDE), (SIDE, SIDE + 1))
    )
    steps = np.concatenate([np.diff(right, axis=1).ravel(), np.diff(down, axis=0).ravel()])
    signs: Hash = np.sign(steps).astype(np.int8)
    return signs


def centre(hashes: Hash) -> NDArray[np.float32]:
    """Rows (images, 512) of hashes, without what they share and of length 1, so that inner products are likenesses."""
    rows: NDArray[np.float32] = hashes - hashes.sum(axis=0, dtype=np.float32) / (len(hashes) + SHARED)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), PLAIN)
    return rows


def _files(splits: Splits) -> list[File]:
    return [(split, sample.image) for split, samples in splits.items() for sample in samples]


def _divide(files: Sequence[File], key: Callable[[Path], Hashable]) -> list[list[File]]:
    """Files of the same key together, where these are of several splits; without those that are missing or empty."""
    groups: dict[Hashable, list[File]] = defaultdict(list)
    for split, path in files:
        with suppress(OSError):
            if value := key(path):
                groups[value].append((split, path))
    return [group for group in groups.values() if len({split for split, _ in group}) > 1]


def _size(path: Path) -> int:
    return path.stat().st_size


def _middle(path: Path) -> bytes:
    with path.open("rb") as file:  # tells uncompressed images apart, which are all of one size
        file.seek(_size(path) // 2)
        return file.read(4096)


def _digest(path: Path) -> bytes:
    return sha256(path.read_bytes()).digest()
