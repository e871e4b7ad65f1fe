"""What may be wrong with masks."""

from collections import Counter
from collections.abc import Iterator, Sequence

from graft.check.finding import Finding
from graft.check.look import Look, Mask

HIGHEST_INDEX = 63
"""Above, the values of a mask of two are no class indices but greys."""
IGNORE = 255
FULL = 0.8
GREY = (32, 223)
"""Values in between are neither black nor white, JPEG noise taken into account."""


def masks(looks: list[Look], split: str | None = None) -> list[Mask]:
    """Those that can be read as training reads them, of one split or of all."""
    found = [look.mask for look in looks if look.mask and look.mask.classes and split in (None, look.split)]
    return [mask for mask in found if mask is not None]


def raw(looks: list[Look]) -> Counter[int]:
    """Masks that hold each value, of those whose values mean something."""
    return Counter(value for look in looks if look.mask and look.mask.values for value in look.mask.values)


def other_count(data_classes: int, model_classes: int | None) -> Iterator[Finding]:
    """A model for another number of classes than the data's."""
    if model_classes not in (None, data_classes):
        yield Finding(
            f"The data have {data_classes} class{'es' if data_classes > 1 else ''}, the model has num_classes "
            f"{model_classes}: make them equal.",
            f"model.init_args.num_classes: {data_classes}",
            fatal=True,
        )


def indexed(looks: list[Look], classes: Sequence[str]) -> Iterator[Finding]:
    """Masks of class indices where one class is configured: all of them would be read as background."""
    indices = {value for value in raw(looks) if value}
    if len(classes) == 1 and indices and 1 < max(indices) <= HIGHEST_INDEX:
        count = max(indices)
        names = ", ".join(f"class_{index}" for index in range(1, count + 1))
        yield Finding(
            f"The masks hold {count} classes (the values {spoken(sorted(indices))}), but one is configured, for which "
            "they would be read as empty: name the classes.",
            f"data.init_args.classes: [{names}]\nmodel.init_args.num_classes: {count}",
            fatal=True,
        )


def beyond(looks: list[Look], classes: Sequence[str]) -> Iterator[Finding]:
    """Masks with indices for which no class is named."""
    found = {value: number for value, number in raw(looks).items() if value > len(classes)}
    if len(classes) == 1 or not found:
        return
    said = f"{sum(1 for look in looks if look.mask and look.error)} masks hold {spoken(sorted(found))}, but "
    if {*found} == {IGNORE}:
        advice = f"the highest class is {len(classes)}: {IGNORE} often marks what is to be ignored; write 0 there."
        yield Finding(said + advice, fatal=True)
        return
    highest = max(value for value in found if value != IGNORE)
    names = ", ".join([*classes, *(f"class_{index}" for index in range(len(classes) + 1, highest + 1))])
    yield Finding(
        f"{said}{len(classes)} classes are configured: name the rest, or correct the masks.",
        f"data.init_args.classes: [{names}]\nmodel.init_args.num_classes: {highest}",
        fatal=True,
    )


def grey(looks: list[Look], classes: Sequence[str]) -> Iterator[Finding]:
    """Masks of one class with a few steps of grey, which may have been meant as classes."""
    steps = sorted(value for value in raw(looks) if GREY[0] <= value <= GREY[1])
    if len(classes) == 1 and steps and len(raw(looks)) <= 16:  # more are the soft edges of a drawing
        yield Finding(
            f"The masks hold the greys {spoken(steps)} between black and white: all above 127 is read as foreground. "
            "If they are classes, save them as indices 1, 2, ..., and name them.",
            f"data.init_args.classes: [{', '.join(f'class_{k + 1}' for k in range(len(steps) + 1))}]",
        )


def empty(looks: list[Look]) -> Iterator[Finding]:
    """Training masks with nothing in them."""
    found = masks(looks, "train")
    nothing = sum(not any((mask.classes or ())[1:]) for mask in found)
    if found and 2 * nothing > len(found):
        every = nothing == len(found)
        yield Finding(
            f"{'All' if every else nothing} of {len(found)} training masks are empty: "
            + ("there is nothing to learn. " if every else "the model may learn to find nothing. ")
            + "Foreground is 1 or above 127 in a binary mask, 1 to the number of classes in an indexed one.",
            fatal=every,
        )


def inverted(looks: list[Look]) -> Iterator[Finding]:
    """Masks of which nearly all is foreground."""
    found = [mask.classes for mask in masks(looks) if mask.classes]
    share = sum(1 - classes[0] / sum(classes) for classes in found) / max(1, len(found))
    if share > FULL:
        yield Finding(f"{share:.0%} of the masks' pixels are foreground: are black and white the wrong way round?")


def unused(looks: list[Look], classes: Sequence[str]) -> Iterator[Finding]:
    """Classes that no training mask shows."""
    found = masks(looks, "train")
    shown = {index for mask in found for index, pixels in enumerate(mask.classes or ()) if pixels}
    missing = [name for index, name in enumerate(classes, 1) if index not in shown]
    if found and len(classes) > 1 and missing:
        yield Finding(
            f"No training mask shows {spoken(missing)}: add images of it, or leave the class out if it is the last."
        )


def spoken(values: Sequence[object]) -> str:
    """A list that stays readable."""
    return ", ".join(map(str, values[:8])) + (", ..." if len(values) > 8 else "")
