"""Decode image files to RGB arrays, for training, evaluation and prediction alike.

**Accepted** are TIFF, BMP, PNG, JPEG and WebP, recognised by content and never by name. A name that
contradicts the content causes a warning. Of an MPO JPEG the first picture is used, and of a TIFF or
BigTIFF the first page if all others are smaller copies of it. Three grey pages that ImageJ or OME
calls a composite are red, green and blue.

**Converted, and listed in `conversions`**: 1-bit, grey, palette and CMYK become RGB. 16-bit samples
keep their high byte and 12-bit samples their upper 8 bits, never clipped; 16-bit grey that stores
white as 0 is inverted. Alpha is laid over white. EXIF orientation is applied exactly once, that of
XMP never. ICC profiles and gamma are not applied: training saw plain sample values.

**Warned of**: 16-bit samples that all lie below 4096 or 16384, for they look like 12-bit or 14-bit
data and will be dark; nothing is guessed. EXIF that cannot be read: the picture is upright.

**Refused, with the reason**: floating-point, signed and 32-bit samples, LAB, run-length BMPs, more
than one page or frame but these, over 25 megapixels or 10,000 px a side, files over 256 MiB (JPEGs
over 64), over 16 MiB of text and other facts beside the picture, and any file that ends too early,
or holds more or fewer pixels than its header declares: no picture is ever filled up with grey. Also
what can be taken for two different pictures, as a palette that is too short or a fourth sample that
nothing explains. All limits are read from the header, before pixels exist. `tiff`, `png`, `bmp`,
`jpeg` and `webp` beside this file say what is checked in each format.

**Not noticed**, as nothing in the file contradicts it: a changed sample in a raw, LZW or PackBits
picture, a changed bit in a WebP, and one in a JPEG that leaves every block in its place. For a
damaged TIFF libtiff may write a line of its own onto standard error; Pillow has no switch for that.

Safe to call from many threads. Every refusal is an `ImageError` of one line.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from alld.errors import ImageError
from alld.images.bmp import check_bmp
from alld.images.formats import FETCH, RESAVE, check_size, format_of, refusal, suffix_warnings
from alld.images.jpeg import decode_jpeg, read_markers
from alld.images.png import check_png
from alld.images.rgb import COLOURS, RGB, open_image, read_orientation, to_rgb, upright
from alld.images.tiff import BITS, PHOTOMETRIC, Tags
from alld.images.tiff_parts import decode_tiff
from alld.images.webp import check_webp
from alld.runtime.files import one_line, plain_path, sha256_hex

MAX_FILE_BYTES = 256 * 2**20
SYNTHETIC_MARK = b"ALLD SYNTHETIC"
MAX_CHECKED = 2**17  # hashes; about 20 MB
_checked: set[str] = set()  # SHA-256 of the first MAX_CHECKED files that passed all checks


@dataclass(frozen=True)
class Decoded:
    """One picture and what was done to it."""

    pixels: RGB  # (H, W, 3), C-contiguous, the caller's own
    format: str  # "TIFF", "BMP", "PNG", "JPEG" or "WebP"
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
            with os.scandir(path) as entries:  # a folder that may not be read says so
                seen = "is a folder, not a file" if any(entries) else "is an empty folder"
            raise refusal(seen, "name an image, or a folder with images")
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
        raise _failure(path, "no file has that name; check the name or the pattern") from error
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        reason = getattr(error, "strerror", None) or error
        raise _failure(path, f"cannot be read ({reason}); check its permissions") from error
    return data


def read_unchanged(path: Path, sha256: str | None) -> bytes:
    """Read a file again, and compare its SHA-256 unless `sha256` is None.

    Raises ImageError if the file has changed, and where `read_image_bytes` does.
    """
    data = read_image_bytes(path)
    if sha256 is not None and sha256_hex(data) != sha256:
        raise _failure(path, "changed since it was classified")
    return data


def decode(data: bytes, name: str, sha256: str | None = None) -> Decoded:
    """Return the RGB picture that the bytes of an image file show, by the policy above.

    `name` serves only the messages and the warning about the suffix. `sha256` is the hash of
    `data`, if the caller has just computed it: bytes that have passed the checks once in this
    process are decoded without them from then on. The first 131,072 hashes are remembered.

    Raises:
        ImageError: the image is refused. Nothing else is raised.
    """
    try:
        decoded = _decode(data, name, checked=sha256 in _checked)
    except ImageError as error:
        raise _failure(name, error) from error
    except Exception as error:  # Pillow lets almost any kind out on foreign bytes
        seen = f"damaged, cut short or of an unusual kind ({error or type(error).__name__})"
        raise _failure(name, f"{seen}; get the original file again, or {RESAVE}") from error
    if sha256 is not None and len(_checked) < MAX_CHECKED:
        _checked.add(sha256)
    return decoded


def is_synthetic(data: bytes) -> bool:
    """Return whether a file carries the mark of ALLD's synthetic images."""
    return SYNTHETIC_MARK in data


