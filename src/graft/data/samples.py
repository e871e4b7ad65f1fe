"""What a data set knows of an image before it is read."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """An image's file, the file of its mask where there is one, and the name that both go by."""

    name: str
    image: Path
    mask: Path | None = None
