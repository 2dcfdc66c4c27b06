"""Files that lie about their size, depth or content, bombs, and other formats under false names."""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from crafted import (
    bmp,
    bmp_rows,
    chunk,
    encode,
    exif,
    grey_tiff,
    make_tiff,
    packed,
    png,
    png_rows,
)
from crafted_jpeg import flat_blocks, segment
from PIL import Image

from hostile.case import Case, refused, shows, whole_or_refused
from hostile.honest_tiff import RGB, as_rgb

RNG = np.random.default_rng(14)
BLOCKS = RNG.integers(0, 256, (6, 8), dtype=np.uint8)
DEFLATE, LZW, PACKBITS, JPEG = 8, 5, 32773, 7


def headers() -> Iterator[Case]:
    """Another size, depth, order or place than the pixels have."""
    strips = [RGB[top : top + 6].tobytes() for top in range(0, 24, 6)]
    deflated = [zlib.compress(strip) for strip in strips]
    packings = {
        "raw": (strips, {278: [6]}),
        "deflate": (deflated, {278: [6], 259: [DEFLATE]}),
    }
    lies = {
        "width-31": {256: [31]},
        "width-33": {256: [33]},
        "width-16": {256: [16]},
        "height-23": {257: [23]},
        "height-25": {257: [25]},
        "height-12": {257: [12]},
        "height-1": {257: [1]},
        "size-exchanged": {256: [24], 257: [32]},
        "rows-5": {278: [5]},
        "rows-7": {278: [7]},
        "grey": {262: [1], 277: [1], 258: [8]},
        "4-channels": {277: [4], 258: [8] * 4, 338: [0]},
        "16-bit": {258: [16] * 3},
        "4-bit": {258: [4] * 3},
        "planes": {284: [2]},
        "mixed-depths": {258: [8, 16, 8]},
        "packed-as-lzw": {259: [LZW]},
        "packed-as-packbits": {259: [PACKBITS]},
        "packed-as-jpeg": {259: [JPEG]},
        "palette": {262: [3]},
        "cmyk": {262: [5]},
        "float": {339: [3] * 3},
    }
    for packing, (parts, tags) in packings.items():
        for lie, other in lies.items():
            data = make_tiff((32, 24), parts, tags=tags | other)
            yield refused(f"tiff-{packing}-says-{lie}.tif", data)
    for kind in ("tiff_lzw", "packbits"):
        data = encode(RGB, "TIFF", compression=kind)
        for tag, value in ((256, 16), (256, 30), (257, 12), (257, 23), (256, 33), (257, 25)):
            other_size = other_tag(data, tag, value)
            yield refused(f"tiff-{kind}-says-{tag}-is-{value}.tif", other_size)
    shifted = {273: [9, 585, 1161, 1737]}
    yield refused("tiff-strips-shifted.tif", make_tiff((32, 24), strips, tags={278: [6]} | shifted))
    same = {273: [8] * 4, 278: [6]}
    yield refused("tiff-strips-in-one-place.tif", make_tiff((32, 24), strips, tags=same), "overlap")
    yield from _png_headers()
    yield from _bmp_headers()


def other_tag(data: bytes, tag: int, value: int) -> bytes:
    """A little-endian TIFF of Pillow's with another value for a tag of one number."""
    for kind, form in ((3, "<HHIHH"), (4, "<HHII")):
        entry = data.find(struct.pack("<HHI", tag, kind, 1))
        if entry > 0:
            values = (value, 0) if kind == 3 else (value,)
            return data[:entry] + struct.pack(form, tag, kind, 1, *values) + data[entry + 12 :]
    raise LookupError(tag)


def _png_headers() -> Iterator[Case]:
    rows = png_rows(RGB.reshape(24, -1), 8)
    for name, (width, height, depth, colour) in {
        "width-31": (31, 24, 8, 2),
        "width-33": (33, 24, 8, 2),
        "width-1": (1, 24, 8, 2),
        "height-23": (32, 23, 8, 2),
        "height-25": (32, 25, 8, 2),
        "height-1": (32, 1, 8, 2),
        "grey": (32, 24, 8, 0),
        "16-bit": (32, 24, 16, 2),
        "alpha": (32, 24, 8, 6),
        "colour-5": (32, 24, 8, 5),
        "depth-3": (32, 24, 3, 0),
        "depth-4-rgb": (32, 24, 4, 2),
        "palette-without-one": (96, 24, 8, 3),
        "no-width": (0, 24, 8, 2),
        "negative": (2**31, 24, 8, 2),
    }.items():
        yield refused(f"png-says-{name}.png", png(width, height, depth, colour, rows))
    yield refused("png-says-interlaced.png", png(32, 24, 8, 2, rows, interlaced=True))
    plain = png(32, 24, 8, 2, rows)
    header = plain[8:33]
    yield refused("png-without-header.png", plain.replace(header, b""))
    yield refused("png-header-twice.png", plain.replace(header, header * 2))
    yield refused("png-header-late.png", plain.replace(header, chunk(b"tEXt", b"a\0b") + header))
    yield refused("png-wrong-crc.png", plain[:29] + bytes(4) + plain[33:], "checksum")
    yield refused("png-long-chunk.png", plain[:33] + struct.pack(">I", 2**31 - 1) + plain[37:])
    unknown = chunk(b"VITA", b"must be understood")
    yield refused("png-unknown-vital-chunk.png", plain.replace(header, header + unknown), "unknown")
    animation = chunk(b"acTL", struct.pack(">II", 2, 0))
    yield refused("png-animation.png", plain.replace(header, header + animation))
    for name, extra in {
        "text-bomb": chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80_000_000))),
        "profile-bomb": chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(80_000_000))),
        "exif-bomb": chunk(b"eXIf", b"II*\0\x08\0\0\0" + b"\xff\xff" + bytes(900_000)),
    }.items():
        yield whole_or_refused(f"png-{name}.png", plain.replace(header, header + extra), RGB)


