"""Choose the picture of a TIFF with several pages, or put it together from three channels.

Microscope cameras and viewers add smaller copies of the picture, and ImageJ and OME write red,
green and blue as three grey pages. All other TIFFs of several pages are refused.
"""

import re
from dataclasses import replace

from alld.images.formats import refusal
from alld.images.tiff import (
    BITS,
    DESCRIPTION,
    HEIGHT,
    IMAGEJ_METADATA,
    PHOTOMETRIC,
    REDUCED,
    SAMPLES,
    STRIP_BYTES,
    STRIP_OFFSETS,
    SUBFILE,
    TILE_BYTES,
    TILE_OFFSETS,
    WIDTH,
    Page,
    Place,
    several_pages,
)

CHANNELS = 3
_ADVICE = "in ImageJ choose Image > Type > RGB Color, and save"
_RAMP, _DARK = bytes(range(256)), bytes(256)
# ImageJ's lookup tables of a red, a green and a blue channel, each of three times 256 bytes.
_PURE = b"".join(_DARK * place + _RAMP + _DARK * (2 - place) for place in range(CHANNELS))
_OME_PURE = ("-16776961", "16711935", "65535")  # red, green and blue, opaque, as signed RGBA


def the_picture(pages: list[Page]) -> tuple[Page, str | None]:
    """Return the page that holds the picture, and what was left out, in words.

    Raises:
        ImageError: several pages, of which it is not known that all others are smaller copies.
    """
    first, *others = pages
    if not others:
        return first, None
    if not all(_is_smaller_copy(page, first) for page in others):
        sizes = ", ".join(f"{page.tags[WIDTH][0]}x{page.tags[HEIGHT][0]}" for page in pages)
        raise several_pages(sizes)
    more = [place for page in others for place in [*page.used, *_places(page)]]
    left_out = f"page 1 of {len(pages)} (the others are smaller copies)"
    return replace(first, used=[*first.used, *more]), left_out


def channels(pages: list[Page]) -> list[Page] | None:
    """Return the pages of red, green and blue of an ImageJ or OME composite; None for another file.

    Raises:
        ImageError: a composite of other than three channels, or of other colours.
    """
    text = pages[0].texts.get(DESCRIPTION, b"")[:100_000].decode("utf-8", "replace")
    imagej, ome = text.startswith("ImageJ="), "<OME" in text
    declared = re.search(r"^images=(\d+)" if imagej else r'\bSizeC="(\d+)"', text, re.MULTILINE)
    if not (imagej or ome) or not declared or pages[0].tags[SAMPLES][0] > 1:
        return None
    number = int(declared[1])
    if number == 1:
        return None
    kind = "an ImageJ" if imagej else "an OME"
    stack = re.search(r"^(slices|frames)=(?!1\b)", text, re.MULTILINE) if imagej else re.search(
        r'\bSize[ZT]="(?!1")', text
    )  # fmt: skip
    if number != CHANNELS or stack or (imagej and "mode=composite" not in text):
        raise refusal(f"{kind} stack of several pictures", "save the picture you mean alone")
    if not _has_pure_colours(pages[0], text, imagej=imagej):
        raise refusal(f"{kind} composite of other colours than red, green and blue", _ADVICE)
    return _three(pages, kind)


def _three(pages: list[Page], kind: str) -> list[Page]:
    first = pages[0]
    alike = all(
        page.tags[name] == first.tags[name]
        for page in pages
        for name in (WIDTH, HEIGHT, BITS, PHOTOMETRIC, SAMPLES)
    )
    if len(pages) == 1 and len(first.tags.get(STRIP_OFFSETS, ())) == 1:  # the others follow it
        [offset], [size] = first.tags[STRIP_OFFSETS], first.tags.get(STRIP_BYTES, (0,))
        pages = [
            replace(first, tags={**first.tags, STRIP_OFFSETS: (offset + size * number,)})
            for number in range(CHANNELS)
        ]
    grey = first.tags[PHOTOMETRIC][0] == 1 and first.tags[BITS] in ((8,), (16,))
    if len(pages) != CHANNELS or not alike or not grey:
        raise refusal(f"{kind} composite whose channels are not three alike grey pages", _ADVICE)
    used = [place for page in pages for place in page.used]
    return [replace(page, used=used) for page in pages]


def _has_pure_colours(page: Page, text: str, *, imagej: bool) -> bool:
    """Whether channels are red, green and blue in this order, as far as the file says."""
    if not imagej:
        colours = tuple(re.findall(r'<Channel\b[^>]*\bColor="(-?\d+)"', text))
        return not colours or colours == _OME_PURE
    tables = page.texts.get(IMAGEJ_METADATA, b"")
    given = b"luts" in tables or b"stul" in tables  # by the order of bytes
    return not given or _PURE in tables


def _is_smaller_copy(page: Page, picture: Page) -> bool:
    """Whether a page is marked as reduced, or has at most half the sides in equal proportion."""
    (width,), (height,) = page.tags[WIDTH], page.tags[HEIGHT]
    (full_width,), (full_height,) = picture.tags[WIDTH], picture.tags[HEIGHT]
    if page.tags[SUBFILE][0] & REDUCED:
        return width * height < full_width * full_height
    alike = abs(width * full_height - height * full_width) <= max(full_width, full_height)
    return alike and 2 * width <= full_width and 2 * height <= full_height


def _places(page: Page) -> list[Place]:
    offsets = page.tags.get(STRIP_OFFSETS) or page.tags.get(TILE_OFFSETS, ())
    sizes = page.tags.get(STRIP_BYTES) or page.tags.get(TILE_BYTES, ())
    return [(offset, offset + size) for offset, size in zip(offsets, sizes, strict=False)]
