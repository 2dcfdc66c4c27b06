"""Read the images that Python code gives: paths, bytes, open files, PIL images and arrays."""

from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alld.images.decode import Decoded, decode
from alld.images.formats import refusal
from alld.images.rgb import COLOURS, read_orientation, to_rgb, upright
from alld.inference.inputs import expand
from alld.runtime.files import sha256_hex

One = str | PathLike[str] | bytes | BinaryIO | Image.Image | NDArray[np.uint8]
Images = One | Iterable[One]


class Given(NamedTuple):
    """An image in memory."""

    name: str
    content: bytes | Image.Image | NDArray[np.uint8]


def listed(images: Images) -> Iterator[Path | Given]:
    """Yield one image or many; folders and globs become their files, sorted.

    An array of one image is (H, W, 3), and one of several (N, H, W, 3).
    """
    several = isinstance(images, np.ndarray) and images.ndim == 4
    single = isinstance(images, str | PathLike | bytes | Image.Image | np.ndarray)
    if not several and (single or hasattr(images, "read")):
        images = [images]  # type: ignore[list-item]
    for number, image in enumerate(images, start=1):  # type: ignore[arg-type]
        name = f"image {number}"
        if isinstance(image, str | PathLike):
            yield from expand([str(image)])
        elif isinstance(image, bytes | np.ndarray):
            yield Given(name, image)
        elif isinstance(image, Image.Image):
            yield Given(str(getattr(image, "filename", "") or name), image)
        elif hasattr(image, "read"):
            yield Given(str(getattr(image, "name", name)), image.read())
        else:
            raise TypeError(
                f"{name}: a {type(image).__name__}; give a path, bytes, an open file, a PIL image "
                "or a uint8 array (H, W, 3)"
            )


def read_given(given: Given) -> tuple[str | None, Decoded]:
    """Return the hash of the file, where there is one, and the picture.

    Raises:
        ImageError: not an image that ALLD reads.
    """
    content = given.content
    if isinstance(content, bytes):
        return sha256_hex(content), decode(content, given.name)
    if isinstance(content, Image.Image):
        return None, _from_pil(content)
    if content.dtype != np.uint8 or content.ndim != 3 or content.shape[2] != 3:
        seen = f"an array of {content.dtype}, shape {content.shape}"
        raise refusal(f"{given.name}: {seen}", "give RGB as uint8 (H, W, 3)")
    return None, Decoded(np.ascontiguousarray(content), "array", (), ())


def _from_pil(image: Image.Image) -> Decoded:
    if image.mode not in COLOURS:
        raise refusal(f"a PIL image of mode {image.mode}", "convert it to RGB")
    orientation = read_orientation(image) or 1  # type: ignore[arg-type]
    bits = 16 if image.mode.startswith("I;16") else 8
    pixels, conversions = to_rgb(image, bits, white_is_zero=False)
    if orientation > 1:
        conversions.append(f"EXIF orientation {orientation} applied")
        pixels = upright(pixels, orientation)
    return Decoded(np.ascontiguousarray(pixels), "PIL image", tuple(conversions), ())
