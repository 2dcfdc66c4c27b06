"""Read the predictions of evaluated runs, and align those of the same images.

A cross-validation tests an image once in each repeat; a single run is repeat 0.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alld.data.dealing import connected
from alld.data.manifest import LABEL_NAMES
from alld.errors import RunError
from alld.evaluation.out_of_fold import HeldOut
from alld.runtime.files import plain_path
from alld.runtime.reading import read_csv, read_json

Key = tuple[int, str]  # repeat, SHA-256 of the pixels; of the file if some run is older


@dataclass(frozen=True)
class EvaluatedRun:
    """The test images of a run by repeat and content; `copies` of equal content are left out."""

    folder: Path
    data: dict[str, Any]  # of metrics.json
    images: dict[Key, HeldOut]
    copies: int
    outside: Mapping[str, Any] | None = None  # of a cross-validation of other sessions
    split: str = ""  # its kind

    @property
    def synthetic(self) -> bool:
        """Whether the images were drawn, not photographed."""
        return bool(self.data["synthetic"])

    @property
    def repeated(self) -> bool:
        """Whether this is a cross-validation."""
        return any(repeat for repeat, _ in self.images)


@dataclass(frozen=True)
class AlignedRuns:
    """The predictions of R runs on the N rows, images in a repeat, that all of them have."""

    names: tuple[str, ...]
    keys: list[Key]
    paths: list[str]
    groups: list[int]
    y_true: NDArray[np.int64]  # (N,)
    prob: NDArray[np.float64]  # (R, N)
    verdicts: NDArray[np.int64]  # (R, N)

    @property
    def labels(self) -> dict[str, int]:
        """The label of each image, which may have several rows, by its content."""
        pairs = zip(self.keys, self.y_true.tolist(), strict=True)
        return {content: label for (_, content), label in pairs}

    @property
    def repeats(self) -> int:
        """How often each image was tested at most; 1 but for a cross-validation."""
        return len({repeat for repeat, _ in self.keys})

    @property
    def group_count(self) -> int:
        """The number of groups of images."""
        return len(set(self.groups))

    @property
    def correct(self) -> NDArray[np.bool_]:
        """(R, N) whether each run's verdict is the label."""
        return np.equal(self.verdicts, self.y_true)


def read_tested(folder: Path) -> EvaluatedRun:
    """Read the predictions of an evaluated run or cross-validation, and the groups of its images.

    Needs `evaluation/predictions.csv` (path, sha256, probability, threshold, label, perhaps
    repeat and pixels_sha256), `evaluation/metrics.json` and `split.csv` (path, group). Files of
    equal pixels are one image, which counts once in each repeat.

    Raises:
        RunError: no run there, one that was not evaluated, or files that no evaluation wrote.
    """
    table = folder / "evaluation" / "predictions.csv"
    if not table.is_file():
        if (folder / "run.json").is_file():
            raise RunError(f"{folder}: not evaluated yet; first: alld evaluate {folder}")
        raise RunError(f"{folder}: no run there; `alld runs` lists those under ./runs")
    columns = ("path", "sha256", "probability", "threshold", "label")
    rows = _read_table(table, columns, folder)
    groups = _groups(folder, [row["path"] for row in rows])
    images: dict[Key, HeldOut] = {}
    for line, row in enumerate(rows, start=2):
        try:
            image = _image(row, groups[row["path"]])
        except ValueError as error:
            message = f"{table}, line {line}: not what an evaluation writes; {_again(folder)}"
            raise RunError(message) from error
        first = images.setdefault((image.repeat, image.pixels_sha256 or image.sha256), image)
        if first.label != image.label:
            raise RunError(
                f"{table}, line {line}: the same picture as {first.path} under the other label"
            )
    facts = _facts(folder)
    data, outside = facts["data"], facts.get("outside")
    split = str((facts.get("plan") or data).get("split"))
    return EvaluatedRun(folder, data, images, len(rows) - len(images), outside, split)


def by_content(rows: Iterable[HeldOut], *, pixels: bool = True) -> dict[Key, HeldOut]:
    """Return the first row of each content in each repeat.

    Args:
        pixels: recognise images by their pixels where these are known, else by their files.
    """
    images: dict[Key, HeldOut] = {}
    for row in rows:
        content = (row.pixels_sha256 if pixels else "") or row.sha256
        images.setdefault((row.repeat, content), row)
    return images


