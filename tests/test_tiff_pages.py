"""TIFFs of several pages and BigTIFFs: read where they are one RGB picture, refused otherwise."""

import io
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from alld.errors import ImageError
from alld.images.decode import decode

RGB = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
PLANES = np.moveaxis(RGB, 2, 0)
WIDE = PLANES.astype(np.uint16) << 8
COMPOSITE = {"axes": "CYX", "mode": "composite"}
RAMPS = [np.outer(np.arange(3) == channel, np.arange(256)).astype(np.uint8) for channel in range(3)]


def tiff(*pages: NDArray[Any], kind: str = "", **options: Any) -> bytes:
    """A TIFF of these pages; `kind` is bigtiff, imagej or ome."""
    file = io.BytesIO()
    how: dict[str, Any] = {kind: True} if kind else {}
    options = {"metadata": None, "photometric": "rgb", **options}
    with tifffile.TiffWriter(file, byteorder=options.pop("byteorder", "<"), **how) as writer:
        for page in pages:
            writer.write(page, **options)
    return file.getvalue()


def channels(planes: NDArray[Any], kind: str, metadata: dict[str, Any], **options: Any) -> bytes:
    return tiff(planes, kind=kind, photometric="minisblack", metadata=metadata, **options)


@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "lzw", "predictor": True}, {"tile": (16, 16)}],
    ids=["raw", "LZW", "tiles"],
)
def test_a_bigtiff_is_read_as_any_tiff(options: dict[str, Any]) -> None:
    """Strips and tiles, with offsets of 64 bits."""
    decoded = decode(tiff(RGB, kind="bigtiff", **options), "cell.tif")
    np.testing.assert_array_equal(decoded.pixels, RGB)
    assert decoded.conversions == ()


def test_a_cut_bigtiff_is_refused() -> None:
    """By the last byte."""
    with pytest.raises(ImageError, match="part of the TIFF is missing"):
        decode(tiff(RGB, kind="bigtiff")[:-1], "cell.tif")


def test_a_big_endian_bigtiff_is_refused_by_name() -> None:
    """Pillow misreads its header."""
    with pytest.raises(ImageError, match="a big-endian BigTIFF, not a TIFF"):
        decode(tiff(RGB, kind="bigtiff", byteorder=">"), "cell.tif")


@pytest.mark.parametrize("smaller", [RGB[::2, ::2], RGB[::4, ::4]])
def test_smaller_copies_on_further_pages_are_left_out_and_named(smaller: NDArray[Any]) -> None:
    """The first page is the picture, and the conversions say so."""
    decoded = decode(tiff(RGB, smaller), "cell.tif")
    np.testing.assert_array_equal(decoded.pixels, RGB)
    assert decoded.conversions == ("page 1 of 2 (the others are smaller copies)",)


@pytest.mark.parametrize("second", [RGB, RGB[:20, :40], RGB[:50, :70]])
def test_other_pages_are_refused_with_their_sizes(second: NDArray[Any]) -> None:
    """Nobody can tell which page is meant."""
    size = f"80x60, {second.shape[1]}x{second.shape[0]}"
    with pytest.raises(ImageError, match=rf"more than one page \({size}\)"):
        decode(tiff(RGB, second), "cell.tif")


def test_pages_in_a_circle_are_refused() -> None:
    """The second page names the first one as the next."""
    data = bytearray(tiff(RGB, RGB[::2, ::2]))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        first, second = (page.offset for page in file.pages)
    [tags] = np.frombuffer(data, "<u2", 1, second)
    behind = second + 2 + 12 * int(tags)
    data[behind : behind + 4] = int(first).to_bytes(4, "little")
    with pytest.raises(ImageError, match="more than one page"):
        decode(bytes(data), "cell.tif")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planes", [PLANES, WIDE], ids=["8 bits", "16 bits"])
def test_three_channels_of_imagej_are_red_green_and_blue(planes: NDArray[Any], order: str) -> None:
    """Of 16-bit samples the high byte counts, in both orders of bytes."""
    decoded = decode(channels(planes, "imagej", COMPOSITE, byteorder=order), "cell.tif")
    np.testing.assert_array_equal(decoded.pixels, RGB)
    assert "three channels of a composite" in decoded.conversions[0]


@pytest.mark.parametrize("compression", [None, "lzw"])
def test_three_channels_of_ome_are_red_green_and_blue(compression: str | None) -> None:
    """Each is a page of its own."""
    data = channels(PLANES, "ome", {"axes": "CYX"}, compression=compression)
    np.testing.assert_array_equal(decode(data, "cell.tif").pixels, RGB)


def test_channels_in_their_own_colours_are_read_and_in_others_refused() -> None:
    """ImageJ's lookup tables and OME's colours decide."""
    pure = channels(PLANES, "imagej", {**COMPOSITE, "LUTs": RAMPS})
    np.testing.assert_array_equal(decode(pure, "cell.tif").pixels, RGB)
    ome = {"axes": "CYX", "Channel": {"Color": [65535, 16711935, -16776961]}}
    swapped = channels(PLANES, "imagej", {**COMPOSITE, "LUTs": RAMPS[::-1]})
    for data in (swapped, channels(PLANES, "ome", ome)):
        with pytest.raises(ImageError, match="composite of other colours than red, green and blue"):
            decode(data, "cell.tif")


@pytest.mark.parametrize(
    ("planes", "kind", "metadata"),
    [
        (PLANES, "imagej", {"axes": "ZYX"}),
        (PLANES[:2], "imagej", COMPOSITE),
        (np.stack([PLANES, PLANES]), "imagej", {"axes": "ZCYX", "mode": "composite"}),
        (PLANES[:2], "ome", {"axes": "CYX"}),
        (np.stack([PLANES, PLANES]), "ome", {"axes": "ZCYX"}),
    ],
)
def test_stacks_are_refused(planes: NDArray[Any], kind: str, metadata: dict[str, Any]) -> None:
    """Two channels, several depths: not one RGB picture."""
    with pytest.raises(ImageError, match="stack of several pictures"):
        decode(channels(planes, kind, metadata), "cell.tif")


def test_one_picture_of_imagej_or_ome_is_read_as_any_other() -> None:
    """Grey stays grey, and RGB stays RGB."""
    grey = decode(channels(PLANES[0], "imagej", {"axes": "YX"}), "cell.tif")
    np.testing.assert_array_equal(grey.pixels[:, :, 1], PLANES[0])
    for kind in ("imagej", "ome"):
        data = tiff(RGB, kind=kind, metadata={"axes": "YXS"})
        np.testing.assert_array_equal(decode(data, "cell.tif").pixels, RGB)


def test_a_composite_with_a_missing_channel_is_refused() -> None:
    """The file ends before the directory of the second channel."""
    data = channels(PLANES, "imagej", COMPOSITE)
    with pytest.raises(ImageError, match=r"more than one page .*cut off or damaged"):
        decode(data[: -RGB.shape[0] * RGB.shape[1]], "cell.tif")
