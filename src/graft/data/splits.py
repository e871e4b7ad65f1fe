"""Which images train, which validate and which test.

A data set's own lists decide: train.txt, val.txt and test.txt in its folder, one name a line, with or without
extension. Names in no list are divided over the splits that have no list (over all three if none or all have one) by a
hash of the name, in the proportion 80 : 10 : 10: so adding a file moves no other, and a file is in the same split on
every machine.
"""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path, PurePosixPath

from graft.data.samples import Sample
from graft.data.table import read_text

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}

Splits = dict[str, list[Sample]]


def split_samples(samples: Sequence[Sample], root: Path) -> Splits:
    """Divide samples by the lists in `root`, and by hash where there is none; the order of the samples stays.

    Raises:
        ValueError: A list names an image that is not there, or two lists name the same.
    """
    lists = {split: root / f"{split}.txt" for split in SHARES if (root / f"{split}.txt").is_file()}
    known = {sample.name for sample in samples}
    chosen: dict[str, str] = {}
    for split, path in lists.items():
        for name in _read_names(path, known):
            if chosen.setdefault(name, split) != split:
                raise ValueError(f"{name} is listed in both {lists[chosen[name]]} and {path}; remove it from one.")
    free = [split for split in SHARES if split not in lists] or list(SHARES)
    splits: Splits = {split: [] for split in SHARES}
    for sample in samples:
        splits[chosen.get(sample.name) or split_by_hash(sample.name, free)].append(sample)
    return splits


def split_by_hash(name: str, splits: Sequence[str] = tuple(SHARES)) -> str:
    """One of `splits`, picked by the SHA-256 of the name in proportion to the splits' shares."""
    fraction = int.from_bytes(sha256(name.encode()).digest()[:8], "big") / 2**64
    left = fraction * sum(SHARES[split] for split in splits)
    for split in splits:
        left -= SHARES[split]
        if left < 0:
            return split
    return splits[-1]  # the shares' sum is rounded, so that a fraction next to 1 may fall through


def _read_names(path: Path, known: set[str]) -> set[str]:
    names = set()
    for line in read_text(path).splitlines():
        if not (listed := line.strip()):
            continue
        name = listed if listed in known else PurePosixPath(listed).stem
        if name not in known:
            raise ValueError(f"{path} lists {listed}, but there is no such image; add the image or remove the line.")
        names.add(name)
    return names
