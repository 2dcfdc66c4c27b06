"""Which images test, validate and train: stratified, and groups on one side where wanted.

One rule makes all of them: units (an image, a group, a block of neighbours) are dealt at random to
parts in proportion to the room that each part has left, large units first, so that the classes come
out balanced and no unit is split.
"""

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from alld.config.schema import SplitConfig, SplitKind
from alld.data.manifest import BLAST, HEALTHY, LABEL_NAMES, Manifest
from alld.errors import DataError
from alld.runtime.files import sha256_hex, write_text

Part = Literal["train", "valid", "test"]
PARTS: tuple[Part, ...] = ("test", "valid", "train")
PAPER_TEST = {BLAST: 23, HEALTHY: 29}  # what Table 2's percentages decode to


@dataclass(frozen=True)
class Split:
    """The part of every image of a manifest, in its order, with the groups it respects."""

    kind: SplitKind
    seed: int
    parts: tuple[Part, ...]
    groups: tuple[str, ...]
    groups_source: str
    patients: tuple[str, ...] = ()  # as many, or none where the set names no patient

    def indices(self, part: Part) -> list[int]:
        """The manifest's numbers of the images of one part, ascending."""
        return [index for index, here in enumerate(self.parts) if here == part]

    @property
    def leaking_groups(self) -> int:
        """How many groups have images in more than one part: what a random split leaks."""
        parts_of = defaultdict(set)
        for group, part in zip(self.groups, self.parts, strict=True):
            parts_of[group].add(part)
        return sum(len(parts) > 1 for parts in parts_of.values())


def make_split(
    manifest: Manifest, groups: Sequence[str], groups_source: str, config: SplitConfig, seed: int
) -> Split:
    """Draw the test, validation and training images.

    Args:
        groups: the group of every image, in the manifest's order.
        seed: equal seeds give equal splits of equal sets.

    Raises:
        DataError: a part would lack a class, or `paper` is asked of another set than ALL-IDB2.
    """
    labels = np.array(manifest.labels)
    if config.kind == "paper":
        _check_paper_set(manifest)
    if config.folds is not None:
        dealt = _deal_fold(manifest, groups, config, seed)
    else:
        units, capacities = _units(manifest, groups, config), _capacities(labels, config)
        dealt = deal(units, labels, capacities, np.random.default_rng(seed))
    split = Split(
        config.kind,
        seed,
        tuple(PARTS[part] for part in dealt),
        tuple(groups),
        groups_source,
        tuple(manifest.patients) if any(manifest.patients) else (),
    )
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
    """The number of the fold, 0 to `folds` - 1, in which each image is tested.

    `random`, `grouped` and `blocks` as in `make_split`; every class is spread evenly.
    """
    labels = np.array(manifest.labels)
    if config.kind == "paper":
        raise DataError("--split paper is one split, not folds; use grouped, blocks or random")
    smallest = min(Counter(manifest.labels).values())
    if not 2 <= folds <= smallest:
        raise DataError(f"{folds} folds: choose 2 to {smallest}, the size of the smaller class")
    totals = np.bincount(labels, minlength=2)
    capacities = np.stack([_shares(total, folds) for total in totals], axis=1)  # (folds, 2)
    return deal(_units(manifest, groups, config), labels, capacities, np.random.default_rng(seed))


def deal(
    units: Sequence[Sequence[int]],
    labels: NDArray[np.intp],
    capacities: NDArray[np.intp],
    rng: np.random.Generator,
) -> NDArray[np.intp]:
    """Deal whole units to parts.

    Args:
        units: lists of image numbers that stay together; every image is in one of them.
        labels: (N,) the class of every image.
        capacities: (parts, classes) how many images of each class a part should hold.

    Returns:
        (N,) the part of every image, -1 for one in no unit. Where all units are single images the
        capacities are met exactly; else a unit that fits nowhere goes where the most room is left.
    """
    room = capacities.astype(float)
    dealt = np.full(len(labels), -1)
    shuffled = [units[index] for index in rng.permutation(len(units))]
    for unit in sorted(shuffled, key=len, reverse=True):  # stable: equal sizes stay shuffled
        members = list(unit)
        needs = np.bincount(labels[members], minlength=room.shape[1])
        wanted = room[:, needs > 0].sum(axis=1)
        fits = (room >= needs).all(axis=1)
        weights = np.where(fits, np.clip(wanted, 0, None), 0)
        if weights.sum() > 0:
            part = int(rng.choice(len(room), p=weights / weights.sum()))
        else:
            part = int(np.argmax(wanted))
        room[part] -= needs
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
    """The run of neighbouring numbers an image is in, apart for each class and folder."""
    record = manifest.records[index]
    path = PurePosixPath(record.path)
    number = re.search(r"\d+", path.stem)
    if number is None:
        raise DataError(f"--split blocks needs a number in every file name; {record.path} has none")
    # ALL-IDB2 counts from 1: 001-010 are one block.
    return f"{path.parent}/{record.label}/{(int(number.group()) - 1) // size}"


def connected(keys: Sequence[Sequence[str]]) -> list[list[int]]:
    """The numbers of the images that share any key, directly or through others, as lists."""
    parent = list(range(len(keys)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first_with: dict[str, int] = {}
    for index, own in enumerate(keys):
        for key in own:
            parent[root(index)] = root(first_with.setdefault(key, index))
    units = defaultdict(list)
    for index in range(len(keys)):
        units[root(index)].append(index)
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


def _shares(total: int, folds: int) -> NDArray[np.intp]:
    return np.array([total // folds + (fold < total % folds) for fold in range(folds)])


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


COLUMNS = "path,label,group,part"


def split_text(manifest: Manifest, split: Split) -> str:
    """The split as CSV, with patients where there are any; its SHA-256 is the split's hash."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    patients = [[patient] for patient in split.patients]
    writer.writerow([*COLUMNS.split(","), *(["patient"] if patients else [])])
    rows = zip(manifest, split.groups, split.parts, patients or [[]] * len(manifest), strict=True)
    for record, group, part, patient in rows:
        writer.writerow([record.path, LABEL_NAMES[record.label], group, part, *patient])
    return text.getvalue()


def save_split(path: Path, manifest: Manifest, split: Split) -> str:
    """Write `split.csv` and return its hash."""
    text = split_text(manifest, split)
    write_text(path, text)
    return sha256_hex(text.encode())
