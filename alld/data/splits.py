"""Split a set into training, validation and test images, or into folds.

All splits follow one rule. Units (images, groups, or blocks of neighbours) are dealt to the parts
at random, large units first, with a probability proportional to the places that a part has left.
The classes come out balanced, and no unit is split.
"""

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from alld.config.schema import SplitConfig, SplitKind
from alld.data.manifest import BLAST, HEALTHY, LABEL_NAMES, Manifest
from alld.errors import DataError

Part = Literal["train", "valid", "test"]
PARTS: tuple[Part, ...] = ("test", "valid", "train")
PAPER_TEST = {BLAST: 23, HEALTHY: 29}  # what Table 2's percentages decode to


@dataclass(frozen=True)
class Split:
    """The part and the group of every image, in the manifest's order."""

    kind: SplitKind
    seed: int
    parts: tuple[Part, ...]
    groups: tuple[str, ...]
    groups_source: str
    patients: tuple[str, ...] = ()  # empty where the set names no patient

    def indices(self, part: Part) -> list[int]:
        """Return the numbers of the images of one part, ascending."""
        return [index for index, here in enumerate(self.parts) if here == part]

    @property
    def leaking_groups(self) -> int:
        """The number of groups that have images in more than one part."""
        pairs = set(zip(self.groups, self.parts, strict=True))
        return sum(parts > 1 for parts in Counter(group for group, _ in pairs).values())


def make_split(
    manifest: Manifest, groups: Sequence[str], groups_source: str, config: SplitConfig, seed: int
) -> Split:
    """Draw the test, validation and training images.

    Args:
        groups: the group of every image, in the manifest's order.
        seed: equal seeds give equal splits of equal sets.

    Raises:
        DataError: a part would lack a class, or `--split paper` is used on a set that is not
            ALL-IDB2.
    """
    labels = np.array(manifest.labels)
    if config.kind == "paper":
        _check_paper_set(manifest)
    if config.folds is not None:
        dealt = _deal_fold(manifest, groups, config, seed)
    else:
        units, capacities = _units(manifest, groups, config), _capacities(labels, config)
        dealt = deal(units, labels, capacities, np.random.default_rng(seed))
    parts = tuple(PARTS[part] for part in dealt)
    patients = tuple(manifest.patients) if any(manifest.patients) else ()
    split = Split(config.kind, seed, parts, tuple(groups), groups_source, patients)
    _check_classes(split, labels)
    return split


def _deal_fold(
    manifest: Manifest, groups: Sequence[str], config: SplitConfig, seed: int
) -> NDArray[np.intp]:
    """(N,) part of every image: one fold tests, the others give validation and training."""
    folds, fold = config.folds or 0, config.fold or 0  # config has checked both
    labels = np.array(manifest.labels)
    tests = make_folds(manifest, groups, config, folds, seed) == fold - 1
    others = np.bincount(labels[~tests], minlength=2)
    valid = _proportional(round(config.valid_fraction * len(labels)), others)
    units = [unit for unit in _units(manifest, groups, config) if not tests[unit[0]]]
    rng = np.random.default_rng([seed, fold])
    dealt = deal(units, labels, np.stack([valid, others - valid]), rng)
    return 1 + dealt  # the tests are in none of these units: -1 becomes 0, which is "test"


def make_folds(
    manifest: Manifest, groups: Sequence[str], config: SplitConfig, folds: int, seed: int
) -> NDArray[np.intp]:
    """Return (N,): the fold, 0 to `folds` - 1, in which each image is tested.

    Every class is spread evenly over the folds.

    Raises:
        DataError: `--split paper`, or more folds than the smaller class has images.
    """
    labels = np.array(manifest.labels)
    if config.kind == "paper":
        raise DataError("--split paper is one split, not folds; use grouped, blocks or random")
    smallest = min(Counter(manifest.labels).values())
    if not 2 <= folds <= smallest:
        raise DataError(f"{folds} folds: choose 2 to {smallest}, the size of the smaller class")
    totals = np.bincount(labels, minlength=2)
    extra = np.arange(folds)[:, None] < totals % folds
    capacities = totals // folds + extra  # (folds, 2)
    return deal(_units(manifest, groups, config), labels, capacities, np.random.default_rng(seed))


