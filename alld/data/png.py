"""What must hold in a PNG before Pillow may open it.

Pillow reads pixels without looking at the checksums that stand behind them, and leaves what is
missing at the end of the stream as it found the memory. Every chunk's CRC is therefore checked
here, and the pixels are unpacked once to be counted: they must be as many as the header declares,
with the right checksum behind them. A flipped bit anywhere before the end mark is a refusal.

Refusals are `ImageError` without the file's name, which `decode` puts in front.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from math import ceil

from alld.data.refusals import FETCH, check_size, check_words, refusal

MAX_CHUNKS = 100_000  # 200 MB of pixels in chunks of 8 KiB, as libpng writes them, are 25,000
_STEP = 2**20  # bytes unpacked at a time: a bomb never lies in memory
_VITAL = (b"PLTE", b"IDAT")  # what a reader must understand: the names with a capital first
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Of the seven interlaced pictures: first column, first row, and the steps from there.
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


def check_png(data: bytes) -> None:
    """Refuse a PNG with a wrong checksum, too few pixels or too many; ImageError says which."""
    chunks = _chunks(data)
    name, header = next(chunks)
    if name != b"IHDR" or len(header) != 13:
        raise refusal("the PNG does not begin with its header", FETCH)
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if colour not in _CHANNELS or depth not in (1, 2, 4, 8, 16) or interlaced > 1:
        raise refusal(f"PNG with {depth} bits a sample of colour type {colour}")
    check_size(width, height)
    needed = _row_bytes(width, height, depth * _CHANNELS[colour], bool(interlaced))
    bodies: list[memoryview] = []
    names, words = set(), 0
    for name, body in chunks:
        if name == b"IHDR" or (not name[0] & 32 and name not in _VITAL):
            raise refusal(f"the PNG has an unknown or second chunk {name!r}")
        names.add(name)
        words += len(body) if name != b"IDAT" else 0
        check_words(words)
        if name == b"IDAT":
            bodies.append(body)
    if colour == 3 and b"PLTE" not in names:
        raise refusal("the PNG lacks its palette", FETCH)
    _check_pixels(bodies, needed)


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Name and content of every chunk up to IEND, each after its CRC was checked."""
    view, place = memoryview(data), 8
    for _ in range(MAX_CHUNKS):
        if place + 12 > len(data):
            raise refusal("the PNG ends before its end mark", FETCH)
        length, name = struct.unpack_from(">I4s", data, place)
        body, stop = view[place + 8 : place + 8 + length], place + 12 + length
        if stop > len(data):
            raise refusal("the PNG ends before its end mark", FETCH)
        if zlib.crc32(view[place + 4 : stop - 4]) != int.from_bytes(view[stop - 4 : stop], "big"):
            raise refusal(f"the PNG's checksum at byte {stop - 4} is wrong", FETCH)
        if name == b"IEND":
            return
        yield name, body
        place = stop
    raise refusal(f"the PNG has over {MAX_CHUNKS} chunks")


def _row_bytes(width: int, height: int, bits: int, interlaced: bool) -> int:
    """Bytes of all rows, each with the byte that names its filter."""
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, right, down in passes:
        columns, rows = ceil((width - left) / right), ceil((height - top) / down)
        total += rows * (1 + ceil(columns * bits / 8)) if columns > 0 and rows > 0 else 0
    return total


def _check_pixels(bodies: Iterable[memoryview], needed: int) -> None:
    """Unpack the parts of the one stream and count, without keeping anything."""
    stream, found = zlib.decompressobj(), 0
    try:
        for body in bodies:
            waiting: bytes | memoryview = body
            while len(waiting) and not stream.eof and found <= needed:
                found += len(stream.decompress(waiting, _STEP))
                waiting = stream.unconsumed_tail
    except zlib.error as error:
        raise refusal(f"the PNG's pixels are damaged ({error})", FETCH) from error
    if found != needed or not stream.eof:
        seen = "more" if found > needed else "fewer"
        raise refusal(f"the PNG holds {seen} pixels than its header declares", FETCH)
