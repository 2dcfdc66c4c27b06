"""Measure predictions of images by models that never saw these images.

Two spreads are kept apart. The sampling spread shows how the numbers would vary with other images
of the same kind; it comes from a bootstrap over groups. The training spread shows how they vary
with other folds and seeds on the same images; it comes from the repeats of a cross-validation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alld.data.manifest import LABEL_NAMES
from alld.errors import RunError
from alld.inference.prediction import VERDICTS
from alld.runtime.files import plain_path
from alld.runtime.reading import read_csv
from alld.stats.confusion import Confusion, agreement, balanced_accuracy, confusion, f1
from alld.stats.intervals import UndefinedMetric, group_bootstrap
from alld.stats.metrics import (
    Metric,
    accuracy,
    all_metrics,
    brier,
    grouped_proportions,
    mcc_of,
    measured,
    precision,
    sensitivity,
    specificity,
)
from alld.stats.patients import ByPatient, by_patient
from alld.stats.ranking import pr_auc, roc_auc
from alld.stats.reliability import expected_calibration_error


@dataclass(frozen=True)
class HeldOut:
    """One image and what a model that never saw it predicts; label 0 healthy, 1 blast.

    A run is the first fold of one repeat. `answer` is one of VERDICTS, which has two more than the
    classes; None where it is not known.
    """

    repeat: int
    fold: int
    path: str
    sha256: str
    group: str
    label: int
    probability: float
    threshold: float
    answer: str | None = None
    patient: str = ""  # empty where it is not known
    pixels_sha256: str = ""  # empty in predictions of older versions

    @property
    def verdict(self) -> int:
        """1 blast where P(blast) is at or above the threshold, else 0 healthy."""
        return int(self.probability >= self.threshold)

    @property
    def wrong(self) -> bool:
        """Whether the verdict is not the label."""
        return self.verdict != self.label

    @property
    def distance(self) -> float:
        """Distance of P(blast) from the threshold, 0 to 1."""
        return abs(self.probability - self.threshold)


@dataclass(frozen=True)
class Spread:
    """A metric over the repeats; `sd` is None with its reason where there is one repeat."""

    mean: float | None
    sd: float | None
    low: float | None
    high: float | None
    repeats: int
    reason: str | None = None


@dataclass(frozen=True)
class Missed:
    """An image with a wrong verdict in at least one repeat; `times` counts those repeats."""

    path: str
    sha256: str
    label: str
    times: int
    lowest: float  # P(blast) over all repeats
    highest: float


def by_repeat(rows: Sequence[HeldOut]) -> list[list[HeldOut]]:
    """Return the rows of each repeat."""
    repeats: dict[int, list[HeldOut]] = {}
    for row in rows:
        repeats.setdefault(row.repeat, []).append(row)
    return list(repeats.values())


def wrong_rows(rows: Sequence[HeldOut]) -> list[int]:
    """Return the numbers of the rows with a wrong verdict, the most confident first."""
    wrong = [number for number, row in enumerate(rows) if row.wrong]
    return sorted(wrong, key=lambda number: -rows[number].distance)


def missed_images(rows: Sequence[HeldOut]) -> tuple[Missed, ...]:
    """Return each image with a wrong verdict once, by number of repeats, then by confidence."""
    of_image: dict[str, list[HeldOut]] = {}
    for row in rows:
        of_image.setdefault(row.path, []).append(row)
    ranked = []
    for path, own in of_image.items():
        distances = [row.distance for row in own if row.wrong]
        if not distances:
            continue
        label, prob = LABEL_NAMES[own[0].label], [row.probability for row in own]
        missed = Missed(path, own[0].sha256, label, len(distances), min(prob), max(prob))
        ranked.append((len(distances), fmean(distances), missed))
    ranked.sort(key=lambda found: found[:2], reverse=True)
    return tuple(missed for _, _, missed in ranked)


def read_fold(run: Path, repeat: int, fold: int) -> list[HeldOut]:
    """Return the test images of one evaluated fold.

    Raises:
        RunError: its tables are missing, damaged, or do not fit each other.
    """
    try:
        split = {row["path"]: row for row in read_csv(run / "split.csv")}
        rows = read_csv(run / "evaluation" / "predictions.csv")
        found = [_held_out(row, split, repeat, fold) for row in rows]
        tested = sorted(path for path, row in split.items() if row["part"] == "test")
        if not tested or sorted(row.path for row in found) != tested:
            raise ValueError("not the images that its split holds out")
        return found
    except (OSError, ValueError, KeyError, StopIteration) as error:
        raise RunError(f"{run}: its evaluation cannot be read ({error!r}); delete it") from error


def _held_out(
    row: dict[str, str], split: dict[str, dict[str, str]], repeat: int, fold: int
) -> HeldOut:
    # Predictions have whole paths, the split those from the set's root.
    inside = next(path for path in _tails(row["path"]) if path in split)
    return HeldOut(
        repeat=repeat,
        fold=fold,
        path=inside,
        sha256=row["sha256"],
        group=split[inside]["group"],
        label=LABEL_NAMES.index(row["label"]),
        probability=float(row["probability"]),
        threshold=float(row["threshold"]),
        answer=VERDICTS[VERDICTS.index(row["verdict"])],
        patient=split[inside].get("patient") or "",
        pixels_sha256=row.get("pixels_sha256") or "",
    )


def _tails(path: str) -> list[str]:
    parts = Path(path).parts
    return [plain_path("/".join(parts[start:])) for start in range(len(parts))]


def accuracy_of(rows: Sequence[HeldOut]) -> float:
    """Return the share of correct verdicts, 0 to 1."""
    return fmean(not row.wrong for row in rows)


def separate_metrics(
    rows: Sequence[HeldOut], draws: int
) -> tuple[dict[str, Metric], dict[str, Metric]]:
    """Return all metrics of one repeat, and its proportions with intervals over groups."""
    y_true, y_prob = _column(rows, "label"), _column(rows, "probability")
    thresholds, groups = _column(rows, "threshold"), [row.group for row in rows]
    return (
        all_metrics(y_true, y_prob, threshold=thresholds, groups=groups, draws=draws),
        grouped_proportions(y_true, y_prob, threshold=thresholds, groups=groups, draws=draws),
    )


def metrics_of_repeat(rows: Sequence[HeldOut], draws: int) -> dict[str, Metric]:
    """Return all metrics of one repeat, every interval over groups."""
    metrics, grouped = separate_metrics(rows, draws)
    return metrics | grouped


def pooled_metrics(repeats: Sequence[Sequence[HeldOut]], draws: int) -> dict[str, Metric]:
    """Return the mean of each metric over the repeats, with intervals of the sampling spread alone.

    With one repeat these are its own metrics. With more, each bootstrap draw takes the same groups
    in every repeat, `n` counts images rather than predictions, and `k` is None. The mean of the
    calibration error has no interval.
    """
    if len(repeats) == 1:
        return metrics_of_repeat(repeats[0], draws)
    ordered = _ordered(repeats)
    truth = _column(ordered[0], "label").astype(int)
    groups = [row.group for row in ordered[0]]
    prob = np.stack([_column(rows, "probability") for rows in ordered], axis=1)  # (n, repeats)
    verdicts = np.stack([_column(rows, "verdict") for rows in ordered], axis=1)  # (n, repeats)
    scores: dict[str, tuple[Score, NDArray[np.float64]]] = {
        "accuracy": (partial(_rate, rate=accuracy), verdicts),
        "sensitivity": (partial(_rate, rate=sensitivity), verdicts),
        "specificity": (partial(_rate, rate=specificity), verdicts),
        "precision": (partial(_rate, rate=precision), verdicts),
        "balanced_accuracy": (balanced_accuracy, verdicts),
        "f1": (f1, verdicts),
        "mcc": (agreement, verdicts),
        "roc_auc": (roc_auc, prob),
        "pr_auc": (pr_auc, prob),
        "brier": (brier, prob),
    }
    means = {
        name: _mean_over_repeats(score, truth, columns, groups, draws)
        for name, (score, columns) in scores.items()
    }
    for name, label in (("sensitivity", 1), ("specificity", 0)):
        means[name] = replace(means[name], n=int((truth == label).sum()))
    means["mcc"] = mcc_of(means["mcc"])
    error = fmean(expected_calibration_error(truth, column) for column in prob.T)
    reason = "no interval of a mean over repeats"
    return means | {"ece": Metric(error, None, len(truth), None, None, None, reason)}


def pooled_by_patient(repeats: Sequence[Sequence[HeldOut]], draws: int) -> ByPatient | None:
    """Return the numbers by patient, as means over the repeats; None where no patient is known."""
    ordered = _ordered(repeats)
    verdicts = np.array([[row.verdict for row in rows] for rows in ordered]).T  # (n, repeats)
    labels = [row.label for row in ordered[0]]
    return by_patient(labels, verdicts, [row.patient for row in ordered[0]], draws=draws)


def _ordered(repeats: Sequence[Sequence[HeldOut]]) -> list[list[HeldOut]]:
    """Every repeat with its images in the same order."""
    return [sorted(rows, key=lambda row: row.path) for rows in repeats]


Score = Callable[[ArrayLike, ArrayLike], float]


def _mean_over_repeats(
    score: Score,
    truth: NDArray[np.int_],
    columns: NDArray[np.float64],
    groups: list[str],
    draws: int,
) -> Metric:
    def mean(y_true: ArrayLike, y_prob: NDArray[np.float64]) -> float:
        return fmean(score(y_true, y_prob[:, repeat]) for repeat in range(y_prob.shape[1]))

    interval = partial(group_bootstrap, mean, truth, columns, groups, draws=draws)
    found = measured(partial(mean, truth, columns), interval, len(truth))
    method = found.method and f"mean of {columns.shape[1]} repeats, {found.method}"
    return replace(found, method=method)


def training_spread(per_repeat: Sequence[dict[str, Metric]]) -> dict[str, Spread]:
    """Return how much each metric varies between repeats, which differ in folds and seeds."""
    return {name: _spread([metrics[name] for metrics in per_repeat]) for name in per_repeat[0]}


def _spread(metrics: Sequence[Metric]) -> Spread:
    values = [metric.value for metric in metrics if metric.value is not None]
    if len(values) < len(metrics):
        return Spread(None, None, None, None, len(metrics), "undefined in a repeat")
    low, high, mean = min(values), max(values), fmean(values)
    if len(values) == 1:
        return Spread(mean, None, low, high, 1, "one repeat has no spread; add --repeats")
    return Spread(mean, stdev(values), low, high, len(values))


def _column(rows: Sequence[HeldOut], name: str) -> NDArray[np.float64]:
    return np.array([getattr(row, name) for row in rows], dtype=float)


def _rate(y_true: ArrayLike, verdicts: ArrayLike, rate: Callable[[Confusion], Metric]) -> float:
    found = rate(confusion(y_true, verdicts))
    if found.value is None:
        raise UndefinedMetric(str(found.reason))
    return found.value
