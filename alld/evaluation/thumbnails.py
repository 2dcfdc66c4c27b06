"""The misclassified images as small pictures that travel inside a page."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from alld.data.decode import decode, read_image_bytes
from alld.errors import ImageError
from alld.evaluation.material import Misjudged
from alld.files import one_line, sha256_hex

SIDE = 144  # px, the longer side of a thumbnail


@dataclass(frozen=True)
class Mistake:
    """A misjudged image with its picture, a `data:` address.

    `picture` is None where the file can no longer be read as it was: then `error` says why.
    """

    name: str
    label: str
    verdict: str
    lines: tuple[str, ...]
    picture: str | None
    error: str | None = None


def mistakes(misjudged: Sequence[Misjudged]) -> tuple[Mistake, ...]:
    """The misjudged images with their pictures, in their order."""
    return tuple(map(_mistake, misjudged))


def thumbnail(file: Path, sha256: str | None) -> str:
    """A picture as a PNG in a `data:` address, at most 144 px a side.

    Raises:
        ImageError: it cannot be read, or is not the file of that hash any more.
    """
    data = read_image_bytes(file)
    if sha256 is not None and sha256_hex(data) != sha256:
        raise ImageError(f"{file}: changed since it was judged")
    picture = Image.fromarray(decode(data, str(file)).pixels)
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    png = BytesIO()
    picture.save(png, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"


def _mistake(one: Misjudged) -> Mistake:
    picture, error = None, None
    try:
        picture = thumbnail(one.file, one.sha256)
    except ImageError as failure:
        # Every reason begins with the path, whose odd letters the decoder may have replaced.
        error = one_line(str(failure)[len(f"{one.file}: ") :])
    return Mistake(one_line(one.name), one.label, one.verdict, one.lines, picture, error)
