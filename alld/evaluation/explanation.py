"""Check the heat maps of tested images: do they mark what the model uses, cell or background?

**Erasing.** If a map marks what matters, removing what it marks must change the prediction. The
fifth of the image with the most evidence is blurred beyond recognition, and the probability of the
verdict should fall further than under the mask of another image (after Samek et al., IEEE TNNLS 28
(2017) 2660-2673). The other image has the same verdict, which makes the test harder, because maps
of one class are alike. The mask has a soft edge, because a hard edge would itself be a feature.

**Cell against background.** The share of the evidence for the verdict is measured that lies where
`background_mask` sees neither the central cell nor a nucleus. Independently of any map, the
background is replaced by that of another image: if the model uses the cell alone, it makes no
difference whether that image has the same verdict or the other one.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from pydantic import TypeAdapter

from alld.auditing.background import background_mask
from alld.data.manifest import LABEL_NAMES, Progress
from alld.errors import ConfigError
from alld.inference.heat_map import Heat, enlarged
from alld.inference.prediction import Prediction
from alld.inference.predictor import Predictor
from alld.runtime.files import write_csv
from alld.runtime.reading import read_csv
from alld.stats.intervals import grouped_mean
from alld.stats.metrics import Metric, measured

ERASED = 0.2  # of the picture
BLUR = 1 / 14  # of its side: 16 px of 224, in which a nucleus of 80 px is a shadow
EDGE = BLUR / 4  # over which the mask fades
OTHERS = 2  # images whose background each gets, with the same verdict and with the other one
MOST_IMAGES = 500  # explained of a large test; drawn at random
MOST_SHOWN, MOST_WRONG_SHOWN = 12, 6  # in a report; each costs 60 kB

FILE = "heat_maps.csv"
Summary = dict[str, dict[str, Metric]]  # the measures of all, blast and healthy verdicts
Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Checked:
    """A row of `heat_maps.csv`; None if there is no evidence for the verdict or no other image."""

    path: str
    sha256: str
    verdict: str
    outside: float | None  # share of the evidence for the verdict that lies in the background
    even: float  # share of the image that is background, which is that of a uniform map
    # The others say by how much the probability of the verdict falls.
    fall: float  # when the fifth with the most evidence is blurred
    elsewhere: float | None  # when it is blurred under the mask of another image
    same_background: float | None  # on the background of an image with the same verdict
    other_background: float | None  # on the background of an image with the other verdict

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


COLUMNS = tuple(one.name for one in fields(Checked))
MEASURES = (*COLUMNS[3:], "difference", "background_difference")


@dataclass(frozen=True)
class Explanation:
    """The heat maps of a test and their checks, or the reason why there are none."""

    rows: tuple[int, ...] = ()  # numbers of the predictions they belong to
    evidence: tuple[Heat, ...] = ()  # (h, w) each
    checked: tuple[Checked, ...] = ()
    summary: Summary | None = None
    reason: str | None = None

    def as_facts(self) -> dict[str, Any]:
        """Return the entry of metrics.json."""
        if self.summary is None:
            return {"reason": self.reason}
        return {"reason": None, "erased": ERASED, "verdicts": self.summary}

    def examples(self, wrong: Sequence[int]) -> list[tuple[int, Heat]]:
        """Return the rows to show, with their maps: the first wrong ones, then others at random."""
        maps = dict(zip(self.rows, self.evidence, strict=True))
        shown = [row for row in wrong if row in maps][:MOST_WRONG_SHOWN]
        others = np.random.default_rng(0).permutation([row for row in maps if row not in wrong])
        shown += others[: MOST_SHOWN - len(shown)].astype(int).tolist()
        return [(row, maps[row]) for row in shown]


def explain_test(
    predictor: Predictor,
    pictures: Sequence[Pixels],
    predictions: Sequence[Prediction],
    groups: Sequence[str],
    *,
    draws: int,
    progress: Progress | None = None,
) -> Explanation:
    """Return the heat maps of at most 500 tested images, and their checks.

    Args:
        pictures: n decoded images, RGB (H, W, 3).
        predictions: n of them by the same predictor, none without a probability.
        groups: n names, equal for images that belong together.
        draws: number of bootstrap draws over groups.
        progress: called with the number of images done, of all.
    """
    rows = sorted(np.random.default_rng(0).permutation(len(predictions))[:MOST_IMAGES].tolist())
    subjects = [_Subject(predictor, pictures, row, predictions[row]) for row in rows]
    try:
        evidence = _evidence(predictor, subjects)
    except ConfigError as error:
        return Explanation(reason=str(error))
    names, blasts = [groups[row] for row in rows], [one.blast for one in subjects]
    alike, unlike = (other_images(blasts, names, same=same) for same in (True, False))
    checked = []
    for number in range(len(subjects)):
        checked.append(_check(number, alike[number], unlike[number], subjects, evidence))
        if progress:
            progress(number + 1, len(subjects))
    return Explanation(tuple(rows), evidence, tuple(checked), summarise(checked, names, draws))


def other_images(blasts: Sequence[bool], groups: Sequence[str], *, same: bool) -> list[list[int]]:
    """Return for each image two others of other groups, with the same or with the other verdict.

    There are fewer where no more exist. They are drawn at random with a fixed seed, and each is
    taken about as often as any other, so that no single image dominates.
    """
    order = np.random.default_rng(0).permutation(len(blasts)).tolist()
    of_verdict = {v: [row for row in order if blasts[row] == v] for v in (True, False)}
    found = []
    for row, (blast, group) in enumerate(zip(blasts, groups, strict=True)):
        own, theirs = of_verdict[blast], of_verdict[blast == same]
        start = own.index(row) * len(theirs) // len(own)
        fits = [one for one in theirs[start:] + theirs[:start] if groups[one] != group]
        found.append(fits[:OTHERS])
    return found


def hottest(heat: Heat) -> Mask:
    """Return a mask (S, S), true for the fifth of the pixels with the most evidence."""
    mask = np.zeros(heat.size, bool)
    mask[np.argsort(-heat, axis=None, kind="stable")[: round(ERASED * heat.size)]] = True
    return mask.reshape(heat.shape)


def erase(square: Pixels, mask: Mask) -> Pixels:
    """Return the square image (S, S, 3), blurred where the mask is true."""
    blurred = Image.fromarray(square).filter(ImageFilter.GaussianBlur(BLUR * len(square)))
    return exchange(square, np.asarray(blurred), mask)


def exchange(square: Pixels, other: Pixels, mask: Mask) -> Pixels:
    """Return the square image (S, S, 3) with the other one where the mask is true; soft edge."""
    hard = Image.fromarray(mask.astype(np.uint8) * 255)
    soft = hard.filter(ImageFilter.GaussianBlur(EDGE * len(square)))
    return np.asarray(Image.composite(Image.fromarray(other), Image.fromarray(square), soft))


def share_outside(heat: Heat, background: Mask) -> float | None:
    """Return the share of positive evidence (S, S) in the background; None if there is none."""
    positive = np.clip(heat, 0, None).astype(float)
    total = positive.sum()
    return float(positive[background].sum() / total) if total > 0 else None


@dataclass(frozen=True)
class _Subject:
    """One tested image; it is decoded whenever it is needed, because all would fill the memory."""

    predictor: Predictor
    pictures: Sequence[Pixels]
    row: int
    prediction: Prediction

    @property
    def blast(self) -> bool:
        """Whether P(blast) is at or above the threshold, even if the verdict is uncertain."""
        return (self.prediction.probability or 0) >= self.prediction.threshold

    @property
    def square(self) -> Pixels:
        return self.predictor.square(self.pictures[self.row])

    def for_verdict(self, evidence: Heat) -> Heat:
        """Return the map (h, w) at (S, S), positive where the evidence is for the verdict."""
        return enlarged(evidence if self.blast else -evidence, self.predictor.info.image_size)


def _evidence(predictor: Predictor, subjects: Sequence[_Subject]) -> tuple[Heat, ...]:
    found: list[Heat] = []
    for start in range(0, len(subjects), predictor.batch):
        batch = subjects[start : start + predictor.batch]
        found.extend(predictor.evidence([one.square for one in batch]))
    return tuple(found)


def _check(
    number: int,
    alike: Sequence[int],
    unlike: Sequence[int],
    subjects: Sequence[_Subject],
    evidence: Sequence[Heat],
) -> Checked:
    """Check one image; `alike` are others with its verdict, `unlike` with the other verdict."""
    one = subjects[number]
    square, heat = one.square, one.for_verdict(evidence[number])
    background = background_mask(square)
    changed = [("fall", erase(square, hottest(heat)))]
    for other in alike[:1]:
        mask = hottest(subjects[other].for_verdict(evidence[other]))
        changed.append(("elsewhere", erase(square, mask)))
    for name, others in (("same_background", alike), ("other_background", unlike)):
        for theirs in (subjects[other].square for other in others):
            shared = background & background_mask(theirs)
            changed.append((name, exchange(square, theirs, shared)))
    left = one.predictor.predict_pictures(picture for _, picture in changed).tolist()
    falls: dict[str, list[float]] = {}
    for (name, _), after in zip(changed, left, strict=True):
        fall = (one.prediction.probability or 0) - after
        falls.setdefault(name, []).append(fall if one.blast else -fall)
    means = {name: fmean(values) for name, values in falls.items()}
    return Checked(
        path=one.prediction.path,
        sha256=str(one.prediction.sha256),
        verdict=LABEL_NAMES[one.blast],
        outside=share_outside(heat, background),
        even=float(background.mean()),
        fall=means["fall"],
        elsewhere=means.get("elsewhere"),
        same_background=means.get("same_background"),
        other_background=means.get("other_background"),
    )


def summarise(checked: Sequence[Checked], groups: Sequence[str], draws: int) -> Summary:
    """Return the mean of each measure, over all images and over those of either verdict.

    Args:
        groups: one name for each image, equal for images that belong together.
        draws: number of bootstrap draws.
    """
    summary: Summary = {}
    for name in ("all", *reversed(LABEL_NAMES)):
        rows = [row for row, one in enumerate(checked) if name in ("all", one.verdict)]
        own = [groups[row] for row in rows]
        summary[name] = {
            measure: _mean([getattr(checked[row], measure) for row in rows], own, draws)
            for measure in MEASURES
        }
    return summary


def _mean(values: Sequence[float | None], groups: Sequence[str], draws: int) -> Metric:
    known = [row for row, value in enumerate(values) if value is not None]
    if not known:
        return Metric(None, None, 0, None, None, None, "no image has this value")
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
