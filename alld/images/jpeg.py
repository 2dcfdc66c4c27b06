"""Decode a JPEG once, and refuse it if its bits and its header disagree.

Where bits are missing libjpeg goes on in grey, and it stops where its header tells it to: it only
warns of both. There are three checks:

1. The markers are read: one frame of 8-bit samples, every coefficient sent, in a possible order,
   and as many restart markers as the header asks for. libjpeg does not warn of absent scans.
2. libjpeg-turbo must decode without a warning (`simplejpeg`). This gives the pixels too.
3. It decodes again, to an eighth of the size, a picture that is some rows of blocks higher: these
   rows must stay empty. libjpeg does not warn of a few bytes too many. Of a progressive JPEG only
   the scans that hold the means of the blocks are decoded again.

If libjpeg-turbo warns, or does not know the sampling, as of some CMYK, Pillow decodes once with
noise behind each run of bits: a decoder that runs short reads it, and the picture changes.

A JPEG has no checksum: a flipped bit that leaves all blocks in their places is not noticed.
"""

import random
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from math import ceil
from typing import NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from alld.images.formats import FETCH, check_metadata, check_size, refusal
from alld.images.rgb import RGB, open_image

MAX_SCANS = 64  # encoders write 1 to 14; each costs as much time as decoding the whole picture
# 25 megapixels of a photograph are 10 to 20 MB; time goes with the bytes, and the scans double it.
MAX_BYTES, MAX_PROGRESSIVE_BYTES = 2**26, 2**25
MAX_SEGMENTS = 10_000  # a camera's file has 10 to 100
MAX_RESTARTS = 2**20  # 25 megapixels with a marker behind every block have 390,625
_FRAMES = {0xC0: False, 0xC1: False, 0xC2: True}  # baseline, sequential, progressive
_OTHER_FRAMES = frozenset(range(0xC3, 0xD0)) - {0xC4, 0xC8, 0xCC}
# `\xff\xff*`, not `\xff+`: only a literal first byte lets `re` skip ahead, 20 times as fast.
_BITS_END = re.compile(rb"\xff\xff*[\x01-\xcf\xd8-\xfe]")
_TOO_MUCH = "the JPEG holds more than the picture that its header declares"
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
# Where bits are missing libjpeg reads zeros; all ones are no code. FF would begin a marker.
_NOISE = b"\x55" + bytes(random.Random(0).choices(range(255), k=63))


class Scan(NamedTuple):
    """Where the bits of a scan lie, and the first coefficient that it sends."""

    start: int
    stop: int
    coefficient: int  # 0 is the mean of a block


@dataclass
class Jpeg:
    """What the markers say of the picture, and where its bits lie."""

    progressive: bool
    width: int
    height: int
    height_at: int  # the byte at which the header gives the height
    sampling: dict[int, tuple[int, int]]  # of each component, across and down
    lowest: dict[int, list[int]]  # (64,) lowest bit sent of each coefficient, -1 for none
    scans: list[Scan] = field(default_factory=list)
    restarts: int = 0  # markers in all scans


def decode_jpeg(data: bytes, jpeg: Jpeg | None) -> RGB | None:
    """Return the pixels of a grey or colour JPEG, or None if Pillow must decode it.

    `jpeg` is what `read_markers` returned; None trusts the bits.

    Raises:
        ImageError: the file holds fewer or more pixels than its header declares.
    """
    try:
        ink = simplejpeg.decode_jpeg_header(data)[2] in ("CMYK", "YCCK")
        pixels: RGB = simplejpeg.decode_jpeg(data, "CMYK" if ink else "RGB", strict=True)
    except ValueError:  # any warning, or a sampling that it does not know
        if jpeg is not None:
            _check_bits(data, jpeg)
        return None
    if jpeg is not None and _goes_on(data, jpeg, shrunk=not ink):
        raise refusal(_TOO_MUCH, FETCH)
    return None if ink else pixels


