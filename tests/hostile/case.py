"""A hostile file and what must become of it, written down before anything reads it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from crafted import Pixels

from alld.errors import ImageError
from alld.images.decode import decode

Content = bytes | Callable[[], bytes]  # large files are made when they are needed


@dataclass(frozen=True)
class Case:
    """A file by its name and content, and what is right: a picture, a refusal, or either.

    `pixels` is the picture that the file shows, if it may be shown at all. `refused` is a word of
    the reason, "" for any reason; None means that the file must be read.
    """

    name: str
    content: Content
    pixels: Pixels | None
    refused: str | None
    tolerance: int = 0  # of each sample, for JPEG and CMYK

    @property
    def data(self) -> bytes:
        """The bytes of the file."""
        return self.content() if callable(self.content) else self.content

    @property
    def kind(self) -> str:
        """`tiff` of `tiff-grey-12-bit.tif`: the first word of its name."""
        return self.name.partition("-")[0]


def shows(name: str, content: Content, pixels: Pixels, tolerance: int = 0) -> Case:
    """A file that must be read, as this picture."""
    return Case(name, content, pixels, None, tolerance)


def refused(name: str, content: Content, word: str = "") -> Case:
    """A file that must be refused, with a word of the reason."""
    return Case(name, content, None, word)


def whole_or_refused(name: str, content: Content, pixels: Pixels, tolerance: int = 0) -> Case:
    """A damaged file: its picture as it was, or a reason; nothing between."""
    return Case(name, content, pixels, "", tolerance)


def fault(case: Case) -> str:
    """What is wrong with how the decoder takes the file; nothing where it is right."""
    try:
        pixels = decode(case.data, case.name).pixels
    except ImageError as error:
        return _fault_of_refusal(case, str(error))
    except BaseException as error:
        return f"{type(error).__name__} came out: {error}"
    if case.pixels is None:
        return f"read as a picture of {pixels.shape}"
    if pixels.shape != case.pixels.shape:
        return f"{pixels.shape} and not {case.pixels.shape}"
    rows = range(0, len(pixels), 100)  # a large picture must not be there three times
    worst = max(_difference(pixels[top : top + 100], case.pixels[top : top + 100]) for top in rows)
    return f"wrong picture: samples differ by {worst}" if worst > case.tolerance else ""


def _difference(one: Pixels, other: Pixels) -> int:
    return int(np.abs(one.astype(int) - other).max())


def _fault_of_refusal(case: Case, message: str) -> str:
    if case.refused is None:
        return f"refused: {message}"
    if not message.isprintable():
        return f"the reason is not one line: {message!r}"
    return "" if case.refused in message else f"another reason: {message}"
