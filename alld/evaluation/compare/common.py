"""The images that several runs tested, side by side; nothing else can be compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alld.data.manifest import LABEL_NAMES
from alld.data.splits import connected
from alld.errors import RunError
from alld.evaluation.compare.tested import Key, Tested


@dataclass(frozen=True)
class Common:
    """What R runs said of the N rows that all of them have; rows repeat images, if at all."""

    names: tuple[str, ...]
    keys: list[Key]
    paths: list[str]
    groups: list[int]
    y_true: NDArray[np.int64]  # (N,)
    prob: NDArray[np.float64]  # (R, N)
    verdicts: NDArray[np.int64]  # (R, N)

    @property
    def labels(self) -> dict[str, int]:
        """The label of each image, which may have several rows, by its SHA-256."""
        pairs = zip(self.keys, self.y_true.tolist(), strict=True)
        return {sha256: label for (_, sha256), label in pairs}

    @property
    def repeats(self) -> int:
        """How often each image was tested at most; 1 but for a cross-validation."""
        return len({repeat for repeat, _ in self.keys})

    @property
    def group_count(self) -> int:
        """How many groups the images are in."""
        return len(set(self.groups))

    @property
    def right(self) -> NDArray[np.bool_]:
        """(R, N) whether each run was right."""
        return np.equal(self.verdicts, self.y_true)


def common_images(runs: Sequence[Tested]) -> Common:
    """Put what runs said of the same images, in the same repeats, side by side.

    Groups are joined: what any of the runs keeps together stays together.

    Raises:
        RunError: no image in common, labels that disagree, a run beside a cross-validation.
    """
    names = _names([run.folder for run in runs])
    if len({run.repeated for run in runs}) > 1:
        raise RunError("a cross-validation with repeats and a single run: compare like with like")
    keys = [key for key in runs[0].outcomes if all(key in run.outcomes for run in runs)]
    if not keys:
        raise RunError(
            f"no image was tested by all of {', '.join(names)}; train them on one split "
            "(one data set, --split and --seed, or --set split.seed=N)"
        )
    rows = [[run.outcomes[key] for key in keys] for run in runs]  # R lists of N
    labels = np.array([[outcome.label for outcome in row] for row in rows])  # (R, N)
    for number, column in np.argwhere(labels != labels[0]):
        first, other = (LABEL_NAMES[labels[run, column]] for run in (0, number))
        raise RunError(
            f"{rows[0][column].path}: {first} in {names[0]}, {other} in {names[number]}; "
            "the same labels are needed to compare"
        )
    return Common(
        names=names,
        keys=keys,
        paths=[outcome.path for outcome in rows[0]],
        groups=_joined(keys, [[outcome.group for outcome in row] for row in rows]),
        y_true=labels[0],
        prob=np.array([[outcome.probability for outcome in row] for row in rows]),
        verdicts=np.array([[outcome.verdict for outcome in row] for row in rows]),
    )


def _names(folders: Sequence[Path]) -> tuple[str, ...]:
    """The folders' own names, or their whole paths where two have one name."""
    short = tuple(folder.resolve().name for folder in folders)
    return short if len(set(short)) == len(short) else tuple(map(str, folders))


def _joined(keys: Sequence[Key], groups: Sequence[Sequence[str]]) -> list[int]:
    """One number a row; rows that any run puts into one group, or of one image, share theirs."""
    shared = [[f"image {sha256}"] for _, sha256 in keys]
    for number, of_run in enumerate(groups):
        for names, group in zip(shared, of_run, strict=True):
            names.append(f"run {number} {group}")
    joined = [0] * len(keys)
    for unit, rows in enumerate(connected(shared)):
        for row in rows:
            joined[row] = unit
    return joined
