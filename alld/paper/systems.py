"""Collect the results of systems: baselines fitted here, and networks trained on disk."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean

from alld.baselines.bench import (
    FOLDS,
    Bench,
    SplitPredictions,
    describe_set,
    folds_config,
    predict_split,
)
from alld.baselines.systems import Baseline, Quote, name_of_network
from alld.config.schema import Config
from alld.data.directions import count_directions, pairings
from alld.data.manifest import Pictures
from alld.errors import RunError
from alld.evaluation.compare.predictions import EvaluatedRun, by_content
from alld.evaluation.crossval.folds import Plan, outside_test, read_plan, read_rows
from alld.evaluation.out_of_fold import (
    HeldOut,
    Spread,
    accuracy_of,
    metrics_of_repeat,
    pooled_metrics,
    read_fold,
    training_spread,
)
from alld.evaluation.outside import Outside, OutsideTest, measure_outside
from alld.inference.predictor import Predictor
from alld.paper.grid import Experiment, trainings_of
from alld.runs.folder import Run
from alld.stats.metrics import Metric

TIMED_IMAGES = 52
Note = Callable[[str], None]


@dataclass(frozen=True)
class System:
    """The results of one system: `repeats` are those of the grouped folds, by number from 1.

    `outside` is None where no other session was tested. Seconds are means over the grouped folds:
    of a training, and of one image without its decoding.
    """

    name: str
    quote: Quote | None
    paper_shaped: tuple[float, ...]  # accuracy of each test; empty where none was made
    repeats: dict[int, tuple[HeldOut, ...]] = field(repr=False)
    training_seconds: float | None = None
    image_seconds: float | None = None
    draws: int = 2000
    initial_weights: str = "ImageNet"
    outside: Outside | None = field(default=None, repr=False)

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """Means over the repeats; intervals by a bootstrap over groups."""
        return pooled_metrics(list(self.repeats.values()), self.draws)

    @cached_property
    def spread(self) -> dict[str, Spread]:
        """The spread of the metrics between repeats."""
        return training_spread([metrics_of_repeat(r, self.draws) for r in self.repeats.values()])

    def tested(self) -> EvaluatedRun:
        """Return the out-of-fold predictions, for paired tests."""
        rows = [row for repeat in self.repeats.values() for row in repeat]
        images = by_content(rows)
        return EvaluatedRun(Path(self.name.replace("/", "-")), {}, images, len(rows) - len(images))


def baseline_system(
    baseline: Baseline, bench: Bench, folder: Path, repeats: int, seeds: int, note: Note
) -> System:
    """Fit a baseline on all splits; predictions that are in `folder` already are read back."""
    name = baseline.name(bench.config)
    note(f"{name}: features")
    described = describe_set(baseline, bench)
    own = folder / baseline.key
    found: list[SplitPredictions] = []
    rows: dict[int, tuple[HeldOut, ...]] = {}
    paper_shaped = []
    for seed in range(seeds):
        split = bench.paper_shaped(seed)
        file = own / f"paper-seed-{seed}.json"
        predictions = predict_split(baseline, described, bench, split, file)
        paper_shaped.append(accuracy_of(bench.held_out(split, predictions.probabilities)))
    for repeat in range(1, repeats + 1):
        note(f"{name}: folds, repeat {repeat} of {repeats}")
        of_repeat: list[HeldOut] = []
        for fold, split in enumerate(bench.folds(repeat), start=1):
            file = own / f"repeat-{repeat}-fold-{fold}.json"
            found.append(predict_split(baseline, described, bench, split, file))
            of_repeat += bench.held_out(split, found[-1].probabilities, repeat, fold)
        rows[repeat] = tuple(of_repeat)
    tests = []
    for repeat in outside_repeats(bench, repeats):
        note(f"{name}: other sessions, repeat {repeat}")
        for fold, (tested, split) in enumerate(bench.directions(repeat), start=1):
            file = own / f"session-{repeat}-fold-{fold}.json"
            one = predict_split(baseline, described, bench, split, file)
            held_out = bench.held_out(split, one.probabilities, repeat, fold)
            tests.append(OutsideTest(tested, held_out))
    return System(
        name=name,
        quote=baseline.quote,
        paper_shaped=tuple(paper_shaped),
        repeats=rows,
        training_seconds=fmean(one.training_seconds for one in found),
        image_seconds=fmean(one.image_seconds for one in found),
        draws=bench.config.evaluate.bootstrap_draws,
        outside=measure_outside(tests, bench.config.evaluate.bootstrap_draws) if tests else None,
    )


def outside_repeats(bench: Bench, seeds: int) -> range:
    """Return the numbers of the repeats that test every direction with so many seeds."""
    directions, _ = count_directions(bench.manifest)
    pairs = len(pairings(bench.manifest)) if directions else 0
    return range(1, pairs * seeds + 1)


def network_systems(
    experiments: Sequence[Experiment], crossvals: Sequence[Path], bench: Bench, device: str
) -> list[System]:
    """Return a system for each recipe among finished experiments and cross-validations.

    Cross-validations of one recipe that began with other seeds are its further repeats; those
    that test other sessions are its `outside`.

    Raises:
        RunError: one of them is missing, of other images, or has other folds than this bench.
    """
    grouped = [one.folder for one in experiments if one.seed is None]
    plans: dict[str, list[Plan]] = {}
    for plan in map(read_plan, [*grouped, *crossvals]):
        plans.setdefault(_recipe(plan.config), []).append(plan)
    accuracies: dict[str, list[float]] = {}
    for experiment in experiments:
        if experiment.seed is not None:
            run = Run(experiment.folder)
            _check_images(run.folder, run.info["data"]["fingerprint"], bench)
            accuracy = accuracy_of(read_fold(run.folder, 1, 1))
            accuracies.setdefault(_recipe(run.config), []).append(accuracy)
    return [
        _network(own, tuple(accuracies.get(recipe, ())), bench, device)
        for recipe, own in plans.items()
    ]


def runs_behind(experiments: Sequence[Experiment], crossvals: Sequence[Path]) -> list[Run]:
    """Return every training behind `network_systems`."""
    folds = [Run(fold.folder) for folder in crossvals for fold in read_plan(folder).all_folds()]
    return [*trainings_of(experiments), *folds]


def _recipe(config: Config) -> str:
    """Equal for trainings that differ in seeds, splits and machines alone."""
    sections = (config.model, config.augment, config.train, config.calibrate)
    parts = [section.model_dump_json() for section in sections]
    return "".join([*parts, str(config.data.image_size)])


def _network(
    plans: Sequence[Plan], paper_shaped: tuple[float, ...], bench: Bench, device: str
) -> System:
    name, quote = name_of_network(plans[0].config)
    repeats: dict[int, tuple[HeldOut, ...]] = {}
    grouped = [plan for plan in plans if plan.config.split.kind != "session"]
    if not grouped:
        raise RunError(f"{plans[0].folder}: give a grouped cross-validation of this recipe too")
    for plan in grouped:
        repeats |= _repeats(plan, bench)
    draws = bench.config.evaluate.bootstrap_draws
    runs = [Run(fold.folder) for plan in grouped for fold in plan.all_folds()]
    return System(
        name=name,
        quote=quote,
        paper_shaped=paper_shaped,
        repeats=dict(sorted(repeats.items())),
        training_seconds=fmean(run.info["seconds"] for run in runs),
        image_seconds=_image_seconds(runs[0], bench, device),
        draws=draws,
        outside=outside_of([plan for plan in plans if plan not in grouped], bench, draws),
    )


def outside_of(plans: Sequence[Plan], bench: Bench, draws: int) -> Outside | None:
    """Measure cross-validations that test other sessions; None where there are none.

    Raises:
        RunError: one is of other images, or of a version that recorded less.
    """
    for plan in plans:
        _check_images(plan.folder, plan.fingerprint, bench)
    tests = [outside_test(fold, plan.fingerprint) for plan in plans for fold in plan.all_folds()]
    return measure_outside(tests, draws) if tests else None


def _repeats(plan: Plan, bench: Bench) -> dict[int, tuple[HeldOut, ...]]:
    """The rows of a cross-validation by the bench's numbers of its repeats."""
    _check_images(plan.folder, plan.fingerprint, bench)
    later, kind = plan.config.split_seed - bench.config.seed, folds_config(bench.config).split.kind
    found: dict[int, list[HeldOut]] = {}
    for row in read_rows(plan):
        moved = replace(row, repeat=row.repeat + later)
        found.setdefault(moved.repeat, []).append(moved)
    for repeat, rows in found.items():
        if repeat < 1 or {row.path: row.fold for row in rows} != _expected_folds(bench, repeat):
            raise RunError(
                f"{plan.folder}: other folds than {kind} {FOLDS}-fold from seed "
                f"{bench.config.seed} on gives here; repeat it with alld crossval, or give the "
                "script its --seed"
            )
    return {repeat: tuple(rows) for repeat, rows in found.items()}


def _expected_folds(bench: Bench, repeat: int) -> dict[str, int]:
    return {
        bench.manifest.records[index].path: fold
        for fold, split in enumerate(bench.folds(repeat), start=1)
        for index in split.indices("test")
    }


def _check_images(folder: Path, fingerprint: str, bench: Bench) -> None:
    if fingerprint != bench.manifest.fingerprint:
        raise RunError(f"{folder}: made from other images than {bench.manifest.root}")


def _image_seconds(run: Run, bench: Bench, device: str) -> float:
    """Mean time of predicting a decoded image, over as many as a test part has."""
    predictor = Predictor.load(run.folder, device)
    pictures = Pictures(bench.manifest)[: min(TIMED_IMAGES, len(bench.manifest))]
    # The first batch takes memory from the system.
    predictor.predict_pictures(pictures[: predictor.batch])
    began = time.perf_counter()
    predictor.predict_pictures(pictures)
    return (time.perf_counter() - began) / len(pictures)
