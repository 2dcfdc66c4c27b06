"""The strips or tiles of a TIFF: each there, in its own place, and as large as the header asks.

A TIFF has no checksum. What can be noticed is a directory that its pixels contradict: strips that
overlap the directory or each other, raw strips of another length, and packed ones that unpack to
more or less. Deflate ends with a checksum, which is looked at. LZW and PackBits are counted in the
first and the last part, where these are not too long; every part that is JPEG is checked as a JPEG.
"""

import zlib
from collections.abc import Sequence
from math import ceil, prod

from alld.images.inflate import inflated_bytes
from alld.images.jpeg import check_bits, check_jpeg, load
from alld.images.refusals import FETCH, check_size, refusal
from alld.images.tiff_packing import lzw_bytes, packbits_bytes
from alld.images.tiff_tags import (
    BITS,
    COMPRESSION,
    HEIGHT,
    JPEG_TABLES,
    PLANAR,
    ROWS_PER_STRIP,
    SAMPLES,
    STRIP_BYTES,
    STRIP_OFFSETS,
    TILE_BYTES,
    TILE_HEIGHT,
    TILE_OFFSETS,
    TILE_WIDTH,
    WIDTH,
    Directory,
    Tags,
)

MAX_TILE_SIDE = 10_000  # px
MAX_TILE_PIXELS = 4096 * 4096
MAX_JPEG_PARTS = 2_000  # 25 megapixels in tiles of 256 x 256 are 400
MAX_JPEG_BYTES = 2**25  # of all of them; each is decoded four times
LEAST_PLANE = 1024  # bytes: smaller gaps are EXIF or padding
MAX_COUNTED = 2**20  # bytes of a part that LZW or PackBits has packed; counting them takes 0.3 s

_RAW, _LZW, _JPEG, _PACKBITS = 1, 5, 7, 32773
_DEFLATE = (8, 32946)

Place = tuple[int, int]  # first byte, and the one behind the last


def check_parts(data: bytes, directory: Directory) -> None:
    """Refuse strips or tiles that are huge, missing, too many, misplaced or of another size."""
    tags = directory.tags
    part = _part_size(tags)
    places = _places(tags, part, len(data))
    _check_overlaps(places, directory.used)
    compression = tags[COMPRESSION][0]
    rows = _rows(tags, part, len(places))
    if compression == _JPEG:
        _check_jpegs(data, places, part, rows, bytes(tags.get(JPEG_TABLES, ())))
        return
    sizes = _sizes(tags, part[0], rows)
    if compression == _RAW:
        _check_raw(places, sizes)
        _check_rest([*places, *directory.used], sum(sizes), len(data))
    elif compression in _DEFLATE:
        for place, needed in zip(places, sizes, strict=True):
            _check_deflate(memoryview(data)[slice(*place)], needed)
    else:
        count = lzw_bytes if compression == _LZW else packbits_bytes
        for number in {0, len(places) - 1}:
            if sizes[number] <= MAX_COUNTED:
                found = count(data[slice(*places[number])], sizes[number])
                _check_size(found, sizes[number])


def _part_size(tags: Tags) -> tuple[int, int]:
    """Width and height of a strip or tile, px."""
    width, height = tags[WIDTH][0], tags[HEIGHT][0]
    tiled = TILE_OFFSETS in tags
    if tiled == (STRIP_OFFSETS in tags):
        raise refusal("the TIFF must hold either strips or tiles")
    if not tiled and TILE_WIDTH in tags:
        raise refusal("the TIFF holds strips but declares tiles")
    part = (tags.get(TILE_WIDTH, (0,))[0], tags.get(TILE_HEIGHT, (0,))[0])
    part = part if tiled else (width, min(tags[ROWS_PER_STRIP][0], height))
    if min(*part, width, height) < 1:
        raise refusal(
            f"the TIFF's size is {width} x {height} px, in parts of {part[0]} x {part[1]}"
        )
    check_size(width, height)
    if tiled and (max(part) > MAX_TILE_SIDE or prod(part) > MAX_TILE_PIXELS):
        raise refusal(f"TIFF tiles of {part[0]} x {part[1]} px")
    if tiled and (part[0] % 16 or part[1] % 16):  # Pillow misreads rows that end within a byte
        raise refusal(f"TIFF tiles of {part[0]} x {part[1]} px, no multiples of 16")
    return part


