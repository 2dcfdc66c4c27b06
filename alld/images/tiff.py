"""What must hold in a TIFF before Pillow may open the file.

Pillow and libtiff believe what a TIFF says of itself: they allocate tiles of any size, leave
missing strips black, drop a tag whose data are cut off, and read samples with the wrong width in
some layouts. The directory is therefore read and held against the file here first. A file passes
when it holds one page, names every strip or tile once, inside the file, and stores samples that
`alld.images.decode` knows how to bring to 8 bits.

Refusals are `ImageError` without the file's name, which `decode` puts in front.
"""

from alld.images.refusals import refusal
from alld.images.tiff_parts import check_parts
from alld.images.tiff_tags import (
    BITS,
    COLOUR_MAP,
    COMPRESSION,
    EXTRA_SAMPLES,
    FILL_ORDER,
    INK_SET,
    OLD_SUBFILE,
    PHOTOMETRIC,
    PLANAR,
    PREDICTOR,
    SAMPLE_FORMAT,
    SAMPLES,
    SUBFILE,
    Tags,
    read_directory,
)

MAX_SAMPLES = 6  # of one pixel; all that Pillow reads
_COMPRESSIONS = {1: "none", 5: "LZW", 7: "JPEG", 8: "Deflate", 32946: "Deflate", 32773: "PackBits"}
_PALETTE, _CMYK, _YCBCR = 3, 5, 6
_COLOURS = {0: 1, 1: 1, 2: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3}  # samples; 0 and 1 are grey
_SAMPLE_FORMATS = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}
_REDUCED, _MASK = 1, 4  # bits of SUBFILE


def check_tiff(data: bytes) -> Tags:
    """Return the tags that decide the pixels, defaults filled in; ImageError for a bad file."""
    directory = read_directory(data)
    _check_samples(directory.tags)
    _check_colours(directory.tags)
    _check_layout(directory.tags)
    check_parts(data, directory)
    return directory.tags


def _check_samples(tags: Tags) -> None:
    bits = max(tags[BITS])
    for number in tags[SAMPLE_FORMAT]:
        if number != 1:
            raise refusal(
                f"{bits}-bit {_SAMPLE_FORMATS.get(number, 'undefined')} samples in a TIFF"
            )
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
    if tags[SUBFILE][0] & (_REDUCED | _MASK) or tags[OLD_SUBFILE][0] == 2:
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