def align_runs(runs: Sequence[EvaluatedRun]) -> AlignedRuns:
    """Select the images, in the same repeats, that all runs tested.

    Groups are joined: what any of the runs keeps together stays together.

    Raises:
        RunError: no image in common, labels that disagree, a run beside a cross-validation.
    """
    short = tuple(run.folder.resolve().name for run in runs)
    names = short if len(set(short)) == len(runs) else tuple(str(run.folder) for run in runs)
    if len({run.repeated for run in runs}) > 1:
        raise RunError("a cross-validation with repeats and a single run: compare like with like")
    known = all(image.pixels_sha256 for run in runs for image in run.images.values())
    tested = [by_content(run.images.values(), pixels=known) for run in runs]
    keys = [key for key in tested[0] if all(key in images for images in tested)]
    if not keys:
        raise RunError(
            f"no image was tested by all of {', '.join(names)}; train them on one split "
            "(one data set, --split and --seed, or --set split.seed=N)"
        )
    rows = [[images[key] for key in keys] for images in tested]  # R lists of N
    labels = np.array([[image.label for image in row] for row in rows])  # (R, N)
    for number, column in np.argwhere(labels != labels[0]):
        first, other = (LABEL_NAMES[labels[run, column]] for run in (0, number))
        raise RunError(
            f"{rows[0][column].path}: {first} in {names[0]}, {other} in {names[number]}; "
            "the same labels are needed to compare"
        )
    return AlignedRuns(
        names=names,
        keys=keys,
        paths=[image.path for image in rows[0]],
        groups=_joined_groups(keys, rows),
        y_true=labels[0],
        prob=np.array([[image.probability for image in row] for row in rows]),
        verdicts=np.array([[image.verdict for image in row] for row in rows]),
    )


def _joined_groups(keys: Sequence[Key], rows: Sequence[Sequence[HeldOut]]) -> list[int]:
    """One number a row, shared by rows of one image and by those that any run groups together."""
    shared = [[f"image {content}"] for _, content in keys]
    for run, images in enumerate(rows):
        for names, image in zip(shared, images, strict=True):
            names.append(f"run {run} {image.group}")
    joined = [0] * len(keys)
    for number, members in enumerate(connected(shared)):
        for row in members:
            joined[row] = number
    return joined


def _read_table(path: Path, columns: Sequence[str], folder: Path) -> list[dict[str, str]]:
    try:
        rows = read_csv(path)
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read: {error}") from error
    if not rows or any(row.get(column) is None for row in rows for column in columns):
        raise RunError(f"{path}: needs rows with {','.join(columns)}; {_again(folder)}")
    return rows


def _image(row: dict[str, str], group: str) -> HeldOut:
    probability, threshold = float(row["probability"]), float(row["threshold"])
    if not (0 <= probability <= 1 and 0 <= threshold <= 1 and row["sha256"]):
        raise ValueError("a number out of range, or no hash")
    return HeldOut(
        repeat=int(row.get("repeat") or 0),
        fold=0,
        path=row["path"],
        sha256=row["sha256"],
        group=group,
        label=LABEL_NAMES.index(row["label"]),
        probability=probability,
        threshold=threshold,
        pixels_sha256=row.get("pixels_sha256") or "",
    )


def _groups(folder: Path, paths: Sequence[str]) -> dict[str, str]:
    """The group of each path. The split names images relative to the root of their set, which may
    have moved since: the root is the folder below which the split knows every one of them."""
    rows = _read_table(folder / "split.csv", ("path", "group"), folder)
    group_of = {row["path"]: row["group"] for row in rows}
    for root in Path(paths[0]).parents:
        inside = {path: path_below(root, path) for path in paths}
        if all(place in group_of for place in inside.values()):
            return {path: group_of[place] for path, place in inside.items() if place is not None}
    raise RunError(f"{folder / 'split.csv'}: not the split of its evaluation; {_again(folder)}")


def path_below(root: Path, path: str) -> str | None:
    """Return a path relative to a folder, as splits write it, or None where it lies elsewhere."""
    place = Path(path)
    return plain_path(place.relative_to(root).as_posix()) if place.is_relative_to(root) else None


def _facts(folder: Path) -> dict[str, Any]:
    path = folder / "evaluation" / "metrics.json"
    try:
        facts: dict[str, Any] = read_json(path)
        _ = facts["data"]["synthetic"], facts["data"]["name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: not what an evaluation writes; {_again(folder)}") from error
    return facts


def _again(folder: Path) -> str:
    return f"repeat it: alld evaluate {folder}"
