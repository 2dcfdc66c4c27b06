"""Turn tested images into small pictures inside the page."""

import base64
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from alld.data.preprocess import to_square
from alld.errors import ImageError
from alld.images.decode import decode, read_unchanged
from alld.inference.heat_map import overlaid
from alld.report.material import Pictured
from alld.runtime.files import one_line

SIDE = 144  # px, the longer side of a thumbnail


@dataclass(frozen=True)
class Thumbnail:
    """A tested image with its picture as a `data:` address, or the reason why there is none."""

    name: str
    label: str
    verdict: str
    row: int
    picture: str | None
    error: str | None = None


def thumbnail(one: Pictured) -> Thumbnail:
    """Return the image with its picture, unless the file is missing or changed since the test."""
    picture, error = None, None
    try:
        picture = _picture(one)
    except ImageError as failure:
        # Every reason begins with the path, whose odd letters the decoder may have replaced.
        error = one_line(str(failure)[len(f"{one.file}: ") :])
    return Thumbnail(one_line(one.name), one.label, one.verdict, one.row, picture, error)


def _picture(one: Pictured) -> str:
    """Return a PNG of at most 144 px a side; with its heat map, a square and one of the map.

    Raises:
        ImageError: it cannot be read, or no longer has this hash.
    """
    pixels = decode(read_unchanged(one.file, one.sha256), str(one.file), one.sha256).pixels
    if one.evidence is not None:
        square = to_square(pixels, SIDE, "none")
        picture = Image.fromarray(np.hstack([square, overlaid(square, one.evidence)]))
    else:
        picture = Image.fromarray(pixels)
        picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    png = BytesIO()
    picture.save(png, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"
