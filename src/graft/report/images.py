"""Images within the page itself."""

import io
from base64 import b64encode

import numpy as np
from PIL import Image
from torch import Tensor

QUALITY = 80


def data_uri(image: Tensor, width: int) -> str:
    """An image, uint8 (3, H, W), as a JPEG that a page can hold; wider ones are scaled down to a width in pixels."""
    picture = Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
    if picture.width > width:
        picture = picture.resize(
            (width, max(1, round(picture.height * width / picture.width))), Image.Resampling.LANCZOS
        )
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY, subsampling=0)  # full colour: masks have sharp edges
    return f"data:image/jpeg;base64,{b64encode(file.getvalue()).decode()}"


def csv_uri(table: str) -> str:
    """A table as a file that the page can hand out."""
    return f"data:text/csv;charset=utf-8;base64,{b64encode(table.encode()).decode()}"
