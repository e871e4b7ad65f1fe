"""Pair the images of a folder with the masks that belong to them in another."""

from pathlib import Path

from graft.data.files import list_images, name_some
from graft.data.samples import Sample


def pair_files(images: Path, masks: Path) -> list[Sample]:
    """Pair each image of a folder with the mask of the same name, whatever the extension, in another.

    Raises:
        FileNotFoundError: A folder is missing or empty, or an image has no mask, or a mask no image.
        ValueError: Two files have the same name but for the extension.
    """
    found, theirs = list_images(images), list_images(masks)
    for kind, folder, other, lonely in (
        ("a mask", images, masks, [path.name for name, path in found.items() if name not in theirs]),
        ("an image", masks, images, [path.name for name, path in theirs.items() if name not in found]),
    ):
        if lonely:
            raise FileNotFoundError(
                f"{folder} has files without {kind} of the same name in {other}: {name_some(lonely)}; add what is "
                "missing, or remove them."
            )
    return [Sample(name, path, theirs[name]) for name, path in found.items()]
