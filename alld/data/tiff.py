"""What must hold in a TIFF before Pillow may open the file.

Pillow and libtiff believe what a TIFF says of itself: they allocate tiles of any size, leave
missing strips black, drop a tag whose data are cut off, and read samples with the wrong width in
some layouts. The directory is therefore read and held against the file here first. A file passes
when it holds one page, names every strip or tile once, inside the file, and stores samples that
`alld.data.decode` knows how to bring to 8 bits.

Refusals are `ImageError` without the file's name, which `decode` puts in front.
"""

from alld.data.refusals import refusal
from alld.data.tiff_parts import check_parts
from alld.data.tiff_tags import (
    BITS,
    COMPRESSION,
    PHOTOMETRIC,
    PLANAR,
    SAMPLE_FORMAT,
    SAMPLES,
    SUBSAMPLING,
    Tags,
    read_directory,
)

MAX_SAMPLES = 6  # of one pixel; all that Pillow reads
_COMPRESSIONS = {1: "none", 5: "LZW", 7: "JPEG", 8: "Deflate", 32946: "Deflate", 32773: "PackBits"}
_PHOTOMETRICS = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr"}
_SAMPLE_FORMATS = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}


def check_tiff(data: bytes) -> Tags:
    """Return the tags that decide the pixels, defaults filled in; ImageError for a bad file."""
    directory = read_directory(data)
    _check_samples(directory.tags)
    check_parts(data, directory)
    return directory.tags


def _check_samples(tags: Tags) -> None:
    """Refuse samples that Pillow cannot read, or reads wrongly without a word."""
    bits, compression, photometric = max(tags[BITS]), tags[COMPRESSION][0], tags[PHOTOMETRIC][0]
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
    if compression not in _COMPRESSIONS:
        raise refusal(f"TIFF compression {compression}")
    if photometric not in _PHOTOMETRICS:
        raise refusal(f"TIFF photometric interpretation {photometric} (8 is LAB)")
    if tags[PLANAR][0] not in (1, 2):
        raise refusal(f"TIFF planar configuration {tags[PLANAR][0]}")
    if compression == 1 and bits == 16 and tags[PLANAR][0] == 2:
        # Pillow reads these planes as 8-bit samples: every second pixel is a low byte.
        raise refusal("uncompressed 16-bit TIFF with separate colour planes")
    if compression != 7 and photometric == 6 and tags[SUBSAMPLING] != (1, 1):
        # Pillow reads them, where they are raw, as if every pixel had its own colour.
        raise refusal("a YCbCr TIFF with subsampled colour")
