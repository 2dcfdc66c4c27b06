"""Whole files changed at random, and what must hold of whatever comes out."""

import zlib
from random import Random

import numpy as np
from crafted import Pixels

from alld.errors import ImageError
from alld.images.decode import decode
from alld.images.formats import MAX_PIXELS

_TELLING = (b"\0", b"\xff", b"\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\xff\xd9", b"\xff\xda")


def changed(random: Random, data: bytes) -> bytes:
    """The file after one to eight changes: flips, cuts, repeats, moves, telling numbers."""
    file = bytearray(data)
    for _ in range(random.choice([1, 1, 1, 2, 3, 8])):
        _change(random, file)
    return bytes(file)


def _change(random: Random, file: bytearray) -> None:
    # Headers are short, and the better target.
    span = random.choice([64, 200, len(file)])
    place = random.randrange(max(1, min(span, len(file))))
    if random.random() < 0.4:
        place = max(0, len(file) - 1 - place)
    elif random.random() < 0.9:
        place = max(place, 8)  # a file without its signature ends there
    length = random.choice([1, 2, 4, 12, 64])
    kind = random.randrange(6)
    if kind == 0:
        file[place : place + 1] = bytes(
            b ^ 1 << random.randrange(8) for b in file[place : place + 1]
        )
    elif kind == 1:
        file[place : place + 1] = bytes([random.randrange(256)])
    elif kind == 2:
        telling = random.choice(_TELLING)
        file[place : place + len(telling)] = telling
    elif kind == 3:
        del file[place : place + length]
    elif kind == 4:
        file[place:place] = file[place : place + length]
    else:
        other = random.randrange(max(1, len(file)))
        file[place : place + length] = file[other : other + length]


def mended(data: bytes) -> bytes:
    """A changed PNG whose checksums fit again: what lies behind them is reached."""
    file, place = bytearray(data), 8
    while place + 12 <= len(file):
        stop = place + 12 + int.from_bytes(file[place : place + 4], "big")
        if stop <= len(file):
            right = zlib.crc32(file[place + 4 : stop - 4])
            file[stop - 4 : stop] = right.to_bytes(4, "big")
        place = stop
    return bytes(file)


def example(random: Random, kind: str, whole: bytes, shown: Pixels) -> tuple[bytes, Pixels | None]:
    """A changed file, and the one picture that it may be, where checksums guard it."""
    data = changed(random, whole)
    if not kind.startswith("png"):
        return data, None
    return (mended(data), None) if random.random() < 0.7 else (data, shown)


def fault(data: bytes, shown: Pixels | None) -> str:
    """What is wrong with how a changed file is taken; `shown` where it may be nothing else."""
    try:
        pixels = decode(data, "changed").pixels
    except ImageError as error:
        return "" if str(error).isprintable() else f"not one line: {error}"
    except BaseException as error:
        return f"{type(error).__name__} came out: {error}"
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        return f"not RGB: {pixels.dtype} {pixels.shape}"
    if not 0 < pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS:
        return f"of a size that is refused: {pixels.shape}"
    if shown is not None and not np.array_equal(pixels, shown):
        return "another picture, against its checksums"
    return ""
