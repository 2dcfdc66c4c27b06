"""Metrics against hand arithmetic and scikit-learn."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import trapezoid

from alld.stats.intervals import UndefinedMetric, grouped_proportion
from alld.stats.metrics import (
    Confusion,
    Metric,
    accuracy,
    all_metrics,
    brier,
    confusion,
    grouped_proportions,
    sensitivity,
    specificity,
)
from alld.stats.ranking import pr_auc, pr_curve, roc_auc, roc_curve
from alld.stats.reliability import expected_calibration_error

# Three blasts, three healthy cells, one tie between the classes at 0.4.
Y_TRUE = [1, 1, 1, 0, 0, 0]
Y_PROB = [0.9, 0.6, 0.4, 0.7, 0.4, 0.1]
# Different shares for the two classes, so that no two metrics of it are equal.
COUNTS = Confusion(true_positive=22, false_negative=1, true_negative=27, false_positive=2)


def random_scores(seed: int, decimals: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Draw labels of both classes and probabilities; few decimals make many ties."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 120))
    truth = rng.permutation(np.append([0, 1], rng.integers(0, 2, n - 2)))
    return truth, np.round(rng.beta(1 + truth, 2 - truth), decimals)


def test_confusion_by_hand() -> None:
    """Blast is the positive class, in all four counts."""
    counts = confusion([1, 1, 1, 1, 0, 0, 0, 1, 0, 0], [1, 1, 1, 0, 0, 0, 0, 1, 1, 1])
    assert counts == Confusion(true_positive=4, false_negative=1, true_negative=3, false_positive=2)
    assert counts.n == 10


def test_proportions_by_hand() -> None:
    """Accuracy is 49/52, sensitivity 22/23, specificity 27/29, each with its own k and n."""
    found = [(m.k, m.n, m.value) for m in (accuracy(COUNTS), sensitivity(COUNTS))]
    assert found == [(49, 52, 49 / 52), (22, 23, 22 / 23)]
    metric = specificity(COUNTS)
    assert (metric.k, metric.n, metric.value) == (27, 29, 27 / 29)


def test_proportions_carry_wilson_intervals() -> None:
    """An accuracy of 49 of 52 is 84.4 to 98.0 %."""
    metric = accuracy(COUNTS)
    assert metric.ci_low == pytest.approx(0.844, abs=5e-4)
    assert metric.ci_high == pytest.approx(0.980, abs=5e-4)
    assert metric.method == "Wilson 95 %"


@pytest.mark.parametrize(
    ("metric", "counts", "reason"),
    [
        (sensitivity, Confusion(0, 0, 3, 1), "none of the 4 images is a blast"),
        (specificity, Confusion(3, 1, 0, 0), "none of the 4 images is a healthy cell"),
        (accuracy, Confusion(0, 0, 0, 0), "there is no image"),
    ],
)
def test_undefined_proportions_say_why(
    metric: Callable[[Confusion], Metric], counts: Confusion, reason: str
) -> None:
    """A share of nothing is None with its reason, never 0."""
    assert metric(counts) == Metric(None, None, 0, None, None, None, reason)


def test_none_found_is_zero_not_undefined() -> None:
    """Blasts of which none is found have a sensitivity of 0, not of None."""
    metric = sensitivity(Confusion(0, 5, 3, 0))
    assert (metric.value, metric.k, metric.n, metric.ci_low) == (0.0, 0, 5, 0.0)


def test_metric_as_dict() -> None:
    """The fields go to JSON by name, the reason only where something is undefined."""
    whole = Metric(0.5, 1, 2, 0.1, 0.9, "Wilson 95 %").as_dict()
    assert list(whole) == ["value", "k", "n", "ci_low", "ci_high", "method"]
    undefined = Metric(None, None, 0, None, None, None, "no image").as_dict()
    assert json.loads(json.dumps(undefined))["value"] is None
    assert undefined["reason"] == "no image"


def test_roc_auc_by_hand() -> None:
    """Of nine pairs, 3 + 2 + 1 rank the blast higher and one is a tie: 6.5 of 9."""
    assert roc_auc(Y_TRUE, Y_PROB) == pytest.approx(6.5 / 9)


def test_roc_auc_ends_and_middle() -> None:
    """Perfect order is 1, reversed order 0, and all probabilities equal one half."""
    assert roc_auc([0, 0, 1], [0.1, 0.2, 0.3]) == 1.0
    assert roc_auc([1, 1, 0], [0.1, 0.2, 0.3]) == 0.0
    assert roc_auc([0, 1, 0], [0.5, 0.5, 0.5]) == 0.5


def test_pr_auc_by_hand() -> None:
    """Thirds of recall at 0.9, 0.6 and the tie at 0.4, with precisions 1, 2/3 and 3/5."""
    assert pr_auc(Y_TRUE, Y_PROB) == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)


def test_pr_auc_ends_and_chance() -> None:
    """Perfect order is exactly 1; all probabilities equal are worth the share of blasts."""
    assert pr_auc([0, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.4, 0.5]) == 1.0
    assert pr_auc([0, 1, 0, 0], [0.5] * 4) == 0.25


def test_brier_by_hand() -> None:
    """The mean squared distance of 0.9, 0.6, 0.4 from 1 and of 0.7, 0.4, 0.1 from 0."""
    squares = 0.01 + 0.16 + 0.36 + 0.49 + 0.16 + 0.01
    assert brier(Y_TRUE, Y_PROB) == pytest.approx(squares / 6)
    assert brier([1, 1], [1.0, 0.5]) == 0.125


def test_roc_curve_by_hand() -> None:
    """The tie at 0.4 is one diagonal step; infinity comes first."""
    fpr, tpr, thresholds = roc_curve(Y_TRUE, Y_PROB)
    assert fpr.tolist() == pytest.approx([0, 0, 1 / 3, 1 / 3, 2 / 3, 1])
    assert tpr.tolist() == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3, 1, 1])
    assert thresholds.tolist() == [np.inf, 0.9, 0.7, 0.6, 0.4, 0.1]


def test_pr_curve_by_hand() -> None:
    """Recall and precision at each probability; the tie at 0.4 passes together."""
    recall, precision, thresholds = pr_curve(Y_TRUE, Y_PROB)
    assert recall.tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3, 1, 1])
    assert precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3, 3 / 5, 1 / 2])
    assert thresholds.tolist() == [0.9, 0.7, 0.6, 0.4, 0.1]


@pytest.mark.parametrize("decimals", [1, 2, 15])
def test_scores_agree_with_scikit_learn(decimals: int) -> None:
    """Areas, Brier score and curves of random sets, with or without ties, are scikit-learn's."""
    for seed in range(40):
        truth, prob = random_scores(seed, decimals)
        assert roc_auc(truth, prob) == pytest.approx(
            sklearn.metrics.roc_auc_score(truth, prob), abs=1e-12
        )
        assert pr_auc(truth, prob) == pytest.approx(
            sklearn.metrics.average_precision_score(truth, prob), abs=1e-12
        )
        assert brier(truth, prob) == pytest.approx(
            sklearn.metrics.brier_score_loss(truth, prob), abs=1e-12
        )
        expected = sklearn.metrics.roc_curve(truth, prob, drop_intermediate=False)
        for ours, theirs in zip(roc_curve(truth, prob), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-12)
        precision, recall, thresholds = sklearn.metrics.precision_recall_curve(truth, prob)
        theirs = recall[-2::-1], precision[-2::-1], thresholds[::-1]  # its last point is (0, 1)
        for ours, their in zip(pr_curve(truth, prob), theirs, strict=True):
            np.testing.assert_allclose(ours, their, atol=1e-12)


