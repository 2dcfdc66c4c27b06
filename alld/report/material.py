"""Hold what the report and the pictures of a result are made from."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alld.inference.heat_map import Heat
from alld.stats.confusion import Confusion, confusion

History = Sequence[Mapping[str, str]]  # the rows of history.csv


@dataclass(frozen=True)
class Scored:
    """The predictions for a set of images, one each; labels and verdicts are 0 or 1 (blast)."""

    y_true: Sequence[int]
    y_prob: Sequence[float]
    verdicts: Sequence[int]

    @property
    def counts(self) -> Confusion:
        """Correct and wrong verdicts of both classes."""
        return confusion(self.y_true, self.verdicts)

    @property
    def roc_point(self) -> tuple[float, float]:
        """1 - specificity and sensitivity of the verdicts; both classes must be present."""
        counts = self.counts
        return counts.false_positive / counts.healthy, counts.true_positive / counts.blast


@dataclass(frozen=True)
class Pictured:
    """A tested image to show, with its heat map (h, w) beside it if there is one."""

    file: Path
    sha256: str | None
    name: str  # to show: never a whole path
    label: str
    verdict: str
    row: int  # of the image in the facts: in `missed` of a cross-validation, else `predictions`
    evidence: Heat | None = None


@dataclass(frozen=True)
class Material:
    """A held-out test, an external test or a cross-validation, ready to be shown."""

    facts: Mapping[str, Any]  # metrics.json; of a run, also its predictions
    tests: tuple[Scored, ...]  # one for a run, one per repeat for a cross-validation
    misclassified: tuple[Pictured, ...]  # in the order in which to show them
    histories: tuple[History, ...]  # of each training
    explained: tuple[Pictured, ...] = ()  # with heat maps, in the order in which to show them


def short_names(paths: Sequence[str]) -> list[str]:
    """Return file names, with their folder where a name occurs more than once: no whole path."""
    whole = [Path(path) for path in paths]
    count = Counter(path.name for path in set(whole))  # repeats predict one image several times
    return [path.name if count[path.name] == 1 else "/".join(path.parts[-2:]) for path in whole]
