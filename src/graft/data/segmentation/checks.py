"""Look at the files before training, rather than fail after an hour of it."""

from collections.abc import Sequence

from graft.data.files import name_some
from graft.data.samples import Sample
from graft.data.segmentation.resized import read_pair


def check_pairs(samples: Sequence[Sample], num_classes: int, most: int = 32) -> None:
    """Check that every file exists, and that of `most` pairs, evenly spaced, both are whole and fit each other.

    Raises:
        FileNotFoundError: Files are missing; they are named.
        ValueError: A file cannot be read, sizes differ, a mask holds other classes, or no mask holds any.
    """
    files = [path for sample in samples for path in (sample.image, sample.mask) if path is not None]
    if missing := [str(path) for path in files if not path.is_file()]:
        raise FileNotFoundError(f"Not found: {name_some(missing)}; put each there, or take it out of the data set.")
    count = min(most, len(samples))
    pairs = [read_pair(samples[position * len(samples) // count], num_classes) for position in range(count)]
    if pairs and not any(mask.any() for _, mask in pairs):
        raise ValueError(
            f"None of {count} masks looked at, such as {samples[0].mask}, shows anything but background; foreground is "
            "1 or above 127 in a binary mask, 1 to the number of classes in an indexed one."
        )