def test_counts_agree_with_scikit_learn() -> None:
    """The confusion of random predictions is scikit-learn's."""
    for seed in range(20):
        truth, prob = random_scores(seed, 15)
        predicted = (prob > 0.6).astype(int)
        c = confusion(truth, predicted)
        ours = [[c.true_negative, c.false_positive], [c.false_negative, c.true_positive]]
        assert ours == sklearn.metrics.confusion_matrix(truth, predicted, labels=[0, 1]).tolist()


def test_curve_encloses_the_area() -> None:
    """The trapezoids under the curve from (0, 0) to (1, 1) add up to the AUC."""
    for seed in range(40):
        truth, prob = random_scores(seed, 1)
        fpr, tpr, _ = roc_curve(truth, prob)
        assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
        assert trapezoid(tpr, fpr) == pytest.approx(roc_auc(truth, prob), abs=1e-12)


@pytest.mark.parametrize(("label", "kind"), [(0, "healthy cells"), (1, "blasts")])
@pytest.mark.parametrize("score", [roc_auc, pr_auc, roc_curve])
def test_one_class_has_no_ranking(
    score: Callable[[ArrayLike, ArrayLike], Any], label: int, kind: str
) -> None:
    """With one class only, the reason names it and the number of images."""
    with pytest.raises(UndefinedMetric, match=f"one class only: all 3 images are {kind}"):
        score([label] * 3, [0.1, 0.2, 0.3])