def _bmp_headers() -> Iterator[Case]:
    body = bmp_rows(RGB[:, :, ::-1].reshape(24, -1), 8)
    for name, (width, height, bits) in {
        "width-30": (30, 24, 24),
        "width-33": (33, 24, 24),
        "height-23": (32, 23, 24),
        "height-25": (32, 25, 24),
        "depth-32": (32, 24, 32),
        "depth-16": (32, 24, 16),
        "depth-8": (32, 24, 8),
        "depth-0": (32, 24, 0),
        "depth-64": (12, 24, 64),
        "no-width": (0, 24, 24),
        "negative-width": (-32, 24, 24),
        "huge": (2**31 - 1, 2**31 - 1, 24),
    }.items():
        yield refused(f"bmp-says-{name}.bmp", bmp(width, height, bits, body))
    # Rows end on four bytes, so that 31 pixels are as long as 32: nothing tells them apart.
    yield shows("bmp-says-width-31.bmp", bmp(31, 24, 24, body), RGB[:, :31])
    for offset in (0, 14, 50, 57, 5000):
        yield refused(f"bmp-pixels-at-{offset}.bmp", bmp(32, 24, 24, body, offset=offset))
    for code in (1, 2, 4, 5, 9):
        yield refused(f"bmp-compression-{code}.bmp", bmp(32, 24, 24, body, compression=code))
    for masks in ((255, 255, 255), (0xF0F0, 0x0F0F, 1)):
        data = bmp(16, 24, 32, body[: 16 * 24 * 4], compression=3, masks=masks)
        yield refused(f"bmp-masks-{'-'.join(map(str, masks))}.bmp", data)


def samples() -> Iterator[Case]:
    """Kinds of samples for which there is no honest 8-bit picture."""
    for bits, kind in ((16, 3), (32, 3), (64, 3)):
        values = np.array([[0.5, np.nan, np.inf, -1]], f"<f{bits // 8}")
        data = make_tiff(
            (4, 1), [values.tobytes()], bits=(bits,), photometric=1, tags={339: [kind]}
        )
        yield refused(f"tiff-float-{bits}-with-nan.tif", data)
    for bits in (8, 16, 32):
        values = np.array([[1, -1]], f"<i{bits // 8}")
        data = make_tiff((2, 1), [values.tobytes()], bits=(bits,), photometric=1, tags={339: [2]})
        yield refused(f"tiff-signed-{bits}.tif", data, "signed")
    yield refused("tiff-32-bit.tif", grey_tiff(np.ones((2, 2), "<u4")), "32 bits")
    for bits in (3, 5, 10, 14, 24):
        row = packed(RNG.integers(0, 2, (2, 4 * bits)), 1)
        yield refused(f"tiff-{bits}-bit.tif", make_tiff((4, 2), [row], bits=(bits,), photometric=1))
    for code in (2, 3, 4, 6, 32809, 34661, 34712, 34925, 50000, 50001, 0, 65535):
        data = make_tiff((32, 24), [RGB.tobytes()], tags={259: [code]})
        yield refused(f"tiff-compression-{code}.tif", data, f"compression {code}")
    for kind in (4, 6, 8, 9, 10, 32803, 32844, 32845):
        data = make_tiff((32, 24), [RGB.tobytes()], photometric=kind)
        yield refused(f"tiff-photometric-{kind}.tif", data)
    pages = [Image.fromarray(255 - RGB), Image.fromarray(np.ascontiguousarray(RGB[:12]))]
    for name, suffix in (("tiff", "tif"), ("png", "png")):
        data = encode(RGB, name.upper(), save_all=True, append_images=pages)
        yield refused(f"{name}-three-pages.{suffix}", data, "more than one")
    second = make_tiff((32, 24), [RGB.tobytes()], next_page=8)
    yield refused("tiff-next-page-in-pixels.tif", second, "more than one page")
    twelve = flat_blocks(BLOCKS).whole().replace(b"\x08\x00\x30\x00\x40", b"\x0c\x00\x30\x00\x40")
    yield refused("jpeg-12-bit.jpg", twelve, "12-bit")
    for frame in (0xC3, 0xC5, 0xC9, 0xCA, 0xCB):
        yield refused(f"jpeg-frame-{frame:x}.jpg", flat_blocks(BLOCKS, frame=frame).whole())


