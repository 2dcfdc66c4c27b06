"""Whole files cut, flipped and patched: each is the same picture still, or it is refused."""

import re
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from crafted import (
    Pixels,
    bmp,
    bmp_rows,
    chunk,
    encode,
    exif,
    make_tiff,
    png,
    png_rows,
    tiled,
    with_late_exif,
)
from crafted_jpeg import EOI, Jpeg, flat_blocks, segment

from hostile.case import Case, refused, shows, whole_or_refused
from hostile.honest_tiff import RGB, as_rgb

RNG = np.random.default_rng(13)
BLOCKS = RNG.integers(0, 256, (6, 8), dtype=np.uint8)
SHOWN = as_rgb(np.kron(BLOCKS, np.ones((8, 8), np.uint8)))


def _tiles() -> list[bytes]:
    return [RGB[:16, x : x + 16].tobytes() for x in (0, 16)]


def whole_files() -> dict[str, tuple[bytes, Pixels]]:
    """One intact file of each kind, by the name that it would have, and what it shows."""
    strips = [RGB[top : top + 6].tobytes() for top in range(0, 24, 6)]
    deflated = [zlib.compress(strip) for strip in strips]
    table = RNG.integers(0, 256, (256, 4), dtype=np.uint8)
    blue_first = bmp_rows(RGB[:, :, ::-1].reshape(24, -1), 8)
    halves = png_rows(RGB.reshape(24, -1), 8)
    packed = zlib.compress(halves)
    two_parts = chunk(b"IDAT", packed[:900]) + chunk(b"IDAT", packed[900:])
    one = chunk(b"IDAT", packed)
    plain_png = png(32, 24, 8, 2, halves, chunk(b"eXIf", exif(1).removeprefix(b"Exif\0\0")))
    photograph = encode(as_rgb(SHOWN[:, :, 0]), "JPEG", quality=100, progressive=True)
    return {
        "tiff-raw.tif": (make_tiff((32, 24), strips, tags={278: [6]}), RGB),
        "tiff-big-endian.tif": (make_tiff((32, 24), strips, order=">", tags={278: [6]}), RGB),
        "tiff-deflate.tif": (make_tiff((32, 24), deflated, tags={278: [6], 259: [8]}), RGB),
        "tiff-lzw.tif": (encode(RGB, "TIFF", compression="tiff_lzw"), RGB),
        "tiff-packbits.tif": (encode(RGB, "TIFF", compression="packbits"), RGB),
        "tiff-tiled.tif": (tiled((32, 16), 16, _tiles()), RGB[:16]),
        "tiff-jpeg.tif": (
            make_tiff((64, 48), [flat_blocks(_colour()).whole()], tags={259: [7]}),
            np.kron(_colour(), np.ones((8, 8, 1), np.uint8)),
        ),
        "png-rgb.png": (plain_png, RGB),
        "png-two-parts.png": (plain_png.replace(one, two_parts), RGB),
        "bmp-24.bmp": (bmp(32, 24, 24, blue_first), RGB),
        "bmp-palette.bmp": (
            bmp(32, 24, 8, bmp_rows(RGB[:, :, 0], 8), palette=table.tobytes()),
            table[RGB[:, :, 0]][:, :, 2::-1],
        ),
        "jpeg-plain.jpg": (flat_blocks(BLOCKS).whole(), SHOWN),
        "jpeg-restarts.jpg": (flat_blocks(BLOCKS, restart=5).whole(), SHOWN),
        "jpeg-progressive.jpg": (photograph, SHOWN),
    }


def _colour() -> Pixels:
    return np.stack([BLOCKS, 255 - BLOCKS, BLOCKS.T.reshape(6, 8)], axis=2)


