"""The tags of a TIFF's one directory that decide how bytes become pixels, read with `struct` alone.

A directory passes when it is whole, the only one, names no tag twice, and has its values inside the
file.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from alld.images.refusals import check_words, refusal

SUBFILE, OLD_SUBFILE = 254, 255
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
FILL_ORDER, STRIP_OFFSETS, ORIENTATION, SAMPLES = 266, 273, 274, 277
ROWS_PER_STRIP, STRIP_BYTES, PLANAR, PREDICTOR, COLOUR_MAP = 278, 279, 284, 317, 320
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 322, 323, 324, 325
INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES = 332, 338, 339, 347

MAX_TAGS = 500  # real files have 10 to 80
MAX_PARTS = 200_000  # strips or tiles: 25 megapixels in tiles of 16 x 16 are 97,657

_DEFAULTS: dict[int, tuple[int, ...]] = {
    SUBFILE: (0,),
    OLD_SUBFILE: (1,),
    BITS: (1,),
    COMPRESSION: (1,),
    FILL_ORDER: (1,),
    ORIENTATION: (1,),
    SAMPLES: (1,),
    ROWS_PER_STRIP: (2**32 - 1,),
    PLANAR: (1,),
    PREDICTOR: (1,),
    COLOUR_MAP: (),
    INK_SET: (1,),
    EXTRA_SAMPLES: (),
    SAMPLE_FORMAT: (1,),
}
_NEEDED = {WIDTH, HEIGHT, PHOTOMETRIC}
_PARTS = {STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES}
_OF_MANY_VALUES = _PARTS | {BITS, COLOUR_MAP, EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES}
_READ = _NEEDED | _OF_MANY_VALUES | {TILE_WIDTH, TILE_HEIGHT} | set(_DEFAULTS)

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
# The standard has readers take bytes too: Pillow reads them as text, and libtiff as numbers.
_INTEGERS = {3: "H", 4: "I"}

Tags = dict[int, tuple[int, ...]]
Place = tuple[int, int]  # first byte, and the one behind the last


class Directory(NamedTuple):
    """The tags that were asked for, and the places of the file that the directory itself uses."""

    tags: Tags
    used: list[Place]


class _Entry(NamedTuple):
    tag: int
    kind: int  # 1 to 13, the TIFF type of the values
    number: int
    values: bytes
    place: Place | None  # of values that lie outside the directory


def read_directory(data: bytes) -> Directory:
    """The tags that decide the pixels, defaults filled in; ImageError for a bad directory."""
    order = "<" if data[:2] == b"II" else ">"
    start = int.from_bytes(data[4:8], "little" if order == "<" else "big")
    entries = list(_entries(data, order, start))
    if len({entry.tag for entry in entries}) < len(entries):
        # Pillow takes the last of two equal tags and libtiff the first: no check would hold.
        raise refusal("the TIFF directory names one tag twice")
    tags = _DEFAULTS | {e.tag: _integers(e, order) for e in entries if e.tag in _READ}
    for tag in sorted(_NEEDED - tags.keys()):
        raise refusal(f"TIFF tag {tag} is missing")
    outside = [entry.place for entry in entries if entry.place]
    return Directory(tags, [(0, 8), (start, start + 6 + 12 * len(entries)), *outside])


def _entries(data: bytes, order: str, start: int) -> Iterator[_Entry]:
    """The entries of the first directory, after checking that it is whole and the only one."""
    count = struct.unpack_from(order + "H", data, start)[0] if start + 2 <= len(data) else 0
    end = start + 2 + 12 * count
    if not 0 < count <= MAX_TAGS or end + 4 > len(data):
        raise refusal(f"the TIFF directory at byte {start} is cut off or damaged")
    if data[end : end + 4] != bytes(4):
        raise refusal(
            "the TIFF holds more than one page", "save the page you mean as a file of its own"
        )
    outside = 0
    for tag, kind, number, field in struct.iter_unpack(order + "HHI4s", data[start + 2 : end]):
        size = number * _TYPE_BYTES.get(kind, 0)
        values, place = field[:size], None
        if size > 4:
            offset = struct.unpack(order + "I", field)[0]
            place, outside = (offset, offset + size), outside + size
            if place[1] > len(data) or outside > len(data):
                raise refusal(f"the values of TIFF tag {tag} lie beyond the end of the file")
            check_words(outside)
            values = data[slice(*place)]
        yield _Entry(tag, kind, number, values, place)


def _integers(entry: _Entry, order: str) -> tuple[int, ...]:
    kinds = {7: "B"} if entry.tag == JPEG_TABLES else _INTEGERS
    most = MAX_PARTS if entry.tag in _OF_MANY_VALUES else 1
    if entry.kind not in kinds or not 0 < entry.number <= most:
        raise refusal(f"TIFF tag {entry.tag} holds {entry.number} values of type {entry.kind}")
    form = f"{order}{entry.number}{kinds[entry.kind]}"
    return struct.unpack_from(form, entry.values)
