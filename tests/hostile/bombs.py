"""Small files that ask for much memory or time, and honest ones at the limits of both."""

import struct
import zlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from crafted import Pixels, bmp, chunk, encode, make_tiff, png, tiled
from crafted_jpeg import EOI, flat_blocks, segment

from hostile.case import Case, refused, shows, whole_or_refused
from hostile.lies import other_tag

SIDE = 5000  # px; its square is the limit of 25 megapixels
Size = tuple[int, int]


def flat(size: Size, value: int) -> Pixels:
    """A picture of one grey that takes no memory."""
    return np.broadcast_to(np.uint8(value), (size[1], size[0], 3))


def deflated(length: int) -> bytes:
    """So many zeros, packed; never in memory at once."""
    packer = zlib.compressobj(9)
    whole, rest = divmod(length, 2**20)
    parts = [packer.compress(bytes(2**20)) for _ in range(whole)]
    return b"".join([*parts, packer.compress(bytes(rest)), packer.flush()])


def black_tiff(size: Size, bits: int = 8, samples: int = 3) -> bytes:
    """A TIFF of zeros in one deflated strip; a fourth sample means nothing."""
    part = deflated((size[0] * bits * samples + 7) // 8 * size[1])
    tags = {259: [8], 338: [0] * (samples - 3)}
    depths, kind = (bits,) * samples, 2 if samples >= 3 else 1
    return make_tiff(size, [part], bits=depths, photometric=kind, tags=tags)


def _raw_tiff(size: Size, samples: int) -> bytes:
    part = bytes(2 * samples * size[0] * size[1])
    return make_tiff(size, [part], bits=(16,) * samples, tags={338: [0] * (samples - 3)})


def zero_png(size: Size, depth: int = 8, colour: int = 2, channels: int = 3) -> bytes:
    """A PNG of zeros."""
    body = deflated((1 + (size[0] * depth * channels + 7) // 8) * size[1])
    empty = png(*size, depth, colour, b"")
    return empty.replace(chunk(b"IDAT", zlib.compress(b"")), chunk(b"IDAT", body))


def grey_jpeg(size: Size, mode: str = "L", progressive: bool = False) -> bytes:
    """What Pillow writes of one grey."""
    pixels = np.full((size[1], size[0]), 200, np.uint8)
    return encode(pixels, "JPEG", mode, progressive=progressive)


def at_the_limit() -> Iterator[Case]:
    """25 megapixels and 10,000 px of every kind: read in time and in little memory."""
    square, wide = (SIDE, SIDE), (10_000, 2500)
    for bits, samples in ((8, 3), (16, 3), (16, 4), (8, 1), (16, 1), (1, 1)):
        name = f"tiff-largest-{samples}-of-{bits}-bits.tif"
        yield shows(name, partial(black_tiff, square, bits, samples), flat(square, 0))
    for samples in (3, 4):
        name = f"tiff-largest-raw-{samples}-of-16-bits.tif"
        yield shows(name, partial(_raw_tiff, square, samples), flat(square, 0))
    plain, clear = (
        ((8, 2, 3), (16, 2, 3), (16, 0, 1), (1, 0, 1)),
        ((8, 6, 4), (16, 6, 4), (8, 4, 2)),
    )
    for kind in plain + clear:
        name = f"png-largest-type-{kind[1]}-of-{kind[0]}-bits.png"
        # Fully transparent is white.
        shown = flat(square, 255 if kind in clear else 0)
        yield shows(name, partial(zero_png, square, *kind), shown)
    yield shows("bmp-largest.bmp", lambda: bmp(*square, 24, bytes(75_000_000)), flat(square, 0))
    for mode in ("L", "RGB", "CMYK"):
        for progressive in (False, True):
            name = f"jpeg-largest-{mode}{'-progressive' * progressive}.jpg"
            yield shows(name, partial(grey_jpeg, square, mode, progressive), flat(square, 200), 1)
    yield shows("tiff-widest.tif", partial(black_tiff, wide), flat(wide, 0))
    yield shows("png-widest.png", partial(zero_png, wide), flat(wide, 0))
    for size in ((10_000, 1), (1, 10_000)):
        shape = f"{size[0]}x{size[1]}"
        yield shows(f"tiff-{shape}.tif", partial(black_tiff, size), flat(size, 0))
        yield shows(f"png-{shape}.png", partial(zero_png, size), flat(size, 0))
        yield shows(f"jpeg-{shape}.jpg", partial(grey_jpeg, size), flat(size, 200), 1)
    yield shows("tiff-lzw-noise.tif", partial(_noise_tiff, 3000), _noise(3000))
    yield shows("jpeg-noise.jpg", _noise_jpeg, _noise(3900), tolerance=8)
    yield shows("png-noise.png", _noise_png, flat(square, 255))


def _noise(side: int) -> Pixels:
    return np.random.default_rng(5).integers(0, 256, (side, side, 3), dtype=np.uint8)


def _noise_tiff(side: int) -> bytes:
    return encode(_noise(side), "TIFF", compression="tiff_lzw")


def _noise_jpeg() -> bytes:
    """Each block costs the decoder as much as a block can."""
    return encode(_noise(3900), "JPEG", quality=100, subsampling=0)


def _noise_png() -> bytes:
    """200 MB that no packing makes smaller, of colours that are all transparent."""
    row = np.random.default_rng(6).bytes(6 * SIDE)
    clear = np.zeros((SIDE, 8), np.uint8)
    clear[:, :6] = np.frombuffer(row, np.uint8).reshape(SIDE, 6)
    packer = zlib.compressobj(0)
    rows = [packer.compress(b"\0" + clear.tobytes()) for _ in range(SIDE)]
    pixels = chunk(b"IDAT", b"".join([*rows, packer.flush()]))
    empty = png(SIDE, SIDE, 16, 6, b"")
    return empty.replace(chunk(b"IDAT", zlib.compress(b"")), pixels)


def over_the_limit() -> Iterator[Case]:
    """Sizes that no header gets past, in all formats."""
    for size in ((100_000, 1), (1, 100_000), (10_001, 1), (5001, 5000), (65_000, 65_000)):
        shape = f"{size[0]}x{size[1]}"
        few = size[0] * size[1] <= 100_000
        tiff = partial(black_tiff, size) if few else partial(make_tiff, size, [bytes(3000)])
        body = partial(zero_png, size) if few else partial(png, *size, 8, 2, b"")
        yield refused(f"tiff-{shape}.tif", tiff, "px a side")
        yield refused(f"png-{shape}.png", body, "px a side")
        yield refused(f"bmp-{shape}.bmp", bmp(*size, 24, bytes(300_000 if few else 64)))
        if max(size) < 2**16:
            tiny = flat_blocks(np.zeros((1, 1), np.uint8), size=size).whole()
            yield refused(f"jpeg-{shape}.jpg", tiny, "px a side")
    for side in (32768, 10_016, 4112):
        data = tiled((16, 16), side, [bytes(20)], tags={259: [8]})
        yield refused(f"tiff-tile-of-{side}.tif", data, "tiles")


def inflating() -> Iterator[Case]:
    """Streams that unpack to far more than the picture."""
    gigabyte = partial(deflated, 2**30)
    size, packed = (32, 24), {259: [8]}
    yield refused("tiff-deflate-bomb.tif", lambda: make_tiff(size, [gigabyte()], tags=packed))
    tile = partial(tiled, (16, 16), 16)
    yield refused("tiff-tile-deflate-bomb.tif", lambda: tile([gigabyte()], tags=packed))
    yield refused("png-deflate-bomb.png", lambda: _png_of(gigabyte()))
    yield refused("png-deflate-bomb-in-parts.png", lambda: _png_of(gigabyte(), 1000))
    runs = b"\x81\0" * 4_000_000  # 127 zeros each
    yield refused("tiff-packbits-bomb.tif", lambda: make_tiff(size, [runs], tags={259: [32773]}))
    black = encode(np.zeros((2000, 30), np.uint8), "TIFF", compression="tiff_lzw")
    yield refused("tiff-lzw-bomb.tif", other_tag(other_tag(black, 257, 2), 278, 2))
    rle = bytes([1, 7]) * 12_000_000
    yield refused(
        "bmp-run-length-bomb.bmp",
        lambda: bmp(SIDE, SIDE, 8, rle, compression=1, palette=bytes(1024)),
    )


def _png_of(body: bytes, step: int = 2**30) -> bytes:
    parts = [chunk(b"IDAT", body[at : at + step]) for at in range(0, len(body), step)]
    return png(32, 24, 8, 2, b"").replace(chunk(b"IDAT", zlib.compress(b"")), b"".join(parts))


def numerous() -> Iterator[Case]:
    """Many strips, chunks, segments, scans and tags: each a little work."""
    texts = chunk(b"tEXt", b"a\0b")
    yield refused("png-million-chunks.png", lambda: _after_header(texts * 10**6))
    packed = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6)))
    yield refused("png-many-texts.png", lambda: _after_header(packed * 5000))
    exif = segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(60_000))
    for name, extra, count in (
        ("comments", segment(0xFE, b""), 3_000_000),
        ("tables", segment(0xDB, b"\0" + bytes([8] * 64)), 100_000),
    ):
        made = partial(_many_segments, extra, count)
        yield refused(f"jpeg-{count}-{name}.jpg", made)
    made = partial(_many_segments, exif, 20)
    notes = segment(0xED, b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\0" * 5000)
    yield refused("jpeg-900-notes.jpg", partial(_many_segments, notes, 900), "16 MiB")
    yield shows("jpeg-270-notes.jpg", partial(_many_segments, notes, 270), flat((8, 8), 0))
    yield whole_or_refused("jpeg-20-exif.jpg", made, flat((8, 8), 0))
    yield refused("jpeg-10-million-restarts.jpg", _many_restarts, "restart markers")
    yield shows("jpeg-64-scans.jpg", partial(_many_scans, 64), flat((SIDE, SIDE), 128))
    yield refused("jpeg-20000-scans.jpg", partial(_many_scans, 20_000), "scans")
    yield from _many_parts()
    tags = {40_000 + number: [1] for number in range(600)}
    yield refused("tiff-600-tags.tif", make_tiff((2, 2), [bytes(12)], tags=tags), "directory")
    yield whole_or_refused("tiff-exif-of-65535-tags.tif", _with_many_tags, flat((2, 2), 0))


def _many_parts() -> Iterator[Case]:
    grey: dict[str, Any] = {"bits": (8,), "photometric": 1}
    long = {259: [8], 278: [1], 273: [8] * 10_000, 279: [2**20] * 10_000}
    yield refused(
        "tiff-many-long-strips.tif", lambda: make_tiff((2500, 10_000), [bytes(2**20)], tags=long)
    )
    tiles, size = [zlib.compress(bytes(256))] * 96_000, (16 * 160, 16 * 600)
    yield shows(
        "tiff-many-tiles.tif",
        lambda: tiled(size, 16, tiles, tags={259: [8]}, **grey),
        flat(size, 0),
    )
    rows = [zlib.compress(b"\0")] * 10_000
    yield shows(
        "tiff-rows-of-one-pixel.tif",
        lambda: make_tiff((1, 10_000), rows, tags={259: [8], 278: [1]}, **grey),
        flat((1, 10_000), 0),
    )
    jpegs = [flat_blocks(np.zeros((2, 2), np.uint8)).whole()] * 10_000
    noise = encode(_noise(1680), "JPEG", quality=95, subsampling=0)
    yield refused(
        "tiff-jpegs-of-80-MB.tif",
        lambda: tiled((10_080, 1), 1680, [noise] * 12, tags={259: [7]}, photometric=6),
    )
    yield refused(
        "tiff-many-jpegs.tif", lambda: tiled((1600, 1600), 16, jpegs, tags={259: [7]}, **grey)
    )


def _many_segments(extra: bytes, count: int) -> bytes:
    return flat_blocks(np.zeros((1, 1), np.uint8), extra=extra * count).whole()


def _after_header(extra: bytes) -> bytes:
    return png(32, 24, 8, 2, bytes(97 * 24), extra)


def _many_scans(count: int) -> bytes:
    """A progressive grey of 25 megapixels in which each scan sends one coefficient: all are 0."""
    head = b"\xff\xd8" + segment(0xDB, b"\0" + bytes([8] * 64))
    head += segment(0xC2, struct.pack(">BHHB", 8, SIDE, SIDE, 1) + b"\x01\x11\0")
    head += segment(0xC4, b"\0" + bytes([1] + [0] * 15) + b"\0")  # a difference of 0: one bit
    # That 2**14 to 2**15 - 1 blocks hold nothing: one bit, and 14 bits that are all ones.
    head += segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\xe0")
    blocks = (SIDE // 8) ** 2
    first = segment(0xDA, b"\x01\x01\0\0\0\0") + bytes((blocks + 7) // 8)
    bits = ("0" + "1" * 14) * (blocks // (2**15 - 1)) + "0" + f"{blocks % (2**15 - 1):b}"[1:]
    bits += "1" * (-len(bits) % 8)
    packed = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    scans = [
        segment(0xDA, bytes([1, 1, 0, number % 63 + 1, number % 63 + 1, 0])) + packed
        for number in range(count - 1)
    ]
    return head + first + b"".join(scans) + EOI


def _many_restarts() -> bytes:
    """A restart marker behind every block of a progressive grey, in scan after scan."""
    head = b"\xff\xd8" + segment(0xDB, b"\0" + bytes([8] * 64))
    head += segment(0xC2, struct.pack(">BHHB", 8, SIDE, SIDE, 1) + b"\x01\x11\0")
    for table in (b"\0", b"\x10"):  # one code of one bit: no difference, no coefficients
        head += segment(0xC4, table + bytes([1] + [0] * 15) + b"\0")
    head += segment(0xDD, b"\0\1")
    blocks = (SIDE // 8) ** 2
    marked = [b"\x7f" + bytes([0xFF, 0xD0 + number % 8]) for number in range(blocks)]
    bits = b"".join(marked)[:-2]
    sent = [(0, 0), *((place, place) for place in range(1, 26)), (26, 63)]
    scans = [segment(0xDA, bytes([1, 1, 0, *band, 0])) + bits for band in sent]
    return head + b"".join(scans) + EOI


def _with_many_tags() -> bytes:
    data = make_tiff((2, 2), [bytes(12)], tags={34665: [10**6]})
    return data + bytes(10**6 - len(data)) + b"\xff\xff" + bytes(12 * 65_535 + 4)


def long_files() -> Iterator[Case]:
    """Files that are mostly something else than a picture."""
    million = 10**6
    one = np.zeros((1, 1), np.uint8)
    behind = partial(_behind, flat_blocks(one).whole())
    yield shows("jpeg-60-MB-behind-it.jpg", partial(behind, 60 * million), flat((8, 8), 0))
    progressive = partial(_behind, grey_jpeg((8, 8), progressive=True), 34 * million)
    yield refused("jpeg-34-MB-progressive.jpg", progressive, "32 MiB")
    yield refused("jpeg-200-MB-behind-it.jpg", partial(behind, 200 * million), "64 MiB")
    yield refused(
        "png-200-MB-text.png",
        lambda: _after_header(chunk(b"tEXt", b"a\0" + b"b" * 200 * million)),
    )
    yield refused("tiff-200-MB-tag.tif", lambda: _long_tag(200 * million))
    yield refused(
        "jpeg-never-ending-bits.jpg", lambda: flat_blocks(one).whole()[:-2] + bytes(200 * million)
    )
    yield refused("over-256-MiB.tif", lambda: b"II*\0" + bytes(256 * 2**20))


def _behind(picture: bytes, length: int) -> bytes:
    return picture + bytes(length)


def _long_tag(length: int) -> bytes:
    data = make_tiff((2, 2), [bytes(12)], tags={33432: [1]})
    entry = data.index(struct.pack("<HHI", 33432, 4, 1))
    other = struct.pack("<HHII", 33432, 2, length, len(data))
    return data[:entry] + other + data[entry + 12 :] + b"c" * length


def cases() -> list[Case]:
    """All of the above."""
    return [*at_the_limit(), *over_the_limit(), *inflating(), *numerous(), *long_files()]
