"""Compare evaluated runs on identical images: paired tests, differences and a verdict."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alld.data.manifest import LABEL_NAMES, class_counts
from alld.errors import ConfigError
from alld.evaluation.compare.predictions import AlignedRuns, EvaluatedRun, align_runs, read_tested
from alld.evaluation.compare.result import (
    ALPHA,
    ComparedRun,
    Disagreement,
    PairedTest,
    RunComparison,
)
from alld.evaluation.result import as_metric
from alld.stats.confusion import confusion
from alld.stats.metrics import Metric, bootstrapped, grouped_proportions, proportions
from alld.stats.ranking import roc_auc
from alld.stats.significance import (
    McNemar,
    fewest_discordant,
    holm,
    mcnemar_exact,
    paired_group_bootstrap,
)


def compare(folders: Sequence[Path], *, draws: int = 2000) -> RunComparison:
    """Compare two or more evaluated runs, or cross-validations, on the images all of them tested.

    Each pair gets McNemar's exact test of its verdicts, adjusted by Holm over all pairs, and the
    differences of accuracy and ROC AUC with intervals that resample groups. In a cross-validation
    with repeats an image counts once in the test, for the run that was correct more often. A run
    is called better where the adjusted p is at most 0.05 and the interval excludes 0.

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
    aligned = align_runs(runs)
    pairs = _test_pairs([(aligned, a, b) for a, b in combinations(range(len(runs)), 2)], draws)
    return RunComparison(
        images=len(aligned.labels),
        classes=class_counts(list(aligned.labels.values())),
        groups=aligned.group_count,
        repeats=aligned.repeats,
        synthetic=any(run.synthetic for run in runs),
        runs=tuple(
            ComparedRun(
                name,
                run.folder,
                len(run.images),
                _metrics(aligned, number, draws),
                *_sides(run),
            )
            for number, (name, run) in enumerate(zip(aligned.names, runs, strict=True))
        ),
        pairs=pairs,
        caveats=tuple(_caveats(runs, aligned, pairs)),
    )


def compare_pairs(
    pairs: Sequence[tuple[EvaluatedRun, EvaluatedRun]], *, draws: int = 2000
) -> tuple[PairedTest, ...]:
    """Compare planned pairs as `compare` does, each on all images that its two have in common.

    Holm's correction is over these pairs.

    Raises:
        RunError: a pair without a common image, or whose labels disagree.
    """
    return _test_pairs([(align_runs(pair), 0, 1) for pair in pairs], draws)


def _metrics(aligned: AlignedRuns, run: int, draws: int) -> dict[str, Metric]:
    truth, verdicts, groups = aligned.y_true, aligned.verdicts[run], aligned.groups
    if aligned.repeats > 1:  # repeats of an image are not independent, as Wilson's interval needs
        shares = grouped_proportions(truth, verdicts, threshold=0.5, groups=groups, draws=draws)
    else:
        shares = proportions(confusion(truth, verdicts))
    return {**shares, "roc_auc": bootstrapped(roc_auc, truth, aligned.prob[run], groups, draws)}


def _sides(run: EvaluatedRun) -> tuple[Metric | None, Metric | None]:
    """The mean ROC AUC of a run's directions in other sessions, and that of its validation."""
    if run.outside is None:
        return None, None
    inside = run.outside["inside"].get("roc_auc")
    return as_metric(run.outside["mean"]["roc_auc"]), inside and as_metric(inside)


def _test_pairs(
    planned: Sequence[tuple[AlignedRuns, int, int]], draws: int
) -> tuple[PairedTest, ...]:
    tests = [_mcnemar(aligned, a, b) for aligned, a, b in planned]
    adjusted = holm([test.p_value for test in tests])
    several = len(planned) > 1
    return tuple(
        _paired_test(aligned, (a, b), test, p_holm, draws, several=several)
        for (aligned, a, b), test, p_holm in zip(planned, tests, adjusted, strict=True)
    )


def _mcnemar(aligned: AlignedRuns, a: int, b: int) -> McNemar:
    """The test on images, not rows: repeats of an image are one observation, for the run that was
    correct more often."""
    _, image = np.unique([content for _, content in aligned.keys], return_inverse=True)
    correct = aligned.correct.astype(int)
    ahead = np.bincount(image, weights=correct[a] - correct[b])
    return mcnemar_exact(ahead > 0, ahead < 0)


