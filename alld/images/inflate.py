"""How much a Deflate stream unpacks to, counted in little memory; its checksum is looked at too."""

import zlib
from collections.abc import Iterable

_STEP = 2**20  # bytes in and out at a time: neither a bomb nor its packing is copied as a whole


def inflated_bytes(parts: Iterable[memoryview], most: int) -> tuple[int, bool]:
    """Bytes that the parts of one stream unpack to, and whether it ends there, whole.

    Counting stops beyond `most`. Raises zlib.error for bytes that are no Deflate.
    """
    stream, found = zlib.decompressobj(), 0
    for part in parts:
        for start in range(0, len(part), _STEP):
            waiting: bytes | memoryview = part[start : start + _STEP]
            while len(waiting) and not stream.eof and found <= most:
                found += len(stream.decompress(waiting, _STEP))
                waiting = stream.unconsumed_tail
    while not stream.eof and found <= most and (rest := stream.decompress(b"", _STEP)):
        found += len(rest)  # what had no room left when the last byte was read
    return found, stream.eof
