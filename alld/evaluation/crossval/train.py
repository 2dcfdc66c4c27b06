"""Repeated cross-validation: train and test a model for each fold, then pool their predictions.

A fold is an ordinary run whose `split.folds` and `split.fold` say which one it is: it is trained,
resumed and evaluated like any other. What is finished is never done again.
"""

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from alld.config.schema import Config
from alld.data.directions import Tested, describe_direction, pairings, tested_domains
from alld.data.groups.load import load_groups
from alld.data.manifest import Manifest
from alld.data.sources.find import load_manifest
from alld.data.splits import make_split, unused_split
from alld.errors import ConfigError, Interrupted, RunError
from alld.evaluation.crossval.folds import Fold, Plan, read_plan
from alld.evaluation.crossval.pool import pool
from alld.evaluation.holdout import evaluate
from alld.evaluation.result import Result
from alld.evaluation.write import write_result
from alld.model.place import PLAN
from alld.runs.create import default_place, resolve_config
from alld.runs.folder import Run, read_split
from alld.runs.machine import conditions_of, differences, inexact, prepare_machine
from alld.runtime.cluster import Cluster
from alld.runtime.files import check_writable
from alld.runtime.locks import live
from alld.runtime.signals import Stopping
from alld.stats.metrics import Metric
from alld.training.train import Listener, resume, train


@dataclass(frozen=True)
class CrossvalListener:
    """Callbacks: before the first training, before and after each fold, and during it."""

    training: Listener = field(default_factory=Listener)
    planned: Callable[[Sequence[str]], None] = lambda _lines: None  # what is tested, fold by fold
    begin: Callable[[Fold, int, int, float | None], None] = lambda _fold, _number, _of, _left: None
    end: Callable[[Fold, dict[str, Metric]], None] = lambda _fold, _metrics: None


def crossval(
    config: Config,
    folds: int | None = None,
    repeats: int | None = None,
    out: Path | None = None,
    listener: CrossvalListener | None = None,
    cluster: Cluster | None = None,
) -> Result:
    """Train and test a model for each fold of each repeat, and pool their predictions.

    Repeat r splits and trains with the seeds of `config` plus r - 1.

    Args:
        config: as for `train`; `split.kind` is grouped, session, blocks or random.
        folds: at least 2, by default 5; every image is tested once in each repeat. With
            `split.kind` session the domains say how many.
        repeats: by default 1, and 2 where sessions are tested in two pairings.
        out: the folder of the cross-validation, by default a new one under `runs/`.
        cluster: trains the folds side by side, instead of this process.

    Raises:
        ConfigError, DataError, ImageError: an input is wrong, or some fold cannot be drawn;
            nothing was written.
        RunError: the folder is taken, or a loss diverged.
        Interrupted: Ctrl-C or SIGTERM; `resume_crossval` goes on.
    """
    if repeats is not None and repeats < 1:
        raise ConfigError(f"--repeats {repeats}: must be at least 1")
    by_session = config.split.kind == "session"
    if by_session and folds is not None:
        raise ConfigError("--folds: with --split session the domains say how many; leave it out")
    folder = out or default_place(f"{config.model.arch}-cv")
    started = datetime.now(UTC).isoformat(timespec="seconds")
    plan = Plan(folder, started, folds or 5, repeats or 1, "", config)
    plan.config_of(1, 1)  # raises for wrong settings before anything is read
    if folder.exists() and any(folder.iterdir()):
        hint = f"go on with --resume {folder}" if (folder / PLAN).exists() else "give a new one"
        raise RunError(f"--out {folder}: is not an empty folder; {hint}")
    check_writable(folder)
    manifest = load_manifest(config.data)
    config = resolve_config(config, manifest)
    if by_session:
        found = pairings(manifest)
        folds, repeats = len(found[0]), repeats or len(found)
    sizes = folds or 5, repeats or 1
    plan = Plan(folder, started, *sizes, manifest.fingerprint, config)
    _check_splits(plan, manifest)
    listener = listener or CrossvalListener()
    if by_session:
        listener.planned(_session_lines(plan, manifest))
    if unused := unused_split(manifest, config.split):
        listener.training.note(unused)
    folder.mkdir(parents=True, exist_ok=True)
    plan.write()
    return _complete(plan, listener, allow_inexact=False, cluster=cluster)


def resume_crossval(
    folder: Path,
    listener: CrossvalListener | None = None,
    *,
    allow_inexact: bool = False,
    cluster: Cluster | None = None,
) -> Result:
    """Train and test the folds that are missing, and pool all of them.

    Args:
        allow_inexact: go on with other versions, threads or settings than the folds before, as
            `resume` of a run does.
        cluster: trains the folds side by side, instead of this process.

    Raises:
        RunError: no cross-validation there, one that is at work, other images, or other versions,
            threads or settings.
        Interrupted: stopped again.
    """
    plan = read_plan(folder)
    done = [fold for fold in plan.all_folds() if fold.done]
    if len(done) < plan.folds * plan.repeats:
        manifest = load_manifest(plan.config.data)
        if manifest.fingerprint != plan.fingerprint:
            raise RunError(
                f"{manifest.root}: not the images that {folder} was begun with; "
                "bring the same set back"
            )
        _check_splits(plan, manifest)
        if done and cluster is None and not allow_inexact:
            then = conditions_of(Run(done[-1].folder).info)
            now = conditions_of(prepare_machine(plan.config.runtime))
            if changed := differences(then, now):
                raise inexact(folder, changed)
    return _complete(plan, listener, allow_inexact=allow_inexact, cluster=cluster)


