"""What must hold in a TIFF's directory before Pillow may open the file.

Pillow and libtiff believe what a TIFF says of itself: they allocate tiles of any size, leave
missing strips black, drop a tag whose data are cut off, and read samples with the wrong width in
some layouts. The few tags that decide how bytes become pixels are therefore read here first, with
`struct` alone. A file passes when it holds one page, names every strip or tile once, inside the
file, and stores samples that `alld.data.decode` knows how to bring to 8 bits.

Refusals are `ImageError` without the file's name, which `decode` puts in front.
"""

import struct
from collections.abc import Iterator
from math import ceil, prod
from typing import NamedTuple

from alld.errors import ImageError

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES, PLANAR = 273, 277, 278, 279, 284
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 322, 323, 324, 325
SAMPLE_FORMAT, SUBSAMPLING = 339, 530

MAX_TAGS = 500  # real files have 10 to 80
MAX_PARTS = 200_000  # strips or tiles: 25 megapixels in tiles of 16 x 16 are 97,657
MAX_SAMPLES = 6  # of one pixel; all that Pillow reads
MAX_TILE_SIDE = 10_000  # px
MAX_TILE_PIXELS = 4096 * 4096
RESAVE = "save it as 8-bit RGB TIFF or PNG"

_DEFAULTS = {
    BITS: (1,),
    COMPRESSION: (1,),
    SAMPLES: (1,),
    ROWS_PER_STRIP: (2**32 - 1,),
    PLANAR: (1,),
    SAMPLE_FORMAT: (1,),
    SUBSAMPLING: (2, 2),
}
_NEEDED = {WIDTH, HEIGHT, PHOTOMETRIC}
_PARTS = {STRIP_OFFSETS, STRIP_BYTES, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES}
_READ = _NEEDED | _PARTS | set(_DEFAULTS)

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_INTEGERS = {1: "B", 3: "H", 4: "I"}
_COMPRESSIONS = {1: "none", 5: "LZW", 7: "JPEG", 8: "Deflate", 32946: "Deflate", 32773: "PackBits"}
_PHOTOMETRICS = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr"}
_SAMPLE_FORMATS = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}

Tags = dict[int, tuple[int, ...]]


class _Entry(NamedTuple):
    tag: int
    kind: int  # 1 to 13, the TIFF type of the values
    number: int
    values: bytes


def check_tiff(data: bytes) -> Tags:
    """Return the tags that decide the pixels, defaults filled in; ImageError for a bad file."""
    order = "<" if data[:2] == b"II" else ">"
    entries = list(_entries(data, order))
    if len({entry.tag for entry in entries}) < len(entries):
        # Pillow takes the last of two equal tags and libtiff the first: no check would hold.
        raise refusal("the TIFF directory names one tag twice")
    tags = _DEFAULTS | {e.tag: _integers(e, order) for e in entries if e.tag in _READ}
    for tag in sorted(_NEEDED - tags.keys()):
        raise refusal(f"TIFF tag {tag} is missing")
    _check_samples(tags)
    _check_parts(tags, len(data))
    return tags


def _entries(data: bytes, order: str) -> Iterator[_Entry]:
    """The entries of the first directory, after checking that it is whole and the only one."""
    start = int.from_bytes(data[4:8], "little" if order == "<" else "big")
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
        values = field[:size]
        if size > 4:
            offset = struct.unpack(order + "I", field)[0]
            values, outside = data[offset : offset + size], outside + size
            if len(values) < size or outside > len(data):
                raise refusal(f"the values of TIFF tag {tag} lie beyond the end of the file")
        yield _Entry(tag, kind, number, values)


def _integers(entry: _Entry, order: str) -> tuple[int, ...]:
    if entry.kind not in _INTEGERS or not 0 < entry.number <= MAX_PARTS:
        raise refusal(f"TIFF tag {entry.tag} holds {entry.number} values of type {entry.kind}")
    form = f"{order}{entry.number}{_INTEGERS[entry.kind]}"
    return struct.unpack_from(form, entry.values)


