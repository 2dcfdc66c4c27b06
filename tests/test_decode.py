"""Facts about `alld.images.decode`; pictures are made of bytes where Pillow cannot write them."""

import io
import os
import random
import struct
import sys
import threading
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crafted import Pixels, chunk, encode, exif, grey_tiff, make_tiff, png, tiled, with_late_exif
from PIL import Image, ImageFile

from alld.errors import ImageError
from alld.images import decode as decoding
from alld.images import tiff_parts
from alld.images.decode import (
    MAX_FILE_BYTES,
    SYNTHETIC_MARK,
    Decoded,
    decode,
    is_synthetic,
    read_image_bytes,
)
from alld.runtime.reading import read_text

RNG = np.random.default_rng(7)
RGB: Pixels = RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)
RGB16 = RNG.integers(0, 65536, (5, 7, 3), dtype=np.uint16)


def refusal(data: bytes, name: str = "cell") -> str:
    with pytest.raises(ImageError) as caught:
        decode(data, name)
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    assert message.count("\n") == 0
    assert "; " in message, "the next step is missing"
    return message


def test_real_files_are_read_as_plain_pillow_reads_them() -> None:
    """All 260 ALL-IDB2 files decode to Pillow's own pixels, unchanged and without a warning."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("ALLD_REAL_DATA", default)) / "all_idb2"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set ALLD_REAL_DATA to the folder of all_idb2/")
    paths = sorted(folder.glob("*.tif"))
    assert len(paths) == 260
    for path in paths:
        decoded = decode(read_image_bytes(path), path.name)
        np.testing.assert_array_equal(decoded.pixels, np.asarray(Image.open(path)))
        assert decoded.conversions == decoded.warnings == ()


@pytest.mark.parametrize("kind", ["TIFF", "BMP", "PNG"])
def test_plain_rgb_is_unchanged(kind: str) -> None:
    """8-bit RGB comes back bit by bit, as an array of the caller's own."""
    decoded = decode(encode(RGB, kind), "cell")
    np.testing.assert_array_equal(decoded.pixels, RGB)
    assert decoded.format == kind
    assert decoded.conversions == decoded.warnings == ()
    assert decoded.pixels.flags.c_contiguous
    assert decoded.pixels.flags.writeable
    assert decoded.pixels.dtype == np.uint8


def test_jpeg_is_read_as_pillow_reads_it() -> None:
    """A JPEG's pixels are those of Pillow's decoder."""
    data = encode(RGB, "JPEG")
    decoded = decode(data, "cell.jpg")
    np.testing.assert_array_equal(decoded.pixels, np.asarray(Image.open(io.BytesIO(data))))
    assert (decoded.format, decoded.conversions) == ("JPEG", ())


@pytest.mark.parametrize(
    ("kind", "mode", "words"),
    [
        ("PNG", "1", "1-bit to RGB"),
        ("BMP", "1", "1-bit to RGB"),
        ("TIFF", "1", "1-bit to RGB"),
        ("PNG", "L", "grey to RGB"),
        ("BMP", "L", "grey to RGB"),
        ("TIFF", "L", "grey to RGB"),
        ("JPEG", "L", "grey to RGB"),
        ("PNG", "P", "palette to RGB"),
        ("BMP", "P", "palette to RGB"),
        ("TIFF", "P", "palette to RGB"),
        ("TIFF", "CMYK", "CMYK to RGB"),
        ("JPEG", "CMYK", "CMYK to RGB"),
    ],
)
def test_other_colours_become_rgb(kind: str, mode: str, words: str) -> None:
    """1-bit, grey, palette and CMYK pictures become the RGB that they show, and it is said."""
    data = encode(RGB, kind, mode)
    decoded = decode(data, "cell")
    np.testing.assert_array_equal(
        decoded.pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    )
    assert decoded.conversions == (words,)


