"""Check what Pillow does not look at in a PNG.

Pillow ignores the checksums behind the pixels, and leaves missing pixels as it found the memory. So
the CRC of every chunk is checked, and the pixels are unpacked once more to be counted, which also
checks their Adler-32: a flipped bit anywhere before the end mark is refused. Pillow also takes a
palette wherever it stands, and text called `interlace` or `bbox` for a fact of the picture.
"""

import struct
import zlib
from collections.abc import Collection, Iterator, Mapping
from math import ceil

import imagecodecs

from alld.images.formats import FETCH, check_metadata, check_size, refusal

MAX_CHUNKS = 100_000  # 200 MB of pixels in chunks of 8 KiB, as libpng writes them, are 25,000
_VITAL = (b"PLTE", b"IDAT")  # what a reader must understand: the names with a capital first
_ONCE = (b"PLTE", b"tRNS", b"eXIf")
_BEFORE_PIXELS = (b"PLTE", b"tRNS")
_FRAMES = (b"acTL", b"fcTL", b"fdAT")
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_NAMES_OF_PILLOW = (b"interlace", b"transparency", b"bbox", b"exif", b"default_image")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Of the seven interlaced pictures: first column and row, and the steps from there.
_LEFT, _TOP = (0, 4, 0, 2, 0, 1, 0), (0, 0, 4, 0, 2, 0, 1)
_RIGHT, _DOWN = (8, 8, 4, 4, 2, 2, 1), (8, 8, 8, 4, 4, 2, 2)
_ADAM7 = tuple(zip(_LEFT, _TOP, _RIGHT, _DOWN, strict=True))


def check_png(data: bytes) -> int:
    """Return the number of palette colours, 0 without a palette; ImageError for a bad file."""
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
    pixels: list[memoryview] = []
    seen: dict[bytes, int] = {}  # bytes of the last chunk of each name
    metadata = 0
    for name, body in chunks:
        _check_chunk(name, body, seen)
        if name == b"tRNS":
            _check_transparent_colour(body, depth, colour)
        seen[name] = len(body)
        if name == b"IDAT":
            pixels.append(body)
        else:
            metadata += len(body)
            check_metadata(metadata)
    needed = _unpacked_bytes(width, height, depth * _CHANNELS[colour], bool(interlaced))
    try:
        found = len(imagecodecs.deflate_decode(b"".join(pixels), out=needed))
    except RuntimeError as error:
        raise refusal(f"the PNG's pixels are damaged, or too many ({error})", FETCH) from error
    if found != needed:
        raise refusal("the PNG holds fewer pixels than its header declares", FETCH)
    return _palette_colours(seen, depth) if colour == 3 else 0


def _check_chunk(name: bytes, body: memoryview, seen: Collection[bytes]) -> None:
    if name == b"IHDR" or (not name[0] & 32 and name not in _VITAL):
        raise refusal(f"the PNG has an unknown or second chunk {name!r}")
    if name in _FRAMES:
        advice = "save the frame you mean as its own file"
        raise refusal("an animated PNG, of more than one frame or of a part of one", advice)
    if name in _ONCE and name in seen:
        raise refusal(f"the PNG has two chunks {name!r}")
    if name in _BEFORE_PIXELS and b"IDAT" in seen:
        raise refusal(f"the PNG has its chunk {name!r} behind its pixels")
    if name in _TEXTS and bytes(body[:80]).partition(b"\0")[0] in _NAMES_OF_PILLOW:
        raise refusal("a PNG with a text that Pillow would take for a fact of the picture")


def _check_transparent_colour(body: memoryview, depth: int, colour: int) -> None:
    """Refuse a colour that no pixel can have: libpng compares only its lower bits."""
    if colour in (0, 2) and any(
        int.from_bytes(body[place : place + 2], "big") >> depth
        for place in range(0, 2 * _CHANNELS[colour], 2)
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
    """Yield name and content of every chunk up to IEND, each after its CRC was checked."""
    view, place = memoryview(data), 8
    for _ in range(MAX_CHUNKS):
        length = int.from_bytes(view[place : place + 4], "big")
        name, body = data[place + 4 : place + 8], view[place + 8 : place + 8 + length]
        stop = place + 12 + length
        if stop > len(data):
            raise refusal("the PNG ends before its end mark", FETCH)
        if zlib.crc32(view[place + 4 : stop - 4]) != int.from_bytes(view[stop - 4 : stop], "big"):
            raise refusal(f"the PNG's checksum at byte {stop - 4} is wrong", FETCH)
        if name == b"IEND":
            return
        yield name, body
        place = stop
    raise refusal(f"the PNG has over {MAX_CHUNKS} chunks")


def _unpacked_bytes(width: int, height: int, bits: int, interlaced: bool) -> int:
    """Return the bytes of all rows, each with the byte that names its filter."""
    total = 0
    for left, top, right, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = ceil((width - left) / right), ceil((height - top) / down)
        total += rows * (1 + ceil(columns * bits / 8)) if columns > 0 and rows > 0 else 0
    return total
