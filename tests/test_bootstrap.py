"""The bootstrap over groups against SciPy and hand arithmetic."""

from collections.abc import Callable
from itertools import chain, repeat
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from scipy.stats import bootstrap

from alld.stats.intervals import (
    Interval,
    UndefinedMetric,
    clopper_pearson,
    group_bootstrap,
    grouped_proportion,
    wilson,
)
from alld.stats.metrics import brier
from alld.stats.ranking import roc_auc

Floats = NDArray[np.float64]


def mean_probability(y_true: Floats, y_prob: Floats) -> float:
    """The simplest metric: its bootstrap is known from theory."""
    return float(np.mean(y_prob))


def scored_cells(seed: int, n: int = 52) -> tuple[NDArray[np.int64], Floats]:
    """Draw n labels, both classes present, with probabilities that partly tell them apart."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 2
    return truth, np.clip(0.35 + 0.3 * truth + rng.normal(0, 0.25, n), 0, 1)


def bounds(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


def test_bootstrap_is_repeatable_and_names_what_it_did() -> None:
    """The same seed gives the same interval, another seed another one; by default 2000 draws."""
    truth, prob = scored_cells(2)
    first, again, other = (
        group_bootstrap(roc_auc, truth, prob, range(52), draws=200, seed=seed) for seed in (0, 0, 1)
    )
    assert first == again != other
    assert first.method == "group bootstrap, 200 draws, 95 %"
    by_default = group_bootstrap(mean_probability, truth, prob, range(52), level=0.9)
    assert by_default.method == "group bootstrap, 2000 draws, 90 %"


def test_bootstrap_takes_percentiles() -> None:
    """Draws worth 0, 1, ..., 100 have the 90 % interval 5 to 95."""
    worth = iter(range(101))
    interval = group_bootstrap(
        lambda *_: float(next(worth)), [0, 1], [0.1, 0.9], "ab", level=0.9, draws=101
    )
    assert bounds(interval) == pytest.approx((5, 95))


def test_bootstrap_agrees_with_scipy() -> None:
    """With one image a group, the interval of the AUC is that of scipy.stats.bootstrap."""
    truth, prob = scored_cells(3)
    rng = np.random.default_rng(4)
    expected = bootstrap(
        (truth, prob), roc_auc, paired=True, vectorized=False, method="percentile",
        n_resamples=1000, rng=rng,
    ).confidence_interval  # fmt: skip
    interval = group_bootstrap(roc_auc, truth, prob, range(52), draws=1000)
    assert bounds(interval) == pytest.approx((expected.low, expected.high), abs=0.02)


def test_bootstrap_draws_whole_groups() -> None:
    """Each draw holds as many groups as there are, each of them whole."""
    groups = list("aaabbccccd")
    rows_of = {name: {i for i, group in enumerate(groups) if group == name} for name in "abcd"}
    seen: list[int] = []

    def metric(y_true: Floats, y_prob: Floats) -> float:
        times = np.bincount(y_prob.astype(int), minlength=10)
        assert all(len({times[i] for i in rows}) == 1 for rows in rows_of.values())
        assert sum(times[min(rows)] for rows in rows_of.values()) == 4
        assert np.array_equal(y_true, y_prob % 2)  # label and probability stay together
        seen.append(len(y_prob))
        return float(len(y_prob))

    rows = np.arange(10.0)
    group_bootstrap(metric, rows % 2, rows, groups, draws=100)
    assert len(seen) == 100
    assert len(set(seen)) > 3


def test_copies_count_by_their_groups() -> None:
    """Copies in their group change nothing; as groups of their own four halve the width."""
    truth, prob = scored_cells(6)
    columns = (truth, prob, np.arange(52))
    copies = [np.tile(column, 4) for column in columns]
    for score in (roc_auc, mean_probability):
        once = bounds(group_bootstrap(score, *columns, draws=500))
        grouped = bounds(group_bootstrap(score, *copies, draws=500))
        assert grouped == pytest.approx(once, abs=1e-12)
    apart = bounds(group_bootstrap(mean_probability, copies[0], copies[1], range(208), draws=500))
    assert (apart[1] - apart[0]) / (once[1] - once[0]) == pytest.approx(0.5, abs=0.08)


def test_bootstrap_covers() -> None:
    """The 95 % interval of a mean over 40 pairs holds the truth about 95 times in 100."""
    rng = np.random.default_rng(7)
    groups = np.repeat(np.arange(40), 2)
    hits = 0
    for trial in range(200):
        prob = np.repeat(rng.uniform(0, 1, 40), 2)
        interval = group_bootstrap(mean_probability, groups, prob, groups, draws=200, seed=trial)
        hits += interval.low <= 0.5 <= interval.high
    assert 178 <= hits <= 198


@pytest.mark.parametrize(("score", "value"), [(roc_auc, 1), (brier, 0)])
@pytest.mark.parametrize("level", [0.95, 0.9])
def test_perfect_scores_have_the_width_of_their_groups(
    score: Callable[[ArrayLike, ArrayLike], float], value: int, level: float
) -> None:
    """Every draw of 13 sure and right groups gives one value: 13 of 13 or 0 of 13, exactly."""
    truth, groups = np.arange(52) % 2, np.arange(52) // 4
    interval = group_bootstrap(score, truth, truth.astype(float), groups, draws=50, level=level)
    exact = clopper_pearson(13 * value, 13, level)
    assert bounds(interval) == bounds(exact)
    assert interval.method == f"{exact.method} on 13 groups (every draw gives {value})"


def test_draws_without_spread_have_no_interval() -> None:
    """An AUC of 0.5 in every draw has none; a single group would repeat itself in each."""
    truth = np.arange(52) % 2
    with pytest.raises(UndefinedMetric, match=r"95 % of the draws or more give 0\.5"):
        group_bootstrap(roc_auc, truth, np.full(52, 0.3), range(52), draws=50)
    with pytest.raises(UndefinedMetric, match="one group only"):
        group_bootstrap(roc_auc, *scored_cells(9), ["cell"] * 52)


@pytest.mark.parametrize("undefined", [0, 5, 6])
def test_bootstrap_limit_of_undefined_draws(undefined: int) -> None:
    """Five undefined draws of a hundred are left out, six leave no interval and are counted."""
    worth = chain([float("nan")] * undefined, repeat(1.0))

    def interval() -> Interval:
        return group_bootstrap(lambda *_: next(worth), [0, 1], [0.1, 0.9], "ab", draws=100)

    if undefined < 6:
        assert bounds(interval()) == bounds(clopper_pearson(2, 2))
    else:
        with pytest.raises(UndefinedMetric, match="undefined in 6 of 100 draws"):
            interval()


@pytest.mark.parametrize("blasts", [0, 1, 6])
def test_bootstrap_of_auc_needs_both_classes(blasts: int) -> None:
    """One blast of 52 is missing from a third of the draws, six from fewer than 1 %."""
    truth, prob = (np.arange(52) < blasts).astype(int), scored_cells(8)[1]
    if blasts < 6:
        with pytest.raises(UndefinedMetric, match="undefined in"):
            group_bootstrap(roc_auc, truth, prob, range(52), draws=500)
    else:
        low, high = bounds(group_bootstrap(roc_auc, truth, prob, range(52), draws=500))
        assert low < roc_auc(truth, prob) < high


def test_bootstrap_hides_no_other_error() -> None:
    """A metric's error other than UndefinedMetric comes through."""

    def metric(y_true: Floats, y_prob: Floats) -> float:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        group_bootstrap(metric, [0, 1], [0.1, 0.9], "ab")