def test_alpha_is_laid_over_white() -> None:
    """Colour 100 at alpha 127 is (100 * 127 + 255 * 128) / 255 = 177.8, and alpha 0 white."""
    rgba = np.array([[[100, 0, 255, 127], [9, 9, 9, 0], [1, 2, 3, 255]]], np.uint8)
    decoded = decode(encode(rgba, "PNG"), "cell")
    assert decoded.pixels.tolist() == [[[178, 128, 255], [255, 255, 255], [1, 2, 3]]]
    assert decoded.conversions == ("alpha laid over white",)


def test_opaque_alpha_is_dropped() -> None:
    """An alpha of 255 everywhere leaves the colours as they are."""
    decoded = decode(encode(RGB, "TIFF", "RGBA"), "cell")
    np.testing.assert_array_equal(decoded.pixels, RGB)
    assert decoded.conversions == ("opaque alpha dropped",)


def test_grey_with_alpha_is_laid_over_white() -> None:
    """Grey 100 at alpha 128 becomes 177 in all channels."""
    decoded = decode(png(1, 1, 8, 4, bytes([0, 100, 128])), "cell")
    assert decoded.pixels.tolist() == [[[177, 177, 177]]]
    assert decoded.conversions == ("grey to RGB", "alpha laid over white")


def test_transparent_palette_entry_becomes_white() -> None:
    """A palette colour with alpha 0 is white, one with alpha 128 is half white."""
    palette = chunk(b"PLTE", bytes([100, 0, 0, 100, 0, 255])) + chunk(b"tRNS", bytes([0, 128]))
    decoded = decode(png(2, 1, 8, 3, bytes([0, 0, 1]), palette), "cell")
    assert decoded.pixels.tolist() == [[[255, 255, 255], [177, 127, 255]]]
    assert decoded.conversions == ("palette to RGB", "alpha laid over white")


def test_one_transparent_colour_becomes_white() -> None:
    """An 8-bit PNG's transparent colour is white; in 2- and 16-bit samples it is refused."""
    key = chunk(b"tRNS", struct.pack(">H", 3))
    assert decode(png(2, 1, 8, 0, bytes([0, 3, 4]), key), "a").pixels[0, :, 0].tolist() == [255, 4]
    assert "transparent colour" in refusal(png(4, 1, 2, 0, bytes([0, 27]), key))
    assert "transparent colour" in refusal(png(1, 1, 16, 0, bytes([0, 0, 3]), key))


# What a viewer shows of the stored rows "abc", "def" under each EXIF orientation.
UPRIGHT = {
    1: ["abc", "def"],
    2: ["cba", "fed"],
    3: ["fed", "cba"],
    4: ["def", "abc"],
    5: ["ad", "be", "cf"],
    6: ["da", "eb", "fc"],
    7: ["fc", "eb", "da"],
    8: ["cf", "be", "ad"],
}