def _decode(data: bytes, name: str, *, checked: bool) -> Decoded:
    # A switch of the whole process: a library that turned it on would give us half pictures.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    kind = format_of(data)
    pixels: RGB | None = None
    tags: Tags = {}
    notes: tuple[str, ...] = ()  # on the pages of a TIFF
    colours = 0  # of a palette
    if kind == "JPEG":
        pixels = decode_jpeg(data, None if checked else read_markers(data))
    elif kind == "TIFF":
        tags, pixels, notes = decode_tiff(data, checked=checked)
    elif kind == "WebP":
        check_webp(data)
    elif not checked:
        colours = check_png(data) if kind == "PNG" else check_bmp(data)
    image = open_image(data, kind)
    bits = _bits_per_sample(data, kind, tags)
    _check_header(image, bits)
    if kind == "PNG":
        image.load()  # its EXIF may stand behind the pixels
    orientation = read_orientation(image)
    conversions: list[str] = []
    turned = kind == "TIFF" and pixels is None  # Pillow turns a TIFF as it loads
    if pixels is None:
        image.load()
        _check_indices(image, colours)
        pixels, conversions = to_rgb(image, bits, white_is_zero=tags.get(PHOTOMETRIC) == (0,))
    elif kind == "JPEG" and COLOURS[image.mode]:
        conversions = [COLOURS[image.mode]]
    elif bits == 16:
        conversions = ["16-bit samples scaled to 8"]
    warnings = suffix_warnings(name, kind)
    if bits == 16 and (used := _used_bits(int(pixels.max()))) < 16:
        warnings.append(f"looks like {used}-bit data in 16-bit samples: the picture will be dark")
    if orientation is None:
        warnings.append("EXIF cannot be read: the picture is taken as upright")
    elif orientation > 1:
        conversions.append(f"EXIF orientation {orientation} applied")
        pixels = pixels if turned else upright(pixels, orientation)
    own = np.require(pixels, requirements=["C", "W", "O"])
    return Decoded(own, kind, (*notes, *conversions), tuple(warnings))


def _used_bits(brightest: int) -> int:
    """The depth that the brightest high byte of 16-bit samples hints at: 12, 14 or 16 bits."""
    return next((bits for bits in (12, 14) if brightest < 1 << (bits - 8)), 16)


def _bits_per_sample(data: bytes, kind: str, tags: Tags) -> int:
    """Bits as stored; Pillow has dropped the lower byte of 16-bit colour without telling."""
    if kind == "PNG":
        return data[24]  # IHDR is always the first chunk
    return max(tags.get(BITS, (8,)))


def _check_header(image: ImageFile.ImageFile, bits: int) -> None:
    """Refuse pictures that are too large or would be misread, before pixels are allocated."""
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
    """Return an error of one printable line, whatever the file's name and `reason` contain."""
    return ImageError(one_line(f"{plain_path(str(place))}: {reason}"))
