"""Split a set into training, validation and test images, or into folds.

All splits follow one rule. Units (images, groups, or blocks of neighbours) are dealt to the parts
at random, large units first, with a probability proportional to the places that a part has left.
The classes come out balanced, no unit is split, and every part gets units of both classes.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from alld.config.schema import SplitConfig, SplitKind
from alld.data.dealing import Units, connected, deal, units_per_class
from alld.data.directions import session_parts
from alld.data.manifest import BLAST, HEALTHY, LABEL_NAMES, Manifest, Part
from alld.errors import DataError

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
    def leaking(self) -> list[str]:
        """The groups that have images in more than one part, sorted."""
        pairs = set(zip(self.groups, self.parts, strict=True))
        parts_of = Counter(group for group, _ in pairs)
        return sorted(group for group, parts in parts_of.items() if parts > 1)

    @property
    def leaking_groups(self) -> int:
        """The number of groups that have images in more than one part."""
        return len(self.leaking)


def make_split(
    manifest: Manifest, groups: Sequence[str], groups_source: str, config: SplitConfig, seed: int
) -> Split:
    """Draw the test, validation and training images.

    Args:
        groups: the group of every image, in the manifest's order.
        seed: equal seeds give equal splits of equal sets.

    Raises:
        DataError: a class has too few units for three parts or for the folds, `--split paper` is
            used on a set that is not ALL-IDB2, `--split given` on one without its own split, or
            `--split session` on one whose domains allow no such test.
    """
    labels = np.array(manifest.labels)
    if config.kind == "paper":
        _check_paper_set(manifest)
    if config.kind in ("given", "session"):
        given = config.kind == "given"
        own = _given(manifest) if given else session_parts(manifest, seed, config.fold)
        dealt = _with_validation(manifest, groups, config, seed, own)
    elif config.folds is not None:
        dealt = _deal_fold(manifest, groups, config, seed)
    else:
        units, capacities = _units(manifest, groups, config), _capacities(labels, config)
        _check_units(manifest, units, config, None)
        dealt = deal(units, labels, capacities, np.random.default_rng(seed), least=1)
    parts = tuple(PARTS[part] for part in dealt)
    patients = tuple(manifest.patients) if any(manifest.patients) else ()
    return Split(config.kind, seed, parts, tuple(groups), groups_source, patients)


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
    dealt = deal(units, labels, np.stack([valid, others - valid]), rng, least=1)
    return 1 + dealt  # the tests are in none of these units: -1 becomes 0, which is "test"


def unused_split(manifest: Manifest, config: SplitConfig) -> str | None:
    """Say that a set has a split of its own where the default split ignores it, or None."""
    parts = {record.part for record in manifest if record.part}
    if config.kind != "grouped" or len(parts) < 2:
        return None
    return (
        f"{manifest.root} has a split of its own ({_own_split(manifest)}), and its images are "
        "divided anew all the same; --split given keeps to it"
    )


def _own_split(manifest: Manifest) -> str:
    """`80 train, 20 test`."""
    counts = Counter(record.part for record in manifest)
    return ", ".join(f"{counts[part]} {part}" for part in PARTS[::-1] if counts[part])


def _given(manifest: Manifest) -> list[Part]:
    """The part of every image as the set gives it; DataError for images in none."""
    own = [record.part for record in manifest]
    if None in own:
        raise DataError(
            f"--split given: {own.count(None)} of {len(own)} images are in no part, such as "
            f"{manifest.records[own.index(None)].path}; sort all into folders train, val and "
            "test, or name the part in a table's column split"
        )
    return [part for part in own if part]


def _with_validation(
    manifest: Manifest, groups: Sequence[str], config: SplitConfig, seed: int, own: list[Part]
) -> NDArray[np.intp]:
    """(N,) part of every image; where none validates, some of the training images are dealt.

    Raises:
        DataError: a part without images of a class.
    """
    labels, dealt = np.array(manifest.labels), np.array([PARTS.index(part) for part in own])
    if "valid" not in own:
        training = dealt == PARTS.index("train")
        units = [[i for i in unit if training[i]] for unit in _units(manifest, groups, config)]
        totals = np.bincount(labels[training], minlength=2)
        share = config.valid_fraction / (1 - config.test_fraction)
        capacities = np.round(np.outer([share, 1 - share], totals)).astype(int)
        rng = np.random.default_rng(seed)
        dealt = 1 + deal([u for u in units if u], labels, capacities, rng, least=1)
    for number, part in enumerate(PARTS):
        for label, name in enumerate(LABEL_NAMES):
            if not ((dealt == number) & (labels == label)).any():
                whose = f" ({_own_split(manifest)})" if config.kind == "given" else ""
                raise DataError(
                    f"--split {config.kind}: the set's own division{whose} leaves no {name} image "
                    f"for {part}; add some, or use --split grouped"
                )
    return dealt


def make_folds(
    manifest: Manifest, groups: Sequence[str], config: SplitConfig, folds: int, seed: int
) -> NDArray[np.intp]:
    """Return (N,): the fold, 0 to `folds` - 1, in which each image is tested.

    Every class is spread evenly over the folds.

    Raises:
        DataError: `--split paper`, or a class with too few units for so many folds.
    """
    labels = np.array(manifest.labels)
    if config.kind == "paper":
        raise DataError("--split paper is one split, not folds; use grouped, blocks or random")
    units = _units(manifest, groups, config)
    _check_units(manifest, units, config, folds)
    totals = np.bincount(labels, minlength=2)
    extra = np.arange(folds)[:, None] < totals % folds
    capacities = totals // folds + extra  # (folds, 2)
    # What one of two folds does not test must give both validation and training.
    least = 2 if folds == 2 else 1
    return deal(units, labels, capacities, np.random.default_rng(seed), least=least)


def _units(manifest: Manifest, groups: Sequence[str], config: SplitConfig) -> Units:
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


def _check_units(manifest: Manifest, units: Units, config: SplitConfig, folds: int | None) -> None:
    """Refuse a class whose units cannot be in training, validation and test, or in every fold."""
    labels = np.array(manifest.labels)
    counts = units_per_class(units, labels)
    label, found = int(counts.argmin()), int(counts.min())
    # Each test leaves units for validation and for training: three units allow three folds only.
    fewest = 2 if found > 3 and folds else 3
    if fewest <= (folds or 3) <= found:
        return
    unit = {"random": "image", "paper": "image", "blocks": "block"}.get(config.kind, "group")
    if unit == "group" and all(manifest.patients):
        unit = "patient"
    seen = f"the {LABEL_NAMES[label]} images come from {found} {unit}{'' if found == 1 else 's'}"
    if unit == "image":
        seen = f"there are {found} {LABEL_NAMES[label]} images"
    if folds is None or found < 3:
        need = f"training, validation and test need 3; add images of more {unit}s"
    else:
        need = "choose 3 folds" if found == 3 else f"choose 2 to {found} folds"
    if unit != "image" and np.bincount(labels).min() >= (folds or 3):
        need += ", or use --split random, whose report says how many groups leak"
    what = f"--split {config.kind}" if folds is None else f"{folds} folds"
    raise DataError(f"{what}: {seen}; {need.replace('images of more images', 'images')}")


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
