"""How many bytes LZW and PackBits unpack to, counted without unpacking.

libtiff takes the first bytes that it needs and says nothing of the rest; asked for more than there
are, it writes lines of its own onto standard error.
"""

_CLEAR, _END, _FIRST = 256, 257, 258
_LONGEST = 12  # bits of a code


def lzw_bytes(packed: bytes, most: int) -> int:
    """Bytes that TIFF's LZW stands for (TIFF 6.0, section 13); counting ends beyond `most`."""
    total = held = kept = last = 0
    lengths: list[int] = []  # of the strings that the codes from 258 on stand for
    width = 9
    for byte in packed:
        held, kept = (held << 8 | byte) & 0xFFFFFF, kept + 8
        if kept < width:
            continue
        kept -= width
        code = held >> kept & (1 << width) - 1
        if code == _CLEAR:
            lengths, width, last = [], 9, 0
            continue
        if code == _END or total > most:
            break
        known = code - _FIRST < len(lengths)
        length = 1 if code < _CLEAR else lengths[code - _FIRST] if known else last + 1
        if last:
            lengths.append(last + 1)
            # A code grows one entry early; see "the deferred increment" in the standard.
            width = min((_FIRST + len(lengths) + 1).bit_length(), _LONGEST)
        total, last = total + length, length
    return total


def packbits_bytes(packed: bytes, most: int) -> int:
    """Bytes that PackBits stands for (TIFF 6.0, section 9); counting ends beyond `most`."""
    total = place = 0
    while place < len(packed) and total <= most:
        head = packed[place]
        if head < 128:
            total, place = total + head + 1, place + head + 2
        else:  # 128 stands for nothing
            total, place = total + (257 - head) * (head > 128), place + 1 + (head > 128)
    return total
