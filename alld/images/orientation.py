"""EXIF orientation: which way up a picture is, and the picture turned."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from alld.images.quiet import without_warnings

_UPRIGHT: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels[::-1].transpose(1, 0, 2),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: pixels[:, ::-1].transpose(1, 0, 2),
}
_EXIF_PARTS = {ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.IFD.Interop}
_XMP = ("xmp", "XML:com.adobe.xmp")


def load(image: ImageFile.ImageFile) -> int | None:
    """Decode the pixels; return what `_orientation` says. Of a TIFF Pillow turns them too."""
    if isinstance(image, TiffImageFile):  # loading turns the picture and forgets the tag
        orientation = _orientation(image)
        image.load()
        return orientation
    image.load()  # first, as a PNG may carry its EXIF behind the pixels
    return _orientation(image)


def upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """RGB (H, W, 3) as stored, and 1 to 8, to what a viewer shows."""
    return _UPRIGHT[orientation](pixels) if orientation in _UPRIGHT else pixels


def _orientation(image: ImageFile.ImageFile) -> int | None:
    """EXIF orientation: 1 to 8, 1 where nothing valid is said, None where EXIF is damaged."""
    for key in _XMP:  # no viewer turns a picture by its XMP; Pillow does
        image.info.pop(key, None)
    with without_warnings():
        try:
            if "exif" in image.info:
                Image.Exif().load(image.info["exif"])  # raises, where getexif may hide a failure
            exif = image.getexif()
            for directory in _EXIF_PARTS & exif.keys():
                exif.get_ifd(directory)  # kept: loading a TIFF reads them too, and may warn
            value = exif.get(ExifTags.Base.Orientation, 1)
        except Exception:  # as many kinds as in `decode`
            return None
    return value if value in _UPRIGHT else 1
