"""Turn what Pillow has opened into upright RGB arrays."""

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from alld.runtime.files import sha256_hex

RGB = NDArray[np.uint8]  # (H, W, 3)

COLOURS = {  # Pillow's modes that are accepted, and the words for their conversion
    "1": "1-bit to RGB",
    "L": "grey to RGB",
    "LA": "grey to RGB",
    "I;16": "grey to RGB",
    "I;16B": "grey to RGB",
    "P": "palette to RGB",
    "PA": "palette to RGB",
    "CMYK": "CMYK to RGB",
    "RGB": "",
    "RGBA": "",
}
# Image.open would hide why a file is not accepted, and follow an MPO into its further pictures.
_OPENERS: dict[str, Callable[[IO[bytes]], ImageFile.ImageFile]] = {
    "TIFF": TiffImageFile,
    "BMP": BmpImageFile,
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "WebP": WebPImageFile,
}
_UPRIGHT: dict[int, Callable[[RGB], RGB]] = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels[::-1].transpose(1, 0, 2),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: pixels[:, ::-1].transpose(1, 0, 2),
}
_EXIF_PARTS = {ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.IFD.Interop}
_BAND_PIXELS = 2**20  # large pictures are converted band by band, to save memory
_WARNINGS_LOCK = threading.Lock()  # Python's warning filters belong to all threads


def pixels_hash(pixels: RGB) -> str:
    """Return a SHA-256 of size and samples: equal for equal pictures, whatever their files."""
    height, width = pixels.shape[:2]
    return sha256_hex(b"%d %d " % (width, height) + pixels.tobytes())


def open_image(data: bytes, kind: str) -> ImageFile.ImageFile:
    """Read the header with Pillow's plugin for `kind`; the pixels are not decoded yet."""
    with without_warnings():
        return _OPENERS[kind](BytesIO(data))


def read_orientation(image: ImageFile.ImageFile) -> int | None:
    """Return the EXIF orientation, 1 to 8; None if EXIF is damaged.

    A TIFF must not be loaded yet, as loading turns it and forgets the tag. A PNG must be: its EXIF
    may stand behind the pixels.
    """
    for key in ("xmp", "XML:com.adobe.xmp"):  # no viewer turns a picture by its XMP; Pillow does
        image.info.pop(key, None)
    with without_warnings():
        try:
            if "exif" in image.info:
                Image.Exif().load(image.info["exif"])  # raises, where getexif may hide a failure
            exif = image.getexif()
            for directory in _EXIF_PARTS & exif.keys():
                exif.get_ifd(directory)  # cached: loading a TIFF reads them again, and may warn
            value = exif.get(ExifTags.Base.Orientation, 1)
        except Exception:  # Pillow raises many types
            return None
    return value if value in _UPRIGHT else 1


def upright(pixels: RGB, orientation: int) -> RGB:
    """Turn and mirror stored pixels as a viewer does."""
    return _UPRIGHT[orientation](pixels)


def to_rgb(image: Image.Image, bits: int, *, white_is_zero: bool) -> tuple[RGB, list[str]]:
    """Return a loaded picture as RGB, and the conversions that this took."""
    changes = [f"{bits}-bit samples scaled to 8"] if bits in (12, 16) else []
    changes += filter(None, [COLOURS[image.mode]])
    if image.mode.startswith("I;16"):
        samples = np.asarray(image) >> (bits - 8)
        # Pillow inverts 8-bit grey that stores white as 0, but not 16-bit grey.
        grey = (255 - samples if white_is_zero else samples).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2), changes
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    if image.mode not in ("LA", "PA", "RGBA") and "transparency" not in image.info:
        for rows, rgb in _bands(image, "RGB"):
            pixels[rows] = rgb
        return pixels, changes
    lowest = 255
    for rows, rgba in _bands(image, "RGBA"):
        colour, alpha = rgba[:, :, :3].astype(np.uint16), rgba[:, :, 3:].astype(np.uint16)
        # Rounded to the nearest; at most 255 * 255 + 127, which fits 16 bits.
        pixels[rows] = (colour * alpha + 255 * (255 - alpha) + 127) // 255
        lowest = min(lowest, int(alpha.min()))
    return pixels, [*changes, "opaque alpha dropped" if lowest == 255 else "alpha laid over white"]


def _bands(image: Image.Image, mode: str) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        yield slice(top, top + rows), np.asarray(band.convert(mode))


@contextmanager
def without_warnings() -> Iterator[None]:
    with _WARNINGS_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
