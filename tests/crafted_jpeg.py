"""JPEGs of flat 8 x 8 blocks, written bit by bit: what they show is known without a decoder."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EOI = b"\xff\xd9"
_CATEGORIES = bytes(range(12))  # of a DC difference, each with a code of 4 bits


def segment(marker: int, body: bytes) -> bytes:
    """A marker with its length and its content."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


@dataclass(frozen=True)
class Jpeg:
    """What stands before the pixels, and the pixels' bits between two restart markers each."""

    head: bytes
    intervals: tuple[bytes, ...]

    def whole(self) -> bytes:
        """The file."""
        return self.head + self.scan(self.intervals) + EOI

    def scan(self, intervals: Sequence[bytes]) -> bytes:
        """Intervals with the markers RST0 to RST7 between them."""
        marked = (bytes([0xFF, 0xD0 + n % 8]) + part for n, part in enumerate(intervals[1:]))
        return b"".join([*intervals[:1], *marked])


def flat_blocks(
    blocks: NDArray[np.uint8],
    *,
    restart: int = 0,
    size: tuple[int, int] | None = None,
    extra: bytes = b"",
    frame: int = 0xC0,
) -> Jpeg:
    """A JPEG of (rows, columns) grey blocks or (rows, columns, 3 or 4) ones.

    Three channels are RGB and four CMYK, as Adobe's mark says. `restart` is the number of blocks
    between restart markers, `size` another (width, height) for the header to declare.
    """
    channels = 1 if blocks.ndim == 2 else blocks.shape[2]
    rows = blocks.reshape(-1, channels).astype(int) - 128  # quantised by 8: 1 a step of grey
    step = restart or len(rows)
    groups = [rows[start : start + step] for start in range(0, len(rows), step)]
    width, height = size or (8 * blocks.shape[1], 8 * blocks.shape[0])
    parts = b"".join(bytes([number + 1, 0x11, 0]) for number in range(channels))
    head = b"\xff\xd8" + extra
    if channels > 1:
        head += segment(0xEE, b"Adobe\0\x64\0\0\0\0\0")
    head += segment(0xDB, b"\0" + bytes([8] * 64))
    head += segment(frame, struct.pack(">BHHB", 8, height, width, channels) + parts)
    head += segment(0xC4, b"\0" + bytes([0, 0, 0, 12] + [0] * 12) + _CATEGORIES)
    head += segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\0")
    if restart:
        head += segment(0xDD, struct.pack(">H", restart))
    tables = b"".join(bytes([number + 1, 0]) for number in range(channels))
    head += segment(0xDA, bytes([channels]) + tables + b"\0\x3f\0")
    return Jpeg(head, tuple(_interval(group) for group in groups))


def _interval(rows: NDArray[np.int_]) -> bytes:
    """The bits of some blocks (n, channels), filled up with ones and with FF bytes marked."""
    differences = np.diff(rows, axis=0, prepend=0).ravel().tolist()
    bits = "".join(map(_code, differences))
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")


def _code(difference: int) -> str:
    """A DC difference: its number of bits, the bits, and that no AC follows."""
    size = abs(difference).bit_length()
    value = difference if difference > 0 else difference + (1 << size) - 1
    return f"{size:04b}" + (f"{value:0{size}b}" if size else "") + "0"