def read_markers(data: bytes) -> Jpeg:
    """Read the markers up to the end of the picture; ImageError if they do not fit."""
    if len(data) > MAX_BYTES:
        raise refusal(f"a JPEG of over {MAX_BYTES >> 20} MiB")
    jpeg, interval, metadata, place = None, 0, 0, 2
    for _ in range(MAX_SEGMENTS):
        marker, body, place = _segment(data, place)
        metadata += len(body)
        check_metadata(metadata)
        if marker == 0xD9:
            if jpeg is None or any(any(lowest) for lowest in jpeg.lowest.values()):
                raise refusal("the JPEG lacks a part of its picture", FETCH)
            return jpeg
        if marker in _FRAMES or marker in _OTHER_FRAMES:
            if jpeg is not None or marker in _OTHER_FRAMES:
                raise refusal("a JPEG that is neither baseline nor progressive, or two in one")
            jpeg = _frame(_FRAMES[marker], body, place)
            if jpeg.progressive and len(data) > MAX_PROGRESSIVE_BYTES:
                raise refusal(f"a progressive JPEG of over {MAX_PROGRESSIVE_BYTES >> 20} MiB")
        elif marker == 0xDD:
            interval = int.from_bytes(body, "big")
        elif marker == 0xDA and jpeg is not None:
            groups, first = _take_scan(jpeg, body)
            end = _BITS_END.search(data, place)
            stop = end.start() if end else len(data)
            _check_restarts(jpeg, data[place:stop], ceil(groups / interval) - 1 if interval else 0)
            jpeg.scans.append(Scan(place, stop, first))
            place = stop
    raise refusal(f"a JPEG of over {MAX_SEGMENTS} segments")


def _segment(data: bytes, place: int) -> tuple[int, bytes, int]:
    """Return the marker at `place`, its content, and where the next one is."""
    while data[place : place + 2] == b"\xff\xff":  # any number of FF may stand before a marker
        place += 1
    if place + 2 > len(data):
        raise refusal("the JPEG is truncated", FETCH)
    if data[place] != 0xFF:
        raise refusal(f"the JPEG is damaged at byte {place}", FETCH)
    marker = data[place + 1]
    if marker == 0xD9:
        return marker, b"", place + 2
    length = int.from_bytes(data[place + 2 : place + 4], "big")
    body = data[place + 4 : place + 2 + length]
    if length < 2 or len(body) != length - 2:
        raise refusal("the JPEG is truncated", FETCH)
    return marker, body, place + 2 + length


def _frame(progressive: bool, body: bytes, stop: int) -> Jpeg:
    if len(body) < 6 or len(body) != 6 + 3 * body[5] or not body[5]:
        raise refusal("the JPEG's header is damaged", FETCH)
    bits, height, width = struct.unpack_from(">BHH", body)
    if bits != 8:
        raise refusal(f"{bits}-bit JPEG")
    check_size(width, height)
    parts = [body[place : place + 3] for place in range(6, len(body), 3)]
    sampling = {part[0]: (part[1] >> 4, part[1] & 15) for part in parts}
    if len(sampling) < body[5] or not all(1 <= n <= 4 for pair in sampling.values() for n in pair):
        raise refusal("the JPEG's header is damaged", FETCH)
    lowest = {component: [-1] * 64 for component in sampling}
    return Jpeg(progressive, width, height, stop - len(body) + 1, sampling, lowest)


def _take_scan(jpeg: Jpeg, body: bytes) -> tuple[int, int]:
    """Note which bits a scan sends; return its number of MCUs and its first coefficient."""
    count = body[0] if body else 0
    components = body[1 : 1 + 2 * count : 2]
    if len(body) != 4 + 2 * count or not components or not set(components) <= jpeg.lowest.keys():
        raise refusal("the JPEG's header is damaged", FETCH)
    if len(jpeg.scans) == MAX_SCANS:
        raise refusal(f"a JPEG of over {MAX_SCANS} scans")
    first, last, depth = body[-3:] if jpeg.progressive else (0, 63, 0)
    for component in components:
        sent = jpeg.lowest[component][first : last + 1]
        if not sent or sent != [depth >> 4 or -1] * len(sent):
            raise refusal("the JPEG's scans do not follow each other", FETCH)
        jpeg.lowest[component][first : last + 1] = [depth & 15] * len(sent)
    across = max(pair[0] for pair in jpeg.sampling.values())
    down = max(pair[1] for pair in jpeg.sampling.values())
    if len(components) > 1:
        return ceil(jpeg.width / (8 * across)) * ceil(jpeg.height / (8 * down)), first
    own = jpeg.sampling[components[0]]
    # A component alone comes block by block, and only as far as the picture goes.
    columns = ceil(ceil(jpeg.width * own[0] / across) / 8)
    return columns * ceil(ceil(jpeg.height * own[1] / down) / 8), first


