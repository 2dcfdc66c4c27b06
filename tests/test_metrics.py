"""Metrics against hand arithmetic and scikit-learn."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import trapezoid

from alld.stats.confusion import Confusion, balanced_accuracy, confusion, f1, mcc
from alld.stats.intervals import UndefinedMetric, grouped_proportion
from alld.stats.metrics import (
    Metric,
    accuracy,
    all_metrics,
    brier,
    grouped_proportions,
    precision,
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
RATES = (sensitivity, specificity, precision)
SCORES = (roc_auc, pr_auc, brier, expected_calibration_error)
Score = Callable[[ArrayLike, ArrayLike], Any]
close = partial(np.testing.assert_allclose, rtol=0, atol=1e-12)


def random_scores(seed: int, decimals: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Draw labels of both classes and probabilities; few decimals make many ties."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 120))
    truth = rng.permutation(np.append([0, 1], rng.integers(0, 2, n - 2)))
    return truth, np.round(rng.beta(1 + truth, 2 - truth), decimals)


def test_proportions_by_hand() -> None:
    """Each has its own k and n, and Wilson's interval: 49 of 52 is 84.4 to 98.0 %."""
    metric = accuracy(COUNTS)
    assert (metric.k, metric.n, metric.value, metric.method) == (49, 52, 49 / 52, "Wilson 95 %")
    assert (metric.ci_low, metric.ci_high) == pytest.approx((0.844, 0.980), abs=5e-4)
    found = [(m.k, m.n, m.value) for m in (rate(COUNTS) for rate in RATES)]
    assert found == [(22, 23, 22 / 23), (27, 29, 27 / 29), (22, 24, 22 / 24)]


def test_scores_of_verdicts_by_hand() -> None:
    """Of three blasts two are found, of three healthy cells one is called a blast."""
    verdicts = [1, 1, 0, 1, 0, 0]
    assert balanced_accuracy(Y_TRUE, verdicts) == pytest.approx(2 / 3)
    assert f1(Y_TRUE, verdicts) == pytest.approx(2 / 3)
    assert mcc(Y_TRUE, verdicts) == pytest.approx((2 * 2 - 1 * 1) / 9)
    opposite = [1 - verdict for verdict in Y_TRUE]
    assert (mcc(Y_TRUE, Y_TRUE), mcc(Y_TRUE, opposite)) == (1, -1)
    found = all_metrics(Y_TRUE, Y_TRUE, threshold=0.5, groups=range(6))
    assert found["mcc"].ci_high == 1
    assert found["mcc"].ci_low == pytest.approx(2 * float(found["f1"].ci_low or 0) - 1)


def test_scores_of_verdicts_say_what_is_undefined() -> None:
    """One class leaves none of them, and equal verdicts no correlation."""
    for score in (balanced_accuracy, f1, mcc):
        with pytest.raises(UndefinedMetric, match="none of the 3 images is a blast"):
            score([0, 0, 0], [0, 1, 0])
    with pytest.raises(UndefinedMetric, match="all 6 images are classified alike"):
        mcc(Y_TRUE, [0] * 6)
    assert (f1(Y_TRUE, [0] * 6), balanced_accuracy(Y_TRUE, [0] * 6)) == (0, 0.5)


@pytest.mark.parametrize(
    ("metric", "counts", "reason"),
    [
        (sensitivity, Confusion(0, 0, 3, 1), "none of the 4 images is a blast"),
        (specificity, Confusion(3, 1, 0, 0), "none of the 4 images is a healthy cell"),
        (precision, Confusion(0, 1, 3, 0), "none of the 4 images is classified as a blast"),
        (accuracy, Confusion(0, 0, 0, 0), "there is no image"),
    ],
)
def test_undefined_proportions_say_why(
    metric: Callable[[Confusion], Metric], counts: Confusion, reason: str
) -> None:
    """A share of nothing is None with its reason; none found of some is 0."""
    assert metric(counts) == Metric(None, None, 0, reason=reason)
    none_found = sensitivity(Confusion(0, 5, 3, 0))
    assert (none_found.value, none_found.k, none_found.n, none_found.ci_low) == (0.0, 0, 5, 0.0)


def test_metric_as_dict() -> None:
    """The fields go to JSON by name, the reason only where something is undefined."""
    whole = Metric(0.5, 1, 2, 0.1, 0.9, "Wilson 95 %").as_dict()
    assert list(whole) == ["value", "k", "n", "ci_low", "ci_high", "method"]
    undefined = json.loads(json.dumps(Metric(None, None, 0, reason="no image").as_dict()))
    assert (undefined["value"], undefined["reason"]) == (None, "no image")


