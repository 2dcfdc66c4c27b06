"""What was found in a field: its cells with their verdicts, or the reason why it was not read."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from alld.inference.prediction import OUT_OF_DOMAIN, UNCERTAIN, VERDICTS

WHITE = "white cell"


@dataclass(frozen=True)
class Cell:
    """A stained object of a field, in pixels of the field: x to the right, y down.

    A white cell that lies inside the field has a verdict; `left_out` says why any other has none.
    """

    x: float  # centre
    y: float
    width: float  # of the box around its nucleus
    height: float
    outline: tuple[tuple[float, float], ...]  # x and y along the edge of the nucleus
    kind: str
    at_border: bool
    verdict: str | None = None
    probability: float | None = None  # P(blast)
    reason: str | None = None  # of a verdict that abstains
    pixels_sha256: str | None = None  # of the crop

    @property
    def left_out(self) -> str | None:
        """`platelet`, or another kind, or `cut by the border`; None for a cell with a verdict."""
        if self.kind != WHITE:
            return self.kind
        return "cut by the border" if self.at_border else None

    @property
    def judged(self) -> bool:
        """Whether it was called blast or healthy."""
        return self.verdict is not None and self.verdict not in (UNCERTAIN, OUT_OF_DOMAIN)


@dataclass(frozen=True)
class Field:
    """One file of the list; without cells where `error` says why it was not read."""

    path: str
    sha256: str | None
    width: int | None = None  # px
    height: int | None = None
    pixels_per_um: float | None = None  # by its red cells; None where they do not tell
    synthetic: bool = False
    notes: tuple[str, ...] = ()  # what decoding converted or found unusual
    cells: tuple[Cell, ...] = ()
    error: str | None = None

    def counts(self) -> dict[str, int]:
        """Return how many objects of each kind and white cells of each verdict there are."""
        white = [cell for cell in self.cells if cell.kind == WHITE]
        verdicts = {name: sum(cell.verdict == name for cell in white) for name in VERDICTS}
        other = {kind: sum(c.kind == kind for c in self.cells) for kind in _OTHERS}
        return {
            "white_cells": len(white),
            "at_border": sum(cell.at_border for cell in white),
            "judged": sum(cell.judged for cell in white),
            **{name.replace(" ", "_"): count for name, count in verdicts.items()},
            **{f"{kind}s": count for kind, count in other.items()},
        }


_OTHERS = ("platelet", "smudge", "artefact")
COUNTED = tuple(Field("", None).counts())


def as_line(field: Field, pictures: dict[str, Any]) -> bytes:
    """Return a field and its pictures as a line of JSON."""
    return json.dumps({"field": asdict(field), "pictures": pictures}).encode() + b"\n"


def parse_line(line: bytes) -> tuple[Field, dict[str, Any]]:
    """Return what `as_line` wrote."""
    stored = json.loads(line)
    field = stored["field"]
    cells = tuple(
        Cell(**{**cell, "outline": tuple((x, y) for x, y in cell["outline"])})
        for cell in field["cells"]
    )
    return Field(**{**field, "notes": tuple(field["notes"]), "cells": cells}), stored["pictures"]
