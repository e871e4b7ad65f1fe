"""What may be wrong with classes."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from graft.check.finding import Finding
from graft.check.look import Look
from graft.data.classification.division import Labelled
from graft.data.files import name_some

UNEVEN = 20
"""Where the largest class has so many times the images of the smallest, the smallest hardly counts in the loss."""

Splits = Mapping[str, Sequence[Labelled]]


def per_class(splits: Splits, split: str) -> Counter[int]:
    """Images of each class."""
    return Counter(sample.label for sample in splits.get(split, ()))


def untrained(splits: Splits, names: Sequence[str]) -> Iterator[Finding]:
    """Classes without a training image."""
    counts = per_class(splits, "train")
    if missing := [name for label, name in enumerate(names) if not counts[label]]:
        yield Finding(f"No training image shows {name_some(missing)}: add some of each class.", fatal=True)


def unseen(splits: Splits, names: Sequence[str]) -> Iterator[Finding]:
    """Classes that no score knows of."""
    counts = per_class(splits, "val")
    missing = [name for label, name in enumerate(names) if not counts[label]]
    if counts and missing:
        yield Finding(
            f"No validation image shows {name_some(missing)} ({len(missing)} of {len(names)} classes): val/accuracy "
            "does not tell whether they are learnt. Move some images of each there."
        )


def uneven(splits: Splits, names: Sequence[str]) -> Iterator[Finding]:
    """Classes of very different size."""
    counts = per_class(splits, "train")
    if len(counts) > 1 and max(counts.values()) >= UNEVEN * min(counts.values()):
        (most, many), (least, few) = counts.most_common()[0], counts.most_common()[-1]
        yield Finding(
            f"{names[most]} has {many} training images, {names[least]} {few}: a model that never says {names[least]} "
            "is hardly wrong. Watch mean_per_class rather than accuracy.",
            "checkpoint.monitor: val/mean_per_class",
        )


def contradictory(looks: list[Look], names: Sequence[str]) -> Iterator[Finding]:
    """The same bytes under two classes."""
    same: dict[bytes, dict[int, Look]] = defaultdict(dict)
    for look in looks:
        if look.digest and look.label is not None:
            same[look.digest].setdefault(look.label, look)
    found = [list(labels.values()) for labels in same.values() if len(labels) > 1]
    if found:
        one, other = found[0][:2]
        yield Finding(
            f"{one.path} ({names[one.label or 0]}) and {other.path} ({names[other.label or 0]}) are the same image "
            f"under two classes{f' (and {len(found) - 1} more)' if len(found) > 1 else ''}: decide which one it shows."
        )
