"""Draw the cells that were found in a field onto it, in the colours of their verdicts."""

import numpy as np
from PIL import Image, ImageDraw

from alld import NOTICE
from alld.images.lettering import GREY, INK, MARK, PAPER, font, shortened
from alld.images.rgb import RGB
from alld.inference.prediction import OUT_OF_DOMAIN, UNCERTAIN, shown
from alld.screen.records import WHITE, Cell, Field

# Okabe and Ito's colours, which colour-blind readers can distinguish; the word stands beside each.
COLOURS = {
    "blast": (213, 94, 0),
    "healthy": (0, 114, 178),
    UNCERTAIN: (0, 130, 95),
    OUT_OF_DOMAIN: (60, 60, 60),
}
LEFT_OUT = (140, 140, 140)
_LONGEST = 1600  # px, of an overlay; larger fields are shown smaller
_ROOM = 1.35  # sides of the box of a nucleus that the frame of a cell is long
_FOOT = 64


def colour_of(cell: Cell) -> tuple[int, int, int]:
    """Return the colour of a cell's verdict, or grey for what has none."""
    return COLOURS.get(cell.verdict or "", LEFT_OUT)


def draw_overlay(pixels: RGB, field: Field, *, synthetic: bool) -> Image.Image:
    """Return the field with a frame and a word for each cell, and the notice below."""
    step = max(1, max(pixels.shape[:2]) // (2 * _LONGEST))  # a copy of a scan would fill the memory
    picture = Image.fromarray(np.ascontiguousarray(pixels[::step, ::step]))
    picture.thumbnail((_LONGEST, _LONGEST), Image.Resampling.LANCZOS)
    scale = picture.width / pixels.shape[1]
    sheet = Image.new("RGB", (picture.width, picture.height + _FOOT), PAPER)
    sheet.paste(picture)
    draw = ImageDraw.Draw(sheet)
    for cell in field.cells:
        _frame(draw, cell, scale, picture.width)
    _write_foot(draw, field, picture.size, synthetic=synthetic)
    return sheet


def _frame(draw: ImageDraw.ImageDraw, cell: Cell, scale: float, across: int) -> None:
    half = max(cell.width, cell.height) * _ROOM / 2 * scale
    x, y, colour = cell.x * scale, cell.y * scale, colour_of(cell)
    white = cell.kind == WHITE
    draw.rectangle(
        (x - half, y - half, x + half, y + half), outline=colour, width=3 if white else 1
    )
    if not white:
        return  # there may be dozens of platelets
    words = cell.left_out or f"{cell.verdict} {shown(cell.probability or 0)}"
    if cell.verdict == OUT_OF_DOMAIN:
        words = OUT_OF_DOMAIN
    letters, size = font(15), 15
    width = letters.getlength(words)
    left = min(max(0.0, x - half), max(0.0, across - width - 6))
    top = y - half - size - 5 if y - half > size + 5 else y + half
    draw.rectangle((left, top, left + width + 6, top + size + 5), fill=colour)
    draw.text((left + 3, top + 1), words, PAPER, letters)


def _write_foot(
    draw: ImageDraw.ImageDraw, field: Field, size: tuple[int, int], *, synthetic: bool
) -> None:
    counts = field.counts()
    found = (
        f"{counts['white_cells']} white cells: {counts['blast']} blast, {counts['healthy']} "
        f"healthy, {counts['uncertain']} uncertain, {counts['out_of_domain']} out of domain, "
        f"{counts['at_border']} cut by the border; framed without a word: {counts['platelets']} "
        f"platelets, {counts['smudges']} smudges, {counts['artefacts']} artefacts"
    )
    title = f"SYNTHETIC   {found}" if synthetic else found
    width, top = size[0] - 16, size[1]
    draw.text((8, top + 6), title, MARK if synthetic else INK, font(17))
    name = shortened(f"{field.path}   {NOTICE}", width, 14)
    draw.text((8, top + 34), name, GREY, font(14))