def strangers() -> Iterator[Case]:
    """Other formats, and nothing at all, under the names of pictures."""
    for name, start in {
        "eps.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(file) run\n",
        "eps-binary.tif": b"\xc5\xd0\xd3\xc6" + bytes(26),
        "svg.png": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "svg-with-bom.bmp": b"\xef\xbb\xbf  <?xml version='1.0'?><svg/>",
        "html.jpg": b"<!DOCTYPE html><script>alert(1)</script>",
        "psd.png": b"8BPS\0\x01" + bytes(6) + struct.pack(">HIIHH", 3, 9, 9, 8, 3) + bytes(300),
        "gif.png": b"GIF89a\x01\0\x01\0\x80\0\0" + bytes(30),
        "webp-cut-short.webp": encode(RGB, "WEBP", lossless=True)[:-1],
        "webp-with-more-behind.webp": encode(RGB, "WEBP", lossless=True) + b"PK",
        "webp-signature-alone.webp": b"RIFF\x04\0\0\0WEBP",
        "jpeg2000.jpg": encode(RGB, "JPEG2000"),
        "ico.png": encode(RGB[:16, :16], "ICO"),
        "tga.tif": encode(RGB, "TGA"),
        "ppm.bmp": encode(RGB, "PPM"),
        "pcx.tif": encode(RGB, "PCX"),
        "sgi.tif": encode(RGB, "SGI"),
        "dds.png": encode(RGB, "DDS"),
        "pdf.png": b"%PDF-1.7\n1 0 obj\n",
        "heic.jpg": b"\0\0\0\x18ftypheic" + bytes(40),
        "bigtiff.tif": b"II+\0\x08\0\0\0" + bytes(60),
        "tiff-of-no-order.tif": b"IM*\0\x08\0\0\0" + bytes(60),
        "pickle.png": b"\x80\x04cos\nsystem\n(S'touch canary'\ntR.",
        "zip.tif": b"PK\x03\x04" + bytes(40),
        "elf.png": b"\x7fELF\x02\x01\x01" + bytes(40),
        "script.jpg": b"#!/bin/sh\ntouch canary\n",
        "table.tif": b"path,label\n=cmd|'/c calc'!A0,blast\n",
        "empty.tif": b"",
        "empty.png": b"",
        "one-byte.jpg": b"\xff",
        "zeros.bmp": bytes(4096),
        "ones.tif": b"\xff" * 4096,
        "noise.png": RNG.bytes(4096),
        "tiff-signature-alone.tif": b"II*\0",
        "png-signature-alone.png": b"\x89PNG\r\n\x1a\n",
        "bmp-signature-alone.bmp": b"BM",
        "jpeg-signature-alone.jpg": b"\xff\xd8\xff",
        "jpeg-begin-and-end.jpg": b"\xff\xd8\xff\xd9",
        "png-with-line-ends.png": encode(RGB, "PNG").replace(b"\r\n", b"\n"),
        "twice-the-signature.png": b"\x89PNG\r\n\x1a\n" * 2,
    }.items():
        yield refused(f"stranger-{name}", start)


def loops() -> Iterator[Case]:
    """Directories and EXIF that point at themselves, or at nothing."""
    strip = RGB.tobytes()
    start = 8 + len(strip) + 12  # behind the pixels and the three depths
    yield refused("tiff-page-loop.tif", make_tiff((32, 24), [strip], next_page=start), "page")
    for tag in (34665, 34853, 40965):
        for place in (8, start, 10**9):
            data = make_tiff((32, 24), [strip], tags={tag: [place]})
            yield whole_or_refused(f"tiff-directory-{tag}-at-{place}.tif", data, RGB)
    shown = as_rgb(np.kron(BLOCKS, np.ones((8, 8), np.uint8)))
    for name, block in {
        "loop": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\0\0\0\0",
        "huge": b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(60),
        "outside": b"Exif\0\0II*\0\xff\xff\xff\x7f",
        "nonsense": b"Exif\0\0nonsense",
        "empty": b"Exif\0\0",
        "text-orientation": exif(6).replace(b"\x01\x12\0\x03", b"\x01\x12\0\x02"),
    }.items():
        data = flat_blocks(BLOCKS, extra=segment(0xE1, block)).whole()
        yield whole_or_refused(f"jpeg-exif-{name}.jpg", data, shown)


def cases() -> list[Case]:
    """All of the above."""
    return [*headers(), *samples(), *strangers(), *loops()]
