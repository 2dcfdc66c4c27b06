"""Choose the domains that `--split session` tests; all others train."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from alld.data.manifest import LABEL_NAMES, Manifest, Part, class_counts
from alld.errors import DataError

Tested = tuple[str, ...]  # names of domains


def pairings(manifest: Manifest) -> list[list[Tested]]:
    """Return how the images of a set can be tested by models that saw nothing of their domains.

    Where two domains or more hold both classes, each of these is tested once, by a model of all
    others. Where classes never meet in a domain, the domains of each class are sorted by name and
    cut into two sides of about as many images; a model is trained on one side of each class and
    tested on the others, in both pairings of sides, so in four directions.

    Returns:
        What each direction of each pairing tests; a pairing tests no image twice.

    Raises:
        DataError: no such test is possible.
    """
    counts = Counter((record.domain, record.label) for record in manifest)
    if unknown := sum(record.domain is None for record in manifest):
        seen = f"{unknown} of {len(manifest)} images are of no known session or other domain"
        raise _no_test(manifest, f"{seen}; name it in a column of a table, such as session")
    names = sorted({record.domain for record in manifest if record.domain})
    mixed = [name for name in names if counts[name, 0] and counts[name, 1]]
    if len(mixed) > 1:
        return [[(name,) for name in mixed]]
    if mixed:
        seen = f"{mixed[0]} alone holds both classes"
        raise _no_test(manifest, f"{seen}; bring images of another such one")
    sides = []
    for label, kind in enumerate(LABEL_NAMES):
        own = [(name, count) for name in names if (count := counts[name, label])]
        if len(own) < 2:
            seen = f"all {kind} images come from {own[0][0] if own else 'no domain'}"
            raise _no_test(manifest, f"{seen}; bring {kind} images of another one")
        sides.append(_sides(own))
    (first, second), (third, fourth) = sides
    return [
        [second + fourth, first + third],
        [first + fourth, second + third],
    ]


def count_directions(manifest: Manifest) -> tuple[int, str]:
    """Return in how many directions a set can be tested, 0 for none, and why there is none."""
    try:
        return sum(map(len, pairings(manifest))), ""
    except DataError as error:
        return 0, error.message


def _no_test(manifest: Manifest, reason: str) -> DataError:
    return DataError(f"--split session: {manifest.root}: {reason}")


def _sides(counts: Sequence[tuple[str, int]]) -> tuple[Tested, Tested]:
    """Cut domains into two sides that differ least in their number of images."""
    sizes = np.cumsum([count for _, count in counts])
    cut = 1 + int(np.argmin(np.abs(sizes[-1] - 2 * sizes[:-1])))
    names = tuple(name for name, _ in counts)
    return names[:cut], names[cut:]


def tested_domains(found: Sequence[Sequence[Tested]], seed: int, fold: int | None) -> Tested:
    """Return what one fold of a repeat tests, or one training where `fold` is None.

    Seeds take the pairings `found` in turn, and without a fold their directions.
    """
    if fold is None:
        every = [tested for pairing in found for tested in pairing]
        return every[seed % len(every)]
    return found[seed % len(found)][fold - 1]


def session_parts(manifest: Manifest, seed: int, fold: int | None) -> list[Part]:
    """Return test for the images of one direction and train for all others; see `pairings`."""
    tested = tested_domains(pairings(manifest), seed, fold)
    return ["test" if record.domain in tested else "train" for record in manifest]


def describe_direction(manifest: Manifest, tested: Tested) -> str:
    """Return what a direction tests and what trains for it, to be read before a training."""
    parts: list[list[int]] = [[], []]  # labels of the tested images, and of the others
    for record in manifest:
        parts[record.domain not in tested].append(record.label)
    names = ", ".join(sorted(tested))
    return f"tests {class_counts(parts[0])} of {names}; trains on {class_counts(parts[1])}"