def _check_samples(tags: Tags) -> None:
    """Refuse samples that Pillow cannot read, or reads wrongly without a word."""
    bits, compression, photometric = max(tags[BITS]), tags[COMPRESSION][0], tags[PHOTOMETRIC][0]
    for number in tags[SAMPLE_FORMAT]:
        if number != 1:
            raise refusal(
                f"{bits}-bit {_SAMPLE_FORMATS.get(number, 'undefined')} samples in a TIFF"
            )
    if bits not in (1, 2, 4, 8, 12, 16):
        raise refusal(f"{bits} bits a sample in a TIFF")
    if not 1 <= tags[SAMPLES][0] <= MAX_SAMPLES:
        raise refusal(f"{tags[SAMPLES][0]} samples a pixel in a TIFF")
    if compression not in _COMPRESSIONS:
        raise refusal(f"TIFF compression {compression}")
    if photometric not in _PHOTOMETRICS:
        raise refusal(f"TIFF photometric interpretation {photometric} (8 is LAB)")
    if tags[PLANAR][0] not in (1, 2):
        raise refusal(f"TIFF planar configuration {tags[PLANAR][0]}")
    if compression == 1 and bits == 16 and tags[PLANAR][0] == 2:
        # Pillow reads these planes as 8-bit samples: every second pixel is a low byte.
        raise refusal("uncompressed 16-bit TIFF with separate colour planes")
    if compression == 1 and photometric == 6 and tags[SUBSAMPLING] != (1, 1):
        # Pillow reads them as if every pixel had its own colour.
        raise refusal("uncompressed YCbCr TIFF with subsampled colour")


def _check_parts(tags: Tags, file_bytes: int) -> None:
    """Refuse strips or tiles that are huge, missing, too many, empty or not inside the file."""
    width, height = tags[WIDTH][0], tags[HEIGHT][0]
    tiled = TILE_OFFSETS in tags
    if tiled == (STRIP_OFFSETS in tags):
        raise refusal("the TIFF must hold either strips or tiles")
    rows = min(tags[ROWS_PER_STRIP][0], height)
    part = (tags.get(TILE_WIDTH, (0,))[0], tags.get(TILE_HEIGHT, (0,))[0])
    part = part if tiled else (width, rows)
    if not tiled and TILE_WIDTH in tags:
        raise refusal("the TIFF holds strips but declares tiles")
    if min(part) < 1:
        raise refusal(
            f"the TIFF's size is {width} x {height} px, in parts of {part[0]} x {part[1]}"
        )
    if tiled and (max(part) > MAX_TILE_SIDE or prod(part) > MAX_TILE_PIXELS):
        raise refusal(f"TIFF tiles of {part[0]} x {part[1]} px")
    planes = tags[SAMPLES][0] if tags[PLANAR][0] == 2 else 1
    needed = planes * ceil(width / part[0]) * ceil(height / part[1])
    offsets = tags[TILE_OFFSETS if tiled else STRIP_OFFSETS]
    sizes = tags.get(TILE_BYTES if tiled else STRIP_BYTES, ())
    if not len(offsets) == len(sizes) == needed:
        raise refusal(
            f"the TIFF needs {needed} parts, and lists {len(offsets)} with {len(sizes)} sizes"
        )
    for offset, size in zip(offsets, sizes, strict=True):
        if offset < 8 or size < 1 or offset + size > file_bytes:
            cut = f"{size} bytes at {offset}, the file ends at {file_bytes}"
            raise refusal(f"a part of the TIFF is missing ({cut})", "get the original file again")


def refusal(seen: str, advice: str = RESAVE) -> ImageError:
    """What was seen and what to do; `decode` puts the file's name in front."""
    return ImageError(f"{seen}; {advice}")