@pytest.mark.parametrize("score", [roc_auc, pr_auc, brier, roc_curve, expected_calibration_error])
@pytest.mark.parametrize(
    ("y_true", "y_prob", "message"),
    [
        ([0, 1, 2], [0.1, 0.2, 0.3], r"y_true\[2\] is 2"),
        ([0, -1, 1], [0.1, 0.2, 0.3], r"y_true\[1\] is -1"),
        ([0, 0.5, 1], [0.1, 0.2, 0.3], r"y_true\[1\] is 0.5"),
        ([0, float("nan"), 1], [0.1, 0.2, 0.3], r"y_true\[1\] is nan"),
        ([0, 1, "blast"], [0.1, 0.2, 0.3], r"y_true\[2\] is 'blast'"),
        ([0, None, 1], [0.1, 0.2, 0.3], r"y_true\[1\] is None"),
        ([0, 1, 1], [0.1, 1.5, 0.3], r"y_prob\[1\] is 1.5"),
        ([0, 1, 1], [-0.1, 0.5, 0.3], r"y_prob\[0\] is -0.1"),
        ([0, 1, 1], [0.1, 0.5, float("nan")], r"y_prob\[2\] is nan"),
        ([0, 1, 1], [0.1, 0.5, None], r"y_prob\[2\] is None"),
        ([0, 1, 1], [0.1, 0.5], "y_true has 3 entries and y_prob has 2"),
        ([], [], r"y_true has shape \(0,\)"),
        ([0, 1], [[0.9, 0.1], [0.2, 0.8]], r"y_prob has shape \(2, 2\)"),
    ],
)
def test_scores_refuse_unfit_values(
    score: Callable[[ArrayLike, ArrayLike], Any], y_true: Any, y_prob: Any, message: str
) -> None:
    """A wrong value is named with its place; nothing is clipped, dropped or guessed."""
    with pytest.raises(ValueError, match=message):
        score(y_true, y_prob)


@pytest.mark.parametrize(
    ("y_true", "y_pred", "message"),
    [
        ([0, 3], [0, 1], r"y_true\[1\] is 3"),
        ([0, 1], [0, 0.7], r"y_pred\[1\] is 0.7"),
        ([0, 1], [0], "y_true has 2 entries and y_pred has 1"),
        ([], [], "n at least 1"),
    ],
)
def test_confusion_refuses_unfit_values(y_true: Any, y_pred: Any, message: str) -> None:
    """Probabilities in the place of predictions, and the like, are named."""
    with pytest.raises(ValueError, match=message):
        confusion(y_true, y_pred)


def test_at_the_threshold_is_blast() -> None:
    """A probability equal to the threshold is a blast, one just below it is healthy."""
    below = float(np.nextafter(0.4, 0))
    found = all_metrics([1, 1, 0, 0], [0.4, below, 0.4, below], threshold=0.4, groups=range(4))
    assert (found["sensitivity"].k, found["specificity"].k, found["accuracy"].k) == (1, 1, 2)


