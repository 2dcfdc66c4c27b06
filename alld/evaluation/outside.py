"""Measure models on images of domains that trained no part of them, one direction at a time.

A direction tests some domains with models of the others. Probabilities of different models are
not pooled: every metric is computed for each model, then averaged over the seeds of a direction,
and then over directions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alld.data.manifest import LABEL_NAMES
from alld.evaluation.out_of_fold import HeldOut
from alld.inference.prediction import OUT_OF_DOMAIN
from alld.stats.intervals import UndefinedMetric, group_bootstrap, student
from alld.stats.metrics import Metric, measured
from alld.stats.ranking import roc_auc, sensitivity_at

MEASURES = ("roc_auc", "sensitivity", "specificity", "matched_sensitivity")
INSIDE = MEASURES[:3]
_CLASS_OF = {"sensitivity": 1, "specificity": 0}  # the images that a rate counts
_NO_INTERVAL = "no interval: these images chose the threshold"


@dataclass(frozen=True)
class OutsideTest:
    """What one trained model predicts of the images of domains that trained no part of it."""

    tested: str  # names of the domains
    rows: Sequence[HeldOut]
    inside: Mapping[str, Metric] = field(default_factory=dict)  # of its validation images


@dataclass(frozen=True)
class Direction:
    """The tests of the same domains by models of different seeds; metrics are their means.

    `inside` holds the metrics of the validation images, which come from the domains that train.
    `matched_sensitivity` is the sensitivity on the tested images at a threshold that gives them
    the specificity of the model's own validation images; undefined where that is not known.
    """

    tested: str
    classes: dict[str, int]
    trainings: int
    metrics: dict[str, Metric]
    inside: dict[str, Metric]
    out_of_domain: float | None  # share of the tested images; None where no model abstains


@dataclass(frozen=True)
class Outside:
    """All directions, and the means over them.

    The intervals of `mean` resample groups of images; those of `over_domains` are Student's over
    the directions, and say how much the numbers vary from domain to domain.
    """

    directions: tuple[Direction, ...]
    mean: dict[str, Metric]
    over_domains: dict[str, Metric]
    inside: dict[str, Metric]


def measure_outside(tests: Sequence[OutsideTest], draws: int) -> Outside:
    """Return the metrics of each direction and their means.

    Args:
        tests: of one recipe, each direction as often as there are seeds.
        draws: of the bootstrap.
    """
    of_direction: dict[str, list[OutsideTest]] = {}
    for test in tests:
        of_direction.setdefault(test.tested, []).append(test)
    every = list(of_direction.values())
    directions = tuple(_direction(own, draws) for own in every)
    return Outside(
        directions=directions,
        mean=_metrics(every, draws),
        over_domains={name: _over_domains(name, directions) for name in MEASURES},
        inside=_inside(tests),
    )


def _direction(tests: Sequence[OutsideTest], draws: int) -> Direction:
    rows = tests[0].rows
    answers = [row.answer for test in tests for row in test.rows]
    labels = [row.label for row in rows]
    return Direction(
        tested=tests[0].tested,
        classes={name: labels.count(label) for label, name in enumerate(LABEL_NAMES)},
        trainings=len(tests),
        metrics=_metrics([tests], draws),
        inside=_inside(tests),
        out_of_domain=None if None in answers else answers.count(OUT_OF_DOMAIN) / len(answers),
    )


Score = Callable[[ArrayLike, ArrayLike], float]


def _metrics(directions: Sequence[Sequence[OutsideTest]], draws: int) -> dict[str, Metric]:
    """Means over the seeds of each direction, then over directions; intervals over groups."""
    tests = [test for direction in directions for test in direction]
    images = {row.path: row for test in tests for row in test.rows}
    place = {path: number for number, path in enumerate(images)}
    truth = np.array([row.label for row in images.values()])
    groups = np.array([row.group for row in images.values()])
    prob, verdicts = np.full((2, len(images), len(tests)), np.nan)  # NaN: not tested by this model
    for column, test in enumerate(tests):
        for row in test.rows:
            prob[place[row.path], column] = row.probability
            verdicts[place[row.path], column] = row.verdict
    sizes = [len(direction) for direction in directions]
    found = {}
    for name, (scores, values) in _scores(tests, prob, verdicts).items():
        # Healthy cells are no groups of a sensitivity, which may be 0 in every draw.
        rows = np.flatnonzero(truth == _CLASS_OF[name] if name in _CLASS_OF else truth >= 0)
        own = truth[rows], values[rows]
        mean = partial(_mean, scores=scores, sizes=sizes)
        interval = partial(group_bootstrap, mean, *own, groups[rows].tolist(), draws=draws)
        found[name] = measured(partial(mean, *own), interval, len(rows))
    return found


def _scores(
    tests: Sequence[OutsideTest], prob: NDArray[np.float64], verdicts: NDArray[np.float64]
) -> dict[str, tuple[list[Score], NDArray[np.float64]]]:
    """The score of each test and the columns it is computed from, by metric."""
    return {
        "roc_auc": ([roc_auc] * len(tests), prob),
        "sensitivity": ([_share_correct] * len(tests), verdicts),
        "specificity": ([_share_correct] * len(tests), verdicts),
        "matched_sensitivity": ([_matched(test) for test in tests], prob),
    }


def _share_correct(truth: ArrayLike, verdicts: ArrayLike) -> float:
    """Of images of one class."""
    return float(np.mean(np.equal(truth, verdicts)))


def _matched(test: OutsideTest) -> Score:
    promised = test.inside.get("specificity")
    if promised is None or promised.value is None:
        return _unknown
    return partial(sensitivity_at, specificity=promised.value)


def _unknown(_y_true: ArrayLike, _y_prob: ArrayLike) -> float:
    raise UndefinedMetric("the specificity of validation is not known")


def _mean(
    truth: NDArray[np.int_],
    values: NDArray[np.float64],
    scores: Sequence[Score],
    sizes: Sequence[int],
) -> float:
    """Mean over directions of `sizes` tests; `values` is (images, tests), NaN where not tested."""
    of_tests = []
    for score, column in zip(scores, values.T, strict=True):
        tested = ~np.isnan(column)
        if not tested.any():  # in a draw of few groups
            raise UndefinedMetric("a direction without images")
        of_tests.append(score(truth[tested], column[tested]))
    ends = np.cumsum(sizes)
    return fmean(fmean(of_tests[end - size : end]) for end, size in zip(ends, sizes, strict=True))


def _over_domains(name: str, directions: Sequence[Direction]) -> Metric:
    values = [direction.metrics[name].value for direction in directions]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return Metric(None, None, len(values), reason="undefined in a direction")
    return measured(lambda: fmean(known), lambda: student(known), len(known))


def _inside(tests: Sequence[OutsideTest]) -> dict[str, Metric]:
    """Mean metrics of the validation images; empty where they are not known."""
    found = {}
    for name in INSIDE:
        metrics = [test.inside[name] for test in tests if name in test.inside]
        values = [metric.value for metric in metrics if metric.value is not None]
        if values and len(values) == len(tests):
            images = sum(metric.n for metric in metrics)
            found[name] = Metric(fmean(values), None, images, reason=_NO_INTERVAL)
    return found
