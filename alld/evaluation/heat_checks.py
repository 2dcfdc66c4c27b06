"""The checks of each explained image, and their means with intervals.

`outside` is the share of the evidence for the verdict that lies in the background, as
`alld.audit.background` defines it; `even` is the share of the image that is background, which is
what a uniform map would have. The others say by how much the probability of the verdict falls:
`fall` when the most important fifth of the image is blurred away, `elsewhere` under a mask of that
size from another image with the same verdict, `same_background` and `other_background` when the
background is replaced by that of an image with the same or the other verdict.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from alld.data.manifest import LABEL_NAMES
from alld.runtime.files import write_csv
from alld.runtime.reading import read_csv
from alld.stats.intervals import grouped_mean
from alld.stats.metrics import Metric, measured

FILE = "heat_maps.csv"
COLUMNS = (
    "path", "sha256", "verdict", "outside", "even", "fall", "elsewhere", "same_background",
    "other_background",
)  # fmt: skip
MEASURES = (*COLUMNS[3:], "difference", "background_difference")
ALL = "all"
Summary = dict[str, dict[str, Metric]]  # the measures of all, blast and healthy verdicts


@dataclass(frozen=True)
class Checked:
    """One image; a check is None if there is no evidence for the verdict or no other image."""

    path: str
    sha256: str
    verdict: str
    outside: float | None
    even: float
    fall: float
    elsewhere: float | None
    same_background: float | None
    other_background: float | None

    @property
    def difference(self) -> float | None:
        """How much more its own mask matters than that of another image."""
        return None if self.elsewhere is None else self.fall - self.elsewhere

    @property
    def background_difference(self) -> float | None:
        """How much more a background of the other verdict matters than one of the same."""
        if self.other_background is None or self.same_background is None:
            return None
        return self.other_background - self.same_background


def summarise(checked: Sequence[Checked], groups: Sequence[str], draws: int) -> Summary:
    """Return the mean of each measure, over all images and over those of either verdict.

    Args:
        groups: one name for each image, equal for images that belong together.
        draws: number of bootstrap draws.
    """
    summary: Summary = {}
    for name in (ALL, *reversed(LABEL_NAMES)):
        rows = [row for row, one in enumerate(checked) if name in (ALL, one.verdict)]
        own = [groups[row] for row in rows]
        summary[name] = {
            measure: _mean([getattr(checked[row], measure) for row in rows], own, draws)
            for measure in MEASURES
        }
    return summary


def _mean(values: Sequence[float | None], groups: Sequence[str], draws: int) -> Metric:
    known = [row for row, value in enumerate(values) if value is not None]
    if not known:
        return Metric(None, None, 0, None, None, None, "no image has one")
    numbers = np.array([values[row] for row in known], dtype=float)
    interval = partial(grouped_mean, numbers, [groups[row] for row in known], draws=draws)
    return measured(lambda: float(numbers.mean()), interval, len(known))


def write_checked(folder: Path, checked: Sequence[Checked]) -> None:
    """Write `heat_maps.csv`, one row for each image."""
    write_csv(folder / FILE, COLUMNS, map(asdict, checked))


def read_checked(folder: Path) -> list[Checked]:
    """Read `heat_maps.csv` back; return no rows where there is no such file.

    Raises:
        OSError, ValueError: it cannot be read, or has other columns.
    """
    if not (folder / FILE).is_file():
        return []
    rows = [{name: cell or None for name, cell in row.items()} for row in read_csv(folder / FILE)]
    return TypeAdapter(list[Checked]).validate_python(rows)
