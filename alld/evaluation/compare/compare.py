"""Evaluated runs on identical images: where they differ, and how far chance explains it."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alld.data.manifest import LABEL_NAMES, class_counts
from alld.errors import ConfigError
from alld.evaluation.compare.common import Common, common_images
from alld.evaluation.compare.result import ALPHA, Comparison, Contender, Disagreement, Pair
from alld.evaluation.compare.tested import Tested, read_tested
from alld.stats.metrics import (
    Metric,
    accuracy,
    bootstrapped,
    confusion,
    grouped_proportions,
    sensitivity,
    specificity,
)
from alld.stats.ranking import roc_auc
from alld.stats.significance import (
    McNemar,
    fewest_discordant,
    holm,
    mcnemar_exact,
    paired_group_bootstrap,
)


def compare(folders: Sequence[Path], *, draws: int = 2000) -> Comparison:
    """Compare two or more evaluated runs, or cross-validations, on the images all of them tested.

    Each pair gets McNemar's exact test of its verdicts, adjusted by Holm over all pairs, and the
    differences of accuracy and ROC AUC with intervals that resample groups. In a cross-validation
    with repeats an image counts once in the test, for the run that judged it right more often.
    A run is called better where the adjusted p is at most 0.05 and the interval leaves out 0.

    Args:
        folders: of the runs.
        draws: of each bootstrap.

    Raises:
        ConfigError: fewer than two runs, or one named twice.
        RunError: a run that was not evaluated, no common image, labels that disagree.
    """
    if len(folders) < 2:
        raise ConfigError("alld compare takes two runs or more, such as runs/A runs/B")
    for first, second in combinations(folders, 2):
        if first.resolve() == second.resolve():
            raise ConfigError(f"{second}: named twice; a run does not differ from itself")
    runs = [read_tested(folder) for folder in folders]
    common = common_images(runs)
    contenders = tuple(
        Contender(name, run.folder, len(run.outcomes), _metrics(common, number, draws))
        for number, (name, run) in enumerate(zip(common.names, runs, strict=True))
    )
    pairs = _pairs(common, draws)
    return Comparison(
        images=len(common.labels),
        classes=class_counts(list(common.labels.values())),
        groups=common.group_count,
        repeats=common.repeats,
        synthetic=any(run.synthetic for run in runs),
        contenders=contenders,
        pairs=pairs,
        caveats=tuple(_caveats(runs, common, pairs)),
    )


def _metrics(common: Common, run: int, draws: int) -> dict[str, Metric]:
    """Wilson's intervals take each row for a witness of its own: not where images are repeated."""
    truth, verdicts, groups = common.y_true, common.verdicts[run], common.groups
    counts = confusion(truth, verdicts)
    proportions = {
        "accuracy": accuracy(counts),
        "sensitivity": sensitivity(counts),
        "specificity": specificity(counts),
    }
    if common.repeats > 1:
        proportions = grouped_proportions(
            truth, verdicts, threshold=0.5, groups=groups, draws=draws
        )
    return {**proportions, "roc_auc": bootstrapped(roc_auc, truth, common.prob[run], groups, draws)}


def planned_pairs(pairs: Sequence[tuple[Tested, Tested]], *, draws: int = 2000) -> tuple[Pair, ...]:
    """Compare the pairs that were planned, each on all that its two have in common.

    As in `compare`, with Holm's correction over these pairs.

    Raises:
        RunError: a pair without a common image, or whose labels disagree.
    """
    found = [common_images(pair) for pair in pairs]
    return _tested([(common, 0, 1) for common in found], draws)


def _pairs(common: Common, draws: int) -> tuple[Pair, ...]:
    numbers = combinations(range(len(common.names)), 2)
    return _tested([(common, a, b) for a, b in numbers], draws)


def _tested(planned: Sequence[tuple[Common, int, int]], draws: int) -> tuple[Pair, ...]:
    tests = [_mcnemar(common, a, b) for common, a, b in planned]
    adjusted = holm([test.p_value for test in tests])
    return tuple(
        _pair(common, (a, b), test, p_holm if len(planned) > 1 else None, draws)
        for (common, a, b), test, p_holm in zip(planned, tests, adjusted, strict=True)
    )


def _mcnemar(common: Common, a: int, b: int) -> McNemar:
    """Images, not rows: one image in several repeats is one witness, for who was right oftener."""
    _, image = np.unique([sha256 for _, sha256 in common.keys], return_inverse=True)
    ahead = np.bincount(image, weights=common.right[a].astype(int) - common.right[b])
    return mcnemar_exact(ahead > 0, ahead < 0)


