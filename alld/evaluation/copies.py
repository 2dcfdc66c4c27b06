"""Find images of another set that show cells which trained a model, whatever their files.

Such images were saved anew, turned, cut from the same field, or photographed again.
"""

from dataclasses import replace
from typing import NamedTuple

from alld.auditing.background import MAX_COMPARED_SIDE
from alld.data.cache import cache_file, read_cached, write_cached
from alld.data.groups.places import TURNS, Relation
from alld.data.groups.recapture import SMALL_SIDE, TILE, is_small
from alld.data.groups.relations import ALGORITHM_VERSION, Description, describe, search
from alld.data.manifest import ImageRecord, Manifest, Pictures
from alld.evaluation.measure import Step
from alld.runtime.files import sha256_hex
from alld.runtime.threads import side_by_side

STEP = "comparing with the training images"
_TOO_SMALL = f"only exact copies can be found of images smaller than {SMALL_SIDE} px"


class Copy(NamedTuple):
    """An image of another set, and what it shows of a training image."""

    path: str
    shows: str


def find_copies(
    trained: Manifest | None, other: Manifest, step: Step
) -> tuple[list[Copy], str | None]:
    """Return the images of `other` that show a cell, or part of the field, of a training image.

    What is found is kept in the user's cache folder under the fingerprints of both sets. The second
    value is the reason why some copies cannot be found, or None.

    Raises:
        ImageError, DataError: an image cannot be read, or changed after its hash was taken.
    """
    if not trained:
        return [], None
    both = sha256_hex(f"{trained.fingerprint} {other.fingerprint}".encode())
    file = cache_file("copies", both, ALGORITHM_VERSION)
    try:
        rows, reason = read_cached(file)
        return [Copy(*row) for row in rows], reason
    except (TypeError, ValueError):  # nothing is kept, or something else
        found = _search(trained, other, step)
        write_cached(file, found)
        return found


def _search(trained: Manifest, other: Manifest, step: Step) -> tuple[list[Copy], str | None]:
    records = (*_with_whole_paths(trained), *_with_whole_paths(other))
    both = replace(trained, records=records)
    described, numbers = _describe(both, step)
    apart = sum(number < len(trained) for number in numbers)
    if not 0 < apart < len(numbers):
        return [], _TOO_SMALL
    n = len(records)
    reason = _TOO_SMALL if any(is_small(one.patches.shape) for one in described) else None
    found = search(
        Pictures(replace(both, records=tuple(records[number] for number in numbers))),
        described,
        lambda share: step(STEP, n + int(share * n), 2 * n),
        turns=True,
        apart=apart,
    )
    return [
        Copy(
            other.records[numbers[relation.second] - len(trained)].path,
            _shown(relation, trained.records[numbers[relation.first]].path),
        )
        for relation in found.relations
    ], reason


def _with_whole_paths(manifest: Manifest) -> list[ImageRecord]:
    return [
        replace(record, path=str(manifest.file(index).absolute()))
        for index, record in enumerate(manifest)
    ]


def _describe(manifest: Manifest, step: Step) -> tuple[list[Description], list[int]]:
    """Describe the images that can be compared, and give their numbers."""

    def describe_at(index: int) -> Description | None:
        pixels = manifest.decode(index).pixels
        comparable = min(pixels.shape[:2]) >= TILE and max(pixels.shape[:2]) <= MAX_COMPARED_SIDE
        return describe(pixels, len(manifest)) if comparable else None

    described, numbers = [], []
    for number, one in enumerate(side_by_side(describe_at, range(len(manifest)))):
        if one is not None:
            described.append(one)
            numbers.append(number)
        step(STEP, number + 1, 2 * len(manifest))
    return described, numbers


def _shown(relation: Relation, name: str) -> str:
    what = "the cell" if relation.kind == "same cell" else "part of the field"
    return f"{what} of {name}" + (f", {TURNS[relation.turn]}" if relation.turn else "")
