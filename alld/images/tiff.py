"""Read a TIFF's directories, and refuse the kinds of samples that Pillow or libtiff would misread.

Both believe what a TIFF says of itself: they allocate tiles of any size, leave missing strips
black, drop a tag whose values are cut off, and read samples with the wrong width in some layouts.
So each directory is read with `struct` first. It must be whole, name no tag twice, have its values
inside the file, and describe samples that `decode` can bring to 8 bits. `tiff_pages` chooses the
picture among several pages, and `tiff_parts` unpacks its strips and tiles.
"""

import struct
from dataclasses import dataclass

from alld.errors import ImageError
from alld.images.formats import check_metadata, refusal

SUBFILE, OLD_SUBFILE, DESCRIPTION, IMAGEJ_METADATA = 254, 255, 270, 50839
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
FILL_ORDER, STRIP_OFFSETS, ORIENTATION, SAMPLES = 266, 273, 274, 277
ROWS_PER_STRIP, STRIP_BYTES, PLANAR, PREDICTOR, COLOUR_MAP = 278, 279, 284, 317, 320
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 322, 323, 324, 325
INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES = 332, 338, 339, 347

MAX_TAGS = 500  # real files have 10 to 80
MAX_PAGES = 8  # a picture and its smaller copies
MAX_PARTS = 200_000  # strips or tiles: 25 megapixels in tiles of 16 x 16 are 97,657

_DEFAULTS: dict[int, tuple[int, ...]] = {
    SUBFILE: (0,),
    OLD_SUBFILE: (1,),
    BITS: (1,),
    COMPRESSION: (1,),
    FILL_ORDER: (1,),
    ORIENTATION: (1,),
    SAMPLES: (1,),
    ROWS_PER_STRIP: (2**32 - 1,),
    PLANAR: (1,),
    PREDICTOR: (1,),
    COLOUR_MAP: (),
    INK_SET: (1,),
    EXTRA_SAMPLES: (),
    SAMPLE_FORMAT: (1,),
}
_NEEDED = {WIDTH, HEIGHT, PHOTOMETRIC}
_PARTS = {STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES}
_OF_MANY_VALUES = _PARTS | {BITS, COLOUR_MAP, EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES}
_READ = _NEEDED | _OF_MANY_VALUES | {TILE_WIDTH, TILE_HEIGHT} | set(_DEFAULTS)

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_TYPE_BYTES |= {16: 8, 17: 8, 18: 8}  # of BigTIFF
# The standard has readers take bytes too: Pillow reads them as text, and libtiff as numbers.
_INTEGERS = {3: "H", 4: "I", 16: "Q"}

MAX_SAMPLES = 6  # of one pixel; all that Pillow reads
_COMPRESSIONS = {1: "none", 5: "LZW", 7: "JPEG", 8: "Deflate", 32946: "Deflate", 32773: "PackBits"}
_PALETTE, _CMYK, _YCBCR = 3, 5, 6
_COLOURS = {0: 1, 1: 1, 2: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3}  # samples; 0 and 1 are grey
_SAMPLE_FORMATS = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}
REDUCED, _MASK = 1, 4  # bits of SUBFILE

Tags = dict[int, tuple[int, ...]]
Place = tuple[int, int]  # first byte, and the one behind the last


@dataclass(frozen=True)
class Page:
    """One directory of a TIFF."""

    tags: Tags  # those that decide the pixels
    used: list[Place]  # by the directory itself
    texts: dict[int, bytes]  # what ImageJ and OME say of the channels
    order: str  # of bytes: "<" or ">"