def _pair(
    common: Common, runs: tuple[int, int], test: McNemar, p_holm: float | None, draws: int
) -> Pair:
    """`p_holm` is None where this pair is the only one."""
    a, b = runs
    difference = partial(paired_group_bootstrap, groups=common.groups, draws=draws)
    differences = {
        "accuracy": difference(_share_right, common.y_true, common.verdicts[a], common.verdicts[b]),
        "roc_auc": difference(roc_auc, common.y_true, common.prob[a], common.prob[b]),
    }
    better, verdict = _verdict(common, runs, test, p_holm, differences)
    return Pair(
        a=common.names[a],
        b=common.names[b],
        test=test,
        p_holm=test.p_value if p_holm is None else p_holm,
        differences=differences,
        better=better,
        verdict=verdict,
        disagreements=_disagreements(common, a, b),
    )


def _share_right(y_true: NDArray[Any], verdicts: NDArray[Any]) -> float:
    return float(np.mean(y_true == verdicts))


def _verdict(
    common: Common,
    pair: tuple[int, int],
    test: McNemar,
    p_holm: float | None,
    differences: Mapping[str, Metric],
) -> tuple[str | None, str]:
    """Which run is better, if any, and the sentence that says it or why not."""
    a, b = (common.names[run] for run in pair)
    how = "alone is right on" if common.repeats == 1 else "is right more often on"
    counts = f"{a} {how} {test.only_a} of {test.n} images, {b} on {test.only_b}"
    p = f"exact McNemar p = {test.p_value:.2g}"
    if p_holm is not None:
        p += f", after Holm {p_holm:.2g}"
    same = f"{a} and {b} cannot be told apart: {counts}; {p}"
    ranking = _ranking(differences["roc_auc"])
    if (test.p_value if p_holm is None else p_holm) > ALPHA:
        return None, f"{same}.{ranking}"
    leads = 1 if test.only_a > test.only_b else -1
    if _side(differences["accuracy"]) != leads:
        return None, f"{same}; but with groups kept whole, the difference may be 0.{ranking}"
    better, worse = (a, b) if leads == 1 else (b, a)
    return better, f"{better} is better than {worse} on these images: {counts}; {p}."


def _side(difference: Metric) -> int:
    """1 or -1 where the whole interval lies on one side of 0, else 0."""
    if difference.ci_low is None or difference.ci_high is None:
        return 0
    return int(difference.ci_low > 0) - int(difference.ci_high < 0)


def _ranking(difference: Metric) -> str:
    """A further sentence where the models order the images differently, whatever they call them."""
    if _side(difference) == 0:
        return ""
    return (
        f" By their ranking of the images they do differ: ROC AUC {difference.value:+.3f} "
        f"({difference.ci_low:+.3f} to {difference.ci_high:+.3f})."
    )


def _disagreements(common: Common, a: int, b: int) -> tuple[Disagreement, ...]:
    right = common.right
    return tuple(
        Disagreement(
            path=common.paths[row],
            repeat=common.keys[row][0],
            label=LABEL_NAMES[common.y_true[row]],
            probability_a=float(common.prob[a, row]),
            probability_b=float(common.prob[b, row]),
            right=common.names[a if right[a, row] else b],
        )
        for row in np.flatnonzero(right[a] != right[b])
    )


def _caveats(runs: Sequence[Tested], common: Common, pairs: Sequence[Pair]) -> list[str]:
    """What a reader must know before quoting a difference, a sentence each."""
    data = [run.data for run in runs]
    sentences = [
        f"The unit is a cell image, never a patient: {len(common.labels)} images "
        f"in {common.group_count} groups."
    ]
    needed = fewest_discordant(len(pairs), ALPHA)
    if any(pair.better is None and pair.test.only_a + pair.test.only_b < needed for pair in pairs):
        which = "two runs" if len(pairs) == 1 else f"any of {len(pairs)} pairs of runs"
        sentences.append(
            f"It takes at least {needed} images that one run alone gets right, and none the other "
            f"way, to tell {which} apart (p < {ALPHA:g}, two-sided)."
        )
    if common.group_count < len(common.labels):
        sentences.append(
            "McNemar's test takes images of one group for independent, so its p is too small; the "
            "intervals of the differences resample whole groups."
        )
    if len(pairs) > 1:
        sentences.append("Holm adjusts the p-values; each interval stands for its own pair alone.")
    if not runs[0].repeated:
        sentences.append(
            "A run is one training with one seed: it speaks for that model, not for its network."
        )
    if len({facts.get("split_sha256") for facts in data}) > 1:
        sentences.append("The runs have different splits, so they differ in training images too.")
    if any(run.copies for run in runs):
        sentences.append("Files of equal content are one image and count once.")
    if any(run.synthetic for run in runs):
        sentences.append("SYNTHETIC: drawn images; these numbers say nothing about real cells.")
    elif any(facts["name"] == "ALL-IDB2" for facts in data):
        sentences.append(
            "ALL-IDB2 has no patient ids: cells of one patient may be on both sides of any split."
        )
    return sentences
