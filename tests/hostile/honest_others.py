"""Odd PNGs, BMPs and JPEGs that are what they say, EXIF turns, and misleading suffixes."""

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from crafted import Pixels, bmp, bmp_rows, chunk, encode, exif, png, png_rows, with_late_exif
from crafted_jpeg import flat_blocks, segment
from numpy.typing import NDArray

from hostile.case import Case, refused, shows
from hostile.honest_tiff import RGB, as_rgb, to_8_bits

RNG = np.random.default_rng(12)
H, W = 9, 14


def over_white(colour: NDArray[np.integer], alpha: NDArray[np.integer]) -> Pixels:
    """(H, W, 3) and (H, W, 1), both 0 to 255, to what a sheet of paper would show."""
    shown: Pixels = ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return shown


def pngs() -> Iterator[Case]:
    """Every colour type and depth of the standard, plain and interlaced."""
    for depth in (1, 2, 4, 8, 16):
        grey = RNG.integers(0, 2**depth, (H, W))
        for laced in (False, True):
            rows = png_rows(grey, depth, adam7=laced)
            data = png(W, H, depth, 0, rows, interlaced=laced)
            name = f"png-grey-{depth}{'-interlaced' * laced}.png"
            yield shows(name, data, as_rgb(to_8_bits(grey, depth)))
    for depth in (1, 2, 4, 8):
        indices = RNG.integers(0, 2**depth, (H, W))
        table = RNG.integers(0, 256, (2**depth, 3), dtype=np.uint8)
        palette = chunk(b"PLTE", table.tobytes())
        for laced in (False, True):
            rows = png_rows(indices, depth, adam7=laced)
            data = png(W, H, depth, 3, rows, palette, interlaced=laced)
            yield shows(f"png-palette-{depth}{'-interlaced' * laced}.png", data, table[indices])
    for depth in (8, 16):
        samples = RNG.integers(0, 2**depth, (H, W, 4))
        high = samples >> (depth - 8)
        rgb = png_rows(samples[:, :, :3].reshape(H, -1), depth)
        yield shows(
            f"png-rgb-{depth}.png", png(W, H, depth, 2, rgb), high[:, :, :3].astype(np.uint8)
        )
        rgba = png_rows(samples.reshape(H, -1), depth)
        shown = over_white(high[:, :, :3], high[:, :, 3:])
        yield shows(f"png-rgba-{depth}.png", png(W, H, depth, 6, rgba), shown)
        two = png_rows(samples[:, :, 2:].reshape(H, -1), depth)
        shown = over_white(np.repeat(high[:, :, 2:3], 3, axis=2), high[:, :, 3:])
        yield shows(f"png-grey-alpha-{depth}.png", png(W, H, depth, 4, two), shown)
    rows = png_rows(RGB.reshape(24, -1), 8)
    for name, extra in {
        "gamma": chunk(b"gAMA", struct.pack(">I", 100)),
        "srgb": chunk(b"sRGB", b"\0"),
        "unknown-chunk": chunk(b"vpAg", b"anything"),
        "text": chunk(b"tEXt", b"Comment\0<script>alert(1)</script>"),
        "density": chunk(b"pHYs", struct.pack(">IIB", 1, 2**31 - 1, 1)),
    }.items():
        yield shows(f"png-{name}.png", png(32, 24, 8, 2, rows, extra), RGB)
    yield shows("png-filters-of-pillow.png", encode(RGB, "PNG"), RGB)


def bmps() -> Iterator[Case]:
    """1 to 32 bits, palettes, masks, top first; run lengths are refused."""
    for bits in (1, 4, 8):
        indices = RNG.integers(0, 2**bits, (H, W))
        table = RNG.integers(0, 256, (2**bits, 4), dtype=np.uint8)  # blue, green, red, 0
        body = bmp_rows(indices, bits)
        data = bmp(W, H, bits, body, palette=table.tobytes())
        yield shows(f"bmp-palette-{bits}.bmp", data, table[indices][:, :, 2::-1])
    blue_first = RGB[:, :, ::-1].reshape(24, -1)
    yield shows("webp-lossless.png", encode(RGB, "WEBP", lossless=True), RGB)
    yield shows("bmp-24.bmp", bmp(32, 24, 24, bmp_rows(blue_first, 8)), RGB)
    upside = bmp_rows(blue_first[::-1], 8)
    yield shows("bmp-top-first.bmp", bmp(32, -24, 24, upside), RGB)
    narrow = bmp_rows(RGB[:, :5, ::-1].reshape(24, -1), 8)  # rows of 15 bytes, padded to 16
    yield shows("bmp-padded-rows.bmp", bmp(5, 24, 24, narrow), RGB[:, :5])
    four = np.concatenate([RGB[:, :, ::-1], np.zeros((24, 32, 1), np.uint8)], axis=2)
    yield shows("bmp-32.bmp", bmp(32, 24, 32, bmp_rows(four.reshape(24, -1), 8)), RGB)
    for greens, code in ((5, 0), (6, 3)):
        red, green, blue = (RNG.integers(0, 2**n, (H, W)) for n in (5, greens, 5))
        words = red << (5 + greens) | green << 5 | blue
        body = b"".join(row.astype("<u2").tobytes() for row in words[::-1])
        masks = (0xF800, 0x7E0, 0x1F) if code else ()
        scaled = [red * 255 / 31, green * 255 / (2**greens - 1), blue * 255 / 31]
        pixels = np.stack(scaled, axis=2).astype(np.uint8)
        data = bmp(W, H, 16, body, compression=code, masks=masks)
        yield shows(f"bmp-16-with-{greens}-bit-green.bmp", data, pixels, tolerance=1)
    runs = b"".join(bytes([W, n, 0, 0]) for n in range(H)) + b"\0\1"
    palette = bytes(range(256)) * 4
    data = bmp(W, H, 8, runs, compression=1, palette=palette)
    yield refused("bmp-run-lengths.bmp", data, "run lengths")