def test_all_metrics_holds_each_with_its_interval() -> None:
    """Seven metrics by name, each inside its interval, the scores by the bootstrap over groups."""
    truth, prob = random_scores(3, 15)
    found = all_metrics(truth, prob, threshold=0.5, groups=np.arange(truth.size) // 2)
    assert list(found) == [
        "accuracy", "sensitivity", "specificity", "roc_auc", "pr_auc", "brier", "ece",
    ]  # fmt: skip
    for name, metric in found.items():
        assert metric.value is not None, name
        assert metric.ci_low is not None, name
        assert metric.ci_high is not None, name
        assert metric.ci_low < metric.value < metric.ci_high, name
    assert found["roc_auc"].value == roc_auc(truth, prob)
    assert found["brier"].value == brier(truth, prob)
    assert found["pr_auc"].value == pr_auc(truth, prob)
    assert found["ece"].value == expected_calibration_error(truth, prob)
    for name in ("roc_auc", "pr_auc", "brier", "ece"):
        about = ", about the value" if name == "ece" else ""
        assert found[name].method == f"group bootstrap, 2000 draws, 95 %{about}"
        assert (found[name].k, found[name].n) == (None, truth.size)


def test_all_metrics_uses_the_groups() -> None:
    """Copies of each image in its own group leave the scores' intervals as they were."""
    truth, prob = random_scores(3, 15)
    groups = [f"cell {i}" for i in range(truth.size)]
    once = all_metrics(truth, prob, threshold=0.5, groups=groups)
    twice = all_metrics(np.tile(truth, 2), np.tile(prob, 2), threshold=0.5, groups=groups * 2)
    for name in ("roc_auc", "pr_auc", "brier", "ece"):
        assert twice[name].ci_low == pytest.approx(once[name].ci_low, abs=1e-12)
        assert twice[name].ci_high == pytest.approx(once[name].ci_high, abs=1e-12)


def test_all_metrics_of_one_class() -> None:
    """Healthy cells alone leave sensitivity and AUC undefined and the others whole."""
    found = all_metrics([0, 0, 0], [0.1, 0.2, 0.7], threshold=0.5, groups="abc")
    assert found["sensitivity"].value is None
    assert found["roc_auc"].value is None
    assert found["roc_auc"].reason == "one class only: all 3 images are healthy cells"
    assert found["specificity"].k == 2
    assert found["brier"].value == pytest.approx(0.18)
    assert found["brier"].reason is None


def test_all_metrics_without_interval_says_why() -> None:
    """One group only keeps the value and gives the reason in the interval's place."""
    metric = all_metrics(Y_TRUE, Y_PROB, threshold=0.5, groups=["cell"] * 6)["roc_auc"]
    assert metric.value == pytest.approx(6.5 / 9)
    assert (metric.ci_low, metric.ci_high, metric.method) == (None, None, None)
    assert metric.reason is not None
    assert "one group only" in metric.reason


def test_all_metrics_of_a_perfect_model_keeps_a_width() -> None:
    """Areas of 1 have the interval of their 10 groups, not 1 to 1."""
    truth = np.arange(30) // 15
    found = all_metrics(truth, 0.2 + 0.6 * truth, threshold=0.5, groups=np.arange(30) // 3)
    for name in ("roc_auc", "pr_auc"):
        assert (found[name].value, found[name].ci_high) == (1.0, 1.0)
        assert found[name].ci_low == pytest.approx(0.025 ** (1 / 10))
        assert found[name].method == "Clopper-Pearson 95 % on 10 groups (every draw gives 1)"


def test_proportions_over_groups_keep_values_and_counts() -> None:
    """Only interval and method are others, and those are of the right images of each class."""
    truth, prob = random_scores(3, 15)
    groups = np.arange(truth.size) // 2
    by_images = all_metrics(truth, prob, threshold=0.4, groups=groups, draws=10)
    by_groups = grouped_proportions(truth, prob, threshold=0.4, groups=groups)
    assert list(by_groups) == ["accuracy", "sensitivity", "specificity"]
    right = (prob >= 0.4) == truth
    for name, among in zip(by_groups, (truth >= 0, truth == 1, truth == 0), strict=True):
        ours, wilsons = by_groups[name], by_images[name]
        assert (ours.value, ours.k, ours.n) == (wilsons.value, wilsons.k, wilsons.n)
        interval = grouped_proportion(right[among], groups[among])
        assert (ours.ci_low, ours.ci_high) == (interval.low, interval.high)
        assert ours.method == "group bootstrap, 2000 draws, 95 %"


def test_proportions_over_groups_say_what_is_undefined() -> None:
    """No blast leaves no sensitivity; one group leaves an accuracy without interval."""
    found = grouped_proportions([0, 0, 0], [0.1, 0.2, 0.7], threshold=0.5, groups="aaa")
    assert found["sensitivity"] == Metric(
        None, None, 0, None, None, None, "none of the 3 images is a blast"
    )
    assert found["accuracy"] == Metric(2 / 3, 2, 3, None, None, None, "no interval: one group only")


@pytest.mark.parametrize("metrics", [all_metrics, grouped_proportions])
@pytest.mark.parametrize(
    ("threshold", "groups", "message"),
    [
        (1.5, range(6), "threshold is 1.5"),
        (float("nan"), range(6), "threshold is nan"),
        (0.5, range(5), "6, 6 and 5|6 entries and groups has 5"),
    ],
)
def test_metrics_refuse_unfit_settings(
    metrics: Callable[..., dict[str, Metric]], threshold: float, groups: range, message: str
) -> None:
    """A threshold outside 0..1 and a missing group stop the evaluation."""
    with pytest.raises(ValueError, match=message):
        metrics(Y_TRUE, Y_PROB, threshold=threshold, groups=groups)
