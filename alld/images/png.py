"""What must hold in a PNG before Pillow may open it.

Pillow reads pixels without looking at the checksums that stand behind them, and leaves what is
missing at the end of the stream as it found the memory. Every chunk's CRC is therefore checked
here, and the pixels are unpacked once to be counted: they must be as many as the header declares,
with the right checksum behind them. A flipped bit anywhere before the end mark is a refusal.

Pillow takes a palette wherever it stands or stands again, and a text called `interlace` or `bbox`
for a fact of its own; such files are refused.

Refusals are `ImageError` without the file's name, which `decode` puts in front.
"""

import struct
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from math import ceil

from alld.images.inflate import inflated_bytes
from alld.images.refusals import FETCH, check_size, check_words, refusal

MAX_CHUNKS = 100_000  # 200 MB of pixels in chunks of 8 KiB, as libpng writes them, are 25,000
_VITAL = (b"PLTE", b"IDAT")  # what a reader must understand: the names with a capital first
_ONCE = (b"PLTE", b"tRNS", b"eXIf")
_BEFORE_PIXELS = (b"PLTE", b"tRNS")
_FRAMES = (b"acTL", b"fcTL", b"fdAT")
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_NAMES_OF_PILLOW = (b"interlace", b"transparency", b"bbox", b"exif", b"default_image")
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


def check_png(data: bytes) -> int:
    """Return the number of palette colours, 0 for none; ImageError for a bad file."""
    chunks = _chunks(data)
    name, header = next(chunks)
    if name != b"IHDR" or len(header) != 13:
        raise refusal("the PNG does not begin with its header", FETCH)
    width, height, depth, colour, packing, filters, interlaced = struct.unpack(">IIBBBBB", header)
    if colour not in _CHANNELS or depth not in (1, 2, 4, 8, 16):
        raise refusal(f"PNG with {depth} bits a sample of colour type {colour}")
    if packing or filters or interlaced > 1:
        raise refusal("PNG pixels packed in a way that the standard does not know")
    check_size(width, height)
    needed = _row_bytes(width, height, depth * _CHANNELS[colour], bool(interlaced))
    bodies: list[memoryview] = []
    seen: dict[bytes, int] = {}  # bytes of the last chunk of each name
    words = 0
    for name, body in chunks:
        _check_chunk(name, body, seen)
        if name == b"tRNS":
            _check_key(body, depth, colour)
        seen[name] = len(body)
        if name == b"IDAT":
            bodies.append(body)
        else:
            words += len(body)
            check_words(words)
    _check_pixels(bodies, needed)
    return _palette_colours(seen, depth) if colour == 3 else 0


def _check_chunk(name: bytes, body: memoryview, seen: Collection[bytes]) -> None:
    if name == b"IHDR" or (not name[0] & 32 and name not in _VITAL):
        raise refusal(f"the PNG has an unknown or second chunk {name!r}")
    if name in _FRAMES:
        raise refusal(
            "an animated PNG, of more than one frame or of a part of one",
            "save the frame you mean as its own file",
        )
    if name in _ONCE and name in seen:
        raise refusal(f"the PNG has two chunks {name!r}")
    if name in _BEFORE_PIXELS and b"IDAT" in seen:
        raise refusal(f"the PNG has its chunk {name!r} behind its pixels")
    if name in _TEXTS and bytes(body[:80]).partition(b"\0")[0] in _NAMES_OF_PILLOW:
        raise refusal("a PNG with a text that Pillow would take for a fact of the picture")


def _check_key(body: memoryview, depth: int, colour: int) -> None:
    """Refuse a transparent colour that no pixel can have: libpng compares its lower bits alone."""
    if colour in (0, 2) and any(
        value >> depth for (value,) in struct.iter_unpack(">H", body[: 2 * _CHANNELS[colour]])
    ):
        raise refusal(f"a PNG with a transparent colour of more than its {depth} bits")


def _palette_colours(seen: Mapping[bytes, int], depth: int) -> int:
    if b"PLTE" not in seen:
        raise refusal("the PNG lacks its palette", FETCH)
    colours, rest = divmod(seen[b"PLTE"], 3)
    if rest or not 1 <= colours <= 2**depth:
        raise refusal(f"a PNG palette of {seen[b'PLTE']} bytes for {depth} bits a pixel", FETCH)
    return colours


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
    try:
        found, whole = inflated_bytes(bodies, needed)
    except zlib.error as error:
        raise refusal(f"the PNG's pixels are damaged ({error})", FETCH) from error
    if found != needed or not whole:
        seen = "more" if found > needed else "fewer"
        raise refusal(f"the PNG holds {seen} pixels than its header declares", FETCH)
