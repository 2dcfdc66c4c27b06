"""What a bootstrap over groups must hold, against SciPy and hand arithmetic."""

from collections.abc import Callable, Iterator

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


def test_bootstrap_is_repeatable() -> None:
    """The same seed gives the same interval, another seed another one."""
    truth, prob = scored_cells(2)
    first, again, other = (
        group_bootstrap(roc_auc, truth, prob, range(52), draws=200, seed=seed) for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_bootstrap_names_what_it_did() -> None:
    """The method holds the number of draws and the level."""
    truth, prob = scored_cells(2)
    by_default = group_bootstrap(mean_probability, truth, prob, range(52))
    chosen = group_bootstrap(mean_probability, truth, prob, range(52), draws=50, level=0.9)
    assert by_default.method == "group bootstrap, 2000 draws, 95 %"
    assert chosen.method == "group bootstrap, 50 draws, 90 %"


def test_bootstrap_takes_percentiles() -> None:
    """Draws worth 0, 1, ..., 100 have the 90 % interval 5 to 95."""
    worth = iter(range(101))

    def metric(y_true: Floats, y_prob: Floats) -> float:
        return float(next(worth))

    interval = group_bootstrap(metric, [0, 1], [0.1, 0.9], "ab", level=0.9, draws=101)
    assert bounds(interval) == pytest.approx((5, 95))


def test_bootstrap_agrees_with_scipy() -> None:
    """With one image a group, the interval of the AUC is that of scipy.stats.bootstrap."""
    truth, prob = scored_cells(3)
    expected = bootstrap(
        (truth, prob),
        roc_auc,
        paired=True,
        vectorized=False,
        method="percentile",
        n_resamples=2000,
        rng=np.random.default_rng(4),
    ).confidence_interval
    interval = group_bootstrap(roc_auc, truth, prob, range(52))
    assert bounds(interval) == pytest.approx((expected.low, expected.high), abs=0.015)


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


def test_duplicates_inside_groups_change_nothing() -> None:
    """Every image twice in its own group leaves the interval as it was."""
    truth, prob = scored_cells(5)
    groups = np.arange(52) // 2
    once = group_bootstrap(roc_auc, truth, prob, groups, draws=300)
    twice = group_bootstrap(
        roc_auc, np.tile(truth, 2), np.tile(prob, 2), np.tile(groups, 2), draws=300
    )
    assert bounds(twice) == pytest.approx(bounds(once), abs=1e-12)


def test_duplicates_as_groups_of_their_own_deceive() -> None:
    """Four copies of each image as independent groups halve the width: what groups prevent."""
    truth, prob = scored_cells(6)
    copies = (np.tile(truth, 4), np.tile(prob, 4))
    grouped = bounds(group_bootstrap(mean_probability, *copies, np.tile(np.arange(52), 4)))
    apart = bounds(group_bootstrap(mean_probability, *copies, range(208)))
    ratio = (apart[1] - apart[0]) / (grouped[1] - grouped[0])
    assert ratio == pytest.approx(0.5, abs=0.06)


def test_bootstrap_covers() -> None:
    """The 95 % interval of a mean over 40 pairs holds the truth about 95 times in 100."""
    rng = np.random.default_rng(7)
    groups = np.repeat(np.arange(40), 2)
    hits = 0
    for trial in range(200):
        prob = np.repeat(rng.uniform(0, 1, 40), 2)
        interval = group_bootstrap(mean_probability, groups, prob, groups, draws=200, seed=trial)
        low, high = bounds(interval)
        hits += low <= 0.5 <= high
    assert 178 <= hits <= 198


@pytest.mark.parametrize(("score", "value"), [(roc_auc, 1), (brier, 0)])
def test_perfect_scores_have_the_width_of_their_groups(
    score: Callable[[ArrayLike, ArrayLike], float], value: int
) -> None:
    """Every draw of 13 sure and right groups gives one value: 13 of 13 or 0 of 13, exactly."""
    truth = np.arange(52) % 2
    interval = group_bootstrap(score, truth, truth.astype(float), np.arange(52) // 4, draws=50)
    assert bounds(interval) == bounds(clopper_pearson(13 * value, 13))
    assert interval.method == f"Clopper-Pearson 95 % on 13 groups (every draw gives {value})"


def test_a_perfect_score_holds_its_level() -> None:
    """At 90 % the 13 groups leave less room than at 95 %."""
    truth = np.arange(52) % 2
    groups = np.arange(52) // 4
    interval = group_bootstrap(roc_auc, truth, truth / 1, groups, draws=50, level=0.9)
    assert interval.low == pytest.approx(0.05 ** (1 / 13))
    assert interval.method.startswith("Clopper-Pearson 90 %")


def test_one_value_between_the_ends_has_no_interval() -> None:
    """An AUC of 0.5 in every draw says nothing of its spread."""
    truth = np.arange(52) % 2
    with pytest.raises(UndefinedMetric, match=r"95 % of the draws or more give 0\.5"):
        group_bootstrap(roc_auc, truth, np.full(52, 0.3), range(52), draws=50)


def undefined_at_first(times: int) -> Iterator[float]:
    """Yield NaN so many times, then 1."""
    yield from [float("nan")] * times
    while True:
        yield 1.0


@pytest.mark.parametrize(("undefined", "has_interval"), [(0, True), (5, True), (6, False)])
def test_bootstrap_limit_of_undefined_draws(undefined: int, has_interval: bool) -> None:
    """Five undefined draws of a hundred are left out, six leave no interval and are counted."""
    worth = undefined_at_first(undefined)

    def metric(y_true: Floats, y_prob: Floats) -> float:
        return next(worth)

    if has_interval:
        interval = group_bootstrap(metric, [0, 1], [0.1, 0.9], "ab", draws=100)
        assert bounds(interval) == bounds(clopper_pearson(2, 2))
    else:
        with pytest.raises(UndefinedMetric, match="undefined in 6 of 100 draws"):
            group_bootstrap(metric, [0, 1], [0.1, 0.9], "ab", draws=100)


@pytest.mark.parametrize("blasts", [0, 1])
def test_bootstrap_of_auc_needs_both_classes(blasts: int) -> None:
    """One blast of 52 is missing from a third of the draws: no interval."""
    truth = (np.arange(52) < blasts).astype(int)
    with pytest.raises(UndefinedMetric, match="undefined in"):
        group_bootstrap(roc_auc, truth, scored_cells(8)[1], range(52), draws=500)


def test_six_blasts_are_enough_for_an_interval() -> None:
    """Six blasts of 52 are missing from fewer than 1 % of the draws."""
    truth = (np.arange(52) < 6).astype(int)
    low, high = bounds(group_bootstrap(roc_auc, truth, scored_cells(8)[1], range(52), draws=500))
    assert low < roc_auc(truth, scored_cells(8)[1]) < high


def test_bootstrap_of_one_group_is_undefined() -> None:
    """A single group would repeat itself in each draw and feign an interval without width."""
    truth, prob = scored_cells(9)
    with pytest.raises(UndefinedMetric, match="one group only"):
        group_bootstrap(roc_auc, truth, prob, ["cell"] * 52)


def test_bootstrap_hides_no_other_error() -> None:
    """A metric's error other than UndefinedMetric comes through."""

    def metric(y_true: Floats, y_prob: Floats) -> float:
        raise ValueError("broken")

    assert issubclass(UndefinedMetric, ValueError)
    with pytest.raises(ValueError, match="broken"):
        group_bootstrap(metric, [0, 1], [0.1, 0.9], "ab")


@pytest.mark.parametrize(
    ("y_true", "y_prob", "groups", "message"),
    [
        ([0, 1], [0.1, 0.9, 0.5], [1, 2], "2, 3 and 2"),
        ([0, 1], [0.1, 0.9], [1, 2, 3], "2, 2 and 3"),
        ([], [], [], "0, 0 and 0"),
        ([0, 1], [0.1, 0.9], ["a", None], r"groups\[1\] is None"),
        ([0, 1], [0.1, 0.9], [float("nan"), 2.0], r"groups\[0\] is nan"),
    ],
)
def test_bootstrap_refuses_unfit_samples(
    y_true: list[int], y_prob: list[float], groups: list[object], message: str
) -> None:
    """Different lengths, no samples and missing groups are named."""
    with pytest.raises(ValueError, match=message):
        group_bootstrap(mean_probability, y_true, y_prob, groups)


def test_bootstrap_refuses_unfit_settings() -> None:
    """A level in per cent and no draws at all are refused."""
    with pytest.raises(ValueError, match="level is 95"):
        group_bootstrap(mean_probability, [0, 1], [0.1, 0.9], "ab", level=95)
    with pytest.raises(ValueError, match="draws is 0"):
        group_bootstrap(mean_probability, [0, 1], [0.1, 0.9], "ab", draws=0)


def test_grouped_proportion_by_hand() -> None:
    """One group right and one wrong: a quarter of the draws has neither, a quarter both."""
    assert bounds(grouped_proportion([1, 0], "ab")) == (0.0, 1.0)
    assert bounds(grouped_proportion([1, 0], "ab", level=0.6)) == (0.0, 1.0)
    with pytest.raises(UndefinedMetric, match=r"40 % of the draws or more give 0\.5"):
        grouped_proportion([1, 0], "ab", level=0.4)


def test_grouped_proportion_agrees_with_scipy() -> None:
    """With one image a group it is the percentile interval of scipy.stats.bootstrap."""
    right = np.arange(52) >= 12
    expected = bootstrap(
        (right,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(4)
    ).confidence_interval
    interval = grouped_proportion(right, range(52), draws=4000)
    assert bounds(interval) == pytest.approx((expected.low, expected.high), abs=1 / 52 + 1e-9)


def test_grouped_proportion_counts_groups_where_wilson_counts_images() -> None:
    """Four copies of each image halve Wilson's interval and leave that over groups as it was."""
    right = np.arange(40) >= 8
    groups = np.arange(40)
    once = grouped_proportion(right, groups)
    copied = grouped_proportion(np.tile(right, 4), np.tile(groups, 4))
    assert bounds(copied) == pytest.approx(bounds(once), abs=1e-12)
    images = wilson(128, 160)
    assert copied.high - copied.low > 1.8 * (images.high - images.low)


@pytest.mark.parametrize("value", [0, 1])
def test_grouped_proportion_without_an_error_is_that_of_its_groups(value: int) -> None:
    """Of 30 images in 10 groups all right, or all wrong, 10 witnesses are left."""
    interval = grouped_proportion([value] * 30, np.arange(30) // 3)
    assert bounds(interval) == bounds(clopper_pearson(10 * value, 10))
    assert interval.method == f"Clopper-Pearson 95 % on 10 groups (every draw gives {value})"


def test_grouped_proportion_near_the_end_is_narrower_than_wilson() -> None:
    """51 of 52 without ties: why it stands beside Wilson's interval, not in its place."""
    right = np.arange(52) > 0
    interval, expected = grouped_proportion(right, range(52)), wilson(51, 52)
    assert interval.high - interval.low < expected.high - expected.low


@pytest.mark.parametrize(
    ("right", "groups", "message"),
    [
        ([1, 0.5], "ab", r"correct\[1] is 0.5: an outcome is 0"),
        ([1, 0], "abc", "correct and groups must be of one length, at least 1; they have 2 and 3"),
        ([], "", "n at least 1"),
        ([1, 0], ["a", None], r"groups\[1\] is None"),
    ],
)
def test_grouped_proportion_refuses_unfit_values(
    right: list[float], groups: list[object], message: str
) -> None:
    """Another outcome than right or wrong, and missing groups, are named."""
    with pytest.raises(ValueError, match=message):
        grouped_proportion(right, groups)
