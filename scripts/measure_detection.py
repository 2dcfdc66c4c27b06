"""Measure how well the cells of real fields are found.

    python scripts/measure_detection.py --data FOLDER [--every N] [--rest] [--details]

FOLDER holds fields and their truth, which its files tell: `NAME.xyc` beside `NAME.jpg` (ALL-IDB1, a
centre of a blast on each line, none in a field of a healthy person), `NAME.txt` (YOLO: class and
box, relative), or `annotations/NAME.xml` (PASCAL VOC, of which the boxes named WBC count). Prints
JSON: recall and precision with Wilson's intervals, the median error of the count, processor seconds
a field on one thread, and the scale by the red cells of each group of fields.

A detection matches a box that its centre lies in, or a centre within 0.75 of a red cell's diameter.
Of ALL-IDB1 only recall is measured, for not all white cells are marked; the fields without blasts
list what was found, so that a reader can look at it.
"""

import argparse
import json
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from xml.etree import ElementTree

import activated  # noqa: F401 - says which environment to activate
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alld.cells.detect import DetectedCell, Detection, detect_cells
from alld.cells.ruler import RED_CELL_UM
from alld.images.decode import decode, read_image_bytes
from alld.images.rgb import RGB
from alld.stats.detection import (
    Detected,
    Distances,
    Matching,
    box_distances,
    count_error,
    disc_distances,
    match,
)

RADIUS = 0.75  # of a red cell's diameter: that of a small blast's own radius, 5 um
Truth = NDArray[np.float64]  # (T, 2) centres of blasts, or (T, 4) boxes of all white cells


@dataclass(frozen=True)
class Measured:
    """What was found in one field."""

    name: str
    truth: Truth
    detection: Detection
    matching: Matching
    seconds: float

    @property
    def white(self) -> list[DetectedCell]:
        return white_cells(self.detection)


def white_cells(detection: Detection) -> list[DetectedCell]:
    return [cell for cell in detection.cells if cell.kind == "white cell"]


def truth_of(file: Path, pixels: RGB) -> Truth:
    """The marked cells of a field, by whichever file of truth it has."""
    voc = file.parent / "annotations" / f"{file.stem}.xml"
    if voc.exists():
        return _voc(voc)
    if (centres := file.with_suffix(".xyc")).exists():
        return _numbers(centres).reshape(-1, 2)
    height, width = pixels.shape[:2]
    relative = _numbers(file.with_suffix(".txt")).reshape(-1, 5)[:, 1:]
    return np.asarray(relative * np.array([width, height, width, height]))


def _numbers(file: Path) -> Truth:
    return np.array(file.read_text(encoding="utf-8").split(), np.float64)


def _voc(file: Path) -> Truth:
    boxes = []
    for marked in ElementTree.parse(file).iter("object"):
        if marked.findtext("name") == "WBC":
            corner = [float(marked.findtext(f"bndbox/{end}", "nan")) for end in _ENDS]
            left, top, right, bottom = corner
            boxes.append(((left + right) / 2, (top + bottom) / 2, right - left, bottom - top))
    return np.array(boxes, np.float64).reshape(-1, 4)


_ENDS = ("xmin", "ymin", "xmax", "ymax")


def distances(truth: Truth, detection: Detection) -> Distances:
    """Of the white cells found from those marked."""
    centres = [(cell.x, cell.y) for cell in white_cells(detection)]
    if truth.shape[1] == 4:
        return box_distances(truth, centres)
    scale = detection.pixels_per_um
    # Without a scale nothing can be matched to a point, and all of them are missed.
    return disc_distances(truth, centres, RADIUS * RED_CELL_UM * scale if scale else 1e-9)


def measure(file: Path) -> Measured:
    pixels = decode(read_image_bytes(file), str(file)).pixels
    truth = truth_of(file, pixels)
    began = time.thread_time()
    detection = detect_cells(pixels)
    seconds = time.thread_time() - began
    return Measured(file.stem, truth, detection, match(distances(truth, detection)), seconds)


