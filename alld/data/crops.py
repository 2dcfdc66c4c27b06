"""Cut crops around points of fields, and list them in a table that ALLD trains on.

A crop is a square that ends where its field does, as those of ALL-IDB2 are.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from alld.cells.crops import SIDE, cut
from alld.data.domains import exposure_of, with_sessions
from alld.data.manifest import Exposure, ImageRecord, Manifest
from alld.errors import DataError
from alld.images.decode import SYNTHETIC_MARK, decode, is_synthetic, read_image_bytes
from alld.images.rgb import RGB
from alld.runtime.files import check_writable, new_folder, plain_path, replacing, write_csv
from alld.runtime.reading import read_rows, read_text

TABLE = "table.csv"
_FIELDS = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True)
class Point:
    """The centre of a cell in pixels of a field, with what is known about it."""

    field: Path
    x: float
    y: float
    label: str = ""  # as the table that is written will have it
    sample: str = ""


def read_points(table: Path) -> list[Point]:
    """Read a CSV table with the columns `field,x,y` and optionally `label` and `sample`.

    Fields are named relative to the folder of the table.

    Raises:
        DataError: the table cannot be read, lacks a column, or a place in it is no number.
    """
    try:
        rows = read_rows(table)
    except (OSError, ValueError) as error:
        raise DataError(f"{table}: cannot be read as a CSV table: {error}") from error
    if not rows or not {"field", "x", "y"} <= rows[0].keys():
        seen = ",".join(rows[0]) if rows else "no rows"
        raise DataError(f"{table}: needs rows with the columns field,x,y; found {seen}")
    points = []
    for row in rows:
        x, y = _numbers((row["x"], row["y"]), f"{table}, line {row.line}")
        label, sample = (row.get(name, "").strip() for name in ("label", "sample"))
        points.append(Point(table.parent / row["field"].strip(), x, y, label, sample))
    return points


def read_centres(folder: Path, label: str = "blast") -> list[Point]:
    """Read the `.xyc` files of ALL-IDB1: a line `x y` for each blast, beside the field.

    Raises:
        DataError: there is no such file, one without its field, or one that holds other lines.
    """
    files = sorted(folder.rglob("*.xyc"))
    if not files:
        raise DataError(f"{folder}: no .xyc file lies in or below that folder")
    points = []
    for file in files:
        field = next((one for end in _FIELDS if (one := file.with_suffix(end)).is_file()), None)
        if field is None:
            raise DataError(f"{file}: the field is not beside it")
        try:
            lines = read_text(file).splitlines()
        except (OSError, ValueError) as error:
            raise DataError(f"{file}: cannot be read: {error}") from error
        for number, line in enumerate(lines, start=1):
            if line.strip():
                x, y = _numbers(line.split(), f"{file}, line {number}")
                points.append(Point(field, x, y, label))
    return points


def _numbers(cells: Sequence[str], place: str) -> tuple[float, float]:
    try:
        x, y = map(float, cells)
    except ValueError:
        raise DataError(f"{place}: expected x and y in pixels, found {' '.join(cells)!r}") from None
    return x, y


def corner(field: RGB, x: float, y: float, side: int = SIDE) -> tuple[int, int]:
    """Return left and top of the square that is cut out of a field, RGB (H, W, 3), around a point.

    Raises:
        DataError: the point lies outside the field.
    """
    height, width = field.shape[:2]
    if not (0 <= x < width and 0 <= y < height):
        raise DataError(f"the point {x:g}, {y:g} lies outside the field of {width} x {height} px")
    return max(0, round(x) - side // 2), max(0, round(y) - side // 2)


def write_crops(points: Iterable[Point], out: Path, *, side: int = SIDE, gap: float = 8.0) -> int:
    """Write a PNG for each point and `table.csv`, and return their number.

    The table has the columns path, label, patient (the sample), field, session (from the EXIF of
    the fields), x, y (left and top in the field), width and height; those that are empty for all
    images are left out.

    Args:
        out: a new folder.
        side: of the crops, in pixels.
        gap: minutes between two fields that part sessions.

    Raises:
        DataError: the folder is not empty, or a point lies outside its field.
        ImageError: a field that cannot be read.
    """
    check_writable(out.parent)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"--out {out}: is not an empty folder; name a new one")
    ordered = sorted(points, key=lambda point: str(point.field))
    rows: list[dict[str, Any]] = []
    exposures: list[Exposure | None] = []
    with new_folder(out) as folder:
        for field, own in groupby(ordered, key=lambda point: point.field):
            data = read_image_bytes(field)
            pixels, exposure = decode(data, str(field)).pixels, exposure_of(data)
            for row in _cut_all(folder, field, list(own), pixels, side, is_synthetic(data)):
                rows.append(row)
                exposures.append(exposure)
        for row, session in zip(rows, _sessions(exposures, gap), strict=True):
            row["session"] = session
        names = ("path", "label", "patient", "field", "session", "x", "y", "width", "height")
        columns = [name for name in names if any(row[name] not in (None, "") for row in rows)]
        write_csv(folder / TABLE, columns, ({name: row[name] for name in columns} for row in rows))
    return len(rows)


def _cut_all(
    folder: Path, field: Path, points: Sequence[Point], pixels: RGB, side: int, drawn: bool
) -> Iterator[dict[str, Any]]:
    """Write the crops of one field and yield their rows."""
    home = folder / plain_path(field.parent.name or "fields")
    home.mkdir(exist_ok=True)
    marks = PngImagePlugin.PngInfo()
    if drawn:
        marks.add_text("Description", SYNTHETIC_MARK.decode())
    for number, point in enumerate(points, start=1):
        try:
            left, top = corner(pixels, point.x, point.y, side)
        except DataError as error:
            raise DataError(f"{field}: {error}") from error
        crop = cut(pixels, point.x, point.y, side)
        file = home / f"{field.stem}-{number:03d}.png"
        with replacing(file) as beside:
            Image.fromarray(crop).save(beside, "PNG", pnginfo=marks)
        yield {
            "path": file.relative_to(folder).as_posix(),
            "label": point.label,
            "patient": point.sample,
            "field": f"{home.name}/{field.name}",
            "x": left,
            "y": top,
            "width": crop.shape[1],
            "height": crop.shape[0],
        }


def _sessions(exposures: Sequence[Exposure | None], gap: float) -> list[str | None]:
    """The name of the session of each picture, None where camera and time are unknown."""
    records = tuple(ImageRecord("", 0, "", exposure=exposure) for exposure in exposures)
    manifest = with_sessions(Manifest(Path(), "table", records, synthetic=False), gap)
    return [record.domain for record in manifest]
