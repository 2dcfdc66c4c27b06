"""Make the paper's Table 2: many tests of its shape, and folds that do not leak.

Two protocols for each network. *Paper-shaped*: 23 blasts and 29 healthy cells drawn at random as
the test, as the paper's one test set was, for many seeds. *Grouped*: five folds over all images
with same cells and overlapping crops on one side. Each network is compared with a linear probe on
its untouched features.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from statistics import fmean, stdev

import numpy as np

from alld.baselines.bench import Bench
from alld.baselines.deep import body_features, probe_model
from alld.baselines.systems import PROBE, Quote
from alld.config.schema import Config
from alld.data.groups.load import load_groups
from alld.data.manifest import Manifest, Pictures
from alld.data.sources.find import load_manifest
from alld.data.splits import Split
from alld.evaluation.compare.compare import compare_pairs
from alld.evaluation.crossval.folds import read_plan, read_rows
from alld.evaluation.out_of_fold import accuracy_of, read_fold
from alld.evaluation.outside import OutsideTest, measure_outside
from alld.paper.grid import Experiment, check_experiments, config_of, trainings_of, unlike
from alld.paper.other_sessions import (
    outside_cell,
    outside_facts,
    outside_notes,
    outside_row,
)
from alld.paper.systems import System, outside_of, outside_repeats
from alld.paper.table import (
    Table,
    closing_notes,
    facts_of,
    quoted,
)
from alld.report.text import percent
from alld.runtime.reading import read_json

# Accuracy of the paper's Table 2, of 52 test images.
PAPER = {"vgg16": 49 / 52, "vgg19": 51 / 52, "resnet34": 51 / 52, "resnet50": 51 / 52}
HEADINGS = ("Model", "Paper", "Paper-shaped: mean", "sd", "min to max", "at or above the paper",
            "first", "Grouped 5-fold", "95 % interval", "Another session: ROC AUC")  # fmt: skip


def collect(
    experiments: Sequence[Experiment],
    config: Config,
    note: Callable[[str], None] = lambda _text: None,
) -> Table:
    """Read all experiments back, add the probes, and compare.

    Raises:
        RunError: an experiment is missing, or was made from other images or with other settings.
    """
    check_experiments(experiments, config)
    manifest = load_manifest(config.data)
    split = config.split
    groups = load_groups(manifest, split.groups, fields=split.joins_fields)
    bench = Bench(manifest, groups, config)
    systems = []
    for arch in dict.fromkeys(experiment.arch for experiment in experiments):
        own = [experiment for experiment in experiments if experiment.arch == arch]
        systems.append(_network(own, bench))
        note(f"features of {arch} for the linear probe")
        systems.append(_probe(own, bench, systems[-1].initial_weights))
    return make_table2(systems, manifest, unlike(trainings_of(experiments)))


def make_table2(
    systems: Sequence[System], manifest: Manifest, unlike: tuple[str, ...] = ()
) -> Table:
    """Compare every two systems; Holm's correction is over all pairs.

    Args:
        systems: in the table's order, each with one repeat of the grouped folds.
        unlike: conditions in which the trainings differed.
    """
    first = first_places([system.paper_shaped for system in systems])
    tests, draws = len(systems[0].paper_shaped), systems[0].draws
    mark = "SYNTHETIC: " if manifest.synthetic else ""
    pairs = combinations([system.tested() for system in systems], 2)
    return Table(
        name="table2",
        title=f"{mark}Table 2 repeated on {manifest.kind}: {tests} paper-shaped tests, 5 folds",
        headings=HEADINGS,
        systems=tuple(systems),
        labels=tuple(map(label_of, systems)),
        cells=tuple(map(_cells, systems, first)),
        rows=tuple(map(_row, systems, first)),
        pairs=compare_pairs(list(pairs), draws=draws),
        notes=(
            *_notes(systems),
            *outside_notes(systems, manifest),
            *closing_notes(manifest, unlike),
        ),
        legend="the paper's one test",
        facts=facts_of(manifest, unlike) | outside_facts(systems),
    )


def _network(experiments: Sequence[Experiment], bench: Bench) -> System:
    arch = experiments[0].arch
    grouped = next(one for one in experiments if one.seed is None and not one.directions)
    plans = [read_plan(one.folder) for one in experiments if one.directions]
    draws = bench.config.evaluate.bootstrap_draws
    facts = read_json(grouped.folder / "evaluation" / "metrics.json")
    return System(
        name=arch,
        quote=Quote(PAPER[arch], "one test of 52 images") if arch in PAPER else None,
        paper_shaped=tuple(
            accuracy_of(read_fold(one.folder, 1, 1)) for one in experiments if one.seed is not None
        ),
        repeats={1: tuple(read_rows(read_plan(grouped.folder)))},
        draws=draws,
        initial_weights=str(facts["plan"]["initial_weights"]),
        outside=outside_of(plans, bench, draws),
    )


def _probe(experiments: Sequence[Experiment], bench: Bench, initial_weights: str) -> System:
    """The linear probe of one network; it learns from the training images alone."""
    features = body_features(Pictures(bench.manifest), config_of(experiments[0], bench.config))

    def predict(split: Split) -> Iterable[float]:
        training = split.indices("train")
        model = probe_model().fit(features[training], bench.labels[training])
        probabilities = model.predict_proba(features[split.indices("test")])  # (n, 2)
        return map(float, probabilities[:, 1])

    splits = [bench.paper_shaped(one.seed) for one in experiments if one.seed is not None]
    folds = enumerate(bench.folds(repeat=1), start=1)
    rows = [row for fold, s in folds for row in bench.held_out(s, predict(s), 1, fold)]
    draws = bench.config.evaluate.bootstrap_draws
    tests = [
        OutsideTest(tested, bench.held_out(split, predict(split)))
        for repeat in outside_repeats(bench, 1)
        for tested, split in bench.directions(repeat)
    ]
    return System(
        name=f"{PROBE.title}, {experiments[0].arch}",
        quote=None,
        paper_shaped=tuple(accuracy_of(bench.held_out(s, predict(s))) for s in splits),
        repeats={1: tuple(rows)},
        draws=draws,
        initial_weights=initial_weights,
        outside=measure_outside(tests, draws) if tests else None,
    )


def first_places(accuracies: Sequence[Sequence[float]]) -> list[float]:
    """Return in how many tests each system ranked first; a shared first place counts in parts.

    Args:
        accuracies: of each system, one a test.
    """
    table = np.array(accuracies)  # (systems, tests)
    best = np.isclose(table, table.max(axis=0))
    return [float(share) for share in (best / best.sum(axis=0)).sum(axis=1)]


def label_of(system: System) -> str:
    """Return the name, with the initial weights where these are not ImageNet's."""
    if system.initial_weights == "ImageNet":
        return system.name
    return f"{system.name} ({_origin(system)})"


