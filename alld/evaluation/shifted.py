"""How far the images of another set lie from a run's own, as the model sees them, class by class.

Whole sets differ already where their shares of blasts do; so blasts are compared with blasts and
healthy cells with healthy cells. A run's own images are those that did not train it: what a network
was fitted to lies closer together.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alld.data.manifest import BLAST, HEALTHY, LABEL_NAMES, Manifest, Pictures
from alld.data.splits import Split
from alld.evaluation.measure import Step, TestSet
from alld.stats.intervals import UndefinedMetric
from alld.stats.shift import Features, feature_shift

MOST = 1000  # images of a class and a set; more would only slow it

_Seen = tuple[Features, list[str]]  # features of some images, and their groups


def shifts(own: Manifest, split: Split, test: TestSet, step: Step) -> dict[str, Any]:
    """`feature_shift` of each class, and between the run's own two classes, for a scale.

    Where there is none, the reason stands in its place.

    Raises:
        ImageError, DataError: an image that cannot be read, or has changed.
    """
    held_out = split.indices("valid") + split.indices("test")
    own_side, other_side = (own, held_out), (test.manifest, test.indices)
    chosen = {
        (side, label): _sample(manifest, indices, label)
        for side, (manifest, indices) in enumerate((own_side, other_side))
        for label in (BLAST, HEALTHY)
    }
    groups = split.groups, test.set_groups
    seen: dict[tuple[int, int], _Seen] = {}
    for (side, label), part in chosen.items():
        pictures = _counted(Pictures((own_side, other_side)[side][0]), part, step)
        seen[side, label] = test.predictor.features(pictures), [groups[side][i] for i in part]
    found = {name: _shift(seen[0, label], seen[1, label]) for label, name in enumerate(LABEL_NAMES)}
    return {**found, "own_classes": _shift(seen[0, BLAST], seen[0, HEALTHY])}


def _counted(pictures: Pictures, part: Sequence[int], step: Step) -> Iterator[NDArray[np.uint8]]:
    for done, index in enumerate(part, start=1):
        yield pictures[index]
        step("comparing with the run's own images", done, len(part))


def _sample(manifest: Manifest, indices: Sequence[int], label: int) -> list[int]:
    members = [index for index in indices if manifest.records[index].label == label]
    if len(members) <= MOST:
        return members
    drawn = np.random.default_rng(0).choice(len(members), MOST, replace=False)
    return [members[place] for place in sorted(drawn.tolist())]


def _shift(first: _Seen, second: _Seen) -> dict[str, Any]:
    try:
        return feature_shift(first[0], second[0], first[1], second[1]).as_dict()
    except UndefinedMetric as undefined:
        return {"distance": None, "reason": str(undefined)}
