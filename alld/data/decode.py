"""Bytes of an image file to RGB uint8: the one decoder of training, evaluation and prediction.

**Accepted** are TIFF, BMP, PNG and JPEG, told by content and never by name. A name that contradicts
the content is a warning. Of an MPO JPEG the first picture is used.

**Changed, and said so in `conversions`**: 1-bit, grey, palette, CMYK and YCbCr become RGB. 16-bit
samples keep their high byte and 12-bit samples their upper 8 bits, never clipped; 16-bit grey that
stores white as 0 is inverted. Alpha is laid over white. EXIF orientation is applied exactly once.
ICC profiles and gamma are not applied: training saw plain sample values.

**Warned of**: 16-bit samples that all lie below 4096, for they look like 12-bit data and will be
dark; nothing is guessed. EXIF that cannot be read: the picture is taken as upright.

**Refused, with the reason**: floating-point, signed and 32-bit samples, LAB, run-length BMPs, more
than one page or frame, over 25 megapixels or 10,000 px a side, files over 256 MiB (JPEGs over 64),
over 16 MiB of text and other facts beside the picture, and any file that ends too early, or holds
more or fewer pixels than its header declares: no picture is ever filled up with grey. All limits
are read from the header, before pixels exist. `tiff`, `png`, `bmp` and `jpeg` beside this file say
what is checked in each format.

**Not noticed**, as nothing in the file contradicts it: a changed sample in a raw, LZW or PackBits
picture, and a flipped bit in a JPEG that leaves every block in its place. For a damaged TIFF
libtiff may write a line of its own onto standard error; Pillow has no switch for that.

Safe to call from many threads. Every refusal is an `ImageError` of one line.
"""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from alld.data.bands import bands
from alld.data.bmp import check_bmp
from alld.data.formats import contradiction, format_of
from alld.data.jpeg import check_bits, check_jpeg
from alld.data.png import check_png
from alld.data.quiet import without_warnings
from alld.data.refusals import RESAVE, check_size, refusal
from alld.data.tiff import check_tiff
from alld.data.tiff_tags import BITS, PHOTOMETRIC, Tags
from alld.errors import ImageError
from alld.files import one_line, plain_path, sha256_hex

MAX_FILE_BYTES = 256 * 2**20
SYNTHETIC_MARK = b"ALLD SYNTHETIC"

# The plugins are called by name: Image.open would hide why a file was not accepted, and would
# follow an MPO into its further pictures.
_OPENERS: dict[str, Callable[[IO[bytes]], ImageFile.ImageFile]] = {
    "TIFF": TiffImageFile,
    "BMP": BmpImageFile,
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
}
_COLOURS = {
    "1": "1-bit to RGB",
    "L": "grey to RGB",
    "LA": "grey to RGB",
    "I;16": "grey to RGB",
    "I;16B": "grey to RGB",
    "P": "palette to RGB",
    "PA": "palette to RGB",
    "CMYK": "CMYK to RGB",
    "YCbCr": "YCbCr to RGB",
    "RGB": "",
    "RGBA": "",
}
_UPRIGHT: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels[::-1].transpose(1, 0, 2),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: pixels[:, ::-1].transpose(1, 0, 2),
}
_EXIF_PARTS = {ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.IFD.Interop}


@dataclass(frozen=True)
class Decoded:
    """One picture and what was done to it."""

    pixels: NDArray[np.uint8]  # RGB (H, W, 3), C-contiguous, the caller's own
    format: str  # "TIFF", "BMP", "PNG" or "JPEG"
    conversions: tuple[str, ...]  # what decoding changed, in words; empty for plain 8-bit RGB
    warnings: tuple[str, ...]


def read_image_bytes(path: Path) -> bytes:
    """Read a regular file once, so that hashing and decoding see the same bytes.

    Raises ImageError for a folder, pipe or device, and for a file that is missing, unreadable or
    over 256 MiB.
    """
    try:
        status = path.stat()  # before open, which would wait for ever on a pipe
        if stat.S_ISDIR(status.st_mode):
            os.scandir(path).close()  # a folder that may not be read says so
            raise refusal("is a folder, not a file", "name an image, or a folder with images")
        if not stat.S_ISREG(status.st_mode):
            raise refusal("is a pipe, socket or device, not a file", "name an image file")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1) if status.st_size <= MAX_FILE_BYTES else b""
        if max(len(data), status.st_size) > MAX_FILE_BYTES:
            raise refusal(f"larger than {MAX_FILE_BYTES >> 20} MiB", "crop it to one cell")
    except ImageError as error:
        raise _failure(path, error) from error
    except FileNotFoundError as error:
        raise _failure(path, "no file is called so; check its name, or its pattern") from error
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        reason = getattr(error, "strerror", None) or error
        raise _failure(path, f"cannot be read ({reason}); check its permissions") from error
    return data


def read_unchanged(path: Path, sha256: str | None) -> bytes:
    """Read a file again, which must be the very one of that hash, if there is one.

    Raises ImageError where it is not, and where `read_image_bytes` does.
    """
    data = read_image_bytes(path)
    if sha256 is not None and sha256_hex(data) != sha256:
        raise _failure(path, "changed since it was judged")
    return data


def decode(data: bytes, name: str) -> Decoded:
    """Turn the bytes of an image file into RGB by the policy above.

    `name` serves the messages and the name/content warning only. Raises ImageError, nothing else.
    """
    try:
        return _decode(data, name)
    except ImageError as error:
        raise _failure(name, error) from error
    except Exception as error:  # Pillow lets almost any kind out on foreign bytes
        seen = f"damaged, cut short or of an unusual kind ({error or type(error).__name__})"
        raise _failure(name, f"{seen}; get the original file again, or {RESAVE}") from error


