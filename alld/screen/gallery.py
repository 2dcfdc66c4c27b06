"""Choose the cells whose pictures a sample's page shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from alld.inference.prediction import OUT_OF_DOMAIN
from alld.screen.records import WHITE, Cell, Field

MOST, MOST_LEFT_OUT = 40, 8  # pictures that fit on a sample's page of A4
Place = tuple[int, int]  # a field's number and its cell's, from 0


@dataclass(frozen=True)
class Gallery:
    """The cells on the page of each sample: those that were classified, and those left out."""

    classified: Mapping[str, list[Place]]  # the highest P(blast) first
    left_out: Mapping[str, list[Place]]

    @property
    def wanted(self) -> dict[int, list[int]]:
        """The cells of each field."""
        places: dict[int, list[int]] = {}
        for shown in (*self.classified.values(), *self.left_out.values()):
            for field, cell in shown:
                places.setdefault(field, []).append(cell)
        return places


def choose(fields: Sequence[Field], samples: Sequence[str]) -> Gallery:
    """Return all cells of each sample, or evenly spaced ones of its ranking by P(blast).

    Of the cells that were left out, those out of domain come first.
    """
    classified: dict[str, list[tuple[Place, Cell]]] = {}
    others: dict[str, list[tuple[Place, Cell]]] = {}
    for number, (field, sample) in enumerate(zip(fields, samples, strict=True)):
        classified.setdefault(sample, [])
        others.setdefault(sample, [])
        for place, cell in enumerate(field.cells):
            if cell.kind != WHITE:
                continue
            refused = cell.verdict in (None, OUT_OF_DOMAIN)
            (others if refused else classified)[sample].append(((number, place), cell))
    for ranked in classified.values():
        ranked.sort(key=lambda one: -(one[1].probability or 0))
    for refused_ones in others.values():
        refused_ones.sort(key=lambda one: one[1].verdict is None)
    return Gallery(
        {sample: _spaced([place for place, _ in own], MOST) for sample, own in classified.items()},
        {sample: [p for p, _ in own][:MOST_LEFT_OUT] for sample, own in others.items()},
    )


def _spaced(places: list[Place], most: int) -> list[Place]:
    """At most `most` of them, evenly spaced, with the first and the last."""
    if len(places) <= most:
        return places
    return [places[round(rank * (len(places) - 1) / (most - 1))] for rank in range(most)]
