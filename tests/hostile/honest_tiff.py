"""Odd TIFFs that are what they say: each must be read, as the picture that was put in."""

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from crafted import Pixels, encode, make_tiff, packed, retagged, tiled
from crafted_jpeg import flat_blocks
from numpy.typing import NDArray

from hostile.case import Case, shows, whole_or_refused

RNG = np.random.default_rng(11)
RGB: Pixels = RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)
GREY: Pixels = RGB[:, :, 0]


def to_8_bits(samples: NDArray[np.integer], bits: int) -> NDArray[np.integer]:
    """The full range of a few bits is that of 8; of more than 8 the upper ones are kept."""
    return samples * (255 // (2**bits - 1)) if bits <= 8 else samples >> (bits - 8)


def as_rgb(grey: NDArray[np.integer]) -> Pixels:
    """(H, W) to (H, W, 3) uint8."""
    return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)


def stored(samples: NDArray[np.integer], bits: int, order: str) -> bytes:
    """(rows, samples a row) as the file holds them; only 16 bits depend on the byte order."""
    return samples.astype(f"{order}u2").tobytes() if bits == 16 else packed(samples, bits)


def grey_depths() -> Iterator[Case]:
    """1 to 16 bits, black or white as zero, both byte orders, raw and deflated."""
    for order in "<>":
        for bits in (1, 2, 4, 8, 12, 16):
            samples = RNG.integers(0, 2**bits, (9, 14))
            part = stored(samples, bits, order)
            shown = to_8_bits(samples, bits)
            for zero in ("black", "white"):
                pixels = as_rgb(shown if zero == "black" else 255 - shown)
                for code, packing in ((1, "raw"), (8, "deflate")):
                    data = make_tiff(
                        (14, 9),
                        [part if code == 1 else zlib.compress(part)],
                        bits=(bits,),
                        photometric=int(zero == "black"),
                        order=order,
                        tags={259: [code]},
                    )
                    end = "little" if order == "<" else "big"
                    name = f"tiff-{bits}-bit-{zero}-zero-{end}-{packing}.tif"
                    # Pillow knows some of these in one byte order only; what it knows is right.
                    rare = bits == 12 or (bits, zero, end) == (16, "white", "big")
                    yield (whole_or_refused if rare else shows)(name, data, pixels)


def layouts() -> Iterator[Case]:
    """Strips, tiles, planes and compressions of one RGB picture."""
    parts = {rows: [RGB[y : y + rows].tobytes() for y in range(0, 24, rows)] for rows in (1, 5, 24)}
    for rows, strips in parts.items():
        for order in "<>":
            name = f"tiff-strips-of-{rows}-{ord(order)}.tif"
            yield shows(name, make_tiff((32, 24), strips, order=order, tags={278: [rows]}), RGB)
        deflated = [zlib.compress(strip) for strip in strips]
        data = make_tiff((32, 24), deflated, tags={259: [8], 278: [rows]})
        yield shows(f"tiff-deflated-strips-of-{rows}.tif", data, RGB)
    planes = [RGB[:, :, channel].tobytes() for channel in range(3)]
    yield shows("tiff-planes.tif", make_tiff((32, 24), planes, tags={284: [2]}), RGB)
    padded = np.pad(RGB, ((0, 8), (0, 0), (0, 0)))
    tiles = [padded[y : y + 16, x : x + 16].tobytes() for y in (0, 16) for x in (0, 16)]
    yield shows("tiff-tiles.tif", tiled((32, 24), 16, tiles), RGB)
    deflated = [zlib.compress(tile) for tile in tiles]
    yield shows("tiff-tiles-deflate.tif", tiled((32, 24), 16, deflated, tags={259: [8]}), RGB)
    offsets = [8 + sum(len(part) for part in parts[5][::-1][:n]) for n in range(5)][::-1]
    sizes = [len(part) for part in parts[5]]
    tags = {278: [5], 273: offsets, 279: sizes}
    backwards = make_tiff((32, 24), parts[5][::-1], tags=tags)
    yield shows("tiff-strips-in-reverse.tif", backwards, RGB)
    for packing in ("tiff_lzw", "packbits", "tiff_adobe_deflate", "tiff_deflate"):
        yield shows(f"tiff-{packing}.tif", encode(RGB, "TIFF", compression=packing), RGB)
    for packing in ("tiff_lzw", "tiff_adobe_deflate"):
        data = encode(RGB, "TIFF", compression=packing, tiffinfo={317: 2})
        yield shows(f"tiff-{packing}-predictor.tif", data, RGB)
    mirrored = np.packbits(np.unpackbits(RGB)[::-1])[::-1].tobytes()
    data = make_tiff((32, 24), [mirrored], tags={266: [2]})
    yield shows("tiff-bits-mirrored.tif", data, RGB)
    data = make_tiff((32, 24), [RGB.tobytes()], tags={317: [2]})
    yield shows("tiff-raw-with-predictor.tif", data, RGB)  # it holds for LZW and Deflate only
    blocks = RNG.integers(0, 256, (2, 3, 3), dtype=np.uint8)
    data = make_tiff((24, 16), [flat_blocks(blocks).whole()], tags={259: [7]})
    yield shows("tiff-jpeg.tif", data, np.kron(blocks, np.ones((8, 8, 1), np.uint8)))


