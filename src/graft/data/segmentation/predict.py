"""Images without masks, and the prompts that a prompts.csv beside them gives."""

from math import isfinite
from pathlib import Path

import torch
from torch.utils.data import Dataset

from graft.data.batch import Item
from graft.data.files import SUFFIXES, list_images
from graft.data.images import read_image
from graft.data.segmentation.dataset import image_tensor
from graft.data.segmentation.geometry import fit_image
from graft.data.table import read_table, read_text

COLUMNS = {"box": ("x0", "y0", "x1", "y1"), "point": ("x", "y")}

Prompts = dict[str, dict[str, list[float]]]


class PredictDataset(Dataset[Item]):
    """Items (see `graft.data.batch.Item`, without masks) of the images in a folder, indexed by `dataset[epoch, index]`.

    A prompts.csv in the folder prompts every image: columns image,x0,y0,x1,y1 for boxes, or image,x,y for points (or
    all of them), in pixels of the image as it is displayed. `image` is the file's name, with or without extension.

    Args:
        root: The folder; folders in it are not searched.
        image_size: Side of the padded square, in pixels.
    """

    def __init__(self, root: Path, image_size: int) -> None:
        self.images = list(list_images(root).items())
        self.image_size = image_size
        self.table = root / "prompts.csv"
        self.prompts = read_prompts(self.table) if self.table.is_file() else None
        for name, path in self.images:
            if self.prompts is not None and name not in self.prompts:
                raise ValueError(f"{self.table} has no row for {path.name}; add one, or remove the image.")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: int | tuple[int, int]) -> Item:
        name, path = self.images[key[1] if isinstance(key, tuple) else key]
        image = read_image(path)
        fitted = fit_image(image, self.image_size)
        size, original_size = torch.tensor(fitted.shape[:2]), torch.tensor(image.shape[:2])
        item = Item(image=image_tensor(fitted, self.image_size), size=size, original_size=original_size)
        item["original_image"] = torch.from_numpy(image).permute(2, 0, 1)
        item["name"], item["path"] = name, str(path)
        for kind, numbers in self.prompts[name].items() if self.prompts is not None else ():
            prompt = torch.tensor(numbers).reshape(-1, 2)  # (corners, x y)
            if (prompt < 0).any() or (prompt > original_size.flip(0)).any():
                raise ValueError(
                    f"{self.table}: the {kind} {numbers} lies outside {path.name}, which is {image.shape[1]} pixels "
                    f"wide and {image.shape[0]} high; correct it."
                )
            item[kind] = (prompt * (size / original_size).flip(0)).flatten()  # type: ignore[literal-required]
        return item


def read_prompts(path: Path) -> Prompts:
    """Read boxes, points or both, by the image's name without extension, in pixels of the image.

    Raises:
        ValueError: A column is missing, a value is no number, a box is inside out, or an image has two rows.
    """
    header = [name.strip() for name in read_text(path).partition("\n")[0].split(",")]
    kinds = [kind for kind, columns in COLUMNS.items() if any(column in header for column in columns)] or ["box"]
    prompts: Prompts = {}
    for row in read_table(path, ["image", *(column for kind in kinds for column in COLUMNS[kind])]):
        name = Path(row["image"]).stem if Path(row["image"]).suffix.lower() in SUFFIXES else row["image"]
        if name in prompts:
            raise ValueError(f"{path} has two rows for {row['image']}, but one prompt an image is read; remove one.")
        prompts[name] = {kind: [_number(row, column, path) for column in COLUMNS[kind]] for kind in kinds}
        if "box" in kinds:
            x0, y0, x1, y1 = prompts[name]["box"]
            if x0 >= x1 or y0 >= y1:
                raise ValueError(
                    f"{path}: the box of {row['image']} is {x0}, {y0}, {x1}, {y1}, but needs x0 < x1 and y0 < y1."
                )
    return prompts


def _number(row: dict[str, str], column: str, path: Path) -> float:
    try:
        number = float(row[column])
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise ValueError(f"{path}: {column} of {row['image']} is {row[column]!r}, but must be a number of pixels.")
    return number
