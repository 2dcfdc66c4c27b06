"""Image files made byte by byte, where Pillow cannot write them, or must not be asked."""

import io
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def encode(pixels: Pixels, kind: str, mode: str | None = None, **options: Any) -> bytes:
    image = Image.fromarray(pixels)
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, kind, **options)
    return file.getvalue()


def make_tiff(
    size: tuple[int, int],
    parts: Sequence[bytes],
    *,
    bits: Sequence[int] = (8, 8, 8),
    photometric: int = 2,
    order: str = "<",
    tags: Mapping[int, Sequence[int]] | None = None,
    next_page: int = 0,
) -> bytes:
    """A TIFF of (width, height) px in strips, all tags LONG; `tags` overrides, [] drops one."""
    offsets = list(accumulate(map(len, parts[:-1]), initial=8))
    fields: dict[int, Sequence[int]] = {256: [size[0]], 257: [size[1]], 258: bits, 259: [1]}
    fields |= {262: [photometric], 273: offsets, 277: [len(bits)], 279: [len(p) for p in parts]}
    fields = {tag: values for tag, values in (fields | dict(tags or {})).items() if values}
    body = b"".join(parts)
    entries = b""
    for tag, values in sorted(fields.items()):
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(packed) > 4:
            packed, body = struct.pack(order + "I", 8 + len(body)), body + packed
        entries += struct.pack(order + "HHI", tag, 4, len(values)) + packed
    magic = b"II*\0" if order == "<" else b"MM\0*"
    directory = (
        struct.pack(order + "H", len(fields)) + entries + struct.pack(order + "I", next_page)
    )
    return magic + struct.pack(order + "I", 8 + len(body)) + body + directory


def retagged(data: bytes, tag: int, kind: int, values: Sequence[int], form: str) -> bytes:
    """A little-endian TIFF of `make_tiff` with other values, of another type, for one of its tags.

    `form` is how `struct` writes one value; where they need more room they go behind the file.
    """
    entry = next(
        match.start()
        for match in re.finditer(re.escape(struct.pack("<HH", tag, 4)), data)
        if match.start() >= struct.unpack_from("<I", data, 4)[0]
    )
    packed = struct.pack(f"<{len(values)}{form}", *values)
    field = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack("<I", len(data))
    head = data[:entry] + struct.pack("<HHI", tag, kind, len(values)) + field
    return head + data[entry + 12 :] + packed * (len(packed) > 4)


def grey_tiff(samples: NDArray[np.generic], **options: Any) -> bytes:
    bits = samples.dtype.itemsize * 8
    height, width = samples.shape
    fields: dict[str, Any] = {"bits": (bits,), "photometric": 1} | options
    return make_tiff((width, height), [samples.tobytes()], **fields)


def png(
    width: int,
    height: int,
    depth: int,
    colour: int,
    rows: bytes,
    extra: bytes = b"",
    interlaced: bool = False,
) -> bytes:
    """A PNG of unfiltered rows, each with its leading 0; `extra` chunks precede the pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + pixels + chunk(b"IEND", b"")


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[274] = orientation
    return block.tobytes()


def with_late_exif(data: bytes) -> bytes:
    """The PNG with an orientation of 2 between its pixels and its end mark."""
    late = chunk(b"eXIf", exif(2).removeprefix(b"Exif\0\0"))
    return data.removesuffix(chunk(b"IEND", b"")) + late + chunk(b"IEND", b"")


def tiled(size: tuple[int, int], side: int, tiles: Sequence[bytes], **options: Any) -> bytes:
    """A TIFF of (width, height) px in square tiles; options as those of `make_tiff`."""
    starts = list(accumulate(map(len, tiles[:-1]), initial=8))
    tags = {322: [side], 323: [side], 324: starts, 325: [len(tile) for tile in tiles]}
    tags |= {273: [], 279: []} | options.pop("tags", {})
    return make_tiff(size, tiles, tags=tags, **options)


def packed(samples: NDArray[np.integer], bits: int) -> bytes:
    """(rows, samples) of 1 to 16 bits, first sample in the high bits, each row in whole bytes."""
    places = np.arange(bits - 1, -1, -1)
    spread = (samples[:, :, None] >> places & 1).astype(np.uint8)  # (rows, samples, bits)
    return np.packbits(spread.reshape(len(samples), -1), axis=1).tobytes()


def png_rows(samples: NDArray[np.integer], depth: int, *, adam7: bool = False) -> bytes:
    """Unfiltered rows of (height, width * channels) samples; interlaced: of (height, width)."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4)]
    passes += [(2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b""
    for top, left, down, right in passes if adam7 else [(0, 0, 1, 1)]:
        part = samples[top::down, left::right]
        rows += b"".join(b"\0" + packed(row[None], depth) for row in part if row.size)
    return rows


def bmp(
    width: int,
    height: int,
    bits: int,
    body: bytes,
    *,
    compression: int = 0,
    palette: bytes = b"",
    masks: Sequence[int] = (),
    offset: int | None = None,
) -> bytes:
    """A BMP with a header of 40 bytes; `body` holds the rows as stored, from the bottom up."""
    extra = struct.pack(f"<{len(masks)}I", *masks) + palette
    start = 54 + len(extra) if offset is None else offset
    head = struct.pack("<2sIHHI", b"BM", 54 + len(extra) + len(body), 0, 0, start)
    facts = (40, width, height, 1, bits, compression, len(body), 2835, 2835, len(palette) // 4, 0)
    return head + struct.pack("<IiiHHIIiiII", *facts) + extra + body


def bmp_rows(samples: NDArray[np.integer], bits: int) -> bytes:
    """(height, samples a row) as stored: the last row first, each padded to four bytes."""
    rows = [packed(row[None], bits) for row in samples[::-1]]
    return b"".join(row + bytes(-len(row) % 4) for row in rows)
