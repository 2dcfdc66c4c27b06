"""What the server and a decoding child say to each other over two pipes, and how long it may be.

A job is three lengths, the name and the bytes of a file. An answer is the length of a JSON header,
the header, and where there is a picture its samples and a PNG of it. Nothing is pickled, and the
server believes nothing of an answer that it has not checked.
"""

import json
import struct
from dataclasses import dataclass
from typing import Any

from alld.images.refusals import MAX_PIXELS

JOB = struct.Struct(">III")  # side of the preview in px, length of the name, length of the file
LENGTH = struct.Struct(">I")
READY = b"ready"
MAX_HEADER = 2**16
MAX_PREVIEW_SIDE = 512  # px
MAX_PREVIEW = 4 * MAX_PREVIEW_SIDE**2  # bytes; a PNG is at most a little over three a pixel


@dataclass(frozen=True)
class Header:
    """A picture that follows, or the reason why none does."""

    error: str | None = None
    height: int = 0  # px
    width: int = 0
    preview: int = 0  # bytes of the PNG, 0 where none was asked for
    format: str = ""
    conversions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def samples(self) -> int:
        """Bytes of the picture, RGB."""
        return 3 * self.height * self.width

    def to_bytes(self) -> bytes:
        """The header behind its length."""
        text = json.dumps(vars(self)).encode()
        return LENGTH.pack(len(text)) + text


def parse_header(data: bytes) -> Header:
    """The header of an answer.

    Raises:
        ValueError: not what a child of ours would say.
    """
    said: dict[str, Any] = json.loads(data)
    numbers = [said["height"], said["width"], said["preview"]]
    words = [said["format"], *said["conversions"], *said["warnings"]]
    if said["error"] is not None:
        words.append(said["error"])
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("a size that is no number")
    if not all(isinstance(word, str) and word.isprintable() for word in words):
        raise ValueError("words that are no line of text")
    lists = {name: tuple(said[name]) for name in ("conversions", "warnings")}
    header = Header(**{**said, **lists})
    if header.samples > 3 * MAX_PIXELS or header.preview > MAX_PREVIEW:
        raise ValueError("more than a picture can have")
    if header.error is None and header.samples == 0:
        raise ValueError("neither a picture nor a reason")
    return header
