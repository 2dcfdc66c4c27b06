"""Read whole fields whose cells are marked, and cut each cell out, once, into the cache.

Known are ALL-IDB1 (`.xyc`), boxes of YOLO, PASCAL VOC and COCO, GeoJSON of QuPath, and a table with
the columns field, x, y, label. What is cut out is a set like any other: a table of crops, whose
group is the field and whose patient is the sample.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin

from alld.cells.crops import cut
from alld.cells.detect import detect_cells
from alld.data.cache import cache_folder
from alld.data.domains import EXIF_TIME, exposure_of
from alld.data.manifest import LABEL_NAMES, Exposure, Manifest, Progress
from alld.data.sources.all_idb2 import is_field
from alld.data.sources.class_names import KNOWN, ClassNames, compared
from alld.data.sources.listing import list_files
from alld.data.sources.marks import (
    TABLE,
    MarkedField,
    beside,
    is_coco,
    read_coco,
    read_geojson,
    read_marks,
    read_voc,
    read_xyc,
    read_yolo,
    yolo_names,
)
from alld.data.sources.tables import read_table
from alld.errors import DataError
from alld.images.decode import SYNTHETIC_MARK, decode, is_synthetic, read_image_bytes
from alld.images.formats import whole_fields
from alld.runtime.files import cell, new_folder, plain_path, sha256_hex, write_csv
from alld.runtime.reading import csv_columns

_VERSION = 1  # of what is cut out; another one cuts anew
_CELLS = "cells.csv"
_SAMPLE = re.compile(r"(patient|subject|donor|sample|slide)([ _-]+\w|\d).*", re.IGNORECASE)
_NOT_MARKS = ("classes.txt", "readme.txt", "requirements.txt")
_DESCRIPTION_TAG = 270


def find_marks(root: Path, images: Sequence[Path]) -> list[MarkedField]:
    """Return the fields of a folder, or none where its images are not fields with marks.

    Most images must have marks beside them; for ALL-IDB1 the names of the fields tell too.
    """
    fields = [image for image in images if is_field(image)]
    found = _with_marks(root, fields, ".xyc", read_xyc) if fields else []
    readers = (
        (".geojson", read_geojson),
        (".xml", read_voc),
        (".txt", partial(read_yolo, names=yolo_names(root))),
    )
    for suffix, reader in readers:
        found = found or _with_marks(root, images, suffix, reader)
    if found:
        return found
    places = (*root.glob("*.json"), *root.glob("annotations/*.json"))
    tables = [file for file in sorted(places) if is_coco(file)]
    if len(tables) > 1:
        raise DataError(f"{root}: holds {len(tables)} COCO files; name one with --data")
    return read_coco(tables[0]) if tables else []


def is_marked_table(file: Path) -> bool:
    """Return whether a file is JSON, which can only be COCO, or a CSV table of marks."""
    if file.suffix.lower() == ".json":
        return True
    try:
        columns = set(csv_columns(file))
        return columns >= TABLE and "path" not in columns  # or it is a table of crops
    except (OSError, ValueError):
        return False  # whoever reads the table says what is wrong


def read_marked(file: Path) -> list[MarkedField]:
    """Return the fields of COCO JSON or of a table of marks."""
    return read_coco(file) if file.suffix.lower() == ".json" else read_marks(file)


def read_fields(
    root: Path,
    fields: Sequence[MarkedField],
    names: ClassNames,
    side: int,
    progress: Progress | None,
) -> Manifest:
    """Return the manifest of the cells that are marked as blast or healthy.

    Fields of ALL-IDB1's healthy people have no marks: the white cells found in them are healthy.
    Cells of other names are left out, and counted in a warning.

    Args:
        root: the folder or table that the user named.
        side: px of the field, of the square around each cell.

    Raises:
        DataError: a field that cannot be read, a mark outside its field, or no cell of a class.
    """
    known = {**KNOWN, **names.given}
    counts = Counter(mark.name for field in fields for mark in field.marks)
    left_out = {name: n for name, n in counts.items() if compared(name) not in known}
    folder = _cut_once(fields, known, side, progress)
    table = folder / _CELLS
    if not table.is_file():
        seen = ", ".join(f"{n} {name or 'without a name'}" for name, n in left_out.items())
        raise DataError(
            f"{root}: no cell is marked as blast or healthy; found {seen or 'no cell'}; say "
            "what names mean with --positive NAME and --healthy NAME"
        )
    manifest = read_table(table, ClassNames(), None, None)
    warnings = list(manifest.warnings)
    if left_out:
        few = ", ".join(f"{n} {name or 'without a name'}" for name, n in sorted(left_out.items()))
        warnings.append(f"{root}: left out cells of other names: {few}")
    return replace(manifest, kind="fields", warnings=tuple(warnings))


def _with_marks(root: Path, images: Sequence[Path], suffix: str, reader: Any) -> list[MarkedField]:
    """The images with their marks, if at least half of them have some."""
    files: dict[str, list[Path]] = {}
    for file in list_files(root, (suffix,)):
        if file.name.lower() not in _NOT_MARKS:
            files.setdefault(file.stem, []).append(file)
    pairs = beside(images, files)
    if 2 * len(pairs) < len(images) or not pairs:
        return []
    return [_of_sample(reader(image, marks)) for image, marks in pairs.items()]


def _of_sample(field: MarkedField) -> MarkedField:
    """The field with its sample, where a folder is called `sample-01`, `patient 7` or alike."""
    folders = reversed(field.path.parent.parts)
    return replace(field, sample=next(filter(_SAMPLE.fullmatch, folders), None))


def _cut_once(
    fields: Sequence[MarkedField], known: dict[str, int], side: int, progress: Progress | None
) -> Path:
    """Return the folder in the cache with the crops of these fields, cut now if they are not."""
    hashes = [sha256_hex(read_image_bytes(field.path)) for field in fields]
    told = [
        (sha256, field.sample, field.relative, field.marks, field.path.name)
        for sha256, field in zip(hashes, fields, strict=True)
    ]
    key = sha256_hex(repr((_VERSION, side, sorted(known.items()), told)).encode("utf-8", "replace"))
    folder = cache_folder() / "crops" / key
    if not (folder / _CELLS).is_file():
        with new_folder(folder) as beside_it:
            rows = []
            for done, (field, sha256) in enumerate(zip(fields, hashes, strict=True), start=1):
                rows += _cut_field(beside_it, done, field, sha256, known, side)
                if progress:
                    progress(done, len(fields))
            if rows:
                write_csv(beside_it / _CELLS, list(rows[0]), rows)
    return folder


def _cut_field(
    folder: Path, number: int, field: MarkedField, sha256: str, known: dict[str, int], side: int
) -> list[dict[str, Any]]:
    """Write the crops of a field, and return a row for each."""
    data = read_image_bytes(field.path)
    with whole_fields():
        pixels = decode(data, str(field.path), sha256).pixels
    stem = re.sub(r"[^\w.-]+", "_", field.path.stem)[:48]
    exposure, synthetic = exposure_of(data), is_synthetic(data)
    rows = []
    for count, (x, y, label) in enumerate(_cells(field, pixels, known), start=1):
        name = f"{number:04d}/{stem}-{count:03d}.tif"
        _save(folder / name, cut(pixels, x, y, side), exposure, synthetic=synthetic)
        rows.append(
            {
                "path": name,
                "label": LABEL_NAMES[label],
                "group": f"field {sha256[:16]}",  # a copy of a field is the same field
                "field": cell(field.path.name),
                "patient": cell(field.sample or ""),
            }
        )
    return rows


def _cells(
    field: MarkedField, pixels: NDArray[np.uint8], known: dict[str, int]
) -> Iterator[tuple[float, float, int]]:
    """Yield x, y and label of each cell that is cut out."""
    height, width = pixels.shape[:2]
    healthy = is_field(field.path) and field.path.stem.endswith("_0") and not field.marks
    if healthy:
        for found in detect_cells(pixels).cells:
            if found.kind == "white cell" and not found.at_border:
                yield found.x, found.y, LABEL_NAMES.index("healthy")
        return
    for mark in field.marks:
        x, y = (mark.x * width, mark.y * height) if field.relative else (mark.x, mark.y)
        if not (0 <= x <= width and 0 <= y <= height):
            place = plain_path(str(field.path))
            raise DataError(f"{place}: a cell is marked at {x:.0f}, {y:.0f}, outside the field")
        label = known.get(compared(mark.name))
        if label is not None:
            yield x, y, label


def _save(
    file: Path, pixels: NDArray[np.uint8], exposure: Exposure | None, *, synthetic: bool
) -> None:
    """Write a crop as TIFF with camera and time of its field, which tell its session."""
    file.parent.mkdir(parents=True, exist_ok=True)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    if synthetic:
        tags[_DESCRIPTION_TAG] = SYNTHETIC_MARK.decode()
    if exposure is not None:
        tags[ExifTags.Base.Model] = exposure.camera
        taken = exposure.taken.strftime(EXIF_TIME)
        tags[ExifTags.IFD.Exif] = {ExifTags.Base.DateTimeOriginal: taken}
    # Uncompressed: with a compression Pillow cannot write the time.
    Image.fromarray(pixels).save(file, format="TIFF", tiffinfo=tags)