def deal(
    units: Sequence[Sequence[int]],
    labels: NDArray[np.intp],
    capacities: NDArray[np.intp],
    rng: np.random.Generator,
) -> NDArray[np.intp]:
    """Deal whole units to parts.

    Args:
        units: lists of image numbers that stay together.
        labels: (N,) the class of every image.
        capacities: (parts, classes) how many images of each class a part should hold.

    Returns:
        (N,) the part of every image, -1 for an image in no unit. Single images meet the capacities
        exactly; a larger unit that fits nowhere goes to the part with the most places left.
    """
    free = capacities.astype(float)
    dealt = np.full(len(labels), -1)
    shuffled = [units[index] for index in rng.permutation(len(units))]
    for unit in sorted(shuffled, key=len, reverse=True):  # stable: equal sizes stay shuffled
        members = list(unit)
        needs = np.bincount(labels[members], minlength=free.shape[1])
        wanted = free[:, needs > 0].sum(axis=1)
        fits = (free >= needs).all(axis=1)
        weights = np.where(fits, np.clip(wanted, 0, None), 0)
        if weights.sum() > 0:
            part = int(rng.choice(len(free), p=weights / weights.sum()))
        else:
            part = int(np.argmax(wanted))
        free[part] -= needs
        dealt[members] = part
    return dealt


def _units(manifest: Manifest, groups: Sequence[str], config: SplitConfig) -> list[list[int]]:
    if config.kind in ("random", "paper"):
        return [[index] for index in range(len(manifest))]
    together = [[f"group {group}"] for group in groups]
    if config.kind == "blocks":
        for index, keys in enumerate(together):
            keys.append(f"block {_block_of(manifest, index, config.block)}")
    return connected(together)


def _block_of(manifest: Manifest, index: int, size: int) -> str:
    """The run of neighbouring file numbers that an image is in, for each class and folder."""
    record = manifest.records[index]
    path = PurePosixPath(record.path)
    number = re.search(r"\d+", path.stem)
    if number is None:
        raise DataError(f"--split blocks needs a number in every file name; {record.path} has none")
    # ALL-IDB2 counts from 1: 001-010 are one block.
    return f"{path.parent}/{record.label}/{(int(number.group()) - 1) // size}"


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


def _capacities(labels: NDArray[np.intp], config: SplitConfig) -> NDArray[np.intp]:
    """(3, 2): how many images of each class test, validation and training should hold."""
    totals = np.bincount(labels, minlength=2)
    n = len(labels)
    if config.kind == "paper":
        test = np.array([PAPER_TEST[HEALTHY], PAPER_TEST[BLAST]])
    else:
        test = _proportional(round(config.test_fraction * n), totals)
    valid = _proportional(round(config.valid_fraction * n), totals - test)
    return np.stack([test, valid, totals - test - valid])


def _proportional(size: int, totals: NDArray[np.intp]) -> NDArray[np.intp]:
    """Share `size` out in proportion to `totals`, the largest remainders first."""
    exact = size * totals / totals.sum()
    shares: NDArray[np.intp] = np.floor(exact).astype(int)
    for label in np.argsort(shares - exact, kind="stable")[: size - shares.sum()]:
        shares[label] += 1
    return shares


def _check_paper_set(manifest: Manifest) -> None:
    counts = Counter(manifest.labels)
    whole = counts[BLAST] == counts[HEALTHY] == 130
    if manifest.kind == "ALL-IDB2" and whole and (manifest.original or manifest.synthetic):
        return
    seen = "; ".join(manifest.warnings) or f"{manifest.root} is another set"
    raise DataError(
        f"--split paper repeats the paper on the original 260 images of ALL-IDB2 only: {seen}; "
        "use --split random or grouped"
    )


def _check_classes(split: Split, labels: NDArray[np.intp]) -> None:
    for part in PARTS:
        present = set(labels[split.indices(part)])
        lacking = [name for label, name in enumerate(LABEL_NAMES) if label not in present]
        if lacking:
            raise DataError(
                f"--split {split.kind}: no {lacking[0]} image is left for {part} "
                f"({len(labels)} images in all); bring more images or change split.*_fraction"
            )


def split_text(manifest: Manifest, split: Split) -> str:
    """Return the content of `split.csv`; patients have a column where any is known."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    patients = [[patient] for patient in split.patients]
    writer.writerow(["path", "label", "group", "part", *(["patient"] if patients else [])])
    rows = zip(manifest, split.groups, split.parts, patients or [[]] * len(manifest), strict=True)
    for record, group, part, patient in rows:
        writer.writerow([record.path, LABEL_NAMES[record.label], group, part, *patient])
    return text.getvalue()
