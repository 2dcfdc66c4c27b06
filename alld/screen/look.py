"""Look at one field: find its cells, cut each out, predict it, and draw what was found."""

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from alld.cells.crops import SIDE, cut
from alld.cells.detect import DetectedCell
from alld.errors import ImageError
from alld.images.decode import decode, is_synthetic, read_image_bytes
from alld.images.formats import whole_fields
from alld.images.rgb import RGB
from alld.inference.archives.engines import Job
from alld.inference.prediction import Tally
from alld.inference.predictor import Predictor
from alld.runtime.files import plain_path, sha256_hex, well_formed
from alld.screen.overlay import draw_overlay
from alld.screen.records import WHITE, Cell, Field, as_line
from alld.screen.tiles import detect_in_tiles

_LEAST = 1.5  # sides of a crop that a field is long; anything less is a single cell
_THUMB = 96  # px
_CORNERS = 48  # of an outline, at most


@dataclass(frozen=True)
class ScreenJob(Job):
    """A job whose files are fields; a part has a line of JSON for each."""

    side: int = SIDE  # px of the field, of the square that is cut out around a cell

    def part(
        self, predictor: Predictor, files: Iterable[Path], counted: Callable[[], None]
    ) -> tuple[bytes, Tally]:
        """Return a line for each field, and the tally of its cells."""
        tally, lines = Tally.empty(), []
        for file in files:
            field, pictures = look(file, predictor, self.side)
            tally.verdicts.update(cell.verdict for cell in field.cells if cell.verdict)
            tally.notes.update(field.notes)
            lines.append(as_line(field, pictures))
            counted()
        return b"".join(lines), tally

    def settings(self) -> dict[str, Any]:
        """Return the side of the crops."""
        return {"side": self.side}


def side_for(predictor: Predictor) -> int:
    """Return the side in px of the crops that a model was trained on, or that of ALL-IDB2's."""
    return predictor.info.data.crop or SIDE


def look(file: Path, predictor: Predictor, side: int) -> tuple[Field, dict[str, Any]]:
    """Return what is in a field, and its pictures as base64: an overlay, and one for each cell.

    A white cell that the border cuts, and what is no white cell, gets no verdict. The pixels of a
    field and of a crop are those of the file; nothing is resized before the model's own input.
    """
    name, sha256 = well_formed(plain_path(str(file))), None
    try:
        data = read_image_bytes(file)
        sha256 = sha256_hex(data)
        with whole_fields():
            decoded = decode(data, name, sha256)
        pixels = decoded.pixels
        _check_size(name, pixels, side)
    except ImageError as error:
        return Field(name, sha256, error=str(error)), {}
    found = detect_in_tiles(pixels)
    cells = [_described(cell) for cell in found.cells]
    inside = [number for number, cell in enumerate(cells) if cell.left_out is None]
    crops = [cut(pixels, cells[number].x, cells[number].y, side) for number in inside]
    for number, row in zip(inside, predictor.predict(crops), strict=True):
        cells[number] = replace(
            cells[number],
            verdict=row.verdict,
            probability=row.probability,
            reason=row.reason,
            pixels_sha256=row.pixels_sha256,
        )
    height, width = pixels.shape[:2]
    synthetic = is_synthetic(data)
    notes = (*decoded.conversions, *decoded.warnings)
    scale = found.pixels_per_um
    field = Field(name, sha256, width, height, scale, synthetic, notes, tuple(cells))
    drawn = synthetic or predictor.info.data.synthetic
    white = {n: cell for n, cell in enumerate(cells) if cell.kind == WHITE}
    thumbs = {n: _encoded(_small(cut(pixels, c.x, c.y, side)), 85) for n, c in white.items()}
    overlay = _encoded(draw_overlay(pixels, field, synthetic=drawn), 88)
    return field, {"overlay": overlay, "cells": thumbs}


def _check_size(name: str, pixels: RGB, side: int) -> None:
    height, width = pixels.shape[:2]
    if max(height, width) < _LEAST * side:
        raise ImageError(
            f"{name}: {width} x {height} px is a picture of one cell, not a field, where a cell is "
            f"cut out with {side} px; give it to `alld predict`, or set --crop"
        )


def _described(cell: DetectedCell) -> Cell:
    step = -(-len(cell.outline) // _CORNERS)
    outline = tuple((round(float(x), 1), round(float(y), 1)) for x, y in cell.outline[::step])
    return Cell(
        x=round(float(cell.x), 1),
        y=round(float(cell.y), 1),
        width=round(float(cell.width), 1),
        height=round(float(cell.height), 1),
        outline=outline,
        kind=cell.kind,
        at_border=bool(cell.at_border),
    )


def _small(pixels: RGB) -> Image.Image:
    picture = Image.fromarray(pixels)
    picture.thumbnail((_THUMB, _THUMB), Image.Resampling.LANCZOS)
    return picture


def _encoded(picture: Image.Image, quality: int) -> str:
    file = BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return base64.b64encode(file.getvalue()).decode()