def joints(name: str, data: bytes) -> list[int]:
    """Where one structure of a file ends and the next begins."""
    if name.startswith("tiff"):
        order = "<" if data[:2] == b"II" else ">"
        start = struct.unpack(order + "I", data[4:8])[0]
        entries = struct.unpack_from(order + "H", data, start)[0]
        inside = [start + 2 + 12 * number for number in range(entries + 1)]
        strips = np.linspace(8, min(start, len(data)), 5).astype(int).tolist()
        return [2, 4, 8, *strips, start, *inside]
    if name.startswith("png"):
        found, place = [4, 8], 8
        while place < len(data):
            length = struct.unpack_from(">I", data, place)[0]
            found += [place + 4, place + 8, place + 8 + length // 2, place + 8 + length]
            place += 12 + length
        return found
    if name.startswith("bmp"):
        start = struct.unpack_from("<I", data, 10)[0]
        return [2, 6, 10, 14, 18, 26, 30, 54, start, *range(start, len(data), 700)]
    return [match.start() for match in re.finditer(b"\xff[^\0\xff]", data)]


def cuts() -> Iterator[Case]:
    """Every file ends at, one before and one after each of its joints."""
    for name, (data, pixels) in whole_files().items():
        places = {place + by for place in joints(name, data) for by in (-1, 0, 1)}
        tolerance = 2 * ("progressive" in name)
        for place in sorted(p for p in places if 0 < p < len(data)):
            case = f"{name.partition('.')[0]}-cut-at-{place}.{name.rpartition('.')[2]}"
            yield whole_or_refused(case, data[:place], pixels, tolerance)


def flips() -> Iterator[Case]:
    """One bit of a file that has checksums, or of a header that its pixels contradict."""
    for name in ("png-rgb.png", "png-two-parts.png", "tiff-deflate.tif"):
        data, pixels = whole_files()[name]
        end = len(data) if name.startswith("png") else data.index(b"\0\1\4\0") - 2
        for bit in RNG.integers(8 * 8, 8 * end, 25).tolist():
            yield whole_or_refused(f"{name[:-4]}-flip-{bit}{name[-4:]}", flipped(data, bit), pixels)
    for name in ("tiff-raw.tif", "tiff-big-endian.tif", "bmp-24.bmp", "bmp-palette.bmp"):
        data, pixels = whole_files()[name]
        start = len(data) - 150 if name.startswith("tiff") else 0
        stop = len(data) if name.startswith("tiff") else 54
        for bit in sorted({*RNG.integers(8 * start, 8 * stop, 25).tolist()}):
            yield whole_or_refused(f"{name[:-4]}-flip-{bit}{name[-4:]}", flipped(data, bit), pixels)
    late = with_late_exif(whole_files()["png-rgb.png"][0])
    turn = late.rindex(b"\0\x02\0\0") + 1  # orientation 2 becomes 3: Pillow itself would turn it
    yield refused("png-late-exif-flipped.png", flipped(late, 8 * turn), "checksum")
    for place in RNG.integers(0, RGB.size, 5).tolist():
        changed = RGB.copy()
        changed.ravel()[place] ^= 4
        data = flipped(whole_files()["tiff-raw.tif"][0], 8 * (8 + place) + 2)
        yield shows(f"tiff-raw-other-sample-{place}.tif", data, changed)  # no checksum knows


def flipped(data: bytes, bit: int) -> bytes:
    """The bytes with one bit turned; bit 0 is the lowest of the first byte."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def lost_middles() -> Iterator[Case]:
    """JPEGs that begin and end well, and lack, repeat or exchange something between."""
    for restart in (0, 5):
        intact = flat_blocks(BLOCKS, restart=restart)
        yield shows(f"jpeg-{restart}-intact.jpg", intact.whole(), SHOWN)
        for name, data in _mangled(intact):
            yield whole_or_refused(f"jpeg-{restart}-{name}.jpg", data, SHOWN)
            inside = make_tiff((64, 48), [data], bits=(8,), photometric=1, tags={259: [7]})
            yield whole_or_refused(f"tiff-jpeg-{restart}-{name}.tif", inside, SHOWN)
    data = encode(SHOWN, "JPEG", quality=95)
    pixels = SHOWN
    scan = data.index(b"\xff\xda") + 14
    for keep in (1, 40, 400, len(data) - scan - 40, len(data) - scan - 10):
        cut = data[: scan + keep].rstrip(b"\xff") + EOI
        yield whole_or_refused(f"jpeg-photograph-first-{keep}.jpg", cut, pixels, 40)
    progressive = encode(SHOWN, "JPEG", quality=95, progressive=True)
    for number, place in enumerate(m.start() for m in re.finditer(b"\xff\xda", progressive)):
        if number:
            cut = progressive[:place] + EOI
            yield whole_or_refused(f"jpeg-progressive-{number}-scans.jpg", cut, pixels, 40)
            middle = progressive[: place - 9] + progressive[place:]
            yield whole_or_refused(f"jpeg-progressive-{number}-short.jpg", middle, pixels, 40)


def _mangled(intact: Jpeg) -> Iterator[tuple[str, bytes]]:
    first, parts = intact.intervals[0], intact.intervals
    for keep in (0, 1, len(first) // 2, len(first) - 1):
        yield f"first-{keep}-bytes", intact.head + intact.scan([first[:keep], *parts[1:]]) + EOI
    for gone in (1, 2, 5):
        short = first[:3] + first[3 + gone :]
        yield f"without-{gone}-bytes", intact.head + intact.scan([short, *parts[1:]]) + EOI
    yield "more-bytes", intact.head + intact.scan([first + bytes(range(9)), *parts[1:]]) + EOI
    yield "no-pixels", intact.head + EOI
    if len(parts) > 1:
        yield "without-interval", intact.head + intact.scan(parts[:3] + parts[4:]) + EOI
        yield "interval-twice", intact.head + intact.scan(parts[:3] + parts[2:]) + EOI
        marked = intact.scan(parts)
        yield "markers-exchanged", intact.head + _exchange(marked) + EOI
        yield "without-marker", intact.head + marked.replace(b"\xff\xd1", b"", 1) + EOI
    for by in (-16, -8, 8, 16):
        height = struct.pack(">BH", 8, 48)
        other = intact.head.replace(height, struct.pack(">BH", 8, 48 + by))
        yield f"height-by-{by}", other + intact.scan(parts) + EOI
        width = struct.pack(">HH", 48, 64)
        other = intact.head.replace(width, struct.pack(">HH", 48, 64 + by))
        yield f"width-by-{by}", other + intact.scan(parts) + EOI
    without_tables = intact.head.replace(segment(0xDB, b"\0" + bytes([8] * 64)), b"")
    yield "no-quantisation", without_tables + intact.scan(parts) + EOI


def _exchange(scan: bytes) -> bytes:
    other = scan.replace(b"\xff\xd1", b"\xff\xff\xff").replace(b"\xff\xd2", b"\xff\xd1")
    return other.replace(b"\xff\xff\xff", b"\xff\xd2")


def patched() -> Iterator[Case]:
    """Pixels that are damaged although every length and checksum around them was made right."""
    rows = png_rows(RGB.reshape(24, -1), 8)
    good = zlib.compress(rows)
    for name, packed in {
        "half": good[: len(good) // 2],
        "without-adler": good[:-4],
        "wrong-adler": good[:-4] + bytes(4),
        "one-row-less": zlib.compress(rows[:-97]),
        "one-byte-less": zlib.compress(rows[:-1]),
        "empty": zlib.compress(b""),
        "nothing": b"",
        "not-deflate": bytes(500),
        "filter-9": zlib.compress(b"\x09" + rows[1:]),
    }.items():
        data = png(32, 24, 8, 2, b"").replace(
            chunk(b"IDAT", zlib.compress(b"")), chunk(b"IDAT", packed)
        )
        yield refused(f"png-pixels-{name}.png", data)
    strip = RGB.tobytes()
    deflate = zlib.compress(strip)
    for name, packed in {
        "half": deflate[: len(deflate) // 2],
        "without-adler": deflate[:-4],
        "wrong-adler": deflate[:-4] + bytes(4),
        "one-row-less": zlib.compress(strip[:-96]),
        "one-row-more": zlib.compress(strip + strip[:96]),
        "twice": zlib.compress(strip * 2),
    }.items():
        data = make_tiff((32, 24), [packed], tags={259: [8]})
        yield refused(f"tiff-deflate-{name}.tif", data)


def cases() -> list[Case]:
    """All of the above."""
    return [*cuts(), *flips(), *lost_middles(), *patched()]
