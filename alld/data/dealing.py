"""Deal whole units of images to parts at random, so that the classes come out balanced."""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Units = Sequence[Sequence[int]]  # lists of image numbers that stay together


def deal(
    units: Units,
    labels: NDArray[np.intp],
    capacities: NDArray[np.intp],
    rng: np.random.Generator,
    *,
    least: int = 0,
) -> NDArray[np.intp]:
    """Deal whole units to parts, large ones first.

    Args:
        units: lists of image numbers that stay together.
        labels: (N,) the class of every image.
        capacities: (parts, classes) how many images of each class a part should hold.
        least: units of each of two classes that every part needs. Where chance leaves a part
            without them, all units are dealt again, and these first.

    Returns:
        (N,) the part of every image, -1 for an image in no unit. Single images meet the capacities
        exactly; a larger unit that fits nowhere goes to the part with the most places left.
    """
    dealt, held = _deal(units, labels, capacities, rng, 0)
    if held.min() < least:
        dealt, _ = _deal(units, labels, capacities, rng, least)
    return dealt


def _deal(
    units: Units,
    labels: NDArray[np.intp],
    capacities: NDArray[np.intp],
    rng: np.random.Generator,
    least: int,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the part of every image, (N,), and the units of each class in it, (parts, classes)."""
    free = capacities.astype(float)
    dealt = np.full(len(labels), -1)
    held = np.zeros_like(capacities)
    shuffled = [units[index] for index in rng.permutation(len(units))]
    waiting = units_per_class(units, labels, capacities.shape[1])
    for unit in sorted(shuffled, key=_order(labels, least)):  # stable: equal ones stay shuffled
        members = list(unit)
        needs = np.bincount(labels[members], minlength=free.shape[1])
        lacking = (least - held).clip(0)
        scarce = (needs > 0) & (waiting == lacking.sum(axis=0))  # none of this class to spare
        allowed = (lacking[:, scarce] > 0).all(axis=1)
        wanted = np.where(allowed, free[:, needs > 0].sum(axis=1), -np.inf)
        fits = allowed & (free >= needs).all(axis=1)
        weights = np.where(fits, np.clip(wanted, 0, None), 0)
        if weights.sum() > 0:
            part = int(rng.choice(len(free), p=weights / weights.sum()))
        else:
            part = int(np.argmax(wanted))
        free[part] -= needs
        held[part] += needs > 0
        waiting = waiting - (needs > 0)
        dealt[members] = part
    return dealt, held


def units_per_class(units: Units, labels: NDArray[np.intp], classes: int = 2) -> NDArray[np.intp]:
    """Return how many units hold images of each class, (classes,)."""
    return np.array([sum((labels[list(u)] == c).any() for u in units) for c in range(classes)])


def _order(labels: NDArray[np.intp], least: int) -> Callable[[Sequence[int]], tuple[int, int]]:
    """Large units first; where every part needs both classes, those that hold both come first."""
    return lambda unit: (-len(set(labels[list(unit)])) if least else 0, -len(unit))


def connected(keys: Sequence[Sequence[str]]) -> list[list[int]]:
    """Return lists of the images that share one of their keys, directly or through others."""
    node_of: dict[str, int] = {}
    edges = [
        (image, len(keys) + node_of.setdefault(key, len(node_of)))
        for image, own in enumerate(keys)
        for key in own
    ]
    nodes, (images, shared) = len(keys) + len(node_of), np.array(edges, int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(edges)), (images, shared)), shape=(nodes, nodes))
    _, component = connected_components(graph, directed=False)
    units = defaultdict(list)
    for image in range(len(keys)):
        units[component[image]].append(image)
    return list(units.values())
