"""What the report and the pictures of a result are made from, the same for every kind of result."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from alld.inference.heat_map import Heat
from alld.report.words import Words
from alld.stats.metrics import Confusion, confusion

History = Sequence[Mapping[str, str]]  # the rows of history.csv


@dataclass(frozen=True)
class Scored:
    """What was said of a set of images, each once; labels and verdicts are 0 healthy or 1 blast."""

    y_true: Sequence[int]
    y_prob: Sequence[float]
    verdicts: Sequence[int]

    @property
    def counts(self) -> Confusion:
        """Right and wrong verdicts of both classes."""
        return confusion(self.y_true, self.verdicts)

    @property
    def roc_point(self) -> tuple[float, float]:
        """1 - specificity and sensitivity of the verdicts; both classes must be there."""
        counts = self.counts
        return counts.false_positive / counts.healthy, counts.true_positive / counts.blast


@dataclass(frozen=True)
class Pictured:
    """A tested image to be shown; `lines` are sentences with fields, see `facts`.

    `evidence` (h, w) is its heat map, where that is shown beside it.
    """

    file: Path
    sha256: str | None
    name: str  # to show: never a whole path
    label: str
    verdict: str
    lines: tuple[str, ...]
    evidence: Heat | None = None


@dataclass(frozen=True)
class Material:
    """A result, ready to be shown."""

    layout: Literal["run", "external", "crossval"]  # the folder of its templates
    facts: Mapping[str, Any]  # what may be looked up: metrics.json, for a run also its predictions
    words: Words
    tests: tuple[Scored, ...]  # a run is tested once, a cross-validation once in each repeat
    misjudged: tuple[Pictured, ...]  # in the order in which to show them
    histories: tuple[History, ...]  # of each training
    explained: tuple[Pictured, ...] = ()  # with heat maps, in the order in which to show them


def short_names(paths: Sequence[str]) -> list[str]:
    """The file's name, with its folder where that name stands for several: no one's whole path."""
    whole = [Path(path) for path in paths]
    often = Counter(path.name for path in set(whole))  # repeats judge one image several times
    return [path.name if often[path.name] == 1 else "/".join(path.parts[-2:]) for path in whole]