def colours() -> Iterator[Case]:
    """Palettes, ink, alpha and a fourth channel that means nothing."""
    for bits in (1, 2, 4, 8):
        indices, table = RNG.integers(0, 2**bits, (9, 14)), RNG.integers(0, 256, (3, 2**bits))
        options: dict[str, Any] = {"bits": (bits,), "photometric": 3, "tags": {320: [0]}}
        data = make_tiff((14, 9), [packed(indices, bits)], **options)
        shorts = retagged(data, 320, 3, [int(value) * 257 for value in table.ravel()], "H")
        shown = table.T[indices].astype(np.uint8)
        yield shows(f"tiff-palette-of-{2**bits}.tif", shorts, shown)
    ink = RNG.integers(0, 256, (9, 14, 4), dtype=np.uint8)
    white = 255 - ink.astype(int)
    tags = {332: [1]}
    data = make_tiff((14, 9), [ink.tobytes()], bits=(8,) * 4, photometric=5, tags=tags)
    shown = np.round(white[:, :, :3] * white[:, :, 3:] / 255).astype(np.uint8)
    yield shows("tiff-cmyk.tif", data, shown, tolerance=1)
    colour, alpha = ink[:, :, :3].astype(int), ink[:, :, 3:].astype(int)
    over = (colour * alpha + 255 * (255 - alpha) + 127) // 255
    for kind, pixels in ((2, over), (0, colour)):
        data = make_tiff((14, 9), [ink.tobytes()], bits=(8,) * 4, tags={338: [kind]})
        yield shows(f"tiff-extra-samples-{kind}.tif", data, pixels.astype(np.uint8))
    # Premultiplied: the colour is stored as that over black.
    black = (colour * alpha // 255).astype(np.uint8)
    both = np.concatenate([black, alpha.astype(np.uint8)], axis=2)
    data = make_tiff((14, 9), [both.tobytes()], bits=(8,) * 4, tags={338: [1]})
    yield shows("tiff-extra-samples-1.tif", data, (black + 255 - alpha).astype(np.uint8), 2)
    for order in "<>":
        wide = RNG.integers(0, 65536, (9, 14, 3))
        part = stored(wide.reshape(9, -1), 16, order)
        data = make_tiff((14, 9), [part], bits=(16,) * 3, order=order)
        yield shows(f"tiff-16-bit-rgb-{ord(order)}.tif", data, (wide >> 8).astype(np.uint8))


def cases() -> list[Case]:
    """All of the above."""
    return [*grey_depths(), *layouts(), *colours()]
