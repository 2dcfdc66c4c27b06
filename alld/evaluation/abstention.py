"""What silence buys: how many images get no verdict, and how often the others' are right.

A single run takes both its limits from its own validation images. A cross-validation knows better
where probabilities are unreliable: from all its out-of-fold predictions. So that none of them has a
part in its own verdict, those of a fold are judged by the band that the other folds show.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from alld.evaluation.out_of_fold import HeldOut
from alld.inference.prediction import OUT_OF_DOMAIN, UNCERTAIN, VERDICTS, called
from alld.stats.metrics import proportion
from alld.stats.selective import Band, gain_in_accuracy, risk_coverage, uncertain_band

_NO_IMAGE = "there is no image"


def abstention(
    y_true: Sequence[str],
    y_prob: Sequence[float],
    thresholds: Sequence[float],
    verdicts: Sequence[str],
    groups: Sequence[str],
    draws: int,
) -> dict[str, Any]:
    """The facts of a test about abstaining; see `stats.selective` for gain and curve.

    Args:
        y_true: the label of each image, in words.
        y_prob: P(blast) of each.
        thresholds: that of the model which judged it.
        verdicts: one of VERDICTS each.
        groups: n names, equal for images that belong together.
        draws: of the bootstrap.
    """
    n = len(y_true)
    counts = {verdict: verdicts.count(verdict) for verdict in VERDICTS}
    kept = [verdict not in (UNCERTAIN, OUT_OF_DOMAIN) for verdict in verdicts]
    right = [called(*row) == label for *row, label in zip(y_prob, thresholds, y_true, strict=True)]
    kept_right = sum(ok for ok, given in zip(right, kept, strict=True) if given)
    labels = np.array([label == VERDICTS[0] for label in y_true], dtype=int)
    return {
        "verdicts": counts,
        "out_of_domain": proportion(counts[OUT_OF_DOMAIN], n, _NO_IMAGE).as_dict(),
        "uncertain": proportion(counts[UNCERTAIN], n, _NO_IMAGE).as_dict(),
        "kept": proportion(sum(kept), n, _NO_IMAGE).as_dict(),
        "kept_accuracy": proportion(kept_right, sum(kept), "no image has a verdict").as_dict(),
        "gain": gain_in_accuracy(right, kept, groups, draws=draws).as_dict(),
        "curve": [asdict(point) for point in risk_coverage(labels, y_prob, thresholds)],
    }


def cross_fitted(rows: Sequence[HeldOut], error: float | None) -> list[str]:
    """One of VERDICTS for each out-of-fold prediction, by a band that its fold had no part in.

    Args:
        rows: of all repeats.
        error: `abstain.uncertain`; None for no band at all.
    """
    bands = {} if error is None else _bands_without(rows, error)
    return [_verdict(row, bands.get((row.repeat, row.fold))) for row in rows]


def _bands_without(rows: Sequence[HeldOut], error: float) -> dict[tuple[int, int], Band]:
    cells = dict.fromkeys((row.repeat, row.fold) for row in rows)
    return {
        (repeat, fold): band_of(
            [row for row in rows if row.repeat == repeat and row.fold != fold], error
        )
        for repeat, fold in cells
    }


def band_of(rows: Sequence[HeldOut], error: float) -> Band:
    """Where out-of-fold predictions show verdicts to be unreliable; those refused do not count."""
    told = [row for row in rows if row.said != OUT_OF_DOMAIN] or rows
    return uncertain_band(
        [row.label for row in told],
        [row.probability for row in told],
        [row.threshold for row in told],
        error=error,
    )


def _verdict(row: HeldOut, band: Band | None) -> str:
    if row.said == OUT_OF_DOMAIN:
        return OUT_OF_DOMAIN
    if band is not None and band.holds([row.probability], row.threshold)[0]:
        return UNCERTAIN
    return called(row.probability, row.threshold)
