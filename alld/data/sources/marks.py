"""Read where the cells of fields are, and what they were called, as other programs write it."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from alld.errors import DataError
from alld.runtime.files import one_line
from alld.runtime.reading import read_json, read_rows, read_text

MOST_BYTES = 2**26  # of one file of marks


class Mark(NamedTuple):
    """A cell: its centre in px of the field, x to the right and y down, and its name."""

    x: float
    y: float
    name: str


@dataclass(frozen=True)
class MarkedField:
    """A field with its marks; `sample` where the source names it.

    In YOLO's files places are shares of the field: `relative` says so.
    """

    path: Path
    marks: tuple[Mark, ...]
    sample: str | None = None
    relative: bool = False


def read_xyc(field: Path, marks: Path) -> MarkedField:
    """Read the blasts of a field of ALL-IDB1: a line `x y` each; no line for a healthy person."""
    found = []
    for number, line in enumerate(_text(marks).split("\n"), start=1):
        if words := line.split():
            x, y = words if len(words) == 2 else (line, "")
            found.append(_mark(marks, number, x, y, "blast"))
    return MarkedField(field, tuple(found))


def read_yolo(field: Path, marks: Path, names: Sequence[str]) -> MarkedField:
    """Read lines `class x y width height`; a class without a name is called by its number."""
    found = []
    for number, line in enumerate(_text(marks).split("\n"), start=1):
        if not (words := line.split()):
            continue
        if len(words) < 5 or not words[0].isdigit():
            raise DataError(f"{marks}, line {number}: not `class x y width height`")
        kind = int(words[0])
        name = names[kind] if kind < len(names) else words[0]
        found.append(_mark(marks, number, words[1], words[2], name))
    return MarkedField(field, tuple(found), relative=True)


def yolo_names(root: Path) -> list[str]:
    """Return the names of `classes.txt`, `obj.names` or `data.yaml` in a folder, or none."""
    for name in ("classes.txt", "obj.names"):
        if (root / name).is_file():
            return [line.strip() for line in _text(root / name).split("\n") if line.strip()]
    if not (root / "data.yaml").is_file():
        return []
    import yaml

    try:
        names = yaml.safe_load(_text(root / "data.yaml")).get("names", [])
    except (yaml.YAMLError, AttributeError) as error:
        raise DataError(f"{root / 'data.yaml'}: is no YAML of names") from error
    return [str(name) for name in (names.values() if isinstance(names, dict) else names)]


def read_voc(field: Path, marks: Path) -> MarkedField:
    """Read the objects of PASCAL VOC, each with a `name` and a `bndbox`."""
    text = _text(marks)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DataError(f"{marks}: declares a document type; save it without")
    try:
        objects = ElementTree.fromstring(text).findall("object")
        found = []
        for number, one in enumerate(objects, start=1):
            sides = [float(one.findtext(f"bndbox/{side}", "")) for side in _SIDES]
            middle = (sides[0] + sides[2]) / 2, (sides[1] + sides[3]) / 2
            found.append(_mark(marks, number, *middle, one.findtext("name", "")))
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{marks}: not an annotation of PASCAL VOC: {error}") from error
    return MarkedField(field, tuple(found))


_SIDES = ("xmin", "ymin", "xmax", "ymax")


def read_geojson(field: Path, marks: Path) -> MarkedField:
    """Read objects as QuPath exports them; one without a classification has no name."""
    content = _json(marks)
    try:
        features = content if isinstance(content, list) else content["features"]
        found = []
        for number, one in enumerate(features, start=1):
            named = one.get("properties", {}).get("classification") or {}
            points = list(_points(one["geometry"]["coordinates"]))
            x, y = ([point[axis] for point in points] for axis in (0, 1))
            middle = (min(x) + max(x)) / 2, (min(y) + max(y)) / 2
            found.append(_mark(marks, number, *middle, str(named.get("name", ""))))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DataError(f"{marks}: not GeoJSON as QuPath writes it: {error}") from error
    return MarkedField(field, tuple(found))


def _points(nested: Any) -> Iterable[tuple[float, float]]:
    """All points of coordinates, however deep they are nested."""
    if nested and isinstance(nested[0], int | float):
        yield float(nested[0]), float(nested[1])
        return
    for inner in nested:
        yield from _points(inner)


def is_coco(file: Path) -> bool:
    """Return whether a JSON file holds images and annotations as COCO does."""
    try:
        content = read_json(file) if os.path.getsize(file) <= MOST_BYTES else None
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"images", "annotations", "categories"} <= content.keys()


def read_coco(file: Path) -> list[MarkedField]:
    """Read the boxes of COCO; the names of files are relative to the folder of `file`.

    Raises DataError for what `alld screen` wrote too: a model would learn its own mistakes.
    """
    content = _json(file)
    if isinstance(content, dict) and "predicted" in (content.get("info") or {}):
        raise DataError(f"{file}: holds what a model predicted; correct it before it is a label")
    try:
        names = {one["id"]: str(one["name"]) for one in content["categories"]}
        files = {one["id"]: file.parent / str(one["file_name"]) for one in content["images"]}
        marks: dict[Any, list[Mark]] = {number: [] for number in files}
        for one in content["annotations"]:
            left, top, width, height = map(float, one["bbox"])
            middle = left + width / 2, top + height / 2
            name = names[one["category_id"]]
            marks[one["image_id"]].append(_mark(file, one.get("id", "?"), *middle, name))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{file}: not the boxes of COCO: {error!r}") from error
    return [MarkedField(files[number], tuple(own)) for number, own in marks.items()]


TABLE = {"field", "x", "y", "label"}


def read_marks(table: Path) -> list[MarkedField]:
    """Read a CSV table with the columns field, x, y, label and optionally sample.

    Paths are relative to its folder; the sample of a field is the one of its first row.
    """
    marks: dict[str, list[Mark]] = {}
    samples: dict[str, str] = {}
    try:
        rows = read_rows(table)
    except (OSError, ValueError) as error:
        raise DataError(f"{table}: cannot be read as a UTF-8 CSV table: {error}") from error
    for row in rows:
        field = row["field"].strip()
        if not field:
            raise DataError(f"{table}, line {row.line}: no field; name an image file")
        mark = _mark(table, row.line, row["x"], row["y"], row["label"])
        marks.setdefault(field, []).append(mark)
        samples.setdefault(field, row.get("sample", "").strip())
    return [
        MarkedField(table.parent / field, tuple(own), samples[field] or None)
        for field, own in marks.items()
    ]


def _mark(file: Path, place: object, x: object, y: object, name: str) -> Mark:
    try:
        mark = Mark(float(str(x)), float(str(y)), " ".join(name.split()))
    except ValueError as error:
        raise DataError(f"{file}, {place}: {one_line(f'{x}, {y}')} is no place") from error
    if not (isfinite(mark.x) and isfinite(mark.y)):
        raise DataError(f"{file}, {place}: {x}, {y} is no place")
    return mark


def _text(file: Path) -> str:
    try:
        return read_text(file, MOST_BYTES)
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read as UTF-8 text: {error}") from error


def _json(file: Path) -> Any:
    try:
        return read_json(file)
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read as JSON: {error}") from error


def beside(images: Sequence[Path], files: Mapping[str, list[Path]]) -> dict[Path, Path]:
    """Return the file of marks of each image: of its name, in its folder or else anywhere.

    Args:
        files: the files of marks by their names without the suffix.
    """
    pairs = {}
    for image in images:
        own = files.get(image.stem, [])
        here = [file for file in own if file.parent == image.parent] or own
        if len(here) == 1:
            pairs[image] = here[0]
    return pairs