def jpegs() -> Iterator[Case]:
    """Grey, colour and ink, with restart markers, padding, comments and odd sizes."""
    grey = RNG.integers(0, 256, (3, 5), dtype=np.uint8)
    shown = as_rgb(np.kron(grey, np.ones((8, 8), np.uint8)))
    for restart in (0, 1, 4, 7):
        data = flat_blocks(grey, restart=restart).whole()
        yield shows(f"jpeg-grey-restart-{restart}.jpg", data, shown)
    yield shows("jpeg-odd-size.jpg", flat_blocks(grey, size=(37, 18)).whole(), shown[:18, :37])
    comment = segment(0xFE, b"\xff\xd9 and \xff\xd8 and \xff\xda in a comment")
    yield shows("jpeg-markers-in-a-comment.jpg", flat_blocks(grey, extra=comment).whole(), shown)
    whole = flat_blocks(grey, restart=4).whole()
    yield shows("jpeg-fill-bytes.jpg", whole.replace(b"\xff\xda", b"\xff\xff\xff\xda"), shown)
    yield shows("jpeg-trailing-bytes.jpg", whole + b"\0" * 100, shown)
    yield shows("jpeg-trailing-jpeg.jpg", whole + whole, shown)
    for channels, name in ((3, "rgb"), (4, "cmyk")):
        blocks = RNG.integers(0, 256, (3, 5, channels), dtype=np.uint8)
        full = np.kron(blocks, np.ones((8, 8, 1), np.uint8)).astype(int)
        for restart in (0, 2):
            data = flat_blocks(blocks, restart=restart).whole()
            # Adobe stores ink inverted: 255 is bare paper.
            paper = full[:, :, :3] * full[:, :, 3:] / 255 if channels == 4 else full
            pixels = np.round(paper).astype(np.uint8)
            tolerance = int(channels == 4)
            yield shows(f"jpeg-{name}-restart-{restart}.jpg", data, pixels, tolerance)
    smooth = np.kron(grey, np.ones((8, 8), np.uint8))
    ways: dict[str, dict[str, Any]] = {
        "progressive": {"progressive": True},
        "optimised": {"optimize": True},
        "half-colour": {"subsampling": 2},
        "progressive-restarts": {"progressive": True, "restart_marker_blocks": 2},
    }
    for name, options in ways.items():
        data = encode(as_rgb(smooth), "JPEG", quality=100, **options)
        yield shows(f"jpeg-{name}.jpg", data, as_rgb(smooth), tolerance=2)


def turned() -> Iterator[Case]:
    """EXIF orientations 1 to 8, and two that mean nothing, in each format that has them."""
    grey = RNG.integers(0, 256, (2, 3), dtype=np.uint8)
    stored = np.kron(grey, np.ones((8, 8), np.uint8))
    upright = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.T,
        6: np.rot90(stored, -1),
        7: stored[::-1, ::-1].T,
        8: np.rot90(stored),
        0: stored,
        9: stored,
    }
    for number, shown in upright.items():
        pixels, block = as_rgb(shown), exif(number)
        jpeg = flat_blocks(grey, extra=segment(0xE1, block)).whole()
        yield shows(f"exif-{number}.jpg", jpeg, pixels)
        inside = chunk(b"eXIf", block.removeprefix(b"Exif\0\0"))
        rows = png_rows(stored, 8)
        yield shows(f"exif-{number}.png", png(24, 16, 8, 0, rows, inside), pixels)
        tiff = encode(as_rgb(stored), "TIFF", tiffinfo={274: number})
        yield shows(f"exif-{number}.tif", tiff, pixels)
    late = with_late_exif(png(24, 16, 8, 0, png_rows(stored, 8)))
    yield shows("exif-2-behind-the-pixels.png", late, as_rgb(upright[2]))


def misnamed() -> Iterator[Case]:
    """The content decides: each format under the others' suffixes, and under none."""
    grey = RNG.integers(0, 256, (2, 3), dtype=np.uint8)
    shown = as_rgb(np.kron(grey, np.ones((8, 8), np.uint8)))
    contents = {
        "tif": encode(shown, "TIFF"),
        "png": encode(shown, "PNG"),
        "bmp": encode(shown, "BMP"),
        "jpg": flat_blocks(grey).whole(),
    }
    for kind, data in contents.items():
        for suffix in (".tif", ".PNG", ".bmp", ".JPeG", ".txt", ".tif.exe", ""):
            yield shows(f"misnamed-{kind}-as{suffix}", data, shown)


def cases() -> list[Case]:
    """All of the above."""
    return [*pngs(), *bmps(), *jpegs(), *turned(), *misnamed()]