def summary(fields: list[Measured]) -> dict[str, Any]:
    boxes = all(field.truth.shape[1] == 4 for field in fields)
    counts = Detected(
        sum(len(field.matching.marked) for field in fields),
        sum(len(field.matching.missed) for field in fields),
        sum(len(field.matching.extra) for field in fields),
    )
    marked = [field for field in fields if len(field.truth)]
    plain = [field for field in fields if not len(field.truth)]
    found: dict[str, Any] = {"fields": len(fields), "recall": counts.recall.as_dict()}
    if boxes:
        errors = [count_error(len(field.truth), len(field.white)) for field in marked]
        found["precision"] = counts.precision.as_dict()
        found["count_error_median"] = median(errors) if errors else None
        found["count_error_mean"] = float(np.mean(errors)) if errors else None
    else:
        found["white_cells_in_fields_without_blasts"] = sum(len(field.white) for field in plain)
        found["fields_without_blasts"] = len(plain)
    found["seconds_median"] = median(field.seconds for field in fields)
    found["seconds_worst"] = max(field.seconds for field in fields)
    return found


def scales(fields: list[Measured], sizes: dict[str, str]) -> dict[str, Any]:
    """Pixels per um by the red cells, of the fields of each size."""
    groups: dict[str, list[float | None]] = defaultdict(list)
    for field in fields:
        groups[sizes[field.name]].append(field.detection.pixels_per_um)
    found: dict[str, Any] = {}
    for name, values in sorted(groups.items()):
        known = [value for value in values if value is not None]
        if not known:
            found[name] = {"fields": len(values), "without_scale": len(values)}
            continue
        low, middle, high = np.percentile(known, [25, 50, 75])
        found[name] = {
            "fields": len(values),
            "without_scale": len(values) - len(known),
            "median": round(float(middle), 2),
            "quartiles": [round(float(low), 2), round(float(high), 2)],
            "range": [round(min(known), 2), round(max(known), 2)],
        }
    return found


def details(field: Measured) -> dict[str, Any]:
    """What was missed, and what was found beyond the truth or in a field without marked cells."""
    beyond = [field.white[row] for row in field.matching.extra]
    known = field.truth.shape[1] == 4 or not len(field.truth)
    return {
        "field": field.name,
        "missed": field.truth[field.matching.missed].round().tolist(),
        "beyond": [(round(cell.x), round(cell.y)) for cell in beyond] if known else [],
    }


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_AS_IT_IS)
    parser.add_argument("--data", type=Path, required=True, help="folder of fields")
    parser.add_argument("--every", type=int, default=1, help="take one of so many fields or slides")
    parser.add_argument("--rest", action="store_true", help="take those that --every leaves out")
    parser.add_argument("--details", action="store_true", help="list what was missed, and beyond")
    options = parser.parse_args()
    files = sorted(file for file in options.data.iterdir() if file.suffix.lower() == ".jpg")
    # Slides stay together: what was chosen on some is confirmed on others.
    slides = sorted({_slide(file.stem) for file in files})
    taken = {slide for row, slide in enumerate(slides) if (row % options.every > 0) == options.rest}
    files = [file for file in files if _slide(file.stem) in taken]
    if not files:
        parser.error(f"no JPEG fields to measure in {options.data}")
    sizes = {}
    for file in files:
        with Image.open(file) as picture:
            sizes[file.stem] = "{} x {} px".format(*picture.size)
    fields = [measure(file) for file in files]
    found = {"summary": summary(fields), "pixels_per_um": scales(fields, sizes)}
    if options.details:
        rows = [details(field) for field in fields]
        found["details"] = {"fields": [row for row in rows if row["missed"] or row["beyond"]]}
    print(json.dumps(found, indent=1))


def _slide(stem: str) -> str:
    """`B-30` of `B-30_0058`; the whole name where no slide is before the last underscore."""
    before, _, _ = stem.rpartition("_")
    return before if "-" in before else stem


_AS_IT_IS = argparse.RawDescriptionHelpFormatter


if __name__ == "__main__":
    main()