def is_synthetic(data: bytes) -> bool:
    """Whether the mark of ALLD's drawn images stands anywhere in the bytes of a file."""
    return SYNTHETIC_MARK in data


def _decode(data: bytes, name: str) -> Decoded:
    # A switch of the whole process: a library that turned it on would give us half pictures.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    kind = format_of(data)
    tags = check_tiff(data) if kind == "TIFF" else {}
    jpeg = check_jpeg(data) if kind == "JPEG" else None
    if kind in ("PNG", "BMP"):
        (check_png if kind == "PNG" else check_bmp)(data)
    with without_warnings():
        image = _OPENERS[kind](BytesIO(data))
    bits = _bits_per_sample(data, kind, tags)
    _check_header(image, bits)
    orientation = _load(image)
    if jpeg is not None:
        check_bits(data, jpeg, image)
    pixels, conversions = _to_rgb(image, bits, white_is_zero=tags.get(PHOTOMETRIC) == (0,))
    warnings = contradiction(name, kind)
    if bits == 16 and pixels.max() < 4096 >> 8:
        warnings.append("looks like 12-bit data in 16-bit samples: the picture will be dark")
    if orientation is None:
        warnings.append("EXIF cannot be read: the picture is taken as upright")
    elif orientation in _UPRIGHT:
        conversions.append(f"EXIF orientation {orientation} applied")
        # Pillow itself turns a TIFF while it loads.
        pixels = pixels if kind == "TIFF" else _UPRIGHT[orientation](pixels)
    return Decoded(np.array(pixels, order="C"), kind, tuple(conversions), tuple(warnings))


def _bits_per_sample(data: bytes, kind: str, tags: Tags) -> int:
    """Bits as stored; Pillow has dropped the lower byte of 16-bit colour without telling."""
    if kind == "PNG":
        return data[24]  # IHDR is always the first chunk
    return max(tags.get(BITS, (8,)))


def _check_header(image: ImageFile.ImageFile, bits: int) -> None:
    """Refuse, before pixels are allocated, what is too large, of a strange mode, or several."""
    check_size(*image.size)
    if image.mode not in _COLOURS:
        raise refusal(f"{image.format} with samples of the kind {image.mode}")
    if getattr(image, "is_animated", False):
        raise refusal(
            "an animation of more than one frame", "save the frame you mean as its own file"
        )
    if "transparency" in image.info and image.mode != "P" and bits not in (1, 8):
        # Pillow compares the stored colour with samples that it has already rescaled.
        raise refusal(f"{bits}-bit PNG with one transparent colour")


def _load(image: ImageFile.ImageFile) -> int | None:
    """Decode the pixels; return the EXIF orientation as `_orientation` does."""
    if isinstance(image, TiffImageFile):  # loading turns the picture and forgets the tag
        orientation = _orientation(image)
        image.load()
        return orientation
    image.load()  # first, as a PNG may carry its EXIF behind the pixels
    return _orientation(image)


def _orientation(image: ImageFile.ImageFile) -> int | None:
    """EXIF orientation: 1 to 8, 1 where nothing valid is said, None where EXIF is damaged."""
    with without_warnings():
        try:
            if "exif" in image.info:
                Image.Exif().load(image.info["exif"])  # raises, where getexif may hide a failure
            exif = image.getexif()
            for directory in _EXIF_PARTS & exif.keys():
                exif.get_ifd(directory)  # kept: loading a TIFF reads them too, and may warn
            value = exif.get(ExifTags.Base.Orientation, 1)
        except Exception:  # as many kinds as in `decode`
            return None
    return value if value in _UPRIGHT else 1


def _to_rgb(
    image: Image.Image, bits: int, *, white_is_zero: bool
) -> tuple[NDArray[np.uint8], list[str]]:
    """RGB (H, W, 3) of a loaded picture, and what had to be changed for it."""
    changes = [f"{bits}-bit samples scaled to 8"] if bits in (12, 16) else []
    if _COLOURS[image.mode]:
        changes.append(_COLOURS[image.mode])
    if image.mode.startswith("I;16"):
        samples = np.asarray(image) >> (bits - 8)
        # Pillow inverts 8-bit grey that stores white as 0, and leaves 16-bit grey as it is.
        grey = (255 - samples if white_is_zero else samples).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2), changes
    if image.mode not in ("LA", "PA", "RGBA") and "transparency" not in image.info:
        return _rgb(image), changes
    pixels, opaque = _over_white(image)
    return pixels, [*changes, "opaque alpha dropped" if opaque else "alpha laid over white"]


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for rows, part in bands(image, "RGB"):
        pixels[rows] = part
    return pixels


def _over_white(image: Image.Image) -> tuple[NDArray[np.uint8], bool]:
    """RGB (H, W, 3), rounded to the nearest value, and whether nothing was transparent."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    lowest = 255
    for rows, rgba in bands(image, "RGBA"):
        colour, alpha = rgba[:, :, :3].astype(np.uint16), rgba[:, :, 3:].astype(np.uint16)
        # At most 255 * 255 + 127, which fits 16 bits.
        pixels[rows] = (colour * alpha + 255 * (255 - alpha) + 127) // 255
        lowest = min(lowest, int(alpha.min()))
    return pixels, lowest == 255


def _failure(place: object, reason: object) -> ImageError:
    """One line, whatever letters the file's name and the library's words are made of."""
    return ImageError(one_line(f"{plain_path(str(place))}: {reason}"))