def read_pages(data: bytes) -> list[Page]:
    """Return all pages of a TIFF or BigTIFF.

    Raises:
        ImageError: a directory is damaged, or there are more than eight.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] == b"+\0"
    start = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    pages: list[Page] = []
    while start:
        if any(page.used[1][0] == start for page in pages) or len(pages) == MAX_PAGES:
            raise several_pages(f"over {MAX_PAGES}, or one twice")
        try:
            page, start = _read_page(data, start, order, big)
        except ImageError as error:
            raise several_pages(str(error).partition(";")[0]) if pages else error from error
        pages.append(page)
    if not pages:
        raise refusal("the TIFF has no directory")
    return pages


def several_pages(seen: str) -> ImageError:
    """Return the error for pages of which it is not known which one is the picture."""
    advice = "save the page you mean as a file of its own"
    return refusal(f"the TIFF holds more than one page ({seen})", advice)


def _read_page(data: bytes, start: int, order: str, big: bool) -> tuple[Page, int]:
    """Return the page at a byte of the file, and the byte where the next one begins, or 0."""
    number, pointer, inside = ("Q", "Q", 8) if big else ("H", "I", 4)
    first, entry = start + struct.calcsize(number), 12 + 2 * (inside - 4)
    count = struct.unpack_from(order + number, data, start)[0] if first <= len(data) else 0
    end = first + entry * count
    if not 0 < count <= MAX_TAGS or end + inside > len(data):
        raise refusal(f"the TIFF directory at byte {start} is cut off or damaged")
    tags, seen, outside = dict(_DEFAULTS), set(), 0
    used, texts = [(0, 2 * inside), (start, end + inside)], {}
    entries = struct.iter_unpack(f"{order}HH{pointer}{inside}s", data[first:end])
    for tag, kind, values_in_tag, field in entries:
        if tag in seen:  # Pillow takes the last of two equal tags and libtiff the first
            raise refusal("the TIFF directory names one tag twice")
        seen.add(tag)
        size = values_in_tag * _TYPE_BYTES.get(kind, 0)
        values = field[:size]
        if size > inside:
            offset = struct.unpack(order + pointer, field)[0]
            outside += size
            if max(offset + size, outside) > len(data):
                raise refusal(f"the values of TIFF tag {tag} lie beyond the end of the file")
            check_metadata(outside)
            used.append((offset, offset + size))
            values = data[offset : offset + size]
        if tag in _READ:
            tags[tag] = _integers(tag, kind, values_in_tag, values, order)
        if tag in (DESCRIPTION, IMAGEJ_METADATA):
            texts[tag] = values
    for tag in sorted(_NEEDED - tags.keys()):
        raise refusal(f"TIFF tag {tag} is missing")
    following = struct.unpack_from(order + pointer, data, end)[0]
    return Page(tags, used, texts, order), following


def _integers(tag: int, kind: int, number: int, values: bytes, order: str) -> tuple[int, ...]:
    kinds = {7: "B"} if tag == JPEG_TABLES else _INTEGERS
    if kind not in kinds or not 0 < number <= (MAX_PARTS if tag in _OF_MANY_VALUES else 1):
        raise refusal(f"TIFF tag {tag} holds {number} values of type {kind}")
    return struct.unpack_from(f"{order}{number}{kinds[kind]}", values)


def check_samples(tags: Tags) -> None:
    """Refuse samples, colours and layouts of which no honest 8-bit RGB can be made."""
    _check_depth(tags)
    _check_colours(tags)
    _check_layout(tags)


def _check_depth(tags: Tags) -> None:
    bits = max(tags[BITS])
    for number in tags[SAMPLE_FORMAT]:
        if number != 1:
            kind = _SAMPLE_FORMATS.get(number, "undefined")
            raise refusal(f"{bits}-bit {kind} samples in a TIFF")
    if bits not in (1, 2, 4, 8, 12, 16):
        raise refusal(f"{bits} bits a sample in a TIFF")
    if len(set(tags[BITS])) > 1:
        raise refusal("a TIFF with samples of different depths")
    if not 1 <= tags[SAMPLES][0] <= MAX_SAMPLES:
        raise refusal(f"{tags[SAMPLES][0]} samples a pixel in a TIFF")


def _check_colours(tags: Tags) -> None:
    """Refuse colours that Pillow does not know, or takes for others without a word."""
    photometric, extra = tags[PHOTOMETRIC][0], tags[EXTRA_SAMPLES]
    if photometric not in _COLOURS:
        raise refusal(f"TIFF photometric interpretation {photometric} (8 is LAB)")
    if photometric == _YCBCR and tags[COMPRESSION][0] != 7:
        # Pillow leaves out subsampling, coefficients and ranges.
        raise refusal("a YCbCr TIFF that is not JPEG")
    if tags[SAMPLES][0] != _COLOURS[photometric] + len(extra) or not set(extra) <= {0, 1, 2}:
        # Where it is not said what a fourth sample is, Pillow and libtiff take it for two things.
        raise refusal(
            f"a TIFF of {tags[SAMPLES][0]} samples a pixel, {_COLOURS[photometric]} of them "
            f"colours and {len(extra)} declared as extra"
        )
    if photometric == _CMYK and tags[INK_SET][0] != 1:
        raise refusal("a TIFF of other inks than CMYK")
    if photometric == _PALETTE:
        _check_palette(tags[COLOUR_MAP], 3 << tags[BITS][0])


def _check_palette(values: tuple[int, ...], needed: int) -> None:
    if len(values) != needed:
        raise refusal(f"a TIFF palette of {len(values)} numbers in place of {needed}")
    if 0 < max(values) < 256:  # old writers': black all over, read as the standard says
        raise refusal("a TIFF palette of 8-bit colours in place of 16-bit ones")


def _check_layout(tags: Tags) -> None:
    """Refuse what is not the picture itself, and packings and planes that are misread."""
    bits, compression, planes = tags[BITS][0], tags[COMPRESSION][0], tags[PLANAR][0]
    if tags[SUBFILE][0] & (REDUCED | _MASK) or tags[OLD_SUBFILE][0] == 2:
        raise refusal("a TIFF whose page is a reduced copy or a mask of another picture")
    if compression not in _COMPRESSIONS:
        raise refusal(f"TIFF compression {compression}")
    if tags[FILL_ORDER][0] != 1 and compression != 1:
        raise refusal("a packed TIFF with mirrored bits")
    if planes not in (1, 2):
        raise refusal(f"TIFF planar configuration {planes}")
    plain = bits == 8 and tags[FILL_ORDER][0] == 1 and tags[PHOTOMETRIC][0] != 0
    if planes == 2 and compression == 1 and not plain:
        # Pillow takes raw planes for plain bytes, whatever their depth, order of bits and white.
        raise refusal(f"uncompressed {bits}-bit TIFF with separate colour planes, not plain bytes")
    if tags[PREDICTOR][0] not in (1, 2):  # libtiff leaves some of the others out
        raise refusal(f"TIFF predictor {tags[PREDICTOR][0]}")
    if planes == 2 and tags[SAMPLES][0] == 2:
        raise refusal("grey and alpha of a TIFF in separate planes")  # Pillow loses the alpha