def _check_restarts(jpeg: Jpeg, bits: bytes, needed: int) -> None:
    jpeg.restarts += needed
    if jpeg.restarts > MAX_RESTARTS:
        raise refusal(f"a JPEG of over {MAX_RESTARTS} restart markers")
    found = [match[1][0] for match in islice(_RESTART.finditer(bits), needed + 1)]
    if found != [0xD0 + number % 8 for number in range(needed)]:
        raise refusal("the JPEG lacks a part of its picture, or its parts are in disorder", FETCH)


def _check_bits(data: bytes, jpeg: Jpeg) -> None:
    """Refuse a JPEG whose bits are fewer or more than its picture."""
    if not np.array_equal(_pillow_pixels(data), _pillow_pixels(_with_noise(data, jpeg))):
        raise refusal("the JPEG lacks a part of its picture", FETCH)
    if _goes_on(data, jpeg, shrunk=False):
        raise refusal(_TOO_MUCH, FETCH)


def _with_noise(data: bytes, jpeg: Jpeg) -> bytes:
    """Return the file with noise behind each run of bits."""
    return _rewritten(
        data, jpeg, lambda bits, _: _RESTART.sub(lambda marker: _NOISE + marker[0], bits) + _NOISE
    )


def _rewritten(data: bytes, jpeg: Jpeg, change: Callable[[bytes, int], bytes]) -> bytes:
    """Return the file with other bits; `change` is given those of a scan and its coefficient."""
    parts, done = [], 0
    for start, stop, coefficient in jpeg.scans:
        parts += [data[done:start], change(data[start:stop], coefficient)]
        done = stop
    return b"".join([*parts, data[done:]])


def _goes_on(data: bytes, jpeg: Jpeg, *, shrunk: bool) -> bool:
    """Whether blocks follow behind the picture: libjpeg fills rows without bits with one grey.

    `shrunk` looks at a picture of an eighth of the size, which takes a third of the time.
    """
    scale = 8 if shrunk else 1
    block = 8 * max(pair[0] for pair in jpeg.sampling.values())  # px
    row = 8 * max(pair[1] for pair in jpeg.sampling.values())
    end = ceil(jpeg.height / row) * row
    # The bits that fill up the last byte are no code, but 7 blocks of a scan with a bit a block.
    rows, blocks = divmod(8 if jpeg.progressive else 1, ceil(jpeg.width / block))
    if shrunk and jpeg.progressive:  # an eighth of the size shows only the means
        data = _rewritten(data, jpeg, lambda bits, coefficient: b"" if coefficient else bits)
    higher = bytearray(data)
    struct.pack_into(">H", higher, jpeg.height_at, end + (rows + 2) * row)
    whole = _eighth(bytes(higher)) if shrunk else _pillow_pixels(bytes(higher))
    below = whole[(end + rows * row) // scale :]
    smoothed = 0 if shrunk else 2  # px of colour beside other blocks
    first = below[smoothed : row // scale, blocks * block // scale + smoothed :]
    second = below[row // scale + smoothed :]
    return bool((first != below[-1, -1]).any() or (second != below[-1, -1]).any())


def _eighth(data: bytes) -> RGB:
    pixels: RGB = simplejpeg.decode_jpeg(
        data, "RGB", min_height=1, min_width=1, min_factor=8, strict=False
    )
    return pixels


def _pillow_pixels(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(open_image(data, "JPEG"))
