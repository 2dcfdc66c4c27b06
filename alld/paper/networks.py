"""Systems that are trained networks: ALLD's own models, and the rivals that differ in settings."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from alld.baselines.bench import FOLDS, Bench
from alld.baselines.systems import name_of_network
from alld.config.schema import Config
from alld.data.manifest import Pictures
from alld.errors import RunError
from alld.evaluation.crossval.folds import read_plan, read_rows
from alld.evaluation.out_of_fold import HeldOut, accuracy_of, read_fold
from alld.inference.predictor import Predictor
from alld.paper.grid import Cell, trainings_of
from alld.paper.table1 import System
from alld.runs.folder import Run

TIMED_IMAGES = 52
_OF_RECIPE = ("model", "augment", "train", "calibrate")


def networks(
    cells: Sequence[Cell], crossvals: Sequence[Path], bench: Bench, device: str
) -> list[System]:
    """A system for each recipe among finished runs and cross-validations.

    Cross-validations of one recipe that began with other seeds are its further repeats.

    Raises:
        RunError: one of them is missing, of other images, or has other folds than this bench.
    """
    grouped = [cell.folder for cell in cells if cell.seed is None] + list(crossvals)
    recipes: dict[str, list[Path]] = {}
    for folder in grouped:
        recipes.setdefault(_recipe(read_plan(folder).config), []).append(folder)
    tests: dict[str, list[float]] = {}
    for cell in cells:
        if cell.seed is not None:
            _check(Run(cell.folder), bench)
            accuracy = accuracy_of(read_fold(cell.folder, 1, 1))
            tests.setdefault(_recipe(Run(cell.folder).config), []).append(accuracy)
    return [
        _system(folders, tuple(tests.get(recipe, ())), bench, device)
        for recipe, folders in recipes.items()
    ]


def runs_behind(cells: Sequence[Cell], crossvals: Sequence[Path]) -> list[Run]:
    """Every training behind `networks`."""
    folds = [Run(fold.folder) for folder in crossvals for fold in read_plan(folder).all_folds()]
    return [*trainings_of(cells), *folds]


def _recipe(config: Config) -> str:
    """Equal for trainings that differ in seeds, splits and machines alone."""
    parts = [getattr(config, section).model_dump_json() for section in _OF_RECIPE]
    return "".join([*parts, str(config.data.image_size)])


def _system(
    folders: Sequence[Path], paper_shaped: tuple[float, ...], bench: Bench, device: str
) -> System:
    name, quote = name_of_network(read_plan(folders[0]).config)
    repeats: dict[int, tuple[HeldOut, ...]] = {}
    runs: list[Run] = []
    for folder in folders:
        repeats |= _repeats(folder, bench)
        runs += [Run(fold.folder) for fold in read_plan(folder).all_folds()]
    return System(
        name=name,
        quote=quote,
        paper_shaped=paper_shaped,
        repeats=dict(sorted(repeats.items())),
        training_seconds=fmean(run.info["seconds"] for run in runs),
        image_seconds=_image_seconds(runs[0], bench, device),
        draws=bench.config.evaluate.bootstrap_draws,
    )


def _repeats(folder: Path, bench: Bench) -> dict[int, tuple[HeldOut, ...]]:
    """The rows of a cross-validation by the bench's numbers of its repeats."""
    plan = read_plan(folder)
    if plan.fingerprint != bench.manifest.fingerprint:
        raise RunError(f"{folder}: made from other images than {bench.manifest.root}")
    later = plan.config.split_seed - bench.config.seed
    found: dict[int, list[HeldOut]] = {}
    for row in read_rows(plan):
        moved = replace(row, repeat=row.repeat + later)
        found.setdefault(moved.repeat, []).append(moved)
    for repeat, rows in found.items():
        if repeat < 1 or _folds_of(rows) != _expected(bench, repeat):
            raise RunError(
                f"{folder}: other folds than grouped {FOLDS}-fold from seed {bench.config.seed} on "
                "gives here; repeat it with alld crossval, or give the script its --seed"
            )
    return {repeat: tuple(rows) for repeat, rows in found.items()}


def _folds_of(rows: Sequence[HeldOut]) -> dict[str, int]:
    return {row.path: row.fold for row in rows}


def _expected(bench: Bench, repeat: int) -> dict[str, int]:
    return {
        bench.manifest.records[index].path: fold
        for fold, split in enumerate(bench.folds(repeat), start=1)
        for index in split.indices("test")
    }


def _check(run: Run, bench: Bench) -> None:
    if run.info["data"]["fingerprint"] != bench.manifest.fingerprint:
        raise RunError(f"{run.folder}: made from other images than {bench.manifest.root}")


def _image_seconds(run: Run, bench: Bench, device: str) -> float:
    """Of judging a decoded image, over one test part's worth of them."""
    predictor = Predictor.load(run.folder, device)
    pictures = Pictures(bench.manifest)[: min(TIMED_IMAGES, len(bench.manifest))]
    predictor.judge(pictures[: predictor.batch])  # the first batch takes memory from the system
    began = time.perf_counter()
    predictor.judge(pictures)
    return (time.perf_counter() - began) / len(pictures)