@pytest.mark.parametrize(
    ("score", "value"),
    [
        (roc_auc, 6.5 / 9),  # of nine pairs 3 + 2 + 1 rank the blast higher, one is a tie
        (pr_auc, (1 + 2 / 3 + 3 / 5) / 3),  # thirds of recall at 0.9, 0.6 and the tie at 0.4
        (brier, (0.01 + 0.16 + 0.36 + 0.49 + 0.16 + 0.01) / 6),
    ],
)
def test_scores_by_hand(score: Score, value: float) -> None:
    """Three blasts and three healthy cells with a tie between them."""
    assert score(Y_TRUE, Y_PROB) == pytest.approx(value)


def test_perfect_order_is_exactly_1() -> None:
    """Reversed order is 0; equal probabilities are worth one half, and the share of blasts."""
    assert roc_auc([0, 0, 1], [0.1, 0.2, 0.3]) == 1.0
    assert roc_auc([1, 1, 0], [0.1, 0.2, 0.3]) == 0.0
    assert roc_auc([0, 1, 0], [0.5, 0.5, 0.5]) == 0.5
    assert pr_auc([0, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.4, 0.5]) == 1.0
    assert pr_auc([0, 1, 0, 0], [0.5] * 4) == 0.25


def test_curves_by_hand() -> None:
    """The tie at 0.4 is one diagonal step; the ROC curve begins at an infinite threshold."""
    fpr, tpr, thresholds = roc_curve(Y_TRUE, Y_PROB)
    close(fpr, [0, 0, 1 / 3, 1 / 3, 2 / 3, 1])
    close(tpr, [0, 1 / 3, 1 / 3, 2 / 3, 1, 1])
    assert thresholds.tolist() == [np.inf, 0.9, 0.7, 0.6, 0.4, 0.1]
    recall, precisions, thresholds = pr_curve(Y_TRUE, Y_PROB)
    close(recall, [1 / 3, 1 / 3, 2 / 3, 1, 1])
    close(precisions, [1, 1 / 2, 2 / 3, 3 / 5, 1 / 2])
    assert thresholds.tolist() == [0.9, 0.7, 0.6, 0.4, 0.1]


@pytest.mark.parametrize("decimals", [1, 2, 15])
def test_scores_agree_with_scikit_learn(decimals: int) -> None:
    """Areas, Brier score, counts and curves of random sets, with or without ties."""
    for seed in range(12):
        truth, prob = random_scores(seed, decimals)
        close(roc_auc(truth, prob), sklearn.metrics.roc_auc_score(truth, prob))
        close(pr_auc(truth, prob), sklearn.metrics.average_precision_score(truth, prob))
        close(brier(truth, prob), sklearn.metrics.brier_score_loss(truth, prob))
        called = (prob >= np.median(prob)).astype(int)
        close(f1(truth, called), sklearn.metrics.f1_score(truth, called))
        theirs = sklearn.metrics.balanced_accuracy_score(truth, called)
        close(balanced_accuracy(truth, called), theirs)
        if called.min() != called.max():
            close(mcc(truth, called), sklearn.metrics.matthews_corrcoef(truth, called))
        fpr, tpr, thresholds = roc_curve(truth, prob)
        theirs = sklearn.metrics.roc_curve(truth, prob, drop_intermediate=False)
        for ours, their in zip((fpr, tpr, thresholds), theirs, strict=True):
            close(ours, their)
        close(trapezoid(tpr, fpr), roc_auc(truth, prob))
        precisions, recall, thresholds = sklearn.metrics.precision_recall_curve(truth, prob)
        theirs = recall[-2::-1], precisions[-2::-1], thresholds[::-1]  # its last point is (0, 1)
        for ours, their in zip(pr_curve(truth, prob), theirs, strict=True):
            close(ours, their)
        predicted = (prob > 0.6).astype(int)
        c = confusion(truth, predicted)
        counts = [[c.true_negative, c.false_positive], [c.false_negative, c.true_positive]]
        expected = sklearn.metrics.confusion_matrix(truth, predicted, labels=[0, 1])
        assert counts == expected.tolist()
        assert c.n == truth.size


@pytest.mark.parametrize(("label", "kind"), [(0, "healthy cells"), (1, "blasts")])
@pytest.mark.parametrize("score", [roc_auc, pr_auc, roc_curve, pr_curve])
def test_one_class_has_no_ranking(score: Score, label: int, kind: str) -> None:
    """With one class only, the reason names it and the number of images."""
    with pytest.raises(UndefinedMetric, match=f"one class only: all 3 images are {kind}"):
        score([label] * 3, [0.1, 0.2, 0.3])