def _paired_test(
    aligned: AlignedRuns,
    runs: tuple[int, int],
    test: McNemar,
    p_holm: float,
    draws: int,
    *,
    several: bool,
) -> PairedTest:
    a, b = runs
    truth, verdicts, prob = aligned.y_true, aligned.verdicts, aligned.prob
    difference = partial(paired_group_bootstrap, groups=aligned.groups, draws=draws)
    differences = {
        "accuracy": difference(_share_correct, truth, verdicts[a], verdicts[b]),
        "roc_auc": difference(roc_auc, truth, prob[a], prob[b]),
    }
    p = f"exact McNemar p = {test.p_value:.2g}"
    p += f", after Holm {p_holm:.2g}" if several else ""
    better, verdict = _verdict(aligned, runs, test, p_holm, p, differences)
    return PairedTest(
        a=aligned.names[a],
        b=aligned.names[b],
        test=test,
        p_holm=p_holm,
        differences=differences,
        better=better,
        verdict=verdict,
        disagreements=tuple(
            Disagreement(
                path=aligned.paths[row],
                repeat=str(aligned.keys[row][0] or ""),
                label=LABEL_NAMES[truth[row]],
                probability_a=float(prob[a, row]),
                probability_b=float(prob[b, row]),
                right=aligned.names[a if aligned.correct[a, row] else b],
            )
            for row in np.flatnonzero(aligned.correct[a] != aligned.correct[b])
        ),
    )


def _share_correct(y_true: NDArray[Any], verdicts: NDArray[Any]) -> float:
    return float(np.mean(y_true == verdicts))


def _verdict(
    aligned: AlignedRuns,
    runs: tuple[int, int],
    test: McNemar,
    p_holm: float,
    p: str,
    differences: Mapping[str, Metric],
) -> tuple[str | None, str]:
    """Which run is better, if any, and the sentence that says it or why not."""
    a, b = (aligned.names[run] for run in runs)
    how = "alone is right on" if aligned.repeats == 1 else "is right more often on"
    counts = f"{a} {how} {test.only_a} of {test.n} images, {b} on {test.only_b}"
    same = f"{a} and {b} cannot be told apart: {counts}; {p}"
    area = differences["roc_auc"]
    ranking = ""
    if _side_of_zero(area):
        ranking = (
            f" By their ranking of the images they do differ: ROC AUC {area.value:+.3f} "
            f"({area.ci_low:+.3f} to {area.ci_high:+.3f})."
        )
    if p_holm > ALPHA:
        return None, f"{same}.{ranking}"
    leads = 1 if test.only_a > test.only_b else -1
    if _side_of_zero(differences["accuracy"]) != leads:
        return None, f"{same}; but with groups kept whole, the difference may be 0.{ranking}"
    better, worse = (a, b) if leads == 1 else (b, a)
    return better, f"{better} is better than {worse} on these images: {counts}; {p}."


def _side_of_zero(difference: Metric) -> int:
    """1 or -1 where the whole interval lies on one side of 0, else 0."""
    if difference.ci_low is None or difference.ci_high is None:
        return 0
    return int(difference.ci_low > 0) - int(difference.ci_high < 0)


def _caveats(
    runs: Sequence[EvaluatedRun], aligned: AlignedRuns, pairs: Sequence[PairedTest]
) -> list[str]:
    """What a reader must know before quoting a difference, a sentence each."""
    data = [run.data for run in runs]
    sentences = [
        f"The unit is a cell image, never a patient: {len(aligned.labels)} images "
        f"in {aligned.group_count} groups."
    ]
    needed = fewest_discordant(len(pairs), ALPHA)
    if any(pair.better is None and pair.test.only_a + pair.test.only_b < needed for pair in pairs):
        which = "two runs" if len(pairs) == 1 else f"any of {len(pairs)} pairs of runs"
        sentences.append(
            f"It takes at least {needed} images that one run alone gets right, and none the other "
            f"way, to tell {which} apart (p < {ALPHA:g}, two-sided)."
        )
    if aligned.group_count < len(aligned.labels):
        sentences.append(
            "McNemar's test takes images of one group for independent, so its p is too small; the "
            "intervals of the differences resample whole groups."
        )
    if len(pairs) > 1:
        sentences.append("Holm adjusts the p-values; each interval is of its own pair alone.")
    if not runs[0].repeated:
        sentences.append(
            "A run is one training with one seed: the result is about this model, not about its "
            "architecture."
        )
    if len({facts.get("split_sha256") for facts in data}) > 1:
        sentences.append("The runs have different splits, so they differ in training images too.")
    by_session = [run.split == "session" for run in runs]
    if any(by_session) and not all(by_session):
        inside, other = (aligned.names[by_session.index(kind)] for kind in (False, True))
        sentences.append(
            f"{other} was tested on sessions that trained no part of it, {inside} was not: their "
            "difference shows how much of a result belongs to the sessions."
        )
    if any(run.copies for run in runs):
        sentences.append("Files of equal content are one image and count once.")
    if any(run.synthetic for run in runs):
        sentences.append("SYNTHETIC: drawn images; these numbers say nothing about real cells.")
    elif any(facts["name"] == "ALL-IDB2" for facts in data):
        sentences.append(
            "ALL-IDB2 has no patient ids: cells of one patient may be on both sides of any split."
        )
    return sentences
