"""Write the report of a screening: a page for each sample, which opens offline and prints on A4."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alld.report.facts import Fact, as_html
from alld.report.sentences import template
from alld.runtime.files import one_line, write_text
from alld.screen.gallery import Gallery, Place
from alld.screen.records import Field

PAGE = "report.html"


def write_report(
    folder: Path,
    facts: Mapping[str, Any],
    fields: Sequence[Field],
    gallery: Gallery,
    thumbs: Mapping[Place, str],
) -> dict[str, Any]:
    """Write the page, and return the facts with the cells that it shows.

    Args:
        facts: the content of `screen.json`.
        thumbs: a JPEG in base64 for each cell of the gallery.
    """
    samples, pictures = [], []
    for sample in facts["samples"]:
        shown = {
            name: [_tile(fields, place) for place in chosen[sample["sample"]]]
            for name, chosen in _parts(gallery)
        }
        samples.append({**sample, **shown})
        pictures.append(
            {
                name: [thumbs[p] for p in chosen[sample["sample"]]]
                for name, chosen in _parts(gallery)
            }
        )
    whole = {**facts, "samples": samples}
    known = {key: Fact(value, as_html, key) for key, value in whole.items()}
    text = template("screen.html", as_html).render(**known, pictures=pictures)
    write_text(folder / PAGE, text)
    return whole


def _parts(gallery: Gallery) -> tuple[tuple[str, Mapping[str, list[Place]]], ...]:
    return ("classified", gallery.classified), ("left_out", gallery.left_out)


def _tile(fields: Sequence[Field], place: Place) -> dict[str, Any]:
    field = fields[place[0]]
    cell = field.cells[place[1]]
    return {
        "field": one_line(Path(field.path).name),
        "x": cell.x,
        "y": cell.y,
        "verdict": cell.verdict or cell.left_out,
        "probability": cell.probability,
    }
