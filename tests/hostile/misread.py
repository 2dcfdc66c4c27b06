"""Files of which Pillow or libtiff makes another picture than the standard, without a word.

Each is refused, or shown as the standard says.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from crafted import (
    bmp,
    bmp_rows,
    chunk,
    exif,
    make_tiff,
    packed,
    png,
    png_rows,
    retagged,
    tiled,
)
from crafted_jpeg import flat_blocks, segment

from hostile.case import Case, refused, shows
from hostile.honest_tiff import GREY, RGB, as_rgb

RNG = np.random.default_rng(15)
BLOCKS = RNG.integers(0, 256, (2, 2), dtype=np.uint8)
TABLE = RNG.integers(0, 256, (256, 3), dtype=np.uint8)
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
STRIP = RGB.tobytes()
ONE_SAMPLE: dict[str, Any] = {"bits": (8,), "photometric": 1}
FOUR: dict[str, Any] = {"bits": (8,) * 4}
FOURTH = np.concatenate([RGB, RGB[:, :, :1]], axis=2).tobytes()


def tiff_tags() -> Iterator[Case]:
    """Tags of another type or number: Pillow takes bytes for text, and the first or all of two."""
    planes = [RGB[:, :, channel].tobytes() for channel in (2, 0, 1)]
    # Pillow reads on from the last plane's offset, as if the three were one.
    places = {273: [8 + 768, 8 + 2 * 768, 8], 279: [768] * 3, 278: [24], 284: [2]}
    separate = make_tiff((32, 24), planes, tags=places)
    yield shows("tiff-planes-in-disorder.tif", separate, RGB)
    yield refused("tiff-planes-said-in-a-byte.tif", retagged(separate, 284, 1, [2], "B"), "284")
    yield refused("tiff-planes-said-twice.tif", retagged(separate, 284, 3, [2, 1], "H"), "284")
    whole = make_tiff((32, 24), [STRIP], tags={274: [6], 284: [1]})
    for tag in (256, 257, 259, 262, 274, 277, 284):
        name, value = f"tiff-tag-{tag}", 1 if tag in (259, 284) else 3
        yield refused(f"{name}-in-a-byte.tif", retagged(whole, tag, 1, [value], "B"), str(tag))
        yield refused(f"{name}-twice.tif", retagged(whole, tag, 3, [value] * 2, "H"), str(tag))
    yield refused("tiff-turned-by-a-float.tif", retagged(whole, 274, 11, [6.0], "f"), "274")  # type: ignore[list-item]
    said = make_tiff((32, 24), [STRIP], tags={700: [0]})
    turned = retagged(said, 700, 1, list(XMP), "B")
    yield shows("tiff-turned-by-xmp.tif", turned, RGB)
    for tag, value in ((254, 1), (254, 4), (255, 2)):
        data = make_tiff((32, 24), [STRIP], tags={tag: [value]})
        yield refused(f"tiff-reduced-{tag}-{value}.tif", data, "reduced")
    yield shows("tiff-page-of-many.tif", make_tiff((32, 24), [STRIP], tags={254: [2]}), RGB)


def tiff_planes() -> Iterator[Case]:
    """Raw planes, of which Pillow forgets depth, white and order of bits; odd predictors."""
    for bits, colour in ((1, 1), (2, 1), (4, 1), (4, 0), (8, 0)):
        part = packed(GREY >> (8 - bits), bits)
        data = make_tiff((32, 24), [part], bits=(bits,), photometric=colour, tags={284: [2]})
        yield refused(f"tiff-raw-plane-{bits}-{colour}.tif", data, "plain bytes")
    mirrored = make_tiff((32, 24), [STRIP[:768]] * 3, tags={284: [2], 266: [2]})
    yield refused("tiff-raw-planes-mirrored.tif", mirrored, "plain bytes")
    plane = make_tiff((32, 24), [GREY.tobytes()], **ONE_SAMPLE, tags={284: [2]})
    yield shows("tiff-raw-plane-8-1.tif", plane, as_rgb(GREY))
    for number in (0, 3, 2 << 16):
        data = make_tiff((32, 24), [zlib.compress(STRIP)], tags={259: [8], 317: [number]})
        yield refused(f"tiff-predictor-{number}.tif", data, "predictor")


def tiff_colours() -> Iterator[Case]:
    """What a fourth sample is, which inks, which white, how long the palette."""
    for extra in ([], [999], [0, 0], [3]):
        data = make_tiff((32, 24), [FOURTH], **FOUR, tags={338: extra})
        yield refused(f"tiff-fourth-sample-{'-'.join(map(str, extra))}.tif", data, "extra")
    for number in (0, 2):
        data = make_tiff((32, 24), [FOURTH], **FOUR, photometric=5, tags={332: [number]})
        yield refused(f"tiff-ink-set-{number}.tif", data, "inks")
    for code, part in ((1, STRIP), (8, zlib.compress(STRIP)), (5, STRIP)):
        data = make_tiff((32, 24), [part], photometric=6, tags={259: [code], 530: [1, 1]})
        yield refused(f"tiff-ycbcr-{code}.tif", data, "YCbCr")
    for code in (1, 8):
        part = GREY.tobytes() if code == 1 else zlib.compress(GREY.tobytes())
        data = make_tiff((32, 24), [part], bits=(8,), photometric=3, tags={320: [0], 259: [code]})
        for name, table in {
            "8-bit": TABLE.astype(int),
            "short": TABLE[:100].astype(int) * 257,
            "long": np.repeat(TABLE, 2, axis=0).astype(int) * 257,
        }.items():
            lie = retagged(data, 320, 3, table.T.ravel().tolist(), "H")
            yield refused(f"tiff-palette-{name}-{code}.tif", lie, "palette")
        black = retagged(data, 320, 3, [0] * 768, "H")
        yield shows(f"tiff-palette-black-{code}.tif", black, as_rgb(GREY * 0))
    with_alpha = [zlib.compress(GREY.tobytes()), zlib.compress(GREY.T.tobytes())]
    tags = {284: [2], 338: [2], 259: [8]}
    data = make_tiff((32, 24), with_alpha, bits=(8, 8), photometric=1, tags=tags)
    yield refused("tiff-grey-and-alpha-in-planes.tif", data, "alpha")


def tiff_parts() -> Iterator[Case]:
    """Parts that are shorter than the decoder takes them for, and pictures that hide behind one."""
    whole, half = flat_blocks(BLOCKS).whole(), flat_blocks(BLOCKS[:1]).whole()
    shown = as_rgb(np.kron(BLOCKS, np.ones((8, 8), np.uint8)))
    jpeg = {**ONE_SAMPLE, "tags": {259: [7]}}
    yield shows("tiff-jpeg-tile.tif", tiled((16, 16), 16, [whole], **jpeg), shown)
    yield refused("tiff-jpeg-half-a-tile.tif", tiled((16, 16), 16, [half], **jpeg), "16 x 8")
    yield refused("tiff-jpeg-half-a-strip.tif", make_tiff((16, 16), [half], **jpeg), "16 x 8")
    strips = {**ONE_SAMPLE, "tags": {259: [7], 278: [16]}}
    first = make_tiff((16, 32), [half, whole], **strips)
    yield refused("tiff-jpeg-half-the-first-strip.tif", first, "16 x 8")
    last = make_tiff((16, 24), [whole, half], **strips)
    yield shows("tiff-jpeg-last-strip.tif", last, np.concatenate([shown, shown[:8]]))
    for side in (3, 10, 17):
        for bits in (1, 4, 12):
            tiles = [bytes(side * ((side * bits + 7) // 8))] * (-(-24 // side) * -(-32 // side))
            data = tiled((32, 24), side, tiles, bits=(bits,), photometric=1)
            yield refused(f"tiff-tiles-of-{side}-{bits}-bit.tif", data, "multiples of 16")
    for number, name in ((1, "one-more"), (9, "stack")):
        page = make_tiff((32, 24), [STRIP], tags={270: [0]})
        told = retagged(page, 270, 2, list(b"ImageJ=1.53t\nimages=10\n\0"), "B")
        yield refused(f"tiff-{name}-behind.tif", told + STRIP * number, "stack")
        between = make_tiff((32, 24), [STRIP * (number + 1)], tags={279: [len(STRIP)]})
        yield refused(f"tiff-{name}-before-the-directory.tif", between, "stack")
    yield shows("tiff-a-little-behind.tif", make_tiff((32, 24), [STRIP]) + bytes(2000), RGB)
    for code, part in ((8, zlib.compress(STRIP)), (32773, b"\x7f" + STRIP)):
        data = make_tiff((32, 24), [part], tags={259: [code], 266: [2]})
        yield refused(f"tiff-mirrored-{code}.tif", data, "mirrored")


def pngs() -> Iterator[Case]:
    """Palettes and transparency out of place, frames, and texts that Pillow obeys."""
    rows, plain = png_rows(RGB.reshape(24, -1), 8), (32, 24, 8, 2)
    data = png(*plain, rows)
    header, pixels = data[:33], data[33:-12]
    end = chunk(b"IEND", b"")
    palette, indices = chunk(b"PLTE", TABLE.tobytes()), png_rows(GREY, 8)
    indexed = png(32, 24, 8, 3, indices)
    start, body = indexed[:33], indexed[33:-12]
    key = chunk(b"tRNS", bytes(6))
    frame = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 16, 12, 4, 4, 1, 1, 0, 0))
    yield shows("png-palette-256.png", start + palette + body + end, TABLE[GREY])
    yield refused("png-palette-late.png", start + body + palette + end, "behind")
    yield refused("png-palette-twice.png", start + palette * 2 + body + end, "two chunks")
    yield refused("png-transparency-late.png", header + pixels + key + end, "behind")
    yield refused("png-transparency-twice.png", header + key * 2 + pixels + end, "two chunks")
    for depth, colour, samples in ((8, 2, RGB.reshape(24, -1)), (1, 0, GREY & 1)):
        odd_key = chunk(b"tRNS", struct.pack(">H", 2**depth) * (1 + colour))
        keyed = png(32, 24, depth, colour, png_rows(samples, depth), odd_key)
        yield refused(f"png-transparent-beyond-{depth}-bits.png", keyed, "of more than")
    turn = chunk(b"eXIf", exif(6).removeprefix(b"Exif\0\0"))
    yield refused("png-exif-twice.png", header + turn * 2 + pixels + end, "two chunks")
    for colours in (0, 1, 100, 255):
        cut = chunk(b"PLTE", TABLE[:colours].tobytes())
        yield refused(f"png-palette-of-{colours}.png", start + cut + body + end, "palette")
    odd = chunk(b"PLTE", TABLE.tobytes()[:-1])
    yield refused("png-palette-of-767-bytes.png", start + odd + body + end, "palette")
    few = png(32, 24, 2, 3, png_rows(GREY % 4, 2), chunk(b"PLTE", TABLE[:3].tobytes()))
    yield refused("png-palette-of-3-in-2-bits.png", few, "colour 3 in a palette of 3")
    yield refused("png-frame-of-a-part.png", header + frame + pixels + end, "animated")
    for name in (b"interlace", b"transparency", b"bbox", b"exif", b"default_image"):
        for kind, text in ((b"tEXt", b"\x006"), (b"zTXt", b"\0\0" + zlib.compress(b"6"))):
            called = header + chunk(kind, name + text) + pixels + end
            yield refused(f"png-{kind.decode()}-{name.decode()}.png", called, "text")
    for kind, text in ((b"tEXt", b"\0"), (b"iTXt", bytes(5))):
        turned = chunk(kind, b"XML:com.adobe.xmp" + text + XMP)
        yield shows(f"png-{kind.decode()}-xmp.png", header + turned + pixels + end, RGB)
    for place, what in ((10, "packing"), (11, "filter")):
        facts = bytearray(header[16:29])
        facts[place] = 1
        lie = data[:8] + chunk(b"IHDR", bytes(facts)) + pixels + end
        yield refused(f"png-other-{what}.png", lie, "packed")


def bmps() -> Iterator[Case]:
    """Palettes that are ramps of grey, that are too short, and masks."""
    for bits, colours in ((8, 2), (4, 2), (4, 16), (4, 5)):
        greys = (0, 255) if colours == 2 else range(colours)
        palette = b"".join(bytes([grey] * 3 + [0]) for grey in greys)
        data = bmp(32, 24, bits, bmp_rows(GREY % colours, bits), palette=palette)
        yield refused(f"bmp-ramp-of-{colours}-in-{bits}-bits.bmp", data, "ramp")
    ramp = b"".join(bytes([grey] * 3 + [0]) for grey in range(100))
    shown = as_rgb(GREY % 100)
    yield shows("bmp-ramp.bmp", bmp(32, 24, 8, bmp_rows(GREY % 100, 8), palette=ramp), shown)
    yield refused(
        "bmp-beyond-the-ramp.bmp", bmp(32, 24, 8, bmp_rows(GREY, 8), palette=ramp), "of 100"
    )
    four = np.concatenate([TABLE, TABLE[:, :1]], axis=1)
    for bits, colours in ((8, 255), (8, 3), (4, 15), (1, 1)):
        rows = bmp_rows(GREY & 2**bits - 1, bits)
        data = bmp(32, 24, bits, rows, palette=four[:colours].tobytes())
        yield refused(f"bmp-palette-of-{colours}-in-{bits}-bits.bmp", data, "palette of")
    words = bmp_rows(np.zeros((24, 128), int), 8)
    for name, masks in (("none", (0, 0, 0)), ("alpha", (0, 0, 0, 255 << 24))):
        data = bmp(32, 24, 32, words, compression=3, masks=masks)
        yield refused(f"bmp-masks-{name}.bmp", data, "masks")


def jpegs() -> Iterator[Case]:
    """Ink that no mark explains, a turn that XMP alone asks for."""
    ink = RNG.integers(0, 256, (2, 2, 4), dtype=np.uint8)
    marked = flat_blocks(ink).whole()
    mark = segment(0xEE, b"Adobe\0\x64\0\0\0\0\0")
    assert mark in marked
    yield refused("jpeg-cmyk-without-a-mark.jpg", marked.replace(mark, b""), "Adobe")
    short = segment(0xEE, b"Adobe\0\x64\0\0\0\0")
    yield refused("jpeg-cmyk-with-half-a-mark.jpg", marked.replace(mark, short), "Adobe")
    shown = as_rgb(np.kron(BLOCKS, np.ones((8, 8), np.uint8)))
    said = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)
    yield shows("jpeg-turned-by-xmp.jpg", flat_blocks(BLOCKS, extra=said).whole(), shown)


def cases() -> list[Case]:
    """All of the above."""
    tiffs = [*tiff_tags(), *tiff_planes(), *tiff_colours(), *tiff_parts()]
    return [*tiffs, *pngs(), *bmps(), *jpegs()]
