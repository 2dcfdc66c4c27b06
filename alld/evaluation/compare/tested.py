"""What a run said of each image it was tested on, read back from the files of its evaluation.

A cross-validation tests an image once in each repeat; a single run is one repeat without a name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alld.data.manifest import LABEL_NAMES
from alld.errors import RunError
from alld.runtime.files import plain_path
from alld.runtime.reading import read_csv, read_json

Key = tuple[str, str]  # repeat, SHA-256 of the image file
_NEEDED = ("path", "sha256", "probability", "threshold", "label")


@dataclass(frozen=True)
class Outcome:
    """One tested image; `verdict` is 1 where P(blast) reached the model's own threshold."""

    path: str
    label: int
    probability: float
    verdict: int
    group: str


@dataclass(frozen=True)
class Tested:
    """The tested images of a run by repeat and content; `copies` of others were left out."""

    folder: Path
    data: dict[str, Any]  # of metrics.json
    outcomes: dict[Key, Outcome]
    copies: int

    @property
    def synthetic(self) -> bool:
        """The images were drawn, not photographed."""
        return bool(self.data["synthetic"])

    @property
    def repeated(self) -> bool:
        """The rows name the repeat of a cross-validation."""
        return any(repeat for repeat, _ in self.outcomes)


def read_tested(folder: Path) -> Tested:
    """Read the predictions of an evaluated run or cross-validation, and the groups of its images.

    Needs `evaluation/predictions.csv` (path, sha256, probability, threshold, label, perhaps
    repeat), `evaluation/metrics.json` and `split.csv` (path, group). Files of equal content are one
    image, which counts once in each repeat.

    Raises:
        RunError: no run there, one that was not evaluated, or files that no evaluation wrote.
    """
    table = folder / "evaluation" / "predictions.csv"
    if not table.is_file():
        if (folder / "run.json").is_file():
            raise RunError(f"{folder}: not evaluated yet; first: alld evaluate {folder}")
        raise RunError(f"{folder}: no run there; `alld runs` lists those under ./runs")
    rows = _read_table(table, _NEEDED, folder)
    groups = _groups(folder, [row["path"] for row in rows])
    outcomes: dict[Key, Outcome] = {}
    for line, row in enumerate(rows, start=2):
        place, outcome = f"{table}, line {line}", _outcome(row, groups[row["path"]])
        if outcome is None:
            raise RunError(f"{place}: not what an evaluation writes; {_again(folder)}")
        first = outcomes.setdefault((row.get("repeat") or "", row["sha256"]), outcome)
        if first.label != outcome.label:
            raise RunError(f"{place}: the same picture as {first.path} under the other label")
    return Tested(folder, _facts(folder), outcomes, len(rows) - len(outcomes))


def _read_table(path: Path, columns: Sequence[str], folder: Path) -> list[dict[str, str]]:
    try:
        rows = read_csv(path)
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read: {error}") from error
    if not rows or any(row.get(column) is None for row in rows for column in columns):
        raise RunError(f"{path}: needs rows with {','.join(columns)}; {_again(folder)}")
    return rows


def _outcome(row: Mapping[str, str], group: str) -> Outcome | None:
    """None for a row with a number that is none, or out of range, or without a label or hash."""
    try:
        probability, threshold = float(row["probability"]), float(row["threshold"])
        label = LABEL_NAMES.index(row["label"])
    except ValueError:
        return None
    if not (0 <= probability <= 1 and 0 <= threshold <= 1 and row["sha256"]):
        return None
    return Outcome(row["path"], label, probability, int(probability >= threshold), group)


def _groups(folder: Path, paths: Sequence[str]) -> dict[str, str]:
    """The group of each path. The split names images from the root of their set, which may have
    moved since: the root is the folder below which the split knows every one of them."""
    rows = _read_table(folder / "split.csv", ("path", "group"), folder)
    named = {row["path"]: row["group"] for row in rows}
    for root in Path(paths[0]).parents:
        relative = {path: _below(root, path) for path in paths}
        if all(place in named for place in relative.values()):
            return {path: named[place] for path, place in relative.items() if place is not None}
    raise RunError(f"{folder / 'split.csv'}: not the split of its evaluation; {_again(folder)}")


def _below(root: Path, path: str) -> str | None:
    place = Path(path)
    inside = place.is_relative_to(root)
    return plain_path(place.relative_to(root).as_posix()) if inside else None


def _facts(folder: Path) -> dict[str, Any]:
    path = folder / "evaluation" / "metrics.json"
    try:
        data: dict[str, Any] = read_json(path)["data"]
        _ = data["synthetic"], data["name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: not what an evaluation writes; {_again(folder)}") from error
    return data


def _again(folder: Path) -> str:
    return f"repeat it: alld evaluate {folder}"