def _places(tags: Tags, part: tuple[int, int], file_bytes: int) -> list[Place]:
    planes = tags[SAMPLES][0] if tags[PLANAR][0] == 2 else 1
    needed = planes * ceil(tags[WIDTH][0] / part[0]) * ceil(tags[HEIGHT][0] / part[1])
    tiled = TILE_OFFSETS in tags
    offsets = tags[TILE_OFFSETS if tiled else STRIP_OFFSETS]
    sizes = tags.get(TILE_BYTES if tiled else STRIP_BYTES, ())
    if not len(offsets) == len(sizes) == needed:
        raise refusal(
            f"the TIFF needs {needed} parts, and lists {len(offsets)} with {len(sizes)} sizes"
        )
    for offset, size in zip(offsets, sizes, strict=True):
        if offset < 8 or size < 1 or offset + size > file_bytes:
            cut = f"{size} bytes at {offset}, the file ends at {file_bytes}"
            raise refusal(f"a part of the TIFF is missing ({cut})", FETCH)
    return [(offset, offset + size) for offset, size in zip(offsets, sizes, strict=True)]


def _check_overlaps(parts: Sequence[Place], used: Sequence[Place]) -> None:
    """Parts share no byte with each other, nor with what the directory uses; a shift is seen."""
    of_parts = of_any = 0  # where the ones so far end
    marked = [(*place, True) for place in parts] + [(*place, False) for place in used]
    for start, stop, is_part in sorted(marked):
        if start < (of_any if is_part else of_parts):
            raise refusal(f"parts of the TIFF overlap at byte {start}", FETCH)
        of_any = max(of_any, stop)
        of_parts = max(of_parts, stop) if is_part else of_parts


def _check_rest(used: Sequence[Place], picture: int, file_bytes: int) -> None:
    """Refuse room for another picture: ImageJ, MetaMorph and others write stacks as one page."""
    end = free = 0
    for start, stop in sorted([*used, (file_bytes, file_bytes)]):
        free, end = max(free, start - end), max(end, stop)
    if free >= max(picture, LEAST_PLANE):
        raise refusal(
            f"{free} bytes of the TIFF belong to nothing, and one picture has {picture}: a stack?",
            "save the picture you mean as a file of its own",
        )


def _rows(tags: Tags, part: tuple[int, int], count: int) -> list[int]:
    """Rows of each part; the last strip may have fewer than the others, a tile never."""
    if TILE_OFFSETS in tags:
        return [part[1]] * count
    down = ceil(tags[HEIGHT][0] / part[1])
    last = tags[HEIGHT][0] - part[1] * (down - 1)
    return [last if number % down == down - 1 else part[1] for number in range(count)]


def _sizes(tags: Tags, width: int, rows: Sequence[int]) -> list[int]:
    """Bytes that each part unpacks to."""
    together = 1 if tags[PLANAR][0] == 2 else tags[SAMPLES][0]
    row = ceil(width * together * tags[BITS][0] / 8)
    return [row * number for number in rows]


def _check_raw(places: Sequence[Place], sizes: Sequence[int]) -> None:
    for (start, stop), needed in zip(places, sizes, strict=True):
        _check_size(stop - start, needed)


def _check_size(found: int, needed: int) -> None:
    if found != needed:
        seen = f"at least {found}" if found > needed else str(found)
        raise refusal(
            f"a part of the TIFF holds {seen} bytes of pixels, the header asks for {needed}",
            FETCH,
        )


def _check_deflate(packed: memoryview, needed: int) -> None:
    try:
        found, whole = inflated_bytes([packed], needed)
    except zlib.error as error:
        raise refusal(f"a part of the TIFF is damaged ({error})", FETCH) from error
    _check_size(found, needed)
    if not whole:
        raise refusal("a part of the TIFF is cut short", FETCH)


def _check_jpegs(
    data: bytes, places: Sequence[Place], part: tuple[int, int], rows: Sequence[int], tables: bytes
) -> None:
    """Each part is a JPEG of the part's size, which borrows the tables that all have in common."""
    if len(places) > MAX_JPEG_PARTS or sum(stop - start for start, stop in places) > MAX_JPEG_BYTES:
        raise refusal(
            f"a TIFF of over {MAX_JPEG_PARTS} JPEGs, or over {MAX_JPEG_BYTES >> 20} MiB of them"
        )
    common = tables[:-2] if tables.endswith(b"\xff\xd9") else tables
    for (start, stop), needed in zip(places, rows, strict=True):
        whole = common + data[start + 2 : stop] if common else data[start:stop]
        jpeg = check_jpeg(whole)
        # libtiff leaves the rows that a shorter JPEG lacks as it found the memory.
        if jpeg.width != part[0] or not needed <= jpeg.height <= part[1]:
            seen = f"{jpeg.width} x {jpeg.height} px in a part of {part[0]} x {needed}"
            raise refusal(f"a JPEG of {seen} in a TIFF", FETCH)
        check_bits(whole, jpeg, load(whole))
