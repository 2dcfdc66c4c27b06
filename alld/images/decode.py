"""Bytes of an image file to RGB uint8: the one decoder of training, evaluation and prediction.

**Accepted** are TIFF, BMP, PNG and JPEG, told by content and never by name. A name that contradicts
the content is a warning. Of an MPO JPEG the first picture is used.

**Changed, and said so in `conversions`**: 1-bit, grey, palette and CMYK become RGB. 16-bit samples
keep their high byte and 12-bit samples their upper 8 bits, never clipped; 16-bit grey that stores
white as 0 is inverted. Alpha is laid over white. EXIF orientation is applied exactly once, that of
XMP never. ICC profiles and gamma are not applied: training saw plain sample values.

**Warned of**: 16-bit samples that all lie below 4096, for they look like 12-bit data and will be
dark; nothing is guessed. EXIF that cannot be read: the picture is taken as upright.

**Refused, with the reason**: floating-point, signed and 32-bit samples, LAB, run-length BMPs, more
than one page or frame, over 25 megapixels or 10,000 px a side, files over 256 MiB (JPEGs over 64),
over 16 MiB of text and other facts beside the picture, and any file that ends too early, or holds
more or fewer pixels than its header declares: no picture is ever filled up with grey. Also what can
be taken for two different pictures, as a palette that is too short or a fourth sample that nothing
explains. All limits are read from the header, before pixels exist. `tiff`, `png`, `bmp` and `jpeg`
beside this file say what is checked in each format.

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
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from alld.errors import ImageError
from alld.images.bmp import check_bmp
from alld.images.formats import contradiction, format_of
from alld.images.jpeg import check_bits, check_jpeg
from alld.images.orientation import load, upright
from alld.images.png import check_png
from alld.images.quiet import without_warnings
from alld.images.refusals import FETCH, RESAVE, check_size, refusal
from alld.images.rgb import COLOURS, to_rgb
from alld.images.tiff import check_tiff
from alld.images.tiff_tags import BITS, PHOTOMETRIC, Tags
from alld.runtime.files import one_line, plain_path, sha256_hex

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
            # Files of /proc say 0 bytes, and some of them never end.
            readable = 0 < status.st_size <= MAX_FILE_BYTES
            data = file.read(MAX_FILE_BYTES + 1) if readable else b""
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
        raise _failure(path, "changed since it was classified")
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
    colours = check_png(data) if kind == "PNG" else check_bmp(data) if kind == "BMP" else 0
    with without_warnings():
        image = _OPENERS[kind](BytesIO(data))
    bits = _bits_per_sample(data, kind, tags)
    _check_header(image, bits)
    orientation = load(image)
    if jpeg is not None:
        check_bits(data, jpeg, image)
    _check_indices(image, colours)
    pixels, conversions = to_rgb(image, bits, white_is_zero=tags.get(PHOTOMETRIC) == (0,))
    warnings = contradiction(name, kind)
    if bits == 16 and pixels.max() < 4096 >> 8:
        warnings.append("looks like 12-bit data in 16-bit samples: the picture will be dark")
    if orientation is None:
        warnings.append("EXIF cannot be read: the picture is taken as upright")
    elif orientation > 1:
        conversions.append(f"EXIF orientation {orientation} applied")
        # Pillow itself turns a TIFF while it loads.
        pixels = pixels if kind == "TIFF" else upright(pixels, orientation)
    return Decoded(np.array(pixels, order="C"), kind, tuple(conversions), tuple(warnings))


def _bits_per_sample(data: bytes, kind: str, tags: Tags) -> int:
    """Bits as stored; Pillow has dropped the lower byte of 16-bit colour without telling."""
    if kind == "PNG":
        return data[24]  # IHDR is always the first chunk
    return max(tags.get(BITS, (8,)))


def _check_header(image: ImageFile.ImageFile, bits: int) -> None:
    """Refuse, before pixels are allocated, what is too large, or of a kind that is misread."""
    check_size(*image.size)
    if image.mode not in COLOURS:
        raise refusal(f"{image.format} with samples of the kind {image.mode}")
    if image.format == "JPEG" and image.mode == "CMYK" and "adobe_transform" not in image.info:
        raise refusal("a CMYK JPEG without Adobe's mark, which would tell ink from paper")
    if "transparency" in image.info and image.mode != "P" and bits not in (1, 8):
        # Pillow compares the stored colour with samples that it has already rescaled.
        raise refusal(f"{bits}-bit PNG with one transparent colour")


def _check_indices(image: Image.Image, colours: int) -> None:
    """Refuse pixels that name a colour beyond the palette, for which Pillow takes black."""
    if not colours or image.mode not in ("P", "L"):
        return
    highest = int(np.asarray(image).max())
    if highest >= colours:
        raise refusal(f"a pixel of colour {highest} in a palette of {colours} colours", FETCH)


def _failure(place: object, reason: object) -> ImageError:
    """One line, whatever letters the file's name and the library's words are made of."""
    return ImageError(one_line(f"{plain_path(str(place))}: {reason}"))
