"""Find images in a folder, and the masks that belong to them in another."""

from pathlib import Path

from graft.data.dataset import Sample

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


def list_images(folder: Path) -> dict[str, Path]:
    """The images of a folder, itself alone, by name without extension and in the order of names.

    Raises:
        FileNotFoundError: There is no such folder, or no image in it.
        ValueError: Two files have the same name but for the extension.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"The folder {folder} does not exist; create it and put images into it ({_kinds()}).")
    images: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in images:
            raise ValueError(f"{images[path.stem]} and {path.name} differ only in the extension; rename or remove one.")
        images[path.stem] = path
    if not images:
        raise FileNotFoundError(f"The folder {folder} holds no images; put some into it ({_kinds()}).")
    return images


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


def name_some(names: list[str], most: int = 5) -> str:
    """A list of names that stays readable however long it is."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _kinds() -> str:
    return ", ".join(suffix[1:] for suffix in SUFFIXES)