@pytest.mark.parametrize(
    ("y_prob", "groups", "settings", "message"),
    [
        ([0.1, 0.9, 0.5], [1, 2], {}, "2, 3 and 2"),
        ([0.1, 0.9], [1, 2, 3], {}, "2, 2 and 3"),
        ([0.1, 0.9], ["a", None], {}, r"groups\[1\] is None"),
        ([0.1, 0.9], [float("nan"), 2.0], {}, r"groups\[0\] is nan"),
        ([0.1, 0.9], "ab", {"level": 95}, "level is 95"),
        ([0.1, 0.9], "ab", {"draws": 0}, "draws is 0"),
    ],
)
def test_bootstrap_refuses_unfit_samples_and_settings(
    y_prob: list[float], groups: Any, settings: dict[str, Any], message: str
) -> None:
    """Different lengths, missing groups, a level in per cent and no draws are named."""
    with pytest.raises(ValueError, match=message):
        group_bootstrap(mean_probability, [0, 1], y_prob, groups, **settings)
    with pytest.raises(ValueError, match="0, 0 and 0"):
        group_bootstrap(mean_probability, [], [], [])


def test_grouped_proportion_by_hand() -> None:
    """One group right and one wrong: a quarter of the draws has neither, a quarter both."""
    for level in (0.95, 0.6):
        assert bounds(grouped_proportion([1, 0], "ab", level=level)) == (0.0, 1.0)
    with pytest.raises(UndefinedMetric, match=r"40 % of the draws or more give 0\.5"):
        grouped_proportion([1, 0], "ab", level=0.4)


def test_grouped_proportion_agrees_with_scipy() -> None:
    """With one image a group it is the percentile interval of scipy.stats.bootstrap."""
    correct = np.arange(52) >= 12
    expected = bootstrap(
        (correct,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(4)
    ).confidence_interval
    interval = grouped_proportion(correct, range(52), draws=4000)
    assert bounds(interval) == pytest.approx((expected.low, expected.high), abs=1 / 52 + 1e-9)


def test_grouped_proportion_counts_groups_where_wilson_counts_images() -> None:
    """Four copies of each image halve Wilson's interval only; near the end Wilson's is wider."""
    correct, groups = np.arange(40) >= 8, np.arange(40)
    copied = grouped_proportion(np.tile(correct, 4), np.tile(groups, 4))
    assert bounds(copied) == pytest.approx(bounds(grouped_proportion(correct, groups)), abs=1e-12)
    images = wilson(128, 160)
    assert copied.high - copied.low > 1.8 * (images.high - images.low)
    interval, expected = grouped_proportion(np.arange(52) > 0, range(52)), wilson(51, 52)
    assert interval.high - interval.low < expected.high - expected.low


@pytest.mark.parametrize("value", [0, 1])
def test_grouped_proportion_without_an_error_is_that_of_its_groups(value: int) -> None:
    """Of 30 images in 10 groups all right, or all wrong, 10 independent observations are left."""
    interval = grouped_proportion([value] * 30, np.arange(30) // 3)
    assert bounds(interval) == bounds(clopper_pearson(10 * value, 10))
    assert interval.method == f"Clopper-Pearson 95 % on 10 groups (every draw gives {value})"


@pytest.mark.parametrize(
    ("correct", "groups", "message"),
    [
        ([1, 0.5], "ab", r"correct\[1] is 0.5: an outcome is 0"),
        ([1, 0], "abc", "correct and groups must be of one length, at least 1; they have 2 and 3"),
        ([], "", "n at least 1"),
        ([1, 0], ["a", None], r"groups\[1\] is None"),
    ],
)
def test_grouped_proportion_refuses_unfit_values(
    correct: list[float], groups: Any, message: str
) -> None:
    """Another outcome than correct or wrong, and missing groups, are named."""
    with pytest.raises(ValueError, match=message):
        grouped_proportion(correct, groups)