def _check_splits(plan: Plan, manifest: Manifest) -> None:
    """Draw the split of every fold, so that none fails after hours of training.

    Raises:
        DataError: too few groups of a class for so many folds.
        RunError: a fold was begun with another split, by a version that drew it otherwise.
    """
    shared = plan.config.split
    groups = load_groups(manifest, shared.groups, fields=shared.joins_fields)
    for fold in plan.all_folds():
        config, run = plan.config_of(fold.repeat, fold.fold), Run(fold.folder)
        split = make_split(
            manifest, groups.of_image, groups.source, config.split, config.split_seed
        )
        begun = (fold.folder / "run.json").is_file()
        if begun and read_split(run, manifest).parts != split.parts:
            raise RunError(
                f"{fold.folder}: has another split than this version draws; the folds would "
                "overlap, so start the cross-validation anew"
            )


def _session_lines(plan: Plan, manifest: Manifest) -> list[str]:
    """What is tested, a line for each direction."""
    found, times = pairings(manifest), Counter[Tested]()
    for fold in plan.all_folds():
        seed = plan.config_of(fold.repeat, fold.fold).split_seed
        times[tested_domains(found, seed, fold.fold)] += 1
    return [
        f"{describe_direction(manifest, tested)}{f', {n} times' if n > 1 else ''}"
        for tested, n in times.items()
    ]


def _complete(
    plan: Plan,
    listener: CrossvalListener | None,
    *,
    allow_inexact: bool,
    cluster: Cluster | None,
) -> Result:
    work = _one_by_one if cluster is None else partial(_side_by_side, cluster)
    with live(plan.folder):
        waiting = [fold for fold in plan.all_folds() if not fold.done]
        work(plan, waiting, listener or CrossvalListener(), allow_inexact=allow_inexact)
        result = pool(plan)
        write_result(result)
    return result


def _one_by_one(
    plan: Plan, waiting: Sequence[Fold], listener: CrossvalListener, *, allow_inexact: bool
) -> None:
    folds, began = plan.all_folds(), time.monotonic()
    for number, fold in enumerate(waiting):
        left = (time.monotonic() - began) / number * (len(waiting) - number) if number else None
        listener.begin(fold, folds.index(fold) + 1, len(folds), left)
        try:
            metrics = _do_fold(plan, fold, listener.training, allow_inexact=allow_inexact)
        except (Interrupted, KeyboardInterrupt, SystemExit) as stopped:
            # SIGTERM between two trainings is a SystemExit; Ctrl-C there has no status.
            status = getattr(stopped, "exit_status", getattr(stopped, "code", 130))
            place = f"stopped in repeat {fold.repeat}, fold {fold.fold}"
            raise _interrupted(place, plan, status) from stopped
        listener.end(fold, metrics)


def _side_by_side(
    cluster: Cluster,
    plan: Plan,
    waiting: Sequence[Fold],
    listener: CrossvalListener,
    *,
    allow_inexact: bool,
) -> None:
    """Train each fold as a task of the cluster; the listener is called when one is done."""
    total, began = plan.folds * plan.repeats, time.monotonic()
    folder = os.path.abspath(plan.folder)
    calls = ((fold, (folder, fold.repeat, fold.fold, allow_inexact)) for fold in waiting)
    with Stopping() as stop:

        def check_stop() -> None:
            if stop.signal_number is not None:
                place = f"stopped by {stop.name_of_signal}"
                raise _interrupted(place, plan, stop.exit_status)

        results = cluster.spread(fold_task, calls, check_stop)
        for number, (fold, (notes, metrics)) in enumerate(results, start=1):
            for note in notes:
                listener.training.note(note)
            done = total - len(waiting) + number
            left = (time.monotonic() - began) / number * (total - done)
            listener.begin(fold, done, total, left)
            listener.end(fold, {name: Metric(**metric) for name, metric in metrics.items()})


def fold_task(
    folder: str, repeat: int, fold: int, allow_inexact: bool
) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Train and test one fold; its arguments and result are plain, so any machine can run it.

    Returns:
        The notes of the training, and the metrics of the fold.
    """
    plan = read_plan(Path(folder))
    notes: list[str] = []
    listener = Listener(note=notes.append)
    metrics = _do_fold(plan, plan.fold(repeat, fold), listener, allow_inexact=allow_inexact)
    return notes, {name: asdict(metric) for name, metric in metrics.items()}


def _do_fold(
    plan: Plan, fold: Fold, listener: Listener, *, allow_inexact: bool
) -> dict[str, Metric]:
    config = plan.config_of(fold.repeat, fold.fold)
    try:
        return complete_run(fold.folder, config, listener, allow_inexact=allow_inexact).metrics
    except RunError as error:
        error.message = f"repeat {fold.repeat}, fold {fold.fold}: {error.message}"
        raise


def complete_run(
    folder: Path, config: Config, listener: Listener, *, allow_inexact: bool
) -> Result:
    """Train or resume a run, unless it is finished, and evaluate it.

    Raises:
        AlldError: as `train`, `resume` and `evaluate`.
    """
    if not (folder / "run.json").exists():
        shutil.rmtree(folder, ignore_errors=True)  # killed before it began
        train(config, folder, listener)
    elif Run(folder).state != "finished":
        resume(folder, listener, allow_inexact=allow_inexact)
    return evaluate(folder, config.runtime.device)


def _interrupted(place: str, plan: Plan, status: int) -> Interrupted:
    return Interrupted(f"{place}; go on with: alld crossval --resume {plan.folder}", status)
