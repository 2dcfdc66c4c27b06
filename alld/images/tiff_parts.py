"""Unpack the strips and tiles of a TIFF, and refuse any that is not as large as the header asks.

A TIFF has no checksum. What can be noticed is a directory that its pixels contradict: strips that
overlap the directory or each other, raw strips of another length, and packed ones that unpack to
more or less. `imagecodecs` unpacks LZW, PackBits and Deflate, whose checksum it compares. Plain RGB
is put together here; for the rest Pillow and libtiff unpack a second time. Of more bytes than they
need these say nothing, and of fewer libtiff writes lines of its own onto standard error.
"""

from collections.abc import Sequence
from math import ceil, prod

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from alld.images.formats import FETCH, check_size, refusal
from alld.images.jpeg import decode_jpeg, read_markers
from alld.images.rgb import RGB
from alld.images.tiff import (
    BITS,
    COMPRESSION,
    EXTRA_SAMPLES,
    FILL_ORDER,
    HEIGHT,
    JPEG_TABLES,
    PHOTOMETRIC,
    PLANAR,
    PREDICTOR,
    ROWS_PER_STRIP,
    SAMPLES,
    STRIP_BYTES,
    STRIP_OFFSETS,
    TILE_BYTES,
    TILE_HEIGHT,
    TILE_OFFSETS,
    TILE_WIDTH,
    WIDTH,
    Page,
    Place,
    Tags,
    check_samples,
    read_pages,
)
from alld.images.tiff_pages import channels, the_picture

MAX_TILE_SIDE = 10_000  # px
MAX_TILE_PIXELS = 4096 * 4096
MAX_JPEG_PARTS = 2_000  # 25 megapixels in tiles of 256 x 256 are 400
MAX_JPEG_BYTES = 2**25  # of all of them; each may be decoded four times
LEAST_PLANE = 1024  # bytes: smaller gaps are EXIF or padding

_RAW, _LZW, _JPEG, _PACKBITS = 1, 5, 7, 32773
_RGB = 2

Buffer = bytes | bytearray | memoryview


def decode_tiff(data: bytes, *, checked: bool) -> tuple[Tags, RGB | None, tuple[str, ...]]:
    """Return the tags that decide the pixels, the pixels unless Pillow shall read them, and notes.

    `checked` skips the checks. ImageError for a bad file.
    """
    pages = read_pages(data)
    if parts := channels(pages):
        check_samples(parts[0].tags)
        pixels = np.stack([_grey(data, page) for page in parts], axis=2)
        note = "three channels of a composite taken as red, green and blue"
        return parts[0].tags, pixels, (note,)
    page, left_out = the_picture(pages)
    notes = (left_out,) if left_out else ()
    return page.tags, _pixels(data, page.tags, page.used, checked=checked), notes


def _grey(data: bytes, page: Page) -> NDArray[np.uint8]:
    """Return one of several grey pages, (H, W); of 16-bit samples the high byte."""
    tags = page.tags
    if tags[COMPRESSION][0] == _JPEG or STRIP_OFFSETS not in tags or tags[FILL_ORDER][0] != 1:
        raise refusal("a composite TIFF in tiles, JPEGs or mirrored bits")
    part, depth = _part_size(tags), tags[BITS][0] // 8
    places = _places(tags, part, len(data))
    rows = _rows(tags, part, len(places))
    _check_overlaps(places, page.used)
    parts = (
        _unpacked(data, place, part[0] * depth * number, tags[COMPRESSION][0])
        for place, number in zip(places, rows, strict=True)
    )
    kind = np.dtype(f"{page.order}u{depth}")
    samples = np.frombuffer(b"".join(parts), kind).reshape(tags[HEIGHT][0], tags[WIDTH][0])
    if tags[PREDICTOR][0] == 2 and tags[COMPRESSION][0] not in (_RAW, _PACKBITS):
        samples = samples.cumsum(axis=1, dtype=kind)
    return (samples >> (8 * (depth - 1))).astype(np.uint8)


def _pixels(data: bytes, tags: Tags, used: list[Place], *, checked: bool) -> RGB | None:
    """Return plain 8-bit RGB, or None after checking pixels that Pillow shall read."""
    plain = _is_plain(tags)
    if checked and not plain:
        return None
    if not checked:
        check_samples(tags)
    part = _part_size(tags)
    places = _places(tags, part, len(data))
    rows = _rows(tags, part, len(places))
    if not checked:
        _check_overlaps(places, used)
    if tags[COMPRESSION][0] == _JPEG:
        _check_jpegs(data, places, part, rows, bytes(tags.get(JPEG_TABLES, ())))
        return None
    together = 1 if tags[PLANAR][0] == 2 else tags[SAMPLES][0]
    row = ceil(part[0] * together * tags[BITS][0] / 8)  # bytes
    if tags[COMPRESSION][0] == _RAW:
        _check_rest([*places, *used], row * sum(rows), len(data))
    parts = (
        _unpacked(data, place, row * number, tags[COMPRESSION][0])
        for place, number in zip(places, rows, strict=True)
    )
    if not plain:
        for _ in parts:  # checked only: one at a time, as they may be large
            pass
        return None
    samples = np.frombuffer(b"".join(parts), np.uint8)
    pixels = samples.reshape(tags[HEIGHT][0], tags[WIDTH][0], 3)
    if tags[PREDICTOR][0] == 2 and tags[COMPRESSION][0] not in (_RAW, _PACKBITS):
        pixels = pixels.cumsum(axis=1, dtype=np.uint8)
    return pixels


def _is_plain(tags: Tags) -> bool:
    """Whether the pixels are strips of 8-bit RGB triples."""
    return (
        tags[BITS] == (8, 8, 8)
        and tags[PHOTOMETRIC][0] == _RGB
        and tags[SAMPLES][0] == 3
        and not tags[EXTRA_SAMPLES]
        and tags[PLANAR][0] == tags[FILL_ORDER][0] == 1
        and tags[COMPRESSION][0] != _JPEG
        and STRIP_OFFSETS in tags
    )


def _unpacked(data: bytes, place: Place, needed: int, compression: int) -> Buffer:
    try:
        part = _unpack(data, place, needed + 1, compression)  # one more shows that there are more
    except RuntimeError as error:
        raise refusal(f"a part of the TIFF is damaged, or too large ({error})", FETCH) from error
    if len(part) != needed:
        seen = f"at least {len(part)}" if len(part) > needed else len(part)
        wrong = f"a part of the TIFF holds {seen} bytes of pixels, the header asks for {needed}"
        raise refusal(wrong, FETCH)
    return part


def _unpack(data: bytes, place: Place, most: int, compression: int) -> Buffer:
    if compression == _RAW:
        return memoryview(data)[slice(*place)]
    packed = data[slice(*place)]  # imagecodecs takes bytes, not memoryviews
    if compression == _LZW:
        return imagecodecs.lzw_decode(packed, out=most)
    if compression == _PACKBITS:
        return imagecodecs.packbits_decode(packed, out=most)
    return imagecodecs.deflate_decode(packed, out=most)


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
        jpeg = read_markers(whole)
        # libtiff leaves the rows that a shorter JPEG lacks as it found the memory.
        if jpeg.width != part[0] or not needed <= jpeg.height <= part[1]:
            seen = f"{jpeg.width} x {jpeg.height} px in a part of {part[0]} x {needed}"
            raise refusal(f"a JPEG of {seen} in a TIFF", FETCH)
        decode_jpeg(whole, jpeg)
