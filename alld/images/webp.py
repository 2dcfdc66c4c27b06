"""Check the chunks of a WebP, of which libwebp looks at those that it needs.

A WebP is a RIFF file: its length, the length of every chunk and the size of the picture in two
places must agree, and nothing may stand behind the end. libwebp refuses a picture that is cut short
within its chunk. Animations are refused, as no one knows which frame is meant.
"""

import struct
from collections.abc import Iterator

from alld.images.formats import FETCH, check_metadata, check_size, refusal

_PICTURES = (b"VP8 ", b"VP8L")
_KNOWN = (*_PICTURES, b"VP8X", b"ALPH", b"ICCP", b"EXIF", b"XMP ")
_FRAMES = (b"ANIM", b"ANMF")
_ANIMATED = 2  # a bit of the flags in VP8X


def check_webp(data: bytes) -> None:
    """Raise ImageError for a damaged, animated or too large WebP."""
    bodies: dict[bytes, bytes] = {}
    for name, body in _chunks(data):
        if name in _FRAMES:
            raise refusal("an animated WebP", "save the frame you mean as a file of its own")
        if name not in _KNOWN or name in bodies:
            raise refusal(f"a WebP with {'a second' if name in bodies else 'an unknown'} {name!r}")
        bodies[name] = body
    pictures = [name for name in _PICTURES if name in bodies]
    if len(pictures) != 1:
        raise refusal(f"a WebP with {len(pictures)} pictures", FETCH)
    size = _size(pictures[0], bodies[pictures[0]])
    extended = bodies.get(b"VP8X")
    if extended is not None:
        _check_canvas(extended, size)
    check_size(*size)
    check_metadata(sum(len(bodies.get(name, b"")) for name in (b"ICCP", b"EXIF", b"XMP ")))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The names and bodies of the chunks, which must fill the file to its last byte."""
    declared = 8 + struct.unpack_from("<I", data, 4)[0] if len(data) >= 12 else 12
    if declared != len(data):
        seen = "ends too early" if len(data) < declared else "goes on behind its end"
        raise refusal(f"the WebP {seen}: {len(data)} bytes in place of {declared}", FETCH)
    at = 12
    while at < len(data):
        if at + 8 > len(data):
            raise refusal(f"the WebP is cut off at byte {at}", FETCH)
        name, size = struct.unpack_from("<4sI", data, at)
        end = at + 8 + size + size % 2  # padded to an even length
        if end > len(data):
            raise refusal(f"a part of the WebP is missing ({size} bytes at {at + 8})", FETCH)
        yield name, data[at + 8 : at + 8 + size]
        at = end


def _size(name: bytes, body: bytes) -> tuple[int, int]:
    """Width and height that the header of the picture states."""
    if name == b"VP8 ":
        if len(body) < 10 or body[0] & 1 or body[3:6] != b"\x9d\x01\x2a":
            raise refusal("the picture in the WebP is damaged", FETCH)
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF  # the upper bits are a scale for display
    if len(body) < 5 or body[0] != 0x2F:
        raise refusal("the picture in the WebP is damaged", FETCH)
    bits = struct.unpack_from("<I", body, 1)[0]
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


def _check_canvas(body: bytes, size: tuple[int, int]) -> None:
    if len(body) != 10:
        raise refusal("the header of the WebP is damaged", FETCH)
    if body[0] & _ANIMATED:
        raise refusal("an animated WebP", "save the frame you mean as a file of its own")
    width, height = (int.from_bytes(body[at : at + 3], "little") + 1 for at in (4, 7))
    if (width, height) != size:
        seen = f"{size[0]} x {size[1]} px on a canvas of {width} x {height}"
        raise refusal(f"the picture in the WebP is {seen}", FETCH)