@pytest.mark.parametrize("score", [*SCORES, roc_curve])
@pytest.mark.parametrize(
    ("y_true", "y_prob", "message"),
    [
        ([0, 1, 2], [0.1, 0.2, 0.3], r"y_true\[2\] is 2"),
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
def test_scores_refuse_unfit_values(score: Score, y_true: Any, y_prob: Any, message: str) -> None:
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
    probabilities, groups = [0.4, below, 0.4, below], range(4)
    found = all_metrics([1, 1, 0, 0], probabilities, threshold=0.4, groups=groups, draws=10)
    assert (found["sensitivity"].k, found["specificity"].k, found["accuracy"].k) == (1, 1, 2)


def test_all_metrics_holds_each_with_its_interval() -> None:
    """Each metric by name inside its interval, which copies in a group do not change."""
    truth, prob = random_scores(3, 15)
    groups = np.arange(truth.size) // 2
    found = all_metrics(truth, prob, threshold=0.5, groups=groups, draws=300)
    copies = all_metrics(np.tile(truth, 2), np.tile(prob, 2), threshold=0.5,
                         groups=np.tile(groups, 2), draws=300)  # fmt: skip
    assert list(found) == [
        "accuracy", "sensitivity", "specificity", "precision", "balanced_accuracy", "f1", "mcc",
        "roc_auc", "pr_auc", "brier", "ece",
    ]  # fmt: skip
    for name, metric in found.items():
        assert metric.ci_low is not None, name
        assert metric.ci_high is not None, name
        assert metric.value is not None, name
        assert metric.ci_low < metric.value < metric.ci_high, name
    for (name, metric), score in zip(list(found.items())[7:], SCORES, strict=True):
        assert metric.value == score(truth, prob)
        about = ", about the value" if name == "ece" else ""
        assert metric.method == f"group bootstrap, 300 draws, 95 %{about}"
        assert (metric.k, metric.n) == (None, truth.size)
        close([copies[name].ci_low, copies[name].ci_high], [metric.ci_low, metric.ci_high])


def test_all_metrics_says_what_is_undefined() -> None:
    """One class leaves no sensitivity and area; one group leaves a value without interval."""
    found = all_metrics([0, 0, 0], [0.1, 0.2, 0.7], threshold=0.5, groups="abc", draws=50)
    assert found["sensitivity"].value is None
    assert found["roc_auc"].value is None
    assert found["roc_auc"].reason == "one class only: all 3 images are healthy cells"
    assert found["specificity"].k == 2
    assert found["brier"].value == pytest.approx(0.18)
    alone = all_metrics(Y_TRUE, Y_PROB, threshold=0.5, groups=["cell"] * 6)["roc_auc"]
    assert alone == Metric(6.5 / 9, None, 6, reason="no interval: one group only")


def test_proportions_over_groups_keep_values_and_counts() -> None:
    """Only interval and method are others, and those are of the correct images of each class."""
    truth, prob = random_scores(3, 15)
    groups = np.arange(truth.size) // 2
    by_images = all_metrics(truth, prob, threshold=0.4, groups=groups, draws=10)
    by_groups = grouped_proportions(truth, prob, threshold=0.4, groups=groups)
    assert list(by_groups) == ["accuracy", "sensitivity", "specificity", "precision"]
    correct = (prob >= 0.4) == truth
    parts = (truth >= 0, truth == 1, truth == 0, prob >= 0.4)
    for name, among in zip(by_groups, parts, strict=True):
        ours, wilsons = by_groups[name], by_images[name]
        assert (ours.value, ours.k, ours.n) == (wilsons.value, wilsons.k, wilsons.n)
        interval = grouped_proportion(correct[among], groups[among])
        assert (ours.ci_low, ours.ci_high) == (interval.low, interval.high)
        assert ours.method == "group bootstrap, 2000 draws, 95 %"


def test_proportions_over_groups_say_what_is_undefined() -> None:
    """No blast leaves no sensitivity; one group leaves an accuracy without interval."""
    found = grouped_proportions([0, 0, 0], [0.1, 0.2, 0.7], threshold=0.5, groups="aaa")
    no_blast = "none of the 3 images is a blast"
    assert found["sensitivity"] == Metric(None, None, 0, reason=no_blast)
    assert found["accuracy"] == Metric(2 / 3, 2, 3, reason="no interval: one group only")


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
