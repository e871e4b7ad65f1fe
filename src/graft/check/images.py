"""What may be wrong with any images: they cannot be read, are there twice, in two splits, or not as they seem."""

import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from graft.check.finding import Finding
from graft.check.look import RANGE, Look
from graft.data.classification.checks import MOST as MOST_COPIES
from graft.data.leakage import check_copies, warn_of_lookalikes
from graft.data.samples import Sample

LONG = 3.0
"""Sides in this proportion leave two thirds of the square to padding, or as much of the image out of its middle."""
DIM = 4096
"""Where a 16-bit image has no value above, its 12 bits were not scaled: it would be read as a sixteenth of white."""

SMALL = 64
"""Of images with fewer pixels a side all of one kind look alike on a grid of 16 x 16, such as digits."""

Splits = Mapping[str, Sequence[Sample]]


def unreadable(looks: list[Look]) -> Iterator[Finding]:
    """Files that cannot be read, or an image and a mask that differ in size."""
    broken = [look for look in looks if look.error and not (look.mask and look.mask.values)]
    if broken:
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        yield Finding(f"{broken[0].error.rstrip('.')}{more}.", fatal=True)


def empty_splits(splits: Splits, root: Path) -> Iterator[Finding]:
    """A split that training needs, and that has no image."""
    for split in ("train", "val"):
        if not splits.get(split):
            counts = ", ".join(f"{name} {len(samples)}" for name, samples in splits.items())
            yield Finding(
                f"The {split} split is empty ({counts}): list some names in {root / split}.txt, or give them {split} "
                "in the split column of the CSV if there is one.",
                fatal=True,
            )


def copies(splits: Splits, published: bool) -> Iterator[Finding]:
    """The same bytes in two splits; in a published set, whose splits stay as they are, only a warning."""
    if sum(map(len, splits.values())) > MOST_COPIES:
        return
    try:
        check_copies({split: list(samples) for split, samples in splits.items()})
    except ValueError as error:
        yield Finding(str(error), fatal=not published)


def lookalikes(looks: list[Look], splits: Splits) -> Iterator[Finding]:
    """Images of different splits that look almost alike."""
    if any(look.digest and min(look.size) < SMALL for look in looks):
        return
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        warn_of_lookalikes({split: list(samples) for split, samples in splits.items()})
    yield from (Finding(str(warning.message)) for warning in heard if "look almost alike" in str(warning.message))


def doubles(looks: list[Look]) -> Iterator[Finding]:
    """The same bytes twice in one split."""
    same: dict[tuple[str, bytes], list[Path]] = defaultdict(list)
    for look in looks:
        if look.digest:
            same[look.split, look.digest].append(look.path)
    twice = {split: paths for (split, _), paths in same.items() if len(paths) > 1}
    number = sum(len(paths) - 1 for paths in same.values() if len(paths) > 1)
    if twice:
        split, paths = next(iter(twice.items()))
        yield Finding(
            f"{number} image{'s are' if number > 1 else ' is'} there more than once in one split, such as {paths[0]} "
            f"and {paths[1]} ({split}): each copy counts again. Remove what is too much."
        )


def long_sides(looks: list[Look]) -> Iterator[Finding]:
    """Images so long that the square they are made to fit shows little of them."""
    found = [look for look in looks if look.digest and max(look.size) > LONG * min(look.size)]
    if found:
        width, height = found[0].size
        yield Finding(
            f"{len(found)} of {len(looks)} images are more than {LONG:g} times as long as wide, such as "
            f"{found[0].path} ({width} x {height}): little of them is left in a square. Cut them into pieces."
        )


def transparent(looks: list[Look]) -> Iterator[Finding]:
    """Images with transparency, which is dropped: what lies beneath comes to light."""
    found = [look for look in looks if look.mode in ("RGBA", "LA", "PA", "La", "RGBa")]
    if found:
        yield Finding(
            f"{len(found)} of {len(looks)} images have transparency, such as {found[0].path}: it is dropped, and what "
            "lies beneath is seen. Look at the contact sheet; if need be lay them on a background, and save as RGB."
        )


def dim(looks: list[Look]) -> Iterator[Finding]:
    """16-bit images that use a small part of their range."""
    found = [look for look in looks if look.peak is not None and look.peak < DIM]
    if found:
        yield Finding(
            f"{len(found)} of {len(looks)} images have 16 bits but no value above {max(f.peak or 0 for f in found)} "
            f"of {RANGE}, such as {found[0].path}: they are read as almost black. Scale them to the whole range."
        )


def findings(looks: list[Look], splits: Splits, root: Path, published: bool) -> list[Finding]:
    """All of these; of look-alikes it is spoken when there are no copies, which are look-alikes too."""
    return [
        *unreadable(looks),
        *empty_splits(splits, root),
        *([*copies(splits, published)] or lookalikes(looks, splits)),
        *doubles(looks),
        *long_sides(looks),
        *transparent(looks),
        *dim(looks),
    ]
