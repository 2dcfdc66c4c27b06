"""Check that a BMP's header and its length agree, before Pillow opens it.

A BMP has no checksum, so only a header that declares another size, depth or place of the pixels is
noticed: the pixels must lie behind header and palette and end where the file ends. Run lengths are
refused: no microscope writes them, and Pillow took 7 s to unpack 24 MB of them. Palettes and masks
that Pillow takes for something else are refused too.
"""

import struct

from alld.images.formats import FETCH, check_size, refusal

_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # bytes
_RAW, _MASKS = 0, (3, 6)
_PADDING = 3  # bytes that may follow the pixels; some writers round a file up


def check_bmp(data: bytes) -> int:
    """Return the number of palette colours, 0 without a palette; ImageError for a bad file."""
    if len(data) < 26:
        raise refusal("the BMP ends within its header", FETCH)
    start, size = struct.unpack_from("<II", data, 10)
    if size not in _HEADERS or 14 + size > len(data):
        raise refusal(f"a BMP header of {size} bytes")
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = _RAW
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    if compression != _RAW and compression not in _MASKS:
        raise refusal("BMP pixels packed as run lengths or another format")
    if bits not in (1, 4, 8, 16, 24, 32) or (compression != _RAW and bits not in (16, 32)):
        raise refusal(f"a BMP of {bits} bits a pixel")
    check_size(width, abs(height))
    needed = (width * bits + 31) // 32 * 4 * abs(height)
    _check_place(data, start, 14 + size + _palette_bytes(data, size, bits, compression), needed)
    if compression != _RAW:
        _check_masks(data[54:70] if size >= 56 else data[54:66] + bytes(4), bits)
    return _check_palette(data, size, bits) if bits <= 8 else 0


def _check_masks(masks: bytes, bits: int) -> None:
    red, green, blue, alpha = struct.unpack("<4I", masks)
    if not red | green | blue or (bits == 16 and alpha):
        # Pillow sees alpha in the first, and none in the second.
        raise refusal(f"a BMP of {bits} bits with masks for its alpha alone, or with alpha")


def _check_palette(data: bytes, size: int, bits: int) -> int:
    step = 3 if size == 12 else 4  # bytes a colour
    colours = _palette_bytes(data, size, bits, _RAW) // step
    if not 2 <= colours <= 2**bits:
        raise refusal(f"a BMP palette of {colours} colours for {bits} bits a pixel")
    ramp = (0, 255) if colours == 2 else range(colours)
    first = 14 + size
    palette = data[first : first + step * colours]
    greys = (palette[step * number :][:3] == bytes([grey] * 3) for number, grey in enumerate(ramp))
    if bits != (1 if colours == 2 else 8) and all(greys):
        # Pillow leaves such a palette out and reads 1-bit or 8-bit grey, whatever the depth.
        raise refusal(f"a BMP of {bits} bits a pixel whose palette is a ramp of {colours} greys")
    return colours


def _palette_bytes(data: bytes, size: int, bits: int, compression: int) -> int:
    """Return the bytes between header and pixels: the masks of 16 and 32 bits, or the palette."""
    if bits > 8:
        return 12 if compression == 3 and size == 40 else 0
    if size == 12:
        return 3 << bits
    colours = int.from_bytes(data[46:50], "little")
    return 4 * colours if colours else 4 << bits


def _check_place(data: bytes, start: int, earliest: int, needed: int) -> None:
    if start < earliest:
        raise refusal(f"the BMP's pixels begin at byte {start}, inside its header")
    end = len(data)
    if int.from_bytes(data[14:18], "little") == 124:
        profile, length = struct.unpack_from("<II", data, 126)
        if length and start - 14 + needed <= profile < profile + length + 14 <= len(data):
            end = profile + 14  # a colour profile may follow the pixels
    if not 0 <= end - start - needed <= _PADDING:
        raise refusal(
            f"the BMP's header asks for {needed} bytes of pixels, and the file has {end - start}",
            FETCH,
        )