def blocks(rows: Sequence[str]) -> Pixels:
    """Letters as flat grey blocks of 16 x 16 px, which JPEG keeps apart."""
    grey = np.array([[ord(letter) * 30 % 256 for letter in row] for row in rows], np.uint8)
    return np.repeat(np.kron(grey, np.ones((16, 16), np.uint8))[:, :, None], 3, axis=2)


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(
    ("kind", "options"),
    [("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("PNG", {}), ("JPEG", {"quality": 100})],
)
def test_orientation_is_applied_once(kind: str, options: dict[str, Any], orientation: int) -> None:
    """Each of the 8 orientations turns the picture as the standard says, once, in every format."""
    stored = blocks(UPRIGHT[1])
    if kind == "TIFF":
        options = options | {"tiffinfo": {274: orientation}}
    else:
        options = options | {"exif": exif(orientation)}
    decoded = decode(encode(stored, kind, **options), "cell")
    expected = blocks(UPRIGHT[orientation]).astype(int)
    assert decoded.pixels.shape == expected.shape
    assert np.abs(decoded.pixels - expected).max() <= (2 if kind == "JPEG" else 0)
    words = () if orientation == 1 else (f"EXIF orientation {orientation} applied",)
    assert decoded.conversions == words


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", [2, 6])
def test_orientation_of_16_bit_grey(order: str, orientation: int) -> None:
    """16-bit grey TIFFs of both byte orders are turned too."""
    grey = blocks(UPRIGHT[1])[:, :, 0]
    samples = (grey.astype(np.uint16) * 256 + 200).astype(order + "u2")
    data = grey_tiff(samples, order=order, tags={274: [orientation]})
    np.testing.assert_array_equal(decode(data, "cell").pixels, blocks(UPRIGHT[orientation]))


def test_exif_behind_the_pixels_of_a_png_counts() -> None:
    """A PNG may carry its EXIF chunk after the pixels; it is applied as well."""
    decoded = decode(with_late_exif(png(2, 1, 8, 0, bytes([0, 10, 20]))), "cell")
    assert decoded.pixels[0, :, 0].tolist() == [20, 10]


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_rgb_tiff_keeps_the_high_byte(order: str) -> None:
    """16-bit colour is divided by 256, in both byte orders, whole or in strips."""
    samples = RGB16.astype(order + "u2")
    for rows in (5, 2):
        parts = [samples[top : top + rows].tobytes() for top in range(0, 5, rows)]
        data = make_tiff((7, 5), parts, bits=(16,) * 3, order=order, tags={278: [rows]})
        decoded = decode(data, "cell")
        np.testing.assert_array_equal(decoded.pixels, RGB16 >> 8)
        assert decoded.conversions == ("16-bit samples scaled to 8",)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planes", [False, True])
def test_deflated_16_bit_rgb_tiff_keeps_the_high_byte(order: str, planes: bool) -> None:
    """The same through libtiff, with pixels interleaved or in separate planes."""
    samples = RGB16.astype(order + "u2")
    parts = (
        [samples[:, :, channel].tobytes() for channel in range(3)]
        if planes
        else [samples.tobytes()]
    )
    tags = {259: [8], 278: [5], 284: [2 if planes else 1]}
    packed = [zlib.compress(part) for part in parts]
    data = make_tiff((7, 5), packed, bits=(16,) * 3, order=order, tags=tags)
    np.testing.assert_array_equal(decode(data, "cell").pixels, RGB16 >> 8)


def test_uncompressed_16_bit_planes_are_refused() -> None:
    """Pillow would read raw 16-bit planes as 8-bit samples; no such picture is let through."""
    planes = [RGB16[:, :, channel].tobytes() for channel in range(3)]
    data = make_tiff((7, 5), planes, bits=(16,) * 3, tags={284: [2]})
    assert "separate colour planes" in refusal(data)


def test_16_bit_png_keeps_the_high_byte() -> None:
    """16-bit PNGs, grey and colour, are divided by 256 and not clipped at 255."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in RGB16)
    colour = decode(png(7, 5, 16, 2, rows), "cell")
    np.testing.assert_array_equal(colour.pixels, RGB16 >> 8)
    assert colour.conversions == ("16-bit samples scaled to 8",)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in RGB16[:, :, 0])
    grey = decode(png(7, 5, 16, 0, rows), "cell")
    np.testing.assert_array_equal(grey.pixels, np.repeat(RGB16[:, :, :1] >> 8, 3, axis=2))
    assert grey.conversions == ("16-bit samples scaled to 8", "grey to RGB")


@pytest.mark.parametrize(("bits", "named"), [(12, "12-bit"), (14, "14-bit"), (16, None)])
def test_samples_that_use_few_of_16_bits_are_reported(bits: int, named: str | None) -> None:
    """A camera's 12 or 14 bits make a dark picture, and the depth is guessed only in a warning."""
    samples = np.full((5, 7, 3), 2**bits - 1, np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    warnings = decode(png(7, 5, 16, 2, rows), "cell").warnings
    assert [named in text for text in warnings if named] == ([True] if named else [])


@pytest.mark.parametrize("width", [4, 5])
def test_12_bit_grey_tiff_is_scaled_by_its_own_depth(width: int) -> None:
    """Packed 12-bit samples are divided by 16; rows of odd width end on a whole byte."""
    samples = RNG.integers(0, 4096, (3, width))
    digits = ["".join(f"{value:03x}" for value in row) for row in samples]
    packed = b"".join(bytes.fromhex(row + "0" * (len(row) % 2)) for row in digits)
    decoded = decode(make_tiff((width, 3), [packed], bits=(12,), photometric=1), "cell")
    np.testing.assert_array_equal(decoded.pixels[:, :, 0], samples >> 4)
    assert decoded.conversions == ("12-bit samples scaled to 8", "grey to RGB")
    assert decoded.warnings == ()


@pytest.mark.parametrize(("brightest", "count"), [(4095, 1), (16384, 0)])
def test_12_bit_data_in_16_bit_samples_is_warned_of(brightest: int, count: int) -> None:
    """A 16-bit picture below 4096 gets a warning, and is not brightened."""
    decoded = decode(grey_tiff(np.array([[0, brightest]], np.uint16)), "cell")
    assert len(decoded.warnings) == count
    assert decoded.pixels.max() == brightest >> 8


def strip(bits: int, samples: int = 1) -> list[bytes]:
    return [bytes(4 * bits * samples // 8)]


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (make_tiff((2, 2), strip(32), bits=(32,), photometric=1, tags={339: [3]}), "floating"),
        (make_tiff((2, 2), strip(32), bits=(32,), photometric=1), "32 bits"),
        (make_tiff((2, 2), strip(16), bits=(16,), photometric=1, tags={339: [2]}), "signed"),
        (make_tiff((2, 2), strip(8), bits=(8,), photometric=1, tags={339: [2]}), "signed"),
        (make_tiff((2, 2), strip(8, 3), photometric=8), "LAB"),
        (make_tiff((2, 2), strip(8, 3), photometric=6), "YCbCr"),
        (make_tiff((2, 2), strip(8, 3), tags={259: [34712]}), "compression 34712"),
        (make_tiff((2, 2), strip(8, 9), bits=(8,) * 9), "9 samples"),
        (make_tiff((2, 2), strip(8, 3), tags={284: [3]}), "planar configuration 3"),
        (make_tiff((2, 2), strip(8, 3), next_page=8), "more than one page"),
        (make_tiff((0, 2), strip(8, 3)), "0 x 2 px"),
        (make_tiff((2, 0), strip(8, 3)), "2 x 0 px"),
        (make_tiff((2, 2), strip(8, 3))[:-1], "cut off"),
        (make_tiff((2, 4), strip(8, 3), tags={278: [2]}), "needs 2 parts, and lists 1"),
        (make_tiff((2, 2), strip(8, 3), tags={273: [900]}), "part of the TIFF is missing"),
        (make_tiff((2, 2), strip(8, 3), tags={279: [9000]}), "part of the TIFF is missing"),
        (make_tiff((2, 2), strip(8, 3), tags={279: [0]}), "part of the TIFF is missing"),
        (make_tiff((10001, 1), strip(8, 3)), "10001 x 1 px"),
        (make_tiff((5001, 5000), strip(8, 3)), "5001 x 5000 px"),
        (make_tiff((2, 2), strip(8, 3), tags={322: [32768], 323: [32768]}), "declares tiles"),
        (png(20000, 20000, 8, 2, b""), "20000 x 20000 px"),
        (png(0, 0, 8, 2, b""), "damaged"),
    ],
)
def test_what_cannot_be_read_honestly_is_refused(data: bytes, word: str) -> None:
    """Each refusal names what was seen; limits hold by the header, with next to no pixel data."""
    assert word in refusal(data)


@pytest.mark.parametrize("tile", [(32768, 32768), (10016, 16), (5008, 4096)])
def test_huge_tiles_are_refused(tile: tuple[int, int]) -> None:
    """A small file that declares 16 x 16 px in tiles of 32768 x 32768 px never allocates them."""
    data = tiled((16, 16), tile[0], [bytes(20)], tags={259: [8], 323: tile[1:]})
    assert f"tiles of {tile[0]} x {tile[1]}" in refusal(data)


def test_tag_values_beyond_the_end_are_refused() -> None:
    """Pillow would skip such a tag, and read the pixels without what it says."""
    data = make_tiff((2, 2), strip(8, 3), tags={33000: [1, 2]})
    entry = data.index(struct.pack("<HHI", 33000, 4, 2)) + 8
    cut = data[:entry] + struct.pack("<I", len(data) - 4) + data[entry + 4 :]
    assert "tag 33000 lie beyond the end" in refusal(cut)


def test_a_tag_named_twice_is_refused() -> None:
    """Pillow believes the last of two equal tags and libtiff the first."""
    data = make_tiff((2, 2), strip(8, 3), tags={322: [16], 323: [16]})
    twice = data.replace(struct.pack("<HHI", 323, 4, 1), struct.pack("<HHI", 322, 4, 1))
    assert "one tag twice" in refusal(twice)


def test_rows_per_strip_without_limit_is_read() -> None:
    """RowsPerStrip of 2**32 - 1 means one strip, raw or compressed, and is common."""
    for code, part in ((1, RGB.tobytes()), (8, zlib.compress(RGB.tobytes()))):
        data = make_tiff((32, 24), [part], tags={259: [code], 278: [2**32 - 1]})
        np.testing.assert_array_equal(decode(data, "cell").pixels, RGB)


@pytest.mark.parametrize("lossless", [True, False])
def test_webp_is_read_as_pillow_does(lossless: bool) -> None:
    """Lossless ones keep their pixels, and alpha is laid over white as in a PNG."""
    data = encode(RGB, "WEBP", lossless=lossless)
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(decode(data, "cell.webp").pixels, image.convert("RGB"))
    assert (decode(data, "cell.webp").format, decode(data, "cell.webp").warnings) == ("WebP", ())


@pytest.mark.parametrize("lossless", [True, False])
def test_a_damaged_webp_is_refused(lossless: bool) -> None:
    """Cut short, also where all lengths agree; with bytes behind its end; with another size."""
    data = encode(RGB, "WEBP", lossless=lossless)
    assert "ends too early" in refusal(data[:-1])
    assert "goes on behind its end" in refusal(data + b"\0")
    short = data[: 20 + (len(data) - 20) // 4 * 2]
    lengths = ((4, len(short) - 8), (16, len(short) - 20))
    for at, size in lengths:
        short = short[:at] + size.to_bytes(4, "little") + short[at + 4 :]
    assert refusal(short)
    assert "is missing" in refusal(data[:16] + b"\xff\xff\xff\x0f" + data[20:])


def test_an_animated_webp_is_refused() -> None:
    """No one knows which frame is meant."""
    other = Image.fromarray(255 - RGB)
    assert "animated WebP" in refusal(encode(RGB, "WEBP", save_all=True, append_images=[other]))


@pytest.mark.parametrize("kind", ["TIFF", "PNG"])
def test_second_pages_and_frames_are_refused(kind: str) -> None:
    """A multi-page TIFF and an animated PNG are refused, as no one knows which page is meant."""
    other = Image.fromarray(255 - RGB)
    assert "more than one" in refusal(encode(RGB, kind, save_all=True, append_images=[other]))


def test_first_picture_of_an_mpo_is_used() -> None:
    """A camera's MPO is a JPEG with more pictures behind it: the first one counts."""
    data = encode(RGB, "MPO", save_all=True, append_images=[Image.fromarray(255 - RGB)])
    decoded = decode(data, "cell.jpg")
    np.testing.assert_array_equal(decoded.pixels, decode(encode(RGB, "JPEG"), "one").pixels)
    assert (decoded.format, decoded.warnings) == ("JPEG", ())


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"path,label\n", "text"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        (b"%PDF-1.7", "PDF"),
        (b"GIF89a", "GIF"),
        (b"\xef\xbb\xbf <svg/>", "SVG"),
        (b"8BPS\0\1", "Photoshop"),
        (b"MM\0+\0\x08", "big-endian BigTIFF"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"\1\2\3\4\5", "unknown content (first bytes 01 02 03 04)"),
    ],
)
def test_other_formats_are_refused_by_name(data: bytes, word: str) -> None:
    """The content decides, whatever the name says, and the refusal says what it looks like."""
    assert word in refusal(data, "cell.png")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/cell.tif", ("named .tif, but the content is JPEG",)),
        ("cell.PNG", ("named .png, but the content is JPEG",)),
        ("cell.JPeG", ()),
        ("cell", ()),
        ("cell.dat", ()),
    ],
)
def test_a_name_that_contradicts_is_a_warning(name: str, expected: tuple[str, ...]) -> None:
    """A known suffix of another format is warned of; an unknown one says nothing."""
    assert decode(encode(RGB, "JPEG"), name).warnings == expected


