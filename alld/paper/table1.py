"""Make the paper's Table 1: every system on identical splits, with intervals and paired tests.

Two protocols, as for Table 2: paper-shaped tests of 52 images, and grouped folds over all images.
"""

from collections.abc import Sequence
from statistics import fmean, stdev

from alld.baselines.systems import BACKGROUND
from alld.data.manifest import Manifest
from alld.evaluation.compare.compare import compare_pairs
from alld.paper.other_sessions import (
    outside_cell,
    outside_facts,
    outside_notes,
    outside_row,
)
from alld.paper.systems import System
from alld.paper.table import (
    Table,
    closing_notes,
    facts_of,
    interval,
    quoted,
)
from alld.report.text import percent

HEADINGS = ("System", "Quoted", "Paper-shaped: mean (sd)", "{} 5-fold (95 % interval)",
            "ROC AUC", "Brier", "Another session: ROC AUC", "Training", "An image")  # fmt: skip
_FOLDS = {
    "grouped": "Grouped: each of all images tested once in each repeat, same cells and overlapping "
    "crops in one fold",
    "random": "Random: each of all images tested once in each repeat, same cells in training and "
    "test",
    "blocks": "Blocks: each of all images tested once in each repeat, neighbouring numbers of "
    "files in one fold",
}


def make_table1(
    systems: Sequence[System],
    manifest: Manifest,
    reference: str,
    unlike: tuple[str, ...] = (),
    folds: str = "grouped",
) -> Table:
    """Compare every system with the reference, and with the background alone.

    Pairs are tested on the repeats that both have; Holm's correction is over all of them.

    Args:
        systems: in the table's order, the background among them.
        reference: name of one of them.
        unlike: conditions in which the trainings of its networks differed.
        folds: their kind, a key of `_FOLDS`.
    """
    tested = {system.name: system.tested() for system in systems}
    planned = [
        (tested[name], tested[other])
        for other in (reference, BACKGROUND.title)
        for name in tested
        if name != other and (other, name) != (reference, BACKGROUND.title)
    ]
    mark = "SYNTHETIC: " if manifest.synthetic else ""
    return Table(
        name="table1",
        title=f"{mark}Table 1 repeated on {manifest.kind}: every system on the same splits",
        headings=tuple(heading.format(folds.capitalize()) for heading in HEADINGS),
        systems=tuple(systems),
        labels=tuple(tested),
        cells=tuple(map(_cells, systems)),
        rows=tuple(map(_row, systems)),
        pairs=compare_pairs(planned, draws=systems[0].draws),
        notes=(
            *_notes(systems, folds),
            *outside_notes(systems, manifest),
            *closing_notes(manifest, unlike),
        ),
        legend="quoted, under its own protocol",
        facts={**facts_of(manifest, unlike), "folds": folds} | outside_facts(systems),
    )


def _cells(system: System) -> tuple[str, ...]:
    accuracy, auc, brier = (system.metrics[name] for name in ("accuracy", "roc_auc", "brier"))
    tests, training, image = system.paper_shaped, system.training_seconds, system.image_seconds
    spread = f" ({stdev(tests) * 100:.1f})" if len(tests) > 1 else ""
    return (
        system.name,
        quoted(system),
        f"{percent(fmean(tests))}{spread}" if tests else "",
        f"{percent(accuracy.value or 0)}{interval(accuracy)}",
        "undefined" if auc.value is None else f"{auc.value:.3f}",
        "undefined" if brier.value is None else f"{brier.value:.3f}",
        outside_cell(system),
        "" if training is None else f"{training:.3g} s",
        "" if image is None else f"{image * 1000:.3g} ms",
    )


def _row(system: System) -> dict[str, object]:
    metrics, tests = system.metrics, system.paper_shaped
    accuracy, auc = metrics["accuracy"], metrics["roc_auc"]
    return {
        "system": system.name,
        "quoted": system.quote and system.quote.accuracy,
        "quoted_protocol": system.quote and system.quote.protocol,
        "paper_shaped_tests": len(tests),
        "paper_shaped_mean": fmean(tests) if tests else None,
        "paper_shaped_sd": stdev(tests) if len(tests) > 1 else None,
        "repeats": len(system.repeats),
        "grouped": accuracy.value,
        "grouped_low": accuracy.ci_low,
        "grouped_high": accuracy.ci_high,
        "grouped_sd_repeats": system.spread["accuracy"].sd,
        "sensitivity": metrics["sensitivity"].value,
        "specificity": metrics["specificity"].value,
        "roc_auc": auc.value,
        "roc_auc_low": auc.ci_low,
        "roc_auc_high": auc.ci_high,
        "brier": metrics["brier"].value,
        **outside_row(system),
        "training_seconds": system.training_seconds,
        "image_seconds": system.image_seconds,
    }


def _notes(systems: Sequence[System], folds: str) -> list[str]:
    repeats = sorted({len(system.repeats) for system in systems})
    protocols = [
        f"{system.name.split()[0]} {system.quote.protocol}" for system in systems if system.quote
    ]
    return [
        "Accuracy in percent of cell images, never of patients. Paper-shaped: 52 test images, 23 "
        f"blasts and 29 healthy cells, drawn at random, same cells on both sides. {_FOLDS[folds]}, "
        f"{' or '.join(map(str, repeats))} repeats; interval by a bootstrap over groups.",
        "Quoted: what the ALLD paper prints, each under a protocol of its own: "
        + "; ".join(protocols)
        + ".",
        "The baselines are rebuilt from their abstracts and repositories; they are not the "
        "authors' programs. Features, scaling, selection and parameters come from the training "
        "side alone. Baselines and probe learn from all images that are not tested; networks from "
        "four fifths of those, and set their temperature by the rest.",
        "Pairs: exact McNemar, an image once, for the system that was correct more often over the "
        "repeats that both have; Holm over all pairs of this table; differences of accuracy with "
        "an interval that resamples groups.",
        f"{BACKGROUND.title} sees only what lies outside the cells. A system that is not better "
        "may have learnt the slide and not the cell; one that is better may still use the slide.",
        "Seconds were measured on this machine, at whatever load it had: of one training with its "
        "features, and of one image without its decoding.",
    ]
