"""Draw whole fields of samples, with the place and the class of every white cell.

A sample is a patient: blasts and healthy cells of an ill one, healthy cells alone of a healthy one.
Its fields share a slide and are a folder, named as in ALL-IDB1: `Im001_1.jpg`, and beside it the
centres of blasts in `Im001_1.xyc`. As in real smears some cells touch, some are cut by the border,
and platelets and smudges, which are no white cells to count, lie among them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from alld.data.domains import EXIF_TIME
from alld.data.manifest import BLAST, HEALTHY, LABEL_NAMES, Exposure
from alld.errors import ConfigError
from alld.images.decode import SYNTHETIC_MARK
from alld.runtime.files import new_folder, write_bytes, write_csv, write_text
from alld.synthetic.dataset import check_empty, check_ranges, render
from alld.synthetic.drawing import Slide
from alld.synthetic.plan import Recipe, Shot, draw_cell, draw_light, draw_slide
from alld.synthetic.sessions import in_sessions
from alld.synthetic.white_cells import Kind, WhiteCell, cell_box

SHAPE = (1368, 1712)  # px, height and width; those of the first camera of ALL-IDB1
TRUTH = "truth.csv"
_EACH = 4  # fields of a sample
_AT_ONCE = 8  # fields held in memory
_WHITE = {BLAST: 11.0, HEALTHY: 4.0}  # mean number of white cells in a field of such a patient
_BLASTS = 0.75  # of the white cells of an ill patient
_TOUCHING = 0.35  # share of cells that are drawn into a clump
_PLATELETS, _SMUDGES = 12.0, 0.7  # mean number in a field
_UNCOUNTED: tuple[Kind, ...] = ("platelet clump", "smudge")

Placed = tuple[WhiteCell, float, float]  # cell, y, x


def draw_fields(
    folder: Path,
    recipe: Recipe,
    progress: Callable[[int, int], None] | None = None,
    *,
    shape: tuple[int, int] = SHAPE,
) -> list[Path]:
    """Draw `recipe.n` fields into `folder` and return their files in order.

    `truth.csv` has a row for each white cell: field, sample, x, y (its centre), width, height, all
    in pixels of the field, label, kind, and whether the border cuts it.

    Raises:
        ConfigError: an option out of range.
        DataError: the folder is not empty.
    """
    check_ranges(recipe)
    if recipe.n < 1:
        raise ConfigError(f"--fields {recipe.n}: must be at least 1")
    check_empty(folder)
    shots, samples = plan_fields(recipe, shape)
    names = [f"{samples[n]}/Im{n + 1:03d}_{shot.label}.jpg" for n, shot in enumerate(shots)]
    rows: list[dict[str, Any]] = []
    with new_folder(folder) as beside:
        for number, (shot, pixels) in enumerate(zip(shots, render(shots, _AT_ONCE), strict=True)):
            file = beside / names[number]
            write_bytes(file, _jpeg(pixels, shot.exposure))
            cells = [row for placed in shot.cells if (row := _truth(placed, shot.shape))]
            blasts = [row for row in cells if row["label"] == LABEL_NAMES[BLAST]]
            centres = "".join(f"{row['x']:.0f}\t{row['y']:.0f}\n" for row in blasts)
            write_text(file.with_suffix(".xyc"), centres)
            rows += ({"field": names[number], "sample": samples[number], **row} for row in cells)
            if progress:
                progress(number + 1, len(shots))
        columns = ("field", "sample", "x", "y", "width", "height", "label", "kind", "at_border")
        write_csv(beside / TRUTH, columns, rows)
    return [folder / name for name in names]


def plan_fields(recipe: Recipe, shape: tuple[int, int] = SHAPE) -> tuple[list[Shot], list[str]]:
    """Return a shot for each field and the name of its sample; ill and healthy ones alternate."""
    rng = np.random.default_rng([recipe.seed, 0xF1E1D])
    shots: list[Shot] = []
    samples: list[str] = []
    for sample in range(ceil(recipe.n / _EACH)):
        label = BLAST if sample % 2 == 0 else HEALTHY
        slide = draw_slide(label, recipe, rng)
        for _ in range(min(_EACH, recipe.n - len(shots))):
            texture = int(rng.integers(2**31))
            cells = _place_cells(label, recipe, shape, rng)
            shots.append(_shot(label, cells, replace(slide, texture=texture), shape, rng))
            samples.append(f"sample-{sample + 1:02d}")
    return (in_sessions(shots, recipe, samples) if recipe.sessions else shots), samples


def _shot(
    label: int, cells: list[Placed], slide: Slide, shape: tuple[int, int], rng: np.random.Generator
) -> Shot:
    return Shot(
        label,
        group=f"field {slide.texture}",
        relation="",
        cells=tuple(cells),
        shape=shape,
        slide=slide,
        light=draw_light(rng),
        noise_seed=int(rng.integers(2**31)),
        window=(0, 0, *shape),
        central=0,
    )


def _place_cells(
    label: int, recipe: Recipe, shape: tuple[int, int], rng: np.random.Generator
) -> list[Placed]:
    """White cells, of which some touch; then smudges and platelets where there is room."""
    field = _Field(shape, [], rng)
    share = shape[0] * shape[1] / (SHAPE[0] * SHAPE[1])
    for _ in range(max(1, rng.poisson(_WHITE[label] * share))):
        blast = label == BLAST and rng.random() < _BLASTS
        cell = draw_cell(BLAST if blast else HEALTHY, recipe, rng)
        if cell.kind not in _UNCOUNTED:
            field.place(cell, touching=rng.random() < _TOUCHING)
    for _ in range(rng.poisson(_SMUDGES * share)):
        field.place(_clutter("smudge", rng.uniform(48, 80), rng))
    for _ in range(rng.poisson(_PLATELETS * share)):
        field.place(_clutter("platelet clump", rng.uniform(7, 15), rng))
    return field.placed


@dataclass(frozen=True)
class _Field:
    """The cells that have a place in a field of this shape."""

    shape: tuple[int, int]
    placed: list[Placed]
    rng: np.random.Generator

    def place(self, cell: WhiteCell, *, touching: bool = False) -> None:
        """Find a place beside a white cell, or apart from all; a full field has none."""
        rng, (height, width) = self.rng, self.shape
        others = [one for one in self.placed if one[0].kind not in _UNCOUNTED]
        least = 0.94 if touching else 1.25  # of the sum of two radii
        for _ in range(40):
            y, x = rng.uniform(0, height), rng.uniform(0, width)
            if touching and others:
                other, v, u = others[int(rng.integers(len(others)))]
                angle, way = rng.uniform(0, 2 * np.pi), 0.97 * (other.radius + cell.radius)
                y, x = v + way * np.sin(angle), u + way * np.cos(angle)
            reach = ((np.hypot(y - v, x - u), cell.radius + o.radius) for o, v, u in self.placed)
            if all(away > least * radii for away, radii in reach) and self._inside(y, x):
                self.placed.append((cell, float(y), float(x)))
                return

    def _inside(self, y: float, x: float) -> bool:
        return 0 <= y < self.shape[0] and 0 <= x < self.shape[1]


def _clutter(kind: Kind, radius: float, rng: np.random.Generator) -> WhiteCell:
    return WhiteCell(
        kind=kind,
        radius=radius,
        nucleus=rng.uniform(0.6, 0.8),
        lobes=1,
        chromatin_scale=rng.uniform(1.2, 2.0),
        chromatin_contrast=rng.uniform(0.12, 0.2),
        nucleoli=0,
        cytoplasm=rng.uniform(0.1, 0.4),
        texture=int(rng.integers(2**31)),
    )


def _truth(placed: Placed, shape: tuple[int, int]) -> dict[str, Any] | None:
    """The row of a white cell; None for what is none and for a cell outside the field."""
    cell, _, _ = placed
    box = None if cell.kind in _UNCOUNTED else cell_box(shape, *placed)
    if box is None:
        return None
    left, top, right, bottom = box
    cut = left == 0 or top == 0 or right == shape[1] or bottom == shape[0]
    return {
        "x": (left + right) / 2,
        "y": (top + bottom) / 2,
        "width": right - left,
        "height": bottom - top,
        "label": LABEL_NAMES[BLAST if cell.kind == "blast" else HEALTHY],
        "kind": cell.kind,
        "at_border": int(cut),
    }


def _jpeg(pixels: NDArray[np.uint8], exposure: Exposure | None) -> bytes:
    """The bytes of a marked JPEG, with camera and time where the fields are of sessions."""
    exif = Image.Exif()
    if exposure is not None:
        exif[ExifTags.Base.Model] = exposure.camera
        taken = exposure.taken.strftime(EXIF_TIME)
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = taken
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=93, comment=SYNTHETIC_MARK, exif=exif)
    return file.getvalue()