def test_message_is_one_line_for_any_name() -> None:
    """Line breaks and control characters in a name do not break the message."""
    with pytest.raises(ImageError) as caught:
        decode(b"", "a\nb\x1b[31m\udc80")
    assert str(caught.value).isprintable()


SWEEP = {
    "raw tiff": encode(RGB, "TIFF"),
    "lzw tiff": encode(RGB, "TIFF", compression="tiff_lzw"),
    "deflate tiff": encode(RGB, "TIFF", compression="tiff_adobe_deflate"),
    "packbits tiff": encode(RGB, "TIFF", compression="packbits"),
    "jpeg tiff": encode(RGB, "TIFF", compression="jpeg"),
    "tiff with directory last": make_tiff((32, 24), [RGB.tobytes()], tags={274: [6]}),
    "png": encode(RGB, "PNG"),
    "png with exif last": with_late_exif(encode(RGB, "PNG")),
    "grey png": encode(RGB, "PNG", "L"),
    "bmp": encode(RGB, "BMP"),
    "palette bmp": encode(RGB, "BMP", "P"),
    "jpeg": encode(RGB, "JPEG", exif=exif(6)),
    "progressive jpeg": encode(RGB, "JPEG", progressive=True),
}


@pytest.mark.parametrize("kind", SWEEP)
def test_truncated_files_are_refused(kind: str) -> None:
    """Cut at 100 places, a file is refused or the identical picture, never a half-grey one."""
    data = SWEEP[kind]
    whole = decode(data, "cell")
    cuts = {*np.linspace(0, len(data) - 1, 40).astype(int), *range(len(data) - 60, len(data))}
    for cut in sorted(map(int, cuts)):
        try:
            part = decode(data[:cut], "cell")
        except ImageError:
            continue
        assert same(part, whole), f"{kind} cut at {cut} of {len(data)}"