def _origin(system: System) -> str:
    return "random weights" if system.initial_weights == "random" else system.initial_weights


def _share_at_paper(system: System) -> float | None:
    """Share of tests at or above the paper's value."""
    quote = system.quote
    if quote is None:
        return None
    return fmean(accuracy >= quote.accuracy - 1e-9 for accuracy in system.paper_shaped)


def _sd(system: System) -> float | None:
    return stdev(system.paper_shaped) if len(system.paper_shaped) > 1 else None


def _cells(system: System, first: float) -> tuple[str, ...]:
    accuracy, tests = system.metrics["accuracy"], system.paper_shaped
    low, high = accuracy.ci_low, accuracy.ci_high
    sd, reached = _sd(system), _share_at_paper(system)
    return (
        label_of(system),
        quoted(system),
        percent(fmean(tests)),
        "" if sd is None else f"{sd * 100:.1f}",
        f"{percent(min(tests))} to {percent(max(tests))}",
        "" if reached is None else f"{reached:.0%}",
        f"{first:.1f}",
        f"{percent(accuracy.value or 0)} ({accuracy.k}/{accuracy.n})",
        "undefined" if low is None or high is None else f"{percent(low)} to {percent(high)}",
        outside_cell(system),
    )


def _row(system: System, first: float) -> dict[str, object]:
    accuracy, tests = system.metrics["accuracy"], system.paper_shaped
    return {
        "model": system.name,
        "initial_weights": system.initial_weights,
        "paper": system.quote and system.quote.accuracy,
        "mean": fmean(tests),
        "sd": _sd(system),
        "min": min(tests),
        "max": max(tests),
        "seeds": len(tests),
        "share_at_paper": _share_at_paper(system),
        "ranked_first": first,
        "grouped_k": accuracy.k,
        "grouped_n": accuracy.n,
        "grouped": accuracy.value,
        "grouped_low": accuracy.ci_low,
        "grouped_high": accuracy.ci_high,
        "grouped_roc_auc": system.metrics["roc_auc"].value,
        "grouped_brier": system.metrics["brier"].value,
        **outside_row(system),
    }


def _notes(systems: Sequence[System]) -> list[str]:
    found = [
        "Accuracy in percent of cell images, never of patients. Paper-shaped: 52 test images, 23 "
        "blasts and 29 healthy cells, drawn at random, other seeds for each test and training; "
        "same cells lie on both sides. Grouped: each of all images tested once, same cells and "
        "overlapping crops in one fold; interval by a bootstrap over groups.",
        "first: tests at which the model was best; a shared first place counts in parts.",
    ]
    others = {_origin(system) for system in systems if system.initial_weights != "ImageNet"}
    if others:
        found.append(
            f"Rows marked {', '.join(sorted(others))} did not start from ImageNet weights: they "
            "are not the paper's transfer learning and not comparable to its values."
        )
    return found
