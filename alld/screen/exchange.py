"""Write the cells of fields for other programs: GeoJSON for QuPath, and COCO JSON."""

from collections.abc import Sequence
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from alld import NOTICE
from alld.inference.prediction import VERDICTS
from alld.screen.overlay import colour_of
from alld.screen.records import Cell, Field

Coco = dict[str, Any]
LEFT_OUT = ("cut by the border", "platelet", "smudge", "artefact")
CATEGORIES = (*VERDICTS, *LEFT_OUT)


def as_geojson(field: Field) -> dict[str, Any]:
    """Return a FeatureCollection with a detection for each object of a field.

    Coordinates are pixels of the field from its upper left corner. The id of a detection depends on
    the field's bytes and the place alone, so that a second import replaces the first.

    Source: RFC 7946; QuPath 0.6, "Exporting annotations" and its class QuPathTypeAdapters.
    """
    return {"type": "FeatureCollection", "features": [_feature(field, one) for one in field.cells]}


def _feature(field: Field, cell: Cell) -> dict[str, Any]:
    measurements = {} if cell.probability is None else {"P(blast)": cell.probability}
    metadata = {"ALLD": NOTICE, **({"reason": cell.reason} if cell.reason else {})}
    return {
        "type": "Feature",
        "id": str(uuid5(NAMESPACE_URL, f"{field.sha256} {cell.x} {cell.y}")),
        "geometry": {"type": "Polygon", "coordinates": [_ring(cell)]},
        "properties": {
            "objectType": "detection",
            "classification": {"name": _category(cell), "color": list(colour_of(cell))},
            "measurements": measurements,
            "metadata": metadata,
        },
    }


def _category(cell: Cell) -> str:
    return cell.left_out or str(cell.verdict)


def _ring(cell: Cell) -> list[list[float]]:
    """The closed outline, counterclockwise as GeoJSON has it; the box where there is none."""
    points = [list(point) for point in cell.outline]
    if points and points[0] == points[-1]:
        points.pop()
    if len(points) < 3:
        half, high = cell.width / 2, cell.height / 2
        corners = ((-half, -high), (half, -high), (half, high), (-half, high))
        points = [[cell.x + x, cell.y + y] for x, y in corners]
    following = [*points[1:], points[0]]
    area = sum(x * v - u * y for (x, y), (u, v) in zip(points, following, strict=True))
    if area < 0:
        points.reverse()
    return [*points, points[0]]


def as_coco(fields: Sequence[Field], *, synthetic: bool) -> Coco:
    """Return the objects of all fields in the form of COCO's `instances`; ids begin at 1.

    `score` is P(blast); a field that was not read is left out.
    """
    read = [(number, field) for number, field in enumerate(fields, start=1) if not field.error]
    images = [
        {"id": number, "file_name": field.path, "width": field.width, "height": field.height}
        for number, field in read
    ]
    pairs = [(number, cell) for number, field in read for cell in field.cells]
    return {
        "info": {
            "description": f"{'SYNTHETIC. ' if synthetic else ''}{NOTICE}",
            "predicted": True,  # no labels: `alld train` refuses them
        },
        "images": images,
        "annotations": [
            _annotation(count, number, cell) for count, (number, cell) in enumerate(pairs, start=1)
        ],
        "categories": [
            {"id": number, "name": name} for number, name in enumerate(CATEGORIES, start=1)
        ],
    }


def _annotation(count: int, image: int, cell: Cell) -> dict[str, Any]:
    ring = _ring(cell)[:-1]
    area = sum(x * v - u * y for (x, y), (u, v) in zip(ring, [*ring[1:], ring[0]], strict=True)) / 2
    left, top = cell.x - cell.width / 2, cell.y - cell.height / 2
    scored = {} if cell.probability is None else {"score": cell.probability}
    return {
        "id": count,
        "image_id": image,
        "category_id": CATEGORIES.index(_category(cell)) + 1,
        "bbox": [round(v, 1) for v in (left, top, cell.width, cell.height)],
        "segmentation": [[v for point in ring for v in point]],
        "area": round(area, 1),
        "iscrowd": 0,
        **scored,
    }