def same(one: Decoded, other: Decoded) -> bool:
    return np.array_equal(one.pixels, other.pixels) and one.conversions == other.conversions


@pytest.mark.parametrize("kind", SWEEP)
def test_a_hash_that_passed_is_decoded_without_checks(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second decoding of a known hash runs no check and returns the same picture."""

    def check(*_given: object) -> None:
        raise ImageError("checked")

    data, whole = SWEEP[kind], decode(SWEEP[kind], "cell")
    monkeypatch.setattr(decoding, "_checked", set())
    assert same(decode(data, "cell", "its hash"), whole)
    for module, name in (
        (decoding, "check_png"),
        (decoding, "check_bmp"),
        (decoding, "read_markers"),
        (tiff_parts, "check_samples"),
    ):
        monkeypatch.setattr(module, name, check)
    assert same(decode(data, "cell", "its hash"), whole)
    for sha256 in (None, "another hash"):
        with pytest.raises(ImageError, match="checked"):
            decode(data, "cell", sha256)


def test_hashes_that_passed_are_few_and_hold_no_refused_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At most MAX_CHECKED hashes are remembered, and none of a file that was refused."""
    monkeypatch.setattr(decoding, "_checked", set())
    monkeypatch.setattr(decoding, "MAX_CHECKED", 2)
    with pytest.raises(ImageError):
        decode(SWEEP["png"][:-20], "cell", "refused")
    for number in range(4):
        decode(SWEEP["png"], "cell", str(number))
    assert decoding._checked == {"0", "1"}


def test_truncated_files_are_refused_even_where_pillow_is_told_to_load_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another library's LOAD_TRUNCATED_IMAGES = True gives no half pictures here."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encode(RGB, "JPEG")
    assert "truncated" in refusal(data[:-40])


@pytest.mark.parametrize("kind", SWEEP)
def test_damaged_bytes_raise_nothing_but_image_errors(kind: str) -> None:
    """40 files with 1 to 4 wrong bytes each are decoded or refused, without a Python warning."""
    rng = random.Random(kind)
    for _ in range(40):
        data = bytearray(SWEEP[kind])
        for _ in range(rng.randint(1, 4)):
            span = rng.choice([64, len(data)])  # headers are short, and the better target
            data[rng.choice([rng.randrange(span), -1 - rng.randrange(span)])] = rng.randrange(256)
        cause = None
        try:
            decode(bytes(data), "cell")
        except ImageError as error:
            cause = error.__cause__
        assert not isinstance(cause, Warning)


def hostile_exif_jpeg() -> bytes:
    """A JPEG whose EXIF directory promises more entries than there are."""
    return encode(RGB, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\0\x12\x01")


def test_damaged_exif_leaks_no_warning_from_threads() -> None:
    """8 threads decode damaged EXIF; none sees a Python warning, and the filters are left alone."""
    data, failures = hostile_exif_jpeg(), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.asarray(Image.open(io.BytesIO(data)))
    before = list(warnings.filters)

    def work() -> None:
        try:
            for _ in range(20):
                np.testing.assert_array_equal(decode(data, "cell").pixels, expected)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # change threads as often as can be, so that a race is met
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)
    assert failures == []
    assert list(warnings.filters) == before


def test_damaged_exif_directory_of_a_tiff_is_no_warning() -> None:
    """A TIFF whose EXIF directory lies beyond its end is read, and loading it warns of nothing."""
    data = make_tiff((32, 24), [RGB.tobytes()], tags={34665: [10**6]})
    np.testing.assert_array_equal(decode(data, "cell").pixels, RGB)


def test_unreadable_exif_is_a_warning() -> None:
    """EXIF that is no EXIF leaves the picture as it is, and says so."""
    decoded = decode(encode(RGB, "JPEG", exif=b"Exif\0\0nonsense"), "cell")
    assert decoded.warnings == ("EXIF cannot be read: the picture is taken as upright",)


def test_regular_file_is_read_whole(tmp_path: Path) -> None:
    """The bytes are those of the file."""
    path = tmp_path / "cell.png"
    path.write_bytes(b"abc")
    assert read_image_bytes(path) == b"abc"


def test_what_is_no_file_is_refused_before_opening(tmp_path: Path) -> None:
    """A folder, a pipe, a device, a missing file and an impossible name each give their reason."""
    (tmp_path / "empty").mkdir()
    cases = {tmp_path: "is a folder, not", tmp_path / "empty": "is an empty folder"}
    cases |= {tmp_path / "none": "no file has that name", Path("a\0b"): "null"}
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        cases |= {tmp_path / "pipe": "pipe", Path(os.devnull): "device"}
    for path, word in cases.items():
        with pytest.raises(ImageError, match=word) as caught:
            read_image_bytes(path)
        assert str(caught.value).isprintable()


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="Linux has such files")
def test_a_file_of_the_system_is_not_read(tmp_path: Path) -> None:
    """It is regular and says 0 bytes; /proc/kmsg, of this kind, would be waited for for ever."""
    (tmp_path / "x.png").symlink_to("/proc/self/status")
    assert read_image_bytes(tmp_path / "x.png") == b""
    assert read_text(tmp_path / "x.png") == ""


def test_a_file_over_the_limit_is_refused_unread(tmp_path: Path) -> None:
    """A sparse file one byte over 256 MiB is refused by its size."""
    path = tmp_path / "huge.tif"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(ImageError, match="larger than 256 MiB"):
        read_image_bytes(path)


def test_synthetic_mark_is_found_in_an_image_description() -> None:
    """The mark is seen in a TIFF's ImageDescription, and not in a picture without it."""
    marked = encode(RGB, "TIFF", tiffinfo={270: SYNTHETIC_MARK.decode()})
    assert is_synthetic(marked)
    assert not is_synthetic(encode(RGB, "TIFF"))
